//! OAuth 2.1 for clients of `/mcp`: discovery, dynamic registration, consent at the console, and tokens, which are short-lived keys
//! of the project that a person chose.

mod answer;
mod claims;
mod clients;
mod consent;
#[cfg(feature = "fixtures")]
pub mod fixtures;
mod granting;
mod limits;
mod metadata;
mod sql;

use api::router::Route;
use api::server::Server;
use bytes::Bytes;
use domain::TraceId;
use http::header::{HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::json;

use crate::answer::{Refusal, refused, written};
use crate::limits::BODY_BYTES_MAX;

pub use metadata::resource_metadata_url;

/// Below these is nothing else.
const ROOTS: [&str; 2] = ["/oauth/", "/.well-known/oauth-"];

/// The routes of `/v2`.
pub fn routes() -> Vec<Route> {
    vec![consent::route()]
}

/// Whether a path belongs to OAuth.
pub fn is_below(path: &str) -> bool {
    ROOTS.iter().any(|root| path.starts_with(root))
}

/// Answers a client. It never fails: errors are written as clients read them.
pub async fn handle<B>(server: &Server, request: Request<B>, trace: TraceId) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let answered = answer(server, request, trace).await;
    let mut response = answered.unwrap_or_else(|refusal| refused(&refusal));
    if let Ok(id) = HeaderValue::try_from(trace.to_string()) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

async fn answer<B>(
    server: &Server,
    request: Request<B>,
    trace: TraceId,
) -> Result<Response<Full<Bytes>>, Refusal>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let control = server.control();
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().and_then(|one| HeaderValue::from_str(one.as_str()).ok());
    if let Some(authority) = authority.filter(|_| !head.headers.contains_key(HOST)) {
        head.headers.insert(HOST, authority);
    }
    let base = control.web.site.base_url(&head.headers);
    let is_read = matches!(head.method, Method::GET | Method::HEAD);
    match head.uri.path() {
        "/.well-known/oauth-protected-resource" | "/.well-known/oauth-protected-resource/mcp" if is_read => {
            return Ok(written(StatusCode::OK, &metadata::of_resource(&base)));
        }
        "/.well-known/oauth-authorization-server" | "/.well-known/oauth-authorization-server/mcp"
            if is_read =>
        {
            return Ok(written(StatusCode::OK, &metadata::of_server(&base)));
        }
        _ => {}
    }
    if head.method != Method::POST {
        return Err(nowhere());
    }
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map(|read| read.to_bytes());
    let body = body.map_err(|_| Refusal::bad("invalid_request", "The body is too long, or broke off."))?;
    match head.uri.path() {
        "/oauth/register" => Ok(written(StatusCode::CREATED, &clients::register(control, &body)?)),
        "/oauth/token" => Ok(written(StatusCode::OK, &granting::token(control, &body, trace).await?)),
        "/oauth/revoke" => {
            granting::revoke(control, &body, trace).await?;
            Ok(written(StatusCode::OK, &json!({})))
        }
        _ => Err(nowhere()),
    }
}

fn nowhere() -> Refusal {
    let description = "This path doesn't exist: /.well-known/oauth-authorization-server lists the endpoints.";
    Refusal { status: StatusCode::NOT_FOUND, error: "invalid_request", description: description.to_owned() }
}
