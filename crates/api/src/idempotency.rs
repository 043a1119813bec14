//! Idempotency keys on `/v2`: a write is made once, and repeats get the same answer for a day.

use bytes::Bytes;
use domain::Fault;
use domain::limits::ANSWER_KEPT;
use domain::ports::{KeyedRequest, StoredAnswer};
use http::{Method, Response};
use http_body_util::{BodyExt, Full};
use line::{ClaimGuard, KeyClaim};

use crate::request::ApiRequest;
use crate::router::Route;
use crate::state::Control;
use crate::table::HARMLESS;

/// These answer with a secret that is shown once. Such an answer is never stored, and an idempotency key has
/// no effect.
const REVEALED_ONCE: [&str; 7] = [
    "/v2/api-keys",
    "/v2/workspaces",
    "/v2/members",
    "/v2/members/{id}/link",
    "/v2/webhooks",
    "/v2/webhooks/{id}/rotate",
    "/v2/byoc/nodes/join-tokens",
];

/// Whether this route's answer is stored where an idempotency key is sent.
pub fn is_kept(route: &Route) -> bool {
    let pattern = &route.pattern;
    route.method == Method::POST && !REVEALED_ONCE.contains(pattern) && !HARMLESS.contains(pattern)
}

/// Claims the request's idempotency key; `None` where it has none.
///
/// # Errors
/// 400 for an invalid key, 409 while it is being answered or for another body, 503 while the store is away.
pub async fn claim(
    control: &Control,
    route: &Route,
    path: &str,
    ask: &ApiRequest,
) -> Result<Option<KeyClaim>, Box<Fault>> {
    if !is_kept(route) {
        return Ok(None);
    }
    let key = line::idempotency_key(&ask.headers)?;
    // A rehearsal may be repeated as often as the client likes.
    let (Some(key), Some(project), false) = (key, ask.caller.project(), ask.is_rehearsal) else {
        return Ok(None);
    };
    // People share the workspace's first project, but must not share their keys.
    let path = match ask.caller.person() {
        Some(_) => format!("{path} {}", ask.caller.actor()),
        None => path.to_owned(),
    };
    let keyed_request = KeyedRequest {
        workspace: ask.workspace(),
        project: project.id,
        path: path.into(),
        key: key.to_owned(),
        body: ask.body.clone(),
        request: ask.trace,
        lifetime: ANSWER_KEPT,
        is_cached: false,
    };
    line::claim(&control.web.answers, keyed_request).await.map(Some)
}

/// Stores the first answer, and marks the response as the first.
pub async fn keep(mut response: Response<Full<Bytes>>, held: ClaimGuard) -> Response<Full<Bytes>> {
    let headers = line::first_headers(response.headers_mut());
    // The body is already buffered.
    let body = response.body().clone().collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
    let answer = StoredAnswer { status: response.status().as_u16(), headers, body };
    if let Some(kept) = held.keep(answer) {
        kept.await;
    }
    response
}

pub fn again(answer: StoredAnswer) -> Response<Full<Bytes>> {
    let (status, headers, body) = line::replay(answer);
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
