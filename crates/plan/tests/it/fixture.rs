//! A small configuration to plan against, and a board with the standings that a test sets.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use board::{Availability, AvailabilityView, Load, SeatKey};
use catalogue::Catalogue;
use domain::ports::KeyHash;
use domain::{
    AccountId, Agreement, Commitment, CommitmentPeriod, CredentialId, Dialect, Fault, Hints, KeyId, Modality,
    NodeId, PriceTerms, Principal, ProjectId, RequestTraits, RouteId, RouteScope, RouteSpec, Sealed,
    Subscription, SubscriptionId, UsageWindow, WorkspaceId,
};
use plan::{Explanation, PlanQuery, RequestSize, ServedModel, explain, named_model, served_models};
use snapshot::{
    AccountEntry, CredentialEntry, CredentialState, NodeEntry, NodeState, Parts, ProjectEntry, RouteEntry,
    Snapshot, WorkspaceEntry,
};

pub const NOW_UNIX_MS: u64 = 1_800_000_000_000;
pub const NOW_US: u64 = 50_000_000;

/// A model that two providers offer and no publisher sells itself, and one that an
/// emergency provider offers too.
const OVERLAY: &str = r#"
[[model]]
name = "acme/twin"
[[model.offer]]
provider = "openai"
upstream_model = "twin-o"
[[model.offer]]
provider = "openrouter"
upstream_model = "acme/twin"
rates = { input = 1, output = 1 }
[[model]]
name = "other/twin"
[[model.offer]]
provider = "nebius"
upstream_model = "other/twin"
[[model]]
name = "anthropic/claude-sonnet-5"
[[model.offer]]
provider = "anthropic"
upstream_model = "claude-sonnet-5"
[[model]]
name = "openai/regional"
[[model.offer]]
provider = "openai"
upstream_model = "regional"
regions = ["eu", "us"]
rates = { input = 1, output = 1 }
"#;

#[derive(Debug, Clone)]
pub struct Fixture {
    pub workspace: WorkspaceEntry,
    pub accounts: Vec<Arc<AccountEntry>>,
    pub standings: HashMap<Principal, Availability>,
    pub loads: HashMap<Principal, Load>,
    /// Whose commitment is used up.
    pub spent: Vec<Principal>,
    pub random: u64,
    /// What the caller is assigned to an alias's target by.
    pub split_key: u64,
    /// The session that the request belongs to.
    pub session_key: Option<u64>,
    pub session_seat: Option<Principal>,
    pub tag: Option<&'static str>,
    pub key: Option<KeyId>,
    pub environment: &'static str,
    pub modality: Modality,
    pub dialect: Dialect,
    pub terms: PriceTerms,
    pub size: RequestSize,
    pub traits: Option<RequestTraits>,
    /// The operator allows emergency accounts.
    pub takes_emergencies: bool,
    /// The operator allows subscriptions.
    pub takes_subscriptions: bool,
    /// Subscriptions whose window is used up, and until when.
    pub used_up: HashMap<SubscriptionId, u64>,
    pub hints: Option<Hints>,
    /// Replaces the test catalogue.
    pub catalogue: Option<Arc<Catalogue>>,
}

struct NoHash;

impl KeyHash for NoHash {
    fn digest(&self, _presented: &str) -> [u8; 32] {
        [0; 32]
    }
}

impl AvailabilityView for Fixture {
    fn availability(&self, seat: &SeatKey<'_>, _now_us: u64) -> Availability {
        self.standings.get(&seat.principal).copied().unwrap_or(Availability::Open)
    }
    fn load(&self, principal: Principal, _upstream_model: &str, _now_us: u64) -> Load {
        self.loads.get(&principal).copied().unwrap_or_default()
    }

    fn is_commitment_spent(&self, principal: Principal, _mark: u64, _now_us: u64) -> bool {
        self.spent.contains(&principal)
    }

    fn used_up_until(&self, id: SubscriptionId, _: &[UsageWindow], _now_unix_ms: u64) -> Option<u64> {
        self.used_up.get(&id).copied()
    }
}

macro_rules! ids {
    ($($name:ident: $id:ident $byte:literal),*) => {
        $(pub fn $name(number: u8) -> $id {
            $id::new(u64::from(number), [$byte; 10])
        })*
    };
}

ids!(credential_id: CredentialId 1, account_id: AccountId 2, node_id: NodeId 3, route_id: RouteId 4);
ids!(key_id: KeyId 5, project_id: ProjectId 6, workspace_id: WorkspaceId 7);

pub fn subscription_id(number: u8) -> SubscriptionId {
    SubscriptionId::from_uuid(*credential_id(number).as_uuid())
}

pub fn sealed() -> Arc<Sealed> {
    Arc::new(Sealed { version: 1, key_id: "k".into(), bytes: vec![1] })
}

/// A credential whose number is also its age: lower is older.
pub fn credential(number: u8, provider: &str) -> CredentialEntry {
    CredentialEntry {
        agreement: Arc::default(),
        subscription: None,
        quirks: domain::MissingFeatures::default(),
        id: credential_id(number),
        workspace: workspace_id(1),
        provider: provider.into(),
        display_name: format!("c{number}").into(),
        base_url: None,
        region: None,
        hosting: Arc::default(),
        sealed: sealed(),
        state: CredentialState::Active,
        expires_unix_ms: None,
        project: None,
        environment: None,
        pricing: Arc::new(Vec::new()),
        created_unix_ms: u64::from(number),
    }
}

pub fn account(number: u8, provider: &str) -> AccountEntry {
    AccountEntry {
        agreement: Arc::default(),
        id: account_id(number),
        provider: provider.into(),
        display_name: format!("pool {number}").into(),
        base_url: None,
        region: None,
        hosting: Arc::default(),
        sealed: sealed(),
        disabled: false,
        models: None,
        weight: 1,
        markup_bps: 500,
        allow_unpriced: false,
        pricing: Arc::default(),
        created_unix_ms: u64::from(number),
    }
}

pub fn node(number: u8, models: &[&str]) -> NodeEntry {
    NodeEntry {
        quirks: domain::MissingFeatures::default(),
        hour_nanos: 0,
        id: node_id(number),
        workspace: workspace_id(1),
        name: format!("n{number}").into(),
        base_url: "http://10.0.0.1:8080/v1".into(),
        sealed: None,
        state: NodeState::Ready,
        models: Arc::new(models.iter().map(|model| (*model).to_owned()).collect()),
        labels: Arc::new(Vec::new()),
        created_unix_ms: u64::from(number),
    }
}

pub fn spec(scope: RouteScope) -> RouteSpec {
    RouteSpec { scope, ..RouteSpec::default() }
}

impl Fixture {
    pub fn new() -> Self {
        let project = ProjectEntry {
            origins: "".into(),
            legal_hold: None,
            retention: None,
            policy: None,
            caching: domain::CachePolicy::default(),
            id: project_id(1),
            workspace: workspace_id(1),
            name: "p".into(),
            environment: "production".into(),
        };
        Self {
            workspace: WorkspaceEntry {
                id: workspace_id(1),
                name: "w".into(),
                projects: vec![Arc::new(project)],
                credentials: Vec::new(),
                nodes: Vec::new(),
                routes: Vec::new(),
                aliases: Vec::new(),
                hints: Vec::new(),
                terms: None,
                caching: domain::CachePolicy::default(),
            },
            accounts: Vec::new(),
            standings: HashMap::new(),
            loads: HashMap::new(),
            size: RequestSize::default(),
            traits: None,
            spent: Vec::new(),
            random: 0,
            split_key: 0,
            session_key: None,
            session_seat: None,
            tag: None,
            key: Some(key_id(1)),
            environment: "production",
            modality: Modality::Chat,
            dialect: Dialect::Native,
            terms: PriceTerms::default(),
            takes_emergencies: false,
            takes_subscriptions: true,
            used_up: HashMap::new(),
            hints: None,
            catalogue: None,
        }
    }

    /// With this many credentials at OpenAI.
    pub fn own(count: u8) -> Self {
        (1..=count).fold(Self::new(), |fixture, number| fixture.credential(number, "openai"))
    }

    pub fn credential(self, number: u8, provider: &str) -> Self {
        self.credential_with(number, provider, |_| {})
    }

    pub fn credential_with(
        mut self,
        number: u8,
        provider: &str,
        change: impl FnOnce(&mut CredentialEntry),
    ) -> Self {
        let mut entry = credential(number, provider);
        change(&mut entry);
        self.workspace.credentials.push(Arc::new(entry));
        self
    }

    /// A subscription whose number is also its age.
    pub fn subscription(self, number: u8, provider: &str) -> Self {
        self.subscription_with(number, provider, |_| {})
    }

    pub fn subscription_with(
        self,
        number: u8,
        provider: &str,
        change: impl FnOnce(&mut CredentialEntry),
    ) -> Self {
        let stated =
            Subscription { product: provider.to_owned(), plan: None, discount_pct: 50, windows: Vec::new() };
        self.credential_with(number, provider, |entry| {
            entry.subscription = Some(Arc::new(stated));
            change(entry);
        })
    }

    pub fn account(self, number: u8, provider: &str) -> Self {
        self.account_with(number, provider, |_| {})
    }

    pub fn account_with(
        mut self,
        number: u8,
        provider: &str,
        change: impl FnOnce(&mut AccountEntry),
    ) -> Self {
        let mut entry = account(number, provider);
        change(&mut entry);
        self.accounts.push(Arc::new(entry));
        self
    }

    pub fn node(self, number: u8, models: &[&str]) -> Self {
        self.node_with(number, models, |_| {})
    }

    pub fn node_with(mut self, number: u8, models: &[&str], change: impl FnOnce(&mut NodeEntry)) -> Self {
        let mut entry = node(number, models);
        change(&mut entry);
        self.workspace.nodes.push(Arc::new(entry));
        self
    }

    pub fn route(mut self, number: u8, spec: RouteSpec) -> Self {
        self.workspace.routes.push(Arc::new(RouteEntry { id: route_id(number), spec }));
        self
    }

    pub fn standing(mut self, principal: Principal, standing: Availability) -> Self {
        self.standings.insert(principal, standing);
        self
    }

    pub fn load(mut self, principal: Principal, load: Load) -> Self {
        self.loads.insert(principal, load);
        self
    }

    /// A credential with a commitment.
    pub fn committed(self, number: u8, provider: &str) -> Self {
        self.credential_with(number, provider, |entry| {
            let commitment = Commitment { amount_micros: 1_000_000, period: CommitmentPeriod::Month };
            entry.agreement = Arc::new(Agreement { commitment: Some(commitment), ..Agreement::default() });
        })
    }

    pub fn spent(mut self, principal: Principal) -> Self {
        self.spent.push(principal);
        self
    }

    pub fn ask(&self, model: &str) -> Explanation {
        self.ask_for(model, Some(self.modality))
    }

    /// What each caller with one of these keys gets.
    pub fn ask_each<'a>(
        &'a self,
        model: &'a str,
        keys: impl IntoIterator<Item = u64> + 'a,
    ) -> impl Iterator<Item = Explanation> + 'a {
        let (question, snapshot) = (self.question(model), self.snapshot());
        keys.into_iter().map(move |split_key| {
            let question = PlanQuery { split_key, ..question };
            explain(&question, Some(self.modality), &snapshot, self, self.random, NOW_US, NOW_UNIX_MS)
        })
    }

    /// Without a modality, the model's own is used.
    pub fn ask_for(&self, model: &str, modality: Option<Modality>) -> Explanation {
        explain(&self.question(model), modality, &self.snapshot(), self, self.random, NOW_US, NOW_UNIX_MS)
    }

    pub fn served(&self) -> Vec<ServedModel> {
        served_models(&self.question(""), &self.snapshot(), NOW_UNIX_MS)
    }

    pub fn named(&self, model: &str) -> Result<ServedModel, Box<Fault>> {
        named_model(&self.question(model), &self.snapshot(), NOW_UNIX_MS)
    }

    fn question<'a>(&'a self, model: &'a str) -> PlanQuery<'a> {
        PlanQuery {
            model,
            workspace: &self.workspace,
            project: &self.workspace.projects[0],
            environment: self.environment,
            key: self.key,
            tag: self.tag,
            split_key: self.split_key,
            session_key: self.session_key,
            session_seat: self.session_seat,
            modality: self.modality,
            dialect: self.dialect,
            terms: self.terms,
            size: self.size,
            needs: plan::RequestNeeds::default(),
            traits: self.traits.as_ref(),
            prompt: None,
            hints: self.hints.as_ref(),
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot::assemble(Parts {
            version: 7,
            keys: Vec::new(),
            workspaces: vec![Arc::new(self.workspace.clone())],
            accounts: self.accounts.clone(),
            catalogue: match &self.catalogue {
                Some(catalogue) => Arc::clone(catalogue),
                None => catalogue(self.takes_emergencies, self.takes_subscriptions),
            },
            key_hash: Arc::new(NoHash),
        })
    }
}

/// The test catalogue with these consents of the operator's.
fn catalogue(emergencies: bool, subscriptions: bool) -> Arc<Catalogue> {
    static READ: [OnceLock<Arc<Catalogue>>; 4] = [const { OnceLock::new() }; 4];
    let read = || {
        let catalogue = Catalogue::embedded().unwrap().with_overlay(OVERLAY).unwrap();
        Arc::new(catalogue.with_emergencies(emergencies).with_subscriptions(subscriptions))
    };
    Arc::clone(READ[usize::from(emergencies) * 2 + usize::from(subscriptions)].get_or_init(read))
}

/// The attempts as short words: `c1`, `a2*` for a fallback, `a2+` for an overflow, `n3`.
pub fn short(explanation: &Explanation) -> String {
    let words = explanation.attempts.iter().map(|attempt| {
        let star = if attempt.is_fallback { "*" } else { "" };
        let plus = if attempt.overflow.is_some() { "+" } else { "" };
        format!("{}{star}{plus}", name_of(attempt.principal))
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Why a candidate was refused, or `-` where it was not.
pub fn reason(explanation: &Explanation, principal: Principal) -> &str {
    let found = explanation.rejected.iter().find(|rejected| rejected.principal == principal);
    found.map_or("-", |rejected| rejected.reason.as_str())
}

pub fn name_of(principal: Principal) -> String {
    let name = |number| match principal {
        Principal::Credential(id) if id == credential_id(number) => Some(format!("c{number}")),
        Principal::Account(id) if id == account_id(number) => Some(format!("a{number}")),
        Principal::Node(id) if id == node_id(number) => Some(format!("n{number}")),
        Principal::Subscription(id) if id == subscription_id(number) => Some(format!("s{number}")),
        _ => None,
    };
    (1..=u8::MAX).find_map(name).unwrap_or_else(|| principal.to_string())
}
