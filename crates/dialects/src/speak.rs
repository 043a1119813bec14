//! A request said in another grammar.

use bytes::Bytes;
use domain::{Abilities, Fault, Grammar, Operation, Prompt};

use crate::losses::Losses;
use crate::{Addressed, Request, anthropic, chat, converse, gemini, kept, responses};

/// For whom a request is written.
#[derive(Debug, Clone, Copy)]
pub struct Listener<'a> {
    /// The model's name there.
    pub model: &'a str,
    pub abilities: Abilities,
}

impl Listener<'_> {
    /// The length that is asked for, so far as the model gives it: more would be refused, and gives no more.
    pub(crate) fn tokens_max(&self, prompt: &Prompt) -> Option<u64> {
        let most = self.abilities.output_tokens_max.unwrap_or(u64::MAX);
        prompt.output.tokens_max.map(|tokens| tokens.min(most))
    }
}

/// A request in another grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    pub body: Bytes,
    /// What was left out, by the client's names.
    pub dropped: Vec<String>,
}

/// Reads what the rooms need of a request. `addressed` is what its address said, for grammars that say the model there.
///
/// # Errors
/// What is wrong, where, and how to mend it.
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
            // Nothing but its address says anything of it.
            Some(said) => Ok(Request { prompt_bytes: said.prompt_bytes, ..Request::of_model(&said.model) }),
            None => chat::side::decode(operation, body),
        },
        Grammar::Responses => match addressed.and_then(|addressed| addressed.stored.as_ref()) {
            Some(stored) => Ok(responses::decode_look(stored)),
            None => responses::decode_request(body),
        },
        Grammar::Anthropic => anthropic::decode_request(operation, body),
        Grammar::Gemini => gemini::decode_request(operation, body, addressed),
        Grammar::Converse => converse::decode_request(operation, body, addressed),
        // No client speaks it, and no route leads here.
        Grammar::Hosted => Err(Box::new(Fault::internal())),
    }
}

/// Reads a whole request into the form that every grammar can be written from.
///
/// # Errors
/// What is wrong, where, and how to mend it.
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

/// Writes a request. What the grammar can't say is told to `losses`.
///
/// # Errors
/// What the prompt holds can't be written at all, such as arguments of a call that are no JSON.
pub fn write_prompt(
    grammar: Grammar,
    prompt: &Prompt,
    listener: &Listener<'_>,
    losses: &mut Losses,
) -> Result<Vec<u8>, Box<Fault>> {
    match grammar {
        Grammar::Chat => chat::write_prompt(prompt, listener, losses),
        Grammar::Responses => responses::write_prompt(prompt, listener, losses),
        Grammar::Anthropic => anthropic::write_prompt(prompt, listener, losses),
        Grammar::Gemini => gemini::write_prompt(prompt, listener, losses),
        Grammar::Converse => converse::write_prompt(prompt, listener, losses),
        // It has no words for conversations.
        Grammar::Hosted => Err(Box::new(Fault::internal())),
    }
}

/// Says a client's request in an upstream's grammar.
///
/// # Errors
/// The request is wrong, or means what the other grammar can't say and may not be left out.
pub fn speak(
    client: Grammar,
    prompt: &Prompt,
    upstream: Grammar,
    listener: &Listener<'_>,
    is_lenient: bool,
) -> Result<Spoken, Box<Fault>> {
    let mut losses = Losses::new(client, upstream).called(&prompt.aliases);
    let body = write_prompt(upstream, prompt, listener, &mut losses)?;
    for extra in &prompt.extras {
        losses.lose_extra(&*extra.name, extra.is_meaning);
    }
    Ok(Spoken { body: Bytes::from(body), dropped: losses.settle(is_lenient)? })
}
