//! A model that is trained beside what it answers: which goes first, when it stops, and what is told of it beforehand.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use domain::adapters::{Adapters, NewAdapter};
use domain::runtime::{Generating, Runtime};
use domain::training::{Course, HeldOut, Lesson, RunEnd, Step, Trainer, Unfit, Watch};
use engine::Local;

use crate::local::{asked, open_kept as open, run, wait};

const LINES: &[u8] = b"{\"messages\":[{\"role\":\"user\",\"content\":\"tide\"},{\"role\":\"assistant\",\"content\":\"high\"}]}\n\
{\"messages\":[{\"role\":\"user\",\"content\":\"ebb\"},{\"role\":\"assistant\",\"content\":\"low, and lower\"}]}\n";

struct Watcher {
    /// Called off when it has asked so often.
    asks: usize,
    asked: AtomicUsize,
    is_off: AtomicBool,
    steps: AtomicUsize,
    /// Told when it begins, and at the first time it asks.
    begun: Mutex<Sender<(u64, u64)>>,
}

impl Watcher {
    fn new(asks: usize) -> (Arc<Self>, Receiver<(u64, u64)>) {
        let (begun, told) = channel();
        let (asked, steps, is_off) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        (Arc::new(Self { asks, asked, is_off, steps, begun: Mutex::new(begun) }), told)
    }

    fn steps(&self) -> usize {
        self.steps.load(Ordering::SeqCst)
    }
}

impl Watch for Watcher {
    fn is_called_off(&self) -> bool {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        asked > self.asks || self.is_off.load(Ordering::SeqCst)
    }

    fn begun(&self, step: u64, of: u64) {
        self.begun.lock().unwrap().send((step, of)).unwrap();
    }

    fn went(&self, step: &Step) {
        assert!(step.loss.is_finite() && step.of > 0);
        self.steps.fetch_add(1, Ordering::SeqCst);
    }
}

fn course(local: &Local) -> Course {
    let usual = local.usual();
    Course { epochs: 6, rate: 1e-2, step_texts: Some(1), checkpoint_every: 2, ..usual }
}

fn lesson(course: &Course) -> Lesson<'_> {
    Lesson { course, learned: LINES, held_out: b"" }
}

#[test]
fn what_is_told_beforehand_is_what_is_trained() {
    let (local, _files) = open(10);
    let course = course(&local);
    let outlook = local.outlook(&lesson(&course)).unwrap();
    assert_eq!((outlook.texts, outlook.held_out_texts, outlook.steps), (2, 0, 12));
    assert!(outlook.learned_tokens > 0 && outlook.learned_tokens < outlook.tokens, "{outlook:?}");
    // Each of three layers: four products of attention and three behind it, of a rank of 8.
    let (hidden, queries, kv, inner) = (64, 128, 64, 128);
    let attention = 2 * (hidden + queries) + 2 * (hidden + kv);
    assert_eq!(outlook.parameters, 3 * 8 * (attention + 3 * (hidden + inner)));
    let held_out = Course { held_out: HeldOut::Share(0.5), ..course.clone() };
    let outlook = local.outlook(&lesson(&held_out)).unwrap();
    assert_eq!((outlook.texts, outlook.held_out_texts, outlook.steps), (1, 1, 6));
    let beside = Lesson { held_out: LINES, ..lesson(&course) };
    assert_eq!(local.outlook(&beside).unwrap().held_out_texts, 2);
    let bad = Lesson { held_out: b"{}", ..lesson(&course) };
    assert!(matches!(local.outlook(&bad), Err(Unfit::Lines { of_held_out: true, .. })));
    let none = Course { targets: vec!["lm_head".to_owned()], ..course };
    let Err(Unfit::Fault(fault)) = local.outlook(&lesson(&none)) else { panic!("it was taken") };
    assert_eq!(fault.param.as_deref(), Some("targets"), "{fault}");
}

#[test]
fn what_was_trained_is_served_and_the_model_stays_as_it_is() {
    let (local, _files) = open(10);
    let work = tempfile::tempdir().unwrap();
    let before = run(&local, asked("tide", 8)).unwrap().texts;
    let (course, result) = (course(&local), work.path().join("result"));
    let (watch, told) = Watcher::new(usize::MAX);
    let end = local.train(&lesson(&course), &work.path().join("work"), &result, &*watch).unwrap();
    assert_eq!((end, told.recv().unwrap(), watch.steps()), (RunEnd::Whole, (0, 12), 12));
    let new = NewAdapter { id: "tides".into(), directory: result, replaces: false, is_pinned: false };
    wait(local.register(new)).unwrap();
    let mut with = asked("tide", 8);
    with.model = "tiny:tides".to_owned();
    assert_ne!(run(&local, with).unwrap().texts, before);
    assert_eq!(run(&local, asked("tide", 8)).unwrap().texts, before);
}

/// More answers than are told in the time that a test takes, the first of which has begun.
fn answers(local: &Local) -> Vec<Generating> {
    let mut request = asked("tide", 2_000);
    request.words.ignores_end = true;
    let mut answers: Vec<_> = (0..8).map(|_| local.generate(request.clone()).unwrap()).collect();
    let begun = wait(poll_fn(|cx| answers[0].as_mut().poll_next(cx)));
    assert!(begun.unwrap().is_ok());
    answers
}

#[test]
fn it_stands_still_while_something_is_answered_and_is_called_off_there() {
    let (local, _files) = open(10);
    let work = tempfile::tempdir().unwrap();
    let course = course(&local);
    for is_off in [true, false] {
        let open = answers(&local);
        let (watch, told) = Watcher::new(usize::MAX);
        std::thread::scope(|scope| {
            let trains = scope.spawn(|| {
                local.train(&lesson(&course), &work.path().join("work"), &work.path().join("result"), &*watch)
            });
            told.recv().unwrap();
            while watch.asked.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            assert_eq!(watch.steps(), 0, "it went on beside an answer");
            if is_off {
                watch.is_off.store(true, Ordering::SeqCst);
                local.wake();
                assert_eq!(trains.join().unwrap().unwrap(), RunEnd::CalledOff);
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
    let work = tempfile::tempdir().unwrap();
    let (course, path) = (course(&local), |name: &str| work.path().join(name));
    let (whole, _told) = Watcher::new(usize::MAX);
    local.train(&lesson(&course), &path("whole"), &path("one"), &*whole).unwrap();
    let a_step = whole.asked.load(Ordering::SeqCst) / 12;
    assert!(a_step >= 6, "each of three layers, there and back: {a_step}");
    let (watch, _told) = Watcher::new(5 * a_step + 2);
    let end = local.train(&lesson(&course), &path("broken"), &path("other"), &*watch).unwrap();
    assert_eq!((end, watch.steps()), (RunEnd::CalledOff, 5), "in the midst of the sixth");
    assert!(!path("other").exists());
    let (again, told) = Watcher::new(usize::MAX);
    local.train(&lesson(&course), &path("broken"), &path("other"), &*again).unwrap();
    assert_eq!((told.recv().unwrap(), again.steps()), ((4, 12), 8), "from its last checkpoint on");
    let weights = |name: &str| std::fs::read(path(name).join("adapter_model.safetensors")).unwrap();
    assert!(weights("one") == weights("other"), "the same steps made other weights");
}
