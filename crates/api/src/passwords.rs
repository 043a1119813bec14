//! Password hashing with argon2id, on blocking threads, a few at a time.

use std::sync::Arc;

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use domain::limits::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN};
use domain::ports::KeyHash;
use domain::{Fault, FaultClass, Secret};
use tokio::sync::Semaphore;
use world::Random;

use crate::failure::invalid;
use crate::limits::{HASH_WAIT_MAX, HASHES_AT_ONCE_MAX, PASSWORDS_COMPARED_MIN};
use crate::tokens::{self, Kind};

const SALT_BYTES: usize = 16;

/// A hash with the usual cost parameters that matches no password. A person without one is checked against
/// it, so that the response time doesn't reveal which emails are known.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlzIQ$\
                       AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes and verifies passwords.
pub struct Passwords {
    hasher: Arc<dyn KeyHash>,
    slots: Semaphore,
}

impl Passwords {
    pub fn new(hasher: Arc<dyn KeyHash>) -> Self {
        Self { hasher, slots: Semaphore::new(HASHES_AT_ONCE_MAX) }
    }

    /// Whether the password matches the hash. Takes the same time without a hash.
    ///
    /// # Errors
    /// 503 where too many are waiting.
    pub async fn matches(&self, password: &Secret, hash: Option<String>) -> Result<bool, Box<Fault>> {
        let peppered = self.pepper(password);
        let is_somebodys = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODYS.to_owned());
        let matched = self
            .run_blocking(move || Argon2::default().verify_password(&peppered, hash.as_str()).is_ok())
            .await?;
        Ok(matched && is_somebodys)
    }

    /// Which hash the password matches, of the people of one address. A wrong one is compared as often for nobody as for four,
    /// so that the response time doesn't tell how many share an address.
    ///
    /// # Errors
    /// 503 where too many are waiting.
    pub async fn place_of(
        &self,
        password: &Secret,
        hashes: Vec<String>,
    ) -> Result<Option<usize>, Box<Fault>> {
        for (place, hash) in compared(hashes).enumerate() {
            if self.matches(password, hash).await? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// # Errors
    /// 400 for a password that is too short or too long, 503 where too many are waiting.
    pub async fn hash(&self, password: &Secret, random: &dyn Random) -> Result<String, Box<Fault>> {
        let text = password.expose_text().unwrap_or_default();
        if text.chars().count() < PASSWORD_CHARS_MIN || text.len() > PASSWORD_BYTES_MAX {
            return Err(invalid(
                "password",
                "The password is too short or too long.",
                format!("Use {PASSWORD_CHARS_MIN} characters or more; a sentence is easy to remember."),
            ));
        }
        let peppered = self.pepper(password);
        let mut salt = [0_u8; SALT_BYTES];
        random.fill(&mut salt);
        let hashed = self.run_blocking(move || {
            Argon2::default().hash_password_with_salt(&peppered, &salt).map(|hash| hash.to_string())
        });
        hashed.await?.map_err(|error| {
            tracing::error!(%error, "a password could not be hashed");
            Box::new(Fault::internal())
        })
    }

    /// Applies the pepper first: without it, the hashes in a stolen database can't be brute-forced.
    fn pepper(&self, password: &Secret) -> [u8; 32] {
        tokens::digest(&*self.hasher, Kind::Password, password.expose_text().unwrap_or_default())
    }

    async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Box<Fault>> {
        let Ok(Ok(_slot)) = tokio::time::timeout(HASH_WAIT_MAX, self.slots.acquire()).await else {
            return Err(Box::new(
                Fault::new(FaultClass::Unavailable, "sign_in_busy", "Too many people sign in right now.")
                    .fix("Try again in a moment.")
                    .retry_after_ms(2_000),
            ));
        };
        tasks::blocking(work).await.map_err(|_| Box::new(Fault::internal()))
    }
}

fn compared(hashes: Vec<String>) -> impl Iterator<Item = Option<String>> {
    let many = hashes.len().max(PASSWORDS_COMPARED_MIN);
    hashes.into_iter().map(Some).chain(std::iter::repeat(None)).take(many)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Short;
    impl KeyHash for Short {
        fn digest(&self, presented: &str) -> [u8; 32] {
            let mut digest = [0; 32];
            for (to, from) in digest.iter_mut().zip(presented.bytes().rev()) {
                *to = from;
            }
            digest
        }
    }

    fn secret(text: &str) -> Secret {
        Secret::from_text(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_matches_its_hash_and_nobodys_matches_none() {
        let passwords = Passwords::new(Arc::new(Short));
        let hash = passwords.hash(&secret("correct horse battery"), &world::SystemRandom).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.matches(&secret("correct horse battery"), Some(hash.clone())).await.unwrap());
        assert!(!passwords.matches(&secret("correct horse batterz"), Some(hash)).await.unwrap());
        assert!(!passwords.matches(&secret(""), None).await.unwrap());
        let short = passwords.hash(&secret("short"), &world::SystemRandom).await.unwrap_err();
        assert_eq!(short.param.as_deref(), Some("password"));
    }

    #[tokio::test]
    async fn a_wrong_password_is_compared_as_often_for_every_address() {
        let passwords = Passwords::new(Arc::new(Short));
        let (first, second) = (secret("correct horse battery"), secret("another horse battery"));
        let mut hashes = Vec::new();
        for password in [&first, &second] {
            hashes.push(passwords.hash(password, &world::SystemRandom).await.unwrap());
        }
        assert_eq!(passwords.place_of(&second, hashes.clone()).await.unwrap(), Some(1));
        assert_eq!(passwords.place_of(&secret("a wrong password"), hashes.clone()).await.unwrap(), None);
        for known in 0..=hashes.len() {
            let compared: Vec<_> = compared(hashes[..known].to_vec()).collect();
            assert_eq!((compared.len(), compared.iter().flatten().count()), (PASSWORDS_COMPARED_MIN, known));
        }
    }

    /// If this hash could not be parsed, the check would take no time, which would defeat its purpose.
    #[test]
    fn nobodys_hash_is_a_hash_of_todays_cost() {
        let read = argon2::PasswordHash::new(NOBODYS).unwrap();
        let todays = Argon2::default().hash_password_with_salt(&[0; 32], &[0; SALT_BYTES]).unwrap();
        assert_eq!(
            (read.params, read.algorithm, read.version),
            (todays.params, todays.algorithm, todays.version)
        );
        assert_eq!(read.hash.unwrap().len(), todays.hash.unwrap().len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_sign_in_without_a_free_slot_may_be_retried() {
        let passwords = Passwords::new(Arc::new(Short));
        let _all = passwords.slots.acquire_many(u32::try_from(HASHES_AT_ONCE_MAX).unwrap()).await.unwrap();
        let busy = passwords.matches(&secret("correct horse battery"), None).await.unwrap_err();
        assert_eq!((busy.code, busy.retry_after_ms), ("sign_in_busy", Some(2_000)));
    }
}
