//! Training while serving: priority, cancellation, resumption and the estimate.

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use domain::adapters::{Adapters, NewAdapter};
use domain::runtime::{BoxedGeneration, Runtime};
use domain::training::{
    HeldOut, RunEnd, Step, Trainer, TrainingDirectories, TrainingError, TrainingInput, TrainingObserver,
    TrainingSettings, checkpoint_directory_name,
};
use engine::Local;

use crate::local::{chat_request, open_kept as open, run, wait};

const LINES: &[u8] = b"{\"messages\":[{\"role\":\"user\",\"content\":\"tide\"},{\"role\":\"assistant\",\"content\":\"high\"}]}\n\
{\"messages\":[{\"role\":\"user\",\"content\":\"ebb\"},{\"role\":\"assistant\",\"content\":\"low, and lower\"}]}\n";

struct Watcher {
    /// Cancels when it has been polled this often.
    polls_max: usize,
    polls: AtomicUsize,
    /// The polls before the first step.
    polls_at_start: AtomicUsize,
    is_off: AtomicBool,
    /// Whether a cancelled run is to be resumed later.
    is_later: AtomicBool,
    steps: AtomicUsize,
    /// The steps at which an epoch's result was written.
    left: Mutex<Vec<u64>>,
    /// The last step that was done.
    last: Mutex<Option<Step>>,
    /// Receives a message when the run starts.
    progress: Mutex<Sender<(u64, u64)>>,
}

impl Watcher {
    fn new(polls_max: usize) -> (Arc<Self>, Receiver<(u64, u64)>) {
        let (progress, started) = channel();
        let watcher = Self {
            polls_max,
            polls: AtomicUsize::new(0),
            polls_at_start: AtomicUsize::new(0),
            is_off: AtomicBool::new(false),
            is_later: AtomicBool::new(false),
            steps: AtomicUsize::new(0),
            left: Mutex::default(),
            last: Mutex::default(),
            progress: Mutex::new(progress),
        };
        (Arc::new(watcher), started)
    }

    fn steps(&self) -> usize {
        self.steps.load(Ordering::SeqCst)
    }
}

impl TrainingObserver for Watcher {
    fn is_cancelled(&self) -> bool {
        let polls = self.polls.fetch_add(1, Ordering::SeqCst) + 1;
        polls > self.polls_max || self.is_off.load(Ordering::SeqCst)
    }

    fn will_resume(&self) -> bool {
        self.is_later.load(Ordering::SeqCst)
    }

    fn on_start(&self, step: u64, of: u64, last: Option<&Step>) {
        self.last.lock().unwrap().clone_from(&last.cloned());
        self.polls_at_start.store(self.polls.load(Ordering::SeqCst), Ordering::SeqCst);
        self.progress.lock().unwrap().send((step, of)).unwrap();
    }

    fn on_step(&self, step: &Step) {
        assert!(step.loss.is_finite() && step.steps_total > 0);
        self.steps.fetch_add(1, Ordering::SeqCst);
        if step.has_epoch_adapter {
            self.left.lock().unwrap().push(step.step);
        }
        *self.last.lock().unwrap() = Some(step.clone());
    }
}

fn course(local: &Local) -> TrainingSettings {
    let usual = local.default_settings(None).unwrap();
    TrainingSettings { epochs: 6, rate: 1e-2, step_texts: Some(1), checkpoint_every: 2, ..usual }
}

fn lesson(course: &TrainingSettings) -> TrainingInput<'_> {
    TrainingInput { settings: course, training_set: LINES, validation_set: b"", from: None }
}

/// A directory with a subdirectory for each run.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a training in the subdirectory of this name.
    fn train(
        &self,
        local: &Local,
        lesson: &TrainingInput<'_>,
        name: &str,
        watch: &Watcher,
    ) -> Result<RunEnd, TrainingError> {
        let [work, epochs, result] = ["work", "epochs", "result"].map(|of| self.path(name).join(of));
        local.train(lesson, &TrainingDirectories { work: &work, epochs: &epochs, result: &result }, watch)
    }

    /// The same, watched to its end.
    fn trained(
        &self,
        local: &Local,
        lesson: &TrainingInput<'_>,
        name: &str,
    ) -> (Arc<Watcher>, Receiver<(u64, u64)>) {
        let (watch, started) = Watcher::new(usize::MAX);
        self.train(local, lesson, name, &watch).unwrap();
        (watch, started)
    }

    fn result(&self, name: &str) -> PathBuf {
        self.path(name).join("result")
    }

    fn weights(&self, name: &str) -> Vec<u8> {
        weights(&self.result(name))
    }
}

fn weights(directory: &Path) -> Vec<u8> {
    std::fs::read(directory.join("adapter_model.safetensors")).unwrap()
}

fn refusal<T: std::fmt::Debug>(refused: Result<T, TrainingError>) -> Box<domain::Fault> {
    match refused {
        Err(TrainingError::Fault(fault)) => fault,
        other => panic!("it was not refused: {other:?}"),
    }
}

#[test]
fn what_is_told_beforehand_is_what_is_trained() {
    let (local, _files) = open(10);
    let course = course(&local);
    let outlook = local.estimate(&lesson(&course), &|| true).unwrap();
    assert_eq!((outlook.texts, outlook.held_out_texts, outlook.steps), (2, 0, 12));
    assert!(outlook.learned_tokens > 0 && outlook.learned_tokens < outlook.tokens, "{outlook:?}");
    // In each of three layers: four projections of attention and three of the MLP, at rank 8.
    let (hidden, queries, kv, inner) = (64, 128, 64, 128);
    let attention = 2 * (hidden + queries) + 2 * (hidden + kv);
    assert_eq!(outlook.parameters, 3 * 8 * (attention + 3 * (hidden + inner)));
    let held_out = TrainingSettings { held_out: HeldOut::Share(0.5), ..course.clone() };
    let outlook = local.estimate(&lesson(&held_out), &|| true).unwrap();
    assert_eq!((outlook.texts, outlook.held_out_texts, outlook.steps), (1, 1, 6));
    let beside = TrainingInput { validation_set: LINES, ..lesson(&course) };
    assert_eq!(local.estimate(&beside, &|| true).unwrap().held_out_texts, 2);
    let bad = TrainingInput { validation_set: b"{}", ..lesson(&course) };
    assert!(matches!(local.estimate(&bad, &|| true), Err(TrainingError::Lines { of_held_out: true, .. })));
    let none = TrainingSettings { targets: vec!["lm_head".to_owned()], ..course };
    let fault = refusal(local.estimate(&lesson(&none), &|| true));
    assert_eq!(fault.param.as_deref(), Some("targets"), "{fault}");
}

#[test]
fn what_was_trained_is_served_and_the_model_stays_as_it_is() {
    let (local, _files) = open(10);
    let desk = Desk::new();
    let before = run(&local, chat_request("tide", 8)).unwrap().texts;
    let (course, result) = (course(&local), desk.result("tides"));
    let (watch, started) = Watcher::new(usize::MAX);
    let end = desk.train(&local, &lesson(&course), "tides", &watch).unwrap();
    assert_eq!((end, started.recv().unwrap(), watch.steps()), (RunEnd::Whole, (0, 12), 12));
    let new = NewAdapter { id: "tides".into(), directory: result, replaces: false, is_pinned: false };
    wait(local.register(new)).unwrap();
    let mut with = chat_request("tide", 8);
    with.model = "tiny:tides".to_owned();
    assert_ne!(run(&local, with).unwrap().texts, before);
    assert_eq!(run(&local, chat_request("tide", 8)).unwrap().texts, before);
}

/// Starts more output than fits into the time of a test.
fn answers(local: &Local) -> Vec<BoxedGeneration> {
    let mut request = chat_request("tide", 2_000);
    request.parameters.ignore_eos = true;
    let mut answers: Vec<_> = (0..32).map(|_| local.generate(request.clone()).unwrap()).collect();
    let first = wait(poll_fn(|cx| answers[0].as_mut().poll_next(cx)));
    assert!(first.unwrap().is_ok());
    answers
}

#[test]
fn it_stands_still_while_something_is_answered_and_is_called_off_there() {
    let (local, _files) = open(40);
    let desk = Desk::new();
    let course = course(&local);
    for is_off in [true, false] {
        let open = answers(&local);
        let (watch, started) = Watcher::new(usize::MAX);
        std::thread::scope(|scope| {
            let trains = scope.spawn(|| desk.train(&local, &lesson(&course), "tides", &watch));
            started.recv().unwrap();
            // One poll before it waits; the next comes when something wakes it.
            let before = watch.polls_at_start.load(Ordering::SeqCst);
            let deadline = Instant::now() + Duration::from_secs(30);
            while watch.polls.load(Ordering::SeqCst) == before {
                assert!(Instant::now() < deadline, "nothing wakes the training");
                std::thread::yield_now();
            }
            assert_eq!(watch.steps(), 0, "it went on beside an answer");
            if is_off {
                watch.is_off.store(true, Ordering::SeqCst);
                local.wake();
                assert_eq!(trains.join().unwrap().unwrap(), RunEnd::Cancelled);
                assert_eq!(watch.steps(), 0);
                return;
            }
            drop(open);
            assert_eq!(trains.join().unwrap().unwrap(), RunEnd::Whole);
            assert_eq!(watch.steps(), 12);
        });
    }
}

#[test]
fn it_is_called_off_within_a_step_and_goes_on_to_the_same_end() {
    let (local, _files) = open(10);
    let (course, desk) = (course(&local), Desk::new());
    let (ready, _started) = desk.trained(&local, &lesson(&course), "whole");
    let whole = ready.polls.load(Ordering::SeqCst);
    // The polls before the first step: the same number each time.
    let (again, _started) = desk.trained(&local, &lesson(&course), "whole");
    let before = again.polls.load(Ordering::SeqCst);
    let a_step = (whole - before) / 12;
    assert!(a_step >= 6, "each of three layers, there and back: {a_step}");
    for (name, is_later, from) in [("broken", false, 4), ("paused", true, 5)] {
        let (watch, _started) = Watcher::new(before + 5 * a_step + 2);
        watch.is_later.store(is_later, Ordering::SeqCst);
        let end = desk.train(&local, &lesson(&course), name, &watch).unwrap();
        assert_eq!((end, watch.steps()), (RunEnd::Cancelled, 5), "in the midst of the sixth");
        assert!(!desk.result(name).exists());
        let (again, started) = desk.trained(&local, &lesson(&course), name);
        let steps = 12 - usize::try_from(from).unwrap();
        let found = (started.recv().unwrap(), again.steps());
        assert_eq!(found, ((from, 12), steps), "{name}: from where it was kept");
        assert!(desk.weights("whole") == desk.weights(name), "{name}: the same steps made other weights");
    }
}

#[test]
fn what_each_epoch_came_to_is_left_as_an_adapter_that_answers() {
    let (local, _files) = open(10);
    let (desk, course) = (Desk::new(), TrainingSettings { epochs: 3, ..course(&local) });
    let (watch, _started) = desk.trained(&local, &lesson(&course), "three");
    assert_eq!(*watch.left.lock().unwrap(), [2, 4], "the end of the last is the result");
    let left = |name: &str, step| desk.path(name).join("epochs").join(checkpoint_directory_name(step));
    assert!(weights(&left("three", 2)) != weights(&left("three", 4)));
    assert!(weights(&left("three", 4)) != desk.weights("three"));
    let new = NewAdapter { id: "two".into(), directory: left("three", 4), replaces: false, is_pinned: false };
    wait(local.register(new)).unwrap();
    // Interrupted in the next epoch, and resumed from before the end of this one: the same result is written
    // again.
    let late = TrainingSettings { checkpoint_every: 3, ..course };
    let (once, _started) = desk.trained(&local, &lesson(&late), "once");
    let polls = once.polls.load(Ordering::SeqCst);
    let (broken, _started) = Watcher::new(polls - 3);
    desk.train(&local, &lesson(&late), "broken", &broken).unwrap();
    assert_eq!(broken.steps(), 5);
    std::fs::remove_dir_all(left("broken", 4)).unwrap();
    let (again, started) = desk.trained(&local, &lesson(&late), "broken");
    assert_eq!((started.recv().unwrap(), again.left.lock().unwrap().as_slice()), ((3, 6), [4].as_slice()));
    assert!(weights(&left("broken", 4)) == weights(&left("once", 4)));
}

#[test]
fn the_step_that_was_kept_last_is_told_again() {
    let (local, _files) = open(10);
    let (desk, course) = (Desk::new(), TrainingSettings { epochs: 2, ..course(&local) });
    let (watch, _started) = desk.trained(&local, &lesson(&course), "run");
    let last = watch.last.lock().unwrap().clone().unwrap();
    let (again, started) = desk.trained(&local, &lesson(&course), "run");
    assert_eq!((started.recv().unwrap(), again.steps()), ((4, 4), 0));
    assert_eq!(again.last.lock().unwrap().clone().unwrap(), last, "to the last digit");
}

#[test]
fn it_goes_on_from_an_adapter_and_from_no_other_than_it_says() {
    let (local, _files) = open(10);
    let (desk, course) =
        (Desk::new(), TrainingSettings { rank: 4, alpha: 12.0, epochs: 2, ..course(&local) });
    let (watch, _started) = desk.trained(&local, &lesson(&course), "first");
    let loss = watch.last.lock().unwrap().as_ref().unwrap().loss;
    let first = desk.result("first");
    let usual = local.default_settings(Some(&first)).unwrap();
    let (mut targets, mut all) = (usual.targets.clone(), course.targets.clone());
    targets.sort();
    all.sort();
    assert_eq!((usual.rank, usual.alpha, targets), (4, 12.0, all), "what it is trained with is what it was");
    let from = TrainingInput { from: Some(&first), ..lesson(&course) };
    // With almost no learning rate, the result equals the start; a whole run ends better than the first one.
    let still = TrainingSettings { rate: 1e-30, epochs: 1, ..course.clone() };
    desk.trained(&local, &TrainingInput { settings: &still, ..from }, "still");
    assert!(desk.weights("still") == desk.weights("first"), "it did not begin as the adapter is");
    let (watch, _started) = desk.trained(&local, &from, "second");
    assert!(watch.last.lock().unwrap().as_ref().unwrap().loss < loss);
    // Interrupted and resumed, it has the same result.
    let (broken, _started) = Watcher::new(watch.polls.load(Ordering::SeqCst) - 3);
    desk.train(&local, &from, "broken", &broken).unwrap();
    desk.trained(&local, &from, "broken");
    assert!(desk.weights("broken") == desk.weights("second"));
    let refused = |course: TrainingSettings, from: &Path, field: &str, why: &str| {
        let lesson = TrainingInput { from: Some(from), ..lesson(&course) };
        let fault = refusal(local.estimate(&lesson, &|| true));
        assert_eq!(fault.param.as_deref(), Some(field), "{fault}");
        assert!(fault.message.contains(why), "{fault}");
    };
    refused(TrainingSettings { rank: 8, ..course.clone() }, &first, "rank", "is 8, but the adapter");
    refused(TrainingSettings { alpha: 1.0, ..course.clone() }, &first, "alpha", "has 12");
    refused(TrainingSettings { is_rank_stable: true, ..course.clone() }, &first, "is_rank_stable", "is true");
    let one = TrainingSettings { targets: vec!["q_proj".into()], ..course.clone() };
    refused(one, &first, "targets", "is q_proj");
    refused(course.clone(), &desk.path("none"), "from", "adapter_config.json");
    let config = std::fs::read_to_string(first.join("adapter_config.json")).unwrap();
    let config = config.replace("\"rank_pattern\": {}", "\"rank_pattern\": {\"q_proj\": 4}");
    std::fs::write(first.join("adapter_config.json"), config).unwrap();
    refused(course, &first, "from", "\"rank_pattern\"");
}

#[test]
fn reading_is_broken_off_between_texts() {
    let (local, _files) = open(10);
    let (desk, course) = (Desk::new(), course(&local));
    let lines = LINES.repeat(500);
    let lesson = TrainingInput { training_set: &lines, ..lesson(&course) };
    let polls = AtomicUsize::new(0);
    let outlook = local.estimate(&lesson, &|| polls.fetch_add(1, Ordering::SeqCst) < 10);
    assert!(matches!(outlook, Err(TrainingError::Cancelled)));
    // Once within the text that is abandoned, and once after it.
    let polls = polls.load(Ordering::SeqCst);
    assert!((11..=13).contains(&polls), "{polls}");
    let (watch, started) = Watcher::new(50);
    assert_eq!(desk.train(&local, &lesson, "run", &watch).unwrap(), RunEnd::Cancelled);
    assert!(started.try_recv().is_err(), "it had not begun");
    let polls = watch.polls.load(Ordering::SeqCst);
    assert!((51..=53).contains(&polls), "{polls}");
}

#[test]
fn it_goes_on_beside_the_model_that_it_began_with_and_no_other() {
    let (local, files) = open(10);
    let (desk, course) = (Desk::new(), course(&local));
    let (ready, _started) = desk.trained(&local, &lesson(&course), "whole");
    let path = files.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let (watch, _started) = Watcher::new(ready.polls.load(Ordering::SeqCst) - 40);
    assert_eq!(desk.train(&local, &lesson(&course), "run", &watch).unwrap(), RunEnd::Cancelled);
    let mut other = bytes.clone();
    // Flips one bit of one weight; the metadata stays the same.
    *other.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &other).unwrap();
    let (again, _started) = Watcher::new(usize::MAX);
    let fault = refusal(desk.train(&local, &lesson(&course), "run", &again));
    assert_eq!(fault.code, "base_changed", "{fault}");
    std::fs::write(&path, &bytes).unwrap();
    desk.train(&local, &lesson(&course), "run", &again).unwrap();
    assert!(desk.weights("run") == desk.weights("whole"));
}
