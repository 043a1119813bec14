//! The requests by which the gateway has a provider cache the beginning of prompts by name: what is sent, and what comes back.

use bytes::Bytes;
use decode::{Inbound, StoredFindings};
use domain::{Operation, TraceId};
use execute::{ContextOrder, Deps};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use settle::ReplyBody;

/// The request for what was ordered.
pub(crate) fn inbound(order: &ContextOrder, deps: &Deps) -> Inbound {
    let world = &deps.world;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let received_unix_ms = world.clock.unix_ms();
    Inbound {
        trace: TraceId::new(received_unix_ms, world.id_bytes()),
        dialect: order.dialect,
        operation: Operation::CachedContent,
        headers,
        addressed: None,
        body: order.body.clone(),
        form: None,
        received_us: world.clock.monotonic_us(),
        received_unix_ms,
    }
}

/// It goes to the credential or account that serves the prompts, and to no other.
pub(crate) fn findings(order: &ContextOrder) -> StoredFindings {
    StoredFindings { files: Some(Ok(order.maker())), ..StoredFindings::default() }
}

/// The provider's answer; `None` if nothing was made. It is read to its end in any case, which closes its tab.
pub(crate) async fn made(response: Response<ReplyBody>) -> Option<Bytes> {
    let is_made = response.status() == StatusCode::OK;
    let body = response.into_body().collect().await.ok()?.to_bytes();
    is_made.then_some(body)
}
