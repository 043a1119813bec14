//! Translates a request into another dialect.

use crate::registry::{face, feature_names};
use bytes::Bytes;
use conversation::losses::DroppedFields;
use conversation::request::{Addressed, Request};
use conversation::target::{TargetModel, TranslatedRequest, check_length};
use domain::{Fault, Grammar, Operation, Prompt};

/// Reads what later stages need to know about a conversation, a count or texts to embed. `addressed` is what its address says, for dialects
/// that name the model there.
pub fn decode_request(
    grammar: Grammar,
    operation: Operation,
    body: &Bytes,
    addressed: Option<&Addressed>,
) -> Result<Request, Box<Fault>> {
    face(grammar).decode_request(operation, body, addressed)
}

/// Reads a complete request into `Prompt`, the intermediate form that every dialect can be written from.
pub fn read_prompt(grammar: Grammar, body: &[u8], request: &Request) -> Result<Prompt, Box<Fault>> {
    face(grammar).read_prompt(body, request)
}

/// Writes a request. Fields that the dialect can't express are recorded in `losses`.
///
/// # Errors
/// The prompt holds something that can't be written at all, for example call arguments that are not JSON.
pub fn write_prompt(
    grammar: Grammar,
    prompt: &Prompt,
    target: &TargetModel<'_>,
    losses: &mut DroppedFields,
) -> Result<Vec<u8>, Box<Fault>> {
    face(grammar).write_prompt(prompt, target, losses)
}

/// Translates a client's request into an upstream's dialect.
///
/// # Errors
/// The request is invalid, or uses a feature that the other dialect can't express and that may not be
/// dropped.
pub fn translate_request(
    client: Grammar,
    prompt: &Prompt,
    upstream: Grammar,
    target: &TargetModel<'_>,
    is_lenient: bool,
) -> Result<TranslatedRequest, Box<Fault>> {
    let length = face(client).facts().parameters.output_tokens.last().copied();
    check_length(prompt, length.unwrap_or("max_tokens"))?;
    let mut losses = DroppedFields::new(client, upstream, feature_names).with_aliases(&prompt.aliases);
    if prompt.drops_hosted_tools {
        losses.allow_lost_tools();
    }
    let body = write_prompt(upstream, prompt, target, &mut losses)?;
    for extra in &prompt.extras {
        losses.drop_unknown(&*extra.name, extra.affects_answer);
    }
    Ok(TranslatedRequest { body: Bytes::from(body), dropped: losses.finish(is_lenient)? })
}
