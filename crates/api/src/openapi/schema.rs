//! JSON schemas of request and response bodies, generated from the types that are read or written.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::description::Shape;

const SCHEMAS_PATH: &str = "/components/schemas";
const SENT: &str = "Input";

/// Two generators, because which fields are optional differs between reading and writing.
pub struct Schemas {
    sent: SchemaGenerator,
    answered: SchemaGenerator,
    patches: Map<String, Value>,
}

impl Schemas {
    pub fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = SCHEMAS_PATH.into();
                settings.meta_schema = None;
            })
        };
        Self {
            sent: settings().for_deserialize().into_generator(),
            answered: settings().for_serialize().into_generator(),
            patches: Map::new(),
        }
    }

    pub fn answer_schema(&mut self, shape: Shape) -> Value {
        shape(&mut self.answered).to_value()
    }

    pub fn body_schema(&mut self, shape: Shape) -> Value {
        let mut schema = shape(&mut self.sent).to_value();
        rename(&mut schema);
        schema
    }

    /// The schema of a request body, with a reference to a named schema resolved.
    pub fn body_fields<'a>(&'a self, schema: &'a Value) -> Option<&'a Map<String, Value>> {
        match name_of(schema) {
            Some(name) => self.sent.definitions().get(name.strip_suffix(SENT)?)?.as_object(),
            None => schema.as_object(),
        }
    }

    /// A merge patch: no field is required, and null removes any field but those that the object must have.
    pub fn patch(&mut self, shape: Shape) -> Value {
        let reference = shape(&mut self.sent).to_value();
        let Some(name) = name_of(&reference) else { return reference };
        let Some(mut schema) = self.sent.definitions().get(&name).cloned() else { return reference };
        rename(&mut schema);
        // Which of several fields an object has is a question of the whole.
        let required = schema.as_object_mut().and_then(|fields| {
            fields.retain(|name, _| name != "oneOf" && name != "anyOf");
            fields.remove("required")
        });
        let required = required.as_ref().and_then(Value::as_array);
        let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|of| of == name));
        for field in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
            let whole = field.1.take();
            *field.1 = if is_required(field.0) { whole } else { nullable(whole) };
        }
        let patch = format!("{name}Patch");
        self.patches.insert(patch.clone(), schema);
        json!({"$ref": format!("#{SCHEMAS_PATH}/{patch}")})
    }

    /// All named schemas, sorted by name. Responses may gain fields in a later version; requests may not
    /// contain unknown fields.
    ///
    /// # Errors
    /// Two types share a name.
    pub fn components(mut self) -> Result<Map<String, Value>, String> {
        let mut named: Vec<(String, Value)> = self.patches.into_iter().collect();
        for (name, mut schema) in self.sent.take_definitions(true) {
            rename(&mut schema);
            named.push((format!("{name}{SENT}"), schema));
        }
        for (name, mut schema) in self.answered.take_definitions(true) {
            open(&mut schema);
            named.push((name, schema));
        }
        for (_, schema) in &mut named {
            complete(schema);
        }
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        // schemars appends a number where two types would share a name.
        match named
            .iter()
            .find(|(name, _)| name.trim_end_matches(SENT).ends_with(|c: char| c.is_ascii_digit()))
        {
            Some((name, _)) => {
                Err(format!("two schemas are called {name}: give one a #[schemars(rename = …)]"))
            }
            None => Ok(named.into_iter().collect()),
        }
    }
}

fn name_of(reference: &Value) -> Option<String> {
    reference.get("$ref")?.as_str()?.rsplit('/').next().map(str::to_owned)
}

fn nullable(schema: Value) -> Value {
    match schema.get("type") {
        Some(Value::String(kind)) => {
            let kinds = json!([kind, "null"]);
            let mut schema = schema;
            if let Some(fields) = schema.as_object_mut() {
                fields.insert("type".into(), kinds);
            }
            schema
        }
        Some(_) => schema,
        None if schema.get("$ref").is_some() => json!({"anyOf": [schema, {"type": "null"}]}),
        None => schema,
    }
}

/// Request schemas have names of their own.
fn rename(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(target) if name == "$ref" => target.push_str(SENT),
                    _ => rename(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(rename),
        _ => {}
    }
}

fn open(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("additionalProperties") == Some(&Value::Bool(false)) {
                fields.remove("additionalProperties");
            }
            fields.values_mut().for_each(open);
        }
        Value::Array(items) => items.iter_mut().for_each(open),
        _ => {}
    }
}

/// Writes `{}` for a schema that is `true`, which some readers of documents can't read, and the bounds of whole numbers,
/// which JSON Schema doesn't know by their format. An empty list that its own schema refuses is no default.
fn complete(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(items) = fields.get_mut("items").filter(|items| items.as_bool() == Some(true)) {
                *items = json!({});
            }
            for field in fields.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
                if *field.1 == Value::Bool(true) {
                    *field.1 = json!({});
                }
            }
            let max = match fields.get("format").and_then(Value::as_str) {
                Some("uint64") => Some(u64::MAX),
                Some("uint32") => Some(u32::MAX.into()),
                _ => None,
            };
            if let Some(max) = max.filter(|_| !fields.contains_key("maximum")) {
                fields.insert("maximum".into(), json!(max));
            }
            let has_items = fields.get("minItems").and_then(Value::as_u64).is_some_and(|least| least > 0);
            if has_items && fields.get("default") == Some(&json!([])) {
                fields.remove("default");
            }
            fields.values_mut().for_each(complete);
        }
        Value::Array(items) => items.iter_mut().for_each(complete),
        _ => {}
    }
}
