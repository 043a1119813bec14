//! Tells the tool calls of one choice apart, however their server numbers and names them.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use conversation::answer::StreamFault;
use domain::limits::ASSEMBLED_CALLS_MAX;
use domain::{Event, PartKind};
use json::{Cursor, JsonError, Kind, Value};

use super::choice::ChoiceReading;
use super::delta::{non_empty_string, string};

#[derive(Debug, Default)]
pub(super) struct Calls {
    list: Vec<Call>,
    /// Calls before this index have ended.
    open_from: usize,
}

#[derive(Debug)]
struct Call {
    key: Option<u64>,
    id: Option<String>,
    name: String,
    is_custom: bool,
    /// Its part, once started. The name may come in pieces, so the part starts with the arguments.
    part: Option<u32>,
    has_arguments: bool,
}

/// What one delta says about a call.
#[derive(Debug, Default)]
struct Piece<'a> {
    index: Option<u64>,
    id: Option<String>,
    name: Option<Cow<'a, str>>,
    arguments: Cow<'a, str>,
    is_custom: bool,
}

impl Calls {
    pub(super) const fn any(&self) -> bool {
        !self.list.is_empty()
    }

    /// The call that this delta continues; `None` where it starts a new one.
    fn find(&self, position: usize, piece: &Piece<'_>) -> Option<usize> {
        let renamed = |call: &Call| piece.id.is_some() && call.id.is_some() && piece.id != call.id;
        let named = piece.name.is_some();
        if piece.index.is_some() {
            // The same index with a new id and a new name is another call. A new id alone is not.
            let at = self.list.iter().rposition(|call| call.key == piece.index)?;
            return self.list.get(at).filter(|call| !(named && renamed(call))).map(|_| at);
        }
        if piece.id.is_some() {
            let of_id = self.list.iter().rposition(|call| call.id == piece.id);
            // A late id belongs to the call that has none yet.
            let waiting = || self.last().filter(|(_, call)| call.id.is_none() && !named).map(|(at, _)| at);
            return of_id.or_else(waiting);
        }
        let (at, last) = self.last()?;
        (position == 0 && !(named && last.has_arguments)).then_some(at)
    }

    fn last(&self) -> Option<(usize, &Call)> {
        self.list.iter().enumerate().next_back()
    }
}

impl Call {
    fn take_name(&mut self, more: &str) {
        // Some servers repeat the full name in every delta.
        if self.part.is_none() && self.name != more {
            self.name.push_str(more);
        }
    }
}

impl ChoiceReading {
    /// Takes a list of calls. In a complete message each item is a separate call.
    pub(super) fn take_calls(
        &mut self,
        array: &[u8],
        is_whole: bool,
        out: &mut Vec<Event>,
    ) -> Result<(), StreamFault> {
        Cursor::new(array)?.array(|cursor, position| {
            if cursor.kind()? != Kind::Object {
                return Ok(cursor.ignore()?);
            }
            let mut piece = Piece::read(cursor)?;
            if is_whole {
                piece.index = Some(position as u64);
            }
            self.take_call(position, &piece, out)
        })?;
        Ok(())
    }

    pub(super) fn take_old_call(&mut self, object: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
        let mut piece = Piece::default();
        piece.read_function(&mut Cursor::new(object)?)?;
        self.take_call(0, &piece, out)
    }

    fn take_call(
        &mut self,
        position: usize,
        piece: &Piece<'_>,
        out: &mut Vec<Event>,
    ) -> Result<(), StreamFault> {
        let at = match self.calls.find(position, piece) {
            Some(at) => at,
            None => self.add_call(piece, out)?,
        };
        let is_open = at >= self.calls.open_from;
        let Some(call) = self.calls.list.get_mut(at) else { return Ok(()) };
        call.is_custom |= piece.is_custom;
        if call.id.is_none() {
            call.id.clone_from(&piece.id);
        }
        if let Some(name) = &piece.name {
            call.take_name(name);
        }
        if piece.arguments.is_empty() {
            return Ok(());
        }
        if !is_open {
            return Err(StreamFault::Broken("call_reopened"));
        }
        call.has_arguments = true;
        if let Some(part) = self.begin_call(at, out) {
            let text = piece.arguments.to_string();
            out.push(Event::Delta { choice: self.number, part, text });
        }
        Ok(())
    }

    fn add_call(&mut self, piece: &Piece<'_>, out: &mut Vec<Event>) -> Result<usize, StreamFault> {
        let at = self.calls.list.len();
        if at >= ASSEMBLED_CALLS_MAX {
            return Err(StreamFault::Broken("oversized"));
        }
        // Parts are numbered in the order of the calls, so calls that still wait for arguments start now.
        self.begin_calls(out);
        self.calls.list.push(Call {
            key: piece.index,
            id: None,
            name: String::new(),
            is_custom: false,
            part: None,
            has_arguments: false,
        });
        Ok(at)
    }

    fn begin_calls(&mut self, out: &mut Vec<Event>) {
        for at in self.calls.open_from..self.calls.list.len() {
            self.begin_call(at, out);
        }
    }

    fn begin_call(&mut self, at: usize, out: &mut Vec<Event>) -> Option<u32> {
        let call = self.calls.list.get(at)?;
        if call.part.is_some() {
            return call.part;
        }
        let id = call.id.clone().unwrap_or_else(|| self.made_id(at, &call.name));
        let kind = PartKind::Call { id, name: call.name.clone(), is_custom: call.is_custom };
        self.close_prose(out);
        let part = self.begin(kind, out);
        if let Some(call) = self.calls.list.get_mut(at) {
            call.part = Some(part);
        }
        Some(part)
    }

    /// An id for a call that the server sent without one. It must differ between the answers of one
    /// conversation, and be the same when the same bytes are read again.
    pub(super) fn made_id(&self, at: usize, name: &str) -> String {
        let mut hasher = DefaultHasher::new();
        (self.chunk_hash, self.number, at, name).hash(&mut hasher);
        format!("call_{:016x}", hasher.finish())
    }

    pub(super) fn close_calls(&mut self, out: &mut Vec<Event>) {
        self.begin_calls(out);
        let open = self.calls.list.get(self.calls.open_from..).unwrap_or_default();
        let parts = open.iter().filter_map(|call| call.part);
        out.extend(parts.map(|part| Event::End { choice: self.number, part }));
        self.calls.open_from = self.calls.list.len();
    }
}

impl<'a> Piece<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Self, JsonError> {
        let mut piece = Self::default();
        cursor.object(|cursor, member| {
            match (&*member.key.decode(), cursor.kind()?) {
                ("index", _) => piece.index = cursor.count()?,
                ("id", _) => piece.id = non_empty_string(cursor)?,
                ("type", _) => piece.is_custom |= string(cursor)?.is_some_and(|text| text.is("custom")),
                ("function", Kind::Object) => piece.read_function(cursor)?,
                ("custom", Kind::Object) => {
                    piece.is_custom = true;
                    piece.read_function(cursor)?;
                }
                _ => cursor.ignore()?,
            }
            Ok::<(), JsonError>(())
        })?;
        Ok(piece)
    }

    fn read_function(&mut self, cursor: &mut Cursor<'a>) -> Result<(), JsonError> {
        let bytes = cursor.bytes();
        cursor.object(|cursor, member| {
            match &*member.key.decode() {
                "name" => {
                    self.name = string(cursor)?.filter(|text| !text.is_empty()).map(|text| text.decode());
                }
                "arguments" | "input" => match cursor.value()? {
                    Value::String(text) => self.arguments = text.decode(),
                    // Arguments that came as an object are taken as written.
                    Value::Object(span) => self.arguments = String::from_utf8_lossy(span.of(bytes)),
                    _ => {}
                },
                _ => cursor.ignore()?,
            }
            Ok::<(), JsonError>(())
        })?;
        Ok(())
    }
}
