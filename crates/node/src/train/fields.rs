//! The members of a request's JSON object, taken one by one; any that is left over is refused by name.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use domain::{Fault, FaultClass};
use serde_json::{Map, Value};

use crate::limits::{NOTE_BYTES_MAX, NOTES_MAX};

type FieldResult<T> = Result<T, Box<Fault>>;

#[derive(Debug)]
pub(super) struct Fields {
    members: Map<String, Value>,
    /// The path prefix of the members' names.
    at: String,
}

/// The error for an invalid value.
pub(super) fn wrong(param: impl Into<String>, why: &str, fix: impl Into<String>) -> Box<Fault> {
    let param = param.into();
    let fault = Fault::new(FaultClass::BadRequest, "invalid_value", format!("\"{param}\" {why}."));
    Box::new(fault.param(param).fix(fix.into()))
}

impl Fields {
    pub(super) fn read(body: &[u8]) -> FieldResult<Self> {
        let broken = |why: String| {
            let fault = Fault::new(FaultClass::BadRequest, "invalid_body", why);
            Box::new(fault.fix("Send a JSON object."))
        };
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self { members, at: String::new() }),
            Ok(_) => Err(broken("The body isn't a JSON object.".to_owned())),
            Err(error) => Err(broken(format!("The body isn't JSON: {error}."))),
        }
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.at)
    }

    /// Takes a member; `null` counts as absent.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    /// Removes the member if it has this value, which means the same as leaving it out.
    pub(super) fn remove_if_equal(&mut self, name: &str, word: &str) {
        if self.members.get(name).is_some_and(|value| value == word) {
            self.members.remove(name);
        }
    }

    pub(super) fn text(&mut self, name: &str) -> FieldResult<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(self.name(name), "isn't text", "Send a string.")),
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> FieldResult<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(wrong(self.name(name), "is neither true nor false", "Send true or false.")),
        }
    }

    pub(super) fn whole(&mut self, name: &str, range: RangeInclusive<u64>) -> FieldResult<Option<u64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let fix = format!("Send a whole number from {} to {}.", range.start(), range.end());
        let found = value.as_u64().filter(|number| range.contains(number));
        found.map(Some).ok_or_else(|| wrong(self.name(name), "isn't a whole number that can be taken", fix))
    }

    /// The same as a `usize`.
    pub(super) fn count(&mut self, name: &str, range: RangeInclusive<u64>) -> FieldResult<Option<usize>> {
        Ok(self.whole(name, range)?.and_then(|number| usize::try_from(number).ok()))
    }

    pub(super) fn number(&mut self, name: &str, range: RangeInclusive<f64>) -> FieldResult<Option<f64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let fix = format!("Send a number from {} to {}.", range.start(), range.end());
        let found = value.as_f64().filter(|number| range.contains(number));
        found.map(Some).ok_or_else(|| wrong(self.name(name), "isn't a number that can be taken", fix))
    }

    pub(super) fn string_list(&mut self, name: &str) -> FieldResult<Option<Vec<String>>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        serde_json::from_value(value)
            .map(Some)
            .map_err(|_| wrong(self.name(name), "isn't a list of texts", "Send a list of strings."))
    }

    /// The client's own metadata, by name.
    pub(super) fn notes(&mut self, name: &str) -> FieldResult<BTreeMap<String, String>> {
        let Some(value) = self.take(name) else { return Ok(BTreeMap::new()) };
        let notes: Option<BTreeMap<String, String>> = serde_json::from_value(value).ok();
        let is_short = |notes: &BTreeMap<String, String>| {
            notes.len() <= NOTES_MAX
                && notes.iter().all(|(name, note)| name.len().max(note.len()) <= NOTE_BYTES_MAX)
        };
        notes.filter(is_short).ok_or_else(|| {
            wrong(self.name(name), "isn't an object of short texts", "Send at most 16 strings of 512 bytes.")
        })
    }

    pub(super) fn object(&mut self, name: &str) -> FieldResult<Option<Self>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(Some(Self { members, at: format!("{}.", self.name(name)) })),
            Some(_) => Err(wrong(self.name(name), "isn't an object", "Send a JSON object.")),
        }
    }

    /// Refuses members that were not taken.
    pub(super) fn end(self) -> FieldResult<()> {
        let Some(name) = self.members.iter().find(|(_, value)| !value.is_null()).map(|(name, _)| name) else {
            return Ok(());
        };
        let truncated: String = name.chars().take(128).collect();
        let name = self.name(&truncated);
        let message = format!("\"{name}\" isn't supported by this runtime.");
        let fault = Fault::new(FaultClass::Unsupported, "unsupported_parameter", message);
        Err(Box::new(
            fault.param(name).fix("Leave it out; docs/training.md lists the fields that are accepted."),
        ))
    }
}
