//! Rate limits on sign-in attempts: by address, by account and address, and by person. All replicas count
//! together in the store. A bounded table in memory comes first, so that a caller who is over the limit here
//! costs the store nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::ports::KeyHash;
use domain::{Fault, FaultClass, MemberId};
use reconcilers::of_store;
use store::{Store, TokenDigest, Tries};
use tasks::Writes;

use crate::limits::TRIERS_MAX;
use crate::tokens::{self, Kind};

const WINDOW_MS: u64 = 5 * 60_000;
/// After every this many attempts, those with an expired window are deleted from the store.
const FORGET_EVERY: u64 = 64;

/// The subject that attempts are counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AttemptSubject {
    /// The network: an IPv6 host usually has a whole /64 to itself.
    Address(u64),
    /// An account together with the client's address, so that an attacker elsewhere can't lock its owner out.
    Account {
        email: String,
        address: u64,
    },
    Person(MemberId),
}

impl AttemptSubject {
    pub fn address(peer: IpAddr) -> Self {
        Self::Address(network(peer))
    }

    pub fn account(email: String, peer: IpAddr) -> Self {
        Self::Account { email, address: network(peer) }
    }

    const fn tries_max(&self) -> u64 {
        match self {
            // Many people may share an address, behind proxies that are not all known.
            Self::Address(_) => 60,
            Self::Account { .. } | Self::Person(_) => 10,
        }
    }
}

/// The IPv4 address, or the /64 prefix of an IPv6 address.
fn network(peer: IpAddr) -> u64 {
    match peer.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => u64::try_from(v6.to_bits() >> 64).unwrap_or(u64::MAX),
    }
}

/// The counts of all triers.
pub struct AttemptLimiter {
    hasher: Arc<dyn KeyHash>,
    local_counts: Mutex<HashMap<AttemptSubject, Tries>>,
    counted: AtomicU64,
    writes: Writes,
}

impl AttemptLimiter {
    pub fn new(hasher: Arc<dyn KeyHash>, writes: Writes) -> Self {
        Self { hasher, local_counts: Mutex::default(), counted: AtomicU64::new(0), writes }
    }

    /// Counts an attempt for one trier, or for two at once. It is counted before it is made, so that
    /// concurrent attempts can't slip under the limit, on whichever replica they run.
    ///
    /// # Errors
    /// 429 over the limit, and store errors.
    pub async fn count(
        &self,
        store: &Store,
        trier: &AttemptSubject,
        other: Option<&AttemptSubject>,
        now_unix_ms: u64,
    ) -> Result<(), Box<Fault>> {
        for trier in [Some(trier), other].into_iter().flatten() {
            self.count_here(trier, now_unix_ms)?;
        }
        let (first, second) = (self.digest(trier), other.map(|other| self.digest(other)));
        let forgets = self.counted.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1;
        let store = store.clone();
        // In a task of its own: the attempt counts even where the caller hangs up, or only rehearses.
        let counting = self.writes.run(async move {
            let tries = store.sign_ins();
            if forgets {
                tries.forget_tries_before(now_unix_ms.saturating_sub(WINDOW_MS)).await?;
            }
            tries.count_tries(first, second, WINDOW_MS, now_unix_ms).await
        });
        let counted = counting.await.map_err(|_| Box::new(Fault::internal()))?.map_err(of_store)?;
        for (trier, digest) in [(Some(trier), Some(first)), (other, second)] {
            let matched = counted.iter().find(|(counted, _)| Some(*counted) == digest);
            if let (Some(trier), Some((_, tries))) = (trier, matched)
                && tries.count > trier.tries_max()
            {
                self.lock().insert(trier.clone(), *tries);
                return Err(too_many(tries, now_unix_ms));
            }
        }
        Ok(())
    }

    fn count_here(&self, trier: &AttemptSubject, now_unix_ms: u64) -> Result<(), Box<Fault>> {
        let mut table = self.lock();
        if table.len() >= TRIERS_MAX && !table.contains_key(trier) {
            make_room(&mut table, now_unix_ms);
        }
        let fresh = Tries { count: 0, since_unix_ms: now_unix_ms };
        let tries = table.entry(trier.clone()).or_insert(fresh);
        if now_unix_ms.saturating_sub(tries.since_unix_ms) >= WINDOW_MS {
            *tries = fresh;
        }
        if tries.count >= trier.tries_max() {
            return Err(too_many(tries, now_unix_ms));
        }
        tries.count += 1;
        Ok(())
    }

    /// A success clears the earlier attempts; the store is updated after the response.
    pub fn forget(&self, store: &Store, trier: &AttemptSubject) {
        self.lock().remove(trier);
        let (store, digest) = (store.clone(), self.digest(trier));
        let forgetting = self.writes.run(async move {
            if let Err(error) = store.sign_ins().forget_tries(digest).await {
                tracing::warn!(%error, "tries before a success still count");
            }
        });
        drop(forgetting);
    }

    fn digest(&self, trier: &AttemptSubject) -> TokenDigest {
        let name = match trier {
            AttemptSubject::Address(address) => format!("address {address}"),
            AttemptSubject::Account { email, address } => format!("email {email} from {address}"),
            AttemptSubject::Person(person) => format!("person {person}"),
        };
        tokens::digest(&*self.hasher, Kind::Trier, &name)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<AttemptSubject, Tries>> {
        self.local_counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Evicts entries whose window is over, or else the oldest one.
fn make_room(table: &mut HashMap<AttemptSubject, Tries>, now_unix_ms: u64) {
    table.retain(|_, tries| now_unix_ms.saturating_sub(tries.since_unix_ms) < WINDOW_MS);
    if table.len() >= TRIERS_MAX {
        let oldest =
            table.iter().min_by_key(|(_, tries)| tries.since_unix_ms).map(|(trier, _)| trier.clone());
        oldest.and_then(|trier| table.remove(&trier));
    }
}

fn too_many(tries: &Tries, now_unix_ms: u64) -> Box<Fault> {
    let wait_ms = tries.since_unix_ms.saturating_add(WINDOW_MS).saturating_sub(now_unix_ms);
    Box::new(
        Fault::new(FaultClass::RateLimit, "too_many_attempts", "There were too many attempts.")
            .fix("Wait, then try again; `tidegate login --link` signs in without a password.")
            .retry_after_ms(wait_ms.max(1_000)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plain;
    impl KeyHash for Plain {
        fn digest(&self, _: &str) -> [u8; 32] {
            [0; 32]
        }
    }

    fn attempts() -> AttemptLimiter {
        AttemptLimiter::new(Arc::new(Plain), Writes::default())
    }

    fn email(number: usize) -> AttemptSubject {
        AttemptSubject::account(format!("{number}@example.com"), IpAddr::from([127, 0, 0, 1]))
    }

    #[test]
    fn tries_are_counted_and_over_in_time() {
        let attempts = attempts();
        for _ in 0..10 {
            attempts.count_here(&email(1), 5).unwrap();
        }
        let fault = attempts.count_here(&email(1), 5).unwrap_err();
        assert_eq!((fault.code, fault.retry_after_ms), ("too_many_attempts", Some(WINDOW_MS)));
        attempts.count_here(&email(2), 5).unwrap();
        // From another address the owner is not locked out by the guesses made here.
        let elsewhere = AttemptSubject::account("1@example.com".to_owned(), IpAddr::from([10, 0, 0, 1]));
        attempts.count_here(&elsewhere, 5).unwrap();
        assert!(attempts.count_here(&email(1), WINDOW_MS + 4).is_err());
        attempts.count_here(&email(1), WINDOW_MS + 5).unwrap();
    }

    #[test]
    fn the_table_has_an_end() {
        let attempts = attempts();
        for number in 0..TRIERS_MAX + 100 {
            attempts.count_here(&email(number), number as u64).unwrap();
        }
        assert_eq!(attempts.lock().len(), TRIERS_MAX);
        let near = |text: &str| AttemptSubject::address(text.parse().unwrap());
        assert_eq!(near("2001:db8::1"), near("2001:db8::2"));
        assert_ne!(near("2001:db8::1"), near("2001:db8:0:1::1"));
        assert_eq!(near("::ffff:10.0.0.1"), near("10.0.0.1"));
    }
}
