//! Text completion: the continuation of a prompt that is not a conversation.

use chat::{Input, RequestFields};
use conversation::request::Request;
use domain::{Fault, Operation};

use crate::spec::{Facts, OperationSpec, RequestSource, Unsupported};

static FACTS: Facts = Facts {
    unsupported: Unsupported::new(
        "has no way to go on with a text that isn't a conversation",
        "Send the text as the message of a user to /v1/chat/completions.",
    ),
    teaches_ratios: true,
    is_repeatable: true,
    ..Facts::TEXT
};
static FIELDS: RequestFields = RequestFields::of("prompt", Input::Texts);

#[derive(Debug)]
pub(crate) struct Complete;

impl OperationSpec for Complete {
    fn operation(&self) -> Operation {
        Operation::Complete
    }

    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn read_request(&self, source: RequestSource<'_>) -> Result<Request, Box<Fault>> {
        chat::read_common(source.body, &FIELDS).map(|read| read.request)
    }
}
