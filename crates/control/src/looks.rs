//! Looks of our own at what a provider was asked to do for a while: from when it was asked until it is in the books.

use std::sync::Arc;

use domain::ports::PortFuture;
use domain::{KeptId, KeptKind, KeptOwner};
use jobs::{Handler, Outcome, Policy};
use serde_json::json;
use store::{JobRow, NewJob};

use crate::{Control, batches, videos};

/// It may be looked at soon after it was made.
const FIRST_LOOK_MS: u64 = 1_000;
/// Providers end what they do within a day, and keep its results for a month.
const POLICY: Policy = Policy { first_wait_ms: 1_000, wait_max_ms: 60_000, offered_ms: 30 * 24 * 3_600_000 };

/// What is looked at.
#[derive(Debug, Clone, Copy)]
enum Object {
    Batch,
    Film,
}

impl Object {
    const fn of(kind: KeptKind) -> Option<Self> {
        match kind {
            KeptKind::Video => Some(Self::Film),
            kind if kind.is_batch() => Some(Self::Batch),
            _ => None,
        }
    }

    const fn job_kind(self) -> &'static str {
        match self {
            Self::Batch => "batches.poll",
            Self::Film => "videos.poll",
        }
    }
}

/// The job that a new thing wants which a provider keeps, where it uses something once it is done.
#[must_use]
pub fn chore_of(owner: KeptOwner, id: KeptId, unix_ms: u64) -> Option<NewJob> {
    let payload = json!({"workspace": owner.workspace.to_string(), "project": owner.project.to_string()});
    Some(NewJob {
        kind: Object::of(id.kind)?.job_kind(),
        workspace: owner.workspace,
        name: Some(id.to_string()),
        payload,
        run_unix_ms: unix_ms.saturating_add(FIRST_LOOK_MS),
        every_ms: None,
        unix_ms,
    })
}

fn named(job: &JobRow) -> Option<(KeptOwner, KeptId)> {
    let text = |name: &str| job.payload.get(name)?.as_str();
    let owner =
        KeptOwner { workspace: text("workspace")?.parse().ok()?, project: text("project")?.parse().ok()? };
    Some((owner, job.name.as_deref()?.parse().ok()?))
}

struct Look {
    at: Object,
    control: Arc<Control>,
}

pub(crate) fn handlers(control: &Arc<Control>) -> [Arc<dyn Handler>; 2] {
    [Object::Batch, Object::Film]
        .map(|at| Arc::new(Look { at, control: Arc::clone(control) }) as Arc<dyn Handler>)
}

impl Handler for Look {
    fn kind(&self) -> &'static str {
        self.at.job_kind()
    }

    fn policy(&self) -> Policy {
        POLICY
    }

    fn run<'a>(&'a self, job: &'a JobRow) -> PortFuture<'a, Outcome> {
        Box::pin(async move {
            let Some((owner, id)) = named(job) else {
                return Outcome::Hopeless { error: "it does not say what to look at".into() };
            };
            let looked = match self.at {
                Object::Batch => batches::look(&self.control, owner, id).await,
                Object::Film => videos::look(&self.control, owner, id).await,
            };
            looked.unwrap_or_else(Outcome::failed)
        })
    }
}
