//! The entries of a snapshot: keys, projects, credentials, accounts, nodes and routes, as requests read them.

use std::net::IpAddr;
use std::sync::Arc;

use domain::{
    AccountId, Agreement, AliasId, AliasReleaseId, AliasReleaseSpec, CachePolicy, CanaryGates,
    ContentRetention, CredentialId, HintsId, Hosting, KeyId, LegalHoldId, MissingFeatures, NodeId, Policies,
    Principal, ProjectId, Rates, ReadHints, RouteId, RouteSpec, Subscription, SubscriptionId, Terms,
    WorkspaceId, secret::Sealed,
};

use crate::source::NodeChange;

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes {
    pub inference: bool,
    pub read: bool,
    pub admin: bool,
    /// May manage the operator's resources: managed accounts and workspaces.
    pub operator: bool,
}

/// An address block of an allowlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpNet {
    pub address: IpAddr,
    pub prefix_bits: u8,
}

/// Stands for every origin in a list of them.
pub const ANY_ORIGIN: &str = "*";

/// The origins of a list.
pub fn origins_of(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(|origin| !origin.is_empty())
}

/// Whether pages of an origin are in a list.
pub fn has_origin(list: &str, origin: &str) -> bool {
    origins_of(list).any(|listed| listed == ANY_ORIGIN || listed == origin)
}

/// An API key's entry, without the key: the index finds it by its keyed hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    pub id: KeyId,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub environment: Arc<str>,
    pub scopes: Scopes,
    pub expires_unix_ms: Option<u64>,
    pub revoked: bool,
    /// Empty allows every address.
    pub ip_allowlist: Vec<IpNet>,
    /// Of the pages that may read its answers, with commas between them; empty for its project's.
    pub origins: Arc<str>,
    /// The priority of its requests, and the most that their hints can state.
    pub priority: Option<u8>,
    /// The secret that its requests may be signed with.
    pub access_secret: Option<Arc<Sealed>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectEntry {
    pub id: ProjectId,
    pub workspace: WorkspaceId,
    pub name: Arc<str>,
    pub environment: Arc<str>,
    /// Of the pages that may read its answers, with commas between them; empty for the gateway's.
    pub origins: Arc<str>,
    /// If unset, the workspace's applies.
    pub caching: CachePolicy,
    /// The workspace's and its own; `None` if there is neither.
    pub policy: Option<Arc<Policies>>,
    /// What keeps its content, or all of the workspace's, from being deleted.
    pub legal_hold: Option<LegalHoldId>,
    /// What it keeps of its requests; `None` if nothing.
    pub retention: Option<ContentRetention>,
}

domain::words! {
    /// The state of a credential from its verification and its owner. Live trouble (rate
    /// limits, breakers) is on the board.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum CredentialState by from_word {
        Active = "active",
        /// Its provider has not accepted it yet, and it serves nothing until then.
        Unverified = "unverified",
        /// The provider refused it when it was last verified.
        Invalid = "invalid",
        /// Disabled by its owner.
        Disabled = "disabled",
        Revoked = "revoked",
    }
}

/// A sealed BYOK credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialEntry {
    pub id: CredentialId,
    pub workspace: WorkspaceId,
    /// A catalogue provider's slug, or the workspace's own slug for a custom compatible server.
    pub provider: Arc<str>,
    pub display_name: Arc<str>,
    /// `None` for the provider's own address.
    pub base_url: Option<Arc<str>>,
    pub region: Option<Arc<str>>,
    pub hosting: Arc<Hosting>,
    pub sealed: Arc<Sealed>,
    pub state: CredentialState,
    pub expires_unix_ms: Option<u64>,
    /// If set, it serves only this project or environment.
    pub project: Option<ProjectId>,
    pub environment: Option<Arc<str>>,
    /// The customer's own prices by model name (`publisher/model` or the provider's own name).
    pub pricing: Arc<Vec<(String, Rates)>>,
    /// What its server is known not to accept.
    pub quirks: MissingFeatures,
    /// What its owner states of the contract with the provider.
    pub agreement: Arc<Agreement>,
    /// What makes it one of a vendor's subscription; `None` under BYOK.
    pub subscription: Option<Arc<Subscription>>,
    pub created_unix_ms: u64,
}

impl CredentialEntry {
    /// Whether requests of a project in this environment may use it.
    pub fn is_for(&self, project: ProjectId, environment: &str, now_unix_ms: u64) -> bool {
        self.state == CredentialState::Active
            && self.expires_unix_ms.is_none_or(|end| end > now_unix_ms)
            && self.project.is_none_or(|only| only == project)
            && self.environment.as_deref().is_none_or(|only| only == environment)
    }

    /// What an attempt that uses it authenticates as.
    pub fn principal(&self) -> Principal {
        match self.subscription {
            Some(_) => Principal::Subscription(SubscriptionId::from_uuid(*self.id.as_uuid())),
            None => Principal::Credential(self.id),
        }
    }
}

/// What the operator states of a provider in place of the built-in capability manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilityEntry {
    /// The canonical slug.
    pub provider: Arc<str>,
    /// As it is stored: the catalogue reads it.
    pub facts: Arc<str>,
    /// The day that the revision is named by.
    pub day: Arc<str>,
}

/// One of the operator's pooled accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountEntry {
    pub id: AccountId,
    pub provider: Arc<str>,
    pub display_name: Arc<str>,
    pub base_url: Option<Arc<str>>,
    pub region: Option<Arc<str>>,
    pub hosting: Arc<Hosting>,
    pub sealed: Arc<Sealed>,
    pub disabled: bool,
    /// Serves only these models (`publisher/model` or the provider's own name);
    /// `None` serves all of its offers.
    pub models: Option<Arc<Vec<String>>>,
    pub weight: u32,
    pub markup_bps: u32,
    /// The operator allows models without a known price on this account.
    pub allow_unpriced: bool,
    /// What the operator pays here, by model name as for credentials, if that is not the catalogue's price.
    pub pricing: Arc<Vec<(String, Rates)>>,
    /// What the operator states of the contract with the provider.
    pub agreement: Arc<Agreement>,
    pub created_unix_ms: u64,
}

domain::words! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum NodeState {
        Ready = "ready",
        /// Takes no new requests; running ones finish.
        Cordoned = "cordoned",
        /// The same, until nothing is in flight at it.
        Draining = "draining",
        /// Did not answer the last poll.
        Unreachable = "unreachable",
    }
}

/// A runtime on the customer's own hardware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    pub id: NodeId,
    pub workspace: WorkspaceId,
    pub name: Arc<str>,
    pub base_url: Arc<str>,
    /// `None` if the node needs no key.
    pub sealed: Option<Arc<Sealed>>,
    pub state: NodeState,
    /// Declared by its owner, else what the node last listed.
    pub models: Arc<Vec<String>>,
    pub labels: Arc<Vec<String>>,
    /// What its server is known not to accept.
    pub quirks: MissingFeatures,
    /// What an hour of serving costs its owner, by the stated cost; zero without one.
    pub hour_nanos: u64,
    pub created_unix_ms: u64,
}

impl NodeEntry {
    /// By what a workspace's nodes are sorted; it never changes.
    const fn order(&self) -> (u64, NodeId) {
        (self.created_unix_ms, self.id)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteEntry {
    pub id: RouteId,
    pub spec: RouteSpec,
}

/// A model name of the workspace's or of one project's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasEntry {
    pub id: AliasId,
    pub name: Arc<str>,
    /// If set, it is only this project's.
    pub project: Option<ProjectId>,
    pub active: Arc<ReleaseEntry>,
    pub canary: Option<CanaryEntry>,
    /// All of them, the newest last.
    pub releases: Vec<Arc<ReleaseEntry>>,
    /// Whether some release has rules for parameters.
    pub fits_parameters: bool,
    pub created_unix_ms: u64,
}

impl AliasEntry {
    /// By what a workspace's aliases are sorted: one of a project comes before the workspace's of the same name, and is found.
    pub fn order(&self) -> (&str, bool, AliasId) {
        (&self.name, self.project.is_none(), self.id)
    }
}

/// A release of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseEntry {
    pub id: AliasReleaseId,
    pub number: u32,
    pub spec: AliasReleaseSpec,
}

/// The canary of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanaryEntry {
    pub release: Arc<ReleaseEntry>,
    pub percent: u8,
    pub gates: CanaryGates,
    pub started_unix_ms: u64,
}

/// Stored hints, which requests refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HintsEntry {
    pub id: HintsId,
    pub read: ReadHints,
}

/// A workspace's sealing key, wrapped by the master key, for the vault's key ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// The nil id for the key that seals the operator's accounts.
    pub workspace: WorkspaceId,
    pub key_id: String,
    pub wrapped: Vec<u8>,
}

/// The sealed anti-rollback minimum version of one sealed object, stored apart from the object itself, so
/// that restoring an older row is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinimumVersion {
    /// The nil id for the operator's accounts.
    pub workspace: WorkspaceId,
    pub object: String,
    pub sealed: Sealed,
}

/// A whole workspace: a request never sees half of a change to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceEntry {
    pub id: WorkspaceId,
    pub name: Arc<str>,
    pub projects: Vec<Arc<ProjectEntry>>,
    /// Oldest first.
    pub credentials: Vec<Arc<CredentialEntry>>,
    /// Oldest first.
    pub nodes: Vec<Arc<NodeEntry>>,
    pub routes: Vec<Arc<RouteEntry>>,
    /// By name, the projects' own before the workspace's; usually none, which is free to check.
    pub aliases: Vec<Arc<AliasEntry>>,
    /// By id.
    pub hints: Vec<Arc<HintsEntry>>,
    /// Limits and budgets; `None` if there are none, which is free to check.
    pub terms: Option<Arc<Terms>>,
    pub caching: CachePolicy,
}

impl WorkspaceEntry {
    /// Replaces, adds or removes a node.
    pub(crate) fn set_node(&mut self, change: NodeChange) {
        match change {
            NodeChange::Set(entry) => {
                let order = entry.order();
                let place = self.nodes.partition_point(|known| known.order() < order);
                match self.nodes.get_mut(place) {
                    Some(known) if known.id == entry.id => *known = entry,
                    _ => self.nodes.insert(place, entry),
                }
            }
            NodeChange::Gone(_, id) => self.nodes.retain(|known| known.id != id),
        }
    }

    /// The stored hints of this id; `None` also for what is no id.
    pub fn stored_hints(&self, id: &str) -> Option<&ReadHints> {
        let id: HintsId = id.parse().ok()?;
        let found = self.hints.binary_search_by_key(&id, |entry| entry.id).ok()?;
        Some(&self.hints.get(found)?.read)
    }
}
