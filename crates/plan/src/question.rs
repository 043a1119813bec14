//! The broker's input: whose call it is and which model it names.

use catalogue::Catalogue;
use domain::{
    ConditionFacts, Dialect, Hints, KeyId, Modality, PolicySpec, PriceTerms, Principal, RequestTraits, Units,
};
use snapshot::{AccountEntry, CredentialEntry, DataPlaneFacts, ProjectEntry, WorkspaceEntry};
use std::sync::Arc;

use crate::limits::PROMPT_BYTES_PER_TOKEN;
use crate::prompt_view::PromptView;

/// A model, and everything about its caller that a route may match.
#[derive(Debug, Clone, Copy)]
pub struct PlanQuery<'a> {
    /// As the client wrote it.
    pub model: &'a str,
    pub workspace: &'a WorkspaceEntry,
    pub project: &'a ProjectEntry,
    pub environment: &'a str,
    pub key: Option<KeyId>,
    pub tag: Option<&'a str>,
    /// Assigns the caller to a release and a target where the model is an alias: of the session if the request
    /// names one, else of the end user, else of the request.
    pub split_key: u64,
    /// Keeps the requests of an agent's session at one of the seats that a strategy spreads load over.
    pub session_key: Option<u64>,
    /// Where the session's first run was served, and its further ones are as far as they may.
    pub session_seat: Option<Principal>,
    pub modality: Modality,
    /// The dialect of the path that it came in on.
    pub dialect: Dialect,
    /// The requested tier, and the provider's hosted tools that the request offers the model.
    pub terms: PriceTerms,
    pub size: RequestSize,
    /// What it needs besides an answer.
    pub needs: RequestNeeds,
    /// What of the prompt not every model takes; `None` where there is no request.
    pub prompt: Option<&'a PromptView<'a>>,
    /// Read only where a route of the workspace asks.
    pub traits: Option<&'a RequestTraits>,
    /// The client's wishes, which may only tighten what routes and policies allow.
    pub hints: Option<&'a Hints>,
}

/// How much a request asks for, as far as its price and its routes depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestSize {
    /// Bytes of text in the prompt.
    pub prompt_bytes: u64,
    /// The most that it lets the model answer.
    pub answer_tokens: Option<u64>,
    /// Billed units that the request itself determines.
    pub units: Units,
    pub is_stream: bool,
}

/// What a request asks of its provider that not every provider can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestNeeds {
    /// It is one of a batch.
    pub is_batch: bool,
    /// It is a batch that an account which workspaces share may be sent.
    pub may_be_pooled: bool,
    pub is_background: bool,
    /// It continues an answer that the provider stores.
    pub continues_stored: bool,
    /// It caches a prompt by name, whose storage is billed.
    pub stores_prompt: bool,
    /// It is about a file that an account stores already, whatever the price of models there.
    pub is_of_stored_file: bool,
}

impl RequestNeeds {
    pub(crate) const NOTHING: Self = Self {
        is_batch: false,
        may_be_pooled: false,
        is_background: false,
        continues_stored: false,
        stores_prompt: false,
        is_of_stored_file: false,
    };
}

impl PlanQuery<'_> {
    /// The prompt's length, estimated from its bytes.
    pub(crate) const fn prompt_tokens(&self) -> u64 {
        self.size.prompt_bytes.div_ceil(PROMPT_BYTES_PER_TOKEN)
    }

    /// What the client's hints say of where the call may go.
    pub(crate) fn placement(&self) -> Option<&PolicySpec> {
        self.hints?.placement.as_deref()
    }

    /// Whether the client wants no other profile and no other model after a failure.
    pub(crate) fn forbids_degrading(&self) -> bool {
        self.hints.is_some_and(|hints| hints.qos.forbids_degrading)
    }

    /// Whether a credential is for the calling project and its environment.
    pub(crate) fn is_in_scope_of(&self, credential: &CredentialEntry) -> bool {
        let is_its_project = credential.project.is_none_or(|project| project == self.project.id);
        is_its_project && credential.environment.as_deref().is_none_or(|name| name == self.environment)
    }
}

/// A question with what the decision is made from.
#[derive(Clone, Copy)]
pub struct PlanInput<'a> {
    pub query: PlanQuery<'a>,
    pub accounts: &'a [Arc<AccountEntry>],
    pub catalogue: &'a Catalogue,
    /// Set on a data plane, which has none of the operator's accounts.
    pub data_plane: Option<&'a Arc<DataPlaneFacts>>,
    /// The only seat that can serve the call.
    pub required: Option<RequiredSeat<'a>>,
    pub random: u64,
    /// Replaces `random` among accounts: the same for prompts with the same prefix, so that they
    /// reach the same account's cache.
    pub affinity: &'a dyn Fn() -> Option<u64>,
    /// The fingerprint and the bytes of each prefix of the prompt that a provider may have cached, the shortest first.
    pub prefix_ends: &'a dyn Fn() -> Vec<(u64, u64)>,
    pub now_us: u64,
    pub now_unix_ms: u64,
    /// When the request began, for the conditions of routes: now, except of a stored request.
    pub began_unix_ms: u64,
}

/// A seat that has what the call needs, which no other can read.
#[derive(Debug, Clone, Copy)]
pub struct RequiredSeat<'a> {
    pub principal: Principal,
    pub has: SeatHas<'a>,
}

/// What a required seat has.
#[derive(Debug, Clone, Copy)]
pub enum SeatHas<'a> {
    /// It made the answer that this one continues.
    Answer,
    /// It made the object that a new one is made from.
    SourceObject,
    /// It stores the files that the call names, one of them at this place.
    File(&'a str),
    /// Nothing: it is tried with the call, whatever the routes say.
    Trial,
}

impl<'a> PlanInput<'a> {
    /// What conditions of routes are compared with.
    pub(crate) const fn facts(&self) -> ConditionFacts<'a> {
        let question = &self.query;
        ConditionFacts {
            prompt_tokens: question.prompt_tokens(),
            unix_ms: self.began_unix_ms,
            traits: question.traits,
        }
    }

    /// The canonical slug of a provider, whichever of its names is given.
    pub fn canonical<'b>(&self, provider: &'b str) -> &'b str
    where
        'a: 'b,
    {
        self.catalogue.provider(provider).map_or(provider, |facts| facts.slug.as_str())
    }
}
