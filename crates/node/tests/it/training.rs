//! Training jobs over the HTTP API, with a simulated trainer: their order, how they end, and what a restart
//! restores.

#![expect(clippy::indexing_slicing, reason = "an answer that lacks what it should have should fail its test")]

use std::future::ready;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::adapters::{AdapterLimits, AdapterState, Adapters, NewAdapter, RuntimeFuture};
use domain::runtime::{BoxedGeneration, GenerateRequest, Runtime, RuntimeModel};
use domain::training::{
    HeldOut, RateSchedule, RunEnd, Step, Trainer, TrainingDirectories, TrainingError, TrainingEstimate,
    TrainingInput, TrainingObserver, TrainingSettings, UnusableLine, checkpoint_directory_name,
};
use domain::{Fault, FaultClass};
use http::Request;
use node::{NodeSettings, Service};
use serde_json::{Value, json};

use crate::{call, json as json_of, read, waited};

/// How long a test waits for what a job does, on a busy machine too.
const WITHIN: Duration = Duration::from_secs(30);

/// A simulated trainer: takes as many steps as the test allows, and writes the number to the adapter.
#[derive(Default)]
struct TrainerState {
    /// Steps that may still be taken.
    let_go: Mutex<u64>,
    changed: Condvar,
    known: Mutex<Vec<(String, String)>>,
    fails: AtomicBool,
    /// Each step is an epoch and leaves a checkpoint.
    leaves: AtomicBool,
    /// Reads the data until it is cancelled.
    reads_on: AtomicBool,
    /// The free memory, if known.
    available: Mutex<Option<u64>>,
    readings: AtomicUsize,
}

#[derive(Clone)]
struct SimulatedTrainer(Arc<TrainerState>);

impl TrainerState {
    fn let_go(&self, steps: u64) {
        *self.let_go.lock().unwrap() += steps;
        self.changed.notify_all();
    }

    fn known(&self) -> Vec<(String, String)> {
        self.known.lock().unwrap().clone()
    }

    /// Reads for as long as allowed.
    fn reads(&self, may_go_on: &dyn Fn() -> bool) -> bool {
        self.readings.fetch_add(1, Ordering::SeqCst);
        while self.reads_on.load(Ordering::SeqCst) && may_go_on() {
            std::thread::yield_now();
        }
        self.readings.fetch_sub(1, Ordering::SeqCst);
        may_go_on()
    }
}

/// An adapter whose files contain the number of steps.
fn write_adapter(directory: &Path, steps: u64) {
    std::fs::create_dir_all(directory).unwrap();
    for name in ["steps", "adapter_config.json", "adapter_model.safetensors"] {
        std::fs::write(directory.join(name), steps.to_string()).unwrap();
    }
}

impl Runtime for SimulatedTrainer {
    fn models(&self) -> Vec<RuntimeModel> {
        vec![RuntimeModel { id: "m".into(), is_model: true, ..RuntimeModel::default() }]
    }

    fn generate(&self, _request: GenerateRequest) -> Result<BoxedGeneration, Fault> {
        Err(Fault::internal())
    }

    fn count_tokens(&self, _request: GenerateRequest) -> RuntimeFuture<'_, u64> {
        Box::pin(ready(Ok(1)))
    }

    fn adapters(&self) -> Option<&dyn Adapters> {
        Some(self)
    }

    fn trainer(&self) -> Option<&dyn Trainer> {
        Some(self)
    }
}

impl Adapters for SimulatedTrainer {
    fn limits(&self) -> AdapterLimits {
        AdapterLimits { registered_max: 9, resident_max: 9, resident_bytes_max: 9, rank_max: 9 }
    }

    fn list(&self) -> RuntimeFuture<'_, Vec<AdapterState>> {
        let state = |(id, _)| AdapterState {
            id,
            generation: 1,
            rank: 1,
            bytes: 1,
            is_resident: true,
            is_pinned: false,
            in_use: 0,
            failed: None,
        };
        Box::pin(async move { Ok(self.0.known().into_iter().map(state).collect()) })
    }

    fn register(&self, new: NewAdapter) -> RuntimeFuture<'_, u64> {
        Box::pin(async move {
            let steps = std::fs::read_to_string(new.directory.join("steps"));
            let steps =
                steps.map_err(|_| Fault::new(FaultClass::BadRequest, "invalid_adapter", "Nothing."))?;
            let mut known = self.0.known.lock().unwrap();
            known.retain(|(id, _)| *id != new.id);
            known.push((new.id, steps));
            Ok(1)
        })
    }

    fn load(&self, _id: String, _waits: bool) -> RuntimeFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn pin(&self, _id: String, _is_pinned: bool) -> RuntimeFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn unload(&self, id: String) -> RuntimeFuture<'_, ()> {
        Box::pin(async move {
            self.0.known.lock().unwrap().retain(|(known, _)| *known != id);
            Ok(())
        })
    }
}

impl Trainer for SimulatedTrainer {
    fn default_settings(&self, from: Option<&Path>) -> Result<TrainingSettings, TrainingError> {
        if from.is_some_and(|from| !from.join("steps").is_file()) {
            let fault = Fault::new(FaultClass::BadRequest, "invalid_adapter", "It is none.");
            return Err(TrainingError::Fault(Box::new(fault.param("from"))));
        }
        Ok(TrainingSettings {
            rank: 8,
            alpha: 16.0,
            is_rank_stable: false,
            targets: vec!["q_proj".into()],
            seed: 0,
            epochs: 3,
            batch_tokens: 64,
            accumulation: 1,
            step_texts: None,
            rate: 0.5,
            warmup_steps: 0,
            schedule: RateSchedule::Constant,
            weight_decay: 0.0,
            held_out: HeldOut::Texts(0),
            held_out_seed: None,
            held_out_every: 2,
            checkpoint_every: 1,
            saves_memory: false,
        })
    }

    fn estimate(
        &self,
        lesson: &TrainingInput<'_>,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<TrainingEstimate, TrainingError> {
        if !self.0.reads(may_go_on) {
            return Err(TrainingError::Cancelled);
        }
        let lines = lesson.training_set.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let bad = |(index, line): (usize, &[u8])| {
            let (field, why) = ("messages".into(), "are missing".into());
            (!line.starts_with(b"{\"messages\"")).then_some(UnusableLine { line: index + 1, field, why })
        };
        let bad: Vec<_> = lines.clone().enumerate().filter_map(bad).collect();
        if !bad.is_empty() {
            return Err(TrainingError::Lines { of_held_out: false, lines: bad, more: 0 });
        }
        Ok(TrainingEstimate {
            texts: lines.count() as u64,
            held_out_texts: 0,
            tokens: 10,
            learned_tokens: 5,
            longest_text_tokens: 5,
            steps: lesson.settings.epochs as u64,
            parameters: 100,
            memory_bytes: 1_000,
        })
    }

    fn spare_bytes(&self) -> Option<u64> {
        *self.0.available.lock().unwrap()
    }

    fn train(
        &self,
        lesson: &TrainingInput<'_>,
        directories: &TrainingDirectories<'_>,
        watch: &dyn TrainingObserver,
    ) -> Result<RunEnd, TrainingError> {
        let of = lesson.settings.epochs as u64;
        if !self.0.reads(&|| !watch.is_cancelled()) {
            return Ok(RunEnd::Cancelled);
        }
        std::fs::create_dir_all(directories.work).unwrap();
        let kept = directories.work.join("steps");
        let mut done: u64 = std::fs::read_to_string(&kept).map_or(0, |text| text.parse().unwrap());
        // It continues from another adapter, whose steps count twice.
        let before: u64 = match lesson.from {
            Some(from) => std::fs::read_to_string(from.join("adapter_config.json")).unwrap().parse().unwrap(),
            None => 0,
        };
        watch.on_start(done, of, None);
        while done < of {
            let mut let_go = self.0.let_go.lock().unwrap();
            while *let_go == 0 && !watch.is_cancelled() {
                let_go = self.0.changed.wait(let_go).unwrap();
            }
            if watch.is_cancelled() {
                return Ok(RunEnd::Cancelled);
            }
            *let_go -= 1;
            drop(let_go);
            if self.0.fails.load(Ordering::SeqCst) {
                let why = "It is no longer a number.";
                let fault = Fault::new(FaultClass::Unsupported, "training_diverged", why);
                return Err(TrainingError::Fault(Box::new(fault)));
            }
            done += 1;
            let is_left = self.0.leaves.load(Ordering::SeqCst) && done < of;
            if is_left {
                write_adapter(&directories.epochs.join(checkpoint_directory_name(done)), done);
            }
            std::fs::write(&kept, done.to_string()).unwrap();
            let (loss, rate) = (1.0 / done as f64, lesson.settings.rate);
            watch.on_step(&Step {
                step: done,
                steps_total: of,
                loss,
                validation_loss: None,
                learning_rate: rate,
                tokens: done * 10,
                has_checkpoint: true,
                has_epoch_adapter: is_left,
            });
        }
        write_adapter(directories.result, before + done);
        Ok(RunEnd::Whole)
    }

    fn wake(&self) {
        drop(self.0.let_go.lock().unwrap());
        self.0.changed.notify_all();
    }
}

pub struct Fixture {
    pub root: tempfile::TempDir,
    school: Arc<TrainerState>,
}

impl Fixture {
    pub fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), school: Arc::default() }
    }

    pub fn opened() -> (Self, Arc<Service>) {
        let fixture = Self::new();
        let service = fixture.open();
        (fixture, service)
    }

    pub fn open(&self) -> Arc<Service> {
        let (data_dir, adapters) = (self.root.path().to_owned(), self.root.path().join("adapters"));
        let settings =
            NodeSettings { data_dir: Some(data_dir), adapters: Some(adapters), ..crate::settings() };
        Service::new(Arc::new(SimulatedTrainer(Arc::clone(&self.school))), settings).unwrap()
    }
}

pub const LINE: &str = "{\"messages\":[]}";

fn train(service: &Service, body: &Value) -> (u16, Value) {
    ask(service, "POST", "/v1/train/sft", body)
}

fn get(service: &Service, path: &str) -> (u16, Value) {
    ask(service, "GET", path, &Value::Null)
}

/// Cancels a job, or forgets it.
fn delete(service: &Service, id: &str) -> (u16, Value) {
    ask(service, "DELETE", &format!("/v1/train/jobs/{id}"), &Value::Null)
}

pub fn ask(service: &Service, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (head, bytes, _) = call(service, method, path, &body);
    (head.status().as_u16(), json_of(&bytes))
}

pub fn begin(service: &Service, adapter: &str) -> String {
    let body = json!({"data": LINE, "adapter": adapter});
    let (status, job) = ask(service, "POST", "/v1/train/sft", &body);
    assert_eq!(status, 202, "{job}");
    job["id"].as_str().unwrap().to_owned()
}

/// Polls until a job has the status. No event stream wakes the test here.
fn until(service: &Service, id: &str, status: &str) -> Value {
    let mut last = Value::Null;
    eventually(&format!("the job is {status}"), || {
        last = job(service, id);
        if last["status"] == status {
            return true;
        }
        assert!(!["completed", "failed", "cancelled"].iter().any(|over| last["status"] == *over), "{last}");
        false
    });
    last
}

fn job(service: &Service, id: &str) -> Value {
    ask(service, "GET", &format!("/v1/train/jobs/{id}"), &Value::Null).1
}

/// Polls until a condition holds, and fails with `what` if it never does.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {WITHIN:?} in vain: {what}");
        std::thread::yield_now();
    }
}

/// All events of a job up to its end, followed as they come.
fn followed(service: &Service, id: &str, after: u64) -> Vec<(String, Value)> {
    let path = format!("/v1/train/jobs/{id}/events?after={after}");
    let request = Request::get(path).header("accept", "text/event-stream").body(Bytes::new()).unwrap();
    let (bytes, is_clean) = waited(read(waited(service.call(request, service.mint())).into_body()));
    assert!(is_clean);
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let frame = |frame: &str| {
        let of = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        (of("event: "), serde_json::from_str(&of("data: ")).unwrap())
    };
    text.split("\n\n").filter(|text| !text.is_empty()).map(frame).collect()
}

#[test]
fn a_job_that_finds_no_memory_is_refused_and_one_that_waited_for_it_fails() {
    let (fixture, service) = Fixture::opened();
    let left = |bytes| *fixture.school.available.lock().unwrap() = bytes;
    left(Some(999));
    let mut body = json!({"data": LINE, "adapter": "one", "preview": true});
    let (status, preview) = train(&service, &body);
    assert_eq!((status, &preview["outlook"]["memory_bytes"]), (200, &json!(1_000)), "{preview}");
    body["preview"] = json!(false);
    let (status, refused) = train(&service, &body);
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("not_enough_memory")), "{refused}");
    let (_, jobs) = get(&service, "/v1/train/jobs");
    assert_eq!(jobs["data"], json!([]));
    left(Some(1_000));
    let (one, two) = (begin(&service, "one"), begin(&service, "two"));
    until(&service, &one, "running");
    left(Some(0));
    fixture.school.let_go(3);
    until(&service, &one, "completed");
    let failed = until(&service, &two, "failed");
    assert_eq!(failed["error"]["code"], "not_enough_memory", "{failed}");
    left(None);
    let three = begin(&service, "three");
    fixture.school.let_go(3);
    until(&service, &three, "completed");
}

#[test]
fn jobs_have_their_turns_and_are_followed_to_their_ends() {
    let (fixture, service) = Fixture::opened();
    let (one, two, three) = (begin(&service, "one"), begin(&service, "two"), begin(&service, "three"));
    until(&service, &one, "running");
    until(&service, &two, "queued");
    let ended = delete(&service, &two).1;
    assert_eq!(ended["status"], "cancelled");
    fixture.school.let_go(6);
    let events = followed(&service, &one, 0);
    let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["queued", "started", "progress", "progress", "progress", "completed"]);
    assert_eq!((&events[3].1["loss"], &events[3].1["tokens"]), (&json!(0.5), &json!(20)));
    assert_eq!(followed(&service, &one, 5), events[5..]);
    until(&service, &three, "completed");
    let known: Vec<String> = fixture.school.known().into_iter().map(|(id, _)| id).collect();
    assert_eq!(known, ["one", "three"]);
    let (_, jobs) = get(&service, "/v1/train/jobs");
    let statuses: Vec<&str> =
        jobs["data"].as_array().unwrap().iter().map(|job| job["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["completed", "cancelled", "completed"]);
    let page = String::from_utf8(call(&service, "GET", "/metrics", "").1.to_vec()).unwrap();
    for line in [
        "tidegate_node_training_jobs{status=\"completed\"} 2",
        "tidegate_node_training_jobs{status=\"cancelled\"} 1",
        "tidegate_node_training_steps_total 6",
        "tidegate_node_training_tokens_total 60",
    ] {
        assert!(page.contains(line), "{page}");
    }
    // The name is taken.
    let again = json!({"data": LINE, "adapter": "one"});
    assert_eq!(train(&service, &again).1["error"]["code"], "adapter_exists");
    let again = json!({"data": LINE, "adapter": "one", "replace": true});
    assert_eq!(train(&service, &again).0, 202);
}

#[test]
fn what_was_queued_or_running_is_taken_up_at_the_next_start() {
    let fixture = Fixture::new();
    let (one, two) = {
        let service = fixture.open();
        let (one, two) = (begin(&service, "one"), begin(&service, "two"));
        fixture.school.let_go(2);
        eventually("two steps are done", || job(&service, &one)["progress"]["step"] == 2);
        (one, two)
    };
    let folder = fixture.root.path().join("train").join(&one);
    let record: Value = serde_json::from_slice(&std::fs::read(folder.join("job.json")).unwrap()).unwrap();
    assert_eq!(record["status"], "running", "whoever stops the node does not call its jobs off");
    // An incomplete job directory is ignored.
    std::fs::create_dir(fixture.root.path().join("train/ftjob-half")).unwrap();
    fixture.school.let_go(4);
    let service = fixture.open();
    until(&service, &two, "completed");
    let kinds: Vec<String> = followed(&service, &one, 2).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["progress", "progress", "resumed", "progress", "completed"]);
    assert!(!folder.join("work").exists(), "what it was taken up with is of no use any more");
    assert!(!fixture.root.path().join("train/ftjob-half").exists());
    drop(service);
    // Adapters of completed jobs are registered again.
    fixture.school.known.lock().unwrap().clear();
    let service = fixture.open();
    let known = fixture.school.known();
    assert_eq!(known, [("one".to_owned(), "3".to_owned()), ("two".to_owned(), "3".to_owned())]);
    let forgotten = delete(&service, &format!("{one}?forget=true"));
    assert_eq!((forgotten.0, fixture.school.known().len(), folder.exists()), (200, 1, false));
}

fn act(service: &Service, id: &str, what: &str) -> Value {
    let (status, job) = ask(service, "POST", &format!("/v1/train/jobs/{id}/{what}"), &Value::Null);
    assert_eq!(status, 200, "{job}");
    job
}

fn kinds(service: &Service, id: &str) -> Vec<String> {
    followed(service, id, 0).into_iter().map(|(kind, _)| kind).collect()
}

#[test]
fn what_is_paused_waits_until_it_is_told_to_go_on_whatever_becomes_of_the_node() {
    let fixture = Fixture::new();
    let (one, two, three) = {
        let service = fixture.open();
        let (one, two) = (begin(&service, "one"), begin(&service, "two"));
        fixture.school.let_go(1);
        eventually("the job makes progress", || !job(&service, &one)["progress"].is_null());
        assert_eq!(act(&service, &one, "pause")["status"], "paused");
        assert_eq!(act(&service, &one, "pause")["status"], "paused", "it is what was asked for");
        let (status, refused) = delete(&service, &format!("{one}?forget=true"));
        assert_eq!((status, &refused["error"]["code"]), (409, &json!("job_is_not_over")));
        // The next job runs.
        until(&service, &two, "running");
        let three = begin(&service, "three");
        assert_eq!(act(&service, &three, "pause")["status"], "paused", "one that has not begun");
        fixture.school.let_go(3);
        until(&service, &two, "completed");
        let page = String::from_utf8(call(&service, "GET", "/metrics", "").1.to_vec()).unwrap();
        assert!(page.contains("tidegate_node_training_jobs{status=\"paused\"} 2"), "{page}");
        (one, two, three)
    };
    fixture.school.let_go(9);
    let service = fixture.open();
    until(&service, &begin(&service, "four"), "completed");
    for id in [&one, &three] {
        let (_, job) = get(&service, &format!("/v1/train/jobs/{id}"));
        assert_eq!(job["status"], "paused", "{job}");
    }
    let (_, tuned) = ask(&service, "POST", &format!("/v1/fine_tuning/jobs/{one}/resume"), &Value::Null);
    assert_eq!(tuned["object"], "fine_tuning.job", "{tuned}");
    until(&service, &one, "completed");
    let (again, _) = ask(&service, "POST", &format!("/v1/train/jobs/{one}/resume"), &Value::Null);
    assert_eq!(again, 409);
    let expected = ["queued", "started", "progress", "paused", "queued", "resumed", "progress", "progress"];
    assert_eq!(kinds(&service, &one), [expected.as_slice(), &["completed"]].concat());
    // Cancelling a paused job removes its files.
    let gone = delete(&service, &three);
    assert_eq!(gone.1["status"], "cancelled");
    assert_eq!(kinds(&service, &three), ["queued", "paused", "cancelled"]);
    for (path, allowed) in [(format!("{two}/pause"), "pause"), (format!("{two}/resume"), "resume")] {
        let (status, error) = ask(&service, "POST", &format!("/v1/fine_tuning/jobs/{path}"), &Value::Null);
        assert_eq!((status, &error["error"]["code"]), (409, &json!("job_is_over")), "{allowed}");
        assert_eq!(get(&service, &format!("/v1/train/jobs/{path}")).0, 405);
    }
}

/// A job's retained checkpoints: their steps and adapter names.
fn checkpoints(service: &Service, id: &str) -> Vec<(u64, String)> {
    let (status, list) = ask(service, "GET", &format!("/v1/fine_tuning/jobs/{id}/checkpoints"), &Value::Null);
    assert_eq!(status, 200, "{list}");
    let of = |point: &Value| {
        let name = point["fine_tuned_model_checkpoint"].as_str().unwrap().to_owned();
        (point["step_number"].as_u64().unwrap(), name.strip_prefix("m:").unwrap().to_owned())
    };
    list["data"].as_array().unwrap().iter().map(of).collect()
}

fn steps(points: &[(u64, String)]) -> Vec<u64> {
    points.iter().map(|(step, _)| *step).collect()
}

fn names(points: &[(u64, String)]) -> Vec<String> {
    let mut names: Vec<String> = points.iter().map(|(_, name)| name.clone()).collect();
    names.sort();
    names
}

impl Fixture {
    /// The registered adapters.
    fn known(&self) -> Vec<String> {
        let mut known: Vec<String> = self.school.known().into_iter().map(|(id, _)| id).collect();
        known.sort();
        known
    }
}

/// Begins a job of six epochs.
fn begin_six(service: &Service) -> String {
    let body = json!({"data": LINE, "adapter": "one", "epochs": 6});
    train(service, &body).1["id"].as_str().unwrap().to_owned()
}

#[test]
fn the_ends_of_epochs_are_kept_as_models_up_to_a_bound() {
    let fixture = Fixture::new();
    fixture.school.leaves.store(true, Ordering::SeqCst);
    let (one, kept) = {
        let service = fixture.open();
        let one = begin_six(&service);
        fixture.school.let_go(5);
        eventually("five steps are done", || job(&service, &one)["progress"]["step"] == 5);
        // Older checkpoints are deleted after the new one is registered: first from the job, then from the
        // runtime.
        let is_left = || checkpoints(&service, &one).len() <= 3 && fixture.known().len() <= 3;
        eventually("three checkpoints are left", is_left);
        let points = checkpoints(&service, &one);
        assert_eq!((steps(&points), fixture.known()), (vec![5, 4, 3], names(&points)));
        let path = format!("/v1/fine_tuning/jobs/{one}/checkpoints?limit=1");
        let page = ask(&service, "GET", &path, &Value::Null).1;
        assert_eq!((page["data"].as_array().unwrap().len(), &page["has_more"]), (1, &json!(true)), "{page}");
        let after = page["data"][0]["id"].as_str().unwrap();
        let page = get(&service, &format!("{path}&after={after}")).1;
        assert_eq!((&page["data"][0]["step_number"], &page["has_more"]), (&json!(4), &json!(true)), "{page}");
        assert_eq!(page["data"][0]["metrics"]["train_loss"], json!(0.25));
        (one, points)
    };
    // A restart registers them again, and the final adapter counts as one.
    fixture.school.known.lock().unwrap().clear();
    let service = fixture.open();
    assert!(waited(service.register_adapters()).is_empty());
    assert_eq!(checkpoints(&service, &one), kept);
    fixture.school.let_go(1);
    until(&service, &one, "completed");
    eventually("three adapters are left", || fixture.known().len() <= 3);
    let points = checkpoints(&service, &one);
    assert_eq!(steps(&points), [6, 5, 4]);
    assert_eq!((points[0].1.as_str(), fixture.known()), ("one", names(&points)));
    let folders = std::fs::read_dir(fixture.root.path().join("train").join(&one).join("epochs")).unwrap();
    assert_eq!(folders.count(), 2);
    let (_, own) = get(&service, &format!("/v1/train/jobs/{one}/checkpoints"));
    assert_eq!((&own["data"][0]["model"], &own["data"][2]["step"]), (&json!("m:one"), &json!(4)), "{own}");
}

#[test]
fn the_ends_of_epochs_give_way_to_what_is_made() {
    let fixture = Fixture::new();
    fixture.school.leaves.store(true, Ordering::SeqCst);
    let service = fixture.open();
    let one = begin_six(&service);
    fixture.school.let_go(6);
    until(&service, &one, "completed");
    // The runtime's adapter limit is reached.
    fixture.school.let_go(9);
    for name in ["two", "three", "four"] {
        until(&service, &begin(&service, name), "completed");
        assert!(fixture.known().len() <= 9, "{:?}", fixture.known());
    }
    assert_eq!(checkpoints(&service, &one).len(), 1, "what was left first goes first: {:?}", fixture.known());
    for name in ["one", "two", "three", "four"] {
        assert!(fixture.known().contains(&name.to_owned()), "{name}");
    }
    // A cancelled job leaves its checkpoints, a deleted one leaves nothing.
    fixture.school.let_go(1);
    let last = begin(&service, "last");
    eventually("there is a checkpoint", || !checkpoints(&service, &last).is_empty());
    delete(&service, &last);
    let (_, name) = checkpoints(&service, &last).remove(0);
    assert!(fixture.known().contains(&name));
    delete(&service, &format!("{last}?forget=true"));
    assert!(!fixture.known().contains(&name));
}

#[test]
fn who_goes_on_from_an_adapter_has_a_copy_of_it_and_nothing_leads_out_of_the_folder() {
    let fixture = Fixture::new();
    let adapters = fixture.root.path().join("adapters");
    write_adapter(&adapters.join("law"), 7);
    write_adapter(&fixture.root.path().join("secret"), 9);
    write_adapter(&adapters.join("linked"), 9);
    std::fs::remove_file(adapters.join("linked/adapter_config.json")).unwrap();
    let secret = fixture.root.path().join("secret/adapter_config.json");
    std::os::unix::fs::symlink(secret, adapters.join("linked/adapter_config.json")).unwrap();
    std::fs::create_dir_all(adapters.join("empty")).unwrap();
    let service = fixture.open();
    let body = |from: &str| json!({"data": LINE, "adapter": "on", "init_adapter_dir": from});
    for (from, status, code) in [
        ("../secret", 403, "adapter_outside"),
        ("/etc", 403, "adapter_outside"),
        ("linked", 403, "adapter_outside"),
        ("none", 404, "adapter_not_found"),
        ("empty", 422, "invalid_adapter"),
    ] {
        let (found, answer) = train(&service, &body(from));
        let error = &answer["error"];
        assert_eq!((found, &error["code"]), (status, &json!(code)), "{from}: {error}");
        assert_eq!(error["param"], "init_adapter_dir", "{from}: {error}");
    }
    let (status, job) = train(&service, &body("law"));
    assert_eq!((status, &job["init_adapter_dir"]), (202, &json!("law")), "{job}");
    // The job has its own copy of the adapter that it continues from.
    std::fs::remove_dir_all(adapters.join("law")).unwrap();
    fixture.school.let_go(3);
    let id = job["id"].as_str().unwrap();
    until(&service, id, "completed");
    assert_eq!(fixture.school.known(), [("on".to_owned(), "10".to_owned())]);
    let copy = fixture.root.path().join("train").join(id).join("from");
    eventually("the copy of the adapter is deleted", || !copy.exists());
}

#[test]
fn what_is_read_is_broken_off_when_nobody_wants_it() {
    let (fixture, service) = Fixture::opened();
    let one = begin(&service, "one");
    until(&service, &one, "running");
    act(&service, &one, "pause");
    fixture.school.reads_on.store(true, Ordering::SeqCst);
    act(&service, &one, "resume");
    let readings = |count: usize| {
        let is_read = || fixture.school.readings.load(Ordering::SeqCst) == count;
        eventually(&format!("the data is read {count} times"), is_read);
    };
    readings(1);
    delete(&service, &one);
    readings(0);
    // The client disconnects while the data is being read.
    let body = Bytes::from(json!({"data": LINE, "adapter": "two"}).to_string());
    let request = || crate::post("/v1/train/sft").body(body.clone()).unwrap();
    let mut call = Box::pin(service.call(request(), service.mint()));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(call.as_mut().poll(&mut cx).is_pending());
    readings(1);
    drop(call);
    readings(0);
    // The node shuts down.
    let mut call = Box::pin(service.call(request(), service.mint()));
    assert!(call.as_mut().poll(&mut cx).is_pending());
    readings(1);
    service.close();
    readings(0);
    let (head, body) = waited(call).into_parts();
    let error = json_of(&waited(read(body)).0);
    assert_eq!((head.status.as_u16(), &error["error"]["code"]), (503, &json!("node_ends")), "{error}");
}

#[test]
fn a_node_says_what_it_trains() {
    let fixture = Fixture::new();
    let capabilities = ask(&fixture.open(), "GET", "/v1/capabilities", &Value::Null).1;
    let training = &capabilities["training"];
    assert_eq!(training["kinds"], json!(["sft"]), "{capabilities}");
    assert_eq!(training["methods"], json!(["supervised"]), "{capabilities}");
    assert_eq!(training["max_job_checkpoints"], 3, "{capabilities}");
    assert_eq!(training["pauses"], true, "{capabilities}");
    assert_eq!(training["max_jobs"], 64);
    let none = ask(&crate::service(node::Echo), "GET", "/v1/capabilities", &Value::Null).1;
    assert_eq!((&none["training"], none["adapters"].is_boolean()), (&Value::Null, true), "{none}");
}

#[test]
fn a_job_that_fails_says_why_and_one_that_takes_too_long_is_ended() {
    let (fixture, service) = Fixture::opened();
    fixture.school.fails.store(true, Ordering::SeqCst);
    fixture.school.let_go(1);
    let one = begin(&service, "one");
    let failed = until(&service, &one, "failed");
    assert_eq!(failed["error"]["code"], "training_diverged", "{failed}");
    let (kind, event) = followed(&service, &one, 0).pop().unwrap();
    assert_eq!((kind.as_str(), &event["message"]), ("failed", &json!("It is no longer a number.")));
    fixture.school.fails.store(false, Ordering::SeqCst);
    let body = json!({"data": [{"messages": []}], "max_duration_hours": 1e-12});
    let (_, late) = train(&service, &body);
    let late = until(&service, late["id"].as_str().unwrap(), "failed");
    assert_eq!(late["error"]["code"], "duration_reached", "{late}");
    let name = late["adapter"].as_str().unwrap();
    assert!(late["id"].as_str().unwrap().ends_with(name), "{late}");
}

#[test]
fn what_is_asked_is_refused_by_name_before_anything_begins() {
    let (_fixture, service) = Fixture::opened();
    let refused = |body: Value| {
        let (status, answer) = train(&service, &body);
        let error = &answer["error"];
        let word = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (status, word("code"), word("param"))
    };
    let word = |status: u16, code: &str, param: &str| (status, code.to_owned(), param.to_owned());
    assert_eq!(refused(json!([])), word(400, "invalid_body", ""));
    assert_eq!(refused(json!({})), word(400, "invalid_value", "data"));
    assert_eq!(refused(json!({"data": 7})), word(400, "invalid_value", "data"));
    assert_eq!(refused(json!({"data": "x", "tide": 1})), word(400, "unsupported_parameter", "tide"));
    assert_eq!(refused(json!({"data": "x"})), word(400, "invalid_training_data", "training_file"));
    assert_eq!(refused(json!({"training_file": "file-none"})), word(404, "file_not_found", "file_id"));
    assert_eq!(refused(json!({"data": LINE, "lora_rank": 0})), word(400, "invalid_value", "lora_rank"));
    assert_eq!(refused(json!({"data": LINE, "lr": -1})), word(400, "invalid_value", "lr"));
    assert_eq!(refused(json!({"data": LINE, "max_duration_hours": 25})).2, "max_duration_hours");
    assert_eq!(refused(json!({"data": LINE, "split_ratio": 0.5, "eval_examples": 1})).2, "eval_examples");
    assert_eq!(refused(json!({"data": LINE, "model": "n"})), word(404, "model_not_found", "model"));
    assert_eq!(refused(json!({"data": LINE, "model": "m", "base": "n"})).2, "base");
    assert_eq!(get(&service, "/v1/train/jobs/none").0, 404);
    assert_eq!(get(&service, "/v1/train/jobs?tide=1").1["error"]["param"], "tide");
    assert_eq!(ask(&service, "PUT", "/v1/train/jobs/none", &Value::Null).0, 405);
    let body = json!({"data": LINE, "preview": true, "lora_rank": 4, "split_ratio": 0.75});
    let (status, preview) = train(&service, &body);
    assert_eq!((status, &preview["outlook"]["steps"]), (200, &json!(3)), "{preview}");
    let settings = &preview["settings"];
    assert_eq!((&settings["lora_alpha"], &settings["split_ratio"]), (&json!(8.0), &json!(0.75)));
    let small = json!({"data": LINE, "validation_data": LINE, "preview": true, "log_every": 3, "split_seed": 9,
        "num_examples": 1, "max_cost_gbp": 0.5});
    let (status, preview) = train(&service, &small);
    assert_eq!(status, 200, "{preview}");
    let settings = &preview["settings"];
    assert_eq!((&settings["log_every"], &settings["split_seed"]), (&json!(3), &json!(9)), "{settings}");
    for (field, value) in [
        ("log_every", json!(0)),
        ("split_seed", json!(-1)),
        ("num_examples", json!(0)),
        ("max_cost_gbp", json!(-1)),
        ("validation_data", json!(7)),
    ] {
        let mut body = json!({"data": LINE});
        body[field] = value;
        assert_eq!(refused(body), word(400, "invalid_value", field));
    }
    assert_eq!(get(&service, "/v1/train/jobs").1["data"], json!([]));
    // Without a data directory or a trainer, nothing is started.
    let (status, answer) = ask(&crate::service(node::Echo), "POST", "/v1/train/sft", &body);
    assert_eq!((status, &answer["error"]["code"]), (501, &json!("training_not_served")));
    let (status, answer) = ask(&service, "POST", "/v1/train/rl", &body);
    assert_eq!((status, &answer["error"]["code"]), (501, &json!("not_of_this_version")));
}
