//! Stored provider state of turns, and the tool calls that lead to it.

use domain::ports::{PurgeScope, Purged};
use domain::{ContentKind, Sealed, TraceId};
use snapshot::WrappedKey;
use store::fixtures::CommitFault;
use store::rotations::{ContentRow, Resealing, SealedRow, SealedThing};
use store::{KeptTurnRow, StoreError, TurnLookup};

use crate::samples::*;

const DAY: u64 = 24 * 3_600_000;

fn trace(number: u8) -> TraceId {
    TraceId::new(NOW, bytes(number.into()))
}

fn turn(fresh: &Fresh, number: u8) -> KeptTurnRow {
    KeptTurnRow {
        digest: digest(number),
        workspace: fresh.founding.workspace.id,
        project: fresh.founding.project.id,
        request: trace(number),
        sealed: sealed(1, &format!("turn {number}")),
        until_unix_ms: NOW + DAY + u64::from(number),
    }
}

async fn keep(fresh: &Fresh, turn: KeptTurnRow, calls: &[u8]) {
    let calls = calls.iter().map(|call| digest(*call)).collect();
    fresh.store.kept_turns().keep(turn, calls).await.unwrap();
}

fn lookup(fresh: &Fresh, calls: &[u8]) -> TurnLookup {
    TurnLookup {
        workspace: fresh.founding.workspace.id,
        project: fresh.founding.project.id,
        calls: calls.iter().map(|call| digest(*call)).collect(),
        now_unix_ms: NOW,
        bytes_max: 1_000_000,
    }
}

async fn find(fresh: &Fresh, query: TurnLookup) -> Vec<KeptTurnRow> {
    fresh.store.kept_turns().find(query).await.unwrap()
}

pub async fn a_turn_is_found_once_by_any_of_its_calls(fresh: &Fresh) {
    keep(fresh, turn(fresh, 1), &[102, 101, 102]).await;
    keep(fresh, turn(fresh, 2), &[103]).await;
    let one = vec![turn(fresh, 1)];
    for calls in [[101].as_slice(), &[102], &[101, 102], &[102, 250, 101, 101]] {
        assert_eq!(find(fresh, lookup(fresh, calls)).await, one, "{calls:?}");
    }
    let both = vec![turn(fresh, 1), turn(fresh, 2)];
    assert_eq!(find(fresh, lookup(fresh, &[103, 101])).await, both, "the oldest first");
    for calls in [[].as_slice(), &[250], &[1]] {
        assert_eq!(find(fresh, lookup(fresh, calls)).await, [], "{calls:?}");
    }
    // The same call id again: it leads to the newest turn, and the older one is found by its other call.
    keep(fresh, turn(fresh, 3), &[101]).await;
    assert_eq!(find(fresh, lookup(fresh, &[101])).await, [turn(fresh, 3)]);
    assert_eq!(find(fresh, lookup(fresh, &[102])).await, one);
    // A lookup may have many calls.
    let many: Vec<_> = (0..=255).collect();
    assert_eq!(find(fresh, lookup(fresh, &many)).await.len(), 3);
}

pub async fn another_workspace_or_project_finds_no_turn(fresh: &Fresh) {
    keep(fresh, turn(fresh, 1), &[101]).await;
    let other = fresh.workspace(2).await;
    assert_eq!(find(fresh, TurnLookup { workspace: other.workspace.id, ..lookup(fresh, &[101]) }).await, []);
    assert_eq!(find(fresh, TurnLookup { project: other.project.id, ..lookup(fresh, &[101]) }).await, []);
}

pub async fn of_too_many_turns_the_newest_are_found(fresh: &Fresh) {
    for number in 1..=5 {
        let sealed = sealed(1, &"x".repeat(1_000));
        keep(fresh, KeptTurnRow { sealed, ..turn(fresh, number) }, &[100 + number]).await;
    }
    let calls = [101, 102, 103, 104, 105];
    for (bytes_max, wanted) in
        [(5_000, vec![1, 2, 3, 4, 5]), (4_999, vec![2, 3, 4, 5]), (1_000, vec![5]), (999, vec![])]
    {
        let rows = find(fresh, TurnLookup { bytes_max, ..lookup(fresh, &calls) }).await;
        let wanted: Vec<_> = wanted.into_iter().map(digest).collect();
        assert_eq!(rows.iter().map(|row| row.digest).collect::<Vec<_>>(), wanted, "{bytes_max}");
    }
}

pub async fn a_turn_whose_commit_was_lost_is_kept_again(fresh: &Fresh) {
    let turns = fresh.store.kept_turns();
    fresh.store.commit_faults().script([CommitFault::AnswerLost]);
    let lost = turns.keep(turn(fresh, 1), vec![digest(101)]).await;
    assert!(matches!(lost, Err(StoreError::Uncertain)), "{lost:?}");
    keep(fresh, turn(fresh, 1), &[101]).await;
    assert_eq!(find(fresh, lookup(fresh, &[101])).await, [turn(fresh, 1)]);
    fresh.store.commit_faults().script([CommitFault::Refused]);
    turns.keep(turn(fresh, 2), vec![digest(102)]).await.unwrap_err();
    assert_eq!(find(fresh, lookup(fresh, &[102])).await, [], "nothing of it is there");
}

pub async fn turns_that_are_over_are_removed_and_a_purge_leaves_none(fresh: &Fresh) {
    let turns = fresh.store.kept_turns();
    for number in 1..=6 {
        keep(fresh, turn(fresh, number), &[100 + number, 110 + number]).await;
    }
    let over = NOW + DAY + 3;
    let late = TurnLookup { now_unix_ms: over, ..lookup(fresh, &[101, 102, 103, 104]) };
    assert_eq!(find(fresh, late.clone()).await, [turn(fresh, 4)], "before anybody removes them");
    fresh.meddle(HOLD_PROJECTS).await;
    assert_eq!(turns.expire(over, 100).await.unwrap(), 0, "a legal hold is on it");
    fresh.meddle(RELEASE).await;
    assert_eq!(turns.expire(over, 2).await.unwrap(), 2, "a few at a time");
    assert_eq!((turns.expire(over, 100).await.unwrap(), turns.expire(over, 100).await.unwrap()), (1, 0));
    assert_eq!(find(fresh, TurnLookup { now_unix_ms: NOW, ..late }).await, [turn(fresh, 4)]);
    let other = fresh.workspace(2).await;
    let (workspace, project) = (other.workspace.id, other.project.id);
    keep(fresh, KeptTurnRow { workspace, project, ..turn(fresh, 9) }, &[109]).await;
    let scope = |what| PurgeScope::of(fresh.founding.workspace.id, what);
    let requests = scope(Purged::Requests(vec![trace(4), trace(9)]));
    assert_eq!(turns.remaining(requests.clone()).await.unwrap(), 1);
    assert_eq!(turns.purge(requests).await.unwrap(), 1, "another workspace's request is not reached");
    assert_eq!(turns.remaining(scope(Purged::Project(project))).await.unwrap(), 0);
    let own = scope(Purged::Project(fresh.founding.project.id));
    assert_eq!((turns.purge(own.clone()).await.unwrap(), turns.remaining(own).await.unwrap()), (2, 0));
    keep(fresh, turn(fresh, 5), &[105]).await;
    assert_eq!(turns.purge(scope(Purged::Everything)).await.unwrap(), 1);
    assert_eq!(find(fresh, lookup(fresh, &[104, 105, 106])).await, []);
    assert_eq!(turns.purge(PurgeScope::of(workspace, Purged::Everything)).await.unwrap(), 1);
}

pub async fn a_workspaces_old_key_stays_while_it_seals_a_turn(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let rotations = store.rotations();
    for number in 1..=3 {
        keep(fresh, turn(fresh, number), &[100 + number]).await;
    }
    let next = WrappedKey { workspace, key_id: "wk_next".into(), wrapped: vec![1] };
    rotations.begin_workspace(next, act()).await.unwrap();
    let left = |after, rows| {
        rotations.list_content_sealed_otherwise(ContentKind::Turn, workspace, "wk_next".into(), after, rows)
    };
    let answers = rotations
        .list_content_sealed_otherwise(ContentKind::Answer, workspace, "wk_next".into(), None, 9)
        .await;
    assert_eq!(answers.unwrap(), []);
    let rows = left(None, 2).await.unwrap();
    let content = |number| {
        let row = turn(fresh, number);
        ContentRow { kept: ContentKind::Turn, digest: row.digest, project: row.project, request: row.request }
    };
    let wanted: Vec<_> = [1, 2].into_iter().map(|number| SealedThing::Content(content(number))).collect();
    assert_eq!(rows.iter().map(|row| row.thing.clone()).collect::<Vec<_>>(), wanted);
    assert_eq!(left(Some(digest(2)), 9).await.unwrap().len(), 1);
    let end = || rotations.end_workspace(workspace, "wk_next".into(), act());
    let resealing = |row: &SealedRow| Resealing {
        old: row.clone(),
        new: Sealed { key_id: "wk_next".into(), ..sealed(1, "anew") },
    };
    let before = store.feed().version().await.unwrap();
    let rows = left(None, 9).await.unwrap();
    let written = rotations.reseal(workspace, rows[..2].iter().map(resealing).collect()).await.unwrap();
    assert_eq!((written.row, store.feed().version().await.unwrap()), (2, before), "no configuration");
    assert!(end().await.unwrap().is_none(), "one is left");
    rotations.reseal(workspace, rows[2..].iter().map(resealing).collect()).await.unwrap();
    end().await.unwrap().unwrap();
    let read = find(fresh, lookup(fresh, &[101])).await;
    assert_eq!((read[0].sealed.key_id.as_str(), read[0].sealed.bytes.as_slice()), ("wk_next", &b"anew"[..]));
    // A slow gateway still seals with the old key.
    conflict(store.kept_turns().keep(turn(fresh, 4), vec![digest(104)]).await, "sealing_key_replaced");
}
