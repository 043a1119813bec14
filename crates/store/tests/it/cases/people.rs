//! People and their memberships.

use domain::Role;
use store::{Invitation, Page, PersonRow, StoreError};

use crate::Fresh;
use crate::samples::{act, founding, invitation};

pub async fn a_member_is_invited_changed_and_removed(fresh: &Fresh) {
    let (people, workspace) = (fresh.store.people(), fresh.founding.workspace.id);
    people.invite(invitation(workspace, 1, Role::Owner), act()).await.unwrap();
    let waiting = Invitation { accepted_unix_ms: None, ..invitation(workspace, 2, Role::Viewer) };
    let made = people.invite(waiting.clone(), act()).await.unwrap();
    assert_eq!((made.row.role, made.row.accepted_unix_ms), (Role::Viewer, None));
    assert_eq!(made.row.person.email, "person2@example.com");
    assert_eq!((made.version, made.row.version), (made.version, made.version));
    let id = made.row.person.id;
    assert_eq!(people.get(workspace, id).await.unwrap(), made.row);
    assert!(people.memberships(id).await.unwrap().is_empty(), "an invitation counts for nothing");
    match people.invite(waiting, act()).await {
        Err(StoreError::Conflict { what: "already_member", existing, .. }) => {
            assert_eq!(existing, Some(id.to_string()))
        }
        other => panic!("{other:?}"),
    }
    let told = people.set_role(workspace, id, Role::Admin, Some(made.version - 1), act()).await;
    assert!(matches!(told, Err(StoreError::Precondition { .. })), "{told:?}");
    let changed = people.set_role(workspace, id, Role::Admin, Some(made.version), act()).await.unwrap();
    assert_eq!(changed.row.role, Role::Admin);
    assert!(changed.row.version > made.version, "an ETag names one state");
    let first = people.list(workspace, Page::first(1)).await.unwrap();
    let second = people.list(workspace, Page { limit: 1, after: first.next }).await.unwrap();
    assert_eq!((first.rows.len(), second.rows), (1, vec![changed.row]));
    people.remove(workspace, id, None, act()).await.unwrap();
    assert!(matches!(people.get(workspace, id).await, Err(StoreError::NotFound { .. })));
    assert_eq!(
        people.by_email("person2@example.com".into()).await.unwrap(),
        None,
        "nobody's member is forgotten"
    );
    let audit = fresh.store.audit().list(Some(workspace), Page::default()).await.unwrap().rows;
    let told: Vec<_> = audit.iter().take(4).map(|row| row.action.as_str()).collect();
    assert_eq!(told, ["member.remove", "member.update", "member.invite", "member.invite"]);
}

pub async fn an_email_is_one_person_in_every_workspace(fresh: &Fresh) {
    let (people, mine) = (fresh.store.people(), fresh.founding.workspace.id);
    let other = founding(2);
    fresh.store.founder().found(other.clone(), act()).await.unwrap();
    let here = people.invite(invitation(mine, 1, Role::Owner), act()).await.unwrap().row;
    let again = invitation(other.workspace.id, 2, Role::Viewer);
    let again =
        Invitation { person: PersonRow { email: here.person.email.clone(), ..again.person }, ..again };
    let there = people.invite(again, act()).await.unwrap().row;
    assert_eq!(there.person.id, here.person.id);
    let of: Vec<_> = people.memberships(here.person.id).await.unwrap();
    assert_eq!(of.iter().map(|one| one.role).collect::<Vec<_>>(), [Role::Owner, Role::Viewer]);
    assert_eq!(of[1].name, other.workspace.name);
    people.remove(other.workspace.id, here.person.id, None, act()).await.unwrap();
    assert_eq!(people.get(mine, here.person.id).await.unwrap().role, Role::Owner, "the other one stays");
}

pub async fn the_last_owner_stays(fresh: &Fresh) {
    let (people, workspace) = (fresh.store.people(), fresh.founding.workspace.id);
    let first = people.invite(invitation(workspace, 1, Role::Owner), act()).await.unwrap().row.person.id;
    let waiting = Invitation { accepted_unix_ms: None, ..invitation(workspace, 2, Role::Owner) };
    people.invite(waiting, act()).await.unwrap();
    for told in [
        people.remove(workspace, first, None, act()).await.map(|_| ()),
        people.set_role(workspace, first, Role::Admin, None, act()).await.map(|_| ()),
    ] {
        assert!(matches!(told, Err(StoreError::Conflict { what: "last_owner", .. })), "{told:?}");
    }
    let second = people.invite(invitation(workspace, 3, Role::Owner), act()).await.unwrap().row.person.id;
    people.set_role(workspace, first, Role::Admin, None, act()).await.unwrap();
    let told = people.remove(workspace, second, None, act()).await;
    assert!(matches!(told, Err(StoreError::Conflict { what: "last_owner", .. })), "{told:?}");
}

pub async fn a_name_and_an_email_are_changed_and_an_email_is_taken_once(fresh: &Fresh) {
    let (people, workspace) = (fresh.store.people(), fresh.founding.workspace.id);
    let first = people.invite(invitation(workspace, 1, Role::Owner), act()).await.unwrap().row;
    let second = people.invite(invitation(workspace, 2, Role::Viewer), act()).await.unwrap().row;
    let wanted = PersonRow { name: "new".into(), email: "new@example.com".into(), ..first.person.clone() };
    let changed = people.rename(wanted, workspace, act()).await.unwrap().row;
    let read = people.get(workspace, first.person.id).await.unwrap();
    assert_eq!((&read.person, read.version), (&changed, changed.version));
    let taken = PersonRow { email: changed.email, ..second.person };
    let told = people.rename(taken, workspace, act()).await;
    assert!(
        matches!(told, Err(StoreError::Conflict { what: "email_taken", existing: None, .. })),
        "{told:?}"
    );
}
