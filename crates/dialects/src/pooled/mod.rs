//! What a request may hold on an account that several workspaces share: one table of each grammar's fields, and whatever is
//! in none of them is refused.
//!
//! A provider looks up a file, a container or a store by its name in the whole account, so on a shared account such a name
//! may be another tenant's, or the operator's. Fields are therefore denied by default: one that nobody has sorted into a
//! table passes only where its value can't be a name.

mod address;
mod anthropic;
mod chat;
mod converse;
mod gemini;
mod media;
mod realtime;
mod responses;
#[cfg(test)]
mod tests;

use domain::{Grammar, Operation};

use crate::RealtimeEvent;
use crate::gemini::camel;
use crate::json::{Cursor, JsonError, Kind, Span, Value};

pub use address::is_public_address;

/// What a field may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Holds {
    /// Anything: it names nothing that a provider keeps.
    Plain,
    /// Only the name of something kept, or what leads to it.
    Kept,
    /// A wish to be answered later, by a name that is given now.
    Later,
    /// One text, or a list of them.
    Text(Text),
    /// An object of these fields, a list of such, or a text.
    Object(Text, Table),
    /// Items of a conversation, which may stand for kept ones by their ids alone.
    Items(Table),
}

/// What a text in a field is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Text {
    Plain,
    Kept,
    /// The id of a file: one that this project uploaded was exchanged before.
    File,
    /// Where something is to be fetched from.
    Address,
    /// Bytes as text, or where they are to be fetched from.
    Bytes,
}

/// The fields of an object by their names.
#[derive(Debug)]
pub(crate) struct Fields(&'static [(&'static str, Holds)]);

type Table = &'static Fields;

/// Where a request says something that a shared account must not be asked, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    pub place: String,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It names something that is kept at the provider.
    Kept,
    /// It is an address that is not public, or one of the provider's own store.
    Address,
    /// It asks for an answer that is fetched later, of which nobody would know what it used.
    Later,
    /// The field is in no table, so nobody knows what it names.
    Unknown,
    /// It could not be read whole.
    Unread,
}

/// What is known of the account and the request beside its bytes.
pub struct SharedSeat<'a> {
    /// Whether the bytes go on as they came: what they say in fields that we don't know goes nowhere else.
    pub is_spoken: bool,
    /// Whether the file at this place was exchanged for what its keeper calls it.
    pub is_exchanged: &'a dyn Fn(&str) -> bool,
    /// Whether a host is one of the provider's own.
    pub is_own_host: &'a dyn Fn(&str) -> bool,
}

/// Looks for the first thing in a request that a shared account must not be asked.
///
/// # Errors
/// That thing.
pub fn check_shared(
    grammar: Grammar,
    operation: Operation,
    body: &[u8],
    seat: &SharedSeat<'_>,
) -> Result<(), Box<Objection>> {
    walk(body, table(grammar, operation), grammar == Grammar::Gemini, seat)
}

/// The same of an event of a realtime session.
///
/// # Errors
/// That thing.
pub fn check_shared_event(event: &[u8], seat: &SharedSeat<'_>) -> Result<(), Box<Objection>> {
    if !RealtimeEvent::is_whole(event) {
        return Err(Box::new(Objection { place: String::new(), reason: Reason::Unread }));
    }
    walk(event, &realtime::EVENT, false, seat)
}

fn table(grammar: Grammar, operation: Operation) -> Table {
    match (grammar, operation) {
        (Grammar::Responses, _) => &responses::REQUEST,
        (Grammar::Anthropic, _) => &anthropic::REQUEST,
        (Grammar::Gemini, Operation::Embed) => &gemini::EMBED,
        (Grammar::Gemini, _) => &gemini::REQUEST,
        (Grammar::Converse, _) => &converse::REQUEST,
        (_, Operation::Embed) => &media::EMBED,
        (_, Operation::Moderate) => &media::MODERATE,
        (_, Operation::Complete) => &media::COMPLETE,
        (_, Operation::Speech) => &media::SPEECH,
        (_, Operation::Rerank) => &media::RERANK,
        (_, operation) if operation.makes_pictures() => &media::PICTURES,
        _ => &chat::REQUEST,
    }
}

/// Whether a part of a form of this name is known, and names nothing that is kept.
pub(crate) fn is_form_field(operation: Operation, name: &str) -> bool {
    media::form(operation).contains(&name.strip_suffix("[]").unwrap_or(name))
}

fn walk(body: &[u8], table: Table, is_camel: bool, seat: &SharedSeat<'_>) -> Result<(), Box<Objection>> {
    let walker = Walker { is_camel, seat };
    let walked = Cursor::new(body).map_err(Stop::from).and_then(|mut cursor| {
        cursor.kind()?;
        walker.object(&mut cursor, table, &Place::Root)?;
        Ok(cursor.end()?)
    });
    walked.map_err(|stop| match stop {
        Stop::Objection(objection) => objection,
        // What can't be read can't be vouched for.
        Stop::Unread => Box::new(Objection { place: String::new(), reason: Reason::Unread }),
    })
}

struct Walker<'a> {
    /// Names are read in both of their styles.
    is_camel: bool,
    seat: &'a SharedSeat<'a>,
}

/// Where the walk is; it is written out only for an objection.
enum Place<'a> {
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

impl Place<'_> {
    fn objection(&self, reason: Reason) -> Stop {
        Stop::Objection(Box::new(Objection { place: self.text(), reason }))
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
    fn object(&self, cursor: &mut Cursor<'_>, table: Table, place: &Place<'_>) -> Result<Span, Stop> {
        cursor.object(|cursor, member| {
            let written = member.key.decode();
            let place = Place::Member(place, &written);
            let name = if self.is_camel { camel(&written) } else { (&*written).into() };
            match table.0.iter().find(|(known, _)| *known == name) {
                Some((_, holds)) => self.value(cursor, *holds, &place),
                None => self.unknown(cursor, &place),
            }
        })
    }

    fn value(&self, cursor: &mut Cursor<'_>, holds: Holds, place: &Place<'_>) -> Result<(), Stop> {
        let (text, table) = match holds {
            Holds::Plain => return Ok(cursor.skip().map(|_| ())?),
            Holds::Kept => return self.kept(cursor, place, Reason::Kept),
            Holds::Later => return self.kept(cursor, place, Reason::Later),
            Holds::Text(text) => (text, None),
            Holds::Object(text, table) => (text, Some(table)),
            Holds::Items(table) => (Text::Plain, Some(table)),
        };
        match (cursor.kind()?, table) {
            (Kind::Array, _) => {
                cursor.array(|cursor, index| self.value(cursor, holds, &Place::Index(place, index)))?;
                Ok(())
            }
            (Kind::Object, Some(table)) => {
                if matches!(holds, Holds::Items(_)) && self.seat.is_spoken {
                    refuse_reference(cursor, place)?;
                }
                self.object(cursor, table, place).map(|_| ())
            }
            (Kind::Object, None) => self.unknown(cursor, place),
            (Kind::String, _) => self.text(cursor, text, place),
            (Kind::Null | Kind::Boolean | Kind::Number, _) => Ok(cursor.skip().map(|_| ())?),
        }
    }

    fn text(&self, cursor: &mut Cursor<'_>, text: Text, place: &Place<'_>) -> Result<(), Stop> {
        let Value::String(said) = cursor.value()? else { return Ok(()) };
        if said.is_empty() {
            return Ok(());
        }
        let is_public = |said: &str| is_public_address(said, self.seat.is_own_host);
        match text {
            Text::Plain => Ok(()),
            Text::Kept if !self.seat.is_spoken => Ok(()),
            Text::Kept => Err(place.objection(Reason::Kept)),
            Text::File if (self.seat.is_exchanged)(&place.text()) => Ok(()),
            Text::File => Err(place.objection(Reason::Kept)),
            Text::Address if is_public(&said.decode()) => Ok(()),
            Text::Bytes if !said.decode().contains(':') || is_public(&said.decode()) => Ok(()),
            Text::Address | Text::Bytes => Err(place.objection(Reason::Address)),
        }
    }

    fn kept(&self, cursor: &mut Cursor<'_>, place: &Place<'_>, reason: Reason) -> Result<(), Stop> {
        let bytes = cursor.bytes();
        match cursor.value()?.is_something(bytes) && self.seat.is_spoken {
            true => Err(place.objection(reason)),
            false => Ok(()),
        }
    }

    /// A number is no name, nor is what says nothing.
    fn unknown(&self, cursor: &mut Cursor<'_>, place: &Place<'_>) -> Result<(), Stop> {
        let bytes = cursor.bytes();
        let value = cursor.value()?;
        let may_name = matches!(value, Value::String(_) | Value::Array(_) | Value::Object(_));
        match may_name && value.is_something(bytes) && self.seat.is_spoken {
            true => Err(place.objection(Reason::Unknown)),
            false => Ok(()),
        }
    }
}

/// An item by its id alone is a reference, whether or not it says so and whatever it says that it is.
fn refuse_reference(cursor: &Cursor<'_>, place: &Place<'_>) -> Result<(), Stop> {
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
        cursor.skip().map(|_| ())
    })?;
    match is_reference || (has_id && !has_more) {
        true => Err(place.objection(Reason::Kept)),
        false => Ok(()),
    }
}
