//! The paths of Stimulir's API, for its published client: each call is translated to calls of `/v2`, which authorise, validate
//! and audit it, or is refused with what to use instead. What asks a model goes through the pipeline like every other request.

#![expect(
    clippy::indexing_slicing,
    reason = "a member of a JSON value is null where there is none, and only objects made here are written to by name"
)]

mod accounts;
mod answer;
mod call;
mod credentials;
mod devices;
mod export;
mod inference;
mod keys;
mod limits;
mod names;
mod nodes;
mod runtimes;
mod table;
mod usage;

use std::net::IpAddr;

use api::server::Server;
use bytes::Bytes;
use domain::{Fault, FaultClass, TraceId};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body::Body;
use http_body_util::Full;

use crate::answer::{Answer, Refusal};
use crate::call::Call;
use crate::table::{Does, Found};

pub use inference::{is_inference, meant_path, take_fields, take_tags};
pub use names::{PROJECT, ROOT, WORKSPACE};

/// Whether a path belongs to this API.
#[must_use]
pub fn is_below(path: &str) -> bool {
    path.starts_with(ROOT)
}

/// Answers a request of this API. It never fails: errors are written as the client reads them.
pub async fn handle<B>(
    server: &Server,
    request: Request<B>,
    peer: IpAddr,
    trace: TraceId,
) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let answered = answer(server, request, peer, trace).await;
    let mut response = match answered {
        Ok(answer) => answer.into_response(),
        Err(refusal) => refusal.into_response(trace),
    };
    let headers = response.headers_mut();
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::try_from(trace.to_string()) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}

async fn answer<B>(
    server: &Server,
    request: Request<B>,
    peer: IpAddr,
    trace: TraceId,
) -> Result<Answer, Refusal>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let path = head.uri.path().strip_prefix(ROOT).unwrap_or_default();
    // The client writes some paths with a slash at their end.
    let path = path.strip_suffix('/').unwrap_or(path).to_owned();
    let found = table::find(&head.method, &path);
    let mut call = Call::new(server, &head, peer, trace);
    if !matches!(found, Found::Route(Does::Open(_), _)) {
        // Who calls is known before the answer depends on the path, and before the body is read.
        call.identify().await?;
    }
    let (does, parameters) = match found {
        Found::Route(does, parameters) => (does, parameters),
        Found::OtherMethods(allowed) => return Err(wrong_method(&head.method, &allowed)),
        Found::Nothing => return Err(unknown(&head.method, head.uri.path())),
    };
    match does {
        Does::Call(handler) | Does::Open(handler) => {
            call.read(&head, parameters, body).await?;
            handler(&call).await
        }
        Does::Instead(instead) => Err(Refusal::instead(&path, instead)),
    }
}

fn wrong_method(method: &Method, allowed: &str) -> Refusal {
    let fault = Fault::new(
        FaultClass::MethodNotAllowed,
        "method_not_allowed",
        format!("This path does not take {method}."),
    );
    Refusal::from(Box::new(fault.fix(format!("It takes {allowed}."))))
}

fn unknown(method: &Method, path: &str) -> Refusal {
    let path: String = path.chars().take(200).collect();
    let fault =
        Fault::new(FaultClass::NotFound, "unknown_path", format!("There is nothing at {method} {path}."));
    Refusal::from(Box::new(fault.fix("docs/stimulir.md lists the calls of this API that work here.")))
}
