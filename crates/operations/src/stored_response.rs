//! Operations on a response that its provider stores: retrieve, resume the stream, cancel, delete.

use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::request::StoredAct;
use dialects::{AnswerPath, BufferedAnswer};
use domain::Operation;
use domain::ports::FoundResponse;

use crate::spec::{AnsweredCall, Booking, Facts, OperationSpec, Subject, Unsupported};

static FACTS: Facts = Facts {
    unsupported: Unsupported::new(
        "has no way to show an answer that it made before",
        "Send the conversation again.",
    ),
    subject: Subject::StoredAnswer,
    ..Facts::TEXT
};

#[derive(Debug)]
pub(crate) struct Stored;

impl OperationSpec for Stored {
    fn operation(&self) -> Operation {
        Operation::Stored
    }

    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    /// The first request that sees the end of an answer books it, unless the request that made it did.
    fn booking(&self, call: &AnsweredCall<'_>) -> Booking {
        let (Some(stored), Some(FoundResponse::Known(known))) = (&call.request.stored, call.found) else {
            return Booking::Never;
        };
        let returns_answer = matches!(stored.act, StoredAct::Read | StoredAct::Cancel);
        if returns_answer && !known.is_booked {
            Booking::Once { is_granted: call.is_granted }
        } else {
            Booking::Never
        }
    }

    fn buffered_answer(&self, path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
        Ok(dialects::buffered_stored_answer(path, body))
    }
}
