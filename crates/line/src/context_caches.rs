//! Creates the caches by name that `execute` finds worth it: by a trip of the gateway's own, beside the requests, which goes
//! through all stages and is booked as any other.

use std::rc::Rc;

use bytes::Bytes;
use decode::{Inbound, StoredFindings};
use domain::record::Purpose;
use domain::{Operation, TraceId};
use execute::{Answer, ContextOrder};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use settle::ReplyBody;

use crate::stop::EarlyExit;
use crate::{Core, concluded, reading, resolved_to_settle};

/// Has the cache made that an answered request ordered, if it ordered one. Nothing waits for it.
pub(crate) fn begin(core: &Rc<Core>, answer: &mut Answer) {
    let Some(order) = answer.take_context_order() else { return };
    let core = Rc::clone(core);
    order.run(&core.deps.clone(), async move |order| create(&core, order).await);
}

/// The provider's answer; `None` if the cache was not made.
async fn create(core: &Rc<Core>, order: &ContextOrder) -> Option<Bytes> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let (received_us, received_unix_ms) = (core.now_us(), core.now_unix_ms());
    let inbound = Inbound {
        trace: TraceId::new(received_unix_ms, core.deps.world.id_bytes()),
        dialect: order.dialect,
        operation: Operation::CachedContent,
        headers,
        addressed: None,
        body: order.body.clone(),
        form: None,
        received_us,
        received_unix_ms,
    };
    let (trace, dialect) = (inbound.trace, inbound.dialect);
    let response = concluded(core, dialect, trace, serve(core, inbound, order).await);
    let is_made = response.status() == StatusCode::OK;
    // Read to its end in any case, which closes its tab.
    let body = response.into_body().collect().await.ok()?.to_bytes();
    is_made.then_some(body)
}

async fn serve(
    core: &Rc<Core>,
    inbound: Inbound,
    order: &ContextOrder,
) -> Result<Response<ReplyBody>, EarlyExit> {
    let snapshot = core.snapshot.current();
    let caller = admit::system(snapshot, order.workspace, order.project, Purpose::ContextCache);
    let caller = caller.ok_or_else(|| Box::new(domain::Fault::internal()))?;
    let call = reading::read(inbound, &caller, core.now_us())?;
    let admitted = admit::admit(call, caller, &core.journal, &core.allowances, core.now_us())?;
    let findings = StoredFindings { files: Some(Ok(order.maker())), ..StoredFindings::default() };
    resolved_to_settle(core, admitted.with_stored(findings)).await
}
