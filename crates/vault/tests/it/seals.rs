//! Sealing and opening: only the identical binding opens.

use domain::Sealed;
use proptest::prelude::*;
use vault::{KeyUpdate, OpenError, Vault, VaultError};

use crate::support::{bench, credential, run, with_workspace, workspace};

#[test]
fn what_was_sealed_opens_and_the_opening_is_counted() {
    let (b, id) = with_workspace();
    let secret = b.seal(workspace(1), &id, 1, "sk-canary-0123456789");
    b.publish(workspace(1), &id, &secret);
    let opened = b.vault.opener.open(workspace(1), &id, &secret.sealed).unwrap();
    assert_eq!(opened.expose(), b"sk-canary-0123456789");
    assert_eq!(b.heard.opened.lock().unwrap().len(), 1);
    assert!(b.heard.actions().is_empty());
}

#[test]
fn a_flip_of_any_bit_of_any_byte_is_refused_and_audited() {
    let (b, id) = with_workspace();
    let secret = b.seal(workspace(1), &id, 1, "sk-canary");
    b.publish(workspace(1), &id, &secret);
    for index in 0..secret.sealed.bytes.len() {
        for bit in 0..8 {
            let mut changed = secret.sealed.clone();
            changed.bytes[index] ^= 1 << bit;
            let error = b.vault.opener.open(workspace(1), &id, &changed).err();
            assert_eq!(error, Some(OpenError::Refused), "byte {index}, bit {bit}");
        }
    }
    for length in 0..secret.sealed.bytes.len() {
        let mut cut = secret.sealed.clone();
        cut.bytes.truncate(length);
        let error = b.vault.opener.open(workspace(1), &id, &cut).err();
        assert_eq!(error, Some(OpenError::Refused), "{length} bytes");
    }
    let actions = b.heard.actions();
    assert_eq!(actions.len(), secret.sealed.bytes.len() * 9);
    assert!(actions.iter().all(|action| *action == "credential.open_refused"));
}

#[test]
fn a_row_of_another_workspace_object_version_or_key_is_refused() {
    let b = bench();
    let (one, two) = (workspace(1), workspace(2));
    let (mine, other) = (credential(1), credential(2));
    b.add_workspace(one);
    b.add_workspace(two);
    let secret = b.seal(one, &mine, 2, "sk-one");
    let theirs = b.seal(two, &mine, 2, "sk-two");
    let sibling = b.seal(one, &other, 2, "sk-three");
    for (ws, id, sealed) in [(one, &mine, &secret), (two, &mine, &theirs), (one, &other, &sibling)] {
        b.publish(ws, id, sealed);
    }
    let open = |ws, id: &str, sealed: &Sealed| b.vault.opener.open(ws, id, sealed).err();
    let refused = |ws, id: &str, sealed: &Sealed, why: &str| {
        assert_eq!(open(ws, id, sealed), Some(OpenError::Refused), "{why}");
    };
    let renamed = |key_id: &str, version| Sealed { key_id: key_id.into(), version, ..secret.sealed.clone() };
    assert_eq!(open(one, &mine, &secret.sealed), None);
    refused(one, &other, &secret.sealed, "another object of the workspace");
    assert_eq!(open(two, &mine, &secret.sealed), Some(OpenError::KeyUnknown), "another workspace");
    refused(two, &mine, &renamed(&theirs.sealed.key_id, 2), "with its key's name");
    refused(one, &mine, &renamed(&secret.sealed.key_id, 3), "another version");
    assert_eq!(open(one, &mine, &renamed("wk_unknown", 2)), Some(OpenError::KeyUnknown), "another key");
    b.add_workspace(one);
    let newer = b.seal(one, &credential(9), 1, "x").sealed.key_id;
    assert_ne!(newer, secret.sealed.key_id);
    refused(one, &mine, &renamed(&newer, 2), "another key of the workspace");
}

#[test]
fn a_floor_record_is_no_secret_and_a_secret_is_no_floor_record() {
    let (b, id) = with_workspace();
    let secret = b.seal(workspace(1), &id, 1, "\0\0\0\u{1}");
    b.publish(workspace(1), &id, &secret);
    assert_eq!(b.vault.opener.open(workspace(1), &id, &secret.floor).err(), Some(OpenError::Refused));
    let forged = vault::Resealed { floor: secret.sealed.clone(), ..secret.clone() };
    assert_eq!(b.publish(workspace(1), &id, &forged).objects, std::slice::from_ref(&id));
    assert_eq!(b.vault.opener.open(workspace(1), &id, &secret.sealed).err(), Some(OpenError::Refused));
    assert_eq!(b.publish(workspace(1), &id, &secret).objects, Vec::<String>::new(), "the true one mends it");
    assert!(b.vault.opener.open(workspace(1), &id, &secret.sealed).is_ok());
}

#[test]
fn a_rotation_leaves_the_requests_under_way_alone_and_then_shuts_the_old_secret() {
    let (b, id) = with_workspace();
    let (first, second) = (b.seal(workspace(1), &id, 1, "sk-old"), b.seal(workspace(1), &id, 2, "sk-new"));
    b.publish(workspace(1), &id, &first);
    b.publish(workspace(1), &id, &second);
    let opener = &b.vault.opener;
    assert!(opener.open(workspace(1), &id, &first.sealed).is_ok(), "planned before the rotation");
    assert!(opener.open(workspace(1), &id, &second.sealed).is_ok());
    b.clock.advance_us(601 * 1_000_000);
    assert_eq!(opener.open(workspace(1), &id, &first.sealed).err(), Some(OpenError::RolledBack));
    assert!(opener.open(workspace(1), &id, &second.sealed).is_ok());
}

#[test]
fn each_earlier_secret_has_its_own_grace_however_often_one_rotates() {
    let (b, id) = with_workspace();
    let secrets: Vec<_> = (1..=3).map(|version| b.seal(workspace(1), &id, version, "sk-some")).collect();
    for secret in &secrets {
        b.publish(workspace(1), &id, secret);
        b.clock.advance_us(400 * 1_000_000);
    }
    let opener = &b.vault.opener;
    // The first was replaced 800 s ago, the second 400 s ago: the later rotation did not extend the first
    // one's grace period.
    assert_eq!(opener.open(workspace(1), &id, &secrets[0].sealed).err(), Some(OpenError::RolledBack));
    assert!(opener.open(workspace(1), &id, &secrets[1].sealed).is_ok());
    assert!(opener.open(workspace(1), &id, &secrets[2].sealed).is_ok());
}

#[test]
fn an_old_row_put_back_is_refused_at_once_also_within_the_grace_of_a_rotation() {
    let (b, id) = with_workspace();
    let (first, second) = (b.seal(workspace(1), &id, 1, "sk-old"), b.seal(workspace(1), &id, 2, "sk-new"));
    b.publish(workspace(1), &id, &first);
    b.publish(workspace(1), &id, &second);
    // Only the secret's row is restored: the anti-rollback record is still the newer one.
    let put_back = vault::Resealed { floor: second.floor, ..first.clone() };
    assert_eq!(b.publish(workspace(1), &id, &put_back).objects, std::slice::from_ref(&id));
    assert_eq!(b.vault.opener.open(workspace(1), &id, &first.sealed).err(), Some(OpenError::RolledBack));
    // The record is restored too, but this process has seen the newer one.
    assert!(!b.publish(workspace(1), &id, &first).objects.is_empty());
    assert_eq!(b.vault.opener.open(workspace(1), &id, &first.sealed).err(), Some(OpenError::RolledBack));
    assert!(b.heard.actions().contains(&"credential.rollback_noticed"));
}

#[test]
fn a_process_that_starts_with_an_old_row_and_the_true_floor_refuses_it() {
    let b = bench();
    let key = b.add_workspace(workspace(1));
    let id = credential(1);
    let (first, second) = (b.seal(workspace(1), &id, 1, "sk-old"), b.seal(workspace(1), &id, 2, "sk-new"));
    let restarted = run(Vault::open(b.wrap.clone(), &b.records, &b.world, b.heard.clone())).unwrap();
    let unlearned = run(restarted.opener.learn(KeyUpdate {
        keys: vec![(workspace(1), key.0, key.1)],
        floors: vec![(workspace(1), id.clone(), second.floor)],
        current: vec![(workspace(1), id.clone(), 1)],
    }));
    assert_eq!(unlearned.objects, std::slice::from_ref(&id));
    assert_eq!(restarted.opener.open(workspace(1), &id, &first.sealed).err(), Some(OpenError::RolledBack));
    assert!(restarted.opener.open(workspace(1), &id, &second.sealed).is_ok());
}

#[test]
fn without_its_floor_record_nothing_opens() {
    let (b, id) = with_workspace();
    let secret = b.seal(workspace(1), &id, 1, "sk");
    let error = b.vault.opener.open(workspace(1), &id, &secret.sealed).err();
    assert_eq!(error, Some(OpenError::FloorMissing));
}

#[test]
fn a_wrapped_workspace_key_that_was_changed_or_swapped_is_not_learned() {
    let b = bench();
    let (key_id, wrapped) = b.add_workspace(workspace(1));
    let restarted = run(Vault::open(b.wrap.clone(), &b.records, &b.world, b.heard.clone())).unwrap();
    let learn = |ws, key_id: &str, wrapped: &[u8]| {
        let keys = vec![(ws, key_id.to_owned(), wrapped.to_vec())];
        run(restarted.opener.learn(KeyUpdate { keys, ..KeyUpdate::default() })).keys
    };
    for index in 0..wrapped.len() {
        let mut changed = wrapped.clone();
        changed[index] ^= 1;
        assert_eq!(learn(workspace(1), &key_id, &changed).len(), 1, "byte {index}");
    }
    assert_eq!(learn(workspace(2), &key_id, &wrapped).len(), 1, "another workspace's");
    assert_eq!(learn(workspace(1), "wk_other", &wrapped).len(), 1, "under another name");
    assert_eq!(learn(workspace(1), &key_id, &wrapped), Vec::new());
}

#[test]
fn a_workspace_without_a_key_seals_nothing() {
    let b = bench();
    let result = b.vault.sealer.seal(workspace(1), "x", 1, &domain::Secret::from_text("s".into()));
    assert!(matches!(result, Err(VaultError::NoWorkspaceKey)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_secret_survives_the_round_trip_and_never_shows(
        plain in proptest::collection::vec(any::<u8>(), 0..4_096),
        object in "[a-z0-9_]{1,40}",
        version in 1_u32..u32::MAX,
    ) {
        let b = bench();
        b.add_workspace(workspace(3));
        let secret = domain::Secret::new(plain.clone());
        let sealed = b.vault.sealer.seal(workspace(3), &object, version, &secret).unwrap();
        b.publish(workspace(3), &object, &sealed);
        let opened = b.vault.opener.open(workspace(3), &object, &sealed.sealed).unwrap();
        prop_assert_eq!(opened.expose(), plain.as_slice());
        if plain.len() >= 8 {
            prop_assert!(!sealed.sealed.bytes.windows(plain.len()).any(|window| window == plain));
        }
        // Sealing the same secret twice gives different bytes: the nonce is fresh.
        let again = b.vault.sealer.seal(workspace(3), &object, version, &secret).unwrap();
        prop_assert_ne!(again.sealed.bytes, sealed.sealed.bytes);
        prop_assert_eq!(again.fingerprint, sealed.fingerprint);
    }

    #[test]
    fn any_other_binding_is_refused(
        object in "[a-z0-9_]{1,20}", other in "[a-z0-9_]{1,20}", version in 1_u32..1_000, step in 1_u32..1_000,
    ) {
        let b = bench();
        b.add_workspace(workspace(3));
        let secret = b.seal(workspace(3), &object, version, "sk-canary");
        b.publish(workspace(3), &object, &secret);
        let later = Sealed { version: version + step, ..secret.sealed.clone() };
        prop_assert!(b.vault.opener.open(workspace(3), &object, &later).is_err());
        if other != object {
            let theirs = b.seal(workspace(3), &other, version, "sk-other");
            b.publish(workspace(3), &other, &theirs);
            prop_assert!(b.vault.opener.open(workspace(3), &other, &secret.sealed).is_err());
        }
    }
}
