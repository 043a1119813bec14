//! Answers in a format of the vendor's own, which no client speaks: each provider reads its own, and writes
//! it as the operation's answer.

use std::fmt::Debug;

use bytes::Bytes;
use conversation::answer::{StreamFacts, StreamFault};
use domain::{Fault, TraceId};

use crate::answer_path::AnswerPath;
use crate::buffered::BufferedAnswer;

/// How a provider's own answer to one request becomes what the client gets. The provider makes it with the
/// request, so that it knows what the request said and the answer does not repeat.
pub trait VendorAnswer: Debug + Send + Sync {
    /// Reads the body of a response with status 200, and writes it for the client.
    ///
    /// # Errors
    /// The body is not such an answer, or it is an error in a 200.
    fn buffered(&self, answer_path: &AnswerPath, body: &Bytes) -> Result<BufferedAnswer, StreamFault>;

    /// The relay of an answer that the client gets as a stream; `None` if it is forwarded like any other
    /// answer to the operation.
    fn stream(&self, _answer_path: &AnswerPath) -> Option<Box<dyn VendorStream>> {
        None
    }

    /// The content type of what `buffered` writes, where the operation does not imply it.
    fn content_type(&self) -> Option<&'static str> {
        None
    }
}

/// An answer of such a format that is being streamed to a client.
pub trait VendorStream: Debug {
    /// The upstream's response head arrived, with this content type.
    ///
    /// # Errors
    /// The content type is not one that the format has.
    fn opened(&mut self, media_type: &[u8]) -> Result<(), StreamFault>;

    /// The content type for the client, where it differs from the upstream's.
    fn media_type(&self) -> Option<&'static str> {
        None
    }

    /// Takes bytes from the upstream and appends to `out` what the client gets.
    ///
    /// # Errors
    /// The stream failed. What was complete before the fault is in `out`.
    fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault>;

    /// Takes the end of the upstream's bytes.
    ///
    /// # Errors
    /// The stream ended before its terminal state.
    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), StreamFault>;

    fn facts(&self) -> &StreamFacts;

    /// The error as the last event; nothing where the client gets raw bytes.
    fn error_event(&self, fault: &Fault, trace: TraceId) -> Bytes;

    /// Bytes that keep an idle stream open; none where the format has no place for them.
    fn ping(&self) -> &'static [u8];
}
