//! What becomes of a job after a try.

use jobs::{Outcome, Policy, ending};
use proptest::prelude::*;
use store::JobRow;
use store::jobs::JobResult;

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
    let JobResult::Dead { error } = ending(&job(1, None), &POLICY, hopeless.clone(), 0, 0) else { panic!() };
    assert_eq!(error.len(), domain::limits::JOB_ERROR_BYTES_MAX);
    let due = ending(&job(1, Some(1_000)), &POLICY, hopeless, 1_000, 0);
    assert_eq!(due, JobResult::Rescheduled { unix_ms: 2_000 });
    assert_eq!(ending(&job(9, None), &POLICY, failed(), 61_000, 0), JobResult::Dead { error: "no".into() });
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
        let policy = Policy { retry_for_ms: u64::MAX, ..POLICY };
        let JobResult::Retry { unix_ms, .. } = ending(&job(attempts, None), &policy, failed(), 1_000, chance)
        else {
            panic!("it is given up")
        };
        let wait = unix_ms - 1_000;
        let full = POLICY.first_wait_ms.saturating_mul(1 << (attempts - 1).min(30)).min(POLICY.wait_max_ms);
        prop_assert!(wait >= full / 2 && wait <= full, "{wait} of {full}");
    }
}
