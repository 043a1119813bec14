//! Operations on an asynchronous batch of requests.

use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::request::Request;
use dialects::media::Media;
use dialects::{AnswerPath, AnswerStream, BufferedAnswer};
use domain::{Fault, Operation};

use crate::spec::{Facts, ObjectFacts, OperationSpec, RequestSource, Unsupported};

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

    fn buffered_answer(&self, path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
        dialects::buffered_stored_object(path, body)
    }

    fn answer_stream(&self, _path: AnswerPath) -> AnswerStream {
        AnswerStream::media(Media::File)
    }
}
