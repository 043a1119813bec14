//! The token endpoint of a vendor's subscription: each refresh token is good for one renewal, which brings the next one.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Refusal, form};
use crate::emulator::KeyState;
use crate::emulator::service::Call;

pub(crate) const PATH: &str = "/vendor/oauth/token";
pub(crate) const AUDIENCE: &str = "subscription";
/// The only application that may renew tokens.
pub const CLIENT: &str = "emulated-agent";

pub(crate) fn renew(call: &Call<'_>, body: &Bytes) -> Result<Value, Refusal> {
    let form = form(body);
    let field = |name: &str| form.get(name).map(String::as_str);
    let refused = |error: &str| (400, json!({"error": error, "error_description": "The vendor says no."}));
    if !call.is_form() {
        return Err(refused("invalid_request"));
    }
    if field("grant_type") != Some("refresh_token") {
        return Err(refused("unsupported_grant_type"));
    }
    if field("client_id") != Some(CLIENT) {
        return Err(refused("invalid_client"));
    }
    let directory = &call.shared.directory;
    let key = field("refresh_token").and_then(|token| directory.take_refresh_token(token));
    let Some(key) = key.filter(|key| call.shared.key_state(key) == Some(KeyState::Ok)) else {
        return Err(refused("invalid_grant"));
    };
    let refresh_token = directory.add_refresh_token(&key);
    let (access_token, lives) = directory.issue(&key, AUDIENCE);
    Ok(json!({
        "access_token": access_token, "refresh_token": refresh_token, "token_type": "Bearer",
        "expires_in": lives,
    }))
}
