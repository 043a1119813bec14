//! Token counts: how many tokens a prompt has, before it is sent.

use bytes::Bytes;
use conversation::answer::StreamFault;
use dialects::{AnswerPath, BufferedAnswer};
use domain::{Operation, Usage};

use crate::spec::{CallSize, Facts, ModelLimits, OperationSpec, Unsupported};

static FACTS: Facts = Facts {
    unsupported: Unsupported::new(
        "has no way to count tokens",
        "Send the request itself: its answer states the tokens that it used.",
    ),
    is_conversation: true,
    only_counts: true,
    ..Facts::TEXT
};

#[derive(Debug)]
pub(crate) struct Count;

impl OperationSpec for Count {
    fn operation(&self) -> Operation {
        Operation::Count
    }

    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn ceiling(&self, _call: &CallSize<'_>, _model: ModelLimits) -> Usage {
        Usage::default()
    }

    fn buffered_answer(&self, path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
        dialects::buffered_count(path, body)
    }
}
