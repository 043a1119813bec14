//! The prefix cache on disk: after a restart, what was computed before is read instead, and every output is what it would
//! be without it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::Secret;
use domain::runtime::{ClearedDisk, Runtime};
use engine::{
    AdapterId, CacheScope, EmbeddingInput, EngineError, Group, Local, LocalSettings, Processor,
    RegisterOptions, Request, SampledToken, Sampling, Scheduler, StepEvent,
};
use kernels::{BLOCK, KvCache, KvDtype, Model};
use prefixes::{BlockShape, DiskCache, DiskCacheSettings};
use tempfile::TempDir;
use weights::Source;
use weights::synthetic::SyntheticAdapter;
use world::World;

use crate::local::{chat_request, files_of, run, settings, wait};
use crate::running::{BOTH, model, request, run_out, runner_that, submit_all};
use crate::shapes;

fn disk_settings(root: &Path) -> DiskCacheSettings {
    DiskCacheSettings {
        directory: root.join("prefixes"),
        bytes_max: 64 << 20,
        key: Arc::new(Secret::new(vec![1; 32])),
        world: World::system(),
    }
}

/// A runner with this many KV cache blocks, and the cache of this directory on disk.
fn runner_on(root: &Path, keeps: KvDtype, model: &Arc<Model>, blocks: usize) -> Scheduler {
    let block = BlockShape { tokens: BLOCK, bytes: KvCache::block_bytes(model.shape(), keeps) };
    let format = KvCache::format(model.shape(), keeps);
    let disk = DiskCache::open(disk_settings(root), &format, block).unwrap();
    runner_that(keeps, model, blocks).with_disk(disk)
}

/// Runs requests at once. For each, how many of its tokens were cached, and its output.
fn outputs(runner: &mut Scheduler, requests: &[Request]) -> Vec<(usize, Vec<SampledToken>)> {
    let ids = submit_all(runner, requests);
    let mut outputs = vec![(usize::MAX, Vec::new()); requests.len()];
    let at = |sequence| ids.iter().position(|id| *id == sequence).unwrap();
    while !runner.is_idle() {
        for happened in runner.step().unwrap() {
            match happened {
                StepEvent::Scheduled { sequence, cached_tokens } => outputs[at(sequence)].0 = cached_tokens,
                StepEvent::Token { sequence, drawn } => outputs[at(sequence)].1.push(drawn),
                StepEvent::State { .. } | StepEvent::End { .. } => {}
            }
        }
    }
    outputs
}

fn output(runner: &mut Scheduler, request: &Request) -> (usize, Vec<SampledToken>) {
    outputs(runner, std::slice::from_ref(request)).remove(0)
}

fn greedy(request: Request) -> Request {
    Request { sampling: Sampling { temperature: 0.0, ..Sampling::default() }, ..request }
}

/// The files of the blocks on disk.
fn files(root: &Path) -> Vec<PathBuf> {
    let entries = |path: &Path| -> Vec<PathBuf> {
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let folders = entries(&root.join("prefixes")).into_iter().filter(|path| path.is_dir());
    folders.flat_map(|folder| entries(&folder)).filter(|path| path.extension().is_some()).collect()
}

#[test]
fn what_was_computed_before_a_restart_is_read_and_the_output_is_the_same() {
    let model = model();
    for keeps in BOTH {
        for request in [request(100, 1, 40), greedy(request(100, 1, 40))] {
            let root = tempfile::tempdir().unwrap();
            let (_, expected) = output(&mut runner_that(keeps, &model, 64), &request);
            let mut runner = runner_on(root.path(), keeps, &model, 64);
            assert_eq!(output(&mut runner, &request), (0, expected.clone()));
            assert_eq!(output(&mut runner, &request), (96, expected.clone()), "from memory");
            drop(runner);
            let mut runner = runner_on(root.path(), keeps, &model, 64);
            assert_eq!(output(&mut runner, &request), (96, expected.clone()));
            assert_eq!(runner.counts().rows, 4 + 39, "what was read is not computed");
            // The answer is a prefix, too: of the next turn.
            let mut longer = request.clone();
            longer.prompt.extend(expected.iter().map(|drawn| drawn.token));
            longer.prompt.push(7);
            drop(runner);
            let (_, expected) = output(&mut runner_that(keeps, &model, 64), &longer);
            let mut runner = runner_on(root.path(), keeps, &model, 64);
            assert_eq!(output(&mut runner, &longer), (128, expected));
            assert_eq!(runner.free_blocks(), 64);
        }
    }
}

#[test]
fn what_was_evicted_from_memory_is_read_while_others_decode() {
    let model = model();
    let root = tempfile::tempdir().unwrap();
    let requests: Vec<Request> =
        [60, 100, 33, 90, 50].into_iter().zip(1..).map(|(length, of)| request(length, of, 30)).collect();
    let by_itself = |request: &Request| output(&mut runner_that(KvDtype::F16, &model, 64), request).1;
    let alone: Vec<Vec<SampledToken>> = requests.iter().map(by_itself).collect();
    let mut runner = runner_on(root.path(), KvDtype::F16, &model, 10);
    for (request, expected) in requests.iter().zip(&alone) {
        assert_eq!(&output(&mut runner, request).1, expected);
    }
    // Prompts and answers, without the last token of each, which is not computed.
    let stored: u64 = requests.iter().map(|request| (request.prompt.len() as u64 + 29) / 16).sum();
    while runner.disk_counts().unwrap().stored_blocks < stored {
        std::thread::yield_now();
    }
    assert_eq!(output(&mut runner, &requests[0]), (48, alone[0].clone()));
    // All at once have too little memory, so that they are preempted, and read again.
    for _ in 0..2 {
        let together = outputs(&mut runner, &requests);
        assert!(together.iter().map(|(_, output)| output).eq(&alone), "{together:?}");
    }
    assert!(runner.counts().preemptions > 0);
    assert_eq!(runner.free_blocks(), 10);
}

#[test]
fn what_is_damaged_on_disk_is_computed() {
    let model = model();
    let request = request(100, 1, 20);
    let root = tempfile::tempdir().unwrap();
    let (_, expected) = output(&mut runner_on(root.path(), KvDtype::F16, &model, 64), &request);
    let damaged = files(root.path());
    assert_eq!(damaged.len(), 7);
    for path in &damaged {
        let mut bytes = fs::read(path).unwrap();
        if path.extension().is_some_and(|depth| depth == "3") {
            bytes[1000] ^= 1;
        }
        fs::write(path, bytes).unwrap();
    }
    let found = || output(&mut runner_on(root.path(), KvDtype::F16, &model, 64), &request);
    assert_eq!(found(), (48, expected.clone()));
    assert_eq!(found(), (96, expected.clone()));
    files(root.path()).iter().for_each(|path| fs::write(path, b"short").unwrap());
    assert_eq!(found(), (0, expected));
}

#[test]
fn a_sequence_that_is_cancelled_forgotten_or_short_of_memory_while_it_is_read_goes_its_way() {
    let model = model();
    let root = tempfile::tempdir().unwrap();
    let ours = request(200, 1, 10);
    let (_, expected) = output(&mut runner_on(root.path(), KvDtype::F16, &model, 64), &ours);
    let mut runner = runner_on(root.path(), KvDtype::F16, &model, 64);
    let cancelled = runner.submit(ours.clone()).unwrap();
    assert!(runner.step().unwrap().is_empty(), "it is being read");
    runner.cancel(cancelled);
    assert!(runner.is_idle());
    assert_eq!(runner.free_blocks(), 64);
    // Forgotten, it is not found by others, whether it was read before or not.
    runner.submit(ours.clone()).unwrap();
    assert!(runner.step().unwrap().is_empty());
    assert_eq!(runner.forget(CacheScope(1)).held_sequences, 1);
    run_out(&mut runner);
    let again = Request { prompt: ours.prompt[..17].to_vec(), ..ours.clone() };
    let from_disk = output(&mut runner, &again);
    assert_eq!(from_disk.0, 16, "the disk is cleared by itself");
    drop(runner);
    // It fits with its answer and nothing else does.
    let mut runner = runner_on(root.path(), KvDtype::F16, &model, 14);
    let together = outputs(&mut runner, &[ours.clone(), ours]);
    assert!(together.iter().all(|(_, output)| *output == expected));
}

#[test]
fn prefixes_of_another_scope_adapter_or_kind_are_not_read() {
    let model = model();
    let root = tempfile::tempdir().unwrap();
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for (directory, seed) in [(&first, 1), (&second, 2)] {
        let made = SyntheticAdapter::new(&shapes::dense(), &["q_proj", "v_proj", "down_proj"], 4, seed);
        made.write(directory.path(), engine::Numbers::F32).unwrap();
    }
    let register = |runner: &mut Scheduler, id: &str, directory: &TempDir| {
        let reading = runner.reading(AdapterId::from(id), directory.path(), RegisterOptions::default());
        runner.settle(reading.unwrap().read()).unwrap();
    };
    let ours = request(100, 1, 20);
    let adapted = |id: &str| Request { adapter: Some(AdapterId::from(id)), ..ours.clone() };
    let mut runner = runner_on(root.path(), KvDtype::F16, &model, 64);
    register(&mut runner, "law", &first);
    let expected = output(&mut runner, &adapted("law"));
    assert_eq!(expected.0, 0);
    let input =
        EmbeddingInput { tokens: (0..64).collect(), group: Group(1), adapter: None, shared_prefix: None };
    runner.read(input).unwrap();
    run_out(&mut runner);
    drop(runner);
    assert_eq!(files(root.path()).len(), 7, "of the answer alone");
    // After a restart the same adapter is known by another name and registered as another generation.
    let mut runner = runner_on(root.path(), KvDtype::F16, &model, 64);
    register(&mut runner, "law", &second);
    register(&mut runner, "tax", &first);
    assert_eq!(output(&mut runner, &adapted("law")).0, 0);
    assert_eq!(output(&mut runner, &ours).0, 0);
    assert_eq!(output(&mut runner, &Request { cache_scope: CacheScope(2), ..adapted("tax") }).0, 0);
    assert_eq!(output(&mut runner, &adapted("tax")), (96, expected.1));
    drop(runner);
    assert_eq!(output(&mut runner_on(root.path(), KvDtype::Q8, &model, 64), &ours).0, 0);
}

#[test]
fn a_model_finds_its_prefixes_after_a_restart_until_they_are_purged() {
    let (root, model) = (tempfile::tempdir().unwrap(), files_of(7));
    let open = |files: &TempDir, processor| {
        let source = Source::open(files.path()).unwrap();
        let disk_cache = Some(disk_settings(root.path()));
        Local::open_on(&source, LocalSettings { disk_cache, ..settings(&source, 10) }, processor)
    };
    let opened = || open(&model, Processor::Own).unwrap();
    let salted = |salt: &str| {
        let mut request = chat_request(&"high tide ".repeat(20), 12);
        request.parameters.cache_scope = Some(salt.to_owned());
        request
    };
    let local = opened();
    let first = run(&local, salted("a")).unwrap();
    assert_eq!(first.usage.cached_read, 0);
    run(&local, salted("b")).unwrap();
    drop(local);
    let local = opened();
    let again = run(&local, salted("a")).unwrap();
    assert_eq!((&again.texts, &again.reasons), (&first.texts, &first.reasons));
    assert!(again.usage.cached_read + 16 >= first.usage.prompt_total(), "{:?}", again.usage);
    assert_eq!(local.disk_cache().unwrap().hits * BLOCK as u64, again.usage.cached_read);
    let purged = wait(local.clear_prefix_cache(Some("a".to_owned()))).unwrap();
    assert!(purged.disk.unwrap().blocks >= again.usage.cached_read / BLOCK as u64, "{purged:?}");
    let nothing = wait(local.clear_prefix_cache(Some("a".to_owned()))).unwrap();
    assert_eq!((nothing.tokens, nothing.disk), (0, Some(ClearedDisk::default())));
    drop(local);
    // Other weights of the same shape find nothing, and neither does an accelerator, which has no such cache.
    let other = files_of(8);
    assert_eq!(run(&open(&other, Processor::Own).unwrap(), salted("b")).unwrap().usage.cached_read, 0);
    let refused = open(&model, Processor::Tensors).unwrap_err();
    assert!(matches!(refused, EngineError::Processor { .. }), "{refused}");
    let local = opened();
    assert_eq!(run(&local, salted("a")).unwrap().usage.cached_read, 0);
    assert_eq!(run(&local, salted("b")).unwrap().usage.cached_read, again.usage.cached_read);
}
