//! Google's workload identity federation: exchanges an external issuer's token, and issues tokens of service
//! accounts that a federated identity may impersonate.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::google::{AUDIENCE, refusal};
use super::issuer::{self, Untrusted};
use super::{Refusal, form};
use crate::bedrock::ahead;
use crate::emulator::service::{Call, bearer};
use crate::members::put;

/// The paths of Google's STS, which exchanges external tokens, and of the IAM credentials API for service
/// accounts.
pub(super) const PATH: &str = "/google/sts/v1/token";
pub(super) const ACCOUNTS: &str = "/google/iam/v1/projects/-/serviceAccounts/";
const LEND: &str = ":generateAccessToken";
/// The pool's only provider.
pub const PROVIDER: &str = "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/tides/providers/emulator";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const SUBJECT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// The scope that only allows impersonating a service account.
const LENDING: &str = "https://www.googleapis.com/auth/iam";
const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The audience that the issuer's tokens must have.
pub(crate) fn audience() -> String {
    format!("https:{PROVIDER}")
}

/// The pool's configuration file, as Google's tools generate it; with a service account's address it asks for
/// impersonation.
pub(crate) fn configuration(origin: &str, account: Option<&str>) -> Value {
    let mut file = json!({
        "type": "external_account", "universe_domain": "googleapis.com", "audience": PROVIDER,
        "subject_token_type": SUBJECT, "token_url": format!("{origin}{PATH}"),
    });
    if let Some(account) = account {
        let url = format!("{origin}{ACCOUNTS}{account}{LEND}");
        put(&mut file, "service_account_impersonation_url", url);
    }
    file
}

/// The STS endpoint: a form with an external issuer's token.
pub(super) fn exchange(call: &Call<'_>, body: &Bytes) -> Result<Value, Refusal> {
    let form = form(body);
    let field = |name: &str| form.get(name).map(String::as_str);
    if !call.is_form() {
        return Err(refusal("invalid_request", "The request is no form."));
    }
    if field("grant_type") != Some(GRANT) || field("requested_token_type") != Some(ACCESS) {
        return Err(refusal("unsupported_grant_type", "Invalid grant_type or requested_token_type."));
    }
    if field("audience") != Some(PROVIDER) {
        return Err(refusal(
            "invalid_target",
            "The target service indicated by the \"audience\" parameters is invalid.",
        ));
    }
    if field("subject_token_type") != Some(SUBJECT) {
        return Err(refusal("invalid_request", "Invalid subject_token_type."));
    }
    let scopes = field("scope").unwrap_or_default();
    let scope = [AUDIENCE, LENDING].into_iter().find(|known| scopes.split(' ').any(|scope| scope == *known));
    let scope = scope.ok_or_else(|| refusal("invalid_scope", "Invalid OAuth scope."))?;
    let token = field("subject_token").unwrap_or_default();
    let key = issuer::verify_token(call.shared, token, &audience()).map_err(|why| {
        let words = match why {
            Untrusted::Foreign => {
                "Error connecting to the given credential's issuer, or the ID Token's signature is invalid."
            }
            Untrusted::Audience => "The audience in ID Token does not match the expected audience.",
            Untrusted::Expired => "ID Token is stale to sign-in: it has expired.",
            Untrusted::Subject => "The given credential is rejected by the attribute condition.",
        };
        refusal(if why == Untrusted::Subject { "unauthorized_client" } else { "invalid_grant" }, words)
    })?;
    let (token, lives) = call.shared.directory.issue(&key, scope);
    Ok(
        json!({"access_token": token, "issued_token_type": ACCESS, "token_type": "Bearer", "expires_in": lives}),
    )
}

/// Issues a service account's token to a federated identity.
pub(super) fn impersonate(call: &Call<'_>, path: &str, body: &Bytes) -> Result<Value, Refusal> {
    let refuse = |code: u16, status: &str, message: &str| {
        Err((code, json!({"error": {"code": code, "message": message, "status": status}})))
    };
    let directory = &call.shared.directory;
    let caller = bearer(&call.head.headers).and_then(|token| directory.token(&token));
    let Some(caller) = caller.filter(|token| [AUDIENCE, LENDING].contains(&&*token.audience)) else {
        return refuse(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.");
    };
    let request: Option<Value> = serde_json::from_slice(body).ok();
    let has_scope = request
        .and_then(|request| request.get("scope")?.as_array().map(|scopes| !scopes.is_empty()))
        == Some(true);
    if call.head.method != Method::POST || !has_scope {
        return refuse(400, "INVALID_ARGUMENT", "Scope is required.");
    }
    let email = path.strip_prefix(ACCOUNTS).and_then(|rest| rest.strip_suffix(LEND)).unwrap_or_default();
    match directory.account(email).filter(|_| !directory.is_denied(&caller.key)) {
        Some(key) => {
            let (token, lives) = directory.issue(&key, AUDIENCE);
            Ok(json!({"accessToken": token, "expireTime": ahead(lives)}))
        }
        None => refuse(
            403,
            "PERMISSION_DENIED",
            "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).",
        ),
    }
}
