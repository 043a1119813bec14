//! The training jobs and their state. Each job is a directory, and its state after a restart is what the
//! directory says.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use domain::training::{TrainingEstimate, TrainingInput, checkpoint_directory_name};
use domain::{Fault, FaultClass};
use world::{World, replace_private};

use super::job::{Event, Failure, JobChange, Order, Point, Progress, Record, Status};
use super::log::Log;
use crate::disk;
use crate::limits::{CHECKPOINTS_BYTES_MAX, CHECKPOINTS_MAX, JOB_CHECKPOINTS_MAX, JOBS_MAX};

/// The files in a job's directory.
const RECORD: &str = "job.json";
const EVENTS: &str = "events.jsonl";
const LEARNED: &str = "learned.jsonl";
const HELD_OUT: &str = "held_out.jsonl";
const WORK: &str = "work";
const EPOCHS: &str = "epochs";
const FROM: &str = "from";
const RESULT: &str = "adapter";
/// The files of an adapter. Its configuration is written last, so its presence means that the adapter is
/// complete.
pub(super) const ADAPTER_FILES: [&str; 2] = ["adapter_model.safetensors", "adapter_config.json"];

#[derive(Debug)]
pub(super) struct JobStore {
    root: PathBuf,
    world: World,
    inner: Mutex<Inner>,
    /// A job was queued, or the node is shutting down.
    changed: Condvar,
    /// The node is shutting down: the running job stops, and resumes at the next start.
    is_closing: AtomicBool,
    steps: AtomicU64,
    tokens: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    /// By number.
    jobs: BTreeMap<u64, Job>,
    last: u64,
}

#[derive(Debug)]
struct Job {
    record: Record,
    log: Log,
    progress: Option<Progress>,
    /// The retained checkpoints, oldest first.
    points: Vec<RetainedCheckpoint>,
    /// The job was cancelled or paused.
    is_stopped: Arc<AtomicBool>,
    /// Tasks that follow the job's events and have read all of them.
    wakers: Vec<Waker>,
}

/// A retained checkpoint.
#[derive(Debug, Clone)]
struct RetainedCheckpoint {
    point: Point,
    bytes: u64,
}

/// A job's state, for responses.
#[derive(Debug, Clone)]
pub(crate) struct JobState {
    pub record: Record,
    pub progress: Option<Progress>,
    /// The retained checkpoints without the final adapter, oldest first.
    points: Vec<Point>,
}

/// A job to run now.
#[derive(Debug)]
pub(super) struct JobRun {
    pub number: u64,
    pub order: Order,
    pub memory_bytes: u64,
    pub training_data: Vec<u8>,
    pub held_out: Vec<u8>,
    pub from: Option<PathBuf>,
    pub work: PathBuf,
    pub epochs: PathBuf,
    pub result: PathBuf,
    /// The prefix of its checkpoints' names.
    pub checkpoints: String,
    pub is_stopped: Arc<AtomicBool>,
    /// It was started before.
    pub is_resumed: bool,
    /// The last step that was reported, and the running time up to it.
    pub reported_step: u64,
    pub seconds: f64,
}

/// What is new for a task that follows a job.
#[derive(Debug)]
pub(super) enum EventPoll {
    Events(Vec<Event>),
    /// There will be no more events.
    Over,
    Later,
}

/// How running a job ended.
#[derive(Debug)]
pub(super) enum JobRunEnd {
    Whole,
    Failed(Box<Fault>),
    /// It was stopped, and resumes at the next start unless it was cancelled.
    Stopped,
}

fn write_failed(error: &io::Error) -> Box<Fault> {
    tracing::error!(%error, "the book of training can't be written");
    Box::new(
        Fault::new(FaultClass::Unavailable, "book_not_written", "The node can't write its training jobs.")
            .fix("Look at the disk of its data directory."),
    )
}

fn unknown(id: &str) -> Box<Fault> {
    let truncated: String = id.chars().take(64).collect();
    let message = format!("This node has no training job \"{truncated}\".");
    Box::new(
        Fault::new(FaultClass::NotFound, "job_not_found", message)
            .param("id")
            .fix("GET /v1/train/jobs lists those that there are."),
    )
}

impl Job {
    fn open(folder: &Path) -> io::Result<Self> {
        let record: Record = disk::read_json(&folder.join(RECORD))?;
        let log = Log::open(&folder.join(EVENTS))?;
        let (mut progress, mut points) = (None, Vec::new());
        let mut at = 0;
        while at < log.len() {
            let events = log.after(at, EVENTS_READ)?;
            at += events.len().max(1) as u64;
            for event in events {
                if let JobChange::Progress(last) = event.what {
                    points.extend(RetainedCheckpoint::of(&last, event.unix_ms, &folder.join(EPOCHS)));
                    progress = Some(last);
                }
            }
        }
        Ok(Self { record, log, progress, points, is_stopped: Arc::default(), wakers: Vec::new() })
    }

    fn add(&mut self, unix_ms: u64, what: JobChange) -> io::Result<()> {
        if let JobChange::Progress(progress) = &what {
            self.progress = Some(progress.clone());
        }
        self.log.add(unix_ms, what)?;
        self.wakers.drain(..).for_each(Waker::wake);
        Ok(())
    }

    fn state(&self) -> JobState {
        let points = self.points.iter().map(|kept| kept.point.clone()).collect();
        JobState { record: self.record.clone(), progress: self.progress.clone(), points }
    }

    fn must_go_on(&self) -> Result<(), Box<Fault>> {
        if !self.record.status.is_over() {
            return Ok(());
        }
        let message = format!("The job is {} already.", self.record.status.as_str());
        let fault = Fault::new(FaultClass::Conflict, "job_is_over", message);
        let fix = "DELETE /v1/train/jobs/{id}?forget=true forgets it and what it made.";
        Err(Box::new(fault.param("id").fix(fix)))
    }
}

impl RetainedCheckpoint {
    /// The checkpoint of a step, if it still exists.
    fn of(progress: &Progress, unix_ms: u64, epochs: &Path) -> Option<Self> {
        let model = progress.checkpoint_model.clone()?;
        let bytes = bytes_of(&epochs.join(checkpoint_directory_name(progress.step)))?;
        let Progress { step, loss, held_out_loss, .. } = *progress;
        Some(Self { point: Point { step, unix_ms, model, loss, held_out_loss }, bytes })
    }
}

impl JobState {
    /// All checkpoints, the final adapter included, newest first.
    pub(super) fn points(&self) -> Vec<Point> {
        let mut points = self.points.clone();
        let made = self.progress.as_ref().filter(|_| self.record.status == Status::Completed);
        points.extend(made.map(|progress| Point {
            step: progress.step,
            unix_ms: self.record.ended_unix_ms.unwrap_or_default(),
            model: self.record.model(),
            loss: progress.loss,
            held_out_loss: progress.held_out_loss,
        }));
        points.reverse();
        points
    }

    /// The adapter names of its checkpoints.
    pub(super) fn checkpoints(&self) -> Vec<String> {
        self.points.iter().map(|point| self.record.checkpoint(point.step)).collect()
    }
}

/// The size of an adapter's files; `None` if they are not all there.
fn bytes_of(directory: &Path) -> Option<u64> {
    let sizes = ADAPTER_FILES.map(|name| std::fs::metadata(directory.join(name)).map(|found| found.len()));
    sizes.into_iter().sum::<io::Result<u64>>().ok()
}

/// The most events of one read.
pub(super) const EVENTS_READ: usize = 1_000;

impl Inner {
    fn find(&mut self, id: &str) -> Result<&mut Job, Box<Fault>> {
        self.jobs.values_mut().find(|job| job.record.id == id).ok_or_else(|| unknown(id))
    }
}

impl JobStore {
    /// Loads all jobs. A job that was running when the node ended is queued again.
    ///
    /// # Errors
    /// The directory can't be read or written, or contains something that no node wrote.
    pub(super) fn open(root: PathBuf, world: World) -> io::Result<Self> {
        disk::folder(&root)?;
        let mut inner = Inner::default();
        for entry in std::fs::read_dir(&root)? {
            let folder = entry?.path();
            // Without a record, the directory was not created or not deleted completely.
            if !folder.join(RECORD).is_file() {
                disk::remove(&folder)?;
                continue;
            }
            let mut job = Job::open(&folder)?;
            match job.record.status {
                Status::Running => job.record.status = Status::Queued,
                status if status.is_over() => {
                    disk::remove(&folder.join(WORK))?;
                    disk::remove(&folder.join(FROM))?;
                }
                _ => {}
            }
            inner.last = inner.last.max(job.record.number);
            inner.jobs.insert(job.record.number, job);
        }
        let (steps, tokens) = (AtomicU64::new(0), AtomicU64::new(0));
        let (inner, changed) = (Mutex::new(inner), Condvar::new());
        Ok(Self { root, world, inner, changed, is_closing: AtomicBool::new(false), steps, tokens })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    fn now(&self) -> u64 {
        self.world.clock.unix_ms()
    }

    pub(super) const fn world(&self) -> &World {
        &self.world
    }

    fn write(&self, record: &Record) -> io::Result<()> {
        disk::write_json(&self.folder(&record.id).join(RECORD), record)
    }

    /// Queues a job.
    ///
    /// # Errors
    /// There are too many jobs, another job has its adapter's name, or it can't be stored.
    pub(super) fn add(
        &self,
        order: Order,
        outlook: TrainingEstimate,
        lesson: &TrainingInput<'_>,
    ) -> Result<JobState, Box<Fault>> {
        let mut inner = self.inner();
        self.check_name(&inner, &order)?;
        self.make_room(&mut inner)?;
        let id = id("ftjob-", &self.world);
        let folder = self.folder(&id);
        let record = Record {
            number: inner.last + 1,
            status: Status::Queued,
            created_unix_ms: self.now(),
            started_unix_ms: None,
            ended_unix_ms: None,
            error: None,
            outlook,
            order: Order { adapter: adapter_name(order.adapter.clone(), &id), ..order },
            id,
        };
        let made = || {
            disk::folder(&folder)?;
            replace_private(&folder.join(LEARNED), lesson.training_set)?;
            replace_private(&folder.join(HELD_OUT), lesson.validation_set)?;
            if let Some(from) = lesson.from {
                // A copy, so that the job does not depend on what happens to the original adapter.
                let copy = folder.join(FROM);
                disk::folder(&copy)?;
                ADAPTER_FILES.iter().try_for_each(|name| disk::copy(&from.join(name), &copy.join(name)))?;
            }
            let mut log = Log::open(&folder.join(EVENTS))?;
            log.add(record.created_unix_ms, JobChange::Queued)?;
            // The record is written last: with it, the job is complete.
            self.write(&record)?;
            Ok(log)
        };
        let log = made().map_err(|error: io::Error| {
            let _ = disk::remove(&folder);
            write_failed(&error)
        })?;
        let (number, is_off) = (record.number, Arc::default());
        let job =
            Job { record, log, progress: None, points: Vec::new(), is_stopped: is_off, wakers: Vec::new() };
        let state = job.state();
        inner.last = number;
        inner.jobs.insert(number, job);
        self.changed.notify_all();
        Ok(state)
    }

    /// Checks that no other job has the adapter's name.
    ///
    /// # Errors
    /// Another job has it.
    pub(super) fn check_order(&self, order: &Order) -> Result<(), Box<Fault>> {
        self.check_name(&self.inner(), order)
    }

    #[expect(clippy::unused_self, reason = "a book's own rule")]
    fn check_name(&self, inner: &Inner, order: &Order) -> Result<(), Box<Fault>> {
        let has_it = |job: &&Job| {
            let is_to_be = !matches!(job.record.status, Status::Failed | Status::Cancelled);
            is_to_be && job.record.order.adapter == order.adapter
        };
        if let Some(job) = inner.jobs.values().find(has_it).filter(|_| !order.replaces) {
            let message = format!("\"adapter\" is the name of what {} makes.", job.record.id);
            let fault = Fault::new(FaultClass::Conflict, "adapter_exists", message);
            return Err(Box::new(
                fault.param("adapter").fix("Choose another name, or send \"replace\": true."),
            ));
        }
        Ok(())
    }

    /// If there are too many jobs, forgets the oldest that produced nothing.
    fn make_room(&self, inner: &mut Inner) -> Result<(), Box<Fault>> {
        if inner.jobs.len() < JOBS_MAX {
            return Ok(());
        }
        let made_nothing = |job: &&Job| {
            matches!(job.record.status, Status::Failed | Status::Cancelled) && job.points.is_empty()
        };
        let Some(job) = inner.jobs.values().find(made_nothing) else {
            let message =
                format!("This node keeps {JOBS_MAX} training jobs, and none of them can be forgotten.");
            let fault = Fault::new(FaultClass::Conflict, "too_many_jobs", message);
            let fix =
                "Remove one that has ended: DELETE /v1/train/jobs/{id}?forget=true also deletes its adapter.";
            return Err(Box::new(fault.fix(fix)));
        };
        let (number, folder) = (job.record.number, self.folder(&job.record.id));
        disk::remove(&folder).map_err(|error| write_failed(&error))?;
        inner.jobs.remove(&number);
        Ok(())
    }

    /// All jobs, oldest first.
    pub(super) fn all(&self) -> Vec<JobState> {
        self.inner().jobs.values().map(Job::state).collect()
    }

    pub(super) fn one(&self, id: &str) -> Result<JobState, Box<Fault>> {
        self.inner().find(id).map(|job| job.state())
    }

    /// A job's events after a sequence number, up to a limit.
    pub(super) fn events(&self, id: &str, after: u64, limit: usize) -> Result<Vec<Event>, Box<Fault>> {
        let mut inner = self.inner();
        let log = &inner.find(id)?.log;
        log.after(after, limit.min(EVENTS_READ)).map_err(|error| write_failed(&error))
    }

    /// The number of a job's events.
    pub(super) fn events_count(&self, id: &str) -> Result<u64, Box<Fault>> {
        Ok(self.inner().find(id)?.log.len())
    }

    /// The events after a sequence number; if there are none yet, the waker is woken when there are.
    pub(super) fn news(&self, id: &str, after: u64, waker: &Waker) -> Result<EventPoll, Box<Fault>> {
        let mut inner = self.inner();
        let job = inner.find(id)?;
        let events = job.log.after(after, EVENTS_READ).map_err(|error| write_failed(&error))?;
        if !events.is_empty() {
            return Ok(EventPoll::Events(events));
        }
        if job.record.status.is_over() || self.is_closing() {
            return Ok(EventPoll::Over);
        }
        job.wakers.push(waker.clone());
        Ok(EventPoll::Later)
    }

    /// Cancels a job. The caller must wake the trainer.
    ///
    /// # Errors
    /// The job is finished or unknown, or the change can't be stored.
    pub(super) fn cancel(&self, id: &str) -> Result<JobState, Box<Fault>> {
        let mut inner = self.inner();
        let job = inner.find(id)?;
        if job.record.status == Status::Cancelled {
            return Ok(job.state());
        }
        job.must_go_on()?;
        let was_running = job.record.status == Status::Running;
        self.end_job(job, Status::Cancelled, None).map_err(|error| write_failed(&error))?;
        job.is_stopped.store(true, Ordering::SeqCst);
        let state = job.state();
        if !was_running {
            // If the job is running, the worker thread removes these.
            self.clear(id, &[WORK, FROM]);
        }
        Ok(state)
    }

    /// Pauses a job. The caller must wake the trainer.
    ///
    /// # Errors
    /// The job is finished or unknown, or the change can't be stored.
    pub(super) fn pause(&self, id: &str) -> Result<JobState, Box<Fault>> {
        let mut inner = self.inner();
        let job = inner.find(id)?;
        job.must_go_on()?;
        if job.record.status != Status::Paused {
            self.put(job, Status::Paused, JobChange::Paused).map_err(|error| write_failed(&error))?;
            job.is_stopped.store(true, Ordering::SeqCst);
        }
        Ok(job.state())
    }

    /// Queues a paused job again.
    ///
    /// # Errors
    /// The job is finished or unknown, or the change can't be stored.
    pub(super) fn resume(&self, id: &str) -> Result<JobState, Box<Fault>> {
        let mut inner = self.inner();
        let job = inner.find(id)?;
        job.must_go_on()?;
        if job.record.status == Status::Paused {
            self.put(job, Status::Queued, JobChange::Queued).map_err(|error| write_failed(&error))?;
            // A run that is already stopping still stops.
            job.is_stopped = Arc::default();
            self.changed.notify_all();
        }
        Ok(job.state())
    }

    fn put(&self, job: &mut Job, status: Status, what: JobChange) -> io::Result<()> {
        let record = Record { status, ..job.record.clone() };
        self.write(&record)?;
        job.record = record;
        job.add(self.now(), what)
    }

    /// Deletes a finished job with everything that it produced.
    ///
    /// # Errors
    /// The job is not finished or unknown, or can't be deleted.
    pub(super) fn forget(&self, id: &str) -> Result<JobState, Box<Fault>> {
        let mut inner = self.inner();
        let job = inner.find(id)?;
        if !job.record.status.is_over() {
            let message = "The job is not over.";
            let fault = Fault::new(FaultClass::Conflict, "job_is_not_over", message);
            return Err(Box::new(fault.param("id").fix("Call it off first: DELETE /v1/train/jobs/{id}.")));
        }
        let state = job.state();
        disk::remove(&self.folder(id)).map_err(|error| write_failed(&error))?;
        inner.jobs.remove(&state.record.number);
        Ok(state)
    }

    fn end_job(&self, job: &mut Job, status: Status, error: Option<Failure>) -> io::Result<()> {
        let what = match (status, &error) {
            (Status::Completed, _) => JobChange::Completed { model: job.record.model() },
            (_, Some(failure)) => JobChange::Failed(failure.clone()),
            _ => JobChange::Cancelled,
        };
        let now = self.now();
        let ended_unix_ms = Some(now);
        let record = Record { status, error, ended_unix_ms, ..job.record.clone() };
        self.write(&record)?;
        job.record = record;
        job.add(now, what)
    }

    /// Waits for the next job to run; `None` at shutdown.
    pub(super) fn next(&self) -> Option<JobRun> {
        let mut inner = self.inner();
        loop {
            if self.is_closing() {
                return None;
            }
            let next = inner.jobs.values_mut().find(|job| job.record.status == Status::Queued);
            match next {
                None => inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(job) => match self.begin(job) {
                    Ok(turn) => return Some(turn),
                    Err(error) => self.fail(job, &write_failed(&error)),
                },
            }
        }
    }

    fn begin(&self, job: &mut Job) -> io::Result<JobRun> {
        let folder = self.folder(&job.record.id);
        let is_again = job.record.started_unix_ms.is_some();
        let started = job.record.started_unix_ms.or_else(|| Some(self.now()));
        let record = Record { status: Status::Running, started_unix_ms: started, ..job.record.clone() };
        self.write(&record)?;
        job.record = record;
        let (reported_step, seconds) =
            job.progress.as_ref().map_or((0, 0.0), |last| (last.step, last.seconds));
        Ok(JobRun {
            number: job.record.number,
            order: job.record.order.clone(),
            memory_bytes: job.record.outlook.memory_bytes,
            training_data: std::fs::read(folder.join(LEARNED))?,
            held_out: std::fs::read(folder.join(HELD_OUT))?,
            from: job.record.order.from.is_some().then(|| folder.join(FROM)),
            work: folder.join(WORK),
            epochs: folder.join(EPOCHS),
            result: folder.join(RESULT),
            checkpoints: job.record.checkpoints(),
            is_stopped: Arc::clone(&job.is_stopped),
            is_resumed: is_again,
            reported_step,
            seconds,
        })
    }

    /// Fails a job. If that can't be stored, it still counts as failed until the node restarts.
    fn fail(&self, job: &mut Job, fault: &Fault) {
        let failure = Failure::from(fault);
        if let Err(error) = self.end_job(job, Status::Failed, Some(failure.clone())) {
            write_failed(&error);
            (job.record.status, job.record.error) = (Status::Failed, Some(failure));
            job.wakers.drain(..).for_each(Waker::wake);
        }
    }

    /// Records an event of the running job.
    pub(super) fn note(&self, number: u64, what: JobChange) {
        let now = self.now();
        let mut inner = self.inner();
        let Some(job) = inner.jobs.get_mut(&number).filter(|job| !job.record.status.is_over()) else {
            return;
        };
        if let Err(error) = job.add(now, what) {
            write_failed(&error);
        }
    }

    pub(super) fn count(&self, tokens: u64) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
    }

    /// Records the end of a run. A job that was cancelled meanwhile stays cancelled.
    pub(super) fn end(&self, turn: &JobRun, end: JobRunEnd) {
        let mut inner = self.inner();
        let Some(job) = inner.jobs.get_mut(&turn.number) else { return };
        if !job.record.status.is_over() {
            match end {
                JobRunEnd::Stopped => return,
                JobRunEnd::Failed(fault) => self.fail(job, &fault),
                JobRunEnd::Whole => {
                    if let Err(error) = self.end_job(job, Status::Completed, None) {
                        self.fail(job, &write_failed(&error));
                    }
                }
            }
        }
        // Its checkpoints for resuming are no longer needed.
        let made = job.record.status == Status::Completed;
        self.clear(&job.record.id, if made { &[WORK, FROM] } else { &[WORK, FROM, RESULT] });
    }

    /// Removes files of a job that are no longer needed.
    fn clear(&self, id: &str, names: &[&str]) {
        for path in names.iter().map(|name| self.folder(id).join(name)) {
            if let Err(error) = disk::remove(&path) {
                tracing::warn!(%error, path = %path.display(), "the remaining files of a job can't be removed");
            }
        }
    }

    /// Whether a job will continue, now or later.
    pub(super) fn goes_on(&self, number: u64) -> bool {
        self.inner().jobs.get(&number).is_some_and(|job| !job.record.status.is_over())
    }

    /// Records progress, with the step's checkpoint if it has a name.
    pub(super) fn note_progress(&self, number: u64, progress: Progress) {
        let now = self.now();
        let mut inner = self.inner();
        let Some(job) = inner.jobs.get_mut(&number).filter(|job| !job.record.status.is_over()) else {
            return;
        };
        let kept = RetainedCheckpoint::of(&progress, now, &self.folder(&job.record.id).join(EPOCHS));
        match job.add(now, JobChange::Progress(progress)) {
            Ok(()) => job.points.extend(kept),
            Err(error) => drop(write_failed(&error)),
        }
    }

    /// Whether the checkpoint of a step is retained.
    pub(super) fn has_point(&self, number: u64, step: u64) -> bool {
        let inner = self.inner();
        let points = inner.jobs.get(&number).map_or(&[][..], |job| &job.points);
        points.iter().any(|kept| kept.point.step == step)
    }

    /// Deletes the oldest checkpoints beyond the limits, and `more` besides. Returns the names of the deleted
    /// adapters.
    pub(super) fn drop_points(&self, more: usize) -> Vec<String> {
        let (mut inner, mut gone) = (self.inner(), Vec::new());
        for job in inner.jobs.values_mut() {
            let result = usize::from(job.record.status == Status::Completed);
            let most = JOB_CHECKPOINTS_MAX - result;
            while job.points.len() > most {
                gone.extend(self.drop_first(job));
            }
        }
        let mut more = more;
        loop {
            let kept = || inner.jobs.values().flat_map(|job| &job.points);
            let bytes: u64 = kept().map(|kept| kept.bytes).sum();
            let is_beyond = kept().count() > CHECKPOINTS_MAX || bytes > CHECKPOINTS_BYTES_MAX;
            if !is_beyond && more == 0 {
                return gone;
            }
            more = more.saturating_sub(1);
            let first = |job: &&mut Job| job.points.first().map(|kept| kept.point.unix_ms);
            let jobs = inner.jobs.values_mut().filter(|job| !job.points.is_empty());
            let Some(job) = jobs.min_by_key(first) else { return gone };
            gone.extend(self.drop_first(job));
        }
    }

    fn drop_first(&self, job: &mut Job) -> Option<String> {
        let step = (!job.points.is_empty()).then(|| job.points.remove(0).point.step)?;
        self.clear(&job.record.id, &[&format!("{EPOCHS}/{}", checkpoint_directory_name(step))]);
        Some(job.record.checkpoint(step))
    }

    /// The retained checkpoints: base model, adapter name and directory.
    pub(super) fn left(&self) -> Vec<(String, String, PathBuf)> {
        let inner = self.inner();
        let of_job = |job: &Job| {
            let record = job.record.clone();
            let epochs = self.folder(&record.id).join(EPOCHS);
            let one = move |kept: &RetainedCheckpoint| {
                let step = kept.point.step;
                (
                    record.order.model.clone(),
                    record.checkpoint(step),
                    epochs.join(checkpoint_directory_name(step)),
                )
            };
            job.points.iter().map(one).collect::<Vec<_>>()
        };
        inner.jobs.values().flat_map(of_job).collect()
    }

    /// The adapters of completed jobs, in the order of completion.
    pub(super) fn results(&self) -> Vec<(Record, PathBuf)> {
        let inner = self.inner();
        let made = inner.jobs.values().filter(|job| job.record.status == Status::Completed);
        let mut made: Vec<_> =
            made.map(|job| (job.record.clone(), self.folder(&job.record.id).join(RESULT))).collect();
        made.sort_by_key(|(record, _)| record.ended_unix_ms);
        made
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::SeqCst)
    }

    /// Begins the shutdown.
    pub(super) fn close(&self) {
        let mut inner = self.inner();
        self.is_closing.store(true, Ordering::SeqCst);
        inner.jobs.values_mut().flat_map(|job| job.wakers.drain(..)).for_each(Waker::wake);
        self.changed.notify_all();
    }

    /// The metrics in Prometheus's text format.
    pub(super) fn page(&self) -> String {
        use std::fmt::Write as _;
        let inner = self.inner();
        let mut page = String::from(
            "# HELP tidegate_node_training_jobs Training jobs that are known, by where they are.\n\
             # TYPE tidegate_node_training_jobs gauge\n",
        );
        for status in Status::ALL {
            let count = inner.jobs.values().filter(|job| job.record.status == status).count();
            let name = status.as_str();
            let _ = writeln!(page, "tidegate_node_training_jobs{{status=\"{name}\"}} {count}");
        }
        for (name, help, count) in [
            ("steps", "Steps of training that were done.", &self.steps),
            ("tokens", "Tokens that were gone over in training.", &self.tokens),
        ] {
            let _ = writeln!(page, "# HELP tidegate_node_training_{name}_total {help}");
            let _ = writeln!(page, "# TYPE tidegate_node_training_{name}_total counter");
            let _ = writeln!(page, "tidegate_node_training_{name}_total {}", count.load(Ordering::Relaxed));
        }
        page
    }
}

/// A new id.
pub(super) fn id(prefix: &str, world: &World) -> String {
    use std::fmt::Write as _;
    let mut id = format!("{prefix}{:012x}", world.clock.unix_ms());
    for byte in world.id_bytes() {
        let _ = write!(id, "{byte:02x}");
    }
    id
}

/// The adapter's name; `SUFFIXED` is replaced by the job's id.
fn adapter_name(adapter: String, id: &str) -> String {
    match adapter.strip_suffix(SUFFIXED) {
        Some(before) => format!("{before}{}", id.trim_start_matches("ftjob-")),
        None => adapter,
    }
}

/// At the end of an adapter name: to be replaced by the job's id.
pub(super) const SUFFIXED: &str = "*";
