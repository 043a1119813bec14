//! PostgreSQL servers for tests: using the installed binaries, created in a temporary directory, stopped with
//! the tests that need them.

mod relay;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::time::sleep;

pub use relay::Relay;

use crate::process::free_port;

const USER: &str = "tidegate";
/// `initdb` and `postgres` refuse root.
const SYSTEM_USER: &str = "postgres";
const BINARIES: &str = "/usr/lib/postgresql";
const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Tests need no durability, and each of these settings saves time.
#[rustfmt::skip]
const SETTINGS: [&str; 8] = [
    "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "full_page_writes=off",
    "max_connections=400", "shared_buffers=64MB", "autovacuum_naptime=10min", "log_min_messages=fatal",
];
/// Runs the server until it ends or the process `$1` has exited, then stops it and removes its directory. A
/// test that fails or is killed therefore leaves no server behind.
const WATCH: &str = r#"
watched=$1 data=$2
shift 2
"$@" &
server=$!
while kill -0 "$watched" 2>/dev/null && kill -0 "$server" 2>/dev/null; do sleep 0.2; done
kill -QUIT "$(head -n 1 "$data/postmaster.pid")" 2>/dev/null
wait "$server"
kill -0 "$watched" 2>/dev/null || rm -rf "$(dirname "$data")"
"#;

/// A running server.
#[derive(Debug, Clone)]
pub struct Server {
    data: PathBuf,
    port: u16,
    watched: u32,
}

impl Server {
    /// The server shared by one test run: the first test to need it creates it, and it stops with the test
    /// runner.
    pub async fn shared() -> io::Result<Self> {
        let runner = std::os::unix::process::parent_id();
        let root = std::env::temp_dir().join(format!("tidegate-postgres-{runner}"));
        fs::create_dir_all(&root)?;
        let _locked = locked(root.join("lock")).await?;
        let server = Self { data: root.join("data"), port: 0, watched: runner };
        if let Some(port) = fs::read_to_string(root.join("port")).ok().and_then(|text| text.parse().ok())
            && TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_ok()
        {
            return Ok(Self { port, ..server });
        }
        let server = server.initialize().await?;
        fs::write(root.join("port"), server.port.to_string())?;
        Ok(server)
    }

    /// A test's own server, in its own directory, that may be stopped and started.
    pub async fn own(directory: &Path) -> io::Result<Self> {
        let root = directory.join("postgres");
        fs::create_dir_all(&root)?;
        Self { data: root.join("data"), port: 0, watched: std::process::id() }.initialize().await
    }

    async fn initialize(mut self) -> io::Result<Self> {
        let parent = self.data.parent().unwrap_or(&self.data);
        if self.data.exists() {
            fs::remove_dir_all(&self.data)?;
        }
        let other_user = system_user()?;
        if let Some((user, group)) = other_user {
            chown(parent, Some(user), Some(group))?;
        }
        let mut initdb = program("initdb")?;
        initdb.arg("-D").arg(&self.data).args([
            "-U",
            USER,
            "-A",
            "trust",
            "--locale=C",
            "-E",
            "UTF8",
            "--no-sync",
        ]);
        let output = tokio::task::spawn_blocking(move || initdb.output()).await.map_err(io::Error::other)?;
        let output = output.map_err(|error| {
            let program = if other_user.is_some() { "runuser" } else { "initdb" };
            io::Error::new(
                error.kind(),
                format!("`{program}` can't be run: {error}. `make setup` installs PostgreSQL"),
            )
        })?;
        if !output.status.success() {
            return Err(io::Error::other(format!("initdb: {}", String::from_utf8_lossy(&output.stderr))));
        }
        self.port = free_port()?;
        self.start().await?;
        Ok(self)
    }

    /// Starts it again after `stop`, and waits until it accepts connections.
    pub async fn start(&self) -> io::Result<()> {
        let server = program("postgres")?;
        let mut watch = Command::new("sh");
        watch.args(["-c", WATCH, "sh", &self.watched.to_string()]).arg(&self.data);
        watch.arg(server.get_program()).args(server.get_args()).arg("-D").arg(&self.data);
        watch.args(["-p", &self.port.to_string()]);
        watch.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        watch.current_dir("/").process_group(0);
        watch.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut watcher = watch.spawn()?;
        let until = Instant::now() + READY_WITHIN;
        while !self.answers().await {
            if Instant::now() > until || watcher.try_wait()?.is_some() {
                return Err(io::Error::other("the PostgreSQL server did not start"));
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Stops it as a machine crash would: connections break, nothing is flushed.
    pub async fn stop(&self) -> io::Result<()> {
        let file = fs::read_to_string(self.data.join("postmaster.pid"))?;
        let pid = file.lines().next().unwrap_or_default().to_owned();
        Command::new("kill").args(["-QUIT", &pid]).status()?;
        let until = Instant::now() + READY_WITHIN;
        while Path::new("/proc").join(&pid).exists() || self.data.join("postmaster.pid").exists() {
            if Instant::now() > until {
                return Err(io::Error::other("the PostgreSQL server did not stop"));
            }
            // A server that was killed leaves its PID file behind; the next start finds that the process is
            // gone.
            if !Path::new("/proc").join(&pid).exists() {
                return Ok(());
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Creates an empty database and returns its URL.
    pub async fn database(&self, name: &str) -> io::Result<String> {
        self.run("postgres", &format!("CREATE DATABASE \"{name}\"")).await?;
        Ok(self.url(name))
    }

    /// Creates a copy of what the first test to ask for it `fill`s, and returns its URL: a schema is copied in a fraction of the time that
    /// its migrations take.
    pub async fn copy(
        &self,
        template: &str,
        name: &str,
        fill: impl AsyncFnOnce(String),
    ) -> io::Result<String> {
        self.fill_once(template, fill).await?;
        self.run("postgres", &format!("CREATE DATABASE \"{name}\" TEMPLATE \"{template}\"")).await?;
        Ok(self.url(name))
    }

    async fn fill_once(&self, template: &str, fill: impl AsyncFnOnce(String)) -> io::Result<()> {
        let root = self.data.parent().unwrap_or(&self.data).to_owned();
        let filled = root.join(template);
        if filled.exists() {
            return Ok(());
        }
        let _locked = locked(root.join("template.lock")).await?;
        if filled.exists() {
            return Ok(());
        }
        fill(self.database(template).await?).await;
        // A database is copied while nobody is connected to it.
        let ends = format!(
            "ALTER DATABASE \"{template}\" ALLOW_CONNECTIONS false; \
             SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{template}'"
        );
        self.run("postgres", &ends).await?;
        File::create(filled).map(drop)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs statements and returns their output, with columns separated by `|`.
    pub async fn run(&self, database: &str, statement: &str) -> io::Result<String> {
        let psql = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement];
        self.client("psql", database, &psql).await
    }

    /// Writes a database into a file of statements, which the `psql` of other versions reads, too: older ones don't know `\restrict`.
    pub async fn dump(&self, database: &str, file: &Path) -> io::Result<()> {
        let options = ["--no-owner", "--no-privileges", "-f"].map(OsStr::new);
        self.client("pg_dump", database, &[&options[..], &[file.as_os_str()]].concat()).await?;
        let text = fs::read_to_string(file)?;
        let is_known = |line: &&str| !line.starts_with("\\restrict ") && !line.starts_with("\\unrestrict ");
        fs::write(file, text.split_inclusive('\n').filter(is_known).collect::<String>())
    }

    /// Runs the statements of a file that `dump` wrote.
    pub async fn restore(&self, database: &str, file: &Path) -> io::Result<()> {
        let options = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"].map(OsStr::new);
        self.client("psql", database, &[&options[..], &[file.as_os_str()]].concat()).await.map(drop)
    }

    async fn client(
        &self,
        name: &str,
        database: &str,
        arguments: &[impl AsRef<OsStr>],
    ) -> io::Result<String> {
        let mut client = Command::new(installed(name));
        client.args(["-h", "127.0.0.1", "-U", USER, "-p", &self.port.to_string(), "-d", database]);
        client.args(arguments).current_dir("/");
        let done = tokio::task::spawn_blocking(move || client.output()).await.map_err(io::Error::other)??;
        if !done.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()));
        }
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    async fn answers(&self) -> bool {
        self.run("postgres", "SELECT 1").await.is_ok()
    }
}

/// Takes the lock of a file that test processes share; dropping it gives the lock back.
async fn locked(path: PathBuf) -> io::Result<File> {
    let file = File::create(path)?;
    tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await.map_err(io::Error::other)?
}

/// A binary of the newest PostgreSQL version on this machine.
fn installed(name: &str) -> PathBuf {
    let versions = fs::read_dir(BINARIES).into_iter().flatten().flatten();
    let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = versions.map(|entry| entry.path()).max_by_key(number);
    let path = newest.map(|version| version.join("bin").join(name)).filter(|path| path.is_file());
    path.unwrap_or_else(|| PathBuf::from(name))
}

/// A server's binary, run as a user other than root.
fn program(name: &str) -> io::Result<Command> {
    if system_user()?.is_none() {
        return Ok(Command::new(installed(name)));
    }
    let mut command = Command::new("runuser");
    command.args(["-u", SYSTEM_USER, "--"]).arg(installed(name));
    Ok(command)
}

/// The user that the server runs as when this process runs as root.
fn system_user() -> io::Result<Option<(u32, u32)>> {
    if id(&["-u"])? != 0 {
        return Ok(None);
    }
    Ok(Some((id(&["-u", SYSTEM_USER])?, id(&["-g", SYSTEM_USER])?)))
}

fn id(arguments: &[&str]) -> io::Result<u32> {
    let mut child = Command::new("id").args(arguments).stdout(Stdio::piped()).spawn()?;
    let mut text = String::new();
    if let Some(stdout) = child.stdout.as_mut() {
        stdout.read_to_string(&mut text)?;
    }
    child.wait()?;
    text.trim().parse().map_err(|_| io::Error::other("PostgreSQL is not installed: `make setup` installs it"))
}
