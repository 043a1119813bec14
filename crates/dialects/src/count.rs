//! Token counting endpoints: how many tokens a prompt has, before it is sent.

use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFault};
use conversation::target::{TargetModel, TranslatedRequest};
use domain::prompt::{Caching, Output, Sampling};
use domain::{Fault, Grammar, Prompt, Usage};
use json::{Cursor, JsonError, Kind};

use crate::answer_path::AnswerPath;
use crate::buffered::BufferedAnswer;
use crate::registry::face;
use crate::translate::translate_request;

/// The response that reports this count, in a client's dialect.
pub fn count_answer(grammar: Grammar, tokens: u64) -> Bytes {
    Bytes::from(format!("{}{tokens}}}", face(grammar).facts().count.open))
}

/// Removes the settings that only concern the answer: they do not affect the count, and other dialects may
/// not be able to express them.
pub fn forget_answer(prompt: &mut Prompt) {
    let format = prompt.output.format.take();
    prompt.output = Output { format, ..Output::default() };
    prompt.sampling = Sampling::default();
    prompt.stream = false;
    prompt.store = None;
    prompt.service_tier = None;
    prompt.end_user = None;
    prompt.metadata.clear();
    prompt.caching = Caching { content: prompt.caching.content.take(), ..Caching::default() };
}

/// Writes the body of a count request for an upstream's token counter.
///
/// # Errors
/// As `speak`.
pub fn write_count_request(
    client: Grammar,
    prompt: &Prompt,
    upstream: Grammar,
    target: &TargetModel<'_>,
    is_lenient: bool,
) -> Result<TranslatedRequest, Box<Fault>> {
    let TranslatedRequest { body, dropped } =
        translate_request(client, prompt, upstream, target, is_lenient)?;
    let body = face(upstream).count_request(&body, target.model)?;
    Ok(TranslatedRequest { body: Bytes::from(body), dropped })
}

/// Reads an upstream's count, and writes it in the client's dialect. Counting uses no tokens.
///
/// # Errors
/// The body is not a count, or it is an error in a 200.
pub fn buffered_count(answer_path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
    let tokens = read_count(answer_path.upstream, &body)?;
    let facts = AnswerFacts { usage: Some(Usage::default()), content_bytes: 0 };
    let body = if answer_path.client == answer_path.upstream {
        body
    } else {
        count_answer(answer_path.client, tokens)
    };
    Ok(BufferedAnswer::plain(body, facts))
}

/// The count in a response that is an object and not an error.
fn read_count(upstream: Grammar, body: &Bytes) -> Result<u64, StreamFault> {
    let text = chat::operations::document(body)?;
    let mut cursor = Cursor::new(text)?;
    if cursor.kind()? != Kind::Object {
        return Err(StreamFault::Broken("not_an_object"));
    }
    let count = face(upstream).facts().count;
    let mut tokens = None;
    let mut is_error = false;
    cursor.object(|cursor, member| {
        let value = cursor.value()?;
        if member.key.is(count.member) {
            tokens = value.as_count();
        }
        is_error |= value.is_something(text) && member.key.is("error");
        Ok::<(), JsonError>(())
    })?;
    cursor.end()?;
    if is_error {
        return Err(chat::upstream_error(text));
    }
    match tokens {
        Some(tokens) => Ok(tokens),
        None if count.omits_zero => Ok(0),
        None => Err(StreamFault::Broken("no_count")),
    }
}
