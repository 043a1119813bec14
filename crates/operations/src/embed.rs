//! Embeddings of texts.

use bytes::Bytes;
use conversation::answer::StreamFault;
use dialects::{AnswerPath, BufferedAnswer};
use domain::Operation;

use crate::spec::{Facts, OperationSpec, Unsupported};

static FACTS: Facts = Facts {
    unsupported: Unsupported::new(
        "has no way to make vectors of texts",
        "Use a model that embeds, such as GET /v2/capabilities lists.",
    ),
    teaches_ratios: true,
    is_repeatable: true,
    ..Facts::TEXT
};

#[derive(Debug)]
pub(crate) struct Embed;

impl OperationSpec for Embed {
    fn operation(&self) -> Operation {
        Operation::Embed
    }

    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn buffered_answer(&self, path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
        dialects::buffered_vectors(path, body)
    }
}
