//! The demo node of `tidegate up`: a process of its own with the built-in model, registered in the operator's workspace.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use api::state::Control;
use domain::{NodeId, ServerFacts, WorkspaceId};
use store::{Act, NodeRow};
use tokio::process::{Child, ChildStdin, Command};

use crate::limits::{DEMO_START_TIME_MAX, DEMO_STOP_TIME_MAX};

/// Its name in the workspace.
const NAME: &str = "demo";
/// Another process's port, and a file that is being built, can only be polled.
const POLL_EVERY: Duration = Duration::from_millis(20);
/// Enough for the demo model's whole context, and little on a small machine.
const KV_MEMORY_MIB: &str = "64";
/// The end of its log that a failure shows.
const LOG_LINES_PRINTED: usize = 10;

/// A child process. Its standard input is a pipe from this one: when that closes, however this process ended, it ends.
pub struct DemoNode {
    address: SocketAddr,
    directory: PathBuf,
    /// What it runs where that isn't this program: a build with the engine, which may not be there yet.
    program: Option<PathBuf>,
    child: Option<Child>,
    /// The pipe: waiting for a child would close that which it holds.
    pipe: Option<ChildStdin>,
}

impl DemoNode {
    pub const fn new(address: SocketAddr, directory: PathBuf, program: Option<PathBuf>) -> Self {
        Self { address, directory, program, child: None, pipe: None }
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether what it runs is still being built.
    pub fn is_awaited(&self) -> bool {
        self.program.as_ref().is_some_and(|program| !program.exists())
    }

    const fn has_engine(&self) -> bool {
        cfg!(feature = "engine") || self.program.is_some()
    }

    pub const fn model(&self) -> &'static str {
        if self.has_engine() { "tidegate-demo" } else { "echo" }
    }

    pub const fn remark(&self) -> &'static str {
        if self.has_engine() {
            "very small, and knows only Tidegate"
        } else {
            "this build has no engine, so it repeats its input"
        }
    }

    /// Starts it once its program is there, and returns once requests can name its model.
    ///
    /// # Errors
    /// It ends, isn't ready in time, or can't be registered.
    pub async fn start(&mut self, control: &Control) -> anyhow::Result<()> {
        while self.is_awaited() {
            tokio::time::sleep(POLL_EVERY).await;
        }
        self.spawn().context("the demo node can't be started")?;
        let ready = tokio::time::timeout(DEMO_START_TIME_MAX, self.wait_until_it_listens());
        ready.await.map_err(|_| anyhow!("the demo node was not ready in time; {}", self.log_end()))??;
        self.register(control).await
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let mut arguments =
            vec!["node".to_owned(), "--until-stdin-ends".into(), "--listen".into(), self.address.to_string()];
        if self.has_engine() {
            let model = self.directory.join("model");
            super::model::write_to(&model)?;
            let model = model.display().to_string();
            let data = self.directory.display().to_string();
            let more = ["--model", &model, "--name", self.model(), "--data-dir", &data];
            arguments.extend(more.map(str::to_owned));
            arguments.extend(["--kv-memory", KV_MEMORY_MIB].map(str::to_owned));
        } else {
            arguments.extend(["--model", self.model()].map(str::to_owned));
        }
        let log = File::create(self.log())?;
        let program = self.program.clone().map_or_else(std::env::current_exe, Ok)?;
        let mut command = Command::new(program);
        // The environment may hold the master key, the database's password and keys of providers: none is the node's business.
        command.args(arguments).env_clear();
        for name in ["HOME", "TMPDIR", "LD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        // A group of its own: Ctrl-C reaches the gateway alone, which drains before the node ends.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn()?;
        self.pipe = child.stdin.take();
        self.child = Some(child);
        Ok(())
    }

    async fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        while TcpStream::connect_timeout(&self.address, POLL_EVERY).is_err() {
            let child = self.child.as_mut().context("the demo node was not started")?;
            if let Some(status) = child.try_wait()? {
                bail!("the demo node ended with {status}; {}", self.log_end());
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
        Ok(())
    }

    /// Returns when it ended, with the reason.
    pub async fn ended(&mut self) -> anyhow::Error {
        let Some(child) = &mut self.child else { return anyhow!("the demo node was not started") };
        match child.wait().await {
            Ok(status) => anyhow!("the demo node ended with {status}; {}", self.log_end()),
            Err(error) => anyhow!("the demo node can't be waited for: {error}"),
        }
    }

    /// Closes its pipe and waits for its end.
    pub async fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        drop(self.pipe.take());
        if tokio::time::timeout(DEMO_STOP_TIME_MAX, child.wait()).await.is_err() {
            // It is killed as it is dropped.
            tracing::warn!("the demo node did not end by itself");
        }
    }

    /// Registers it, or corrects the address of an earlier start, and polls it.
    async fn register(&self, control: &Control) -> anyhow::Result<()> {
        let (deps, workspace) = (&control.deps, control.operator);
        let base_url = format!("http://{}/v1", self.address);
        let nodes = deps.store.nodes();
        let named = nodes.ids_by_name(workspace, NAME.to_owned(), false).await?;
        let act = Act::system(&deps.world);
        let fault = |fault: Box<domain::Fault>| anyhow!("the demo node can't be registered: {fault}");
        let known = match named.first() {
            None => None,
            Some(id) => Some(nodes.get(workspace, *id).await?),
        };
        let written = match known {
            None => {
                let now = deps.world.clock.unix_ms();
                let id = NodeId::new(now, deps.world.id_bytes());
                nodes.create(row(workspace, id, base_url, now), act).await?
            }
            Some(known) => {
                check_is_ours(&known)?;
                if known.base_url == base_url {
                    return check_reached(&deps.poll_node(known).await.map_err(fault)?);
                }
                nodes.replace((NodeRow { base_url, ..known }, None), None, act).await?
            }
        };
        deps.await_published(written.version).await.map_err(fault)?;
        check_reached(&deps.learn_node(written.row).await.map_err(fault)?)
    }

    fn log(&self) -> PathBuf {
        self.directory.join("node.log")
    }

    fn log_end(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(LOG_LINES_PRINTED).collect();
        let lines: Vec<_> = lines.into_iter().rev().collect();
        format!("the end of {}:\n{}", self.log().display(), lines.join("\n"))
    }
}

fn check_reached(row: &NodeRow) -> anyhow::Result<()> {
    match &row.last_error {
        Some(error) if !row.reachable => bail!("the gateway can't reach the demo node: {error}"),
        _ => Ok(()),
    }
}

/// A node of that name which joined, has a key or is elsewhere is somebody's own.
fn check_is_ours(known: &NodeRow) -> anyhow::Result<()> {
    let is_here = known.base_url.starts_with("http://127.") || known.base_url.starts_with("http://[::1]");
    if known.joined.is_none() && known.secret.is_none() && is_here {
        return Ok(());
    }
    bail!(
        "This workspace has a node called {NAME} at {}, which is not the demo node. Rename it with `tidegate nodes set`, or start \
         with --no-demo.",
        known.base_url
    )
}

fn row(workspace: WorkspaceId, id: NodeId, base_url: String, now_unix_ms: u64) -> NodeRow {
    NodeRow {
        id,
        workspace,
        name: NAME.to_owned(),
        base_url,
        secret: None,
        secret_version_last: 0,
        declared_models: None,
        learned_models: Vec::new(),
        labels: Vec::new(),
        cost: None,
        cordoned: false,
        draining: false,
        reachable: true,
        metadata: serde_json::Value::Null,
        last_seen_unix_ms: None,
        last_error: None,
        server: ServerFacts::default(),
        created_unix_ms: now_unix_ms,
        joined: None,
        version: 0,
    }
}
