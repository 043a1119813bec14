//! Operations on a generated video: create, remix, retrieve, download, delete.

mod request;
mod vendor;

use bytes::Bytes;
use chat::{Input, ModelField, RequestFields};
use conversation::answer::StreamFault;
use conversation::request::{Request, StoredAct};
use conversation::video;
use dialects::media::Media;
use dialects::{AnswerPath, AnswerStream, BufferedAnswer};
use domain::{Fault, Operation, Units, Usage};

use crate::form::{Count, FormFields, PromptPart};
use crate::spec::{
    Body, CallSize, Facts, ModelLimits, ObjectFacts, OperationSpec, RequestSource, Unsupported,
};
use crate::transcription::KNOWN_PARTS;

pub use request::{VideoRequest, VideoSize, request_document, unsupported_reference};
pub use vendor::{
    COMPLETED, FAILED, IN_PROGRESS, QUEUED, RequestedVideo, VideoContent, VideoContentStream, VideoReply,
    failure_message, no_content, not_ready,
};

static FACTS: Facts = Facts {
    unsupported: Unsupported::new("has no way to make videos", "Use a model of a provider that makes some."),
    body: Body::JsonOrForm(&FORM),
    ..Facts::of_object(&OBJECT)
};
static OBJECT: ObjectFacts = ObjectFacts {
    not_found: "video_not_found",
    is_booked_at_end: true,
    is_booked_by_last_poll: true,
    ..ObjectFacts::FILE
};
static FORM: FormFields = FormFields {
    needs_file: false,
    other_files: &["input_reference"],
    prompt: PromptPart::Required,
    count: Some(Count::VideoSeconds),
    known: KNOWN_PARTS,
    ..FormFields::FILE
};
static FIELDS: RequestFields =
    RequestFields { own: &["seconds"], ..RequestFields::of("prompt", Input::OneText) };
/// A remix changes an existing video, whose model it uses.
static REMIX: RequestFields =
    RequestFields { model: ModelField::Inherited, ..RequestFields::of("prompt", Input::OneText) };

#[derive(Debug)]
pub(crate) struct Video;

impl OperationSpec for Video {
    fn operation(&self) -> Operation {
        Operation::Video
    }

    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn read_request(&self, source: RequestSource<'_>) -> Result<Request, Box<Fault>> {
        match source.addressed.and_then(|addressed| addressed.stored.clone()) {
            Some(stored) if stored.act == StoredAct::Make => {
                let request = chat::read_common(source.body, &REMIX)?.request;
                Ok(Request { stream: false, stored: Some(Box::new(stored)), ..request })
            }
            Some(stored) => Ok(Request::about(stored)),
            None => {
                let mut video_ms = 0;
                let read = chat::read_request(source.body, &FIELDS, &mut |name, cursor| {
                    video_ms = video::read_seconds(cursor, name)?;
                    Ok(())
                })?;
                let mut request = Request { stream: false, ..read.request };
                request.units.video_ms = video_ms;
                Ok(request)
            }
        }
    }

    /// Its seconds, if the request states them.
    fn ceiling(&self, call: &CallSize<'_>, _model: ModelLimits) -> Usage {
        let video_ms = call.request.units.video_ms;
        Usage { units: Units { video_ms, ..Units::default() }, ..Usage::default() }
    }

    fn buffered_answer(&self, path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
        dialects::buffered_stored_object(path, body)
    }

    fn answer_stream(&self, _path: AnswerPath) -> AnswerStream {
        AnswerStream::media(Media::File)
    }
}
