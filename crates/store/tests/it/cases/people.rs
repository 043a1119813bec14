//! People and their memberships.

use domain::Role;
use store::{Act, ApiKeyRow, KeysOnLeave, MemberRow, Page, PersonRow, StoreError};

use crate::samples::{Fresh, NOW, act, conflict, invitation, missing};

pub async fn a_member_is_invited_changed_and_removed(fresh: &Fresh) {
    let (people, workspace) = (fresh.store.people(), fresh.founding.workspace.id);
    people.create(invitation(workspace, 1, Role::Owner), act()).await.unwrap();
    let mut waiting = invitation(workspace, 2, Role::Viewer);
    waiting.member.accepted_unix_ms = None;
    let made = people.create(waiting.clone(), act()).await.unwrap();
    assert_eq!((made.row.role, made.row.accepted_unix_ms), (Role::Viewer, None));
    assert_eq!(made.row.person.email, "person2@example.com");
    assert_eq!((made.version, made.row.version), (made.version, made.version));
    let id = made.row.person.id;
    assert_eq!(people.get(workspace, id).await.unwrap(), made.row);
    assert!(people.memberships(id).await.unwrap().is_empty(), "an invitation counts for nothing");
    assert_eq!(conflict(people.create(waiting, act()).await, "already_member"), Some(id.to_string()));
    let admin = MemberRow { role: Role::Admin, ..made.row.clone() };
    let result = people.replace(admin.clone(), Some(made.version - 1), act()).await;
    assert!(matches!(result, Err(StoreError::Precondition { .. })), "{result:?}");
    let changed = people.replace(admin, Some(made.version), act()).await.unwrap();
    assert_eq!(changed.row.role, Role::Admin);
    assert!(changed.row.version > made.version, "an ETag names one state");
    let first = people.list(workspace, Page::first(1)).await.unwrap();
    let second = people.list(workspace, Page { limit: 1, after: first.next }).await.unwrap();
    assert_eq!((first.rows.len(), second.rows), (1, vec![changed.row]));
    people.remove(workspace, id, KeysOnLeave::Ask, None, act()).await.unwrap();
    missing(people.get(workspace, id).await);
    assert_eq!(people.by_email("person2@example.com".into()).await.unwrap(), [], "nobody's is forgotten");
    let audit = fresh.store.audit().list(Some(workspace), Page::default()).await.unwrap().rows;
    let actions: Vec<_> = audit.iter().take(4).map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["member.remove", "member.update", "member.invite", "member.invite"]);
}

pub async fn a_person_is_in_several_workspaces(fresh: &Fresh) {
    let (people, mine) = (fresh.store.people(), fresh.founding.workspace.id);
    let other = fresh.workspace(2).await;
    let here = people.create(invitation(mine, 1, Role::Owner), act()).await.unwrap().row;
    let mut again = invitation(other.workspace.id, 2, Role::Viewer);
    again.member.person = here.person.clone();
    assert_eq!(people.create(again, act()).await.unwrap().row.person.id, here.person.id);
    let of: Vec<_> = people.memberships(here.person.id).await.unwrap();
    assert_eq!(of.iter().map(|one| one.role).collect::<Vec<_>>(), [Role::Owner, Role::Viewer]);
    assert_eq!(of[1].name, other.workspace.name);
    people.remove(other.workspace.id, here.person.id, KeysOnLeave::Ask, None, act()).await.unwrap();
    assert_eq!(people.get(mine, here.person.id).await.unwrap().role, Role::Owner, "the other one stays");
}

/// Nothing proves whose an email is: it reveals no membership elsewhere, and blocks nobody from using it.
pub async fn an_email_tells_nothing_and_blocks_nobody(fresh: &Fresh) {
    let (people, mine) = (fresh.store.people(), fresh.founding.workspace.id);
    let other = fresh.workspace(2).await;
    let here = people.create(invitation(mine, 1, Role::Owner), act()).await.unwrap().row;
    let mut invited = invitation(other.workspace.id, 2, Role::Viewer);
    invited.member.person.email = here.person.email.clone();
    invited.member.person.name = "as invited".into();
    invited.member.accepted_unix_ms = None;
    let there = people.create(invited.clone(), act()).await.unwrap().row;
    assert_ne!(there.person.id, here.person.id);
    assert_eq!((&*there.person.email, &*there.person.name), ("person1@example.com", "as invited"));
    let of_address = people.by_email("person1@example.com".into()).await.unwrap();
    let ids: Vec<_> = of_address.iter().map(|person| person.id).collect();
    assert_eq!(ids, [here.person.id, there.person.id]);
    invited.member.person.id = invitation(mine, 9, Role::Viewer).member.person.id;
    conflict(people.create(invited, act()).await, "already_member");
    // Taking the email of a person elsewhere keeps it from nobody, and can be undone.
    let third = people.create(invitation(mine, 3, Role::Viewer), act()).await.unwrap().row.person;
    let fourth =
        people.create(invitation(other.workspace.id, 4, Role::Viewer), act()).await.unwrap().row.person;
    for (wanted, name) in [(&third, "ceo"), (&fourth, "ceo"), (&fourth, "x")] {
        let email = format!("{name}@example.com");
        let wanted = PersonRow { email: email.clone(), ..wanted.clone() };
        assert_eq!(people.rename(wanted, mine, act()).await.unwrap().row.email, email);
        let of_address = people.by_email(email.clone()).await.unwrap();
        assert!(of_address.iter().all(|person| person.email == email), "{of_address:?}");
    }
    assert_eq!(people.by_email("ceo@example.com".into()).await.unwrap().len(), 1);
}

/// Whoever removes a member decides about the keys that they created, directly or with a key of theirs.
pub async fn keys_that_a_member_made_are_asked_about(fresh: &Fresh) {
    let (people, keys) = (fresh.store.people(), fresh.store.api_keys());
    let workspace = fresh.founding.workspace.id;
    let by = |actor: &str| Act { actor: actor.to_owned(), ..act() };
    people.create(invitation(workspace, 1, Role::Owner), act()).await.unwrap();
    for (first, word) in [(10, KeysOnLeave::Keep), (20, KeysOnLeave::Revoke)] {
        let id = people.create(invitation(workspace, first, Role::Admin), act()).await.unwrap().row.person.id;
        let made = |number, actor: String| {
            let row = fresh.key(first + number);
            async move { keys.create((row, None), by(&actor)).await.unwrap().row }
        };
        let own = made(1, id.to_string()).await;
        let handed_on = made(2, own.id.to_string()).await;
        let others = made(3, "system".to_owned()).await;
        let old = ApiKeyRow { expires_unix_ms: Some(NOW - 1), ..fresh.key(first + 4) };
        let old = keys.create((old, None), by(&id.to_string())).await.unwrap().row;
        assert_eq!([own.created_by, handed_on.created_by, others.created_by], [Some(id), Some(id), None]);
        match people.remove(workspace, id, KeysOnLeave::Ask, None, act()).await {
            Err(StoreError::Conflict { what: "member_has_keys", detail, .. }) => {
                let names = |row: &ApiKeyRow| detail.contains(&format!("{} ({})", row.name, row.id));
                let named = [&own, &handed_on, &others, &old].map(names);
                assert_eq!(named, [true, true, false, false], "{detail}");
            }
            other => panic!("{other:?}"),
        }
        people.get(workspace, id).await.unwrap();
        people.remove(workspace, id, word, None, act()).await.unwrap();
        let mut ended = Vec::new();
        for row in [&own, &handed_on, &others, &old] {
            ended.push(keys.get(workspace, row.id).await.unwrap().revoked_unix_ms.is_some());
        }
        let is_revoked = word == KeysOnLeave::Revoke;
        assert_eq!(ended, [is_revoked, is_revoked, false, is_revoked]);
        let audit = fresh.store.audit().list(Some(workspace), Page::first(1)).await.unwrap().rows;
        let note = match word {
            KeysOnLeave::Revoke => format!("2 keys that they made revoked: {} ({})", own.name, own.id),
            _ => "2 keys that they made kept".to_owned(),
        };
        assert!(audit.first().is_some_and(|row| row.detail.contains(&note)), "{note}: {audit:?}");
    }
}

pub async fn the_last_owner_stays(fresh: &Fresh) {
    let (people, workspace) = (fresh.store.people(), fresh.founding.workspace.id);
    let first = people.create(invitation(workspace, 1, Role::Owner), act()).await.unwrap().row;
    let mut waiting = invitation(workspace, 2, Role::Owner);
    waiting.member.accepted_unix_ms = None;
    people.create(waiting, act()).await.unwrap();
    let admin = MemberRow { role: Role::Admin, ..first.clone() };
    conflict(people.remove(workspace, first.person.id, KeysOnLeave::Ask, None, act()).await, "last_owner");
    conflict(people.replace(admin.clone(), None, act()).await, "last_owner");
    let second = people.create(invitation(workspace, 3, Role::Owner), act()).await.unwrap().row.person.id;
    people.replace(admin, None, act()).await.unwrap();
    conflict(people.remove(workspace, second, KeysOnLeave::Ask, None, act()).await, "last_owner");
}

pub async fn a_name_and_an_email_are_changed_and_an_email_is_taken_once(fresh: &Fresh) {
    let (people, workspace) = (fresh.store.people(), fresh.founding.workspace.id);
    let first = people.create(invitation(workspace, 1, Role::Owner), act()).await.unwrap().row;
    let second = people.create(invitation(workspace, 2, Role::Viewer), act()).await.unwrap().row;
    let wanted = PersonRow { name: "new".into(), email: "new@example.com".into(), ..first.person.clone() };
    let changed = people.rename(wanted, workspace, act()).await.unwrap().row;
    let read = people.get(workspace, first.person.id).await.unwrap();
    assert_eq!((&read.person, read.version), (&changed, changed.version));
    let taken = PersonRow { email: changed.email, ..second.person };
    assert_eq!(conflict(people.rename(taken, workspace, act()).await, "email_taken"), None);
}
