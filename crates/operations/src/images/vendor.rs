//! The images of an answer in a vendor's own format, written as an image response of OpenAI's API or as the
//! events of its stream.

use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFacts, StreamFault};
use dialects::media::{EVENTS, JSON, error_event, is_media_type, is_refusal};
use dialects::{AnswerPath, BufferedAnswer, EventBuffer, VendorAnswer, VendorStream};
use domain::limits::ANSWER_BYTES_MAX;
use domain::{Fault, TraceId, Units, Usage, UsageSource};
use framing::sse::read_event;
use json::members::Members;
use serde_json::{Value as Json, json};

use crate::extra_fields::AUTO;

const COMPLETED: &str = "image_generation.completed";

/// An image of a response.
#[derive(Debug)]
pub struct Image {
    pub source: ImageSource,
    pub size: Option<(u64, u64)>,
    pub format: Option<String>,
    /// The prompt as the model rewrote it.
    pub revised_prompt: Option<String>,
    /// The millionths of billing units that its size amounts to. They count if every image has them, and the
    /// head of the response reports none.
    pub billed: Option<u64>,
}

#[derive(Debug)]
pub enum ImageSource {
    Url(String),
    /// In Base64.
    Bytes(String),
}

impl Image {
    /// The member of OpenAI's API for such a source, and its value.
    pub fn datum(&self) -> (&'static str, &str) {
        match &self.source {
            ImageSource::Url(url) => ("url", url),
            ImageSource::Bytes(bytes) => ("b64_json", bytes),
        }
    }

    fn to_json(&self) -> Json {
        let (name, datum) = self.datum();
        match &self.revised_prompt {
            Some(prompt) => json!({name: datum, "revised_prompt": prompt}),
            None => json!({name: datum}),
        }
    }
}

/// Reads the images of a document; `None` if it has no list of images.
pub type ReadImages = fn(&Members<'_>) -> Result<Option<Vec<Image>>, StreamFault>;

/// An image response in a vendor's own format.
#[derive(Debug, Clone, Copy)]
pub struct VendorImages {
    /// Reads a buffered response.
    pub read: ReadImages,
    /// Reads an event of a stream, or the buffered response that came in its place. Events without images
    /// report progress.
    pub read_event: ReadImages,
}

impl VendorAnswer for VendorImages {
    fn buffered(&self, answer_path: &AnswerPath, body: &Bytes) -> Result<BufferedAnswer, StreamFault> {
        let text = chat::operations::document(body)?;
        let Some(members) = Members::of_answer(text) else { return Err(StreamFault::Broken("bad_json")) };
        let Some(images) = (self.read)(&members)? else { return Err(StreamFault::Broken("not_an_answer")) };
        let data: Vec<Json> = images.iter().map(Image::to_json).collect();
        let mut answer = json!({"created": answer_path.options.created_unix_s, "data": data});
        if let (Some(answer), Some(first)) = (answer.as_object_mut(), images.first()) {
            let size = first.size.map(|(width, height)| ("size", format!("{width}x{height}")));
            let format = first.format.clone().map(|format| ("output_format", format));
            answer
                .extend(size.into_iter().chain(format).map(|(name, value)| (name.to_owned(), value.into())));
        }
        let facts = AnswerFacts { usage: Some(usage_of(&images)), content_bytes: 0 };
        Ok(BufferedAnswer::plain(Bytes::from(answer.to_string()), facts))
    }

    fn stream(&self, answer_path: &AnswerPath) -> Option<Box<dyn VendorStream>> {
        Some(Box::new(ImageStream::new(self.read_event, answer_path.options.created_unix_s)))
    }
}

fn usage_of(images: &[Image]) -> Usage {
    let billed = images.iter().map(|image| image.billed).sum::<Option<u64>>().unwrap_or(0);
    let units = Units { images: images.len() as u64, billed, ..Units::default() };
    Usage { units, source: UsageSource::Provider, ..Usage::default() }
}

/// A stream whose last event with images is the result.
#[derive(Debug)]
struct ImageStream {
    read: ReadImages,
    created_unix_s: u64,
    cutter: EventBuffer,
    /// The response is one document, not a stream.
    is_document: bool,
    images: Option<Vec<Image>>,
    facts: StreamFacts,
}

impl VendorStream for ImageStream {
    fn opened(&mut self, media_type: &[u8]) -> Result<(), StreamFault> {
        self.is_document = is_media_type(media_type, JSON);
        if self.is_document || is_media_type(media_type, EVENTS) {
            Ok(())
        } else {
            Err(StreamFault::Broken("not_a_stream"))
        }
    }

    /// Nothing is written before the end.
    fn push(&mut self, chunk: Bytes, _out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        if self.is_document {
            return self.cutter.hold(&chunk, ANSWER_BYTES_MAX);
        }
        let mut at = self.cutter.stray(&chunk);
        while let Some(event) = self.cutter.next(&chunk, &mut at)? {
            self.take(&event)?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        if self.is_document {
            let body = self.cutter.take();
            let text = chat::operations::document(&body)?;
            self.read(&Members::of_answer(text).ok_or(StreamFault::Broken("bad_json"))?)?;
            self.facts.events += 1;
        } else if self.cutter.holds_data() {
            let event = self.cutter.last();
            match self.take(&event) {
                Err(StreamFault::Broken(_)) if !self.facts.finished => {
                    return Err(StreamFault::Broken("ended_early"));
                }
                Err(fault @ (StreamFault::Upstream(..) | StreamFault::UnreadableCall(..))) => {
                    return Err(fault);
                }
                Ok(()) | Err(StreamFault::Broken(_)) => {}
            }
        }
        if self.facts.events == 0 {
            return Err(StreamFault::Broken("empty"));
        }
        let Some(usage) = self.write(out) else {
            let what = if self.is_document { "not_an_answer" } else { "ended_early" };
            return Err(StreamFault::Broken(what));
        };
        self.facts.usage = Some(usage);
        self.facts.content_started = true;
        (self.facts.done, self.facts.finished) = (true, true);
        Ok(())
    }

    fn facts(&self) -> &StreamFacts {
        &self.facts
    }

    fn error_event(&self, fault: &Fault, trace: TraceId) -> Bytes {
        error_event(fault, trace)
    }

    fn ping(&self) -> &'static [u8] {
        b": ping\n\n"
    }
}

impl ImageStream {
    fn new(read: ReadImages, created_unix_s: u64) -> Self {
        Self {
            read,
            created_unix_s,
            cutter: EventBuffer::default(),
            is_document: false,
            images: None,
            facts: StreamFacts::default(),
        }
    }

    /// Takes one complete event.
    fn take(&mut self, event: &[u8]) -> Result<(), StreamFault> {
        let parsed = read_event(event);
        let data = parsed.data.json(event);
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.facts.finished = true;
        } else if !data.is_empty() {
            let Some(members) = Members::of_answer(data) else { return Err(StreamFault::Broken("bad_json")) };
            if is_refusal(parsed.name, &members) {
                return Err(chat::upstream_error(data));
            }
            self.facts.events += 1;
            self.read(&members)?;
        }
        Ok(())
    }

    fn read(&mut self, answer: &Members<'_>) -> Result<(), StreamFault> {
        self.images = (self.read)(answer)?.or(self.images.take());
        Ok(())
    }

    /// Writes the end of the client's stream, one event per image. Returns `None` if there are no images.
    fn write(&mut self, out: &mut Vec<Bytes>) -> Option<Usage> {
        let images = self.images.take()?;
        let mut bytes = Vec::new();
        for image in &images {
            let (name, datum) = image.datum();
            let size = image.size.map_or(AUTO.to_owned(), |(width, height)| format!("{width}x{height}"));
            let event = json!({
                "type": COMPLETED,
                name: datum,
                "created_at": self.created_unix_s,
                "size": size,
                "quality": AUTO,
                "background": AUTO,
                "output_format": image.format,
            });
            bytes.extend_from_slice(format!("event: {COMPLETED}\ndata: {event}\n\n").as_bytes());
        }
        out.push(Bytes::from(bytes));
        Some(usage_of(&images))
    }
}
