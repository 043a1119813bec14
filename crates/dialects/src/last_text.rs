//! The text of a request's last message, and the request without it.

use conversation::face::TurnMembers;
use domain::{Grammar, Operation};
use json::{Cursor, JsonError, Kind, Span, Value};

use crate::registry::face;

/// The text that ends a completion's request, in place of turns.
const COMPLETION: TurnMembers = TurnMembers { list: "prompt", content: "" };

/// A request taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastText {
    pub text: String,
    /// The body with an empty string in its place.
    pub rest: Vec<u8>,
}

/// Takes a request apart that was decoded before. `None` where its last message is not the user's, or is anything but
/// one plain text.
pub fn take_last_text(grammar: Grammar, operation: Operation, body: &[u8]) -> Option<LastText> {
    let is_completion = operation == Operation::Complete;
    let members = if is_completion { COMPLETION } else { face(grammar).facts().turns };
    let (span, text) = find(body, &members).ok().flatten()?;
    if text.trim().is_empty() {
        return None;
    }
    let mut rest = Vec::with_capacity(body.len() - span.len() + 2);
    rest.extend_from_slice(body.get(..span.start)?);
    rest.extend_from_slice(b"\"\"");
    rest.extend_from_slice(body.get(span.end..)?);
    Some(LastText { text, rest })
}

/// A string with its quotation marks, and what it says.
type Found = Option<(Span, String)>;

fn find(body: &[u8], members: &TurnMembers) -> Result<Found, JsonError> {
    let mut cursor = Cursor::new(body)?;
    let mut found = None;
    let mut lists = 0;
    cursor.object(|cursor, member| {
        if member.key.is(members.list) {
            lists += 1;
            found = match cursor.kind()? {
                Kind::Array => last_of(cursor, members)?,
                _ => string(cursor)?,
            };
            return Ok(());
        }
        cursor.ignore()
    })?;
    // Of two lists, nobody knows which one the upstream reads.
    Ok(found.filter(|_| lists == 1))
}

fn string(cursor: &mut Cursor<'_>) -> Result<Found, JsonError> {
    Ok(match cursor.value()? {
        Value::String(text) => Some((text.span, text.decode().into_owned())),
        _ => None,
    })
}

fn last_of(cursor: &mut Cursor<'_>, members: &TurnMembers) -> Result<Found, JsonError> {
    let mut last = None;
    cursor.array(|cursor, _| {
        last = match cursor.kind()? {
            Kind::Object => turn(cursor, members)?,
            _ => cursor.skip().map(|_| None)?,
        };
        Ok::<_, JsonError>(())
    })?;
    Ok(last)
}

/// The text of a message of the user's. What else the message says stays in the rest.
fn turn(cursor: &mut Cursor<'_>, members: &TurnMembers) -> Result<Found, JsonError> {
    let (mut is_users, mut found, mut contents) = (true, None, 0);
    cursor.object(|cursor, member| {
        if member.key.is("role") {
            is_users &= matches!(cursor.value()?, Value::String(role) if role.is("user"));
        } else if member.key.is("type") {
            is_users &= matches!(cursor.value()?, Value::String(kind) if kind.is("message"));
        } else if member.key.is(members.content) {
            contents += 1;
            found = match cursor.kind()? {
                Kind::Array => only_block(cursor)?,
                _ => string(cursor)?,
            };
        } else {
            cursor.ignore()?;
        }
        Ok::<_, JsonError>(())
    })?;
    Ok(found.filter(|_| is_users && contents == 1))
}

/// The text of a list of one block.
fn only_block(cursor: &mut Cursor<'_>) -> Result<Found, JsonError> {
    let (mut found, mut blocks) = (None, 0);
    cursor.array(|cursor, _| {
        blocks += 1;
        found = match cursor.kind()? {
            Kind::Object => block(cursor)?,
            _ => cursor.skip().map(|_| None)?,
        };
        Ok::<_, JsonError>(())
    })?;
    Ok(found.filter(|_| blocks == 1))
}

fn block(cursor: &mut Cursor<'_>) -> Result<Found, JsonError> {
    let (mut is_text, mut found, mut texts) = (true, None, 0);
    cursor.object(|cursor, member| {
        if member.key.is("type") {
            let kind = cursor.value()?;
            is_text &= matches!(kind, Value::String(kind) if kind.is("text") || kind.is("input_text"));
        } else if member.key.is("text") {
            texts += 1;
            found = string(cursor)?;
        } else {
            cursor.ignore()?;
        }
        Ok::<_, JsonError>(())
    })?;
    Ok(found.filter(|_| is_text && texts == 1))
}
