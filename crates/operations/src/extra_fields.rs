//! The fields of a request beyond those that its operation names: a vendor takes those that its model knows,
//! and the rest is reported as dropped.

use conversation::embed::unsayable;
use conversation::features::Feature;
use conversation::losses::DroppedFields;
use dialects::feature_names;
use domain::{Fault, Grammar};
use json::Value;
use json::members::{Elements, Members};
use json::written::json_string;

/// The value that leaves a choice to the model.
pub(crate) const AUTO: &str = "auto";
/// Fields that change the result unless they leave the choice to the model.
const CHOICES: [&str; 3] = ["quality", "background", "moderation"];
/// Fields that can be dropped without a worse result.
const HINTS: [&str; 1] = ["partial_images"];
/// The names of the client's own user.
const END_USERS: [&str; 2] = ["user", "safety_identifier"];

/// What a request says beyond its operation's fields, and what of it a model can't be told.
#[derive(Debug)]
pub struct ExtraFields<'a> {
    members: Members<'a>,
    dropped: DroppedFields,
    is_lenient: bool,
}

impl<'a> ExtraFields<'a> {
    /// All fields of a request but its model.
    pub(crate) fn read(client: Grammar, body: &'a [u8], is_lenient: bool) -> Result<Self, Box<Fault>> {
        let mut members = Members::read(body, String::new())?;
        members.take("model")?;
        Ok(Self { members, dropped: DroppedFields::of_vendor(client, feature_names), is_lenient })
    }

    /// A field as JSON.
    ///
    /// # Errors
    /// It comes twice.
    pub fn json(&mut self, name: &str) -> Result<Option<String>, Box<Fault>> {
        let bytes = self.members.bytes();
        Ok(self.members.take(name)?.map(|value| raw_json(&value, bytes)))
    }

    /// # Errors
    /// It comes twice, or is no text.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Box<Fault>> {
        self.members.text(name)
    }

    /// # Errors
    /// It comes twice, or is no whole number.
    pub fn count(&mut self, name: &str) -> Result<Option<u64>, Box<Fault>> {
        self.members.count(name)
    }

    /// Adds those of these fields that the client sent to a vendor's, under their own names.
    ///
    /// # Errors
    /// One of them comes twice.
    pub fn pass_through<'n>(
        &mut self,
        names: &[&'n str],
        fields: &mut Vec<(&'n str, String)>,
    ) -> Result<(), Box<Fault>> {
        for name in names {
            fields.extend(self.json(name)?.map(|value| (*name, value)));
        }
        Ok(())
    }

    /// Reports a value that the model does not support, of a field that it has.
    ///
    /// # Errors
    /// The value may not be dropped.
    pub fn unsupported(&mut self, name: &str, what: &str, fix: &'static str) -> Result<(), Box<Fault>> {
        if !self.is_lenient {
            return Err(unsayable(name.to_owned(), what, fix));
        }
        self.drop_field(name);
        Ok(())
    }

    /// Reports a field that the model does not have, and without which the result differs.
    pub fn drop_field(&mut self, name: &str) {
        self.dropped.drop_unknown(name, true);
    }

    /// The names of what was dropped, with the fields that nobody took: of those, a choice that is left to the
    /// model is none, and hints may be dropped.
    ///
    /// # Errors
    /// One of them may not be dropped, or comes twice.
    pub fn finish(mut self) -> Result<Vec<String>, Box<Fault>> {
        for name in CHOICES {
            let choice = self.members.take(name)?;
            if choice.is_some_and(|choice| !matches!(&choice, Value::String(text) if text.decode() == AUTO)) {
                self.drop_field(name);
            }
        }
        for name in END_USERS {
            if self.members.take(name)?.is_some() {
                self.dropped.drop_at(Feature::EndUser, name);
            }
        }
        self.finish_with(&HINTS)
    }

    /// The same where every field that nobody took changes the result.
    ///
    /// # Errors
    /// One of them may not be dropped.
    pub fn finish_without_hints(self) -> Result<Vec<String>, Box<Fault>> {
        self.finish_with(&[])
    }

    fn finish_with(self, hints: &[&str]) -> Result<Vec<String>, Box<Fault>> {
        let Self { members, mut dropped, is_lenient } = self;
        for (name, is_present) in members.rest_with_presence() {
            if is_present {
                dropped.drop_unknown(name.as_str(), !hints.contains(&name.as_str()));
            }
        }
        dropped.finish(is_lenient)
    }
}

/// The fields that an operation names are taken out first.
impl<'a> ExtraFields<'a> {
    pub(crate) fn needed_text(&mut self, name: &str, fix: &'static str) -> Result<String, Box<Fault>> {
        self.members.needed_text(name, fix)
    }

    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, Box<Fault>> {
        self.members.boolean(name)
    }

    /// A number as written.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<String>, Box<Fault>> {
        Ok(self.members.number(name)?.map(|number| number.0))
    }

    pub(crate) fn value(&mut self, name: &str) -> Result<Option<Value<'a>>, Box<Fault>> {
        self.members.take(name)
    }

    pub(crate) fn members(&mut self, name: &str) -> Result<Option<Members<'a>>, Box<Fault>> {
        self.members.members(name)
    }

    pub(crate) fn elements(&mut self, name: &str) -> Result<Option<Elements<'a>>, Box<Fault>> {
        self.members.elements(name)
    }
}

/// A value as the client wrote it.
fn raw_json(value: &Value<'_>, body: &[u8]) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Number(number) => (*number).to_owned(),
        Value::String(text) => json_string(&text.decode()),
        Value::Array(span) | Value::Object(span) => String::from_utf8_lossy(span.of(body)).into_owned(),
    }
}
