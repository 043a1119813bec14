//! Reads a streamed chat completion as it arrives.

use bytes::BytesMut;
use framing::sse::{EventSplitter, read_event};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
}

/// What has arrived.
#[derive(Default)]
pub(super) struct ChatStream {
    splitter: EventSplitter,
    partial: BytesMut,
    /// The last event has come.
    pub is_whole: bool,
    /// It reached its limit of tokens.
    pub is_cut: bool,
    /// The problem that broke it off.
    pub error: Option<Value>,
}

impl ChatStream {
    /// Takes a piece; the text in it.
    pub(super) fn take(&mut self, mut piece: &[u8]) -> String {
        let mut text = String::new();
        while let Some(end) = self.splitter.find_end(piece) {
            let (event, rest) = piece.split_at_checked(end).unwrap_or((piece, &[]));
            self.partial.extend_from_slice(event);
            let whole = self.partial.split();
            self.read(&whole, &mut text);
            piece = rest;
        }
        self.partial.extend_from_slice(piece);
        text
    }

    fn read(&mut self, event: &[u8], text: &mut String) {
        let read = read_event(event);
        let data = read.data.json(event);
        if data.as_ref() == b"[DONE]" {
            self.is_whole = true;
            return;
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk>(&data) else {
            if read.name == b"error" {
                self.error = Some(serde_json::from_slice(&data).unwrap_or_default());
            }
            return;
        };
        if chunk.error.is_some() || read.name == b"error" {
            self.error = chunk.error.or_else(|| serde_json::from_slice(&data).ok());
            return;
        }
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            self.is_cut |= choice.finish_reason.as_deref() == Some("length");
            self.is_whole |= choice.finish_reason.is_some();
            if let Some(delta) = choice.delta {
                text.extend([delta.content, delta.refusal].into_iter().flatten());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stream: &str, piece: usize) -> (String, ChatStream) {
        let mut read = ChatStream::default();
        let text = stream.as_bytes().chunks(piece).map(|piece| read.take(piece)).collect();
        (text, read)
    }

    #[test]
    fn the_text_is_read_however_it_is_cut() {
        let stream = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
            data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one \"}},{\"index\":1,\"delta\":{\"content\":\"x\"}}]}\n\n\
            : ping\n\n\
            data: {\"choices\":[{\"index\":0,\"delta\":{\"refusal\":\"two\"},\"finish_reason\":\"length\"}]}\n\n\
            data: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n";
        for piece in [1, 7, 1000] {
            let (text, read) = check(stream, piece);
            assert_eq!((text.as_str(), read.is_whole, read.is_cut), ("one two", true, true), "{piece}");
            assert!(read.error.is_none());
        }
    }

    #[test]
    fn an_error_in_the_stream_is_found() {
        for stream in ["data: {\"error\":{\"code\":\"x\"}}\n\n", "event: error\ndata: {\"code\":\"x\"}\n\n"] {
            let (text, read) = check(stream, 5);
            assert_eq!((text.as_str(), read.is_whole), ("", false));
            assert_eq!(read.error.unwrap()["code"], "x", "{stream}");
        }
    }
}
