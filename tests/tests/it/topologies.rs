//! Where a node's requests are answered: strictly local, or hybrid, with real backends, real causes to leave, and a gateway
//! that books each request once.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::client::{Answer, Client};
use harness::process::{Launch, Process, free_address, tidegate, workspace};
use harness::{Behaviour, Emulator, Entry, Outcome, sse};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{
    CHAT, MINI, client_of, fails, has, question, records, said, says, scripted, streaming, streaming_usage,
    text_of, with,
};
use crate::command::Cli;
use crate::gateway::{CUSTOM, Gateway, NODE, OWN, config};
use crate::local_bad_models::speechless;
use crate::wait::{found, until};

pub const MODE: &str = "x-hybrie-execution-mode";
const SELECTED_MODE: &str = "x-hybrie-selected-mode";
const BACKEND: &str = "x-hybrie-selected-backend";
const BECAUSE: &str = "x-hybrie-left-because";
const ADAPTER: &str = "x-hybrie-adapter-id";
/// A model that only backends have.
const LARGE: &str = "acme-large";
const CLAUDE: &str = "claude-haiku-4-5";
/// Settings of a backend that has another model, and one under another name.
const MAPPED: &str = "models = [\"acme-large\"]\nmodel_map = {\"echo\" = \"tide-1\"}";

/// A node with its files and its configuration.
pub struct Site {
    _root: tempfile::TempDir,
    pub process: Process,
    pub client: Client,
}

/// The files of a node that is not started yet.
pub struct Files(tempfile::TempDir);

impl Files {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With the key that an emulated provider takes.
    pub fn with_key() -> Self {
        let files = Self::new();
        files.write("key", OWN);
        files
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Starts a node that may send requests to the backends of a configuration, in which `DIR` is its directory.
    pub async fn start(self, config: &str, options: &[&str]) -> Site {
        self.start_at("127.0.0.1:0", config, options).await
    }

    pub async fn start_at(self, listen: &str, config: &str, options: &[&str]) -> Site {
        let config = self.write("node.toml", &config.replace("DIR", &self.0.path().display().to_string()));
        let data = self.path("node");
        let launch = Launch::new(tidegate().unwrap()).args(["node", "--listen", listen, "--data-dir", &data]);
        let launch = launch.args(["--config", &config, "--runtime-local-only-strict=false"]);
        let mut process = launch.args(options.iter().copied()).start().unwrap();
        let client = client_at(&mut process).await;
        Site { _root: self.0, process, client }
    }
}

/// A client of a node that says where it listens.
async fn client_at(process: &mut Process) -> Client {
    let rest = process.wait_text("http://", WITHIN).await.unwrap();
    client_of(&format!("http://{}", rest.split_whitespace().next().unwrap()))
}

impl Site {
    /// An echo node with one backend, an emulated provider.
    async fn echo(default_mode: &str, more: &str) -> (Emulator, Self) {
        let emulator = Emulator::start(config()).await.unwrap();
        let config = one_backend(&emulator, default_mode, more);
        let site = Files::with_key().start(&config, &["--model", "echo"]).await;
        (emulator, site)
    }

    pub async fn chat(&self, body: &Value) -> Answer {
        self.client.post(CHAT, body).await.unwrap()
    }

    pub fn says(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.process.output()).contains(text)
    }

    pub fn in_mode(&self, mode: &str) -> Client {
        self.client.clone().header(MODE, mode)
    }

    async fn metric(&self, name: &str) -> String {
        let page = self.client.get("/metrics").await.unwrap().text();
        let line =
            page.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {page}"));
        line.trim().to_owned()
    }
}

pub fn one_backend(emulator: &Emulator, default_mode: &str, more: &str) -> String {
    format!("[hybrid]\ndefault_mode = \"{default_mode}\"\n{}", backend("cloud", &emulator.base_url(), more))
}

/// A backend for which this node has a key.
pub fn backend(id: &str, base_url: &str, more: &str) -> String {
    format!("[[hybrid.backends]]\nid = \"{id}\"\nbase_url = \"{base_url}\"\nkey_file = \"DIR/key\"\n{more}\n")
}

/// The requests that a provider received, without lists of models.
pub fn calls(emulator: &Emulator) -> Vec<Entry> {
    emulator.journal().into_iter().filter(|entry| entry.method == "POST").collect()
}

fn header<'a>(entry: &'a Entry, name: &str) -> Option<&'a str> {
    entry.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The answer to a request that leaves for this backend, since the node lacks the model.
pub async fn leaves(client: &Client, path: &str, body: &Value, backend: &str) -> Answer {
    let answer = client.post(path, body).await.unwrap();
    selected(&answer, "hybrid", backend, Some("model_missing"));
    answer
}

/// Checks where an answer comes from: mode, backend, and why it left.
pub fn selected(answer: &Answer, mode: &str, backend: &str, because: Option<&str>) {
    let found = (answer.header(SELECTED_MODE), answer.header(BACKEND), answer.header(BECAUSE));
    assert_eq!(found, (Some(mode), Some(backend), because), "{} {}", answer.status, answer.text());
}

pub fn builtin() -> String {
    workspace().join("builtin/model").display().to_string()
}

fn deadline(milliseconds: u64) -> String {
    URL_SAFE_NO_PAD.encode(json!({"qos": {"deadline_ms": milliseconds}}).to_string())
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused_with_what_to_drop() {
    let files = Files::new();
    let hybrid = files.write("hybrid.toml", "[hybrid]\ncloud_endpoints = [\"http://127.0.0.1:9/v1\"]\n");
    let open = files.write("open.key", "sk-open");
    assert!(Command::new("chmod").args(["644", &open]).status().unwrap().success());
    let table = backend("b", "http://127.0.0.1:9/v1", "").replace("DIR/key", &open);
    let readable = files.write("readable.toml", &table);
    let gateway =
        files.write("gateway.toml", "[[hybrid.backends]]\nid = \"g\"\ngateway = true\nkey_env = \"KEY\"\n");
    for (config, allowed, words) in [
        (&hybrid, "local,moon", &["names moon", "Known are: local, 127.0.0.1:9."][..]),
        (&readable, "", &["chmod 600", "open.key"]),
        (&gateway, "", &["it has joined none", "tidegate node join"]),
        (&files.path("none.toml"), "", &["none.toml can't be read"]),
    ] {
        for strict in ["true", "false"] {
            let strict = format!("--runtime-local-only-strict={strict}");
            let cli = Cli::new().env("INFERENCE_ALLOWED_PROVIDERS", allowed).env("KEY", "sk-1");
            let arguments =
                ["node", "--model", "echo", "--listen", "127.0.0.1:0", "--config", config, &strict];
            let stderr = cli.run(&arguments).failed(2);
            says(&stderr, words);
            assert!(!stderr.contains("sk-"), "{stderr}");
        }
    }
    let alone = Cli::new().env("INFERENCE_ALLOWED_PROVIDERS", "openly");
    let stderr = alone.run(&["node", "--model", "echo", "--listen", "127.0.0.1:0"]).failed(2);
    says(&stderr, &["names openly", "Known are: local."]);
}

#[tokio::test]
async fn a_strict_node_says_so_and_sends_nothing_to_its_backends() {
    let emulator = Emulator::start(config()).await.unwrap();
    let files = Files::with_key();
    // The machine's own setting is as strict as the option, beside a file that has backends.
    for (strict, allowed) in [("true", None), ("false", Some(("INFERENCE_ALLOWED_PROVIDERS", "local")))] {
        keeps_to_itself(&emulator, &files, strict, allowed).await;
    }
}

async fn keeps_to_itself(emulator: &Emulator, files: &Files, strict: &str, allowed: Option<(&str, &str)>) {
    let strict = format!("--runtime-local-only-strict={strict}");
    let config = one_backend(emulator, "hybrid", "").replace("DIR", &files.path(""));
    let config = files.write("node.toml", &config);
    let launch = Launch::new(tidegate().unwrap());
    let launch = allowed.into_iter().fold(launch, |launch, (name, value)| launch.env(name, value));
    let launch = launch.args(["node", "--listen", "127.0.0.1:0", "--config", &config]);
    let mut process = launch.args(["--model", "echo", &strict]).start().unwrap();
    let client = client_at(&mut process).await;
    process.wait_text("1 backends of --config are not used", WITHIN).await.unwrap();
    for path in ["/v1/health", "/v1/capabilities"] {
        let view = client.get(path).await.unwrap().json();
        has(
            &view,
            json!({"runtime_local_only_strict": true, "execution_modes": ["local"], "cloud_backends": []}),
        );
    }
    for mode in ["cloud", "hybrid"] {
        let refused = client.clone().header(MODE, mode).post(CHAT, &question("echo")).await.unwrap();
        fails(&refused, 403, "local_only");
        fails(&client.post(CHAT, &question(&format!("{mode}/echo"))).await.unwrap(), 403, "local_only");
    }
    // Nothing leaves because a model is missing, either.
    fails(&client.post(CHAT, &question(LARGE)).await.unwrap(), 404, "model_not_found");
    selected(&client.post(CHAT, &question("local/echo")).await.unwrap(), "local", "local", None);
    assert!(calls(emulator).is_empty());
}

/// Runs a node and requests to it in a network of its own, and returns the addresses that the node contacted outside
/// the machine, and what the requests were answered with.
fn contacts(environment: &[(&str, &str)], options: &str) -> (Vec<String>, String) {
    let files = Files::new();
    let (trace, data) = (files.path("trace"), files.path("node"));
    let program = tidegate().unwrap().display().to_string();
    let curl =
        "curl -s --max-time 20 -H 'Content-Type: application/json' http://127.0.0.1:8080/v1/chat/completions";
    let ask = |model: &str, mode: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
        format!("{curl} -H '{MODE}: {mode}' -d '{body}'; echo\n")
    };
    let asked = [("echo", "local"), ("echo", "cloud"), ("cloud/echo", "local"), ("hybrid/none", "hybrid")]
        .map(|(model, mode)| ask(model, mode))
        .concat();
    let script = format!(
        "ip link set lo up\n\
         strace -f -e trace=network -o '{trace}' '{program}' node --model echo --listen 127.0.0.1:8080 --data-dir '{data}' {options} &\n\
         curl -s -o /dev/null --retry 200 --retry-delay 1 --retry-max-time 60 --retry-all-errors http://127.0.0.1:8080/v1/health\n\
         {asked}curl -s http://127.0.0.1:8080/v1/models; echo\n\
         kill $(cat /proc/$!/task/$!/children)\nwait\n"
    );
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", &script]).envs(environment.iter().copied());
    let output = command.output().unwrap();
    let trace = std::fs::read_to_string(&trace).unwrap_or_else(|_| panic!("no trace: {output:?}"));
    assert!(trace.contains("listen("), "the node was not traced: {trace}");
    let outside =
        trace.lines().filter_map(contacted).filter(|address| !is_of_this_machine(address)).collect();
    (outside, String::from_utf8(output.stdout).unwrap())
}

/// The address of a call that opens a connection or sends a datagram.
fn contacted(line: &str) -> Option<String> {
    ["connect(", "sendto(", "sendmsg(", "sendmmsg("].iter().find(|call| line.contains(**call))?;
    let (_, family) = line.split_once("sa_family=")?;
    let family = family.split([',', '}']).next()?;
    let address = ["inet_addr(\"", "inet_pton(AF_INET6, \""].iter().find_map(|open| line.split_once(open));
    Some(address.map_or(family, |(_, rest)| rest.split('"').next().unwrap_or(rest)).to_owned())
}

fn is_of_this_machine(address: &str) -> bool {
    address.starts_with("127.") || ["::1", "AF_UNIX", "AF_NETLINK", "AF_UNSPEC"].contains(&address)
}

#[test]
fn no_call_of_a_local_node_leaves_the_machine_and_one_of_a_hybrid_node_would_be_seen() {
    let (outside, answers) = contacts(&[("INFERENCE_ALLOWED_PROVIDERS", "local")], "");
    assert_eq!(outside, Vec::<String>::new(), "{answers}");
    let answers: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = answers[0]["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(said.ends_with("hello"), "{answers:?}");
    assert!(answers[2]["choices"].is_array(), "{answers:?}");
    for kept in [&answers[1], &answers[3]] {
        has(&kept["error"], json!({"code": "local_only"}));
    }
    has(&answers[4]["data"][0], json!({"execution_modes": ["local"]}));

    let files = Files::new();
    let config = files.write("node.toml", "[hybrid]\ncloud_endpoints = [\"http://10.77.1.2:9/v1\"]\n");
    let (outside, answers) = contacts(&[], &format!("--config '{config}' --runtime-local-only-strict=false"));
    assert!(outside.iter().any(|address| address == "10.77.1.2"), "{outside:?} {answers}");
    assert!(answers.contains("backends_failed"), "{answers}");
}

async fn says_who_may_answer(site: &Site) {
    says(&site.process.stderr(), &["may leave this machine for: cloud"]);
    let modes = json!(["local", "cloud", "hybrid"]);
    for path in ["/v1/health", "/v1/capabilities"] {
        let view = site.client.get(path).await.unwrap().json();
        has(&view, json!({"runtime_local_only_strict": false}));
        has(&view, json!({"execution_modes": modes, "cloud_backends": ["cloud"]}));
    }
    assert_eq!(site.client.get("/v1/capabilities").await.unwrap().json()["topology"], "hybrid");
    let models = site.client.get("/v1/models").await.unwrap().json();
    assert_eq!(models["data"].as_array().unwrap().len(), 1, "what backends have is not listed: {models}");
    has(&models["data"][0], json!({"execution_modes": modes, "cloud_backends": ["cloud"]}));
}

#[tokio::test]
async fn the_mode_is_of_the_header_then_of_the_prefix_then_the_default() {
    let (emulator, site) = Site::echo("local", MAPPED).await;
    says_who_may_answer(&site).await;
    selected(&site.chat(&question("echo")).await, "local", "local", None);
    let here = site.chat(&question("hybrid/echo")).await;
    selected(&here, "hybrid", "local", None);
    says(&said(&here), &["isn't a model"]);
    let here = site.in_mode("local").post(CHAT, &question("cloud/echo")).await.unwrap();
    selected(&here, "local", "local", None);
    assert!(calls(&emulator).is_empty());
    // The model's name there replaces the one here.
    for (client, model) in [(site.client.clone(), "cloud/echo"), (site.in_mode("cloud"), "local/echo")] {
        let there = client.bearer("sk-of-the-client").post(CHAT, &question(model)).await.unwrap();
        selected(&there, "cloud", "cloud", None);
        assert!(!said(&there).contains("isn't a model"), "{}", there.text());
        assert_eq!(there.header(ADAPTER), Some("none"));
    }
    let sent = calls(&emulator);
    assert_eq!(sent.len(), 2);
    for entry in &sent {
        assert_eq!((entry.model.as_deref(), entry.key.as_deref()), (Some("tide-1"), Some(OWN)), "{entry:?}");
        assert!(header(entry, "x-hybrie-hops").is_some_and(|hops| hops.len() == 20), "{entry:?}");
        assert_eq!(header(entry, "x-hybrie-execution-mode"), Some("local"), "{entry:?}");
        assert!(!String::from_utf8_lossy(&entry.body).contains("local/"), "{entry:?}");
    }
    let unknown = site.in_mode("cloud").post(CHAT, &question("unheard-of")).await.unwrap();
    fails(&unknown, 404, "model_not_found");
    says(&unknown.text(), &["No backend of this node serves the model"]);
}

#[tokio::test]
async fn a_missing_model_leaves_in_every_dialect_and_its_usage_is_recorded_as_the_backends() {
    let emulator = Emulator::start(config()).await.unwrap();
    let second = (format!("{}/v1", emulator.anthropic_url()), format!("models = [\"{CLAUDE}\"]"));
    let models = "models = [\"acme-large\", \"gpt-4o-mini\", \"text-embedding-3-small\"]";
    let config = one_backend(&emulator, "hybrid", models) + &backend("second", &second.0, &second.1);
    let site = Files::with_key().start(&config, &["--model", "echo"]).await;
    let text = said(&leaves(&site.client, CHAT, &question(LARGE), "cloud").await);
    let streamed = leaves(&site.client, CHAT, &streaming(LARGE), "cloud").await;
    let events = sse::events(&streamed.body);
    assert_eq!((text_of(&events), events.last().map(String::as_str)), (text, Some("[DONE]")));
    assert!(!streamed.text().contains("\"usage\":{"), "the client requested none: {}", streamed.text());
    says(&site.chat(&streaming_usage(LARGE)).await.text(), &["\"usage\":{"]);
    let messages = json!({"model": CLAUDE, "max_tokens": 20, "messages": question(LARGE)["messages"]});
    let versioned = site.client.clone().header("anthropic-version", "2023-06-01");
    for body in [&messages, &with(messages.clone(), json!({"stream": true}))] {
        let text = leaves(&versioned, "/v1/messages", body, "second").await.text();
        assert!(text.contains("\"end_turn\"") || text.contains("\"max_tokens\""), "{text}");
    }
    let responses = json!({"model": "gpt-4o-mini", "store": false, "input": "hello there"});
    for body in [&responses, &with(responses.clone(), json!({"stream": true}))] {
        says(&leaves(&site.client, "/v1/responses", body, "cloud").await.text(), &["\"completed\""]);
    }
    let vectors = json!({"model": "text-embedding-3-small", "input": ["tide", "moon"]});
    let answer = leaves(&site.client, "/v1/embeddings", &vectors, "cloud").await;
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 2, "{}", answer.text());

    let (kept, sent) = (records(&site.client, 8).await, calls(&emulator));
    assert_eq!((kept.len(), sent.len()), (8, 8), "{kept:?}");
    for (record, entry) in kept.iter().zip(&sent) {
        let backend = if entry.path.contains("messages") { "second" } else { "cloud" };
        let left_to = json!({"backend": backend, "because": "model_missing"});
        has(record, json!({"left_to": left_to, "end": "whole", "is_measured": true}));
        has(record, json!({"output_tokens": entry.said_tokens, "input_tokens": entry.prompt_tokens}));
    }
    // None of it are this node's tokens.
    assert_eq!(site.metric("tidegate_node_tokens_total{kind=\"answer\"}").await, "0");
    assert_eq!(site.metric("tidegate_node_requests_left_total{because=\"model_missing\"}").await, "8");
    assert_eq!(site.metric("tidegate_node_requests_open").await, "0");
}

#[tokio::test]
async fn what_came_through_a_gateway_or_names_local_is_kept() {
    let (emulator, site) = Site::echo("hybrid", "adapters = [\"law\"]").await;
    let through = site.client.clone().header("x-request-id", "trc_01a21cbc583a73918898c459e5536add");
    for (client, model) in
        [(&through, LARGE), (&site.in_mode("local"), LARGE), (&site.client, "local/acme-large")]
    {
        fails(&client.post(CHAT, &question(model)).await.unwrap(), 404, "model_not_found");
    }
    let refused = through.post(CHAT, &question("cloud/acme-large")).await.unwrap();
    fails(&refused, 403, "local_only");
    says(&refused.text(), &["came through a gateway"]);
    // An adapter stays here, too, unless the backend has it.
    let tides = site.client.clone().header(ADAPTER, "tides");
    fails(&tides.post(CHAT, &question(LARGE)).await.unwrap(), 404, "model_not_found");
    let refused = tides.header(MODE, "cloud").post(CHAT, &question(LARGE)).await.unwrap();
    fails(&refused, 400, "adapter_is_local");
    let timeline = json!({"metadata": {"hybrie": {"adapter_timeline": [{"start_step": 0, "adapter_id": "law"}, {"start_step": 9, "adapter_id": "none"}]}}});
    let refused = site.in_mode("cloud").post(CHAT, &with(question(LARGE), timeline)).await.unwrap();
    fails(&refused, 400, "adapter_is_local");
    assert!(calls(&emulator).is_empty());
    let law = leaves(&site.client.clone().header(ADAPTER, "law"), CHAT, &question(LARGE), "cloud").await;
    assert_eq!(law.header(ADAPTER), Some("law"));
    assert_eq!(header(&calls(&emulator)[0], ADAPTER), Some("law"));
}

#[tokio::test]
async fn a_long_prompt_and_a_failing_runtime_leave_and_a_wrong_request_does_not() {
    let emulator = Emulator::start(config()).await.unwrap();
    let model = speechless();
    let model = model.path().display().to_string();
    let config = one_backend(&emulator, "hybrid", "model_map = {\"nan\" = \"tide-1\"}");
    let options = ["--model", &model, "--name", "nan", "--kv-memory", "8"];
    let site = Files::with_key().start(&config, &options).await;
    // The weights produce no numbers: it fails at its first token, in a stream, too.
    for body in [question("nan"), streaming("nan")] {
        selected(&site.chat(&body).await.must_be(200), "hybrid", "cloud", Some("node_failed"));
    }
    let long = json!({"messages": [{"role": "user", "content": "tide ".repeat(200)}]});
    let answer = site.chat(&with(question("nan"), long)).await;
    selected(&answer, "hybrid", "cloud", Some("context_too_long"));
    let sent = calls(&emulator).len();
    fails(&site.in_mode("local").post(CHAT, &question("nan")).await.unwrap(), 502, "engine_failed");
    for wrong in [
        json!({"temperature": 9}),
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"not": {}}}}}),
    ] {
        let refused = site.chat(&with(question("nan"), wrong)).await;
        assert_eq!((refused.status, refused.header(BACKEND)), (400, None), "{}", refused.text());
    }
    assert_eq!(calls(&emulator).len(), sent);
    let kept = records(&site.client, 4).await;
    let ends: Vec<_> = kept.iter().map(|record| (&record["end"], &record["left_to"]["because"])).collect();
    let left = [["whole", "node_failed"], ["whole", "node_failed"], ["whole", "context_too_long"]];
    assert_eq!((json!(ends[..3]), json!(ends[3])), (json!(left), json!(["failed", null])), "{kept:?}");
}

/// Fills the sequences that may run at once with answers that do not end.
async fn saturate(site: &Site, model: &str) -> Vec<harness::client::Streaming> {
    let endless = with(streaming(model), json!({"n": 8, "ignore_eos": true}));
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = site.in_mode("local").stream(CHAT, &endless).await.unwrap();
        assert!(stream.event().await.unwrap().is_some());
        streams.push(stream);
    }
    streams
}

/// A node with a model of this name, that lets its requests leave once they have waited for a tenth of a second.
pub async fn impatient(
    emulator: &Emulator,
    (name, model, kv_mib): (&str, &str, &str),
    name_there: &str,
) -> Site {
    let config = one_backend(emulator, "hybrid", &format!("model_map = {{\"{name}\" = \"{name_there}\"}}"))
        .replace("[[hybrid", "queue_wait_ms = 100\n[[hybrid");
    Files::with_key().start(&config, &["--model", model, "--name", name, "--kv-memory", kv_mib]).await
}

#[tokio::test]
async fn a_full_queue_and_a_deadline_leave_and_without_a_backend_they_are_served_here() {
    let emulator = Emulator::start(config()).await.unwrap();
    let site = impatient(&emulator, ("demo", &builtin(), "256"), "tide-1").await;
    // Before anything was measured, a deadline is no reason.
    let asked = json!([{"role": "user", "content": "What is Tidegate?"}]);
    let short = with(question("demo"), json!({"temperature": 0, "messages": asked}));
    let hurried = site.client.clone().header("agent-hints", deadline(1));
    selected(&hurried.post(CHAT, &short).await.unwrap(), "hybrid", "local", None);
    selected(&hurried.post(CHAT, &short).await.unwrap(), "hybrid", "cloud", Some("deadline"));
    let relaxed = site.client.clone().header("agent-hints", deadline(600_000));
    selected(&relaxed.post(CHAT, &short).await.unwrap(), "hybrid", "local", None);

    let streams = saturate(&site, "demo").await;
    selected(&site.chat(&short).await, "hybrid", "cloud", Some("queue_wait"));
    assert_eq!(calls(&emulator).len(), 2);
    // Nobody else answers: it keeps its place in the queue, and is answered when there is room.
    emulator.refuse().await;
    let waiting = tokio::spawn({
        let (client, short) = (site.client.clone(), short.clone());
        async move { client.post(CHAT, &short).await }
    });
    until("a try at the backend", async || site.says("a backend did not answer")).await;
    drop(streams);
    selected(&waiting.await.unwrap().unwrap().must_be(200), "hybrid", "local", None);
    let is_last = |record: &Value| record["end"] == "whole" && record["sequence"] == 13;
    let kept = found("the last record", async || {
        Some(records(&site.client, 13).await).filter(|kept| kept.iter().any(is_last))
    })
    .await;
    assert!(kept.iter().all(|record| record["model"] == "demo"), "{kept:?}");
    let left: Vec<_> = kept.iter().filter_map(|record| record["left_to"]["because"].as_str()).collect();
    assert_eq!(left, ["deadline", "queue_wait"], "what stayed is not marked: {kept:?}");
}

#[tokio::test]
async fn two_nodes_that_point_at_each_other_refuse_the_loop_in_the_clients_dialect() {
    let (first, second) = (free_address().unwrap(), free_address().unwrap());
    let start = async |here: SocketAddr, to: SocketAddr| {
        let hybrid = format!("[hybrid]\ndefault_mode = \"hybrid\"\ncloud_endpoints = [\"http://{to}\"]\n");
        Files::new().start_at(&here.to_string(), &hybrid, &["--model", "echo"]).await
    };
    let (one, other) = (start(first, second).await, start(second, first).await);
    fails(&one.chat(&question(LARGE)).await, 508, "loop_detected");
    let messages = json!({"model": LARGE, "max_tokens": 9, "messages": question(LARGE)["messages"]});
    let refused = other.client.post("/v1/messages", &messages).await.unwrap();
    assert_eq!((refused.status, &refused.json()["type"]), (508, &json!("error")), "{}", refused.text());
    // Each node tried once: the first leaves, the second leaves, and the first finds its id.
    for site in [&one, &other] {
        let kept = records(&site.client, 2).await;
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert!(kept.iter().all(|record| record["end"] == "failed"), "{kept:?}");
    }
    let after = |hops: &str| one.client.clone().header("x-hybrie-hops", hops);
    fails(&after("a, b, c, d").post(CHAT, &question("echo")).await.unwrap(), 508, "loop_detected");
    // A chain that ends is none.
    selected(&after("a, b").post(CHAT, &question("echo")).await.unwrap(), "hybrid", "local", None);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_request_at_the_backend() {
    let (emulator, site) = Site::echo("hybrid", "").await;
    let stalled = with(scripted(LARGE, "chunks=9,stall=4"), json!({"stream": true}));
    let mut stream = site.client.stream(CHAT, &stalled).await.unwrap();
    assert_eq!(stream.header(BACKEND), Some("cloud"));
    // It is relayed as it comes: these are there while the rest is not.
    for _ in 0..3 {
        assert!(stream.event().await.unwrap().is_some());
    }
    assert_eq!(calls(&emulator)[0].outcome, Outcome::InProgress);
    stream.hang_up();
    until("the cancellation", async || calls(&emulator)[0].outcome == Outcome::Cancelled).await;
    // While the backend is silent before its head, too.
    emulator.script(OWN, [Behaviour::held()]);
    let silent = tokio::spawn({
        let client = site.client.clone();
        async move { client.post(CHAT, &streaming(LARGE)).await }
    });
    until("the second request", async || calls(&emulator).len() == 2).await;
    silent.abort();
    until("its cancellation", async || calls(&emulator)[1].outcome == Outcome::Cancelled).await;
    for record in records(&site.client, 2).await {
        has(&record, json!({"end": "left"}));
        has(&record["left_to"], json!({"backend": "cloud"}));
    }
    // Of a backend that does not say why it refuses, that is said.
    emulator.script(OWN, [Behaviour::parse("status=422,body=empty").unwrap()]);
    let refused = site.in_mode("cloud").post(CHAT, &question(LARGE)).await.unwrap();
    fails(&refused, 422, "backend_refused");
    says(&refused.text(), &["The backend cloud refuses the request: It does not say why."]);
}

#[tokio::test]
async fn a_backend_that_is_down_is_passed_over_and_the_error_of_all_names_each() {
    let emulator = Emulator::start(config()).await.unwrap();
    let files = Files::with_key();
    files.write("wrong", "sk-nobody");
    let there = emulator.base_url();
    let tables = [
        "[hybrid]\ndefault_mode = \"hybrid\"\n".to_owned(),
        format!("[[hybrid.backends]]\nid = \"down\"\nbase_url = \"http://{}\"\n", free_address().unwrap()),
        backend("locked", &there, "").replace("DIR/key", "DIR/wrong"),
        backend("up", &there, "models = [\"acme-large\"]"),
    ];
    let site = files.start(&tables.concat(), &["--model", "echo"]).await;
    leaves(&site.client, CHAT, &question(LARGE), "up").await;
    // Of a model that the last does not take, both sides' reasons are named.
    let failed = site.chat(&question("tide-1")).await;
    fails(&failed, 502, "backends_failed");
    let error = failed.json()["error"].clone();
    let message = error["message"].as_str().unwrap();
    says(message, &["This node: It has no model \"tide-1\"", "The backend down:"]);
    says(message, &["The backend locked: it answered 401"]);
    assert!(!message.contains("sk-nobody"), "{message}");
    let messages = json!({"model": "tide-1", "max_tokens": 9, "messages": question("x")["messages"]});
    let failed = site.in_mode("cloud").post("/v1/messages", &messages).await.unwrap();
    assert_eq!((failed.status, &failed.json()["type"]), (502, &json!("error")), "{}", failed.text());
    assert!(!failed.text().contains("This node:"), "it was not to be served here: {}", failed.text());
    // What is wrong with the request is wrong everywhere.
    let wrong = with(question(LARGE), json!({"temperature": 9}));
    let wrong = leaves(&site.client, CHAT, &wrong, "up").await;
    fails(&wrong, 400, "decimal_above_maximum_value");
    has(&wrong.json()["error"], json!({"param": "temperature"}));
    let kept = records(&site.client, 4).await;
    assert!(kept.iter().map(|record| &record["end"]).eq(["whole", "failed", "failed", "failed"]), "{kept:?}");
}

#[tokio::test]
async fn a_stream_that_breaks_before_its_first_byte_is_tried_elsewhere_and_later_is_an_error() {
    let emulator = Emulator::start(config()).await.unwrap();
    let files = Files::with_key();
    files.write("second", NODE);
    let second = backend("second", &emulator.base_url(), "").replace("DIR/key", "DIR/second");
    let site = files.start(&(one_backend(&emulator, "hybrid", "") + &second), &["--model", "echo"]).await;
    emulator.script(OWN, [Behaviour::parse("cut=0").unwrap()]);
    leaves(&site.client, CHAT, &streaming(LARGE), "second").await;
    emulator.script(OWN, [Behaviour::parse("chunks=6,cut=3").unwrap()]);
    let mut broken = site.client.stream(CHAT, &streaming(LARGE)).await.unwrap();
    assert_eq!(broken.header(BACKEND), Some("cloud"));
    let (events, end) = broken.events().await;
    assert!(end.is_err(), "it must not look complete: {events:?}");
    says(events.last().unwrap(), &["backends_failed", "The backend cloud broke off"]);
    assert_eq!(calls(&emulator).len(), 3, "nothing is repeated after the first byte");
    let kept = records(&site.client, 2).await;
    let ends: Vec<_> = kept.iter().map(|record| (&record["end"], &record["left_to"]["backend"])).collect();
    assert_eq!(ends, [(&json!("whole"), &json!("second")), (&json!("failed"), &json!("cloud"))], "{kept:?}");
}

/// A node that has joined a gateway, and may send requests to it and to another backend.
async fn joined(gateway: &Gateway) -> (Site, String) {
    let files = Files::new();
    let (data, address) = (files.path("node"), free_address().unwrap());
    let join = ["node", "join", "--control", &gateway.origin, "--token", &gateway.invite("attic")];
    let place = ["--data-dir", &data, "--address", &format!("http://{address}")];
    let id = Cli::new().run(&[&join[..], &place].concat()).ok().trim().to_owned();
    files.write("home.key", &gateway.founded.api_key);
    files.write("key", CUSTOM);
    let home = "[[hybrid.backends]]\nid = \"home\"\ngateway = true\nkey_file = \"DIR/home.key\"\n";
    let other = backend("other", &gateway.emulator.base_url(), "models = [\"acme-large\"]");
    let config = format!("{home}models = [\"{MINI}\"]\n{other}");
    (files.start_at(&address.to_string(), &config, &["--model", "echo"]).await, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_through_the_gateway_is_booked_there_and_what_leaves_elsewhere_is_only_listed() {
    let gateway = Gateway::with(config(), &[("TIDEGATE_NODE_HEARTBEAT_MS", "300")]).await;
    gateway.credential("openai", OWN).await;
    let (site, id) = joined(&gateway).await;
    let trace = leaves_at_night(&site, "home").await;
    selected(&site.in_mode("cloud").post(CHAT, &question(LARGE)).await.unwrap(), "cloud", "other", None);
    selected(&site.chat(&question("echo")).await, "local", "local", None);
    let own = records(&site.client, 3).await;
    let left_to = json!({"backend": "home", "because": "model_missing", "profile": "byok"});
    has(&own[0], json!({"left_to": left_to, "request": trace}));
    has(&own[1], json!({"left_to": {"backend": "other", "because": null}}));
    assert_eq!(own[2].get("left_to"), None, "{own:?}");

    let reported = found("three reports", async || {
        let page = gateway.get(&format!("/v2/byoc/nodes/{id}/usage")).await;
        Some(page["data"].as_array().unwrap().clone()).filter(|rows| rows.len() == 3)
    })
    .await;
    has(&reported[0], json!({"left_to": "home", "left_because": "model_missing", "request_id": trace}));
    has(&reported[1], json!({"left_to": "other", "left_because": null, "request_id": null}));
    has(&reported[2], json!({"left_to": null, "left_because": null, "request_id": null}));
    // The gateway counts its own request and what the node itself answered: none twice, and the other not at all.
    gateway.listed(2).await;
    let requests = gateway.requests(10).await;
    let of = |profile: &str| -> Vec<&Value> {
        requests.iter().filter(|request| request["profile"] == profile).collect()
    };
    assert_eq!((of("byok").len(), of("byoc").len()), (1, 1), "{requests:?}");
    has(of("byok")[0], json!({"id": trace, "tag": "night"}));
}

/// Sends a request with a tag that leaves for a gateway, and returns its id there.
async fn leaves_at_night(site: &Site, backend: &str) -> String {
    let asked = site.in_mode("hybrid").header("agent-hints", URL_SAFE_NO_PAD.encode(r#"{"tag":"night"}"#));
    let through = leaves(&asked, CHAT, &question(MINI), backend).await;
    assert_eq!(through.header("agent-execution-profile"), Some("byok"), "{}", through.text());
    through.header("agent-trace-id").unwrap().to_owned()
}

/// A node may have a gateway as its backend that it has not joined: no report links the two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_was_not_joined_gets_its_headers_and_books_the_request_alone() {
    let gateway = Gateway::with(config(), &[]).await;
    gateway.credential("openai", OWN).await;
    let files = Files::new();
    files.write("head.key", &gateway.founded.api_key);
    let config = backend("head", &gateway.origin, &format!("gateway = true\nmodels = [\"{MINI}\"]"));
    let site = files.start(&config.replace("DIR/key", "DIR/head.key"), &["--model", "echo"]).await;
    let trace = leaves_at_night(&site, "head").await;
    // Its requests are known nowhere that this node reports to.
    let left_to = json!({"backend": "head", "because": "model_missing", "profile": "byok"});
    has(&records(&site.client, 1).await[0], json!({"left_to": left_to, "request": null}));
    has(&gateway.settled(&trace).await, json!({"mode": "byok", "tag": "night"}));
}
