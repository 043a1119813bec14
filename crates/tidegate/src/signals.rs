//! SIGTERM and SIGINT: the first asks for a drain, the second ends it.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals that ask a process to end.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
    /// A file that reached the size that this process may write (`ulimit -f`, `LimitFSIZE=`) is a full disk, which is
    /// survived: unlistened to, the signal would end the process.
    _file_size: Signal,
}

impl Stop {
    /// # Errors
    /// The system gives no signal handler.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _file_size: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    /// Returns when the process is asked to end; each further call waits for a further signal.
    pub async fn wanted(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// How often a drain looks whether it is over. Nothing else waits for it, so it may be coarse.
const DRAIN_LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(20);

/// Returns once every connection of a draining gateway is gone, or the time for that is over.
pub async fn ended(running: &gateway::Running) {
    let all_gone = async {
        while !running.is_over() {
            tokio::time::sleep(DRAIN_LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(domain::limits::DRAIN_STREAMS_MAX, all_gone).await.is_err() {
        running.stop();
    }
}
