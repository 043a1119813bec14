//! Imports HTTP tools from an OpenAPI document: one tool for each operation that is wanted.

use std::cell::Cell;
use std::collections::BTreeMap;

use domain::tools::{ArgumentPlace, HttpAction};
use serde_json::{Map, Value, json};

use crate::limits::{
    IMPORTED_MAX, IMPORTED_SCHEMA_BYTES_MAX, NAME_BYTES_MAX, REFERENCES_DEPTH_MAX, UNFOLDED_BYTES_MAX,
    UNFOLDED_NODE_BYTES,
};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// One operation as a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedTool {
    pub operation: String,
    pub name: String,
    pub description: String,
    pub parameters: Value,
    /// The schema of what it answers; anything where the document does not say.
    pub output: Value,
    pub action: HttpAction,
}

/// Why a document is not imported: where in it, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportError {
    /// A JSON pointer into the document.
    pub pointer: String,
    pub message: String,
}

fn wrong(pointer: impl Into<String>, message: impl Into<String>) -> ImportError {
    ImportError { pointer: pointer.into(), message: message.into() }
}

/// The tools that a document describes: of the operations that are `wanted` by their ids, or of all.
///
/// # Errors
/// The document can't be read, or has no such operation.
pub fn import(
    document: &Value,
    base_url: Option<&str>,
    wanted: Option<&[String]>,
) -> Result<Vec<ImportedTool>, ImportError> {
    let version = document.get("openapi").and_then(Value::as_str).unwrap_or_default();
    if !version.starts_with("3.") {
        return Err(wrong("/openapi", "It isn't an OpenAPI 3 document."));
    }
    let server = document.pointer("/servers/0/url").and_then(Value::as_str);
    let base = base_url.or(server).ok_or_else(|| wrong("/servers", "It doesn't name a server."))?;
    if !base.starts_with("https://") && !base.starts_with("http://") {
        return Err(wrong("/servers/0/url", "The server's address is not absolute."));
    }
    let paths = document.get("paths").and_then(Value::as_object);
    let paths = paths.ok_or_else(|| wrong("/paths", "It has no paths."))?;
    let mut tools = Vec::new();
    let left = Cell::new(UNFOLDED_BYTES_MAX);
    for (path, item) in paths {
        for method in METHODS {
            let Some(operation) = item.get(method).and_then(Value::as_object) else { continue };
            let pointer = format!("/paths/{}/{method}", path.replace('~', "~0").replace('/', "~1"));
            let id = operation.get("operationId").and_then(Value::as_str).map(str::to_owned);
            let id = id.unwrap_or_else(|| format!("{method}_{path}"));
            if wanted.is_some_and(|wanted| !wanted.contains(&id)) {
                continue;
            }
            if tools.len() >= IMPORTED_MAX {
                return Err(wrong(
                    "/paths",
                    format!("More than {IMPORTED_MAX} operations would be imported."),
                ));
            }
            let read = Reading { document, pointer, left: &left };
            tools.push(read.tool(base, path, method, (item, operation), id)?);
        }
    }
    let missing = wanted.into_iter().flatten().find(|id| !tools.iter().any(|tool| tool.operation == **id));
    if let Some(id) = missing {
        return Err(wrong("/paths", format!("It has no operation \"{id}\".")));
    }
    Ok(tools)
}

/// A name that every format takes.
fn name_of(operation: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' };
    let name: String = operation.chars().map(plain).collect();
    let name: String = name.split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
    name.chars().take(NAME_BYTES_MAX).collect()
}

struct Reading<'a> {
    document: &'a Value,
    pointer: String,
    /// How much more may be put in the place of references: a few hundred bytes can refer to gigabytes.
    left: &'a Cell<usize>,
}

impl Reading<'_> {
    fn tool(
        &self,
        base: &str,
        path: &str,
        method: &str,
        (item, operation): (&Value, &Map<String, Value>),
        id: String,
    ) -> Result<ImportedTool, ImportError> {
        let (mut properties, mut required, mut places) = (Map::new(), Vec::new(), BTreeMap::new());
        let shared = item.get("parameters").and_then(Value::as_array).into_iter().flatten();
        let own = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
        for parameter in shared.chain(own) {
            let parameter = self.resolved(parameter, 0)?;
            let text = |field: &str| parameter.get(field).and_then(Value::as_str);
            let (Some(name), Some(place)) = (text("name"), text("in")) else {
                return Err(wrong(&self.pointer, "A parameter has no name or place."));
            };
            // Cookies are no arguments of a model.
            let Some(place) = ArgumentPlace::by_name(place).filter(|place| *place != ArgumentPlace::Body)
            else {
                continue;
            };
            let mut schema = self.resolved(parameter.get("schema").unwrap_or(&json!({})), 0)?;
            describe(&mut schema, text("description"));
            if parameter.get("required") == Some(&Value::Bool(true)) || place == ArgumentPlace::Path {
                required.push(Value::from(name));
            }
            properties.insert(name.to_owned(), schema);
            places.insert(name.to_owned(), place);
        }
        self.body(operation, (&mut properties, &mut required, &mut places))?;
        required.dedup();
        let parameters = json!({"type": "object", "properties": properties, "required": required});
        if parameters.to_string().len() > IMPORTED_SCHEMA_BYTES_MAX {
            return Err(wrong(&self.pointer, "The schema of its arguments is too long."));
        }
        let text = |field: &str| operation.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        let description = text("description").or_else(|| text("summary")).unwrap_or(&id).to_owned();
        let url = format!("{}{path}", base.trim_end_matches('/'));
        let action = HttpAction { method: method.to_ascii_uppercase(), url, places };
        let output = self.output(operation).unwrap_or(Value::Bool(true));
        Ok(ImportedTool { name: name_of(&id), operation: id, description, parameters, output, action })
    }

    /// The schema of the first answer that is a success; `None` where it can't be used, since tools do without.
    fn output(&self, operation: &Map<String, Value>) -> Option<Value> {
        let mut answers = operation.get("responses").and_then(Value::as_object).into_iter().flatten();
        let (_, answer) = answers.find(|(status, _)| status.starts_with('2'))?;
        let answer = self.resolved(answer, 0).ok()?;
        let schema = answer.get("content")?.get("application/json")?.get("schema")?;
        (schema.to_string().len() <= IMPORTED_SCHEMA_BYTES_MAX).then(|| schema.clone())
    }

    /// The members of a JSON body are arguments of their own.
    fn body(
        &self,
        operation: &Map<String, Value>,
        (properties, required, places): (
            &mut Map<String, Value>,
            &mut Vec<Value>,
            &mut BTreeMap<String, ArgumentPlace>,
        ),
    ) -> Result<(), ImportError> {
        let Some(body) = operation.get("requestBody") else { return Ok(()) };
        let body = self.resolved(body, 0)?;
        let json = body.get("content").and_then(|content| content.get("application/json"));
        let Some(schema) = json.and_then(|json| json.get("schema")) else {
            return Err(wrong(format!("{}/requestBody", self.pointer), "Its body is not JSON."));
        };
        let schema = self.resolved(schema, 0)?;
        let Some(members) = schema.get("properties").and_then(Value::as_object) else {
            return Err(wrong(
                format!("{}/requestBody", self.pointer),
                "Its body isn't an object with properties.",
            ));
        };
        for (name, member) in members {
            if places.contains_key(name) {
                let message = format!("\"{name}\" is a parameter and a member of the body.");
                return Err(wrong(&self.pointer, message));
            }
            properties.insert(name.clone(), member.clone());
            places.insert(name.clone(), ArgumentPlace::Body);
        }
        let needed = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        required.extend(needed.filter(|name| name.is_string()).cloned());
        Ok(())
    }

    fn draw(&self, bytes: usize) -> Result<(), ImportError> {
        let left = self.left.get().checked_sub(bytes).ok_or_else(|| {
            let mib = UNFOLDED_BYTES_MAX / (1024 * 1024);
            let message = format!(
                "The document is more than {mib} MiB when what it refers to is put in place; import fewer operations at \
                 a time, or let them refer to less."
            );
            wrong(&self.pointer, message)
        })?;
        self.left.set(left);
        Ok(())
    }

    /// A part of the document with what it refers to in its place.
    fn resolved(&self, value: &Value, depth: u32) -> Result<Value, ImportError> {
        if depth > REFERENCES_DEPTH_MAX {
            return Err(wrong(&self.pointer, "Its schemas are nested too deeply, or refer to themselves."));
        }
        self.draw(UNFOLDED_NODE_BYTES + value.as_str().map_or(0, str::len))?;
        match value {
            Value::Object(members) => {
                if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                    let pointer = reference.strip_prefix('#');
                    let target = pointer.and_then(|pointer| self.document.pointer(pointer));
                    let Some(target) = target else {
                        let message = format!("It refers to \"{reference}\", which is not in the document.");
                        return Err(wrong(&self.pointer, message));
                    };
                    return self.resolved(target, depth + 1);
                }
                let resolved = members.iter().map(|(name, member)| {
                    self.draw(name.len())?;
                    Ok((name.clone(), self.resolved(member, depth + 1)?))
                });
                Ok(Value::Object(resolved.collect::<Result<_, _>>()?))
            }
            Value::Array(values) => Ok(Value::Array(
                values.iter().map(|value| self.resolved(value, depth + 1)).collect::<Result<_, _>>()?,
            )),
            other => Ok(other.clone()),
        }
    }
}

fn describe(schema: &mut Value, description: Option<&str>) {
    if let (Some(schema), Some(text)) = (schema.as_object_mut(), description) {
        schema.entry("description").or_insert_with(|| text.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        json!({
            "openapi": "3.1.0",
            "servers": [{"url": "https://pets.example/v1/"}],
            "paths": {
                "/pets/{id}": {
                    "parameters": [{"$ref": "#/components/parameters/Id"}],
                    "get": {"operationId": "getPet", "summary": "Shows a pet.",
                        "parameters": [{"name": "full", "in": "query", "schema": {"type": "boolean"}, "description": "With all."}]},
                    "put": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}},
                },
                "/upload": {"post": {"operationId": "upload", "requestBody": {"content": {"text/plain": {}}}}},
            },
            "components": {
                "parameters": {"Id": {"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}},
                "schemas": {
                    "Pet": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
                    "Loop": {"properties": {"next": {"$ref": "#/components/schemas/Loop"}}},
                },
            },
        })
    }

    #[test]
    fn an_operation_is_a_tool() {
        let wanted = ["getPet".to_owned(), "put_/pets/{id}".to_owned()];
        let tools = import(&document(), None, Some(&wanted)).unwrap();
        let [get, put] = tools.as_slice() else { panic!("{tools:?}") };
        assert_eq!((&*get.name, &*get.description), ("getPet", "Shows a pet."));
        assert_eq!((&*get.action.method, &*get.action.url), ("GET", "https://pets.example/v1/pets/{id}"));
        assert_eq!(
            get.parameters["properties"]["full"],
            json!({"type": "boolean", "description": "With all."})
        );
        assert_eq!(get.parameters["required"], json!(["id"]));
        assert_eq!(put.name, "put_pets_id");
        assert_eq!(put.action.places["name"], ArgumentPlace::Body);
        assert_eq!(put.parameters["required"], json!(["id", "name"]));
    }

    #[test]
    fn what_can_t_be_imported_says_where() {
        let all = import(&document(), None, None).unwrap_err();
        assert_eq!(all.pointer, "/paths/~1upload/post/requestBody");
        let unknown = ["no".to_owned()];
        assert!(import(&document(), None, Some(&unknown)).unwrap_err().message.contains("\"no\""));
        let mut looped = document();
        looped["paths"] = json!({"/a": {"post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Loop"}}}}}}});
        assert!(import(&looped, None, None).unwrap_err().message.contains("refer to themselves"));
        assert_eq!(import(&json!({"swagger": "2.0"}), None, None).unwrap_err().pointer, "/openapi");
    }

    /// Levels that each refer to the next so many times, from 1.5 KB on.
    fn unfolding(levels: usize, references: usize) -> Value {
        let level = |number: usize| {
            let next = format!("#/x/L{}", number + 1);
            let members = (0..references).map(|index| (format!("p{index}"), json!({"$ref": next})));
            (format!("L{number}"), Value::Object(members.collect()))
        };
        let mut all: Map<String, Value> = (0..levels).map(level).collect();
        all.insert(format!("L{levels}"), Value::Bool(true));
        let asked = json!([{"name": "a", "in": "query", "schema": {"$ref": "#/x/L0"}}]);
        let operation = json!({"parameters": asked, "responses": {"200": {"$ref": "#/x/L0"}}});
        json!({"openapi": "3.1.0", "servers": [{"url": "https://a.example"}], "x": all, "paths": {"/a": {"get": operation}}})
    }

    #[test]
    fn what_unfolds_without_end_is_refused_before_it_is_unfolded() {
        for (levels, references) in [(7, 9), (7, 24), (3, 120)] {
            let error = import(&unfolding(levels, references), None, None).unwrap_err();
            assert!(error.message.contains("import fewer operations"), "{levels} × {references}: {error:?}");
            assert_eq!(error.pointer, "/paths/~1a/get");
        }
        assert_eq!(import(&unfolding(2, 30), None, None).unwrap().len(), 1);
    }
}
