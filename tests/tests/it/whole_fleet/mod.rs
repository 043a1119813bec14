//! A whole fleet: a gateway and five nodes, each on a machine of its own network. Three have addresses, two only dial. They join and
//! serve, fetch a model from each other though one source dies and one lies, and are killed, partitioned, drained, flooded, switched
//! off and revoked under traffic. In the end clients, gateway and nodes have the same records, each once.

mod clients;
mod node;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use harness::day;
use harness::network::Network;
use harness::process::workspace;
use harness::setting::number;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

use crate::WITHIN;
use crate::ask::{CHAT, MINI, has, said};
use crate::gateway::{Gateway, OWN, config};
use crate::joining::Wire;
use crate::kill::Chance;
use crate::peers::{MIB, SHARED, rot, shelve_all, weights};
use crate::wait::{a_moment, found, until};

use clients::{Begun, Clients, Outcome, long, short};
use node::Node;

/// The biggest file of it.
const FILLING: &str = "filling.bin";
/// The roles in the fetch.
const LIAR: usize = 1;
const DYING: usize = 2;
const FETCHER: usize = 4;
/// How soon a revoked node is sent nothing more.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);
/// The files of a model that the node needs.
const MODEL_FILES: [&str; 5] =
    ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

async fn answers_of(asking: Vec<JoinHandle<Outcome>>) -> Vec<Outcome> {
    join_all(asking).await.into_iter().map(|answer| answer.unwrap()).collect()
}

/// What happens to the fleet.
#[derive(Debug, Clone, Copy)]
enum Disturbance {
    Kill,
    Partition,
    Drain,
    Flood,
    Blackout,
    Revocation,
}

use Disturbance::{Blackout, Drain, Flood, Kill, Partition, Revocation};
const DISTURBANCES: [Disturbance; 6] = [Kill, Partition, Drain, Flood, Blackout, Revocation];

struct Fleet {
    /// The first to end.
    traffic: JoinSet<()>,
    gateway: Gateway,
    nodes: Vec<Node>,
    clients: Clients,
    began: Instant,
    _network: Network,
}

impl Fleet {
    /// All have joined, four serve, and traffic flows.
    async fn start() -> Self {
        let began = Instant::now();
        let mut network = Network::new().unwrap();
        let own = network.own_address();
        let machine = network.machine().unwrap();
        let demo = workspace().join("builtin/model").display().to_string();
        let mut nodes = Vec::new();
        for (name, dials, more) in [
            ("attic", false, &["--name", MINI, "--model", &demo][..]),
            ("barn", false, &["--name", MINI, "--model", &demo]),
            // So slow that it is in the middle of its first chunk when it dies.
            ("cellar", true, &["--name", MINI, "--model", &demo, "--peer-bandwidth", "1"]),
            ("dock", true, &["--name", MINI, "--model", &demo]),
            ("eaves", false, &["--model", "echo"]),
        ] {
            nodes.push(Node::new(&mut network, name, dials, more).await);
        }
        let gateway = Gateway::on(machine, config(), &[("TIDEGATE_NODE_HEARTBEAT_MS", "300")]).await;
        // The emulator listens on loopback alone.
        let provider = Wire::at(own).await;
        provider.lead(gateway.emulator.addr());
        let base_url = gateway.emulator.base_url().replace(&gateway.emulator.origin(), &provider.url());
        let credential = json!({"provider": "openai", "secret": OWN, "base_url": base_url});
        gateway.make("/v2/provider-credentials", credential).await;
        let route = json!({"scope": {}, "profiles": ["byoc", "byok"], "first_byte_timeout_ms": 6_000});
        gateway.route(route).await;
        join_all(nodes.iter_mut().map(async |node| {
            node.join(&gateway).await;
            node.start().await;
        }))
        .await;
        let clients = Clients::new(gateway.client());
        let mut traffic = JoinSet::new();
        (0..3).for_each(|number| drop(traffic.spawn(clients.clone().keep_asking(number))));
        let fleet = Self { gateway, nodes, clients, traffic, began, _network: network };
        fleet.say("five nodes have joined, of which two dial");
        fleet
    }

    fn say(&self, what: &str) {
        println!("{:>6.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    async fn view(&self, node: usize) -> Value {
        self.gateway.shown_node(&self.nodes[node].id).await
    }

    async fn until_node(&self, node: usize, what: &str, is: impl Fn(&Value) -> bool) {
        // What was away tries again ever less often.
        let deadline = Instant::now() + 3 * WITHIN;
        loop {
            let seen = self.view(node).await;
            if is(&seen) {
                return;
            }
            assert!(Instant::now() < deadline, "it is not {what}: {seen}");
            a_moment().await;
        }
    }

    /// Waits until a request that was sent from now on was served there. While others are idle, a node whose last answers were slower
    /// gets none, so that the others are cordoned for that long.
    async fn until_serving(&self, node: usize) {
        let moment = Instant::now();
        self.until_node(node, "ready", |seen| seen["status"] == "ready").await;
        let id = Some(&self.nodes[node].id);
        let serves =
            || self.clients.outcomes().iter().any(|one| one.begun > moment && one.node.as_ref() == id);
        self.clients.after(Instant::now(), 12).await;
        if !serves() {
            self.others(node, "cordon").await;
            until(&format!("{} serves", self.nodes[node].name), async || serves()).await;
            self.others(node, "uncordon").await;
        }
    }

    async fn others(&self, node: usize, action: &str) {
        let others = (0..self.nodes.len()).filter(|other| *other != node);
        join_all(others.map(|other| self.turn(other, action))).await;
    }

    /// No request that was sent since a moment was served there.
    async fn serves_nothing_since(&self, node: usize, moment: Instant) {
        let (id, later) = (Some(&self.nodes[node].id), self.clients.after(moment, 20).await);
        let there: Vec<_> = later.iter().filter(|one| one.node.as_ref() == id).collect();
        assert!(there.is_empty(), "{}: {there:?}", self.nodes[node].name);
    }

    async fn turn(&self, node: usize, action: &str) -> Value {
        self.gateway.turn(&self.nodes[node].id, action).await
    }

    /// A long stream that this node serves.
    async fn stream_at(&self, node: usize) -> Begun {
        self.others(node, "cordon").await;
        let begun = self.begin_at(node, 500).await;
        self.others(node, "uncordon").await;
        begun
    }

    /// The same, while the others take none.
    async fn begin_at(&self, node: usize, tokens: u64) -> Begun {
        found("a stream at the node", async || {
            let begun = self.clients.begin(&long(tokens)).await;
            if begun.outcome.node.as_ref() == Some(&self.nodes[node].id) {
                return Some(begun);
            }
            self.clients.finish(begun).await;
            None
        })
        .await
    }

    /// So many long requests at once.
    fn crowd(&self, requests: usize, tokens: u64) -> Vec<JoinHandle<Outcome>> {
        let asking = |_| {
            let clients = self.clients.clone();
            tokio::spawn(async move { clients.ask(&long(tokens)).await })
        };
        (0..requests).map(asking).collect()
    }

    async fn disturb(&mut self, disturbance: Disturbance, node: usize) {
        match disturbance {
            Kill => self.kill(node).await,
            Partition => self.part(node).await,
            Drain => self.drain(node).await,
            Flood => self.flood().await,
            Blackout => self.black_out().await,
            Revocation => self.revoke(node).await,
        }
    }

    /// What its clients read breaks off, what they waited for comes from elsewhere, and its journal has both as lost.
    async fn kill(&mut self, node: usize) {
        for round in 1.. {
            let moment = Instant::now();
            self.others(node, "cordon").await;
            let begun = self.begin_at(node, 1_900).await;
            let waiting = self.until_waiting(node).await;
            self.nodes[node].kill();
            self.others(node, "uncordon").await;
            let broken = self.clients.finish(begun).await;
            answers_of(waiting).await;
            self.nodes[node].start().await;
            self.until_serving(node).await;
            let journal = self.nodes[node].journal().await;
            let lost = journal.iter().filter(|row| row["end"] == "lost");
            let lost: BTreeSet<&str> = lost.filter_map(|row| row["request"].as_str()).collect();
            let mut moved = self.clients.outcomes();
            moved.retain(|one| one.begun > moment && one.is_whole && lost.contains(one.trace.as_str()));
            if broken.is_whole || moved.is_empty() {
                assert!(round < 10, "its answers always came before the kill: {broken:?}, lost {lost:?}");
                continue;
            }
            assert!(lost.contains(broken.trace.as_str()), "{broken:?}: {journal:?}");
            for one in &moved {
                let record = self.gateway.settled(&one.trace).await;
                let attempts = record["attempts"].as_array().unwrap();
                let at: Vec<_> = attempts.iter().filter_map(|one| one["principal"].as_str()).collect();
                assert!(at.contains(&self.nodes[node].id.as_str()) && at.len() > 1, "{record}");
                assert_ne!(one.node.as_ref(), Some(&self.nodes[node].id), "{record}");
            }
            let (name, count) = (self.nodes[node].name, moved.len());
            self.say(&format!(
                "{name} was killed: {count} waiting requests went elsewhere, a stream broke off"
            ));
            return;
        }
    }

    /// Asks until requests wait at a node that streams. On a slow machine it refuses at first what would wait too long, and
    /// takes it once less of its stream is left.
    async fn until_waiting(&self, node: usize) -> Vec<JoinHandle<Outcome>> {
        let mut asked = Vec::new();
        until("requests wait at the node", async || {
            if asked.iter().filter(|one: &&JoinHandle<_>| !one.is_finished()).count() < 3 {
                asked.extend(self.crowd(1, 400));
            }
            self.view(node).await["in_flight"].as_u64() > Some(2)
        })
        .await;
        asked
    }

    /// It serves its own clients meanwhile, and reports that afterwards.
    async fn part(&mut self, node: usize) {
        let there = &self.nodes[node];
        there.machine.pull_cable().unwrap();
        there.serves_its_own(&short("Is anybody there?")).await;
        self.until_node(node, "unreachable", |seen| seen["status"] == "unreachable").await;
        // The cores of the gateway have read it, too.
        until("requests go elsewhere", async || {
            let plan = self.gateway.plan(json!({"model": MINI})).await;
            plan["rejected"].to_string().contains("unreachable")
        })
        .await;
        self.serves_nothing_since(node, Instant::now()).await;
        there.serves_its_own(&short("Still alone?")).await;
        there.machine.plug_cable().unwrap();
        self.until_serving(node).await;
        let journal = there.journal().await;
        let alone = journal.iter().rfind(|row| row["request"].is_null()).unwrap();
        self.until_reported(node, &alone["id"]).await;
        self.say(&format!("{} was partitioned, served alone, and came back", there.name));
    }

    async fn until_reported(&self, node: usize, id: &Value) {
        found("what it served alone", async || {
            usage(&self.gateway, &self.nodes[node].id).await.into_iter().find(|row| row["event_id"] == *id)
        })
        .await;
    }

    /// It finishes what it runs and takes nothing new.
    async fn drain(&mut self, node: usize) {
        let running = self.stream_at(node).await;
        let drained = self.turn(node, "drain").await;
        assert!(["draining", "cordoned"].contains(&drained["status"].as_str().unwrap()), "{drained}");
        let moment = Instant::now();
        let ended = self.clients.finish(running).await;
        assert!(ended.is_whole, "it was cut: {ended:?}");
        self.serves_nothing_since(node, moment).await;
        self.until_node(node, "drained", |seen| seen["drained"] == true).await;
        let records = self.nodes[node].journal().await.len();
        self.clients.after(Instant::now(), 20).await;
        assert_eq!(self.nodes[node].journal().await.len(), records, "it was sent something");
        self.turn(node, "uncordon").await;
        self.until_serving(node).await;
        self.say(&format!("{} was drained, and took requests again", self.nodes[node].name));
    }

    /// More than the nodes take together: what they refuse goes to the provider.
    async fn flood(&mut self) {
        for round in 1.. {
            let answers = answers_of(self.crowd(24, 700)).await;
            let is_spilled =
                |one: &&Outcome| one.profile == "byok" && one.reason.as_deref() == Some("rate_limit");
            let spilled: Vec<_> = answers.iter().filter(is_spilled).collect();
            // That is so only once every node has refused it, or rests because it has.
            if spilled.is_empty() {
                assert!(round < 10, "the nodes took all: {answers:?}");
                continue;
            }
            let record = self.gateway.settled(&spilled[0].trace).await;
            has(&record, json!({"mode": "byok"}));
            has(&record["left_nodes"], json!({"on": "rate_limit"}));
            let elsewhere = answers.iter().filter(|one| one.profile == "byok").count();
            self.say(&format!("24 long requests at once filled all nodes: {elsewhere} went to the provider"));
            break;
        }
        let moment = Instant::now();
        until("nodes serve", async || {
            self.clients.after(moment, 1).await.iter().any(|one| one.profile == "byoc")
        })
        .await;
    }

    /// All nodes at once.
    async fn black_out(&mut self) {
        let begun = self.stream_at(0).await;
        let running = self.crowd(12, 700);
        until("requests are at the nodes", async || {
            let listed = self.gateway.get("/v2/byoc/nodes").await;
            let nodes = listed["data"].as_array().unwrap();
            nodes.iter().filter(|node| node["in_flight"].as_u64() > Some(0)).count() > 2
        })
        .await;
        self.nodes.iter_mut().for_each(Node::kill);
        let moment = Instant::now();
        self.clients.finish(begun).await;
        let moved = answers_of(running).await.iter().filter(|one| one.profile == "byok").count();
        let later = self.clients.after(moment, 20).await;
        assert!(later.iter().all(|one| one.profile == "byok" && one.is_whole), "{later:?}");
        join_all(self.nodes.iter_mut().map(Node::start)).await;
        for node in 0..self.nodes.len() {
            self.until_serving(node).await;
        }
        self.say(&format!(
            "all nodes were killed: the provider served {moved} of what ran, and all that came"
        ));
    }

    /// Within a second it gets nothing more, and its peers forget it. It serves its own clients, and is back with another token.
    async fn revoke(&mut self, node: usize) {
        let begun = self.stream_at(node).await;
        has(&self.turn(node, "revoke").await, json!({"status": "revoked"}));
        let from = Instant::now() + REVOKED_WITHIN;
        self.clients.finish(begun).await;
        self.serves_nothing_since(node, from).await;
        let name = self.nodes[node].name;
        let other = &self.nodes[(node + 1) % self.nodes.len()];
        until("its peers forget it", async || other.sees(name).await.is_null()).await;
        self.nodes[node].serves_its_own(&short("Revoked?")).await;
        self.nodes[node].kill();
        let before = self.nodes[node].id.clone();
        self.nodes[node].join(&self.gateway).await;
        assert_eq!(self.nodes[node].id, before);
        self.nodes[node].start().await;
        self.until_serving(node).await;
        self.say(&format!("{name} was revoked, got nothing more, and joined again"));
    }
}

/// Puts the folder on a node's shelf: the built-in model, and a big file beside it.
fn shelve(models: &Path, filling: &[u8]) {
    let read = |name| (name, std::fs::read(workspace().join("builtin/model").join(name)).unwrap());
    let files = MODEL_FILES.map(read);
    let mut files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
    files.push((FILLING, filling));
    shelve_all(models, &files);
}

impl Fleet {
    /// The fifth node has no model: a peer serves its clients. It fetches one from four peers, of which one lies and one dies, and serves it.
    async fn fetch(&mut self, mib: usize) {
        let filling = weights(mib * MIB);
        let sources = FETCHER;
        self.nodes[..sources].iter().for_each(|node| shelve(&node.models(), &filling));
        for node in &self.nodes[..sources] {
            until(&format!("it sees what {} shares", node.name), async || {
                self.nodes[FETCHER].sees(node.name).await["shares"].to_string().contains(SHARED)
            })
            .await;
        }
        let by_a_peer = found("an answer of a peer", async || {
            let answer = self.nodes[FETCHER].client().post(CHAT, &short("Who has it?")).await.unwrap();
            (answer.status == 200).then_some(answer)
        })
        .await;
        let peer = by_a_peer.header("x-tidegate-peer").unwrap().to_owned();
        assert!(!said(&by_a_peer).is_empty(), "{}", by_a_peer.text());

        let (fetcher, liar) = (&self.nodes[FETCHER], &self.nodes[LIAR]);
        let models = fetcher.models().display().to_string();
        let fetch = || fetcher.launch(&["node", "fetch", SHARED, "--models-dir", &models]).start().unwrap();
        // The digests of all are known before one rots; and the command goes on where it was killed.
        let mut first = fetch();
        let sources = first.wait_text(" are here already, from ", WITHIN).await.unwrap();
        assert!(["attic", "barn", "cellar", "dock"].iter().all(|name| sources.contains(name)), "{sources}");
        first.kill9().unwrap();
        rot(&liar.models().join("publisher--big").join(FILLING));
        let began = Instant::now();
        let sent = self.nodes[DYING].sees_sent_bytes(fetcher.name).await;
        let mut second = fetch();
        second.wait_text(" are here already, from ", WITHIN).await.unwrap();
        until("it is in the middle", async || self.nodes[DYING].sees_sent_bytes(fetcher.name).await > sent)
            .await;
        self.nodes[DYING].kill();
        let (fetcher, name) = (&self.nodes[FETCHER], self.nodes[DYING].name);
        second.wait_text("barn is ejected: chunk ", WITHIN).await.unwrap();
        second.wait_text(&format!("{name} is left out"), WITHIN).await.unwrap();
        let ended = second.wait(6 * WITHIN).await.unwrap();
        assert!(ended.success(), "{}", second.stderr());
        let text = second.stdout();
        let done = text.trim().split_once(" is here: ").unwrap().1;
        let took = began.elapsed().as_secs_f64();
        assert!(done.contains("from attic") && done.contains("from dock"), "{done}");
        let came = fetcher.models().join("publisher--big");
        assert!(std::fs::read(came.join(FILLING)).unwrap() == filling, "the files differ");
        self.until_node(FETCHER, "telling of the lie", |seen| {
            seen["joined"]["said"]["mesh"]["ejected"][0]["name"] == "barn"
        })
        .await;
        self.nodes[DYING].start().await;
        self.nodes[FETCHER].kill();
        self.nodes[FETCHER].model = ["--name", MINI, "--model", SHARED].map(str::to_owned).to_vec();
        self.nodes[FETCHER].start().await;
        for node in [DYING, FETCHER] {
            self.until_serving(node).await;
        }
        self.say(&format!("{mib} MiB came in {took:.1} s: {done}; barn lied, {name} died; {peer} had served a request meanwhile"));
    }
}

/// What a node reported, in order.
async fn usage(gateway: &Gateway, id: &str) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = gateway.get(&format!("/v2/byoc/nodes/{id}/usage?limit=200{cursor}")).await;
        rows.extend(page["data"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else { return rows };
        cursor = format!("&cursor={next}");
    }
}

/// The fields of records that nodes and the gateway have under the same names.
fn counts(row: &Value) -> [&Value; 4] {
    ["end", "input_tokens", "cached_tokens", "output_tokens"].map(|name| &row[name])
}

impl Fleet {
    /// What each node has in its journal, the gateway has of it: each once, in order. Returns the records of requests that came to
    /// nodes past the gateway.
    async fn nodes_are_booked(&self, ours: &BTreeSet<String>) -> BTreeSet<String> {
        let (mut past, mut all) = (BTreeSet::new(), 0);
        for node in &self.nodes {
            let journal = node.journal().await;
            let is_all = |kept: &Vec<Value>| kept.len() >= journal.len();
            let kept = found(&format!("all records of {}", node.name), async || {
                Some(usage(&self.gateway, &node.id).await).filter(is_all)
            })
            .await;
            let ids =
                |rows: &[Value], field: &str| rows.iter().map(|row| row[field].clone()).collect::<Vec<_>>();
            assert_eq!(ids(&kept, "event_id"), ids(&journal, "id"), "{}: each once, in order", node.name);
            for (row, own) in kept.iter().zip(&journal) {
                assert_eq!(counts(row), counts(own), "{}: {row} {own}", node.name);
                match own["request"].as_str() {
                    Some(trace) => assert!(ours.contains(trace) && row["request_id"] == trace, "{row} {own}"),
                    None => assert!(past.insert(own["id"].as_str().unwrap().to_owned()), "{own}"),
                }
            }
            assert!(!journal.is_empty(), "{} served nothing", node.name);
            all += journal.len();
        }
        let alone = past.len();
        self.say(&format!("{all} records of nodes are at the gateway, once, in order; {alone} came past it"));
        past
    }

    /// Every request of every client is in the books once, with the tokens that its answer said.
    async fn books_agree(&mut self) {
        self.clients.end();
        while let Some(ended) = self.traffic.join_next().await {
            ended.unwrap();
        }
        let outcomes = self.clients.outcomes();
        let ours: BTreeSet<String> = outcomes.iter().map(|one| one.trace.clone()).collect();
        assert_eq!(ours.len(), outcomes.len(), "two answers have the same id");
        let past = self.nodes_are_booked(&ours).await;
        let wanted = ours.len() + past.len();
        let is_all = |rows: &Vec<Value>| rows.len() >= wanted;
        let rows =
            found("all in the books", async || Some(self.gateway.requests(200).await).filter(is_all)).await;
        assert_eq!(rows.len(), wanted, "each once");
        let by_id: BTreeMap<&str, &Value> =
            rows.iter().map(|row| (row["id"].as_str().unwrap(), row)).collect();
        assert_eq!(by_id.len(), rows.len(), "an id is there twice");
        let number = |row: &Value, name: &str| row[name].as_u64().unwrap();
        for one in &outcomes {
            let row = by_id.get(one.trace.as_str()).unwrap_or_else(|| panic!("not in the books: {one:?}"));
            assert_eq!(row["outcome"] == "completed", one.is_whole, "{one:?} {row}");
            if one.is_whole {
                let prompt = number(row, "input_tokens") + number(row, "cached_tokens");
                assert_eq!(one.tokens, Some((prompt, number(row, "output_tokens"))), "{one:?} {row}");
                has(row, json!({"profile": one.profile, "estimated": false}));
            }
        }
        let provided = outcomes.iter().filter(|one| one.profile == "byok").count();
        // The provider was called once for each of its answers.
        assert_eq!(self.gateway.calls(OWN).len(), provided);
        let (all, whole) = (outcomes.len(), outcomes.iter().filter(|one| one.is_whole).count());
        self.say(&format!(
            "{all} requests, {whole} answered whole ({provided} by the provider): each booked once"
        ));
    }
}

/// `TIDEGATE_FLEET_MB`, `TIDEGATE_FLEET_ROUNDS` and `TIDEGATE_SEED` set a longer run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_serves_through_all_that_happens_to_it_and_counts_each_request_once() {
    let (mib, rounds) =
        (number("TIDEGATE_FLEET_MB").unwrap_or(16), number("TIDEGATE_FLEET_ROUNDS").unwrap_or(1));
    let seed = day::seed();
    println!("{mib} MiB, {rounds} rounds of {} disturbances, seed {seed}", DISTURBANCES.len());
    let mut chance = Chance(seed);
    let mut below = |bound: usize| usize::try_from(chance.below(bound as u64)).unwrap();
    let mut fleet = Fleet::start().await;
    for node in 0..FETCHER {
        fleet.until_serving(node).await;
    }
    fleet.say("four of them serve");
    fleet.fetch(mib).await;
    for round in 1..=rounds {
        let mut left = DISTURBANCES.to_vec();
        while !left.is_empty() {
            let disturbance = left.swap_remove(below(left.len()));
            let node = below(fleet.nodes.len());
            fleet.say(&format!("round {round}: {disturbance:?}"));
            fleet.disturb(disturbance, node).await;
        }
    }
    fleet.books_agree().await;
}
