//! Conversations: an answer to one, a model step of `/v1/run`, and the check of a credential, account or node.

use domain::Operation;

use crate::spec::{AnsweredCall, Booking, Facts, OperationSpec};

static FACTS: Facts = Facts { stores_answers: true, ..CONVERSATION };
const CONVERSATION: Facts = Facts {
    is_conversation: true,
    continues_conversation: true,
    teaches_ratios: true,
    is_repeatable: true,
    ..Facts::TEXT
};

#[derive(Debug)]
pub(crate) struct Chat;

impl OperationSpec for Chat {
    fn operation(&self) -> Operation {
        Operation::Chat
    }

    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn booking(&self, call: &AnsweredCall<'_>) -> Booking {
        if call.is_stored_by_provider && call.request.is_background {
            Booking::Once { is_granted: call.is_granted }
        } else {
            Booking::Own
        }
    }
}

#[derive(Debug)]
pub(crate) struct Run;

impl OperationSpec for Run {
    fn operation(&self) -> Operation {
        Operation::Run
    }

    fn facts(&self) -> &'static Facts {
        &CONVERSATION
    }
}

#[derive(Debug)]
pub(crate) struct Verify;

impl OperationSpec for Verify {
    fn operation(&self) -> Operation {
        Operation::Verify
    }

    fn facts(&self) -> &'static Facts {
        &Facts::TEXT
    }
}
