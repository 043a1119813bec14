//! Continuous batching: each sequence gets the output that it would get alone, whatever else runs, waits,
//! comes and goes.

use std::collections::HashMap;
use std::sync::Arc;

use engine::{
    CacheScope, FinishReason, ForgottenScope, Group, Refused, Request, SampledToken, Sampling, Scheduler,
    SchedulerLimits, SequenceId, StepEvent,
};
use kernels::{BLOCK, KvCache, KvDtype, Model};
use weights::synthetic::SyntheticModel;
use world::clock::thread_time;

use crate::shapes;
use crate::training::loaded;

const OURS: CacheScope = CacheScope(1);

pub fn model() -> Arc<Model> {
    Arc::new(loaded(&SyntheticModel::new("qwen3", shapes::dense(), 7), None))
}

/// The KV cache precisions that are used in serving.
pub const BOTH: [KvDtype; 2] = [KvDtype::F16, KvDtype::Q8];

pub const LIMITS: SchedulerLimits = SchedulerLimits {
    bytes: 0,
    kv_dtype: KvDtype::F16,
    step_tokens: 64,
    sequences: 16,
    waiting: 100,
    draft_tokens: 0,
};

/// A runner with this many KV cache blocks, and else within these limits.
pub fn scheduler(model: &Arc<Model>, blocks: usize, limits: SchedulerLimits) -> Scheduler {
    let bytes = blocks * KvCache::block_bytes(model.shape(), limits.kv_dtype);
    Scheduler::new(Arc::clone(model), SchedulerLimits { bytes, ..limits }).unwrap()
}

/// A runner with this many KV cache blocks.
pub fn runner(model: &Arc<Model>, blocks: usize) -> Scheduler {
    runner_that(KvDtype::F16, model, blocks)
}

pub fn runner_that(keeps: KvDtype, model: &Arc<Model>, blocks: usize) -> Scheduler {
    scheduler(model, blocks, SchedulerLimits { kv_dtype: keeps, ..LIMITS })
}

pub fn request(length: u32, of: u32, max_tokens: usize) -> Request {
    Request {
        prompt: (0..length).map(|index| (index * 37 + of * 101) % 512).collect(),
        sampling: Sampling { seed: u64::from(of), ..Sampling::default() },
        max_tokens,
        stop_tokens: vec![],
        constraint: None,
        cache_scope: OURS,
        group: Group(1),
        adapter: None,
        adapter_switches: Vec::new(),
    }
}

pub fn submit_all(runner: &mut Scheduler, requests: &[Request]) -> Vec<SequenceId> {
    requests.iter().map(|request| runner.submit(request.clone()).unwrap()).collect()
}

pub fn run_out(runner: &mut Scheduler) {
    while !runner.is_idle() {
        runner.step().unwrap();
    }
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Output {
    tokens: Vec<SampledToken>,
    end: Option<FinishReason>,
}

/// Runs until idle, and returns the output of each, in the order in which they finish.
fn all(runner: &mut Scheduler) -> Vec<(SequenceId, Output)> {
    let (mut open, mut ended) = (HashMap::<SequenceId, Output>::new(), Vec::new());
    while !runner.is_idle() {
        let happened = runner.step().unwrap();
        assert!(!happened.is_empty() || !runner.is_idle(), "a step that did nothing");
        for happened in happened {
            match happened {
                StepEvent::Scheduled { .. } | StepEvent::State { .. } => {}
                StepEvent::Token { sequence: text, drawn } => {
                    open.entry(text).or_default().tokens.push(drawn)
                }
                StepEvent::End { sequence: text, end } => {
                    let output = open.remove(&text).unwrap_or_default();
                    ended.push((text, Output { end: Some(end), ..output }));
                }
            }
        }
    }
    ended
}

/// How many of the prompt's tokens came from the prefix cache, by the first step.
fn remembered(runner: &mut Scheduler) -> usize {
    let started = |happened| match happened {
        StepEvent::Scheduled { cached_tokens: remembered, .. } => Some(remembered),
        _ => None,
    };
    runner.step().unwrap().into_iter().find_map(started).unwrap()
}

fn alone(keeps: KvDtype, model: &Arc<Model>, request: &Request) -> Output {
    let mut runner = runner_that(keeps, model, 64);
    runner.submit(request.clone()).unwrap();
    all(&mut runner).remove(0).1
}

#[test]
fn each_says_what_it_would_say_alone() {
    for keeps in BOTH {
        let model = model();
        let lengths = [5, 100, 1, 17, 64, 33, 200, 16].into_iter().zip(1..);
        let requests: Vec<Request> = lengths.map(|(length, of)| request(length, of, 30)).collect();
        let mut runner = runner_that(keeps, &model, 64);
        let ids = submit_all(&mut runner, &requests);
        let outputs: HashMap<_, _> = all(&mut runner).into_iter().collect();
        for (id, request) in ids.iter().zip(&requests) {
            assert_eq!(outputs[id], alone(keeps, &model, request));
            assert_eq!((outputs[id].tokens.len(), outputs[id].end), (30, Some(FinishReason::Length)));
        }
        assert_eq!(runner.free_blocks(), 64);
    }
}

#[test]
fn too_little_room_costs_time_and_nothing_else() {
    for keeps in BOTH {
        let model = model();
        let requests: Vec<Request> = (1..7).map(|of| request(60, of, 60)).collect();
        // Room for two of them at full length.
        let mut runner = runner_that(keeps, &model, 16);
        let ids = submit_all(&mut runner, &requests);
        let outputs: HashMap<_, _> = all(&mut runner).into_iter().collect();
        for (id, request) in ids.iter().zip(&requests) {
            assert_eq!(outputs[id], alone(keeps, &model, request));
        }
        assert!(runner.counts().preemptions > 0, "{:?}", runner.counts());
        assert_eq!(runner.free_blocks(), 16);
    }
}

#[test]
fn a_short_one_does_not_wait_for_a_long_one() {
    let model = model();
    let mut runner = runner(&model, 64);
    let long = runner.submit(request(500, 1, 200)).unwrap();
    let mut token_count = 0;
    for _ in 0..12 {
        let is_token = |happened: &&StepEvent| matches!(happened, StepEvent::Token { .. });
        token_count += runner.step().unwrap().iter().filter(is_token).count();
    }
    assert!(token_count > 0, "the long one is being told");
    let short = runner.submit(request(5, 2, 5)).unwrap();
    let mut gap = 0;
    // A prompt of hundreds of tokens is added, and the running sequence still gets a token in every step.
    runner.submit(request(400, 3, 5)).unwrap();
    let ended = loop {
        let happened = runner.step().unwrap();
        let is_of_long =
            |happened: &StepEvent| matches!(happened, StepEvent::Token { sequence, .. } if *sequence == long);
        gap = if happened.iter().any(is_of_long) { 0 } else { gap + 1 };
        assert!(gap == 0, "a text that is being told stood still");
        let end = happened.into_iter().find_map(|happened| match happened {
            StepEvent::End { sequence: text, .. } => Some(text),
            StepEvent::Scheduled { .. } | StepEvent::Token { .. } | StepEvent::State { .. } => None,
        });
        if let Some(text) = end {
            break text;
        }
    };
    assert_eq!(ended, short);
}

#[test]
fn a_prompt_that_comes_again_is_remembered() {
    for keeps in BOTH {
        let model = model();
        let mut runner = runner_that(keeps, &model, 128);
        let request = request(1_024, 1, 8);
        runner.submit(request.clone()).unwrap();
        let cold = all(&mut runner).remove(0).1;
        let before = runner.counts();
        assert_eq!(before.cached_tokens, 0);
        runner.submit(request.clone()).unwrap();
        assert_eq!(remembered(&mut runner), 1_024 - BLOCK);
        assert_eq!(runner.counts().rows - before.rows, BLOCK as u64);
        let rest = all(&mut runner).remove(0).1;
        assert_eq!(rest.tokens, cold.tokens[1..]);
        // The same prefix with another continuation.
        let mut other = request;
        other.prompt.truncate(512);
        other.prompt.extend([1, 2, 3]);
        runner.submit(other.clone()).unwrap();
        assert_eq!(remembered(&mut runner), 512);
        assert_eq!(all(&mut runner).remove(0).1.tokens, alone(keeps, &model, &other).tokens[1..]);
    }
}

#[test]
fn nobody_finds_what_is_others_or_was_forgotten() {
    for keeps in BOTH {
        let model = model();
        let mut runner = runner_that(keeps, &model, 128);
        let ours = request(200, 1, 8);
        runner.submit(ours.clone()).unwrap();
        all(&mut runner);
        let theirs = Request { cache_scope: CacheScope(2), ..ours.clone() };
        runner.submit(theirs.clone()).unwrap();
        assert_eq!(remembered(&mut runner), 0);
        all(&mut runner);
        let forgot = runner.forget(OURS);
        // The last, partial block can't be found in the cache, and has been reused in the other cache scope.
        assert_eq!((forgot.cached_blocks, forgot.wiped, forgot.held_blocks), (207 / BLOCK, 207 / BLOCK, 0));
        assert_eq!(runner.forget(OURS), ForgottenScope::default());
        for (request, wanted) in [(ours, 0), (theirs, 192)] {
            runner.submit(request).unwrap();
            assert_eq!(remembered(&mut runner), wanted);
            all(&mut runner);
        }
        assert_eq!(runner.free_blocks(), 128);
    }
}

#[test]
fn what_goes_on_when_it_is_forgotten_is_found_by_nobody() {
    let model = model();
    let mut runner = runner(&model, 128);
    let (ours, theirs) = (request(100, 1, 40), Request { cache_scope: CacheScope(2), ..request(100, 2, 4) });
    runner.submit(theirs.clone()).unwrap();
    all(&mut runner);
    let first = runner.submit(ours.clone()).unwrap();
    assert_eq!(remembered(&mut runner), 0);
    let waiting: Vec<SequenceId> = (0..20).map(|_| runner.submit(ours.clone()).unwrap()).collect();
    while !runner.step().unwrap().iter().any(|happened| matches!(happened, StepEvent::Token { .. })) {}
    let forgot = runner.forget(OURS);
    assert!(forgot.cached_blocks >= 6 && forgot.held_blocks >= forgot.cached_blocks, "{forgot:?}");
    assert_eq!((forgot.wiped, forgot.held_sequences), (0, 16), "all places are taken, and the others wait");
    // Requests from now on are not affected.
    let later = runner.submit(ours.clone()).unwrap();
    let ended = all(&mut runner);
    assert!([first, later].iter().chain(&waiting).all(|text| ended.iter().any(|(id, _)| id == text)));
    let wanted = &ended.iter().find(|(id, _)| *id == later).unwrap().1;
    assert!(ended.iter().all(|(_, output)| output.end == wanted.end && output.tokens.len() >= 39));
    assert_eq!(runner.forget(OURS).cached_blocks, 139 / BLOCK, "of the one that came later, and no other");
    for (request, wanted) in [(ours, 0), (theirs, 96)] {
        runner.submit(request).unwrap();
        assert_eq!(remembered(&mut runner), wanted);
        all(&mut runner);
    }
    assert_eq!(runner.free_blocks(), 128);
}

#[test]
fn what_makes_way_after_it_was_forgotten_is_found_by_nobody() {
    for keeps in BOTH {
        let model = model();
        // So little memory that sequences preempt each other again and again.
        let mut runner = runner_that(keeps, &model, 16);
        for of in 1..=4 {
            runner.submit(request(60, of, 60)).unwrap();
        }
        while runner.counts().preemptions == 0 {
            runner.step().unwrap();
        }
        runner.forget(OURS);
        let before = runner.counts().preemptions;
        assert_eq!(all(&mut runner).len(), 4);
        assert!(runner.counts().preemptions > before);
        assert_eq!(runner.forget(OURS), ForgottenScope::default());
        assert_eq!(runner.free_blocks(), 16);
    }
}

#[test]
fn what_is_called_off_is_free_before_the_next_step() {
    let model = model();
    let mut runner = runner(&model, 64);
    let one = runner.submit(request(100, 1, 100)).unwrap();
    let other = runner.submit(request(100, 2, 20)).unwrap();
    for _ in 0..6 {
        runner.step().unwrap();
    }
    let free = runner.free_blocks();
    runner.cancel(one);
    assert!(runner.free_blocks() > free);
    let left = all(&mut runner);
    assert_eq!(left.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [other]);
    assert_eq!(runner.free_blocks(), 64);
    // Cancelling one that still waits.
    let waits = runner.submit(request(10, 3, 5)).unwrap();
    runner.cancel(waits);
    assert!(runner.is_idle());
}

#[test]
fn what_can_not_be_carried_on_is_refused() {
    let model = model();
    let limits = SchedulerLimits { step_tokens: 16, sequences: 2, waiting: 2, ..LIMITS };
    let mut runner = scheduler(&model, 4, limits);
    assert_eq!(runner.submit(request(64, 1, 5)), Err(Refused::TooLong { tokens: 64, most: 64 }));
    assert_eq!(runner.submit(request(0, 1, 5)), Err(Refused::Empty));
    runner.submit(request(60, 1, 50)).unwrap();
    runner.submit(request(10, 2, 5)).unwrap();
    assert_eq!(runner.submit(request(10, 3, 5)), Err(Refused::Full));
    let outputs = all(&mut runner);
    assert_eq!(outputs.len(), 2);
    let longest = outputs.iter().map(|(_, output)| output.tokens.len()).collect::<Vec<_>>();
    assert!(longest.contains(&4), "an answer ends where the room does: {longest:?}");
    assert!(Scheduler::new(model, SchedulerLimits { bytes: 10, ..limits }).is_err());
}

#[test]
fn an_end_of_its_own_is_told_as_one() {
    let model = model();
    let whole = alone(KvDtype::F16, &model, &request(20, 1, 40));
    let token = whole.tokens[12].token;
    let first = whole.tokens.iter().position(|drawn| drawn.token == token).unwrap();
    let output = alone(KvDtype::F16, &model, &Request { stop_tokens: vec![token], ..request(20, 1, 40) });
    assert_eq!((output.tokens.len(), output.end), (first + 1, Some(FinishReason::Stop)));
}

/// The cached tokens of a request's prompt, and the steps and the CPU time of this thread until its first token.
fn until_its_first_token(runner: &mut Scheduler, request: &Request) -> (usize, u32, f64) {
    runner.submit(request.clone()).unwrap();
    let (before, mut cached, mut steps, mut is_there) = (thread_time(), None, 0, false);
    while !is_there {
        steps += 1;
        for happened in runner.step().unwrap() {
            match happened {
                StepEvent::Scheduled { cached_tokens, .. } => cached = Some(cached_tokens),
                StepEvent::Token { .. } => is_there = true,
                StepEvent::State { .. } | StepEvent::End { .. } => {}
            }
        }
    }
    let took = (thread_time() - before).as_secs_f64();
    all(runner);
    (cached.unwrap(), steps, took)
}

/// Case 21: a prefix that another workspace keeps is as one that nobody keeps, in the tokens that are computed, in the steps until the first
/// token, and in the time, of which three kinds take turns and the median of the ratios is taken. One's own prefix differs in all of it.
#[test]
fn a_prefix_that_another_workspace_keeps_takes_as_long_as_one_that_nobody_keeps() {
    const ROUNDS: usize = 200;
    let mut runner = runner(&model(), 64);
    let kept = request(200, 1, 1);
    let foreign = Request { cache_scope: CacheScope(2), ..kept.clone() };
    let unknown = Request { cache_scope: CacheScope(3), ..request(200, 2, 1) };
    until_its_first_token(&mut runner, &kept);
    let (mut of_foreign, mut of_own) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut found = [(0, 0, 0.0); 3];
        for turn in 0..3 {
            let which = (round + turn) % 3;
            let request = [&kept, &foreign, &unknown][which];
            found[which] = until_its_first_token(&mut runner, request);
            if which > 0 {
                runner.forget(request.cache_scope);
            }
        }
        let [own, foreign, unknown] = found;
        assert_eq!((foreign.0, foreign.1), (0, unknown.1), "{found:?}");
        assert!(own.0 >= 192 && unknown.0 == 0 && own.1 < unknown.1, "{found:?}");
        of_foreign.push(foreign.2 / unknown.2);
        of_own.push(own.2 / unknown.2);
    }
    let median = |mut ratios: Vec<f64>| {
        ratios.sort_unstable_by(f64::total_cmp);
        ratios[ROUNDS / 2]
    };
    let (of_foreign, of_own) = (median(of_foreign), median(of_own));
    println!("another's prefix takes {of_foreign:.3} of the time, one's own {of_own:.3}");
    // Threads share the work of a step, so that the time of one of them varies.
    assert!((0.75..1.33).contains(&of_foreign), "{of_foreign}");
    assert!(of_own < 0.75, "{of_own}");
}
