//! What a request may contain on an account that several workspaces share: a table of allowed fields for each
//! dialect.
//!
//! A provider looks up a file, a container or a store by its id in the whole account, so on a shared account
//! such an id may belong to another tenant or to the operator. Fields are therefore denied by default: a
//! field that is in no table passes only if its value cannot be an id.

mod address;
mod realtime;

use conversation::face::FieldName;
use conversation::shared_fields::{FieldRule, Fields, Text};
use domain::{Grammar, Operation};
use json::{Cursor, JsonError, Kind, Span, Value};

use crate::RealtimeEvent;
use crate::registry::face;

pub use address::is_public_address;

type Table = &'static Fields;

/// A part of a request that a shared account must not send, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    pub path: String,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It refers to an object stored at the provider.
    Reference,
    /// It is a URL that is not public, or one of the provider's own storage.
    Address,
    /// It defers the response, whose usage would then be unknown.
    Deferred,
    /// The field is in no table, so it is unknown what it refers to.
    Unknown,
    /// The request could not be parsed completely.
    Unread,
}

/// What is known about the account and the request, apart from the body.
pub struct SharedAccount<'a> {
    /// Whether the body goes upstream as it came. A translated body no longer has the client's unknown
    /// fields.
    pub is_forwarded: bool,
    /// Whether the file id at this path was already replaced by the id at the provider that stores it.
    pub is_exchanged: &'a dyn Fn(&str) -> bool,
    /// Whether a host belongs to the provider itself.
    pub is_own_host: &'a dyn Fn(&str) -> bool,
}

/// Searches a request for anything that a shared account must not send.
///
/// # Errors
/// The first such part.
pub fn check_shared(
    grammar: Grammar,
    operation: Operation,
    body: &[u8],
    seat: &SharedAccount<'_>,
) -> Result<(), Box<Objection>> {
    let face = face(grammar);
    walk(body, face.shared_fields(operation), face.facts().field_name, seat)
}

/// The same for an event of a realtime session.
///
/// # Errors
/// The first such part.
pub fn check_shared_event(event: &[u8], seat: &SharedAccount<'_>) -> Result<(), Box<Objection>> {
    if !RealtimeEvent::is_whole(event) {
        return Err(Box::new(Objection { path: String::new(), reason: Reason::Unread }));
    }
    walk(event, &realtime::EVENT, None, seat)
}

fn walk(
    body: &[u8],
    table: Table,
    field_name: Option<FieldName>,
    seat: &SharedAccount<'_>,
) -> Result<(), Box<Objection>> {
    let walker = Walker { field_name, seat };
    let walked = Cursor::new(body).map_err(Stop::from).and_then(|mut cursor| {
        cursor.kind()?;
        walker.object(&mut cursor, table, &FieldPath::Root)?;
        Ok(cursor.end()?)
    });
    walked.map_err(|stop| match stop {
        Stop::Objection(objection) => objection,
        // What cannot be parsed cannot be cleared.
        Stop::Unread => Box::new(Objection { path: String::new(), reason: Reason::Unread }),
    })
}

struct Walker<'a> {
    /// How the table writes a name that requests may write in several ways.
    field_name: Option<FieldName>,
    seat: &'a SharedAccount<'a>,
}

/// The current path, written out only for an objection.
enum FieldPath<'a> {
    Root,
    Member(&'a Self, &'a str),
    Index(&'a Self, usize),
}

enum Stop {
    Objection(Box<Objection>),
    Unread,
}

impl From<JsonError> for Stop {
    fn from(_: JsonError) -> Self {
        Self::Unread
    }
}

impl FieldPath<'_> {
    fn objection(&self, reason: Reason) -> Stop {
        Stop::Objection(Box::new(Objection { path: self.text(), reason }))
    }

    fn text(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Member(Self::Root, name) => (*name).to_owned(),
            Self::Member(parent, name) => format!("{}.{name}", parent.text()),
            Self::Index(parent, index) => format!("{}[{index}]", parent.text()),
        }
    }
}

impl Walker<'_> {
    fn object(&self, cursor: &mut Cursor<'_>, table: Table, path: &FieldPath<'_>) -> Result<Span, Stop> {
        cursor.object(|cursor, member| {
            let written = member.key.decode();
            let path = FieldPath::Member(path, &written);
            let name = self.field_name.map_or_else(|| (&*written).into(), |field_name| field_name(&written));
            match table.0.iter().find(|(known, _)| *known == name) {
                Some((_, holds)) => self.value(cursor, *holds, &path),
                None => self.unknown(cursor, &path),
            }
        })
    }

    fn value(&self, cursor: &mut Cursor<'_>, holds: FieldRule, path: &FieldPath<'_>) -> Result<(), Stop> {
        let (text, table) = match holds {
            FieldRule::Plain => return Ok(cursor.ignore()?),
            FieldRule::Reference => return self.refuse_value(cursor, path, Reason::Reference),
            FieldRule::Deferral => return self.refuse_value(cursor, path, Reason::Deferred),
            FieldRule::Text(text) => (text, None),
            FieldRule::Object(text, table) => (text, Some(table)),
            FieldRule::Items(table) => (Text::Plain, Some(table)),
        };
        match (cursor.kind()?, table) {
            (Kind::Array, _) => {
                cursor.array(|cursor, index| self.value(cursor, holds, &FieldPath::Index(path, index)))?;
                Ok(())
            }
            (Kind::Object, Some(table)) => {
                if matches!(holds, FieldRule::Items(_)) && self.seat.is_forwarded {
                    refuse_reference(cursor, path)?;
                }
                self.object(cursor, table, path).map(|_| ())
            }
            (Kind::Object, None) => self.unknown(cursor, path),
            (Kind::String, _) => self.text(cursor, text, path),
            (Kind::Null | Kind::Boolean | Kind::Number, _) => Ok(cursor.ignore()?),
        }
    }

    fn text(&self, cursor: &mut Cursor<'_>, text: Text, path: &FieldPath<'_>) -> Result<(), Stop> {
        let Value::String(value) = cursor.value()? else { return Ok(()) };
        if value.is_empty() {
            return Ok(());
        }
        let is_public = |address: &str| is_public_address(address, self.seat.is_own_host);
        match text {
            Text::Plain => Ok(()),
            Text::Reference if !self.seat.is_forwarded => Ok(()),
            Text::Reference => Err(path.objection(Reason::Reference)),
            Text::File if (self.seat.is_exchanged)(&path.text()) => Ok(()),
            Text::File => Err(path.objection(Reason::Reference)),
            Text::Address if is_public(&value.decode()) => Ok(()),
            Text::Bytes if !value.decode().contains(':') || is_public(&value.decode()) => Ok(()),
            Text::Address | Text::Bytes => Err(path.objection(Reason::Address)),
        }
    }

    fn refuse_value(
        &self,
        cursor: &mut Cursor<'_>,
        path: &FieldPath<'_>,
        reason: Reason,
    ) -> Result<(), Stop> {
        let bytes = cursor.bytes();
        if cursor.value()?.is_something(bytes) && self.seat.is_forwarded {
            Err(path.objection(reason))
        } else {
            Ok(())
        }
    }

    /// Refuses an unknown field, unless it is empty or its value (a number or a boolean) cannot be an id.
    fn unknown(&self, cursor: &mut Cursor<'_>, path: &FieldPath<'_>) -> Result<(), Stop> {
        let bytes = cursor.bytes();
        let value = cursor.value()?;
        let may_name = matches!(value, Value::String(_) | Value::Array(_) | Value::Object(_));
        if may_name && value.is_something(bytes) && self.seat.is_forwarded {
            Err(path.objection(Reason::Unknown))
        } else {
            Ok(())
        }
    }
}

/// An item with nothing but an id is a reference, whatever its type says.
fn refuse_reference(cursor: &Cursor<'_>, path: &FieldPath<'_>) -> Result<(), Stop> {
    let mut ahead = cursor.clone();
    let (mut is_reference, mut has_id, mut has_more) = (false, false, false);
    ahead.object(|cursor, member| {
        match &*member.key.decode() {
            "type" => {
                let kind = cursor.value()?;
                is_reference |= matches!(&kind, Value::String(kind) if kind.decode() == "item_reference");
                return Ok::<(), JsonError>(());
            }
            "id" => has_id = true,
            "status" | "object" => {}
            _ => has_more = true,
        }
        cursor.ignore()
    })?;
    if is_reference || (has_id && !has_more) { Err(path.objection(Reason::Reference)) } else { Ok(()) }
}
