//! One candidate of a response, as events of its parts.

use conversation::answer::StreamFault;
use domain::limits::ANSWER_BYTES_MAX;
use domain::{Event, Finish, Json, PartKind};

use super::part::{Call, Part};
use super::partial::PartialArguments;
use crate::finish;

#[derive(Debug)]
pub(super) struct Choice {
    pub index: u32,
    /// Parts started so far.
    parts: u32,
    open: Option<Open>,
    has_content: bool,
    has_call: bool,
    pub is_finished: bool,
}

#[derive(Debug)]
struct Open {
    part: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Text,
    Thought,
    /// A call whose arguments are streamed.
    Call {
        id: Option<String>,
        arguments: PartialArguments,
        bytes: usize,
    },
}

impl Choice {
    pub(super) const fn new(index: u32) -> Self {
        Self { index, parts: 0, open: None, has_content: false, has_call: false, is_finished: false }
    }

    /// Tool calls count as content, even without arguments.
    pub(super) const fn has_content(&self) -> bool {
        self.has_content || self.has_call
    }

    /// `make_id` makes the id of a call that has none.
    pub(super) fn part(
        &mut self,
        part: Part,
        make_id: impl FnOnce() -> String,
        out: &mut Vec<Event>,
    ) -> Result<(), StreamFault> {
        let has_payload = part.call.is_some()
            || part.foreign.is_some()
            || part.text.as_ref().is_some_and(|text| !text.is_empty());
        if has_payload && self.is_finished {
            return Err(StreamFault::Broken("content_after_finish"));
        }
        if self.is_finished {
            return Ok(());
        }
        if let Some(call) = part.call {
            return self.call(call, part.signature, make_id, out);
        }
        if let Some((kind, json)) = part.foreign {
            self.close(out);
            let picture = super::part::picture(&kind, &json).filter(|_| !part.is_thought);
            let kind = picture.unwrap_or(PartKind::Foreign { kind, json: Json(json) });
            let number = self.begin(kind, out);
            out.push(Event::End { choice: self.index, part: number });
            return Ok(());
        }
        match (part.text, part.is_thought) {
            (text, true) => self.thought(text.unwrap_or_default(), part.signature, out),
            // A signature on text is dropped: only a Gemini client could return it, and Gemini to Gemini
            // passes the bytes through.
            (Some(text), false) => self.text(text, out),
            (None, false) => {}
        }
        Ok(())
    }

    fn text(&mut self, text: String, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        let part = match self.open {
            Some(Open { part, kind: Kind::Text }) => part,
            _ => self.open(Kind::Text, PartKind::Text, out),
        };
        out.push(Event::Delta { choice: self.index, part, text });
    }

    fn thought(&mut self, text: String, signature: Option<String>, out: &mut Vec<Event>) {
        if text.is_empty() && signature.is_none() {
            return;
        }
        let part = match self.open {
            Some(Open { part, kind: Kind::Thought }) => part,
            _ => self.open(Kind::Thought, PartKind::Thought { is_summary: true, id: None }, out),
        };
        if !text.is_empty() {
            out.push(Event::Delta { choice: self.index, part, text });
        }
        if let Some(value) = signature {
            out.push(Event::Signature { choice: self.index, part, value });
        }
    }

    fn call(
        &mut self,
        call: Call,
        signature: Option<String>,
        make_id: impl FnOnce() -> String,
        out: &mut Vec<Event>,
    ) -> Result<(), StreamFault> {
        if self.goes_on(&call) {
            return self.more_of_call(&call, signature, out);
        }
        let Some(name) = call.name else {
            // The last piece of a call may be empty, and arrive after the call was closed.
            return Ok(());
        };
        self.close(out);
        self.has_call = true;
        let id = call.id.clone().unwrap_or_else(make_id);
        let kind = PartKind::Call { id, name, is_custom: false };
        let comes_in_pieces = call.arguments.is_none() && (call.continues || !call.pieces.is_empty());
        if comes_in_pieces {
            let arguments = PartialArguments::default();
            self.open(Kind::Call { id: call.id.clone(), arguments, bytes: 0 }, kind, out);
            let pieces = Call { name: None, ..call };
            return self.more_of_call(&pieces, signature, out);
        }
        let part = self.begin(kind, out);
        let text = call.arguments.unwrap_or_else(|| "{}".to_owned());
        out.push(Event::Delta { choice: self.index, part, text });
        if let Some(value) = signature {
            out.push(Event::Signature { choice: self.index, part, value });
        }
        out.push(Event::End { choice: self.index, part });
        Ok(())
    }

    /// Whether this continues the open call: later pieces have no name, or repeat the call's id.
    fn goes_on(&self, call: &Call) -> bool {
        match &self.open {
            Some(Open { kind: Kind::Call { id, .. }, .. }) => {
                call.name.is_none() || (call.id.is_some() && call.id == *id)
            }
            _ => false,
        }
    }

    fn more_of_call(
        &mut self,
        call: &Call,
        signature: Option<String>,
        out: &mut Vec<Event>,
    ) -> Result<(), StreamFault> {
        let Some(Open { part, kind: Kind::Call { arguments, bytes, .. } }) = &mut self.open else {
            return Ok(());
        };
        let (choice, part) = (self.index, *part);
        let mut text = String::new();
        for piece in &call.pieces {
            if let Some(scalar) = &piece.scalar {
                arguments.add(&piece.path, scalar, &mut text)?;
            }
        }
        *bytes += text.len();
        if *bytes > ANSWER_BYTES_MAX {
            return Err(StreamFault::Broken("oversized"));
        }
        if !text.is_empty() {
            out.push(Event::Delta { choice, part, text });
        }
        if let Some(value) = signature {
            out.push(Event::Signature { choice, part, value });
        }
        if !call.continues {
            self.close(out);
        }
        Ok(())
    }

    fn begin(&mut self, kind: PartKind, out: &mut Vec<Event>) -> u32 {
        let part = self.parts;
        self.parts += 1;
        self.has_content = true;
        out.push(Event::Begin { choice: self.index, part, kind });
        part
    }

    fn open(&mut self, kind: Kind, started: PartKind, out: &mut Vec<Event>) -> u32 {
        self.close(out);
        let part = self.begin(started, out);
        self.open = Some(Open { part, kind });
        part
    }

    fn close(&mut self, out: &mut Vec<Event>) {
        let Some(Open { part, kind }) = self.open.take() else { return };
        if let Kind::Call { mut arguments, .. } = kind {
            let mut text = String::new();
            arguments.finish(&mut text);
            if !text.is_empty() {
                out.push(Event::Delta { choice: self.index, part, text });
            }
        }
        out.push(Event::End { choice: self.index, part });
    }

    /// The open text part, which citations refer to.
    pub(super) fn open_text(&self) -> Option<u32> {
        match self.open {
            Some(Open { part, kind: Kind::Text }) => Some(part),
            _ => None,
        }
    }

    pub(super) fn finish(&mut self, word: Option<&str>, explanation: Option<String>, out: &mut Vec<Event>) {
        if self.is_finished {
            return;
        }
        let finish = match word {
            Some(word) => finish::read(word, self.has_content, self.has_call, explanation),
            None => Finish::of(finish::stop(self.has_call)),
        };
        self.finish_with(finish, out);
    }

    pub(super) fn finish_with(&mut self, finish: Finish, out: &mut Vec<Event>) {
        self.close(out);
        self.is_finished = true;
        out.push(Event::Finish { choice: self.index, finish });
    }
}
