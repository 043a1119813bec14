//! Readers for the fields of a body, of one type each, or `null`.

use domain::Fault;

use crate::refusal::{duplicate, empty, no_object, too_small, wrong_type, wrong_value};
use crate::{Cursor, JsonError, Kind, Span, Value};

/// Refuses an empty body.
pub fn not_empty(body: &[u8]) -> Result<(), Box<Fault>> {
    if body.iter().all(u8::is_ascii_whitespace) { Err(empty()) } else { Ok(()) }
}

/// Opens a body that must be an object. Any other value is validated to its end first, so that broken JSON is
/// reported as such.
pub fn open_object(body: &[u8]) -> Result<Cursor<'_>, Box<Fault>> {
    let mut cursor = Cursor::new(body)?;
    let kind = cursor.kind()?;
    if kind == Kind::Object {
        return Ok(cursor);
    }
    cursor.skip()?;
    cursor.end()?;
    Err(no_object(kind))
}

/// The fields of a body that were read, to refuse one that comes twice.
#[derive(Debug, Clone, Copy, Default)]
pub struct SeenFields(u16);

impl SeenFields {
    /// Adds a field by its number. `path` names it in the refusal.
    ///
    /// # Errors
    /// It was there already.
    #[inline]
    pub fn add(&mut self, field: u16, path: impl FnOnce() -> String) -> Result<(), Box<Fault>> {
        if self.has(field) {
            return Err(duplicate(path()));
        }
        self.0 |= 1 << field;
        Ok(())
    }

    #[inline]
    pub const fn has(self, field: u16) -> bool {
        self.0 & (1 << field) != 0
    }
}

/// A counter of a usage report, at its latest value; one that is not a whole number is ignored.
pub fn latest(register: &mut Option<u64>, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
    if let Some(count) = cursor.count()? {
        *register = Some(count);
    }
    Ok(())
}

/// A boolean, or `null` for its absence.
pub fn optional_boolean(cursor: &mut Cursor<'_>, name: &str) -> Result<Option<bool>, Box<Fault>> {
    let kind = cursor.kind()?;
    match cursor.value()? {
        Value::Null => Ok(None),
        Value::Boolean(truth) => Ok(Some(truth)),
        _ => Err(wrong_type(name.to_owned(), "a boolean", kind)),
    }
}

/// A whole number from 0, or `null` for its absence.
pub fn optional_count(cursor: &mut Cursor<'_>, name: &str) -> Result<Option<u64>, Box<Fault>> {
    let kind = cursor.kind()?;
    let value = cursor.value()?;
    match (value, value.as_count()) {
        (Value::Null, _) => Ok(None),
        (_, Some(count)) => Ok(Some(count)),
        (Value::Number(number), None) if is_negative(number) => Err(too_small(name.to_owned(), 0)),
        (Value::Number(_), None) => {
            let fix = format!("Send a whole number, 0 or more, in \"{name}\".");
            Err(wrong_value(name.to_owned(), "is not a whole number that is 0 or more", fix))
        }
        _ => Err(wrong_type(name.to_owned(), "a whole number", kind)),
    }
}

fn is_negative(number: &str) -> bool {
    let digits = number.strip_prefix('-');
    digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A string, or `null` for its absence.
pub fn optional_text(cursor: &mut Cursor<'_>, name: &str) -> Result<Option<Span>, Box<Fault>> {
    let kind = cursor.kind()?;
    match cursor.value()? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.span)),
        _ => Err(wrong_type(name.to_owned(), "a string", kind)),
    }
}
