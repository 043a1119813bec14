//! How much work it is to compare a value with a schema: each keyword counts as often as it is looked at.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::TooMuchWork;
use crate::limits::{BYTES_OF_KEYWORD, DEPTH_MAX, KEYWORDS_MAX, KEYWORDS_OF_PATTERN};
use crate::references::References;

/// What names of members are compared as.
static NAME: Value = Value::String(String::new());

/// A part of a schema at a part of a value, by their addresses.
type Place = (usize, usize);

pub(crate) struct Work<'a> {
    root: &'a Value,
    /// The work at each place; `None` while it is counted.
    known: HashMap<Place, Option<u64>>,
}

impl<'a> Work<'a> {
    /// # Errors
    /// It is more than is done.
    pub(crate) fn of(root: &'a Value, value: &'a Value) -> Result<(), TooMuchWork> {
        let mut work = Self { root, known: HashMap::new() };
        work.at(root, value, 0).map(|_| ())
    }

    fn at(&mut self, schema: &'a Value, value: &'a Value, depth: usize) -> Result<u64, TooMuchWork> {
        let Value::Object(members) = schema else { return Ok(1) };
        if depth > DEPTH_MAX {
            return Err(TooMuchWork);
        }
        let own = own_work(members, value);
        if !members.iter().any(|(name, part)| {
            (part.is_object() || part.is_array() || name == "$ref") && holds_schemas(name)
        }) {
            return Ok(own);
        }
        let place = (std::ptr::from_ref(schema).addr(), std::ptr::from_ref(value).addr());
        match self.known.get(&place) {
            Some(Some(known)) => return Ok(*known),
            // It comes back to itself without going on in the value.
            Some(None) => return Err(TooMuchWork),
            None => self.known.insert(place, None),
        };
        let mut whole = own;
        let mut in_place = 0_u64;
        for (name, part) in members {
            let (here, below) = self.member(name, part, value, depth + 1)?;
            in_place = in_place.saturating_add(here);
            whole = whole.saturating_add(below);
        }
        // What is unevaluated is found by comparing again, for each member.
        let again =
            ["unevaluatedProperties", "unevaluatedItems"].iter().any(|name| members.contains_key(*name));
        let times = if again { (parts_of(value) as u64).saturating_add(2) } else { 1 };
        whole = whole.saturating_add(in_place.saturating_mul(times));
        if whole > KEYWORDS_MAX || self.known.len() as u64 > KEYWORDS_MAX {
            return Err(TooMuchWork);
        }
        self.known.insert(place, Some(whole));
        Ok(whole)
    }

    /// The work of one keyword: at the value itself, and at its parts.
    fn member(
        &mut self,
        name: &str,
        part: &'a Value,
        value: &'a Value,
        depth: usize,
    ) -> Result<(u64, u64), TooMuchWork> {
        let mut here = 0_u64;
        match name {
            "$ref" => {
                let named = part.as_str().and_then(|reference| References::find(self.root, reference));
                here = self.at(named.ok_or(TooMuchWork)?, value, depth)?;
            }
            "not" | "if" | "then" | "else" => here = self.at(part, value, depth)?,
            "allOf" | "anyOf" | "oneOf" => {
                for one in part.as_array().into_iter().flatten() {
                    here = here.saturating_add(self.at(one, value, depth)?);
                }
            }
            "dependentSchemas" | "dependencies" => {
                for one in part.as_object().into_iter().flat_map(Map::values).filter(|one| one.is_object()) {
                    here = here.saturating_add(self.at(one, value, depth)?);
                }
            }
            "propertyNames" => {
                let each = self.at(part, &NAME, depth)?;
                return Ok((0, each.saturating_mul(value.as_object().map_or(0, Map::len) as u64)));
            }
            _ => return Ok((0, self.below(name, part, value, depth)?)),
        }
        Ok((here, 0))
    }

    fn below(
        &mut self,
        name: &str,
        part: &'a Value,
        value: &'a Value,
        depth: usize,
    ) -> Result<u64, TooMuchWork> {
        let mut whole = 0_u64;
        match (name, value) {
            ("properties", Value::Object(members)) => {
                for (name, schema) in part.as_object().into_iter().flatten() {
                    if let Some(member) = members.get(name) {
                        whole = whole.saturating_add(self.at(schema, member, depth)?);
                    }
                }
            }
            ("patternProperties", Value::Object(members)) => {
                for schema in part.as_object().into_iter().flat_map(Map::values) {
                    for member in members.values() {
                        let here = self.at(schema, member, depth)?;
                        whole = whole.saturating_add(here).saturating_add(KEYWORDS_OF_PATTERN);
                        check(whole)?;
                    }
                }
            }
            ("additionalProperties" | "unevaluatedProperties", Value::Object(members)) => {
                for member in members.values() {
                    whole = whole.saturating_add(self.at(part, member, depth)?);
                    check(whole)?;
                }
            }
            (
                "items" | "prefixItems" | "additionalItems" | "contains" | "unevaluatedItems",
                Value::Array(items),
            ) => {
                let schemas = part.as_array().map_or(std::slice::from_ref(part), Vec::as_slice);
                for schema in schemas {
                    for item in items {
                        whole = whole.saturating_add(self.at(schema, item, depth)?);
                        check(whole)?;
                    }
                }
            }
            _ => {}
        }
        Ok(whole)
    }
}

const fn check(whole: u64) -> Result<(), TooMuchWork> {
    if whole > KEYWORDS_MAX { Err(TooMuchWork) } else { Ok(()) }
}

fn holds_schemas(name: &str) -> bool {
    !matches!(name, "enum" | "const" | "required" | "type" | "default" | "examples" | "$defs" | "definitions")
}

fn parts_of(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len(),
        Value::Object(members) => members.len(),
        _ => 0,
    }
}

/// The work of a schema's keywords that hold no schemas.
fn own_work(members: &Map<String, Value>, value: &Value) -> u64 {
    let mut whole = members.len().max(1) as u64;
    for name in ["enum", "required", "type"] {
        whole = whole.saturating_add(members.get(name).map_or(0, parts_of) as u64);
    }
    if let Value::String(text) = value {
        whole = whole.saturating_add(text.len() as u64 / BYTES_OF_KEYWORD);
        if members.contains_key("pattern") {
            whole = whole.saturating_add(KEYWORDS_OF_PATTERN);
        }
    }
    if members.contains_key("uniqueItems") {
        whole = whole.saturating_add(parts_of(value) as u64);
    }
    whole
}
