//! Administrative calls to a Tidegate runtime, for a person who waits: sent like every other request.

use std::time::Duration;

use bytes::Bytes;
use domain::Fault;
use domain::limits::RUNTIME_ANSWER_BYTES_MAX;
use http::Method;
use plan::Seat;
use tokio::time::{Instant, timeout};

use crate::failure::AttemptFailure;
use crate::timer::Timer;
use crate::upstream::{destination, request_of, sign};
use crate::verify::VerifyTarget;
use crate::{Deps, read};

/// An administrative request to a runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeRequest {
    pub method: Method,
    /// Below the node's address; the caller escapes the parts that others wrote.
    pub path: String,
    pub body: Option<Bytes>,
    /// The time limit for the whole call.
    pub time_max: Duration,
}

/// The runtime's answer, even if it refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeReply {
    pub status: u16,
    pub body: Bytes,
}

/// Calls once. Nothing is metered: a runtime bills nobody.
///
/// # Errors
/// It could not be called, or did not answer in time.
pub async fn call_runtime(
    target: &VerifyTarget,
    runtime_request: RuntimeRequest,
    deps: &Deps,
) -> Result<RuntimeReply, Box<Fault>> {
    let name = name_of(target);
    let time_max = runtime_request.time_max;
    match timeout(time_max, send_request(target, &name, runtime_request, deps)).await {
        Ok(result) => result.map_err(AttemptFailure::into_client_fault),
        Err(_) => {
            Err(AttemptFailure::timeout(&name, "did not answer", time_max.as_secs()).into_client_fault())
        }
    }
}

/// The name that people know it by.
fn name_of(target: &VerifyTarget) -> String {
    match &target.seat {
        Seat::Byoc(node) => format!("The node {}", node.name),
        Seat::Byok(_) | Seat::Managed(_) => target.provider.to_string(),
    }
}

async fn send_request(
    target: &VerifyTarget,
    name: &str,
    runtime_request: RuntimeRequest,
    deps: &Deps,
) -> Result<RuntimeReply, AttemptFailure> {
    let until = Instant::now() + runtime_request.time_max;
    let time_max = runtime_request.time_max;
    let mut outgoing = providers::ask_runtime(
        &target.base_url,
        runtime_request.method,
        &runtime_request.path,
        runtime_request.body,
    );
    let provider = providers::provider(&target.provider);
    sign(deps, &target.seat, provider, &target.provider, &target.base_url, &mut outgoing).await?;
    let request = request_of(&deps.egress, outgoing).map_err(AttemptFailure::of_us)?;
    let answer = deps.egress.send(&request, destination(&target.seat)).await;
    let mut answer = answer.map_err(|error| AttemptFailure::egress(&error, name))?;
    if answer.status.is_redirection() {
        // Following it would send the node's key to an address that was never checked.
        return Err(AttemptFailure::broken(name, "it is a redirect, and Tidegate never follows redirects")
            .not_retryable());
    }
    let mut timer = Timer::new(&deps.timers);
    let bytes = read::whole(&mut answer.body, &mut timer, time_max, until, name).await?;
    let bytes =
        read::decoded(&answer.headers, bytes).await.map_err(|what| AttemptFailure::broken(name, what))?;
    if bytes.len() > RUNTIME_ANSWER_BYTES_MAX {
        return Err(AttemptFailure::broken(name, "it exceeds the size limit").not_retryable());
    }
    Ok(RuntimeReply { status: answer.status.as_u16(), body: bytes })
}
