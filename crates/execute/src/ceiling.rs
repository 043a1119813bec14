//! The most that an answer can use, which is reserved before the request is sent.

use admit::{Call, Caller};
use domain::Usage;
use domain::limits::BODY_BYTES_MAX;
use operations::{CallSize, ModelLimits};
use plan::Attempt;

use crate::exchange::Exchange;

/// The most that an answer of this attempt can use.
pub(crate) fn ceiling(exchange: &Exchange, attempt: &Attempt, body: &[u8]) -> Usage {
    most_used(&exchange.call, &exchange.caller, exchange.model_of(attempt), body.len() as u64)
}

/// The most that an answer to this call can use, with a body of so many bytes.
pub(crate) fn most_used(call: &Call, caller: &Caller, resolved_model: &str, body_bytes: u64) -> Usage {
    let model = caller.snapshot().catalogue().model(resolved_model);
    let limits = model.map(|model| ModelLimits {
        is_known: true,
        context_tokens: model.context_tokens,
        output_tokens_max: model.output_tokens_max,
    });
    call.spec().ceiling(&size_of(call, body_bytes), limits.unwrap_or_default())
}

impl Exchange {
    /// What bounds its usage.
    pub(crate) fn size(&self, body: &[u8]) -> CallSize<'_> {
        size_of(&self.call, body.len() as u64)
    }
}

fn size_of(call: &Call, body_bytes: u64) -> CallSize<'_> {
    CallSize {
        request: call.request(),
        body_bytes,
        is_arriving: call.upload().is_some(),
        form_bytes_max: form_bytes_max(call),
        received_unix_ms: call.received_unix_ms(),
    }
}

/// The most bytes that a form can have: the limit for bodies, if its length was not announced.
fn form_bytes_max(call: &Call) -> u64 {
    let held = call.request().form().map_or(0, |form| form.held_bytes);
    let most = BODY_BYTES_MAX as u64;
    let Some(upload) = call.upload() else { return held };
    let left = upload.left().unwrap_or(most);
    held.saturating_add(upload.taken()).saturating_add(left).min(most)
}
