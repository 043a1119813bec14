//! Moderation: whether texts violate a content policy.

use bytes::Bytes;
use chat::{Input, ModelField, RequestFields};
use conversation::answer::StreamFault;
use conversation::request::Request;
use dialects::{AnswerPath, BufferedAnswer};
use domain::{Fault, Operation};

use crate::spec::{Facts, OperationSpec, RequestSource, Unsupported};

/// The default model, as OpenAI has it.
const DEFAULT_MODEL: &str = "omni-moderation-latest";

static FACTS: Facts = Facts {
    unsupported: Unsupported::new(
        "has no way to judge texts",
        "Leave \"model\" out, or use one that moderates, such as GET /v2/capabilities lists.",
    ),
    ..Facts::TEXT
};
static FIELDS: RequestFields =
    RequestFields { model: ModelField::Default(DEFAULT_MODEL), ..RequestFields::of("input", Input::Texts) };

#[derive(Debug)]
pub(crate) struct Moderate;

impl OperationSpec for Moderate {
    fn operation(&self) -> Operation {
        Operation::Moderate
    }

    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    /// Its answer is never streamed, whatever the request says.
    fn read_request(&self, source: RequestSource<'_>) -> Result<Request, Box<Fault>> {
        let read = chat::read_common(source.body, &FIELDS)?;
        Ok(Request { stream: false, ..read.request })
    }

    fn buffered_answer(&self, _path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
        dialects::media::buffered_object(body)
    }
}
