//! Workers with real processes and sockets, and a clock that the test drives.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper that fails should fail its test")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use egress::{Client, EgressSettings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, LocalSet};
use workers::{Fleet, WorkersConfig};
use world::{ManualClock, World};

const WITHIN: Duration = Duration::from_secs(60);
const MINUTE_US: u64 = 60_000_000;

/// A node with workers whose clock stands still.
struct Boss {
    root: tempfile::TempDir,
    clock: Arc<ManualClock>,
    config: String,
}

/// It at work, until it is killed.
struct Working {
    fleet: Arc<Fleet>,
    task: JoinHandle<()>,
}

impl Boss {
    fn new(config: &str) -> Self {
        let clock = Arc::new(ManualClock::at(1_800_000_000_000));
        Self { root: tempfile::tempdir().unwrap(), clock, config: config.to_owned() }
    }

    /// Use it inside a `LocalSet`.
    fn work(&self) -> Working {
        let config: WorkersConfig = toml::from_str(&self.config).unwrap();
        let world = World { clock: Arc::clone(&self.clock) as _, ..World::system() };
        let fleet = Fleet::open(config.checked().unwrap(), self.root.path(), world).unwrap();
        let settings = EgressSettings { allow_private: true, ..EgressSettings::default() };
        let client = Client::new(Arc::new(settings)).unwrap();
        let task = tokio::task::spawn_local(Arc::clone(&fleet).run(client));
        Working { fleet, task }
    }

    fn record(&self, id: &str) -> std::path::PathBuf {
        self.root.path().join("workers").join(id).join("worker.json")
    }
}

impl Working {
    fn order(&self, body: &Value) -> String {
        self.fleet.order(Some("exec"), body.to_string().as_bytes()).unwrap().job_id
    }

    fn show(&self, id: &str) -> Value {
        serde_json::to_value(self.fleet.show(id).unwrap()).unwrap()
    }

    async fn until(&self, id: &str, status: &str) -> Value {
        found(status, async || Some(self.show(id)).filter(|worker| worker["status"] == status)).await
    }

    async fn logged_pid(&self, id: &str) -> String {
        found("a number in the log", async || {
            let logs = serde_json::to_value(self.fleet.logs(id).await.unwrap()).unwrap();
            let (_, rest) = logs["log"].as_str().unwrap().split_once("pid ")?;
            rest.split_once('\n').map(|(pid, _)| pid.to_owned())
        })
        .await
    }

    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn found<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WITHIN;
    let mut polls = tokio::time::interval(Duration::from_millis(10));
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        polls.tick().await;
    }
}

fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// What the node of a worker shows of its requests, and how often that was read.
#[derive(Default)]
struct Shown {
    ended: AtomicU64,
    looks: AtomicU64,
}

impl Shown {
    async fn listen(self: &Arc<Self>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shown = Arc::clone(self);
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap_or_default();
                let is_metrics = String::from_utf8_lossy(&head[..read]).starts_with("GET /metrics");
                let ended = shown.ended.load(Ordering::SeqCst);
                let page = format!(
                    "tidegate_node_requests_total{{end=\"whole\"}} {ended}\ntidegate_node_requests_open 0\n"
                );
                let head = format!("content-length: {}\r\nconnection: close", page.len());
                let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{page}");
                let _ = stream.write_all(answer.as_bytes()).await;
                if is_metrics {
                    shown.looks.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        address
    }

    /// Waits until the node has looked once more, by its time now.
    async fn looked_at(&self) {
        // One look may have begun before.
        let seen = self.looks.load(Ordering::SeqCst) + 2;
        found("two looks", async || (self.looks.load(Ordering::SeqCst) >= seen).then_some(())).await;
    }
}

#[tokio::test]
async fn a_worker_without_requests_is_destroyed_in_time_and_costs_nothing_from_then_on() {
    LocalSet::new()
        .run_until(async {
            let shown = Arc::<Shown>::default();
            let address = shown.listen().await;
            // A nano-USD per millisecond.
            let boss = Boss::new(&format!(
                "[exec.commands.idle]\nprogram = '/bin/sh'\narguments = ['-c', 'echo pid $$; exec sleep 600']\n\
                 address = '{address}'\nnano_usd_per_hour = 3600000\n"
            ));
            let working = boss.work();
            let id = working.order(&json!({"spec": {"command": "idle", "idle_minutes": 2}}));
            working.until(&id, "running").await;
            let pid = working.logged_pid(&id).await;
            let passes = async |us: u64| {
                boss.clock.advance_us(us);
                shown.looked_at().await;
                working.show(&id)["status"].clone()
            };
            shown.looked_at().await;
            assert_eq!(passes(2 * MINUTE_US - 1).await, "running");
            // A request comes just in time, and the two minutes begin again.
            shown.ended.store(1, Ordering::SeqCst);
            shown.looked_at().await;
            assert_eq!(passes(2 * MINUTE_US - 1).await, "running");
            assert!(is_running(&pid));
            boss.clock.advance_us(1);
            let destroyed = working.until(&id, "destroyed").await;
            assert!(!is_running(&pid), "{destroyed}");
            let steps = destroyed["steps"].as_array().unwrap();
            assert_eq!(steps.last().unwrap()["name"], "destroy: no request for 2 minutes", "{destroyed}");
            let spent = &destroyed["cost"]["spent_nano_usd"];
            assert_eq!(*spent, json!(239_999), "four minutes but a microsecond: {destroyed}");
            boss.clock.advance_us(600 * MINUTE_US);
            assert_eq!(working.show(&id)["cost"]["spent_nano_usd"], *spent);
            working.kill().await;
        })
        .await;
}

#[tokio::test]
async fn what_a_process_started_ends_with_it() {
    LocalSet::new()
        .run_until(async {
            // One stays in its group, and one leaves it.
            let boss = Boss::new(
                "[exec.commands.in]\nprogram = '/bin/sh'\narguments = ['-c', 'sleep 600 & echo pid $!; exit 7']\n\
                 [exec.commands.out]\nprogram = '/bin/sh'\narguments = ['-c', 'setsid sleep 600 & echo pid $!; exit 7']\n",
            );
            let working = boss.work();
            for command in ["in", "out"] {
                let id = working.order(&json!({"spec": {"command": command}}));
                let failed = working.until(&id, "failed").await;
                let pid = working.logged_pid(&id).await;
                assert!(!is_running(&pid), "nobody pays for it, and it runs: {failed}");
            }
            working.kill().await;
        })
        .await;
}

#[tokio::test]
async fn what_was_started_and_never_noted_ends_when_the_node_comes_back() {
    LocalSet::new()
        .run_until(async {
            let boss = Boss::new(
                "[exec.commands.lost]\nprogram = '/bin/sh'\narguments = ['-c', 'echo pid $$; exec sleep 600']\n",
            );
            let working = boss.work();
            let id = working.order(&json!({"spec": {"command": "lost"}}));
            working.until(&id, "running").await;
            let pid = working.logged_pid(&id).await;
            working.kill().await;
            // As if the node was killed before it wrote down what it had started.
            let mut record: Value = serde_json::from_slice(&fs::read(boss.record(&id)).unwrap()).unwrap();
            record["handle"] = Value::Null;
            record["state"] = json!("provisioning");
            record["running_unix_ms"] = Value::Null;
            fs::write(boss.record(&id), record.to_string()).unwrap();
            assert!(is_running(&pid));
            let working = boss.work();
            let destroyed = working.until(&id, "destroyed").await;
            assert!(!is_running(&pid), "{destroyed}");
            assert!(destroyed["error"].as_str().unwrap().contains("stopped while it was starting"), "{destroyed}");
            working.kill().await;
        })
        .await;
}

/// Comes back after the tasks of this `LocalSet` that are ready now, and before those that they wake.
async fn a_turn() {
    let mut has_passed = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut has_passed, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// Between the end of a failed worker's task and the moment at which the fleet sees that it has ended.
#[tokio::test]
async fn a_worker_can_be_destroyed_in_the_moment_in_which_it_failed() {
    LocalSet::new()
        .run_until(async {
            let boss = Boss::new(
                "[exec.commands.once]\nprogram = '/bin/sh'\narguments = ['-c', 'sleep 1; exit 7']\n",
            );
            let working = boss.work();
            let id = working.order(&json!({"spec": {"command": "once"}}));
            let (fleet, failing) = (Arc::clone(&working.fleet), id.clone());
            let destroys = tokio::task::spawn_local(async move {
                while serde_json::to_value(fleet.show(&failing).unwrap()).unwrap()["status"] != "failed" {
                    a_turn().await;
                }
                fleet.destroy(&failing).unwrap();
            });
            destroys.await.unwrap();
            working.until(&id, "destroyed").await;
            working.kill().await;
        })
        .await;
}
