//! Translates a request into another dialect.

use bytes::Bytes;
use conversation::losses::DroppedFields;
use conversation::request::{Addressed, Request};
use conversation::target::{TargetModel, TranslatedRequest};
use domain::{Fault, Grammar, Operation, Prompt};

use crate::kept;

/// Reads what later stages need to know about a request. `addressed` is what its address says, for dialects
/// that name the model there.
///
/// # Errors
/// What is wrong, where, and how to fix it.
pub fn decode_request(
    grammar: Grammar,
    operation: Operation,
    body: &Bytes,
    addressed: Option<&Addressed>,
) -> Result<Request, Box<Fault>> {
    if operation.is_kept() {
        return kept::decode(grammar, operation, body, addressed);
    }
    match grammar {
        Grammar::Chat => match addressed {
            // Its address says all there is to know.
            Some(addressed) => {
                Ok(Request { prompt_bytes: addressed.prompt_bytes, ..Request::of_model(&addressed.model) })
            }
            None => chat::side::decode(operation, body),
        },
        Grammar::Responses => match addressed.and_then(|addressed| addressed.stored.as_ref()) {
            Some(stored) => Ok(responses::decode_stored_request(stored)),
            None => responses::decode_request(body),
        },
        Grammar::Anthropic => anthropic::decode_request(operation, body),
        Grammar::Gemini => gemini::decode_request(operation, body, addressed),
        Grammar::Converse => converse::decode_request(operation, body, addressed),
        // No client speaks it, and no route leads here.
        Grammar::Hosted => Err(Box::new(Fault::internal())),
    }
}

/// Reads a complete request into `Prompt`, the intermediate form that every dialect can be written from.
///
/// # Errors
/// What is wrong, where, and how to fix it.
pub fn read_prompt(grammar: Grammar, body: &[u8], request: &Request) -> Result<Prompt, Box<Fault>> {
    match grammar {
        Grammar::Chat => chat::read_prompt(body),
        Grammar::Responses => responses::read_prompt(body),
        Grammar::Anthropic => anthropic::read_prompt(body),
        Grammar::Gemini => gemini::read_prompt(body, request),
        Grammar::Converse => converse::read_prompt(body, request),
        Grammar::Hosted => Err(Box::new(Fault::internal())),
    }
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
    match grammar {
        Grammar::Chat => chat::write_prompt(prompt, target, losses),
        Grammar::Responses => responses::write_prompt(prompt, target, losses),
        Grammar::Anthropic => anthropic::write_prompt(prompt, target, losses),
        Grammar::Gemini => gemini::write_prompt(prompt, target, losses),
        Grammar::Converse => converse::write_prompt(prompt, target, losses),
        // It can't express conversations.
        Grammar::Hosted => Err(Box::new(Fault::internal())),
    }
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
    let mut losses = DroppedFields::new(client, upstream).with_aliases(&prompt.aliases);
    let body = write_prompt(upstream, prompt, target, &mut losses)?;
    for extra in &prompt.extras {
        losses.drop_unknown(&*extra.name, extra.affects_answer);
    }
    Ok(TranslatedRequest { body: Bytes::from(body), dropped: losses.finish(is_lenient)? })
}
