//! Budgets, leases, credit and rate limits.

use std::sync::LazyLock;

use domain::*;
use ledger::lease::{LeaseGrant, LeaseRequest};
use ledger::local_budget::LeaseOp;
use ledger::{DrainBatch, JournalPosition, LeaseAnswer, LeaseCall};
use store::fixtures::CommitFault;
use store::{BudgetHolds, BudgetRow, BudgetStanding, CredentialRow, EventKind, LimitsOf, Page};

use crate::samples::*;

/// A test that might not finish before midnight starts after it.
const ROOM_MS: u64 = 10_000;

/// The current day, which is also the day in which a budget is created: the same for the whole test.
static TODAY: LazyLock<u64> = LazyLock::new(|| {
    let world = world::World::system();
    let has_room =
        || Period::Day.start(world.clock.unix_ms() + ROOM_MS) == Period::Day.start(world.clock.unix_ms());
    while !has_room() {
        std::thread::yield_now();
    }
    Period::Day.start(world.clock.unix_ms())
});

fn budget(workspace: WorkspaceId, number: u64, limit: i64) -> BudgetRow {
    // Whatever is created from here on belongs to that day.
    LazyLock::force(&TODAY);
    BudgetRow {
        id: BudgetId::new(NOW, bytes(number)),
        workspace,
        name: format!("budget {number}"),
        subject: Subject::Workspace,
        limit: Nanos(limit),
        period: Period::Day,
        on_reached: OnReached::Pause,
        counts: Counts::All,
        alerts: vec![50, 80, 100],
        created_unix_ms: NOW,
        version: 0,
    }
}

fn call(budget: BudgetId, call: LeaseOp) -> LeaseCall {
    LeaseCall { budget, period_unix_ms: *TODAY, call }
}

/// Asks for so much, all or nothing.
fn ask(sequence: u64, least: i64) -> LeaseOp {
    LeaseOp::Ask(LeaseRequest { sequence, least, wanted: least, divisible: false })
}

async fn carry(fresh: &Fresh, one: LeaseCall) -> Option<LeaseGrant> {
    match fresh.store.lease_centre().apply_calls(vec![one]).await.unwrap()[..] {
        [LeaseAnswer::Granted(grant)] => Some(grant),
        _ => None,
    }
}

fn standing(spent: i64, reserved: i64) -> BudgetStanding {
    BudgetStanding { period_unix_ms: *TODAY, spent: Nanos(spent), reserved: Nanos(reserved) }
}

/// A record that draws on a budget.
fn drawing(fresh: &Fresh, number: u64, budget: BudgetId, amount: i64) -> MeterRecord {
    let drawn = vec![Drawn { budget, period_unix_ms: *TODAY, amount: Nanos(amount) }];
    MeterRecord { drawn, ..fresh.record(number) }
}

pub async fn a_budget_is_made_read_changed_and_deleted(fresh: &Fresh) {
    let (budgets, workspace) = (fresh.store.budgets(), fresh.founding.workspace.id);
    let (project, key) =
        (Subject::Project(fresh.founding.project.id), Subject::Key(fresh.founding.keys[0].id));
    let subjects = [Subject::Workspace, project, key, Subject::EndUser("käthe".into())];
    let mut made = Vec::new();
    for (number, subject) in (5..).zip(subjects) {
        let row = BudgetRow { subject, ..budget(workspace, number, 1_000_000) };
        let written = budgets.create((row.clone(), Nanos(7)), act()).await.unwrap().row;
        assert_eq!(budgets.get(workspace, row.id).await.unwrap(), written);
        assert_eq!(written, BudgetRow { version: written.version, ..row });
        made.push(written);
    }
    assert_eq!(budgets.list(workspace, Default::default()).await.unwrap().rows, made);
    let (on_reached, period) = (OnReached::Allow, Period::Month);
    let changed = BudgetRow { limit: Nanos(5), on_reached, alerts: vec![90], period, ..made[0].clone() };
    let changed = budgets.replace(changed, Some(made[0].version), act()).await.unwrap().row;
    assert_eq!((changed.limit, changed.period, &*changed.alerts), (Nanos(5), Period::Day, &[90][..]));
    assert_eq!(budgets.get(workspace, changed.id).await.unwrap(), changed);
    let entry = fresh.entry().await;
    let terms = entry.terms.as_ref().unwrap();
    assert_eq!(terms.budgets.len(), 4);
    assert_eq!(*terms.budgets[&Subject::Workspace][0], changed.compile());
    for row in made {
        budgets.delete(workspace, row.id, None, act()).await.unwrap();
    }
    assert!(budgets.list(workspace, Default::default()).await.unwrap().rows.is_empty());
    assert_eq!(fresh.entry().await.terms, None);
}

pub async fn a_budget_is_of_its_own_workspaces_things(fresh: &Fresh) {
    let (budgets, other) = (fresh.store.budgets(), fresh.workspace(2).await);
    let own =
        budgets.create((budget(fresh.founding.workspace.id, 5, 9), Nanos::ZERO), act()).await.unwrap().row;
    let foreign = [Subject::Project(fresh.founding.project.id), Subject::Key(fresh.founding.keys[0].id)];
    for (number, subject) in (6..).zip(foreign) {
        let row = BudgetRow { subject, ..budget(other.workspace.id, number, 9) };
        missing(budgets.create((row, Nanos::ZERO), act()).await);
    }
    missing(budgets.get(other.workspace.id, own.id).await);
    missing(budgets.delete(other.workspace.id, own.id, None, act()).await);
}

pub async fn a_lease_is_granted_returned_and_released(fresh: &Fresh) {
    let (budgets, centre) = (fresh.store.budgets(), fresh.store.lease_centre());
    let row = budget(fresh.founding.workspace.id, 5, 1_000_000);
    let id = row.id;
    budgets.create((row, Nanos::ZERO), act()).await.unwrap();
    assert_eq!(centre.renew().await.unwrap().replicas, 1);
    let asked = ask(1, 30_000);
    // Applied, its reply lost, and sent again.
    fresh.store.commit_faults().script([CommitFault::AnswerLost]);
    centre.apply_calls(vec![call(id, asked)]).await.unwrap_err();
    let granted = carry(fresh, call(id, asked)).await.unwrap();
    assert_eq!((granted.amount, granted.elsewhere), (30_000, 0));
    assert_eq!(budgets.standing(id, *TODAY).await.unwrap(), standing(0, 30_000));
    assert_eq!(centre.renew().await.unwrap().leases, [(id, *TODAY)]);
    let back = LeaseOp::Return { sequence: 2, amount: 20_000 };
    fresh.store.commit_faults().script([CommitFault::Refused]);
    centre.apply_calls(vec![call(id, back)]).await.unwrap_err();
    for _ in 0..2 {
        carry(fresh, call(id, back)).await;
        assert_eq!(budgets.standing(id, *TODAY).await.unwrap(), standing(0, 10_000));
    }
    assert_eq!(carry(fresh, call(id, ask(3, 990_001))).await.unwrap().amount, 0, "more than there is");
    assert_eq!(carry(fresh, call(BudgetId::new(NOW, bytes(99)), asked)).await.unwrap().amount, 0);
    centre.release().await.unwrap();
    assert_eq!(budgets.standing(id, *TODAY).await.unwrap(), standing(0, 0));
}

pub async fn what_records_draw_moves_from_leases_to_the_books_once(fresh: &Fresh) {
    let (budgets, centre) = (fresh.store.budgets(), fresh.store.lease_centre());
    let row = budget(fresh.founding.workspace.id, 5, 1_000);
    let id = row.id;
    budgets.create((row, Nanos(100)), act()).await.unwrap();
    centre.renew().await.unwrap();
    assert_eq!(carry(fresh, call(id, ask(1, 800))).await.unwrap().amount, 800);
    let batch = |offset, records: Vec<MeterRecord>| DrainBatch {
        core: 0,
        upto: JournalPosition { epoch: 1, segment: 1, offset },
        records: settled(records),
    };
    let sink = fresh.store.record_sink();
    let first = batch(1, vec![drawing(fresh, 1, id, 300), drawing(fresh, 2, id, 150)]);
    fresh.store.commit_faults().script([CommitFault::AnswerLost]);
    sink.apply(first.clone()).await.unwrap_err();
    sink.apply(first).await.unwrap();
    assert_eq!(budgets.standing(id, *TODAY).await.unwrap(), standing(550, 350));
    let percents = async || {
        let alerts = budgets.alerts(id, *TODAY).await.unwrap();
        alerts.iter().map(|alert| (alert.percent, alert.spent.0)).collect::<Vec<_>>()
    };
    assert_eq!(percents().await, [(50, 550)]);
    // To the limit in one step, and over it.
    sink.apply(batch(2, vec![drawing(fresh, 3, id, 500)])).await.unwrap();
    assert_eq!(budgets.standing(id, *TODAY).await.unwrap(), standing(1_050, 0));
    assert_eq!(percents().await, [(50, 550), (80, 1_050), (100, 1_050)]);
    let gone = BudgetId::new(NOW, bytes(77));
    sink.apply(batch(3, vec![drawing(fresh, 4, gone, 5), drawing(fresh, 5, id, 1)])).await.unwrap();
    assert_eq!(percents().await.len(), 3, "each once a period");
    let read = fresh.store.records().request(fresh.founding.workspace.id, drawing(fresh, 5, id, 1).trace);
    assert_eq!(read.await.unwrap().drawn, drawing(fresh, 5, id, 1).drawn);
    // Each alert is handed out once.
    let webhooks = fresh.store.webhooks();
    let webhook = super::webhooks::webhook(fresh, 9, &[EventKind::BudgetAlert]);
    let webhook = webhooks.create(webhook, act()).await.unwrap().row;
    let first = budgets.claim_alerts(2, NOW).await.unwrap();
    let rest = budgets.claim_alerts(10, NOW).await.unwrap();
    let claimed: Vec<_> = first.iter().chain(&rest).map(|alert| alert.percent).collect();
    assert_eq!((first.len(), claimed), (2, vec![50, 80, 100]));
    assert!(budgets.claim_alerts(10, NOW).await.unwrap().is_empty());
    let sent = webhooks.deliveries(webhook.workspace, webhook.id, Page::default()).await.unwrap().rows;
    let mut told: Vec<_> = sent.iter().map(|row| row.event.payload["percent"].as_u64().unwrap()).collect();
    told.sort_unstable();
    assert_eq!(told, [50, 80, 100]);
    // With a higher limit, thresholds are reported again.
    let raised = BudgetRow { limit: Nanos(2_000), ..budgets.get(webhook.workspace, id).await.unwrap() };
    budgets.replace(raised, None, act()).await.unwrap();
    assert!(budgets.alerts(id, *TODAY).await.unwrap().is_empty());
    sink.apply(batch(4, vec![drawing(fresh, 6, id, 1)])).await.unwrap();
    assert_eq!(percents().await, [(50, 1_052)]);
}

pub async fn a_refusal_reaches_a_budget_before_its_last_nano(fresh: &Fresh) {
    let (budgets, centre) = (fresh.store.budgets(), fresh.store.lease_centre());
    for (number, alerts, expected) in [(5, vec![80, 100], vec![100]), (6, vec![80], vec![])] {
        let row = BudgetRow { alerts, ..budget(fresh.founding.workspace.id, number, 1_000) };
        budgets.create((row.clone(), Nanos(700)), act()).await.unwrap();
        for _ in 0..2 {
            centre.report_exhausted(row.id, *TODAY).await.unwrap();
        }
        let alerts = budgets.alerts(row.id, *TODAY).await.unwrap();
        assert_eq!(alerts.iter().map(|alert| alert.percent).collect::<Vec<_>>(), expected);
    }
}

pub async fn credit_is_a_budget_that_never_begins_anew(fresh: &Fresh) {
    let (budgets, workspace) = (fresh.store.budgets(), fresh.founding.workspace.id);
    assert_eq!(budgets.credit(workspace).await.unwrap(), None);
    for (number, amount) in [(5, 5_000_000), (6, -1_000_000)] {
        let id = BudgetId::new(NOW, bytes(number));
        budgets.add_credit(workspace, id, Nanos(amount), format!("note {number}"), act()).await.unwrap();
    }
    let credit = budgets.credit(workspace).await.unwrap().unwrap();
    assert_eq!((credit.limit, credit.period, credit.counts), (Nanos(4_000_000), Period::Ever, Counts::Owed));
    assert!(budgets.list(workspace, Default::default()).await.unwrap().rows.is_empty());
    // Nobody deletes it.
    missing(budgets.get(workspace, credit.id).await);
    let rows = budgets.credits(workspace, 10).await.unwrap();
    assert_eq!((rows.len(), rows.iter().map(|row| row.amount.0).sum::<i64>()), (2, 4_000_000));
    let at: Vec<_> = rows.iter().rev().map(|row| row.created_unix_ms).collect();
    assert_eq!(budgets.credit_before(workspace, at[0]).await.unwrap(), Nanos::ZERO);
    assert_eq!(budgets.credit_before(workspace, at[1] + 1).await.unwrap(), Nanos(4_000_000));
    assert!(fresh.entry().await.terms.as_ref().unwrap().budgets[&Subject::Workspace][0].is_credit());
}

pub async fn rates_are_set_read_and_taken_away(fresh: &Fresh) {
    let (budgets, workspace) = (fresh.store.budgets(), fresh.founding.workspace.id);
    let limits = Limits { requests_per_minute: Some(3), concurrent_streams: Some(2), ..Limits::default() };
    let key = Subject::Key(fresh.founding.keys[0].id);
    let of = [LimitsOf::Subject(Subject::Workspace), LimitsOf::Subject(key.clone()), LimitsOf::EveryEndUser];
    for of in &of {
        budgets.set_limits(workspace, of.clone(), limits, act()).await.unwrap();
        assert_eq!(budgets.limits(workspace, of.clone()).await.unwrap(), limits);
    }
    let entry = fresh.entry().await;
    let terms = entry.terms.as_ref().unwrap();
    assert_eq!((terms.limits.len(), terms.limits[&key], terms.end_user_limits), (2, limits, limits));
    for of in of {
        budgets.set_limits(workspace, of.clone(), Limits::default(), act()).await.unwrap();
        assert_eq!(budgets.limits(workspace, of).await.unwrap(), Limits::default());
    }
    assert_eq!(fresh.entry().await.terms, None);
}

pub async fn what_an_object_holds_is_reserved_until_it_is_booked(fresh: &Fresh) {
    let (budgets, objects) = (fresh.store.budgets(), fresh.store.kept_objects());
    let row = budget(fresh.founding.workspace.id, 7, 1_000);
    let made = budgets.create((row, Nanos::ZERO), act()).await.unwrap().row;
    let ask = |sequence, least| call(made.id, ask(sequence, least));
    let now = async || budgets.standing(made.id, *TODAY).await.unwrap();
    fresh.store.lease_centre().renew().await.unwrap();
    assert_eq!(carry(fresh, ask(1, 800)).await.unwrap().amount, 800);
    let mut video = super::kept_objects::video(fresh, 1, "{}");
    // Its part ends a month after that.
    video.object.created_unix_ms = *TODAY;
    let part = Drawn { budget: made.id, period_unix_ms: *TODAY, amount: Nanos(700) };
    // Written twice where nobody saw whether it was written.
    for _ in 0..2 {
        let holds = BudgetHolds { replica: fresh.store.replica(), parts: vec![part] };
        objects.keep_with_holds(video.clone(), None, holds).await.unwrap();
        assert_eq!(now().await, standing(0, 800), "100 of the replica's and 700 of the video's");
    }
    fresh.store.lease_centre().release().await.unwrap();
    assert_eq!(now().await, standing(0, 700), "whoever made it may go");
    let claim = BudgetClaim { budget: made.id, period_unix_ms: *TODAY, counts: Counts::All };
    assert_eq!(objects.holds(video.id).await.unwrap(), [claim]);
    assert_eq!(objects.holds(super::kept_objects::video(fresh, 2, "").id).await.unwrap(), []);
    fresh.store.lease_centre().renew().await.unwrap();
    assert_eq!(carry(fresh, ask(1, 400)).await.unwrap().amount, 0);
    assert!(objects.book(video.owner, video.id, TraceId::new(NOW, bytes(10))).await.unwrap());
    assert_eq!(now().await, standing(0, 0));
    assert_eq!(objects.holds(video.id).await.unwrap(), []);
    assert_eq!(carry(fresh, ask(2, 400)).await.unwrap().amount, 400);
    fresh.store.lease_centre().release().await.unwrap();
    // One whose size is known later holds nothing until then, and is held once.
    let mut batch = super::kept_objects::video(fresh, 3, "{}");
    batch.object.created_unix_ms = *TODAY;
    let nothing = Drawn { amount: Nanos::ZERO, ..part };
    let holds = BudgetHolds { replica: fresh.store.replica(), parts: vec![nothing] };
    objects.keep_with_holds(batch.clone(), None, holds).await.unwrap();
    assert_eq!((now().await, objects.holds(batch.id).await.unwrap()), (standing(0, 0), vec![claim]));
    for amount in [600, 900] {
        objects.hold(batch.id, vec![Drawn { amount: Nanos(amount), ..part }]).await.unwrap();
        assert_eq!(now().await, standing(0, 600));
    }
    fresh.store.lease_centre().renew().await.unwrap();
    assert_eq!(carry(fresh, ask(1, 500)).await.unwrap().amount, 0, "no replica gets what it holds");
    objects.release(batch.id).await.unwrap();
    objects.hold(batch.id, vec![part]).await.unwrap();
    assert_eq!(now().await, standing(0, 0), "nobody will book it");
}

pub async fn a_commitment_is_drawn_told_of_and_forgotten_with_its_credential(fresh: &Fresh) {
    let (credentials, budgets, workspace) =
        (fresh.store.credentials(), fresh.store.budgets(), fresh.founding.workspace.id);
    let made = credentials.create(credential(workspace, 5), act()).await.unwrap().row;
    let id = BudgetId::of_commitment(made.id);
    let terms =
        async || fresh.entry().await.terms.clone().map(|it| it.commitments.clone()).unwrap_or_default();
    let stated = terms().await.remove(0);
    assert_eq!((stated.id, stated.limit, stated.period), (id, Nanos(5_000_000_000), Period::Quarter));
    assert_eq!((stated.counts, stated.on_reached), (Counts::Committed, OnReached::Allow));
    assert!(budgets.list(workspace, Default::default()).await.unwrap().rows.is_empty());
    missing(budgets.get(workspace, id).await);
    let period = Period::Quarter.start(*TODAY);
    let draw = |number, amount, period_unix_ms| MeterRecord {
        drawn: vec![Drawn { budget: id, period_unix_ms, amount: Nanos(amount) }],
        ..drawing(fresh, number, id, amount)
    };
    let sink = fresh.store.record_sink();
    let apply = async |core, offset, record| {
        let upto = JournalPosition { epoch: 1, segment: 1, offset };
        sink.apply(DrainBatch { core, upto, records: settled(vec![record]) }).await.unwrap();
    };
    // Drawn while nothing could be leased: a lease then pays for it first, and only what is left is taken for it.
    apply(0, 1, draw(1, 3_000_000_000, period)).await;
    apply(0, 2, draw(4, 1_000_000_000, period)).await;
    let least = 4_000_000_000 + 500_000_000;
    let lease = LeaseCall { budget: id, period_unix_ms: period, call: ask(1, least) };
    fresh.store.lease_centre().renew().await.unwrap();
    assert_eq!(carry(fresh, lease).await.unwrap().amount, least);
    // Booked by no core, such as a batch: no lease is less for it.
    apply(DrainBatch::NO_JOURNAL, 2, draw(2, 100_000_000, period)).await;
    let standing = budgets.standing(id, period).await.unwrap();
    assert_eq!((standing.spent, standing.reserved), (Nanos(4_100_000_000), Nanos(500_000_000)));
    let beyond = domain::allowance::beyond_period(period);
    apply(0, 3, draw(3, 7_000, beyond)).await;
    let leases = fresh.store.lease_centre().renew().await.unwrap().leases;
    assert_eq!(leases, [(id, period)], "what goes beyond isn't a debt");
    assert_eq!(budgets.standing(id, period).await.unwrap().spent, Nanos(4_100_000_000));
    // Told of once: at 80 percent, and near the end that it will not be used up.
    let webhook = super::webhooks::webhook(fresh, 9, &[EventKind::CommitmentAlert]);
    let webhook = fresh.store.webhooks().create(webhook, act()).await.unwrap().row;
    let late = Period::Quarter.end(period).unwrap() - 86_400_000;
    for now in [period + 86_400_000, late, late] {
        budgets.note_under_used(now).await.unwrap();
    }
    budgets.claim_alerts(10, late).await.unwrap();
    let sent = fresh.store.webhooks().deliveries(workspace, webhook.id, Page::default()).await.unwrap().rows;
    let mut told: Vec<_> = sent.iter().map(|row| row.event.payload.clone()).collect();
    told.sort_by_key(|payload| payload["reason"].to_string());
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!((&told[0]["reason"], &told[1]["percent"]), (&"under_used".into(), &80.into()), "{told:?}");
    assert_eq!(told[0]["credential_id"], made.id.to_string(), "{told:?}");
    assert!(told[0]["under_used_micros"].as_i64().unwrap() > 800_000, "{told:?}");
    // A raised amount takes up what went beyond the one before.
    let commitment = Some(Commitment { amount_micros: 6_000_000, period: CommitmentPeriod::Quarter });
    let agreement = Agreement { commitment, ..made.agreement.clone() };
    credentials.replace((CredentialRow { agreement, ..made.clone() }, None), None, act()).await.unwrap();
    assert_eq!(terms().await[0].limit, Nanos(6_000_000_000));
    assert_eq!(budgets.standing(id, period).await.unwrap().spent, Nanos(4_100_007_000));
    credentials.delete(workspace, made.id, None, act()).await.unwrap();
    assert!(terms().await.is_empty());
    assert_eq!(budgets.standing(id, period).await.unwrap().spent, Nanos::ZERO);
}

pub async fn what_an_answer_holds_is_reserved_until_it_is_booked(fresh: &Fresh) {
    let (budgets, responses) = (fresh.store.budgets(), fresh.store.stored_responses());
    let row = budget(fresh.founding.workspace.id, 7, 1_000);
    let made = budgets.create((row, Nanos::ZERO), act()).await.unwrap().row;
    let now = async || budgets.standing(made.id, *TODAY).await.unwrap();
    fresh.store.lease_centre().renew().await.unwrap();
    assert_eq!(carry(fresh, call(made.id, ask(1, 800))).await.unwrap().amount, 800);
    let part = Drawn { budget: made.id, period_unix_ms: *TODAY, amount: Nanos(700) };
    let mut answers = [1, 2].map(|number| super::stored_responses::row(fresh, number));
    for answer in &mut answers {
        // Its part ends a month after that.
        answer.response.request = TraceId::new(*TODAY, bytes(1));
    }
    let [booked, deleted] = &mut answers;
    booked.holds = BudgetHolds { replica: fresh.store.replica(), parts: vec![part] };
    // Written twice where nobody saw whether it was written.
    for _ in 0..2 {
        responses.keep(vec![booked.clone()]).await.unwrap();
        assert_eq!(now().await, standing(0, 800), "100 of the replica's and 700 of the answer's");
    }
    fresh.store.lease_centre().release().await.unwrap();
    assert_eq!(now().await, standing(0, 700), "whoever made it may go");
    let claim = BudgetClaim { budget: made.id, period_unix_ms: *TODAY, counts: Counts::All };
    let by = TraceId::new(NOW, bytes(10));
    assert!(responses.claim(booked.digest, by).await.unwrap());
    assert_eq!(responses.holds(booked.digest).await.unwrap(), [claim], "until its record is written");
    responses.release(booked.digest).await.unwrap();
    assert_eq!(now().await, standing(0, 0));
    fresh.store.lease_centre().renew().await.unwrap();
    // Of a stream it takes over what is left when its client leaves; if it is booked by then, nobody holds it any more.
    assert_eq!(carry(fresh, call(made.id, ask(2, 800))).await.unwrap().amount, 800);
    let whole = || BudgetHolds { replica: fresh.store.replica(), parts: vec![part] };
    for is_booked in [false, true] {
        responses.forget(booked.digest).await.unwrap();
        let nothing = Drawn { amount: Nanos::ZERO, ..part };
        booked.holds = BudgetHolds { replica: fresh.store.replica(), parts: vec![nothing] };
        responses.keep(vec![booked.clone()]).await.unwrap();
        assert_eq!(responses.holds(booked.digest).await.unwrap(), [claim]);
        if is_booked {
            assert!(responses.book(booked.digest, by).await.unwrap());
            assert_eq!(carry(fresh, call(made.id, ask(3, 700))).await.unwrap().amount, 700);
        }
        responses.hold(booked.digest, whole()).await.unwrap();
        assert_eq!(now().await, standing(0, if is_booked { 100 } else { 800 }));
        responses.release(booked.digest).await.unwrap();
        assert_eq!(now().await, standing(0, 100));
    }
    fresh.store.lease_centre().release().await.unwrap();
    // A client that books it draws on its own, and what is deleted costs nothing any more.
    for is_booked in [true, false] {
        responses.forget(deleted.digest).await.unwrap();
        deleted.holds = BudgetHolds { replica: fresh.store.replica(), parts: vec![part] };
        responses.keep(vec![deleted.clone()]).await.unwrap();
        assert_eq!(now().await, standing(0, 700));
        if is_booked {
            assert!(responses.book(deleted.digest, by).await.unwrap());
        } else {
            responses.forget(deleted.digest).await.unwrap();
        }
        assert_eq!((now().await, responses.holds(deleted.digest).await.unwrap()), (standing(0, 0), vec![]));
    }
}
