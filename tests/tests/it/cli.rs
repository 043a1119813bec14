//! The command line: what each command prints, for people and for programs, its exit codes, and where secrets go.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::ask::{MINI, has, question, trace_of, words};
use crate::command::{Cli, Done, workspace};
use crate::gateway::{Gateway, NODE, OWN, OWN_SECOND, POOL};

/// Replaces what differs between runs: ids, times, addresses, fingerprints, the last characters of a key.
fn normalize(text: &str, gateway: &Gateway) -> String {
    let text = text.replace(&gateway.emulator.addr().to_string(), "EMULATOR");
    let text = text.replace(&gateway.address().to_string(), "GATEWAY");
    let text = text.replace(&gateway.data().display().to_string(), "DATA");
    let mut out = String::new();
    for line in text.lines() {
        let words = line.split_inclusive(|character: char| {
            !(character.is_ascii_alphanumeric() || "_-:.".contains(character))
        });
        let line: String = words.map(normalize_word).collect();
        let line = without_distances(&line);
        // The count is updated a moment after the call that it counts.
        let line = if line.starts_with("openings ") { "openings  COUNT".to_owned() } else { line };
        // Column widths depend on the content.
        let line =
            line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect::<Vec<_>>().join("  ");
        let _ = writeln!(out, "{line}");
    }
    out
}

/// Replaces how long ago something was, and how far ahead it is.
fn without_distances(line: &str) -> String {
    let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
    for at in 0..words.len() {
        let is_ago = words.get(at + 1).is_some_and(|next| next.starts_with("ago"));
        let is_ahead = at > 0 && words[at - 1].ends_with("in");
        let digits = words[at].trim_end_matches(['s', 'm', 'h', 'd']);
        let is_distance = digits.len() + 1 == words[at].len() && digits.parse::<u64>().is_ok();
        if is_distance && (is_ago || is_ahead) {
            words[at] = "AWHILE".to_owned();
        }
    }
    words.join(" ")
}

fn normalize_word(word: &str) -> String {
    let end = word.trim_end_matches(|character: char| {
        !(character.is_ascii_alphanumeric() || "_-:.".contains(character))
    });
    let rest = &word[end.len()..];
    let is_time = end.len() == 24 && end.ends_with('Z') && end.as_bytes().get(10) == Some(&b'T');
    let is_id = end.split_once('_').is_some_and(|(prefix, id)| prefix.len() <= 4 && id.len() >= 32);
    let is_fingerprint = end.starts_with("tfp_");
    let is_token =
        end.len() == 43 && end.chars().all(|one| one.is_ascii_alphanumeric() || "_-".contains(one));
    if is_token {
        format!("TOKEN{rest}")
    } else if is_time {
        format!("TIME{rest}")
    } else if is_fingerprint {
        format!("tfp_…{rest}")
    } else if is_id {
        format!("{}_…{rest}", end.split('_').next().unwrap_or_default())
    } else {
        word.to_owned()
    }
}

/// A recorded command line session: each command, its exit code, and its output.
pub struct Session<'a> {
    pub gateway: &'a Gateway,
    pub transcript: String,
}

impl Session<'_> {
    pub fn run(&mut self, arguments: &[&str], stdin: &str) -> Done {
        let done = self.gateway.cli().run_with(arguments, stdin);
        let normalized = |text: &str| normalize(text, self.gateway);
        let [command, out, err] =
            [&arguments.join(" "), &done.stdout, &done.stderr].map(|text| normalized(text));
        let _ = writeln!(self.transcript, "$ tidegate {}\n{out}{err}-> {}\n", command.trim(), done.code);
        done
    }

    /// Runs commands that succeed, between commas.
    fn run_each(&mut self, commands: &str) {
        for command in commands.split(", ") {
            self.run(&words(command), "").ok();
        }
    }

    pub fn id(&mut self, arguments: &[&str], stdin: &str) -> String {
        let with_json: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        self.run(&with_json, stdin).json()["id"].as_str().unwrap().to_owned()
    }
}

/// Compares with the golden transcript; `TIDEGATE_GOLDEN=write` replaces it.
pub fn golden(name: &str, transcript: &str) {
    let path = workspace().join("tests/golden").join(name);
    if std::env::var_os("TIDEGATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, transcript).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if kept != transcript {
        let differs = kept.lines().zip(transcript.lines()).position(|(kept, actual)| kept != actual);
        let line = differs.unwrap_or(kept.lines().count());
        let near =
            |text: &str| text.lines().skip(line.saturating_sub(6)).take(14).collect::<Vec<_>>().join("\n");
        let (path, kept, found) = (path.display(), near(&kept), near(transcript));
        panic!("{path} differs at line {}.\nkept:\n{kept}\n\nfound:\n{found}", line + 1);
    }
}

#[tokio::test]
async fn commands_for_people_and_programs() {
    let gateway = Gateway::start().await;
    let base_url = gateway.emulator.base_url();
    let base = ["--base-url", base_url.as_str()];
    let mut session = Session { gateway: &gateway, transcript: String::new() };
    session.run_each("credential list, account list, nodes list, route list");
    let credential = session.id(&["credential", "add", "openai", "--name", "ours", base[0], base[1]], OWN);
    let acme = ["credential", "add", "acme", "--no-verify", base[0], base[1]];
    session.run(&acme, &format!("{OWN_SECOND}\n")).ok();
    session.run(&["credential", "verify", &credential], "").ok();
    session.run(&["credential", "show", &credential], "").ok();
    session.run(&["credential", "rotate", &credential], OWN_SECOND).ok();
    session.run(&["credential", "disable", &credential, "--json"], "").ok();
    session.run(&["credential", "enable", &credential, "--json"], "").ok();
    session.run_each("credential list, credential list --json, credential kinds");
    let account = session.id(&["account", "add", "openai", "--markup-bps", "500", base[0], base[1]], POOL);
    session.run(&["account", "list"], "").ok();
    session.run(&["account", "remove", &account, "--yes"], "").ok();
    let add = format!("nodes add rack --model tide-1 --label gpu,eu --with-key --base-url {base_url}");
    let node = session.id(&words(&add), NODE);
    session.run(&["nodes", "drain", &node, "--json"], "").ok();
    session.run(&["nodes", "list"], "").ok();
    session.run(&["nodes", "remove", &node, "--json", "--yes"], "").ok();
    let route = "route add --model openai/ --profile byok --byok-fallback managed --fallback-on auth,timeout";
    let route = session.id(&words(route), "");
    session.run_each(&format!("route list, route show {route}, plan {MINI}, plan nothing --json"));
    session.run_each(&format!("route remove {route} --yes, workspace list"));
    golden("cli-manage.txt", &session.transcript);
}

#[tokio::test]
async fn commands_that_use_and_look() {
    let gateway = Gateway::with_own().await;
    let mut session = Session { gateway: &gateway, transcript: String::new() };
    session.run_each("usage, billing, request");
    // The month in the snapshot changes; the rest stays the same.
    golden("cli-empty.txt", &without_months(&session.transcript));

    let chat = gateway.cli().run(&["chat", MINI, "hello", "there"]);
    assert_eq!(chat.stdout.trim(), "You said: hello there");
    for part in ["byok openai · openai/gpt-4o-mini", "trc_"] {
        assert!(chat.stderr.contains(part), "{}", chat.stderr);
    }
    let piped = gateway.cli().run_with(&["chat", MINI, "-", "--system", "be brief"], "from a pipe\n").ok();
    assert!(piped.starts_with("You said: from a pipe"), "{piped}");
    let events = gateway.cli().run(&["chat", MINI, "hello", "--json"]).lines();
    let are_chunks = events.iter().all(|event| event["object"] == "chat.completion.chunk");
    assert!(events.len() > 2 && are_chunks, "{events:?}");

    let trace = trace_of(&gateway.chat_ok(&question(MINI)).await);
    gateway.wait_for_usage(4).await;
    let request = gateway.cli().run(&["request", &trace]).ok();
    let served = "served by openai with your own credential";
    for part in ["model     openai/gpt-4o-mini\n", served, "timeline  decoded ", "attempt 1"] {
        assert!(request.contains(part), "{part} is missing: {request}");
    }
    let rows = gateway.cli().run(&["request", "--limit", "2", "--json"]).lines();
    assert_eq!(rows.len(), 2);
    for row in rows {
        // The provider bills the own key.
        assert!(row["cost_micros"] == 0 && row["spend_micros"].as_i64() > Some(0), "{row}");
        assert_eq!(row["spend_micros"], row["provider_cost_micros"], "{row}");
    }
    let usage = gateway.cli().run(&["usage", "--by", "model,mode", "--json"]).json();
    assert_eq!(usage["data"][0]["requests"], 4, "{usage}");
    let table = gateway.cli().run(&["usage", "--by", "mode", "--window", "24h"]).ok();
    assert!(table.lines().count() == 2 && table.contains("byok"), "{table}");
    assert!(table.contains("your providers bill") && !table.contains("provider cost"), "{table}");
    let billing = gateway.cli().run(&["billing", "--json"]).json();
    assert_eq!(billing, gateway.get("/v2/billing/snapshot").await);
    assert!(gateway.cli().run(&["billing"]).ok().contains("byok"));
}

fn without_months(transcript: &str) -> String {
    let month = |line: &str| line.ends_with(" (UTC)");
    transcript.lines().filter(|line| !month(line)).map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn exit_codes_tell_what_failed() {
    let gateway = Gateway::start().await;
    let cli = gateway.cli();
    let missing = "pcr_01900000000070008000000000000000";
    cli.run(&["nonsense"]).failed(2);
    cli.run(&["credential", "add"]).failed(2);
    cli.run(&["credential", "add", "openai"]).failed(2);
    cli.run(&["credential", "show", missing]).failed(3);
    let keyless = Cli::new().env("TIDEGATE_URL", &gateway.origin);
    assert!(keyless.run(&["usage"]).failed(4).contains("TIDEGATE_API_KEY"));
    keyless.clone().env("TIDEGATE_API_KEY", "tg_live_wrong").run(&["usage"]).failed(4);
    let (reader, _) = gateway.key(json!({"name": "reader", "scopes": ["read"]})).await;
    keyless.clone().env("TIDEGATE_API_KEY", &reader).run(&["key", "create", "x"]).failed(5);
    gateway.node("rack", &["tide-1"]).await;
    cli.run(&["nodes", "add", "rack", "--base-url", &gateway.emulator.base_url()]).failed(6);
    gateway.credential("openai", OWN).await;
    let budget = cli.run(&["budget", "add", "--limit", "0.000001", "--json"]).json();
    cli.run(&["chat", MINI, "hello"]).failed(8);
    cli.run(&["budget", "remove", budget["id"].as_str().unwrap(), "--yes"]).ok();
    gateway.emulator.set_key(OWN, harness::KeyState::Revoked);
    cli.run(&["chat", MINI, "hello"]).failed(9);
    // An argument that the server rejects exits like one that the command line rejects itself.
    let wrong = "budget add --limit 1 --period quarter, usage --by modle, usage --window x, \
        route add --profile manged";
    for wrong in wrong.split(", ") {
        cli.run(&words(wrong)).failed(2);
    }
    let elsewhere = Cli::new().env("TIDEGATE_API_KEY", "tg_live_x");
    let away = elsewhere.run(&["usage", "--url", "http://127.0.0.1:9"]).failed(10);
    assert!(away.contains("tidegate serve"), "{away}");
    // With --json the whole problem document goes to standard output.
    let refused = cli.run(&["credential", "show", missing, "--json"]);
    assert_eq!(refused.code, 3);
    has(&serde_json::from_str(&refused.stdout).unwrap(), json!({"code": "not_found", "status": 404}));
    assert!(refused.stderr.is_empty(), "{}", refused.stderr);
}

#[cfg(feature = "control")]
#[tokio::test]
async fn what_was_typed_is_refused_in_its_own_terms() {
    let gateway = Gateway::start().await;
    let cli = gateway.cli();
    for (line, code, what) in [
        ("budget add --limit -5", 2, "Give 0.000001 to 10000000 USD"),
        ("budget add --limit 0", 2, "Give 0.000001 to 10000000 USD"),
        ("alert add spend --above -5", 2, "isn't an amount"),
        ("request list --limit -1", 2, "invalid value '-1'"),
        ("key create x --expires-in-days -1", 2, "invalid value '-1'"),
        ("reconcile --provider openai --tolerance -3 a.csv", 2, "isn't a percentage"),
        ("whoami --url localhost:8787", 2, "Write it as http://localhost:8787."),
        ("request show nope", 3, "`tidegate request list`"),
    ] {
        let refused = cli.run(&words(line)).failed(code);
        assert!(refused.contains(what), "{line}: {refused}");
    }
    assert!(cli.run_with(&["chat", MINI, ""], " \n").failed(2).contains("The prompt is empty"));
    has(&cli.run(&["session", "open", "support", "--json"]).json(), json!({"name": "support"}));
    let version = cli.run(&["version", "--json"]).json();
    assert_eq!(version, json!({"version": env!("CARGO_PKG_VERSION")}));
    // A dry run shows no secret, and a revoked key of one's own is announced.
    let tried = cli.run(&["key", "create", "x", "--dry-run", "--json"]).json();
    assert_eq!((&tried["name"], tried.get("key")), (&json!("x"), None), "{tried}");
    let budget = cli.run(&["budget", "add", "--limit", "5", "--json"]).json();
    let kept = cli.run(&["budget", "remove", budget["id"].as_str().unwrap(), "--dry-run"]).ok();
    assert!(kept.contains("nothing was changed. Without --dry-run: "), "{kept}");
    let (key, _) = gateway.key(json!({"name": "mine", "scopes": ["admin"]})).await;
    let own = cli.clone().env("TIDEGATE_API_KEY", &key);
    let tried = own.run(&["key", "revoke", "mine", "--dry-run"]);
    assert!(tried.code == 0 && tried.stderr.contains("This is the key that you use"), "{tried:?}");
    let revoked = own.run(&["key", "revoke", "mine", "--yes"]);
    assert!(revoked.code == 0 && revoked.stderr.contains("`tidegate login`"), "{revoked:?}");
    // What was paid ahead and what was given up have words.
    assert!(cli.run(&["billing", "credit"]).ok().contains("has no prepaid credit"));
    let made = cli.run(&["billing", "add-credit", "25.50", "--note", "number 7", "--json"]).json();
    assert_eq!(made["credited_micros"], 25_500_000, "{made}");
    let credit = cli.run(&["billing", "add-credit", "-0.50", "--of", &gateway.founded.workspace_id]).ok();
    assert!(credit.contains("$25.000000 left of $25.000000") && credit.contains("-$0.500000"), "{credit}");
    assert!(credit.contains("number 7"), "{credit}");
    assert_eq!(cli.run(&["billing", "credit", "--json"]).json(), gateway.get("/v2/billing/account").await);
    for wrong in ["x", "--5", "1e3"] {
        cli.run(&["billing", "add-credit", wrong]).failed(2);
    }
    let jobs = cli.run(&["jobs"]).ok();
    assert!(jobs.contains("0 given up") && jobs.contains("Nothing was given up."), "{jobs}");
    assert!(cli.run(&["jobs", "--json"]).json()["waiting"].is_number());
    let theirs = cli.env("TIDEGATE_API_KEY", &gateway.workspace("tenant").await.admin_key);
    theirs.run(&["jobs"]).failed(5);
    theirs.run(&["billing", "add-credit", "5"]).failed(5);
}

#[cfg(feature = "control")]
#[tokio::test]
async fn commands_about_tasks_files_and_apps_say_what_is_wrong() {
    let gateway = Gateway::with_own().await;
    let cli = gateway.cli();
    let usage = cli.run(&["run"]).failed(2);
    assert!(usage.contains("tidegate run [OPTIONS] <APP> --input"), "{usage}");
    let unknown = cli.run(&["run", "acme/nosuch", "--input", "{\"number\": \"1\"}"]).failed(3);
    assert!(unknown.contains("acme/nosuch"), "{unknown}");
    for value in ["1", "0", ""] {
        cli.clone().env("TIDEGATE_NO_INPUT", value).run(&["task", "list"]).ok();
    }
    let wrong = cli.run(&["task", "follow", "tsk_x"]).failed(3);
    assert!(wrong.contains("\"tsk_x\" isn't an id of a task"), "{wrong}");
    for id in ["../../v2/api-keys", ".."] {
        cli.run(&["task", "show", id]).failed(3);
    }
    cli.run(&["run", MINI, "--input", "prompt=hello"]).ok();
    let tasks = cli.run(&["task", "list", "--json"]).lines();
    let id = tasks[0]["id"].as_str().unwrap();
    let ended = cli.run(&["task", "cancel", id]).failed(6);
    assert!(ended.contains("has ended (completed)"), "{ended}");
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("nothing"), folder.path().to_owned()] {
        cli.run(&["file", "put", &path.display().to_string()]).failed(2);
    }
}

#[cfg(feature = "control")]
#[tokio::test]
async fn a_secret_that_is_refused_is_a_failure() {
    let gateway = Gateway::start().await;
    let cli = gateway.cli();
    let base_url = gateway.emulator.base_url();
    let base = ["--base-url", base_url.as_str()];
    // Only the operator disables an account: the finding is reported next to its unchanged status.
    for (noun, what, status) in [
        ("credential", "openai refused this key: openai refused the credential", "invalid"),
        ("account", "This key could not be verified: openai refused the credential", "active"),
    ] {
        let add = [noun, "add", "openai", base[0], base[1]];
        let error = cli.run_with(&add, "sk-nobodys").failed(9);
        assert!(error.contains(what) && !error.contains("sk-nobodys"), "{error}");
        let json = cli.run_with(&[&add[..], &["--name", "again", "--json"]].concat(), "sk-nobodys");
        let kept: Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!((json.code, &kept["status"]), (9, &json!(status)), "{json:?}");
        let id = kept["id"].as_str().unwrap();
        let version = || cli.run(&[noun, "show", id, "--json"]).json()["secret_version"].clone();
        let refused = cli.run_with(&[noun, "rotate", id], "sk-nobodys").failed(9);
        assert!(refused.contains("The old secret still serves.") && version() == 1, "{refused}");
        cli.run_with(&[noun, "rotate", id, "--no-verify"], "sk-nobodys").ok();
        cli.run(&[noun, "verify", id]).failed(9);
        cli.run_with(&[noun, "rotate", id], OWN).ok();
        assert_eq!(version(), 3);
        cli.run_with(&[noun, "add", "openai", "--no-verify", base[0], base[1]], "sk-nobodys").ok();
        let away = [noun, "add", "openai", "--base-url", "http://127.0.0.1:9/v1"];
        assert!(cli.run_with(&away, OWN).failed(9).contains("This key could not be verified: "));
    }
    let node = ["nodes", "add", "attic", "--base-url", "http://127.0.0.1:9/v1"];
    assert!(cli.run(&node).failed(9).contains("The node attic is kept as node_"));
    cli.run(&["nodes", "add", "later", "--no-verify", node[3], node[4]]).ok();
}

#[cfg(feature = "control")]
#[tokio::test]
async fn keys_and_workspaces_are_made_and_shown_once() {
    let gateway = Gateway::with_own().await;
    let create = "key create ci --scope inference,read --expires-in-days 7 --ip 127.0.0.1 \
        --environment staging --json";
    let made = gateway.cli().run(&words(create)).json();
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("tg_test_"), "{made}");
    assert_eq!(gateway.with_key(key).get("/v2/usage").await.unwrap().status, 200);
    let list = gateway.cli().run(&["key", "list"]).ok();
    assert!(list.contains("ci") && !list.contains(key), "{list}");
    let id = made["id"].as_str().unwrap();
    for one in [["key", "set", id], ["project", "set", "default"]] {
        let set = |options: &[&str]| gateway.cli().run(&[&one[..], options, &["--json"][..]].concat()).json();
        assert_eq!(set(&["--origin", "https://app.example"])["origins"], json!(["https://app.example"]));
        assert_eq!(set(&["--no-origins"])["origins"], json!([]));
    }
    assert_ne!(made["ip_allowlist"], json!([]));
    has(&gateway.cli().run(&["key", "set", id, "--no-ips", "--json"]).json(), json!({"ip_allowlist": []}));
    gateway.cli().run(&["key", "revoke", id, "--yes"]).ok();
    assert_eq!(gateway.with_key(key).get("/v2/usage").await.unwrap().status, 401);
    let workspace = gateway.cli().run(&["workspace", "create", "others", "--json"]).json();
    let names: Vec<&str> = workspace.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["workspace_id", "project_id", "admin_key", "api_key"]);
}

#[cfg(feature = "control")]
#[tokio::test]
async fn secrets_are_never_arguments() {
    let gateway = Gateway::start().await;
    // A secret is never accepted as an argument.
    let node = "nodes add rack --base-url http://x/v1 --with-key";
    for add in
        ["credential add openai", "credential add openai --secret", "account add openai --secret", node]
    {
        gateway.cli().run(&words(&format!("{add} {OWN}"))).failed(2);
    }
    // While the command runs, its process arguments hold no secret either.
    gateway.emulator.script_all([]);
    let mut child = std::process::Command::new(harness::process::tidegate().unwrap())
        .args(["credential", "add", "openai", "--base-url", &gateway.emulator.base_url()])
        .env("TIDEGATE_URL", &gateway.origin)
        .env("TIDEGATE_API_KEY", &gateway.founded.admin_key)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let command_line = std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), OWN.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let canary = harness::canary::Canary::new().plant("own", OWN);
    assert_eq!(canary.scan("its arguments", &command_line), []);
    assert_eq!(canary.scan("its output", &output.stdout), []);
    // The environment is read only on request.
    let cli = gateway.cli().env("OPENAI_API_KEY", OWN_SECOND);
    let base_url = gateway.emulator.base_url();
    let import = ["credential", "add", "openai", "--from-env", "--base-url", &base_url, "--json"];
    has(&cli.run(&import).json(), json!({"status": "active"}));
    gateway.cli().run(&["credential", "add", "openai", "--from-env"]).failed(2);
}

#[cfg(feature = "control")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_sums_up_what_was_served_a_moment_ago() {
    let gateway = Gateway::with_own().await;
    let cli = gateway.cli();
    assert_eq!(cli.run(&["top"]).ok(), "0 requests in the last 5 minutes, 0.0 a minute\n");
    for _ in 0..2 {
        gateway.settled(&trace_of(&gateway.chat_ok(&question(MINI)).await)).await;
    }
    let top = cli.run(&["top", "--minutes", "2", "--once"]).ok();
    let lines: Vec<_> = top.lines().collect();
    assert_eq!(lines[0], "2 requests in the last 2 minutes, 1.0 a minute");
    assert!(lines[1].starts_with("model") && lines[2].starts_with(MINI), "{top}");
    assert!(lines[2].contains(" 1.0 "), "{top}");
    has(&cli.run(&["top", "--by", "mode", "--json"]).json(), json!({"mode": "byok", "requests": 2}));
    assert_eq!(cli.run(&["top", "--filter", "model:nothing"]).ok().lines().count(), 1);
    cli.run(&["top", "--by", "weather"]).failed(2);
    cli.run(&["top", "--minutes", "0"]).failed(2);
}

const COMMANDS: &str = "init serve node nodes adapters train key credential account route plan usage billing request ledger config doctor \
    chat completions login logout whoami member project apply export context audit jobs open api backup restore";

#[cfg(feature = "control")]
#[test]
fn help_completions_and_settings() {
    let cli = Cli::new();
    let help = cli.run(&["--help"]).ok();
    for command in COMMANDS.split_whitespace() {
        let holds = help.lines().any(|line| line.trim_start().starts_with(&format!("{command} ")));
        assert!(holds, "{command} is missing: {help}");
        assert!(cli.run(&[command, "--help"]).ok().contains("Usage"));
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(cli.run(&["completions", shell]).ok().contains("tidegate"));
    }
    assert!(cli.run(&["--version"]).ok().starts_with("tidegate "));
    let root = tempfile::tempdir().unwrap();
    let pages = root.path().join("man");
    assert!(cli.run(&["man"]).ok().contains(".TH tidegate 1"));
    cli.run(&["man", &pages.display().to_string()]).ok();
    let page = std::fs::read_to_string(pages.join("tidegate-key-create.1")).unwrap();
    assert!(page.contains("What it may do"), "{page}");
    let file = root.path().join("tidegate.toml");
    std::fs::write(&file, "workers = 3\n[journal]\ndurability = \"synced\"\n").unwrap();
    let cli = cli
        .env("TIDEGATE_MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
        .env("TIDEGATE_WORKERS", "4");
    let explain =
        ["config", "explain", "--config", &file.display().to_string(), "--listen", "127.0.0.1:1", "--json"];
    let rows = cli.run(&explain).lines();
    let of = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap().clone();
    assert_eq!(of("listen")["origin"], "flag");
    let expected = (&json!("4"), &json!("environment TIDEGATE_WORKERS"));
    assert_eq!((&of("workers")["value"], &of("workers")["origin"]), expected);
    assert_eq!(of("journal.durability")["value"], "synced");
    assert_eq!(of("master_key")["value"], "(set)");
    std::fs::write(&file, "workres = 3\n").unwrap();
    let explain = ["config", "explain", "--config", &file.display().to_string()];
    assert!(Cli::new().run(&explain).failed(2).contains("workres"));
    let nowhere = Cli::new().env("TIDEGATE_LISTEN", "nowhere").run(&["serve"]).failed(2);
    assert!(nowhere.contains("TIDEGATE_LISTEN"));
}

/// Lets everybody read a file.
fn open_to_all(file: &std::path::Path) {
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
}

#[cfg(feature = "control")]
#[tokio::test]
async fn doctor_finds_what_is_wrong() {
    let gateway = Gateway::start().await;
    let data = gateway.data().display().to_string();
    let arguments = ["doctor", "--data-dir", &data, "--json"];
    gateway.credential("openai", OWN).await;
    let fine = gateway.cli().run(&arguments).lines();
    assert!(fine.iter().all(|row| row["level"] != "error"), "{fine:?}");
    assert!(fine.iter().any(|row| row["check"] == "gateway" && row["level"] == "fine"), "{fine:?}");
    open_to_all(&gateway.data().join("master.key"));
    gateway.make("/v2/byoc/nodes", json!({"name": "gone", "base_url": "http://127.0.0.1:9/v1"})).await;
    let cli = gateway.cli().env("OPENAI_BASE_URL", &gateway.origin).env("OPENAI_API_KEY", "sk-x");
    let done = cli.run(&arguments);
    assert_eq!(done.code, 11, "{done:?}");
    let rows: Vec<Value> = done.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for check in ["master key", "node", "environment"] {
        let row = rows.iter().find(|row| row["check"] == check && row["level"] != "fine");
        assert!(row.is_some_and(|row| !row["fix"].as_str().unwrap().is_empty()), "{check}: {rows:?}");
    }
    let away = Cli::new().run(&["doctor", "--data-dir", &data]);
    assert!(away.stdout.contains("chmod 600"), "{away:?}");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn commands_that_declare() {
    let gateway = Gateway::start().await;
    let mut session = Session { gateway: &gateway, transcript: String::new() };
    let file = gateway.data().join("wanted.toml");
    let wanted = file.display().to_string();
    let first = "[[project]]\nname = \"web\"\nenvironment = \"staging\"\n\n[[node]]\nname = \"rack\"\nbase_url = \"http://127.0.0.1:9/v1\"\nmodels = [\"tide-1\"]\n\n\
                 [[route]]\nscope = { project = \"web\" }\nprofiles = [\"byoc\"]\n";
    std::fs::write(&file, first).unwrap();
    session.run_each("project create api --json, project set api --environment staging --json");
    session.run_each("project list, project list --output csv, project remove api --yes");
    session.run(&["project", "show", "nothing"], "").failed(3);
    session.run_each(&format!("apply -f {wanted} --dry-run, apply -f {wanted}, apply -f {wanted}"));
    std::fs::write(&file, first.replace("\"byoc\"", "\"byoc\", \"byok\"")).unwrap();
    session.run(&["apply", "-f", &wanted, "--json"], "").ok();
    std::fs::write(&file, "owns = [\"route\"]\n").unwrap();
    session.run(&["apply", "-f", &wanted], "").ok();
    session.run(&["apply", "-f", &wanted, "--prune", "--yes"], "").ok();
    std::fs::write(&file, "[[project]]\nname = \"x\"\nenviron = \"y\"\n").unwrap();
    session.run(&["apply", "-f", &wanted], "").failed(2);
    session.run(&["request", "--filter", "status:erorr"], "").failed(2);
    session.run(&["request", "--filter", "key:nobody"], "").failed(2);
    session.run(&["open", "usage", "--print"], "").ok();
    session.run(&["open", "nowhere"], "").failed(2);
    session.run(&["api", "get", "/v2/workspaces", "--json"], "").ok();
    golden("cli-declare.txt", &session.transcript);
}

#[cfg(feature = "control")]
#[tokio::test]
async fn contexts_are_chosen_and_never_tell_their_keys() {
    let gateway = Gateway::start().await;
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("tidegate");
    std::fs::create_dir(&directory).unwrap();
    let file = directory.join("contexts.toml");
    let key = gateway.founded.admin_key.as_str();
    let context = |name: &str, url: &str, key: &str| {
        format!("[contexts.{name}]\nurl = \"{url}\"\nworkspace_id = \"ws_1\"\napi_key = \"{key}\"\n")
    };
    let (here, gone) =
        (context("here", &gateway.origin, key), context("gone", "http://127.0.0.1:9", "tg_live_gone"));
    std::fs::write(&file, format!("current = \"gone\"\n{here}{gone}")).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let cli = Cli::new().env("XDG_CONFIG_HOME", &home.path().display().to_string());
    let mut output = cli.run(&["context", "list"]).ok();
    cli.run(&["whoami"]).failed(10);
    let expected = gateway.founded.workspace_id.as_str();
    assert_eq!(cli.run(&["whoami", "--context", "here", "--json"]).json()["workspace_id"], expected);
    // A flag overrides the environment, which overrides the context.
    cli.clone().env("TIDEGATE_CONTEXT", "here").run(&["whoami"]).ok();
    cli.clone().env("TIDEGATE_CONTEXT", "here").run(&["whoami", "--context", "gone"]).failed(10);
    cli.clone().env("TIDEGATE_API_KEY", key).env("TIDEGATE_URL", &gateway.origin).run(&["whoami"]).ok();
    output += &cli.run(&["context", "use", "here"]).ok();
    output += &cli.run(&["context", "show"]).ok();
    output += &cli.run(&["context", "show", "gone", "--json"]).ok();
    cli.run(&["whoami"]).ok();
    output += &cli.run(&["context", "remove", "gone", "--yes"]).ok();
    cli.run(&["context", "use", "gone"]).failed(3);
    assert_eq!(cli.run(&["context", "list", "--json"]).lines().len(), 1);
    assert!(!output.contains("tg_"), "{output}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // A file that other users can read is refused.
    open_to_all(&file);
    assert!(cli.run(&["whoami"]).failed(1).contains("chmod 600"));
}

#[cfg(feature = "control")]
#[tokio::test]
async fn rows_come_live_and_in_each_form() {
    let gateway = Gateway::with_own().await;
    gateway.chat_ok(&question(MINI)).await;
    gateway.wait_for_usage(1).await;
    let tail = gateway.cli().follow(&["requests", "--follow", "--filter", "status:ok", "--json"]);
    let first = tail.line();
    gateway.chat(&crate::ask::with(question(MINI), json!({"model": "no-such-model"}))).await;
    let trace = trace_of(&gateway.chat_ok(&question(MINI)).await);
    let second = tail.line();
    drop(tail);
    assert_eq!((&second["id"], &second["status"]), (&json!(trace), &json!(200)), "after {first}");

    let csv = gateway.cli().run(&["requests", "--output", "csv"]).ok();
    assert!(csv.starts_with("id,started_at,status,") && csv.lines().count() == 4, "{csv}");
    let plot = gateway.cli().run(&["usage", "--by", "model", "--window", "24h", "--plot"]).ok();
    let parts = ["openai/gpt-4o-mini", "█", "requests by hour"];
    assert!(parts.iter().all(|part| plot.contains(part)), "{plot}");
    gateway.cli().run(&["usage", "--plot", "nothing"]).failed(2);
    let latency = gateway.cli().run(&["usage", "--by", "model", "--latency"]).ok();
    assert!(latency.contains("success rate") && latency.contains("p95 "), "{latency}");
    let audit = gateway.cli().run(&["audit", "--limit", "5"]).ok();
    assert!(audit.contains("credential.create"), "{audit}");
    let plain = gateway.cli().run(&["audit"]).ok();
    let painted = gateway.cli().env("FORCE_COLOR", "1").run(&["audit"]).ok();
    let refused = gateway.cli().env("FORCE_COLOR", "1").env("NO_COLOR", "1").run(&["audit"]).ok();
    assert!(painted.contains('\u{1b}') && !plain.contains('\u{1b}') && !refused.contains('\u{1b}'));
    // The output states what went wrong, how to fix it, and the id to give the operator.
    let error = gateway.cli().run(&["request", "trc_01900000000070008000000000000000"]).failed(3);
    assert!(error.contains("\n  fix: ") && error.contains("\n  Tidegate request id: trc_"), "{error}");
    // A reader that leaves ends a command without a word.
    let missing = "request trc_01900000000070008000000000000000 --json";
    let listings = ["requests", "requests --json", "requests --output csv", "requests --follow"];
    for command in listings.into_iter().chain(["completions bash", "whoami", missing]) {
        let done = gateway.cli().run_unread(&words(command));
        assert_eq!((done.code, done.stderr.as_str()), (141, ""), "{command:?}");
    }
}
