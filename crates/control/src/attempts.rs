//! How often somebody may try: counts by address, email and person in a table of bounded size.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use domain::{Fault, FaultClass, MemberId};

const WINDOW_MS: u64 = 5 * 60_000;
const TRIERS_MAX: usize = 10_000;

/// Who tries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trier {
    /// An IPv6 host has a whole /64 to itself.
    Address(u64),
    Email(String),
    Person(MemberId),
}

impl Trier {
    #[must_use]
    pub fn address(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            IpAddr::V4(v4) => Self::Address(u64::from(v4.to_bits())),
            IpAddr::V6(v6) => Self::Address(u64::try_from(v6.to_bits() >> 64).unwrap_or(u64::MAX)),
        }
    }

    const fn tries_max(&self) -> u32 {
        match self {
            // Many people may share one, behind a proxy all of them.
            Self::Address(_) => 60,
            Self::Email(_) | Self::Person(_) => 10,
        }
    }
}

struct Tries {
    count: u32,
    since_unix_ms: u64,
}

/// The table.
#[derive(Default)]
pub struct Attempts(Mutex<HashMap<Trier, Tries>>);

impl Attempts {
    /// Counts a try, before it is made: many at once are as many.
    ///
    /// # Errors
    /// 429 where there were too many.
    pub fn count(&self, trier: Trier, now_unix_ms: u64) -> Result<(), Box<Fault>> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= TRIERS_MAX && !table.contains_key(&trier) {
            make_room(&mut table, now_unix_ms);
        }
        let tries_max = trier.tries_max();
        let tries = table.entry(trier).or_insert(Tries { count: 0, since_unix_ms: now_unix_ms });
        let age = now_unix_ms.saturating_sub(tries.since_unix_ms);
        if age >= WINDOW_MS {
            *tries = Tries { count: 0, since_unix_ms: now_unix_ms };
        }
        if tries.count >= tries_max {
            return Err(too_many(WINDOW_MS.saturating_sub(age)));
        }
        tries.count += 1;
        Ok(())
    }

    /// A success clears what was tried before it.
    pub fn forget(&self, trier: &Trier) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(trier);
    }
}

/// Forgets whose window is over, else the one that began first.
fn make_room(table: &mut HashMap<Trier, Tries>, now_unix_ms: u64) {
    table.retain(|_, tries| now_unix_ms.saturating_sub(tries.since_unix_ms) < WINDOW_MS);
    if table.len() >= TRIERS_MAX {
        let oldest =
            table.iter().min_by_key(|(_, tries)| tries.since_unix_ms).map(|(trier, _)| trier.clone());
        oldest.and_then(|trier| table.remove(&trier));
    }
}

fn too_many(wait_ms: u64) -> Box<Fault> {
    Box::new(
        Fault::new(FaultClass::RateLimit, "too_many_attempts", "There were too many attempts.")
            .fix("Wait, then try again; `tidegate login --link` signs in without a password.")
            .retry_after_ms(wait_ms.max(1_000)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn email(number: usize) -> Trier {
        Trier::Email(format!("{number}@example.com"))
    }

    #[test]
    fn tries_are_counted_forgotten_and_over_in_time() {
        let attempts = Attempts::default();
        for _ in 0..10 {
            attempts.count(email(1), 5).unwrap();
        }
        let told = attempts.count(email(1), 5).unwrap_err();
        assert_eq!((told.code, told.retry_after_ms), ("too_many_attempts", Some(WINDOW_MS)));
        attempts.count(email(2), 5).unwrap();
        attempts.forget(&email(1));
        attempts.count(email(1), 5).unwrap();
        for _ in 0..10 {
            let _ = attempts.count(email(3), 5);
        }
        assert!(attempts.count(email(3), WINDOW_MS + 4).is_err());
        attempts.count(email(3), WINDOW_MS + 5).unwrap();
    }

    #[test]
    fn the_table_has_an_end() {
        let attempts = Attempts::default();
        for number in 0..TRIERS_MAX + 100 {
            attempts.count(email(number), number as u64).unwrap();
        }
        assert_eq!(attempts.0.lock().unwrap().len(), TRIERS_MAX);
        let near = |text: &str| Trier::address(text.parse().unwrap());
        assert_eq!(near("2001:db8::1"), near("2001:db8::2"));
        assert_ne!(near("2001:db8::1"), near("2001:db8:0:1::1"));
        assert_eq!(near("::ffff:10.0.0.1"), near("10.0.0.1"));
    }
}
