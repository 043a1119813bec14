//! The keywords of JSON Schema: which of them are supported, and which values each may have.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::error::ConstraintError;

/// The largest number that every JSON parser reads exactly (2^53).
const LARGEST: f64 = 9_007_199_254_740_992.0;
/// The bound for items of an array, characters of a string and properties of an object.
const COUNT: u64 = 65_536;
const PATTERN_BYTES: usize = 1_024;
/// The patterns of `patternProperties` are compared pairwise.
const PATTERNS: usize = 16;

type Check = fn(&Json) -> Result<(), String>;

/// What the value of a keyword is.
pub(super) enum Kind {
    /// An annotation, which does not restrict values.
    Says,
    /// A value other than a schema, with its check.
    Is(Check),
    /// Only supported when turned off.
    Off,
    Refers,
    One,
    List,
    Named,
}

impl Kind {
    pub(super) fn of(keyword: &str, is_root: bool) -> Option<Self> {
        Some(match keyword {
            "$comment" | "title" | "description" | "default" | "examples" | "deprecated" | "readOnly"
            | "writeOnly" | "contentMediaType" | "contentEncoding" | "$schema" | "$anchor" | "$defs"
            | "definitions" => Self::Says,
            // In a subschema it would change the base of references.
            "$id" | "id" if is_root => Self::Says,
            "type" => Self::Is(types),
            "enum" => Self::Is(values),
            "const" => Self::Is(value),
            "required" => Self::Is(names),
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => {
                Self::Is(count)
            }
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => Self::Is(number),
            "multipleOf" => Self::Is(step),
            "pattern" => Self::Is(pattern),
            "format" => Self::Is(name),
            "uniqueItems" => Self::Off,
            "$ref" => Self::Refers,
            "items" | "additionalItems" | "additionalProperties" => Self::One,
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => Self::List,
            "properties" | "patternProperties" => Self::Named,
            _ => return None,
        })
    }
}

fn require(is_it: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if is_it { Ok(()) } else { Err(format!("is invalid: expected {}", what())) }
}

fn types(value: &Json) -> Result<(), String> {
    const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];
    let is_type = |value: &Json| value.as_str().is_some_and(|name| TYPES.contains(&name));
    let are_types = value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(is_type));
    require(is_type(value) || are_types, || format!("one or more of {}", TYPES.join(", ")))
}

fn values(list: &Json) -> Result<(), String> {
    let list = list.as_array().filter(|list| !list.is_empty());
    require(list.is_some(), || "a non-empty array".to_owned())?;
    list.into_iter().flatten().try_for_each(value)
}

fn value(value: &Json) -> Result<(), String> {
    match value {
        Json::Number(_) => number(value),
        Json::Array(list) => list.iter().try_for_each(self::value),
        Json::Object(named) => named.values().try_for_each(self::value),
        _ => Ok(()),
    }
}

fn names(list: &Json) -> Result<(), String> {
    let are_names = list.as_array().is_some_and(|list| list.iter().all(Json::is_string));
    require(are_names, || "an array of strings".to_owned())
}

fn name(value: &Json) -> Result<(), String> {
    require(value.is_string(), || "a string".to_owned())
}

fn count(value: &Json) -> Result<(), String> {
    require(value.as_u64().is_some_and(|count| count <= COUNT), || format!("a count up to {COUNT}"))
}

fn number(value: &Json) -> Result<(), String> {
    require(value.as_f64().is_some_and(|number| number.abs() <= LARGEST), || {
        format!("a number between -{LARGEST} and {LARGEST}")
    })
}

fn step(value: &Json) -> Result<(), String> {
    require(value.as_f64().is_some_and(|step| (1e-6..=LARGEST).contains(&step)), || {
        "a positive number, at least one millionth".to_owned()
    })
}

fn pattern(value: &Json) -> Result<(), String> {
    require(value.as_str().is_some_and(|pattern| pattern.len() <= PATTERN_BYTES), || {
        format!("a regular expression of at most {PATTERN_BYTES} bytes")
    })
}

/// Rejects combinations of keywords that are not supported.
pub(super) fn together(keywords: &Map<String, Json>, at: &str) -> Result<(), ConstraintError> {
    let wrong = |keyword: &str, what: &str| Err(ConstraintError::new(format!("{at}/{keyword}"), what));
    let has = |keyword: &str| keywords.contains_key(keyword);
    if has("additionalItems") && (has("prefixItems") || !keywords.get("items").is_some_and(Json::is_array)) {
        return wrong("additionalItems", "is supported only when \"items\" is an array");
    }
    if has("prefixItems") && keywords.get("items").is_some_and(Json::is_array) {
        return wrong("items", "can't be an array when \"prefixItems\" is present");
    }
    let patterns = keywords.get("patternProperties").and_then(Json::as_object).map_or(0, Map::len);
    if patterns > PATTERNS {
        return wrong("patternProperties", &format!("has more than {PATTERNS} patterns"));
    }
    let required = keywords.get("required").and_then(Json::as_array).map_or(0, Vec::len) as u64;
    let least = keywords.get("minProperties").and_then(Json::as_u64).unwrap_or_default();
    // An additional property may be written twice under one name, and counts once.
    let is_closed = keywords.get("additionalProperties") == Some(&Json::Bool(false)) && patterns == 0;
    if !is_closed && least > required + 1 {
        return wrong(
            "minProperties",
            "can exceed the number of required properties by at most 1 unless \"additionalProperties\" is false",
        );
    }
    if keywords.get("uniqueItems").is_some_and(|is_so| *is_so != Json::Bool(false)) {
        return wrong("uniqueItems", "isn't a supported keyword");
    }
    Ok(())
}

/// Whether a schema has a finite valid value, judging by nesting alone. `ending` are the definitions known to
/// have one.
pub(super) fn can_end(schema: &Json, ending: &BTreeSet<String>) -> bool {
    let keywords = match schema {
        Json::Object(keywords) => keywords,
        other => return *other != Json::Bool(false),
    };
    let list = |keyword: &str| keywords.get(keyword).and_then(Json::as_array).map(Vec::as_slice);
    let each = |schema: &Json| can_end(schema, ending);
    let refers =
        keywords.get("$ref").and_then(Json::as_str).and_then(|reference| reference.strip_prefix("#/$defs/"));
    let of_all = list("allOf").is_none_or(|list| list.iter().all(each))
        && list("anyOf").is_none_or(|list| list.iter().any(each))
        && list("oneOf").is_none_or(|list| list.iter().any(each))
        && refers.is_none_or(|name| ending.contains(name));
    let of_type = |name: &str| match name {
        "object" => object_can_end(keywords, ending),
        "array" => array_can_end(keywords, ending),
        _ => true,
    };
    of_all
        && match keywords.get("type") {
            Some(Json::String(name)) => of_type(name),
            Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).any(of_type),
            _ => true,
        }
}

fn object_can_end(keywords: &Map<String, Json>, ending: &BTreeSet<String>) -> bool {
    let properties = keywords.get("properties");
    let mut required = keywords.get("required").and_then(Json::as_array).into_iter().flatten();
    let patterns =
        keywords.get("patternProperties").and_then(Json::as_object).is_some_and(|all| !all.is_empty());
    required.all(|name| {
        let property = name.as_str().and_then(|name| properties?.get(name));
        match property.or_else(|| keywords.get("additionalProperties").filter(|_| !patterns)) {
            Some(schema) => can_end(schema, ending),
            None => true,
        }
    })
}

fn array_can_end(keywords: &Map<String, Json>, ending: &BTreeSet<String>) -> bool {
    let least = keywords.get("minItems").and_then(Json::as_u64).unwrap_or_default();
    let least = usize::try_from(least).unwrap_or(usize::MAX);
    let (first, rest) = match (keywords.get("items"), keywords.get("prefixItems")) {
        (Some(Json::Array(first)), _) => (first.as_slice(), keywords.get("additionalItems")),
        (rest, Some(Json::Array(first))) => (first.as_slice(), rest),
        (rest, _) => ([].as_slice(), rest),
    };
    first.iter().take(least).all(|item| can_end(item, ending))
        && (least <= first.len() || rest.is_none_or(|rest| can_end(rest, ending)))
}
