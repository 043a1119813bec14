//! Runs built programs for end-to-end tests: finds them, starts them, waits for readiness, and stops them by
//! their process ids.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::client::Client;
pub use crate::ports::{free_address, free_port};

/// A program to start.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    directory: Option<PathBuf>,
}

/// A started program; dropping it kills it.
pub struct Process {
    child: Child,
    stdout: Pipe,
    stderr: Pipe,
}

/// The output of a pipe, and the thread that reads it to its end.
struct Pipe {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

/// Conditions on other processes can only be polled; this is how often.
const POLL: Duration = Duration::from_millis(10);
/// How long to wait for remaining output after a process has exited; one of its own children may hold the
/// pipe open.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The `tidegate` program: `TIDEGATE_BIN`, else this workspace's debug build.
pub fn tidegate() -> io::Result<PathBuf> {
    built("tidegate", "TIDEGATE_BIN")
}

/// A program of this workspace: the path in the environment variable, else its debug build.
pub fn built(name: &str, variable: &str) -> io::Result<PathBuf> {
    let path = match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => target_directory().join("debug").join(name),
    };
    if path.is_file() {
        return Ok(path);
    }
    let hint =
        format!("{} is missing: build it with `cargo build -p {name}` or set {variable}", path.display());
    Err(io::Error::new(io::ErrorKind::NotFound, hint))
}

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

impl Launch {
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), arguments: Vec::new(), environment: Vec::new(), directory: None }
    }

    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub fn args<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Starts the program with only `PATH`, `HOME` and the given variables in its environment, so that a
    /// developer's own settings cannot change a test.
    pub fn start(&self) -> io::Result<Process> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear();
        for name in ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        // A debug build that shares a few cores with other tests is slow without being overloaded.
        command.env("TIDEGATE_QUEUE_DELAY_MAX_MS", "0");
        // Records of fixtures have the dates that they have.
        command.env("TIDEGATE_RECORDS_KEEP_DAYS", "0");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let stdout = Pipe::collect(child.stdout.take());
        let stderr = Pipe::collect(child.stderr.take());
        Ok(Process { child, stdout, stderr })
    }
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The complete lines written to standard output so far. A partial line is left out: a test that read
    /// half an address from it would connect to a port that does not exist.
    pub fn stdout(&self) -> String {
        self.stdout.lines()
    }

    /// The complete lines written to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.lines()
    }

    /// All output so far, to be searched for secrets.
    pub fn output(&self) -> Vec<u8> {
        let mut all = self.stdout.bytes();
        all.extend(self.stderr.bytes());
        all
    }

    /// The exit status, once the process has exited.
    pub fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until `GET /health/ready` at this origin answers 200.
    pub async fn wait_ready(&mut self, origin: &str, within: Duration) -> io::Result<()> {
        let client = Client::new(origin).within(Duration::from_secs(2));
        let deadline = Instant::now() + within;
        loop {
            if matches!(client.get("/health/ready").await, Ok(answer) if answer.status == 200) {
                return Ok(());
            }
            self.still_running("ready", deadline).await?;
        }
    }

    /// Waits for a line on standard output that starts with this, and returns the rest of that line.
    pub async fn wait_line(&mut self, start: &str, within: Duration) -> io::Result<String> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(rest) = self.stdout().lines().find_map(|line| line.strip_prefix(start)) {
                return Ok(rest.to_owned());
            }
            self.still_running(start, deadline).await?;
        }
    }

    /// Waits until a line on either stream contains this text, and returns the rest of that line.
    pub async fn wait_text(&mut self, text: &str, within: Duration) -> io::Result<String> {
        let deadline = Instant::now() + within;
        loop {
            let printed = self.stdout() + &self.stderr();
            if let Some((_, rest)) = printed.lines().find_map(|line| line.split_once(text)) {
                return Ok(rest.to_owned());
            }
            self.still_running(text, deadline).await?;
        }
    }

    /// Sends SIGKILL and reaps the process.
    pub fn kill9(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        let status = self.child.wait()?;
        let deadline = Instant::now() + LAST_WORDS;
        while !self.is_drained() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(status)
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) -> io::Result<()> {
        self.signal("TERM")
    }

    /// Sends a signal by name, such as `HUP`, to this process only.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("kill -{name} failed"))) }
    }

    /// Waits for the process to exit without being signalled.
    pub async fn wait(&mut self, within: Duration) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.exited()? {
                self.last_words().await;
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(self.fault("did not end in time"));
            }
            sleep(POLL).await;
        }
    }

    /// Sends SIGTERM and waits for the exit status.
    pub async fn stop(&mut self, within: Duration) -> io::Result<ExitStatus> {
        self.terminate()?;
        self.wait(within).await
    }

    async fn still_running(&mut self, awaited: &str, deadline: Instant) -> io::Result<()> {
        if let Some(status) = self.exited()? {
            self.last_words().await;
            return Err(self.fault(&format!("ended with {status} while `{awaited}` was awaited")));
        }
        if Instant::now() >= deadline {
            return Err(self.fault(&format!("`{awaited}` did not come in time")));
        }
        sleep(POLL).await;
        Ok(())
    }

    /// Whether all output of an exited process has been read.
    fn is_drained(&self) -> bool {
        self.stdout.has_ended() && self.stderr.has_ended()
    }

    async fn last_words(&self) {
        let deadline = Instant::now() + LAST_WORDS;
        while !self.is_drained() && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn fault(&self, what: &str) -> io::Error {
        io::Error::other(format!("{what}\nstdout:\n{}\nstderr:\n{}", self.stdout(), self.stderr()))
    }
}

impl Pipe {
    fn collect(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let target = Arc::clone(&bytes);
        let reader = pipe.map(|pipe| std::thread::spawn(move || read_all(pipe, &target)));
        Self { bytes, reader }
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The output up to the last line ending; all of it once the pipe has ended.
    fn lines(&self) -> String {
        let ended = self.has_ended();
        let bytes = self.bytes();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let output = if ended { bytes.as_slice() } else { bytes.get(..whole).unwrap_or_default() };
        String::from_utf8_lossy(output).into_owned()
    }

    fn has_ended(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the process has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Resident memory and open descriptors of a process, from `/proc`.
pub fn resources(pid: u32) -> io::Result<(u64, usize)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib =
        resident.and_then(|rest| rest.trim().split(' ').next()).and_then(|number| number.parse::<u64>().ok());
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    Ok((kib.unwrap_or_default() * 1024, descriptors))
}

fn read_all(mut pipe: impl Read, target: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 8192];
    while let Ok(read) = pipe.read(&mut buffer) {
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        target.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
    }
}

fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}
