//! The keyed hash by which Tidegate's API keys are looked up, and the generation of new keys.

use aws_lc_rs::hmac;
use domain::ports::KeyHash;
use domain::{Secret, api_key};
use world::Random;
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::wrap::derive;

/// What the key of the hash is derived for.
pub(crate) const PURPOSE: &[u8] = b"tidegate/api-key-hash/1";

/// HMAC-SHA-256 under a key derived from the pepper. A fast hash is enough, since a key has 190 random bits.
pub struct KeyHasher(hmac::Key);

impl KeyHasher {
    /// With the derived key itself.
    pub(crate) fn of_key(key: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    /// A hasher with its own pepper, for tests of crates without a vault.
    pub fn from_pepper(pepper: &Secret) -> Result<Self, VaultError> {
        Ok(Self::of_key(&Secret::new(derive(pepper.expose(), PURPOSE)?.to_vec())))
    }
}

impl KeyHash for KeyHasher {
    fn digest(&self, presented: &str) -> [u8; 32] {
        let tag = hmac::sign(&self.0, presented.as_bytes());
        // The tag of this hash is never shorter.
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

domain::brief_debug!(KeyHasher as "KeyHasher(hidden)");

/// A new key: its text is shown once, the rest is stored.
#[derive(Debug)]
pub struct MintedKey {
    pub text: Secret,
    pub digest: [u8; 32],
    pub last4: String,
}

/// Generates the secret of an access key.
pub fn mint_access_secret(random: &dyn Random) -> Secret {
    let mut bytes = Zeroizing::new([0_u8; 40]);
    random.fill(&mut *bytes);
    Secret::from_text(api_key::encode_access_secret(&bytes))
}

/// `live` keys are those of a production environment.
pub fn mint_api_key(random: &dyn Random, hasher: &dyn KeyHash, live: bool) -> MintedKey {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    random.fill(&mut *bytes);
    let text = Zeroizing::new(api_key::encode(live, &bytes));
    let last4 = text.get(text.len().saturating_sub(4)..).unwrap_or_default().to_owned();
    MintedKey { digest: hasher.digest(&text), last4, text: Secret::new(text.as_bytes().to_vec()) }
}
