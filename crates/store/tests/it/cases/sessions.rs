//! Sessions: compare-and-swap appends, histories over forks, and content that ends with what holds it.

use std::collections::BTreeMap;

use domain::purge::{PurgeScope, Purged};
use domain::{
    ArtifactId, BranchId, BundleId, MeterRecord, Nanos, Outcome, SessionEventId, SessionId, SnapshotId,
    TraceId, WorkspaceId,
};
use store::{Page, StoreError, UsageSums};
use transcripts::{
    Appended, ArtifactRow, BranchRow, BundleItem, BundleRow, EventContent, Expected, ForkPoint, NewEvent,
    NewSession, SealedContent, SessionChange, SessionFilter, SessionRow, SessionSnapshotRow, SessionStatus,
};

use super::records::put_behind;
use crate::samples::*;

const MINUTE: u64 = 60_000;
/// A legal hold on each session that ends; the hold has its id.
const HOLD_SESSIONS: &str =
    "INSERT INTO legal_holds (id, workspace, scope, reason, created_by, created_unix_ms)
     SELECT id, workspace, 'sessions', 'a case', 'tests', 1 FROM sessions WHERE until_unix_ms IS NOT NULL";
const HOLD_OBJECTS: &str = "INSERT INTO legal_hold_objects (hold, object, kind)
     SELECT id, id, 'session' FROM legal_holds";

fn of(kind: u16, number: u64) -> [u8; 10] {
    let [.., a, b] = number.to_be_bytes();
    let [c, d] = kind.to_be_bytes();
    [0, 0, 0, 0, 0, 0, c, d, a, b]
}

fn event_id(number: u64) -> SessionEventId {
    SessionEventId::new(NOW, of(3, number))
}

fn branch(session: SessionId, number: u64) -> BranchRow {
    BranchRow {
        id: BranchId::new(NOW, of(2, number)),
        session,
        name: format!("branch {number}"),
        forked_from: None,
        version: 0,
        head: None,
        created_unix_ms: NOW,
    }
}

/// A session of the founding project; `number` makes its ids.
async fn open(fresh: &Fresh, number: u64, ttl_ms: Option<u64>) -> SessionRow {
    let session = SessionId::new(NOW, of(1, number));
    let first = branch(session, number * 1_000);
    let row = SessionRow {
        id: session,
        workspace: fresh.founding.workspace.id,
        project: fresh.founding.project.id,
        name: "support".into(),
        end_user: Some(format!("user {number}")),
        metadata: BTreeMap::from([("ticket".into(), "7".into())]),
        bundles: vec![],
        status: SessionStatus::Active,
        default_branch: first.id,
        version: 1,
        ttl_ms,
        created_unix_ms: NOW,
        used_unix_ms: NOW,
        until_unix_ms: ttl_ms.map(|ttl_ms| NOW + ttl_ms),
        warm: None,
    };
    fresh.store.sessions().create(NewSession { session: row.clone(), branch: first }, act()).await.unwrap();
    row
}

fn content(fresh: &Fresh, number: u64) -> SealedContent {
    let mut digest = [7; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    SealedContent {
        digest,
        project: fresh.founding.project.id,
        request: TraceId::new(NOW, of(4, number)),
        sealed: sealed(1, &format!("content {number}")),
    }
}

fn event(fresh: &Fresh, number: u64) -> NewEvent {
    let sealed = content(fresh, number);
    let about = EventContent { bytes: number, hash: [1; 32], digest: sealed.digest };
    NewEvent {
        id: event_id(number),
        kind: "user_message".into(),
        artifact: None,
        content: Some((about, sealed)),
        request: TraceId::new(NOW, of(4, number)),
        created_unix_ms: NOW + number,
    }
}

/// Adds an event to a session's first branch.
async fn append(fresh: &Fresh, at: &SessionRow, expected: Expected, number: u64) -> Appended {
    let (sessions, new) = (fresh.store.sessions(), vec![event(fresh, number)]);
    sessions.append(at.workspace, at.id, at.default_branch, expected, new).await.unwrap()
}

async fn contents(fresh: &Fresh, workspace: WorkspaceId, numbers: &[u64]) -> Vec<u64> {
    let mut found = Vec::new();
    for number in numbers {
        let digest = content(fresh, *number).digest;
        if fresh.store.artifacts().content(workspace, digest).await.unwrap().is_some() {
            found.push(*number);
        }
    }
    found
}

pub async fn of_many_writers_at_once_one_wins(fresh: &Fresh) {
    let session = open(fresh, 1, None).await;
    append(fresh, &session, Expected::default(), 1).await;
    let expected = Expected { version: Some(1), head: Some(Some(event_id(1))) };
    let writers = (10..60).map(|number| {
        let (store, session, new) = (fresh.store.clone(), session.clone(), vec![event(fresh, number)]);
        tokio::spawn(async move {
            let (workspace, id, branch) = (session.workspace, session.id, session.default_branch);
            store.sessions().append(workspace, id, branch, expected, new).await
        })
    });
    let (mut won, mut lost) = (0, 0);
    for writer in writers.collect::<Vec<_>>() {
        match writer.await.unwrap().unwrap() {
            Appended::Done(branch, parent) => {
                assert_eq!((branch.version, parent), (2, Some(event_id(1))));
                won += 1;
            }
            Appended::Conflict(branch) => {
                assert_eq!(branch.version, 2);
                lost += 1;
            }
            Appended::Archived => panic!("it is not archived"),
        }
    }
    assert_eq!((won, lost), (1, 49));
    let numbers: Vec<_> = (10..60).collect();
    assert_eq!(contents(fresh, session.workspace, &numbers).await.len(), 1, "what lost left nothing");
    // The last event counts as well as the version.
    for head in [None, Some(event_id(1))] {
        let expected = Expected { version: Some(2), head: Some(head) };
        let appended = append(fresh, &session, expected, 70).await;
        assert!(matches!(appended, Appended::Conflict(_)), "{appended:?}");
    }
}

/// Random appends and forks, compared with plain lists.
pub async fn forks_share_their_history(fresh: &Fresh) {
    let session = open(fresh, 1, None).await;
    let sessions = fresh.store.sessions();
    let mut model: Vec<(BranchId, Vec<u64>)> = vec![(session.default_branch, Vec::new())];
    let (mut seed, mut number) = (7_u64, 0);
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for step in 0..120 {
        let at = random(model.len());
        if random(4) == 0 && model.len() < 20 {
            let (from, history) = model[at].clone();
            let version = random(history.len() + 1);
            let forked_from = Some(ForkPoint { branch: from, version: version as u64 });
            let new = BranchRow { forked_from, ..branch(session.id, step + 1) };
            let made = sessions.fork(session.workspace, new, act()).await.unwrap();
            let head = history[..version].last().map(|n| event_id(*n));
            assert_eq!((made.version, made.head), (version as u64, head));
            model.push((made.id, history[..version].to_vec()));
        } else {
            let (id, history) = &mut model[at];
            let new: Vec<_> = (0..=random(3)).map(|more| event(fresh, number + more as u64)).collect();
            let head = Some(history.last().map(|n| event_id(*n)));
            let expected = Expected { version: Some(history.len() as u64), head };
            let count = new.len() as u64;
            let appended = sessions.append(session.workspace, session.id, *id, expected, new).await.unwrap();
            assert!(matches!(appended, Appended::Done(..)), "{appended:?}");
            history.extend(number..number + count);
            number += count;
        }
    }
    assert!(model.len() > 10 && number > 100, "{} branches, {number} events", model.len());
    for (id, history) in &model {
        let found = sessions.branch(session.workspace, session.id, *id).await.unwrap();
        for (after, most) in [(0, 1_000), (3, 1_000), (history.len() as u64, 10), (1, 4)] {
            let events = sessions.events(session.workspace, found.clone(), after, most).await.unwrap();
            let wanted = history.iter().skip(after as usize).take(most as usize).map(|n| event_id(*n));
            let expected: Vec<_> = wanted.zip(after + 1..).collect();
            let found: Vec<_> = events.iter().map(|event| (event.id, event.version)).collect();
            assert_eq!(found, expected, "{id} after {after}");
            assert!(events.windows(2).all(|pair| pair[1].parent == Some(pair[0].id)));
        }
    }
    let beyond = Some(ForkPoint { branch: session.default_branch, version: 1_000 });
    let beyond = BranchRow { forked_from: beyond, ..branch(session.id, 900) };
    conflict(sessions.fork(session.workspace, beyond, act()).await, "fork_beyond_branch");
}

pub async fn content_ends_with_what_holds_it(fresh: &Fresh) {
    let (workspace, sessions) = (fresh.founding.workspace.id, fresh.store.sessions());
    let (kept, ended) = (open(fresh, 1, None).await, open(fresh, 2, Some(MINUTE)).await);
    for (session, number) in [(&kept, 1), (&ended, 2)] {
        append(fresh, session, Expected::default(), number).await;
    }
    let artifacts = fresh.store.artifacts();
    for (number, until_unix_ms) in [(3, None), (4, Some(NOW + MINUTE)), (5, None)] {
        let row = artifact(fresh, number, until_unix_ms);
        artifacts.create(row, content(fresh, number), act()).await.unwrap();
    }
    let all = [1, 2, 3, 4, 5];
    assert_eq!(contents(fresh, workspace, &all).await, all);
    // An event moves the end of its session.
    assert_eq!(artifacts.expire(NOW + MINUTE + 1, 10).await.unwrap(), 1, "the artifact alone");
    assert_eq!(contents(fresh, workspace, &all).await, [1, 2, 3, 5]);
    fresh.meddle(HOLD_SESSIONS).await;
    fresh.meddle(HOLD_OBJECTS).await;
    assert_eq!(artifacts.expire(NOW + 2 + MINUTE, 10).await.unwrap(), 0, "a legal hold is on it");
    conflict(sessions.delete(workspace, ended.id, None, act()).await, "legal_hold");
    let of_session = PurgeScope::of(workspace, Purged::Requests(vec![event(fresh, 2).request]));
    assert_eq!(fresh.store.state_purges().purge(of_session).await.unwrap(), 0);
    assert_eq!(contents(fresh, workspace, &all).await, [1, 2, 3, 5]);
    fresh.meddle(RELEASE).await;
    assert_eq!(artifacts.expire(NOW + 2 + MINUTE, 10).await.unwrap(), 1);
    assert_eq!(contents(fresh, workspace, &all).await, [1, 3, 5]);
    assert_eq!(missing(sessions.get(workspace, ended.id, NOW).await), "session");
    artifacts.revoke(workspace, ArtifactId::new(NOW, of(5, 3)), act()).await.unwrap();
    sessions.delete(workspace, kept.id, None, act()).await.unwrap();
    assert_eq!(contents(fresh, workspace, &all).await, [5]);
    let row = artifacts.get(workspace, ArtifactId::new(NOW, of(5, 3))).await.unwrap();
    assert!(row.revoked_unix_ms.is_some());
    let refers = BundleRow {
        id: BundleId::new(NOW, of(6, 1)),
        workspace,
        project: fresh.founding.project.id,
        name: String::new(),
        items: vec![BundleItem { artifact: row.id, role: None }],
        created_unix_ms: NOW,
    };
    conflict(fresh.store.bundles().create(refers, act()).await, "artifact_revoked");
}

fn artifact(fresh: &Fresh, number: u64, until_unix_ms: Option<u64>) -> ArtifactRow {
    ArtifactRow {
        id: ArtifactId::new(NOW, of(5, number)),
        workspace: fresh.founding.workspace.id,
        project: fresh.founding.project.id,
        kind: "document".into(),
        name: String::new(),
        media_type: "text/plain".into(),
        retention: "standard".into(),
        content_bytes: number,
        content_hash: [2; 32],
        content: content(fresh, number).digest,
        created_unix_ms: NOW,
        until_unix_ms,
        revoked_unix_ms: None,
    }
}

fn closing(session: &SessionRow, ttl_ms: Option<u64>) -> SessionChange {
    SessionChange {
        name: "closed".into(),
        end_user: None,
        metadata: BTreeMap::new(),
        status: SessionStatus::Archived,
        default_branch: session.default_branch,
        ttl_ms,
    }
}

pub async fn a_session_is_read_changed_archived_and_foreign_to_others(fresh: &Fresh) {
    let (session, sessions) = (open(fresh, 1, None).await, fresh.store.sessions());
    let workspace = session.workspace;
    assert_eq!(sessions.get(workspace, session.id, NOW).await.unwrap(), session);
    let other = WorkspaceId::new(NOW, [9; 10]);
    assert_eq!(missing(sessions.get(other, session.id, NOW).await), "session");
    assert_eq!(missing(sessions.delete(other, session.id, None, act()).await), "session");
    let (branch, new) = (session.default_branch, vec![event(fresh, 9)]);
    let event_of_others = sessions.append(other, session.id, branch, Expected::default(), new);
    assert_eq!(missing(event_of_others.await), "branch");
    let change = closing(&session, Some(MINUTE));
    let stale = sessions.change(workspace, session.id, change.clone(), Some(7), act()).await;
    assert!(matches!(stale, Err(StoreError::Precondition { current: 1, .. })), "{stale:?}");
    let act_of_change = act();
    let until_unix_ms = Some(act_of_change.unix_ms + MINUTE);
    let changed = sessions.change(workspace, session.id, change, Some(1), act_of_change).await.unwrap();
    assert_eq!((changed.version, changed.until_unix_ms), (2, until_unix_ms));
    assert_eq!(sessions.get(workspace, session.id, NOW).await.unwrap(), changed);
    assert_eq!(append(fresh, &session, Expected::default(), 1).await, Appended::Archived);
}

pub async fn sessions_are_listed_and_their_snapshots_read_back(fresh: &Fresh) {
    let (session, sessions) = (open(fresh, 1, None).await, fresh.store.sessions());
    let workspace = session.workspace;
    let other = WorkspaceId::new(NOW, [9; 10]);
    sessions.change(workspace, session.id, closing(&session, None), None, act()).await.unwrap();
    open(fresh, 2, None).await;
    let (project, is_warm) = (Some(session.project), Some(false));
    for (filter, expected) in [
        (SessionFilter::default(), 2),
        (SessionFilter { status: Some(SessionStatus::Active), ..Default::default() }, 1),
        (SessionFilter { end_user: Some("user 2".into()), ..Default::default() }, 1),
        (SessionFilter { end_user: Some("user 1".into()), ..Default::default() }, 0),
        (SessionFilter { project, status: Some(SessionStatus::Archived), end_user: None, is_warm }, 1),
    ] {
        let listed = sessions.list(workspace, filter.clone(), NOW, Page::default()).await.unwrap();
        assert_eq!(listed.rows.len(), expected, "{filter:?}");
    }
    let snapshot = SessionSnapshotRow {
        id: SnapshotId::new(NOW, of(7, 1)),
        session: session.id,
        branch: session.default_branch,
        version: 0,
        compiler: "pc_1".into(),
        manifest: "[]".into(),
        manifest_hash: [3; 32],
        created_unix_ms: NOW,
    };
    sessions.keep_snapshot(workspace, snapshot.clone(), act()).await.unwrap();
    assert_eq!(sessions.snapshot(workspace, session.id, snapshot.id).await.unwrap(), snapshot);
    assert_eq!(missing(sessions.snapshot(other, session.id, snapshot.id).await), "snapshot");
}

/// More requests than a page of records has, and some of them drained twice.
pub async fn a_session_s_usage_is_the_sum_of_all_its_requests(fresh: &Fresh) {
    const REQUESTS: u64 = 10_500;
    let workspace = fresh.founding.workspace.id;
    let (one, other) = (open(fresh, 1, None).await.id, open(fresh, 2, None).await.id);
    let gone = SessionId::new(NOW, of(1, 3));
    let of_session = |number: u64, session: SessionId| {
        let mut record = fresh.record(number);
        record.extras.session = Some(session);
        if number.is_multiple_of(2) {
            record.outcome = Outcome::Failed;
        }
        record
    };
    let sums = async |session| fresh.store.records().session_sums(workspace, session).await.unwrap();
    assert_eq!(sums(one).await, UsageSums::default());
    let put = |core, numbers: std::ops::Range<u64>| {
        put_behind(fresh, core, 1, numbers.map(|number| of_session(number, one)).collect())
    };
    put(0, 0..6_000).await;
    put(0, 0..6_000).await;
    put(1, 6_000..REQUESTS).await;
    let others = vec![of_session(20_001, other), of_session(20_002, gone), fresh.record(20_003)];
    put_behind(fresh, 2, 1, others).await;
    let expected = |requests: u64, failed| {
        let cost = |each: i64| Nanos(each * i64::try_from(requests).unwrap());
        UsageSums {
            requests,
            failed,
            input_tokens: requests * 120,
            output_tokens: requests * 35,
            cached_tokens: requests * 20,
            realized_reused_tokens: requests * 20,
            cost: cost(1_500),
            provider_cost: cost(1_000),
            ..UsageSums::default()
        }
    };
    let mut found = sums(one).await;
    // What came before is estimated from the record, and is at least what was reported.
    assert!(found.reuse.candidate_tokens >= REQUESTS * 20, "{found:?}");
    found.reuse = Default::default();
    assert_eq!(found, expected(REQUESTS, REQUESTS / 2));
    assert_eq!((sums(other).await.requests, sums(gone).await.requests), (1, 0));
    // What a node reports can be any number.
    let mut huge = of_session(30_000, one);
    huge.usage.input = u64::MAX;
    for number in [30_001, 30_003] {
        let another = MeterRecord { trace: TraceId::new(NOW, bytes(number)), ..huge.clone() };
        put_behind(fresh, 3, number, vec![another]).await;
    }
    assert_eq!(sums(one).await.input_tokens, 1 << 62);
    assert_eq!(sums(one).await.requests, REQUESTS + 2);
    fresh.store.sessions().delete(workspace, one, None, act()).await.unwrap();
    assert_eq!(sums(one).await, UsageSums::default(), "it goes with its session");
    assert_eq!(sums(other).await.requests, 1);
}
