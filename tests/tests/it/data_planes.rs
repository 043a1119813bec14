//! The split data plane: a gateway that serves elsewhere what its control plane configures. Everything that crosses between the
//! two goes through a wire that records it, and that can be cut.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::Model;
use harness::canary::Canary;
use harness::client::{Answer, Client};
use harness::postgres::Server;
use harness::process::{Launch, Process, tidegate};
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};

use crate::WITHIN;
use crate::ask::{
    CHAT, MINI, fails, has, problem, question, refused, says, scripted, trace_of, until_booked, with,
};
use crate::batches;
use crate::command::Cli;
use crate::gateway::{Founded, Gateway, OWN, OWN_SECOND, config, id_of, sums};
use crate::wait::{a_pause, found, until};

const PLANES: &str = "/v2/data-planes";
/// Nothing of this may cross.
const SECRET: &str = "egret-canary-8f2b61d04ce7";
const ANSWERED: &str = "stilt-canary-19ac73e5b802";
const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=xyz");

/// What lies between a data plane and its control plane.
#[derive(Clone)]
pub struct Wire {
    address: SocketAddr,
    leads_to: Arc<Mutex<SocketAddr>>,
    is_cut: Arc<AtomicBool>,
    crossed: Arc<Mutex<Vec<u8>>>,
    /// How long what crosses is on the way.
    delay: Arc<Mutex<Duration>>,
    /// What is answered in place of the control plane.
    answer: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Wire {
    pub async fn to(there: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Self {
            address: listener.local_addr().unwrap(),
            leads_to: Arc::new(Mutex::new(there)),
            is_cut: Arc::default(),
            crossed: Arc::default(),
            delay: Arc::default(),
            answer: Arc::default(),
        };
        let accepting = wire.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().carry(near));
            }
        });
        wire
    }

    async fn carry(self, mut near: TcpStream) {
        let there = *self.leads_to.lock().unwrap();
        if self.is_cut.load(Ordering::SeqCst) {
            return;
        }
        let answer = self.answer.lock().unwrap().clone();
        if let Some(answer) = answer {
            // The head of the request; its body may still be on the way, and the client may hang up in the middle.
            let mut head = vec![0; 64 * 1024];
            if near.read(&mut head).await.is_ok() && near.write_all(&answer).await.is_ok() {
                let _ = near.shutdown().await;
                while let Ok(1..) = near.read(&mut head).await {}
            }
            return;
        }
        let Ok(far) = TcpStream::connect(there).await else { return };
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        tokio::join!(self.pump(near_in, far_out), self.pump(far_in, near_out));
    }

    async fn pump(&self, mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf) {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            if self.is_cut.load(Ordering::SeqCst) {
                return;
            }
            self.crossed.lock().unwrap().extend_from_slice(&bytes[..count]);
            let delay = *self.delay.lock().unwrap();
            if !delay.is_zero() {
                a_pause(delay).await;
            }
            if to.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn lead_to(&self, gateway: &Gateway) {
        *self.leads_to.lock().unwrap() = gateway.address();
    }

    pub fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::SeqCst);
    }

    /// From the next connection on, answers in place of the control plane.
    pub fn answer(&self, answer: Option<Vec<u8>>) {
        *self.answer.lock().unwrap() = answer;
    }

    pub fn delay(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    pub fn crossed(&self) -> Vec<u8> {
        self.crossed.lock().unwrap().clone()
    }

    /// Whether a text crossed as it is.
    pub fn has(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.crossed.lock().unwrap()).contains(text)
    }
}

/// A data plane, with its directory.
pub struct Plane {
    pub id: String,
    pub wire: Wire,
    root: tempfile::TempDir,
    process: Process,
    origin: String,
    /// What it is started with, beside its directory.
    environment: Vec<(String, String)>,
}

pub fn invite(control: &Gateway, key: &str, name: &str) -> (String, String) {
    let cli = Cli::new().env("TIDEGATE_URL", &control.origin).env("TIDEGATE_API_KEY", key);
    let invited = cli.run(&["data-planes", "invite", name, "--json"]).json();
    let token = invited["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("tgp_") && token.len() > 60, "{invited}");
    (id_of(&invited), token)
}

/// A control plane that has a credential, its data plane, and the key of applications.
pub async fn joined(control: Gateway) -> (Gateway, Plane, String) {
    control.credential("openai", OWN).await;
    let plane = Plane::join(&control, &control.founded.admin_key, "fra-1").await;
    let key = control.founded.api_key.clone();
    (control, plane, key)
}

/// The control plane has booked all of these.
pub async fn settled(control: &Gateway, traces: &[String]) {
    for trace in traces {
        has(&control.settled(trace).await, json!({"profile": "byok"}));
    }
}

async fn start(data: &Path, joining: &[&str], environment: &[(String, String)]) -> (Process, String) {
    let data = data.display().to_string();
    let launch =
        Launch::new(tidegate().unwrap()).args(["gateway", "--listen", "127.0.0.1:0", "--data-dir", &data]);
    let launch = launch.env("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS", "1").env("TIDEGATE_WORKERS", "1");
    let launch = environment.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
    let mut process = launch.args(joining.iter().copied()).start().unwrap();
    let url = match process.wait_line("  API      ", WITHIN).await {
        Ok(url) => url,
        Err(error) => panic!("{error}: {}{}", process.stdout(), process.stderr()),
    };
    let origin = url.trim().strip_suffix("/v1").unwrap().to_owned();
    process.wait_ready(&origin, WITHIN).await.unwrap();
    (process, origin)
}

impl Plane {
    pub async fn join(control: &Gateway, key: &str, name: &str) -> Self {
        let wire = Wire::to(control.address()).await;
        let address = wire.url();
        Self::join_by((control, key, name), wire, &address, Vec::new()).await
    }

    /// Joins at another address than the wire's, with more environment.
    pub async fn join_by(
        (control, key, name): (&Gateway, &str, &str),
        wire: Wire,
        address: &str,
        environment: Vec<(String, String)>,
    ) -> Self {
        let (id, token) = invite(control, key, name);
        let root = tempfile::tempdir().unwrap();
        let joining = ["--control", address, "--token", &token];
        let (process, origin) = start(&root.path().join("plane"), &joining, &environment).await;
        Self { id, wire, root, process, origin, environment }
    }

    pub fn data(&self) -> PathBuf {
        self.root.path().join("plane")
    }

    /// Kills it without notice, and starts it on its directory alone.
    pub async fn crash(&mut self) {
        self.kill();
        self.start().await;
    }

    pub fn kill(&mut self) {
        self.process.kill9().unwrap();
    }

    pub async fn start(&mut self) {
        (self.process, self.origin) = start(&self.data(), &[], &self.environment).await;
    }

    /// Stops it, and starts it again with the token of another workspace.
    pub async fn add(&mut self, control: &Gateway, key: &str, name: &str) -> String {
        let (id, token) = invite(control, key, name);
        self.kill();
        let adding = ["--add-workspace", "--token", &token];
        (self.process, self.origin) = start(&self.data(), &adding, &self.environment).await;
        id
    }

    /// What it authenticates itself to its control plane with.
    pub fn credential(&self) -> String {
        let kept = std::fs::read(self.data().join("data-plane.json")).unwrap();
        serde_json::from_slice::<Value>(&kept).unwrap()["credential"].as_str().unwrap().to_owned()
    }

    /// Starts its control plane again, and leads to it.
    pub async fn regains(&self, control: &mut Gateway) {
        control.start_again().await;
        self.wire.lead_to(control);
    }

    /// A key that is made and removed is in force and no more, within seconds, and that is shown.
    pub async fn follows(&self, control: &Gateway) {
        let (key, id) = control.key(json!({"name": "later", "scopes": ["inference"]})).await;
        self.until_chat(&key, "a new key to be known", |answer| answer.status == 200).await;
        control.remove(&format!("/v2/api-keys/{id}")).await;
        self.until_chat(&key, "a removed key to be refused", |answer| answer.status == 401).await;
        self.until_current(control).await;
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// What it has logged since it was started.
    pub fn said(&self) -> String {
        self.process.stderr() + &self.process.stdout()
    }

    pub fn with_key(&self, key: &str) -> Client {
        Client::new(&self.origin).bearer(key).within(WITHIN)
    }

    pub async fn chat(&self, key: &str, body: &Value) -> Answer {
        self.with_key(key).post(CHAT, body).await.unwrap()
    }

    pub async fn served(&self, key: &str) -> String {
        trace_of(&self.chat(key, &question(MINI)).await.must_be(200))
    }

    /// Polls until a chat is answered in this way, and returns that answer.
    pub async fn until_chat(&self, key: &str, what: &str, holds: impl Fn(&Answer) -> bool) -> Answer {
        found(what, async || Some(self.chat(key, &question(MINI)).await).filter(&holds)).await
    }

    pub async fn until_current(&self, control: &Gateway) {
        until("the data plane to be current", async || self.view(control).await["is_current"] == true).await;
    }

    pub async fn view(&self, control: &Gateway) -> Value {
        control.get(&format!("{PLANES}/{}", self.id)).await
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the data plane said:\n{}{}", self.process.stdout(), self.process.stderr());
        }
    }
}

/// A control plane that is killed, a data plane that is killed meanwhile, and books that have everything once.
async fn serves_without_its_control_plane(control: Gateway) {
    let (mut control, mut plane, key) = joined(control).await;
    has(&plane.view(&control).await, json!({"status": "joined", "name": "fra-1"}));
    let mut traces = vec![plane.served(&key).await];
    control.settled(&traces[0]).await;

    control.process().kill9().unwrap();
    for _ in 0..3 {
        traces.push(plane.served(&key).await);
    }
    plane.crash().await;
    traces.push(plane.served(&key).await);
    // What clients know of their requests is known here, too.
    let own = plane.with_key(&control.founded.admin_key);
    until_booked(&own, &traces[4]).await;

    plane.regains(&mut control).await;
    settled(&control, &traces).await;
    // Delivered again after a crash on either side, they count as they did.
    plane.crash().await;
    control.crash().await;
    plane.wire.lead_to(&control);
    traces.push(plane.served(&key).await);
    control.settled(&traces[5]).await;
    let usage = sums(&control.get("/v2/usage").await);
    assert_eq!(usage["requests"], 6, "{usage}");
    assert_eq!(control.requests(50).await.len(), 6);
    assert_eq!(control.calls(OWN).len(), 6);

    plane.follows(&control).await;
    assert_eq!(control.emulator.violations(), []);
}

#[tokio::test]
async fn it_serves_while_its_control_plane_is_gone_and_is_booked_once() {
    serves_without_its_control_plane(Gateway::start().await).await;
}

#[cfg(feature = "control")]
#[tokio::test]
async fn so_it_does_for_a_control_plane_on_postgresql() {
    let server = Server::shared().await.unwrap();
    let url = server.database(&format!("planes_{}", std::process::id())).await.unwrap();
    serves_without_its_control_plane(Gateway::on_database(&url, &[]).await).await;
}

/// Plants content wherever a client can put some.
async fn plant(plane: &Plane, key: &str) {
    let client = || plane.with_key(key);
    let asked = json!({"model": MINI, "messages": [
        {"role": "system", "content": SECRET},
        {"role": "user", "content": format!("hello {SECRET}")},
        {"role": "assistant", "content": null, "tool_calls":
            [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": format!("{{\"q\":\"{SECRET}\"}}")}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": SECRET},
    ], "user": format!("emu:text={ANSWERED}")});
    let streamed = with(asked.clone(), json!({"stream": true}));
    let part =
        |head: &str, body: &str| format!("--xyz\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n");
    let form = part("name=\"purpose\"", "user_data")
        + &part("name=\"file\"; filename=\"f.txt\"", SECRET)
        + "--xyz--\r\n";
    let spoken = json!({"model": MINI, "input": SECRET, "instructions": SECRET, "stream": true});
    let embedded = json!({"model": "openai/text-embedding-3-small", "input": [SECRET, SECRET]});
    let mut answers = vec![
        client().post(CHAT, &asked).await.unwrap(),
        client().post(CHAT, &streamed).await.unwrap(),
        client().post("/v1/responses", &spoken).await.unwrap(),
        client().post("/v1/embeddings", &embedded).await.unwrap(),
        client().header("idempotency-key", SECRET).post(CHAT, &asked).await.unwrap(),
        client()
            .post("/v1/responses", &json!({"model": MINI, "input": SECRET, "store": true}))
            .await
            .unwrap(),
        client().post("/v2/responses", &json!({"model": MINI, "input": SECRET})).await.unwrap(),
        client().post("/v1/run", &json!({"app": MINI, "input": {"prompt": SECRET}})).await.unwrap(),
        client().call(Method::POST, "/v1/files", &[FORM], form).await.unwrap(),
    ];
    let session = client().post("/v2/sessions", &json!({"metadata": {"note": SECRET}})).await.unwrap();
    if let Some(branch) = session.json()["branch_id"].as_str() {
        let path = format!("/v2/sessions/{}/branches/{branch}/events", id_of(&session.json()));
        let event = json!({"events": [{"type": "message", "content": SECRET}]});
        answers.push(client().post(&path, &event).await.unwrap());
    }
    answers.push(session);
    for answer in &answers {
        assert!(answer.status < 300, "{} {}", answer.status, answer.text());
    }
    // A request that the provider refuses, with its own words about what it was sent.
    let refused = with(asked.clone(), json!({"user": format!("emu:status=400,message={SECRET}")}));
    assert_eq!(client().post(CHAT, &refused).await.unwrap().status, 400);
    // A batch, with its file and its results.
    let body = with(asked, json!({"model": MINI.trim_start_matches("openai/")}));
    let line = json!({"custom_id": SECRET, "method": "POST", "url": CHAT, "body": body});
    let batch = batches::made(&client(), &format!("{line}\n")).await;
    let batch = batches::ended(&client(), &batch).await;
    has(&batch, json!({"status": "completed"}));
    let results = format!("/v1/files/{}/content", batch["output_file_id"].as_str().unwrap());
    says(&client().get(&results).await.unwrap().text(), &[SECRET, ANSWERED]);
}

#[tokio::test]
async fn content_and_secrets_never_cross() {
    let models = config().model(Model::embedding("text-embedding-3-small"));
    let (control, plane, key) = joined(Gateway::with(models, &[]).await).await;
    let admin = control.founded.admin_key.clone();
    plant(&plane, &key).await;
    let named = json!({"name": "token", "value": SECRET, "hosts": ["api.example.com"]});
    plane.with_key(&admin).post("/v2/secrets", &named).await.unwrap().must_be(201);
    // Content that is kept here on purpose stays here.
    let kept = json!({"trace_mode": "encrypted_full_fidelity", "default_retention_days": 1});
    control.admin().put("/v2/retention-profile", &kept).await.unwrap().must_be(200);
    plane.until_current(&control).await;
    plant(&plane, &key).await;
    // A rotated secret crosses as well as a new one.
    let id = control.credential("together_ai", OWN_SECOND).await;
    let path = format!("/v2/provider-credentials/{id}/rotate");
    control.admin().post(&path, &json!({"secret": OWN_SECOND})).await.unwrap().must_be(200);
    plane.until_current(&control).await;
    control.settled(&plane.served(&key).await).await;
    until("evidence to arrive", async || {
        !control.get(&format!("{PLANES}/{}/evidence", plane.id)).await["data"].as_array().unwrap().is_empty()
    })
    .await;

    let crossed = plane.wire.crossed();
    // It was recorded: what must cross did, in both directions.
    for expected in ["POST /v2/data-planes/records", "\"document\"", "api_keys", "fra-1"] {
        assert!(plane.wire.has(expected), "{expected} is not in {} bytes", crossed.len());
    }
    assert!(!plane.wire.has("content-encoding"), "what is compressed could not be searched");
    let canary = Canary::new()
        .plant("a prompt, a tool's result, a file, an event, a secret, or an idempotency key", SECRET)
        .plant("an answer", ANSWERED)
        .plant("a provider's key", OWN)
        .plant("another provider's key", OWN_SECOND)
        .plant("an API key", key.trim_start_matches("tg_live_"))
        .plant("an admin key", admin.trim_start_matches("tg_live_"));
    assert_eq!(canary.scan("the wire", &crossed), []);
    // What crossed suffices: the same keys serve there.
    assert!(control.calls(OWN).len() >= 8);
}

/// Another workspace of the same control plane, with a credential.
pub async fn heronry(control: &Gateway) -> Founded {
    let made = control.make("/v2/workspaces", json!({"name": "heronry"})).await;
    let founded: Founded = serde_json::from_value(made).unwrap();
    let body = json!({"provider": "openai", "display_name": "bittern", "secret": OWN_SECOND, "base_url": control.emulator.base_url()});
    let admin = control.with_key(&founded.admin_key);
    admin.post("/v2/provider-credentials", &body).await.unwrap().must_be(201);
    founded
}

#[cfg(feature = "control")]
#[tokio::test]
async fn one_workspace_knows_nothing_of_another() {
    let (control, plane, key) = joined(Gateway::start().await).await;
    let other = heronry(&control).await;
    let (of_other, other_key) = (control.with_key(&other.admin_key), other.api_key);
    let others = Plane::join(&control, &other.admin_key, "fra-1").await;

    plane.served(&key).await;
    let trace = others.served(&other_key).await;
    refused(&plane.chat(&other_key, &question(MINI)).await, 401, "invalid_api_key");
    refused(&others.chat(&key, &question(MINI)).await, 401, "invalid_api_key");
    until_booked(&of_other, &trace).await;
    problem(&control.admin().get(&format!("/v2/requests/{trace}")).await.unwrap(), 404, "not_found");
    for strange in ["bittern", "heronry", &other.workspace_id] {
        assert!(!plane.wire.has(strange), "{strange}");
        assert!(others.wire.has(strange), "{strange}");
    }
    assert!(!others.wire.has(&control.founded.workspace_id));
    problem(&of_other.get(&format!("{PLANES}/{}", plane.id)).await.unwrap(), 404, "not_found");
    of_others_nothing_is_taken(&control, &plane, &of_other).await;
}

#[cfg(feature = "control")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_configuration_is_changed_at_its_control_plane_alone() {
    let (control, plane, _) = joined(Gateway::start().await).await;
    let project = control.founded.project_id.clone();
    let there = plane.with_key(&control.founded.admin_key);
    for (path, body) in [
        ("/v2/provider-credentials", json!({})),
        ("/v2/api-keys", json!({"name": "mine"})),
        ("/v2/routes", json!({})),
        ("/v2/budgets", json!({})),
        ("/v2/data-planes", json!({"name": "deeper"})),
    ] {
        let said = problem(&there.post(path, &body).await.unwrap(), 409, "managed_by_control");
        says(&said.to_string(), &[&plane.wire.url()]);
    }
    for path in ["/v2/provider-credentials", "/v2/api-keys", "/v2/routes", "/v2/projects"] {
        assert_eq!(there.get(path).await.unwrap().json()["data"], control.get(path).await["data"], "{path}");
    }
    there.post("/v2/plan", &json!({"model": MINI})).await.unwrap().must_be(200);
    there.post("/v2/sessions", &json!({})).await.unwrap().must_be(201);
    // Names that are exchanged, and a project that goes, arrive as they are.
    let second = id_of(&control.make("/v2/projects", json!({"name": "second"})).await);
    for (id, name) in [(&project, "away"), (&second, "default"), (&project, "second")] {
        control.patch(&format!("/v2/projects/{id}"), json!({"name": name})).await;
    }
    let names = |listed: Value| -> Vec<Value> {
        listed["data"].as_array().unwrap().iter().map(|row| row["name"].clone()).collect()
    };
    let wanted = names(control.get("/v2/projects").await);
    let names_there = async || names(there.get("/v2/projects").await.unwrap().json());
    until("the names to arrive", async || names_there().await == wanted).await;
    control.remove(&format!("/v2/projects/{second}")).await;
    until("the project to go", async || names_there().await.len() == 1).await;
    // A second process can't take the place of the first, nor can the directory join anybody else.
    let data = plane.data().display().to_string();
    let twice = ["gateway", "--data-dir", &data, "--control", "http://127.0.0.1:1", "--token", "x"];
    says(&Cli::new().run(&twice).failed(2), &["has joined"]);
    let fresh = tempfile::tempdir().unwrap().path().join("new").display().to_string();
    let unknown = ["gateway", "--data-dir", &fresh, "--control", &plane.wire.url(), "--token", "tgp_none.0"];
    says(&Cli::new().run(&unknown).failed(4), &["unknown"]);
    assert!(!Path::new(&fresh).join("tidegate.db").exists());
}

/// An answer of twenty tokens.
pub fn priced() -> Value {
    with(scripted(MINI, "chunks=20"), json!({"max_tokens": 50}))
}

/// A project with a budget for a month: a key of it, its id, and the budget's.
pub async fn limited(control: &Gateway, limit_micros: u64) -> (String, String, String) {
    let project = id_of(&control.make("/v2/projects", json!({"name": "limited"})).await);
    let key = json!({"name": "limited", "project_id": project, "scopes": ["inference"]});
    let budget = json!({"project_id": project, "limit_micros": limit_micros, "period": "month"});
    (control.key(key).await.0, project, id_of(&control.make("/v2/budgets", budget).await))
}

#[tokio::test]
async fn without_its_control_plane_it_spends_what_it_has_leased_and_no_more() {
    let mut control = Gateway::start().await;
    control.credential("openai", OWN).await;
    let (key, project, budget) = limited(&control, 20_000).await;
    let plane = Plane::join(&control, &control.founded.admin_key, "fra-1").await;
    let served = Cell::new(0_u64);
    let ask = async || {
        let answer = plane.chat(&key, &priced()).await;
        served.update(|count| count + u64::from(answer.status == 200));
        answer
    };
    until("the first lease", async || ask().await.status == 200).await;
    let held = async |control: &Gateway| control.get(&format!("/v2/budgets/{budget}")).await;

    control.process().kill9().unwrap();
    // What is leased is a hundredth of the budget, or what a request needs: it is soon used up.
    let is_refusal = |answer: &Answer| answer.status != 200;
    let refusal = found("the lease to be used up", async || Some(ask().await).filter(is_refusal)).await;
    refused(&refusal, 503, "budget_unavailable");
    assert!(served.get() * 14 < 20_000 / 4, "{served:?} requests on a lease");
    // Who has no budget is served on.
    plane.served(&control.founded.api_key).await;

    plane.regains(&mut control).await;
    until("leases to be given again", async || ask().await.status == 200).await;
    // The budget holds over both: to its end, and not beyond.
    let reached = loop {
        let answer = ask().await;
        assert!(served.get() * 10 < 40_000, "the budget does not end");
        if answer.status == 429 {
            break answer;
        }
    };
    fails(&reached, 429, "quota_exceeded");
    until("the budget's books", async || {
        let view = held(&control).await;
        let usage = sums(&control.get(&format!("/v2/usage?project_id={project}")).await);
        usage["requests"] == served.get() && view["spent_micros"] == usage["provider_cost_micros"]
    })
    .await;
    let view = held(&control).await;
    let spent = view["spent_micros"].as_u64().unwrap();
    assert!(spent <= 20_000 && spent > 18_000, "{view}");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn it_serves_for_the_life_of_its_configuration_and_then_no_more() {
    let control = Gateway::with(config(), &[("TIDEGATE_DATA_PLANE_LIFE_S", "3")]).await;
    let (control, mut plane, key) = joined(control).await;
    plane.served(&key).await;
    plane.wire.cut(true);
    plane.until_chat(&key, "its configuration to be over", |answer| answer.status == 503).await;
    refused(&plane.chat(&key, &question(MINI)).await, 503, "policy_expired");
    // A restart is no new life, and what is stored can be read.
    plane.crash().await;
    refused(&plane.chat(&key, &question(MINI)).await, 503, "policy_expired");
    let there = plane.with_key(&control.founded.admin_key);
    there.get("/v2/requests").await.unwrap().must_be(200);
    plane.wire.cut(false);
    plane.until_chat(&key, "the connection to be restored", |answer| answer.status == 200).await;
}

#[cfg(feature = "control")]
#[tokio::test]
async fn who_is_revoked_serves_nothing_and_forgets_its_credentials() {
    let (control, mut plane, key) = joined(Gateway::start().await).await;
    let (unused, token) = invite(&control, &control.founded.admin_key, "unused");
    plane.served(&key).await;
    control.cli().run(&["data-planes", "revoke", &plane.id, "--yes"]).ok();
    plane.until_chat(&key, "the revocation to arrive", |answer| answer.status == 503).await;
    refused(&plane.chat(&key, &question(MINI)).await, 503, "data_plane_revoked");
    let there = plane.with_key(&control.founded.admin_key);
    assert_eq!(there.get("/v2/provider-credentials").await.unwrap().json()["data"], json!([]));
    plane.crash().await;
    refused(&plane.chat(&key, &question(MINI)).await, 503, "data_plane_revoked");
    // Its credential is good for nothing but to be told so; others' are nobody's.
    let by_plane = control.with_key(&plane.credential());
    let batch = json!({"core": 0, "epoch": 1, "segment": 1, "offset": 1, "records": []});
    for (path, body) in
        [("records", batch), ("leases", json!("renew")), ("evidence", json!({"documents": []}))]
    {
        let path = format!("{PLANES}/{path}");
        problem(&by_plane.post(&path, &body).await.unwrap(), 401, "data_plane_revoked");
        problem(&control.admin().post(&path, &body).await.unwrap(), 401, "unknown_data_plane_credential");
    }
    assert_eq!(plane.view(&control).await["status"], "revoked");
    // The name is free for another, and a token is good once, while it is not withdrawn.
    let again = Plane::join(&control, &control.founded.admin_key, "fra-1").await;
    again.served(&key).await;
    let keys = json!({"token": token, "sealed_for": "00".repeat(32), "signing_key": "00".repeat(32)});
    control.admin().post(&format!("{PLANES}/{unused}/revoke"), &json!({})).await.unwrap().must_be(200);
    let anybody = Client::new(&control.origin).within(WITHIN);
    let join = async |body: Value| anybody.post("/v2/data-planes/join", &body).await.unwrap();
    problem(&join(keys.clone()).await, 409, "data_plane_token_used");
    problem(&join(with(keys, json!({"token": "tgp_none"}))).await, 401, "unknown_data_plane_token");
}

/// A data plane speaks for its own workspace alone.
async fn of_others_nothing_is_taken(control: &Gateway, plane: &Plane, of_other: &Client) {
    let budget = json!({"workspace": true, "limit_micros": 1_000_000, "period": "month"});
    let theirs = id_of(&of_other.post("/v2/budgets", &budget).await.unwrap().json());
    let there = control.with_key(&plane.credential());
    let asked = json!({"least": 1, "wanted": 1, "divisible": false});
    let call = json!({"budget_id": theirs, "period_unix_ms": 0, "sequence": 1, "ask": asked, "returns": 0});
    let record = json!({"request_id": "trc_00000000000000000000000000000000", "record": "AAAA"});
    let batch = json!({"core": 0, "epoch": 1, "segment": 1, "offset": 1, "records": [record]});
    let forged = json!({"object": "purge_receipt", "purge_job_id": "prg_1", "signature": "00"});
    for (path, body) in [
        ("leases", json!({"calls": [call]})),
        ("leases", json!({"exhausted": {"budget_id": theirs, "period_unix_ms": 0}})),
        ("records", batch),
        ("evidence", json!({"documents": [forged]})),
        ("configuration", json!({"after": null, "nonce": ""})),
    ] {
        problem(&there.post(&format!("{PLANES}/{path}"), &body).await.unwrap(), 400, "invalid_value");
    }
}

#[cfg(feature = "control")]
#[tokio::test]
async fn a_purge_there_is_proven_here() {
    let (control, plane, key) = joined(Gateway::start().await).await;
    let there = plane.with_key(&control.founded.admin_key);
    let asked = json!({"model": MINI, "input": SECRET});
    plane.with_key(&key).post("/v2/responses", &asked).await.unwrap().must_be(200);
    let job = there.post("/v2/purge-jobs", &json!({"workspace": true})).await.unwrap();
    assert!(job.status < 300, "{}", job.text());
    let job = id_of(&job.json());
    let evidence = format!("{PLANES}/{}/evidence", plane.id);
    let receipt = found("the receipt at the control plane", async || {
        let rows = control.get(&evidence).await["data"].as_array().unwrap().clone();
        rows.into_iter().find(|row| row["kind"] == "purge_receipt" && row["of"] == json!(job))
    })
    .await;
    let document = receipt["document"].as_object().unwrap();
    let fingerprint = plane.view(&control).await["signing_key_fingerprint"].clone();
    assert_eq!(document["fingerprint"], fingerprint);
    proof::document::verify(document, None).unwrap();
    // And the head of the audit that has it.
    until("the head of the audit", async || {
        let rows = control.get(&evidence).await["data"].as_array().unwrap().clone();
        rows.iter().any(|row| row["kind"] == "audit_head")
    })
    .await;
    let printed = control.cli().run(&["data-planes", "evidence", &plane.id]);
    assert!(printed.stdout.contains("purge_receipt"), "{printed:?}");
}
