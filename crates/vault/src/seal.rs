//! AES-256-GCM (AEAD) over one buffer: format byte, nonce of 96 random bits, ciphertext, tag.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use domain::Secret;
use world::Random;
use zeroize::Zeroizing;

use crate::associated::FORMAT;

const HEAD_LEN: usize = 1 + NONCE_LEN;

/// Something did not open, or could not be sealed; the library gives no details, on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

pub(crate) fn key(bytes: &[u8]) -> Result<LessSafeKey, Refused> {
    UnboundKey::new(&AES_256_GCM, bytes).map(LessSafeKey::new).map_err(|_| Refused)
}

/// A nonce is random and used once: at 2^32 seals under one key a repetition still has a probability of only
/// 2^-33, and a workspace key seals a handful of credentials.
pub(crate) fn seal(
    key: &LessSafeKey,
    associated: &[u8],
    plaintext: &[u8],
    random: &dyn Random,
) -> Result<Vec<u8>, Refused> {
    let mut nonce = [0_u8; NONCE_LEN];
    random.fill(&mut nonce);
    let mut buffer = Zeroizing::new(plaintext.to_vec());
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), &mut buffer)
        .map_err(|_| Refused)?;
    let mut sealed = Vec::with_capacity(HEAD_LEN + buffer.len() + tag.as_ref().len());
    sealed.push(FORMAT);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&buffer);
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// The plaintext is written only to memory that is wiped when the secret is dropped.
pub(crate) fn open(key: &LessSafeKey, associated: &[u8], sealed: &[u8]) -> Result<Secret, Refused> {
    let (head, body) = sealed.split_at_checked(HEAD_LEN).ok_or(Refused)?;
    let (format, nonce) = head.split_first().ok_or(Refused)?;
    if *format != FORMAT {
        return Err(Refused);
    }
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Refused)?;
    let mut buffer = Zeroizing::new(body.to_vec());
    let length = key.open_in_place(nonce, Aad::from(associated), &mut buffer).map_err(|_| Refused)?.len();
    buffer.truncate(length);
    Ok(Secret::new(std::mem::take(&mut *buffer)))
}
