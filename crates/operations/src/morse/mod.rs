//! A text translated to Morse code: all that an operation needs, as an example. It is only compiled with the feature `morse`.

use bytes::Bytes;
use chat::{Input, RequestFields};
use conversation::answer::{AnswerFacts, StreamFault};
use conversation::request::Request;
use dialects::{AnswerPath, BufferedAnswer};
use domain::{Fault, Operation, Units, Usage, UsageSource};
use json::members::Members;

use crate::ceiling;
use crate::spec::{CallSize, Facts, ModelLimits, OperationSpec, RequestSource, Unsupported};

static FACTS: Facts = Facts {
    counts_tokens: false,
    unsupported: Unsupported::new("has no way to write Morse code", "Use a model that writes it."),
    ..Facts::TEXT
};
static FIELDS: RequestFields = RequestFields::of("text", Input::OneText);

#[derive(Debug)]
pub(crate) struct Morse;

impl OperationSpec for Morse {
    fn operation(&self) -> Operation {
        Operation::Morse
    }

    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn read_request(&self, source: RequestSource<'_>) -> Result<Request, Box<Fault>> {
        let read = chat::read_common(source.body, &FIELDS)?;
        let units = Units { characters: read.characters, ..Units::default() };
        Ok(Request { stream: false, units, ..read.request })
    }

    fn ceiling(&self, call: &CallSize<'_>, _model: ModelLimits) -> Usage {
        ceiling::of_media(call.request, call.body_bytes, 0)
    }

    /// It is sold by the character.
    fn counted_in_units(&self, request: &Request, _sells_tokens: Option<bool>) -> Option<Usage> {
        let units = Units { characters: request.units.characters, ..Units::default() };
        Some(Usage { units, source: UsageSource::Provider, ..Usage::default() })
    }

    fn buffered_answer(&self, _path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
        let text = chat::operations::document(&body)?;
        let answer = Members::of_answer(text).ok_or(StreamFault::Broken("bad_json"))?;
        let code = answer.find_text("morse").ok_or(StreamFault::Broken("not_an_answer"))?;
        if !code.chars().all(|letter| matches!(letter, '.' | '-' | '/' | ' ')) {
            return Err(StreamFault::Broken("not_morse"));
        }
        Ok(BufferedAnswer::plain(body, AnswerFacts::default()))
    }
}
