//! Names and values as Gemini clients write them: in camelCase or snake_case at every level, and a single
//! value in place of an array.

use std::borrow::Cow;

use domain::{Fault, Json};
use json::refusal::{wrong_type, wrong_value};
use json::{Cursor, JsonError, Kind, Value};

/// The name in camelCase.
pub fn camel(name: &str) -> Cow<'_, str> {
    if !name.contains('_') {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len());
    let mut raises = false;
    for character in name.chars() {
        match character {
            '_' => raises = !out.is_empty(),
            _ if raises => {
                out.push(character.to_ascii_uppercase());
                raises = false;
            }
            _ => out.push(character),
        }
    }
    Cow::Owned(out)
}

/// Calls `element` for each value of an array. A single value counts as an array of one, as on Google's
/// servers; `null` counts as an empty one.
pub(super) fn each<'a, E: From<JsonError>>(
    cursor: &mut Cursor<'a>,
    mut element: impl FnMut(&mut Cursor<'a>, usize) -> Result<(), E>,
) -> Result<(), E> {
    match cursor.kind()? {
        Kind::Array => cursor.array(element).map(|_| ()),
        Kind::Null => cursor.ignore().map_err(E::from),
        _ => element(cursor, 0),
    }
}

/// Reads an object, and passes `member` the camelCase name and the one that was written. `null` counts as an
/// empty object.
pub(super) fn members<'a, E: From<JsonError> + From<Box<Fault>>>(
    cursor: &mut Cursor<'a>,
    path: &str,
    mut member: impl FnMut(&mut Cursor<'a>, &str, &str) -> Result<(), E>,
) -> Result<(), E> {
    match cursor.kind()? {
        Kind::Object => {
            cursor.object(|cursor, found| {
                let written = found.key.decode();
                member(cursor, &camel(&written), &written)
            })?;
        }
        Kind::Null => {
            cursor.skip()?;
        }
        kind => return Err(wrong_type(path.to_owned(), "an object", kind).into()),
    }
    Ok(())
}

/// The next value's raw JSON; `None` for `null`.
pub(super) fn raw(cursor: &mut Cursor<'_>) -> Result<Option<Json>, JsonError> {
    let kind = cursor.kind()?;
    let span = cursor.skip()?;
    let text = String::from_utf8_lossy(span.of(cursor.bytes()));
    Ok((kind != Kind::Null).then(|| Json(text.into_owned())))
}

pub(super) fn text(cursor: &mut Cursor<'_>, path: &str) -> Result<Option<String>, Box<Fault>> {
    let kind = cursor.kind()?;
    match cursor.value()? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.decode().into_owned())),
        _ => Err(wrong_type(path.to_owned(), "a string", kind)),
    }
}

/// An enum value, in upper case.
pub(super) fn word(cursor: &mut Cursor<'_>, path: &str) -> Result<Option<String>, Box<Fault>> {
    Ok(text(cursor, path)?.map(|word| word.to_ascii_uppercase()))
}

pub(super) fn number(cursor: &mut Cursor<'_>, path: &str) -> Result<Option<Json>, Box<Fault>> {
    let kind = cursor.kind()?;
    match cursor.value()? {
        Value::Null => Ok(None),
        Value::Number(written) => Ok(Some(Json(written.to_owned()))),
        _ => Err(wrong_type(path.to_owned(), "a number", kind)),
    }
}

/// An integer. Some SDKs write it as `40.0`, and protobuf's JSON encoding allows a string.
pub(super) fn whole(cursor: &mut Cursor<'_>, path: &str) -> Result<Option<i64>, Box<Fault>> {
    let kind = cursor.kind()?;
    let parsed = match cursor.value()? {
        Value::Null => return Ok(None),
        Value::Number(written) => parse_whole(written),
        Value::String(text) => parse_whole(&text.decode()),
        _ => return Err(wrong_type(path.to_owned(), "a whole number", kind)),
    };
    let fix = || format!("Send a whole number in \"{path}\".");
    parsed.map(Some).ok_or_else(|| wrong_value(path.to_owned(), "is not a whole number", fix()))
}

/// A non-negative integer.
pub(super) fn count(cursor: &mut Cursor<'_>, path: &str) -> Result<Option<u64>, Box<Fault>> {
    let Some(number) = whole(cursor, path)? else { return Ok(None) };
    let fix = || format!("Send a whole number, 0 or more, in \"{path}\".");
    u64::try_from(number)
        .map(Some)
        .map_err(|_| wrong_value(path.to_owned(), "is not a whole number that is 0 or more", fix()))
}

fn parse_whole(written: &str) -> Option<i64> {
    let (whole, fraction) = written.split_once('.').unwrap_or((written, ""));
    fraction.bytes().all(|digit| digit == b'0').then(|| whole.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_become_capitals() {
        for (written, expected) in [
            ("functionDeclarations", "functionDeclarations"),
            ("parameters_json_schema", "parametersJsonSchema"),
            ("system_instruction", "systemInstruction"),
            ("_x", "x"),
            ("x_", "x"),
            ("a__b", "aB"),
            ("", ""),
        ] {
            assert_eq!(camel(written), expected, "{written}");
        }
    }

    #[test]
    fn whole_numbers_in_every_spelling() {
        let read =
            |text: &str| whole(&mut Cursor::new(text.as_bytes()).unwrap(), "x").map_err(|fault| fault.code);
        assert_eq!(read("40"), Ok(Some(40)));
        assert_eq!(read("40.0"), Ok(Some(40)));
        assert_eq!(read("-1"), Ok(Some(-1)));
        assert_eq!(read("\"7\""), Ok(Some(7)));
        assert_eq!(read("null"), Ok(None));
        assert_eq!(read("40.5"), Err("invalid_value"));
        assert_eq!(read("1e3"), Err("invalid_value"));
        assert_eq!(read("true"), Err("invalid_type"));
    }
}
