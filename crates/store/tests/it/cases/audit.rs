//! The audit and its hash chains.

use domain::AuditId;
use domain::ports::AuditEntry;
use proof::audit::{Head, Linked, OBJECT, Proof, VerifyError};
use proof::{Digest, SigningKey};
use store::{Act, AuditFilter, AuditRow, Page, chain_name};

use crate::samples::{Fresh, NOW, act, all, bytes, project};

fn entry(fresh: &Fresh, object: &str) -> AuditEntry {
    AuditEntry {
        workspace: Some(fresh.founding.workspace.id),
        actor: "vault".into(),
        action: "credential.open_refused",
        object: object.into(),
        detail: "refused".into(),
        trace: None,
    }
}

/// The row of an entry about this object.
fn row(fresh: &Fresh, unix_ms: u64, number: u64, object: &str) -> AuditRow {
    AuditRow::new(AuditId::new(unix_ms, bytes(number)), unix_ms, entry(fresh, object))
}

pub async fn entries_are_appended_once_and_listed_newest_first(fresh: &Fresh) {
    let workspace = Some(fresh.founding.workspace.id);
    let later = NOW + 1_000_000_000_000;
    let rows: Vec<_> = (0..7).map(|n| row(fresh, later + n, n, &n.to_string())).collect();
    fresh.store.audit().append(rows.clone()).await.unwrap();
    fresh.store.audit().append(rows.clone()).await.unwrap();
    let first = fresh.store.audit().list(workspace, Page::first(5)).await.unwrap();
    let ids = |rows: &[AuditRow]| rows.iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(&first.rows), ids(&rows.iter().rev().take(5).cloned().collect::<Vec<_>>()));
    let second = fresh.store.audit().list(workspace, Page { limit: 5, after: first.next }).await.unwrap();
    assert_eq!(second.rows.len(), 3, "with the founding's own");
    assert!(fresh.store.audit().list(None, Page::default()).await.unwrap().rows.is_empty());
}

pub async fn entries_are_searched_by_any_of_their_fields(fresh: &Fresh) {
    let workspace = Some(fresh.founding.workspace.id);
    let later = NOW + 1_000_000_000_000;
    let rows = (0..2_100_u64).map(|n| {
        let row = row(fresh, later + n, n, &format!("pcr_{n}"));
        let (actor, action) =
            if n % 700 == 0 { ("key_1", "credential.create") } else { ("vault", "credentials.x") };
        AuditRow { actor: actor.into(), action: action.into(), detail: format!("Named Ä{}", n % 3), ..row }
    });
    fresh.store.audit().append(rows.collect()).await.unwrap();
    let found = async |filter: AuditFilter, page: Page<AuditId>| {
        let listed = fresh.store.audit().search(workspace, filter, page).await.unwrap();
        let numbers: Vec<_> = listed.rows.iter().map(|row| row.unix_ms.wrapping_sub(later)).collect();
        (numbers, listed.next)
    };
    let by = |name: &str| AuditFilter { actor: Some(name.into()), ..AuditFilter::default() };
    assert_eq!(found(by("key_1"), Page::first(9)).await, (vec![1_400, 700, 0], None));
    let (first, next) = found(by("key_1"), Page::first(2)).await;
    assert_eq!((first, next.is_some()), (vec![1_400, 700], true));
    assert_eq!(found(by("key_1"), Page { limit: 2, after: next }).await, (vec![0], None));
    let target = || Some("pcr_700".into());
    let of_action =
        |action: &str| AuditFilter { action: Some(action.into()), target: target(), ..Default::default() };
    for (action, expected) in [("credential", 1), ("credential.create", 1), ("credentials", 0), ("cred", 0)] {
        assert_eq!(found(of_action(action), Page::first(9)).await.0.len(), expected, "{action}");
    }
    let (since_unix_ms, until_unix_ms) = (Some(later + 5), Some(later + 7));
    let within = AuditFilter { since_unix_ms, until_unix_ms, ..AuditFilter::default() };
    assert_eq!(found(within.clone(), Page::first(9)).await.0, [6, 5]);
    assert_eq!(found(AuditFilter { text: Some("named ä0".into()), ..within }, Page::first(9)).await.0, [6]);
    assert_eq!(fresh.store.audit().search(None, by("key_1"), Page::first(9)).await.unwrap().rows, []);
}

pub async fn a_sink_is_known_by_how_far_it_was_sent_a_chain(fresh: &Fresh) {
    let (audit, workspace) = (fresh.store.audit(), Some(fresh.founding.workspace.id));
    let (sink, other) = (Digest::of(&[b"sink"]), Digest::of(&[b"other"]));
    audit.append(vec![row(fresh, NOW, 1, "sent"), row(fresh, NOW, 2, "sent")]).await.unwrap();
    let length = audit.head(workspace).await.unwrap().sequence;
    assert_eq!(audit.sent(sink, workspace).await.unwrap(), 0);
    for upto in [length - 1, length] {
        audit.record_sent(sink, workspace, upto).await.unwrap();
        assert_eq!(audit.sent(sink, workspace).await.unwrap(), upto);
    }
    assert_eq!(audit.sent(other, workspace).await.unwrap(), 0);
    let is_behind =
        async |sink| audit.behind(sink, 10).await.unwrap().iter().any(|chain| chain.workspace == workspace);
    assert_eq!((is_behind(sink).await, is_behind(other).await), (false, true));
}

/// The whole chain of the founded workspace, as an auditor receives it.
async fn proof(fresh: &Fresh) -> Proof {
    let workspace = Some(fresh.founding.workspace.id);
    let rows = fresh.store.audit().stretch(workspace, 1, 1_000).await.unwrap();
    let entries = rows.iter().map(|row| {
        let link = row.link.unwrap();
        Linked { entry: row.entry(link.sequence), hash: link.hash }
    });
    let end = fresh.store.audit().head(workspace).await.unwrap();
    let (key, chain) = (SigningKey::from_seed(&[3; 32]).unwrap(), chain_name(workspace));
    Proof {
        object: OBJECT.into(),
        anchor: Digest::ZERO,
        entries: entries.collect(),
        head: Head::sign(&key, &chain, end.sequence, end.hash, NOW),
        chain,
    }
}

async fn append(fresh: &Fresh, count: u64) {
    let rows = (0..count).map(|n| row(fresh, NOW + n, n, &n.to_string()));
    fresh.store.audit().append(rows.collect()).await.unwrap();
}

/// A tampering statement, the one that undoes it, and the expected finding.
type Touched = (&'static str, &'static str, fn(&VerifyError) -> bool);

pub async fn a_chain_holds_and_whatever_is_touched_is_found(fresh: &Fresh) {
    append(fresh, 6).await;
    assert_eq!(proof(fresh).await.verify(None).unwrap().last, 7, "with the founding's own");
    let touched: [Touched; 3] = [
        (
            "UPDATE audit SET detail = 'accepted' WHERE sequence = 3",
            "UPDATE audit SET detail = 'refused' WHERE sequence = 3",
            |found| *found == VerifyError::Changed(3),
        ),
        (
            "UPDATE audit SET sequence = 7 - sequence + 100 WHERE sequence IN (3, 4)",
            "UPDATE audit SET sequence = 107 - sequence WHERE sequence > 100",
            |found| matches!(found, VerifyError::Order { wanted: 3, found: 5 }),
        ),
        (
            "INSERT INTO audit (id, unix_ms, actor, action, object, detail, chain, sequence, hash)
             SELECT chain, unix_ms, actor, action, object, 'forged', chain, 8, hash FROM audit WHERE sequence = 7",
            "DELETE FROM audit WHERE detail = 'forged'",
            |found| *found == VerifyError::Changed(8),
        ),
    ];
    for (touch, undo, is_found) in touched {
        fresh.meddle(touch).await;
        let found = proof(fresh).await.verify(None).unwrap_err();
        assert!(is_found(&found), "{touch}: {found}");
        fresh.meddle(undo).await;
        proof(fresh).await.verify(None).unwrap();
    }
    fresh.meddle("UPDATE audit SET sequence = 107 - sequence WHERE sequence IN (3, 4)").await;
    fresh.meddle("UPDATE audit SET sequence = sequence - 100 WHERE sequence > 100").await;
    assert_eq!(proof(fresh).await.verify(None), Err(VerifyError::Changed(3)), "two have changed places");
    fresh.meddle("UPDATE audit SET sequence = 107 - sequence WHERE sequence IN (3, 4)").await;
    fresh.meddle("UPDATE audit SET sequence = sequence - 100 WHERE sequence > 100").await;
    fresh.meddle("DELETE FROM audit WHERE sequence = 7").await;
    assert_eq!(proof(fresh).await.verify(None), Err(VerifyError::End { found: 6, signed: 7 }));
    fresh.meddle("DELETE FROM audit WHERE sequence = 4").await;
    assert_eq!(proof(fresh).await.verify(None), Err(VerifyError::Order { wanted: 4, found: 5 }));
}

pub async fn entries_at_once_are_one_chain_for_each_workspace(fresh: &Fresh) {
    let mut writers = Vec::new();
    for writer in 0..8_u64 {
        let (store, workspace) = (fresh.store.clone(), fresh.founding.workspace.id);
        let entries: Vec<_> = (0..5)
            .map(|n| {
                let of = AuditEntry { workspace: (n % 2 == 0).then_some(workspace), ..entry(fresh, "x") };
                AuditRow::new(AuditId::new(NOW + n, bytes(writer * 100 + n)), NOW + n, of)
            })
            .collect();
        writers.push(tokio::spawn(async move {
            let changes = store.projects().create(project(workspace, 100 + writer), act());
            let (appended, changed) = tokio::join!(store.audit().append(entries), changes);
            appended.and(changed.map(drop)).unwrap();
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(proof(fresh).await.verify(None).unwrap().last, 1 + 8 * 4);
    assert_eq!(fresh.store.audit().head(None).await.unwrap().sequence, 16);
}

pub async fn what_is_in_no_chain_is_taken_in(fresh: &Fresh) {
    append(fresh, 3).await;
    fresh.meddle("UPDATE audit SET chain = NULL, sequence = NULL, hash = NULL").await;
    fresh.meddle("DELETE FROM audit_chains").await;
    fresh.store.audit().link_all().await.unwrap();
    assert_eq!(proof(fresh).await.verify(None).unwrap().last, 4);
    // As a replica of the previous version writes it, beside a newer one.
    fresh.meddle("UPDATE audit SET chain = NULL, sequence = NULL, hash = NULL WHERE sequence = 4").await;
    let shorter = "UPDATE audit_chains SET length = 3, hash = (SELECT hash FROM audit WHERE sequence = 3)";
    fresh.meddle(shorter).await;
    fresh.store.audit().append(vec![row(fresh, NOW + 9, 9, "9")]).await.unwrap();
    assert_eq!(proof(fresh).await.verify(None).unwrap().last, 5);
}

pub async fn an_entry_tells_the_object_before_and_after(fresh: &Fresh) {
    let projects = fresh.store.projects();
    let made = projects.create(project(fresh.founding.workspace.id, 9), act()).await.unwrap().row;
    let renamed = store::ProjectRow { name: "other".into(), ..made.clone() };
    projects.replace(renamed, None, act()).await.unwrap();
    projects.delete(made.workspace, made.id, None, act()).await.unwrap();
    let rows = fresh.store.audit().list(Some(made.workspace), Page::first(3)).await.unwrap().rows;
    let [deleted, renamed, created] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((created.before, created.after.is_some()), (None, true));
    assert_eq!(renamed.before, created.after);
    assert_ne!(renamed.after, created.after);
    assert_eq!((deleted.before, deleted.after), (renamed.after, None));
}

/// Their ids are random within a millisecond, and here the later ones are the lower ones.
pub async fn entries_of_one_moment_stand_as_they_were_written(fresh: &Fresh) {
    let (audit, projects) = (fresh.store.audit(), fresh.store.projects());
    let workspace = fresh.founding.workspace.id;
    let moment = NOW + 1_000_000_000_000;
    let at_once = |number| Act { id: AuditId::new(moment, bytes(number)), unix_ms: moment, ..act() };
    let made = projects.create(project(workspace, 9), at_once(90)).await.unwrap().row;
    for (number, name) in [(80, "second"), (70, "third")] {
        let renamed = store::ProjectRow { name: name.into(), ..made.clone() };
        projects.replace(renamed, None, at_once(number)).await.unwrap();
    }
    let rows = [60, 50, 40].map(|number| row(fresh, moment, number, &number.to_string()));
    audit.append(rows.into()).await.unwrap();
    let pages = all(2, async |page| audit.list(Some(workspace), page).await).await;
    let ids: Vec<_> = pages.iter().take(6).map(|row| row.id).collect();
    assert_eq!(ids, [40, 50, 60, 70, 80, 90].map(|number| at_once(number).id));
    let [third, second, first] = &pages[3..6] else { panic!("{pages:?}") };
    assert_eq!((first.before, second.before, third.before), (None, first.after, second.after));
    let places: Vec<_> = pages.iter().map(|row| row.link.unwrap().sequence).collect();
    assert!(places.is_sorted_by(|later, earlier| later > earlier), "{places:?}");
}
