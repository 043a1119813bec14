//! One call of a joined node to its control plane.

use std::sync::Arc;

use bytes::Bytes;
use domain::limits::{NODE_CALL_BYTES_MAX, NODE_CALL_TIME_MAX};
use egress::{Answer, Client, EgressError, EgressSettings, OutBody, Request, TargetKind, Upgrade};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::Membership;
use crate::limits::CONTROL_ANSWER_BYTES_MAX;

/// Error codes for a credential that is no longer valid.
const OVER: [&str; 2] = ["node_credential_revoked", "unknown_node_credential"];

/// Where a node reports to, and with what.
pub(crate) struct ControlPlane {
    pub membership: Membership,
    client: Client,
}

/// Why a call failed.
pub(crate) enum CallError {
    /// It can be retried.
    Away(String),
    /// The control plane does not know the path: it is older than the node.
    Unknown,
    /// The node was removed from the control plane.
    Over(String),
}

/// The body of an error response.
#[derive(Deserialize, Default)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    fix: String,
}

impl ControlPlane {
    /// # Errors
    /// The TLS root certificates can't be read.
    pub(crate) fn new(membership: Membership, settings: EgressSettings) -> std::io::Result<Self> {
        Ok(Self { membership, client: Client::new(Arc::new(settings))? })
    }

    pub(crate) async fn post(&self, path: &str, body: &impl Serialize) -> Result<Bytes, CallError> {
        let body = serde_json::to_vec(body).map_err(|error| CallError::Away(error.to_string()))?;
        let mut request = self.request(Method::POST, path).map_err(CallError::Away)?;
        request.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        request.body = OutBody::from(Bytes::from(body));
        let whole = async {
            let answer = self.client.send(&request, TargetKind::System).await.map_err(away)?;
            let status = answer.status;
            let body = answer.body.read_to_end(CONTROL_ANSWER_BYTES_MAX).await.map_err(away)?;
            if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
        };
        in_time(whole).await
    }

    /// Asks it to take the connection over for another protocol.
    pub(crate) async fn upgrade(
        &self,
        path: &str,
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
        protocol: &'static str,
    ) -> Result<egress::Socket, CallError> {
        let mut request = self.request(Method::POST, path).map_err(CallError::Away)?;
        request.headers.extend(headers);
        let whole = async {
            let opened = self.client.upgrade(&request, TargetKind::System.into(), protocol).await;
            match opened.map_err(away)? {
                Upgrade::Open(_, socket) => Ok(socket),
                Upgrade::Answered(Answer { status, body, .. }) => {
                    let body = body.read_to_end(NODE_CALL_BYTES_MAX).await.map_err(away)?;
                    Err(refused(status, &body))
                }
            }
        };
        in_time(whole).await
    }

    fn request(&self, method: Method, path: &str) -> Result<Request, String> {
        let url = format!("{}{path}", self.membership.control);
        let url = Uri::try_from(url).map_err(|error| error.to_string())?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", self.membership.credential))
            .map_err(|_| "the credential in joined.json isn't valid".to_owned())?;
        bearer.set_sensitive(true);
        let mut request = Request::new(method, url);
        let agent = HeaderValue::from_static(concat!("tidegate-node/", env!("CARGO_PKG_VERSION")));
        request.headers.push((USER_AGENT, agent));
        request.headers.push((AUTHORIZATION, bearer));
        Ok(request)
    }
}

fn away(error: EgressError) -> CallError {
    CallError::Away(error.message)
}

async fn in_time<T>(call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    let late = || CallError::Away(format!("it did not answer within {} s", NODE_CALL_TIME_MAX.as_secs()));
    timeout(NODE_CALL_TIME_MAX, call).await.unwrap_or_else(|_| Err(late()))
}

fn refused(status: StatusCode, body: &[u8]) -> CallError {
    let Problem { code, detail, fix } = serde_json::from_slice(body).unwrap_or_default();
    match status {
        StatusCode::UNAUTHORIZED if OVER.contains(&code.as_str()) => CallError::Over(detail),
        StatusCode::NOT_FOUND => CallError::Unknown,
        _ => CallError::Away(format!("it answered {status}. {detail} {fix}")),
    }
}
