//! Workers of a node: processes of this machine, of another one over a real SSH server, objects of a cluster by manifests that fit
//! its schemas, and somebody else's service with signed calls. Nothing can be started but what the configuration allows.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::Secret;
use harness::client::{Answer, Client};
use harness::process::{Launch, Process, free_address, tidegate};
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::WITHIN;
use crate::ask::{has, with};
use crate::command::workspace;
use crate::wait::found;
use crate::webhooks::next_request;

const WORKERS: &str = "/v1/compute/workers";
const VALUE: &str = "s3cr3t-value-of-a-variable";

/// A node with a configuration of workers.
struct Boss {
    root: tempfile::TempDir,
    address: String,
    process: Option<Process>,
}

impl Boss {
    fn new() -> Self {
        let address = free_address().unwrap().to_string();
        Self { root: tempfile::tempdir().unwrap(), address, process: None }
    }

    async fn start(&mut self, config: &str, more: &[&str]) {
        let path = self.root.path().join("node.toml");
        fs::write(&path, config).unwrap();
        let data = self.root.path().join("data").display().to_string();
        let launch = Launch::new(tidegate().unwrap()).args(["node", "--model", "echo", "--data-dir", &data]);
        let launch = launch.args(["--listen", &self.address, "--config", &path.display().to_string()]);
        let mut process = launch.args(more.iter().copied()).start().unwrap();
        process.wait_text("listens on", WITHIN).await.unwrap();
        self.process = Some(process);
    }

    fn client(&self) -> Client {
        Client::new(format!("http://{}", self.address)).within(WITHIN)
    }

    async fn order(&self, provider: &str, body: &Value) -> Answer {
        self.client().post(&format!("{WORKERS}?provider={provider}"), body).await.unwrap()
    }

    async fn ordered(&self, provider: &str, body: &Value) -> String {
        let made = self.order(provider, body).await.must_be(202).json();
        assert_eq!(made["job_id"], made["instance_id"], "{made}");
        made["job_id"].as_str().unwrap().to_owned()
    }

    async fn show(&self, id: &str) -> Value {
        self.client().get(&format!("{WORKERS}/{id}")).await.unwrap().json()
    }

    async fn until(&self, id: &str, status: &str) -> Value {
        found(&format!("{id} to be {status}"), async || {
            Some(self.show(id).await).filter(|worker| worker["status"] == status)
        })
        .await
    }

    async fn log(&self, id: &str) -> String {
        let logs = self.client().get(&format!("{WORKERS}/{id}/logs")).await.unwrap().json();
        logs["log"].as_str().unwrap().to_owned()
    }

    async fn until_logged(&self, id: &str, text: &str) -> String {
        found(&format!("{text} in the log"), async || {
            Some(self.log(id).await).filter(|log| log.contains(text))
        })
        .await
    }

    async fn destroy(&self, id: &str) {
        self.client().delete(&format!("{WORKERS}/{id}")).await.unwrap().must_be(202);
        self.until(id, "destroyed").await;
    }
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &json!(code)), "{}", answer.text());
}

fn is_alive(pid: &str) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The first number of a log, which is a process's.
fn pid_of(log: &str) -> String {
    log.split_once("pid ").unwrap().1.chars().take_while(char::is_ascii_digit).collect()
}

fn steps(worker: &Value) -> Vec<&str> {
    worker["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect()
}

async fn refuses_what_is_not_listed(boss: &Boss) {
    for (provider, spec, code) in [
        ("exec", json!({"command": "/bin/ls"}), "invalid_value"),
        ("exec", json!({"command": "shell", "arguments": ["-x"]}), "invalid_value"),
        ("ssh", json!({"host": "a", "command": "b"}), "worker_provider_missing"),
        ("lambda", json!({}), "invalid_value"),
    ] {
        let answer = boss.order(provider, &json!({"spec": spec})).await;
        refused(&answer, if provider == "ssh" { 404 } else { 400 }, code);
    }
    let preload = json!({"spec": {"command": "shell"}, "env": {"LD_PRELOAD": "/tmp/x.so"}});
    refused(&boss.order("exec", &preload).await, 400, "invalid_value");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_started_outlives_its_node_and_is_destroyed_with_all_that_it_started() {
    let mut boss = Boss::new();
    let listen = free_address().unwrap().to_string();
    let config = format!(
        "[workers]\nmax = 2\n\
         [workers.exec.commands.node]\nprogram = '{}'\narguments = ['node', '--model', 'echo', '--listen', '{listen}']\n\
         address = 'http://{listen}'\nnano_usd_per_hour = 3600000000000\n\
         [workers.exec.commands.shell]\nprogram = '/bin/sh'\narguments = ['-c', 'sleep 600 & echo pid $!; echo \"$TIDE\"; wait']\n\
         environment = ['TIDE']\n\
         [workers.exec.commands.once]\nprogram = '/bin/sh'\narguments = ['-c', 'exit 7']\n",
        tidegate().unwrap().display()
    );
    boss.start(&config, &[]).await;
    refuses_what_is_not_listed(&boss).await;

    let node = boss.ordered("exec", &json!({"spec": {"command": "node", "idle_minutes": 60}})).await;
    let shown = boss.until(&node, "running").await;
    assert_eq!(steps(&shown), ["start", "wait until it answers"]);
    has(&shown, json!({"ip": "127.0.0.1", "idle_minutes": 60}));
    has(&shown["cost"], json!({"stated_by": "owner", "is_verified": false}));
    let spent = async || boss.show(&node).await["cost"]["spent_nano_usd"].as_u64().unwrap();
    found("a cost that grows", async || Some(spent().await).filter(|spent| *spent > 0)).await;
    let worker = Client::new(format!("http://{listen}")).within(WITHIN);
    assert_eq!(worker.get("/v1/health").await.unwrap().status, 200, "it is a node that answers");

    let shell = boss.ordered("exec", &json!({"spec": {"command": "shell"}, "env": {"TIDE": VALUE}})).await;
    boss.until(&shell, "running").await;
    let log = boss.until_logged(&shell, "[TIDE]").await;
    assert!(!log.contains(VALUE), "{log}");
    let pid = pid_of(&log);
    let shown = boss.client().get(WORKERS).await.unwrap().text();
    assert!(shown.contains("TIDE") && !shown.contains(VALUE), "{shown}");
    refused(&boss.order("exec", &json!({"spec": {"command": "once"}})).await, 409, "worker_limit");

    // The node goes, and they stay.
    drop(boss.process.take());
    assert!(is_alive(&pid), "a worker outlives its node");
    boss.start(&config, &[]).await;
    assert_eq!(boss.show(&shell).await["status"], "running");
    assert!(!boss.log(&shell).await.contains(VALUE));
    boss.destroy(&shell).await;
    assert!(!is_alive(&pid), "what it started is gone with it");
    let log = boss.log(&shell).await;
    assert!(log.contains("[TIDE]") && !log.contains(VALUE), "its log outlives its secrets: {log}");
    // Jobs of any kind are polled there.
    let ended = boss.client().get(&format!("/v1/train/jobs/{shell}")).await.unwrap().json();
    has(&ended, json!({"status": "destroyed", "id": shell}));

    let once = boss.ordered("exec", &json!({"spec": {"command": "once"}})).await;
    let failed = boss.until(&once, "failed").await;
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains('7') || error.contains("gone"), "{failed}");
    boss.destroy(&once).await;
    boss.destroy(&node).await;
    assert!(worker.get("/v1/health").await.is_err(), "the node that it started is gone");
    refused(&boss.client().get(&format!("{WORKERS}/worker-none")).await.unwrap(), 404, "worker_not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_workers_starts_none_and_a_strict_one_none_elsewhere() {
    let mut boss = Boss::new();
    boss.start("", &[]).await;
    refused(&boss.order("exec", &json!({"spec": {"command": "node"}})).await, 404, "worker_provider_missing");
    let mut strict = Boss::new();
    strict.start("[workers.kubernetes]\nimages = ['tidegate:1']\n", &[]).await;
    let order = json!({"spec": {"model": "echo"}});
    refused(&strict.order("kubernetes", &order).await, 404, "worker_provider_missing");
}

fn ran(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A real SSH server on loopback that knows one key.
struct Sshd {
    child: std::process::Child,
    port: u16,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sshd {
    fn start(root: &Path) -> Self {
        let path = |name: &str| root.join(name).display().to_string();
        for key in ["host_key", "key"] {
            ran("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]);
        }
        fs::copy(root.join("key.pub"), root.join("authorized")).unwrap();
        let port = free_address().unwrap().port();
        let host_key = fs::read_to_string(root.join("host_key.pub")).unwrap();
        fs::write(root.join("known_hosts"), format!("[127.0.0.1]:{port} {host_key}")).unwrap();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\nPermitRootLogin prohibit-password\n",
            path("host_key"),
            path("authorized")
        );
        fs::write(root.join("sshd_config"), config).unwrap();
        let _ = fs::create_dir_all("/run/sshd");
        let log = fs::File::create(root.join("sshd.log")).unwrap();
        let mut server = Command::new("/usr/sbin/sshd");
        let child = server.args(["-D", "-e", "-f", &path("sshd_config")]).stderr(log).spawn().unwrap();
        Self { child, port }
    }
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn ssh_config(root: &Path, port: u16, known_hosts: &str) -> String {
    let path = |name: &str| root.join(name).display().to_string();
    format!(
        "[workers.ssh.hosts.rack]\nhost = '127.0.0.1'\nport = {port}\nuser = '{}'\nkey_file = '{}'\nknown_hosts = '{}'\n\
         [workers.ssh.hosts.rack.commands.shell]\nprogram = '/bin/sh'\ntakes_arguments = true\nenvironment = ['TIDE']\n\
         arguments = ['-c', 'sleep 600 & echo \"pid $! $TIDE\"; printf \"<%s>\" \"$@\"; wait', 'sh']\n",
        user(),
        path("key"),
        path(known_hosts)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_of_another_machine_is_started_watched_and_destroyed_over_ssh() {
    let mut boss = Boss::new();
    let root = boss.root.path().to_owned();
    let sshd = Sshd::start(&root);
    found("the SSH server", async || std::net::TcpStream::connect(("127.0.0.1", sshd.port)).ok()).await;
    fs::write(root.join("strangers"), "").unwrap();
    let (open, config) = ("--runtime-local-only-strict=false", ssh_config(&root, sshd.port, "known_hosts"));
    boss.start(&config, &[open]).await;
    let words = ["it's", "$(touch /tmp/tidegate-injected)", "`id`", "a  b", "\"; exit"];
    let spec = json!({"host": "rack", "command": "shell", "arguments": words});
    let body = json!({"spec": spec, "env": {"TIDE": VALUE}});
    let id = boss.ordered("ssh", &body).await;
    boss.until(&id, "running").await;
    let log = boss.until_logged(&id, "exit>").await;
    let expected: String = words.iter().map(|word| format!("<{word}>")).collect();
    assert!(log.contains(&expected), "{log}");
    assert!(log.contains("[TIDE]") && !log.contains(VALUE), "{log}");
    assert!(!Path::new("/tmp/tidegate-injected").exists());
    let pid = pid_of(&log);
    assert!(is_alive(&pid));
    drop(boss.process.take());
    assert!(is_alive(&pid));
    boss.start(&config, &[open]).await;
    assert_eq!(boss.show(&id).await["status"], "running");
    boss.destroy(&id).await;
    assert!(!is_alive(&pid), "its session is gone");
    drop(boss.process.take());

    // A host whose key is not known is sent nothing.
    boss.start(&ssh_config(&root, sshd.port, "strangers"), &[open]).await;
    let id = boss.ordered("ssh", &body).await;
    let failed = boss.until(&id, "failed").await;
    assert!(failed["error"].as_str().unwrap().contains("Host key verification failed"), "{failed}");
    assert!(!failed.to_string().contains(VALUE), "{failed}");
}

/// A `kubectl` that writes down what it is called with, and knows one ready deployment.
fn kubectl(root: &Path) -> PathBuf {
    let path = root.join("kubectl");
    let script = format!(
        "#!/bin/sh\ncd '{}' || exit 1\necho \"$@\" >> calls\ncase \"$*\" in\n\
         *apply*) cat > applied.json; [ ! -f full ] || exit 1;;\n\
         *'get deployment'*) [ -f gone ] || echo '{{\"spec\":{{\"replicas\":2}},\"status\":{{\"readyReplicas\":2}}}}';;\n\
         *logs*) echo {VALUE};;\n*delete*) touch gone;;\nesac\n",
        root.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifests_fit_the_schemas_of_a_cluster_and_are_applied_there() {
    let mut boss = Boss::new();
    let root = boss.root.path().to_owned();
    let config = format!(
        "[workers.kubernetes]\nkubectl = '{}'\nnamespace = 'tides'\nimages = ['registry.example/tidegate:1', 'registry.example/tidegate:2']\n\
         environment = ['TIDE']\n",
        kubectl(&root).display()
    );
    boss.start(&config, &["--runtime-local-only-strict=false"]).await;
    let other = json!({"spec": {"model": "echo", "image": "elsewhere/x"}});
    refused(&boss.order("kubernetes", &other).await, 400, "invalid_value");
    let spec = json!({"model": "publisher/model", "replicas": 2, "gpus": 1, "cpu_millis": 500});
    let body = json!({"spec": with(spec, json!({"memory_mib": 2048})), "env": {"TIDE": VALUE}});
    let shown = boss.order("kubernetes&dry_run=true", &body).await.must_be(200);
    assert!(!shown.text().contains(VALUE), "{}", shown.text());
    assert!(boss.client().get(WORKERS).await.unwrap().json()["data"].as_array().unwrap().is_empty());
    fits_schemas(&root, &shown.json());

    let id = boss.ordered("kubernetes", &body).await;
    boss.until(&id, "running").await;
    let applied: Value = serde_json::from_slice(&fs::read(root.join("applied.json")).unwrap()).unwrap();
    fits_schemas(&root, &applied);
    let kinds = json!({"/0/kind": "Secret", "/1/kind": "Deployment", "/2/kind": "Service", "/3": null});
    has(&applied["items"], kinds);
    assert_eq!(applied["items"][0]["stringData"]["TIDE"], VALUE);
    let container = &applied["items"][1]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["resources"]["limits"]["nvidia.com/gpu"], "1");
    assert_eq!(boss.log(&id).await.trim(), "[TIDE]");
    boss.destroy(&id).await;
    let calls = fs::read_to_string(root.join("calls")).unwrap();
    let deletes = "--namespace=tides delete deployment,service,secret -l tidegate.dev/worker=worker-";
    assert!(calls.contains(deletes) && !calls.contains(VALUE), "{calls}");

    // Its secret was applied before its deployment was refused.
    fs::write(root.join("full"), "").unwrap();
    let id = boss.ordered("kubernetes", &body).await;
    boss.until(&id, "failed").await;
    boss.destroy(&id).await;
    let calls = fs::read_to_string(root.join("calls")).unwrap();
    let removed = format!("delete deployment,service,secret -l tidegate.dev/worker={id}");
    assert!(calls.contains(&removed), "{calls}");
}

/// Checks each manifest with the schemas that Kubernetes publishes.
fn fits_schemas(root: &Path, list: &Value) {
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 3);
    let (good, bad) = (root.join("manifests.json"), root.join("wrong.json"));
    fs::write(&good, serde_json::to_vec(items).unwrap()).unwrap();
    let mut wrong = items.clone();
    wrong[1]["spec"]["replicas"] = json!("two");
    fs::write(&bad, serde_json::to_vec(&wrong).unwrap()).unwrap();
    let script = "import json, sys, kubernetes_validate\n\
                  for item in json.load(open(sys.argv[1])): kubernetes_validate.validate(item, '1.31', strict=True)\n";
    let check = |path: &Path| {
        let python = workspace().join(".venv/bin/python");
        Command::new(python).args(["-c", script]).arg(path).output().unwrap()
    };
    let checked = check(&good);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert!(!check(&bad).status.success(), "the schemas find what is wrong");
}

/// The head of a call, and its body.
type WebhookCall = (String, Vec<u8>);

/// Somebody's service: it keeps the calls that it got, and knows an instance until that is deleted.
struct Service {
    url: String,
    calls: Arc<Mutex<Vec<WebhookCall>>>,
}

impl Service {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hire", listener.local_addr().unwrap());
        let calls = Arc::<Mutex<Vec<WebhookCall>>>::default();
        let kept = Arc::clone(&calls);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(hire(BufReader::new(stream), Arc::clone(&kept)));
            }
        });
        Self { url, calls }
    }
}

/// One call.
async fn hire(mut stream: BufReader<TcpStream>, kept: Arc<Mutex<Vec<WebhookCall>>>) {
    let Some((head, body)) = next_request(&mut stream).await else { return };
    let text = String::from_utf8_lossy(&body).into_owned();
    let is_order = head.starts_with("POST ");
    kept.lock().unwrap().push((head, body));
    let answer = if !is_order {
        json!({"status": "running"})
    } else if text.contains("cut off") {
        // It is hired, and nobody hears of it.
        return;
    } else if text.contains("metadata") {
        json!({"instance_id": "i-8", "address": "http://169.254.169.254"})
    } else {
        json!({"instance_id": "i-7", "nano_usd_per_hour": 5})
    };
    let answer = answer.to_string();
    let head = format!("content-type: application/json\r\ncontent-length: {}", answer.len());
    let text = format!("HTTP/1.1 200 OK\r\n{head}\r\nconnection: close\r\n\r\n{answer}");
    let _ = stream.write_all(text.as_bytes()).await;
}

fn header(head: &str, name: &str) -> String {
    let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name}: {head}")).split_once(':').unwrap().1.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_called_with_signatures_to_start_and_end_a_worker() {
    let service = Service::listen().await;
    let boss = hiring(&service, false).await;
    let spec = json!({"offer_id": "gpu", "region": "here", "nano_usd_per_hour": 9});
    let body = json!({"spec": spec, "env": {"TIDE": VALUE}});
    let id = boss.ordered("webhook", &body).await;
    let shown = boss.until(&id, "running").await;
    assert_eq!(shown["spec"], json!({"offer_id": "gpu", "region": "here"}));
    has(&shown["cost"], json!({"nano_usd_per_hour": 9, "stated_by": "caller"}));
    assert!(!shown.to_string().contains(VALUE), "{shown}");
    boss.destroy(&id).await;
    let calls = service.calls.lock().unwrap().clone();
    let begins: Vec<_> = calls.iter().map(|(head, _)| head.split(" HTTP").next().unwrap()).collect();
    assert_eq!((begins.first(), begins.last()), (Some(&"POST /hire"), Some(&"DELETE /hire/i-7")));
    assert!(begins.contains(&"GET /hire/i-7"), "{begins:?}");
    let ordered: Value = serde_json::from_slice(&calls[0].1).unwrap();
    has(&ordered, json!({"type": "worker.create", "worker_id": id, "/env/TIDE": VALUE}));

    let lost = boss.ordered("webhook", &json!({"spec": {"offer_id": "cut off"}})).await;
    boss.until(&lost, "failed").await;
    boss.destroy(&lost).await;
    let last = service.calls.lock().unwrap().last().unwrap().0.clone();
    assert!(last.starts_with(&format!("DELETE /hire/{lost} ")), "{last}");

    for (head, body) in &calls {
        let (id, time) = (header(head, "webhook-id"), header(head, "webhook-timestamp"));
        let message = [format!("{id}.{time}.").as_bytes(), body].concat();
        let key = Secret::from_text("what both sides know".to_owned());
        let signature = format!("v1,{}", STANDARD.encode(vault::sign_message(&key, &message)));
        assert_eq!(header(head, "webhook-signature"), signature, "{head}");
    }
}

/// A node whose workers are hired at a service, which may call it back or not.
async fn hiring(service: &Service, calls_back: bool) -> Boss {
    let mut boss = Boss::new();
    let secret = boss.root.path().join("secret");
    fs::write(&secret, "what both sides know\n").unwrap();
    let back =
        if calls_back { format!("callback_url = 'http://{}/'\n", boss.address) } else { String::new() };
    let (url, secret) = (&service.url, secret.display());
    let config =
        format!("[workers.webhook]\nurl = '{url}'\nsecret_file = '{secret}'\n{back}environment = ['TIDE']\n");
    boss.start(&config, &["--runtime-local-only-strict=false"]).await;
    boss
}

/// Calls of a service about a worker.
struct Callback {
    client: Client,
    url: String,
    secret: Secret,
}

impl Callback {
    /// As the order of the worker names it.
    fn of(boss: &Boss, service: &Service) -> Self {
        let calls = service.calls.lock().unwrap();
        let (_, body) = calls.iter().rfind(|(head, _)| head.starts_with("POST")).unwrap();
        let ordered: Value = serde_json::from_slice(body).unwrap();
        let text = |name: &str| ordered["callback"][name].as_str().unwrap().to_owned();
        let url = text("url").strip_prefix(&format!("http://{}", boss.address)).unwrap().to_owned();
        Self { client: boss.client(), url, secret: Secret::from_text(text("secret")) }
    }

    async fn send(&self, id: &str, unix_s: u64, body: &Value) -> Answer {
        let (secrets, text) = (std::slice::from_ref(&self.secret), body.to_string());
        let signatures = vault::webhook_signatures(secrets, id, unix_s, text.as_bytes());
        // No key of the node, and not a program of this machine.
        let client = self.client.clone().header("origin", "https://machines.example");
        let client = client.header("webhook-id", id).header("webhook-timestamp", unix_s.to_string());
        client.header("webhook-signature", signatures).post(&self.url, body).await.unwrap()
    }

    async fn taken(&self, id: &str, body: &Value, repeated: bool) -> Value {
        let answer = self.send(id, now(), body).await.must_be(200).json();
        assert_eq!(answer["repeated"], repeated, "{answer}");
        answer
    }
}

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_calls_back_with_the_workers_own_secret_and_each_call_counts_once() {
    let service = Service::listen().await;
    let mut boss = hiring(&service, true).await;
    let id = boss.ordered("webhook", &json!({"spec": {"offer_id": "gpu"}, "env": {"TIDE": VALUE}})).await;
    boss.until(&id, "running").await;
    let mut callback = Callback::of(&boss, &service);
    let step = |status: &str, message: &str| {
        let step = json!({"name": "pull the image", "status": status, "message": message});
        json!({"step": step, "log": format!("{status} {VALUE}")})
    };
    callback.taken("a", &step("running", "half of it"), false).await;
    let done = step("done", &format!("with {VALUE}"));
    callback.taken("b", &done, false).await;
    callback.taken("b", &done, true).await;
    callback.taken("a", &step("running", "half of it"), true).await;
    callback.taken("c", &json!({"nano_usd_per_hour": 9}), false).await;
    let shown = boss.show(&id).await;
    let steps = shown["steps"].as_array().unwrap();
    let own: Vec<&Value> = steps.iter().filter(|step| step["by"] == "service").collect();
    assert_eq!(own.len(), 1, "{shown}");
    has(own[0], json!({"name": "pull the image", "status": "done", "message": "with [TIDE]"}));
    assert_eq!(shown["cost"]["nano_usd_per_hour"], 5, "the order's rate stays: {shown}");
    assert_eq!(boss.log(&id).await, "running [TIDE]\ndone [TIDE]\n");

    // What was taken is known after a restart, too.
    drop(boss.process.take());
    let config = fs::read_to_string(boss.root.path().join("node.toml")).unwrap();
    boss.start(&config, &["--runtime-local-only-strict=false"]).await;
    callback.taken("b", &done, true).await;
    refused(&callback.send("d", now() - 301, &json!({})).await, 401, "signature_expired");
    refused(&callback.send("d", now(), &json!({"state": "running"})).await, 400, "invalid_value");
    let known = callback.url.clone();
    for unknown in ["worker-none", "..%2f..%2fdata"] {
        callback.url = format!("{WORKERS}/{unknown}/callback");
        refused(&callback.send("d", now(), &json!({})).await, 401, "invalid_signature");
    }
    callback.url = known;
    let other = boss.ordered("webhook", &json!({"spec": {"offer_id": "other"}})).await;
    boss.until(&other, "running").await;
    let strange = Callback { secret: Callback::of(&boss, &service).secret, ..callback };
    refused(&strange.send("d", now(), &json!({"status": "failed"})).await, 401, "invalid_signature");
    assert_eq!(boss.show(&id).await["status"], "running");

    let callback = Callback { url: format!("{WORKERS}/{other}/callback"), ..strange };
    let failed = json!({"status": "failed", "message": "the machine broke"});
    assert_eq!(callback.taken("e", &failed, false).await["status"], "failed");
    has(&boss.show(&other).await, json!({"status": "failed", "error": "the machine broke"}));
    boss.destroy(&other).await;
    refused(&callback.send("f", now(), &json!({})).await, 401, "invalid_signature");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_at_an_address_that_no_request_may_reach_is_destroyed_with_the_reason() {
    let service = Service::listen().await;
    let boss = hiring(&service, true).await;
    let id = boss.ordered("webhook", &json!({"spec": {"offer_id": "metadata"}})).await;
    let shown = boss.until(&id, "destroyed").await;
    let error = shown["error"].as_str().unwrap();
    assert!(error.contains("http://169.254.169.254") && error.contains("metadata"), "{shown}");
    let last = service.calls.lock().unwrap().last().unwrap().0.clone();
    assert!(last.starts_with("DELETE /hire/i-8 "), "its cost stops: {last}");
}
