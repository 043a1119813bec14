//! Signs messages with a secret that the receiver has too (HMAC).

use aws_lc_rs::hmac;
use domain::Secret;

/// HMAC-SHA256 over a message.
#[must_use]
pub fn sign_message(secret: &Secret, message: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
    let mut signature = [0; 32];
    let tag = hmac::sign(&key, message);
    // The tag of this algorithm has these 32 bytes.
    for (slot, byte) in signature.iter_mut().zip(tag.as_ref()) {
        *slot = *byte;
    }
    signature
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, case 2.
    #[test]
    fn it_is_the_published_function() {
        let signature = sign_message(&Secret::new(b"Jefe".to_vec()), b"what do ya want for nothing?");
        let text: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
