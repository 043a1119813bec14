//! Billing of background responses (OpenAI's `background: true`): polls each until it is over, then books its
//! usage once, whoever sees the end first: the client's own poll, or this job.

use domain::ports::StoredResponse;
use domain::{Dialect, ObjectOwner, Operation, Rates, Tier, TraceId, Usage};
use jobs::Outcome;
use snapshot::CredentialState;
use store::JobRow;

use crate::Deps;
use crate::async_billing::{BilledUsage, BillingContext, GONE, hopeless, lost};

/// A client that disconnects just as the response ends releases the right to book it shortly afterwards.
const BOOKED: &str = "a request of its client's books it";
/// A new response may be unknown to some of its provider's servers for a moment.
const UNKNOWN: &str = "its provider does not know it";

/// One poll. What the response holds of budgets is released after the last, once its record is written.
pub(crate) async fn poll(deps: &Deps, owner: ObjectOwner, id: &str, job: &JobRow) -> Result<Outcome, String> {
    let digest = deps.vault.requests.of_response(owner.workspace, owner.project, id);
    let (responses, now) = (deps.store.stored_responses(), deps.world.clock.unix_ms());
    let found = responses.find(digest, now).await.map_err(|error| error.to_string())?;
    let snapshot = deps.keeper.current();
    let Some(response) = found else { return Ok(lost(&snapshot, owner)) };
    let trace = deps.vault.requests.of_background(job.created_unix_ms, &digest);
    let take_right = async || responses.claim(digest, trace).await.map_err(|error| error.to_string());
    // This job may hold the right already, from a gateway that died before it wrote the record.
    if response.is_booked && !take_right().await? {
        return done_if_repeated(job, BOOKED);
    }
    let Some(whose) = BillingContext::of(deps, &snapshot, owner, response.created_by) else {
        return Ok(hopeless("its credential or project no longer exists"));
    };
    let Some(credential) = whose.made_with.credential() else {
        return Ok(hopeless("a managed account makes no answers in the background"));
    };
    match credential.state {
        CredentialState::Revoked => return Ok(hopeless("its credential is revoked")),
        CredentialState::Disabled => return Err("its credential is switched off".to_owned()),
        CredentialState::Active | CredentialState::Unverified | CredentialState::Invalid => {}
    }
    let body = match whose.fetch_object(Operation::Stored, id).await {
        Err(error) if error.starts_with(GONE) => return done_if_repeated(job, UNKNOWN),
        body => body?,
    };
    let polled = responses::read_response(&body).ok_or("its provider's answer can't be read")?;
    if !polled.is_over {
        return Err("it is not over".to_owned());
    }
    // A cancelled response may report no usage; it is not estimated.
    let Some(usage) = polled.usage else { return Ok(Outcome::Done) };
    if !take_right().await? {
        return done_if_repeated(job, BOOKED);
    }
    let claims = responses.holds(digest).await.map_err(|error| error.to_string())?;
    let billed = billed_usage(&whose, response, usage, (trace, job.created_unix_ms));
    whose.book(vec![whose.record_of(billed, &claims)]).await?;
    Ok(Outcome::Done)
}

/// A condition that may be temporary is accepted once two polls in a row report it.
fn done_if_repeated(job: &JobRow, reason: &str) -> Result<Outcome, String> {
    if job.last_error.as_deref() == Some(reason) { Ok(Outcome::Done) } else { Err(reason.to_owned()) }
}

/// The same values as in a record of a client's poll. The time is that of creation, so the record is the same
/// whichever poll writes it.
fn billed_usage(
    whose: &BillingContext<'_>,
    response: StoredResponse,
    usage: Usage,
    (trace, unix_ms): (TraceId, u64),
) -> BilledUsage {
    let usage = Usage { tier: usage.tier.filter(|tier| *tier != Tier::Standard), ..usage };
    BilledUsage {
        trace,
        unix_ms,
        operation: Operation::Stored,
        dialect: Dialect::Responses,
        resolution: "background",
        rates: rates(whose, &response, &usage),
        made_for: None,
        requested: response.model.clone(),
        resolved: response.model,
        upstream_model: response.upstream_model,
        status: 200,
        fault_code: None,
        upstream_request_id: None,
        usage,
    }
}

fn rates(whose: &BillingContext<'_>, response: &StoredResponse, usage: &Usage) -> Option<Rates> {
    let workspace = whose.snapshot.workspace(whose.owner.workspace)?;
    let names = (&*response.model, &*response.upstream_model);
    plan::rates_of_made(workspace, whose.made_with.credential()?, whose.snapshot.catalogue(), names, usage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::async_billing::lost_if_repeated;

    #[test]
    fn what_may_change_is_believed_the_second_time() {
        let job = |last_error: Option<&str>| JobRow {
            id: 1,
            kind: "responses.poll".into(),
            workspace: store::jobs::INSTALLATION,
            name: None,
            payload: serde_json::Value::Null,
            run_unix_ms: 0,
            every_ms: None,
            attempts: 2,
            last_error: last_error.map(str::to_owned),
            created_unix_ms: 0,
        };
        assert_eq!(done_if_repeated(&job(None), UNKNOWN), Err(UNKNOWN.to_owned()));
        assert_eq!(done_if_repeated(&job(Some("it is not over")), UNKNOWN), Err(UNKNOWN.to_owned()));
        assert_eq!(done_if_repeated(&job(Some(BOOKED)), UNKNOWN), Err(UNKNOWN.to_owned()));
        assert_eq!(done_if_repeated(&job(Some(UNKNOWN)), UNKNOWN), Ok(Outcome::Done));
        // A bill that nobody can write any more is no success.
        assert_eq!(lost_if_repeated(&job(None), "no maker"), Err("no maker".to_owned()));
        assert_eq!(lost_if_repeated(&job(Some("no maker")), "no maker"), Ok(hopeless("no maker")));
    }
}
