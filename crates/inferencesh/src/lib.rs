//! The calls of inference.sh's clients that manage things: what counts is declared with `/v2`, so each is translated to calls of
//! that, or refused with what to use instead. Runs, tasks, files and chats are served as such, by `run`.

#![expect(
    clippy::indexing_slicing,
    reason = "a member of a JSON value is null where there is none, and only objects made here are written to by name"
)]

mod agents;
mod answer;
mod chats;
mod engines;
mod flows;
mod keys;
mod limits;
mod page;
mod projects;
mod secrets;
mod servers;
mod sessions;
mod table;
mod teams;

use std::net::IpAddr;

use api::server::Server;
use bytes::Bytes;
use compat::{Api, Names};
use domain::TraceId;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::Full;

use crate::answer::Envelope;

const API: Api = Api {
    rows: table::ROWS,
    instead: table::INSTEAD,
    names: Names { workspace: None, project: None },
    write: answer::write,
    page: "docs/inferencesh.md",
};

pub use table::routes;

/// The path below the root, which is that of the host or `/v1`.
fn below(path: &str) -> &str {
    path.strip_prefix("/v1/").or_else(|| path.strip_prefix('/')).unwrap_or(path)
}

/// What `run` serves among paths that these calls have too.
const SERVED: [&str; 5] = ["agents/run", "agents/message", "agents/messages", "apps/list", "apps/run"];

/// Whether a request is one of these calls.
pub fn takes(method: &Method, path: &str) -> bool {
    let path = below(path);
    !SERVED.contains(&path) && API.takes(method, path)
}

/// Whether a path is below those of these calls.
pub fn is_below(path: &str) -> bool {
    table::has_segment(below(path).split('/').next().unwrap_or_default())
}

/// Answers one of these calls. It never fails: errors are written as the clients read them.
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
    let envelope = Envelope::of(request.headers());
    let path = below(request.uri().path()).to_owned();
    let response = API.serve(server, &path, request, (peer, trace)).await;
    if response.status().is_success() { answer::wrapped(response, envelope).await } else { response }
}
