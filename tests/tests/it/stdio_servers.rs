//! MCP servers on standard input and output: programs that the operator declares, each in a sandbox.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use harness::process::{Launch, built, tidegate};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ask::{CHAT, MINI, has, one_call, question, with};
use crate::command::{Cli, workspace};
use crate::gateway::{Gateway, LOCAL_MODEL, OWN, config, id_of};
use crate::isolation::second_workspace;
use crate::tools::{ask, last_result, outcome, refreshed};
use crate::{WITHIN, wait};

/// A directory that every user can reach, as those of installed programs are. Not in `/dev/shm`, where temporary files of tests may be: a
/// sandbox mounts a new `/dev`.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(built("stdio_probe", "STDIO_PROBE_BIN").unwrap(), directory.path().join("probe")).unwrap();
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A declaration of the probe.
    fn probe(&self, more: &str) -> String {
        let place = self.path().display();
        format!("[probe]\ncommand = [\"{place}/probe\"]\nread = [\"{place}/probe\"]\n{more}\n")
    }

    /// A gateway whose operator declares these programs.
    async fn gateway(&self, programs: &str) -> Gateway {
        let file = self.path().join("programs.toml");
        fs::write(&file, programs).unwrap();
        Gateway::with(config(), &[("TIDEGATE_TOOLS_STDIO", &file.display().to_string())]).await
    }
}

/// Declares a program as a server, and reads its tools.
async fn declared(gateway: &Gateway, name: &str, more: Value) -> Value {
    let body = with(json!({"name": name, "url": format!("stdio:{name}")}), more);
    let made = gateway.make("/v2/mcp-servers", body).await;
    refreshed(gateway, &id_of(&made)).await
}

fn call_of(tool: &str, input: Value) -> Value {
    json!({"app": format!("tools/probe__{tool}"), "input": input})
}

/// What a tool of the probe says.
async fn said(gateway: &Gateway, tool: &str, input: Value) -> String {
    let answer = gateway.client().post("/v1/run", &call_of(tool, input)).await.unwrap();
    assert_eq!(answer.status, 200, "{tool}: {}", answer.text());
    let task = answer.json();
    task["data"]["output"]["result"].as_str().unwrap_or_else(|| panic!("{tool}: {task}")).to_owned()
}

/// Processes of this machine that have this text in their command line.
fn processes_with(text: &str) -> BTreeSet<u32> {
    let running = fs::read_dir("/proc").unwrap().flatten();
    let ids = running.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    })
    .collect()
}

#[tokio::test]
async fn a_program_is_a_server_of_a_project() {
    let place = Place::new();
    let gateway = place.gateway(&place.probe("secrets = [\"SHOP_TOKEN\"]\nenv = { MODE = \"test\" }")).await;
    gateway.credential("openai", OWN).await;
    let headers = json!({"shop-token": "s3cr3t-of-the-shop", "other": "unlisted"});
    let auth = json!({"type": "headers", "headers": headers});
    let shown = declared(&gateway, "probe", json!({"auth": auth})).await;
    has(&shown, json!({"health": "ready", "server": "probe 1"}));
    assert_eq!(shown["tools"].as_array().unwrap().len(), 13, "{shown}");
    assert!(!shown.to_string().contains("s3cr3t"), "{shown}");
    gateway.plays(OWN, one_call("probe__env", "{}"));
    let answer = ask(&gateway, "probe", CHAT, &question(MINI)).await.must_be(200);
    assert_eq!(outcome(&gateway, &answer).await, "answered");
    let given = last_result(&gateway);
    let variables: BTreeSet<&str> = given.lines().collect();
    let own = ["HOME=/tmp", "LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/bin:/bin"];
    let declared = ["MODE=test", "SHOP_TOKEN=s3cr3t-of-the-shop"];
    assert_eq!(variables, own.into_iter().chain(declared).collect::<BTreeSet<_>>());
}

#[tokio::test]
async fn a_sandbox_shuts_a_program_in() {
    let place = Place::new();
    let gateway = place.gateway(&place.probe("processes = 16\nmemory_mib = 256")).await;
    declared(&gateway, "probe", json!({})).await;
    let root = said(&gateway, "list", json!({"path": "/"})).await;
    assert_eq!(root, "bin dev etc lib lib64 proc run sbin tmp usr");
    let data = gateway.data().join("master.key");
    for path in ["/etc/shadow", "/root/.bashrc", data.to_str().unwrap(), "/run/proxy.sock"] {
        let text = said(&gateway, "read", json!({"path": path})).await;
        assert!(text.starts_with("error: No such file"), "{path}: {text}");
    }
    let own = place.path().join("probe");
    for path in ["/usr/x", "/x", "/etc/hosts", "/proc/sys/kernel/hostname", own.to_str().unwrap()] {
        let text = said(&gateway, "write", json!({"path": path})).await;
        assert!(text.starts_with("error:"), "{path}: {text}");
    }
    assert_eq!(said(&gateway, "write", json!({"path": "/tmp/x"})).await, "written");
    let processes = said(&gateway, "list", json!({"path": "/proc"})).await;
    assert!(processes.split(' ').filter(|name| name.parse::<u32>().is_ok()).count() <= 3, "{processes}");
    // Neither the gateway nor anything else of this machine's network is there.
    for to in [gateway.address().to_string(), "127.0.0.1:22".to_owned(), "192.0.2.1:443".to_owned()] {
        let text = said(&gateway, "connect", json!({"to": to})).await;
        assert!(text.starts_with("error: Network is unreachable"), "{to}: {text}");
    }
    let text = said(&gateway, "through", json!({"to": "example.com:443"})).await;
    assert!(text.contains("not found"), "there is no proxy: {text}");
    let text = said(&gateway, "spawn", json!({"count": 100})).await;
    let started: u32 = text.split(' ').nth(1).unwrap().parse().unwrap();
    assert!((1..16).contains(&started), "{text}");
    assert_eq!(said(&gateway, "allocate", json!({"mib": 64})).await, "allocated 67108864");
    let text = said(&gateway, "allocate", json!({"mib": 512})).await;
    assert!(text.starts_with("error:"), "{text}");
    let answers = said(&gateway, "client", json!({})).await;
    assert!(answers.contains(r#""result":{}"#) && answers.contains("-32601"), "{answers}");
    let denied = said(&gateway, "python", json!({"code": CALLS})).await;
    assert_eq!(denied, "13 EPERM, clone3 ENOSYS, ['child', 'thread']");
}

/// System calls that no tool needs, as the kernel refuses them to a program, and two that each needs. Without a filter, some are
/// done and others fail for their arguments.
const CALLS: &str = r#"
import ctypes, errno, os, platform, subprocess, threading
X86, ARM = 0, 1
of = X86 if platform.machine() == "x86_64" else ARM
calls = {
    "mount": ((165, 40), 0, 0, 0, 0, 0), "ptrace": ((101, 117), 0, 0, 0, 0), "bpf": ((321, 280), 0, 0, 0),
    "kexec_load": ((246, 104), 0, 0, 0, 0), "keyctl": ((250, 219), 0, -3, 0), "add_key": ((248, 217), 0, 0, 0, 0, 0),
    "userfaultfd": ((323, 282), 0o2000001), "perf_event_open": ((298, 241), 0, 0, -1, -1, 0),
    "unshare": ((272, 97), 0x400), "setns": ((308, 268), -1, 0), "io_uring_setup": ((425, 425), 1, 0),
    "process_vm_readv": ((310, 270), 1, 0, 0, 0, 0, 0), "clone": ((56, 220), 0x10000011, 0, 0, 0, 0),
    "clone3": ((435, 435), 0, 0),
}
libc = ctypes.CDLL(None, use_errno=True)
def failure(numbers, *arguments):
    done = libc.syscall(*[ctypes.c_long(each) for each in (numbers[of], *arguments)])
    return "done" if done != -1 else errno.errorcode[ctypes.get_errno()]
failed = {name: failure(*call) for name, call in calls.items()}
clone3 = failed.pop("clone3")
others = {name: why for name, why in failed.items() if why != "EPERM"}
ran = [subprocess.run(["/bin/echo", "child"], capture_output=True, text=True).stdout.strip()]
thread = threading.Thread(target=lambda: ran.append("thread"))
thread.start()
thread.join()
print(f"{len(failed)} EPERM, clone3 {clone3}, {ran}" if not others else others)
"#;

#[tokio::test]
async fn a_program_reaches_the_hosts_that_are_listed_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"hello from outside");
        }
    });
    let place = Place::new();
    let gateway = place.gateway(&place.probe(&format!("hosts = [\"{there}\", \"localhost:1\"]"))).await;
    declared(&gateway, "probe", json!({})).await;
    let through = async |to: &str| said(&gateway, "through", json!({"to": to})).await;
    let text = through(&there.to_string()).await;
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("hello from outside"), "{text}");
    let text = through(&gateway.address().to_string()).await;
    assert!(text.starts_with("HTTP/1.1 403") && text.contains("The operator lists no 127.0.0.1:"), "{text}");
    let text = through("localhost:1").await;
    assert!(text.starts_with("HTTP/1.1 502"), "{text}");
    let text = said(&gateway, "connect", json!({"to": there.to_string()})).await;
    assert!(text.starts_with("error: Connection refused"), "its own network has nobody there: {text}");
}

#[tokio::test]
async fn a_program_that_misbehaves_does_no_harm() {
    let place = Place::new();
    let programs = place.probe("secrets = [\"TOKEN\"]")
        + "[missing]\ncommand = [\"/opt/no-such-program\"]\n"
        + "[closed]\ncommand = [\"/bin/true\"]\nread = [\"/no/such/directory\"]\n[silent]\ncommand = [\"/bin/true\"]\n";
    let mut gateway = place.gateway(&programs).await;
    gateway.credential("openai", OWN).await;
    let auth = json!({"type": "headers", "headers": {"token": "s3cr3t-of-the-shop"}});
    declared(&gateway, "probe", json!({"auth": auth})).await;
    for (name, error) in [
        ("missing", "sandbox: the program can't be started: No such file"),
        ("closed", "a path of \"read\" can't be passed on: No such file"),
        ("silent", "The MCP server's program ended."),
    ] {
        let shown = declared(&gateway, name, json!({})).await;
        assert_eq!(shown["health"], "unreachable", "{shown}");
        assert!(shown["error"].as_str().unwrap().contains(error), "{shown}");
    }
    let ask = async |tool: &str, arguments: Value| {
        gateway.plays(OWN, one_call(format!("probe__{tool}"), arguments.to_string()));
        let client = gateway.client().header("agent-tools", "probe").header("agent-tool-seconds", "3");
        let answer = client.post(CHAT, &question(MINI)).await.unwrap().must_be(200);
        (outcome(&gateway, &answer).await, last_result(&gateway))
    };
    let words = json!({"words": "bad token s3cr3t-of-the-shop"});
    for (tool, arguments, expected, part) in [
        ("exit", words, "unreachable", "program ended: bad token ***"),
        ("long", json!({"bytes": 6 * 1_024 * 1_024}), "unreachable", "more than the gateway reads"),
        ("hang", json!({}), "timeout", ""),
    ] {
        let (outcome, given) = ask(tool, arguments).await;
        assert_eq!(outcome, expected, "{tool}: {given}");
        assert!(given.contains(part), "{tool}: {given}");
    }
    // What still runs when the gateway is killed is killed with it.
    let probe = place.path().join("probe").display().to_string();
    wait::until("programs whose sessions are over to end", async || processes_with(&probe).is_empty()).await;
    let client = gateway.client();
    let hanging = tokio::spawn(async move { client.post("/v1/run", &call_of("hang", json!({}))).await });
    wait::until("a program to run", async || !processes_with(&probe).is_empty()).await;
    gateway.process().kill9().unwrap();
    wait::until("the program to be killed", async || processes_with(&probe).is_empty()).await;
    assert!(hanging.await.unwrap().is_err());
}

#[tokio::test]
async fn only_what_the_operator_allows_is_started() {
    let place = Place::new();
    let programs = place.probe("") + "[private]\ncommand = [\"/bin/cat\"]\nworkspaces = [\"ws_0\"]\n";
    let gateway = place.gateway(&programs).await;
    let refused = async |body: Value| {
        let answer = gateway.admin().post("/v2/mcp-servers", &body).await.unwrap();
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        (answer.json()["param"].as_str().unwrap().to_owned(), answer.text())
    };
    for name in ["stdio:private", "stdio:", "stdio:../probe", "stdio:/bin/cat", "STDIO:probe"] {
        let (param, text) = refused(json!({"name": "x", "url": name})).await;
        assert_eq!(param, "url", "{name}: {text}");
        assert!(!text.contains("private."), "{name}: {text}");
    }
    let oauth = json!({"name": "x", "url": "stdio:probe", "auth": {"type": "oauth"}});
    assert_eq!(refused(oauth).await.0, "auth.type");
    // A request that names servers itself, for a provider that runs none, names addresses of the network alone.
    gateway.node("cellar", &[LOCAL_MODEL]).await;
    let tools = json!([{"type": "mcp", "server_label": "x", "server_url": "stdio:probe", "require_approval": "never"}]);
    let body = json!({"model": LOCAL_MODEL, "input": "hello there", "tools": tools});
    let answer = gateway.client().post("/v1/responses", &body).await.unwrap();
    assert!((400..600).contains(&answer.status), "{}", answer.text());
    // Without the setting there is none, and a file that can't be used keeps a gateway from starting.
    let other = Gateway::start().await;
    let probe = json!({"name": "x", "url": "stdio:probe"});
    let answer = other.admin().post("/v2/mcp-servers", &probe).await.unwrap();
    assert!(answer.status == 400 && answer.text().contains("tools.stdio"), "{}", answer.text());
    let file = place.path().join("wrong.toml");
    fs::write(&file, "[probe]\ncommand = [\"probe\"]").unwrap();
    let serve = Launch::new(tidegate().unwrap()).args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
    let second = other.directory().join("second").display().to_string();
    Cli::of(tidegate().unwrap()).run(&["init", "--data-dir", &second, "--json"]).json();
    let serve = serve.arg(second);
    let mut process = serve.env("TIDEGATE_TOOLS_STDIO", file.display().to_string()).start().unwrap();
    let ended = process.wait_line("  API      ", WITHIN).await.unwrap_err().to_string();
    assert!(ended.contains("wrong.toml can't be used: [probe]: command must begin"), "{ended}");
}

#[tokio::test]
async fn programs_of_two_tenants_never_meet() {
    let place = Place::new();
    let gateway = place.gateway(&place.probe("secrets = [\"TOKEN\"]")).await;
    let auth = |secret: &str| json!({"type": "headers", "headers": {"token": secret}});
    declared(&gateway, "probe", json!({"auth": auth("first-secret")})).await;
    let other = second_workspace(&gateway).await;
    let body = json!({"name": "probe", "url": "stdio:probe", "auth": auth("second-secret")});
    let made = gateway.with_key(&other.admin_key).post("/v2/mcp-servers", &body).await.unwrap().must_be(201);
    let path = format!("/v2/mcp-servers/{}/refresh", id_of(&made.json()));
    let read = gateway.with_key(&other.admin_key).post(&path, &json!({})).await.unwrap();
    assert_eq!(read.json()["health"], "ready", "{}", read.text());
    assert_eq!(said(&gateway, "write", json!({"path": "/tmp/left"})).await, "written");
    let run = async |tool: &str, input: Value| {
        gateway.with_key(&other.api_key).post("/v1/run", &call_of(tool, input)).await.unwrap().text()
    };
    let seen = run("env", json!({})).await;
    assert!(seen.contains("second-secret") && !seen.contains("first-secret"), "{seen}");
    let seen = run("read", json!({"path": "/tmp/left"})).await;
    assert!(seen.contains("error: No such file"), "{seen}");
}

/// A package of the tests with all that it needs, where every user can read it.
fn install(package: &str, from: &Path, to: &Path, done: &mut BTreeSet<String>) {
    if !done.insert(package.to_owned()) {
        return;
    }
    let (source, target) = (from.join(package), to.join(package));
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    let copied = std::process::Command::new("cp").arg("-rL").args([&source, &target]).status().unwrap();
    assert!(copied.success(), "{package}");
    let text = fs::read_to_string(source.join("package.json")).unwrap();
    let described: Value = serde_json::from_str(&text).unwrap();
    for needed in described["dependencies"].as_object().into_iter().flat_map(|needed| needed.keys()) {
        install(needed, from, to, done);
    }
}

#[tokio::test]
async fn a_server_of_the_protocols_own_sdk_runs_in_a_sandbox() {
    let place = Place::new();
    let modules = place.path().join("node_modules");
    let from = workspace().join("tests/node/node_modules");
    install("@modelcontextprotocol/sdk", &from, &modules, &mut BTreeSet::new());
    let script = place.path().join("server.cjs");
    fs::copy(workspace().join("tests/sdk/stdio_server.cjs"), &script).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|path| path.join("node"));
    let node: PathBuf = found.filter_map(|path| fs::canonicalize(path).ok()).next().unwrap();
    fs::copy(node, place.path().join("node")).unwrap();
    let directory = place.path().display();
    let program = format!(
        "[sums]\ncommand = [\"{directory}/node\", \"{directory}/server.cjs\"]\nread = [\"{directory}\"]\n\
         env = {{ NODE_PATH = \"{directory}/node_modules\" }}"
    );
    let gateway = place.gateway(&program).await;
    has(&declared(&gateway, "sums", json!({})).await, json!({"health": "ready", "server": "sums 1.0"}));
    let add = async |first: Value| {
        let body = json!({"app": "tools/sums__add", "input": {"a": first, "b": 2}});
        gateway.client().post("/v1/run", &body).await.unwrap()
    };
    let answer = add(json!(40)).await;
    assert!(answer.text().contains("the sum is 42"), "{}", answer.text());
    let answer = add(json!("x")).await;
    assert!((400..500).contains(&answer.status), "{}", answer.text());
}

#[test]
fn doctor_starts_a_sandbox_and_looks_for_each_program() {
    let place = Place::new();
    let file = place.path().join("programs.toml");
    let data = tempfile::tempdir().unwrap();
    let data = data.path().display().to_string();
    let rows = |programs: &str| -> Vec<Value> {
        fs::write(&file, programs).unwrap();
        let cli = Cli::new().env("TIDEGATE_TOOLS_STDIO", &file.display().to_string());
        let done = cli.run(&["doctor", "--data-dir", &data, "--json"]);
        let rows = done.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        rows.filter(|row| row["check"] == "sandbox" || row["check"] == "program").collect()
    };
    let levels = |rows: &[Value]| -> Vec<String> {
        rows.iter().map(|row| row["level"].as_str().unwrap().to_owned()).collect()
    };
    let fine = rows(&place.probe("hosts = [\"api.example.com\"]"));
    assert_eq!(levels(&fine), ["fine", "fine"], "{fine:?}");
    // Its file is there, and its sandbox does not have it.
    let hidden = rows(&format!("[probe]\ncommand = [\"{}/probe\"]\n", place.path().display()));
    assert_eq!(levels(&hidden), ["fine", "error"], "{hidden:?}");
    assert!(hidden[1]["fix"].as_str().unwrap().contains("\"read\" of [probe]"), "{hidden:?}");
    let gone = rows("[gone]\ncommand = [\"/opt/gone/x\"]\nread = [\"/opt/gone\"]\n");
    assert_eq!(levels(&gone), ["fine", "error"], "{gone:?}");
    assert!(gone[1]["found"].as_str().unwrap().contains("\"read\" can't be passed on"), "{gone:?}");
    let wrong = rows("[probe]\ncommand = []\n");
    assert_eq!(levels(&wrong), ["error"], "{wrong:?}");
}
