//! A call of the client, and the calls of `/v2` that it leads to: each with the caller's own headers, so that what a caller may
//! do is decided there alone.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use api::failure::{invalid, missing, not_found};
use api::pounds::PoundRate;
use api::request::read_query;
use api::server::Server;
use bytes::Bytes;
use domain::limits::{CONTROL_BODY_BYTES_MAX, PAGE_ROWS_MAX};
use domain::{Fault, FaultClass, FileId, TraceId, WorkspaceId};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::Names;
use crate::answer::{Answer, Refusal};
use crate::limits::PAGES_MAX;
use crate::names::text_of;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const WANTED_WORKSPACE: HeaderName = HeaderName::from_static("tidegate-workspace");

/// The caller's headers that `/v2` reads.
const PASSED: [HeaderName; 8] = [
    AUTHORIZATION,
    COOKIE,
    HOST,
    ORIGIN,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-tidegate-csrf"),
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("x-forwarded-proto"),
];

/// What a handler returns.
pub type Handled = Result<Answer, Refusal>;

/// An async function that handles calls.
pub trait Handles<'a>: Send + Sync {
    fn handle(&self, call: &'a Call<'a>) -> Pin<Box<dyn Future<Output = Handled> + Send + 'a>>;
}

impl<'a, F, W> Handles<'a> for F
where
    F: Fn(&'a Call<'a>) -> W + Send + Sync,
    W: Future<Output = Handled> + Send + 'a,
{
    fn handle(&self, call: &'a Call<'a>) -> Pin<Box<dyn Future<Output = Handled> + Send + 'a>> {
        Box::pin(self(call))
    }
}

pub type Handler = &'static dyn for<'a> Handles<'a>;
pub type Query<'q> = &'q [(&'q str, &'q str)];

/// A call, with what of it handlers read.
pub struct Call<'s> {
    server: &'s Server,
    headers: HeaderMap,
    peer: IpAddr,
    trace: TraceId,
    /// What `/v2/me` answered; null for a call that nobody is asked to sign in for.
    pub me: Value,
    /// The project that the call is narrowed to.
    pub project: Option<String>,
    pub parameters: Vec<String>,
    pub query: BTreeMap<String, String>,
    /// Null if it has none.
    pub body: Value,
}

impl<'s> Call<'s> {
    pub(crate) fn new(server: &'s Server, names: &Names, head: &Parts, peer: IpAddr, trace: TraceId) -> Self {
        let mut headers = HeaderMap::new();
        for name in PASSED {
            for value in head.headers.get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        if !headers.contains_key(HOST)
            && let Some(authority) = head.uri.authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            headers.insert(HOST, host);
        }
        headers.insert(ACCEPT, JSON);
        if let Some(workspace) = names.workspace.and_then(|name| head.headers.get(name)) {
            headers.insert(WANTED_WORKSPACE, workspace.clone());
        }
        Self {
            server,
            headers,
            peer,
            trace,
            me: Value::Null,
            project: names.project.and_then(|name| text_of(&head.headers, name)),
            parameters: Vec::new(),
            query: BTreeMap::new(),
            body: Value::Null,
        }
    }

    /// Asks who calls, and whether the project that the call names is one of theirs.
    pub(crate) async fn identify(&mut self) -> Result<(), Refusal> {
        self.me = self.get("/v2/me", &[]).await?;
        let Some(project) = &self.project else { return Ok(()) };
        let key_project = self.me.pointer("/key/project_id").and_then(Value::as_str);
        if key_project == Some(project.as_str()) {
            return Ok(());
        }
        if !is_id(project) {
            return Err(not_found("project", &clipped(project)).into());
        }
        self.get(&format!("/v2/projects/{project}"), &[]).await.map(drop)
    }

    /// Reads the address and the body.
    pub(crate) async fn read<B>(
        &mut self,
        head: &Parts,
        parameters: Vec<String>,
        body: B,
    ) -> Result<(), Refusal>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.parameters = parameters;
        self.query = read_query(head.uri.query().unwrap_or_default())?;
        let body = Limited::new(body, CONTROL_BODY_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| unread(&*error))?
            .to_bytes();
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        self.body = serde_json::from_slice(&body).map_err(|error| no_json(&error))?;
        if self.body.is_object() { Ok(()) } else { Err(no_object()) }
    }

    /// A call of `/v2`.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        query: Query<'_>,
        body: Option<&Value>,
    ) -> Result<Value, Refusal> {
        let response = self.send(self.headers.clone(), method, path, query, body).await?;
        if response.status().is_success() {
            return Ok(serde_json::from_slice(response.body()).unwrap_or_default());
        }
        Err(Refusal::of(&response))
    }

    async fn send(
        &self,
        headers: HeaderMap,
        method: Method,
        path: &str,
        query: Query<'_>,
        body: Option<&Value>,
    ) -> Result<Response<Bytes>, Refusal> {
        let pairs = query.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
        let pairs = pairs.collect::<Vec<_>>().join("&");
        let address = if pairs.is_empty() { path.to_owned() } else { format!("{path}?{pairs}") };
        let bytes = body.map(Value::to_string).map(Bytes::from).unwrap_or_default();
        let request = Request::builder().method(method).uri(address).body(Full::new(bytes));
        let mut request = request.map_err(|_| Refusal::from(Box::new(Fault::internal())))?;
        *request.headers_mut() = headers;
        if body.is_some() {
            request.headers_mut().insert(CONTENT_TYPE, JSON);
        }
        let (head, body) = self.server.handle(request, self.peer, self.trace).await.into_parts();
        let body = body.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
        Ok(Response::from_parts(head, body))
    }

    pub async fn get(&self, path: &str, query: Query<'_>) -> Result<Value, Refusal> {
        self.ask(Method::GET, path, query, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        self.ask(Method::POST, path, &[], Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Result<Value, Refusal> {
        self.ask(Method::DELETE, path, &[], None).await
    }

    /// `/v2/me` of another key, such as one that the call has just made.
    pub async fn me_of(&self, key: &str) -> Result<Value, Refusal> {
        let mut headers = self.headers.clone();
        headers.remove(COOKIE);
        if let Ok(mut bearer) = HeaderValue::try_from(format!("Bearer {key}")) {
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let response = self.send(headers, Method::GET, "/v2/me", &[], None).await?;
        Ok(serde_json::from_slice(response.body()).unwrap_or_default())
    }

    /// The rows of a list of `/v2`, up to `rows_max` that `keep` takes.
    pub async fn rows(
        &self,
        path: &str,
        query: Query<'_>,
        rows_max: usize,
        keep: impl Fn(&Value) -> bool,
    ) -> Result<Rows, Refusal> {
        let limit = PAGE_ROWS_MAX.to_string();
        let mut rows = Rows { rows: Vec::new(), has_more: false };
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut query = query.to_vec();
            query.push(("limit", &limit));
            if let Some(cursor) = &cursor {
                query.push(("cursor", cursor));
            }
            let mut page = self.get(path, &query).await?;
            let data = page.get_mut("data").map(Value::take).unwrap_or_default();
            for row in data.as_array().cloned().unwrap_or_default().into_iter().filter(|row| keep(row)) {
                if rows.rows.len() == rows_max {
                    return Ok(Rows { has_more: true, ..rows });
                }
                rows.rows.push(row);
            }
            cursor = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                return Ok(rows);
            }
        }
        Ok(Rows { has_more: true, ..rows })
    }

    /// A text of the body.
    pub fn text(&self, field: &'static str) -> Result<Option<&str>, Refusal> {
        match self.body.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(invalid(field, format!("{field} isn't a string."), "Send a string.").into()),
        }
    }

    pub fn needed(&self, field: &'static str) -> Result<&str, Refusal> {
        let text = self.text(field)?;
        text.ok_or_else(|| missing(field, format!("Send {field}.")).into())
    }

    /// The id in the path, for which `/v2` is called.
    ///
    /// # Errors
    /// It is no plain segment, which no id of `/v2` is.
    pub fn id(&self, what: &str) -> Result<&str, Refusal> {
        self.parameter(0, what)
    }

    /// The same of a path with several.
    ///
    /// # Errors
    /// As of `id`.
    pub fn parameter(&self, at: usize, what: &str) -> Result<&str, Refusal> {
        let id = self.parameters.get(at).map_or("", String::as_str);
        if is_id(id) { Ok(id) } else { Err(not_found(what, &clipped(id)).into()) }
    }

    pub fn option(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The key that the caller sent.
    pub fn presented(&self) -> Option<&str> {
        let value = self.headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    pub fn workspace(&self) -> &str {
        self.me.get("workspace_id").and_then(Value::as_str).unwrap_or_default()
    }

    /// The operator's rate, where there is one.
    pub fn pounds(&self) -> Option<&PoundRate> {
        self.server.control().web.pounds.as_ref()
    }

    /// The address at which anybody reads a file of the workspace until then.
    ///
    /// # Errors
    /// There is no such file.
    pub async fn link(&self, id: FileId, until_unix_ms: u64) -> Result<String, Refusal> {
        let (control, no_file) = (self.server.control(), || not_found("file", &id.to_string()));
        let workspace: WorkspaceId = self.workspace().parse().map_err(|_| no_file())?;
        let file = control.web.files.in_workspace(workspace, id).await?.ok_or_else(no_file)?;
        let signature = control.deps.keeper.current().file_signature(&file, until_unix_ms);
        let origin = control.web.site.base_url(&self.headers);
        Ok(format!("{origin}/file-links/{workspace}/{id}/{until_unix_ms}/{signature}"))
    }

    pub const fn unix_ms(&self) -> u64 {
        self.trace.unix_ms()
    }
}

/// The rows of a list, and whether there are more than were wanted.
pub struct Rows {
    pub rows: Vec<Value>,
    pub has_more: bool,
}

/// Ids and names that are one plain segment of a path.
fn is_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !text.is_empty() && text.len() <= 200 && text.bytes().all(is_plain)
}

fn clipped(text: &str) -> String {
    text.chars().take(100).collect()
}

pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn unread(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Refusal {
    let fault = if error.is::<http_body_util::LengthLimitError>() {
        let message = format!("The body is longer than {CONTROL_BODY_BYTES_MAX} bytes.");
        Fault::new(FaultClass::TooLarge, "body_too_large", message).fix("Send a smaller body.")
    } else {
        Fault::new(FaultClass::BadRequest, "body_cut", "The body ended before it was complete.")
            .fix("Send it again.")
    };
    Refusal::from(Box::new(fault))
}

fn no_json(error: &serde_json::Error) -> Refusal {
    let (line, column) = (error.line(), error.column());
    let message = format!("The body is not valid JSON at line {line}, column {column}.");
    let fault = Fault::new(FaultClass::BadRequest, "invalid_json", message).fix("Send one JSON object.");
    Refusal::from(Box::new(fault))
}

fn no_object() -> Refusal {
    let fault = Fault::new(FaultClass::BadRequest, "invalid_json", "The body isn't a JSON object.");
    Refusal::from(Box::new(fault.fix("Send one JSON object.")))
}
