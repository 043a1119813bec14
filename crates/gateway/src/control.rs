//! The interface to the control plane, which runs on its own threads so that it
//! never holds up a serving core.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use api::site::Site;
use bytes::Bytes;
use domain::TraceId;
use http::{Method, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tasks::RuntimeTasks;
use tokio::task::JoinError;

use crate::body::TimedBody;
use crate::held_bodies::{HeldBodies, HeldBody, Holder};

/// Below these are keys, members and credentials.
const REVOKED: [&str; 3] = ["/v2/api-keys/", "/v2/members/", "/v2/provider-credentials/"];

/// Where published clients have runs of flows.
const FLOW_RUNS: &str = "/flowruns";

/// Answers `/v2`, and what is translated to it. It identifies the caller before it reads the body, and always answers.
pub trait ControlService: Send + Sync + 'static {
    fn call(
        self: Arc<Self>,
        request: Request<ControlBody>,
        peer: IpAddr,
        trace: TraceId,
    ) -> Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

    /// The names that it is reached by.
    fn site(&self) -> Option<&Site> {
        None
    }
}

impl ControlService for api::server::Server {
    fn call(
        self: Arc<Self>,
        request: Request<ControlBody>,
        peer: IpAddr,
        trace: TraceId,
    ) -> Pin<Box<dyn Future<Output = Response<Bytes>> + Send>> {
        Box::pin(async move {
            let is_managing = inferencesh::is_below(request.uri().path());
            let is_run_of_flow = request.uri().path().starts_with(FLOW_RUNS);
            let answered = if is_managing
                && (!is_run_of_flow || inferencesh::takes(request.method(), request.uri().path()))
            {
                inferencesh::handle(&self, request, peer, trace).await
            } else if oauth::is_below(request.uri().path()) {
                oauth::handle(&self, request, trace).await
            } else if stimulir::is_below(request.uri().path()) {
                stimulir::handle(&self, request, peer, trace).await
            } else {
                self.handle(as_named_here(request), peer, trace).await
            };
            let (head, body) = answered.into_parts();
            let bytes = body.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
            Response::from_parts(head, bytes)
        })
    }

    fn site(&self) -> Option<&Site> {
        Some(&self.control().web.site)
    }
}

/// Runs of flows have other addresses at published clients.
fn as_named_here(mut request: Request<ControlBody>) -> Request<ControlBody> {
    let Some(rest) = request.uri().path().strip_prefix(FLOW_RUNS) else { return request };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(uri) = format!("/v2{FLOW_RUNS}{rest}{query}").parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    request
}

/// The service and its tasks on its own runtime.
#[derive(Clone)]
pub struct ControlHandle {
    pub service: Arc<dyn ControlService>,
    pub tasks: RuntimeTasks,
    /// On a runtime that computes nothing for tenants: for requests that take access away.
    pub urgent: RuntimeTasks,
}

impl ControlHandle {
    pub(crate) async fn call(
        &self,
        request: Request<TimedBody>,
        bodies: &Arc<HeldBodies>,
        (peer, trace): (IpAddr, TraceId),
    ) -> Result<Response<Bytes>, JoinError> {
        let tasks = if takes_access(&request) { &self.urgent } else { &self.tasks };
        let held = Arc::new(Mutex::new(Holder { bodies, workspace: None }.open()));
        let request = request.map(|timed| ControlBody { timed, length: 0, held: Arc::clone(&held) });
        let answering = Arc::clone(&self.service).call(request, peer, trace);
        // A client that goes away does not interrupt a write: the task runs on.
        let done = tasks.run(async move { (answering.await, held) }).await;
        done.map(|(answer, _held)| answer)
    }
}

/// Whether a request takes access away from somebody, and does little else.
fn takes_access<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    request.method() == Method::DELETE && REVOKED.iter().any(|of| path.starts_with(of))
}

/// The body of a request to the control plane. It is counted until the request is answered; nothing of it is read before its
/// caller is known.
pub struct ControlBody {
    timed: TimedBody,
    length: usize,
    held: Arc<Mutex<HeldBody>>,
}

impl Body for ControlBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(frame) = ready!(Pin::new(&mut self.timed).poll_frame(cx)) else { return Poll::Ready(None) };
        let counted = frame.map_err(Self::Error::from).and_then(|frame| {
            self.length += frame.data_ref().map_or(0, Bytes::len);
            let grown = self.held.lock().unwrap_or_else(PoisonError::into_inner).grow(self.length);
            grown.map(|()| frame).map_err(|fault| -> Self::Error { fault })
        });
        Poll::Ready(Some(counted))
    }

    fn is_end_stream(&self) -> bool {
        self.timed.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.timed.size_hint()
    }
}
