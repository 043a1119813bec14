//! Messages that only the holder of one X25519 key opens: a fresh key for each, agreed with the holder's, through
//! HKDF-SHA-256 to AES-256-GCM.
//!
//! It is the base mode of HPKE (RFC 9180) in shape: ephemeral agreement, both public keys in the derivation, one key for one
//! message. What a message is for is its context, which is in the derivation and in the associated data.

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::hkdf;
use domain::Secret;
use world::Random;
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::seal;

const KEY_BYTES: usize = 32;
const PURPOSE: &[u8] = b"tidegate/box/1";

/// The private key that opens.
pub struct BoxKey {
    key: PrivateKey,
    public: BoxedFor,
}

/// The public key that a message is sealed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxedFor(pub [u8; KEY_BYTES]);

impl BoxKey {
    /// # Errors
    /// If the seed is not of 32 bytes.
    pub fn from_seed(seed: &Secret) -> Result<Self, VaultError> {
        let key = PrivateKey::from_private_key(&X25519, seed.expose()).map_err(|_| VaultError::Crypto)?;
        let public = key.compute_public_key().map_err(|_| VaultError::Crypto)?;
        let public = public.as_ref().try_into().map(BoxedFor).map_err(|_| VaultError::Crypto)?;
        Ok(Self { key, public })
    }

    /// The seed of a new key.
    pub fn mint_seed(random: &dyn Random) -> Secret {
        let mut seed = Zeroizing::new([0_u8; KEY_BYTES]);
        random.fill(&mut *seed);
        Secret::new(seed.to_vec())
    }

    pub const fn public(&self) -> BoxedFor {
        self.public
    }

    /// # Errors
    /// If it was changed, is for somebody else, or for something else.
    pub fn open(&self, context: &[u8], boxed: &[u8]) -> Result<Secret, VaultError> {
        let (ephemeral, sealed) = boxed.split_at_checked(KEY_BYTES).ok_or(VaultError::Crypto)?;
        let key = derived(&self.key, ephemeral, [ephemeral, &self.public.0], context)?;
        seal::open(&key, context, sealed).map_err(|_| VaultError::Crypto)
    }
}

impl BoxedFor {
    /// # Errors
    /// If the public key is none.
    pub fn seal(&self, context: &[u8], plaintext: &[u8], random: &dyn Random) -> Result<Vec<u8>, VaultError> {
        let own = BoxKey::from_seed(&BoxKey::mint_seed(random))?;
        let ephemeral = own.public.0;
        let key = derived(&own.key, &self.0, [&ephemeral, &self.0], context)?;
        let sealed = seal::seal(&key, context, plaintext, random).map_err(|_| VaultError::Crypto)?;
        Ok([ephemeral.as_slice(), &sealed].concat())
    }
}

domain::brief_debug!(BoxKey as "BoxKey(hidden)");

fn derived(
    own: &PrivateKey,
    others: &[u8],
    publics: [&[u8]; 2],
    context: &[u8],
) -> Result<aws_lc_rs::aead::LessSafeKey, VaultError> {
    agree(own, UnparsedPublicKey::new(&X25519, others), VaultError::Crypto, |shared| {
        let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, PURPOSE).extract(shared);
        let [sender, receiver] = publics;
        let info = [sender, receiver, context];
        let material = pseudorandom.expand(&info, hkdf::HKDF_SHA256).map_err(|_| VaultError::Crypto)?;
        let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
        material.fill(&mut *key).map_err(|_| VaultError::Crypto)?;
        seal::key(&*key).map_err(|_| VaultError::Crypto)
    })
}

#[cfg(test)]
mod tests {
    use world::SystemRandom;

    use super::*;

    fn key() -> BoxKey {
        BoxKey::from_seed(&BoxKey::mint_seed(&SystemRandom)).unwrap()
    }

    #[test]
    fn only_its_holder_opens_it_and_only_for_what_it_is() {
        let (holder, other) = (key(), key());
        let boxed = holder.public().seal(b"credentials", b"sk-secret", &SystemRandom).unwrap();
        assert_eq!(holder.open(b"credentials", &boxed).unwrap().expose(), b"sk-secret");
        assert!(other.open(b"credentials", &boxed).is_err());
        assert!(holder.open(b"hash", &boxed).is_err());
        for at in 0..boxed.len() {
            let mut changed = boxed.clone();
            changed[at] ^= 1;
            assert!(holder.open(b"credentials", &changed).is_err(), "byte {at}");
        }
        assert!(holder.open(b"credentials", &boxed[..31]).is_err());
        assert_ne!(boxed, holder.public().seal(b"credentials", b"sk-secret", &SystemRandom).unwrap());
    }

    /// RFC 7748, section 6.1.
    #[test]
    fn it_is_the_agreement_that_others_speak() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let seed = Secret::new(hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
        let public = hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        assert_eq!(BoxKey::from_seed(&seed).unwrap().public().0.as_slice(), public);
        assert!(BoxKey::from_seed(&Secret::new(vec![1; 31])).is_err());
    }
}
