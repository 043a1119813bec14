//! A worker as it is kept on disk: what was ordered, its state, and its steps. Its secrets are in a file beside it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use domain::Secret;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use world::replace_private;

use crate::limits::{MESSAGE_CHARS_MAX, STEPS_MAX};
use crate::spec::{Plan, Rate};

const RECORD: &str = "worker.json";
const SECRETS: &str = "secrets.json";
/// What its service signs callbacks with.
const CALLBACK: &str = "callback.secret";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Queued,
    Provisioning,
    Running,
    /// It did not start, or ended by itself. What is left of it is removed when it is destroyed.
    Failed,
    Destroyed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Worker {
    pub id: String,
    pub plan: Plan,
    pub variables: Vec<String>,
    pub idle_minutes: Option<u64>,
    pub rate: Option<Rate>,
    /// Where its node listens.
    pub address: Option<String>,
    pub state: State,
    pub steps: Vec<Step>,
    /// What was started; `None` before.
    pub handle: Option<Handle>,
    /// Why it failed.
    pub fault: Option<String>,
    pub created_unix_ms: u64,
    pub started_unix_ms: Option<u64>,
    pub running_unix_ms: Option<u64>,
    pub ended_unix_ms: Option<u64>,
    /// Why it is to be destroyed.
    pub end_wanted: Option<String>,
    /// Callbacks that were taken lately.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heard: Vec<Heard>,
}

/// A callback that was taken, so that it is not taken again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heard {
    pub id: String,
    pub unix_s: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub name: String,
    pub state: StepState,
    pub started_unix_ms: u64,
    pub ended_unix_ms: Option<u64>,
    pub message: Option<String>,
    /// The service that started the worker says so; otherwise it is a step of this node's.
    #[serde(default)]
    pub by_service: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StepState {
    Running,
    Done,
    Failed,
}

/// What was started, so that it is found again after a restart of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Handle {
    /// A process of this machine, with its start, since numbers are used again.
    Process { pid: i32, started_ticks: u64, boot: String },
    /// A process of another machine.
    Remote { host: String, pid: i32, started_ticks: u64 },
    /// Objects of a cluster, by the name of the worker.
    Cluster,
    /// Something of a service's.
    Hired { instance: String },
}

impl Step {
    fn of_node(name: String, started_unix_ms: u64) -> Self {
        Self {
            name,
            state: StepState::Running,
            started_unix_ms,
            ended_unix_ms: None,
            message: None,
            by_service: false,
        }
    }

    pub(crate) fn of_service(name: String, started_unix_ms: u64) -> Self {
        Self { by_service: true, ..Self::of_node(name, started_unix_ms) }
    }
}

impl Worker {
    pub(crate) const fn is_ended(&self) -> bool {
        matches!(self.state, State::Failed | State::Destroyed)
    }

    /// Whether there is something left to do for it.
    pub(crate) const fn is_open(&self) -> bool {
        !self.is_ended() || (matches!(self.state, State::Failed) && self.end_wanted.is_some())
    }

    /// Begins a step; one that has just failed begins again.
    pub(crate) fn begin(&mut self, name: &str, now_unix_ms: u64) {
        let last = self.steps.iter().rposition(|step| !step.by_service);
        let failed = |step: &Step| step.name == name && step.state == StepState::Failed;
        if let Some(last) = last.filter(|last| self.steps.get(*last).is_some_and(failed)) {
            self.steps.remove(last);
        }
        if self.steps.iter().filter(|step| !step.by_service).count() < STEPS_MAX {
            self.steps.push(Step::of_node(name.to_owned(), now_unix_ms));
        }
    }

    /// Ends the step that runs.
    pub(crate) fn end(&mut self, result: Result<(), String>, now_unix_ms: u64) {
        let is_own = |step: &&mut Step| !step.by_service && step.state == StepState::Running;
        let Some(step) = self.steps.iter_mut().rfind(is_own) else { return };
        step.ended_unix_ms = Some(now_unix_ms);
        (step.state, step.message) = match result {
            Ok(()) => (StepState::Done, None),
            Err(why) => (StepState::Failed, Some(why.chars().take(MESSAGE_CHARS_MAX).collect())),
        };
    }

    pub(crate) fn fail(&mut self, why: &str, now_unix_ms: u64) {
        let why: String = why.chars().take(MESSAGE_CHARS_MAX).collect();
        self.end(Err(why.clone()), now_unix_ms);
        self.state = State::Failed;
        self.fault = Some(why);
        self.ended_unix_ms = Some(now_unix_ms);
    }
}

/// The directory of one worker.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn of(root: &Path, id: &str) -> Self {
        Self(root.join(id))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    pub(crate) fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)
    }

    pub(crate) fn write(&self, worker: &Worker) -> io::Result<()> {
        replace_private(&self.0.join(RECORD), &serde_json::to_vec_pretty(worker)?)
    }

    pub(crate) fn write_secrets(&self, variables: &BTreeMap<String, Secret>) -> io::Result<()> {
        let plain: BTreeMap<&String, &str> =
            variables.iter().filter_map(|(name, value)| Some((name, value.expose_text()?))).collect();
        replace_private(&self.0.join(SECRETS), &serde_json::to_vec(&plain)?)
    }

    /// Its variables; none once it is destroyed.
    pub(crate) fn secrets(&self) -> BTreeMap<String, Secret> {
        let kept: BTreeMap<String, String> = read(&self.0.join(SECRETS)).unwrap_or_default();
        kept.into_iter().map(|(name, value)| (name, Secret::from_text(value))).collect()
    }

    pub(crate) fn write_callback_secret(&self, secret: &Secret) -> io::Result<()> {
        replace_private(&self.0.join(CALLBACK), secret.expose())
    }

    /// What its service signs callbacks with; `None` once it is destroyed, and for a worker without callbacks.
    pub(crate) fn callback_secret(&self) -> Option<Secret> {
        fs::read(self.0.join(CALLBACK)).ok().filter(|secret| !secret.is_empty()).map(Secret::new)
    }

    /// What is in no text that is shown, with a name for each; the longest first, since one may be a part of another.
    pub(crate) fn hidden(&self) -> Vec<(String, Secret)> {
        let callback = self.callback_secret().map(|secret| ("callback.secret".to_owned(), secret));
        let mut hidden: Vec<(String, Secret)> = self.secrets().into_iter().chain(callback).collect();
        hidden.sort_by_key(|(_, secret)| std::cmp::Reverse(secret.expose().len()));
        hidden
    }

    pub(crate) fn forget_secrets(&self) {
        for secrets in [SECRETS, CALLBACK] {
            let _ = fs::remove_file(self.0.join(secrets));
        }
    }

    pub(crate) fn remove(&self) {
        let _ = fs::remove_dir_all(&self.0);
    }

    /// Every worker below this directory, the oldest first.
    pub(crate) fn all(root: &Path) -> io::Result<Vec<Worker>> {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let mut workers = Vec::new();
        for entry in fs::read_dir(root)? {
            // A directory without a record is of an order that was never answered.
            match read::<Worker>(&entry?.path().join(RECORD)) {
                Ok(worker) => workers.push(worker),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        workers.sort_by(|a, b| (a.created_unix_ms, &a.id).cmp(&(b.created_unix_ms, &b.id)));
        Ok(workers)
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    serde_json::from_slice(&fs::read(path)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())))
}
