//! Models on disk: what `tidegate pull` fetches, stores, refuses and prints, against a hub on loopback.

use std::path::{Path, PathBuf};

use harness::hub::{Access, Fault, Hub, HubRequest, TOKEN};
use harness::process::{Launch, tidegate, workspace};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, client_of, has, said, says};
use crate::command::{Cli, Done};
use crate::first_request::{echo, node};
use crate::wait::until;

const MODEL: &str = "acme/tiny";
const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = r#"{"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":16,"max_position_embeddings":4096}"#;
const ALLOW: &str = "TIDEGATE_ALLOW_PRIVATE_UPSTREAMS";

/// A hub, an empty models folder, and a command line configured for both.
struct Fixture {
    hub: Hub,
    root: tempfile::TempDir,
    cli: Cli,
}

/// Pseudo-random weights, different for each file.
fn weights(seed: u32, count: u32) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(count as usize).collect()
}

fn tiny(weights: &[u8]) -> Vec<(&str, &[u8])> {
    vec![
        (".gitattributes", b"* text"),
        ("README.md", b"# Tiny"),
        ("config.json", CONFIG.as_bytes()),
        (WEIGHTS, weights),
        ("pytorch_model.bin", b"a pickle"),
        ("onnx/model.onnx", b"a graph"),
        ("tokenizer.json", br#"{"model":{}}"#),
        ("tokenizer_config.json", b"{}"),
    ]
}

impl Fixture {
    fn new() -> Self {
        let (hub, root) = (Hub::start().unwrap(), tempfile::tempdir().unwrap());
        let mut fixture = Self { hub, root, cli: Cli::new() };
        let with = |cli: Cli, (name, value): (&str, String)| cli.env(name, &value);
        fixture.cli = fixture.environment().into_iter().fold(Cli::new(), with);
        fixture
    }

    fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("HF_ENDPOINT", self.hub.origin()),
            ("TIDEGATE_MODELS_DIR", self.models().display().to_string()),
            (ALLOW, "1".to_owned()),
        ]
    }

    fn with(files: &[(&str, &[u8])]) -> Self {
        let fixture = Self::new();
        fixture.hub.put(MODEL, files);
        fixture
    }

    /// With a small model, and its weights.
    fn tiny(seed: u32, bytes: u32) -> (Self, Vec<u8>) {
        let weights = weights(seed, bytes);
        (Self::with(&tiny(&weights)), weights)
    }

    fn models(&self) -> PathBuf {
        self.root.path().join("models")
    }

    /// Where the model is, once it is here.
    fn place(&self) -> PathBuf {
        self.models().join("acme--tiny")
    }

    fn has_come(&self, weights: &[u8]) {
        assert!(std::fs::read(self.place().join(WEIGHTS)).unwrap() == weights, "the weights differ");
    }

    fn pull(&self) -> Done {
        self.cli.run(&["pull", MODEL])
    }

    /// A pull that fails with this code, and says all of this.
    fn fails(&self, code: i32, parts: &[&str]) {
        tells(&self.cli, &["pull", MODEL], code, parts);
    }

    fn local(&self) -> Vec<Value> {
        self.cli.run(&["models", "local", "--json"]).lines()
    }

    fn local_names(&self) -> Vec<Value> {
        self.local().iter().map(|model| model["name"].clone()).collect()
    }

    /// Requests for the bytes of a file, whichever server holds it.
    fn requests_for(&self, file: &str) -> Vec<HubRequest> {
        let at_storage = file == WEIGHTS;
        let is_it = |request: &HubRequest| {
            if at_storage { request.at_storage } else { request.path.ends_with(&format!("/{file}")) }
        };
        self.hub.requests().into_iter().filter(is_it).collect()
    }

    fn bytes_for(&self, file: &str) -> u64 {
        self.requests_for(file).iter().map(|request| request.body_bytes).sum()
    }

    fn is_proper(&self) {
        assert_eq!(self.hub.violations(), Vec::<String>::new());
    }
}

/// A command fails with this code, and says all of this on its standard error.
fn tells(cli: &Cli, arguments: &[&str], code: i32, parts: &[&str]) {
    let done = cli.run(arguments);
    assert_eq!(done.code, code, "{done:?}");
    says(&done.stderr, parts);
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(listed) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> =
        listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn parts(fixture: &Fixture) -> Vec<(String, u64)> {
    let coming = fixture.models().join(".coming/acme--tiny");
    let size = |name: &String| std::fs::metadata(coming.join(name)).unwrap().len();
    names(&coming).into_iter().map(|name| (name.clone(), size(&name))).collect()
}

#[test]
fn a_model_is_pulled_once_and_then_shown_and_removed() {
    let (fixture, bytes) = Fixture::tiny(1, 300_000);
    let none = "No model is here. `tidegate pull qwen3:0.6b` brings one.";
    assert_eq!(fixture.cli.run(&["models", "local"]).ok().trim(), none);
    let done = fixture.pull();
    assert!(done.stderr.contains("4 files, 300.1 kB") && !done.stderr.contains('\r'), "{}", done.stderr);
    says(&done.ok(), &["acme/tiny is here: 4 files", "300.0 kB for the weights"]);
    let directory = fixture.models().join("acme--tiny");
    let here = ["config.json", "manifest.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(names(&directory), here);
    fixture.has_come(&bytes);
    // A second pull requests only the file list.
    fixture.hub.forget();
    fixture.pull().ok();
    let requests = fixture.hub.requests();
    assert_eq!((requests.len(), requests[0].path.as_str()), (1, "/api/models/acme/tiny/revision/main"));

    assert_eq!(fixture.local_names(), [MODEL]);
    // A key and a value of 16 bits for 2 heads of 16 in 2 layers: 256 bytes per token.
    let model = fixture.cli.run(&["models", "show", MODEL, "--json"]).json();
    has(&model, json!({"thousand_tokens_bytes": 256_000, "weights_bytes": 300_000, "context_tokens": 4_096}));
    has(&model, json!({"source": fixture.hub.origin()}));
    assert_eq!(model["files"].as_array().unwrap().len(), 4);
    let table = fixture.cli.run(&["models", "show", MODEL]).ok();
    says(&table, &["256.0 kB more for each 1,000 tokens", WEIGHTS]);

    fixture.cli.run(&["models", "rm", MODEL, "--yes"]).ok();
    assert!(!directory.exists() && fixture.local().is_empty());
    for again in ["rm", "show"] {
        fixture.cli.run(&["models", again, MODEL, "--yes"]).failed(3);
    }
    fixture.is_proper();
}

#[test]
fn what_is_broken_off_goes_on_and_no_byte_comes_twice() {
    let (fixture, bytes) = Fixture::tiny(2, 400_000);
    fixture.hub.fail(WEIGHTS, &[Fault::BreakAfter(150_000), Fault::Status(503), Fault::BreakAfter(100_000)]);
    tells(&fixture.cli, &["pull", MODEL], 0, &["Trying again in"]);
    let requests = fixture.requests_for(WEIGHTS);
    let tries: Vec<_> = requests.iter().map(|request| (request.from, request.status)).collect();
    assert_eq!(tries, [(0, 200), (150_000, 503), (150_000, 206), (250_000, 206)]);
    let whole = requests.iter().filter(|request| request.status < 300);
    assert_eq!(whole.map(|request| request.body_bytes).sum::<u64>(), 400_000);
    fixture.has_come(&bytes);
    fixture.is_proper();
    // A hub that knows no ranges is asked for the whole.
    fixture.cli.run(&["models", "rm", MODEL, "--yes"]).ok();
    fixture.hub.fail(WEIGHTS, &[Fault::BreakAfter(50_000), Fault::IgnoreRange]);
    fixture.pull().ok();
    fixture.has_come(&bytes);
}

#[test]
fn a_pull_that_gave_up_is_no_model_and_the_next_goes_on() {
    let bytes = weights(3, 200_000);
    // Two files download at a time: when the weights start, two of the others are complete.
    let mut files = tiny(&bytes);
    files.rotate_left(4);
    let fixture = Fixture::with(&files);
    fixture.hub.fail(WEIGHTS, &[Fault::BreakAfter(120_000), Fault::Status(404)]);
    fixture.fails(3, &[]);
    assert!(fixture.local().is_empty() && !fixture.place().exists(), "half a model is none");
    let kept = parts(&fixture);
    assert!(kept.iter().any(|(name, size)| name.starts_with(WEIGHTS) && *size == 120_000), "{kept:?}");
    fixture.hub.forget();
    fixture.pull().ok();
    assert_eq!(fixture.bytes_for(WEIGHTS), 80_000);
    let small = ["config.json", "tokenizer.json", "tokenizer_config.json"];
    let again = small.iter().filter(|name| !fixture.requests_for(name).is_empty()).count();
    assert!(again <= 1, "what was whole is not fetched again");
    fixture.has_come(&bytes);
    assert_eq!(names(&fixture.models().join(".coming")), Vec::<String>::new());
    fixture.is_proper();
}

#[tokio::test]
async fn an_interrupt_keeps_what_came() {
    let (fixture, _) = Fixture::tiny(13, 200_000);
    fixture.hub.fail(WEIGHTS, &[Fault::StallAfter(70_000)]);
    let launch = Launch::new(tidegate().unwrap()).args(["pull", MODEL]);
    let launch =
        fixture.environment().into_iter().fold(launch, |launch, (name, value)| launch.env(name, value));
    let mut process = launch.start().unwrap();
    let has_come = |(name, size): &(String, u64)| name.starts_with(WEIGHTS) && *size == 70_000;
    until("a part of the weights", async || parts(&fixture).iter().any(has_come)).await;
    // While one pull runs, a second one is refused.
    fixture.fails(6, &[]);
    process.signal("INT").unwrap();
    let status = process.wait(WITHIN).await.unwrap();
    assert_eq!(status.code(), Some(130), "{}", process.stderr());
    says(&process.stderr(), &["the same command goes on from there"]);
    fixture.hub.forget();
    fixture.pull().ok();
    assert_eq!(fixture.bytes_for(WEIGHTS), 130_000);
    fixture.is_proper();
}

#[tokio::test]
async fn a_node_without_a_key_is_talked_to_without_one() {
    let (mut node, base_url) = echo().await;
    let cli = Cli::new().env("TIDEGATE_URL", base_url.strip_suffix("/v1").unwrap());
    for output in [cli.run(&["run", "echo", "two", "words"]), cli.run_with(&["run", "echo"], "two words")] {
        says(&output.ok(), &["two words"]);
    }
    // Without an address, the command needs a key.
    Cli::new().run(&["run", "echo", "hello"]).failed(4);
    node.stop(WITHIN).await.unwrap();
}

#[tokio::test]
async fn a_node_runs_what_was_pulled_by_its_name() {
    let names = ["config.json", "generation_config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json"];
    let read = |name| (name, std::fs::read(workspace().join("builtin/model").join(name)).unwrap());
    let files = names.map(read);
    let fixture = Fixture::with(&files.each_ref().map(|(name, bytes)| (*name, bytes.as_slice())));
    fixture.pull().ok();
    let (models, data) =
        (fixture.models().display().to_string(), fixture.root.path().join("node").display().to_string());
    let flags = ["--model", MODEL, "--models-dir", &models, "--data-dir", &data, "--kv-memory", "64"];
    let (_node, base_url) = node(&flags).await;
    let body = json!({"model": MODEL, "temperature": 0, "messages": [{"role": "user", "content": "What is Tidegate?"}]});
    let answer = client_of(&base_url).post(CHAT, &body).await.unwrap();
    says(&said(&answer).to_lowercase(), &["token"]);
}

#[test]
fn what_adds_up_to_something_else_is_refused_and_removed() {
    for file in [WEIGHTS, "tokenizer.json"] {
        let (fixture, _) = Fixture::tiny(5, 100_000);
        fixture.hub.fail(file, &[Fault::Corrupt]);
        fixture.fails(9, &[file, "It was removed"]);
        assert!(fixture.local().is_empty());
        assert!(!parts(&fixture).iter().any(|(name, _)| name.starts_with(file)));
        fixture.pull().ok();
        fixture.is_proper();
    }
}

#[test]
fn names_that_lead_out_of_the_directory_are_refused() {
    for hostile in ["../../evil.safetensors", "/tmp/evil.safetensors", "a\\..\\evil.gguf"] {
        let fixture =
            Fixture::with(&[("config.json", CONFIG.as_bytes()), (WEIGHTS, b"w"), (hostile, b"evil")]);
        fixture.fails(9, &["outside of the model's directory"]);
        assert_eq!(fixture.hub.requests().len(), 1, "nothing but the list was asked for");
        assert!(fixture.local().is_empty());
    }
    let fixture = Fixture::new();
    for name in ["../evil", "a/../b", "a/b/c", "-a/b"] {
        fixture.cli.run(&["pull", "--", name]).failed(2);
    }
    assert!(fixture.hub.requests().is_empty() && !fixture.models().exists());
}

#[test]
fn a_pickle_is_never_fetched() {
    let fixture = Fixture::with(&[("config.json", CONFIG.as_bytes()), ("pytorch_model.bin", b"a pickle")]);
    fixture.fails(9, &["runs code when it is read"]);
    assert_eq!(fixture.hub.requests().len(), 1);
}

#[test]
fn refusals_are_told_with_what_to_do() {
    let (fixture, _) = Fixture::tiny(6, 10_000);
    let known = fixture.cli.clone().env("HF_TOKEN", TOKEN);
    fixture.hub.allow(MODEL, Access::Gated);
    tells(&fixture.cli, &["pull", MODEL], 4, &["accept its terms"]);
    tells(&known, &["pull", MODEL], 5, &["has not been let in"]);
    fixture.hub.allow(MODEL, Access::Private);
    tells(&fixture.cli, &["pull", MODEL], 4, &["HF_TOKEN must be set"]);
    let strange = fixture.cli.clone().env("HF_TOKEN", "hf_of_somebody_else");
    tells(&strange, &["pull", MODEL], 4, &["does not take the token"]);
    tells(&known, &["pull", "acme/none"], 3, &["acme/none"]);
    fixture.hub.allow(MODEL, Access::Everybody);
    tells(&fixture.cli, &["pull", MODEL, "--revision", "never"], 3, &["no revision never"]);
    tells(&fixture.cli, &["pull", "nothing-short"], 3, &["qwen3:0.6b"]);
    // What the settings don't allow is not requested, and the error names the setting.
    tells(&fixture.cli.clone().env(ALLOW, "0"), &["pull", MODEL], 2, &[ALLOW]);
    tells(&fixture.cli, &["pull", MODEL, "--from", "nowhere"], 2, &["isn't an address of a hub"]);
    assert!(fixture.local().is_empty());
}

#[test]
fn the_token_goes_to_the_hub_and_to_nobody_else() {
    let (fixture, bytes) = Fixture::tiny(7, 10_000);
    fixture.hub.allow(MODEL, Access::Private);
    let done = fixture.cli.clone().env("HF_TOKEN", TOKEN).run(&["pull", MODEL]);
    assert!(!done.stderr.contains(TOKEN) && !done.stdout.contains(TOKEN));
    done.ok();
    let requests = fixture.hub.requests();
    assert!(requests.iter().any(|request| request.at_storage), "the weights lie elsewhere");
    for request in requests {
        assert_eq!(request.token.is_some(), !request.at_storage, "{request:?}");
    }
    fixture.is_proper();
    // The token is not sent to a mirror that is named on the command line.
    let mirror = Hub::start().unwrap();
    mirror.put("acme/other", &tiny(&bytes));
    let cli = fixture.cli.env("HF_TOKEN", TOKEN);
    cli.run(&["pull", "acme/other", "--from", &mirror.origin()]).ok();
    assert!(mirror.requests().iter().all(|request| request.token.is_none()) && !mirror.requests().is_empty());
    assert_eq!(mirror.violations(), Vec::<String>::new());
}

#[test]
fn a_terse_mirror_is_asked_for_each_file() {
    let (fixture, _) = Fixture::tiny(8, 50_000);
    fixture.hub.be_terse(MODEL);
    fixture.pull().ok();
    let heads = fixture.hub.requests().iter().filter(|request| request.method == "HEAD").count();
    assert_eq!(heads, 4);
    fixture.hub.fail(WEIGHTS, &[Fault::Corrupt]);
    fixture.cli.run(&["models", "rm", MODEL, "--yes"]).ok();
    // Its word for a large file is held against the bytes.
    fixture.fails(9, &[]);
    fixture.is_proper();
}

#[test]
fn one_packed_file_is_pulled_by_its_tag() {
    let (small, large) = (weights(9, 20_000), weights(10, 40_000));
    let fixture = Fixture::new();
    let files: [(&str, &[u8]); 3] =
        [("tiny-Q4_K_M.gguf", &small), ("tiny-Q8_0.gguf", &large), ("README.md", b"#")];
    fixture.hub.put("acme/tiny-GGUF", &files);
    tells(&fixture.cli, &["pull", "acme/tiny-GGUF"], 2, &["tiny-q4_k_m, tiny-q8_0"]);
    fixture.cli.run(&["pull", "acme/tiny-GGUF:Q8_0"]).ok();
    assert_eq!(names(&fixture.models().join("acme--tiny-GGUF--q8_0")), ["manifest.json", "tiny-Q8_0.gguf"]);
    fixture.cli.run(&["pull", "acme/tiny-GGUF", "--file", "tiny-Q4_K_M.gguf"]).ok();
    assert_eq!(fixture.local_names(), ["acme/tiny-GGUF:Q8_0", "acme/tiny-GGUF:tiny-q4_k_m"]);
    fixture.cli.run(&["pull", "acme/tiny-GGUF:q2_k"]).failed(3);
    fixture.is_proper();
}

#[test]
fn a_new_commit_fetches_only_what_changed() {
    let (fixture, bytes) = Fixture::tiny(11, 60_000);
    fixture.pull().ok();
    let mut files = tiny(&bytes);
    files[7] = ("tokenizer_config.json", br#"{"new":true}"#);
    fixture.hub.put(MODEL, &files);
    fixture.hub.forget();
    fixture.pull().ok();
    assert_eq!((fixture.bytes_for(WEIGHTS), fixture.requests_for("tokenizer_config.json").len()), (0, 1));
    let config = fixture.place().join("tokenizer_config.json");
    assert_eq!(std::fs::read_to_string(config).unwrap(), r#"{"new":true}"#);
    fixture.has_come(&bytes);
    fixture.is_proper();
}

#[test]
fn programs_are_told_in_documents() {
    let (fixture, _) = Fixture::tiny(12, 30_000);
    fixture.hub.fail(WEIGHTS, &[Fault::BreakAfter(10_000), Fault::Status(429)]);
    let events = fixture.cli.run(&["pull", MODEL, "--json"]).lines();
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!((named("begun"), named("waiting"), named("checked"), named("pulled")), (1, 2, 4, 1));
    let requested_wait = events.iter().filter(|event| event["event"] == "waiting").nth(1).unwrap();
    assert_eq!(requested_wait["wait_ms"], 1_000, "as long as the hub asks");
    assert_eq!(events.last().unwrap()["model"]["bytes"], 30_000 + (CONFIG.len() + 14) as u64);
}
