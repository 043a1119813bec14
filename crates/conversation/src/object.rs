//! JSON values that know their path, for strict request readers: members are taken out of their object by
//! name, and those left over are reported as unsupported.

use std::borrow::Cow;

use domain::Fault;
use domain::prompt::{Extra, Json};
use json::refusal::{duplicate, missing, no_object, wrong_type, wrong_value};
use json::{Cursor, JsonError, Kind, Value};

use crate::losses::is_mark;

/// A value and its path.
#[derive(Debug, Clone)]
pub struct Field<'a> {
    pub path: String,
    pub kind: Kind,
    /// As written.
    pub raw: &'a str,
}

/// An object whose members are taken out one by one.
#[derive(Debug)]
pub struct Object<'a> {
    pub path: String,
    members: Vec<Member<'a>>,
}

#[derive(Debug)]
struct Member<'a> {
    name: Cow<'a, str>,
    kind: Kind,
    raw: &'a str,
}

impl<'a> Field<'a> {
    /// The whole body as an object.
    pub fn document(body: &'a [u8]) -> Result<Object<'a>, Box<Fault>> {
        let mut cursor = Cursor::new(body)?;
        let kind = cursor.kind()?;
        cursor.skip()?;
        cursor.end()?;
        if kind != Kind::Object {
            return Err(no_object(kind));
        }
        let raw = std::str::from_utf8(body).unwrap_or_default();
        Self { path: String::new(), kind, raw }.object()
    }

    /// A JSON document inside a string.
    pub fn of(json: &'a str) -> Result<Self, Box<Fault>> {
        let mut cursor = Cursor::new(json.as_bytes())?;
        let kind = cursor.kind()?;
        let span = cursor.skip()?;
        cursor.end()?;
        Ok(Self { path: String::new(), kind, raw: json.get(span.start..span.end).unwrap_or_default() })
    }

    pub fn object(self) -> Result<Object<'a>, Box<Fault>> {
        if self.kind != Kind::Object {
            return Err(wrong_type(self.path, "an object", self.kind));
        }
        let mut members = Vec::new();
        Cursor::new(self.raw.as_bytes())?.object(|cursor, member| {
            let kind = cursor.kind()?;
            let span = cursor.skip()?;
            let raw = self.raw.get(span.start..span.end).unwrap_or_default();
            members.push(Member { name: member.key.decode(), kind, raw });
            Ok::<(), JsonError>(())
        })?;
        Ok(Object { path: self.path, members })
    }

    pub fn items(&self) -> Result<Vec<Self>, Box<Fault>> {
        if self.kind != Kind::Array {
            return Err(wrong_type(self.path.clone(), "an array", self.kind));
        }
        let mut items = Vec::new();
        Cursor::new(self.raw.as_bytes())?.array(|cursor, index| {
            let kind = cursor.kind()?;
            let span = cursor.skip()?;
            let raw = self.raw.get(span.start..span.end).unwrap_or_default();
            items.push(Self { path: format!("{}[{index}]", self.path), kind, raw });
            Ok::<(), JsonError>(())
        })?;
        Ok(items)
    }

    pub fn text(&self) -> Result<String, Box<Fault>> {
        match self.value()? {
            Value::String(text) => Ok(text.decode().into_owned()),
            _ => Err(wrong_type(self.path.clone(), "a string", self.kind)),
        }
    }

    pub fn boolean(&self) -> Result<bool, Box<Fault>> {
        match self.value()? {
            Value::Boolean(truth) => Ok(truth),
            _ => Err(wrong_type(self.path.clone(), "a boolean", self.kind)),
        }
    }

    pub fn count(&self) -> Result<u64, Box<Fault>> {
        self.value()?
            .as_count()
            .ok_or_else(|| wrong_type(self.path.clone(), "a whole number that is 0 or more", self.kind))
    }

    pub fn number(&self) -> Result<Json, Box<Fault>> {
        if self.kind != Kind::Number {
            return Err(wrong_type(self.path.clone(), "a number", self.kind));
        }
        Ok(self.json())
    }

    /// An object, kept as written.
    pub fn object_json(&self) -> Result<Json, Box<Fault>> {
        if self.kind != Kind::Object {
            return Err(wrong_type(self.path.clone(), "an object", self.kind));
        }
        Ok(self.json())
    }

    pub fn json(&self) -> Json {
        Json(self.raw.to_owned())
    }

    /// The fault for an enum value that this dialect doesn't have.
    pub fn unknown(self, known: &str) -> Box<Fault> {
        let fix = format!("Send one of {known}.");
        wrong_value(self.path, "isn't a value that this field takes", fix)
    }

    fn value(&self) -> Result<Value<'a>, JsonError> {
        Cursor::new(self.raw.as_bytes())?.value()
    }

    /// Whether it carries anything: empty lists, objects and strings don't.
    fn is_something(&self) -> bool {
        let value = self.value();
        match self.kind {
            Kind::Null => false,
            Kind::Boolean | Kind::Number => true,
            _ => value.is_ok_and(|value| value.is_something(self.raw.as_bytes())),
        }
    }
}

impl<'a> Object<'a> {
    /// Takes a member out; `null` counts as absent.
    ///
    /// # Errors
    /// The member is duplicated.
    pub fn take(&mut self, name: &str) -> Result<Option<Field<'a>>, Box<Fault>> {
        let Some(at) = self.members.iter().position(|member| member.name == name) else { return Ok(None) };
        let Member { kind, raw, .. } = self.members.remove(at);
        let path = self.path_of(name);
        if self.members.iter().any(|member| member.name == name) {
            return Err(duplicate(path));
        }
        Ok((kind != Kind::Null).then_some(Field { path, kind, raw }))
    }

    pub fn need(&mut self, name: &str, fix: &'static str) -> Result<Field<'a>, Box<Fault>> {
        self.take(name)?.ok_or_else(|| missing(self.path_of(name), fix))
    }

    pub fn text(&mut self, name: &str) -> Result<Option<String>, Box<Fault>> {
        self.take(name)?.map(|field| field.text()).transpose()
    }

    pub fn needed_text(&mut self, name: &str, fix: &'static str) -> Result<String, Box<Fault>> {
        self.need(name, fix)?.text()
    }

    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>, Box<Fault>> {
        self.take(name)?.map(|field| field.boolean()).transpose()
    }

    pub fn count(&mut self, name: &str) -> Result<Option<u64>, Box<Fault>> {
        self.take(name)?.map(|field| field.count()).transpose()
    }

    pub fn number(&mut self, name: &str) -> Result<Option<Json>, Box<Fault>> {
        self.take(name)?.map(|field| field.number()).transpose()
    }

    pub fn object(&mut self, name: &str) -> Result<Option<Self>, Box<Fault>> {
        self.take(name)?.map(Field::object).transpose()
    }

    pub fn items(&mut self, name: &str) -> Result<Vec<Field<'a>>, Box<Fault>> {
        self.take(name)?.map_or_else(|| Ok(Vec::new()), |field| field.items())
    }

    /// Its members, all of which must be strings.
    pub fn texts(mut self) -> Result<Vec<(String, String)>, Box<Fault>> {
        let mut texts = Vec::new();
        while let Some(name) = self.members.first().map(|member| member.name.clone()) {
            if let Some(value) = self.text(&name)? {
                texts.push((name.into_owned(), value));
            }
        }
        Ok(texts)
    }

    /// Reports the members that were not taken: those named in `hints` as hints, all others as changing the
    /// meaning.
    pub fn leave(self, hints: &[&str], extras: &mut Vec<Extra>) {
        for Member { name, kind, raw } in self.members {
            let path = join(&self.path, &name);
            let field = Field { path, kind, raw };
            if field.is_something() {
                let is_hint = hints.contains(&&*name) || is_mark(&name);
                extras.push(Extra { affects_answer: !is_hint, name: field.path });
            }
        }
    }

    pub fn path_of(&self, name: &str) -> String {
        join(&self.path, name)
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
