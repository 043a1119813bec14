//! Operations on a file that its provider stores: upload, retrieve, delete.

use conversation::request::Request;
use domain::limits::FILE_BYTES_MAX;
use domain::{Fault, Operation, Usage};

use crate::spec::{
    AnsweredCall, Body, Booking, CallSize, Facts, ModelLimits, OperationSpec, RequestSource, Unsupported,
};

/// A file that is only stored is never buffered, so it may be longer than other forms.
static FACTS: Facts = Facts {
    unsupported: Unsupported::new(
        "has no way to keep files",
        "Send what is in the file with the request that needs it.",
    ),
    body: Body::Form,
    form_bytes_max: FILE_BYTES_MAX,
    ..Facts::STORED_OBJECT
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

    fn ceiling(&self, _call: &CallSize<'_>, _model: ModelLimits) -> Usage {
        Usage::default()
    }

    fn booking(&self, _call: &AnsweredCall<'_>) -> Booking {
        Booking::Never
    }
}
