//! What a workspace's rules would choose for a stored request, from what its record keeps: nothing of its content.

use std::sync::Arc;

use board::AvailabilityView;
use domain::{Fault, MeterRecord, Operation, PriceTerms, RequestTraits, UsageSource};
use snapshot::{ProjectEntry, RouteEntry, Snapshot, WorkspaceEntry};

use crate::aliases::{SplitBy, split_key};
use crate::attempt::Attempt;
use crate::choice::{SeatNeeds, choose, session_key};
use crate::limits::PROMPT_BYTES_PER_TOKEN;
use crate::question::{PlanInput, PlanQuery, RequestNeeds, RequestSize};
use crate::routing;

/// Resolutions of requests about something that a provider stores, which go to the seat that has it.
const PINNED: [&str; 2] = ["kept", "stored_response"];

/// Requests with and without tools, of which nothing else is known.
static WITH_TOOLS: RequestTraits = RequestTraits { has_tools: true, metadata: Vec::new(), end_user: None };
static WITHOUT_TOOLS: RequestTraits =
    RequestTraits { has_tools: false, metadata: Vec::new(), end_user: None };

domain::words! {
    /// Why a stored request can't be planned again.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum NotReplayed {
        /// It names no model.
        NoModel = "no_model",
        /// Its project was removed.
        ProjectGone = "project_gone",
        /// It is about something that its provider stores.
        Pinned = "pinned",
        /// Its operation is planned by more than a model's name.
        Operation = "operation",
        /// It was answered from the response cache.
        Cached = "cached",
    }
}

impl NotReplayed {
    /// The reason in words.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::NoModel => "The request names no model.",
            Self::ProjectGone => "The request's project was removed.",
            Self::Pinned => {
                "The request is about something that a provider stores, and goes to whoever has it."
            }
            Self::Operation => {
                "Batches, files, token counts and requests about stored answers are not planned by a model's name alone."
            }
            Self::Cached => "The request was answered from the response cache.",
        }
    }
}

/// A stored request that can be planned.
#[derive(Debug, Clone, Copy)]
pub struct StoredRequest<'a> {
    record: &'a MeterRecord,
    project: &'a ProjectEntry,
}

/// What a stored request is planned with.
#[derive(Clone, Copy)]
pub struct ReplayWorld<'a> {
    pub snapshot: &'a Snapshot,
    pub board: &'a dyn AvailabilityView,
    pub now_us: u64,
    pub now_unix_ms: u64,
}

/// The first choice for a stored request.
#[derive(Debug, Clone)]
pub struct Replayed<'a> {
    /// `None` where nothing serves it.
    pub attempt: Option<Attempt>,
    /// The error in its place.
    pub fault: Option<Box<Fault>>,
    pub resolved_model: Arc<str>,
    /// Routes that would apply instead if facts are so that the record doesn't keep.
    pub undecided: Vec<&'a RouteEntry>,
}

impl<'a> StoredRequest<'a> {
    /// # Errors
    /// The record does not say what would have to be planned.
    pub fn new(record: &'a MeterRecord, workspace: &'a WorkspaceEntry) -> Result<Self, NotReplayed> {
        if record.caching.as_ref().is_some_and(|caching| caching.served.is_some()) {
            return Err(NotReplayed::Cached);
        }
        let is_other = matches!(
            record.operation,
            Operation::Batch | Operation::File | Operation::Stored | Operation::Count | Operation::Verify
        );
        if is_other {
            return Err(NotReplayed::Operation);
        }
        if PINNED.contains(&&*record.plan.resolution) {
            return Err(NotReplayed::Pinned);
        }
        if record.requested_model.is_empty() {
            return Err(NotReplayed::NoModel);
        }
        let project = workspace.projects.iter().find(|project| project.id == record.project);
        Ok(Self { record, project: project.ok_or(NotReplayed::ProjectGone)? })
    }

    /// Plans it under the rules of `workspace`, which may be others than those of the snapshot.
    pub fn plan<'b>(&self, workspace: &'b WorkspaceEntry, world: ReplayWorld<'b>) -> Replayed<'b>
    where
        'a: 'b,
    {
        let Self { record, project } = *self;
        // Both plans of a request draw the same, so that only the rules can make them differ.
        let drawn = split_key(SplitBy::Request, record.trace.as_bytes());
        let session = record.extras.session;
        let modality = record.operation.modality();
        let input = PlanInput {
            query: PlanQuery {
                model: &record.requested_model,
                workspace,
                project,
                environment: &record.environment,
                key: record.key,
                tag: record.tag.as_deref(),
                split_key: drawn,
                session_key: session.map(|session| session_key(workspace.id, session)),
                session_seat: None,
                modality,
                dialect: record.dialect,
                terms: PriceTerms { tier: record.usage.tier, ..PriceTerms::default() },
                size: size_of(record),
                needs: RequestNeeds::NOTHING,
                traits: traits_of(record),
                prompt: None,
                hints: None,
            },
            accounts: world.snapshot.accounts(),
            catalogue: world.snapshot.catalogue(),
            data_plane: world.snapshot.data_plane(),
            required: None,
            random: drawn,
            affinity: &|| None,
            prefix_ends: &Vec::new,
            now_us: world.now_us,
            now_unix_ms: world.now_unix_ms,
            began_unix_ms: record.started_unix_ms,
        };
        let mut choice = choose(&input, SeatNeeds::of_modality(modality), world.board);
        choice.leave_unavailable();
        let decision = &choice.decision;
        let is_size_known = record.usage.source != UsageSource::None;
        let undecided = decision.resolved.as_ref().map_or_else(Vec::new, |resolved| {
            routing::undecided(&input, resolved, decision.route, is_size_known)
        });
        let resolved_model = choice.resolved_model();
        let decision = choice.decision;
        Replayed {
            attempt: decision.attempts.into_iter().next(),
            fault: decision.fault,
            resolved_model,
            undecided,
        }
    }
}

/// `None` for records of versions that did not keep whether there were tools.
fn traits_of(record: &MeterRecord) -> Option<&'static RequestTraits> {
    Some(if record.extras.has_tools? { &WITH_TOOLS } else { &WITHOUT_TOOLS })
}

/// The tokens that were counted stand in for what a plan estimates.
fn size_of(record: &MeterRecord) -> RequestSize {
    let usage = &record.usage;
    RequestSize {
        prompt_bytes: usage.prompt_total().saturating_mul(PROMPT_BYTES_PER_TOKEN),
        answer_tokens: Some(usage.completion_total()).filter(|tokens| *tokens > 0),
        units: usage.units,
        is_stream: record.stream,
    }
}
