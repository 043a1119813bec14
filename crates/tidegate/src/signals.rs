//! SIGTERM and SIGINT: the first one starts a drain, the second one ends it.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals that stop a process.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
    /// SIGXFSZ: a file that reached the size limit (`ulimit -f`, `LimitFSIZE=`) is handled like a full disk.
    /// Unhandled, the signal would end the process.
    _file_size: Signal,
}

impl Stop {
    /// # Errors
    /// The system refuses the signal handler.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _file_size: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    /// Returns when a signal arrives; each further call waits for another one.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// How often a drain is polled. Nothing else waits for it, so it may be coarse.
const DRAIN_POLL_EVERY: std::time::Duration = std::time::Duration::from_millis(20);

/// Returns once all connections of a draining gateway are closed, or stops the gateway when the drain times
/// out.
pub async fn ended(running: &gateway::Running) {
    let all_gone = async {
        while !running.is_over() {
            tokio::time::sleep(DRAIN_POLL_EVERY).await;
        }
    };
    if tokio::time::timeout(domain::limits::DRAIN_STREAMS_MAX, all_gone).await.is_err() {
        running.stop();
    }
}
