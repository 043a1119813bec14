//! What data planes call: their configuration, records, leases and evidence. All of it is about the workspace that they joined.

use std::sync::Arc;

use api::caller::DataPlaneCaller;
use api::failure::invalid;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use dataplane::wire::{
    self, Delivery, LeaseQuestion, LeaseReply, Question, RecordBatch, SignedDocument, Taken, Unreadable,
    WireGrant, WireLease,
};
use dataplane::{
    BuildError, DataPlaneRow, DataPlanes, DocumentBuilder, EVIDENCE_AT_ONCE_MAX, EvidenceStore,
    POLL_TIME_MAX, Progress,
};
use domain::{BudgetId, Fault, MeterRecord};
use ledger::{DrainBatch, LeaseCentre, SinkError};
use reconcilers::{away, of_store};
use tokio::time::{Instant, timeout_at};

use crate::limits::{HISTORY_BYTES_MAX, LEASES_AT_ONCE_MAX, PROGRAM_BYTES_MAX};

const OF_A_DATA_PLANE: &str = "A data plane states what is; there is nothing to try.";

pub fn routes() -> Vec<Route> {
    vec![
        Route::of_data_plane(wire::CONFIGURATION, configuration)
            .says("Answers with the configuration once it is newer than the one that the data plane has, or confirms that one.")
            .takes::<Question>()
            .no_rehearsal(OF_A_DATA_PLANE)
            .returns_value::<SignedDocument>()
            .refuses(401, "unknown_data_plane_credential"),
        Route::of_data_plane(wire::RECORDS, records)
            .says("Stores records of a data plane's journal. A record that is sent repeatedly is stored once.")
            .takes::<RecordBatch>()
            .takes_content()
            .no_rehearsal(OF_A_DATA_PLANE)
            .returns_value::<Taken>()
            .refuses(401, "unknown_data_plane_credential")
            .refuses(401, "data_plane_revoked"),
        Route::of_data_plane(wire::LEASES, leases)
            .says("Leases parts of budgets to a data plane, and takes them back.")
            .takes::<LeaseQuestion>()
            .no_rehearsal(OF_A_DATA_PLANE)
            .returns_value::<LeaseReply>()
            .refuses(401, "unknown_data_plane_credential")
            .refuses(401, "data_plane_revoked"),
        Route::of_data_plane(wire::EVIDENCE, evidence)
            .says("Stores what a data plane signed: receipts of purges, and heads of its audit.")
            .takes::<Delivery>()
            .no_rehearsal(OF_A_DATA_PLANE)
            .returns_value::<Taken>()
            .refuses(401, "unknown_data_plane_credential")
            .refuses(401, "data_plane_revoked"),
    ]
}

pub(crate) fn builder(control: &Control) -> DocumentBuilder<'_> {
    DocumentBuilder {
        store: &control.deps.store,
        vault: &control.deps.vault,
        world: &control.deps.world,
        sent: &control.web.planes.sent,
        life: control.web.planes.life,
    }
}

async fn configuration(control: &Arc<Control>, request: ApiRequest<DataPlaneCaller>) -> Handled {
    let mut question: Question = request.json()?;
    if question.nonce.is_empty() || question.nonce.len() > PROGRAM_BYTES_MAX {
        let fix = format!("Send 1 to {PROGRAM_BYTES_MAX} bytes.");
        return Err(invalid("nonce", "It is empty, or too long.", fix));
    }
    let now = control.deps.world.clock.unix_ms();
    if question.history.as_ref().is_some_and(|history| history.len() > HISTORY_BYTES_MAX) {
        return Err(invalid("history", "It is too long.", "Send what came with the version."));
    }
    question.program = question.program.chars().take(PROGRAM_BYTES_MAX).collect();
    let plane = &request.caller.0;
    planes(control).see(plane.id, now, &question).await.map_err(of_store)?;
    let signed_document = answer(control, plane, &question).await.map_err(not_built)?;
    Reply::json(&signed_document)
}

/// Waits a while for news, and confirms what the data plane has where there are none.
async fn answer(
    control: &Control,
    plane: &DataPlaneRow,
    question: &Question,
) -> Result<SignedDocument, BuildError> {
    let builder = builder(control);
    // The life of an answer is counted from its question, so that it must not wait for most of it.
    let until = Instant::now() + POLL_TIME_MAX.min(control.web.planes.life / 4);
    let mut versions = control.deps.keeper.subscribe();
    loop {
        versions.mark_unchanged();
        let plane = planes(control).get(plane.workspace, plane.id).await?;
        if plane.revoked_unix_ms.is_some() {
            return builder.confirm(&plane, question);
        }
        let Some(after) = question.after else { return builder.build(&plane, question).await };
        let progress = builder.progress(&plane, after, question.history.as_deref()).await?;
        if progress == Progress::Behind {
            return builder.build(&plane, question).await;
        }
        match timeout_at(until, versions.changed()).await {
            Ok(Ok(())) => {}
            // The time is over, or this process stops.
            Ok(Err(_)) | Err(_) if progress == Progress::Ahead => {
                return builder.deny(&plane, question).await;
            }
            Ok(Err(_)) | Err(_) => return builder.confirm(&plane, question),
        }
    }
}

fn planes(control: &Control) -> DataPlanes {
    DataPlanes::of(&control.deps.store)
}

fn not_built(error: BuildError) -> Box<Fault> {
    match error {
        BuildError::Store(error) => of_store(error),
        other => {
            tracing::error!(
                error = &other as &dyn std::error::Error,
                "a data plane's configuration can't be made"
            );
            Box::new(Fault::internal())
        }
    }
}

fn unreadable(error: &Unreadable) -> Box<Fault> {
    invalid(error.0, format!("{error}."), "Send what this version of Tidegate writes.")
}

fn of_another() -> Box<Fault> {
    let message = "It is about another workspace than the one that the data plane joined.";
    invalid("workspace", message, "Send what is the workspace's.")
}

async fn records(control: &Arc<Control>, request: ApiRequest<DataPlaneCaller>) -> Handled {
    let plane = request.caller.live()?;
    let sent: RecordBatch = request.json()?;
    let batch = sent.batch().map_err(|error| unreadable(&error))?;
    if let Some(trace) = crate::plane_records::first_unsound(&batch) {
        let message = format!(
            "The record of {trace} has an amount below zero, an account of the operator's, or another id."
        );
        return Err(invalid("records", message, "Send records as the data plane's journal has them."));
    }
    check_owner(control, plane, &batch).await?;
    let here = plane.delivered_place.unwrap_or(0);
    if sent.delivered_place.is_some_and(|delivered| delivered > here) {
        // Taken out of their order, these would hide that others are missing.
        let missing_after = Some(here);
        return Reply::json(&Taken { missing_after, ..Taken::all("data_plane_records", 0) });
    }
    let taken = batch.records.len() as u64;
    let sink = control.deps.store.record_sink_of(plane.replica);
    sink.apply(batch).await.map_err(|error| not_taken(&error))?;
    if let Some(place) = sent.place {
        planes(control).delivered(plane.id, place).await.map_err(of_store)?;
    }
    Reply::json(&Taken::all("data_plane_records", taken))
}

/// A data plane can state what its own workspace used, and nothing else.
async fn check_owner(control: &Control, plane: &DataPlaneRow, batch: &DrainBatch) -> Result<(), Box<Fault>> {
    let mut budgets: Vec<BudgetId> = Vec::new();
    for (_, record) in batch.records.decoded() {
        let record: MeterRecord = record;
        if record.workspace != plane.workspace {
            return Err(of_another());
        }
        budgets.extend(record.drawn.iter().map(|drawn| drawn.budget));
    }
    check_budgets(control, plane, budgets).await
}

async fn check_budgets(
    control: &Control,
    plane: &DataPlaneRow,
    mut budgets: Vec<BudgetId>,
) -> Result<(), Box<Fault>> {
    budgets.sort_unstable();
    budgets.dedup();
    let owned = planes(control).owns_budgets(plane.workspace, budgets.into_iter()).await.map_err(of_store)?;
    if owned { Ok(()) } else { Err(of_another()) }
}

fn not_taken(error: &SinkError) -> Box<Fault> {
    tracing::warn!(%error, "what a data plane sent could not be stored");
    Box::new(away())
}

async fn leases(control: &Arc<Control>, request: ApiRequest<DataPlaneCaller>) -> Handled {
    let plane = request.caller.live()?;
    let centre = control.deps.store.lease_centre_of(plane.replica);
    let reply = match request.json()? {
        LeaseQuestion::Calls(calls) => granted(control, plane, &*centre, &calls).await?,
        LeaseQuestion::Renew => centre
            .renew()
            .await
            .map(|renewal| LeaseReply::renewed(&renewal))
            .map_err(|error| not_taken(&error))?,
        LeaseQuestion::Release => {
            centre.release().await.map(|()| LeaseReply::Done).map_err(|error| not_taken(&error))?
        }
        LeaseQuestion::Recalls => {
            let recalled = centre.recalls().await.map_err(|error| not_taken(&error))?;
            LeaseReply::Recalled(recalled.iter().map(Into::into).collect())
        }
        LeaseQuestion::Exhausted { budget_id, period_unix_ms } => {
            let budget = wire::budget(&budget_id).map_err(|error| unreadable(&error))?;
            check_budgets(control, plane, vec![budget]).await?;
            centre.report_exhausted(budget, period_unix_ms).await.map_err(|error| not_taken(&error))?;
            LeaseReply::Done
        }
    };
    Reply::json(&reply)
}

async fn granted(
    control: &Control,
    plane: &DataPlaneRow,
    centre: &dyn LeaseCentre,
    calls: &[WireLease],
) -> Result<LeaseReply, Box<Fault>> {
    if calls.len() > LEASES_AT_ONCE_MAX {
        let message = format!("{} calls in one request are too many.", calls.len());
        return Err(invalid("calls", message, format!("Send at most {LEASES_AT_ONCE_MAX}.")));
    }
    let calls = calls.iter().map(WireLease::call).collect::<Result<Vec<_>, _>>();
    let calls = calls.map_err(|error| unreadable(&error))?;
    check_budgets(control, plane, calls.iter().map(|call| call.budget).collect()).await?;
    let answers = centre.apply_calls(calls).await.map_err(|error| not_taken(&error))?;
    let grants = answers.iter().map(WireGrant::of).collect::<Option<_>>();
    grants.map(LeaseReply::Calls).ok_or_else(|| Box::new(away()))
}

async fn evidence(control: &Arc<Control>, request: ApiRequest<DataPlaneCaller>) -> Handled {
    let plane = request.caller.live()?;
    let Delivery { documents } = request.json()?;
    if documents.len() > EVIDENCE_AT_ONCE_MAX + 1 {
        let message = format!("{} documents in one request are too many.", documents.len());
        return Err(invalid("documents", message, format!("Send at most {EVIDENCE_AT_ONCE_MAX}.")));
    }
    for document in &documents {
        EvidenceStore::check(plane, document).map_err(|why| {
            invalid("documents", format!("A document does not hold: {why}."), "Send it as it was signed.")
        })?;
    }
    let (taken, now) = (documents.len() as u64, control.deps.world.clock.unix_ms());
    let store = EvidenceStore::of(&control.deps.store);
    let stored = store.add((plane.id, plane.workspace), documents, now);
    stored.await.map_err(of_store)?;
    Reply::json(&Taken::all("data_plane_evidence", taken))
}
