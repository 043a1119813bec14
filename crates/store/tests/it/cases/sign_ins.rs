//! Sessions, one-time links and sign-in attempts.

use domain::{MemberId, Role, WorkspaceId};
use store::{Act, KeysOnLeave, LinkRow, Redeemed, Redeemer, SignInRow, Tries};

use crate::samples::{Fresh, NOW, act, digest, invitation, link, member, session};

/// Another workspace, which invites a person with this email and creates a link.
async fn invited_elsewhere(fresh: &Fresh, email: &str, number: u8) -> (WorkspaceId, MemberId) {
    let other = fresh.workspace(u64::from(number)).await;
    let mut waiting = invitation(other.workspace.id, u64::from(number), Role::Viewer);
    waiting.member.person.email = email.into();
    waiting.member.accepted_unix_ms = None;
    waiting.link = Some((digest(number), u64::MAX >> 1));
    let at = Act { unix_ms: NOW + u64::from(number), ..act() };
    let made = fresh.store.people().create(waiting, at).await.unwrap().row;
    (other.workspace.id, made.person.id)
}

async fn redeem(fresh: &Fresh, link: u8, redeemer: Redeemer, fresh_number: u8) -> Redeemed {
    let started = SignInRow { by_link: true, ..session(MemberId::new(NOW, [0; 10]), fresh_number) };
    fresh.store.sign_ins().redeem(digest(link), redeemer, started, None, act()).await.unwrap()
}

async fn is_in(fresh: &Fresh, number: u8) -> bool {
    fresh.store.sign_ins().find(digest(number)).await.unwrap().is_some()
}

pub async fn a_session_is_found_until_it_ends(fresh: &Fresh) {
    let (sign_ins, workspace) = (fresh.store.sign_ins(), fresh.founding.workspace.id);
    let person = member(fresh, 1, Role::Developer).await;
    sign_ins.start(session(person, 1), None, Some(workspace), act()).await.unwrap();
    let found = sign_ins.find(digest(1)).await.unwrap().unwrap();
    assert_eq!((&found.session, found.person.id), (&session(person, 1), person));
    assert_eq!((found.memberships[0].workspace, found.memberships[0].role), (workspace, Role::Developer));
    sign_ins.touch(digest(1), NOW + 5).await.unwrap();
    assert_eq!(sign_ins.find(digest(1)).await.unwrap().unwrap().session.used_unix_ms, NOW + 5);
    // Signing in over an old session ends that one.
    sign_ins.start(session(person, 2), Some(digest(1)), Some(workspace), act()).await.unwrap();
    assert!(!is_in(fresh, 1).await && is_in(fresh, 2).await);
    // The next sign-in deletes expired sessions.
    let later =
        SignInRow { created_unix_ms: NOW + 1_000, expires_unix_ms: NOW + 9_000, ..session(person, 3) };
    sign_ins.start(later, None, Some(workspace), act()).await.unwrap();
    assert!(!is_in(fresh, 2).await);
    sign_ins.end(digest(3), Some(workspace), act()).await.unwrap();
    assert!(!is_in(fresh, 3).await && !is_in(fresh, 99).await);
}

pub async fn a_removed_members_session_ends_with_the_membership(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    member(fresh, 1, Role::Owner).await;
    let person = member(fresh, 2, Role::Viewer).await;
    store.sign_ins().start(session(person, 1), None, None, act()).await.unwrap();
    store.people().add_link(link(person, Some(workspace), 7), workspace, act()).await.unwrap();
    // An invitation elsewhere keeps the person, but no session.
    invited_elsewhere(fresh, "person2@example.com", 8).await;
    store.people().remove(workspace, person, KeysOnLeave::Ask, None, act()).await.unwrap();
    assert!(!is_in(fresh, 1).await);
    assert_eq!(redeem(fresh, 7, Redeemer::Nobody, 9).await, Redeemed::Unknown);
    assert_eq!(store.people().by_email("person2@example.com".into()).await.unwrap().len(), 1);
}

pub async fn a_password_ends_every_other_session_and_link(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let person = member(fresh, 1, Role::Owner).await;
    let other = member(fresh, 2, Role::Viewer).await;
    for (who, number) in [(person, 1), (person, 2), (other, 3)] {
        store.sign_ins().start(session(who, number), None, None, act()).await.unwrap();
    }
    store.people().add_link(link(person, None, 7), fresh.founding.workspace.id, act()).await.unwrap();
    store.people().set_password("a hash".into(), session(person, 4), workspace, act()).await.unwrap();
    let left = [is_in(fresh, 1).await, is_in(fresh, 2).await, is_in(fresh, 3).await, is_in(fresh, 4).await];
    assert_eq!(left, [false, false, true, true]);
    assert_eq!(redeem(fresh, 7, Redeemer::Nobody, 9).await, Redeemed::Unknown);
    let read = store.people().get(workspace, person).await.unwrap().person;
    assert_eq!(read.password_hash.as_deref(), Some("a hash"));
    assert!(!format!("{read:?}").contains("a hash"));
}

pub async fn a_link_works_once_and_in_its_time(fresh: &Fresh) {
    let people = fresh.store.people();
    let person = member(fresh, 1, Role::Owner).await;
    let traces = async || {
        let traces = fresh.store.sign_ins().traces(person).await.unwrap();
        (traces.has_link, traces.signed_in)
    };
    assert_eq!(traces().await, (false, false));
    people.add_link(link(person, None, 7), fresh.founding.workspace.id, act()).await.unwrap();
    assert_eq!(traces().await, (true, false));
    let old = LinkRow { expires_unix_ms: 5, ..link(person, None, 8) };
    people.add_link(old, fresh.founding.workspace.id, Act { unix_ms: 1, ..act() }).await.unwrap();
    assert_eq!(redeem(fresh, 9, Redeemer::Nobody, 1).await, Redeemed::Unknown);
    assert_eq!(redeem(fresh, 8, Redeemer::Nobody, 1).await, Redeemed::Unknown);
    assert_eq!(redeem(fresh, 7, Redeemer::Nobody, 1).await, Redeemed::By(person));
    assert_eq!(redeem(fresh, 7, Redeemer::Nobody, 2).await, Redeemed::Unknown);
    let found = fresh.store.sign_ins().find(digest(1)).await.unwrap().unwrap();
    assert!(found.session.by_link && found.session.person == person);
    assert!(!is_in(fresh, 2).await);
    assert!(traces().await.1, "they have signed in");
}

/// The administrator of one workspace must not be able to impersonate a person known to another.
pub async fn a_link_of_one_workspace_signs_in_nobody_whom_another_knows(fresh: &Fresh) {
    let (store, mine) = (&fresh.store, fresh.founding.workspace.id);
    let person = member(fresh, 1, Role::Owner).await;
    store.sign_ins().start(session(person, 1), None, None, act()).await.unwrap();
    let (theirs, made) = invited_elsewhere(fresh, "person1@example.com", 7).await;
    assert_ne!(made, person, "who has the email elsewhere is not theirs to see");
    let stranger = member(fresh, 2, Role::Viewer).await;
    for redeemer in [Redeemer::Nobody, Redeemer::Known(stranger)] {
        assert_eq!(redeem(fresh, 7, redeemer, 2).await, Redeemed::SignInFirst);
    }
    assert!(!is_in(fresh, 2).await);
    assert_eq!(redeem(fresh, 7, Redeemer::Known(person), 3).await, Redeemed::By(person));
    assert!(!is_in(fresh, 1).await, "sessions from before see nothing of the new workspace");
    let of = store.people().memberships(person).await.unwrap();
    assert_eq!(of.iter().map(|one| one.workspace).collect::<Vec<_>>(), [mine, theirs]);
    assert!(store.people().get(theirs, made).await.is_err(), "the invitation's own person is gone");
    // Nor does a link that the first workspace created before.
    store.people().add_link(link(person, Some(mine), 8), fresh.founding.workspace.id, act()).await.unwrap();
    assert_eq!(redeem(fresh, 8, Redeemer::Nobody, 4).await, Redeemed::SignInFirst);
    store.people().add_link(link(person, None, 9), fresh.founding.workspace.id, act()).await.unwrap();
    assert_eq!(redeem(fresh, 9, Redeemer::Nobody, 4).await, Redeemed::By(person), "the installation's does");
}

/// Whoever had an email first, or claimed it, can't keep others from joining with it.
pub async fn somebody_else_of_the_same_email_joins_as_a_new_person(fresh: &Fresh) {
    let (_, squatter) = invited_elsewhere(fresh, "bob@example.com", 7).await;
    assert_eq!(redeem(fresh, 7, Redeemer::Nobody, 1).await, Redeemed::By(squatter));
    let (theirs, bob) = invited_elsewhere(fresh, "bob@example.com", 8).await;
    assert_eq!(redeem(fresh, 8, Redeemer::Nobody, 2).await, Redeemed::SignInFirst);
    assert_eq!(redeem(fresh, 8, Redeemer::New, 2).await, Redeemed::By(bob));
    let of = fresh.store.people().memberships(bob).await.unwrap();
    assert_eq!(of.iter().map(|one| one.workspace).collect::<Vec<_>>(), [theirs]);
    assert!(is_in(fresh, 1).await, "the other one's session is theirs still");
    // Their own workspace's later links sign them in, whoever else has the email.
    fresh.store.people().add_link(link(bob, Some(theirs), 9), theirs, act()).await.unwrap();
    assert_eq!(redeem(fresh, 9, Redeemer::Nobody, 3).await, Redeemed::By(bob));
}

pub async fn tries_are_counted_together_and_end_with_their_window(fresh: &Fresh) {
    const WINDOW: u64 = 1_000;
    let tried = async |trier: u8, other: Option<u8>, at: u64| -> Vec<(u8, u64, u64)> {
        let counted = fresh.store.sign_ins().count_tries(digest(trier), other.map(digest), WINDOW, at);
        let read = |(digest, tries): ([u8; 32], Tries)| (digest[0], tries.count, tries.since_unix_ms);
        let mut counted: Vec<_> = counted.await.unwrap().into_iter().map(read).collect();
        counted.sort_unstable();
        counted
    };
    let [one, two, three] = [1, 2, 3].map(|number| (number, digest(number)[0]));
    assert_eq!(tried(one.0, None, 5_000).await, [(one.1, 1, 5_000)]);
    assert_eq!(tried(one.0, Some(two.0), 5_400).await, [(one.1, 2, 5_000), (two.1, 1, 5_400)]);
    // Concurrent attempts are all counted, each with another number.
    let many = (0..20).map(|_| {
        let store = fresh.store.clone();
        tokio::spawn(async move {
            store.sign_ins().count_tries(digest(1), Some(digest(2)), WINDOW, 5_500).await.unwrap()
        })
    });
    let mut counts = Vec::new();
    for counted in many.collect::<Vec<_>>() {
        let counted = counted.await.unwrap();
        counts.extend(counted.iter().filter(|(trier, _)| *trier == digest(1)).map(|(_, tries)| tries.count));
    }
    counts.sort_unstable();
    assert_eq!(counts, (3..=22).collect::<Vec<_>>());
    // One window has expired, the other continues.
    assert_eq!(tried(one.0, Some(two.0), 6_000).await, [(one.1, 1, 6_000), (two.1, 22, 5_400)]);
    fresh.store.sign_ins().forget_tries(digest(two.0)).await.unwrap();
    assert_eq!(tried(two.0, Some(three.0), 6_100).await, [(two.1, 1, 6_100), (three.1, 1, 6_100)]);
    assert_eq!(fresh.store.sign_ins().forget_tries_before(6_100).await.unwrap(), 1);
    assert_eq!(tried(one.0, None, 6_100).await, [(one.1, 1, 6_100)]);
}
