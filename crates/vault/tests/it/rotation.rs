//! Key rotation, and sealed content with a limited lifetime.

use std::sync::{Arc, Mutex};

use domain::master_key::wrapped_prefix;
use domain::ports::{KeyWrap, NoAudit};
use domain::{ContentKind, ProjectId, Secret, TraceId};
use vault::{ContentRef, KeyUpdate, MasterKey, MasterKeyring, MasterState, OpenError, Vault};
use world::{SeededRandom, World};

use crate::support::{bench, credential, run, workspace};

const FIRST: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const SECOND: &str = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";

/// `MasterKeyring` whose file is this text.
fn masters(text: &Arc<Mutex<String>>) -> MasterKeyring {
    let text = Arc::clone(text);
    let read = move || MasterKey::all_from_base64(&Secret::from_text(text.lock().unwrap().clone()));
    MasterKeyring::new(Box::new(read), Arc::new(SeededRandom::new(3))).unwrap()
}

#[test]
fn a_master_key_is_replaced_by_another_and_then_opens_nothing() {
    let text = Arc::new(Mutex::new(format!("{FIRST}\n")));
    let masters = masters(&text);
    let first = masters.key_id();
    let key = Secret::new(vec![5; 32]);
    let wrapped = run(masters.wrap(&key, b"place")).unwrap();
    assert!(wrapped.starts_with(&wrapped_prefix(&first)));
    *text.lock().unwrap() = format!("{FIRST}\n{SECOND}\n");
    masters.reread().unwrap();
    let second = masters.held_ids()[1].clone();
    assert_eq!(masters.key_id(), first, "the store says which is in force");
    let again = masters.rewrap(&wrapped, b"place", &second).unwrap();
    assert!(again.starts_with(&wrapped_prefix(&second)));
    for (bytes, context) in [(&wrapped, b"place"), (&again, b"place")] {
        assert_eq!(run(masters.unwrap(bytes, context)).unwrap().expose(), key.expose());
    }
    assert!(masters.rewrap(&wrapped, b"other", &second).is_err(), "bound to its place");
    assert!(masters.rewrap(&wrapped, b"place", "local:none").is_err());
    let state = MasterState { current: second.clone(), retired: vec![first], ..MasterState::default() };
    masters.follow(state.clone());
    assert_eq!((masters.key_id(), masters.held_ids()), (second.clone(), vec![second.clone()]));
    assert!(run(masters.unwrap(&wrapped, b"place")).is_err());
    assert!(run(masters.unwrap(&again, b"place")).is_ok());
    // Reading the file again does not bring a retired key back, and an unreadable file changes nothing.
    masters.reread().unwrap();
    let held = [second];
    assert_eq!(masters.held_ids(), held);
    *text.lock().unwrap() = "nothing".into();
    assert!(masters.reread().is_err());
    assert_eq!(masters.held_ids(), held);
    assert_eq!(MasterState::from_meta(&[]).retired, Vec::<String>::new());
    assert!(state.is_served_by(&held));
    assert!(!MasterState { next: Some("x".into()), ..state }.is_served_by(&held));
}

#[test]
fn what_was_wrapped_before_keys_had_names_opens_and_gets_one() {
    let text = Arc::new(Mutex::new(format!("{FIRST} {SECOND}")));
    let masters = masters(&text);
    let (first, second) = (masters.held_ids()[0].clone(), masters.held_ids()[1].clone());
    let wrapped = run(masters.wrap(&Secret::new(vec![5; 32]), b"place")).unwrap();
    let nameless = wrapped[wrapped_prefix(&first).len()..].to_vec();
    assert!(masters.rewrap(&nameless, b"place", &second).unwrap().starts_with(&wrapped_prefix(&second)));
}

#[test]
fn the_records_of_an_installation_move_to_the_next_key() {
    let text = Arc::new(Mutex::new(format!("{FIRST} {SECOND}")));
    let masters = Arc::new(masters(&text));
    let world = World::system();
    let records = run(Vault::create(&*masters, &*world.random)).unwrap();
    let second = masters.held_ids()[1].clone();
    let moved = masters.rewrap_records(&records, &second).unwrap();
    let retired = vec![records.master_key_id.clone()];
    masters.follow(MasterState { current: second, retired, ..MasterState::default() });
    let opened = run(Vault::open(masters.clone(), &moved, &world, Arc::new(NoAudit))).unwrap();
    let digest = |vault: &Vault| vault.requests.of_key(ProjectId::new(1, [1; 10]), "/p", "k");
    assert_eq!(digest(&opened), digest(&opened));
    let opened = run(Vault::open(masters, &records, &world, Arc::new(NoAudit)));
    assert!(opened.is_err(), "the old records are shut");
}

fn content_ref(number: u8) -> ContentRef {
    ContentRef {
        kept: ContentKind::Answer,
        workspace: workspace(1),
        project: ProjectId::new(1, [number; 10]),
        digest: [number; 32],
        request: TraceId::new(1, [number; 10]),
    }
}

#[test]
fn a_kept_answer_opens_in_its_place_alone() {
    let b = bench();
    b.add_workspace(workspace(1));
    b.add_workspace(workspace(2));
    let sealed = b.vault.sealer.seal_content(&content_ref(1), b"an answer").unwrap();
    assert_eq!(b.vault.opener.open_content(&content_ref(1), &sealed).unwrap().expose(), b"an answer");
    let elsewhere = [
        ContentRef { workspace: workspace(2), ..content_ref(1) },
        ContentRef { project: content_ref(2).project, ..content_ref(1) },
        ContentRef { digest: content_ref(2).digest, ..content_ref(1) },
        ContentRef { request: content_ref(2).request, ..content_ref(1) },
        ContentRef { kept: ContentKind::Turn, ..content_ref(1) },
    ];
    for (number, other) in elsewhere.iter().enumerate() {
        let error = b.vault.opener.open_content(other, &sealed).err().unwrap();
        let expected = if number == 0 { OpenError::KeyUnknown } else { OpenError::Refused };
        assert_eq!(error, expected, "{other:?}");
    }
    for at in 0..sealed.bytes.len() {
        let mut changed = sealed.clone();
        changed.bytes[at] ^= 1;
        assert!(b.vault.opener.open_content(&content_ref(1), &changed).is_err(), "byte {at}");
    }
    let (of_answers, of_turns): (Vec<_>, Vec<_>) =
        b.heard.actions().into_iter().partition(|action| *action == "answer.open_refused");
    assert_eq!((of_answers.len(), of_turns), (3 + sealed.bytes.len(), vec!["turn.open_refused"]));
    // The hashes of keys and bodies don't collide, however their parts are split.
    let requests = &b.vault.requests;
    let project = content_ref(1).project;
    assert_ne!(requests.of_key(project, "/a", "bc"), requests.of_key(project, "/ab", "c"));
    assert_ne!(requests.of_key(project, "/a", "b"), requests.of_key(content_ref(2).project, "/a", "b"));
    assert_ne!(requests.of_body(&[1; 32], b"x"), requests.of_body(&[2; 32], b"x"));
    let call = |workspace, project| requests.of_call(workspace, project, "call_1");
    assert_ne!(call(workspace(1), project), call(workspace(2), project));
    assert_ne!(call(workspace(1), project), call(workspace(1), content_ref(2).project));
    let [one, other] = [1, 2].map(|number| requests.of_turn(content_ref(number).request, &[1; 32]));
    assert_ne!(one, other);
}

#[test]
fn a_workspace_key_is_replaced_and_what_is_shut_stays_shut() {
    let b = bench();
    let (id, object, other) = (workspace(1), credential(1), credential(2));
    let old = b.add_workspace(id);
    let first = b.seal(id, &object, 1, "sk-first");
    let second = b.seal(id, &object, 2, "sk-second");
    let broken = b.seal(id, &other, 1, "sk-broken");
    b.publish(id, &object, &second);
    b.publish(id, &other, &broken);
    let turn_ref = ContentRef { kept: ContentKind::Turn, ..content_ref(1) };
    let answer = b.vault.sealer.seal_content(&content_ref(1), b"an answer").unwrap();
    let turn = b.vault.sealer.seal_content(&turn_ref, b"a turn").unwrap();
    let next = run(b.vault.sealer.next_workspace_key(id)).unwrap();
    assert_eq!(b.vault.sealer.current_key_id(id), Some(old.0.clone()), "it seals once it was learned");
    let keys = |keys: &[&(String, Vec<u8>)]| KeyUpdate {
        keys: keys.iter().map(|(name, wrapped)| (id, name.clone(), wrapped.clone())).collect(),
        ..KeyUpdate::default()
    };
    run(b.vault.opener.learn(keys(&[&old, &next])));
    assert_eq!(b.vault.sealer.current_key_id(id), Some(next.0.clone()));
    let resealed = b.vault.reseal_secret(id, &object, &second.sealed).unwrap();
    assert_eq!((resealed.version, &resealed.key_id), (2, &next.0));
    let floor = b.vault.reseal_floor(id, &object, &second.floor).unwrap();
    assert_eq!((floor.version, &floor.key_id), (2, &next.0));
    let answer = b.vault.reseal_content(&content_ref(1), &answer).unwrap();
    let turn = b.vault.reseal_content(&turn_ref, &turn).unwrap();
    // An old secret, a changed one, and an anti-rollback record of another object are not resealed.
    assert_eq!(b.vault.reseal_secret(id, &object, &first.sealed), Err(OpenError::RolledBack));
    let mut changed = broken.sealed;
    changed.bytes[20] ^= 1;
    assert_eq!(b.vault.reseal_secret(id, &other, &changed), Err(OpenError::Refused));
    assert_eq!(b.vault.reseal_floor(id, &other, &second.floor), Err(OpenError::Refused));
    // After its deletion the old key opens for as long as requests planned before may live.
    run(b.vault.opener.learn(keys(&[&next])));
    assert_eq!(b.vault.sealer.current_key_id(id), Some(next.0));
    assert_eq!(b.vault.opener.open(id, &object, &second.sealed).unwrap().expose(), b"sk-second");
    b.clock.advance_us(u64::try_from(domain::limits::DEADLINE.as_micros()).unwrap());
    assert_eq!(b.vault.opener.open(id, &object, &second.sealed).err(), Some(OpenError::KeyUnknown));
    assert_eq!(b.vault.opener.open(id, &object, &resealed).unwrap().expose(), b"sk-second");
    assert_eq!(b.vault.opener.open_content(&content_ref(1), &answer).unwrap().expose(), b"an answer");
    assert_eq!(b.vault.opener.open_content(&turn_ref, &turn).unwrap().expose(), b"a turn");
}
