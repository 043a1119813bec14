//! An OIDC issuer of workload tokens that the emulated clouds trust, such as a Kubernetes cluster or a CI
//! pipeline has.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::google::{pair, part, unix_s};
use crate::emulator::KeyState;
use crate::emulator::state::Shared;

const ISSUER: &str = "https://issuer.emulator.example";
const LIVES_S: i64 = 600;

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: i64,
}

/// Why a token is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Untrusted {
    /// It was not issued by this issuer.
    Foreign,
    /// It is for another audience.
    Audience,
    Expired,
    /// Its subject is unknown.
    Subject,
}

/// Issues a token for the workload with this subject.
pub(crate) fn issue(subject: &str, audience: &str) -> String {
    let write = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let now = unix_s();
    let claims = json!({"iss": ISSUER, "sub": subject, "aud": audience, "iat": now, "exp": now + LIVES_S});
    let signed = format!("{}.{}", write(json!({"alg": "RS256", "typ": "JWT"})), write(claims));
    let mut signature = vec![0; pair().public_modulus_len()];
    // If the system's randomness fails, the token stays unsigned and is not trusted.
    let _ = pair().sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The emulator key that the token's workload maps to.
pub(crate) fn verify_token(shared: &Shared, token: &str, audience: &str) -> Result<String, Untrusted> {
    let (signed, signature) = token.rsplit_once('.').ok_or(Untrusted::Foreign)?;
    let (_, claims) = signed.split_once('.').ok_or(Untrusted::Foreign)?;
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair().public_key().as_ref());
    let is_signed = URL_SAFE_NO_PAD
        .decode(signature)
        .is_ok_and(|signature| public.verify(signed.as_bytes(), &signature).is_ok());
    let claims: Claims = part(claims).ok_or(Untrusted::Foreign)?;
    if !is_signed || claims.iss != ISSUER {
        return Err(Untrusted::Foreign);
    }
    if claims.aud != audience {
        return Err(Untrusted::Audience);
    }
    if claims.exp <= unix_s() + shared.directory.clock_ahead_s() {
        return Err(Untrusted::Expired);
    }
    let key = shared.directory.workload(&claims.sub).ok_or(Untrusted::Subject)?;
    match shared.key_state(&key) {
        Some(KeyState::Revoked) | None => Err(Untrusted::Subject),
        Some(_) => Ok(key),
    }
}
