//! Speculative decoding: draft tokens cost or save work, and never change the output.

use std::sync::Arc;

use engine::{
    ConstraintSpec, DraftModel, Drafter, Request, Sampling, SchedulerLimits, SequenceId, StepEvent, Thinking,
};
use kernels::{BLOCK, KvCache, KvDtype, Model, SequenceChunk, StepBatch};
use serde_json::json;
use weights::synthetic::SyntheticModel;

use crate::parity::part;
use crate::running::{BOTH, LIMITS, request, scheduler};
use crate::shapes;
use crate::training::loaded;
use crate::words::{Output, WORDS, all, one};

/// Drafts the same token every time.
#[derive(Debug)]
struct Stubborn(u32);

impl Drafter for Stubborn {
    fn propose(&mut self, _: SequenceId, _: &[u32], _: &[u32], most: usize) -> Vec<u32> {
        vec![self.0; most]
    }

    fn forget(&mut self, _: SequenceId) {}
}

fn requests() -> Vec<Request> {
    let copy = "the name of the item is the name of the item, the name of the item is ";
    let mut all: Vec<Request> = (0..12).map(|seed| WORDS.request(copy, seed, 80)).collect();
    for (request, temperature) in all.iter_mut().zip([0.0, 0.3, 0.7, 1.0].into_iter().cycle()) {
        request.sampling.temperature = temperature;
    }
    for request in &mut all[4..8] {
        let sampling = &mut request.sampling;
        (sampling.presence_penalty, sampling.repetition_penalty) = (0.2, 1.1);
        (sampling.top_k, sampling.min_p, sampling.logprobs) = (Some(40), 0.01, Some(2));
    }
    let item = json!({
        "type": "object", "required": ["name", "value"], "additionalProperties": false,
        "properties": {"name": {"enum": ["a name", "a value"]}, "value": {"type": "integer", "minimum": 1, "maximum": 12}},
    });
    let list = json!({"type": "array", "items": item, "minItems": 4, "maxItems": 6});
    let rule = WORDS.rules.compile(ConstraintSpec::Schema(&list), Thinking::No).unwrap();
    all[8..].iter_mut().for_each(|request| request.constraint = Some(rule.clone()));
    all
}

#[test]
fn the_same_is_said_with_guesses_and_without() {
    for keeps in BOTH {
        let requests = requests();
        let by_itself = |request: &Request| one(&mut WORDS.runner_that(keeps, 100, 0), request);
        let alone: Vec<Output> = requests.iter().map(by_itself).collect();
        for draft_tokens in [1, 3, 12] {
            let mut runner = WORDS.runner_that(keeps, 400, draft_tokens);
            assert_eq!(all(&mut runner, &requests), alone, "{draft_tokens}");
            let counts = runner.counts();
            assert!((1..counts.drafted_tokens).contains(&counts.accepted_tokens), "{counts:?}");
            assert_eq!(runner.free_blocks(), 400);
        }
        for (request, alone) in requests.iter().zip(&alone) {
            assert_eq!(one(&mut WORDS.runner_that(keeps, 100, 12), request), *alone);
        }
        // With little memory, and with a draft that is always wrong.
        let mut tight = WORDS.runner_that(keeps, 24, 12);
        assert_eq!(all(&mut tight, &requests), alone);
        assert!(tight.counts().preemptions > 0);
        let mut stubborn = WORDS.runner_that(keeps, 400, 12).with_drafter(Box::new(Stubborn(5)));
        assert_eq!(all(&mut stubborn, &requests), alone);
    }
}

#[test]
fn what_is_copied_takes_fewer_steps() {
    let model = Arc::new(loaded(&SyntheticModel::new("qwen3", shapes::dense(), 5).counting(), None));
    let mut request = WORDS.request("", 0, 200);
    // A prompt that the model will repeat.
    request.prompt = (0..300).chain([0]).collect();
    request.sampling.temperature = 0.0;
    let mut steps = [0, 0];
    for (steps, draft_tokens) in steps.iter_mut().zip([0, 12]) {
        let limits = SchedulerLimits { step_tokens: 512, sequences: 1, waiting: 1, draft_tokens, ..LIMITS };
        let mut runner = scheduler(&model, 100, limits);
        let output = one(&mut runner, &request);
        assert!(output.drawn.iter().map(|drawn| drawn.token).eq(1..201));
        *steps = runner.counts().steps;
    }
    assert!(steps[0] == 200 && steps[1] <= 20, "{steps:?}");
}

#[test]
fn wrong_guesses_leave_nothing_behind() {
    for keeps in BOTH {
        let request = WORDS.request("the name of the item is the ", 3, 60);
        let length = request.prompt.len();
        let mut runner = WORDS.runner_that(keeps, 100, 12).with_drafter(Box::new(Stubborn(7)));
        runner.submit(request.clone()).unwrap();
        let mut generated = Vec::new();
        while !runner.is_idle() {
            for happened in runner.step().unwrap() {
                if let StepEvent::Token { drawn, .. } = happened {
                    generated.push(drawn.token);
                }
            }
            if !runner.is_idle() {
                assert_eq!(100 - runner.free_blocks(), (length + generated.len() - 1).div_ceil(BLOCK));
            }
        }
        assert!(runner.counts().drafted_tokens > 0);
        // Rejected draft tokens don't get into the prefix cache; accepted ones do.
        let mut repeated = request;
        repeated.prompt.extend_from_slice(&generated[..40]);
        let common = repeated.prompt.len();
        repeated.prompt.extend([7; 40]);
        let cold = one(&mut WORDS.runner_that(keeps, 100, 0), &repeated);
        let before = runner.counts().cached_tokens;
        assert_eq!(one(&mut runner, &repeated), cold);
        assert_eq!(runner.counts().cached_tokens - before, (common / BLOCK * BLOCK) as u64);
        assert_eq!(runner.free_blocks(), 100);
    }
}

/// Has memory for one sequence at a time: if the draft model kept the KV cache of finished sequences, it
/// could not draft for others.
fn draft(keeps: KvDtype, model: &Arc<Model>) -> Box<DraftModel> {
    let bytes = 10 * KvCache::block_bytes(model.shape(), keeps);
    Box::new(DraftModel::new(Arc::clone(model), keeps, bytes).unwrap())
}

#[test]
fn who_knows_all_that_is_said_saves_most_steps() {
    for keeps in BOTH {
        let mut requests = [1, 2, 3].map(|seed| WORDS.request(&"the tide and the moon ".repeat(4), seed, 60));
        requests.iter_mut().for_each(|request| request.sampling.temperature = 0.0);
        requests[1].prompt.push(3);
        requests[2].prompt.push(4);
        for request in requests {
            let mut alone = WORDS.runner_that(keeps, 100, 0);
            let expected = one(&mut alone, &request);
            let mut drafted = WORDS.runner_that(keeps, 100, 8).with_drafter(draft(keeps, &WORDS.model));
            // The second run finds that the first has freed its memory.
            for _ in 0..2 {
                let before = drafted.counts();
                assert_eq!(one(&mut drafted, &request), expected);
                let counts = drafted.counts();
                assert!(counts.steps - before.steps < alone.counts().steps / 3, "{counts:?}");
                let proposed = counts.drafted_tokens - before.drafted_tokens;
                let accepted = counts.accepted_tokens - before.accepted_tokens;
                // Repetitions of earlier text are drafted without the draft model, and may be wrong.
                assert!(accepted * 10 >= proposed * 8, "{counts:?}");
            }
        }
    }
}

#[test]
fn a_draft_that_knows_little_or_has_no_room_changes_nothing() {
    for keeps in BOTH {
        let requests = requests();
        let alone = all(&mut WORDS.runner_that(keeps, 400, 0), &requests);
        let shape = kernels::Architecture { layers: 1, context: 64, ..shapes::dense() };
        let other = Arc::new(loaded(&SyntheticModel::new("qwen3", shape, 12), None));
        for model in [&other, &WORDS.model] {
            let mut runner = WORDS.runner_that(keeps, 400, 5).with_drafter(draft(keeps, model));
            assert_eq!(all(&mut runner, &requests), alone);
            assert!(runner.counts().drafted_tokens > 0);
            assert_eq!(runner.free_blocks(), 400);
        }
        assert!(DraftModel::new(other, keeps, 1).is_err());
    }
}

#[test]
fn who_is_always_wrong_is_asked_less() {
    let request = WORDS.request("the name ", 3, 300);
    let mut runner = WORDS.runner(100, 12).with_drafter(Box::new(Stubborn(7)));
    let output = one(&mut runner, &request);
    let counts = runner.counts();
    assert!(counts.drafted_tokens < output.drawn.len() as u64 / 3, "{counts:?}");
}

#[test]
fn guesses_take_no_room_that_others_want() {
    let mut runner = WORDS.runner(400, 12).with_drafter(Box::new(Stubborn(7)));
    for seed in 0..16 {
        runner.submit(WORDS.request("the name of the item ", seed, 100)).unwrap();
    }
    let mut rows = 0;
    while !runner.is_idle() {
        runner.step().unwrap();
        let counts = runner.counts();
        assert!(counts.rows - rows <= 64, "{counts:?}");
        rows = counts.rows;
    }
    assert_eq!(runner.counts().preemptions, 0);
}

/// A model of sixteen tokens, small enough to compute all probabilities.
fn small() -> Arc<Model> {
    let shape = kernels::Architecture { vocabulary: 16, ..shapes::dense() };
    Arc::new(loaded(&SyntheticModel::new("qwen3", shape, 5), None))
}

/// The probability of each token after a text.
fn likely(model: &Model, text: &[u32]) -> Vec<f64> {
    let mut pool = KvCache::new(model.shape(), KvDtype::F16, 4);
    let part = SequenceChunk { output_from: text.len() - 1, ..part(text, 0, &[0, 1, 2, 3]) };
    let scores = model.step(&StepBatch { chunks: vec![part] }, &mut pool).unwrap();
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = scores.iter().map(|score| f64::from((score - top) * 0.5).exp()).collect();
    let all: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / all).collect()
}

#[test]
fn what_is_drawn_is_as_likely_as_the_model_says() {
    const DRAWS: u64 = 10_000;
    let model = small();
    let prompt = vec![1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2];
    let waiting = DRAWS as usize;
    let limits = SchedulerLimits { step_tokens: 512, sequences: 64, waiting, draft_tokens: 12, ..LIMITS };
    let mut runner = scheduler(&model, 2_000, limits);
    let request = |seed| Request {
        prompt: prompt.clone(),
        sampling: Sampling { seed, temperature: 2.0, ..Sampling::default() },
        ..request(0, 0, 2)
    };
    let requests: Vec<Request> = (0..DRAWS).map(request).collect();
    let mut counts = vec![0.0; 256];
    for output in all(&mut runner, &requests) {
        counts[(output.drawn[0].token * 16 + output.drawn[1].token) as usize] += 1.0;
    }
    let mut wanted = Vec::new();
    for (first, likely_first) in (0..).zip(likely(&model, &prompt)) {
        let text = [prompt.as_slice(), &[first]].concat();
        wanted.extend(likely(&model, &text).iter().map(|second| likely_first * second * DRAWS as f64));
    }
    let made = runner.counts();
    assert!((1..made.drafted_tokens).contains(&made.accepted_tokens), "{made:?}");
    // Rare pairs are pooled into one cell of the chi-squared test.
    let (mut square, mut cells, mut rest) = (0.0, 0.0, (0.0, 0.0));
    for (count, wanted) in counts.iter().zip(&wanted) {
        if *wanted < 5.0 {
            rest = (rest.0 + count, rest.1 + wanted);
        } else {
            square += (count - wanted) * (count - wanted) / wanted;
            cells += 1.0;
        }
    }
    square += (rest.0 - rest.1) * (rest.0 - rest.1) / f64::max(rest.1, 1.0);
    // By chance, one in ten thousand exceeds this.
    assert!(cells > 20.0 && square < cells + 3.72 * f64::sqrt(2.0 * cells) + 8.0, "{square} of {cells}");
}
