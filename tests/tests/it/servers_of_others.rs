//! The inference servers that teams run themselves, as nodes that are added by hand: their load is read where each publishes
//! it, requests go to the idle one, and leave for the pool where all are full. They are emulated; with
//! `TIDEGATE_LLAMA_SERVER`, llama.cpp's is the real program, as in `make test-servers`.

use std::path::PathBuf;
use std::time::Duration;

use harness::client::Client;
use harness::model_server::{MODEL_SERVERS, ModelServer, PublishedLoad, Surface};
use harness::process::{Launch, Process, free_port};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use weights::synthetic::{Packing, SyntheticModel};

use crate::ask::{MINI, has, question, said, streaming_usage, trace_of, with};
use crate::gateway::{Gateway, POOL, id_of};
use crate::wait::{found, until};

/// Requests of others in the queue of a busy server: at a real one, whose tokens take no time, only a long queue takes long.
const WAITING: usize = 14;
const WAITING_AT_REAL: usize = 80;
const REAL_SLOTS: usize = 2;
const REAL_CONTEXT: usize = 32_768;
/// Longer than any test.
const HELD: Duration = Duration::from_secs(600);

/// A server, and the requests of others there.
struct Server {
    surface: &'static Surface,
    running: Running,
    others: JoinSet<()>,
}

enum Running {
    Emulated(ModelServer),
    Real { _process: Process, port: u16 },
}

/// With so few tokens that a real model ends soon.
fn short(request: Value) -> Value {
    with(request, json!({"max_tokens": 8}))
}

fn surface(name: &str) -> &'static Surface {
    MODEL_SERVERS.iter().find(|surface| surface.name == name).unwrap()
}

fn real_program(surface: &Surface) -> Option<PathBuf> {
    let program = std::env::var_os("TIDEGATE_LLAMA_SERVER").map(PathBuf::from)?;
    surface.name.starts_with("llama.cpp").then_some(program)
}

/// llama.cpp's server with a made-up model.
async fn real(program: PathBuf, surface: &Surface, directory: &tempfile::TempDir) -> Running {
    let model = directory.path().join("smallest.gguf");
    let mut made = SyntheticModel::smallest(1);
    made.shape.context = REAL_CONTEXT;
    made.write_packed(&model, Packing::Q8_0).unwrap();
    let port = free_port().unwrap();
    let [listen, slots, context] =
        [port.to_string(), REAL_SLOTS.to_string(), (REAL_CONTEXT * REAL_SLOTS).to_string()];
    let launch = Launch::new(program)
        .args(["--model", &model.display().to_string(), "--alias", MINI, "--offline"])
        .args(["--host", "127.0.0.1", "--port", &listen, "--parallel", &slots, "--ctx-size", &context])
        // More than one thread would be in each other's way with a model of this size; each waiting request holds one of HTTP's.
        .args(["--threads", "1", "--threads-http", "128", "--no-warmup"]);
    let launch = if surface.name == "llama.cpp" { launch.arg("--metrics") } else { launch };
    let process = launch.start().unwrap();
    let client = Client::new(format!("http://127.0.0.1:{port}"));
    let is_there = async || matches!(client.get("/health").await, Ok(answer) if answer.status == 200);
    until("llama.cpp's server is ready", is_there).await;
    Running::Real { _process: process, port }
}

impl Server {
    async fn start(surface: &'static Surface, directory: &tempfile::TempDir) -> Self {
        let running = match real_program(surface) {
            Some(program) => real(program, surface, directory).await,
            None => Running::Emulated(ModelServer::start(surface, MINI).unwrap()),
        };
        Self { surface, running, others: JoinSet::new() }
    }

    fn is_real(&self) -> bool {
        matches!(self.running, Running::Real { .. })
    }

    fn origin(&self) -> String {
        match &self.running {
            Running::Emulated(server) => server.origin(),
            Running::Real { port, .. } => format!("http://127.0.0.1:{port}"),
        }
    }

    /// Completions of all clients; a real server doesn't count them.
    fn served(&self) -> u64 {
        match &self.running {
            Running::Emulated(server) => server.served(),
            Running::Real { .. } => 0,
        }
    }

    /// Adds it as a person would.
    fn added(&self, gateway: &Gateway, name: &str) -> String {
        let base_url = format!("{}/v1", self.origin());
        let added = gateway.cli().run(&["nodes", "add", name, "--base-url", &base_url, "--json"]).json();
        assert_eq!((&added["status"], &added["models"]), (&json!("ready"), &json!([MINI])), "{added}");
        id_of(&added)
    }

    /// Clients of others fill it, and its queue.
    async fn fill(&mut self) {
        let (path, mut body) = self.surface.native_request(MINI);
        let count = match &self.running {
            Running::Emulated(server) => {
                server.hold();
                let is_silent = self.surface.load == PublishedLoad::Nothing;
                let waiting = self.surface.waiting_max().filter(|_| is_silent);
                waiting.unwrap_or(WAITING) + self.surface.slots()
            }
            Running::Real { .. } => {
                body["n_predict"] = (REAL_CONTEXT / 2).into();
                body["ignore_eos"] = true.into();
                WAITING_AT_REAL + REAL_SLOTS
            }
        };
        for _ in 0..count {
            let (client, body) = (Client::new(self.origin()).within(HELD), body.clone());
            self.others.spawn(async move {
                // It ends when the server lets it, or with this task.
                let _ = client.post(path, &body).await;
            });
        }
        if let Running::Emulated(server) = &self.running {
            let all = || server.load().0 + server.load().1;
            until("the server is full", async || all() == count).await;
        }
    }

    async fn empty(&mut self) {
        if let Running::Emulated(server) = &self.running {
            server.release();
        }
        self.others.shutdown().await;
    }
}

fn placement_of<'a>(plan: &'a Value, node: &str) -> &'a Value {
    let mut attempts = plan["attempts"].as_array().into_iter().flatten();
    attempts.find(|one| one["principal"] == node).map_or(&Value::Null, |one| &one["placement"])
}

/// Waits until the gateway knows that both nodes are full.
async fn read_queues(gateway: &Gateway, surface: &Surface, nodes: &[String; 2]) {
    let wait_ms = match surface.load {
        PublishedLoad::Nothing => return,
        PublishedLoad::Slots => 1_000,
        PublishedLoad::Queue => 10_000,
    };
    let plan = found("the published queues", async || {
        let plan = gateway.plan(json!({"model": MINI})).await;
        let waits = |id: &String| placement_of(&plan, id)["queue_ms"].as_u64() > Some(wait_ms);
        nodes.iter().all(waits).then_some(plan)
    })
    .await;
    if surface.publishes_cache() {
        assert!(placement_of(&plan, &nodes[1])["kv_permille"].as_u64() > Some(0), "{plan}");
    }
}

/// Where the route lists something behind nodes, they are left: known to be full, or by their refusal. One that doesn't say how
/// many wait is not known to be full, and refuses nobody.
async fn leaves_for_the_pool(gateway: &Gateway, load: PublishedLoad) {
    let reason = match load {
        PublishedLoad::Slots => return,
        PublishedLoad::Nothing => "overloaded",
        PublishedLoad::Queue => "rate_limit",
    };
    let answer = gateway.chat_ok(&short(question(MINI))).await;
    let told = ["agent-execution-profile", "agent-fallback-reason"].map(|name| answer.header(name));
    assert_eq!(told, [Some("managed_provider"), Some(reason)]);
}

/// Two of a kind, of which both are full at first, and then one is.
async fn journey(name: &str) {
    let surface = surface(name);
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    let directory = tempfile::tempdir().unwrap();
    let (mut calm, mut busy) =
        (Server::start(surface, &directory).await, Server::start(surface, &directory).await);
    let [calm_id, busy_id] = [calm.added(&gateway, "calm"), busy.added(&gateway, "busy")];
    let before = busy.served();
    calm.fill().await;
    busy.fill().await;
    read_queues(&gateway, surface, &[calm_id.clone(), busy_id]).await;
    gateway.route(json!({"scope": {}, "profiles": ["byoc", "managed_provider"]})).await;
    leaves_for_the_pool(&gateway, surface.load).await;

    calm.empty().await;
    if surface.load != PublishedLoad::Nothing {
        until("the idle one is known to be idle", async || {
            let plan = gateway.plan(json!({"model": MINI})).await;
            plan["attempts"][0]["principal"] == json!(calm_id)
                && placement_of(&plan, &calm_id)["queue_ms"].as_u64() < Some(1_000)
        })
        .await;
    }
    let goes_to_calm = async || {
        let answer = gateway.chat(&short(question(MINI))).await;
        (answer.header("agent-node-id") == Some(calm_id.as_str())).then_some(answer)
    };
    let answer = found("requests go to the one that is idle", goes_to_calm).await;
    if !calm.is_real() {
        assert_eq!(said(&answer), "Served by a server of others.", "{name}");
    }
    let usage = answer.json()["usage"].clone();
    let record = gateway.settled(&trace_of(&answer)).await;
    has(
        &record,
        json!({"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}),
    );
    assert!(usage["completion_tokens"].as_u64() > Some(0), "{record}");
    let streamed = gateway.chat_ok(&short(streaming_usage(MINI))).await;
    assert_eq!(streamed.header("agent-node-id"), Some(calm_id.as_str()), "{name}");
    has(&gateway.settled(&trace_of(&streamed)).await, json!({"input_tokens": usage["prompt_tokens"]}));
    assert_eq!(busy.served(), before, "{name}: the full one served");
    busy.empty().await;
}

macro_rules! journeys {
    ($($name:ident: $server:literal,)*) => {
        $(#[tokio::test]
        async fn $name() {
            journey($server).await;
        })*
    };
}

journeys! {
    vllm_is_placed_by_what_it_publishes: "vLLM",
    sglang_is_placed_by_what_it_publishes: "SGLang",
    llama_cpp_is_placed_by_its_metrics: "llama.cpp",
    llama_cpp_without_metrics_is_placed_by_its_slots: "llama.cpp without --metrics",
    ollama_publishes_nothing_and_is_left_by_its_refusal: "Ollama",
    tgi_is_placed_by_what_it_publishes: "TGI",
    triton_is_placed_by_what_it_publishes: "Triton",
}
