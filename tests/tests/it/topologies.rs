//! Where a node's requests are answered: strictly local, or hybrid, with real backends, real causes to leave, and a gateway
//! that books each request once.

use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::client::{Answer, Client};
use harness::process::{Launch, Process, free_address, tidegate, workspace};
use harness::{Behaviour, Emulator, Entry, Outcome, sse};
use serde_json::{Value, json};
use weights::synthetic::SyntheticModel;

use crate::WITHIN;
use crate::ask::{CHAT, MINI, question, records, said, scripted, streaming, streaming_usage, text_of, with};
use crate::command::Cli;
use crate::gateway::{CUSTOM, Gateway, NODE, OWN, config};
use crate::wait::{found, until};

pub const MODE: &str = "x-hybrie-execution-mode";
const SELECTED_MODE: &str = "x-hybrie-selected-mode";
const BACKEND: &str = "x-hybrie-selected-backend";
const BECAUSE: &str = "x-hybrie-left-because";
const ADAPTER: &str = "x-hybrie-adapter-id";
/// A model that only backends have.
const LARGE: &str = "acme-large";
const CLAUDE: &str = "claude-haiku-4-5";

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

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.create(true).truncate(true).write(true).mode(0o600).open(self.path(name)).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        self.path(name)
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
        let rest = process.wait_text("http://", WITHIN).await.unwrap();
        let origin = format!("http://{}", rest.split_whitespace().next().unwrap());
        Site { _root: self.0, process, client: Client::new(origin).within(WITHIN) }
    }
}

impl Site {
    /// An echo node with one backend, an emulated provider.
    async fn echo(emulator: &Emulator, default_mode: &str, more: &str) -> Self {
        let files = Files::new();
        files.write("key", OWN);
        files.start(&one_backend(emulator, default_mode, more), &["--model", "echo"]).await
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
    format!(
        "[hybrid]\ndefault_mode = \"{default_mode}\"\n[[hybrid.backends]]\nid = \"cloud\"\nbase_url = \"{}\"\n\
         key_file = \"DIR/key\"\n{more}",
        emulator.base_url()
    )
}

/// The requests that a provider received, without lists of models.
pub fn calls(emulator: &Emulator) -> Vec<Entry> {
    emulator.journal().into_iter().filter(|entry| entry.method == "POST").collect()
}

fn header<'a>(entry: &'a Entry, name: &str) -> Option<&'a str> {
    entry.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Checks where an answer comes from: mode, backend, and why it left.
pub fn selected(answer: &Answer, mode: &str, backend: &str, because: Option<&str>) {
    let found = (answer.header(SELECTED_MODE), answer.header(BACKEND), answer.header(BECAUSE));
    assert_eq!(found, (Some(mode), Some(backend), because), "{} {}", answer.status, answer.text());
}

pub fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

pub fn builtin() -> String {
    workspace().join("builtin/model").display().to_string()
}

/// A small model, and what becomes of its weights.
fn synthetic(change: impl Fn(&str, &mut [f32])) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut made = SyntheticModel::smallest(1);
    for (name, (_, numbers)) in &mut made.tensors {
        change(name, numbers);
    }
    made.write_plain(directory.path(), false).unwrap();
    directory
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
    let table = format!(
        "[[hybrid.backends]]\nid = \"b\"\nbase_url = \"http://127.0.0.1:9/v1\"\nkey_file = \"{open}\"\n"
    );
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
            assert!(words.iter().all(|word| stderr.contains(word)), "{config} {allowed}: {stderr}");
            assert!(!stderr.contains("sk-"), "{stderr}");
        }
    }
    let alone = Cli::new().env("INFERENCE_ALLOWED_PROVIDERS", "openly");
    let stderr = alone.run(&["node", "--model", "echo", "--listen", "127.0.0.1:0"]).failed(2);
    assert!(stderr.contains("names openly") && stderr.contains("Known are: local."), "{stderr}");
}

#[tokio::test]
async fn a_strict_node_says_so_and_sends_nothing_to_its_backends() {
    let emulator = Emulator::start(config()).await.unwrap();
    let files = Files::new();
    files.write("key", OWN);
    // The machine's own setting is as strict as the option, beside a file that has backends.
    for (strict, environment) in [("true", None), ("false", Some(("INFERENCE_ALLOWED_PROVIDERS", "local")))] {
        keeps_to_itself(&emulator, &files, strict, environment).await;
    }
}

async fn keeps_to_itself(
    emulator: &Emulator,
    files: &Files,
    strict: &str,
    environment: Option<(&str, &str)>,
) {
    let strict = format!("--runtime-local-only-strict={strict}");
    let strict = ["--model", "echo", &strict];
    let config =
        files.write("node.toml", &one_backend(emulator, "hybrid", "").replace("DIR", &files.path("")));
    let mut launch =
        Launch::new(tidegate().unwrap()).args(["node", "--listen", "127.0.0.1:0", "--config", &config]);
    if let Some((name, value)) = environment {
        launch = launch.env(name, value);
    }
    let mut process = launch.args(strict).start().unwrap();
    let rest = process.wait_text("http://", WITHIN).await.unwrap();
    let client = Client::new(format!("http://{}", rest.split_whitespace().next().unwrap())).within(WITHIN);
    process.wait_text("1 backends of --config are not used", WITHIN).await.unwrap();
    for path in ["/v1/health", "/v1/capabilities"] {
        let view = client.get(path).await.unwrap().json();
        assert_eq!(view["runtime_local_only_strict"], true, "{view}");
        assert_eq!(
            (&view["execution_modes"], &view["cloud_backends"]),
            (&json!(["local"]), &json!([])),
            "{view}"
        );
    }
    for mode in ["cloud", "hybrid"] {
        let refused = client.clone().header(MODE, mode).post(CHAT, &question("echo")).await.unwrap();
        assert_eq!(code(&refused), (403, "local_only".to_owned()), "{}", refused.text());
        let refused = client.post(CHAT, &question(&format!("{mode}/echo"))).await.unwrap();
        assert_eq!(code(&refused), (403, "local_only".to_owned()), "{}", refused.text());
    }
    // Nothing leaves because a model is missing, either.
    assert_eq!(
        code(&client.post(CHAT, &question(LARGE)).await.unwrap()),
        (404, "model_not_found".to_owned())
    );
    let answer = client.post(CHAT, &question("local/echo")).await.unwrap();
    selected(&answer, "local", "local", None);
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
    let asked: String =
        [("echo", "local"), ("echo", "cloud"), ("cloud/echo", "local"), ("hybrid/none", "hybrid")]
            .into_iter()
            .map(|(model, mode)| ask(model, mode))
            .collect();
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
    assert!(
        answers[0]["choices"][0]["message"]["content"].as_str().unwrap().ends_with("hello"),
        "{answers:?}"
    );
    assert_eq!(answers[1]["error"]["code"], "local_only", "{answers:?}");
    assert!(answers[2]["choices"].is_array(), "{answers:?}");
    assert_eq!(answers[3]["error"]["code"], "local_only", "{answers:?}");
    assert_eq!(answers[4]["data"][0]["execution_modes"], json!(["local"]), "{answers:?}");

    let files = Files::new();
    let config = files.write("node.toml", "[hybrid]\ncloud_endpoints = [\"http://10.77.1.2:9/v1\"]\n");
    let (outside, answers) = contacts(&[], &format!("--config '{config}' --runtime-local-only-strict=false"));
    assert!(outside.iter().any(|address| address == "10.77.1.2"), "{outside:?} {answers}");
    assert!(answers.contains("backends_failed"), "{answers}");
}

#[tokio::test]
async fn a_hybrid_node_says_who_may_answer() {
    let emulator = Emulator::start(config()).await.unwrap();
    let site =
        Site::echo(&emulator, "local", "models = [\"acme-large\"]\nmodel_map = {\"echo\" = \"tide-1\"}")
            .await;
    assert!(site.process.stderr().contains("may leave this machine for: cloud"), "{}", site.process.stderr());
    let modes = json!(["local", "cloud", "hybrid"]);
    for path in ["/v1/health", "/v1/capabilities"] {
        let view = site.client.get(path).await.unwrap().json();
        assert_eq!(view["runtime_local_only_strict"], false, "{view}");
        assert_eq!(
            (&view["execution_modes"], &view["cloud_backends"]),
            (&modes, &json!(["cloud"])),
            "{view}"
        );
    }
    assert_eq!(site.client.get("/v1/capabilities").await.unwrap().json()["topology"], "hybrid");
    let models = site.client.get("/v1/models").await.unwrap().json();
    let model = &models["data"][0];
    assert_eq!(models["data"].as_array().unwrap().len(), 1, "what backends have is not listed: {models}");
    assert_eq!(
        (&model["execution_modes"], &model["cloud_backends"]),
        (&modes, &json!(["cloud"])),
        "{models}"
    );
}

#[tokio::test]
async fn the_mode_is_of_the_header_then_of_the_prefix_then_the_default() {
    let emulator = Emulator::start(config()).await.unwrap();
    let site =
        Site::echo(&emulator, "local", "model_map = {\"echo\" = \"tide-1\"}\nmodels = [\"acme-large\"]")
            .await;
    let here = site.client.post(CHAT, &question("echo")).await.unwrap();
    selected(&here, "local", "local", None);
    let here = site.client.post(CHAT, &question("hybrid/echo")).await.unwrap();
    selected(&here, "hybrid", "local", None);
    assert!(said(&here).contains("isn't a model"), "{}", here.text());
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
    assert_eq!(code(&unknown), (404, "model_not_found".to_owned()));
    assert!(unknown.text().contains("No backend of this node serves the model"), "{}", unknown.text());
}

#[tokio::test]
async fn a_missing_model_leaves_in_every_dialect_and_its_usage_is_recorded_as_the_backends() {
    let emulator = Emulator::start(config()).await.unwrap();
    let files = Files::new();
    files.write("key", OWN);
    let claude = format!(
        "[[hybrid.backends]]\nid = \"second\"\nbase_url = \"{}/v1\"\nkey_file = \"DIR/key\"\nmodels = [\"{CLAUDE}\"]\n",
        emulator.anthropic_url()
    );
    let models = "models = [\"acme-large\", \"gpt-4o-mini\", \"text-embedding-3-small\"]\n";
    let config = one_backend(&emulator, "hybrid", models) + &claude;
    let site = files.start(&config, &["--model", "echo"]).await;
    let whole = site.client.post(CHAT, &question(LARGE)).await.unwrap();
    selected(&whole, "hybrid", "cloud", Some("model_missing"));
    let text = said(&whole);
    let streamed = site.client.post(CHAT, &streaming(LARGE)).await.unwrap();
    selected(&streamed, "hybrid", "cloud", Some("model_missing"));
    let events = sse::events(&streamed.body);
    assert_eq!((text_of(&events), events.last().map(String::as_str)), (text, Some("[DONE]")));
    assert!(!streamed.text().contains("\"usage\":{"), "the client requested none: {}", streamed.text());
    let streamed = site.client.post(CHAT, &streaming_usage(LARGE)).await.unwrap();
    assert!(streamed.text().contains("\"usage\":{"), "{}", streamed.text());
    let messages = json!({"model": CLAUDE, "max_tokens": 20, "messages": question(LARGE)["messages"]});
    let versioned = site.client.clone().header("anthropic-version", "2023-06-01");
    for body in [&messages, &with(messages.clone(), json!({"stream": true}))] {
        let answer = versioned.post("/v1/messages", body).await.unwrap();
        selected(&answer, "hybrid", "second", Some("model_missing"));
        assert!(
            answer.text().contains("\"end_turn\"") || answer.text().contains("\"max_tokens\""),
            "{}",
            answer.text()
        );
    }
    let responses = json!({"model": "gpt-4o-mini", "store": false, "input": "hello there"});
    for body in [&responses, &with(responses.clone(), json!({"stream": true}))] {
        let answer = site.client.post("/v1/responses", body).await.unwrap();
        selected(&answer, "hybrid", "cloud", Some("model_missing"));
        assert!(answer.text().contains("\"completed\""), "{}", answer.text());
    }
    let vectors = json!({"model": "text-embedding-3-small", "input": ["tide", "moon"]});
    let answer = site.client.post("/v1/embeddings", &vectors).await.unwrap();
    selected(&answer, "hybrid", "cloud", Some("model_missing"));
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 2, "{}", answer.text());

    let (kept, sent) = (records(&site.client, 8).await, calls(&emulator));
    assert_eq!((kept.len(), sent.len()), (8, 8), "{kept:?}");
    for (record, entry) in kept.iter().zip(&sent) {
        let backend = if entry.path.contains("messages") { "second" } else { "cloud" };
        assert_eq!(record["left_to"], json!({"backend": backend, "because": "model_missing"}), "{record}");
        assert_eq!((&record["end"], &record["is_measured"]), (&json!("whole"), &json!(true)), "{record}");
        assert_eq!(record["output_tokens"], entry.said_tokens, "{record} {entry:?}");
        assert_eq!(record["input_tokens"], entry.prompt_tokens, "{record} {entry:?}");
    }
    // None of it are this node's tokens.
    assert_eq!(site.metric("tidegate_node_tokens_total{kind=\"answer\"}").await, "0");
    assert_eq!(site.metric("tidegate_node_requests_left_total{because=\"model_missing\"}").await, "8");
    assert_eq!(site.metric("tidegate_node_requests_open").await, "0");
}

#[tokio::test]
async fn what_came_through_a_gateway_or_names_local_is_kept() {
    let emulator = Emulator::start(config()).await.unwrap();
    let site = Site::echo(&emulator, "hybrid", "").await;
    let through = site.client.clone().header("x-request-id", "trc_01a21cbc583a73918898c459e5536add");
    for (client, model) in
        [(&through, LARGE), (&site.in_mode("local"), LARGE), (&site.client, "local/acme-large")]
    {
        let refused = client.post(CHAT, &question(model)).await.unwrap();
        assert_eq!(code(&refused), (404, "model_not_found".to_owned()), "{}", refused.text());
    }
    let refused = through.post(CHAT, &question("cloud/acme-large")).await.unwrap();
    assert_eq!(code(&refused), (403, "local_only".to_owned()));
    assert!(refused.text().contains("came through a gateway"), "{}", refused.text());
    assert!(calls(&emulator).is_empty());
}

#[tokio::test]
async fn an_adapter_stays_here_unless_the_backend_has_it() {
    let emulator = Emulator::start(config()).await.unwrap();
    let site = Site::echo(&emulator, "hybrid", "adapters = [\"law\"]").await;
    let tides = site.client.clone().header(ADAPTER, "tides");
    let kept = tides.post(CHAT, &question(LARGE)).await.unwrap();
    assert_eq!(code(&kept), (404, "model_not_found".to_owned()), "{}", kept.text());
    let refused = tides.header(MODE, "cloud").post(CHAT, &question(LARGE)).await.unwrap();
    assert_eq!(code(&refused), (400, "adapter_is_local".to_owned()), "{}", refused.text());
    let timeline = json!({"metadata": {"hybrie": {"adapter_timeline": [{"start_step": 0, "adapter_id": "law"}, {"start_step": 9, "adapter_id": "none"}]}}});
    let refused = site.in_mode("cloud").post(CHAT, &with(question(LARGE), timeline)).await.unwrap();
    assert_eq!(code(&refused), (400, "adapter_is_local".to_owned()), "{}", refused.text());
    assert!(calls(&emulator).is_empty());
    let law = site.client.clone().header(ADAPTER, "law").post(CHAT, &question(LARGE)).await.unwrap();
    selected(&law, "hybrid", "cloud", Some("model_missing"));
    assert_eq!(law.header(ADAPTER), Some("law"));
    assert_eq!(header(&calls(&emulator)[0], ADAPTER), Some("law"));
}

#[tokio::test]
async fn a_long_prompt_and_a_failing_runtime_leave_and_a_wrong_request_does_not() {
    let emulator = Emulator::start(config()).await.unwrap();
    let model = synthetic(|name, numbers| {
        if name == "model.norm.weight" {
            numbers.fill(f32::NAN);
        }
    });
    let files = Files::new();
    files.write("key", OWN);
    let model = model.path().display().to_string();
    let config = one_backend(&emulator, "hybrid", "model_map = {\"nan\" = \"tide-1\"}");
    let site = files.start(&config, &["--model", &model, "--name", "nan", "--kv-memory", "8"]).await;
    // The weights produce no numbers: it fails at its first token, in a stream, too.
    for body in [question("nan"), streaming("nan")] {
        let answer = site.client.post(CHAT, &body).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        selected(&answer, "hybrid", "cloud", Some("node_failed"));
    }
    let long = json!([{"role": "user", "content": "tide ".repeat(200)}]);
    let answer = site.client.post(CHAT, &with(question("nan"), json!({"messages": long}))).await.unwrap();
    selected(&answer, "hybrid", "cloud", Some("context_too_long"));
    let sent = calls(&emulator).len();
    let kept = site.in_mode("local").post(CHAT, &question("nan")).await.unwrap();
    assert_eq!(code(&kept), (502, "engine_failed".to_owned()), "{}", kept.text());
    for wrong in [
        json!({"temperature": 9}),
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"not": {}}}}}),
    ] {
        let refused = site.client.post(CHAT, &with(question("nan"), wrong)).await.unwrap();
        assert_eq!((refused.status, refused.header(BACKEND)), (400, None), "{}", refused.text());
    }
    assert_eq!(calls(&emulator).len(), sent);
    let kept = records(&site.client, 4).await;
    let ends: Vec<_> = kept.iter().map(|record| (&record["end"], &record["left_to"]["because"])).collect();
    assert_eq!(
        ends[..4],
        [
            (&json!("whole"), &json!("node_failed")),
            (&json!("whole"), &json!("node_failed")),
            (&json!("whole"), &json!("context_too_long")),
            (&json!("failed"), &Value::Null)
        ],
        "{kept:?}"
    );
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

#[tokio::test]
async fn a_full_queue_and_a_deadline_leave_and_without_a_backend_they_are_served_here() {
    let emulator = Emulator::start(config()).await.unwrap();
    let files = Files::new();
    files.write("key", OWN);
    let config = one_backend(&emulator, "hybrid", "model_map = {\"demo\" = \"tide-1\"}")
        .replace("[[hybrid", "queue_wait_ms = 100\n[[hybrid");
    let site = files.start(&config, &["--model", &builtin(), "--name", "demo", "--kv-memory", "256"]).await;
    // Before anything was measured, a deadline is no reason.
    let asked = json!([{"role": "user", "content": "What is Tidegate?"}]);
    let short = with(question("demo"), json!({"temperature": 0, "messages": asked}));
    let hurried = site.client.clone().header("agent-hints", deadline(1));
    selected(&hurried.post(CHAT, &short).await.unwrap(), "hybrid", "local", None);
    selected(&hurried.post(CHAT, &short).await.unwrap(), "hybrid", "cloud", Some("deadline"));
    let relaxed = site.client.clone().header("agent-hints", deadline(600_000));
    selected(&relaxed.post(CHAT, &short).await.unwrap(), "hybrid", "local", None);

    let streams = saturate(&site, "demo").await;
    selected(&site.client.post(CHAT, &short).await.unwrap(), "hybrid", "cloud", Some("queue_wait"));
    assert_eq!(calls(&emulator).len(), 2);
    // Nobody else answers: it keeps its place in the queue, and is answered when there is room.
    emulator.refuse().await;
    let waiting = tokio::spawn({
        let (client, short) = (site.client.clone(), short.clone());
        async move { client.post(CHAT, &short).await }
    });
    until("a try at the backend", async || site.says("a backend did not answer")).await;
    drop(streams);
    let answer = waiting.await.unwrap().unwrap();
    selected(&answer, "hybrid", "local", None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let kept = found("the last record", async || {
        let kept = records(&site.client, 13).await;
        kept.iter().any(|record| record["end"] == "whole" && record["sequence"] == 13).then_some(kept)
    });
    let kept = kept.await;
    assert!(kept.iter().all(|record| record["model"] == "demo"), "{kept:?}");
    let left: Vec<_> = kept.iter().filter_map(|record| record["left_to"]["because"].as_str()).collect();
    assert_eq!(left, ["deadline", "queue_wait"], "what stayed is not marked: {kept:?}");
}

#[tokio::test]
async fn two_nodes_that_point_at_each_other_refuse_the_loop_in_the_clients_dialect() {
    let (first, second) = (free_address().unwrap(), free_address().unwrap());
    let hybrid = |to: SocketAddr| {
        format!("[hybrid]\ndefault_mode = \"hybrid\"\ncloud_endpoints = [\"http://{to}\"]\n")
    };
    let echo = ["--model", "echo"];
    let one = Files::new().start_at(&first.to_string(), &hybrid(second), &echo).await;
    let other = Files::new().start_at(&second.to_string(), &hybrid(first), &echo).await;
    let refused = one.client.post(CHAT, &question(LARGE)).await.unwrap();
    assert_eq!(code(&refused), (508, "loop_detected".to_owned()), "{}", refused.text());
    let messages = json!({"model": LARGE, "max_tokens": 9, "messages": question(LARGE)["messages"]});
    let refused = other.client.post("/v1/messages", &messages).await.unwrap();
    assert_eq!((refused.status, &refused.json()["type"]), (508, &json!("error")), "{}", refused.text());
    // Each node tried once: the first leaves, the second leaves, and the first finds its id.
    for site in [&one, &other] {
        let kept = records(&site.client, 2).await;
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert!(kept.iter().all(|record| record["end"] == "failed"), "{kept:?}");
    }
    let passed =
        one.client.clone().header("x-hybrie-hops", "a, b, c, d").post(CHAT, &question("echo")).await.unwrap();
    assert_eq!(code(&passed), (508, "loop_detected".to_owned()), "{}", passed.text());
    // A chain that ends is none.
    let served =
        one.client.clone().header("x-hybrie-hops", "a, b").post(CHAT, &question("echo")).await.unwrap();
    selected(&served, "hybrid", "local", None);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_request_at_the_backend() {
    let emulator = Emulator::start(config()).await.unwrap();
    let site = Site::echo(&emulator, "hybrid", "").await;
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
    let kept = records(&site.client, 2).await;
    for record in &kept {
        assert_eq!(
            (&record["end"], &record["left_to"]["backend"]),
            (&json!("left"), &json!("cloud")),
            "{record}"
        );
    }
}

#[tokio::test]
async fn a_backend_that_is_down_is_passed_over_and_the_error_of_all_names_each() {
    let emulator = Emulator::start(config()).await.unwrap();
    let files = Files::new();
    files.write("key", OWN);
    files.write("wrong", "sk-nobody");
    let down = format!("http://{}", free_address().unwrap());
    let tables = format!(
        "[hybrid]\ndefault_mode = \"hybrid\"\n\
         [[hybrid.backends]]\nid = \"down\"\nbase_url = \"{down}\"\n\
         [[hybrid.backends]]\nid = \"locked\"\nbase_url = \"{0}\"\nkey_file = \"DIR/wrong\"\n\
         [[hybrid.backends]]\nid = \"up\"\nbase_url = \"{0}\"\nkey_file = \"DIR/key\"\nmodels = [\"acme-large\"]\n",
        emulator.base_url()
    );
    let site = files.start(&tables, &["--model", "echo"]).await;
    let answer = site.client.post(CHAT, &question(LARGE)).await.unwrap();
    selected(&answer, "hybrid", "up", Some("model_missing"));
    // Of a model that the last does not take, both sides' reasons are named.
    let failed = site.client.post(CHAT, &question("tide-1")).await.unwrap();
    assert_eq!(code(&failed), (502, "backends_failed".to_owned()));
    let message = failed.json()["error"]["message"].as_str().unwrap().to_owned();
    for part in
        ["This node: It has no model \"tide-1\"", "The backend down:", "The backend locked: it answered 401"]
    {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("sk-nobody"), "{message}");
    let messages = json!({"model": "tide-1", "max_tokens": 9, "messages": question("x")["messages"]});
    let failed = site.in_mode("cloud").post("/v1/messages", &messages).await.unwrap();
    assert_eq!((failed.status, &failed.json()["type"]), (502, &json!("error")), "{}", failed.text());
    assert!(!failed.text().contains("This node:"), "it was not to be served here: {}", failed.text());
    // What is wrong with the request is wrong everywhere.
    let wrong = site.client.post(CHAT, &with(question(LARGE), json!({"temperature": 9}))).await.unwrap();
    assert_eq!(code(&wrong), (400, "decimal_above_maximum_value".to_owned()), "{}", wrong.text());
    selected(&wrong, "hybrid", "up", Some("model_missing"));
    assert_eq!(wrong.json()["error"]["param"], "temperature", "{}", wrong.text());
    let ends: Vec<Value> =
        records(&site.client, 4).await.iter().map(|record| record["end"].clone()).collect();
    assert_eq!(ends, ["whole", "failed", "failed", "failed"]);
}

#[tokio::test]
async fn a_backend_that_does_not_say_why_it_refuses_is_named() {
    let emulator = Emulator::start(config()).await.unwrap();
    let site = Site::echo(&emulator, "local", "").await;
    emulator.script(OWN, [Behaviour::parse("status=422,body=empty").unwrap()]);
    let refused = site.in_mode("cloud").post(CHAT, &question(LARGE)).await.unwrap();
    assert_eq!(code(&refused), (422, "backend_refused".to_owned()), "{}", refused.text());
    let words = "The backend cloud refuses the request: It does not say why.";
    assert!(refused.text().contains(words), "{}", refused.text());
}

#[tokio::test]
async fn a_stream_that_breaks_before_its_first_byte_is_tried_elsewhere_and_later_is_an_error() {
    let emulator = Emulator::start(config()).await.unwrap();
    let files = Files::new();
    files.write("key", OWN);
    let second = format!(
        "[[hybrid.backends]]\nid = \"second\"\nbase_url = \"{}\"\nkey_file = \"DIR/second\"\n",
        emulator.base_url()
    );
    files.write("second", NODE);
    let site = files.start(&(one_backend(&emulator, "hybrid", "") + &second), &["--model", "echo"]).await;
    emulator.script(OWN, [Behaviour::parse("cut=0").unwrap()]);
    let answer = site.client.post(CHAT, &streaming(LARGE)).await.unwrap();
    selected(&answer, "hybrid", "second", Some("model_missing"));
    emulator.script(OWN, [Behaviour::parse("chunks=6,cut=3").unwrap()]);
    let mut broken = site.client.stream(CHAT, &streaming(LARGE)).await.unwrap();
    assert_eq!(broken.header(BACKEND), Some("cloud"));
    let (events, end) = broken.events().await;
    assert!(end.is_err(), "it must not look complete: {events:?}");
    let last = events.last().unwrap();
    assert!(last.contains("backends_failed") && last.contains("The backend cloud broke off"), "{events:?}");
    assert_eq!(calls(&emulator).len(), 3, "nothing is repeated after the first byte");
    let kept = records(&site.client, 2).await;
    let ends: Vec<_> = kept.iter().map(|record| (&record["end"], &record["left_to"]["backend"])).collect();
    assert_eq!(ends, [(&json!("whole"), &json!("second")), (&json!("failed"), &json!("cloud"))], "{kept:?}");
}

/// A node that has joined a gateway, and may send requests to it and to another backend.
async fn joined(gateway: &Gateway) -> (Site, String) {
    let files = Files::new();
    let (data, address) = (files.path("node"), free_address().unwrap());
    let token = gateway.cli().run(&["nodes", "invite", "attic", "--json"]).json()["token"].clone();
    let join = ["node", "join", "--control", &gateway.origin, "--token", token.as_str().unwrap()];
    let place = ["--data-dir", &data, "--address", &format!("http://{address}")];
    let id = Cli::new().run(&[&join[..], &place].concat()).ok().trim().to_owned();
    files.write("home.key", &gateway.founded.api_key);
    files.write("key", CUSTOM);
    let config = format!(
        "[[hybrid.backends]]\nid = \"home\"\ngateway = true\nkey_file = \"DIR/home.key\"\nmodels = [\"{MINI}\"]\n\
         [[hybrid.backends]]\nid = \"other\"\nbase_url = \"{}\"\nkey_file = \"DIR/key\"\nmodels = [\"acme-large\"]\n",
        gateway.emulator.base_url()
    );
    (files.start_at(&address.to_string(), &config, &["--model", "echo"]).await, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_through_the_gateway_is_booked_there_and_what_leaves_elsewhere_is_only_listed() {
    let gateway = Gateway::with(config(), &[("TIDEGATE_NODE_HEARTBEAT_MS", "300")]).await;
    gateway.credential("openai", OWN).await;
    let (site, id) = joined(&gateway).await;
    let asked = site.in_mode("hybrid").header("agent-hints", URL_SAFE_NO_PAD.encode(r#"{"tag":"night"}"#));
    let through = asked.post(CHAT, &question(MINI)).await.unwrap();
    selected(&through, "hybrid", "home", Some("model_missing"));
    assert_eq!(through.header("agent-execution-profile"), Some("byok"), "{}", through.text());
    let trace = through.header("agent-trace-id").unwrap().to_owned();
    selected(&site.in_mode("cloud").post(CHAT, &question(LARGE)).await.unwrap(), "cloud", "other", None);
    selected(&site.client.post(CHAT, &question("echo")).await.unwrap(), "local", "local", None);
    let own = records(&site.client, 3).await;
    let left_to = json!({"backend": "home", "because": "model_missing", "profile": "byok"});
    assert_eq!((&own[0]["left_to"], &own[0]["request"]), (&left_to, &json!(trace)), "{own:?}");
    assert_eq!(own[1]["left_to"], json!({"backend": "other", "because": null}), "{own:?}");
    assert_eq!(own[2].get("left_to"), None, "{own:?}");

    let reported = found("three reports", async || {
        let page = gateway.get(&format!("/v2/byoc/nodes/{id}/usage")).await;
        Some(page["data"].as_array().unwrap().clone()).filter(|rows| rows.len() == 3)
    });
    let reported = reported.await;
    let of = |row: &Value| (row["left_to"].clone(), row["left_because"].clone(), row["request_id"].clone());
    assert_eq!(of(&reported[0]), (json!("home"), json!("model_missing"), json!(trace)), "{reported:?}");
    assert_eq!(of(&reported[1]), (json!("other"), Value::Null, Value::Null), "{reported:?}");
    assert_eq!(of(&reported[2]), (Value::Null, Value::Null, Value::Null), "{reported:?}");
    // The gateway counts its own request and what the node itself answered: none twice, and the other not at all.
    gateway.listed(2).await;
    let requests = gateway.requests(10).await;
    let profiles: Vec<_> = requests.iter().map(|request| request["profile"].as_str().unwrap()).collect();
    assert_eq!(profiles.iter().filter(|profile| **profile == "byok").count(), 1, "{requests:?}");
    assert_eq!(profiles.iter().filter(|profile| **profile == "byoc").count(), 1, "{requests:?}");
    let through = requests.iter().find(|request| request["profile"] == "byok").unwrap();
    assert_eq!((&through["id"], &through["tag"]), (&json!(trace), &json!("night")), "{through}");
}

/// A node may have a gateway as its backend that it has not joined: no report links the two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_was_not_joined_gets_its_headers_and_books_the_request_alone() {
    let gateway = Gateway::with(config(), &[]).await;
    gateway.credential("openai", OWN).await;
    let files = Files::new();
    files.write("head.key", &gateway.founded.api_key);
    let config = format!(
        "[[hybrid.backends]]\nid = \"head\"\ngateway = true\nbase_url = \"{}\"\nkey_file = \"DIR/head.key\"\nmodels = [\"{MINI}\"]\n",
        gateway.origin
    );
    let site = files.start(&config, &["--model", "echo"]).await;
    let asked = site.in_mode("hybrid").header("agent-hints", URL_SAFE_NO_PAD.encode(r#"{"tag":"night"}"#));
    let through = asked.post(CHAT, &question(MINI)).await.unwrap();
    selected(&through, "hybrid", "head", Some("model_missing"));
    assert_eq!(through.header("agent-execution-profile"), Some("byok"), "{}", through.text());
    let own = records(&site.client, 1).await;
    assert_eq!(
        own[0]["left_to"],
        json!({"backend": "head", "because": "model_missing", "profile": "byok"}),
        "{own:?}"
    );
    assert_eq!(
        own[0]["request"],
        Value::Null,
        "its requests are known nowhere that this node reports to: {own:?}"
    );
    let booked = gateway.settled(through.header("agent-trace-id").unwrap()).await;
    assert_eq!((&booked["mode"], &booked["tag"]), (&json!("byok"), &json!("night")), "{booked}");
}
