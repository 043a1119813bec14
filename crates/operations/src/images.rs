//! Images: generated from a text, edited, and varied.

mod request;
mod vendor;

use bytes::Bytes;
use chat::{Input, RequestFields};
use conversation::answer::StreamFault;
use conversation::request::Request;
use dialects::media::Media;
use dialects::{AnswerPath, AnswerStream, BufferedAnswer};
use domain::limits::{PICTURE_TEXT_BYTES_MAX, PICTURES_SENT_MAX};
use domain::{Fault, Operation, Usage};

use crate::ceiling;
use crate::form::{Count, FormFields, PromptPart};
use crate::spec::{
    Body, CallSize, ContentType, Facts, ModelLimits, OperationSpec, RequestSource, Unsupported,
};

pub use request::{ImageDelivery, ImageRequest, width_and_height};
pub use vendor::{Image, ImageSource, ReadImages, VendorImages};

static FACTS: Facts = Facts {
    counts_tokens: false,
    unsupported: Unsupported::new(
        "has no way to make pictures",
        "Use a model that makes some, such as GET /v2/capabilities lists.",
    ),
    ..Facts::TEXT
};
static EDITS: Facts = Facts {
    body: Body::Form(&EDIT_FORM),
    content_type: ContentType::Recognised,
    unsupported: Unsupported::new(
        "has no way to edit pictures",
        "Use a model that edits some, or send the text alone to /v1/images/generations.",
    ),
    ..FACTS
};
static VARIATIONS: Facts = Facts {
    body: Body::Form(&VARIATION_FORM),
    unsupported: Unsupported::new(
        "has no way to vary pictures",
        "Use a model that varies some, or say what is to change in a request to /v1/images/edits.",
    ),
    ..EDITS
};
static EDIT_FORM: FormFields = FormFields {
    several_files: Some("image[]"),
    other_files: &["mask", "markup"],
    prompt: PromptPart::Required,
    has_stream: true,
    ..VARIATION_FORM
};
static VARIATION_FORM: FormFields = FormFields {
    file: "image",
    prompt: PromptPart::None,
    count: Some(Count::Images),
    known: &[
        "aspect_ratio",
        "background",
        "complexity",
        "frame_count",
        "frame_duration_ms",
        "image",
        "input_fidelity",
        "mask",
        "markup",
        "model",
        "moderation",
        "n",
        "output_compression",
        "output_format",
        "partial_images",
        "prompt",
        "quality",
        "resolution",
        "response_format",
        "safety_identifier",
        "seed",
        "size",
        "stream",
        "style",
        "user",
    ],
    ..FormFields::FILE
};
static FIELDS: RequestFields = RequestFields::of("prompt", Input::OneText);

/// The operations that answer with images.
#[derive(Debug)]
pub(crate) enum ImageOperation {
    Images,
    ImageEdits,
    ImageVariations,
}

pub(crate) use ImageOperation::{ImageEdits, ImageVariations, Images};

impl OperationSpec for ImageOperation {
    fn operation(&self) -> Operation {
        match self {
            Images => Operation::Images,
            ImageEdits => Operation::ImageEdits,
            ImageVariations => Operation::ImageVariations,
        }
    }

    fn facts(&self) -> &'static Facts {
        match self {
            Images => &FACTS,
            ImageEdits => &EDITS,
            ImageVariations => &VARIATIONS,
        }
    }

    /// The others come as forms.
    fn read_request(&self, source: RequestSource<'_>) -> Result<Request, Box<Fault>> {
        let mut request = chat::read_common(source.body, &FIELDS)?.request;
        request.units.images = u64::from(request.choices);
        Ok(request)
    }

    fn ceiling(&self, call: &CallSize<'_>, _model: ModelLimits) -> Usage {
        match self {
            Images => ceiling::of_media(call.request, call.request.prompt_bytes.max(call.body_bytes), 0),
            ImageEdits | ImageVariations => form_ceiling(call),
        }
    }

    /// Images that did not arrive cost nothing, unless the tokens of their prompt have a price.
    fn counted_in_units(&self, _request: &Request, sells_tokens: Option<bool>) -> Option<Usage> {
        (sells_tokens == Some(false)).then(Usage::default)
    }

    fn buffered_answer(&self, path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
        dialects::media::buffered_image_answer(path, body)
    }

    fn answer_stream(&self, _path: AnswerPath) -> AnswerStream {
        AnswerStream::media(Media::Images)
    }
}

/// The part of a form that has yet to arrive may hold a prompt, and files, as long and as many as are accepted.
fn form_ceiling(call: &CallSize<'_>) -> Usage {
    let request = call.request;
    let (prompt_bytes, files) = if call.is_arriving {
        (request.prompt_bytes.max(PICTURE_TEXT_BYTES_MAX), PICTURES_SENT_MAX)
    } else {
        (request.prompt_bytes, request.form().map_or(0, |form| form.files))
    };
    ceiling::of_media(request, prompt_bytes, files)
}
