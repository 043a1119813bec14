//! The API of another product, for its published clients: each call becomes calls of `/v2`, which authorise, validate and audit
//! it, or is refused with what to use instead.

pub mod answer;
pub mod call;
mod limits;
pub mod names;
pub mod table;

use std::net::IpAddr;

use api::server::Server;
use bytes::Bytes;
use domain::{Fault, FaultClass, TraceId};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body::Body;
use http_body_util::Full;

use crate::answer::{Answer, Refusal};
use crate::call::Call;
use crate::table::{Does, Found, Instead, Row};

/// The headers by which a client narrows a call, where it has any.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    pub workspace: Option<&'static str>,
    pub project: Option<&'static str>,
}

/// The API of another product.
#[derive(Clone, Copy)]
pub struct Api {
    /// Every path below its root that does something.
    pub rows: &'static [Row],
    pub instead: &'static [Instead],
    pub names: Names,
    /// Writes an error as its clients read it.
    pub write: fn(Refusal, TraceId) -> Response<Full<Bytes>>,
    /// The page that lists its calls.
    pub page: &'static str,
}

impl Api {
    /// Whether it has a row for a call, or says what to use instead.
    pub fn takes(&self, method: &Method, path: &str) -> bool {
        let path = path.strip_suffix('/').unwrap_or(path);
        matches!(table::find(self.rows, self.instead, method, path), Found::Route(..))
    }

    /// Answers a request for a path below the root. It never fails: errors are written as the client reads them.
    pub async fn serve<B>(
        &self,
        server: &Server,
        path: &str,
        request: Request<B>,
        (peer, trace): (IpAddr, TraceId),
    ) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut response = match self.answer(server, path, request, (peer, trace)).await {
            Ok(answer) => answer.into_response(),
            Err(refusal) => (self.write)(refusal, trace),
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
        &self,
        server: &Server,
        path: &str,
        request: Request<B>,
        (peer, trace): (IpAddr, TraceId),
    ) -> Result<Answer, Refusal>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        // Some clients write paths with a slash at their end.
        let path = path.strip_suffix('/').unwrap_or(path);
        let found = table::find(self.rows, self.instead, &head.method, path);
        let mut call = Call::new(server, &self.names, &head, peer, trace);
        if !matches!(found, Found::Route(Does::Open(_), _)) {
            // Who calls is known before the answer depends on the path, and before the body is read.
            call.identify().await?;
        }
        let (does, parameters) = match found {
            Found::Route(does, parameters) => (does, parameters),
            Found::OtherMethods(allowed) => return Err(wrong_method(&head.method, &allowed)),
            Found::Nothing => return Err(self.unknown(&head.method, head.uri.path())),
        };
        match does {
            Does::Call(handler) | Does::Open(handler) => {
                let workspace = call.workspace().parse().ok();
                // Boxed: the future that waits for a permit would be as large.
                let working = Box::pin(async {
                    call.read(&head, parameters, body).await?;
                    handler.handle(&call).await
                });
                api::server::beside(workspace, working).await
            }
            Does::Instead(instead) => Err(Refusal::instead(path, instead)),
        }
    }

    fn unknown(&self, method: &Method, path: &str) -> Refusal {
        let path: String = path.chars().take(200).collect();
        let fault =
            Fault::new(FaultClass::NotFound, "unknown_path", format!("There is nothing at {method} {path}."));
        let fix = format!("{} lists the calls of this API that work here.", self.page);
        Refusal::from(Box::new(fault.fix(fix)))
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
