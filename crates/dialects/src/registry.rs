//! The reader and the writer of each dialect's answers.

use conversation::answer::{AnswerOptions, ReadAnswer, WriteAnswer};
use domain::{Dialect, Grammar};

pub(crate) fn reader(grammar: Grammar) -> Box<dyn ReadAnswer> {
    match grammar {
        // Embeddings are never streamed, and are read elsewhere.
        Grammar::Chat | Grammar::Hosted => Box::new(chat::Reader::default()),
        Grammar::Responses => Box::new(responses::Reader::default()),
        Grammar::Anthropic => Box::new(anthropic::Reader::default()),
        Grammar::Gemini => Box::new(gemini::Reader::default()),
        Grammar::Converse => Box::new(converse::Reader::default()),
    }
}

pub(crate) fn writer(grammar: Grammar, wish: AnswerOptions) -> Box<dyn WriteAnswer> {
    match grammar {
        // No client speaks `Hosted`; Chat Completions is the common denominator.
        Grammar::Chat | Grammar::Hosted => Box::new(chat::Writer::new(wish)),
        Grammar::Responses => Box::new(responses::Writer::new(wish)),
        Grammar::Anthropic => Box::new(anthropic::Writer::new(wish)),
        Grammar::Gemini => Box::new(gemini::Writer::new(wish)),
        Grammar::Converse => Box::new(converse::Writer::new(wish)),
    }
}

/// The `content-type` of a stream.
#[must_use]
pub const fn stream_type(dialect: Dialect, as_array: bool) -> &'static str {
    match dialect {
        Dialect::Converse => "application/vnd.amazon.eventstream",
        // A stream in the form of one JSON array is, by its content type, a plain JSON document.
        _ if as_array => "application/json; charset=utf-8",
        _ => "text/event-stream; charset=utf-8",
    }
}

/// A comment or event that keeps an idle stream open, in a form that the dialect's SDKs ignore.
#[must_use]
pub const fn ping(grammar: Grammar) -> &'static [u8] {
    match grammar {
        Grammar::Chat | Grammar::Responses | Grammar::Hosted => b": ping\n\n",
        Grammar::Anthropic => anthropic::PING,
        // Gemini SDKs read no comments, and their chat sessions drop an answer that has a chunk without
        // parts; blank lines pass.
        Grammar::Gemini => b"\r\n\r\n",
        // No frame is ignored by every SDK: some pass on each event, known or not.
        Grammar::Converse => b"",
    }
}
