//! Requests to a bucket, sent by a thread of its own over the connections of `egress`.

use std::pin::Pin;
use std::sync::Arc;

use egress::{Client, EgressError, EgressErrorKind, EgressSettings, OutBody, Request, TargetKind};
use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use tasks::Thread;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::limits::{BUCKET_ANSWER_BYTES_MAX, BUCKET_JOBS_MAX, BUCKET_REQUEST_TIME_MAX};

/// Where clouds tell their machines who they are.
const MACHINES: [&str; 3] = ["169.254.169.254", "169.254.170.2", "metadata.google.internal"];

type Job = (HttpRequest, oneshot::Sender<Result<HttpResponse, HttpError>>);

/// Hands requests to the thread, which ends when the last of these is dropped.
#[derive(Clone)]
pub(crate) struct Outbound(mpsc::Sender<Job>);

/// The thread is gone.
#[derive(Debug, thiserror::Error)]
#[error("the thread that reaches the bucket is gone")]
struct Gone;

impl Outbound {
    /// # Errors
    /// The thread can't be started.
    pub(crate) fn start(settings: Arc<EgressSettings>) -> std::io::Result<(Self, Thread)> {
        let (jobs, received) = mpsc::channel(BUCKET_JOBS_MAX);
        let thread = Thread::spawn("bucket", move || {
            if let Err(error) = work(settings, received) {
                tracing::error!(%error, "the bucket of files can't be reached: its thread did not start");
            }
        })?;
        Ok((Self(jobs), thread))
    }
}

fn work(settings: Arc<EgressSettings>, mut jobs: mpsc::Receiver<Job>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let client = Client::new(settings)?;
        while let Some((request, answer)) = jobs.recv().await {
            let client = client.clone();
            tasks::spawn_on_core(async move {
                let sent = timeout(BUCKET_REQUEST_TIME_MAX, send(&client, request)).await;
                let late = || {
                    let text = "The bucket did not answer in time.";
                    Err(worded(EgressError::new(EgressErrorKind::Timeout, text)))
                };
                // The caller may be gone; the result is dropped then.
                let _ = answer.send(sent.unwrap_or_else(|_| late()));
            });
        }
        Ok(())
    })
}

async fn send(client: &Client, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let (head, body) = request.into_parts();
    let kind = match head.uri.host() {
        Some(host) if MACHINES.contains(&host) => TargetKind::Machine,
        _ => TargetKind::System,
    };
    let body = body.collect().await?.to_bytes();
    let mut sent = Request::new(head.method, head.uri);
    for (name, value) in &head.headers {
        sent.headers.push((name.clone(), value.clone()));
    }
    if !body.is_empty() {
        sent.body = OutBody::from(body);
    }
    let answer = client.send(&sent, kind).await.map_err(worded)?;
    let (status, headers) = (answer.status, answer.headers.to_map());
    let body = answer.body.read_to_end(BUCKET_ANSWER_BYTES_MAX).await.map_err(worded)?;
    let mut response = HttpResponse::new(HttpResponseBody::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

fn worded(error: EgressError) -> HttpError {
    let kind = match error.kind {
        EgressErrorKind::Dns | EgressErrorKind::Connect | EgressErrorKind::Tls => HttpErrorKind::Connect,
        EgressErrorKind::Timeout => HttpErrorKind::Timeout,
        EgressErrorKind::Reset | EgressErrorKind::Closed => HttpErrorKind::Interrupted,
        EgressErrorKind::Guard | EgressErrorKind::Protocol | EgressErrorKind::Body => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}

impl HttpConnector for Outbound {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl HttpService for Outbound {
    fn call<'own, 'out>(
        &'own self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'out>>
    where
        'own: 'out,
        Self: 'out,
    {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let gone = |_| HttpError::new(HttpErrorKind::Unknown, Gone);
            self.0.send((request, answer)).await.map_err(|_| HttpError::new(HttpErrorKind::Unknown, Gone))?;
            answered.await.map_err(gone)?
        })
    }
}

domain::brief_debug!(Outbound as "Outbound");
