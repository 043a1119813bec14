//! The HTTP API for training: jobs and files, in this node's own API and in OpenAI's fine-tuning API. One job
//! runs at a time, and yields to inference.

mod about;
mod background;
mod data;
mod fields;
mod files;
mod follow;
mod job;
mod job_request;
mod jobs;
mod log;
mod plan;
mod query;
mod tuning;
mod view;
mod worker;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use domain::runtime::Runtime;
use domain::{Fault, FaultClass};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use tasks::Thread;
use world::World;

use crate::body::NodeBody;
use crate::json_body::{json_response, typed_response};
use crate::limits::PAGE_ROWS_MAX;
pub(crate) use about::Offers;
use background::BlockingTasks;
use files::Files;
pub(crate) use follow::Following;
use job_request::Offer;
use jobs::{EVENTS_READ, JobState, JobStore};
use plan::{Planned, plan};
pub(crate) use query::Query;
use view::{Events, List};

/// The default page size.
const PAGE: usize = 20;

/// The operations of both APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrainingOperation<'p> {
    Begin,
    Jobs,
    Job(&'p str),
    Events(&'p str),
    Checkpoints(&'p str),
    Cancel(&'p str),
    Pause(&'p str),
    Resume(&'p str),
    /// OpenAI's fine-tuning API.
    Tune,
    Tunings,
    Tuning(&'p str),
    TuningEvents(&'p str),
    TuningCheckpoints(&'p str),
    CancelTuning(&'p str),
    TuningPause(&'p str),
    TuningResume(&'p str),
    UploadFile,
    Files,
    File(&'p str),
    Content(&'p str),
    Remove(&'p str),
}

type Answer = Result<Response<NodeBody>, Box<Fault>>;

/// A node's training; empty if it has no data directory, or its runtime does not train.
pub(crate) struct Training {
    active: Option<ActiveTraining>,
}

struct ActiveTraining {
    runtime: Arc<dyn Runtime>,
    book: Arc<JobStore>,
    files: Arc<Files>,
    aside: BlockingTasks,
    /// The directory of adapters, which a job may continue from.
    adapters: Option<PathBuf>,
    worker: Option<Thread>,
    left_out: Vec<(String, String)>,
}

impl Training {
    /// Loads the jobs, registers their adapters, and resumes what was queued or running.
    ///
    /// # Errors
    /// The data directory can't be read or written.
    pub(crate) fn open(
        runtime: &Arc<dyn Runtime>,
        (data_dir, adapters): (Option<&Path>, Option<&Path>),
        world: &World,
    ) -> io::Result<Self> {
        let Some(data_dir) = data_dir.filter(|_| runtime.trainer().is_some()) else {
            return Ok(Self { active: None });
        };
        let book = Arc::new(JobStore::open(data_dir.join("train"), world.clone())?);
        let files = Arc::new(Files::open(data_dir.join("files"), world.clone())?);
        let left_out = worker::publish_all(&book, &**runtime);
        let run = {
            let (book, runtime) = (Arc::clone(&book), Arc::clone(runtime));
            move || worker::run(&book, &*runtime)
        };
        let worker = Thread::spawn("training", run)?;
        Ok(Self {
            active: Some(ActiveTraining {
                runtime: Arc::clone(runtime),
                book,
                files,
                aside: BlockingTasks::default(),
                adapters: adapters.map(Path::to_owned),
                worker: Some(worker),
                left_out,
            }),
        })
    }

    /// Registers the retained checkpoints, after all other adapters, because they have the lowest priority.
    /// Returns the adapters, of checkpoints and of completed jobs, that could not be registered, with the
    /// reason.
    pub(crate) async fn register_left(&self) -> Vec<(String, String)> {
        let Some(active) = &self.active else { return Vec::new() };
        let mut left_out = active.left_out.clone();
        left_out.extend(worker::publish_left(&active.book, &*active.runtime).await);
        left_out
    }

    /// The training capabilities, if there are any.
    pub(crate) fn offers(&self) -> Option<Offers> {
        self.active.as_ref().map(|_| Offers::default())
    }

    /// Begins the shutdown: event streams end, and a running job stops within a step.
    pub(crate) fn close(&self) {
        if let Some(active) = &self.active {
            active.book.close();
            active.wake();
        }
    }

    pub(crate) fn page(&self) -> String {
        self.active.as_ref().map_or_else(String::new, |active| active.book.page())
    }

    pub(crate) async fn answer(
        &self,
        operation: TrainingOperation<'_>,
        head: &Parts,
        body: &Bytes,
    ) -> Answer {
        let Some(active) = &self.active else {
            let message = "This node can't train models.";
            let fault = Fault::new(FaultClass::Unsupported, "training_not_served", message);
            return Err(Box::new(fault.fix("Start a node with a model of its own and a --data-dir.")));
        };
        let query = Query::of(head.uri.query());
        match operation {
            TrainingOperation::Begin | TrainingOperation::Tune => active.begin(operation, head, body).await,
            TrainingOperation::Tunings
            | TrainingOperation::Tuning(_)
            | TrainingOperation::TuningEvents(_)
            | TrainingOperation::TuningCheckpoints(_) => active.tunings(operation, query),
            TrainingOperation::UploadFile
            | TrainingOperation::Files
            | TrainingOperation::File(_)
            | TrainingOperation::Content(_)
            | TrainingOperation::Remove(_) => active.files(operation, (head, body), query).await,
            TrainingOperation::Jobs | TrainingOperation::Job(_) | TrainingOperation::Events(_) => {
                active.jobs(operation, query, &head.headers)
            }
            TrainingOperation::Cancel(id) => active.call_off(id, query).await,
            TrainingOperation::Checkpoints(id) => {
                query.end()?;
                let data =
                    active.book.one(id)?.points().into_iter().map(view::CheckpointView::from).collect();
                json_response(StatusCode::OK, &List { object: "list", data, has_more: false })
            }
            TrainingOperation::Pause(_) | TrainingOperation::Resume(_) => {
                let state = active.change_state(operation, query)?;
                json_response(StatusCode::OK, &view::Object::from(state))
            }
            TrainingOperation::CancelTuning(_)
            | TrainingOperation::TuningPause(_)
            | TrainingOperation::TuningResume(_) => {
                let state = active.change_state(operation, query)?;
                json_response(StatusCode::OK, &tuning::Object::of(&state))
            }
        }
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        self.close();
        if let Some(worker) = self.active.as_mut().and_then(|active| active.worker.take()) {
            let _ = worker.join();
        }
    }
}

impl ActiveTraining {
    fn wake(&self) {
        if let Some(trainer) = self.runtime.trainer() {
            trainer.wake();
        }
    }

    /// Pauses, resumes or cancels a job.
    fn change_state(
        &self,
        operation: TrainingOperation<'_>,
        query: Query<'_>,
    ) -> Result<JobState, Box<Fault>> {
        query.end()?;
        let state = match operation {
            TrainingOperation::Pause(id) | TrainingOperation::TuningPause(id) => self.book.pause(id),
            TrainingOperation::Resume(id) | TrainingOperation::TuningResume(id) => self.book.resume(id),
            TrainingOperation::CancelTuning(id) => self.book.cancel(id),
            _ => Err(Box::new(Fault::internal())),
        };
        self.wake();
        state
    }

    /// Parses and checks a request and its data, and queues the job.
    async fn begin(&self, operation: TrainingOperation<'_>, head: &Parts, body: &Bytes) -> Answer {
        Query::of(head.uri.query()).end()?;
        let models: Vec<String> = self.runtime.models().into_iter().map(|model| model.id).collect();
        let (body, adapters) = (body.clone(), self.adapters.clone());
        let is_tuning = operation == TrainingOperation::Tune;
        let (runtime, book, files) =
            (Arc::clone(&self.runtime), Arc::clone(&self.book), Arc::clone(&self.files));
        let started = self.aside.run_while(move |is_wanted| {
            let trainer = runtime.trainer().ok_or_else(|| Box::new(Fault::internal()))?;
            let read = if is_tuning { tuning::read } else { job_request::read };
            let request = read(&body, &Offer { models: &models, trainer, adapters: adapters.as_deref() })?;
            drop(body);
            plan(request, &*runtime, (&book, &files), is_wanted)
        });
        match started.await?? {
            Planned::Preview(preview) => json_response(StatusCode::OK, &*preview),
            Planned::Queued(state) if is_tuning => json_response(StatusCode::OK, &tuning::Object::of(&state)),
            Planned::Queued(state) => json_response(StatusCode::ACCEPTED, &view::Object::from(*state)),
        }
    }

    fn jobs(&self, operation: TrainingOperation<'_>, mut query: Query<'_>, headers: &HeaderMap) -> Answer {
        match operation {
            TrainingOperation::Job(id) => {
                query.end()?;
                json_response(StatusCode::OK, &view::Object::from(self.book.one(id)?))
            }
            TrainingOperation::Events(id) => {
                let after = query.number("after")?.unwrap_or(0);
                let limit = query.number("limit")?;
                query.end()?;
                let is_followed = headers
                    .get(ACCEPT)
                    .and_then(|accepted| accepted.to_str().ok())
                    .is_some_and(|accepted| accepted.contains(EVENT_STREAM));
                self.events(id, (after, limit), is_followed)
            }
            _ => {
                query.end()?;
                let jobs = self.book.all().into_iter().map(view::Object::from);
                json_response(StatusCode::OK, &List { object: "list", data: jobs.collect(), has_more: false })
            }
        }
    }

    fn events(&self, id: &str, (after, limit): (u64, Option<u64>), is_followed: bool) -> Answer {
        self.book.one(id)?;
        if is_followed {
            let following = Following::new(Arc::clone(&self.book), id.to_owned(), after);
            let mut answer = typed_response("text/event-stream; charset=utf-8", NodeBody::follow(following));
            answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            return Ok(answer);
        }
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(EVENTS_READ);
        let data = self.book.events(id, after, limit.max(1))?;
        let next = data.last().map_or(after, |event| event.sequence);
        json_response(StatusCode::OK, &Events { object: "list", data, next })
    }

    async fn call_off(&self, id: &str, mut query: Query<'_>) -> Answer {
        let forgets = query.flag("forget")?.unwrap_or(false);
        query.end()?;
        if !forgets {
            let state = self.book.cancel(id)?;
            self.wake();
            return json_response(StatusCode::OK, &view::Object::from(state));
        }
        let state = self.book.forget(id)?;
        let others = self.book.all();
        let is_others = others.iter().any(|other| other.record.model() == state.record.model());
        if state.record.status == job::Status::Completed
            && !is_others
            && let Some(adapters) = self.runtime.adapters()
        {
            // It may have been unloaded already.
            let _ = adapters.unload(state.record.order.adapter.clone()).await;
        }
        if let Some(adapters) = self.runtime.adapters() {
            for id in state.checkpoints() {
                let _ = adapters.unload(id).await;
            }
        }
        json_response(StatusCode::OK, &view::Object::from(state))
    }

    fn tunings(&self, operation: TrainingOperation<'_>, mut query: Query<'_>) -> Answer {
        let id = match operation {
            TrainingOperation::Tuning(id)
            | TrainingOperation::TuningEvents(id)
            | TrainingOperation::TuningCheckpoints(id) => id,
            _ => {
                let (after, limit) = (query.text("after"), query.limit(PAGE, PAGE_ROWS_MAX)?);
                query.end()?;
                let mut jobs: Vec<JobState> = self.book.all();
                jobs.reverse();
                let from = match after {
                    None => 0,
                    Some(after) => {
                        let after = self.book.one(after)?.record.number;
                        jobs.iter().position(|job| job.record.number < after).unwrap_or(jobs.len())
                    }
                };
                let data: Vec<_> = jobs.iter().skip(from).take(limit).map(tuning::Object::of).collect();
                let has_more = from + data.len() < jobs.len();
                return json_response(StatusCode::OK, &List { object: "list", data, has_more });
            }
        };
        let state = self.book.one(id)?;
        if matches!(operation, TrainingOperation::TuningEvents(_)) {
            return self.tuning_events(id, query);
        }
        let (after, limit) = (query.text("after"), query.limit(PAGE, PAGE_ROWS_MAX)?);
        query.end()?;
        if matches!(operation, TrainingOperation::TuningCheckpoints(_)) {
            let mut data = tuning::CheckpointObject::all(&state);
            if let Some(after) = after {
                let behind =
                    data.iter().position(|point| point.id() == after).map_or(data.len(), |at| at + 1);
                data.drain(..behind);
            }
            let has_more = data.len() > limit;
            data.truncate(limit);
            return json_response(StatusCode::OK, &List { object: "list", data, has_more });
        }
        json_response(StatusCode::OK, &tuning::Object::of(&state))
    }

    /// Newest first.
    fn tuning_events(&self, id: &str, mut query: Query<'_>) -> Answer {
        let (after, limit) = (query.text("after"), query.limit(PAGE, PAGE_ROWS_MAX)?);
        query.end()?;
        let until = match after {
            None => self.book.events_count(id)?,
            Some(after) => tuning::sequence_of(id, after)
                .map(|sequence| sequence.saturating_sub(1))
                .ok_or_else(|| {
                    fields::wrong(
                        "after",
                        "isn't an event of this job",
                        "Send the id of the last one of a page.",
                    )
                })?,
        };
        let from = until.saturating_sub(limit as u64);
        let mut events = self.book.events(id, from, usize::try_from(until - from).unwrap_or(0))?;
        events.reverse();
        let data = events.into_iter().map(|event| tuning::Happened::of(id, event)).collect();
        json_response(StatusCode::OK, &List { object: "list", data, has_more: from > 0 })
    }

    async fn files(
        &self,
        operation: TrainingOperation<'_>,
        (head, body): (&Parts, &Bytes),
        query: Query<'_>,
    ) -> Answer {
        match operation {
            TrainingOperation::File(id) => {
                query.end()?;
                json_response(StatusCode::OK, &self.files.one(id)?)
            }
            TrainingOperation::Content(id) => {
                query.end()?;
                let (files, id) = (Arc::clone(&self.files), id.to_owned());
                let bytes = self.aside.run(move || files.read(&id)).await??;
                Ok(typed_response("application/octet-stream", NodeBody::whole(bytes.into())))
            }
            TrainingOperation::Remove(id) => {
                query.end()?;
                json_response(StatusCode::OK, &self.files.remove(id)?)
            }
            TrainingOperation::UploadFile => {
                query.end()?;
                let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
                let brought = files::read_form(kind.unwrap_or_default(), body)?;
                let files = Arc::clone(&self.files);
                let kept = self.aside.run(move || files.keep(brought)).await??;
                json_response(StatusCode::OK, &kept)
            }
            _ => self.list_files(query),
        }
    }

    fn list_files(&self, mut query: Query<'_>) -> Answer {
        let (after, limit) = (query.text("after"), query.limit(PAGE_ROWS_MAX, PAGE_ROWS_MAX)?);
        let is_newest_first = query.text("order").is_none_or(|order| order != "asc");
        let is_others = query.text("purpose").is_some_and(|purpose| purpose != "fine-tune");
        query.end()?;
        let mut all = if is_others { Vec::new() } else { self.files.all() };
        if is_newest_first {
            all.reverse();
        }
        let from = match after {
            None => 0,
            Some(after) => all.iter().position(|file| file.id() == after).map_or(all.len(), |at| at + 1),
        };
        let has_more = from.saturating_add(limit) < all.len();
        let data = all.into_iter().skip(from).take(limit).collect();
        json_response(StatusCode::OK, &List { object: "list", data, has_more })
    }
}

const EVENT_STREAM: &str = "text/event-stream";
