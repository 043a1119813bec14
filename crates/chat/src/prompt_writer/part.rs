//! Writes the parts of a message's content.

use std::borrow::Cow;

use conversation::features::Feature;
use conversation::losses::DroppedFields;
use domain::prompt::{Content, Part, Source};
use domain::{Abilities, Grammar};

use super::body::{File, ImageUrl, InputAudio, MessageContent, MessagePart, PartContent, mark};

/// What a part is written for, and where its losses are recorded.
pub(super) struct PartWriter<'a, 'b> {
    pub abilities: &'a Abilities,
    pub losses: &'b mut DroppedFields,
}

/// A single plain text is written as a string, which every server accepts; no parts at all as an empty one.
pub(super) fn content(mut parts: Vec<MessagePart<'_>>) -> MessageContent<'_> {
    match parts.as_mut_slice() {
        [] => MessageContent::Text(Cow::Borrowed("")),
        [MessagePart { content: PartContent::Text { text }, prompt_cache_breakpoint: None }] => {
            MessageContent::Text(std::mem::take(text))
        }
        _ => MessageContent::Parts(parts),
    }
}

pub(super) fn plain<'a>(text: impl Into<Cow<'a, str>>) -> MessagePart<'a> {
    MessagePart { content: PartContent::Text { text: text.into() }, prompt_cache_breakpoint: None }
}

impl PartWriter<'_, '_> {
    pub(super) fn write<'a>(&mut self, part: &'a Part) -> Option<MessagePart<'a>> {
        if matches!(part.content, Content::Audio { source: Source::Url { .. } }) {
            self.losses.drop_in(Feature::Audio, &part.path);
            return None;
        }
        let content = self.write_content(&part.content)?;
        let mark = part.cache.map(mark).filter(|_| self.abilities.cache_marks);
        if part.cache.is_some() && mark.is_none() {
            self.losses.drop_in(Feature::CacheMark, &part.path);
        }
        Some(MessagePart { content, prompt_cache_breakpoint: mark })
    }

    fn write_content<'a>(&mut self, content: &'a Content) -> Option<PartContent<'a>> {
        match content {
            Content::Text { text, citations } => {
                if !citations.is_empty() {
                    self.losses.drop_feature(Feature::Citations);
                }
                Some(PartContent::Text { text: Cow::Borrowed(text) })
            }
            Content::Image { source, detail } => self.write_image(source, detail.as_deref()),
            Content::Audio { source } => self.write_audio(source),
            Content::Document { source, name, context, cite } => {
                if context.is_some() {
                    self.losses.drop_feature(Feature::DocumentContext);
                }
                if *cite {
                    self.losses.drop_feature(Feature::Citations);
                }
                self.write_document(source, name.as_deref())
            }
            Content::Video { .. } => self.lose(Feature::Video),
            Content::Thought(_) => self.lose(Feature::Thought),
            Content::Foreign { kind, .. } => {
                self.losses.drop_foreign(kind);
                None
            }
            // A refusal outside an assistant message becomes plain text.
            Content::Refusal { text } => Some(PartContent::Text { text: Cow::Borrowed(text) }),
            Content::ToolCall(call) => self.lose_named(&call.name),
            Content::ToolResult(result) => self.lose_named(&result.id),
        }
    }

    fn lose<T>(&mut self, feature: Feature) -> Option<T> {
        self.losses.drop_feature(feature);
        None
    }

    fn lose_named<T>(&mut self, name: &str) -> Option<T> {
        self.losses.drop_unknown(name, true);
        None
    }

    fn write_image<'a>(&mut self, source: &'a Source, detail: Option<&'a str>) -> Option<PartContent<'a>> {
        let url = match source {
            Source::Inline { media_type, base64 } => Cow::Owned(data_url(media_type, base64)),
            Source::Url { url, .. } => Cow::Borrowed(url.as_str()),
            Source::Text(text) => return Some(PartContent::Text { text: Cow::Borrowed(text) }),
            Source::File { .. } => return self.lose(Feature::ProviderFile),
        };
        Some(PartContent::ImageUrl { image_url: ImageUrl { url, detail } })
    }

    fn write_audio<'a>(&mut self, source: &'a Source) -> Option<PartContent<'a>> {
        match source {
            Source::Inline { media_type, base64 } => {
                let format = audio_format(media_type);
                Some(PartContent::InputAudio { input_audio: InputAudio { data: base64, format } })
            }
            Source::Text(text) => Some(PartContent::Text { text: Cow::Borrowed(text) }),
            Source::Url { .. } => self.lose(Feature::Audio),
            Source::File { .. } => self.lose(Feature::ProviderFile),
        }
    }

    fn write_document<'a>(&mut self, source: &'a Source, name: Option<&'a str>) -> Option<PartContent<'a>> {
        let file = match source {
            Source::Inline { media_type, base64 } => File {
                file_data: Some(data_url(media_type, base64)),
                file_id: None,
                // Servers infer the media type from the file name.
                filename: Some(name.unwrap_or(if media_type == "application/pdf" {
                    "document.pdf"
                } else {
                    "document"
                })),
            },
            Source::File { id, .. } => {
                // Files are shared only between OpenAI's own APIs.
                if !matches!(self.losses.client(), Grammar::Chat | Grammar::Responses) {
                    return self.lose(Feature::ProviderFile);
                }
                File { file_data: None, file_id: Some(id), filename: name }
            }
            Source::Text(text) => {
                let text = match name {
                    Some(name) => Cow::Owned(format!("{name}\n\n{text}")),
                    None => Cow::Borrowed(text.as_str()),
                };
                return Some(PartContent::Text { text });
            }
            Source::Url { .. } => return self.lose(Feature::Document),
        };
        Some(PartContent::File { file })
    }
}

fn data_url(media_type: &str, base64: &str) -> String {
    format!("data:{media_type};base64,{base64}")
}

/// OpenAI's name for an audio format; an unknown one keeps its own name, for the server to judge.
fn audio_format(media_type: &str) -> &str {
    match media_type.split(';').next().unwrap_or(media_type) {
        "audio/mpeg" => "mp3",
        "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => "wav",
        other => other.strip_prefix("audio/").unwrap_or(other),
    }
}
