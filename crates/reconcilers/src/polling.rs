//! Jobs that poll what a provider does asynchronously (batches, videos, background responses), from its
//! creation until it is booked.

use std::sync::Arc;

use domain::ports::PortFuture;
use domain::{ObjectOwner, StoredKind, StoredObjectId, StoredObjectKind};
use jobs::{Handler, Outcome, Policy};
use serde_json::json;
use store::{JobRow, NewJob, StoreError, StoredResponseRow};

use crate::{Deps, batches, responses, videos};

/// The first poll comes soon after creation.
const FIRST_POLL_MS: u64 = 1_000;
/// Clients poll a background response soon, and the record of their poll is the better one: it names the key,
/// and budgets count it. So ours comes later.
const FIRST_RESPONSE_POLL_MS: u64 = 5_000;
/// Providers finish within a day, and keep the results for a month.
const POLICY: Policy =
    Policy { first_wait_ms: 1_000, wait_max_ms: 60_000, retry_for_ms: 30 * 24 * 3_600_000 };
/// Responses take minutes, some of them hours; one that is unfinished after days never ends.
const RESPONSE_POLICY: Policy =
    Policy { first_wait_ms: 2_000, wait_max_ms: 300_000, retry_for_ms: 7 * 24 * 3_600_000 };

/// The kind of object that is polled.
#[derive(Debug, Clone, Copy)]
enum Object {
    Batch,
    Video,
    Response,
}

impl Object {
    const fn of(kind: StoredObjectKind) -> Option<Self> {
        match kind.kind() {
            StoredKind::Batch => Some(Self::Batch),
            StoredKind::Video => Some(Self::Video),
            StoredKind::File | StoredKind::CachedContent => None,
        }
    }

    const fn job_kind(self) -> &'static str {
        match self {
            Self::Batch => store::BATCHES_POLL,
            Self::Video => store::VIDEOS_POLL,
            Self::Response => store::RESPONSES_POLL,
        }
    }

    const fn policy(self) -> Policy {
        match self {
            Self::Batch | Self::Video => POLICY,
            Self::Response => RESPONSE_POLICY,
        }
    }
}

/// The polling job for a new object at a provider; `None` for objects that use nothing once they are done.
pub fn polling_job_of(owner: ObjectOwner, id: StoredObjectId, unix_ms: u64) -> Option<NewJob> {
    let payload = json!({"workspace": owner.workspace.to_string(), "project": owner.project.to_string()});
    Some(NewJob {
        kind: Object::of(id.kind)?.job_kind(),
        workspace: owner.workspace,
        name: Some(id.to_string()),
        payload,
        run_unix_ms: unix_ms.saturating_add(FIRST_POLL_MS),
        every_ms: None,
        unix_ms,
    })
}

/// The polling job for a new response whose end nobody has seen. Pooled accounts create no background
/// responses.
pub fn response_polling_job_of(row: &StoredResponseRow, id: &str, unix_ms: u64) -> Option<NewJob> {
    let is_own = row.response.created_by.own_credential().is_some();
    if row.response.is_booked || !is_own {
        return None;
    }
    let kind = Object::Response.job_kind();
    let (workspace, project) = (row.workspace.to_string(), row.project.to_string());
    Some(NewJob {
        kind,
        workspace: row.workspace,
        name: Some(store::response_poll_name(row.response.request)),
        payload: json!({"workspace": workspace, "project": project, "id": id}),
        run_unix_ms: unix_ms.saturating_add(FIRST_RESPONSE_POLL_MS),
        every_ms: None,
        unix_ms,
    })
}

fn text<'a>(job: &'a JobRow, name: &str) -> Option<&'a str> {
    job.payload.get(name)?.as_str()
}

fn owner(job: &JobRow) -> Option<ObjectOwner> {
    let (workspace, project) = (text(job, "workspace")?, text(job, "project")?);
    Some(ObjectOwner { workspace: workspace.parse().ok()?, project: project.parse().ok()? })
}

fn object_of(job: &JobRow) -> Option<(ObjectOwner, StoredObjectId)> {
    Some((owner(job)?, job.name.as_deref()?.parse().ok()?))
}

struct PollHandler {
    at: Object,
    deps: Deps,
}

pub(crate) fn handlers(deps: &Deps) -> [Arc<dyn Handler>; 3] {
    [Object::Batch, Object::Video, Object::Response]
        .map(|at| Arc::new(PollHandler { at, deps: deps.clone() }) as Arc<dyn Handler>)
}

impl Handler for PollHandler {
    fn kind(&self) -> &'static str {
        self.at.job_kind()
    }

    fn policy(&self) -> Policy {
        self.at.policy()
    }

    fn run<'a>(&'a self, job: &'a JobRow) -> PortFuture<'a, Outcome> {
        Box::pin(async move {
            let outcome = match self.at {
                Object::Response => match owner(job).zip(text(job, "id")) {
                    Some((owner, id)) => responses::poll(&self.deps, owner, id, job).await,
                    None => Ok(incomplete_job()),
                },
                at => match object_of(job) {
                    Some((owner, id)) if matches!(at, Object::Video) => {
                        videos::poll(&self.deps, owner, id, job).await
                    }
                    Some((owner, id)) => batches::poll(&self.deps, owner, id, job).await,
                    None => Ok(incomplete_job()),
                },
            };
            let outcome = outcome.unwrap_or_else(Outcome::failure);
            let (now, last) = (self.deps.world.clock.unix_ms(), self.at.policy().last_unix_ms(job));
            let is_over = !matches!(outcome, Outcome::Failed { .. }) || last.is_some_and(|last| now >= last);
            if is_over && let Err(error) = self.release(job).await {
                return Outcome::failure(error);
            }
            outcome
        })
    }
}

impl PollHandler {
    /// Releases what is held of budgets for an object that nobody polls any more.
    async fn release(&self, job: &JobRow) -> Result<(), StoreError> {
        let store = &self.deps.store;
        match (self.at, owner(job), text(job, "id")) {
            (Object::Response, Some(owner), Some(id)) => {
                let digest = self.deps.vault.requests.of_response(owner.workspace, owner.project, id);
                store.stored_responses().release(digest).await
            }
            _ => match object_of(job) {
                Some((_, id)) => store.kept_objects().release(id).await,
                None => Ok(()),
            },
        }
    }
}

fn incomplete_job() -> Outcome {
    Outcome::Permanent { error: "it does not say what to look at".into() }
}
