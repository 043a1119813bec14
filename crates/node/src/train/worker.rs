//! The training thread: runs one job after another for as long as the node lives.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake};
use std::thread::Thread;

use domain::adapters::NewAdapter;
use domain::runtime::Runtime;
use domain::training::{
    RunEnd, Step, TrainingDirectories, TrainingError, TrainingInput, TrainingObserver,
    checkpoint_directory_name,
};
use domain::{Fault, FaultClass};

use super::data::unusable;
use super::job::{JobChange, Progress, Record};
use super::jobs::{JobRun, JobRunEnd, JobStore};
use super::plan::check_memory;
use crate::disk;

/// The `TrainingObserver` of a running job.
struct JobObserver<'a> {
    book: &'a JobStore,
    runtime: &'a dyn Runtime,
    turn: &'a JobRun,
    started_us: u64,
    is_late: AtomicBool,
    /// Tokens counted so far; unknown before the first step of a resumed run.
    tokens: AtomicU64,
}

const UNKNOWN: u64 = u64::MAX;

/// Unparks the waiting thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks the thread on a future. For threads that have nothing else to do.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut cx = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Runs queued jobs until the node shuts down.
pub(super) fn run(book: &JobStore, runtime: &dyn Runtime) {
    while let Some(turn) = book.next() {
        let ran = catch_unwind(AssertUnwindSafe(|| train(book, runtime, &turn)));
        let end = ran.unwrap_or_else(|_| {
            tracing::error!(job = turn.number, "a panic ended a training job");
            JobRunEnd::Failed(Box::new(Fault::internal()))
        });
        book.end(&turn, end);
        unregister(runtime, book.drop_points(0));
    }
}

fn train(book: &JobStore, runtime: &dyn Runtime, turn: &JobRun) -> JobRunEnd {
    let Some(trainer) = runtime.trainer().filter(|_| serves(runtime, &turn.order.model)) else {
        let message = format!("This node does not run \"{}\" any more.", turn.order.model);
        let fault = Fault::new(FaultClass::NotFound, "model_not_found", message);
        return JobRunEnd::Failed(Box::new(fault.fix("Start the node with that model, and train again.")));
    };
    // The job may have been queued for long, and the memory that was free then may be in use.
    if let Err(fault) = check_memory(trainer, turn.memory_bytes) {
        return JobRunEnd::Failed(fault);
    }
    let started_us = book.world().clock.monotonic_us();
    let (is_late, tokens) = (AtomicBool::new(false), AtomicU64::new(UNKNOWN));
    let watch = JobObserver { book, runtime, turn, started_us, is_late, tokens };
    let lesson = TrainingInput {
        settings: &turn.order.course,
        training_set: &turn.training_data,
        validation_set: &turn.held_out,
        from: turn.from.as_deref(),
    };
    let directories = TrainingDirectories { work: &turn.work, epochs: &turn.epochs, result: &turn.result };
    let ran = match trainer.train(&lesson, &directories, &watch) {
        Err(TrainingError::Cancelled) => Ok(RunEnd::Cancelled),
        ran => ran,
    };
    match ran {
        Err(unfit) => JobRunEnd::Failed(unusable(unfit)),
        Ok(RunEnd::Cancelled) if watch.is_late.load(Ordering::SeqCst) => JobRunEnd::Failed(late(turn)),
        Ok(RunEnd::Cancelled) => JobRunEnd::Stopped,
        Ok(RunEnd::Whole) if turn.is_stopped.load(Ordering::SeqCst) => JobRunEnd::Stopped,
        Ok(RunEnd::Whole) => {
            let directory = turn.result.clone();
            match publish_with_eviction(book, runtime, &turn.order.adapter, directory, turn.order.replaces) {
                Ok(()) => JobRunEnd::Whole,
                Err(fault) => JobRunEnd::Failed(Box::new(fault)),
            }
        }
    }
}

fn serves(runtime: &dyn Runtime, model: &str) -> bool {
    runtime.models().iter().any(|known| known.id == model)
}

fn publish(runtime: &dyn Runtime, id: &str, directory: PathBuf, replaces: bool) -> Result<(), Fault> {
    let Some(adapters) = runtime.adapters() else { return Err(Fault::internal()) };
    let new = NewAdapter { id: id.to_owned(), directory, replaces, is_pinned: false };
    block_on(adapters.register(new)).map(|_| ())
}

/// The same, deleting checkpoints if the adapter limit is reached.
fn publish_with_eviction(
    book: &JobStore,
    runtime: &dyn Runtime,
    id: &str,
    directory: PathBuf,
    replaces: bool,
) -> Result<(), Fault> {
    let adapters = runtime.adapters().ok_or_else(Fault::internal)?;
    loop {
        let known = block_on(adapters.list())?;
        if known.len() < adapters.limits().registered_max || known.iter().any(|state| state.id == id) {
            break;
        }
        let gone = book.drop_points(1);
        if gone.is_empty() {
            break;
        }
        unregister(runtime, gone);
    }
    publish(runtime, id, directory, replaces)
}

/// Unregisters adapters.
pub(super) fn unregister(runtime: &dyn Runtime, gone: Vec<String>) {
    let Some(adapters) = runtime.adapters() else { return };
    for id in gone {
        // It may have been unloaded already.
        let _ = block_on(adapters.unload(id));
    }
}

/// Registers the retained checkpoints again; returns those that failed, with the reason.
pub(super) async fn publish_left(book: &JobStore, runtime: &dyn Runtime) -> Vec<(String, String)> {
    let Some(adapters) = runtime.adapters() else { return Vec::new() };
    let mut left_out = Vec::new();
    for (model, id, directory) in book.left() {
        if !serves(runtime, &model) {
            continue;
        }
        let new = NewAdapter { id: id.clone(), directory, replaces: true, is_pinned: false };
        if let Err(fault) = adapters.register(new).await {
            left_out.push((id, fault.message.into_owned()));
        }
    }
    left_out
}

/// Registers the adapters of completed jobs again, if their base model is served; returns those that failed,
/// with the reason.
pub(super) fn publish_all(book: &JobStore, runtime: &dyn Runtime) -> Vec<(String, String)> {
    let mut left_out = Vec::new();
    for (record, directory) in book.results() {
        let Record { order, .. } = record;
        if !serves(runtime, &order.model) {
            continue;
        }
        // A later job may have trained another adapter of the same name.
        if let Err(fault) = publish(runtime, &order.adapter, directory, true) {
            left_out.push((order.adapter, fault.message.into_owned()));
        }
    }
    left_out
}

fn late(turn: &JobRun) -> Box<Fault> {
    let hours = turn.order.seconds_max.unwrap_or_default() / 3_600.0;
    let message = format!("It was not done within {hours} hours.");
    let fault = Fault::new(FaultClass::Deadline, "duration_reached", message);
    Box::new(fault.param("max_duration_hours").fix("Allow more time, or send less training data."))
}

impl JobObserver<'_> {
    fn seconds(&self) -> f64 {
        let now_us = self.book.world().clock.monotonic_us();
        self.turn.seconds + now_us.saturating_sub(self.started_us) as f64 / 1e6
    }

    fn report_step(&self, step: &Step) {
        let number = self.turn.number;
        let directory = self.turn.epochs.join(checkpoint_directory_name(step.step));
        // A resumed run repeats these steps bit for bit, and they were reported before.
        if step.step <= self.turn.reported_step {
            if step.has_epoch_adapter && !self.book.has_point(number, step.step) {
                discard(&directory);
            }
            return;
        }
        let is_reported = step.step.is_multiple_of(self.turn.order.report_every)
            || step.validation_loss.is_some()
            || step.has_epoch_adapter
            || step.step == step.steps_total;
        if !is_reported {
            return;
        }
        let mut progress = Progress::of(step, self.seconds());
        if step.has_epoch_adapter {
            progress.checkpoint_model = self.leave(step.step, &directory);
        }
        self.book.note_progress(number, progress);
        unregister(self.runtime, self.book.drop_points(0));
    }

    /// Registers a step's checkpoint; returns the model name for requests.
    fn leave(&self, step: u64, directory: &Path) -> Option<String> {
        let id = format!("{}-{step}", self.turn.checkpoints);
        match publish_with_eviction(self.book, self.runtime, &id, directory.to_owned(), true) {
            Ok(()) => Some(format!("{}:{id}", self.turn.order.model)),
            Err(fault) => {
                tracing::warn!(%fault, id, "what a job was at the end of an epoch can't be made known");
                discard(directory);
                None
            }
        }
    }
}

fn discard(directory: &Path) {
    if let Err(error) = disk::remove(directory) {
        tracing::warn!(%error, path = %directory.display(), "the remaining files of an epoch can't be removed");
    }
}

impl TrainingObserver for JobObserver<'_> {
    fn is_cancelled(&self) -> bool {
        if self.turn.order.seconds_max.is_some_and(|most| self.seconds() > most) {
            self.is_late.store(true, Ordering::SeqCst);
            return true;
        }
        self.turn.is_stopped.load(Ordering::SeqCst) || self.book.is_closing()
    }

    fn will_resume(&self) -> bool {
        !self.is_late.load(Ordering::SeqCst) && self.book.goes_on(self.turn.number)
    }

    fn on_start(&self, step: u64, of: u64, last: Option<&Step>) {
        let tokens = last.map(|last| last.tokens).or((step == 0).then_some(0));
        self.tokens.store(tokens.unwrap_or(UNKNOWN), Ordering::SeqCst);
        if let Some(last) = last {
            self.report_step(last);
        }
        let what = if self.turn.is_resumed {
            JobChange::Resumed { step, of }
        } else {
            JobChange::Started { step, of }
        };
        self.book.note(self.turn.number, what);
    }

    fn on_step(&self, step: &Step) {
        let before = self.tokens.swap(step.tokens, Ordering::SeqCst);
        self.book.count(if before == UNKNOWN { 0 } else { step.tokens.saturating_sub(before) });
        self.report_step(step);
    }
}
