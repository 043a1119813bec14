//! Three gateways on one PostgreSQL under traffic: changes take effect on each within a second, no request is
//! planned on a mixture of two versions, and none is answered 5xx during a rolling restart.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::client::{Answer, Client};
use harness::postgres::{Relay, Server};
use harness::process::{Process, tidegate};
use harness::setting::number;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::WITHIN;
use crate::ask::{CHAT, LLAMA, MINI, question, scripted, trace_of, with};
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, config, id_of};
use crate::wait::{a_moment, found};

const LIVE_WITHIN: Duration = Duration::from_secs(1);
/// How often a client asks in that time that pauses for ten milliseconds after each answer.
const ASKED_MAX: u32 = 100;
pub const GATEWAYS: usize = 3;

pub struct Fleet {
    pub gateway: Gateway,
    others: Vec<Process>,
    /// The current address of each gateway.
    origins: Arc<Mutex<Vec<String>>>,
    /// The build that each gateway runs.
    programs: Vec<PathBuf>,
    _keys: TempDir,
}

impl Fleet {
    async fn start(name: &str) -> Self {
        Self::of(tidegate().unwrap(), &Server::shared().await.unwrap(), name).await
    }

    /// A fleet of this build of the program, on a database with this name.
    pub async fn of(program: PathBuf, server: &Server, name: &str) -> Self {
        let url = server.database(&format!("{name}_{}", std::process::id())).await.unwrap();
        let keys = tempfile::tempdir().unwrap();
        let key_file = keys.path().join("master.key").display().to_string();
        let environment = [("TIDEGATE_DATABASE_URL", url.as_str()), ("TIDEGATE_MASTER_KEY_FILE", &key_file)];
        let gateway = Gateway::of(program.clone(), config(), &environment).await;
        let mut origins = vec![gateway.origin.clone()];
        let mut others = Vec::new();
        for number in 1..GATEWAYS {
            let (process, origin) = gateway.replica_in(&format!("replica-{number}")).await;
            others.push(process);
            origins.push(origin);
        }
        let programs = vec![program; GATEWAYS];
        Self { gateway, others, origins: Arc::new(Mutex::new(origins)), programs, _keys: keys }
    }

    fn origin(&self, index: usize) -> String {
        self.origins.lock().unwrap()[index].clone()
    }

    fn client(&self, index: usize, key: &str) -> Client {
        let client = Client::new(self.origin(index));
        let is_this_build = self.programs[index] == tidegate().unwrap();
        let client = if is_this_build { client } else { client.other_version() };
        client.bearer(key).within(WITHIN)
    }

    /// Stops one gateway gracefully and starts it again, optionally as another build of the program.
    pub async fn restart(&mut self, index: usize, program: Option<PathBuf>) {
        if let Some(program) = program {
            self.programs[index].clone_from(&program);
            self.gateway.becomes(program);
        }
        let origin = if index == 0 {
            self.gateway.stop().await;
            self.gateway.start_again().await;
            self.gateway.origin.clone()
        } else {
            let process = &mut self.others[index - 1];
            let ended = process.stop(WITHIN).await.unwrap();
            assert!(ended.success(), "{ended}: {}", process.stderr());
            let (process, origin) = self.gateway.replica_in(&format!("replica-{index}")).await;
            self.others[index - 1] = process;
            origin
        };
        self.origins.lock().unwrap()[index] = origin;
    }

    pub fn admin(&self, index: usize) -> Client {
        self.client(index, &self.gateway.founded.admin_key)
    }
}

fn version_of(answer: &Answer) -> u64 {
    let tag = answer.header("etag").unwrap_or_else(|| panic!("no version: {answer:?}"));
    tag.trim_matches('"').strip_prefix('v').and_then(|version| version.parse().ok()).unwrap()
}

async fn changed(answer: std::io::Result<Answer>) -> Answer {
    let answer = answer.unwrap();
    assert!(answer.status < 300, "{}", answer.text());
    answer
}

/// What the books must agree with, recorded by the test that made the changes.
#[derive(Default)]
struct Truth {
    /// The credential that the route names, from each version on.
    routed: BTreeMap<u64, String>,
    /// For each key, the version that created it and the one that revoked it.
    keys: HashMap<String, (u64, Option<u64>)>,
}

/// How long each gateway took to show the change, measured from the answer to the write, and how often it was asked before.
pub async fn seen(
    fleet: &Fleet,
    key: &str,
    body: &Value,
    is: impl Fn(&Answer) -> bool,
) -> Vec<(Duration, u32)> {
    let started_at = Instant::now();
    let each = (0..GATEWAYS).map(async |index| {
        let client = fleet.client(index, key);
        let mut asked = 0;
        loop {
            let answer = client.post(CHAT, body).await.unwrap();
            if is(&answer) {
                return (started_at.elapsed(), asked);
            }
            asked += 1;
            assert!(started_at.elapsed() < WITHIN, "gateway {index}: {} {}", answer.status, answer.text());
            a_moment().await;
        }
    });
    let [one, two, three]: [_; GATEWAYS] = each.collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!());
    let (one, two, three) = tokio::join!(one, two, three);
    vec![one, two, three]
}

pub struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Steady traffic on every gateway. A refused connection moves on to the next gateway, as with a load
    /// balancer; every accepted one must be answered with a 200.
    pub fn start(fleet: &Fleet, bodies: &[Value]) -> Self {
        let (stop, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut tasks = JoinSet::new();
        for number in 0..2 * GATEWAYS {
            let (stop, served, origins) =
                (Arc::clone(&stop), Arc::clone(&served), Arc::clone(&fleet.origins));
            let (key, bodies) = (fleet.gateway.founded.api_key.clone(), bodies.to_vec());
            tasks.spawn(async move {
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    retry_elsewhere(&origins, number + turn, &key, &bodies[turn % bodies.len()])
                        .await
                        .must_be(200);
                    served.fetch_add(1, Ordering::Relaxed);
                    a_moment().await;
                }
            });
        }
        Self { stop, served, tasks }
    }

    /// Waits until this many more requests were served.
    pub async fn more(&mut self, count: u64) {
        let wanted = self.served.load(Ordering::Relaxed) + count;
        let deadline = Instant::now() + 2 * WITHIN;
        while self.served.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < deadline, "{} of {wanted} served", self.served.load(Ordering::Relaxed));
            if let Some(ended) = self.tasks.try_join_next() {
                ended.expect("the load goes on until it is ended");
            }
            a_moment().await;
        }
    }

    pub async fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(done) = self.tasks.join_next().await {
            done.unwrap();
        }
        self.served.load(Ordering::Relaxed)
    }
}

/// The answer of the first gateway that accepts the connection. An accepted request must be answered: it is
/// not sent again.
async fn retry_elsewhere(origins: &Mutex<Vec<String>>, from: usize, key: &str, body: &Value) -> Answer {
    for attempt in 0..GATEWAYS * 3 {
        let origin = origins.lock().unwrap()[(from + attempt) % GATEWAYS].clone();
        match Client::new(&origin).bearer(key).within(WITHIN).post(CHAT, body).await {
            Ok(answer) => return answer,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => a_moment().await,
            Err(error) => panic!("{origin} let a request in and did not answer it: {error}"),
        }
    }
    panic!("no gateway takes a connection");
}

/// `TIDEGATE_CHANGES` sets a longer run.
#[tokio::test]
async fn a_change_is_live_everywhere_within_a_second_under_load() {
    let fleet = Fleet::start("live").await;
    let gateway = &fleet.gateway;
    let credentials =
        [gateway.credential("openai", OWN).await, gateway.credential("openai", OWN_SECOND).await];
    let other = gateway.credential("together_ai", POOL).await;
    let route = json!({"scope": {"model": MINI}, "profiles": ["byok"], "credential_ids": [credentials[0]]});
    let made = changed(gateway.admin().post("/v2/routes", &route).await).await;
    let (route_id, mut truth) = (id_of(&made.json()), Truth::default());
    truth.routed.insert(version_of(&made), credentials[0].clone());
    let on_route = |wanted: &str| {
        let wanted = wanted.to_owned();
        move |answer: &Answer| answer.header("agent-byok-credential-id") == Some(wanted.as_str())
    };
    let main = gateway.founded.api_key.clone();
    seen(&fleet, &main, &question(MINI), on_route(&credentials[0])).await;
    let load = Load::start(&fleet, &[question(MINI)]);
    let (mut took, mut newest) = (Vec::new(), (String::new(), String::new()));
    for number in 0..number("TIDEGATE_CHANGES").unwrap_or(24) {
        let admin = fleet.admin(number % GATEWAYS);
        match number % 6 {
            0 | 3 => {
                let body = json!({"name": format!("key {number}"), "project_id": gateway.founded.project_id});
                let made = changed(admin.post("/v2/api-keys", &body).await).await;
                newest = (made.json()["key"].as_str().unwrap().to_owned(), id_of(&made.json()));
                truth.keys.insert(newest.1.clone(), (version_of(&made), None));
                took.extend(seen(&fleet, &newest.0, &question(MINI), |answer| answer.status == 200).await);
            }
            1 | 4 => {
                changed(admin.delete(&format!("/v2/api-keys/{}", newest.1)).await).await;
                took.extend(seen(&fleet, &newest.0, &question(MINI), |answer| answer.status == 401).await);
                let revoked = changed(admin.get(&format!("/v2/api-keys/{}", newest.1)).await).await;
                truth.keys.get_mut(&newest.1).unwrap().1 = Some(version_of(&revoked));
            }
            2 => {
                let next = &credentials[(number / 6 + 1) % 2];
                let body = with(route.clone(), json!({"credential_ids": [next]}));
                let put = changed(admin.put(&format!("/v2/routes/{route_id}"), &body).await).await;
                truth.routed.insert(version_of(&put), next.clone());
                took.extend(seen(&fleet, &main, &question(MINI), on_route(next)).await);
            }
            _ => {
                let is_on = number / 6 % 2 == 1;
                let body = json!({"status": if is_on { "active" } else { "disabled" }});
                let json = [("content-type", "application/merge-patch+json")];
                let path = format!("/v2/provider-credentials/{other}");
                changed(admin.call(http::Method::PATCH, &path, &json, body.to_string()).await).await;
                let is = |answer: &Answer| (answer.status == 200) == is_on;
                took.extend(seen(&fleet, &main, &question(LLAMA), is).await);
            }
        }
    }
    let served = load.end().await;
    took.sort();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)].0;
    println!(
        "{} changes seen on {GATEWAYS} gateways beside {served} requests: half within {:?}, p99 {:?}, the last {:?}",
        took.len() / GATEWAYS,
        at(50),
        at(99),
        took.last().unwrap().0
    );
    // Beside its own load, the clock says less than how often a gateway can be asked in that time; a proof has the machine alone.
    assert!(took.iter().all(|(_, asked)| *asked <= ASKED_MAX), "{took:?}");
    assert!(std::env::var_os("TIDEGATE_CHANGES").is_none() || at(99) <= LIVE_WITHIN, "{took:?}");
    no_mixture(&fleet, &truth, served).await;
}

/// Each record holds the version on which it was planned: in that version alone, its key was valid and its
/// route named the credential that was used.
async fn no_mixture(fleet: &Fleet, truth: &Truth, served: u64) {
    let gateway = &fleet.gateway;
    // The requests that polled for the changes are in the books, too; only the others are waited for.
    let rows = found("all in the books", async || {
        let mut rows = gateway.requests(1_000).await;
        rows.retain(|row| row["resolved_model"] == MINI && row["outcome"] == "completed");
        Some(rows).filter(|rows| rows.len() as u64 >= served)
    })
    .await;
    let (mut checked, mut versions) = (0, BTreeMap::<u64, u64>::new());
    for row in rows {
        let whole = gateway.get(&format!("/v2/requests/{}", row["id"].as_str().unwrap())).await;
        let version = whole["plan"]["snapshot_version"].as_u64().unwrap();
        *versions.entry(version).or_default() += 1;
        if let Some((_, credential)) = truth.routed.range(..=version).next_back() {
            assert_eq!(whole["principal"], *credential, "planned on {version}: {whole}");
        }
        if let Some((made, revoked)) = truth.keys.get(whole["key_id"].as_str().unwrap()) {
            assert!(version >= *made, "a key of {made} on {version}: {whole}");
            assert!(revoked.is_none_or(|revoked| version < revoked), "revoked at {revoked:?}: {whole}");
        }
        checked += 1;
    }
    println!("{checked} requests were planned on {} versions, each on one", versions.len());
    assert!(checked >= served && versions.len() > 3, "{checked} of {served}: {versions:?}");
}

/// `TIDEGATE_RESTARTS` sets a longer run.
#[tokio::test]
async fn no_request_fails_while_the_gateways_are_restarted_one_by_one() {
    let mut fleet = Fleet::start("rolling").await;
    fleet.gateway.credential("openai", OWN).await;
    let main = fleet.gateway.founded.api_key.clone();
    seen(&fleet, &main, &question(MINI), |answer| answer.status == 200).await;
    let before = fleet.gateway.emulator.journal().len() as u64;
    // Some streams are still in flight when their gateway is told to stop.
    let slow = with(scripted(MINI, "chunks=20,interval=15"), json!({"stream": true}));
    let mut load = Load::start(&fleet, &[question(MINI), question(MINI), slow]);
    let restarts = number("TIDEGATE_RESTARTS").unwrap_or(3);
    for number in 0..restarts {
        load.more(30).await;
        fleet.restart(number % GATEWAYS, None).await;
    }
    let served = load.end().await;
    let reached = fleet.gateway.emulator.journal().len() as u64 - before;
    let sums = fleet.gateway.wait_for_usage(before + reached).await;
    let booked = &sums["requests"];
    println!("{restarts} restarts beside {served} requests, {reached} upstream; booked: {booked}");
    assert_eq!(sums["requests"], before + reached, "each upstream call is booked once: {sums}");
    assert_eq!((reached, &sums["failed_requests"]), (served, &json!(0)), "a request failed: {sums}");
    assert_eq!(fleet.gateway.emulator.violations(), []);
}

/// The database's connections stay open, and no data comes through them.
#[cfg(feature = "control")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_database_holds_nobody_up() {
    let server = Server::shared().await.unwrap();
    let relay = Relay::start(server.address()).await.unwrap();
    let url = relay.url(&server.database(&format!("silent_{}", std::process::id())).await.unwrap());
    let gateway = Gateway::on_database(&url, &[]).await;
    gateway.credential("openai", OWN).await;
    gateway.chat_ok(&question(MINI)).await;
    gateway.wait_for_usage(1).await;
    relay.silence();
    let refused = AtomicU64::new(0);
    let refusals = ["/v2/usage", "/v2/requests", "/v2/api-keys"].map(async |path| {
        // A statement times out after twenty seconds, a connection after three.
        let admin = Client::new(&gateway.origin).bearer(&gateway.founded.admin_key).within(3 * WITHIN);
        let (started_at, answer) = (Instant::now(), admin.get(path).await.unwrap());
        assert_eq!(answer.status, 503, "{path}: {}", answer.text());
        refused.fetch_add(1, Ordering::Relaxed);
        started_at.elapsed()
    });
    let served = async {
        let (mut served, mut slowest) = (1_u64, Duration::ZERO);
        while refused.load(Ordering::Relaxed) < 3 {
            let sent_at = Instant::now();
            gateway.chat_ok(&question(MINI)).await;
            slowest = slowest.max(sent_at.elapsed());
            served += 1;
            a_moment().await;
        }
        (served, slowest)
    };
    let [one, two, three] = refusals;
    let (one, two, three, (served, slowest)) = tokio::join!(one, two, three, served);
    let control = one.max(two).max(three);
    println!("{served} requests, the slowest {slowest:?}; /v2 said 503 within {control:?}");
    relay.open();
    let back = Instant::now();
    let sums = loop {
        let answer = gateway.admin().get("/v2/usage").await.unwrap();
        if answer.status == 200 && answer.json()["data"][0]["requests"] == served {
            break answer.json();
        }
        assert!(back.elapsed() < 2 * WITHIN, "{}", answer.text());
        a_moment().await;
    };
    println!("in the books {:?} after it answers again", back.elapsed());
    assert_eq!(sums["data"][0]["failed_requests"], 0, "{sums}");
    gateway.settled(&trace_of(&gateway.chat_ok(&question(MINI)).await)).await;
    let (key, _) = gateway.key(json!({"name": "after", "project_id": gateway.founded.project_id})).await;
    gateway.with_key(&key).post(CHAT, &question(MINI)).await.unwrap().must_be(200);
}
