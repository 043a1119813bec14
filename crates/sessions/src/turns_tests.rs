//! Tests of `Turns` over a store: what is found, by whom, for how long, and what is left behind.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::ContentKind;
use domain::limits::{
    TURN_CACHED_FOR, TURN_CALLS_MAX, TURN_FIND_TIME_MAX, TURN_KEPT, TURNS_WAITING_BYTES_MAX,
};
use domain::ports::{PurgeScope, Purgeable, Purged, StoredTurn, TurnStore};
use snapshot::WrappedKey;
use store::Act;
use store::fixtures::CommitFault;
use store::rotations::{Resealing, SealedThing};
use vault::{ContentRef, KeyUpdate};

use super::Turns;
use crate::bench::{Bench, NOW, bench, project, request, workspace};
use crate::memory::TurnCache;

impl Bench {
    /// Another process over the same store.
    fn turns(&self) -> Arc<Turns> {
        Turns::start(self.store.clone(), self.vault.clone(), self.world.clone())
    }

    /// What a process with an empty cache finds.
    async fn stored(&self, calls: &[&str]) -> Vec<Option<Bytes>> {
        find(&self.turns(), calls).await
    }
}

fn turn(number: u8, calls: &[&str], content: &str) -> StoredTurn {
    StoredTurn {
        workspace: workspace(1),
        project: project(1),
        request: request(number),
        calls: calls.iter().map(|call| (*call).to_owned()).collect(),
        content: content.into(),
        kept_for: TURN_KEPT,
        is_awaited: false,
    }
}

async fn find_by(turns: &Turns, of: (u8, u8), calls: &[&str]) -> Vec<Option<Bytes>> {
    let calls = calls.iter().map(|call| (*call).to_owned()).collect();
    turns.find(workspace(of.0), project(of.1), calls).await
}

async fn find(turns: &Turns, calls: &[&str]) -> Vec<Option<Bytes>> {
    find_by(turns, (1, 1), calls).await
}

fn some(content: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(content.as_bytes()))
}

fn scope(what: Purged) -> PurgeScope {
    PurgeScope::of(workspace(1), what)
}

async fn count(turns: &Turns) -> u64 {
    turns.remaining(scope(Purged::Everything)).await.unwrap()
}

#[tokio::test]
async fn a_turn_is_found_at_once_and_after_a_restart() {
    let bench = bench().await;
    let turns = bench.turns();
    let calls = ["none", "b", "a", "b", "c"];
    let wanted = [None, some("one"), some("one"), some("one"), some("two")];
    let writing = [turns.keep(turn(1, &["a", "b"], "one")), turns.keep(turn(2, &["c"], "two"))];
    assert_eq!(find(&turns, &calls).await, wanted, "before anything is written");
    for written in writing {
        written.await;
    }
    assert_eq!(bench.stored(&calls).await, wanted);
    assert_eq!(count(&turns).await, 2, "one row for a turn of two calls");
    assert_eq!(find(&turns, &[]).await, []);
}

#[tokio::test]
async fn another_project_or_workspace_finds_nothing() {
    let bench = bench().await;
    let turns = bench.turns();
    turns.keep(turn(1, &["a"], "one")).await;
    for turns in [turns, bench.turns()] {
        for of in [(1, 2), (2, 1), (2, 2)] {
            assert_eq!(find_by(&turns, of, &["a"]).await, [None], "{of:?}");
        }
    }
}

#[tokio::test]
async fn a_turn_ends_after_its_day_and_is_removed() {
    let bench = bench().await;
    let turns = bench.turns();
    turns.keep(turn(1, &["a"], "one")).await;
    bench.pass(TURN_KEPT - Duration::from_millis(1));
    assert_eq!(find(&turns, &["a"]).await, [some("one")]);
    turns.inner.expire().await.unwrap();
    assert_eq!(bench.stored(&["a"]).await, [some("one")]);
    bench.pass(Duration::from_millis(1));
    assert_eq!(find(&turns, &["a"]).await, [None]);
    assert_eq!(bench.stored(&["a"]).await, [None]);
    assert_eq!(count(&turns).await, 1);
    turns.inner.expire().await.unwrap();
    assert_eq!(count(&turns).await, 0);
}

#[tokio::test]
async fn what_is_purged_is_gone_here_and_in_the_store() {
    let bench = bench().await;
    let scopes =
        [Purged::Everything, Purged::Project(project(1)), Purged::Requests(vec![request(1), request(9)])];
    for what in scopes {
        let turns = bench.turns();
        turns.keep(turn(1, &["a"], "one")).await;
        turns
            .keep(StoredTurn { workspace: workspace(2), project: project(2), ..turn(2, &["a"], "two") })
            .await;
        assert_eq!(turns.remaining(scope(what.clone())).await, Ok(1));
        assert_eq!(turns.purge(scope(what.clone())).await, Ok(1), "{what:?}");
        assert_eq!(turns.remaining(scope(what.clone())).await, Ok(0));
        assert_eq!(find(&turns, &["a"]).await, [None], "{what:?}");
        assert_eq!(bench.stored(&["a"]).await, [None], "{what:?}");
        assert_eq!(find_by(&turns, (2, 2), &["a"]).await, [some("two")], "another's stays");
    }
    let turns = bench.turns();
    turns.keep(turn(1, &["a"], "one")).await;
    for what in [Purged::Project(project(2)), Purged::Requests(vec![request(2)])] {
        assert_eq!(turns.purge(scope(what)).await, Ok(0));
    }
    assert_eq!(find(&turns, &["a"]).await, [some("one")]);
}

#[tokio::test]
async fn a_purge_waits_for_writes_and_what_it_took_is_not_written() {
    let bench = bench().await;
    let turns = bench.turns();
    let writing = turns.inner.purging.read().await;
    let mut purge = turns.purge(scope(Purged::Everything));
    let is_done = tokio::select! { biased; _ = &mut purge => true, () = tokio::task::yield_now() => false };
    assert!(!is_done, "a write is under way");
    // Both exist only in this process: their writes wait until the purge is over.
    let kept = [turns.keep(turn(1, &["a"], "one")), turns.keep(turn(2, &["b"], "two"))];
    drop(writing);
    assert_eq!(purge.await, Ok(2));
    for kept in kept {
        kept.await;
    }
    assert_eq!(find(&turns, &["a", "b"]).await, [None, None]);
    assert_eq!(count(&turns).await, 0);
}

#[tokio::test]
async fn what_another_process_purged_is_not_believed_for_long() {
    let bench = bench().await;
    let (here, there) = (bench.turns(), bench.turns());
    here.keep(turn(1, &["a"], "one")).await;
    here.keep(turn(2, &["b"], "two")).await;
    assert_eq!(there.purge(scope(Purged::Requests(vec![request(1)]))).await, Ok(1));
    bench.pass(TURN_CACHED_FOR);
    assert_eq!(find(&here, &["a", "b"]).await, [None, some("two")]);
    bench.store.close().await;
    assert_eq!(find(&here, &["a", "b"]).await, [None, some("two")], "what the store knew is believed anew");
}

#[tokio::test]
async fn while_the_store_is_away_what_is_remembered_holds() {
    let bench = bench().await;
    let turns = bench.turns();
    turns.keep(turn(1, &["a"], "one")).await;
    bench.store.close().await;
    let unwritten = turns.keep(turn(2, &["b"], "two"));
    for _ in 0..2 {
        let cached = find(&turns, &["a", "b", "none"]).await;
        assert_eq!(cached, [some("one"), some("two"), None]);
        bench.pass(TURN_CACHED_FOR);
    }
    drop(unwritten);
    assert!(turns.purge(scope(Purged::Everything)).await.is_err(), "nobody knows what is there");
}

#[tokio::test]
async fn a_slow_store_is_waited_for_two_seconds() {
    let bench = bench().await;
    let turns = bench.turns();
    turns.keep(turn(1, &["a"], "one")).await;
    let _slow = turns.inner.purging.write().await;
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    assert_eq!(find(&turns, &["a"]).await, [some("one")]);
    assert_eq!(before.elapsed(), Duration::ZERO, "what is remembered asks nobody");
    assert_eq!(find(&turns, &["a", "none"]).await, [some("one"), None]);
    let waited = before.elapsed();
    assert!((TURN_FIND_TIME_MAX..TURN_FIND_TIME_MAX * 2).contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn a_refused_or_uncertain_write_is_made_again() {
    let bench = bench().await;
    let turns = bench.turns();
    bench.store.commit_faults().script([CommitFault::Refused, CommitFault::AnswerLost]);
    turns.keep(turn(1, &["a"], "one")).await;
    assert_eq!(bench.stored(&["a"]).await, [some("one")]);
    // A deleted project is not worth a retry.
    turns.keep(StoredTurn { project: project(9), ..turn(2, &["b"], "two") }).await;
    assert_eq!(count(&turns).await, 1);
}

#[tokio::test]
async fn what_is_awaited_is_found_here_when_others_find_it() {
    let bench = bench().await;
    let turns = bench.turns();
    let hash = bench.vault.requests.of_call(workspace(1), project(1), "a");
    let is_remembered = || {
        let now = turns.inner.now();
        turns.inner.here().memory.find(&hash, now).is_some()
    };
    let keeping = turns.keep(StoredTurn { is_awaited: true, ..turn(1, &["a"], "one") });
    assert!(!is_remembered(), "nobody else has it yet");
    keeping.await;
    assert!(is_remembered());
    assert_eq!(bench.stored(&["a"]).await, [some("one")]);
}

#[tokio::test]
async fn what_does_not_fit_in_memory_comes_from_the_store() {
    let bench = bench().await;
    let turns = bench.turns();
    turns.inner.here().memory = TurnCache::new(2_500);
    for (number, call) in [(1, "a"), (2, "b"), (3, "c")] {
        turns.keep(turn(number, &[call], &call.repeat(500))).await;
    }
    let hash = |call| bench.vault.requests.of_call(workspace(1), project(1), call);
    let is_remembered = |call| {
        let now = turns.inner.now();
        turns.inner.here().memory.find(&hash(call), now).is_some()
    };
    assert_eq!(["a", "b", "c"].map(is_remembered), [false, true, true]);
    assert_eq!(find(&turns, &["a"]).await, [Some("a".repeat(500).into())]);
    assert_eq!(["a", "b", "c"].map(is_remembered), [true, false, true], "it was asked for last");
}

#[tokio::test]
async fn with_too_much_waiting_a_turn_is_known_here_alone() {
    let bench = bench().await;
    let turns = bench.turns();
    let all = u32::try_from(TURNS_WAITING_BYTES_MAX).unwrap();
    let others = turns.inner.permits.acquire_many(all - 100).await.unwrap();
    turns.keep(turn(1, &["a"], "one")).await;
    assert_eq!(find(&turns, &["a"]).await, [some("one")]);
    assert_eq!(count(&turns).await, 0);
    drop(others);
    turns.keep(turn(2, &["b"], "two")).await;
    assert_eq!(bench.stored(&["a", "b"]).await, [None, some("two")]);
}

#[tokio::test]
async fn a_stop_waits_until_everything_is_written() {
    let bench = bench().await;
    let turns = bench.turns();
    for (number, call) in [(1, "a"), (2, "b"), (3, "c")] {
        drop(turns.keep(turn(number, &[call], "kept")));
    }
    turns.stop().await;
    assert_eq!(bench.stored(&["a", "b", "c"]).await, [some("kept"), some("kept"), some("kept")]);
}

#[tokio::test]
async fn what_is_too_long_or_of_no_call_is_not_kept() {
    let bench = bench().await;
    let turns = bench.turns();
    let longest = "x".repeat(domain::limits::KEPT_TURN_BYTES_MAX);
    turns.keep(turn(1, &["a"], &format!("{longest}x"))).await;
    turns.keep(turn(2, &[], "nobody finds it")).await;
    assert_eq!((find(&turns, &["a"]).await, count(&turns).await), (vec![None], 0));
    turns.keep(turn(3, &["a"], &longest)).await;
    assert_eq!(bench.stored(&["a"]).await, [Some(longest.into())]);
}

#[tokio::test]
async fn a_long_conversation_finds_its_newest_calls() {
    let bench = bench().await;
    let turns = bench.turns();
    turns.keep(turn(1, &["first"], "one")).await;
    turns.keep(turn(2, &["last"], "two")).await;
    let mut calls: Vec<_> = (0..=TURN_CALLS_MAX).map(|number| format!("call {number}")).collect();
    calls[0] = "first".into();
    calls[TURN_CALLS_MAX] = "last".into();
    for turns in [turns, bench.turns()] {
        let found = turns.find(workspace(1), project(1), calls.clone()).await;
        let known: Vec<_> = found.iter().enumerate().filter(|(_, content)| content.is_some()).collect();
        assert_eq!((found.len(), known), (TURN_CALLS_MAX + 1, vec![(TURN_CALLS_MAX, &some("two"))]));
    }
}

/// The database's files and its log, read as by an attacker who copied them.
#[tokio::test]
async fn nothing_in_the_store_tells_the_content_or_the_calls() {
    let bench = bench().await;
    let turns = bench.turns();
    let content = "a thought that nobody else is to read. ".repeat(200);
    turns.keep(turn(1, &["call_canary_1", "call_canary_2"], &content)).await;
    assert_eq!(bench.stored(&["call_canary_2"]).await, [Some(content.into())]);
    let mut bytes_read = 0;
    for file in std::fs::read_dir(bench.dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        bytes_read += bytes.len();
        for secret in [b"nobody else is to".as_slice(), b"call_canary"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }
    assert!(bytes_read > 8_000, "it is there");
}

#[tokio::test]
async fn a_call_that_was_led_to_another_turn_finds_nothing() {
    let bench = bench().await;
    let turns = bench.turns();
    turns.keep(turn(1, &["a"], "one")).await;
    turns.keep(turn(2, &["b"], "two")).await;
    let rotations = bench.store.rotations();
    let mut rows = rotations
        .list_content_sealed_otherwise(ContentKind::Turn, workspace(1), String::new(), None, 9)
        .await
        .unwrap();
    rows.retain(|row| matches!(&row.thing, SealedThing::Content(kept) if kept.request == request(2)));
    let SealedThing::Content(kept) = rows[0].thing.clone() else { panic!("{rows:?}") };
    let row = store::KeptTurnRow {
        digest: kept.digest,
        workspace: workspace(1),
        project: kept.project,
        request: kept.request,
        sealed: rows[0].sealed.clone(),
        until_unix_ms: NOW + 1,
    };
    let calls = vec![bench.vault.requests.of_call(workspace(1), project(1), "a")];
    bench.store.kept_turns().keep(row, calls).await.unwrap();
    assert_eq!(bench.stored(&["a", "b"]).await, [None, some("two")]);
}

#[tokio::test]
async fn a_turn_is_found_after_its_workspace_has_another_key() {
    let bench = bench().await;
    let turns = bench.turns();
    turns.keep(turn(1, &["a"], "one")).await;
    let rotations = bench.store.rotations();
    let (key_id, wrapped) = bench.vault.sealer.next_workspace_key(workspace(1)).await.unwrap();
    let next = WrappedKey { workspace: workspace(1), key_id: key_id.clone(), wrapped: wrapped.clone() };
    rotations.begin_workspace(next, Act::system(&bench.world)).await.unwrap();
    let mut keys = bench.store.workspaces().wrapped_keys(workspace(1)).await.unwrap();
    let learn = |keys: &[WrappedKey]| {
        let keys = keys.iter().map(|key| (key.workspace, key.key_id.clone(), key.wrapped.clone())).collect();
        bench.vault.opener.learn(KeyUpdate { keys, ..KeyUpdate::default() })
    };
    learn(&keys).await;
    let rows = rotations
        .list_content_sealed_otherwise(ContentKind::Turn, workspace(1), key_id.clone(), None, 9)
        .await
        .unwrap();
    let reseal = |old: &store::rotations::SealedRow| {
        let SealedThing::Content(kept) = old.thing.clone() else { panic!("{old:?}") };
        let (digest, project, request) = (kept.digest, kept.project, kept.request);
        let content_ref =
            ContentRef { kept: ContentKind::Turn, workspace: workspace(1), project, digest, request };
        Resealing { old: old.clone(), new: bench.vault.reseal_content(&content_ref, &old.sealed).unwrap() }
    };
    rotations.reseal(workspace(1), rows.iter().map(reseal).collect()).await.unwrap();
    let ended = rotations.end_workspace(workspace(1), key_id.clone(), Act::system(&bench.world)).await;
    assert!(ended.unwrap().is_some());
    keys.retain(|key| key.key_id == key_id);
    learn(&keys).await;
    bench.pass(domain::limits::DEADLINE);
    assert_eq!(bench.stored(&["a"]).await, [some("one")], "the old key opens nothing any more");
}
