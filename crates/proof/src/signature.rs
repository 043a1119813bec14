//! Ed25519: a signing key from a 32-byte secret seed, and the public key that verifies its signatures.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Digest;
use crate::digest::{from_hex, to_hex};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signing key is made of 32 bytes")]
pub struct KeyError;

/// Signs. Its secret is never shown.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// # Errors
    /// If the seed has another length.
    pub fn from_seed(seed: &[u8]) -> Result<Self, KeyError> {
        Ed25519KeyPair::from_seed_unchecked(seed).map(Self).map_err(|_| KeyError)
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().as_ref().first_chunk().copied().unwrap_or_default())
    }

    pub fn sign(&self, text: &[u8]) -> Signature {
        Signature(self.0.sign(text).as_ref().first_chunk().copied().unwrap_or([0; 64]))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().fingerprint())
    }
}

/// Verifies. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl From<[u8; 32]> for PublicKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl PublicKey {
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub fn verify(&self, text: &[u8], signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(text, &signature.0).is_ok()
    }

    /// What people compare: the first half of the key's hash.
    pub fn fingerprint(&self) -> String {
        to_hex(Digest::of(&[&self.0]).0.first_chunk::<16>().unwrap_or(&[0; 16]))
    }
}

/// Written as 128 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

macro_rules! written_in_hex {
    ($name:ident, $expected:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                from_hex(text).map(Self).ok_or(())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                text.parse().map_err(|()| serde::de::Error::custom($expected))
            }
        }
    };
}

written_in_hex!(PublicKey, "a public key of 64 hexadecimal digits was expected");
written_in_hex!(Signature, "a signature of 128 hexadecimal digits was expected");

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn it_is_the_ed25519_that_others_speak() {
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let key = SigningKey::from_seed(&from_hex::<32>(seed).unwrap()).unwrap();
        let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        assert_eq!(key.public().to_string(), public);
        let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        assert_eq!(key.sign(&[0x72]).to_string(), signature);
        assert!(key.public().verify(&[0x72], &signature.parse().unwrap()));
        assert!(!key.public().verify(&[0x73], &signature.parse().unwrap()));
        assert!(SigningKey::from_seed(&[0; 31]).is_err());
    }
}
