//! Generates the OpenAPI document of this version from the route table and from the types that the routes
//! read and write.

pub mod bounds;
pub mod describe;
pub mod description;
mod schema;

use std::sync::OnceLock;

use bytes::Bytes;
use domain::limits::{IDEMPOTENCY_KEY_CHARS_MAX, PAGE_ROWS_MAX};
use domain::{Fault, FaultClass};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use crate::access::{Access, People};
use crate::caller::COOKIE_NAME;
use crate::idempotency;
use crate::reply::ARCHIVE;
use crate::router::{Route, RouteAuth};
use crate::version;
use admit::Needs;
use description::{Body, SuccessResponse};
use schema::Schemas;

/// The client routes, with links to the APIs whose dialects they speak.
const CLIENTS: &str = include_str!("clients.json");

/// An error, in the format of RFC 9457.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "written by the crate of the grammars; here it is only described")]
struct Problem {
    r#type: String,
    title: String,
    status: u16,
    /// What is wrong.
    detail: String,
    /// A stable word for programs to match on.
    code: String,
    /// How to fix it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
    /// The field, parameter or header.
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<String>,
    request_id: String,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// The field of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<ProblemLocation>>,
}

#[derive(JsonSchema)]
#[schemars(rename = "ProblemPlace")]
#[allow(dead_code, reason = "written as JSON beside the problem; here it is only described")]
struct ProblemLocation {
    /// A JSON pointer into the request body, such as `#/scope/project_id`.
    pointer: String,
    detail: String,
    code: String,
}

/// The document as it is served. It is made at the first request for it: that takes a third as long as a start did.
pub(crate) fn served(routes: fn() -> Vec<Route>) -> impl Fn() -> Result<Bytes, Box<Fault>> + Send + Sync {
    let made: OnceLock<Result<Bytes, String>> = OnceLock::new();
    move || {
        let made = made.get_or_init(|| {
            let text = serde_json::to_vec(&document(&routes())?).map_err(|error| error.to_string())?;
            Ok(text.into())
        });
        made.clone().map_err(|error| {
            // Two types that have one name, which a test rules out.
            let fault = Fault::new(FaultClass::Internal, "internal_error", error);
            Box::new(fault.fix("Report this to the maintainers of Tidegate."))
        })
    }
}

/// The whole document.
///
/// # Errors
/// Two types have one name.
pub fn document(table: &[Route]) -> Result<Value, String> {
    let mut schemas = Schemas::new();
    schemas.answer_schema(|generator| generator.subschema_for::<Problem>());
    let mut paths = Map::new();
    for route in table {
        let operation = operation(route, &mut schemas);
        add(&mut paths, route.pattern, &route.method, operation);
    }
    let clients: Map<String, Value> = serde_json::from_str(CLIENTS).map_err(|error| error.to_string())?;
    paths.extend(clients);
    paths.sort_keys();
    Ok(json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Tidegate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "One endpoint in front of every model. `/v2` is described completely; the client routes follow the APIs that they name.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas.components()?,
            "parameters": parameters(),
            "headers": headers(),
            "responses": {"Refused": refusal_response("What is wrong, where, and how to fix it.")},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key, `tg_live_…` or `tg_test_…`. The names listed with an operation are the scopes that it needs."},
                "header_key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same key, where the SDK sends it in another header."},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE_NAME, "description": "A signed-in person; over https the cookie is called __Host-tidegate_session. The name listed with an operation is the least role that it needs."},
                "data_plane": {"type": "http", "scheme": "bearer", "description": "The credential that a data plane received when it joined, `tgp_…`."},
                "node": {"type": "http", "scheme": "bearer", "description": "The credential that a node received when it joined, `tgn_…`."},
                "csrf": {"type": "apiKey", "in": "header", "name": "X-Tidegate-CSRF", "description": "The session's `csrf_token`, on every method but GET."},
            },
        },
    }))
}

fn add(paths: &mut Map<String, Value>, pattern: &str, method: &Method, operation: Value) {
    let path = paths.entry(pattern).or_insert_with(|| json!({}));
    if let Some(methods) = path.as_object_mut() {
        methods.insert(method.as_str().to_ascii_lowercase(), operation);
    }
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let description = &route.description;
    let is_one = route.pattern.contains("{id}");
    let mut operation = json!({
        "operationId": operation_id(route),
        "tags": [tag(route.pattern)],
        "summary": description.summary,
        "security": security(route),
        "parameters": parameters_of(route, is_one),
    });
    let mut is_needed = false;
    let body = match description.body {
        Body::Absent => None,
        Body::Whole(shape) => {
            let schema = schemas.body_schema(shape);
            is_needed = needs_body(&schema, schemas);
            Some(json!({"application/json": {"schema": schema}}))
        }
        Body::Patch(shape) => {
            let schema = schemas.patch(shape);
            Some(
                json!({"application/merge-patch+json": {"schema": &schema}, "application/json": {"schema": schema}}),
            )
        }
    };
    let has_body = body.is_some();
    if let (Some(content), Some(fields)) = (body, operation.as_object_mut()) {
        let mut request = json!({"content": content});
        if let (true, Some(request)) = (is_needed, request.as_object_mut()) {
            request.insert("required".into(), Value::Bool(true));
        }
        fields.insert("requestBody".into(), request);
    }
    let mut responses: Vec<(StatusCode, Value)> =
        description.responses.iter().map(|given| (given.status, response(route, *given, schemas))).collect();
    if route.method == Method::GET && description.responses.iter().any(|given| given.is_object) {
        let same =
            json!({"description": "It is unchanged.", "headers": {"ETag": reference("headers", "etag")}});
        responses.push((StatusCode::NOT_MODIFIED, same));
    }
    responses.extend(refusals(route, has_body));
    responses.sort_by_key(|(status, _)| *status);
    let responses: Map<_, _> =
        responses.into_iter().map(|(status, response)| (status.as_str().to_owned(), response)).collect();
    if let Some(fields) = operation.as_object_mut() {
        fields.insert("responses".into(), Value::Object(responses));
    }
    operation
}

/// Built from the method and the path: names such as `list_api_keys` would need rules for singular and
/// plural.
fn operation_id(route: &Route) -> String {
    let path = route.pattern.trim_start_matches("/v2/").replace("{id}", "by_id");
    let path = path.replace(['/', '-', '.'], "_");
    format!("{}_{path}", route.method.as_str().to_ascii_lowercase())
}

fn tag(pattern: &str) -> &str {
    pattern.split('/').nth(2).unwrap_or(pattern)
}

fn security(route: &Route) -> Value {
    let (key, people) = match route.auth {
        RouteAuth::Open(_) => return json!([]),
        RouteAuth::Node(_) => return json!([{"node": []}]),
        RouteAuth::DataPlane(_) => return json!([{"data_plane": []}]),
        RouteAuth::Known(Access { key, people }, _) => (key, people),
    };
    let mut alternatives = Vec::new();
    if let Some(needs) = key {
        // Any one of these.
        let sufficient: &[&[&str]] = match needs {
            Needs::Known => &[&[]],
            Needs::Inference => &[&["inference"]],
            Needs::Read => &[&["read"]],
            Needs::Admin => &[&["admin"]],
            Needs::ReadState => &[&["inference"], &["read"]],
            Needs::WriteState => &[&["inference"], &["admin"]],
            Needs::Operator => &[&["operator"]],
        };
        for scopes in sufficient {
            alternatives.extend([json!({"key": scopes}), json!({"header_key": scopes})]);
        }
    }
    if let Some(people) = people {
        let role = match people {
            People::Least(role) => role.as_str(),
            People::Operator => "owner of the operator's workspace",
        };
        alternatives.push(match route.method {
            Method::GET => json!({"session": [role]}),
            _ => json!({"session": [role], "csrf": []}),
        });
    }
    Value::Array(alternatives)
}

fn parameters_of(route: &Route, is_one: bool) -> Value {
    let mut parameters = Vec::new();
    for name in route.pattern.split('/').filter_map(|part| part.strip_prefix('{')?.split('}').next()) {
        parameters.push(match name {
            "id" => reference("parameters", name),
            _ => json!({"name": name, "in": "path", "required": true, "description": "Which one, within that of this id.", "schema": {"type": "string"}}),
        });
    }
    for (name, description) in &route.description.query {
        let words =
            route.description.allowed_values.iter().find(|(of, _)| of == name).map(|(_, words)| *words);
        let schema = query_schema(name, words);
        parameters.push(json!({"name": name, "in": "query", "description": description, "schema": schema}));
    }
    if route.can_be_rehearsed() {
        parameters.push(reference("parameters", "dry_run"));
    }
    parameters.push(reference("parameters", "version"));
    if route.auth.access().is_some() {
        parameters.push(reference("parameters", "workspace"));
    }
    if idempotency::is_kept(route) {
        parameters.push(reference("parameters", "idempotency_key"));
    }
    if route.method == Method::GET && route.description.responses.iter().any(|given| given.is_object) {
        parameters.push(reference("parameters", "if_none_match"));
    }
    if is_one && matches!(route.method, Method::PATCH | Method::PUT | Method::DELETE) {
        parameters.push(reference("parameters", "if_match"));
    }
    Value::Array(parameters)
}

fn query_schema(name: &str, words: Option<&[&str]>) -> Value {
    match (name, words) {
        (_, Some(words)) => json!({"type": "string", "enum": words}),
        ("limit", None) => json!({"type": "integer", "minimum": 1, "maximum": PAGE_ROWS_MAX}),
        ("status", None) => json!({"type": "integer", "minimum": 0, "maximum": u16::MAX}),
        ("from" | "to", None) => json!({"type": "integer", "minimum": 1}),
        ("start" | "end" | "since" | "until", None) => json!({"type": "string", "pattern": bounds::MOMENT}),
        ("window", None) => json!({"type": "string", "pattern": "^([1-9][0-9]{0,2}[hd]|month)$"}),
        ("format", None) => json!({"type": "string", "enum": ["json", "jsonl", "csv"]}),
        ("cursor", None) => json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{24,}$"}),
        _ => json!({"type": "string"}),
    }
}

/// Whether an empty body would be refused: a merge patch may be empty, and an object may have no required
/// field.
fn needs_body(schema: &Value, schemas: &Schemas) -> bool {
    let fields = schemas.body_fields(schema);
    fields.and_then(|fields| fields.get("required")?.as_array().map(|list| !list.is_empty())).unwrap_or(false)
}

fn response(route: &Route, given: SuccessResponse, schemas: &mut Schemas) -> Value {
    let mut headers = Map::new();
    let mut show = |name: &str, of: &str| headers.insert(name.to_owned(), reference("headers", of));
    show("x-request-id", "request_id");
    show("Agent-Trace-Id", "request_id");
    show("Tidegate-Version", "version");
    if route.can_be_rehearsed() {
        show("Tidegate-Dry-Run", "dry_run");
    }
    if idempotency::is_kept(route) {
        show("Agent-Idempotent-Replay", "replay");
    }
    if given.is_object {
        show("ETag", "etag");
    }
    if given.status == StatusCode::CREATED {
        show("Location", "location");
    }
    let mut content = Map::new();
    if let Some(shape) = given.shape {
        content.insert("application/json".into(), json!({"schema": schemas.answer_schema(shape)}));
    }
    if route.description.gives_archive {
        content.insert(ARCHIVE.into(), json!({"schema": {"type": "string", "format": "binary"}}));
    }
    if route.description.gives_events {
        content.insert("text/event-stream".into(), json!({"schema": {"type": "string"}}));
    }
    if route.lists_files() {
        show("x-next-cursor", "next_cursor");
    }
    let kinds = [("text/csv", route.gives_files()), ("application/x-ndjson", route.lists_files())];
    for (kind, _) in kinds.into_iter().filter(|(_, applies)| *applies) {
        content.insert(kind.into(), json!({"schema": {"type": "string"}}));
    }
    let description = match given.status {
        StatusCode::CREATED => "It is created, and in force.",
        StatusCode::NO_CONTENT => "It is done.",
        _ => "As requested.",
    };
    let mut response = json!({"description": description, "headers": headers});
    if let (false, Some(fields)) = (content.is_empty(), response.as_object_mut()) {
        fields.insert("content".into(), Value::Object(content));
    }
    response
}

/// Every possible refusal: those of its kind of route, and its own with their codes.
fn refusals(route: &Route, has_body: bool) -> Vec<(StatusCode, Value)> {
    let is_known = route.auth.access().is_some();
    let writes = route.method != Method::GET;
    let is_one = route.pattern.contains("{id}");
    let takes_names = naming::kind_at(route.pattern).is_some()
        || route
            .description
            .query
            .iter()
            .any(|(name, _)| naming::REFERENCES.iter().any(|(field, _)| field == name));
    let kinds = [
        (400, true),
        (401, true),
        (403, true),
        (404, is_known),
        (406, true),
        (408, has_body),
        (409, writes || takes_names),
        (412, writes && is_one),
        (413, has_body),
        (415, has_body),
        (429, true),
        (500, true),
        (503, true),
    ];
    let mut statuses: Vec<u16> =
        kinds.iter().filter(|(_, applies)| *applies).map(|(status, _)| *status).collect();
    let own = &route.description.refusals;
    statuses.extend(own.iter().map(|(status, _)| *status).filter(|status| !kinds.contains(&(*status, true))));
    statuses.sort_unstable();
    statuses.dedup();
    let responses = statuses.into_iter().filter_map(|status| {
        let codes: Vec<_> =
            own.iter().filter(|(of, _)| *of == status).map(|(_, code)| format!("`{code}`")).collect();
        let response = if codes.is_empty() {
            reference("responses", "Refused")
        } else {
            refusal_response(&format!("Among its codes: {}.", codes.join(", ")))
        };
        Some((StatusCode::from_u16(status).ok()?, response))
    });
    responses.collect()
}

fn refusal_response(description: &str) -> Value {
    let schema = reference("schemas", "Problem");
    json!({
        "description": description,
        "headers": {"x-request-id": reference("headers", "request_id"), "Agent-Trace-Id": reference("headers", "request_id"), "Tidegate-Version": reference("headers", "version")},
        "content": {"application/problem+json": {"schema": schema}},
    })
}

fn reference(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

fn parameters() -> Value {
    let text = json!({"type": "string"});
    json!({
        "id": {"name": "id", "in": "path", "required": true, "description": "An id of this kind.", "schema": text},
        "version": {"name": "Tidegate-Version", "in": "header", "description": "The dated version to use; a version that is not served is a 400.", "schema": {"type": "string", "enum": [version::VERSION]}},
        "workspace": {"name": "Tidegate-Workspace", "in": "header", "description": "The workspace that a person acts in, if they belong to several.", "schema": text},
        "dry_run": {"name": "dry_run", "in": "query", "description": "`true` checks everything and returns what the result would be, under the header Tidegate-Dry-Run. Nothing is written, audited or sent.", "schema": {"type": "boolean"}},
        "idempotency_key": {"name": "Idempotency-Key", "in": "header", "description": "A text that the caller chooses: a request that is repeated with the same key is executed once, and gets the same answer for a day.", "schema": {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_CHARS_MAX, "pattern": "^[!-~]([ -~]*[!-~])?$"}},
        "if_none_match": {"name": "If-None-Match", "in": "header", "description": "The known ETag: an unchanged object is a 304.", "schema": text},
        "if_match": {"name": "If-Match", "in": "header", "description": "The ETag that was read: if the object was changed since, the response is 412.", "schema": {"type": "string", "pattern": "^(\\*|(W/)?\"v[0-9]{1,18}\")$"}},
    })
}

fn headers() -> Value {
    let header = |description: &str| json!({"description": description, "schema": {"type": "string"}});
    json!({
        "request_id": header("The request's id, which errors and logs name too."),
        "version": header("The dated version that answered."),
        "dry_run": header("`true` if nothing was written."),
        "replay": header("If an idempotency key was sent: whether this is a replay of its first answer."),
        "etag": header("The object's version, for If-Match."),
        "location": header("The path of the new object."),
        "next_cursor": header("The cursor of the next page, for formats that can't carry it in the body."),
    })
}
