//! The requests of the gateway's own: to have a provider cache the beginning of prompts by name, or read a cached prefix
//! before it expires. What is sent, and what comes back.

use bytes::Bytes;
use decode::{Inbound, StoredFindings};
use domain::TraceId;
use execute::{Deps, SideRequest};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use settle::ReplyBody;

/// As it would be received.
pub(crate) fn inbound(request: &SideRequest, deps: &Deps) -> Inbound {
    let world = &deps.world;
    let mut headers: HeaderMap = request.headers.iter().cloned().collect();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let received_unix_ms = world.clock.unix_ms();
    Inbound {
        trace: TraceId::new(received_unix_ms, world.id_bytes()),
        dialect: request.dialect,
        operation: request.operation,
        headers,
        addressed: None,
        body: request.body.clone(),
        form: None,
        received_us: world.clock.monotonic_us(),
        received_unix_ms,
    }
}

/// It goes to the credential or account that has the cache, and to no other.
pub(crate) fn findings(request: &SideRequest) -> StoredFindings {
    StoredFindings { files: Some(Ok(request.keeper())), ..StoredFindings::default() }
}

/// The provider's answer; `None` if it refused. It is read to its end in any case, which closes its tab.
pub(crate) async fn answer(response: Response<ReplyBody>) -> Option<Bytes> {
    let is_answered = response.status() == StatusCode::OK;
    let body = response.into_body().collect().await.ok()?.to_bytes();
    is_answered.then_some(body)
}
