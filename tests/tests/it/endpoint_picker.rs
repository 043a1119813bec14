//! The endpoint picker for inference gateways of Kubernetes, as Envoy speaks with it: a gRPC client with Envoy's own messages
//! (`tests/envoy/client.py`), which refuses what Envoy would, in front of servers that publish vLLM's metrics.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use harness::client::Client;
use harness::model_server::{self, MODEL_SERVERS};
use harness::process::{Launch, Process, free_address, resources, tidegate};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::{AbortHandle, JoinSet};

use crate::WITHIN;
use crate::command::workspace;
use crate::wait::{found, until};

/// A server that publishes its load, as far as an endpoint picker sees one.
struct ModelServer {
    address: SocketAddr,
    page: Arc<Mutex<String>>,
    serving: AbortHandle,
}

fn page(running: u32, waiting: u32, kv: f32) -> String {
    format!(
        "# TYPE vllm:num_requests_running gauge\n\
         vllm:num_requests_running{{engine=\"0\",model_name=\"m\"}} {running}.0\n\
         vllm:num_requests_waiting{{engine=\"0\",model_name=\"m\"}} {waiting}.0\n\
         vllm:kv_cache_usage_perc{{engine=\"0\",model_name=\"m\"}} {kv}\n"
    )
}

impl ModelServer {
    async fn start(text: String) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), text).await
    }

    async fn start_at(address: SocketAddr, text: String) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (address, page) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(text)));
        let shared = Arc::clone(&page);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let text = shared.lock().unwrap().clone();
                tokio::spawn(publish(stream, text));
            }
        });
        Self { address, page, serving: serving.abort_handle() }
    }

    fn says(&self, text: String) {
        *self.page.lock().unwrap() = text;
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Answers one request: with its load, or with who served and what came.
async fn publish(mut stream: TcpStream, text: String) -> Option<()> {
    let (mut taken, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    let head = loop {
        let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        taken.extend_from_slice(&piece[..count]);
        if let Some(at) = taken.windows(4).position(|end| end == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let lines = String::from_utf8_lossy(&taken[..head]).to_ascii_lowercase();
    let (status, text) = if lines.starts_with("get /metrics ") {
        ("200 OK", text)
    } else if lines.starts_with("post ") {
        let body = read_body(&mut stream, &lines, taken.split_off(head)).await?;
        ("200 OK", format!("{} {} {}", stream.local_addr().ok()?, body.len(), crc32fast::hash(&body)))
    } else {
        ("404 Not Found", String::new())
    };
    let length = text.len();
    let reply = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}");
    stream.write_all(reply.as_bytes()).await.ok()
}

async fn read_body(stream: &mut TcpStream, head: &str, mut taken: Vec<u8>) -> Option<Vec<u8>> {
    let is_chunked = head.contains("transfer-encoding: chunked");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let is_whole = |taken: &[u8]| {
        if is_chunked { taken.ends_with(b"0\r\n\r\n") } else { taken.len() >= length.unwrap_or(0) }
    };
    let mut piece = vec![0; 64 * 1024];
    while !is_whole(&taken) {
        let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        taken.extend_from_slice(&piece[..count]);
    }
    if !is_chunked {
        return Some(taken);
    }
    let (mut body, mut rest) = (Vec::new(), taken.as_slice());
    loop {
        let end = rest.windows(2).position(|end| end == b"\r\n")?;
        let count = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?, 16).ok()?;
        if count == 0 {
            return Some(body);
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + count]);
        rest = &rest[end + 4 + count..];
    }
}

/// A picker, and an Envoy in front of it.
struct Picker {
    process: Process,
    address: SocketAddr,
}

impl Picker {
    async fn start(servers: &[&ModelServer], more: &[&str]) -> Self {
        let urls: Vec<String> = servers.iter().map(|server| server.url()).collect();
        let named: Vec<&str> = urls.iter().flat_map(|url| ["--endpoint", url]).collect();
        Self::start_with(&[&named, more].concat()).await
    }

    async fn start_with(more: &[&str]) -> Self {
        let address = free_address().unwrap();
        let listen = address.to_string();
        let launch = Launch::new(tidegate().unwrap()).args(["endpoint-picker", "--listen", &listen]);
        let mut process = launch.args(["--poll-every-ms", "50"]).args(more.iter().copied()).start().unwrap();
        process.wait_text("endpoint picker listens on", WITHIN).await.unwrap();
        Self { process, address }
    }

    fn envoy(&self) -> Envoy {
        Envoy::start(self.address, "plaintext")
    }

    fn memory_bytes(&self) -> u64 {
        resources(self.process.pid()).unwrap().0
    }
}

struct Envoy {
    _child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Envoy {
    fn start(address: SocketAddr, security: &str) -> Self {
        let interpreter = workspace().join(".venv-envoy/bin/python");
        assert!(interpreter.exists(), "run scripts/envoy-env.sh first");
        let mut command = Command::new(interpreter);
        command.arg(workspace().join("tests/envoy/client.py")).args([&address.to_string(), security]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { _child: child, stdin, lines: BufReader::new(stdout).lines() }
    }

    async fn ask(&mut self, request: Value) -> Value {
        self.stdin.write_all(format!("{request}\n").as_bytes()).await.unwrap();
        let line = tokio::time::timeout(WITHIN, self.lines.next_line()).await.expect("an answer comes");
        let line = line.unwrap().unwrap_or_else(|| panic!("the client refused what came on {request}"));
        serde_json::from_str(&line).unwrap()
    }

    /// Where a request goes, or the status that it is answered with.
    async fn goes(&mut self, request: Value) -> String {
        let came = self.ask(request.clone()).await;
        match (&came["destination"], &came["status"]) {
            (Value::String(destination), _) => destination.clone(),
            (_, Value::Number(status)) => status.to_string(),
            _ => panic!("{request}: {came}"),
        }
    }

    async fn until_it_goes(&mut self, request: Value, to: &str) {
        until(&format!("{request} goes to {to}"), async || self.goes(request.clone()).await == to).await;
    }
}

/// The body of a conversation about its own subject, in two pieces.
fn conversation(subject: &str, turns: usize) -> [String; 2] {
    let system = format!("You know about {subject}. ").repeat(200);
    let mut messages = vec![json!({"role": "system", "content": system})];
    for number in 0..turns {
        messages.push(json!({"role": "user", "content": format!("Question {number}?")}));
    }
    let body = json!({"model": "m", "messages": messages}).to_string();
    let (first, second) = body.split_at(body.len() / 2);
    [first.to_owned(), second.to_owned()]
}

const MODES: [&str; 6] = ["FULL_DUPLEX_STREAMED", "BUFFERED", "BUFFERED_PARTIAL", "STREAMED", "NONE", "GRPC"];

#[tokio::test]
async fn the_load_decides_in_every_mode_of_the_proxy() {
    let (busy, idle) =
        (ModelServer::start(page(16, 12, 0.97)).await, ModelServer::start(page(0, 0, 0.0)).await);
    let picker = Picker::start(&[&busy, &idle], &["--plaintext"]).await;
    let mut envoy = picker.envoy();
    let body = json!(["{\"model\":", "\"m\",\"prompt\":\"hello\"}"]);
    let [busy_at, idle_at] = [&busy, &idle].map(|server| server.address.to_string());
    let both_ready = json!({"subset": [&busy_at]});
    envoy.until_it_goes(both_ready, &busy_at).await;
    envoy.until_it_goes(json!({"chunks": body}), &idle_at).await;
    for mode in MODES {
        for response in [json!({"chunks": ["data: 1", "data: 2"]}), json!({"status": 500, "chunks": []})] {
            let request = json!({"mode": mode, "chunks": body, "response": response});
            assert_eq!(envoy.goes(request).await, idle_at, "{mode}");
        }
        assert_eq!(envoy.goes(json!({"mode": mode})).await, idle_at, "{mode}, no body");
    }
    for mode in ["FULL_DUPLEX_STREAMED", "BUFFERED"] {
        let request = json!({"mode": mode, "chunks": body, "trailers": true});
        assert_eq!(envoy.goes(request).await, idle_at, "{mode}, with trailers");
    }
    busy.says(page(0, 0, 0.0));
    idle.says(page(20, 9, 0.9));
    envoy.until_it_goes(json!({"chunks": body}), &busy_at).await;
}

/// llama.cpp's server answers 501 for its metrics where it was started without: it is ready, and its slots count.
#[tokio::test]
async fn a_server_without_metrics_is_ready_and_its_slots_count() {
    let surface = MODEL_SERVERS.iter().find(|surface| surface.name == "llama.cpp without --metrics").unwrap();
    let servers = [(); 2].map(|()| model_server::ModelServer::start(surface, "m").unwrap());
    let [one, other] = servers.each_ref().map(model_server::ModelServer::origin);
    let picker = Picker::start_with(&["--endpoint", &one, "--endpoint", &other, "--plaintext"]).await;
    let mut envoy = picker.envoy();
    let [one_at, other_at] = [&one, &other].map(|origin| origin.trim_start_matches("http://").to_owned());
    envoy.until_it_goes(json!({"subset": [&one_at]}), &one_at).await;
    let (path, body) = surface.native_request("m");
    for (busy, origin, idle_at) in [(&servers[0], &one, &other_at), (&servers[1], &other, &one_at)] {
        busy.hold();
        let mut others = JoinSet::new();
        for _ in 0..surface.slots() {
            let (client, body) = (Client::new(origin), body.clone());
            others.spawn(async move { client.post(path, &body).await.unwrap().status });
        }
        envoy.until_it_goes(json!({"chunks": ["{}"]}), idle_at).await;
        until("all slots are busy", async || busy.load().0 == surface.slots()).await;
        envoy.until_it_goes(json!({"chunks": ["{}"]}), idle_at).await;
        busy.release();
        assert!(others.join_all().await.iter().all(|status| *status == 200));
        until("all slots are free", async || busy.load() == (0, 0)).await;
    }
}

#[tokio::test]
async fn a_conversation_stays_and_an_adapter_draws() {
    let servers = [ModelServer::start(page(0, 0, 0.0)).await, ModelServer::start(page(0, 0, 0.0)).await];
    let picker = Picker::start(&[&servers[0], &servers[1]], &["--plaintext", "--fallbacks", "1"]).await;
    let mut envoy = picker.envoy();
    let [one, other] = [&servers[0], &servers[1]].map(|server| server.address.to_string());
    let both = [format!("{one},{other}"), format!("{other},{one}")];
    let named = found("both endpoints to be ready", async || {
        Some(envoy.goes(json!({"chunks": ["{}"]})).await).filter(|named| both.contains(named))
    });
    named.await;
    let mut at = Vec::new();
    for subject in ["tides", "harbours", "locks", "piers", "buoys", "ropes", "sails", "charts"] {
        let first = envoy.goes(json!({"chunks": conversation(subject, 1)})).await;
        for turns in 2..5 {
            let request =
                json!({"chunks": conversation(subject, turns), "response": {"chunks": ["data: 1"]}});
            assert_eq!(envoy.goes(request).await, first, "{subject}, turn {turns}");
        }
        at.push(first);
    }
    assert!(both.iter().all(|order| at.contains(order)), "all conversations are at one endpoint: {at:?}");
    // The adapter is where vLLM says that it is.
    let label = "max_lora=\"4\",running_lora_adapters=\"sql\",waiting_lora_adapters=\"\"";
    servers[1].says(page(0, 0, 0.0) + &format!("vllm:lora_requests_info{{{label}}} 1.7e+09\n"));
    let ask = json!({"chunks": ["{\"model\":\"sql\",\"prompt\":\"hello\"}"]});
    let goes_there = async |envoy: &mut Envoy| envoy.goes(ask.clone()).await == both[1];
    found("the adapter to draw its requests", async || {
        for _ in 0..6 {
            if !goes_there(&mut envoy).await {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test]
async fn only_endpoints_that_answer_are_named_and_sheddable_requests_are_shed() {
    let server = ModelServer::start(page(9, 5, 0.2)).await;
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("endpoints.txt");
    std::fs::write(&file, "# nobody yet\n").unwrap();
    let path = file.display().to_string();
    let picker =
        Picker::start_with(&["--plaintext", "--endpoints-file", &path, "--sheddable", "batch"]).await;
    let mut envoy = picker.envoy();
    let came = envoy.ask(json!({"chunks": ["{}"]})).await;
    assert_eq!((&came["status"], &came["details"]), (&json!(503), &json!("no_endpoint_ready")), "{came}");
    let address = server.address.to_string();
    std::fs::write(&file, format!("{}  # the first one\n", server.url())).unwrap();
    let ask = || json!({"chunks": ["{}"]});
    envoy.until_it_goes(ask(), &address).await;
    assert_eq!(envoy.goes(json!({"subset": []})).await, "503");
    assert_eq!(envoy.goes(json!({"subset": "127.0.0.1:9,127.0.0.2"})).await, "503");
    assert_eq!(envoy.goes(json!({"subset": "127.0.0.1"})).await, address);
    let batch = || json!({"headers": {"x-gateway-inference-objective": "batch"}});
    envoy.until_it_goes(batch(), "429").await;
    assert_eq!(envoy.goes(json!({"headers": {"x-gateway-inference-objective": "chat"}})).await, address);
    server.says(page(2, 0, 0.2));
    envoy.until_it_goes(batch(), &address).await;
    server.serving.abort();
    envoy.until_it_goes(ask(), "503").await;
    let again = ModelServer::start_at(server.address, page(0, 0, 0.0)).await;
    envoy.until_it_goes(ask(), &address).await;
    // A line that is wrong leaves the endpoints as they were.
    std::fs::write(&file, "https://somewhere\n").unwrap();
    until("the picker says what is wrong", async || picker.process.stderr().contains("line 1")).await;
    assert_eq!(envoy.goes(ask()).await, address);
    drop(again);
}

#[tokio::test]
async fn what_no_proxy_sends_breaks_nothing() {
    let server = ModelServer::start(page(0, 0, 0.0)).await;
    let picker = Picker::start(&[&server], &["--plaintext"]).await;
    let (mut envoy, address) = (picker.envoy(), server.address.to_string());
    envoy.until_it_goes(json!({}), &address).await;
    for (raw, error) in [
        ("ffffffff", "INVALID_ARGUMENT"),
        ("2202", "INVALID_ARGUMENT"),
        // A part that later versions may have, and none.
        ("7a00", "UNIMPLEMENTED"),
        ("", "UNIMPLEMENTED"),
        // A body, and headers twice.
        ("2200", "INVALID_ARGUMENT"),
    ] {
        assert_eq!(envoy.ask(json!({"raw": raw})).await["error"], error, "{raw}");
    }
    for first in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff",
        &[0x16, 3, 1, 2, 0, 1],
    ] {
        let mut stream = TcpStream::connect(picker.address).await.unwrap();
        stream.write_all(first).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(WITHIN, stream.read_to_end(&mut rest)).await.expect("it is closed");
    }
    // A message that says it has 4 GiB is refused by its length alone, and one body in one message by its bytes.
    let whole = json!({"mode": "BUFFERED", "chunks": ["x".repeat(8 * 1024 * 1024)]});
    assert_eq!(envoy.goes(whole).await, address);
    let before = picker.memory_bytes();
    let came = envoy.ask(json!({"endless": 150})).await;
    assert!(came["back"].as_u64().unwrap() > 100 * 1024 * 1024, "{came}");
    let grown = picker.memory_bytes().saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "{grown} bytes more after a body of 150 MiB");
    assert_eq!(envoy.goes(json!({"chunks": ["{}"]})).await, address);
}

#[tokio::test]
async fn tls_health_checks_and_a_drain() {
    let server = ModelServer::start(page(0, 0, 0.0)).await;
    let health = free_address().unwrap();
    let mut picker = Picker::start(&[&server], &["--health-listen", &health.to_string()]).await;
    let mut envoy = Envoy::start(picker.address, "tls");
    envoy.until_it_goes(json!({"chunks": ["{}"]}), &server.address.to_string()).await;
    let mut probe = Envoy::start(health, "plaintext");
    for service in
        ["", "liveness", "readiness", "envoy.service.ext_proc.v3.ExternalProcessor", "inference-extension"]
    {
        for client in [&mut envoy, &mut probe] {
            assert_eq!(client.ask(json!({"health": service})).await["health"], "SERVING", "{service}");
        }
    }
    assert_eq!(probe.ask(json!({"health": "other"})).await["error"], "NOT_FOUND");
    assert_eq!(probe.ask(json!({"raw": ""})).await["error"], "UNIMPLEMENTED", "health checks alone");
    picker.process.terminate().unwrap();
    until("the picker ends", async || picker.process.exited().unwrap().is_some()).await;
    assert!(picker.process.exited().unwrap().unwrap().success(), "{}", picker.process.stderr());
}

/// Envoy itself, in front of a picker that speaks TLS.
async fn real_envoy(
    root: &Path,
    picker: &Picker,
    servers: [&ModelServer; 2],
    mode: &str,
) -> (Process, Client) {
    let listen = free_address().unwrap();
    let mut config = std::fs::read_to_string(workspace().join("tests/envoy/envoy.yaml")).unwrap();
    for (name, address) in [
        ("@LISTEN@", listen),
        ("@PICKER@", picker.address),
        ("@ONE@", servers[0].address),
        ("@TWO@", servers[1].address),
    ] {
        config = config.replace(name, &address.port().to_string());
    }
    let file = root.join(format!("{mode}.yaml"));
    std::fs::write(&file, config.replace("@MODE@", mode)).unwrap();
    let launch =
        Launch::new(workspace().join(".venv-envoy/bin/envoy")).args(["-c", &file.display().to_string()]);
    let launch = launch.args(["--log-level", "warn", "--concurrency", "1", "--use-dynamic-base-id"]);
    let process = launch.start().unwrap();
    let client = Client::new(format!("http://{listen}")).within(WITHIN);
    until("Envoy listens", async || TcpStream::connect(listen).await.is_ok()).await;
    (process, client)
}

#[tokio::test]
async fn envoy_itself_sends_requests_where_the_picker_says() {
    let servers = [ModelServer::start(page(16, 12, 0.97)).await, ModelServer::start(page(0, 0, 0.0)).await];
    let [busy, idle] = [&servers[0], &servers[1]];
    let picker = Picker::start(&[busy, idle], &[]).await;
    let root = tempfile::tempdir().unwrap();
    for mode in ["FULL_DUPLEX_STREAMED", "BUFFERED", "STREAMED", "NONE"] {
        let (mut process, client) = real_envoy(root.path(), &picker, [busy, idle], mode).await;
        // The default limit of what Envoy holds in the mode BUFFERED is a mebibyte.
        let sizes: &[usize] =
            if mode == "FULL_DUPLEX_STREAMED" { &[10, 100_000, 40_000_000] } else { &[10, 100_000] };
        for size in sizes {
            let body = json!({"model": "m", "prompt": "x".repeat(*size)});
            let text = serde_json::to_vec(&body).unwrap();
            let expected = format!("{} {} {}", idle.address, text.len(), crc32fast::hash(&text));
            for _ in 0..3 {
                let answer = client.post("/v1/completions", &body).await.unwrap();
                assert_eq!((answer.status, answer.text()), (200, expected.clone()), "{mode}, {size}");
            }
        }
        process.kill9().unwrap();
    }
    let (_process, client) = real_envoy(root.path(), &picker, [busy, idle], "FULL_DUPLEX_STREAMED").await;
    busy.says(page(0, 0, 0.0));
    idle.says(page(20, 9, 0.9));
    let ask = async || client.post("/v1/completions", &json!({"model": "m"})).await.unwrap();
    let other = busy.address.to_string();
    until("requests go to the other one", async || ask().await.text().starts_with(&other)).await;
    for server in &servers {
        server.serving.abort();
    }
    until("the client is answered by the picker", async || {
        let answer = ask().await;
        answer.status == 503 && answer.text().contains("No endpoint of this pool is ready")
    })
    .await;
}

#[tokio::test]
async fn the_manifests_of_the_documentation_fit_their_schemas() {
    let documents = manifests(&std::fs::read_to_string(workspace().join("docs/endpoint-picker.md")).unwrap());
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("manifests.yaml");
    std::fs::write(&file, documents.join("\n---\n")).unwrap();
    let interpreter = workspace().join(".venv/bin/python");
    let script = workspace().join("tests/envoy/manifests.py");
    let output = Command::new(interpreter).arg(script).arg(&file).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for kind in ["InferencePool", "Deployment", "Service", "HTTPRoute"] {
        let is_checked = |line: &str| line.starts_with(kind) && line.ends_with(" checked");
        assert!(text.lines().any(is_checked), "no {kind} in the documentation: {text}");
    }
    // The command line of the documentation is one that starts.
    let arguments = text.lines().find_map(|line| line.strip_prefix("arguments ")).unwrap();
    let arguments: Vec<String> = serde_json::from_str(arguments).unwrap();
    let free = || free_address().unwrap().to_string();
    let here = |argument: &String| match argument.split_once("=0.0.0.0:") {
        Some((option, _)) => format!("{option}={}", free()),
        None => argument.clone(),
    };
    let launch = Launch::new(tidegate().unwrap()).args(arguments.iter().map(here));
    let mut process = launch.start().unwrap();
    process.wait_text("health checks are answered on", WITHIN).await.unwrap();
}

/// The blocks of YAML of a page.
fn manifests(page: &str) -> Vec<String> {
    let blocks = page.split("```yaml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}
