//! The paths of Stimulir's API, for its published client: each call is translated to calls of `/v2`, which authorise, validate
//! and audit it, or is refused with what to use instead. What asks a model goes through the pipeline like every other request.

#![expect(
    clippy::indexing_slicing,
    reason = "a member of a JSON value is null where there is none, and only objects made here are written to by name"
)]

mod accounts;
mod answer;
mod credentials;
mod devices;
mod export;
mod inference;
mod keys;
mod limits;
mod names;
mod nodes;
mod runtimes;
mod storage;
mod table;
mod usage;

use std::net::IpAddr;

use api::server::Server;
use bytes::Bytes;
use compat::{Api, Names};
use domain::TraceId;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;

pub use inference::{is_inference, meant_path, take_fields, take_tags};
pub use names::{PROJECT, ROOT, WORKSPACE};

/// Whether a path belongs to this API.
pub fn is_below(path: &str) -> bool {
    path.starts_with(ROOT)
}

const API: Api = Api {
    rows: table::ROWS,
    instead: table::INSTEAD,
    names: Names { workspace: Some(WORKSPACE), project: Some(PROJECT) },
    write: answer::write,
    page: "docs/stimulir.md",
};

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
    let path = request.uri().path().strip_prefix(ROOT).unwrap_or_default().to_owned();
    API.serve(server, &path, request, (peer, trace)).await
}
