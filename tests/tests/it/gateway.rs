//! The gateway that most tests run against: an emulated upstream, a fresh data directory, and the built
//! program in front of them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::client::{Answer, Client};
use harness::network::Machine;
use harness::pace::Threads;
use harness::postgres::Server;
use harness::process::{Launch, Process, tidegate};
use harness::{Behaviour, Config, Emulator, Entry, Model};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::WITHIN;
use crate::ask::{CHAT, trace_of, with};
use crate::command::{Cli, workspace};
use crate::founding;
use crate::sdk::drive;
use crate::wait::{a_day_with_room, a_moment, found};

/// The workspace's own provider keys.
pub const OWN: &str = "sk-own-7c1f0d4e8a9b2635417f60d2e5c8b9a3";
pub const OWN_SECOND: &str = "sk-twin-2b8e6d10f5a94c73be018d6f7a2c4e95";
/// The operator's pooled provider keys.
pub const POOL: &str = "sk-pool-91d3c7a05e6f4b28ad7c03e9f1b65d84";
pub const POOL_SECOND: &str = "sk-sink-5e0b7f9d2c8a4163e97d50a1f6c3b842";
/// A node's secret.
pub const NODE: &str = "sk-node-c4a8f2e60b7d49135d8f7e2a60c1b9d7";
/// The key of a custom provider that the workspace runs itself.
pub const CUSTOM: &str = "sk-acme-38f6b1d97e0c4a52f8b6d3e17c9a0524";
/// The workspace's own provider credentials.
pub const CREDENTIALS: &str = "/v2/provider-credentials";
/// A model that only nodes and custom providers serve.
pub const LOCAL_MODEL: &str = "tide-1";

/// What `init` prints, once only.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Founded {
    pub workspace_id: String,
    pub project_id: String,
    pub admin_key: String,
    pub api_key: String,
}

/// A running gateway; dropping it kills the process and removes its directory.
pub struct Gateway {
    pub emulator: Emulator,
    pub founded: Founded,
    pub origin: String,
    process: Process,
    program: PathBuf,
    environment: Vec<(String, String)>,
    directory: TempDir,
    /// Where it runs, if not on this machine.
    machine: Option<Machine>,
}

/// Where a gateway on another machine listens, so that its nodes find it again after a restart.
const PORT: u16 = 8787;

/// The books show a request within a second of the end of its answer; tests wait this long because the
/// machine may be busy.
const BOOKED_WITHIN: Duration = Duration::from_secs(30);

/// An emulator configuration in which every key above is valid.
pub fn config() -> Config {
    Config::default()
        .keys([OWN, OWN_SECOND, POOL, POOL_SECOND, NODE, CUSTOM])
        .model(Model::chat(LOCAL_MODEL))
        .model(Model::chat("acme-large"))
        .model(Model::chat("gpt-unknown"))
        .model(Model::chat(crate::ask::MINI))
}

fn launch(
    program: &Path,
    directory: &Path,
    environment: &[(String, String)],
    machine: Option<&Machine>,
) -> Process {
    let (launch, listen) = match machine {
        Some(machine) => (machine.launch(program), format!("{}:{PORT}", machine.address)),
        None => (Launch::new(program), "127.0.0.1:0".to_owned()),
    };
    let serve = launch.args(["serve", "--listen", &listen, "--data-dir"]);
    begin(serve.arg(directory.display().to_string()), environment)
}

fn begin(serve: Launch, environment: &[(String, String)]) -> Process {
    let with = |serve: Launch, (name, value): &(String, String)| serve.env(name, value);
    environment.iter().fold(serve, with).start().unwrap()
}

/// Starts the program on a directory, waits until it serves, and returns its address.
pub async fn serve(directory: &Path, environment: &[(String, String)]) -> (Process, String) {
    serve_with(&tidegate().unwrap(), directory, environment, None).await
}

/// A first start in this directory, which creates the installation in `data` there.
pub async fn first_start(root: &Path, environment: &[(String, String)]) -> (Process, String) {
    let serve = Launch::new(tidegate().unwrap()).args(["serve", "--listen", "127.0.0.1:0"]);
    served(begin(serve.current_dir(root), environment), WITHIN).await
}

async fn serve_with(
    program: &Path,
    directory: &Path,
    environment: &[(String, String)],
    machine: Option<&Machine>,
) -> (Process, String) {
    // Another program than the built one may run it under callgrind, where everything takes fifty times as long.
    let within = if program == tidegate().unwrap() { WITHIN } else { 4 * WITHIN };
    served(launch(program, directory, environment, machine), within).await
}

async fn served(mut process: Process, within: Duration) -> (Process, String) {
    let url = process.wait_line("  API      ", within).await.unwrap();
    let origin = url.trim().strip_suffix("/v1").unwrap_or_else(|| panic!("the address is {url}")).to_owned();
    process.wait_ready(&origin, within).await.unwrap();
    (process, origin)
}

impl Gateway {
    pub async fn start() -> Self {
        Self::with(config(), &[]).await
    }

    /// Starts with every feature that is off by default and that administrative requests need.
    pub async fn with_everything() -> Self {
        Self::with(config(), &[("TIDEGATE_SUBSCRIPTIONS", "1")]).await
    }

    /// Starts with this emulator configuration and additional environment settings. If the emulator speaks
    /// TLS, the gateway trusts its certificate.
    pub async fn with(config: Config, more: &[(&str, &str)]) -> Self {
        Self::of(tidegate().unwrap(), config, more).await
    }

    /// Starts with an operator's price file.
    pub async fn priced(config: Config, prices: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("prices.toml");
        std::fs::write(&file, prices).unwrap();
        let more = [("TIDEGATE_PRICE_FILE", &*file.display().to_string())];
        Self::begin(directory, tidegate().unwrap(), config, &more, None, None).await
    }

    /// As `with`, but with another build of the program.
    pub async fn of(program: PathBuf, config: Config, more: &[(&str, &str)]) -> Self {
        Self::begin(tempfile::tempdir().unwrap(), program, config, more, None, None).await
    }

    /// As `with`, on the installation in `data` of this directory, of which `init` printed this.
    pub async fn on_kept(
        directory: TempDir,
        founded: Founded,
        config: Config,
        more: &[(&str, &str)],
    ) -> Self {
        Self::begin(directory, tidegate().unwrap(), config, more, None, Some(founded)).await
    }

    /// As `with`, on another machine. It does not reach the emulator unless something there leads to it.
    pub async fn on(machine: Machine, config: Config, more: &[(&str, &str)]) -> Self {
        Self::begin(tempfile::tempdir().unwrap(), tidegate().unwrap(), config, more, Some(machine), None)
            .await
    }

    async fn begin(
        directory: TempDir,
        program: PathBuf,
        config: Config,
        more: &[(&str, &str)],
        machine: Option<Machine>,
        founded: Option<Founded>,
    ) -> Self {
        // Budgets are of a month, and sums of a day.
        a_day_with_room().await;
        let emulator = Emulator::start(config).await.unwrap();
        let mut environment = vec![
            ("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS".to_owned(), "1".to_owned()),
            ("TIDEGATE_WORKERS".to_owned(), "2".to_owned()),
            ("TIDEGATE_METADATA_URL".to_owned(), emulator.origin()),
        ];
        if let Some(pem) = emulator.ca_pem() {
            let file = directory.path().join("ca.pem");
            std::fs::write(&file, pem).unwrap();
            environment.push(("TIDEGATE_CA_FILE".to_owned(), file.display().to_string()));
        }
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let data = directory.path().join("data");
        let founded = founded.unwrap_or_else(|| {
            let cli = Cli::of(program.clone());
            let cli = environment.iter().fold(cli, |cli, (name, value)| cli.env(name, value));
            founding::found(&cli, &program, &environment, &data)
        });
        let (process, origin) = serve_with(&program, &data, &environment, machine.as_ref()).await;
        Self { emulator, founded, origin, process, program, environment, directory, machine }
    }

    /// A second process with the same settings and its own data directory; returns its address.
    pub async fn replica(&self) -> (Process, String) {
        self.replica_in("replica").await
    }

    /// As `replica`, in the directory with this name.
    pub async fn replica_in(&self, name: &str) -> (Process, String) {
        serve_with(&self.program, &self.directory().join(name), &self.environment, None).await
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The threads that serve requests, for the path of a timed one.
    pub fn serving(&self) -> Threads<'static> {
        Threads::of(self.pid(), "serve-")
    }

    /// The thread that changes what is configured, and keeps the books.
    pub fn control(&self) -> Threads<'static> {
        Threads::of(self.pid(), "control")
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.origin.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// A client with an arbitrary key.
    pub fn with_key(&self, key: &str) -> Client {
        self.versioned(Client::new(&self.origin)).bearer(key).within(WITHIN)
    }

    /// A client that expects the API version of the build that runs.
    fn versioned(&self, client: Client) -> Client {
        if self.program == tidegate().unwrap() { client } else { client.other_version() }
    }

    /// A client with the API key that applications use.
    pub fn client(&self) -> Client {
        self.with_key(&self.founded.api_key)
    }

    /// A client with the admin key.
    pub fn admin(&self) -> Client {
        self.with_key(&self.founded.admin_key)
    }

    /// The command line, signed in with the admin key.
    pub fn cli(&self) -> Cli {
        Cli::new().env("TIDEGATE_URL", &self.origin).env("TIDEGATE_API_KEY", &self.founded.admin_key)
    }

    /// Kills the process without notice and starts it again on the same directory; returns how long the
    /// restart took.
    pub async fn crash(&mut self) -> Duration {
        self.process.kill9().unwrap();
        self.start_again().await
    }

    /// From the next start on, runs this build of the program.
    pub fn becomes(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// Starts the process without waiting until it serves.
    pub fn launch(&mut self) {
        self.process = launch(&self.program, &self.data(), &self.environment, self.machine.as_ref());
    }

    /// Changes an environment setting from the next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// An environment setting, if it has it.
    pub fn setting(&self, name: &str) -> Option<String> {
        self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    /// Stops the process gracefully, as an operator does.
    pub async fn stop(&mut self) {
        let status = self.process.stop(WITHIN).await.unwrap();
        assert!(status.success(), "{status}: {}", self.process.stderr());
    }

    pub async fn start_again(&mut self) -> Duration {
        let started = Instant::now();
        let place = self.machine.as_ref();
        let (process, origin) = serve_with(&self.program, &self.data(), &self.environment, place).await;
        self.process = process;
        self.origin = origin;
        started.elapsed()
    }

    /// Posts to `/v2`, expects a 201 and returns the created object.
    pub async fn make(&self, path: &str, body: Value) -> Value {
        let answer = self.admin().post(path, &body).await.unwrap();
        assert_eq!(answer.status, 201, "POST {path} {body}: {}", answer.text());
        answer.json()
    }

    /// Adds one of the workspace's own provider credentials, with the emulator as its base URL.
    pub async fn credential(&self, provider: &str, secret: &str) -> String {
        let body = json!({"provider": provider, "display_name": format!("{provider} of ours"), "secret": secret, "base_url": self.emulator.base_url()});
        id_of(&self.make_named("/v2/provider-credentials", body, "display_name").await)
    }

    /// Creates an object, under another name where a test has one of this name already.
    async fn make_named(&self, path: &str, mut body: Value, field: &str) -> Value {
        loop {
            let made = self.admin().post(path, &body).await.unwrap();
            if made.status == 201 {
                return made.json();
            }
            assert_eq!(made.json()["code"], "name_taken", "POST {path} {body}: {}", made.text());
            body[field] = format!("{}, too", body[field].as_str().unwrap()).into();
        }
    }

    /// Adds a pooled account of the operator, with the emulator as its base URL.
    pub async fn account(&self, provider: &str, secret: &str) -> String {
        let body = json!({"provider": provider, "secret": secret, "base_url": self.emulator.base_url()});
        id_of(&self.make("/v2/accounts", body).await)
    }

    /// Adds a node that serves these models, with the emulator as its base URL.
    pub async fn node(&self, name: &str, models: &[&str]) -> String {
        let body =
            json!({"name": name, "base_url": self.emulator.base_url(), "secret": NODE, "models": models});
        id_of(&self.make("/v2/byoc/nodes", body).await)
    }

    pub async fn route(&self, body: Value) -> String {
        id_of(&self.make("/v2/routes", body).await)
    }

    pub async fn remove(&self, path: &str) {
        let answer = self.admin().delete(path).await.unwrap();
        assert_eq!(answer.status, 204, "DELETE {path}: {}", answer.text());
    }

    pub async fn patch(&self, path: &str, body: Value) -> Value {
        let answer = self.patched(path, body).await;
        assert_eq!(answer.status, 200, "PATCH {path}: {}", answer.text());
        answer.json()
    }

    pub async fn patched(&self, path: &str, body: Value) -> Answer {
        let json = [("content-type", "application/merge-patch+json")];
        self.admin().call(http::Method::PATCH, path, &json, body.to_string()).await.unwrap()
    }

    /// Creates an API key; returns its secret text and its id.
    pub async fn key(&self, body: Value) -> (String, String) {
        let made = self.make_named("/v2/api-keys", body, "name").await;
        (made["key"].as_str().unwrap().to_owned(), id_of(&made))
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.admin().get(path).await.unwrap();
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        answer.json()
    }

    pub async fn chat(&self, body: &Value) -> Answer {
        self.client().post(CHAT, body).await.unwrap()
    }

    /// Sends a chat request that must be answered with a 200.
    pub async fn chat_ok(&self, body: &Value) -> Answer {
        let answer = self.chat(body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    }

    /// What `POST /v2/plan` returns for this request.
    pub async fn plan(&self, body: Value) -> Value {
        let answer = self.admin().post("/v2/plan", &body).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// One request as the books show it. It must be there within a second of the end of the answer; the wait
    /// is longer because the machine may be busy.
    pub async fn settled(&self, trace: &str) -> Value {
        let deadline = Instant::now() + BOOKED_WITHIN;
        loop {
            let answer = self.admin().get(&format!("/v2/requests/{trace}")).await.unwrap();
            if answer.status == 200 {
                return answer.json();
            }
            assert!(Instant::now() < deadline, "{trace} is not in the books: {}", answer.text());
            a_moment().await;
        }
    }

    /// The same, with the calls of tools that the gateway made for it: they are written apart.
    pub async fn settled_with_calls(&self, trace: &str) -> Value {
        found("the calls of tools", async || {
            let request = self.settled(trace).await;
            let calls = request["tool_calls"].as_array().map_or(0, Vec::len);
            (calls > 0).then_some(request)
        })
        .await
    }

    /// The error code of a refused request, read from its record: some wire formats have no field for one.
    pub async fn recorded_code(&self, answer: &Answer) -> String {
        let record = self.settled(answer.header("agent-trace-id").unwrap()).await;
        record["error_code"].as_str().unwrap_or_default().to_owned()
    }

    /// Every request in the books, oldest first, read through the cursor with `page` rows at a time.
    pub async fn requests(&self, page: usize) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut cursor = String::new();
        loop {
            let list = self.get(&format!("/v2/requests?limit={page}{cursor}")).await;
            let found = list["data"].as_array().unwrap();
            assert!(found.len() <= page);
            rows.extend(found.iter().cloned());
            assert_eq!(list["has_more"].as_bool().unwrap(), list["next_cursor"].is_string());
            match list["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        rows.reverse();
        rows
    }

    /// Waits until the books count this many requests.
    pub async fn wait_for_usage(&self, requests: u64) -> Value {
        let deadline = Instant::now() + BOOKED_WITHIN;
        loop {
            let usage = self.get("/v2/usage").await;
            let sums = sums(&usage);
            if sums["requests"].as_u64().unwrap_or(0) >= requests {
                return sums;
            }
            assert!(Instant::now() < deadline, "{requests} requests are not in the books: {usage}");
            a_moment().await;
        }
    }

    /// Waits until this many requests are listed, including those for which no attempt was made.
    pub async fn listed(&self, requests: usize) {
        let deadline = Instant::now() + BOOKED_WITHIN;
        while self.get("/v2/requests?limit=200").await["data"]
            .as_array()
            .is_none_or(|rows| rows.len() < requests)
        {
            assert!(Instant::now() < deadline, "{requests} requests are not in the books");
            a_moment().await;
        }
    }

    /// What the emulator received with this key, without the requests that list models or capabilities.
    pub fn calls(&self, key: &str) -> Vec<Entry> {
        let journal = self.emulator.journal();
        journal
            .into_iter()
            .filter(|entry| entry.key.as_deref() == Some(key) && entry.method == "POST" && !entry.is_probe())
            .collect()
    }

    /// The last of these calls.
    pub fn last(&self, key: &str) -> Entry {
        self.calls(key).pop().expect("a call")
    }

    /// Posts with the API key that applications use.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.client().post(path, body).await.unwrap()
    }

    /// Adds this as the workspace's own provider credential; returns the path below which it is.
    pub async fn own(&self, body: Value) -> String {
        format!("{CREDENTIALS}/{}", id_of(&self.make(CREDENTIALS, body).await))
    }

    /// The credential or account with this path once it is verified.
    pub async fn verified(&self, path: &str) -> Value {
        self.admin().post(&format!("{path}/verify"), &json!({})).await.unwrap().json()
    }

    /// Each of these rows of a list as its whole record.
    pub async fn whole(&self, rows: Vec<Value>) -> Vec<Value> {
        let mut whole = Vec::new();
        for row in rows {
            whole.push(self.settled(row["id"].as_str().unwrap()).await);
        }
        whole
    }

    /// How many cases of this script of `tests/sdk` hold.
    pub async fn drive(&self, script: &str) -> usize {
        let (python, script) = driver(script);
        drive(python, script, self).await.held
    }

    /// Starts with a credential of the workspace's own at `OpenAI`.
    pub async fn with_own() -> Self {
        let gateway = Self::start().await;
        gateway.credential("openai", OWN).await;
        gateway
    }

    /// As `with`, over a PostgreSQL database of its own with a name that begins so.
    pub async fn over_postgres(name: &str, config: Config, more: &[(&str, &str)]) -> Self {
        let server = Server::shared().await.unwrap();
        let url = server.database(&format!("{name}_{}", std::process::id())).await.unwrap();
        Self::begin_on_database(&url, config, more).await
    }

    /// The master key lies where replicas find it.
    async fn begin_on_database(url: &str, config: Config, more: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key_file = directory.path().join("master.key").display().to_string();
        let shared = [("TIDEGATE_DATABASE_URL", url), ("TIDEGATE_MASTER_KEY_FILE", &*key_file)];
        Self::begin(directory, tidegate().unwrap(), config, &[&shared[..], more].concat(), None, None).await
    }

    /// An application's client of another process of the same installation.
    pub fn client_at(&self, origin: &str) -> Client {
        Client::new(origin).bearer(&self.founded.api_key).within(WITHIN)
    }

    /// From now on, neither the project nor its only credential's provider may keep anything.
    pub async fn keeps_nothing(&self) {
        let credential = id_of(&self.get("/v2/provider-credentials").await["data"][0]);
        let stated = json!({"retention": "zero"});
        self.patch(&format!("/v2/provider-credentials/{credential}"), stated).await;
        let policy = json!({"project_id": self.founded.project_id, "retention": "zero"});
        self.make("/v2/policies", policy).await;
    }

    /// Scripts the calls with this key, and removes all other scripts.
    pub fn plays(&self, key: &str, script: impl IntoIterator<Item = Behaviour>) {
        self.emulator.clear_scripts();
        self.emulator.script(key, script);
    }

    /// The bodies of the calls with this key, each of which is JSON.
    pub fn sent(&self, key: &str) -> Vec<Value> {
        self.calls(key).iter().map(|call| serde_json::from_slice(&call.body).unwrap()).collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the gateway said:\n{}{}", self.process.stdout(), self.process.stderr());
        }
    }
}

pub fn id_of(made: &Value) -> String {
    made["id"].as_str().unwrap_or_else(|| panic!("no id: {made}")).to_owned()
}

/// The only row of an ungrouped usage answer; zero requests if there is none.
pub fn sums(usage: &Value) -> Value {
    let rows = usage["data"].as_array().unwrap();
    assert!(rows.len() <= 1, "{usage}");
    rows.first().cloned().unwrap_or_else(|| json!({"requests": 0}))
}

/// The row of a grouped usage or billing answer whose `field` is `value`.
pub fn row<'a>(rows: &'a Value, field: &str, value: &str) -> &'a Value {
    let found = rows.as_array().unwrap().iter().find(|row| row[field] == value);
    found.unwrap_or_else(|| panic!("no row with {field} {value}: {rows}"))
}

/// The bytes of every file in the data directory, the database included.
pub fn stored_bytes(gateway: &Gateway) -> Vec<u8> {
    let files = std::fs::read_dir(gateway.data()).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).flat_map(|path| std::fs::read(path).unwrap()).collect()
}

/// The Python that has the official SDKs.
pub fn python() -> PathBuf {
    let interpreter = workspace().join(".venv/bin/python");
    assert!(interpreter.exists(), "run scripts/python-env.sh first");
    interpreter
}

/// The booked amounts in nano-USD, the cost to the workspace and the cost at the provider, and whether the record is unpriced.
pub fn money(row: &Value) -> (i64, i64, bool) {
    let nanos = |name: &str| row[name].as_i64().unwrap();
    (nanos("cost_nanos"), nanos("provider_cost_nanos"), row["unpriced"].as_bool().unwrap())
}

/// The number of these units in a record.
pub fn units(row: &Value, name: &str) -> u64 {
    row["units"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {row}"))
}

impl Gateway {
    /// It, and a client with the API key that applications use.
    pub fn and_client(self) -> (Self, Client) {
        let client = self.client();
        (self, client)
    }

    /// Adds a credential, or an account by its path, whose base URL is another of the emulator's.
    pub async fn at(&self, path: &str, provider: &str, secret: &str, base_url: &str) -> String {
        let body = json!({"provider": provider, "secret": secret, "base_url": base_url});
        id_of(&self.make(path, body).await)
    }

    /// A client with a key of another project.
    pub async fn other_project(&self) -> Client {
        let project = self.make_named("/v2/projects", json!({"name": "other"}), "name").await;
        self.with_key(&self.key(json!({"name": "other", "project_id": project["id"]})).await.0)
    }

    /// The path of the project.
    pub fn project(&self) -> String {
        format!("/v2/projects/{}", self.founded.project_id)
    }

    /// A policy of the project; returns its path.
    pub async fn policy(&self, rules: Value) -> String {
        let policy = with(rules, json!({"project_id": self.founded.project_id}));
        format!("/v2/policies/{}", id_of(&self.make("/v2/policies", policy).await))
    }

    /// A budget of the whole workspace in a month; returns its path.
    pub async fn budget(&self, limit_micros: u64) -> String {
        let body = json!({"workspace": true, "period": "month", "limit_micros": limit_micros});
        format!("/v2/budgets/{}", id_of(&self.make("/v2/budgets", body).await))
    }

    /// The amounts of a budget that are spent and held, in micro-USD.
    pub async fn standing(&self, budget: &str) -> (i64, i64) {
        let read = self.get(budget).await;
        (read["spent_micros"].as_i64().unwrap(), read["reserved_micros"].as_i64().unwrap())
    }

    /// Waits until at least `spent` of a budget is spent and less than `held` is held.
    pub async fn until_spent(&self, budget: &str, spent: i64, held: i64) {
        found("it is spent, and nothing is held", async || {
            let now = self.standing(budget).await;
            (now.0 >= spent && now.1 < held).then_some(())
        })
        .await;
    }
}

impl Gateway {
    /// The record of an answer's request.
    pub async fn record(&self, answer: &Answer) -> Value {
        self.settled(&trace_of(answer)).await
    }

    /// The records of the requests that are so, once there are this many.
    pub async fn records(&self, count: usize, is_so: impl Fn(&Value) -> bool) -> Vec<Value> {
        let rows = found("the requests in the books", async || {
            let mut rows = self.requests(200).await;
            rows.retain(|row| is_so(row));
            (rows.len() >= count).then_some(rows)
        })
        .await;
        let mut records = Vec::new();
        for row in rows {
            records.push(self.get(&format!("/v2/requests/{}", id_of(&row))).await);
        }
        records
    }
}

/// A number of a record.
pub fn nanos(record: &Value, field: &str) -> i64 {
    record[field].as_i64().unwrap_or_else(|| panic!("{field}: {record}"))
}

/// A database of the shared PostgreSQL server and a master key file, which several gateways use.
pub struct Shared {
    pub server: Server,
    pub database: String,
    url: String,
    key_file: String,
    _keys: TempDir,
}

impl Shared {
    /// The name of its database begins with this one.
    pub async fn of(name: &str) -> Self {
        let server = Server::shared().await.unwrap();
        let database = format!("{name}_{}", std::process::id());
        let url = server.database(&database).await.unwrap();
        let keys = tempfile::tempdir().unwrap();
        let key_file = keys.path().join("master.key").display().to_string();
        Self { server, database, url, key_file, _keys: keys }
    }

    /// The settings of a gateway that has its part in it.
    pub fn environment(&self) -> [(&str, &str); 2] {
        [("TIDEGATE_DATABASE_URL", self.url.as_str()), ("TIDEGATE_MASTER_KEY_FILE", &self.key_file)]
    }
}

/// The interpreter of Python's drivers, and one of them.
pub fn driver(script: &str) -> (PathBuf, PathBuf) {
    (python(), workspace().join("tests/sdk").join(script))
}

impl Gateway {
    /// A credential of the workspace with the emulator as its base URL, and with further or other fields.
    pub async fn credential_with(&self, provider: &str, secret: &str, more: Value) -> String {
        self.principal("/v2/provider-credentials", provider, secret, more).await
    }

    /// The same for a pooled account.
    pub async fn account_with(&self, provider: &str, secret: &str, more: Value) -> String {
        self.principal("/v2/accounts", provider, secret, more).await
    }

    async fn principal(&self, path: &str, provider: &str, secret: &str, more: Value) -> String {
        let own = json!({"provider": provider, "secret": secret, "base_url": self.emulator.base_url()});
        id_of(&self.make(path, with(own, more)).await)
    }

    /// Another workspace of the installation.
    pub async fn workspace(&self, name: &str) -> Founded {
        serde_json::from_value(self.make("/v2/workspaces", json!({"name": name})).await).unwrap()
    }

    /// From now on, the project's answers are cached.
    pub async fn cache_answers(&self) {
        let project = format!("/v2/projects/{}", self.founded.project_id);
        self.patch(&project, json!({"caching": {"responses": {"mode": "exact"}}})).await;
    }
}

/// Nodes that join.
impl Gateway {
    /// As `with`, on this database of PostgreSQL, and with a master key that replicas find.
    pub async fn on_database(url: &str, more: &[(&str, &str)]) -> Self {
        Self::begin_on_database(url, config(), more).await
    }

    /// A token with which a node of this name joins.
    pub fn invite(&self, name: &str) -> String {
        let invited = self.cli().run(&["nodes", "invite", name, "--json"]).json();
        let token = invited["token"].as_str().unwrap().to_owned();
        assert!(token.starts_with("tgj_") && token.len() > 40, "{invited}");
        token
    }

    /// Joins as a node that the test plays; returns its id, and a client with its credential.
    pub async fn played(&self, name: &str, base_url: &str) -> (String, Client) {
        let token = self.make("/v2/byoc/nodes/join-tokens", json!({"name": name})).await["token"].clone();
        let body = json!({"token": token, "base_url": base_url});
        let joined = self.browser().post("/v2/byoc/nodes/join", &body).await.unwrap().must_be(200).json();
        let client = self.with_key(joined["credential"].as_str().unwrap());
        (joined["node_id"].as_str().unwrap().to_owned(), client)
    }

    pub async fn shown_node(&self, id: &str) -> Value {
        self.get(&format!("/v2/byoc/nodes/{id}")).await
    }

    pub async fn until_node(&self, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        found(what, async || Some(self.shown_node(id).await).filter(&is)).await
    }

    /// Applies an action, such as `drain`, to a node, and returns the node.
    pub async fn turn(&self, id: &str, action: &str) -> Value {
        let path = format!("/v2/byoc/nodes/{id}/{action}");
        self.admin().post(&path, &json!({})).await.unwrap().must_be(200).json()
    }
}
