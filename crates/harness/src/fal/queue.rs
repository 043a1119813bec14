//! fal's queue: a request is submitted, polled until it is done, and its result fetched; each step uses the
//! URL that the submission returned.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use super::apps::{App, AppRequest};
use super::error::Refusal;
use super::{BASE, QUEUE, fields, origin, special};
use crate::emulator::Behaviour;
use crate::emulator::answering;
use crate::emulator::service::{Answer, Call, behaviour, json_answer};
use crate::emulator::state::lock;
use crate::members::join;

/// Polls needed before a request is done, where the script sets no latency.
const POLLS_MIN: u32 = 2;

/// The submitted requests, until a reset.
#[derive(Default)]
pub(crate) struct State(Mutex<HashMap<String, Job>>);

struct Job {
    key: String,
    app_path: String,
    app: &'static App,
    request: AppRequest,
    behaviour: Behaviour,
    submitted: Instant,
    polls: u32,
    is_cancelled: bool,
}

impl Job {
    fn is_done(&self) -> bool {
        self.polls > POLLS_MIN && self.submitted.elapsed() >= Duration::from_millis(self.behaviour.latency)
    }
}

impl State {
    pub(crate) fn reset(&self) {
        lock(&self.0).clear();
    }

    /// The number of cancelled requests.
    pub(crate) fn cancelled_count(&self) -> usize {
        lock(&self.0).values().filter(|job| job.is_cancelled).count()
    }
}

/// Serves a path below the queue: an app to submit to, or a submitted request and an operation on it.
pub(super) async fn serve(call: &Call<'_>, key: &str, path: &str, body: &Bytes) -> Result<Answer, Refusal> {
    let named = path.trim_start_matches('/');
    let Some((app_path, rest)) = named.split_once("/requests/") else {
        return match call.head.method.as_str() {
            "POST" => submit(call, key, named, body),
            _ => Err(Refusal::new(405, "Method Not Allowed")),
        };
    };
    let (id, verb) = rest.split_once('/').unwrap_or((rest, ""));
    let mut jobs = lock(&call.shared.fal.0);
    let job = jobs.get_mut(id).filter(|job| job.key == key && job.app_path == app_path);
    let job = job.ok_or_else(|| Refusal::new(404, "Request not found"))?;
    match (call.head.method.as_str(), verb) {
        ("GET", "status") => Ok(status(call, job, id)),
        ("GET", "") => result(call, job),
        ("PUT", "cancel") => Ok(cancel(job)),
        _ => Err(Refusal::new(405, "Method Not Allowed")),
    }
}

fn submit(call: &Call<'_>, key: &str, named: &str, body: &Bytes) -> Result<Answer, Refusal> {
    let app = App::find(named)?;
    let request = app.read(&fields(call, body)?)?;
    call.guard.note(|entry| entry.model = Some(app.id.to_owned()));
    let behaviour = behaviour(call.shared, key, None)?;
    if behaviour.is_canned()
        && let Some(answer) = special(call, &behaviour)?
    {
        return Ok(answer);
    }
    // The URLs of a submitted request hold only the app's owner and name.
    let app_path: Vec<&str> = named.split('/').take(2).collect();
    let app_path = app_path.join("/");
    let id = format!("00000000-0000-4000-8000-{:012}", call.number);
    let urls = request_urls(call, &app_path, &id);
    let job = Job {
        key: key.to_owned(),
        app_path,
        app,
        request,
        behaviour,
        submitted: Instant::now(),
        polls: 0,
        is_cancelled: false,
    };
    lock(&call.shared.fal.0).insert(id.clone(), job);
    let mut queued = json!({"status": "IN_QUEUE", "request_id": id, "queue_position": 0});
    join(&mut queued, urls);
    Ok(json_answer(200, Vec::new(), &queued))
}

fn request_urls(call: &Call<'_>, app_path: &str, id: &str) -> Value {
    let url = format!("{}/{app_path}/requests/{id}", origin(call, QUEUE));
    json!({"response_url": url, "status_url": format!("{url}/status"), "cancel_url": format!("{url}/cancel")})
}

fn status(call: &Call<'_>, job: &mut Job, id: &str) -> Answer {
    job.polls += 1;
    let is_over = job.is_done() || job.is_cancelled;
    let mut body = match (is_over, job.polls) {
        (true, _) => json!({"status": "COMPLETED", "logs": [], "metrics": {"inference_time": 0.25}}),
        (false, 1) => json!({"status": "IN_QUEUE", "queue_position": 0}),
        (false, _) => json!({"status": "IN_PROGRESS", "logs": []}),
    };
    if is_over && job.is_cancelled {
        join(&mut body, json!({"error": "Request was cancelled", "error_type": "client_cancelled"}));
    }
    join(&mut body, json!({"request_id": id}));
    join(&mut body, request_urls(call, &job.app_path, id));
    json_answer(if is_over { 200 } else { 202 }, Vec::new(), &body)
}

/// Returns the result. A client that fetches it before it is done has not polled the status: a violation.
fn result(call: &Call<'_>, job: &mut Job) -> Result<Answer, Refusal> {
    if job.is_cancelled {
        return Err(Refusal::new(400, "Request was cancelled"));
    }
    if !job.is_done() {
        call.violation("a result that nobody has seen to be done");
        return Err(Refusal::new(400, "Request is still in progress"));
    }
    if let Some(answer) = special(call, &job.behaviour)? {
        return Ok(answer);
    }
    job.request.check()?;
    call.guard.note(|entry| {
        entry.model = Some(job.app.id.to_owned());
        entry.billable = true;
    });
    let mut answer = answering::buffered(&job.request.answer(&origin(call, BASE)), 0, &job.behaviour)?;
    answer.headers.extend(job.request.units(&job.behaviour));
    Ok(answer)
}

fn cancel(job: &mut Job) -> Answer {
    if job.is_done() {
        return json_answer(400, Vec::new(), &json!({"status": "ALREADY_COMPLETED"}));
    }
    job.is_cancelled = true;
    json_answer(202, Vec::new(), &json!({"status": "CANCELLATION_REQUESTED"}))
}
