//! Starts a program in a sandbox.

use std::fmt;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::order::{ENTER, ORDER, Start};

/// Whom the sandbox of a gateway that runs as root belongs to: nobody.
#[cfg(target_os = "linux")]
const NOBODY: u32 = 65_534;

/// A program that runs. It ends when this is dropped.
pub struct Started {
    child: Child,
    _seat: Seat,
}

/// How a program is spoken with.
pub struct Pipes {
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
    pub stderr: ChildStderr,
}

/// Why nothing was started.
#[derive(Debug)]
pub enum StartError {
    /// So many run that no other is started.
    Busy,
    Failed(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the maximum number of programs is already running"),
            Self::Failed(error) => write!(f, "the sandbox could not be started: {error}"),
        }
    }
}

/// One of the programs that run.
struct Seat(&'static AtomicUsize);

impl Seat {
    fn take(running: &'static AtomicUsize, most: usize) -> Option<Self> {
        let more = |count: usize| (count < most).then_some(count + 1);
        running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self(running))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Started {
    /// How the program ended.
    ///
    /// # Errors
    /// The system can't say.
    pub async fn wait(&mut self) -> std::io::Result<std::process::ExitStatus> {
        self.child.wait().await
    }
}

/// Starts a program, unless `most` of them run in this process.
///
/// # Errors
/// So many run, or the system starts no further process.
pub fn start(start: &Start, most: usize) -> Result<(Started, Pipes), StartError> {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    let seat = Seat::take(&RUNNING, most).ok_or(StartError::Busy)?;
    let order = serde_json::to_string(start).map_err(|error| StartError::Failed(error.into()))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(ENTER).env_clear().env(ORDER, order).current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(target_os = "linux")]
    if rustix::process::geteuid().is_root() {
        // As root it would be outside of the limit of processes, and its files root's.
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command.spawn().map_err(StartError::Failed)?;
    match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
        (Some(stdin), Some(stdout), Some(stderr)) => {
            Ok((Started { child, _seat: seat }, Pipes { stdin, stdout, stderr }))
        }
        _ => Err(StartError::Failed(std::io::Error::other("its pipes are missing"))),
    }
}

/// Makes a socket of the gateway one that a sandbox may connect to.
///
/// # Errors
/// The file's owner can't be changed.
pub fn give(socket: &std::path::Path) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(socket, Some(NOBODY), Some(NOBODY))?;
    }
    let _ = socket;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_given_back() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        let (first, second) = (Seat::take(&RUNNING, 2), Seat::take(&RUNNING, 2));
        assert!(first.is_some() && second.is_some() && Seat::take(&RUNNING, 2).is_none());
        drop(first);
        assert!(Seat::take(&RUNNING, 2).is_some());
    }
}
