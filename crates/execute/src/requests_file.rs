//! Sends a file of requests on under the names that its models have at the provider, and the requests of a batch on a shared
//! account with the line that sets their workspace's prompts apart.

use bytes::{Bytes, BytesMut};
use decode::{requests_file, too_large};
use dialects::{CacheSalt, rename_batch_input};
use domain::limits::{BODY_BYTES_MAX, PREFIX_PROMPT_BYTES_MIN};
use plan::Attempt;
use providers::Provider;

use crate::caching::salt_for;
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

/// The form with the provider's names in its file, and a new batch with the line that sets its workspace's prompts apart where other
/// workspaces could find them in the provider's cache.
pub(crate) async fn rewrite(
    exchange: &Exchange,
    attempt: &Attempt,
    provider: &dyn Provider,
    body: Vec<Bytes>,
) -> Vec<Bytes> {
    let body = if is_renamed(exchange) { rename(exchange, body).await } else { body };
    let call = &exchange.call;
    let is_new = call.may_be_pooled() && !call.is_made_from_file();
    // Where prompts are cached without a mark; one with marks is no plain request.
    let prefix = dialects::face(call.dialect().grammar()).facts().prefix;
    match prefix
        .filter(|members| is_new && !members.takes_marks)
        .and_then(|_| salt_for(exchange, attempt, provider))
    {
        Some(word) => set_apart(exchange, body, &word).await,
        None => body,
    }
}

async fn rename(exchange: &Exchange, body: Vec<Bytes>) -> Vec<Bytes> {
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

/// The call or the form with that line before each prompt that is long enough to be cached.
async fn set_apart(exchange: &Exchange, body: Vec<Bytes>, word: &str) -> Vec<Bytes> {
    let (call, whole) = (&exchange.call, Bytes::from(body.concat()));
    let content = match call.request().form() {
        Some(form) => requests_file(&form.boundary, &whole).map(|file| whole.slice_ref(file.content)),
        None => Some(whole.clone()),
    };
    let read = dialects::own_batches(call.dialect()).zip(content);
    let found = read.and_then(|(format, content)| Some((format, format.poolable(&content)?)));
    let Some((format, items)) = found else { return vec![whole] };
    let (snapshot, workspace) = (exchange.caller.snapshot(), exchange.caller.workspace().id);
    let salt = CacheSalt { word, key: &|own| snapshot.cache_key_of(workspace, own) };
    let (mut apart, mut sent) = (BytesMut::with_capacity(whole.len()), 0);
    for (at, item) in items.iter().enumerate() {
        let prompt = format.read_item(item).map(|item| item.body);
        if let Some(prompt) = prompt.filter(|prompt| prompt.len() as u64 >= PREFIX_PROMPT_BYTES_MIN) {
            let start = prompt.as_ptr().addr() - whole.as_ptr().addr();
            let inserts = dialects::salt_cache(call.dialect().grammar(), &prompt, &salt, false);
            apart.extend_from_slice(whole.get(sent..start).unwrap_or_default());
            for piece in dialects::insert(&prompt, &inserts) {
                apart.extend_from_slice(&piece);
            }
            sent = start + prompt.len();
        }
        if at % LINES_AT_ONCE == LINES_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
    }
    apart.extend_from_slice(whole.get(sent..).unwrap_or_default());
    vec![apart.freeze()]
}
