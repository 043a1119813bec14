//! Validates a JSON Schema before it is compiled: an unsupported keyword is refused with its place, never
//! ignored. The result has no annotations, and its references point to definitions of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value as Json, json};

use super::check::{self, Kind};
use super::error::ConstraintError;
use super::plain;

/// Limits: nesting depth, number of schemas, number of referenced places.
const DEPTH: usize = 48;
const SCHEMAS: usize = 5_000;
const DEFINITIONS: usize = 256;
/// How many parts of a schema are compiled to find the one at fault.
const TRIES: usize = 100;

/// A schema with supported keywords only.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    root: Json,
    definitions: Map<String, Json>,
    /// The JSON pointer at which each definition was found.
    pointers: BTreeMap<String, String>,
}

/// A parameter of a tagged call.
#[derive(Debug)]
pub(super) struct Parameter {
    pub name: String,
    pub is_required: bool,
    pub value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Json(Json),
    /// A bare string, as an expression of the grammar.
    Text(String),
    OneOf(Vec<String>),
}

/// Traverses a schema.
struct Walk<'a> {
    document: &'a Json,
    /// The definition name of each referenced place.
    names: BTreeMap<String, String>,
    open: VecDeque<String>,
    schemas: usize,
}

impl Walk<'_> {
    fn schema(&mut self, schema: &Json, at: &str, depth: usize) -> Result<Json, ConstraintError> {
        self.schemas += 1;
        if depth > DEPTH {
            return Err(ConstraintError::new(at, format!("is nested more than {DEPTH} schemas deep")));
        }
        if self.schemas > SCHEMAS {
            return Err(ConstraintError::new(at, format!("exceeds the limit of {SCHEMAS} schemas")));
        }
        let keywords = match schema {
            Json::Bool(_) => return Ok(schema.clone()),
            Json::Object(keywords) => keywords,
            _ => return Err(ConstraintError::new(at, "isn't a schema: expected an object or a boolean")),
        };
        check::together(keywords, at)?;
        let mut kept = Map::new();
        for (keyword, value) in keywords {
            let at = format!("{at}/{}", escape_pointer(keyword));
            if let Some(value) = self.keyword(keyword, value, &at, depth)? {
                kept.insert(keyword.clone(), value);
            }
        }
        Ok(Json::Object(kept))
    }

    /// The keyword's value in the result; `None` if it does not restrict values.
    fn keyword(
        &mut self,
        keyword: &str,
        value: &Json,
        at: &str,
        depth: usize,
    ) -> Result<Option<Json>, ConstraintError> {
        let kind = Kind::of(keyword, depth == 0)
            .ok_or_else(|| ConstraintError::new(at, "isn't a supported keyword"))?;
        let wrong = |what: &str| ConstraintError::new(at, format!("is invalid: expected {what}"));
        Ok(match (kind, value) {
            (Kind::Says | Kind::Off, _) => None,
            (Kind::Is(check), value) => {
                check(value).map_err(|what| ConstraintError::new(at, what))?;
                self.schemas += value.as_array().map_or(0, Vec::len);
                Some(value.clone())
            }
            (Kind::Refers, Json::String(reference)) => Some(Json::String(self.refer(reference, at)?)),
            (Kind::Refers, _) => return Err(wrong("a string")),
            (Kind::One, Json::Array(_)) if keyword == "items" => Some(self.list(value, at, depth)?),
            (Kind::One, value) => Some(self.schema(value, at, depth + 1)?),
            (Kind::List, value) => Some(self.list(value, at, depth)?),
            (Kind::Named, Json::Object(named)) => {
                let mut kept = Map::new();
                for (name, schema) in named {
                    let schema = self.schema(schema, &format!("{at}/{}", escape_pointer(name)), depth + 1)?;
                    kept.insert(name.clone(), schema);
                }
                Some(Json::Object(kept))
            }
            (Kind::Named, _) => return Err(wrong("an object")),
        })
    }

    fn list(&mut self, list: &Json, at: &str, depth: usize) -> Result<Json, ConstraintError> {
        let wrong = || ConstraintError::new(at, "is invalid: expected a non-empty array");
        let list = list.as_array().filter(|list| !list.is_empty()).ok_or_else(wrong)?;
        let each = list.iter().enumerate();
        each.map(|(index, schema)| self.schema(schema, &format!("{at}/{index}"), depth + 1)).collect()
    }

    /// Rewrites a reference to point to one of the collected definitions.
    fn refer(&mut self, reference: &str, at: &str) -> Result<String, ConstraintError> {
        let outside = || {
            ConstraintError::new(at, "must be a JSON pointer within this schema, such as \"#/$defs/name\"")
        };
        let pointer = reference.strip_prefix('#').filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let pointer = pointer.filter(|rest| !rest.contains('%')).ok_or_else(outside)?;
        if self.document.pointer(pointer).is_none() {
            return Err(ConstraintError::new(at, "refers to a definition that doesn't exist"));
        }
        let count = self.names.len();
        if !self.names.contains_key(pointer) {
            if count >= DEFINITIONS {
                return Err(ConstraintError::new(
                    at,
                    format!("exceeds the limit of {DEFINITIONS} referenced definitions"),
                ));
            }
            self.names.insert(pointer.to_owned(), format!("d{count}"));
            self.open.push_back(pointer.to_owned());
        }
        let name = self.names.get(pointer).cloned().unwrap_or_default();
        Ok(format!("#/$defs/{name}"))
    }
}

impl Checked {
    pub(super) fn of(document: &Json) -> Result<Self, ConstraintError> {
        let mut walk = Walk { document, names: BTreeMap::new(), open: VecDeque::new(), schemas: 0 };
        let root = walk.schema(document, "", 0)?;
        let (mut definitions, mut pointers) = (Map::new(), BTreeMap::new());
        while let Some(pointer) = walk.open.pop_front() {
            let Some(schema) = document.pointer(&pointer) else { continue };
            let schema = walk.schema(schema, &pointer, usize::from(!pointer.is_empty()))?;
            let name = walk.names.get(&pointer).cloned().unwrap_or_default();
            definitions.insert(name.clone(), schema);
            pointers.insert(name, pointer);
        }
        let checked = Self { root, definitions, pointers };
        checked.ends()?;
        Ok(checked)
    }

    /// Makes a part self-contained by adding all definitions.
    fn with_definitions(&self, schema: &Json) -> Json {
        let mut whole = match schema {
            Json::Object(keywords) => keywords.clone(),
            other => Map::from_iter([("allOf".to_owned(), json!([other]))]),
        };
        if !self.definitions.is_empty() {
            whole.insert("$defs".to_owned(), Json::Object(self.definitions.clone()));
        }
        Json::Object(whole)
    }

    pub(super) fn whole(&self) -> Json {
        self.with_definitions(&self.root)
    }

    /// Refuses a schema that only infinite values satisfy.
    fn ends(&self) -> Result<(), ConstraintError> {
        let mut ending = BTreeSet::new();
        loop {
            let ends = |(name, schema): (&String, &Json)| {
                let is_new = !ending.contains(name) && check::can_end(schema, &ending);
                is_new.then(|| name.clone())
            };
            let more: Vec<String> = self.definitions.iter().filter_map(ends).collect();
            if more.is_empty() {
                break;
            }
            ending.extend(more);
        }
        if check::can_end(&self.root, &ending) {
            return Ok(());
        }
        let endless = self.pointers.iter().find(|(name, _)| !ending.contains(*name));
        let at = endless.map(|(_, pointer)| pointer.clone()).unwrap_or_default();
        Err(ConstraintError::new(at, "allows nothing finite: its recursion never ends"))
    }

    /// Finds the innermost part that fails to compile by itself.
    pub(super) fn blame(&self, what: String, fails: &dyn Fn(&Json) -> Option<String>) -> ConstraintError {
        let is_empty = |what: &str| what.contains("nsatisfiable");
        let mut error = ConstraintError::new("", what);
        let mut part = &self.root;
        let mut tries = 0;
        // Each referenced definition is visited once.
        let mut seen = BTreeSet::new();
        'deeper: loop {
            for (pointer, inner) in parts(part) {
                let (at, inner) = match self.definition(inner).filter(|(name, ..)| seen.insert(*name)) {
                    Some((_, pointer, schema)) => (pointer.to_owned(), schema),
                    None => (format!("{}{pointer}", error.at), inner),
                };
                tries += 1;
                if tries > TRIES || inner.is_boolean() {
                    continue;
                }
                let failed = fails(&self.with_definitions(inner));
                if let Some(what) = failed.filter(|what| is_empty(what) == is_empty(&error.what)) {
                    error = ConstraintError { at, what };
                    part = inner;
                    continue 'deeper;
                }
            }
            return narrow_error(&error, part);
        }
    }

    /// The definition, if the schema is nothing but a reference to it.
    fn definition(&self, schema: &Json) -> Option<(&str, &str, &Json)> {
        let name = schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
        let (name, pointer) = self.pointers.get_key_value(name)?;
        Some((name, pointer, self.definitions.get(name)?))
    }

    /// A tool's parameters in the tagged form.
    pub(super) fn parameters(&self, most: usize) -> Result<Vec<Parameter>, ConstraintError> {
        let root = self.definition(&self.root).map_or(&self.root, |(.., schema)| schema);
        let Some(keywords) = root.as_object() else { return Ok(Vec::new()) };
        const KNOWN: [&str; 4] = ["type", "properties", "required", "additionalProperties"];
        if let Some(keyword) = keywords.keys().find(|keyword| !KNOWN.contains(&keyword.as_str())) {
            let what = "isn't supported for tool parameters of this model";
            return Err(ConstraintError::new(format!("/{}", escape_pointer(keyword)), what));
        }
        let of_type = keywords.get("type").is_none_or(|kind| kind == "object" || *kind == json!(["object"]));
        if !of_type {
            return Err(ConstraintError::new("/type", "must be \"object\" for the parameters of a tool"));
        }
        let required: Vec<&str> = keywords
            .get("required")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
            .collect();
        let nothing = Map::new();
        let properties = keywords.get("properties").and_then(Json::as_object).unwrap_or(&nothing);
        if properties.len() > most {
            return Err(ConstraintError::new("/properties", format!("has more than {most} parameters")));
        }
        if let Some(missing) = required.iter().find(|name| !properties.contains_key(**name)) {
            let what = format!("contains \"{missing}\", which isn't one of the properties");
            return Err(ConstraintError::new("/required", what));
        }
        let parameter = |(name, schema): (&String, &Json)| {
            if name.is_empty() || name.contains(['<', '>', '\n']) {
                let at = format!("/properties/{}", escape_pointer(name));
                return Err(ConstraintError::new(at, "has a name that can't be used in a tag"));
            }
            let is_required = required.contains(&name.as_str());
            let of_parameter =
                |error: ConstraintError| error.within(&format!("/properties/{}", escape_pointer(name)));
            Ok(Parameter {
                name: name.clone(),
                is_required,
                value: self.value(schema).map_err(of_parameter)?,
            })
        };
        let parameters = properties.iter().filter(|(_, schema)| **schema != Json::Bool(false));
        parameters.map(parameter).collect()
    }

    /// Strings are written bare; everything else, and what may be a string among other types, as JSON.
    fn value(&self, schema: &Json) -> Result<Value, ConstraintError> {
        let inner = self.definition(schema).map_or(schema, |(.., inner)| inner);
        let texts = |list: &Json| -> Option<Vec<String>> {
            list.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let is_text = inner.get("type").is_none_or(|kind| kind == "string");
        let is_alone = |keyword: &str| {
            inner.as_object().is_some_and(|all| all.keys().all(|other| other == keyword || other == "type"))
        };
        // A string that contains the closing tag could not be told from its end.
        let is_plain = |text: &String| !text.contains("</parameter>");
        let listed = inner.get("enum").filter(|_| is_alone("enum")).and_then(texts);
        let only = inner.get("const").filter(|_| is_alone("const")).and_then(Json::as_str);
        let listed = listed.or_else(|| Some(vec![only?.to_owned()]));
        if let Some(texts) = listed.filter(|texts| is_text && texts.iter().all(is_plain)) {
            return Ok(Value::OneOf(texts));
        }
        let is_string = inner.get("type").is_some_and(|kind| kind == "string");
        match plain::text(inner).filter(|_| is_string) {
            Some(body) => Ok(Value::Text(body)),
            None if is_string && inner.get("format").is_some() => {
                let what = "isn't supported for tool parameters of this model";
                Err(ConstraintError::new("/format", what))
            }
            None => Ok(Value::Json(self.with_definitions(schema))),
        }
    }
}

/// Adds the keyword at fault to an error, where it is known.
fn narrow_error(error: &ConstraintError, part: &Json) -> ConstraintError {
    let is_at_fault = |keyword: &str, what: &str| error.what.contains(what) && part.get(keyword).is_some();
    let ConstraintError { at, what } = error;
    if what.contains("nsatisfiable") {
        ConstraintError::new(at, "allows nothing")
    } else if is_at_fault("oneOf", "oneOf") {
        ConstraintError::new(
            format!("{at}/oneOf"),
            "isn't supported where several of its schemas may match the same value",
        )
    } else if is_at_fault("format", "format") {
        ConstraintError::new(format!("{at}/format"), "isn't a supported format")
    } else if is_at_fault("minProperties", "maxProperties") || is_at_fault("maxProperties", "maxProperties") {
        ConstraintError::new(at, "can't limit the number of properties when some of them are optional")
    } else if part.get("pattern").is_some() {
        ConstraintError::new(format!("{at}/pattern"), format!("can't be enforced: {what}"))
    } else {
        ConstraintError::new(at, format!("can't be enforced: {what}"))
    }
}

/// The direct subschemas of a schema, with their places.
fn parts(schema: &Json) -> Vec<(String, &Json)> {
    let mut parts = Vec::new();
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        match (Kind::of(keyword, false), value) {
            (Some(Kind::One), Json::Array(list)) | (Some(Kind::List), Json::Array(list)) => {
                let each = list.iter().enumerate();
                parts.extend(each.map(|(index, schema)| (format!("/{keyword}/{index}"), schema)));
            }
            (Some(Kind::One), schema) => parts.push((format!("/{keyword}"), schema)),
            (Some(Kind::Named), Json::Object(named)) => {
                let each = named.iter();
                parts.extend(
                    each.map(|(name, schema)| (format!("/{keyword}/{}", escape_pointer(name)), schema)),
                );
            }
            _ => {}
        }
    }
    parts
}

/// Escapes a name for a JSON pointer.
fn escape_pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
