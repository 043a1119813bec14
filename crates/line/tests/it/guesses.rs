//! The cost of a guess of a key, which is the same where it is nearly right and where it is not.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

use admit::{Needs, identify};
use domain::ports::KeyHash;
use domain::{KeyId, ProjectId, Secret, WorkspaceId, api_key};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use snapshot::{KeyEntry, Parts, Scopes, Snapshot};
use vault::KeyHasher;
use world::clock::thread_time;
use world::{Random, SeededRandom};

/// How many pairs of batches are compared.
const PAIRS: usize = 1_000;
/// By how much they may differ in the median: more than two batches of one kind do, and less than a comparison saves that ends early,
/// which the test shows.
const MORE_MAX: f64 = 0.05;

/// How much more CPU time of this thread nearly right guesses take than random ones, as the median of many pairs of batches, of
/// which each kind begins half. Other work takes none of this time, and where it empties caches, it hits a few batches of both kinds.
fn more(near: &[String], random: &[String], look_up: impl Fn(&str) -> bool) -> f64 {
    let batch = |guesses: &[String]| {
        let before = thread_time();
        for guess in guesses.iter().chain(guesses) {
            assert!(!look_up(black_box(guess.as_str())), "a guess is let in");
        }
        (thread_time() - before).as_secs_f64()
    };
    let pair = |number: usize| {
        if number.is_multiple_of(2) {
            let near = batch(near);
            near / batch(random)
        } else {
            let random = batch(random);
            batch(near) / random
        }
    };
    let mut ratios: Vec<f64> = (0..PAIRS).map(pair).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    ratios[PAIRS / 2] - 1.0
}

/// A comparison that ends at the first difference.
fn leaking(own: &str, guess: &str) -> bool {
    own.bytes().zip(guess.bytes()).all(|(own, guess)| own == guess)
}

fn key(hasher: &KeyHasher, number: u8, text: &str) -> ([u8; 32], Arc<KeyEntry>) {
    let entry = KeyEntry {
        origins: "".into(),
        id: KeyId::new(1, [number; 10]),
        workspace: WorkspaceId::new(1, [1; 10]),
        project: ProjectId::new(1, [1; 10]),
        environment: "production".into(),
        scopes: Scopes { inference: true, ..Scopes::default() },
        expires_unix_ms: None,
        revoked: false,
        ip_allowlist: Vec::new(),
        priority: None,
        access_secret: None,
    };
    (hasher.digest(text), Arc::new(entry))
}

/// Case 22, with the hash that ships: a guess with a real key's prefix and all of its random characters but the last costs as much as any
/// other guess of a key's form, by the look-up alone and by all of the identification; and the same measure finds a comparison that leaks.
#[test]
fn a_guess_that_is_nearly_right_costs_as_much_as_a_random_one() {
    let source = SeededRandom::new(22);
    let bytes = || {
        let mut bytes = [0; 32];
        source.fill(&mut bytes);
        bytes
    };
    let hasher = Arc::new(KeyHasher::from_pepper(&Secret::new(vec![7; 32])).unwrap());
    let mut attacked = bytes();
    let real = api_key::encode(true, &attacked);
    let others = (1..64).map(|number| key(&hasher, number, &api_key::encode(true, &bytes())));
    let snapshot = Arc::new(Snapshot::assemble(Parts {
        version: 1,
        keys: others.chain([key(&hasher, 0, &real)]).collect(),
        workspaces: Vec::new(),
        accounts: Vec::new(),
        catalogue: Arc::new(catalogue::Catalogue::embedded().unwrap()),
        key_hash: hasher.clone(),
    }));
    assert!(snapshot.find_key(&real).is_some());
    let last = attacked[31] % 62;
    // Their checksums are right, too.
    let (near, random): (Vec<_>, Vec<_>) = (1..62)
        .map(|turned| {
            attacked[31] = (last + turned) % 62;
            (api_key::encode(true, &attacked), api_key::encode(true, &bytes()))
        })
        .unzip();
    assert!(near.iter().all(|guess| guess[..39] == real[..39] && *guess != real));
    let peer = IpAddr::from([192, 0, 2, 1]);
    let by_header = |guess: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {guess}")).unwrap());
        identify(Arc::clone(&snapshot), &headers, peer, Needs::Inference, 0).is_ok()
    };
    let found = more(&near, &random, |guess| snapshot.find_key(guess).is_some());
    let identified = more(&near, &random, by_header);
    let leaked = more(&near, &random, |guess| snapshot.find_key(guess).is_some() || leaking(&real, guess));
    println!(
        "a nearly right guess costs {found:+.4} by the look-up, {identified:+.4} in all, {leaked:+.4} with a leak"
    );
    assert!(found.abs() < MORE_MAX && identified.abs() < MORE_MAX, "{found} {identified}");
    assert!(leaked > MORE_MAX, "{leaked}");
}
