//! The tests of `dialects::media`.

mod answer;
mod counts;
mod stream;

use bytes::Bytes;
use conversation::answer::StreamFault;
use dialects::media::buffered_image_answer;
use dialects::{AnswerPath, BufferedAnswer};
use domain::{Grammar, Operation};

/// Reads images that came whole.
fn images(body: Bytes) -> Result<BufferedAnswer, StreamFault> {
    let path = AnswerPath { operation: Operation::Images, ..AnswerPath::chat(Grammar::Chat, Grammar::Chat) };
    buffered_image_answer(&path, body)
}
