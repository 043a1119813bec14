//! A request for images, read for a vendor with a format of its own.

use domain::{Fault, Grammar};
use json::refusal::wrong_value;

use crate::extra_fields::{AUTO, ExtraFields};
use crate::spec::PROMPT_FIX;

const URL_FIX: &str = "Send \"b64_json\", or leave it out.";

/// A request for images.
#[derive(Debug)]
pub struct ImageRequest<'a> {
    pub prompt: String,
    pub count: Option<u64>,
    /// `None` if the choice is left to the model.
    pub size: Option<String>,
    /// The files' format.
    pub output_format: Option<String>,
    /// How the client gets each image; `None` if it did not say.
    pub delivery: Option<ImageDelivery>,
    pub stream: bool,
    pub extra: ExtraFields<'a>,
}

/// How a client gets an image: OpenAI's `response_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageDelivery {
    Url,
    Bytes,
}

impl<'a> ImageRequest<'a> {
    /// Reads the body of a request that was decoded before.
    pub fn read(client: Grammar, body: &'a [u8], is_lenient: bool) -> Result<Self, Box<Fault>> {
        let mut fields = ExtraFields::read(client, body, is_lenient)?;
        Ok(Self {
            prompt: fields.needed_text("prompt", PROMPT_FIX)?,
            count: fields.count("n")?,
            size: fields.text("size")?.filter(|size| size != AUTO),
            stream: fields.boolean("stream")? == Some(true),
            delivery: fields.text("response_format")?.as_deref().map(delivery).transpose()?,
            output_format: fields.text("output_format")?,
            extra: fields,
        })
    }

    /// `quality`, if it is not left to the model.
    ///
    /// # Errors
    /// It is no text.
    pub fn quality(&mut self) -> Result<Option<String>, Box<Fault>> {
        Ok(self.extra.text("quality")?.filter(|quality| quality != AUTO))
    }

    /// Reports a URL that the client wants of a model whose answer holds the images themselves. A stream is
    /// accepted, as the gateway then wraps the answer into events.
    ///
    /// # Errors
    /// The wish may not be dropped.
    pub fn require_inline_bytes(&mut self) -> Result<(), Box<Fault>> {
        if self.delivery == Some(ImageDelivery::Url) {
            let what = "asks for an address, and pictures of this model have none";
            return self.extra.unsupported("response_format", what, URL_FIX);
        }
        Ok(())
    }
}

fn delivery(format: &str) -> Result<ImageDelivery, Box<Fault>> {
    match format {
        "url" => Ok(ImageDelivery::Url),
        "b64_json" => Ok(ImageDelivery::Bytes),
        _ => {
            let fix = "Send \"url\" or \"b64_json\", or leave it out.".to_owned();
            Err(wrong_value("response_format".to_owned(), "isn't a form of a picture", fix))
        }
    }
}

/// The width and the height that a `size` such as `1024x768` names.
pub fn width_and_height(size: &str) -> Option<(u32, u32)> {
    let (width, height) = size.split_once('x')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}
