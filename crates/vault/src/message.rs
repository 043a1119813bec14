//! Signs messages with a secret that the receiver has too (HMAC).

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::Secret;

/// HMAC-SHA256 over a message.
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

/// The signatures of Standard Webhooks 1.0: `v1,…` for each key, separated by spaces; the receiver accepts whichever
/// key it has.
pub fn webhook_signatures(keys: &[Secret], id: &str, unix_s: u64, body: &[u8]) -> String {
    let message = [format!("{id}.{unix_s}.").as_bytes(), body].concat();
    let mut text = String::new();
    for key in keys {
        let space = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{space}v1,{}", STANDARD.encode(sign_message(key, &message)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example from the specification's own libraries.
    #[test]
    fn a_signature_is_the_published_one() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signed = webhook_signatures(&[Secret::new(key)], id, 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_keys_sign_side_by_side() {
        let keys = [Secret::new(vec![1; 32]), Secret::new(vec![2; 32])];
        let both = webhook_signatures(&keys, "evt_1", 5, b"{}");
        let each: Vec<_> =
            keys.iter().map(|key| webhook_signatures(std::slice::from_ref(key), "evt_1", 5, b"{}")).collect();
        assert_eq!(both, each.join(" "));
    }

    /// RFC 4231, case 2.
    #[test]
    fn it_is_the_published_function() {
        let signature = sign_message(&Secret::new(b"Jefe".to_vec()), b"what do ya want for nothing?");
        let text: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
