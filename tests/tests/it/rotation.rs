//! Keys are rotated under load, on either database, with kills: no request fails, nothing is lost, and
//! tampered data stays unreadable.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::vault::{MasterKey, MasterKeyring, MasterState, Vault, VaultRecords};
use domain::WorkspaceId;
use domain::ports::NoAudit;
use harness::client::Client;
use harness::postgres::Server;
use harness::setting::number;
use serde_json::{Value, json};
use store::Store;
use tempfile::TempDir;
use world::World;

use crate::ask::{CHAT, MINI, has, problem, question, refused, streaming, until_status};
use crate::command::workspace;
use crate::gateway::{Gateway, NODE, OWN, OWN_SECOND, POOL, config, id_of};
use crate::wait::{a_moment, a_pause, until, until_a_random_moment, until_within};

/// A key is dropped ten seconds after its successor takes effect; much longer is a failure.
const LONG: Duration = Duration::from_secs(60);
/// Models that each need another secret.
const MODELS: [&str; 3] = [MINI, "acme/acme-large", "tide-1"];
const STATUS: &str = "/v2/vault";
const ROTATE_MASTER: &str = "/v2/vault/master-key/rotate";
const FINALIZE: &str = "/v2/vault/master-key/finalize";
const OWN_KEY: &str = "/v2/vault/workspace-key";

/// A gateway with one secret of each kind.
struct Fixture {
    gateway: Gateway,
    key_file: String,
    _keys: TempDir,
}

async fn fixture(url: Option<&str>) -> Fixture {
    let keys = tempfile::tempdir().unwrap();
    let key_file = keys.path().join("master.key").display().to_string();
    let mut environment = vec![("TIDEGATE_MASTER_KEY_FILE", key_file.as_str())];
    environment.extend(url.map(|url| ("TIDEGATE_DATABASE_URL", url)));
    let gateway = Gateway::with(config(), &environment).await;
    gateway.credential("openai", OWN).await;
    gateway.credential("acme", OWN_SECOND).await;
    gateway.account("together_ai", POOL).await;
    gateway.node("rack", &["tide-1"]).await;
    Fixture { gateway, key_file, _keys: keys }
}

impl Fixture {
    fn vault(&self, arguments: &[&str]) -> crate::command::Done {
        let cli = self.gateway.cli().env("TIDEGATE_MASTER_KEY_FILE", &self.key_file);
        cli.run(&[&["vault"], arguments, &["--json"]].concat())
    }

    /// Adds a key to the file; returns its id.
    fn new_key(&self) -> String {
        self.vault(&["new-key"]).json()["key_id"].as_str().unwrap().to_owned()
    }

    async fn until_status(&self, status: &str) -> Value {
        until_status(&self.gateway.admin(), STATUS, status).await
    }

    /// Waits until another gateway is known; returns a client of it.
    async fn until_there_are_two(&self, origin: &str) -> Client {
        until_within(LONG, "the other to be known", async || {
            self.gateway.get(STATUS).await["gateways"].as_array().unwrap().len() > 1
        })
        .await;
        Client::new(origin).bearer(&self.gateway.founded.api_key).within(crate::WITHIN)
    }

    async fn serves_each_model(&self) {
        for model in MODELS {
            self.gateway.chat_ok(&question(model)).await;
        }
    }
}

/// A new database of the shared PostgreSQL server.
async fn database(name: &str) -> String {
    let server = Server::shared().await.unwrap();
    server.database(&format!("{name}_{}", std::process::id())).await.unwrap()
}

/// Constant traffic at a given total rate of requests per second.
struct Load {
    start: Instant,
    over: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<u64>>,
}

impl Load {
    fn start(clients: Vec<Client>) -> Self {
        let (over, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let rate = number("TIDEGATE_ROTATION_RATE").unwrap_or(60);
        let tasks = number("TIDEGATE_ROTATION_CLIENTS").unwrap_or(6);
        let pause = Duration::from_micros(1_000_000 * tasks / rate.max(1));
        let tasks = (0..tasks).map(|number| {
            let client = clients[usize::try_from(number).unwrap() % clients.len()].clone();
            tokio::spawn(keep_asking(client, Arc::clone(&over), Arc::clone(&next), pause))
        });
        Self { start: Instant::now(), tasks: tasks.collect(), over }
    }

    async fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        let mut served = 0;
        for task in self.tasks {
            served += task.await.unwrap();
        }
        let took = self.start.elapsed();
        let rate = served as f64 / took.as_secs_f64();
        println!("{served} requests in {took:.1?}, {rate:.0} a second, none failed");
        served
    }
}

async fn keep_asking(client: Client, over: Arc<AtomicBool>, next: Arc<AtomicU64>, pause: Duration) -> u64 {
    let mut served = 0;
    while !over.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let (model, start) = (MODELS[usize::try_from(number).unwrap() % 3], Instant::now());
        let body = if number.is_multiple_of(2) { question(model) } else { streaming(model) };
        let client = match number % 10 {
            0 => client.clone().header("idempotency-key", format!("load {number}")),
            _ => client.clone(),
        };
        let answer = client.post(CHAT, &body).await.unwrap();
        assert_eq!(answer.status, 200, "request {number} failed: {}", answer.text());
        served += 1;
        a_pause(pause.saturating_sub(start.elapsed())).await;
    }
    served
}

async fn post(gateway: &Gateway, path: &str) -> Value {
    let answer = gateway.admin().post(path, &json!({})).await.unwrap();
    assert_eq!(answer.status, 200, "POST {path}: {}", answer.text());
    answer.json()
}

/// Rotates every kind of key once, while clients send requests through `clients`.
async fn change_everything(fixture: &Fixture, clients: Vec<Client>) -> u64 {
    let gateway = &fixture.gateway;
    let before = fixture.until_status("steady").await;
    let before_it = gateway.client().header("idempotency-key", "before");
    let kept = before_it.post(CHAT, &question(MINI)).await.unwrap();
    let load = Load::start(clients);
    problem(&gateway.admin().post(ROTATE_MASTER, &json!({})).await.unwrap(), 409, "no_next_master_key");
    problem(&gateway.admin().post(FINALIZE, &json!({})).await.unwrap(), 409, "nothing_to_finalize");
    let next = fixture.new_key();
    fixture.vault(&["rotate-master"]).ok();
    let done = fixture.until_status("to_be_finalized").await;
    assert_eq!((&done["master_key"]["id"], &done["keys_left"]), (&json!(next), &json!(0)), "{done}");
    assert_eq!(done["master_key"]["previous_id"], before["master_key"]["id"]);
    fixture.vault(&["finalize"]).ok();
    let done = fixture.until_status("steady").await;
    assert_eq!(done["master_key"]["retired_ids"], json!([before["master_key"]["id"]]));
    assert_eq!(fixture.vault(&["forget-old"]).json()["forgotten"], 1);
    let changing = fixture.vault(&["rotate-workspace"]).json();
    assert_eq!(changing["status"], "rotating", "{changing}");
    let twice = gateway.admin().post(&format!("{OWN_KEY}/rotate"), &json!({})).await.unwrap();
    problem(&twice, 409, "rotation_under_way");
    fixture.vault(&["rotate-accounts"]).ok();
    let is_over = async || gateway.get(STATUS).await["workspace_keys_rotating"] == 0;
    until_within(LONG, "the rotation to end", is_over).await;
    let own = gateway.get(OWN_KEY).await;
    assert_eq!((&own["id"], &own["older_ids"]), (&changing["id"], &json!([])), "{own}");
    let again = before_it.post(CHAT, &question(MINI)).await.unwrap();
    assert_eq!(again.header("agent-idempotent-replay"), Some("true"), "{}", again.text());
    assert_eq!(again.body, kept.body, "what was kept is kept");
    load.stop().await
}

/// After a start with only the new key everything can be decrypted, and with only the old one nothing.
async fn starts_with_the_new_key_alone(fixture: &mut Fixture, old: &str) {
    fixture.gateway.stop().await;
    let key = std::fs::read_to_string(&fixture.key_file).unwrap();
    assert_eq!(key.lines().count(), 1);
    std::fs::write(&fixture.key_file, old).unwrap();
    let data = fixture.gateway.data().display().to_string();
    let cli = fixture.gateway.cli().env("TIDEGATE_MASTER_KEY_FILE", &fixture.key_file);
    let message = cli.run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", &data]).failed(1);
    assert!(message.contains("did not seal this data"), "{message}");
    std::fs::write(&fixture.key_file, key).unwrap();
    fixture.gateway.start_again().await;
    fixture.serves_each_model().await;
}

/// A refusal is audited a moment after it occurs.
async fn audited(gateway: &Gateway, actions: &[&str]) {
    for action in actions {
        until_within(LONG, action, async || {
            let audit = gateway.get("/v2/audit?limit=200").await;
            audit["data"].as_array().unwrap().iter().any(|entry| entry["action"] == *action)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_keys_change_under_load() {
    let mut fixture = fixture(None).await;
    let old = std::fs::read_to_string(&fixture.key_file).unwrap();
    let served = change_everything(&fixture, vec![fixture.gateway.client()]).await;
    assert_eq!(fixture.gateway.wait_for_usage(served + 1).await["failed_requests"], 0);
    audited(&fixture.gateway, &["master_key.rotate", "master_key.switch", "master_key.finalize"]).await;
    audited(&fixture.gateway, &["workspace_key.rotate", "workspace_key.rotated"]).await;
    starts_with_the_new_key_alone(&mut fixture, &old).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_keys_change_under_load_on_two_gateways() {
    let fixture = fixture(Some(&database("rot").await)).await;
    let (mut other, origin) = fixture.gateway.replica().await;
    let at_other = fixture.until_there_are_two(&origin).await;
    change_everything(&fixture, vec![fixture.gateway.client(), at_other]).await;
    other.stop(crate::WITHIN).await.unwrap();
    assert_eq!(fixture.gateway.get(STATUS).await["gateways"].as_array().unwrap().len(), 1, "it said goodbye");
}

/// A gateway that lacks the new key blocks the rotation, and continues it as soon as it has the key.
#[tokio::test]
async fn nothing_is_wrapped_before_every_gateway_can_open_it() {
    let url = database("lack").await;
    let fixture = fixture(Some(&url)).await;
    let theirs = fixture.gateway.directory().join("their.key");
    std::fs::copy(&fixture.key_file, &theirs).unwrap();
    let environment = [
        ("TIDEGATE_DATABASE_URL".to_owned(), url),
        ("TIDEGATE_MASTER_KEY_FILE".to_owned(), theirs.display().to_string()),
        ("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS".to_owned(), "1".to_owned()),
    ];
    let directory = fixture.gateway.directory().join("lacking");
    let (mut other, origin) = crate::gateway::serve(&directory, &environment).await;
    let at_other = fixture.until_there_are_two(&origin).await;
    fixture.new_key();
    let rotation = post(&fixture.gateway, ROTATE_MASTER).await;
    assert_eq!(rotation["status"], "waiting_for_gateways", "{rotation}");
    // What takes its turns with it is done meanwhile.
    post(&fixture.gateway, &format!("{OWN_KEY}/rotate")).await;
    until("the secrets are sealed anew", async || fixture.gateway.get(OWN_KEY).await["secrets_left"] == 0)
        .await;
    has(&fixture.gateway.get(STATUS).await, json!({"status": "waiting_for_gateways", "keys_left": 3}));
    assert_eq!(at_other.post(CHAT, &question(MINI)).await.unwrap().status, 200);
    std::fs::copy(&fixture.key_file, &theirs).unwrap();
    fixture.until_status("to_be_finalized").await;
    assert_eq!(at_other.post(CHAT, &question(MINI)).await.unwrap().status, 200);
    other.stop(crate::WITHIN).await.unwrap();
}

/// `TIDEGATE_ROTATION_KILLS` sets the number of kills.
async fn killed_at_random(mut fixture: Fixture) {
    let kills = number("TIDEGATE_ROTATION_KILLS").unwrap_or(8);
    // Several objects of each kind, so that a kill interrupts the work halfway.
    for number in 0..12 {
        fixture.gateway.make("/v2/workspaces", json!({"name": format!("w{number}")})).await;
    }
    for number in 0..kills {
        let (path, body) = match fixture.gateway.get(STATUS).await["status"].as_str().unwrap() {
            "steady" if number % 2 == 0 => (ROTATE_MASTER, json!({"key_id": fixture.new_key()})),
            "to_be_finalized" => (FINALIZE, json!({})),
            _ => ("/v2/vault/workspace-key/rotate", json!({})),
        };
        let admin = fixture.gateway.admin();
        // A rotation may be in progress already, or the call may be cut off.
        let act = tokio::spawn(async move { admin.post(path, &body).await.map(drop) });
        until_a_random_moment(Duration::from_millis(number * 373 % 1_300)).await;
        fixture.gateway.process().kill9().unwrap();
        let _ = act.await.unwrap();
        fixture.gateway.start_again().await;
        fixture.serves_each_model().await;
    }
    // The rotation completes by itself, and is finalized.
    let deadline = Instant::now() + LONG;
    loop {
        let state = fixture.gateway.get(STATUS).await;
        match (state["status"].as_str().unwrap(), state["workspace_keys_rotating"].as_u64().unwrap()) {
            ("steady", 0) => break,
            ("to_be_finalized", _) => drop(post(&fixture.gateway, FINALIZE).await),
            _ => {}
        }
        assert!(Instant::now() < deadline, "the change does not end: {state}");
        a_moment().await;
    }
    let retired = fixture.gateway.get(STATUS).await["master_key"]["retired_ids"].as_array().unwrap().len();
    assert!(retired > 0, "no master key was changed");
    fixture.vault(&["forget-old"]).ok();
    fixture.gateway.crash().await;
    fixture.serves_each_model().await;
    println!("{kills} kills, {retired} master keys retired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_it_goes_on() {
    killed_at_random(fixture(None).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_it_goes_on_on_postgresql() {
    killed_at_random(fixture(Some(&database("rotk").await)).await).await;
}

fn edit(gateway: &Gateway, script: &str) {
    let database = gateway.data().join("tidegate.db").display().to_string();
    let program = format!("import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\n{script}\ndb.commit()\n");
    let python = workspace().join(".venv/bin/python");
    assert!(Command::new(python).args(["-c", &program, &database]).status().unwrap().success());
}

/// A gateway that was cut off during the rotation announces again which keys it holds.
#[tokio::test]
async fn an_old_master_key_stays_while_a_gateway_has_no_other() {
    let fixture = fixture(None).await;
    let old = fixture.until_status("steady").await["master_key"]["id"].clone();
    let new = fixture.new_key();
    post(&fixture.gateway, ROTATE_MASTER).await;
    fixture.until_status("to_be_finalized").await;
    let announce = |keys: &str| {
        let script = format!(
            "import time\nword = f'{{int(time.time() * 1000)}}\\n{keys}'.encode()\n\
             db.execute('INSERT OR REPLACE INTO meta VALUES (\"holder.cut-off\", ?)', (word,))"
        );
        edit(&fixture.gateway, &script);
    };
    announce(old.as_str().unwrap());
    let refused = fixture.gateway.admin().post(FINALIZE, &json!({})).await.unwrap();
    let document = problem(&refused, 409, "gateway_lacks_master_key");
    let message = format!("The gateway cut-off does not hold the master key {new}.");
    assert_eq!(document["detail"], message, "{document}");
    announce(&new);
    assert_eq!(post(&fixture.gateway, FINALIZE).await["status"], "steady");
}

#[tokio::test]
async fn what_was_tampered_with_does_not_come_out_as_genuine() {
    let mut fixture = fixture(None).await;
    let rows = fixture.gateway.get("/v2/provider-credentials").await;
    let of = |provider: &str| {
        let found = rows["data"].as_array().unwrap().iter().find(|row| row["provider"] == provider);
        id_of(found.unwrap())
    };
    let (changed, put_back) = (of("openai"), of("acme"));
    fixture.gateway.stop().await;
    edit(
        &fixture.gateway,
        "db.execute('CREATE TABLE old AS SELECT * FROM credentials WHERE provider = \"acme\"')",
    );
    fixture.gateway.start_again().await;
    let path = format!("/v2/provider-credentials/{put_back}/rotate");
    fixture.gateway.admin().post(&path, &json!({"secret": OWN_SECOND})).await.unwrap().must_be(200);
    fixture.gateway.stop().await;
    edit(
        &fixture.gateway,
        "row = db.execute('SELECT secret_sealed FROM credentials WHERE provider = \"openai\"').fetchone()[0]\n\
         row = row[:20] + bytes([row[20] ^ 1]) + row[21:]\n\
         db.execute('UPDATE credentials SET secret_sealed = ? WHERE provider = \"openai\"', (row,))\n\
         db.execute('DELETE FROM credentials WHERE provider = \"acme\"')\n\
         db.execute('INSERT INTO credentials SELECT * FROM old')\ndb.execute('DROP TABLE old')",
    );
    fixture.gateway.start_again().await;
    post(&fixture.gateway, "/v2/vault/workspace-key/rotate").await;
    // Everything but these two is sealed again; the old key stays for as long as they exist.
    let are_sealed = async || fixture.gateway.get(OWN_KEY).await["secrets_left"] == 2;
    until_within(LONG, "all but two to be sealed again", are_sealed).await;
    for model in [MINI, "acme/acme-large"] {
        refused(&fixture.gateway.chat(&question(model)).await, 502, "credential_unreadable");
    }
    fixture.gateway.chat_ok(&question("tide-1")).await;
    audited(&fixture.gateway, &["credential.open_refused", "credential.rollback_noticed"]).await;
    for id in [changed, put_back] {
        fixture.gateway.remove(&format!("/v2/provider-credentials/{id}")).await;
    }
    until_status(&fixture.gateway.admin(), OWN_KEY, "steady").await;
    assert_eq!(fixture.gateway.calls(NODE).len(), 1);
}

/// `TIDEGATE_WRAPPED_KEYS` sets the number; a hundred thousand may take a minute.
async fn many_keys(
    mut fixture: Fixture,
    insert: impl AsyncFn(&Fixture, Vec<(WorkspaceId, String, Vec<u8>)>),
    store: Store,
) {
    let count = number("TIDEGATE_WRAPPED_KEYS").unwrap_or(2_000);
    fixture.gateway.stop().await;
    let world = World::system();
    let path = fixture.key_file.clone();
    let read = Box::new(move || MasterKey::all_from_file(path.as_ref()));
    let masters = Arc::new(MasterKeyring::new(read, Arc::clone(&world.random)).unwrap());
    let facts = store.meta().starting_with(::vault::META_PREFIX.to_owned()).await.unwrap();
    masters.follow(MasterState::from_meta(&facts));
    let records = VaultRecords::from_meta(&facts).unwrap();
    let vault = Vault::open(masters, &records, &world, Arc::new(NoAudit)).await.unwrap();
    let mut rows = Vec::new();
    for _ in 0..count {
        let workspace = WorkspaceId::new(world.clock.unix_ms(), world.id_bytes());
        let (key_id, wrapped) = vault.sealer.next_workspace_key(workspace).await.unwrap();
        rows.push((workspace, key_id, wrapped));
    }
    store.close().await;
    insert(&fixture, rows).await;
    fixture.new_key();
    let started = fixture.gateway.start_again().await;
    let start = Instant::now();
    let state = post(&fixture.gateway, ROTATE_MASTER).await;
    assert!(state["keys_left"].as_u64().unwrap() > 0, "{state}");
    fixture.until_status("to_be_finalized").await;
    let took = start.elapsed();
    println!("{count} keys were wrapped again in {took:?}; with them the gateway starts in {started:?}");
    assert!(took < LONG, "{took:?}");
    let start = Instant::now();
    post(&fixture.gateway, FINALIZE).await;
    println!("finalized in {:?}", start.elapsed());
    fixture.gateway.chat_ok(&question(MINI)).await;
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_are_wrapped_again_in_little_time() {
    let fixture = fixture(None).await;
    let store = Store::open(&fixture.gateway.data().join("tidegate.db")).await.unwrap();
    let insert = async |fixture: &Fixture, rows: Vec<(WorkspaceId, String, Vec<u8>)>| {
        let file = fixture.gateway.directory().join("rows");
        let lines =
            rows.iter().map(|(id, key, wrapped)| format!("{} {key} {}\n", hex(id.as_bytes()), hex(wrapped)));
        std::fs::write(&file, lines.collect::<String>()).unwrap();
        let script = format!(
            "rows = [line.split() for line in open('{}')]\n\
             db.executemany('INSERT INTO workspace_keys (workspace, ordinal, key_id, wrapped) VALUES (?, 1, ?, ?)', \
             [(bytes.fromhex(a), b, bytes.fromhex(c)) for a, b, c in rows])",
            file.display()
        );
        edit(&fixture.gateway, &script);
    };
    Box::pin(many_keys(fixture, insert, store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_are_wrapped_again_in_little_time_on_postgresql() {
    let server = Server::shared().await.unwrap();
    let name = format!("rotm_{}", std::process::id());
    let url = server.database(&name).await.unwrap();
    let fixture = fixture(Some(&url)).await;
    let store = Store::connect(&url.parse().unwrap(), store::ReplicaId::from_bytes([9; 16])).await.unwrap();
    let insert = async |_: &Fixture, rows: Vec<(WorkspaceId, String, Vec<u8>)>| {
        for rows in rows.chunks(500) {
            let values = rows.iter().map(|(id, key, wrapped)| {
                format!("('\\x{}', 1, '{key}', '\\x{}')", hex(id.as_bytes()), hex(wrapped))
            });
            let values = values.collect::<Vec<_>>().join(",");
            let statement =
                format!("INSERT INTO workspace_keys (workspace, ordinal, key_id, wrapped) VALUES {values}");
            server.run(&name, &statement).await.unwrap();
        }
    };
    Box::pin(many_keys(fixture, insert, store)).await;
}
