//! The most that an answer can use, which is reserved before the request is sent.

use domain::Usage;
use operations::{CallSize, ModelLimits};

use crate::exchange::Exchange;

/// The most that an answer of this exchange can use.
pub(crate) fn ceiling(exchange: &Exchange, body: &[u8]) -> Usage {
    let model = exchange.caller.snapshot().catalogue().model(&exchange.resolved_model);
    let limits = model.map(|model| ModelLimits {
        is_known: true,
        context_tokens: model.context_tokens,
        output_tokens_max: model.output_tokens_max,
    });
    exchange.call.spec().ceiling(&exchange.size(body), limits.unwrap_or_default())
}

impl Exchange {
    /// What bounds its usage.
    pub(crate) fn size(&self, body: &[u8]) -> CallSize<'_> {
        CallSize {
            request: self.call.request(),
            body_bytes: body.len() as u64,
            is_arriving: self.call.upload().is_some(),
            form_bytes_max: self.form_bytes_max(),
        }
    }
}
