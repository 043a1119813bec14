//! Restate servers for tests: the real program from its npm package, on free loopback ports, each with its own directory.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::client::Client;
use crate::process::{Launch, Process, free_port, workspace};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// What it stores can be searched.
const PLAIN: &str = "rocksdb-disable-wal-compression = true\nrocksdb-disable-l0-l1-compression = true\n";
const POLL: Duration = Duration::from_millis(20);

/// A server; dropping it kills it and removes its directory.
pub struct Server {
    process: Option<Process>,
    ingress: u16,
    admin: u16,
    directory: TempDir,
}

fn program() -> io::Result<PathBuf> {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let package =
        format!("tests/node/node_modules/@restatedev/restate-server-linux-{architecture}/bin/restate-server");
    let path = workspace().join(package);
    if path.is_file() {
        return Ok(path);
    }
    let hint = format!("{} is missing: scripts/node-env.sh installs it", path.display());
    Err(io::Error::new(io::ErrorKind::NotFound, hint))
}

impl Server {
    pub async fn start() -> io::Result<Self> {
        Self::with(None).await
    }

    /// A server that signs its requests with an Ed25519 key in PKCS #8, base64.
    pub async fn signing(key: &str) -> io::Result<Self> {
        Self::with(Some(key)).await
    }

    async fn with(key: Option<&str>) -> io::Result<Self> {
        let (node, ingress, admin) = (free_port()?, free_port()?, free_port()?);
        let directory = tempfile::tempdir()?;
        let data = directory.path().join("data").display().to_string();
        let mut more = String::new();
        if let Some(key) = key {
            let file = directory.path().join("identity.pem");
            std::fs::write(
                &file,
                format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n"),
            )?;
            let file = file.display().to_string();
            more = format!("[worker.invoker]\nrequest-identity-private-key-pem-file = {file:?}\n");
        }
        // One small partition store; telemetry and its web page would look for the network.
        let settings = format!(
            "roles = [\"http-ingress\", \"admin\", \"worker\", \"log-server\", \"metadata-server\"]\n\
             node-name = \"test\"\ncluster-name = \"test\"\nbase-dir = {data:?}\nlisten-mode = \"tcp\"\n\
             bind-address = \"127.0.0.1:{node}\"\nadvertised-address = \"http://127.0.0.1:{node}\"\n\
             default-num-partitions = 2\ndisable-telemetry = true\nlog-disable-ansi-codes = true\n\
             rocksdb-total-memory-size = \"128.0 MiB\"\n\
             [ingress]\nbind-address = \"127.0.0.1:{ingress}\"\n\
             [admin]\nbind-address = \"127.0.0.1:{admin}\"\ndisable-web-ui = true\n\
             [worker.storage]\n{PLAIN}[bifrost.local]\n{PLAIN}[log-server]\n{PLAIN}{more}"
        );
        std::fs::write(directory.path().join("restate.toml"), settings)?;
        let mut server = Self { process: None, ingress, admin, directory };
        server.start_again().await?;
        Ok(server)
    }

    pub fn ingress_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ingress)
    }

    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin)
    }

    /// Where it stores what it knows.
    pub fn data(&self) -> &Path {
        self.directory.path()
    }

    pub fn kill9(&mut self) -> io::Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill9().map(drop),
            None => Ok(()),
        }
    }

    /// Starts it on what it stored, and waits until it takes requests.
    pub async fn start_again(&mut self) -> io::Result<()> {
        let settings = self.directory.path().join("restate.toml");
        let launch = Launch::new(program()?).args(["--no-logo", "--config-file"]);
        let mut process = launch.arg(settings.display().to_string()).start()?;
        let deadline = Instant::now() + READY_WITHIN;
        for (origin, path) in [(self.ingress_url(), "/restate/health"), (self.admin_url(), "/health")] {
            let client = Client::new(&origin);
            while client.get(path).await.map_or(true, |answer| answer.status != 200) {
                if process.exited()?.is_some() || Instant::now() >= deadline {
                    return Err(io::Error::other(format!("Restate does not start:\n{}", process.stdout())));
                }
                sleep(POLL).await;
            }
        }
        self.process = Some(process);
        Ok(())
    }
}

/// A balancer: each connection goes to the first of its servers that takes it.
pub struct Balancer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Balancer {
    pub async fn start(servers: Vec<SocketAddr>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let servers = servers.clone();
                tokio::spawn(async move {
                    for server in servers {
                        if let Ok(mut server) = TcpStream::connect(server).await {
                            // Either end may leave whenever it likes.
                            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                            return;
                        }
                    }
                });
            }
        });
        Ok(Self { address, task })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
