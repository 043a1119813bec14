//! Runs a page of the documentation: its shell blocks in order, in one shell, against a fresh gateway, with the strict
//! emulators where the page has the providers. What a page shows as printed is compared with what was printed.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use harness::bedrock::access_keys;
use harness::process::{free_port, tidegate};
use harness::{Flavour, Model};

use crate::command::workspace;
use crate::gateway::{self, Gateway, OWN, POOL};

/// One block of a page.
#[derive(Debug)]
enum Block {
    /// A ```sh block, or a comment that begins with `test:`, which sets up what the page takes for granted.
    Shell(String),
    /// A ```sh block whose info string says `terminal`: it goes on while the rest of the page runs.
    Terminal(String),
    /// A block whose info string names the file that holds it.
    File(String, String),
    /// A ```text block: what the block before it printed.
    Printed(String),
}

/// Between what two blocks print.
const MARK: char = '\u{1e}';
/// A page that takes longer hangs. The shell is ended, and what it printed is shown.
const WITHIN_S: &str = "60";
/// Where pages say that the gateway, a node, other gateways and PostgreSQL listen.
const GATEWAY: &str = "127.0.0.1:8787";
const NODE: &str = "127.0.0.1:8081";
/// Where the demo node of `tidegate up` listens, with which readers begin: no page starts anything there.
const DEMO: &str = "127.0.0.1:8080";
const SECOND_GATEWAY: &str = "127.0.0.1:8788";
const THIRD_GATEWAY: &str = "127.0.0.1:8789";
/// With what follows it in an address, since ports of five digits begin with the same ones.
const DATABASE: &str = "127.0.0.1:5432/";

/// Adds the emulators' addresses to the commands that name a provider without one.
const WRAPPER: &str = r#"#!/bin/sh
case "$1 $2 $*" in
*--base-url*) ;;
"credential add "* | "account add "*)
    case "$3" in
    anthropic) set -- "$@" --base-url "$EMULATOR_ANTHROPIC" ;;
    fal) set -- "$@" --base-url "$EMULATOR/fal" ;;
    aws_bedrock) set -- "$@" --base-url "$EMULATOR_BEDROCK" ;;
    gemini) set -- "$@" --base-url "$EMULATOR" ;;
    vertex_ai) set -- "$@" --base-url "$EMULATOR" --config "token_url=$EMULATOR_TOKEN" ;;
    *) set -- "$@" --base-url "$EMULATOR/v1" ;;
    esac ;;
esac
exec "$TIDEGATE_PROGRAM" "$@"
"#;

fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let hidden = line.strip_prefix("<!-- test:");
        let info = line.strip_prefix("```");
        if hidden.is_none() && info.is_none() {
            continue;
        }
        let end = if hidden.is_some() { "-->" } else { "```" };
        let body = lines.by_ref().take_while(|line| *line != end);
        let body = body.fold(String::new(), |body, line| body + line + "\n");
        let mut words = info.unwrap_or("sh").split(' ');
        match (words.next().unwrap_or_default(), words.next()) {
            ("sh", None) => found.push(Block::Shell(body)),
            ("sh", Some("terminal")) => found.push(Block::Terminal(body)),
            ("text", None) => found.push(Block::Printed(body)),
            (_, Some(file)) => found.push(Block::File(file.to_owned(), body)),
            (kind, None) => panic!("a block of {kind} is neither run nor compared: name the file that it is"),
        }
    }
    found
}

/// One program for bash: each block after a mark.
fn script(blocks: &[Block]) -> String {
    let mut script = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n".to_owned();
    for (index, block) in blocks.iter().enumerate() {
        writeln!(script, "printf '{MARK}'").unwrap();
        match block {
            Block::Shell(text) => script.push_str(text),
            Block::File(name, text) => {
                writeln!(script, "cat > {name} <<'END_OF_FILE'\n{text}END_OF_FILE").unwrap()
            }
            Block::Terminal(text) => {
                let log = format!("terminal-{index}");
                writeln!(script, ": > {log}; ( exec >{log} 2>&1\n{text}) &").unwrap();
                if let Some(Block::Printed(printed)) = blocks.get(index + 1) {
                    let parts = printed.lines().next().unwrap().split('…');
                    let first = parts.max_by_key(|part| part.len()).unwrap().trim();
                    // The reader waits for that line, too.
                    writeln!(script, "until grep -qF -- '{first}' {log}; do kill -0 $! || {{ cat {log}; exit 1; }}; done\ncat {log}").unwrap();
                }
            }
            Block::Printed(_) => {}
        }
    }
    script
}

fn environment(gateway: &Gateway) -> Vec<(&'static str, String)> {
    let emulator = &gateway.emulator;
    let file = emulator.service_account(OWN);
    vec![
        ("TIDEGATE_URL", gateway.origin.clone()),
        ("TIDEGATE_API_KEY", gateway.founded.admin_key.clone()),
        ("TIDEGATE_DATA_DIR", gateway.data().display().to_string()),
        ("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS", "1".to_owned()),
        ("TIDEGATE_PROGRAM", tidegate().unwrap().display().to_string()),
        ("OPENAI_API_KEY", OWN.to_owned()),
        ("ANTHROPIC_API_KEY", OWN.to_owned()),
        ("AZURE_API_KEY", OWN.to_owned()),
        ("FAL_KEY", OWN.to_owned()),
        ("POOL_API_KEY", POOL.to_owned()),
        ("BEDROCK_KEYS", access_keys(OWN).to_string()),
        ("EMULATOR_TOKEN", file["token_uri"].as_str().unwrap().to_owned()),
        ("VERTEX_KEY_FILE", file.to_string()),
        ("EMULATOR", emulator.origin()),
        ("EMULATOR_ANTHROPIC", emulator.anthropic_url()),
        ("EMULATOR_BEDROCK", emulator.bedrock_url()),
        ("EXAMPLES", workspace().join("examples").display().to_string()),
        ("NO_PROXY", "*".to_owned()),
    ]
}

/// Runs the page; panics with what was printed where something fails or differs.
pub async fn run(page: &Path) {
    let config = ["gemini-2.5-pro", "gemini-2.5-flash-lite"].into_iter();
    let config = config.fold(gateway::config(), |config, model| config.model(Model::chat(model)));
    let gateway = Gateway::with(config, &[]).await;
    let text = fs::read_to_string(page).unwrap();
    let blocks = blocks(&text);
    assert!(blocks.iter().any(|block| matches!(block, Block::Shell(_))), "{} runs nothing", page.display());
    let free = || format!("127.0.0.1:{}", free_port().unwrap());
    let demo = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = [
        (GATEWAY, gateway.origin.trim_start_matches("http://").to_owned()),
        (NODE, free()),
        (DEMO, demo.local_addr().unwrap().to_string()),
        (SECOND_GATEWAY, free()),
        (THIRD_GATEWAY, free()),
        (DATABASE, free() + "/"),
        ("https://my-resource.openai.azure.com", gateway.emulator.base_url_of(Flavour::Azure)),
        ("https://api.openai.com/v1", gateway.emulator.base_url()),
    ];
    let script = here.iter().fold(script(&blocks), |script, (there, here)| script.replace(there, here));
    let directory = tempfile::tempdir().unwrap();
    let printed = shell(&script, directory.path(), &gateway);
    let printed = here.iter().fold(printed, |printed, (there, here)| printed.replace(here, there));
    let parts: Vec<&str> = printed.split(MARK).skip(1).collect();
    let mut wrong = String::new();
    for (index, block) in blocks.iter().enumerate() {
        let Block::Printed(expected) = block else { continue };
        let actual = parts[index - 1];
        if !same(expected, actual) {
            write!(wrong, "the page has:\n{expected}\nit printed:\n{actual}\n").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}: {wrong}", page.display());
    assert_eq!(gateway.emulator.violations(), [], "{}", page.display());
}

/// Runs the program in this directory; returns what it printed on both streams.
fn shell(script: &str, directory: &Path, gateway: &Gateway) -> String {
    let programs = directory.join("bin");
    fs::create_dir(&programs).unwrap();
    let wrapper = programs.join("tidegate");
    fs::write(&wrapper, WRAPPER).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let python = workspace().join(".venv/bin");
    let path = format!("{}:{}:{}", programs.display(), python.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("timeout");
    command.args([WITHIN_S, "bash", "-c", &format!("exec 2>&1\n{script}")]);
    command.current_dir(directory).env_clear();
    command.env("PATH", path).env("HOME", directory).envs(environment(gateway));
    command.env("NODE_PATH", workspace().join("tests/node/node_modules"));
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}\n{}", output.status, printed.replace(MARK, "── "));
    printed
}

fn same(expected: &str, actual: &str) -> bool {
    same_lines(&expected.lines().collect::<Vec<_>>(), &actual.lines().collect::<Vec<_>>())
}

/// A line `…` stands for any number of lines.
fn same_lines(expected: &[&str], actual: &[&str]) -> bool {
    match (expected.split_first(), actual.split_first()) {
        (None, None) => true,
        (Some((&"…", rest)), _) => (0..=actual.len()).any(|skipped| same_lines(rest, &actual[skipped..])),
        (Some((line, rest)), Some((first, others))) => same_line(line, first) && same_lines(rest, others),
        _ => false,
    }
}

/// Within a line `…` stands for any text: ids, times and addresses differ from run to run. How many spaces are between words
/// doesn't count, since the width of a column follows from its longest value.
fn same_line(expected: &str, actual: &str) -> bool {
    let spaced = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let (expected, actual) = (spaced(expected), spaced(actual));
    let parts: Vec<&str> = expected.split('…').collect();
    let [first, middle @ .., last] = parts.as_slice() else { return expected == actual };
    let Some(mut rest) = actual.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
        return false;
    };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[test]
fn printed_text_is_compared_word_for_word() {
    assert!(same("id  key_…\n…\nlast", "id key_01ab\nx\ny\nlast\n"));
    assert!(same("took … in all", "took 3 ms in all"));
    assert!(same("{…\"b\"…}{…\"d\"…}", "{\"b\": 1}{\"c d\": \"d\"}"));
    let lines = [("a", "a\nb"), ("a\nb", "a"), ("…\nlast", "last\nmore")];
    for (expected, actual) in lines.into_iter().chain([("id key_…", "id prj_01"), ("12 ms", "13 ms")]) {
        assert!(!same(expected, actual), "{expected} is taken for {actual}");
    }
}
