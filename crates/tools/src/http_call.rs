//! Calls of HTTP tools and apps: each argument goes where the declaration says. A tool's answer is read as text.

use std::collections::BTreeMap;

use bytes::Bytes;
use domain::tools::{ArgumentPlace, HttpAction, SecretHeaders};
use domain::{CallOutcome, WorkspaceId};
use egress::{Client, Destination, OutBody, Request, TargetKind};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::answer::{CallFailure, ToolAnswer};
use crate::limits::ANSWER_BYTES_MAX;

/// A request as it will be sent.
#[derive(Debug, PartialEq, Eq)]
struct Composed {
    url: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

fn bad(text: impl Into<String>) -> CallFailure {
    CallFailure::new(CallOutcome::BadArguments, text)
}

/// A value as part of an address or header.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn has_body(method: &str) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH")
}

fn place_of(action: &HttpAction, name: &str) -> ArgumentPlace {
    let stated = action.places.get(name).copied();
    stated.unwrap_or_else(|| match action.url.contains(&format!("{{{name}}}")) {
        true => ArgumentPlace::Path,
        false if has_body(&action.method) => ArgumentPlace::Body,
        false => ArgumentPlace::Query,
    })
}

fn composed(action: &HttpAction, arguments: &Map<String, Value>) -> Result<Composed, CallFailure> {
    let mut url = action.url.clone();
    let (mut query, mut headers, mut body) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (name, value) in arguments.iter().filter(|(_, value)| !value.is_null()) {
        match place_of(action, name) {
            ArgumentPlace::Path => {
                let text = plain(value);
                // An empty segment, or one that leads up, would be another path.
                if text.is_empty() || text == "." || text == ".." {
                    return Err(bad(format!("\"{name}\" can't be used in the path.")));
                }
                url = url.replace(&format!("{{{name}}}"), &encoded(&text));
            }
            ArgumentPlace::Query => query.push(format!("{}={}", encoded(name), encoded(&plain(value)))),
            ArgumentPlace::Header => headers.push((name.clone(), plain(value))),
            ArgumentPlace::Body => {
                body.insert(name.clone(), value.clone());
            }
        }
    }
    if let Some((_, rest)) = url.split_once('{') {
        let name = rest.split('}').next().unwrap_or_default();
        return Err(bad(format!("\"{name}\" is missing; it is a part of the path.")));
    }
    if !query.is_empty() {
        url = format!("{url}?{}", query.join("&"));
    }
    let body = (!body.is_empty()).then(|| serde_json::to_string(&body).unwrap_or_default());
    Ok(Composed { url, headers, body })
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    pub status: StatusCode,
    pub content_type: String,
    pub body: Bytes,
}

impl HttpAnswer {
    fn into_text(self) -> String {
        match String::from_utf8(self.body.to_vec()) {
            Ok(text) => text,
            Err(_) => format!("[{} bytes that aren't text were left out.]", self.body.len()),
        }
    }
}

/// Calls the server of a tool. The caller bounds the time.
///
/// # Errors
/// The arguments don't make a request, or the server can't be reached.
pub async fn call_http(
    client: &Client,
    owner: WorkspaceId,
    action: &HttpAction,
    secrets: &SecretHeaders,
    arguments: &Map<String, Value>,
) -> Result<ToolAnswer, CallFailure> {
    let answer = exchange(client, owner, action, secrets, arguments).await?;
    let status = answer.status;
    let text = answer.into_text();
    if status.is_success() {
        return Ok(ToolAnswer { text, is_error: false });
    }
    Ok(ToolAnswer { text: format!("HTTP status {}\n{text}", status.as_u16()), is_error: true })
}

/// Sends a call and reads the whole answer. The caller bounds the time.
///
/// # Errors
/// The arguments don't make a request, or the server can't be reached.
pub(crate) async fn exchange(
    client: &Client,
    owner: WorkspaceId,
    action: &HttpAction,
    secrets: &SecretHeaders,
    arguments: &Map<String, Value>,
) -> Result<HttpAnswer, CallFailure> {
    let request = request(action, secrets, composed(action, arguments)?)?;
    let destination = Destination { kind: TargetKind::Provider, owner: Some(owner) };
    let answer = client.send(&request, destination).await.map_err(|error| CallFailure::of(&error))?;
    let status = answer.status;
    if status.is_redirection() {
        let text = "The tool's server redirects, and redirects aren't followed.";
        return Err(CallFailure::new(CallOutcome::Refused, text));
    }
    let content_type = answer.headers.text("content-type").unwrap_or_default().to_owned();
    let body = answer.body.read_to_end(ANSWER_BYTES_MAX).await;
    let body = body
        .map_err(|_| CallFailure::unreachable("The tool's server sent too much, or its answer broke off."))?;
    Ok(HttpAnswer { status, content_type, body })
}

fn request(action: &HttpAction, secrets: &SecretHeaders, composed: Composed) -> Result<Request, CallFailure> {
    let method = Method::try_from(action.method.as_str())
        .map_err(|_| bad("The tool's method isn't an HTTP method."))?;
    let url = Uri::try_from(composed.url).map_err(|_| bad("The arguments don't make a valid address."))?;
    let mut request = Request::new(method, url);
    request.headers = vec![
        (ACCEPT, HeaderValue::from_static("application/json, text/*;q=0.9, */*;q=0.1")),
        (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
        (USER_AGENT, HeaderValue::from_static(concat!("Tidegate/", env!("CARGO_PKG_VERSION")))),
    ];
    if let Some(body) = composed.body {
        request.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        request.body = OutBody::from(Bytes::from(body));
    }
    for (name, value) in composed.headers {
        // No argument takes the place of what is sealed.
        let is_secret = secrets.iter().any(|(sealed, _)| sealed.eq_ignore_ascii_case(&name));
        let name = HeaderName::try_from(name.as_str()).ok().filter(|_| !is_secret);
        let value = HeaderValue::try_from(value).ok();
        let (Some(name), Some(value)) = (name, value) else {
            return Err(bad("An argument isn't a valid header."));
        };
        request.headers.push((name, value));
    }
    for (name, value) in secrets {
        let name = HeaderName::try_from(name.as_str()).ok();
        let value = HeaderValue::from_bytes(value.expose()).ok();
        let (Some(name), Some(mut value)) = (name, value) else {
            return Err(bad("The tool's secret isn't a valid header."));
        };
        value.set_sensitive(true);
        request.headers.push((name, value));
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn action(method: &str, url: &str, places: &[(&str, ArgumentPlace)]) -> HttpAction {
        let places = places.iter().map(|(name, place)| ((*name).to_owned(), *place)).collect();
        HttpAction { method: method.to_owned(), url: url.to_owned(), places }
    }

    fn arguments(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn each_argument_goes_where_it_belongs() {
        let get = action("GET", "https://a.example/cities/{city}", &[("X-Lang", ArgumentPlace::Header)]);
        let sent =
            composed(&get, &arguments(&json!({"city": "São/Paulo", "days": 3, "X-Lang": "pt", "no": null})));
        assert_eq!(
            sent.unwrap(),
            Composed {
                url: "https://a.example/cities/S%C3%A3o%2FPaulo?days=3".to_owned(),
                headers: vec![("X-Lang".to_owned(), "pt".to_owned())],
                body: None,
            }
        );
        let post = action("POST", "https://a.example/notes", &[("dry", ArgumentPlace::Query)]);
        let sent = composed(&post, &arguments(&json!({"text": "a", "tags": ["x"], "dry": true}))).unwrap();
        assert_eq!(sent.url, "https://a.example/notes?dry=true");
        assert_eq!(sent.body.as_deref(), Some(r#"{"tags":["x"],"text":"a"}"#));
    }

    #[test]
    fn no_argument_leads_to_another_path_or_replaces_a_secret() {
        let get = action("GET", "https://a.example/{a}/b", &[("authorization", ArgumentPlace::Header)]);
        for wrong in [json!({"a": ".."}), json!({"a": ""}), json!({})] {
            assert_eq!(composed(&get, &arguments(&wrong)).unwrap_err().outcome, CallOutcome::BadArguments);
        }
        let secrets = vec![(
            "Authorization".to_owned(),
            std::sync::Arc::new(domain::Secret::from_text("Bearer s".to_owned())),
        )];
        let sent = composed(&get, &arguments(&json!({"a": "x", "authorization": "mine"}))).unwrap();
        assert_eq!(request(&get, &secrets, sent).unwrap_err().outcome, CallOutcome::BadArguments);
    }
}
