//! What is known of each operation, in a folder each: how its request is read, what it may use at most, how its usage is
//! estimated and who books it, and how its answer is read. The stages see one trait.

#![expect(
    clippy::result_large_err,
    reason = "a fault ends a stream, so its size is paid once and not per chunk"
)]

mod ceiling;
mod extra_fields;
mod form;
mod form_parts;
mod spec;
mod upload;

use bytes::Bytes;
use conversation::answer::StreamFault;
use dialects::{AnswerPath, AnswerStream, BufferedAnswer};
use domain::Operation;

pub use extra_fields::ExtraFields;
pub use form::{FormFields, FormReader, PromptPart};
pub use spec::{
    AnsweredCall, Body, Booking, CallSize, ContentType, Facts, ModelLimits, ObjectFacts, OperationSpec,
    RequestSource, Subject, Unsupported,
};
pub use upload::{RequestsFile, purpose_of, requests_file};

/// Declares an operation's folder where its line does.
macro_rules! folder {
    (mod $folder:ident) => {
        pub mod $folder;
    };
    (in $folder:ident) => {};
}

macro_rules! registry {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $modality:ident, $place:tt $folder:ident
        $(, if $condition:meta)?;)*) => {
        $($(#[cfg($condition)])? folder!($place $folder);)*

        /// What is known of an operation.
        pub const fn of(operation: Operation) -> &'static dyn OperationSpec {
            match operation {
                $($(#[cfg($condition)])? Operation::$variant => &$folder::$variant,)*
                // The registry has no other.
                _ => of(Operation::Chat),
            }
        }
    };
}

domain::for_each_operation!(registry);

/// Reads the body of a response with status 200, and returns what the client gets.
///
/// # Errors
/// The body is not an answer to the operation: an error in a 200, HTML, nothing at all, or truncated JSON.
pub fn buffered_answer(path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
    match &path.vendor {
        Some(vendor) => vendor.buffered(path, &body),
        None => of(path.operation).buffered_answer(path, body),
    }
}

/// The relay of a streamed answer.
pub fn answer_stream(path: AnswerPath) -> AnswerStream {
    match path.vendor.as_ref().and_then(|vendor| vendor.stream(&path)) {
        Some(stream) => AnswerStream::vendor(stream),
        None => of(path.operation).answer_stream(path),
    }
}
