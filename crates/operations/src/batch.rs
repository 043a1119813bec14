//! Operations on an asynchronous batch of requests.

use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::request::Request;
use dialects::media::Media;
use dialects::{AnswerPath, AnswerStream, BufferedAnswer};
use domain::limits::OUTPUT_TOKENS_UNKNOWN;
use domain::{Fault, Operation, Usage};

use crate::spec::{CallSize, Facts, ModelLimits, ObjectFacts, OperationSpec, RequestSource, Unsupported};

static FACTS: Facts = Facts {
    unsupported: Unsupported::new("has no way to work through a batch", "Send its requests one by one."),
    ..Facts::of_object(&OBJECT)
};
static OBJECT: ObjectFacts = ObjectFacts {
    not_found: "batch_not_found",
    is_made_from_file: true,
    is_booked_at_end: true,
    or_no_content: ", or no results of it yet",
    ..ObjectFacts::FILE
};

#[derive(Debug)]
pub(crate) struct Batch;

impl OperationSpec for Batch {
    fn operation(&self) -> Operation {
        Operation::Batch
    }

    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    /// A new batch names a file of requests, or holds them, as its dialect has it.
    fn read_request(&self, source: RequestSource<'_>) -> Result<Request, Box<Fault>> {
        match source.addressed.and_then(|addressed| addressed.stored.clone()) {
            Some(stored) => Ok(Request::about(stored)),
            None => dialects::decode_batch(source.grammar, source.body, source.addressed),
        }
    }

    /// All its requests together. Those in a file or in its customer's storage are not read.
    fn ceiling(&self, call: &CallSize<'_>, model: ModelLimits) -> Usage {
        let Some(bundle) = call.request.batch().filter(|bundle| bundle.storage.is_none()) else {
            return Usage::default();
        };
        let own = model.output_tokens_max.or(model.context_tokens).unwrap_or(OUTPUT_TOKENS_UNKNOWN);
        let output = bundle.output_tokens.saturating_add(bundle.unbounded.saturating_mul(own));
        Usage { input: call.body_bytes, output, ..Usage::default() }
    }

    fn buffered_answer(&self, path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
        dialects::buffered_stored_object(path, body)
    }

    fn answer_stream(&self, _path: AnswerPath) -> AnswerStream {
        AnswerStream::media(Media::File)
    }
}
