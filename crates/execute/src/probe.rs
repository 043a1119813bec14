//! Probes what a compatible server accepts: the calls are the provider's, and are
//! signed, sent and bounded here.

use bytes::BytesMut;
use domain::ProbeResult;
use domain::limits::{PROBE_ANSWER_BYTES_MAX, PROBE_CALL_TIME_MAX, PROBE_TIME_MAX};
use providers::{Outgoing, Probe, ProbeAnswer};
use tokio::time::{Instant, timeout_at};

use crate::failure::AttemptFailure;
use crate::upstream::{destination, request_of, sign};
use crate::verify::VerifyTarget;
use crate::{Deps, read};

/// Calls until all is known, the server goes away or the time is up. Returns
/// what was found so far in any case.
pub async fn probe(target: &VerifyTarget, models: &[String], deps: &Deps) -> ProbeResult {
    let mut probe = Probe::new(&target.base_url, models, deps.world.clock.unix_ms());
    let until = Instant::now() + PROBE_TIME_MAX;
    while let Some(outgoing) = probe.next_call() {
        let call_until = until.min(Instant::now() + PROBE_CALL_TIME_MAX);
        match timeout_at(call_until, send_call(target, deps, outgoing)).await {
            Ok(Ok(answer)) => probe.handle_answer(&answer),
            Ok(Err(failure)) => probe.fail(&failure.fault.to_string()),
            Err(_) => probe.fail("It did not answer in time."),
        }
    }
    probe.finish()
}

async fn send_call(
    target: &VerifyTarget,
    deps: &Deps,
    mut outgoing: Outgoing,
) -> Result<ProbeAnswer, AttemptFailure> {
    let provider = providers::provider(&target.provider);
    sign(deps, &target.seat, provider, &target.provider, &target.base_url, &mut outgoing).await?;
    let request = request_of(&deps.egress, outgoing).map_err(|fault| AttemptFailure::new(*fault))?;
    let answer = deps.egress.send(&request, destination(&target.seat)).await;
    let mut answer = answer.map_err(|error| AttemptFailure::egress(&error, &target.provider))?;
    let mut body = BytesMut::new();
    // A stream that breaks off has shown something all the same.
    while let Some(Ok(bytes)) = read::next_chunk(&mut answer.body).await {
        let room = PROBE_ANSWER_BYTES_MAX.saturating_sub(body.len());
        body.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
        if body.len() >= PROBE_ANSWER_BYTES_MAX {
            break;
        }
    }
    let body = read::decoded(&answer.headers, body.freeze()).await.unwrap_or_default();
    Ok(ProbeAnswer { status: answer.status.as_u16(), body })
}
