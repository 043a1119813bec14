//! Operations on a file that its provider stores: upload, retrieve, delete.

use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::request::Request;
use dialects::media::Media;
use dialects::{AnswerPath, AnswerStream, BufferedAnswer};
use domain::limits::FILE_BYTES_MAX;
use domain::{Fault, Operation};

use crate::form::FormFields;
use crate::spec::{Body, Facts, ObjectFacts, OperationSpec, RequestSource, Unsupported};

static FORM: FormFields = FormFields {
    is_stored: true,
    known: &[
        "custom_llm_provider",
        "expires_after[anchor]",
        "expires_after[seconds]",
        "expires_in_seconds",
        "file",
        "model",
        "provider",
        "purpose",
    ],
    ..FormFields::FILE
};
/// A file that is only stored is never buffered, so it may be longer than other forms.
static FACTS: Facts = Facts {
    unsupported: Unsupported::new(
        "has no way to keep files",
        "Send the file's content with the request that needs it.",
    ),
    body: Body::Form(&FORM),
    form_bytes_max: FILE_BYTES_MAX,
    ..Facts::of_object(&ObjectFacts::FILE)
};

#[derive(Debug)]
pub(crate) struct File;

impl OperationSpec for File {
    fn operation(&self) -> Operation {
        Operation::File
    }

    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    /// Only an upload has a body, and it is a form.
    fn read_request(&self, source: RequestSource<'_>) -> Result<Request, Box<Fault>> {
        let stored = source.addressed.and_then(|addressed| addressed.stored.clone());
        stored.map(Request::about).ok_or_else(|| Box::new(Fault::internal()))
    }

    fn buffered_answer(&self, path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
        dialects::buffered_stored_object(path, body)
    }

    fn answer_stream(&self, _path: AnswerPath) -> AnswerStream {
        AnswerStream::media(Media::File)
    }
}
