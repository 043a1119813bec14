//! Plans of small flows, and properties of random ones.

use std::sync::Arc;

use flows::{Flow, Outcome, Schedule, Work, compile};
use proptest::prelude::*;
use serde_json::{Value, json};

#[expect(clippy::needless_pass_by_value, reason = "cases are written in place")]
fn flow(steps: Value, fails: bool) -> Arc<Flow> {
    Arc::new(compile(&json!({"name": "f", "fail_on_error": fails, "steps": steps})).unwrap())
}

fn of_needs(needs: &[&str]) -> Value {
    json!({"kind": "constant", "value": 1, "needs": needs})
}

/// Runs a flow whose steps end as given; what has no outcome is completed.
fn check(steps: Value, outcomes: &[(usize, Outcome)]) -> Vec<Option<Outcome>> {
    let flow = flow(steps, true);
    let (mut schedule, _) = Schedule::resume(Arc::clone(&flow), &[]);
    while let Some(Work::Step(step)) = schedule.next_work() {
        let outcome = outcomes.iter().find(|(place, _)| *place == step);
        schedule.ended(step, outcome.map_or(Outcome::Completed, |(_, outcome)| *outcome));
    }
    (0..flow.steps.len()).map(|place| schedule.outcome(place)).collect()
}

#[test]
fn what_a_step_needs_decides_what_becomes_of_it() {
    use Outcome::{Blocked, Closed, Completed, Failed, Skipped};
    let chain = json!({"a": of_needs(&[]), "b": of_needs(&["a"]), "c": of_needs(&["b"])});
    for (first, expected) in [
        (Completed, vec![Some(Completed), Some(Completed), Some(Completed)]),
        (Skipped, vec![Some(Skipped), Some(Skipped), Some(Skipped)]),
        (Closed, vec![Some(Closed), Some(Blocked), Some(Blocked)]),
        (Failed, vec![Some(Failed), Some(Blocked), Some(Blocked)]),
    ] {
        assert_eq!(check(chain.clone(), &[(0, first)]), expected, "{first:?}");
    }
    let merged = json!({
        "a": of_needs(&[]), "b": of_needs(&[]), "m": {"kind": "merge", "needs": ["a", "b"]}, "z": of_needs(&["m"]),
    });
    assert_eq!(check(merged.clone(), &[(0, Skipped)])[2..], [Some(Completed), Some(Completed)]);
    assert_eq!(check(merged, &[(0, Skipped), (1, Closed)])[2..], [Some(Skipped), Some(Skipped)]);
    let goes_on = json!({
        "a": {"kind": "constant", "value": 1, "on_error": "continue"}, "b": of_needs(&["a"]),
    });
    assert_eq!(check(goes_on, &[(0, Failed)]), [Some(Failed), Some(Completed)]);
}

#[test]
fn a_failed_step_stops_the_run_unless_the_flow_says_otherwise() {
    let steps = json!({"a": of_needs(&[]), "b": of_needs(&[]), "c": of_needs(&["a"])});
    let (mut schedule, _) = Schedule::resume(flow(steps.clone(), true), &[]);
    assert_eq!(schedule.next_work(), Some(Work::Step(0)));
    schedule.ended(0, Outcome::Failed);
    assert!(schedule.is_failing() && schedule.next_work().is_none() && !schedule.is_done());
    let (mut schedule, _) = Schedule::resume(flow(steps, false), &[]);
    assert_eq!(schedule.next_work(), Some(Work::Step(0)));
    assert_eq!(schedule.ended(0, Outcome::Failed), [(2, Outcome::Blocked)]);
    assert_eq!(schedule.next_work(), Some(Work::Step(1)));
    schedule.ended(1, Outcome::Completed);
    assert!(schedule.is_done() && !schedule.is_failing());
}

#[test]
fn iterations_are_given_out_some_at_a_time_and_never_again() {
    let steps = json!({"m": {"kind": "map", "over": "[1]", "step": {"kind": "constant", "value": 1}}});
    let (mut schedule, _) = Schedule::resume(flow(steps, true), &[]);
    assert_eq!(schedule.next_work(), Some(Work::Step(0)));
    let ended = vec![1];
    schedule.open(0, 5, 2, &ended);
    assert_eq!(schedule.next_work(), Some(Work::Iteration(0, 0)));
    assert_eq!(schedule.next_work(), Some(Work::Iteration(0, 2)));
    assert_eq!(schedule.next_work(), None);
    assert!(!schedule.iteration_ended(0, &ended));
    assert_eq!(schedule.next_work(), Some(Work::Iteration(0, 3)));
    assert!(!schedule.iteration_ended(0, &ended) && !schedule.iteration_ended(0, &ended));
    assert_eq!(schedule.next_work(), Some(Work::Iteration(0, 4)));
    assert!(schedule.iteration_ended(0, &ended) && schedule.has_no_iterations(0));
    schedule.close(0);
    assert!(schedule.ended(0, Outcome::Completed).is_empty() && schedule.is_done());
}

/// The needs of each step, always of steps before it, and how each ends.
fn random_flow() -> impl Strategy<Value = Vec<(Vec<usize>, u8)>> {
    proptest::collection::vec((proptest::collection::vec(0_usize..20, 0..4), 0_u8..8), 1..24)
}

fn document(steps: &[(Vec<usize>, u8)]) -> Arc<Flow> {
    let steps = steps.iter().enumerate().map(|(place, (needs, _))| {
        let mut needs: Vec<_> = needs.iter().filter(|need| **need < place).collect();
        needs.sort_unstable();
        needs.dedup();
        let needs: Vec<_> = needs.iter().map(|need| format!("s{need}")).collect();
        (format!("s{place}"), json!({"kind": "constant", "value": 1, "needs": needs}))
    });
    flow(Value::Object(steps.collect()), false)
}

fn outcome_of(kind: u8) -> Outcome {
    match kind {
        0 => Outcome::Failed,
        1 => Outcome::Skipped,
        2 => Outcome::Closed,
        _ => Outcome::Completed,
    }
}

proptest! {
    #[test]
    fn each_step_starts_once_after_its_needs_and_a_crash_changes_nothing(
        steps in random_flow(),
        picks in proptest::collection::vec(0_usize..24, 24),
        crash in 0_usize..24,
    ) {
        let flow = document(&steps);
        let (mut schedule, decided) = Schedule::resume(Arc::clone(&flow), &[]);
        prop_assert!(decided.is_empty());
        let mut stored: Vec<(usize, Outcome)> = Vec::new();
        let (mut given, mut started) = (Vec::new(), vec![false; flow.steps.len()]);
        for round in 0.. {
            if round == crash {
                // What was given out and has no result is given out again.
                for place in given.drain(..) {
                    started[place] = false;
                }
                schedule = Schedule::resume(Arc::clone(&flow), &stored).0;
            }
            while let Some(work) = schedule.next_work() {
                let Work::Step(place) = work else { unreachable!() };
                prop_assert!(!started[place], "a step starts once");
                started[place] = true;
                prop_assert!(flow.steps[place].needs.iter().all(|need| stored.iter().any(|(of, _)| of == need)));
                given.push(place);
            }
            if given.is_empty() {
                break;
            }
            let place = given.swap_remove(picks[round % picks.len()] % given.len());
            let outcome = outcome_of(steps[place].1);
            stored.push((place, outcome));
            stored.extend(schedule.ended(place, outcome));
        }
        prop_assert!(schedule.is_done(), "every step ends");
        prop_assert_eq!(stored.len(), flow.steps.len(), "each once");
    }
}
