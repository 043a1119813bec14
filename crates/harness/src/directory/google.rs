//! Google's OAuth endpoint, which exchanges a service account's self-signed JWT for an access token, and
//! Google's instance metadata service.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Refusal, form};
use crate::emulator::KeyState;
use crate::emulator::service::Call;

/// The base path of Google's token endpoint.
pub(super) const PATH: &str = "/google/token";
pub(super) const MACHINE_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
/// The only project.
pub const PROJECT: &str = "tides-prod";
/// The scope of every access token.
pub(crate) const AUDIENCE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// Google's own clients use this as the JWT's audience, whichever endpoint they call.
const ENDPOINT: &str = "https://oauth2.googleapis.com/token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const LIVES_MAX_S: i64 = 3_600;
/// The allowed clock skew.
const SKEW_S: i64 = 300;
const UNTIMELY: &str = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. \
                        Check your iat and exp values in the JWT claim.";

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    scope: String,
    iat: i64,
    exp: i64,
}

/// The key pair shared by all service accounts, since generating one is slow.
pub(super) fn pair() -> &'static KeyPair {
    static PAIR: OnceLock<KeyPair> = OnceLock::new();
    #[expect(clippy::expect_used, reason = "without randomness no test can run")]
    PAIR.get_or_init(|| KeyPair::generate(KeySize::Rsa2048).expect("a key is made"))
}

fn pem() -> String {
    let der = pair().as_der().map(|der| STANDARD.encode(AsRef::<[u8]>::as_ref(&*der))).unwrap_or_default();
    let lines: Vec<String> =
        der.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

/// A service account's key file, in Google's format.
pub(crate) fn key_file(email: &str, origin: &str) -> Value {
    json!({
        "type": "service_account", "project_id": PROJECT, "private_key_id": key_id(email),
        "private_key": pem(), "client_email": email, "client_id": "100000000000000000000",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth", "token_uri": format!("{origin}{PATH}"),
        "universe_domain": "googleapis.com",
    })
}

fn key_id(email: &str) -> String {
    format!("kid-of-{email}")
}

pub(super) fn refusal(error: &str, description: &str) -> Refusal {
    (400, json!({"error": error, "error_description": description}))
}

/// The token endpoint: a form with a service account's self-signed JWT.
pub(super) fn exchange(call: &Call<'_>, body: &Bytes) -> Result<Value, Refusal> {
    let form = form(body);
    if call.head.method != Method::POST || form.get("grant_type").map(String::as_str) != Some(GRANT) {
        return Err(refusal("unsupported_grant_type", "Invalid grant_type"));
    }
    let assertion =
        form.get("assertion").ok_or_else(|| refusal("invalid_request", "Missing parameter: assertion"))?;
    let unread = || refusal("invalid_grant", "Invalid JWT: it can't be read.");
    let (signed, signature) = assertion.rsplit_once('.').ok_or_else(unread)?;
    let (header, claims) = signed.split_once('.').ok_or_else(unread)?;
    let header: Header = part(header).ok_or_else(unread)?;
    let claims: Claims = part(claims).ok_or_else(unread)?;
    let accounts = &call.shared.directory;
    let key = accounts
        .account(&claims.iss)
        .ok_or_else(|| refusal("invalid_grant", "Invalid grant: account not found"))?;
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair().public_key().as_ref());
    let is_signed = URL_SAFE_NO_PAD
        .decode(signature)
        .is_ok_and(|signature| public.verify(signed.as_bytes(), &signature).is_ok());
    let is_own = header.alg == "RS256" && header.kid == Some(key_id(&claims.iss));
    // A key that its owner deleted no longer verifies.
    if !is_signed || !is_own || call.shared.key_state(&key) == Some(KeyState::Revoked) {
        return Err(refusal("invalid_grant", "Invalid JWT Signature."));
    }
    let host = call.host();
    let here = claims.aud.split_once("://").is_some_and(|(_, rest)| rest == format!("{host}{PATH}"));
    if !here && claims.aud != ENDPOINT {
        let message = format!("Invalid JWT: Failed audience check. The right audience is {ENDPOINT}");
        return Err(refusal("invalid_grant", &message));
    }
    let now = unix_s() + accounts.clock_ahead_s();
    let is_timely = claims.iat <= now + SKEW_S && claims.exp > now && claims.exp - claims.iat <= LIVES_MAX_S;
    if !is_timely {
        return Err(refusal("invalid_grant", UNTIMELY));
    }
    if !claims.scope.split(' ').any(|scope| scope == AUDIENCE) {
        return Err(refusal("invalid_scope", "Invalid OAuth scope or ID token audience provided."));
    }
    let (token, lives) = accounts.issue(&key, AUDIENCE);
    Ok(json!({"access_token": token, "expires_in": lives, "token_type": "Bearer"}))
}

/// Google's instance metadata service: a token for the machine's own identity.
pub(super) fn machine(call: &Call<'_>) -> Result<Value, Refusal> {
    let head = call.head;
    let has_flavor = head.headers.get("metadata-flavor").is_some_and(|value| value == "Google");
    // A request forwarded by a proxy carries this header.
    if !has_flavor || head.headers.contains_key("x-forwarded-for") {
        return Err((403, json!({"error": "Missing Metadata-Flavor:Google header."})));
    }
    let identity = call.shared.directory.machine().filter(|_| head.method == Method::GET);
    let Some(key) = identity else { return Err((404, json!({"error": "no service account is attached"}))) };
    let (token, lives) = call.shared.directory.issue(&key, AUDIENCE);
    Ok(json!({"access_token": token, "expires_in": lives, "token_type": "Bearer"}))
}

pub(super) fn part<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

pub(super) fn unix_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or_default()
}
