//! Nothing of a sequence stays in memory after its cache scope was forgotten while it ran.

use std::sync::Arc;

use kernels::Model;
use weights::synthetic::SyntheticModel;
use weights::{Source, load_model};

use super::*;
use crate::DraftModel;
use crate::fair_queue::Group;
use crate::request::EmbeddingInput;
use crate::sampler::Sampling;

fn model() -> Arc<Model> {
    let directory = tempfile::tempdir().unwrap();
    SyntheticModel::smallest(1).write_plain(directory.path(), false).unwrap();
    Arc::new(load_model(&Source::open(directory.path()).unwrap()).unwrap())
}

fn request(share: u128, length: u32) -> Request {
    Request {
        prompt: (0..length).map(|index| index % 50).collect(),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        max_tokens: 20,
        stop_tokens: vec![],
        constraint: None,
        cache_scope: CacheScope(share),
        group: Group(share),
        adapter: None,
        adapter_switches: Vec::new(),
    }
}

fn is_blank(runner: &Scheduler) -> bool {
    match &runner.pool {
        BackendCache::Own(pool) => pool.is_blank(),
        BackendCache::Device(_) => false,
    }
}

#[test]
fn nothing_is_left_in_memory_of_what_was_forgotten_while_it_went_on() {
    for keeps in [KvDtype::F16, KvDtype::Q8, KvDtype::F32] {
        nothing_is_left_of(keeps);
    }
}

fn nothing_is_left_of(keeps: KvDtype) {
    let model = model();
    let bytes = 32 * KvCache::block_bytes(model.shape(), keeps);
    let limits = SchedulerLimits {
        bytes,
        kv_dtype: keeps,
        step_tokens: 64,
        sequences: 4,
        waiting: 8,
        draft_tokens: 4,
    };
    let draft = DraftModel::new(Arc::clone(&model), keeps, bytes).unwrap();
    let mut runner = Scheduler::new(model, limits).unwrap().with_drafter(Box::new(draft));
    // One that ended, one that is cancelled, one that goes on, and one that is only prefilled.
    runner.submit(request(1, 10)).unwrap();
    while !runner.is_idle() {
        runner.step().unwrap();
    }
    let called_off = runner.submit(request(1, 24)).unwrap();
    runner.submit(request(1, 20)).unwrap();
    let input =
        EmbeddingInput { tokens: (0..40).collect(), group: Group(1), adapter: None, shared_prefix: None };
    runner.read(input).unwrap();
    while runner.running.iter().all(|text| text.generated.is_empty()) {
        runner.step().unwrap();
    }
    runner.forget(CacheScope(1));
    assert!(!is_blank(&runner), "what goes on has what it needs");
    runner.cancel(called_off);
    while !runner.is_idle() {
        runner.step().unwrap();
    }
    assert!(is_blank(&runner));
    // Other scopes keep theirs.
    runner.submit(request(2, 20)).unwrap();
    while !runner.is_idle() {
        runner.step().unwrap();
    }
    runner.forget(CacheScope(1));
    assert!(!is_blank(&runner));
    assert!(runner.forget(CacheScope(2)).wiped > 0 && is_blank(&runner));
}
