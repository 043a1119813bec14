//! Checks a gateway's responses under `/v2` against its OpenAPI document: a status, content type or field
//! that `docs/openapi.json` does not declare is an error of the gateway.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::Method;
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::client::Answer;

const DOCUMENT: &str = include_str!("../../../docs/openapi.json");
const SCHEMAS: &str = "#/components/schemas/";
const SHOWN_CHARS_MAX: usize = 2_000;
const PROBLEM: &str = "application/problem+json";

struct Contract {
    /// The document with every response schema closed to further properties.
    document: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// Checks a response and, if the request was accepted, the request body.
///
/// # Errors
/// How the exchange deviates from the document.
pub fn check(method: &Method, target: &str, sent: &[u8], answer: &Answer) -> Result<(), String> {
    let path = target.split('?').next().unwrap_or(target);
    if !path.starts_with("/v2/") {
        return Ok(());
    }
    let contract = contract()?;
    check_headers(answer).and_then(|()| contract.check(method, path, sent, answer)).map_err(|why| {
        let text: String = answer.text().chars().take(SHOWN_CHARS_MAX).collect();
        format!("{method} {target} breaks its contract: {why}\n{text}")
    })
}

fn contract() -> Result<&'static Contract, String> {
    static CONTRACT: OnceLock<Result<Contract, String>> = OnceLock::new();
    let made = CONTRACT.get_or_init(|| {
        let mut document: Value = serde_json::from_str(DOCUMENT).map_err(|error| error.to_string())?;
        let schemas = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
        for schema in schemas.ok_or("the document has no schemas")?.values_mut() {
            close(schema);
        }
        Ok(Contract { document, validators: Mutex::default() })
    });
    made.as_ref().map_err(Clone::clone)
}

/// Clients must tolerate unknown fields, so the document leaves response schemas open; the gateway itself
/// must send none that it does not declare.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.contains_key("properties") && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".into(), Value::Bool(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn check_headers(answer: &Answer) -> Result<(), String> {
    match answer.header("x-request-id") {
        Some(id) if id.starts_with("trc_") => Ok(()),
        other => Err(format!("x-request-id is {other:?}")),
    }
}

impl Contract {
    fn check(&self, method: &Method, path: &str, sent: &[u8], answer: &Answer) -> Result<(), String> {
        // `HEAD` and `OPTIONS` work on every path and are not declared for each.
        let declares_methods = *method == Method::OPTIONS && answer.header("allow").is_some();
        if *method == Method::HEAD || (declares_methods && answer.status == 204) {
            return Ok(());
        }
        let kind = answer.header("content-type").and_then(|kind| kind.split(';').next()).unwrap_or_default();
        let Some(operation) = self.operation(method, path) else {
            // An unknown path must be answered with a problem document, like every other error.
            return match answer.status {
                400.. if kind == PROBLEM => {
                    self.fits(&json!({"$ref": "#/components/schemas/Problem"}), answer)
                }
                status => Err(format!(
                    "the document has no such operation, and it is answered with {status} {kind}"
                )),
            };
        };
        let status = answer.status.to_string();
        let declared = operation.pointer(&format!("/responses/{status}"));
        // What an operation of the request path may refuse is one list, declared as its default.
        let declared =
            declared.or_else(|| operation.pointer("/responses/default").filter(|_| answer.status >= 400));
        let declared = self.follow(declared.ok_or_else(|| format!("the status {status} is not declared"))?);
        match declared.get("content").and_then(Value::as_object) {
            None if answer.body.is_empty() => {}
            None => return Err("a body is not declared".to_owned()),
            Some(kinds) => {
                let media =
                    kinds.get(kind).ok_or_else(|| format!("the content type {kind} is not declared"))?;
                if ["application/json", PROBLEM].contains(&kind) {
                    self.fits(media.get("schema").unwrap_or(&Value::Bool(true)), answer)?;
                }
            }
        }
        if answer.status < 300 { self.check_sent(operation, sent) } else { Ok(()) }
    }

    fn check_sent(&self, operation: &Value, sent: &[u8]) -> Result<(), String> {
        let schema = operation.pointer("/requestBody/content/application~1json/schema");
        match (schema, serde_json::from_slice::<Value>(sent)) {
            (Some(schema), Ok(body)) => {
                self.valid(schema, &body).map_err(|why| format!("it takes what the document refuses: {why}"))
            }
            _ => Ok(()),
        }
    }

    /// A path without parameters wins over one with.
    fn operation(&self, method: &Method, path: &str) -> Option<&Value> {
        let paths = self.document.get("paths")?.as_object()?;
        let found = paths.get(path).or_else(|| {
            paths.iter().find(|(pattern, _)| matches(pattern, path)).map(|(_, operations)| operations)
        });
        found?.get(method.as_str().to_ascii_lowercase())
    }

    fn follow<'a>(&'a self, value: &'a Value) -> &'a Value {
        let reference = value.get("$ref").and_then(Value::as_str);
        reference
            .and_then(|reference| self.document.pointer(reference.trim_start_matches('#')))
            .unwrap_or(value)
    }

    fn fits(&self, schema: &Value, answer: &Answer) -> Result<(), String> {
        let body =
            serde_json::from_slice(&answer.body).map_err(|error| format!("the body is no JSON: {error}"))?;
        self.valid(schema, &body)
    }

    fn valid(&self, schema: &Value, body: &Value) -> Result<(), String> {
        let validator = self.validator(schema)?;
        let wrong: Vec<_> = validator
            .iter_errors(body)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }

    /// The schemas that one refers to, and those that they refer to: compiling the document's hundreds costs a tenth of a second.
    fn referenced(&self, schema: &Value) -> Map<String, Value> {
        let mut found = Map::new();
        let mut unread = references(schema);
        while let Some(reference) = unread.pop() {
            let name = reference.trim_start_matches(SCHEMAS);
            if let Some(schema) = self.document.pointer(reference.trim_start_matches('#'))
                && !found.contains_key(name)
            {
                unread.extend(references(schema));
                found.insert(name.to_owned(), schema.clone());
            }
        }
        found
    }

    fn validator(&self, schema: &Value) -> Result<Arc<Validator>, String> {
        let name = schema.to_string();
        let mut known = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(validator) = known.get(&name) {
            return Ok(Arc::clone(validator));
        }
        let whole = json!({"allOf": [schema], "components": {"schemas": self.referenced(schema)}});
        let made = jsonschema::draft202012::new(&whole).map_err(|error| format!("{name}: {error}"))?;
        let made = Arc::new(made);
        known.insert(name, Arc::clone(&made));
        Ok(made)
    }
}

fn references(schema: &Value) -> Vec<&str> {
    match schema {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str);
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (pattern.split('/').peekable(), path.split('/'));
    // Ids contain an underscore or a digit; a parameter followed by further segments may also be a
    // user-chosen name, as may be that of a kind with names. Capabilities are by their provider's.
    let is_named = naming::kind_at(pattern).is_some()
        || ["/v2/model-aliases/{id}", "/v2/capabilities/{id}"].contains(&pattern);
    let is_id = |have: &str| is_named || have.contains(|c: char| c == '_' || c.is_ascii_digit());
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(want), Some(have)) if want == have => {}
            (Some(want), Some(have))
                if want.starts_with('{') && !have.is_empty() && (is_id(have) || wanted.peek().is_some()) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::HeaderMap;

    fn answer(status: u16, kind: &'static str, body: &Value) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", kind.parse().unwrap());
        headers.insert("x-request-id", "trc_1".parse().unwrap());
        Answer { status, headers, body: Bytes::from(body.to_string()) }
    }

    #[test]
    fn what_is_not_declared_is_told() {
        let workspace = json!({
            "id": "ws_1", "object": "workspace", "name": "n", "limits": {}, "end_user_limits": {}, "caching": {},
            "created_at": "2026-11-20T08:00:00.000Z",
        });
        let check = |method: Method, path: &str, sent: Value, reply: &Answer| {
            check(&method, path, sent.to_string().as_bytes(), reply)
        };
        let one = "/v2/workspaces/ws_1";
        let good = answer(200, "application/json", &workspace);
        assert_eq!(check(Method::GET, one, json!(null), &good), Ok(()));
        let mut more = workspace.clone();
        more["secret"] = json!("x");
        let wrong = [
            (Method::GET, one, json!(null), answer(200, "application/json", &more), "secret"),
            (Method::GET, one, json!(null), answer(200, "application/json", &json!({})), "required"),
            (Method::GET, one, json!(null), answer(202, "application/json", &workspace), "202"),
            (Method::GET, one, json!(null), answer(200, "text/html", &workspace), "text/html"),
            (Method::GET, "/v2/nowhere", json!(null), good.clone(), "no such operation"),
            (Method::PUT, one, json!({"name": "n", "x": 1}), good, "takes what"),
        ];
        for (method, path, sent, reply, why) in wrong {
            let found = check(method, path, sent, &reply).unwrap_err();
            assert!(found.contains(why), "{found}");
        }
    }
}
