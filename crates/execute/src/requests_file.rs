//! Sends a file of requests on under the names that its models have at the provider.

use bytes::{Bytes, BytesMut};
use decode::{requests_file, too_large};
use dialects::rename_batch_input;
use domain::limits::BODY_BYTES_MAX;

use crate::exchange::Exchange;
use crate::recording::Most;

/// A name may stand in any line, so that the whole form is waited for.
pub(crate) const MOST: Most = (BODY_BYTES_MAX, || too_large(BODY_BYTES_MAX));
/// The lines that are written before others on this core have their turn.
const LINES_AT_ONCE: usize = 64;

/// Whether it has any under other names.
pub(crate) fn is_renamed(exchange: &Exchange) -> bool {
    exchange.call.request().form().is_some_and(|form| !form.renamed_models.is_empty())
}

/// The form with the provider's names in its file.
pub(crate) async fn rename(exchange: &Exchange, body: Vec<Bytes>) -> Vec<Bytes> {
    let Some(form) = exchange.call.request().form() else { return body };
    let form_bytes = Bytes::from(body.concat());
    let Some(file) = requests_file(&form.boundary, &form_bytes) else { return vec![form_bytes] };
    let content = form_bytes.slice_ref(file.content);
    let start = content.as_ptr().addr() - form_bytes.as_ptr().addr();
    let name_of = |model: &str| {
        let (_, name) = form.renamed_models.iter().find(|(known, _)| known == model)?;
        Some(name.clone())
    };
    let mut renamed = BytesMut::with_capacity(content.len());
    for (at, line) in content.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match rename_batch_input(line, name_of) {
            Some(line) => renamed.extend_from_slice(&line),
            None => renamed.extend_from_slice(line),
        }
        if at % LINES_AT_ONCE == LINES_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
    }
    vec![form_bytes.slice(..start), renamed.freeze(), form_bytes.slice(start + content.len()..)]
}
