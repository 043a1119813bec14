//! The retry state machine: the outcome of a job as a pure function of the job, its result, the time and a
//! random number.

use store::JobRow;
use store::jobs::JobResult;

/// The retry policy of a kind of job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The first backoff; each further one is twice as long.
    pub first_wait_ms: u64,
    pub wait_max_ms: u64,
    /// How long after its creation a job is given up; a recurring one never is.
    pub retry_for_ms: u64,
}

/// The result of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Failed {
        error: String,
        /// The minimum wait, if the other side specified one.
        wait_ms: Option<u64>,
    },
    /// A retry can't help.
    Permanent {
        error: String,
    },
}

impl Outcome {
    pub fn failure(error: impl std::fmt::Display) -> Self {
        Self::Failed { error: error.to_string(), wait_ms: None }
    }
}

impl Policy {
    /// For internal work, which only a fault of Tidegate itself can keep from being done.
    pub const OURS: Self =
        Self { first_wait_ms: 1_000, wait_max_ms: 300_000, retry_for_ms: 30 * 24 * 3_600_000 };

    /// When a job is tried for the last time; `None` for a recurring one.
    pub const fn last_unix_ms(&self, job: &JobRow) -> Option<u64> {
        match job.every_ms {
            None => Some(job.created_unix_ms.saturating_add(self.retry_for_ms)),
            Some(_) => None,
        }
    }

    /// Backoff with jitter: half of it is fixed and half random, so that jobs that failed together are not
    /// retried together.
    const fn wait_ms(&self, attempts: u32, chance: u64) -> u64 {
        let doublings = if attempts > 30 { 30 } else { attempts.saturating_sub(1) };
        let full = self.first_wait_ms.saturating_mul(1 << doublings);
        let full = if full > self.wait_max_ms { self.wait_max_ms } else { full };
        let half = full / 2;
        half + chance % (full - half + 1)
    }
}

/// The next state of `job` after a try with this outcome.
pub fn ending(job: &JobRow, policy: &Policy, outcome: Outcome, unix_ms: u64, chance: u64) -> JobResult {
    match (outcome, job.every_ms) {
        (Outcome::Done, None) => JobResult::Gone,
        (Outcome::Done, Some(every_ms)) => {
            JobResult::Rescheduled { unix_ms: next_turn(job, every_ms, unix_ms) }
        }
        // A scheduled job runs again whatever its outcome.
        (Outcome::Permanent { error }, Some(every_ms)) => {
            tracing::error!(kind = job.kind, error, "a scheduled job failed");
            JobResult::Rescheduled { unix_ms: next_turn(job, every_ms, unix_ms) }
        }
        (Outcome::Permanent { error }, None) => JobResult::Dead { error: cut(error) },
        (Outcome::Failed { error, wait_ms }, _) => {
            let last_unix_ms = policy.last_unix_ms(job);
            if last_unix_ms.is_some_and(|last_unix_ms| unix_ms >= last_unix_ms) {
                return JobResult::Dead { error: cut(error) };
            }
            let wait_ms = policy.wait_ms(job.attempts, chance).max(wait_ms.unwrap_or(0));
            let again = unix_ms.saturating_add(wait_ms);
            // The last try is at the end of the retry period, not beyond it.
            let again = again.min(last_unix_ms.unwrap_or(u64::MAX));
            JobResult::Retry { unix_ms: again, error: cut(error) }
        }
    }
}

/// The next future moment on the job's schedule: missed runs are not made up for.
fn next_turn(job: &JobRow, every_ms: u64, unix_ms: u64) -> u64 {
    let every_ms = every_ms.max(1);
    let missed = unix_ms.saturating_sub(job.run_unix_ms) / every_ms;
    job.run_unix_ms.saturating_add((missed + 1).saturating_mul(every_ms))
}

fn cut(mut error: String) -> String {
    let end = error.floor_char_boundary(domain::limits::JOB_ERROR_BYTES_MAX);
    error.truncate(end);
    error
}
