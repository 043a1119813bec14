//! Calls of the hooks of policies: signed as webhooks are, under the same address guard, and never redirected.

use bytes::Bytes;
use domain::limits::POLICY_HOOK_ANSWER_BYTES_MAX;
use domain::{HookOutcome, Secret, WorkspaceId};
use egress::{Destination, OutBody, Request, TargetKind};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, StatusCode};

use crate::Deps;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// One message to a hook.
pub struct HookMessage<'a> {
    pub url: &'a str,
    pub owner: WorkspaceId,
    /// Its id, which its receiver may drop repeats by.
    pub id: String,
    pub keys: &'a [Secret],
    pub body: Bytes,
}

/// Sends it, and returns the body of the answer. The caller bounds the time.
///
/// # Errors
/// There is no answer, or none of a hook: without details such as the address that a name resolves to.
pub async fn call_hook(deps: &Deps, message: HookMessage<'_>) -> Result<Bytes, HookOutcome> {
    let HookMessage { url, owner, id, keys, body } = message;
    let url = url.parse().map_err(|_| HookOutcome::Unreachable)?;
    let unix_s = deps.world.clock.unix_ms() / 1_000;
    let signature = vault::webhook_signatures(keys, &id, unix_s, &body);
    let value = |text: String| HeaderValue::try_from(text).map_err(|_| HookOutcome::Unreachable);
    let mut request = Request::new(Method::POST, url);
    request.headers = vec![
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (USER_AGENT, HeaderValue::from_static(concat!("Tidegate/", env!("CARGO_PKG_VERSION")))),
        (ID, value(id)?),
        (TIMESTAMP, HeaderValue::from(unix_s)),
        (SIGNATURE, value(signature)?),
    ];
    request.body = OutBody::from(body);
    let destination = Destination { kind: TargetKind::Webhook, owner: Some(owner) };
    let answer = deps.egress.send(&request, destination).await.map_err(|_| HookOutcome::Unreachable)?;
    match answer.status {
        StatusCode::NO_CONTENT => Ok(Bytes::new()),
        StatusCode::OK => {
            let read = answer.body.read_to_end(POLICY_HOOK_ANSWER_BYTES_MAX).await;
            read.map_err(|_| HookOutcome::Malformed)
        }
        _ => Err(HookOutcome::Malformed),
    }
}
