//! Operations on a prompt that its provider caches by name until it expires: create, retrieve, extend, delete. What it
//! takes to create one is billed as a prompt, and its storage for the whole time that it is to be kept, at once: that is
//! how the provider bills it, even where it is deleted earlier.

use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::request::{CacheLife, StoredAct};
use dialects::media::Media;
use dialects::{AnswerPath, AnswerStream, BufferedAnswer};
use domain::limits::CACHED_TOKENS_UNKNOWN;
use domain::{Operation, Units, Usage};

use crate::spec::{
    AnsweredCall, Booking, CallSize, Facts, ModelLimits, ObjectFacts, OperationSpec, Unsupported,
};

static FACTS: Facts = Facts {
    unsupported: Unsupported::new(
        "does not cache prompts by name",
        "Send the prompt with each request: providers cache repeated prompts automatically.",
    ),
    ..Facts::of_object(&OBJECT)
};
static OBJECT: ObjectFacts = ObjectFacts { not_found: "cached_content_not_found", ..ObjectFacts::FILE };

#[derive(Debug)]
pub(crate) struct CachedContent;

impl OperationSpec for CachedContent {
    fn operation(&self) -> Operation {
        Operation::CachedContent
    }

    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    /// What an extension adds is bounded by what it would be of a new cache.
    fn ceiling(&self, call: &CallSize<'_>, model: ModelLimits) -> Usage {
        let Some(life) = call.request.cache_life() else { return Usage::default() };
        let context = model.context_tokens.unwrap_or(CACHED_TOKENS_UNKNOWN);
        let is_new = call.request.stored.is_none();
        let tokens = if is_new { call.body_bytes.min(context) } else { context };
        let units = Units::stored(tokens, CacheLife::ms_from(life, call.received_unix_ms));
        Usage { input: if is_new { tokens } else { 0 }, units, ..Usage::default() }
    }

    fn booking(&self, call: &AnsweredCall<'_>) -> Booking {
        match &call.request.stored {
            None => Booking::Own,
            Some(stored) if stored.act == StoredAct::Extend => Booking::Own,
            Some(_) => Booking::Never,
        }
    }

    fn buffered_answer(&self, path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
        dialects::buffered_stored_object(path, body)
    }

    fn answer_stream(&self, _path: AnswerPath) -> AnswerStream {
        AnswerStream::media(Media::File)
    }
}
