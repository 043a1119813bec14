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
    #[must_use]
    pub fn failure(error: impl std::fmt::Display) -> Self {
        Self::Failed { error: error.to_string(), wait_ms: None }
    }
}

impl Policy {
    /// For internal work, which only a fault of Tidegate itself can keep from being done.
    pub const OURS: Self =
        Self { first_wait_ms: 1_000, wait_max_ms: 300_000, retry_for_ms: 30 * 24 * 3_600_000 };

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
#[must_use]
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
        (Outcome::Failed { error, wait_ms }, every_ms) => {
            let last_unix_ms = job.created_unix_ms.saturating_add(policy.retry_for_ms);
            if every_ms.is_none() && unix_ms >= last_unix_ms {
                return JobResult::Dead { error: cut(error) };
            }
            let wait_ms = policy.wait_ms(job.attempts, chance).max(wait_ms.unwrap_or(0));
            let again = unix_ms.saturating_add(wait_ms);
            // The last try is at the end of the retry period, not beyond it.
            let again = if every_ms.is_none() { again.min(last_unix_ms) } else { again };
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn job(attempts: u32, every_ms: Option<u64>) -> JobRow {
        JobRow {
            id: 1,
            kind: "a kind".into(),
            workspace: store::jobs::INSTALLATION,
            name: None,
            payload: serde_json::Value::Null,
            run_unix_ms: 1_000,
            every_ms,
            attempts,
            last_error: None,
            created_unix_ms: 1_000,
        }
    }

    const POLICY: Policy = Policy { first_wait_ms: 100, wait_max_ms: 10_000, retry_for_ms: 60_000 };

    fn failed() -> Outcome {
        Outcome::failure("no")
    }

    #[test]
    fn what_is_done_is_gone_or_comes_again_in_its_beat() {
        assert_eq!(ending(&job(1, None), &POLICY, Outcome::Done, 5_000, 0), JobResult::Gone);
        for (now, next) in [(1_000, 2_000), (1_999, 2_000), (2_000, 3_000), (9_500, 10_000), (500, 2_000)] {
            let due = ending(&job(1, Some(1_000)), &POLICY, Outcome::Done, now, 0);
            assert_eq!(due, JobResult::Rescheduled { unix_ms: next }, "{now}");
        }
    }

    #[test]
    fn what_is_hopeless_or_too_old_is_given_up() {
        let hopeless = Outcome::Permanent { error: "x".repeat(9_000) };
        let JobResult::Dead { error } = ending(&job(1, None), &POLICY, hopeless.clone(), 0, 0) else {
            panic!()
        };
        assert_eq!(error.len(), domain::limits::JOB_ERROR_BYTES_MAX);
        let due = ending(&job(1, Some(1_000)), &POLICY, hopeless, 1_000, 0);
        assert_eq!(due, JobResult::Rescheduled { unix_ms: 2_000 });
        let dead = ending(&job(9, None), &POLICY, failed(), 61_000, 0);
        assert_eq!(dead, JobResult::Dead { error: "no".into() });
        // The last try comes at the end of the retry period.
        let last = ending(&job(9, None), &POLICY, failed(), 60_999, 7);
        assert_eq!(last, JobResult::Retry { unix_ms: 61_000, error: "no".into() });
    }

    #[test]
    fn a_wait_that_was_asked_for_is_kept() {
        let outcome = Outcome::Failed { error: "busy".into(), wait_ms: Some(30_000) };
        let again = ending(&job(1, None), &POLICY, outcome, 2_000, 0);
        assert_eq!(again, JobResult::Retry { unix_ms: 32_000, error: "busy".into() });
    }

    proptest! {
        /// However often it is retried, a job is given up within its period and after few tries.
        #[test]
        fn every_job_comes_to_an_end(chances in prop::collection::vec(any::<u64>(), 40)) {
            let (mut now, mut tries) = (1_000_u64, 0_u32);
            for chance in chances {
                tries += 1;
                match ending(&job(tries, None), &POLICY, failed(), now, chance) {
                    JobResult::Retry { unix_ms, .. } => {
                        prop_assert!(unix_ms > now && unix_ms <= 61_000);
                        prop_assert!(unix_ms - now <= POLICY.wait_max_ms);
                        now = unix_ms;
                    }
                    other => {
                        prop_assert_eq!(other, JobResult::Dead { error: "no".into() });
                        prop_assert_eq!(now, 61_000);
                        return Ok(());
                    }
                }
            }
            prop_assert!(false, "still tried at {now}");
        }

        #[test]
        fn waits_double_up_to_their_most(attempts in 1_u32..u32::MAX, chance in any::<u64>()) {
            let wait = POLICY.wait_ms(attempts, chance);
            let full = POLICY.first_wait_ms.saturating_mul(1 << (attempts - 1).min(30)).min(POLICY.wait_max_ms);
            prop_assert!(wait >= full / 2 && wait <= full, "{wait} of {full}");
        }
    }
}
