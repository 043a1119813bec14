//! The interface to the control plane, which runs on its own threads so that it
//! never holds up a serving core.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use api::site::Site;
use bytes::Bytes;
use domain::TraceId;
use http::{Request, Response};
use http_body_util::BodyExt;
use tasks::RuntimeTasks;
use tokio::task::JoinError;

use crate::body::TimedBody;

/// Answers `/v2`, and what is translated to it. It identifies the caller before it reads the body, and always answers.
pub trait ControlService: Send + Sync + 'static {
    fn call(
        self: Arc<Self>,
        request: Request<TimedBody>,
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
        request: Request<TimedBody>,
        peer: IpAddr,
        trace: TraceId,
    ) -> Pin<Box<dyn Future<Output = Response<Bytes>> + Send>> {
        Box::pin(async move {
            let answered = if oauth::is_below(request.uri().path()) {
                oauth::handle(&self, request, trace).await
            } else if stimulir::is_below(request.uri().path()) {
                stimulir::handle(&self, request, peer, trace).await
            } else {
                self.handle(request, peer, trace).await
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

/// The service and its tasks on its own runtime.
#[derive(Clone)]
pub struct ControlHandle {
    pub service: Arc<dyn ControlService>,
    pub tasks: RuntimeTasks,
}

impl ControlHandle {
    pub(crate) async fn call(
        &self,
        request: Request<TimedBody>,
        peer: IpAddr,
        trace: TraceId,
    ) -> Result<Response<Bytes>, JoinError> {
        // A client that goes away does not interrupt a write: the task runs on.
        self.tasks.run(Arc::clone(&self.service).call(request, peer, trace)).await
    }
}
