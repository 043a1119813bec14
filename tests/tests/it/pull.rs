//! Models on disk: what `tidegate pull` fetches, stores, refuses and prints, against a hub on loopback.

use std::path::{Path, PathBuf};

use harness::client::Client;
use harness::hub::{Access, Asked, Fault, Hub, TOKEN};
use harness::process::{Launch, tidegate, workspace};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, said};
use crate::command::{Cli, Done};
use crate::first_request::{echo, node};
use crate::wait::a_moment;

const MODEL: &str = "acme/tiny";
const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = r#"{"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":16,"max_position_embeddings":4096}"#;
const ALLOW: &str = "TIDEGATE_ALLOW_PRIVATE_UPSTREAMS";

/// A hub, an empty models folder, and a command line configured for both.
struct Place {
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

impl Place {
    fn new() -> Self {
        let hub = Hub::start().unwrap();
        let root = tempfile::tempdir().unwrap();
        let mut place = Self { hub, root, cli: Cli::new() };
        for (name, value) in place.environment() {
            place.cli = place.cli.env(name, &value);
        }
        place
    }

    fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("HF_ENDPOINT", self.hub.origin()),
            ("TIDEGATE_MODELS_DIR", self.models().display().to_string()),
            (ALLOW, "1".to_owned()),
        ]
    }

    fn with(files: &[(&str, &[u8])]) -> Self {
        let place = Self::new();
        place.hub.put(MODEL, files);
        place
    }

    fn models(&self) -> PathBuf {
        self.root.path().join("models")
    }

    fn pull(&self) -> Done {
        self.cli.run(&["pull", MODEL])
    }

    fn local(&self) -> Vec<Value> {
        self.cli.run(&["models", "local", "--json"]).lines()
    }

    /// Requests for the bytes of a file, whichever server holds it.
    fn asked_for(&self, file: &str) -> Vec<Asked> {
        let at_storage = file == WEIGHTS;
        let is_it = |asked: &Asked| {
            if at_storage { asked.at_storage } else { asked.path.ends_with(&format!("/{file}")) }
        };
        self.hub.asked().into_iter().filter(is_it).collect()
    }

    fn bytes_for(&self, file: &str) -> u64 {
        self.asked_for(file).iter().map(|asked| asked.body_bytes).sum()
    }

    fn is_proper(&self) {
        assert_eq!(self.hub.violations(), Vec::<String>::new());
    }
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(listed) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> =
        listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn parts(place: &Place) -> Vec<(String, u64)> {
    let coming = place.models().join(".coming/acme--tiny");
    let size = |name: &String| std::fs::metadata(coming.join(name)).unwrap().len();
    names(&coming).into_iter().map(|name| (name.clone(), size(&name))).collect()
}

#[test]
fn a_model_is_pulled_once_and_then_shown_and_removed() {
    let bytes = weights(1, 300_000);
    let place = Place::with(&tiny(&bytes));
    assert_eq!(
        place.cli.run(&["models", "local"]).ok().trim(),
        "No model is here. `tidegate pull qwen3:0.6b` brings one."
    );
    let done = place.pull();
    assert!(done.stderr.contains("4 files, 300.1 kB") && !done.stderr.contains('\r'), "{}", done.stderr);
    let said = done.ok();
    assert!(
        said.contains("acme/tiny is here: 4 files") && said.contains("300.0 kB for the weights"),
        "{said}"
    );
    let directory = place.models().join("acme--tiny");
    let here = ["config.json", "manifest.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(names(&directory), here);
    assert_eq!(std::fs::read(directory.join(WEIGHTS)).unwrap(), bytes);
    // A second pull requests only the file list.
    place.hub.forget();
    place.pull().ok();
    let asked = place.hub.asked();
    assert_eq!((asked.len(), asked[0].path.as_str()), (1, "/api/models/acme/tiny/revision/main"));

    let listed = place.local();
    assert_eq!((listed.len(), listed[0]["name"].as_str()), (1, Some(MODEL)));
    // A key and a value of 16 bits for 2 heads of 16 in 2 layers: 256 bytes per token.
    let shown = place.cli.run(&["models", "show", MODEL, "--json"]).json();
    assert_eq!(shown["thousand_tokens_bytes"], 256_000);
    assert_eq!((&shown["weights_bytes"], &shown["context_tokens"]), (&300_000.into(), &4_096.into()));
    assert_eq!(shown["files"].as_array().unwrap().len(), 4);
    assert_eq!(shown["source"], place.hub.origin());
    let table = place.cli.run(&["models", "show", MODEL]).ok();
    assert!(table.contains("256.0 kB more for each 1,000 tokens") && table.contains(WEIGHTS), "{table}");

    place.cli.run(&["models", "rm", MODEL]).ok();
    assert!(!directory.exists() && place.local().is_empty());
    for again in [["models", "rm", MODEL], ["models", "show", MODEL]] {
        let done = place.cli.run(&again);
        assert_eq!(done.code, 3, "{}", done.stderr);
    }
    place.is_proper();
}

#[test]
fn what_is_broken_off_goes_on_and_no_byte_comes_twice() {
    let bytes = weights(2, 400_000);
    let place = Place::with(&tiny(&bytes));
    place.hub.fail(WEIGHTS, &[Fault::BreakAfter(150_000), Fault::Status(503), Fault::BreakAfter(100_000)]);
    let done = place.pull();
    assert!(done.stderr.contains("Trying again in"), "{}", done.stderr);
    done.ok();
    let tries: Vec<(u64, u16)> =
        place.asked_for(WEIGHTS).iter().map(|asked| (asked.from, asked.status)).collect();
    assert_eq!(tries, [(0, 200), (150_000, 503), (150_000, 206), (250_000, 206)]);
    let whole: u64 = place
        .asked_for(WEIGHTS)
        .iter()
        .filter(|asked| asked.status < 300)
        .map(|asked| asked.body_bytes)
        .sum();
    assert_eq!(whole, 400_000);
    assert_eq!(std::fs::read(place.models().join("acme--tiny").join(WEIGHTS)).unwrap(), bytes);
    place.is_proper();
}

#[test]
fn a_pull_that_gave_up_is_no_model_and_the_next_goes_on() {
    let bytes = weights(3, 200_000);
    // Two files download at a time: when the weights start, two of the others are complete.
    let mut files = tiny(&bytes);
    files.rotate_left(4);
    let place = Place::with(&files);
    place.hub.fail(WEIGHTS, &[Fault::BreakAfter(120_000), Fault::Status(404)]);
    let done = place.pull();
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert!(place.local().is_empty(), "half a model is none");
    assert!(!place.models().join("acme--tiny").exists());
    let kept = parts(&place);
    assert!(kept.iter().any(|(name, size)| name.starts_with(WEIGHTS) && *size == 120_000), "{kept:?}");
    place.hub.forget();
    place.pull().ok();
    assert_eq!(place.bytes_for(WEIGHTS), 80_000);
    let small = ["config.json", "tokenizer.json", "tokenizer_config.json"];
    let again = small.iter().filter(|name| !place.asked_for(name).is_empty()).count();
    assert!(again <= 1, "what was whole is not fetched again");
    assert_eq!(std::fs::read(place.models().join("acme--tiny").join(WEIGHTS)).unwrap(), bytes);
    assert_eq!(names(&place.models().join(".coming")), Vec::<String>::new());
    place.is_proper();
}

#[tokio::test]
async fn an_interrupt_keeps_what_came() {
    let bytes = weights(13, 200_000);
    let place = Place::with(&tiny(&bytes));
    place.hub.fail(WEIGHTS, &[Fault::StallAfter(70_000)]);
    let launch = Launch::new(tidegate().unwrap()).args(["pull", MODEL]);
    let launch =
        place.environment().into_iter().fold(launch, |launch, (name, value)| launch.env(name, value));
    let mut process = launch.start().unwrap();
    let has_come = || parts(&place).iter().any(|(name, size)| name.starts_with(WEIGHTS) && *size == 70_000);
    tokio::time::timeout(WITHIN, async {
        while !has_come() {
            a_moment().await;
        }
    })
    .await
    .unwrap();
    // While one pull runs, a second one is refused.
    let second = place.pull();
    assert_eq!(second.code, 6, "{}", second.stderr);
    process.signal("INT").unwrap();
    let status = process.wait(WITHIN).await.unwrap();
    assert_eq!(status.code(), Some(130), "{}", process.stderr());
    assert!(process.stderr().contains("the same command goes on from there"), "{}", process.stderr());
    place.hub.forget();
    place.pull().ok();
    assert_eq!(place.bytes_for(WEIGHTS), 130_000);
    place.is_proper();
}

#[tokio::test]
async fn a_node_without_a_key_is_talked_to_without_one() {
    let (mut node, base_url) = echo().await;
    let cli = Cli::new().env("TIDEGATE_URL", base_url.strip_suffix("/v1").unwrap());
    for said in [cli.run(&["run", "echo", "two", "words"]), cli.run_with(&["run", "echo"], "two words")] {
        let said = said.ok();
        assert!(said.contains("two words"), "{said}");
    }
    // Without an address, the command needs a key.
    assert_eq!(Cli::new().run(&["run", "echo", "hello"]).code, 4);
    node.stop(WITHIN).await.unwrap();
}

#[tokio::test]
async fn a_node_runs_what_was_pulled_by_its_name() {
    let names = ["config.json", "generation_config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json"];
    let read = |name| (name, std::fs::read(workspace().join("builtin/model").join(name)).unwrap());
    let files = names.map(read);
    let place = Place::with(&files.each_ref().map(|(name, bytes)| (*name, bytes.as_slice())));
    place.pull().ok();
    let (models, data) =
        (place.models().display().to_string(), place.root.path().join("node").display().to_string());
    let flags = ["--model", MODEL, "--models-dir", &models, "--data-dir", &data, "--kv-memory", "64"];
    let (_node, base_url) = node(&flags).await;
    let client = Client::new(base_url.trim_end_matches("/v1")).within(WITHIN);
    let asked = json!({"model": MODEL, "temperature": 0, "messages": [{"role": "user", "content": "What is Tidegate?"}]});
    let answer = client.post(CHAT, &asked).await.unwrap();
    assert!(said(&answer).to_lowercase().contains("token"), "{}", answer.text());
}

#[test]
fn a_hub_that_knows_no_ranges_is_asked_for_the_whole() {
    let bytes = weights(4, 200_000);
    let place = Place::with(&tiny(&bytes));
    place.hub.fail(WEIGHTS, &[Fault::BreakAfter(50_000), Fault::IgnoreRange]);
    place.pull().ok();
    assert_eq!(std::fs::read(place.models().join("acme--tiny").join(WEIGHTS)).unwrap(), bytes);
}

#[test]
fn what_adds_up_to_something_else_is_refused_and_removed() {
    for file in [WEIGHTS, "tokenizer.json"] {
        let bytes = weights(5, 100_000);
        let place = Place::with(&tiny(&bytes));
        place.hub.fail(file, &[Fault::Corrupt]);
        let done = place.pull();
        assert_eq!(done.code, 9, "{}", done.stderr);
        assert!(done.stderr.contains(file) && done.stderr.contains("It was removed"), "{}", done.stderr);
        assert!(place.local().is_empty() && !parts(&place).iter().any(|(name, _)| name.starts_with(file)));
        place.pull().ok();
        place.is_proper();
    }
}

#[test]
fn names_that_lead_out_of_the_directory_are_refused() {
    for hostile in ["../../evil.safetensors", "/tmp/evil.safetensors", "a\\..\\evil.gguf"] {
        let place = Place::with(&[("config.json", CONFIG.as_bytes()), (WEIGHTS, b"w"), (hostile, b"evil")]);
        let done = place.pull();
        assert_eq!(done.code, 9, "{}", done.stderr);
        assert!(done.stderr.contains("outside of the model's directory"), "{}", done.stderr);
        assert_eq!(place.hub.asked().len(), 1, "nothing but the list was asked for");
        assert!(place.local().is_empty());
    }
    let place = Place::new();
    for name in ["../evil", "a/../b", "a/b/c", "-a/b"] {
        let done = place.cli.run(&["pull", "--", name]);
        assert_eq!(done.code, 2, "{name}: {}", done.stderr);
    }
    assert!(place.hub.asked().is_empty() && !place.models().exists());
}

#[test]
fn a_pickle_is_never_fetched() {
    let place = Place::with(&[("config.json", CONFIG.as_bytes()), ("pytorch_model.bin", b"a pickle")]);
    let done = place.pull();
    assert_eq!(done.code, 9, "{}", done.stderr);
    assert!(done.stderr.contains("runs code when it is read"), "{}", done.stderr);
    assert_eq!(place.hub.asked().len(), 1);
}

#[test]
fn refusals_are_told_with_what_to_do() {
    let bytes = weights(6, 10_000);
    let place = Place::with(&tiny(&bytes));
    let tell = |cli: &Cli, arguments: &[&str], code: i32, words: &str| {
        let done = cli.run(arguments);
        assert_eq!(done.code, code, "{}", done.stderr);
        assert!(done.stderr.contains(words), "{}", done.stderr);
    };
    let known = place.cli.clone().env("HF_TOKEN", TOKEN);
    place.hub.allow(MODEL, Access::Gated);
    tell(&place.cli, &["pull", MODEL], 4, "accept its terms");
    tell(&known, &["pull", MODEL], 5, "has not been let in");
    place.hub.allow(MODEL, Access::Private);
    tell(&place.cli, &["pull", MODEL], 4, "HF_TOKEN must be set");
    tell(
        &place.cli.clone().env("HF_TOKEN", "hf_of_somebody_else"),
        &["pull", MODEL],
        4,
        "does not take the token",
    );
    tell(&known, &["pull", "acme/none"], 3, "acme/none");
    place.hub.allow(MODEL, Access::Everybody);
    tell(&place.cli, &["pull", MODEL, "--revision", "never"], 3, "no revision never");
    tell(&place.cli, &["pull", "nothing-short"], 3, "qwen3:0.6b");
    // What the settings don't allow is not requested, and the error names the setting.
    tell(&place.cli.clone().env(ALLOW, "0"), &["pull", MODEL], 2, ALLOW);
    tell(&place.cli, &["pull", MODEL, "--from", "nowhere"], 2, "no address of a hub");
    assert!(place.local().is_empty());
}

#[test]
fn the_token_goes_to_the_hub_and_to_nobody_else() {
    let bytes = weights(7, 10_000);
    let place = Place::with(&tiny(&bytes));
    place.hub.allow(MODEL, Access::Private);
    let done = place.cli.clone().env("HF_TOKEN", TOKEN).run(&["pull", MODEL]);
    assert!(!done.stderr.contains(TOKEN) && !done.stdout.contains(TOKEN));
    done.ok();
    let asked = place.hub.asked();
    assert!(asked.iter().any(|asked| asked.at_storage), "the weights lie elsewhere");
    for asked in asked {
        assert_eq!(asked.token.is_some(), !asked.at_storage, "{asked:?}");
    }
    place.is_proper();
    // The token is not sent to a mirror that is named on the command line.
    let mirror = Hub::start().unwrap();
    mirror.put("acme/other", &tiny(&bytes));
    let cli = place.cli.env("HF_TOKEN", TOKEN);
    cli.run(&["pull", "acme/other", "--from", &mirror.origin()]).ok();
    assert!(mirror.asked().iter().all(|asked| asked.token.is_none()) && !mirror.asked().is_empty());
    assert_eq!(mirror.violations(), Vec::<String>::new());
}

#[test]
fn a_terse_mirror_is_asked_for_each_file() {
    let bytes = weights(8, 50_000);
    let place = Place::with(&tiny(&bytes));
    place.hub.be_terse(MODEL);
    place.pull().ok();
    let heads = place.hub.asked().iter().filter(|asked| asked.method == "HEAD").count();
    assert_eq!(heads, 4);
    place.hub.fail(WEIGHTS, &[Fault::Corrupt]);
    place.cli.run(&["models", "rm", MODEL]).ok();
    assert_eq!(place.pull().code, 9, "its word for a large file is held against the bytes");
    place.is_proper();
}

#[test]
fn one_packed_file_is_pulled_by_its_tag() {
    let (small, large) = (weights(9, 20_000), weights(10, 40_000));
    let place = Place::new();
    place.hub.put(
        "acme/tiny-GGUF",
        &[("tiny-Q4_K_M.gguf", &small), ("tiny-Q8_0.gguf", &large), ("README.md", b"#")],
    );
    let done = place.cli.run(&["pull", "acme/tiny-GGUF"]);
    assert_eq!(done.code, 2, "{}", done.stderr);
    assert!(done.stderr.contains("tiny-q4_k_m, tiny-q8_0"), "{}", done.stderr);
    place.cli.run(&["pull", "acme/tiny-GGUF:Q8_0"]).ok();
    assert_eq!(names(&place.models().join("acme--tiny-GGUF--q8_0")), ["manifest.json", "tiny-Q8_0.gguf"]);
    place.cli.run(&["pull", "acme/tiny-GGUF", "--file", "tiny-Q4_K_M.gguf"]).ok();
    let listed: Vec<String> =
        place.local().iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(listed, ["acme/tiny-GGUF:Q8_0", "acme/tiny-GGUF:tiny-q4_k_m"]);
    assert_eq!(place.cli.run(&["pull", "acme/tiny-GGUF:q2_k"]).code, 3);
    place.is_proper();
}

#[test]
fn a_new_commit_fetches_only_what_changed() {
    let bytes = weights(11, 60_000);
    let place = Place::with(&tiny(&bytes));
    place.pull().ok();
    let mut files = tiny(&bytes);
    files[7] = ("tokenizer_config.json", br#"{"new":true}"#);
    place.hub.put(MODEL, &files);
    place.hub.forget();
    place.pull().ok();
    assert_eq!((place.bytes_for(WEIGHTS), place.asked_for("tokenizer_config.json").len()), (0, 1));
    let directory = place.models().join("acme--tiny");
    assert_eq!(std::fs::read_to_string(directory.join("tokenizer_config.json")).unwrap(), r#"{"new":true}"#);
    assert_eq!(std::fs::read(directory.join(WEIGHTS)).unwrap(), bytes);
    place.is_proper();
}

#[test]
fn programs_are_told_in_documents() {
    let bytes = weights(12, 30_000);
    let place = Place::with(&tiny(&bytes));
    place.hub.fail(WEIGHTS, &[Fault::BreakAfter(10_000), Fault::Status(429)]);
    let events = place.cli.run(&["pull", MODEL, "--json"]).lines();
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!((named("begun"), named("waiting"), named("checked"), named("pulled")), (1, 2, 4, 1));
    let asked_wait = events.iter().filter(|event| event["event"] == "waiting").nth(1).unwrap();
    assert_eq!(asked_wait["wait_ms"], 1_000, "as long as the hub asks");
    assert_eq!(events.last().unwrap()["model"]["bytes"], 30_000 + (CONFIG.len() + 14) as u64);
}
