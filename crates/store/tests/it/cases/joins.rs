//! Nodes that join by themselves. Each case states the time.

use domain::{JoinTokenId, TraceId, WorkspaceId};
use hardware::{Counters, Counts, HOUR_MS};
use snapshot::NodeState;
use store::{
    Act, Heartbeat, JoinToken, Joining, NodeObservation, NodeRecord, NodeRow, Page, StoreError, Window,
};

use crate::samples::{Fresh, NOW, act, conflict, digest, missing, node, secret};

const LATER: u64 = NOW + 5;

fn token(workspace: WorkspaceId, number: u8, name: &str) -> JoinToken {
    JoinToken {
        id: JoinTokenId::new(NOW, [number; 10]),
        digest: digest(number),
        workspace,
        name: name.into(),
        used_unix_ms: None,
        created_unix_ms: NOW,
        expires_unix_ms: LATER,
    }
}

fn at(unix_ms: u64) -> Act {
    Act { unix_ms, ..act() }
}

/// A node of this number, with its token and the credential that it will get.
fn joining(workspace: WorkspaceId, number: u8, row: NodeRow) -> Joining {
    let row = NodeRow { workspace, reachable: false, ..row };
    Joining { token: digest(number), credential: digest(number + 100), row }
}

fn beat(unix_ms: u64) -> Heartbeat {
    let report = serde_json::json!({"version": "1"});
    let not_polled = "not asked".into();
    let models = vec!["qwen3".into()];
    Heartbeat { unix_ms, due_unix_ms: unix_ms + 90_000, models, counters: None, report, not_polled }
}

/// The result of polling a node at its address.
async fn poll(fresh: &Fresh, row: &NodeRow, unix_ms: u64, error: Option<&str>) -> NodeRow {
    let error = error.map(ToOwned::to_owned);
    let found = NodeObservation { unix_ms, reachable: error.is_none(), models: None, error };
    let observed = fresh.store.nodes().record_observation(row.workspace, row.id, row.base_url.clone(), found);
    observed.await.unwrap().row
}

/// A joined node; its token has this number, its credential that plus a hundred.
async fn joined(fresh: &Fresh, number: u8) -> NodeRow {
    let (joins, workspace) = (fresh.store.joins(), fresh.founding.workspace.id);
    let row = node(workspace, u64::from(number));
    joins.invite(token(workspace, number, &row.name), 0, act()).await.unwrap();
    joins.join(joining(workspace, number, row), at(NOW + 1)).await.unwrap().row
}

pub async fn a_token_lets_one_node_in_and_says_why_it_lets_no_other(fresh: &Fresh) {
    let (joins, workspace) = (fresh.store.joins(), fresh.founding.workspace.id);
    let row = node(workspace, 5);
    missing(joins.join(joining(workspace, 1, row.clone()), at(NOW)).await);
    joins.invite(token(workspace, 1, &row.name), 0, act()).await.unwrap();
    conflict(joins.join(joining(workspace, 1, row.clone()), at(LATER)).await, "join_token_expired");
    let made = joins.join(joining(workspace, 1, row.clone()), at(LATER - 1)).await.unwrap().row;
    assert_eq!((made.state(), &made.secret), (NodeState::Unreachable, &Some(secret(1))));
    assert_eq!(fresh.store.nodes().get(workspace, made.id).await.unwrap(), made);
    assert_eq!(joins.token(digest(1)).await.unwrap().unwrap().used_unix_ms, Some(LATER - 1));
    conflict(joins.join(joining(workspace, 1, row), at(LATER - 1)).await, "join_token_used");
    // The name is taken as long as its credential is valid.
    conflict(joins.invite(token(workspace, 2, &made.name), 0, act()).await, "name_taken");
    joins.invite(token(workspace, 3, "another"), LATER + 1, act()).await.unwrap();
    assert_eq!(joins.token(digest(1)).await.unwrap(), None, "what is too old is forgotten");
}

pub async fn a_token_is_listed_and_withdrawn_until_it_is_used(fresh: &Fresh) {
    let (joins, workspace) = (fresh.store.joins(), fresh.founding.workspace.id);
    let tokens = fresh.store.join_tokens();
    let made: Vec<_> = (1..=3).map(|number| token(workspace, number, &format!("attic {number}"))).collect();
    for token in made.iter().rev() {
        joins.invite(token.clone(), 0, act()).await.unwrap();
    }
    let listed = async |after| tokens.list(workspace, Page { limit: 2, after }).await.unwrap();
    let first = listed(None).await;
    assert_eq!((first.rows.as_slice(), first.next), (&made[..2], Some(made[1].id)));
    assert_eq!(listed(first.next).await.rows, &made[2..]);
    assert_eq!(tokens.get(workspace, made[1].id).await.unwrap(), made[1]);

    let theirs = WorkspaceId::new(NOW, [99; 10]);
    assert!(tokens.list(theirs, Page::default()).await.unwrap().rows.is_empty());
    missing(tokens.get(theirs, made[0].id).await);
    missing(tokens.delete(theirs, made[0].id, None, act()).await);

    tokens.delete(workspace, made[0].id, None, act()).await.unwrap();
    assert_eq!(joins.token(digest(1)).await.unwrap(), None);
    missing(joins.join(joining(workspace, 1, node(workspace, 1)), at(NOW)).await);
    missing(tokens.delete(workspace, made[0].id, None, act()).await);

    let row = NodeRow { name: made[1].name.clone(), ..node(workspace, 2) };
    joins.join(joining(workspace, 2, row), at(NOW + 1)).await.unwrap();
    conflict(tokens.delete(workspace, made[1].id, None, act()).await, "join_token_used");
    let used = tokens.get(workspace, made[1].id).await.unwrap();
    assert_eq!(used, JoinToken { used_unix_ms: Some(NOW + 1), ..made[1].clone() });
}

pub async fn a_node_is_away_when_it_has_left_out_its_heartbeats(fresh: &Fresh) {
    let (joins, nodes, workspace) = (fresh.store.joins(), fresh.store.nodes(), fresh.founding.workspace.id);
    let row = joined(fresh, 1).await;
    let id = row.id;
    let mark_overdue = async |unix_ms| joins.mark_overdue(unix_ms, "silent".into()).await.unwrap().row;
    assert_eq!(mark_overdue(NOW * 2).await, 0, "it was never there");
    let spoke = joins.record_heartbeat(digest(101), beat(NOW)).await.unwrap().row;
    assert_eq!((spoke.state(), spoke.models()), (NodeState::Unreachable, ["qwen3".to_owned()].as_slice()));
    assert_eq!((spoke.last_error.as_deref(), spoke.last_seen_unix_ms), (Some("not asked"), Some(NOW)));
    let there = poll(fresh, &row, NOW, None).await;
    assert_eq!((there.state(), there.models()), (NodeState::Ready, ["qwen3".to_owned()].as_slice()));
    let same = joins.record_heartbeat(digest(101), beat(NOW + 1)).await.unwrap();
    assert_eq!((same.row.version, same.row.state()), (there.version, NodeState::Ready), "only the time");
    let kept = nodes.get(workspace, id).await.unwrap();
    assert_eq!(kept.joined.unwrap().beat_unix_ms, Some(NOW + 1));
    assert_eq!((kept.last_seen_unix_ms, mark_overdue(NOW + 90_000).await), (Some(NOW + 1), 0));
    assert_eq!(nodes.get(workspace, id).await.unwrap().state(), NodeState::Ready);
    let marked = (mark_overdue(NOW + 90_001).await, mark_overdue(NOW + 90_001).await);
    assert_eq!(marked, (1, 0), "it is found away once");
    let away = nodes.get(workspace, id).await.unwrap();
    assert_eq!((away.state(), away.last_error.as_deref()), (NodeState::Unreachable, Some("silent")));
    // Whatever answers at its address now is not this node: it has to send a heartbeat first, and is polled
    // then.
    assert_eq!(poll(fresh, &row, NOW + 90_002, None).await, away);
    assert_eq!(poll(fresh, &row, NOW + 90_002, Some("refused")).await, away);
    let back = joins.record_heartbeat(digest(101), beat(NOW + 100_000)).await.unwrap();
    assert!(back.version > same.version);
    assert_eq!(back.row.last_error.as_deref(), Some("not asked"));
    let there = poll(fresh, &row, NOW + 100_001, None).await;
    assert_eq!((there.state(), there.last_error), (NodeState::Ready, None));
}

pub async fn a_node_that_speaks_is_away_where_its_address_does_not_answer(fresh: &Fresh) {
    let (joins, nodes, workspace) = (fresh.store.joins(), fresh.store.nodes(), fresh.founding.workspace.id);
    let row = joined(fresh, 1).await;
    let state_of = |row: &NodeRow| (row.state(), row.last_error.clone());
    let refused = (NodeState::Unreachable, Some("refused".to_owned()));
    joins.record_heartbeat(digest(101), beat(NOW)).await.unwrap();
    let found = poll(fresh, &row, NOW + 1, Some("refused")).await;
    assert_eq!((state_of(&found), found.models()), (refused.clone(), ["qwen3".to_owned()].as_slice()));
    // Further heartbeats don't change its state, and neither does an answer from another address.
    let spoke = joins.record_heartbeat(digest(101), beat(NOW + 30_000)).await.unwrap().row;
    assert_eq!((state_of(&spoke), spoke.version), (refused.clone(), found.version));
    assert_eq!(spoke.last_seen_unix_ms, Some(NOW + 30_000));
    let elsewhere = NodeRow { base_url: "http://127.0.0.9/v1".into(), ..row.clone() };
    assert_eq!(state_of(&poll(fresh, &elsewhere, NOW + 30_001, None).await), refused);
    assert_eq!(state_of(&poll(fresh, &row, NOW + 30_002, None).await), (NodeState::Ready, None));
    // A node that did not answer and then stopped its heartbeats is marked as well, with the newer reason.
    poll(fresh, &row, NOW + 30_003, Some("refused")).await;
    let mark_overdue = async |unix_ms| joins.mark_overdue(unix_ms, "silent".into()).await.unwrap().row;
    assert_eq!((mark_overdue(NOW + 120_000).await, mark_overdue(NOW + 120_001).await), (1, 0));
    let silent = nodes.get(workspace, row.id).await.unwrap();
    assert_eq!(state_of(&silent), (NodeState::Unreachable, Some("silent".to_owned())));
}

fn record(number: u8) -> NodeRecord {
    NodeRecord {
        event: TraceId::new(NOW, [number; 10]),
        request: number.is_multiple_of(2).then(|| TraceId::new(NOW, [number; 10])),
        model: "qwen3".into(),
        adapter: Some("law".into()),
        operation: "chat".into(),
        ended: "whole".into(),
        started_unix_ms: NOW,
        took_ms: 3,
        input_tokens: 7,
        cached_tokens: 2,
        output_tokens: u64::from(number),
        reasoning_tokens: 1,
        is_measured: true,
        left_to: number.is_multiple_of(3).then(|| "cloud".into()),
        left_because: number.is_multiple_of(6).then(|| "queue_wait".into()),
    }
}

pub async fn what_a_node_reports_again_is_kept_once(fresh: &Fresh) {
    let (joins, workspace) = (fresh.store.joins(), fresh.founding.workspace.id);
    let (one, other) = (joined(fresh, 1).await.id, joined(fresh, 2).await.id);
    let report = async |credential, numbers: std::ops::RangeInclusive<u8>| {
        joins.report(digest(credential), numbers.map(record).collect(), NOW + 9).await.unwrap()
    };
    assert_eq!((report(101, 1..=5).await, report(101, 4..=8).await), (5, 3));
    assert_eq!(report(101, 1..=8).await, 0);
    assert_eq!(report(102, 1..=2).await, 2, "another node counts its own");
    let listed =
        async |node, limit, after| joins.records(workspace, node, Page { limit, after }).await.unwrap();
    let first = listed(one, 5, None).await;
    assert_eq!((first.rows.len(), first.next), (5, Some(5)));
    assert_eq!((first.rows[1].record.clone(), first.rows[1].kept_unix_ms), (record(2), NOW + 9));
    // Records that arrive while a reader pages come after what it has read.
    assert_eq!(report(101, 9..=9).await, 1);
    let rest = listed(one, 5, first.next).await;
    let numbers: Vec<_> = rest.rows.iter().map(|row| row.record.output_tokens).collect();
    assert_eq!((numbers.as_slice(), rest.next), ([6, 7, 8, 9].as_slice(), None));
    assert_eq!(listed(other, 5, None).await.rows.len(), 2);
    missing(joins.report(digest(109), vec![record(1)], NOW).await);
    missing(joins.records(WorkspaceId::new(NOW, [99; 10]), one, Page::default()).await);
    fresh.store.nodes().delete(workspace, one, None, act()).await.unwrap();
    assert_eq!(joins.node_of_credential(digest(101)).await.unwrap(), None);
    assert_eq!(listed(one, 100, None).await.rows.len(), 9, "what it reported outlives it");
    missing(joins.records(WorkspaceId::new(NOW, [99; 10]), one, Page::default()).await);
}

pub async fn hours_and_work_are_added_up_once(fresh: &Fresh) {
    let (joins, workspace) = (fresh.store.joins(), fresh.founding.workspace.id);
    let known = joined(fresh, 1).await.id;
    let counted =
        |up_ms: u64| Counters { since_unix_ms: 3, up_ms, busy_ms: up_ms / 2, energy_mj: Some(up_ms * 9) };
    let heard = async |unix_ms: u64, counters| {
        joins.record_heartbeat(digest(101), Heartbeat { counters, ..beat(unix_ms) }).await.unwrap();
    };
    let window = Window { start_unix_ms: NOW - 2 * HOUR_MS, end_unix_ms: NOW + 2 * HOUR_MS };
    let sums = async |window| fresh.store.node_hours().counts(workspace, window).await.unwrap();
    heard(NOW, Some(counted(60_000))).await;
    heard(NOW, Some(counted(60_000))).await;
    heard(NOW + 20_000, Some(counted(80_000))).await;
    let ms = 80_000;
    let whole = Counts { up_ms: ms, counted_ms: ms, busy_ms: 40_000, measured_ms: ms, measured_mj: 720_000 };
    assert_eq!(sums(window).await, [(known, whole)]);
    // An older version of the node counts nothing: it was up between two heartbeats.
    heard(NOW + 50_000, None).await;
    let (_, counts) = sums(window).await[0];
    assert_eq!((counts.up_ms, counts.counted_ms), (110_000, 80_000));
    let before = Window { start_unix_ms: 0, end_unix_ms: NOW - 2 * HOUR_MS };
    assert_eq!(sums(before).await, []);

    let left = NodeRecord { left_to: Some("cloud".into()), input_tokens: 300_000, ..record(3) };
    let records = vec![record(1), record(2), left];
    joins.report(digest(101), records.clone(), NOW + 9).await.unwrap();
    joins.report(digest(101), records, NOW + 9).await.unwrap();
    let all = Window { start_unix_ms: 0, end_unix_ms: NOW + HOUR_MS };
    let served = fresh.store.node_hours().work(workspace, all).await.unwrap();
    let (one, two) = (record(1), record(2));
    let [work] = served.as_slice() else { panic!("{served:?}") };
    assert_eq!((work.node, &work.model, &work.adapter), (known, &one.model, &one.adapter));
    assert_eq!((work.work.requests, work.work.output_tokens), (2, one.output_tokens + two.output_tokens));
    assert_eq!(work.work.took_ms, one.took_ms + two.took_ms);

    // Long prompts are found by any bound, with an index and without.
    let long = NodeRecord { input_tokens: 300_000, ..record(4) };
    joins.report(digest(101), vec![long.clone()], NOW + 9).await.unwrap();
    let requests = async |above_tokens| {
        let found = fresh.store.node_hours().long_work(workspace, all, above_tokens).await.unwrap();
        let sums = found.iter().map(|found| (found.node, found.work.requests, found.work.input_tokens));
        sums.collect::<Vec<_>>()
    };
    assert_eq!(requests(200_000).await, [(known, 1, 300_000)]);
    assert_eq!(requests(300_000).await, []);
    let short = [&one, &two].iter().map(|record| record.input_tokens).max().unwrap();
    assert_eq!(requests(short).await, [(known, 1, 300_000)]);
    assert_eq!(requests(0).await[0].1, 3);

    // A node that is polled was up between two polls that found it.
    let row = fresh.store.nodes().create(node(workspace, 9), act()).await.unwrap().row;
    for unix_ms in [NOW, NOW + 30_000, NOW + 5 * HOUR_MS] {
        poll(fresh, &row, unix_ms, None).await;
    }
    let late = Window { start_unix_ms: 0, end_unix_ms: NOW + 9 * HOUR_MS };
    let polled = sums(late).await.into_iter().find(|(id, _)| *id == row.id);
    assert_eq!(polled, Some((row.id, Counts::up(30_000))), "five hours are not known");
}

pub async fn a_revoked_node_is_taken_over_under_its_name(fresh: &Fresh) {
    let (joins, workspace) = (fresh.store.joins(), fresh.founding.workspace.id);
    let made = joined(fresh, 1).await;
    joins.record_heartbeat(digest(101), beat(NOW)).await.unwrap();
    let added = fresh.store.nodes().create(node(workspace, 9), act()).await.unwrap().row;
    conflict(joins.revoke(workspace, added.id, None, act()).await, "not_joined");
    let revoked = joins.revoke(workspace, made.id, None, at(LATER)).await.unwrap();
    assert_eq!(revoked.row.state(), NodeState::Unreachable);
    assert_eq!(revoked.row.joined.as_ref().unwrap().revoked_unix_ms, Some(LATER));
    assert_eq!(joins.revoke(workspace, made.id, None, act()).await.unwrap().row, revoked.row);
    assert!(joins.node_of_credential(digest(101)).await.unwrap().unwrap().is_revoked);
    for error in [
        joins.record_heartbeat(digest(101), beat(LATER)).await.err(),
        joins.report(digest(101), vec![], NOW).await.err(),
    ] {
        assert!(matches!(error, Some(StoreError::NotFound { .. })), "{error:?}");
    }
    assert_eq!(joins.mark_overdue(NOW * 2, "silent".into()).await.unwrap().row, 0);
    joins.invite(token(workspace, 2, &made.name), 0, act()).await.unwrap();
    let row = NodeRow { secret: Some(secret(2)), base_url: "http://127.0.0.2/v1".into(), ..revoked.row };
    let taken = joins.join(joining(workspace, 2, row), at(NOW + 2)).await.unwrap().row;
    assert_eq!((taken.id, taken.base_url.as_str()), (made.id, "http://127.0.0.2/v1"));
    assert_eq!(taken.joined.as_ref().unwrap().revoked_unix_ms, None);
    assert_eq!(joins.node_of_credential(digest(101)).await.unwrap(), None, "the old credential is nobody's");
    let before = poll(fresh, &taken, LATER, None).await;
    assert_eq!(before, taken, "it has not spoken since it was taken over");
    joins.record_heartbeat(digest(102), beat(LATER)).await.unwrap();
    assert_eq!(poll(fresh, &taken, LATER, None).await.state(), NodeState::Ready);
}

pub async fn the_first_key_of_a_node_stays_and_its_address_can_move(fresh: &Fresh) {
    let (joins, nodes) = (fresh.store.joins(), fresh.store.nodes());
    let row = joined(fresh, 1).await;
    let key_of = async |number| joins.node_of_credential(digest(number)).await.unwrap().unwrap().public_key;
    assert_eq!(key_of(101).await, None);
    for key in [[1; 32], [2; 32]] {
        joins.keep_key(digest(101), key).await.unwrap();
        assert_eq!(key_of(101).await, Some([1; 32]));
    }
    let url = "tunnel://here/v1".to_owned();
    let moved = joins.move_to(digest(101), url.clone(), act()).await.unwrap();
    assert_eq!((&moved.row.base_url, moved.row.version), (&url, moved.version));
    assert_eq!(nodes.get(row.workspace, row.id).await.unwrap().base_url, url);
    // A node that joins again under the name has a key of its own.
    joins.revoke(row.workspace, row.id, None, act()).await.unwrap();
    missing(joins.move_to(digest(101), url, act()).await);
    let revoked = nodes.get(row.workspace, row.id).await.unwrap();
    joins.invite(token(row.workspace, 2, &row.name), 0, act()).await.unwrap();
    joins.join(joining(row.workspace, 2, NodeRow { secret: None, ..revoked }), at(NOW + 2)).await.unwrap();
    assert_eq!((key_of(102).await, joins.node_of_credential(digest(101)).await.unwrap()), (None, None));
}
