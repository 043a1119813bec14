//! Adapters that are loaded, evicted, replaced and unregistered while sequences run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use engine::{
    AdapterId, AdapterStatus, CacheScope, EngineError, FinishReason, Group, Host, Numbers, Refused,
    RegisterOptions, Request, SampledToken, Scheduler, SchedulerLimits, SequenceEvent, SequenceId, StepEvent,
};
use kernels::Model;
use tempfile::TempDir;
use weights::adapters::Limits;
use weights::synthetic::SyntheticAdapter;
use weights::{AvailableMemory, WeightsError};

use crate::local::wait;
use crate::running::{LIMITS, model, request, runner, submit_all};
use crate::shapes;

/// Directories of synthetic adapters, by seed.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn of(&self, seed: u64) -> PathBuf {
        let path = self.0.path().join(seed.to_string());
        if !path.exists() {
            write(&path, seed);
        }
        path
    }
}

fn write(path: &Path, seed: u64) {
    let made = SyntheticAdapter::new(&shapes::dense(), &["q_proj", "v_proj", "down_proj"], 4, seed);
    made.write(path, Numbers::F32).unwrap();
}

pub fn id(seed: u64) -> AdapterId {
    AdapterId::from(format!("adapter-{seed}").as_str())
}

pub const REPLACES: RegisterOptions = RegisterOptions { replaces: true, is_pinned: false };
const PINNED: RegisterOptions = RegisterOptions { replaces: false, is_pinned: true };

pub fn register(
    runner: &mut Scheduler,
    id: &AdapterId,
    path: &Path,
    registering: RegisterOptions,
) -> Result<u64, EngineError> {
    let reading = runner.reading(id.clone(), path, registering)?;
    runner.settle(reading.read())
}

pub fn register_all(runner: &mut Scheduler, files: &Files, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        register(runner, &id(seed), &files.of(seed), RegisterOptions::default()).unwrap();
    }
}

/// Does all pending reads.
fn settle(runner: &mut Scheduler) {
    for reading in runner.readings() {
        runner.settle(reading.read()).unwrap();
    }
}

/// A runner with room for `resident` adapters in memory, and with these registered.
pub fn shelf(model: &Arc<Model>, files: &Files, resident: usize, seeds: std::ops::Range<u64>) -> Scheduler {
    let limits = Limits { resident, ..Limits::default() };
    let mut runner = runner(model, 64).with_limits(limits);
    register_all(&mut runner, files, seeds);
    runner
}

fn with(seed: u64, request: Request) -> Request {
    Request { adapter: Some(id(seed)), ..request }
}

fn status(runner: &Scheduler, seed: u64) -> AdapterStatus {
    runner.adapters().into_iter().find(|status| status.id == id(seed)).unwrap()
}

fn resident(runner: &Scheduler) -> Vec<AdapterId> {
    runner.adapters().into_iter().filter(|status| status.is_resident).map(|status| status.id).collect()
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Output {
    tokens: Vec<SampledToken>,
    remembered: usize,
    end: Option<FinishReason>,
}

type All = HashMap<SequenceId, Output>;

fn hear(outputs: &mut All, happened: Vec<StepEvent>) {
    for happened in happened {
        match happened {
            StepEvent::Scheduled { sequence, cached_tokens } => {
                outputs.entry(sequence).or_default().remembered = cached_tokens
            }
            StepEvent::Token { sequence, drawn } => outputs.entry(sequence).or_default().tokens.push(drawn),
            StepEvent::State { .. } => {}
            StepEvent::End { sequence, end } => outputs.entry(sequence).or_default().end = Some(end),
        }
    }
}

/// Pending reads are done between two steps.
fn step(runner: &mut Scheduler, outputs: &mut All) {
    for reading in runner.readings() {
        drop(runner.settle(reading.read()));
    }
    hear(outputs, runner.step().unwrap());
}

fn finish(runner: &mut Scheduler, outputs: &mut All) {
    while !runner.is_idle() {
        step(runner, outputs);
    }
}

/// The output of one request that runs by itself.
fn once(runner: &mut Scheduler, request: Request) -> Output {
    let text = runner.submit(request).unwrap();
    let mut outputs = All::new();
    finish(runner, &mut outputs);
    outputs.remove(&text).unwrap()
}

fn alone(model: &Arc<Model>, files: &Files, adapter: Option<u64>, request: &Request) -> Vec<SampledToken> {
    let mut runner = shelf(model, files, 1, adapter.map_or(0..0, |seed| seed..seed + 1));
    once(&mut runner, Request { adapter: adapter.map(id), ..request.clone() }).tokens
}

#[test]
fn each_says_what_it_would_say_alone_whatever_the_others_have() {
    let (model, files) = (model(), Files::new());
    let mut runner = shelf(&model, &files, 8, 0..4);
    let whose = [None, Some(0), Some(1), Some(2), None, Some(1), Some(3), Some(0)];
    let lengths = [5, 100, 1, 17, 64, 33, 200, 16].into_iter().zip(1..);
    let of = |((length, of), adapter): ((u32, u32), Option<u64>)| Request {
        adapter: adapter.map(id),
        ..request(length, of, 20)
    };
    let requests: Vec<Request> = lengths.zip(whose).map(of).collect();
    let ids = submit_all(&mut runner, &requests);
    let mut outputs = All::new();
    finish(&mut runner, &mut outputs);
    for ((id, request), adapter) in ids.iter().zip(&requests).zip(whose) {
        assert_eq!(outputs[id].tokens, alone(&model, &files, adapter, request), "{adapter:?}");
        assert_eq!(outputs[id].tokens.len(), 20);
    }
    let one = &requests[1];
    assert_ne!(alone(&model, &files, Some(0), one), alone(&model, &files, Some(1), one));
    assert_ne!(alone(&model, &files, Some(0), one), alone(&model, &files, None, one));
    assert_eq!(runner.free_blocks(), 64);
}

#[test]
fn nothing_is_remembered_across_adapters_or_generations() {
    let (model, files) = (model(), Files::new());
    let mut runner = shelf(&model, &files, 4, 0..2);
    let base = request(100, 1, 4);
    let all = [base.clone(), with(0, base.clone()), with(1, base)];
    for expected in [0, 96] {
        let remembered = all.clone().map(|request| once(&mut runner, request).remembered);
        assert_eq!(remembered, [expected; 3]);
    }
    // One is replaced, though with the same files, and one is unregistered and registered again.
    register(&mut runner, &id(0), &files.of(0), REPLACES).unwrap();
    runner.unload_adapter(&id(1)).unwrap();
    register(&mut runner, &id(1), &files.of(1), RegisterOptions::default()).unwrap();
    let [of_base, first, second] = all.clone();
    let remembered = [first, second, of_base].map(|request| once(&mut runner, request).remembered);
    assert_eq!(remembered, [0, 0, 96]);
    // Forgetting a cache scope drops its prefixes under all adapters.
    assert!(runner.forget(CacheScope(1)).cached_blocks >= 18);
    assert_eq!(all.map(|request| once(&mut runner, request).remembered), [0; 3]);
}

#[test]
fn a_text_keeps_the_adapter_that_it_began_with() {
    let (model, files) = (model(), Files::new());
    let mut runner = shelf(&model, &files, 4, 0..1);
    let one = request(30, 1, 40);
    let first = runner.submit(with(0, one.clone())).unwrap();
    let mut outputs = All::new();
    for _ in 0..5 {
        step(&mut runner, &mut outputs);
    }
    let before = status(&runner, 0);
    assert_eq!((before.in_use, before.is_resident, before.rank), (1, true, 4));
    assert_eq!(register(&mut runner, &id(0), &files.of(9), REPLACES).unwrap(), before.generation + 1);
    let second = runner.submit(with(0, one.clone())).unwrap();
    step(&mut runner, &mut outputs);
    assert_eq!(status(&runner, 0).in_use, 1, "the first has the one before");
    // Unregistered, and both sequences go on.
    runner.unload_adapter(&id(0)).unwrap();
    assert!(runner.adapters().is_empty());
    assert_eq!(runner.submit(with(0, one.clone())), Err(Refused::NoAdapter));
    let unloaded = runner.unload_adapter(&id(0));
    assert!(matches!(unloaded, Err(EngineError::NoAdapter(name)) if name == "adapter-0"));
    assert!(matches!(runner.load_adapter(&id(0)), Err(EngineError::NoAdapter(_))));
    assert!(matches!(runner.pin_adapter(&id(0), true), Err(EngineError::NoAdapter(_))));
    finish(&mut runner, &mut outputs);
    assert_eq!(outputs[&first].tokens, alone(&model, &files, Some(0), &one));
    assert_eq!(outputs[&second].tokens, alone(&model, &files, Some(9), &one));
}

#[test]
fn a_text_that_is_set_back_keeps_its_generation() {
    let (model, files) = (model(), Files::new());
    // Room for two of them at full length.
    let mut runner = runner(&model, 16);
    register_all(&mut runner, &files, 0..2);
    let requests: Vec<Request> = (1..7).map(|of| request(60, of, 60)).collect();
    let submit = |(request, seed): (&Request, u64)| runner.submit(with(seed, request.clone())).unwrap();
    let ids: Vec<SequenceId> = requests.iter().zip([0, 1].into_iter().cycle()).map(submit).collect();
    let mut outputs = All::new();
    while runner.counts().preemptions == 0 {
        step(&mut runner, &mut outputs);
    }
    assert!(ids.iter().all(|id| outputs.contains_key(id)), "all of them have begun");
    for seed in 0..2 {
        register(&mut runner, &id(seed), &files.of(seed + 5), REPLACES).unwrap();
    }
    let after = runner.submit(with(0, requests[0].clone())).unwrap();
    finish(&mut runner, &mut outputs);
    for ((text, request), seed) in ids.iter().zip(&requests).zip([0, 1].into_iter().cycle()) {
        assert_eq!(outputs[text].tokens, alone(&model, &files, Some(seed), request));
    }
    assert_eq!(outputs[&after].tokens, alone(&model, &files, Some(5), &requests[0]));
    assert_eq!(runner.free_blocks(), 16);
}

#[test]
fn more_are_registered_than_are_in_memory() {
    let (model, files) = (model(), Files::new());
    let mut runner = shelf(&model, &files, 4, 0..32);
    assert_eq!(runner.adapters().len(), 32);
    assert_eq!(resident(&runner).len(), 4);
    let limit = register(&mut runner, &id(32), &files.of(32), RegisterOptions::default());
    let Err(EngineError::Weights(limit)) = limit else { panic!("{limit:?}") };
    assert!(matches!(limit, WeightsError::AdapterLimit { what: "adapters", wanted: 33, most: 32 }));
    let generations: Vec<u64> = runner.adapters().iter().map(|status| status.generation).collect();
    let mut outputs = All::new();
    let one = request(12, 1, 6);
    let ids: Vec<SequenceId> = (0..32).map(|seed| runner.submit(with(seed, one.clone())).unwrap()).collect();
    while !runner.is_idle() {
        step(&mut runner, &mut outputs);
        assert!(resident(&runner).len() <= 4);
    }
    for (text, seed) in ids.iter().zip(0..32) {
        assert_eq!(outputs[text].tokens, alone(&model, &files, Some(seed), &one), "{seed}");
    }
    let after: Vec<u64> = runner.adapters().iter().map(|status| status.generation).collect();
    assert_eq!(after, generations, "who comes back is who left");
    // The least recently used one is evicted, and when it is loaded again its cached prefixes are found
    // again.
    for seed in [3, 4, 5, 6] {
        once(&mut runner, with(seed, request(40, 2, 2)));
    }
    once(&mut runner, with(3, one.clone()));
    once(&mut runner, with(7, one));
    let mut wanted: Vec<AdapterId> = [3, 5, 6, 7].map(id).to_vec();
    wanted.sort();
    assert_eq!(resident(&runner), wanted);
    assert_eq!(once(&mut runner, with(4, request(40, 2, 2))).remembered, 32);
}

#[test]
fn nobody_waits_for_an_adapter_of_another() {
    let (model, files) = (model(), Files::new());
    let mut runner = shelf(&model, &files, 1, 0..2);
    assert_eq!(resident(&runner), [id(1)]);
    let cold = runner.submit(with(0, request(20, 1, 5))).unwrap();
    let warm = runner.submit(with(1, request(20, 2, 5))).unwrap();
    let base = runner.submit(request(20, 3, 5)).unwrap();
    let mut outputs = All::new();
    // The adapter is not read meanwhile: the requests behind it run, and it does not.
    while !runner.waits_for_adapters() {
        hear(&mut outputs, runner.step().unwrap());
    }
    assert_eq!([&warm, &base].map(|text| outputs[text].end), [Some(FinishReason::Length); 2]);
    assert!(!outputs.contains_key(&cold));
    let readings = runner.readings();
    assert_eq!(readings.len(), 1);
    let behind = runner.submit(request(20, 4, 5)).unwrap();
    assert!(!runner.waits_for_adapters());
    for reading in readings {
        runner.settle(reading.read()).unwrap();
    }
    finish(&mut runner, &mut outputs);
    assert_eq!([&cold, &behind].map(|text| outputs[text].end), [Some(FinishReason::Length); 2]);
}

#[test]
fn one_that_finds_no_room_is_not_passed_for_ever() {
    let (model, files) = (model(), Files::new());
    let mut runner = shelf(&model, &files, 1, 0..2);
    let mut outputs = All::new();
    // Requests with the other adapter keep coming, each started before the last one ends.
    for of in 0..4 {
        runner.submit(with(1, request(5, of, 10 + of as usize))).unwrap();
    }
    step(&mut runner, &mut outputs);
    let cold = runner.submit(with(0, request(5, 9, 5))).unwrap();
    let mut steps = 0;
    while !outputs.contains_key(&cold) {
        steps += 1;
        assert!(steps < 200, "it never has its turn");
        runner.submit(with(1, request(5, steps, 12))).unwrap();
        step(&mut runner, &mut outputs);
    }
    assert!(steps > 20, "others were let in before it: {steps}");
    finish(&mut runner, &mut outputs);
}

#[test]
fn one_that_stays_in_memory_stays() {
    let (model, files) = (model(), Files::new());
    let mut runner = shelf(&model, &files, 2, 0..0);
    register(&mut runner, &id(0), &files.of(0), PINNED).unwrap();
    register_all(&mut runner, &files, 1..4);
    assert_eq!(resident(&runner), [id(0), id(3)]);
    for seed in 1..4 {
        assert_eq!(once(&mut runner, with(seed, request(9, 1, 2))).end, Some(FinishReason::Length));
        assert_eq!(resident(&runner), [id(0), id(seed)]);
    }
    runner.pin_adapter(&id(3), true).unwrap();
    assert!(status(&runner, 3).is_pinned);
    // Two are pinned and two fit: no other will ever fit.
    assert_eq!(once(&mut runner, with(1, request(9, 1, 2))).end, Some(FinishReason::NoAdapter));
    assert!(status(&runner, 1).failed.is_some());
    let loaded = runner.load_adapter(&id(1));
    assert!(matches!(loaded, Err(EngineError::Weights(WeightsError::AdapterLimit { .. }))));
    let another = register(&mut runner, &id(5), &files.of(5), PINNED);
    assert!(matches!(another, Err(EngineError::Weights(WeightsError::AdapterLimit { .. }))));
    runner.pin_adapter(&id(0), false).unwrap();
    runner.load_adapter(&id(1)).unwrap();
    settle(&mut runner);
    assert_eq!(resident(&runner), [id(1), id(3)]);
}

#[test]
fn files_that_changed_or_went_end_who_waits_for_them() {
    let (model, files) = (model(), Files::new());
    let mut runner = shelf(&model, &files, 1, 0..2);
    let one = request(20, 1, 5);
    let before = once(&mut runner, with(0, one.clone()));
    assert_eq!(resident(&runner), [id(0)]);
    once(&mut runner, with(1, one.clone()));
    write(&files.of(0), 77);
    assert_eq!(once(&mut runner, with(0, one.clone())).end, Some(FinishReason::NoAdapter));
    assert!(status(&runner, 0).failed.unwrap().contains("have changed since"));
    std::fs::remove_dir_all(files.of(0)).unwrap();
    assert_eq!(once(&mut runner, with(0, one.clone())).end, Some(FinishReason::NoAdapter));
    assert!(status(&runner, 0).failed.unwrap().contains("adapter_config.json"));
    // With its original files restored, it works as before.
    write(&files.of(0), 0);
    let again = once(&mut runner, with(0, one.clone()));
    assert_eq!((again.tokens, again.end), (before.tokens, before.end));
    assert_eq!(status(&runner, 0).failed, None);
    // An adapter whose name is unregistered while a request waits for it.
    let waits = runner.submit(with(1, one)).unwrap();
    let mut outputs = All::new();
    hear(&mut outputs, runner.step().unwrap());
    runner.unload_adapter(&id(1)).unwrap();
    step(&mut runner, &mut outputs);
    assert_eq!(outputs[&waits].end, Some(FinishReason::NoAdapter));
    assert!(runner.is_idle());
    assert!(resident(&runner).is_empty(), "what was read for nobody is not kept");
}

#[test]
fn what_can_not_be_registered_leaves_all_as_it_was() {
    let (model, files) = (model(), Files::new());
    let mut runner = shelf(&model, &files, 4, 0..1);
    let before = runner.adapters();
    let known = register(&mut runner, &id(0), &files.of(1), RegisterOptions::default());
    assert!(matches!(known, Err(EngineError::AdapterKnown(name)) if name == "adapter-0"));
    let long = "a".repeat(300);
    for name in ["", long.as_str()] {
        let named = register(&mut runner, &AdapterId::from(name), &files.of(1), RegisterOptions::default());
        assert!(matches!(named, Err(EngineError::Weights(WeightsError::AdapterLimit { most: 256, .. }))));
    }
    let none = register(&mut runner, &id(0), Path::new("/nowhere"), REPLACES);
    assert!(matches!(none, Err(EngineError::Weights(WeightsError::File { .. }))));
    // Two reads for one name: the second comes too late.
    let readings = [1, 2]
        .map(|seed| runner.reading(id(3), &files.of(seed), RegisterOptions::default()).unwrap())
        .map(engine::AdapterRead::read);
    let [first, second] = readings.map(|read| runner.settle(read));
    assert!(first.is_ok());
    assert!(matches!(second, Err(EngineError::AdapterKnown(_))));
    runner.unload_adapter(&id(3)).unwrap();
    assert_eq!(runner.adapters(), before);
    let unknown = Request { adapter: Some(id(4)), group: Group(3), ..request(5, 1, 1) };
    assert_eq!(runner.submit(unknown), Err(Refused::NoAdapter));
    assert!(runner.is_idle());
}

#[test]
fn a_host_reads_them_aside_and_tells_what_came_of_it() {
    let (model, files) = (model(), Files::new());
    let limits = SchedulerLimits { bytes: 4 << 20, sequences: 8, waiting: 16, ..LIMITS };
    let kept = Limits { resident: 1, ..Limits::default() };
    let host = Host::start_with(Arc::clone(&model), limits, kept).unwrap();
    let heard = |mut receiver: tokio::sync::mpsc::Receiver<SequenceEvent>| {
        let (mut tokens, mut last) = (Vec::new(), None);
        while let Some(event) = wait(receiver.recv()) {
            match event {
                SequenceEvent::Token(drawn) => tokens.push(drawn),
                other => last = Some(other),
            }
        }
        (tokens, last.unwrap())
    };
    let register = |seed, registering| wait(host.register_adapter(id(seed), files.of(seed), registering));
    assert_eq!(register(0, RegisterOptions::default()).unwrap(), 1);
    assert_eq!(register(1, RegisterOptions::default()).unwrap(), 2);
    assert!(matches!(register(1, RegisterOptions::default()), Err(EngineError::AdapterKnown(_))));
    assert_eq!(register(1, REPLACES).unwrap(), 3);
    let broken = wait(host.register_adapter(id(7), PathBuf::from("/nowhere"), PINNED));
    assert!(matches!(broken, Err(EngineError::Weights(WeightsError::File { .. }))));
    // Two that don't fit in memory together, with nothing else to do meanwhile.
    let one = request(20, 1, 10);
    let receivers = [0, 1, 0].map(|seed| (seed, host.generate(with(seed, one.clone()))));
    for (seed, receiver) in receivers {
        let (tokens, last) = heard(receiver);
        assert_eq!(last, SequenceEvent::End(FinishReason::Length));
        assert_eq!(tokens, alone(&model, &files, Some(seed), &one));
    }
    let status = wait(host.adapters()).unwrap();
    assert_eq!(status.iter().filter(|status| status.is_resident).count(), 1);
    wait(host.load_adapter(id(1))).unwrap();
    // A caller that waits for an adapter is notified when it is loaded, and when it can't be.
    let is_resident = |seed: u64| {
        let status = wait(host.adapters()).unwrap();
        status.iter().any(|status| status.id == id(seed) && status.is_resident)
    };
    for seed in [1, 0, 1] {
        wait(host.bring_adapter(id(seed))).unwrap();
        assert!(is_resident(seed) && !is_resident(1 - seed));
    }
    let kept = files.of(0).join("adapter_model.safetensors");
    std::fs::rename(&kept, kept.with_extension("away")).unwrap();
    let unread = wait(host.bring_adapter(id(0)));
    assert!(matches!(unread, Err(EngineError::AdapterUnread { .. })), "{unread:?}");
    std::fs::rename(kept.with_extension("away"), &kept).unwrap();
    wait(host.bring_adapter(id(0))).unwrap();
    assert!(matches!(wait(host.bring_adapter(id(9))), Err(EngineError::NoAdapter(_))));
    wait(host.bring_adapter(id(1))).unwrap();
    wait(host.pin_adapter(id(1), true)).unwrap();
    wait(host.unload_adapter(id(1))).unwrap();
    assert!(matches!(wait(host.unload_adapter(id(1))), Err(EngineError::NoAdapter(_))));
    assert_eq!(heard(host.generate(with(1, one))).1, SequenceEvent::Refused(Refused::NoAdapter));
}

#[test]
fn a_host_refuses_an_adapter_if_too_many_wait_to_be_read() {
    let (model, files) = (model(), Files::new());
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap();
    let waits = Arc::clone(&gate);
    // The first read asks how much memory is available, and waits for the answer.
    let available_memory = AvailableMemory::new(move || {
        if std::thread::current().name() == Some("engine-reader") {
            drop(waits.lock().unwrap());
        }
        None
    });
    let limits = Limits { registered: 1, ..Limits::default() };
    let host = Host::of(runner(&model, 64).with_limits(limits).within(available_memory)).unwrap();
    let register = |seed| host.register_adapter(id(seed), files.of(seed), RegisterOptions::default());
    let mut first = Box::pin(register(0));
    // One read waits for that of the first; or the first waits still, and is the only one that may.
    let refused = wait(async {
        tokio::select! {
            biased;
            result = &mut first => result,
            result = register(1) => result,
            result = register(2) => result,
        }
    });
    let Err(EngineError::Weights(WeightsError::AdapterLimit { what, wanted: 2, most: 1 })) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(what, "adapters that wait to be loaded");
    drop(closed);
    assert_eq!(wait(first).unwrap(), 1);
}

#[test]
fn what_finds_no_memory_is_not_brought_in_and_the_rest_goes_on() {
    let (model, files) = (model(), Files::new());
    let left = Arc::new(AtomicU64::new(u64::MAX));
    let available = Arc::clone(&left);
    let available_memory = AvailableMemory::new(move || Some(available.load(Ordering::Relaxed)));
    let limits = Limits { resident: 1, ..Limits::default() };
    let mut runner = runner(&model, 64).with_limits(limits).within(available_memory);
    register_all(&mut runner, &files, 1..3);
    let bytes = status(&runner, 1).bytes;
    // Its files are read as they are and then rearranged, so that both copies count.
    left.store(bytes * 2 - 1, Ordering::Relaxed);
    let refused = register(&mut runner, &id(3), &files.of(3), RegisterOptions::default()).unwrap_err();
    let EngineError::Weights(WeightsError::Memory { wanted, .. }) = refused else { panic!("{refused}") };
    assert_eq!(wanted, bytes * 2);
    assert!(runner.adapters().iter().all(|status| status.id != id(3)));
    // The first was evicted for the second, and can't be reloaded as long as there is no memory.
    assert_eq!(resident(&runner), [id(2)]);
    assert!(!runner.load_adapter(&id(1)).unwrap());
    for reading in runner.readings() {
        runner.settle(reading.read()).unwrap_err();
    }
    assert!(status(&runner, 1).failed.unwrap().contains("of memory"));
    left.store(bytes * 2, Ordering::Relaxed);
    assert!(!runner.load_adapter(&id(1)).unwrap());
    settle(&mut runner);
    assert_eq!((resident(&runner), status(&runner, 1).failed), (vec![id(1)], None));
}
