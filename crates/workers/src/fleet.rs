//! All workers of a node: what is ordered, shown and destroyed by requests, and what moves each from step to step.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{Fault, FaultClass, Secret};
use egress::{Client, TargetKind, check_base_url};
use http::HeaderMap;
use serde_json::Value;
use tasks::Task;
use tokio::sync::Notify;
use tokio::time::sleep;
use world::World;

use crate::callback::{CallbackTaken, Signed, Stated, unsigned};
use crate::config::WorkersConfig;
use crate::exec;
use crate::life::Life;
use crate::limits::{ENDED_WORKERS_MAX, LOOK_EVERY, PROVISIONING_TIME_MAX};
use crate::manifests::{hidden, manifests};
use crate::provider::{Providers, hide};
use crate::record::{Folder, State, Worker};
use crate::spec::{Order, Plan, invalid};
use crate::view::{WorkerList, WorkerLogs, WorkerMade, WorkerView};
use crate::watch::{self, Idle};

/// The directory of the workers, below the node's.
const FOLDER: &str = "workers";
const MINUTE_US: u64 = 60_000_000;

/// The workers of a node. Orders and questions come from any thread; `run` does the work.
pub struct Fleet {
    world: World,
    providers: Providers,
    workers: Mutex<BTreeMap<String, Entry>>,
    /// A worker was ordered, or is to be destroyed.
    changed: Notify,
}

struct Entry {
    worker: Worker,
    /// Its task has something to do before its time.
    wake: Arc<Notify>,
}

domain::brief_debug!(Fleet);

fn unknown(id: &str) -> Box<Fault> {
    let id: String = id.chars().take(64).collect();
    let message = format!("This node has no worker {id}.");
    let fault = Fault::new(FaultClass::NotFound, "worker_not_found", message);
    Box::new(fault.fix("GET /v1/compute/workers lists its workers."))
}

impl Entry {
    fn new(worker: Worker) -> Self {
        Self { worker, wake: Arc::default() }
    }
}

impl Fleet {
    /// Reads the workers that were left by the last run of this node.
    pub fn open(config: WorkersConfig, data_dir: &Path, world: World) -> io::Result<Arc<Self>> {
        let root = data_dir.join(FOLDER);
        let kept = Folder::all(&root)?;
        // A relative path would change its meaning with the directory of what is started there.
        let root = root.canonicalize()?;
        let workers = kept.into_iter().map(|worker| (worker.id.clone(), Entry::new(worker))).collect();
        let providers = Providers::new(config, root);
        Ok(Arc::new(Self { world, providers, workers: Mutex::new(workers), changed: Notify::new() }))
    }

    fn workers(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.world.clock.unix_ms()
    }

    /// Orders a worker.
    ///
    /// # Errors
    /// The order is malformed, not allowed, or one too many.
    pub fn order(&self, provider: Option<&str>, body: &[u8]) -> Result<WorkerMade, Box<Fault>> {
        let order = Order::read(&self.providers.config, provider, body)?;
        let now = self.now();
        let worker = Worker {
            id: id(&self.world, now),
            plan: order.plan,
            variables: order.environment.keys().cloned().collect(),
            idle_minutes: order.idle_minutes,
            rate: order.rate,
            address: order.address,
            state: State::Queued,
            steps: Vec::new(),
            handle: None,
            fault: None,
            created_unix_ms: now,
            started_unix_ms: None,
            running_unix_ms: None,
            ended_unix_ms: None,
            end_wanted: None,
            heard: Vec::new(),
        };
        let mut workers = self.workers();
        let max = self.providers.config.max();
        if workers.values().filter(|entry| entry.worker.state != State::Destroyed).count() >= max {
            let message = format!("This node already has its maximum of {max} workers.");
            let fault = Fault::new(FaultClass::Conflict, "worker_limit", message);
            return Err(Box::new(
                fault.fix("Destroy one (failed ones count too), or raise `max` of [workers]."),
            ));
        }
        let folder = self.providers.folder(&worker.id);
        let written = folder
            .make()
            .and_then(|()| folder.write_secrets(&order.environment))
            .and_then(|()| match self.callback_secret(&worker.plan) {
                Some(secret) => folder.write_callback_secret(&secret),
                None => Ok(()),
            })
            .and_then(|()| folder.write(&worker));
        written.map_err(|error| {
            tracing::error!(%error, "a worker can't be recorded");
            // Nobody would ever remove its secrets.
            folder.remove();
            Box::new(Fault::internal())
        })?;
        let made = WorkerMade::of(&worker);
        workers.insert(worker.id.clone(), Entry::new(worker));
        self.forget_ended(&mut workers);
        drop(workers);
        self.changed.notify_one();
        Ok(made)
    }

    /// What the service of a webhook is to sign its callbacks with, if it is to call.
    fn callback_secret(&self, plan: &Plan) -> Option<Secret> {
        let calls =
            self.providers.config.webhook.as_ref().is_some_and(|webhook| webhook.callback_url.is_some());
        (calls && matches!(plan, Plan::Webhook { .. })).then(|| {
            let mut bytes = [0; 32];
            self.world.random.fill(&mut bytes);
            Secret::from_text(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
        })
    }

    /// Checks what can be checked of a callback before its body is read.
    ///
    /// # Errors
    /// It is not signed, was signed too long ago, or is too long.
    pub fn admit_callback(&self, headers: &HeaderMap) -> Result<(), Box<Fault>> {
        Signed::read(headers, self.now() / 1_000).map(drop)
    }

    /// Takes what a service says of a worker that it started.
    ///
    /// # Errors
    /// It is not signed with the worker's secret, malformed, or one too many.
    pub fn callback(&self, id: &str, headers: &HeaderMap, body: &[u8]) -> Result<CallbackTaken, Box<Fault>> {
        let signed = Signed::read(headers, self.now() / 1_000)?;
        let known = self.get(id).map(|worker| self.providers.folder(&worker.id));
        let folder = known.ok_or_else(unsigned)?;
        let secret = folder.callback_secret().ok_or_else(unsigned)?;
        if !signed.is_of(&secret, body) {
            return Err(unsigned());
        }
        let (stated, secrets, now) = (Stated::read(body)?, folder.hidden(), self.now());
        let mut taken = Err(unsigned());
        self.change(id, |worker| {
            let applied = stated.apply(worker, signed, now, &secrets);
            taken = applied.map(|repeated| CallbackTaken::of(worker, repeated));
        });
        let taken = taken?;
        if let Some(lines) = stated.log.filter(|_| !taken.repeated)
            && let Err(error) = exec::append_log(&folder, &lines)
        {
            tracing::warn!(%error, worker = id, "the log of a worker can't be written");
        }
        Ok(taken)
    }

    /// The manifests of an order, without the values of its variables; nothing is started.
    ///
    /// # Errors
    /// The order is malformed, or of a provider that has none.
    pub fn rehearse(&self, provider: Option<&str>, body: &[u8]) -> Result<Value, Box<Fault>> {
        let order = Order::read(&self.providers.config, provider, body)?;
        let (Plan::Kubernetes(pods), Some(kubernetes)) = (&order.plan, &self.providers.config.kubernetes)
        else {
            return Err(invalid("dry_run", "Only kubernetes has manifests to show.", "Leave dry_run out."));
        };
        let id = id(&self.world, self.now());
        Ok(manifests(&kubernetes.namespace, &id, pods, &hidden(&order.environment)))
    }

    /// Removes what is known of the workers that were destroyed first.
    fn forget_ended(&self, workers: &mut BTreeMap<String, Entry>) {
        let ended = |entry: &&Entry| entry.worker.state == State::Destroyed;
        let mut old: Vec<(Option<u64>, String)> = workers
            .values()
            .filter(ended)
            .map(|entry| (entry.worker.ended_unix_ms, entry.worker.id.clone()))
            .collect();
        old.sort();
        let surplus = old.len().saturating_sub(ENDED_WORKERS_MAX);
        for (_, id) in old.into_iter().take(surplus) {
            workers.remove(&id);
            self.providers.folder(&id).remove();
        }
    }

    pub fn list(&self) -> WorkerList {
        let now = self.now();
        let data = self.workers().values().map(|entry| WorkerView::of(&entry.worker, now)).collect();
        WorkerList { object: "list", data }
    }

    pub fn show(&self, id: &str) -> Result<WorkerView, Box<Fault>> {
        self.get(id).map(|worker| WorkerView::of(&worker, self.now())).ok_or_else(|| unknown(id))
    }

    /// The end of its log, without the values of its variables.
    pub async fn logs(&self, id: &str) -> Result<WorkerLogs, Box<Fault>> {
        let worker = self.get(id).ok_or_else(|| unknown(id))?;
        let log = self
            .providers
            .log(&worker)
            .await
            .unwrap_or_else(|why| format!("The log can't be read now. {why}"));
        Ok(WorkerLogs { object: "worker_logs", id: worker.id, log })
    }

    /// Has a worker destroyed; one that is destroyed stays so.
    pub fn destroy(&self, id: &str) -> Result<WorkerView, Box<Fault>> {
        self.change(id, |worker| {
            if worker.state != State::Destroyed {
                worker.end_wanted.get_or_insert_with(|| "by request".to_owned());
            }
        });
        let worker = self.get(id).ok_or_else(|| unknown(id))?;
        self.changed.notify_one();
        Ok(WorkerView::of(&worker, self.now()))
    }

    fn get(&self, id: &str) -> Option<Worker> {
        self.workers().get(id).map(|entry| entry.worker.clone())
    }

    /// Changes a worker, here and on disk.
    fn change(&self, id: &str, change: impl FnOnce(&mut Worker)) {
        let mut workers = self.workers();
        let Some(entry) = workers.get_mut(id) else { return };
        let before = entry.worker.clone();
        change(&mut entry.worker);
        if entry.worker == before {
            return;
        }
        if let Err(error) = self.providers.folder(id).write(&entry.worker) {
            tracing::error!(%error, worker = id, "a worker's state can't be recorded");
        }
        entry.wake.notify_one();
    }

    /// Works on all workers until it is dropped; what they run goes on. Use it inside a `LocalSet`.
    pub async fn run(self: Arc<Self>, client: Client) {
        let mut running: HashMap<String, Task> = HashMap::new();
        let client = Rc::new(client);
        loop {
            let open: Vec<(String, Arc<Notify>)> = {
                let workers = self.workers();
                let open = workers.values().filter(|entry| entry.worker.is_open());
                open.map(|entry| (entry.worker.id.clone(), Arc::clone(&entry.wake))).collect()
            };
            // A worker that failed is open again once it is to be destroyed, perhaps before this saw it closed: its task has ended by then.
            running.retain(|id, task| !task.is_finished() && open.iter().any(|(open, _)| open == id));
            for (id, wake) in open {
                running.entry(id.clone()).or_insert_with(|| {
                    let drive = Drive { fleet: Arc::clone(&self), client: Rc::clone(&client), id, wake };
                    Task::spawn_local("worker", drive.run())
                });
            }
            tokio::select! {
                () = self.changed.notified() => {}
                // A task that ended is forgotten.
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }
}

/// An id that sorts by time.
fn id(world: &World, now_unix_ms: u64) -> String {
    let random: String = world.id_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("worker-{now_unix_ms:012x}{random}")
}

/// The task of one worker.
struct Drive {
    fleet: Arc<Fleet>,
    client: Rc<Client>,
    id: String,
    wake: Arc<Notify>,
}

impl Drive {
    async fn run(self) {
        let mut idle = Idle::default();
        while let Some(worker) = self.fleet.get(&self.id).filter(Worker::is_open) {
            let waits = match worker.state {
                _ if worker.end_wanted.is_some() => self.destroy(&worker).await,
                State::Queued => self.start(&worker).await,
                State::Provisioning => self.provision(&worker).await,
                State::Running | State::Failed | State::Destroyed => self.watch(&worker, &mut idle).await,
            };
            if waits {
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = sleep(LOOK_EVERY) => {}
                }
            }
        }
        self.fleet.changed.notify_one();
    }

    fn change(&self, change: impl FnOnce(&mut Worker, u64)) {
        let now = self.fleet.now();
        self.fleet.change(&self.id, |worker| change(worker, now));
    }

    /// A text of a provider's, which may repeat what it was sent.
    fn hidden(&self, why: String) -> String {
        hide(why, &self.fleet.providers.folder(&self.id).hidden())
    }

    fn fail(&self, why: &str) {
        let why = self.hidden(why.to_owned());
        tracing::warn!(worker = %self.id, why, "a worker failed");
        self.change(|worker, now| worker.fail(&why, now));
    }

    /// It has ended by itself. What may still run of it costs somebody something, and is ended, too.
    async fn ended(&self, worker: &Worker, why: &str) {
        if worker.handle.is_none() {
            // Nobody knows what was started: whatever it is, it goes.
            self.change(|worker, _| worker.end_wanted = Some(why.to_owned()));
            self.fail(why);
            return;
        }
        if let Err(left) = self.fleet.providers.end_rest(worker).await {
            tracing::warn!(worker = %self.id, left, "a part of a worker that ended still runs");
        }
        self.fail(why);
    }

    /// Each returns whether to wait before the next look.
    async fn start(&self, worker: &Worker) -> bool {
        self.change(|worker, now| {
            worker.state = State::Provisioning;
            worker.started_unix_ms = Some(now);
            worker.begin("start", now);
        });
        let started = self.fleet.providers.start(&self.client, worker, self.fleet.now() / 1_000).await;
        match started {
            Ok(started) => self.change(|worker, now| {
                worker.end(Ok(()), now);
                worker.handle = Some(started.handle);
                // What was called back meanwhile is newer.
                worker.address = worker.address.take().or(started.address);
                worker.rate = worker.rate.or(started.rate);
                if worker.state == State::Provisioning {
                    worker.begin("wait until it answers", now);
                }
            }),
            Err(why) => self.fail(&why),
        }
        false
    }

    async fn provision(&self, worker: &Worker) -> bool {
        if let Some(address) = &worker.address
            && let Err(refused) = check_base_url(address, self.client.settings(), TargetKind::System)
        {
            let why = format!("Its address {address} can't be used: {}", refused.message);
            self.change(|worker, _| worker.end_wanted = Some(why.clone()));
            self.fail(&why);
            return false;
        }
        match self.fleet.providers.look(&self.client, worker, self.fleet.now() / 1_000).await {
            Life::Ended(why) => self.ended(worker, &why).await,
            Life::Running if self.is_healthy(worker).await => {
                self.change(|worker, now| {
                    worker.end(Ok(()), now);
                    worker.state = State::Running;
                    worker.running_unix_ms = Some(now);
                });
            }
            Life::Running | Life::Starting | Life::Unknown(_) => {
                let passed_ms =
                    worker.started_unix_ms.map_or(0, |since| self.fleet.now().saturating_sub(since));
                if u128::from(passed_ms) > PROVISIONING_TIME_MAX.as_millis() {
                    let why = "It did not answer in time.";
                    self.change(|worker, now| {
                        worker.end(Err(why.to_owned()), now);
                        worker.end_wanted = Some(why.to_owned());
                    });
                }
            }
        }
        true
    }

    async fn is_healthy(&self, worker: &Worker) -> bool {
        match &worker.address {
            Some(address) => watch::is_healthy(&self.client, address).await,
            // Nobody said where it listens: that it runs must do.
            None => true,
        }
    }

    async fn watch(&self, worker: &Worker, idle: &mut Idle) -> bool {
        if let Life::Ended(why) =
            self.fleet.providers.look(&self.client, worker, self.fleet.now() / 1_000).await
        {
            self.ended(worker, &why).await;
            return true;
        }
        let (Some(minutes), Some(address)) = (worker.idle_minutes, &worker.address) else { return true };
        let Some(requests) = watch::requests(&self.client, address).await else { return true };
        let idle_us = idle.seen(requests, self.fleet.world.clock.monotonic_us());
        if idle_us >= minutes.saturating_mul(MINUTE_US) {
            let why = format!("no request for {minutes} minutes");
            self.change(|worker, _| worker.end_wanted = Some(why));
            return false;
        }
        true
    }

    async fn destroy(&self, worker: &Worker) -> bool {
        let why = worker.end_wanted.clone().unwrap_or_default();
        self.change(|worker, now| {
            worker.end(Err("It was ended.".to_owned()), now);
            worker.begin(&format!("destroy: {why}"), now);
        });
        let done = self.fleet.providers.destroy(&self.client, worker, self.fleet.now() / 1_000).await;
        if let Err(why) = done {
            let why = self.hidden(why);
            tracing::warn!(worker = %self.id, why, "a worker can't be destroyed yet");
            self.change(|worker, now| worker.end(Err(why), now));
            return true;
        }
        self.fleet.providers.forget_secrets(worker);
        self.change(|worker, now| {
            worker.end(Ok(()), now);
            worker.state = State::Destroyed;
            // One that failed ended then.
            worker.ended_unix_ms.get_or_insert(now);
            worker.end_wanted = None;
        });
        false
    }
}
