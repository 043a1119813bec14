//! Multipart forms, parsed strictly part by part.

use std::fmt::Write as _;

use bytes::Bytes;

use super::error::ApiError;
use super::routes::OpenAiCall;
use crate::emulator::service::content_type;

/// One part of a form.
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) filename: Option<String>,
    /// Its own content type.
    pub(crate) media: Option<String>,
    pub(crate) value: Bytes,
}

/// The parts of a call's form; each must be known and, except for lists, occur once.
pub(crate) fn read(call: &OpenAiCall<'_>, known: &[&str]) -> Result<Vec<Field>, ApiError> {
    let sent = content_type(&call.head.headers);
    let boundary = sent.strip_prefix("multipart/form-data; boundary=").ok_or_else(|| {
        ApiError::bad(format!("Unsupported content type: '{sent}'.")).code("unsupported_content_type")
    })?;
    let fields = fields(call.body, boundary.trim_matches('"'))
        .ok_or_else(|| ApiError::bad("Could not parse multipart form"))?;
    for (at, field) in fields.iter().enumerate() {
        if !known.contains(&field.name.as_str()) {
            return Err(ApiError::unknown_argument(&field.name));
        }
        let again = fields.iter().take(at).any(|other| other.name == field.name);
        if again && !field.name.ends_with("[]") {
            return Err(ApiError::bad(format!("Duplicate field '{}'.", field.name)).param(&field.name));
        }
    }
    Ok(fields)
}

/// The form with its model replaced by `rename`; `None` if the body is not a form, or names no model.
pub(crate) fn rename_model<E>(
    body: &Bytes,
    rename: impl FnOnce(&str) -> Result<String, E>,
) -> Option<Result<Bytes, E>> {
    let end = position(body, b"\r\n")?;
    let boundary = std::str::from_utf8(body.get(2..end)?).ok()?;
    let fields = fields(body, boundary)?;
    let named = &fields.iter().find(|field| field.name == "model")?.value;
    let from = named.as_ptr() as usize - body.as_ptr() as usize;
    let name = match rename(std::str::from_utf8(named).ok()?) {
        Ok(name) => name,
        Err(error) => return Some(Err(error)),
    };
    let rest = body.get(from + named.len()..)?;
    Some(Ok([body.get(..from)?, name.as_bytes(), rest].concat().into()))
}

/// Parses a complete form; `None` if it is malformed.
pub(crate) fn fields(body: &Bytes, boundary: &str) -> Option<Vec<Field>> {
    let mut delimiter = String::from("--");
    write!(delimiter, "{boundary}").ok()?;
    let between = format!("\r\n{delimiter}");
    let mut rest = body.strip_prefix(delimiter.as_bytes())?;
    let mut fields = Vec::new();
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let end = position(part, between.as_bytes())?;
        fields.push(field(body, part.get(..end)?)?);
        rest = part.get(end + between.len()..)?;
    }
    matches!(rest, b"--" | b"--\r\n").then_some(fields)
}

fn field(body: &Bytes, part: &[u8]) -> Option<Field> {
    let end = position(part, b"\r\n\r\n")?;
    let head = std::str::from_utf8(part.get(..end)?).ok()?;
    let value = part.get(end + 4..)?;
    let line = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let parameter = |name: &str| {
        let (_, after) = line.split_once(&format!("; {name}=\""))?;
        after.split_once('"').map(|(value, _)| value.to_owned())
    };
    let name = parameter("name").filter(|_| line.starts_with("form-data;"))?;
    let media = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-type").then(|| value.to_owned())
    });
    Some(Field { name, filename: parameter("filename"), media, value: body.slice_ref(value) })
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}
