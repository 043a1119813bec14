//! The members of one object, taken by name; those left over can be reported.

use std::borrow::Cow;

use domain::prompt::Echo;
use domain::{Fault, Json};

use crate::refusal::{duplicate, missing, wrong_type, wrong_value};
use crate::{Cursor, JsonError, Kind, Span, Value};

/// Members with a value: `null` counts as absent.
#[derive(Debug)]
pub struct Members<'a> {
    /// The path to the object; empty for the body itself.
    path: String,
    bytes: &'a [u8],
    list: Vec<(Cow<'a, str>, Value<'a>)>,
}

/// The elements of an array, each with its path.
pub type Elements<'a> = Vec<(String, &'a [u8])>;

impl<'a> Members<'a> {
    pub fn read(bytes: &'a [u8], path: String) -> Result<Self, Box<Fault>> {
        let mut cursor = Cursor::new(bytes)?;
        let kind = cursor.kind()?;
        if kind != Kind::Object {
            return Err(wrong_type(path, "an object", kind));
        }
        let mut list = Vec::new();
        cursor.object(|cursor, member| {
            let value = cursor.value()?;
            if !matches!(value, Value::Null) {
                list.push((member.key.decode(), value));
            }
            Ok::<(), JsonError>(())
        })?;
        cursor.end()?;
        Ok(Self { path, bytes, list })
    }

    /// The path to one of its members.
    pub fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Takes a member out. A duplicate is refused, since readers differ in which one counts.
    pub fn take(&mut self, name: &str) -> Result<Option<Value<'a>>, Box<Fault>> {
        let Some(at) = self.list.iter().position(|(known, _)| known == name) else { return Ok(None) };
        let (_, value) = self.list.remove(at);
        if self.list.iter().any(|(known, _)| known == name) {
            return Err(duplicate(self.path_of(name)));
        }
        Ok(Some(value))
    }

    pub fn text(&mut self, name: &str) -> Result<Option<String>, Box<Fault>> {
        match self.take(name)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.decode().into_owned())),
            Some(other) => Err(wrong_type(self.path_of(name), "a string", kind_of(&other))),
        }
    }

    pub fn needed_text(&mut self, name: &str, fix: &'static str) -> Result<String, Box<Fault>> {
        self.text(name)?.ok_or_else(|| missing(self.path_of(name), fix))
    }

    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>, Box<Fault>> {
        match self.take(name)? {
            None => Ok(None),
            Some(Value::Boolean(truth)) => Ok(Some(truth)),
            Some(other) => Err(wrong_type(self.path_of(name), "a boolean", kind_of(&other))),
        }
    }

    pub fn count(&mut self, name: &str) -> Result<Option<u64>, Box<Fault>> {
        let Some(value) = self.take(name)? else { return Ok(None) };
        match (value.as_count(), value) {
            (Some(count), _) => Ok(Some(count)),
            (None, Value::Number(_)) => {
                let fix = format!("Send a whole number, 0 or more, in \"{}\".", self.path_of(name));
                Err(wrong_value(self.path_of(name), "is not a whole number that is 0 or more", fix))
            }
            (None, other) => Err(wrong_type(self.path_of(name), "a whole number", kind_of(&other))),
        }
    }

    /// A number as written.
    pub fn number(&mut self, name: &str) -> Result<Option<Json>, Box<Fault>> {
        match self.take(name)? {
            None => Ok(None),
            Some(Value::Number(text)) => Ok(Some(Json(text.to_owned()))),
            Some(other) => Err(wrong_type(self.path_of(name), "a number", kind_of(&other))),
        }
    }

    /// An object as written.
    pub fn object(&mut self, name: &str) -> Result<Option<&'a [u8]>, Box<Fault>> {
        match self.take(name)? {
            None => Ok(None),
            Some(Value::Object(span)) => Ok(Some(span.of(self.bytes))),
            Some(other) => Err(wrong_type(self.path_of(name), "an object", kind_of(&other))),
        }
    }

    pub fn members(&mut self, name: &str) -> Result<Option<Self>, Box<Fault>> {
        let path = self.path_of(name);
        self.object(name)?.map(|bytes| Self::read(bytes, path)).transpose()
    }

    /// The elements of an array, each with its path.
    pub fn elements(&mut self, name: &str) -> Result<Option<Elements<'a>>, Box<Fault>> {
        let path = self.path_of(name);
        match self.take(name)? {
            None => Ok(None),
            Some(Value::Array(span)) => Ok(Some(elements_of(span.of(self.bytes), &path)?)),
            Some(other) => Err(wrong_type(path, "an array", kind_of(&other))),
        }
    }

    /// Those of these members that are present, as written.
    pub fn echo(&self, names: &[&'static str]) -> Echo {
        let written = |name: &'static str| {
            let (_, value) = self.list.iter().find(|(known, _)| known == name)?;
            Some((name, raw_json(value, self.bytes)))
        };
        names.iter().filter_map(|name| written(name)).collect()
    }

    /// The names that were not taken.
    pub fn rest(self) -> impl Iterator<Item = String> {
        self.list.into_iter().map(|(name, _)| name.into_owned())
    }

    /// The names that were not taken, and whether their values carry anything.
    pub fn rest_with_presence(self) -> Vec<(String, bool)> {
        let bytes = self.bytes;
        self.list.into_iter().map(|(name, value)| (name.into_owned(), value.is_something(bytes))).collect()
    }
}

/// Lenient reading of answers: members of an unexpected type count as absent.
impl<'a> Members<'a> {
    pub fn of_answer(bytes: &'a [u8]) -> Option<Self> {
        Self::read(bytes, String::new()).ok()
    }

    fn find(&self, name: &str) -> Option<&Value<'a>> {
        self.list.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub fn find_text(&self, name: &str) -> Option<Cow<'a, str>> {
        match self.find(name)? {
            Value::String(text) => Some(text.decode()),
            _ => None,
        }
    }

    pub fn find_count(&self, name: &str) -> Option<u64> {
        self.find(name)?.as_count()
    }

    pub fn is_true(&self, name: &str) -> bool {
        matches!(self.find(name), Some(Value::Boolean(true)))
    }

    pub fn find_object(&self, name: &str) -> Option<&'a [u8]> {
        match self.find(name)? {
            Value::Object(span) => Some(span.of(self.bytes)),
            _ => None,
        }
    }

    pub fn find_members(&self, name: &str) -> Option<Self> {
        Self::of_answer(self.find_object(name)?)
    }

    /// An array as written.
    pub fn find_array(&self, name: &str) -> Option<&'a [u8]> {
        match self.find(name)? {
            Value::Array(span) => Some(span.of(self.bytes)),
            _ => None,
        }
    }

    pub fn find_elements(&self, name: &str) -> Vec<&'a [u8]> {
        let Some(array) = self.find_array(name) else { return Vec::new() };
        let found = elements_of(array, "").unwrap_or_default();
        found.into_iter().map(|(_, element)| element).collect()
    }
}

/// The elements of a validated array, each with its path.
pub fn elements_of<'a>(array: &'a [u8], path: &str) -> Result<Elements<'a>, JsonError> {
    let mut found = Vec::new();
    Cursor::new(array)?.array(|cursor, index| {
        let span: Span = cursor.skip()?;
        found.push((format!("{path}[{index}]"), span.of(array)));
        Ok::<(), JsonError>(())
    })?;
    Ok(found)
}

/// The single value in these bytes.
pub fn value_of(bytes: &[u8]) -> Result<Value<'_>, JsonError> {
    Cursor::new(bytes)?.value()
}

pub fn json_of(bytes: &[u8]) -> Json {
    Json(String::from_utf8_lossy(bytes).into_owned())
}

fn raw_json(value: &Value<'_>, bytes: &[u8]) -> Json {
    match value {
        Value::Null => Json("null".to_owned()),
        Value::Boolean(truth) => Json(truth.to_string()),
        Value::Number(number) => Json((*number).to_owned()),
        Value::String(text) => json_of(text.span.of(bytes)),
        Value::Array(span) | Value::Object(span) => json_of(span.of(bytes)),
    }
}

pub const fn kind_of(value: &Value<'_>) -> Kind {
    match value {
        Value::Null => Kind::Null,
        Value::Boolean(_) => Kind::Boolean,
        Value::Number(_) => Kind::Number,
        Value::String(_) => Kind::String,
        Value::Array(_) => Kind::Array,
        Value::Object(_) => Kind::Object,
    }
}

impl Members<'_> {
    /// All members in order, each with its text where it is a string.
    pub fn texts(self) -> Vec<(String, Option<String>)> {
        let text = |value| match value {
            Value::String(text) => Some(text.decode().into_owned()),
            _ => None,
        };
        self.list.into_iter().map(|(name, value)| (name.into_owned(), text(value))).collect()
    }
}

/// The object with only the members of these names, each as written.
pub fn keep_members(object: &[u8], names: &[&str]) -> Result<String, Box<Fault>> {
    let mut out = String::from("{");
    let mut cursor = Cursor::new(object)?;
    cursor.object(|cursor, member| {
        let name = member.key.decode();
        let value = cursor.skip()?;
        if names.contains(&&*name) {
            let comma = if out.len() == 1 { "" } else { "," };
            out.push_str(&format!("{comma}\"{name}\":"));
            out.push_str(&String::from_utf8_lossy(value.of(object)));
        }
        Ok::<(), JsonError>(())
    })?;
    out.push('}');
    Ok(out)
}

/// The object with one more member, put first.
pub fn with_first(object: &[u8], name: &str, value: &str) -> Result<String, Box<Fault>> {
    let text = std::str::from_utf8(object).ok().and_then(|text| text.strip_prefix('{'));
    let inside = text.ok_or_else(|| Box::new(Fault::internal()))?;
    let comma = if inside.starts_with('}') { "" } else { "," };
    Ok(format!("{{\"{name}\":{value}{comma}{inside}"))
}
