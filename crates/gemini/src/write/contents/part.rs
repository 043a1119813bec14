//! Writes the parts of a turn.

use std::borrow::Cow;

use conversation::features::Feature;
use domain::prompt::{Content, Signature, Source, Thought, ToolCall, ToolResult, Turn};
use domain::{Fault, FaultClass, Grammar};
use json::written::checked;
use serde_json::value::{RawValue, to_raw_value};

use super::Writing;
use crate::media;
use crate::wire::{Blob, Datum, FileData, FunctionCall, FunctionResponse, Part, object};

/// The parts so far, and a thought signature that waits for the part it belongs to.
#[derive(Default)]
struct Parts<'a> {
    written: Vec<Part<'a>>,
    seal: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn push(&mut self, mut part: Part<'a>) {
        part.thought_signature = self.seal.take().map(Cow::Borrowed);
        self.written.push(part);
    }

    /// Adds a part that may have its own signature. A waiting one goes on an empty text before it.
    fn push_sealed(&mut self, part: Part<'a>) {
        self.flush();
        self.written.push(part);
    }

    fn flush(&mut self) {
        if self.seal.is_some() {
            self.push(Part::text(""));
        }
    }
}

impl<'a> Writing<'a, '_> {
    /// `position` is the turn's index among the client's messages, for faults.
    pub(super) fn parts(&mut self, turn: &'a Turn, position: usize) -> Result<Vec<Part<'a>>, Box<Fault>> {
        let mut parts = Parts::default();
        for part in &turn.parts {
            match &part.content {
                Content::Text { text, citations } => {
                    if !citations.is_empty() {
                        self.losses.drop_feature(Feature::Citations);
                    }
                    push_text(&mut parts, text);
                }
                Content::Refusal { text } => push_text(&mut parts, text),
                Content::Thought(thought) => self.thought(thought, &mut parts),
                Content::ToolCall(call) => {
                    self.names.insert(&call.id, &call.name);
                    parts.push_sealed(write_call(call, position)?);
                }
                Content::ToolResult(result) => {
                    let part = self.result(result, position)?;
                    parts.push(part);
                }
                Content::Foreign { kind, json } => {
                    match Datum::foreign(kind, Cow::Borrowed(checked(json.as_str())?)) {
                        Some(datum) => parts.push(Part::of(datum)),
                        None => self.losses.drop_foreign(kind),
                    }
                }
                media => {
                    if let Some(part) = self.media(media) {
                        parts.push(part);
                    }
                }
            }
        }
        parts.flush();
        Ok(parts.written)
    }

    fn thought(&mut self, thought: &'a Thought, parts: &mut Parts<'a>) {
        let seal = match &thought.signature {
            Some(Signature { grammar: Grammar::Gemini, value }) => Some(value.as_str()),
            // A signature is valid only at its own provider, and so is the thinking that it signs.
            Some(_) => return self.losses.drop_feature(Feature::Thought),
            None if thought.is_redacted => return self.losses.drop_feature(Feature::Thought),
            None => None,
        };
        if thought.is_redacted {
            parts.flush();
            parts.seal = seal;
        } else if seal.is_some() || !thought.text.is_empty() {
            let part = Part {
                thought: true,
                thought_signature: seal.map(Cow::Borrowed),
                ..Part::text(&thought.text)
            };
            parts.push_sealed(part);
        }
    }

    fn result(&mut self, result: &'a ToolResult, position: usize) -> Result<Part<'a>, Box<Fault>> {
        let known = self.names.get(result.id.as_str()).copied();
        let name = result.name.as_deref().or(known).ok_or_else(|| unknown_call(result, position))?;
        let mut texts = Vec::new();
        let mut media = Vec::new();
        for part in &result.parts {
            match &part.content {
                Content::Text { text, .. } | Content::Refusal { text } => texts.push(text.as_str()),
                content => media.extend(self.media(content)),
            }
        }
        let response = write_response(&texts, result.is_error)?;
        Ok(Part::of(Datum::FunctionResponse(FunctionResponse {
            id: &result.id,
            name,
            response,
            parts: media,
        })))
    }

    /// Returns `None` for media that Gemini cannot take, and records the loss.
    fn media(&mut self, content: &'a Content) -> Option<Part<'a>> {
        let (source, name, fallback) = match content {
            Content::Image { source, detail } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.losses.drop_feature(Feature::ImageDetail);
                }
                (source, None, "image/jpeg")
            }
            Content::Audio { source } => (source, None, "audio/wav"),
            Content::Video { source } => (source, None, "video/mp4"),
            Content::Document { source, name, context, cite } => {
                if context.is_some() {
                    self.losses.drop_feature(Feature::DocumentContext);
                }
                if *cite {
                    self.losses.drop_feature(Feature::Citations);
                }
                (source, name.as_deref(), "application/pdf")
            }
            _ => return None,
        };
        Some(Part::of(match source {
            Source::Inline { media_type, base64 } => {
                Datum::InlineData(Blob { mime_type: media_type, data: base64, display_name: name })
            }
            Source::Text(text) => Datum::Text(Cow::Borrowed(text)),
            Source::Url { url, media_type } => {
                let mime_type = media_type.as_deref().or_else(|| media::type_of_url(url)).unwrap_or(fallback);
                Datum::FileData(FileData { mime_type: Some(mime_type), file_uri: url, display_name: name })
            }
            Source::File { id, media_type } if media::is_own_file(id) => Datum::FileData(FileData {
                mime_type: media_type.as_deref(),
                file_uri: id,
                display_name: name,
            }),
            Source::File { .. } => {
                self.losses.drop_feature(Feature::ProviderFile);
                return None;
            }
        }))
    }
}

/// Drops empty text, which Gemini rejects.
fn push_text<'a>(parts: &mut Parts<'a>, text: &'a str) {
    if !text.is_empty() {
        parts.push(Part::text(text));
    }
}

fn write_call(call: &ToolCall, position: usize) -> Result<Part<'_>, Box<Fault>> {
    let arguments = call.arguments.trim();
    let args = if call.is_custom {
        Cow::Owned(wrap("input", &call.arguments)?)
    } else if arguments.is_empty() {
        Cow::Borrowed(checked("{}")?)
    } else {
        Cow::Borrowed(object(arguments).ok_or_else(|| bad_arguments(call, position))?)
    };
    let own = call.signature.as_ref().filter(|signature| signature.grammar == Grammar::Gemini);
    let function_call = FunctionCall { id: Cow::Borrowed(&call.id), name: Cow::Borrowed(&call.name), args };
    Ok(Part {
        thought_signature: own.map(|signature| Cow::Borrowed(signature.value.as_str())),
        ..Part::of(Datum::FunctionCall(function_call))
    })
}

/// Gemini requires a result to be an object: an object is sent as it is, and text under the member that
/// Google documents.
fn write_response(texts: &[&str], is_error: bool) -> Result<Box<RawValue>, Box<Fault>> {
    if texts.is_empty() && !is_error {
        return Ok(checked("{}")?.to_owned());
    }
    let text = texts.join("\n");
    match object(&text) {
        Some(raw) if is_error => raw_wrap("error", raw.get()),
        Some(raw) => Ok(raw.to_owned()),
        None => wrap(if is_error { "error" } else { "output" }, &text),
    }
}

fn wrap(name: &str, text: &str) -> Result<Box<RawValue>, Box<Fault>> {
    let quoted = to_raw_value(text).map_err(|_| Box::new(Fault::internal()))?;
    raw_wrap(name, quoted.get())
}

fn raw_wrap(name: &str, json: &str) -> Result<Box<RawValue>, Box<Fault>> {
    RawValue::from_string(format!("{{\"{name}\":{json}}}")).map_err(|_| Box::new(Fault::internal()))
}

fn bad_arguments(call: &ToolCall, position: usize) -> Box<Fault> {
    let message =
        format!("The arguments of the call \"{}\" of \"{}\" aren't a JSON object.", call.id, call.name);
    let fix =
        "Send the arguments of each call as the JSON object that the model wrote, or leave the call out.";
    let fault = Fault::new(FaultClass::BadRequest, "invalid_tool_arguments", message);
    Box::new(fault.fix(fix).param(format!("messages[{position}]")))
}

fn unknown_call(result: &ToolResult, position: usize) -> Box<Fault> {
    let message = format!("The result for \"{}\" answers no call of this conversation.", result.id);
    let fix = "Send each result after the call that it answers.";
    let fault = Fault::new(FaultClass::BadRequest, "tool_result_without_call", message);
    Box::new(fault.fix(fix).param(format!("messages[{position}]")))
}
