//! One choice of an answer: which parts are open, and how it ends.

use std::hash::{DefaultHasher, Hash, Hasher};

use conversation::answer::StreamFault;
use domain::prompt::Json;
use domain::{Event, Finish, PartKind, Reason};
use json::{Cursor, JsonError, Kind, Text, Value};

use super::calls::Calls;
use super::delta::{ChunkChoice, Delta, string};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prose {
    Text,
    Thought,
    Refusal,
}

#[derive(Debug)]
pub(super) struct ChoiceReading {
    pub(super) number: u32,
    parts: u32,
    prose: Option<(u32, Prose)>,
    pub(super) calls: Calls,
    /// Hash of the current chunk, for the ids of calls that the server sent without one.
    pub(super) chunk_hash: u64,
    has_text: bool,
    has_refusal: bool,
    is_finished: bool,
}

impl ChoiceReading {
    pub(super) fn new(number: u32) -> Self {
        Self {
            number,
            parts: 0,
            prose: None,
            calls: Calls::default(),
            chunk_hash: 0,
            has_text: false,
            has_refusal: false,
            is_finished: false,
        }
    }

    pub(super) const fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// The start of a chunk holds the answer's id and creation time, which is enough to tell two answers
    /// apart.
    pub(super) fn begin_chunk(&mut self, json: &[u8]) {
        let mut hasher = DefaultHasher::new();
        json.get(..json.len().min(512)).hash(&mut hasher);
        self.chunk_hash = hasher.finish();
    }

    /// Takes the content of a chunk and returns how many bytes of the answer it was.
    pub(super) fn take(
        &mut self,
        delta: &Delta<'_>,
        chunk_choice: &ChunkChoice<'_>,
        is_whole: bool,
        out: &mut Vec<Event>,
    ) -> Result<u64, StreamFault> {
        let before = out.len();
        if let Some(text) = &delta.thought {
            self.push_text(Prose::Thought, text, out);
        }
        match delta.content {
            Some(Value::String(text)) => self.push_text(Prose::Text, &text, out),
            Some(Value::Array(span)) => self.take_parts(span.of(delta.bytes), out)?,
            _ => {}
        }
        if let Some(text) = &chunk_choice.text {
            self.push_text(Prose::Text, text, out);
        }
        if let Some(span) = delta.annotations {
            self.cite(span.of(delta.bytes), out)?;
        }
        if let Some(text) = &delta.refusal {
            self.push_text(Prose::Refusal, text, out);
        }
        if let Some(span) = delta.calls {
            self.take_calls(span.of(delta.bytes), is_whole, out)?;
        }
        if let Some(span) = delta.old_call {
            self.take_old_call(span.of(delta.bytes), out)?;
        }
        Ok(out.iter().skip(before).map(content_bytes).sum())
    }

    /// Content as a list of parts, as some servers send it when reasoning comes in between.
    fn take_parts(&mut self, array: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
        Cursor::new(array)?.array(|cursor, _| {
            if cursor.kind()? != Kind::Object {
                return Ok(cursor.ignore()?);
            }
            let (mut text, mut refusal, mut thought) = (None, None, None);
            cursor.object(|cursor, member| {
                match (&*member.key.decode(), cursor.kind()?) {
                    ("text", Kind::String) => text = string(cursor)?,
                    ("refusal", Kind::String) => refusal = string(cursor)?,
                    ("thinking", _) => thought = Some(cursor.value()?),
                    _ => cursor.ignore()?,
                }
                Ok::<(), JsonError>(())
            })?;
            match thought {
                Some(Value::String(text)) => self.push_text(Prose::Thought, &text, out),
                Some(Value::Array(span)) => self.take_thoughts(span.of(array), out)?,
                _ => {}
            }
            if let Some(text) = text {
                self.push_text(Prose::Text, &text, out);
            }
            if let Some(text) = refusal {
                self.push_text(Prose::Refusal, &text, out);
            }
            Ok::<(), StreamFault>(())
        })?;
        Ok(())
    }

    fn take_thoughts(&mut self, array: &[u8], out: &mut Vec<Event>) -> Result<(), JsonError> {
        Cursor::new(array)?.array(|cursor, _| {
            if cursor.kind()? != Kind::Object {
                return cursor.ignore();
            }
            cursor.object(|cursor, member| {
                match cursor.value()? {
                    Value::String(text) if member.key.is("text") => {
                        self.push_text(Prose::Thought, &text, out)
                    }
                    _ => {}
                }
                Ok::<(), JsonError>(())
            })?;
            Ok(())
        })?;
        Ok(())
    }

    fn push_text(&mut self, prose: Prose, text: &Text<'_>, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        let part = self.open(prose, out);
        let text = text.decode().into_owned();
        out.push(Event::Delta { choice: self.number, part, text });
    }

    /// The open part where it is of this kind, else a new one.
    fn open(&mut self, prose: Prose, out: &mut Vec<Event>) -> u32 {
        if let Some((part, open)) = self.prose
            && open == prose
        {
            return part;
        }
        self.close_all(out);
        let kind = match prose {
            Prose::Text => PartKind::Text,
            Prose::Thought => PartKind::Thought { is_summary: false, id: None },
            Prose::Refusal => PartKind::Refusal,
        };
        self.has_text |= prose == Prose::Text;
        self.has_refusal |= prose == Prose::Refusal;
        let part = self.begin(kind, out);
        self.prose = Some((part, prose));
        part
    }

    pub(super) fn begin(&mut self, kind: PartKind, out: &mut Vec<Event>) -> u32 {
        let part = self.parts;
        self.parts += 1;
        out.push(Event::Begin { choice: self.number, part, kind });
        part
    }

    pub(super) fn close_prose(&mut self, out: &mut Vec<Event>) {
        if let Some((part, _)) = self.prose.take() {
            out.push(Event::End { choice: self.number, part });
        }
    }

    fn close_all(&mut self, out: &mut Vec<Event>) {
        self.close_prose(out);
        self.close_calls(out);
    }

    /// Citations of the open text part; without one there is nothing that they could refer to.
    fn cite(&mut self, array: &[u8], out: &mut Vec<Event>) -> Result<(), JsonError> {
        let Some((part, Prose::Text)) = self.prose else { return Ok(()) };
        let choice = self.number;
        Cursor::new(array)?.array(|cursor, _| {
            let json = Json(String::from_utf8_lossy(cursor.skip()?.of(array)).into_owned());
            out.push(Event::Citation { choice, part, json });
            Ok::<(), JsonError>(())
        })?;
        Ok(())
    }

    /// `word` is the finish reason; `None` where the stream ended without one for this choice.
    pub(super) fn finish(&mut self, word: Option<&str>, out: &mut Vec<Event>) {
        self.close_all(out);
        self.is_finished = true;
        let reason = word.map_or(Some(Reason::Stop), reason_of);
        let reason = match reason {
            // Servers report `stop` for calls too: those with a forced tool choice, and several others
            // always.
            Some(Reason::Stop) if self.calls.any() => Reason::Calls,
            Some(Reason::Stop) if self.has_refusal => Reason::Refusal,
            Some(reason) => reason,
            None if self.calls.any() => Reason::Calls,
            None if self.has_text => Reason::Stop,
            None => Reason::Error,
        };
        let finish = Finish { raw: word.map(str::to_owned), ..Finish::of(reason) };
        out.push(Event::Finish { choice: self.number, finish });
    }
}

/// `None` for an unknown finish reason.
fn reason_of(word: &str) -> Option<Reason> {
    Some(match word {
        "stop" | "eos" | "end_turn" => Reason::Stop,
        "stop_sequence" => Reason::StopSequence,
        "length" | "max_tokens" => Reason::Length,
        "model_length" => Reason::ContextLength,
        "tool_calls" | "function_call" | "tool_use" => Reason::Calls,
        "content_filter" => Reason::ContentFilter,
        "refusal" => Reason::Refusal,
        "error" => Reason::Error,
        _ => return None,
    })
}

fn content_bytes(event: &Event) -> u64 {
    match event {
        Event::Delta { text, .. } => text.len() as u64,
        Event::Begin { kind: PartKind::Call { name, .. }, .. } => name.len() as u64,
        _ => 0,
    }
}
