//! Usable time: elapsed time minus the time that threads waited for a CPU that other work was using.
//!
//! A bound such as "within 100 ms" is a requirement on the product, independent of how busy the machine is.
//! The kernel counts for each thread how long it was runnable without running
//! (`/proc/PID/task/TID/schedstat`); that is subtracted, and the bound stays.

use std::fs;
use std::time::{Duration, Instant};

/// A time span of this process and of others that take part in the same work.
pub struct Pace {
    began: Instant,
    pids: Vec<u32>,
    waited_before: Duration,
}

impl Pace {
    /// Starts measuring, for this process and these.
    pub fn start(others: &[u32]) -> Self {
        let pids: Vec<u32> = others.iter().copied().chain([std::process::id()]).collect();
        let waited_before = cpu_wait(&pids);
        Self { began: Instant::now(), pids, waited_before }
    }

    pub fn began(&self) -> Instant {
        self.began
    }

    /// The elapsed time, minus the time spent waiting for a CPU.
    pub fn elapsed(&self) -> Duration {
        self.usable(self.began.elapsed())
    }

    /// A part of that time, measured elsewhere, minus the CPU wait since the start.
    pub fn usable(&self, took: Duration) -> Duration {
        took.saturating_sub(cpu_wait(&self.pids).saturating_sub(self.waited_before))
    }
}

fn cpu_wait(pids: &[u32]) -> Duration {
    counted(pids, 1)
}

/// The CPU time that the threads of a process have had.
pub fn cpu_time(pid: u32) -> Duration {
    counted(&[pid], 0)
}

/// A field of `schedstat`, of all threads of these.
fn counted(pids: &[u32], field: usize) -> Duration {
    pids.iter()
        .flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task")))
        .flatten()
        .flatten()
        .filter_map(|task| {
            let counted = fs::read_to_string(task.path().join("schedstat")).ok()?;
            counted.split(' ').nth(field)?.parse().ok().map(Duration::from_nanos)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::Pace;

    #[test]
    fn waiting_for_a_processor_is_taken_off_and_nothing_else() {
        let pace = Pace::start(&[]);
        let (_held, never) = std::sync::mpsc::channel::<()>();
        let pause = std::time::Duration::from_millis(30);
        assert!(never.recv_timeout(pause).is_err());
        let usable = pace.elapsed();
        let all = pace.began().elapsed();
        assert!(all >= pause && usable <= all, "{usable:?} of {all:?}");
        // More busy threads than CPUs, so some of them wait.
        let pace = Pace::start(&[]);
        let many = std::thread::available_parallelism().map_or(2, usize::from) * 4;
        std::thread::scope(|scope| {
            for _ in 0..many {
                scope.spawn(|| while pace.began().elapsed() < pause {});
            }
            while pace.began().elapsed() < pause {}
        });
        assert!(pace.usable(pause * 100) <= pause * 100);
    }
}
