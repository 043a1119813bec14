//! `/v2/purge-jobs`: removes what is stored of requests, everywhere, and signs a receipt of it.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing, not_found};
use api::moment::Moment;
use api::openapi::bounds::MOMENT;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::PURGE_REQUESTS_MAX;
use domain::purge::PurgeError;
use domain::{Fault, FaultClass, PurgeJobId, WorkspaceId};
use evidence::purge::{PurgeJobRow, PurgeState, PurgeTarget, ShreddingEnd};
use http::Method;
use reconcilers::{moment, of_store, purging};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::StoreError;

pub fn routes() -> Vec<Route> {
    let receipt = "Returns the signed receipt of a finished purge, for `tidegate receipt verify`.";
    vec![
        Route::new(Method::POST, "/v2/purge-jobs", Access::MANAGE, create)
            .says("Purges what is stored of requests, in every place. A dry run counts what there is.")
            .takes::<Input>()
            .makes::<PurgeJobView>()
            .refuses(409, "legal_hold"),
        Route::new(Method::GET, "/v2/purge-jobs", Access::LOOK, list)
            .says("Lists the purges of the workspace, newest first.")
            .lists::<PurgeJobView>(),
        Route::new(Method::GET, "/v2/purge-jobs/{id}", Access::LOOK, get)
            .says("Shows a purge and its progress, place by place.")
            .returns_value::<PurgeJobView>(),
        Route::new(Method::GET, "/v2/purge-jobs/{id}/receipt", Access::LOOK, receipt_of)
            .says(receipt)
            .returns_value::<ReceiptView>()
            .refuses(409, "purge_not_over"),
    ]
}

/// Whose content is to be purged: exactly one of `workspace`, `project_id`, `key_id`, `request_ids`, a time, `session_id` and
/// `artifact_ids`. Only content of requests that began before this one is concerned.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Purge")]
struct Input {
    /// The whole workspace.
    #[serde(default)]
    workspace: bool,
    project_id: Option<String>,
    key_id: Option<String>,
    #[serde(default)]
    #[schemars(length(max = PURGE_REQUESTS_MAX))]
    request_ids: Vec<String>,
    /// The time from which on requests are meant: alone, or with `key_id`.
    #[schemars(regex(pattern = MOMENT))]
    from: Option<String>,
    /// The time before which requests are meant.
    #[schemars(regex(pattern = MOMENT))]
    to: Option<String>,
    session_id: Option<String>,
    #[serde(default)]
    #[schemars(length(max = PURGE_REQUESTS_MAX))]
    artifact_ids: Vec<String>,
    /// The name of an end user, as requests give it, or the id in their records.
    end_user: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PurgeJob")]
struct PurgeJobView {
    id: String,
    object: &'static str,
    #[schemars(extend("enum" = ["pending", "running", "completed", "failed"]))]
    status: &'static str,
    scope: ScopeView,
    /// What each place held, and what happened to it.
    places: Vec<PlaceView>,
    /// Of a whole workspace, once every place is purged.
    key_shredding: Option<KeyShreddingView>,
    /// Why it could not be carried out at all.
    error: Option<String>,
    /// A key or a person.
    requested_by: String,
    created_at: Moment,
    completed_at: Option<Moment>,
    /// The path of the receipt, once there is one.
    receipt: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PurgeScope")]
struct ScopeView {
    workspace: bool,
    project_id: Option<String>,
    key_id: Option<String>,
    request_ids: Vec<String>,
    from: Option<Moment>,
    to: Option<Moment>,
    session_id: Option<String>,
    artifact_ids: Vec<String>,
    /// Those of a deletion request.
    session_ids: Vec<String>,
    end_user_id: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PurgePlace")]
pub(crate) struct PlaceView {
    place: &'static str,
    holds: &'static str,
    /// `tidegate`, a provider, or a node.
    processor: String,
    /// For example `file`, or the credential that requests were sent with.
    kind: String,
    /// How many items there were before the purge.
    before: u64,
    #[schemars(extend("enum" = ["pending", "purged", "failed"]))]
    status: &'static str,
    tries: u32,
    error: Option<String>,
}

/// What happens to the keys that sealed the purged content.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KeyShredding")]
pub(crate) struct KeyShreddingView {
    /// `held`: a legal hold was in force before the keys were replaced.
    #[schemars(extend("enum" = ["pending", "shredded", "held", "failed"]))]
    status: &'static str,
    keys: Vec<ShreddedKeyView>,
    shredded_at: Option<Moment>,
    /// Why the keys still exist.
    reason: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ShreddedKey")]
struct ShreddedKeyView {
    id: String,
    /// SHA-256 of the key as it was stored, wrapped by the master key.
    fingerprint: String,
}

impl KeyShreddingView {
    pub(crate) fn of(row: &PurgeJobRow) -> Option<Self> {
        let shredding = row.progress.shredding.as_ref()?;
        let end = shredding.end.as_ref();
        let keys = shredding.keys.iter();
        Some(Self {
            status: end.map_or("pending", ShreddingEnd::as_str),
            keys: keys
                .map(|key| ShreddedKeyView { id: key.id.clone(), fingerprint: key.fingerprint.clone() })
                .collect(),
            shredded_at: end.and_then(ShreddingEnd::shredded_unix_ms).map(Moment),
            reason: end.and_then(ShreddingEnd::reason).map(str::to_owned),
        })
    }
}

/// `signature` is Ed25519 over the document without it, in canonical JSON: keys in the order of their bytes, no spaces, whole
/// numbers. `previous_hash` is SHA-256 of the workspace's receipt before this one in that form.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PurgeReceipt")]
struct ReceiptView {
    #[serde(flatten)]
    document: Map<String, Value>,
}

impl Input {
    fn target(&self, control: &Control, workspace: WorkspaceId) -> Result<PurgeTarget, Box<Fault>> {
        let times =
            |text: &Option<String>, field| text.as_deref().map(|text| moment::read(text, field)).transpose();
        let target = PurgeTarget {
            workspace: self.workspace,
            project_id: self.project_id.as_deref().map(|id| id_of("project", id)).transpose()?,
            key_id: self.key_id.as_deref().map(|id| id_of("API key", id)).transpose()?,
            request_ids: self.request_ids.iter().map(|id| id_of("request", id)).collect::<Result<_, _>>()?,
            from_unix_ms: times(&self.from, "from")?,
            to_unix_ms: times(&self.to, "to")?,
            session_id: self.session_id.clone(),
            artifact_ids: self.artifact_ids.clone(),
            session_ids: Vec::new(),
            end_user: self.end_user.as_ref().map(|name| control.end_user(workspace, name)),
        };
        self.check(&target)?;
        Ok(target)
    }

    fn check(&self, target: &PurgeTarget) -> Result<(), Box<Fault>> {
        const SCOPES: &str =
            "workspace, project_id, key_id, end_user, request_ids, from and to, session_id or artifact_ids";
        match target.named() {
            0 => return Err(missing("workspace", format!("Name what to purge: {SCOPES}."))),
            1 => {}
            _ => {
                let message = "Several scopes are named.";
                return Err(invalid("workspace", message, format!("Name one of {SCOPES}.")));
            }
        }
        if target.request_ids.len().max(target.artifact_ids.len()) > PURGE_REQUESTS_MAX {
            let message = format!("More than {PURGE_REQUESTS_MAX} are named.");
            return Err(invalid("request_ids", message, "Make several purges."));
        }
        let has_time = target.from_unix_ms.is_some() || target.to_unix_ms.is_some();
        let is_filtered = target.key_id.is_some() || target.end_user.is_some();
        let takes_time = is_filtered || target.named() == 1 && !self.names_no_time();
        if has_time && !takes_time {
            let fix = "Leave from and to out, or send them alone, with key_id or with end_user.";
            return Err(invalid("from", "This scope has no time.", fix));
        }
        if let (Some(from), Some(to)) = (target.from_unix_ms, target.to_unix_ms)
            && to <= from
        {
            return Err(invalid("to", "It ends before it begins.", "Set `to` to a time after `from`."));
        }
        Ok(())
    }

    /// Whether another scope than a time or a key is named.
    fn names_no_time(&self) -> bool {
        self.workspace
            || self.project_id.is_some()
            || !self.request_ids.is_empty()
            || self.session_id.is_some()
            || !self.artifact_ids.is_empty()
    }
}

fn id_of<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, Box<Fault>> {
    text.parse().map_err(|_| not_found(what, text))
}

/// Everything that a target names must be of the workspace.
async fn check_owned(
    control: &Control,
    workspace: WorkspaceId,
    target: &PurgeTarget,
) -> Result<(), Box<Fault>> {
    let store = &control.deps.store;
    if let Some(project) = target.project_id {
        store.projects().get(workspace, project).await.map_err(of_store)?;
    }
    if let Some(key) = target.key_id {
        store.api_keys().get(workspace, key).await.map_err(of_store)?;
    }
    if let Some(end_user) = target.end_user
        && !store.records().knows_end_user(workspace, end_user).await.map_err(of_store)?
    {
        return Err(unknown_end_user());
    }
    for request in &target.request_ids {
        match store.records().request(workspace, *request).await {
            Ok(_) => {}
            Err(StoreError::NotFound { .. }) => return Err(not_found("request", &request.to_string())),
            Err(error) => return Err(of_store(error)),
        }
    }
    Ok(())
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: Input = request.json()?;
    let target = input.target(control, request.workspace())?;
    check_owned(control, request.workspace(), &target).await?;
    let by = request.caller.actor();
    let mut row = purging::requested(&control.deps, request.workspace(), target, by);
    let purger = &control.web.purger;
    if !purger.knows(&row).await.map_err(|error| unknown(&error))? {
        let named = row.target.session_id.as_ref().or(row.target.artifact_ids.first());
        let what = if row.target.session_id.is_some() { "session" } else { "artifact" };
        return Err(not_found(what, named.map_or("", String::as_str)));
    }
    purger.refuse_held(&row).await.map_err(of_store)?;
    if request.is_rehearsal {
        row.progress.before = Some(purger.survey(&row).await.map_err(|error| unknown(&error))?);
    }
    let act = request.act(&control.deps.world);
    purger.purges().create(row.clone(), act).await.map_err(of_store)?;
    let location = format!("/v2/purge-jobs/{}", row.id);
    Ok(Reply::json(&show(&row))?.as_created(location))
}

pub(crate) fn unknown_end_user() -> Box<Fault> {
    let message = "No stored content names this end user.";
    let fix = "Check the spelling: only the whole name is found. A request that just ended is found a moment later.";
    Box::new(Fault::new(FaultClass::NotFound, "not_found", message).param("end_user").fix(fix))
}

/// A place could not be asked.
pub(crate) fn unknown(error: &PurgeError) -> Box<Fault> {
    let fault = Fault::new(FaultClass::Unavailable, "purge_not_counted", error.to_string());
    Box::new(fault.fix("Try again in a moment; the log has details.").retry_after_ms(1_000))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let purges = control.web.purger.purges();
    let listed = purges.list(request.workspace(), request.page()?).await.map_err(of_store)?;
    Reply::json(&request.page_of(listed, show))
}

async fn load(control: &Control, request: &ApiRequest) -> Result<PurgeJobRow, Box<Fault>> {
    let id: PurgeJobId = request.id("purge job")?;
    control.web.purger.purges().get(request.workspace(), id).await.map_err(of_store)
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    Reply::json(&show(&load(control, &request).await?))
}

async fn receipt_of(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load(control, &request).await?;
    if row.state != PurgeState::Completed {
        let fault = Fault::new(FaultClass::Conflict, "purge_not_over", "This purge is not over.");
        return Err(Box::new(fault.fix("Get the purge job until its status is completed.")));
    }
    let receipt = control.web.purger.purges().receipt(request.workspace(), row.id).await;
    Reply::json(&ReceiptView { document: receipt.map_err(of_store)?.document })
}

fn show(row: &PurgeJobRow) -> PurgeJobView {
    let is_completed = row.state == PurgeState::Completed;
    PurgeJobView {
        id: row.id.to_string(),
        object: "purge_job",
        status: row.state.as_str(),
        scope: scope(&row.target),
        places: places(row),
        key_shredding: KeyShreddingView::of(row),
        error: row.progress.error.clone(),
        requested_by: row.requested_by.clone(),
        created_at: Moment(row.created_unix_ms),
        completed_at: row.completed_unix_ms.map(Moment),
        receipt: is_completed.then(|| format!("/v2/purge-jobs/{}/receipt", row.id)),
    }
}

fn scope(target: &PurgeTarget) -> ScopeView {
    ScopeView {
        workspace: target.workspace,
        project_id: target.project_id.map(|id| id.to_string()),
        key_id: target.key_id.map(|id| id.to_string()),
        request_ids: target.request_ids.iter().map(ToString::to_string).collect(),
        from: target.from_unix_ms.map(Moment),
        to: target.to_unix_ms.map(Moment),
        session_id: target.session_id.clone(),
        artifact_ids: target.artifact_ids.clone(),
        session_ids: target.session_ids.clone(),
        end_user_id: target.end_user.map(|id| id.to_string()),
    }
}

pub(crate) fn places(row: &PurgeJobRow) -> Vec<PlaceView> {
    let place = |counted: &evidence::purge::Counted| {
        let step = row.progress.step(counted.place);
        let error = step.and_then(|step| step.error.clone());
        let status = match step {
            Some(step) if step.is_over && error.is_some() => "failed",
            Some(step) if step.is_over => "purged",
            _ => "pending",
        };
        PlaceView {
            place: counted.place.as_str(),
            holds: counted.place.holds(),
            processor: counted.processor.clone(),
            kind: counted.kind.clone(),
            before: counted.items,
            status,
            tries: step.map_or(0, |step| step.tries),
            error,
        }
    };
    row.progress.before.iter().flatten().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_can_not_be_counted_may_be_tried_again() {
        let fault = unknown(&PurgeError("the database is away".to_owned()));
        assert_eq!((fault.class, fault.code), (FaultClass::Unavailable, "purge_not_counted"));
        assert_eq!((&*fault.message, fault.retry_after_ms), ("the database is away", Some(1_000)));
    }
}
