//! A pool whose centre is unreachable, and an exchange that reserves twice.

use std::time::Duration;

use domain::{Charge, Counts, Limits, Nanos, OnReached, Period, Profile, Subject, WorkspaceId};

use super::*;
use crate::allowances::{CoreAllowances, LimitState};
use crate::lease::CentralBudget;
use crate::refusal::over_budget;
use crate::reservation::{Bounds, Ceiling, Reservation, would_refuse};

const SECOND: u64 = 1_000_000;

fn workspace() -> WorkspaceId {
    WorkspaceId::new(1, [2; 10])
}

fn budget() -> Budget {
    Budget {
        id: BudgetId::new(1, [1; 10]),
        workspace: workspace(),
        name: "b".into(),
        subject: Subject::Workspace,
        limit: Nanos(1_000),
        period: Period::Ever,
        on_reached: OnReached::Pause,
        counts: Counts::All,
    }
}

/// Answers the call that is due, as the lease client does; `amount` is what the centre grants.
fn answer(pool: &LocalBudget, amount: Option<i64>, now_us: u64) {
    let call = pool.next_call(now_us, 0, false).expect("a call is due");
    match (call, amount) {
        (LeaseOp::Ask(ask), Some(amount)) => {
            pool.apply_grant(LeaseGrant { sequence: ask.sequence, amount, elsewhere: 0 }, now_us);
        }
        _ => pool.record_failure(now_us),
    }
}

#[test]
fn an_old_reply_does_not_outlive_the_centre() {
    let pool = LocalBudget::new(&budget(), 0);
    let ticket = pool.enqueue(10, 10, SECOND).unwrap();
    answer(&pool, Some(0), SECOND);
    assert_eq!((pool.outlook(10, SECOND), pool.is_centre_reachable(SECOND)), (Outlook::Exhausted, true));
    assert_eq!(pool.outlook(10, 2 * SECOND), Outlook::Wait, "somebody may have added some");
    answer(&pool, None, 2 * SECOND);
    assert_eq!((pool.outlook(10, 2 * SECOND), pool.is_centre_reachable(2 * SECOND)), (Outlook::Wait, false));
    // Reachable again, its reply counts.
    answer(&pool, Some(0), 4 * SECOND);
    assert_eq!(
        (pool.outlook(10, 4 * SECOND), pool.is_centre_reachable(4 * SECOND)),
        (Outlook::Exhausted, true)
    );
    // A call without a reply is silence as well.
    assert!(pool.next_call(5 * SECOND, 0, false).is_some());
    assert!(pool.is_centre_reachable(5 * SECOND) && !pool.is_centre_reachable(6 * SECOND));
    pool.leave(ticket);
}

#[test]
fn too_little_for_one_may_be_enough_for_the_next() {
    let pool = LocalBudget::new(&budget(), 0);
    let large = pool.enqueue(1_000, 1_000, SECOND).unwrap();
    answer(&pool, Some(0), SECOND);
    assert_eq!(pool.outlook(1_000, SECOND), Outlook::Exhausted);
    pool.leave(large);
    assert_eq!(pool.outlook(999, SECOND), Outlook::Wait, "nobody asked for so little");
    let small = pool.enqueue(100, 100, SECOND).unwrap();
    // It is sent at once, and answered separately.
    let Some(LeaseOp::Ask(ask)) = pool.next_call(SECOND, 0, false) else { panic!("nobody asks") };
    assert_eq!((ask.least, ask.wanted), (100, 100));
    pool.apply_grant(LeaseGrant { sequence: ask.sequence, amount: 0, elsewhere: 0 }, SECOND);
    assert_eq!(pool.outlook(100, SECOND), Outlook::Exhausted);
    assert_eq!(pool.next_call(SECOND, 0, false), None, "who needs as much is answered already");
    pool.leave(small);
    let least = pool.enqueue(10, 10, SECOND).unwrap();
    answer(&pool, Some(10), SECOND);
    assert_eq!(pool.take_waited(least, 10, SECOND), Some(10));
}

#[tokio::test]
async fn a_second_attempt_that_needs_more_waits_for_it_and_is_one_exchange() {
    let shared = Arc::new(LimitState::default());
    shared.renew_until(u64::MAX);
    let core = CoreAllowances::new(Arc::clone(&shared));
    let bounds = Bounds { budgets: vec![Arc::new(budget())], ..Bounds::default() };
    let mut hold = Reservation::take(&core, workspace(), bounds, 0, 0).unwrap().unwrap();
    let pool = shared.pools().pop().unwrap();
    let of = |cost| Charge { cost: Nanos(cost), ..Charge::default() };
    let reserve = async |hold: &mut Reservation, cost| {
        let (profile, patience) = (Profile::ManagedProvider, Duration::ZERO);
        let ceiling = Ceiling { profile, most: of(cost), least: of(cost), patience };
        hold.reserve(ceiling, |_| Nanos::ZERO, || SECOND, 0).await
    };
    let granting = async |amount| {
        tokio::task::yield_now().await;
        answer(&pool, Some(amount), SECOND);
    };
    let (reserved, ()) = tokio::join!(reserve(&mut hold, 10), granting(12));
    reserved.unwrap();
    assert_eq!((pool.available(), pool.reservation()), (2, 10));
    let (reserved, ()) = tokio::join!(reserve(&mut hold, 30), granting(20));
    reserved.unwrap();
    assert_eq!((pool.available(), pool.reservation()), (2, 30));
    hold.settle(0, |_| Nanos(32), |_| Nanos::ZERO, SECOND);
    assert_eq!((pool.available(), pool.reservation(), pool.is_at_rest()), (0, 0, true));
}

#[test]
fn what_limits_would_refuse_is_known_without_taking_of_them() {
    let shared = Arc::new(LimitState::default());
    let core = CoreAllowances::new(Arc::clone(&shared));
    let limits =
        Limits { requests_per_minute: Some(3), tokens_per_minute: Some(100), concurrent_streams: Some(2) };
    let bounds = |tokens| Bounds { limits: vec![(Subject::Workspace, limits)], tokens, ..Bounds::default() };
    let take = |tokens| Reservation::take(&core, workspace(), bounds(tokens), SECOND, 0).unwrap().unwrap();
    let refused = |tokens| {
        let fault = would_refuse(&shared, workspace(), &bounds(tokens), SECOND);
        fault.map(|fault| (fault.code, fault.message.contains("tokens"), fault.retry_after_ms))
    };
    for _ in 0..5 {
        assert_eq!(refused(90), None);
    }
    let first = take(60);
    assert_eq!(refused(40), None);
    assert_eq!(refused(41), Some(("rate_limit_exceeded", true, Some(600))));
    let second = take(40);
    assert_eq!(refused(0), Some(("rate_limit_exceeded", false, Some(1_000))), "two are under way");
    drop((first, second));
    assert_eq!(refused(100), None, "what came to nothing is given back");
}

#[test]
fn what_a_budget_would_refuse_is_known_without_taking_of_it() {
    let charge = |cost| Charge { cost: Nanos(cost), provider_cost: Nanos(cost), ..Charge::default() };
    let pausing = budget();
    let allowing = Budget { on_reached: OnReached::Allow, ..budget() };
    let of_owed = Budget { counts: Counts::Owed, ..budget() };
    for (budget, left, profile, cost, refuses) in [
        (&pausing, 10, Profile::ManagedProvider, 10, false),
        (&pausing, 9, Profile::ManagedProvider, 10, true),
        (&pausing, -5, Profile::ManagedProvider, 0, false),
        (&allowing, 0, Profile::ManagedProvider, 10, false),
        (&pausing, 9, Profile::Byok, 10, true),
        (&of_owed, 0, Profile::Byok, 0, false),
    ] {
        let fault = over_budget(budget, Nanos(left), profile, &charge(cost), 0);
        assert_eq!(fault.is_some(), refuses, "{left} {profile} {cost}");
    }
}

#[test]
fn a_changed_limit_reaches_the_centre_at_once() {
    let pool = LocalBudget::new(&budget(), 0);
    let ticket = pool.enqueue(1, 1, SECOND).unwrap();
    answer(&pool, Some(0), SECOND);
    pool.follow_limit(budget().limit);
    assert!(pool.is_used_up(SECOND), "nothing has changed");
    pool.follow_limit(Nanos(budget().limit.0 + 1));
    assert!(!pool.is_used_up(SECOND));
    answer(&pool, Some(1), SECOND);
    assert_eq!(pool.take_waited(ticket, 1, SECOND), Some(1));
}

#[test]
fn who_waits_goes_on_asking_while_a_recall_lasts() {
    let pool = LocalBudget::new(&budget(), 0);
    let ticket = pool.enqueue(10, 10, SECOND).unwrap();
    answer(&pool, Some(0), SECOND);
    // The recall that its own question caused reaches it, too, and lasts for longer than it waits.
    assert_eq!(pool.next_call(SECOND, 0, true), None, "the answer is a moment old");
    let again_us = SECOND + ASK_EXHAUSTED_US;
    let Some(LeaseOp::Ask(ask)) = pool.next_call(again_us, 0, true) else { panic!("nobody asks") };
    pool.apply_grant(LeaseGrant { sequence: ask.sequence, amount: 10, elsewhere: 0 }, again_us);
    assert_eq!(pool.next_call(again_us, 0, true), None, "what serves a waiting request is kept");
    assert_eq!(pool.take_waited(ticket, 10, again_us), Some(10));
    // Nothing is asked ahead of need.
    assert_eq!(pool.next_call(2 * again_us, 0, true), None);
}

#[test]
fn a_wait_without_an_answer_says_nothing_of_what_is_left() {
    let pool = LocalBudget::new(&budget(), 0);
    let ticket = pool.enqueue(1, 1, SECOND).unwrap();
    answer(&pool, Some(0), SECOND);
    // The centre stalls for as long as the next one waits: too short a time to count as gone.
    let (began_us, ended_us) = (SECOND + 1, SECOND + 900_000);
    assert!(pool.is_centre_reachable(ended_us) && !pool.is_refused_since(began_us));
    answer(&pool, Some(0), ended_us);
    assert!(pool.is_refused_since(began_us));
    pool.leave(ticket);
}

#[test]
fn a_wait_that_ends_with_a_grant_for_what_was_spent_says_nothing_of_what_is_left() {
    let pool = LocalBudget::new(&budget(), 0);
    let ticket = pool.enqueue(1, 1, SECOND).unwrap();
    // What is asked is from before the centre was gone, and meanwhile a request that drew without it has ended.
    answer(&pool, None, SECOND);
    assert_eq!(pool.reserve(0, 0, SECOND), Some(0));
    pool.settle(0, 500, SECOND);
    answer(&pool, Some(10), 2 * SECOND);
    assert_eq!(pool.take_waited(ticket, 1, 2 * SECOND), None);
    assert!(pool.is_centre_reachable(2 * SECOND) && !pool.is_refused_since(SECOND));
    answer(&pool, Some(0), 2 * SECOND);
    assert!(pool.is_refused_since(SECOND));
    pool.leave(ticket);
}

#[test]
fn a_refusal_ahead_of_need_says_nothing_of_what_is_left() {
    // Somebody has just found too little: nothing is granted ahead of need, though most of it is free.
    let mut centre = CentralBudget { limit: 1_000, recalled_unix_ms: 1_000, ..CentralBudget::default() };
    let pool = LocalBudget::new(&budget(), 0);
    let mut ask = |least| {
        let Some(LeaseOp::Ask(ask)) = pool.next_call(SECOND, 0, false) else { panic!("nobody asks") };
        assert_eq!(ask.least, least);
        let grant = centre.grant(1, 1, &ask, 1_000);
        pool.apply_grant(grant, SECOND);
        grant.amount
    };
    let first = pool.enqueue(100, 100, SECOND).unwrap();
    assert_eq!(ask(100), 100);
    assert_eq!(pool.take_waited(first, 100, SECOND), Some(100));
    assert_eq!(ask(0), 0);
    assert_eq!(
        pool.next_call(2 * SECOND, 0, false),
        None,
        "what was refused is not asked ahead of need again"
    );
    pool.settle(100, 100, SECOND);
    assert!(!pool.is_used_up(SECOND) && !pool.is_refused_since(SECOND));
    assert_eq!(pool.outlook(1, SECOND), Outlook::Wait);
    // Who needs something is asked for at once.
    let second = pool.enqueue(1, 1, SECOND).unwrap();
    assert_eq!(ask(1), 1);
    assert_eq!(pool.take_waited(second, 1, SECOND), Some(1));
}

/// Three exchanges reserve the whole budget, and use a third of that. Who comes meanwhile waits for them, longer than for the
/// centre, and who needs more than all of it doesn't wait.
#[tokio::test(start_paused = true)]
async fn who_waits_is_served_when_others_settle_or_refused_when_nobody_is_left() {
    let shared = Arc::new(LimitState::default());
    shared.renew_until(u64::MAX);
    let core = CoreAllowances::new(Arc::clone(&shared));
    let take = || {
        let bounds = Bounds { budgets: vec![Arc::new(budget())], ..Bounds::default() };
        Reservation::take(&core, workspace(), bounds, 0, 0).unwrap().unwrap()
    };
    let of = |cost| Charge { cost: Nanos(cost), ..Charge::default() };
    let ceiling = |least, most| {
        let (profile, patience) = (Profile::ManagedProvider, Duration::from_secs(60));
        Ceiling { profile, most: of(most), least: of(least), patience }
    };
    let reserve = async |hold: &mut Reservation, (least, most)| {
        hold.reserve(ceiling(least, most), |_| Nanos::ZERO, || SECOND, 0).await
    };
    let (mut first, mut second) = (take(), take());
    let pool = shared.pools().pop().unwrap();
    assert!(first.lacks_room_for(|_| Nanos(10)), "nothing is leased yet");
    let granting = async {
        tokio::task::yield_now().await;
        answer(&pool, Some(1_000), SECOND);
    };
    let (reserved, ()) = tokio::join!(reserve(&mut first, (200, 600)), granting);
    reserved.unwrap();
    assert!(second.lacks_room_for(|_| Nanos(200)) && !second.lacks_room_for(|_| Nanos(100)));
    reserve(&mut second, (200, 600)).await.unwrap();
    assert_eq!((pool.available(), pool.reservation()), (0, 1_000), "as much as is there");
    // The centre has nothing left.
    let (mut third, mut large) = (take(), take());
    let ends = async {
        tokio::task::yield_now().await;
        answer(&pool, Some(0), SECOND);
        tokio::time::advance(Duration::from_secs(30)).await;
        first.settle(0, |_| Nanos(200), |_| Nanos::ZERO, SECOND);
    };
    let (served, refused, ()) =
        tokio::join!(reserve(&mut third, (200, 600)), reserve(&mut large, (1_001, 2_000)), ends);
    served.unwrap();
    assert_eq!(refused.unwrap_err().code, "credits_required");
    assert_eq!((pool.available(), pool.reservation()), (0, 800));
    // All that is left is spent: who waits learns it once nobody can leave anything.
    let ends = async {
        tokio::task::yield_now().await;
        second.settle(0, |_| Nanos(400), |_| Nanos::ZERO, SECOND);
        third.settle(0, |_| Nanos(400), |_| Nanos::ZERO, SECOND);
    };
    let (refused, ()) = tokio::join!(reserve(&mut large, (200, 600)), ends);
    assert_eq!(refused.unwrap_err().code, "credits_required");
    assert_eq!((pool.available(), pool.reservation()), (0, 0), "and not one nano more");
}
