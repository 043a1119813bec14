//! Child processes of the benchmark, each pinned to a core, each ended by its own id.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The core of the proxies, and that of the emulator and the client.
pub const PROXY_CORE: &str = "0";
pub const LOAD_CORE: &str = "1";

const END_MAX: Duration = Duration::from_secs(8);
const UP_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(1);
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Below the ephemeral port range, so that no outgoing connection takes a server's port between two starts.
static NEXT_PORT: AtomicU16 = AtomicU16::new(21_000);

/// A process that is ended on drop.
pub struct Running {
    child: Child,
}

/// Standard input and output of a process.
pub struct Channels {
    pub stdin: Stdio,
    pub stdout: Stdio,
    pub stderr: Stdio,
}

impl Running {
    /// Starts the command on one core. It ends with this process even if that is killed, because a leftover
    /// process would take part of the next run's load.
    pub fn start(core: &str, command: &Command, channels: Channels) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut pinned = Command::new("setpriv");
        pinned.args(["--pdeathsig", "TERM", "taskset", "-c", core]);
        pinned.arg(command.get_program()).args(command.get_args());
        pinned.envs(command.get_envs().filter_map(|(key, value)| value.map(|value| (key, value))));
        let child = pinned.stdin(channels.stdin).stdout(channels.stdout).stderr(channels.stderr).spawn();
        let child = child.with_context(|| format!("starting {name} with setpriv (package util-linux)"))?;
        Ok(Self { child })
    }

    /// `setpriv` and `taskset` exec the program, so this is its own process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Fails if the process has exited.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait().context("asking after a process")? {
            Some(status) => bail!("it ended by itself: {status}"),
            None => Ok(()),
        }
    }

    /// Polls until `is_up` is true; returns the time since `since`.
    pub fn wait_until(&mut self, since: Instant, mut is_up: impl FnMut() -> bool) -> Result<Duration> {
        while !is_up() {
            self.check_alive()?;
            if since.elapsed() > UP_MAX {
                bail!("it was not up after {} s", UP_MAX.as_secs());
            }
            std::thread::sleep(POLL);
        }
        Ok(since.elapsed())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let signalled = Command::new("sh")
            .args(["-c", &format!("kill -TERM {}", self.pid())])
            .stderr(Stdio::null())
            .status();
        let start = Instant::now();
        let is_gone = |child: &mut Child| matches!(child.try_wait(), Ok(Some(_)) | Err(_));
        while signalled.is_ok() && start.elapsed() < END_MAX && !is_gone(&mut self.child) {
            std::thread::sleep(Duration::from_millis(10));
        }
        if !is_gone(&mut self.child) {
            eprintln!("bench: process {} did not end when asked to; it is killed", self.pid());
        }
        // Both fail only if the process is already gone.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A loopback address with an unused port.
pub fn free_address() -> Result<String> {
    for _ in 0..2_000 {
        let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(format!("127.0.0.1:{port}"));
        }
    }
    bail!("no free port from 21000 to 23000")
}

pub fn accepts(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}

/// One small request on a connection of its own; returns status and body.
pub fn ask(address: &str, method: &str, path: &str, token: &str, body: &str) -> Result<(u16, String)> {
    let socket: SocketAddr = address.parse().with_context(|| format!("reading the address {address}"))?;
    let mut stream = TcpStream::connect_timeout(&socket, ANSWER_MAX).context("connecting")?;
    stream.set_read_timeout(Some(ANSWER_MAX)).context("limiting the wait")?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).context("sending")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("reading the answer")?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status.context("the answer has no status")?, body.to_owned()))
}
