//! Readers for request values of one type each; `null` means absent everywhere.

use domain::Fault;
use domain::prompt::Json;
use json::refusal::{wrong_type, wrong_value};
use json::{Cursor, Kind, Value};

pub(super) type Read<T> = Result<T, Box<Fault>>;

pub(super) fn text(cursor: &mut Cursor<'_>, name: &str) -> Read<Option<String>> {
    let kind = cursor.kind()?;
    match cursor.value()? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.decode().into_owned())),
        _ => Err(wrong_type(name.to_owned(), "a string", kind)),
    }
}

/// A number as written.
pub(super) fn number(cursor: &mut Cursor<'_>, name: &str) -> Read<Option<Json>> {
    let kind = cursor.kind()?;
    match cursor.value()? {
        Value::Null => Ok(None),
        Value::Number(written) => Ok(Some(Json(written.to_owned()))),
        _ => Err(wrong_type(name.to_owned(), "a number", kind)),
    }
}

pub(super) fn integer(cursor: &mut Cursor<'_>, name: &str) -> Read<Option<i64>> {
    let Some(written) = number(cursor, name)? else { return Ok(None) };
    let whole = written.as_str().parse().map_err(|_| {
        wrong_value(name.to_owned(), "is not a whole number of 64 bits", "Send a whole number.".to_owned())
    })?;
    Ok(Some(whole))
}

/// An object as written.
pub(super) fn object(cursor: &mut Cursor<'_>, name: &str) -> Read<Option<Json>> {
    match cursor.kind()? {
        Kind::Null => cursor.skip().map(|_| None).map_err(Box::<Fault>::from),
        Kind::Object => raw(cursor).map(Some),
        kind => Err(wrong_type(name.to_owned(), "an object", kind)),
    }
}

/// Any value as written.
pub(super) fn raw(cursor: &mut Cursor<'_>) -> Read<Json> {
    let span = cursor.skip()?;
    Ok(Json(String::from_utf8_lossy(span.of(cursor.bytes())).into_owned()))
}

pub(super) fn skip(cursor: &mut Cursor<'_>) -> Read<()> {
    cursor.skip()?;
    Ok(())
}

/// Whether the next value is an object. Skips `null`, and refuses other types.
pub(super) fn is_object(cursor: &mut Cursor<'_>, name: &str) -> Read<bool> {
    is(cursor, name, Kind::Object, "an object")
}

/// Whether the next value is an array. Skips `null`, and refuses other types.
pub(super) fn is_array(cursor: &mut Cursor<'_>, name: &str) -> Read<bool> {
    is(cursor, name, Kind::Array, "an array")
}

fn is(cursor: &mut Cursor<'_>, name: &str, wanted: Kind, expected: &str) -> Read<bool> {
    match cursor.kind()? {
        Kind::Null => skip(cursor).map(|()| false),
        kind if kind == wanted => Ok(true),
        kind => Err(wrong_type(name.to_owned(), expected, kind)),
    }
}

/// A list of strings.
pub(super) fn texts(cursor: &mut Cursor<'_>, name: &str) -> Read<Vec<String>> {
    let mut list = Vec::new();
    if is_array(cursor, name)? {
        cursor.array(|cursor, index| {
            let path = format!("{name}[{index}]");
            let kind = cursor.kind()?;
            list.push(text(cursor, &path)?.ok_or_else(|| wrong_type(path, "a string", kind))?);
            Ok::<(), Box<Fault>>(())
        })?;
    }
    Ok(list)
}
