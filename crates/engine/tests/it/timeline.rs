//! Sequences that switch adapters at given tokens.

use std::sync::Arc;

use engine::{
    AdapterSwitch, FinishReason, Refused, Request, SampledToken, Sampling, Scheduler, SchedulerLimits,
    StepEvent,
};
use kernels::{KvCache, KvDtype, Model, SequenceChunk, StepBatch};
use weights::adapters::{self, Limits};

use crate::parity::blocks;
use crate::running::{LIMITS, model, request, scheduler};
use crate::shelf::{Files, REPLACES, id, register, register_all, shelf};

/// Positions, with the seed of the adapter from there on.
type Turns = [(usize, Option<u64>)];

const TURNS: &Turns = &[(0, Some(1)), (5, Some(2)), (9, None), (20, Some(1))];
const OUTPUT_TOKENS: usize = 30;

/// A greedy request, so that the output depends on nothing but the adapters.
fn in_turn(length: u32, turns: &Turns) -> Request {
    let named = |seed: Option<u64>| seed.map(id);
    let later = turns[1..].iter().map(|(from, seed)| AdapterSwitch { from: *from, adapter: named(*seed) });
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    let (adapter, adapter_switches) = (named(turns[0].1), later.collect());
    Request { sampling, adapter, adapter_switches, ..request(length, 3, OUTPUT_TOKENS) }
}

/// The expected output: each token is computed with the adapter of its position, by the model alone.
fn oracle(model: &Model, files: &Files, request: &Request, turns: &Turns) -> Vec<SampledToken> {
    let open =
        |seed: u64| Arc::new(adapters::open(&files.of(seed), model.shape(), &Limits::default()).unwrap());
    let turns: Vec<_> = turns.iter().map(|(from, seed)| (*from, seed.map(open))).collect();
    let mut pool = KvCache::new(model.shape(), KvDtype::F16, 32);
    let (mut generated, mut sampled, mut next, mut start) =
        (Vec::new(), Vec::new(), request.prompt.clone(), 0);
    while generated.len() < OUTPUT_TOKENS {
        let adapter = turns.iter().rev().find(|(from, _)| *from <= generated.len()).unwrap().1.clone();
        let (output_from, end) = (next.len() - 1, start + next.len());
        let part = SequenceChunk { tokens: next, start, blocks: blocks(0, 200), output_from, adapter };
        let row = model.step(&StepBatch { chunks: vec![part] }, &mut pool).unwrap();
        let drawn = request.sampling.draw(&row, (&request.prompt, &generated), None).unwrap();
        (next, start) = (vec![drawn.token], end);
        generated.push(drawn.token);
        sampled.push(drawn);
    }
    sampled
}

/// The output of the last submitted sequence.
fn run(runner: &mut Scheduler, request: Request) -> (Vec<SampledToken>, usize) {
    let meant = runner.submit(request).unwrap();
    let (mut tokens, mut found) = (Vec::new(), 0);
    while !runner.is_idle() {
        for happened in runner.step().unwrap() {
            match happened {
                StepEvent::Token { sequence, drawn } if sequence == meant => tokens.push(drawn),
                StepEvent::Scheduled { sequence, cached_tokens } if sequence == meant => {
                    found = cached_tokens
                }
                StepEvent::End { sequence, end } if sequence == meant => {
                    assert_eq!(end, FinishReason::Length)
                }
                _ => {}
            }
        }
    }
    (tokens, found)
}

#[test]
fn each_token_is_drawn_with_the_adapter_of_its_turn() {
    let (model, files) = (model(), Files::new());
    let mut runner = shelf(&model, &files, 4, 1..3);
    for (length, turns) in [(40, TURNS), (33, &[(0, None), (1, Some(1))]), (1, &[(0, Some(2)), (29, None)])] {
        let request = in_turn(length, turns);
        let wanted = oracle(&model, &files, &request, turns);
        assert_eq!(run(&mut runner, request).0, wanted, "{turns:?}");
        let alone = oracle(&model, &files, &in_turn(length, turns), &turns[..1]);
        let (from, _) = turns[1];
        assert_eq!(wanted[..from], alone[..from]);
        assert_ne!(wanted, alone, "the adapters say the same: this shows nothing");
    }
}

#[test]
fn turns_are_the_same_in_pieces_beside_others_set_back_and_guessed() {
    let (model, files) = (model(), Files::new());
    let request = in_turn(40, TURNS);
    let wanted = oracle(&model, &files, &request, TURNS);
    for (tokens, blocks, draft_tokens) in [(7, 64, 0), (64, 12, 0), (64, 64, 8)] {
        let limits = SchedulerLimits { step_tokens: tokens, draft_tokens, ..LIMITS };
        let mut runner = scheduler(&model, blocks, limits);
        register_all(&mut runner, &files, 1..3);
        // Twice, since the drafts of a repeated output are accepted. The other requests take up memory.
        for of in 5..9 {
            runner.submit(Request { adapter: Some(id(1)), ..crate::running::request(50, of, 40) }).unwrap();
        }
        runner.submit(request.clone()).unwrap();
        assert_eq!(run(&mut runner, request.clone()).0, wanted, "{tokens} {blocks} {draft_tokens}");
        let counts = runner.counts();
        assert_eq!(counts.preemptions > 0, blocks == 12, "{counts:?}");
        assert_eq!(counts.drafted_tokens > 0, draft_tokens > 0, "{counts:?}");
        assert_eq!(runner.free_blocks(), blocks);
    }
}

#[test]
fn what_was_read_with_another_adapter_is_found_by_nobody() {
    let (model, files) = (model(), Files::new());
    let mut runner = shelf(&model, &files, 4, 1..3);
    let turns: &Turns = &[(0, Some(1)), (10, Some(2))];
    let first = in_turn(40, turns);
    let (tokens, _) = run(&mut runner, first.clone());
    // A request with the first adapter alone finds what was computed with it alone: three blocks of sixteen,
    // up to the 49th token.
    let mut again = Request { adapter_switches: Vec::new(), max_tokens: 5, ..first.clone() };
    again.prompt.extend(tokens.iter().map(|drawn| drawn.token));
    let mut fresh = shelf(&model, &files, 4, 1..3);
    let (sampled, found) = run(&mut runner, again.clone());
    assert_eq!((sampled, found), (run(&mut fresh, again).0, 48));
    // The same request again finds as much, and has the same output.
    assert_eq!(run(&mut runner, first), (tokens, 32));
}

#[test]
fn all_adapters_of_a_text_are_there_when_it_is_asked_and_stay() {
    let (model, files) = (model(), Files::new());
    let mut runner = shelf(&model, &files, 2, 1..4);
    let turns = |second| in_turn(20, &[(0, Some(second)), (4, Some(3))]);
    assert_eq!(runner.submit(turns(9)).unwrap_err(), Refused::NoAdapter);
    let refused = runner.submit(turns(1)).unwrap_err();
    assert_eq!(refused, Refused::AdapterNotResident, "two are in memory, and it is neither");
    let wanted = oracle(&model, &files, &turns(2), &[(0, Some(2)), (4, Some(3))]);
    let meant = runner.submit(turns(2)).unwrap();
    // They are unregistered, and their names reassigned, before it is scheduled.
    runner.unload_adapter(&id(3)).unwrap();
    register(&mut runner, &id(2), &files.of(1), REPLACES).unwrap();
    let mut sampled = Vec::new();
    while !runner.is_idle() {
        for happened in runner.step().unwrap() {
            if let StepEvent::Token { sequence, drawn } = happened {
                assert_eq!(sequence, meant);
                sampled.push(drawn);
            }
        }
    }
    assert_eq!(sampled, wanted);
}
