//! The tests of `domain::hash`.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hash};

use domain::{AccountId, CredentialId, IdHasher, Principal};

fn hash_of(key: impl Hash) -> u64 {
    BuildHasherDefault::<IdHasher>::default().hash_one(key)
}

#[test]
fn ids_of_one_moment_spread_over_the_low_and_the_high_bits() {
    let (mut low, mut high) = (HashSet::new(), HashSet::new());
    for number in 0..128 {
        let hash = hash_of(CredentialId::new(1_700_000_000_000, [0, 0, 0, 0, 0, 0, 0, 0, 0, number]));
        low.insert(hash & 0x7F);
        high.insert(hash >> 57);
    }
    assert!(low.len() > 60 && high.len() > 60, "{} and {}", low.len(), high.len());
}

#[test]
fn two_kinds_of_principal_with_the_same_bytes_differ() {
    let credential = Principal::Credential(CredentialId::new(1, [2; 10]));
    let account = Principal::Account(AccountId::new(1, [2; 10]));
    assert_ne!(hash_of(credential), hash_of(account));
    assert_ne!(hash_of("ab"), hash_of("a"));
}
