//! Usable time: elapsed time minus the time in which the threads on the path waited for a CPU that other work was using.
//!
//! A bound such as "within 100 ms" is a requirement on the product, independent of how busy the machine is. The kernel counts for
//! each thread how long it was runnable without running (`/proc/PID/task/TID/schedstat`). Only threads that the measured work
//! passes through count, only from the start of the span to its end, and never more than half of it: what is more than twice as
//! late as its bound fails on any machine, even if the kernel counts too much.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// The threads of a process whose names begin so: the measured work passes one of them.
#[derive(Debug, Clone, Copy)]
pub struct Threads<'a> {
    pid: u32,
    name: &'a str,
}

/// A span that began where this was made, and ends where it is asked. A part of it can't be measured: the waiting is known of the
/// whole alone.
pub struct Pace {
    began: Instant,
    path: Vec<Step>,
}

/// What threads computed in a span, which no other work on the machine makes more.
pub struct Work(Step);

/// Threads of which one is on the path, and what was counted of each when the span began.
struct Step {
    pid: u32,
    which: Which,
    counts: Counts,
    before: HashMap<OsString, Duration>,
}

/// Fields of `schedstat`.
#[derive(Clone, Copy)]
enum Counts {
    Running = 0,
    Waiting = 1,
}

enum Which {
    Named(String),
    Numbered(OsString),
}

impl<'a> Threads<'a> {
    #[must_use]
    pub const fn of(pid: u32, name: &'a str) -> Self {
        Self { pid, name }
    }
}

impl Threads<'static> {
    /// Those on which the emulators of this process answer.
    #[must_use]
    pub fn of_emulators() -> Self {
        Self::of(std::process::id(), "emulator")
    }
}

impl Pace {
    /// Starts measuring what goes from the calling thread through these and back.
    #[must_use]
    pub fn start(path: &[Threads<'_>]) -> Self {
        let began = Instant::now();
        let named = path.iter().map(|threads| Step::named(*threads, Counts::Waiting));
        let here = fs::read_link("/proc/thread-self").ok();
        let number = here.as_deref().and_then(Path::file_name).map(OsStr::to_owned);
        let here =
            number.map(|number| Step::new(std::process::id(), Which::Numbered(number), Counts::Waiting));
        Self { began, path: named.chain(here).collect() }
    }

    /// The time since the start, without the waiting for a CPU on the path, of which at most half of that time is taken off.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        // Read first, so that no waiting after the end counts.
        let waited: Duration = self.path.iter().map(Step::most).sum();
        let took = self.began.elapsed();
        took - waited.min(took / 2)
    }
}

impl Work {
    #[must_use]
    pub fn start(threads: Threads<'_>) -> Self {
        Self(Step::named(threads, Counts::Running))
    }

    /// The CPU time since the start of the one that had most.
    #[must_use]
    pub fn done(&self) -> Duration {
        self.0.most()
    }
}

impl Step {
    fn named(threads: Threads<'_>, counts: Counts) -> Self {
        Self::new(threads.pid, Which::Named(threads.name.to_owned()), counts)
    }

    fn new(pid: u32, which: Which, counts: Counts) -> Self {
        let before = which.counted(pid, counts);
        Self { pid, which, counts, before }
    }

    /// The time since the start of the one that has most: which of them was on the path isn't known.
    fn most(&self) -> Duration {
        let since = |(thread, now): (OsString, Duration)| {
            now.saturating_sub(self.before.get(&thread).copied().unwrap_or_default())
        };
        self.which.counted(self.pid, self.counts).into_iter().map(since).max().unwrap_or_default()
    }
}

impl Which {
    /// The time that is counted of each of these threads since it began.
    fn counted(&self, pid: u32, counts: Counts) -> HashMap<OsString, Duration> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        tasks
            .filter(|task| match self {
                Self::Named(name) => {
                    let own = fs::read_to_string(task.path().join("comm"));
                    own.is_ok_and(|own| own.starts_with(name.as_str()))
                }
                Self::Numbered(number) => task.file_name() == *number,
            })
            .filter_map(|task| Some((task.file_name(), counted(&task.path(), counts)?)))
            .collect()
    }
}

/// The CPU time that the threads of a process have had.
#[must_use]
pub fn cpu_time(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| counted(&task.path(), Counts::Running)).sum()
}

fn counted(task: &Path, counts: Counts) -> Option<Duration> {
    let counted = fs::read_to_string(task.join("schedstat")).ok()?;
    counted.split(' ').nth(counts as usize)?.parse().ok().map(Duration::from_nanos)
}
