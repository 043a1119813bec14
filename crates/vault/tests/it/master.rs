//! Master keys: where they come from, and that a process with a wrong one refuses to start.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use domain::Secret;
use domain::ports::{KeyWrap, NoAudit};
use tempfile::TempDir;
use vault::{LocalKeyWrap, MasterKey, MasterKeyError, Vault, VaultError, VaultRecords};
use world::SystemRandom;

use crate::support::{bench, run};

fn wrap_of(master: &MasterKey) -> LocalKeyWrap {
    LocalKeyWrap::new(master, Arc::new(SystemRandom)).unwrap()
}

/// A file with a new key.
fn made() -> (TempDir, PathBuf, MasterKey) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    let made = MasterKey::create_file(&path, &SystemRandom).unwrap();
    (dir, path, made)
}

#[test]
fn a_file_is_made_private_and_reads_back_as_the_same_key() {
    let (_dir, path, made) = made();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(wrap_of(&made).key_id(), wrap_of(&MasterKey::all_from_file(&path).unwrap()[0]).key_id());
    let again = MasterKey::create_file(&path, &SystemRandom);
    assert!(matches!(again, Err(MasterKeyError::File { .. })), "never over one");
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let (_dir, path, _) = made();
    for mode in [0o604, 0o660, 0o644, 0o777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = MasterKey::all_from_file(&path).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("chmod 600") && text.contains("defaultMode: 0400"), "{text}");
    }
}

/// A Secret in a pod with an `fsGroup` looks so; nobody but root can make such a file.
#[test]
fn a_file_that_root_gave_to_a_group_is_read() {
    let (_dir, path, _) = made();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
    let is_roots = fs::metadata(&path).unwrap().uid() == 0;
    assert_eq!(MasterKey::all_from_file(&path).is_ok(), is_roots);
}

#[test]
fn raw_bytes_base64_and_a_command_give_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raw.key");
    fs::write(&path, [7_u8; 32]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let text = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    let ids = [
        wrap_of(&MasterKey::all_from_file(&path).unwrap()[0]).key_id(),
        wrap_of(&MasterKey::all_from_base64(&Secret::from_text(format!("{text}\n"))).unwrap()[0]).key_id(),
        wrap_of(&MasterKey::all_from_command(&format!("echo {text}")).unwrap()[0]).key_id(),
    ];
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert!(ids[0].starts_with("local:") && !ids[0].contains("07070707"), "{}", ids[0]);
}

#[test]
fn what_is_no_key_is_refused_without_being_shown() {
    for text in ["", "sk-canary", "QUJD", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH"] {
        let message = MasterKey::all_from_base64(&Secret::from_text(text.into())).unwrap_err().to_string();
        assert!(message.contains("32 bytes") && (text.is_empty() || !message.contains(text)), "{message}");
    }
    assert!(matches!(MasterKey::all_from_command("exit 3"), Err(MasterKeyError::CommandFailed(_))));
    assert!(matches!(MasterKey::all_from_command("true"), Err(MasterKeyError::Malformed { .. })));
}

#[test]
fn a_wrong_master_key_refuses_to_open_and_names_both() {
    let b = bench();
    let wrong = Arc::new(wrap_of(&MasterKey::generate(&SystemRandom)));
    let error = run(Vault::open(wrong.clone(), &b.records, &b.world, Arc::new(NoAudit))).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, VaultError::WrongMasterKey { .. }), "{text}");
    assert!(text.contains(&wrong.key_id()) && text.contains(&b.records.master_key_id), "{text}");
    // The id alone opens nothing: a record that claims the wrong key's id fails the seal check.
    let claimed = VaultRecords { master_key_id: wrong.key_id(), ..b.records.clone() };
    assert!(run(Vault::open(wrong, &claimed, &b.world, Arc::new(NoAudit))).is_err());
}

#[test]
fn a_changed_record_refuses_to_open() {
    let b = bench();
    for index in 0..b.records.seal_check.len() {
        let mut records = b.records.clone();
        records.seal_check[index] ^= 1;
        let opened = run(Vault::open(b.wrap.clone(), &records, &b.world, Arc::new(NoAudit)));
        assert!(opened.is_err(), "byte {index}");
    }
    let mut records = b.records.clone();
    records.pepper[20] ^= 1;
    let error = run(Vault::open(b.wrap.clone(), &records, &b.world, Arc::new(NoAudit))).unwrap_err();
    assert!(matches!(error, VaultError::PepperBroken));
    let swapped = VaultRecords { pepper: b.records.seal_check.clone(), ..b.records.clone() };
    let opened = run(Vault::open(b.wrap.clone(), &swapped, &b.world, Arc::new(NoAudit)));
    assert!(opened.is_err(), "a record in another's place");
}

#[test]
fn records_survive_the_store() {
    let b = bench();
    assert_eq!(VaultRecords::from_meta(&b.records.to_meta()).unwrap(), b.records);
    assert!(matches!(VaultRecords::from_meta(&[]), Err(VaultError::RecordMissing(_))));
}

#[test]
fn nothing_of_the_vault_shows_its_keys() {
    let b = bench();
    b.add_workspace(crate::support::workspace(1));
    let text = Secret::from_text("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=".into());
    let master = MasterKey::all_from_base64(&text).unwrap();
    let rendered = format!("{:?} {:?} {:?} {:?}", b.vault, b.wrap, master, b.vault.hasher);
    assert!(["7, 7", "BwcH", "0707"].iter().all(|part| !rendered.contains(part)), "{rendered}");
}
