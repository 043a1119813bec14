//! API keys and fingerprints: keyed, stable, and different between installations and workspaces.

use domain::ports::KeyHash;
use domain::{FileId, Secret, api_key};
use vault::{KeyHasher, Vault, mint_api_key};
use world::SystemRandom;

use crate::support::{bench, run, workspace};

#[test]
fn a_minted_key_is_well_formed_and_found_by_its_digest() {
    let b = bench();
    let key = mint_api_key(&SystemRandom, &*b.vault.hasher, false);
    let text = key.text.expose_text().unwrap();
    assert!(text.starts_with("tg_test_") && api_key::is_well_formed(text));
    assert_eq!(b.vault.hasher.digest(text), key.digest);
    assert!(text.ends_with(&key.last4) && key.last4.len() == 4);
    assert!(!format!("{key:?}").contains(text));
}

#[test]
fn the_hash_is_that_of_the_installation_and_survives_a_restart() {
    let b = bench();
    let again = run(Vault::open(b.wrap.clone(), &b.records, &b.world, b.heard.clone())).unwrap();
    assert_eq!(again.hasher.digest("tg_live_x"), b.vault.hasher.digest("tg_live_x"));
    let other = KeyHasher::from_pepper(&Secret::new(vec![1; 32])).unwrap();
    assert_ne!(other.digest("tg_live_x"), b.vault.hasher.digest("tg_live_x"));
}

#[test]
fn a_data_plane_hashes_keys_alike_and_signs_no_link_of_another() {
    let b = bench();
    let joined = run(async {
        let fresh = Vault::create(&*b.wrap, &*b.world.random).await.unwrap();
        let records = fresh.with_key_hash(&*b.wrap, &b.vault.key_hash).await.unwrap();
        Vault::open(b.wrap.clone(), &records, &b.world, b.heard.clone()).await.unwrap()
    });
    assert_eq!(joined.hasher.digest("tg_live_x"), b.vault.hasher.digest("tg_live_x"));
    let (file, other) = (FileId::new(1, [1; 10]), FileId::new(1, [2; 10]));
    let of = |vault: &Vault, file, key| vault.requests.of_link(file, key);
    let ours = of(&b.vault, file, "wk_1");
    assert_eq!(ours, of(&b.vault, file, "wk_1"));
    for theirs in [of(&joined, file, "wk_1"), of(&b.vault, other, "wk_1"), of(&b.vault, file, "wk_2")] {
        assert_ne!(ours, theirs);
    }
}

#[test]
fn a_fingerprint_tells_secrets_apart_within_a_workspace_only() {
    let b = bench();
    let (one, two) = (Secret::from_text("sk-one".into()), Secret::from_text("sk-two".into()));
    let of = |ws, secret: &Secret| b.vault.sealer.fingerprint(workspace(ws), secret);
    assert_eq!(of(1, &one), of(1, &Secret::from_text("sk-one".into())));
    assert_ne!(of(1, &one), of(1, &two));
    assert_ne!(of(1, &one), of(2, &one), "two tenants can't learn that they share a secret");
    assert!(of(1, &one).len() == 16 && of(1, &one).bytes().all(|b| b.is_ascii_hexdigit()));
}
