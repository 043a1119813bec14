//! Jobs of training over the service, with a runtime that only seems to train: their order, their ends, and what is left of
//! them after another start.

#![expect(clippy::indexing_slicing, reason = "an answer that lacks what it should have should fail its test")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use domain::adapters::{AdapterRoom, AdapterState, Adapters, Doing, NewAdapter};
use domain::runtime::{GenerateRequest, Generating, Runtime, RuntimeModel};
use domain::training::{
    Course, HeldOut, Lesson, Outlook, RateSchedule, RunEnd, Step, Trainer, Unfit, UnusableLine, Watch,
};
use domain::{Fault, FaultClass};
use http::Request;
use node::{NodeSettings, Service};
use serde_json::{Value, json};
use world::World;

use crate::{call, json as json_of, read, waited};

/// It goes over as many steps as it is let, and writes how many it did.
#[derive(Default)]
struct School {
    /// Steps that may still be done.
    let_go: Mutex<u64>,
    changed: Condvar,
    known: Mutex<Vec<(String, String)>>,
    fails: AtomicBool,
}

#[derive(Clone)]
struct Teacher(Arc<School>);

impl School {
    fn let_go(&self, steps: u64) {
        *self.let_go.lock().unwrap() += steps;
        self.changed.notify_all();
    }

    fn known(&self) -> Vec<(String, String)> {
        self.known.lock().unwrap().clone()
    }
}

impl Runtime for Teacher {
    fn models(&self) -> Vec<RuntimeModel> {
        vec![RuntimeModel { id: "m".into(), is_model: true, ..RuntimeModel::default() }]
    }

    fn generate(&self, _request: GenerateRequest) -> Result<Generating, Fault> {
        Err(Fault::internal())
    }

    fn count(&self, _request: &GenerateRequest) -> Result<u64, Fault> {
        Ok(1)
    }

    fn adapters(&self) -> Option<&dyn Adapters> {
        Some(self)
    }

    fn trainer(&self) -> Option<&dyn Trainer> {
        Some(self)
    }
}

impl Adapters for Teacher {
    fn room(&self) -> AdapterRoom {
        AdapterRoom { registered_max: 9, resident_max: 9, resident_bytes_max: 9, rank_max: 9 }
    }

    fn list(&self) -> Doing<'_, Vec<AdapterState>> {
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

    fn register(&self, new: NewAdapter) -> Doing<'_, u64> {
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

    fn load(&self, _id: String, _waits: bool) -> Doing<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn pin(&self, _id: String, _is_pinned: bool) -> Doing<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn unload(&self, id: String) -> Doing<'_, ()> {
        Box::pin(async move {
            self.0.known.lock().unwrap().retain(|(known, _)| *known != id);
            Ok(())
        })
    }
}

impl Trainer for Teacher {
    fn usual(&self) -> Course {
        Course {
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
        }
    }

    fn outlook(&self, lesson: &Lesson<'_>) -> Result<Outlook, Unfit> {
        let lines = lesson.learned.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let bad = |(index, line): (usize, &[u8])| {
            let line_number =
                UnusableLine { line: index + 1, field: "messages".into(), why: "are missing".into() };
            (!line.starts_with(b"{\"messages\"")).then_some(line_number)
        };
        let bad: Vec<_> = lines.clone().enumerate().filter_map(bad).collect();
        if !bad.is_empty() {
            return Err(Unfit::Lines { of_held_out: false, lines: bad, more: 0 });
        }
        Ok(Outlook {
            texts: lines.count() as u64,
            held_out_texts: 0,
            tokens: 10,
            learned_tokens: 5,
            longest_text_tokens: 5,
            steps: lesson.course.epochs as u64,
            parameters: 100,
            memory_bytes: 1_000,
        })
    }

    fn train(
        &self,
        lesson: &Lesson<'_>,
        work: &Path,
        result: &Path,
        watch: &dyn Watch,
    ) -> Result<RunEnd, Unfit> {
        let of = lesson.course.epochs as u64;
        std::fs::create_dir_all(work).unwrap();
        let kept = work.join("steps");
        let mut done: u64 = std::fs::read_to_string(&kept).map_or(0, |text| text.parse().unwrap());
        watch.begun(done, of);
        while done < of {
            let mut let_go = self.0.let_go.lock().unwrap();
            while *let_go == 0 && !watch.is_called_off() {
                let_go = self.0.changed.wait(let_go).unwrap();
            }
            if watch.is_called_off() {
                return Ok(RunEnd::CalledOff);
            }
            *let_go -= 1;
            drop(let_go);
            if self.0.fails.load(Ordering::SeqCst) {
                let fault =
                    Fault::new(FaultClass::Unsupported, "training_diverged", "It is no number any more.");
                return Err(Unfit::Fault(Box::new(fault)));
            }
            done += 1;
            std::fs::write(&kept, done.to_string()).unwrap();
            let (loss, rate) = (1.0 / done as f64, lesson.course.rate);
            watch.went(&Step {
                step: done,
                of,
                loss,
                held_out_loss: None,
                rate,
                tokens: done * 10,
                is_kept: true,
            });
        }
        std::fs::create_dir_all(result).unwrap();
        std::fs::write(result.join("steps"), done.to_string()).unwrap();
        Ok(RunEnd::Whole)
    }

    fn wake(&self) {
        drop(self.0.let_go.lock().unwrap());
        self.0.changed.notify_all();
    }
}

struct House {
    root: tempfile::TempDir,
    school: Arc<School>,
}

impl House {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), school: Arc::default() }
    }

    fn open(&self) -> Arc<Service> {
        let settings = NodeSettings {
            world: World::system(),
            keys: Vec::new(),
            runtime_name: "test",
            data_dir: Some(self.root.path().to_owned()),
            adapters: None,
        };
        Service::new(Arc::new(Teacher(Arc::clone(&self.school))), settings).unwrap()
    }
}

const LINE: &str = "{\"messages\":[]}";

fn ask(service: &Service, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (head, bytes, _) = call(service, method, path, &body);
    (head.status().as_u16(), json_of(&bytes))
}

fn begin(service: &Service, adapter: &str) -> String {
    let body = json!({"data": LINE, "adapter": adapter});
    let (status, job) = ask(service, "POST", "/v1/train/sft", &body);
    assert_eq!(status, 202, "{job}");
    job["id"].as_str().unwrap().to_owned()
}

/// Waits until a job is where it is to be. Its stream of events wakes nobody here, and is asked again.
fn until(service: &Service, id: &str, status: &str) -> Value {
    loop {
        let (_, job) = ask(service, "GET", &format!("/v1/train/jobs/{id}"), &Value::Null);
        if job["status"] == status {
            return job;
        }
        assert!(!["completed", "failed", "cancelled"].iter().any(|over| job["status"] == *over), "{job}");
        std::thread::yield_now();
    }
}

/// All events of a job up to its end, followed as they come.
fn followed(service: &Service, id: &str, after: u64) -> Vec<(String, Value)> {
    let path = format!("/v1/train/jobs/{id}/events?after={after}");
    let request = Request::get(path).header("accept", "text/event-stream").body(Bytes::new()).unwrap();
    let body = waited(service.call(request, service.mint())).into_body();
    let (bytes, is_clean) = waited(read(body));
    assert!(is_clean);
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let frame = |frame: &str| {
        let of = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        (of("event: "), serde_json::from_str(&of("data: ")).unwrap())
    };
    text.split("\n\n").filter(|text| !text.is_empty()).map(frame).collect()
}

#[test]
fn jobs_have_their_turns_and_are_followed_to_their_ends() {
    let house = House::new();
    let service = house.open();
    let (one, two, three) = (begin(&service, "one"), begin(&service, "two"), begin(&service, "three"));
    until(&service, &one, "running");
    until(&service, &two, "queued");
    assert_eq!(
        ask(&service, "DELETE", &format!("/v1/train/jobs/{two}"), &Value::Null).1["status"],
        "cancelled"
    );
    house.school.let_go(6);
    let events = followed(&service, &one, 0);
    let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["queued", "started", "progress", "progress", "progress", "completed"]);
    assert_eq!((&events[3].1["loss"], &events[3].1["tokens"]), (&json!(0.5), &json!(20)));
    assert_eq!(followed(&service, &one, 5), events[5..]);
    until(&service, &three, "completed");
    let known: Vec<String> = house.school.known().into_iter().map(|(id, _)| id).collect();
    assert_eq!(known, ["one", "three"]);
    let (_, jobs) = ask(&service, "GET", "/v1/train/jobs", &Value::Null);
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
    // A name that is taken.
    let again = json!({"data": LINE, "adapter": "one"});
    assert_eq!(ask(&service, "POST", "/v1/train/sft", &again).1["error"]["code"], "adapter_exists");
    let again = json!({"data": LINE, "adapter": "one", "replace": true});
    assert_eq!(ask(&service, "POST", "/v1/train/sft", &again).0, 202);
}

#[test]
fn what_was_queued_or_running_is_taken_up_at_the_next_start() {
    let house = House::new();
    let (one, two) = {
        let service = house.open();
        let (one, two) = (begin(&service, "one"), begin(&service, "two"));
        house.school.let_go(2);
        loop {
            let (_, job) = ask(&service, "GET", &format!("/v1/train/jobs/{one}"), &Value::Null);
            if job["progress"]["step"] == 2 {
                break (one, two);
            }
            std::thread::yield_now();
        }
    };
    let folder = house.root.path().join("train").join(&one);
    let record: Value = serde_json::from_slice(&std::fs::read(folder.join("job.json")).unwrap()).unwrap();
    assert_eq!(record["status"], "running", "whoever stops the node does not call its jobs off");
    // What was not made whole is nothing.
    std::fs::create_dir(house.root.path().join("train/ftjob-half")).unwrap();
    house.school.let_go(4);
    let service = house.open();
    until(&service, &two, "completed");
    let kinds: Vec<String> = followed(&service, &one, 2).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["progress", "progress", "resumed", "progress", "completed"]);
    assert!(!folder.join("work").exists(), "what it was taken up with is of no use any more");
    assert!(!house.root.path().join("train/ftjob-half").exists());
    drop(service);
    // What was made is known again.
    house.school.known.lock().unwrap().clear();
    let service = house.open();
    let known = house.school.known();
    assert_eq!(known, [("one".to_owned(), "3".to_owned()), ("two".to_owned(), "3".to_owned())]);
    let forgotten = ask(&service, "DELETE", &format!("/v1/train/jobs/{one}?forget=true"), &Value::Null);
    assert_eq!((forgotten.0, house.school.known().len(), folder.exists()), (200, 1, false));
}

#[test]
fn a_job_that_fails_says_why_and_one_that_takes_too_long_is_ended() {
    let house = House::new();
    let service = house.open();
    house.school.fails.store(true, Ordering::SeqCst);
    house.school.let_go(1);
    let one = begin(&service, "one");
    let failed = until(&service, &one, "failed");
    assert_eq!(failed["error"]["code"], "training_diverged", "{failed}");
    let (kind, event) = followed(&service, &one, 0).pop().unwrap();
    assert_eq!((kind.as_str(), &event["message"]), ("failed", &json!("It is no number any more.")));
    house.school.fails.store(false, Ordering::SeqCst);
    let body = json!({"data": [{"messages": []}], "max_duration_hours": 1e-12});
    let (_, late) = ask(&service, "POST", "/v1/train/sft", &body);
    let late = until(&service, late["id"].as_str().unwrap(), "failed");
    assert_eq!(late["error"]["code"], "duration_reached", "{late}");
    let name = late["adapter"].as_str().unwrap();
    assert!(late["id"].as_str().unwrap().ends_with(name), "{late}");
}

#[test]
fn what_is_asked_is_refused_by_name_before_anything_begins() {
    let house = House::new();
    let service = house.open();
    let refused = |body: Value| {
        let (status, answer) = ask(&service, "POST", "/v1/train/sft", &body);
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
    let none = json!(null);
    assert_eq!(ask(&service, "GET", "/v1/train/jobs/none", &none).0, 404);
    assert_eq!(ask(&service, "GET", "/v1/train/jobs?tide=1", &none).1["error"]["param"], "tide");
    assert_eq!(ask(&service, "PUT", "/v1/train/jobs/none", &none).0, 405);
    let body = json!({"data": LINE, "preview": true, "lora_rank": 4, "split_ratio": 0.75});
    let (status, preview) = ask(&service, "POST", "/v1/train/sft", &body);
    assert_eq!((status, &preview["outlook"]["steps"]), (200, &json!(3)), "{preview}");
    let settings = &preview["settings"];
    assert_eq!(
        (&settings["lora_alpha"], &settings["split_ratio"]),
        (&json!(8.0), &json!(0.75)),
        "{settings}"
    );
    assert_eq!(ask(&service, "GET", "/v1/train/jobs", &none).1["data"], json!([]));
    // Where nothing is kept, or nothing trains, nothing is begun.
    let (status, answer) = ask(&crate::service(node::Echo), "POST", "/v1/train/sft", &body);
    assert_eq!((status, &answer["error"]["code"]), (501, &json!("training_not_served")));
    let (status, answer) = ask(&service, "POST", "/v1/train/rl", &body);
    assert_eq!((status, &answer["error"]["code"]), (501, &json!("not_of_this_version")));
}
