//! The data plane's calls to its control plane. It makes them all itself; nothing is asked of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use egress::{Client, EgressSettings, OutBody, Request, TargetKind};
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, StatusCode, Uri};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tasks::Thread;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::limits::{CALL_TIME_MAX, CALLS_WAITING_MAX, DOCUMENT_BYTES_MAX};
use crate::membership::Membership;

/// Why a call had no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It can be made again.
    #[error("the control plane is away: {0}")]
    Away(String),
    #[error("the control plane refuses ({code}): {detail}")]
    Refused { code: String, detail: String },
}

#[derive(Debug)]
struct Call {
    path: &'static str,
    body: Bytes,
    answer: oneshot::Sender<Result<Bytes, LinkError>>,
}

/// The handle on the thread that makes the calls.
#[derive(Debug, Clone)]
pub struct Link(mpsc::Sender<Option<Call>>);

/// The body of an error response.
#[derive(Deserialize, Default)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
}

impl Link {
    /// # Errors
    /// The thread can't be started, or the TLS root certificates can't be read.
    pub fn start(membership: &Membership, settings: Arc<EgressSettings>) -> std::io::Result<(Self, Thread)> {
        let (calls, mut waiting) = mpsc::channel::<Option<Call>>(CALLS_WAITING_MAX);
        let (control, bearer) = (membership.control.clone(), bearer(&membership.credential)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = Thread::spawn("control-link", move || {
            LocalSet::new().block_on(&runtime, async move {
                let client = match Client::new(settings) {
                    Ok(client) => client,
                    Err(error) => return tracing::error!(%error, "the control plane can't be called"),
                };
                while let Some(Some(call)) = waiting.recv().await {
                    let (client, bearer) = (client.clone(), bearer.clone());
                    let url = format!("{control}{}", call.path);
                    tasks::spawn_on_core(async move {
                        // Whoever asked may be gone.
                        let _ = call.answer.send(send(&client, url, bearer, call.body).await);
                    });
                }
            });
        })?;
        Ok((Self(calls), thread))
    }

    /// Ends the thread, and with it the calls that are under way.
    pub async fn stop(&self) {
        // It may have ended before.
        let _ = self.0.send(None).await;
    }

    /// # Errors
    /// The control plane is away, or refuses.
    pub async fn call<T: DeserializeOwned>(
        &self,
        path: &'static str,
        body: &impl Serialize,
    ) -> Result<T, LinkError> {
        let away = |error: serde_json::Error| LinkError::Away(format!("it can't be understood: {error}"));
        let body = serde_json::to_vec(body).map_err(away)?.into();
        let gone = || LinkError::Away("this process is stopping".to_owned());
        let (answer, answered) = oneshot::channel();
        self.0.send(Some(Call { path, body, answer })).await.map_err(|_| gone())?;
        let body = answered.await.map_err(|_| gone())??;
        serde_json::from_slice(&body).map_err(away)
    }
}

fn bearer(credential: &str) -> std::io::Result<HeaderValue> {
    let bearer = HeaderValue::try_from(format!("Bearer {credential}"));
    let mut bearer =
        bearer.map_err(|_| std::io::Error::other("the credential of the data plane is invalid"))?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

async fn send(client: &Client, url: String, bearer: HeaderValue, body: Bytes) -> Result<Bytes, LinkError> {
    let url = Uri::try_from(url).map_err(|error| LinkError::Away(error.to_string()))?;
    let mut request = Request::new(Method::POST, url);
    let agent = HeaderValue::from_static(concat!("tidegate-data-plane/", env!("CARGO_PKG_VERSION")));
    request.headers.push((USER_AGENT, agent));
    request.headers.push((AUTHORIZATION, bearer));
    request.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
    request.body = OutBody::from(body);
    let whole = async {
        let away = |error: egress::EgressError| LinkError::Away(error.message);
        let answer = client.send(&request, TargetKind::System).await.map_err(away)?;
        let status = answer.status;
        let body = answer.body.read_to_end(DOCUMENT_BYTES_MAX).await.map_err(away)?;
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    };
    let late = |_| LinkError::Away(format!("no answer within {} s", CALL_TIME_MAX.as_secs()));
    tokio::time::timeout(CALL_TIME_MAX, whole).await.map_err(late)?
}

/// A refusal that names its reason, from what is a control plane; anything else may be on the way to it.
fn refused(status: StatusCode, body: &[u8]) -> LinkError {
    let Problem { code, detail } = serde_json::from_slice(body).unwrap_or_default();
    if status.is_client_error() && !code.is_empty() && status != StatusCode::TOO_MANY_REQUESTS {
        LinkError::Refused { code, detail }
    } else {
        LinkError::Away(format!("it answered {status}. {detail}"))
    }
}

/// The pause before a call that failed is made again.
#[derive(Debug, Default)]
pub(crate) struct Pause(Duration);

impl Pause {
    pub(crate) const fn reset(&mut self) {
        self.0 = Duration::ZERO;
    }

    pub(crate) async fn wait(&mut self) {
        self.0 = (self.0 * 2).clamp(crate::limits::AGAIN_FIRST, crate::limits::AGAIN_MAX);
        tokio::time::sleep(self.0).await;
    }
}
