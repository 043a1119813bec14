//! The simulated configuration: six workspaces with different rules over one pool.

use std::sync::{Arc, OnceLock};

use catalogue::Catalogue;
use domain::ports::KeyHash;
use domain::{
    AccountId, Agreement, Budget, BudgetId, ByokFallback, CachePolicy, Commitment, CommitmentPeriod, Counts,
    CredentialId, FallbackClass, KeyId, ModelFallback, ModelFallbackClass, Nanos, NodeId, OnReached, Period,
    PolicySpec, Principal, ProjectId, ResponseCacheMode, RouteId, RouteSpec, Sealed, Subject, Terms,
    WorkspaceId, api_key,
};
use http::HeaderMap;
use snapshot::{
    AccountEntry, CredentialEntry, CredentialState, KeyEntry, NodeEntry, NodeState, Parts, ProjectEntry,
    RouteEntry, Scopes, Snapshot, WorkspaceEntry,
};

use crate::aliases::Aliases;
use crate::policies;

pub const MODEL: &str = "openai/gpt-4o-mini";
pub const NODE_MODEL: &str = "own/qwen";
/// The models that requests may go on with: at the same providers, at the pool alone, and at nodes alone.
const OTHER_MODELS: [&str; 3] = ["openai/gpt-4o", "anthropic/claude-haiku-4-5", "own/phi"];
pub const OTHER_NODE_MODEL: &str = OTHER_MODELS[2];
/// The managed accounts; the last one sells another provider's models.
const ACCOUNTS: usize = 4;

/// The routing rule of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Strict,
    FallsBack,
    Overflows,
    /// Both credentials have a commitment, and the pool takes what exceeds them.
    Committed,
    /// No own credential.
    Pool,
    /// Nodes only.
    Nodes,
}

pub const RULES: [Rule; 6] =
    [Rule::Strict, Rule::FallsBack, Rule::Overflows, Rule::Committed, Rule::Pool, Rule::Nodes];

/// How many workspaces have credentials of their own, two each: the first ones.
const OWNERS: usize = 4;
pub const CREDENTIALS: usize = 2 * OWNERS;
/// The workspace with commitments, and its credentials.
pub const COMMITTED: usize = 3;
pub const COMMITTED_CREDENTIALS: [usize; 2] = [2 * COMMITTED, 2 * COMMITTED + 1];

/// The part of the configuration that may change while requests are in flight.
#[derive(Debug, Clone)]
pub struct Fixture {
    version: u64,
    /// Two for each workspace with own credentials.
    pub credential_states: [CredentialState; CREDENTIALS],
    pub node_states: [NodeState; 2],
    pub account_disabled: [bool; ACCOUNTS],
    pub fallback_on: Vec<FallbackClass>,
    /// What requests may go on with.
    pub model_fallbacks: Vec<ModelFallback>,
    /// After which silence requests are hedged.
    pub hedge_after_ms: Option<u64>,
    pub aliases: Aliases,
    /// By workspace.
    pub policies: [Option<PolicySpec>; RULES.len()],
    /// The workspaces whose projects keep answers, for how long, and how often each was purged.
    pub keeps: [bool; RULES.len()],
    pub keeps_s: u32,
    pub purges: [u64; RULES.len()],
    /// What is committed for each of `COMMITTED_CREDENTIALS` in a month.
    pub committed_micros: [u64; 2],
}

struct Plain;

impl KeyHash for Plain {
    fn digest(&self, presented: &str) -> [u8; 32] {
        let mut digest = [0; 32];
        for (to, from) in digest.iter_mut().zip(presented.bytes().rev()) {
            *to = from;
        }
        digest
    }
}

impl Fixture {
    pub fn new(committed_micros: [u64; 2], aliases: Aliases) -> Self {
        Self {
            version: 1,
            credential_states: [CredentialState::Active; CREDENTIALS],
            node_states: [NodeState::Ready; 2],
            account_disabled: [false; ACCOUNTS],
            fallback_on: Vec::new(),
            model_fallbacks: Vec::new(),
            hedge_after_ms: None,
            aliases,
            policies: [const { None }; RULES.len()],
            keeps: [false; RULES.len()],
            keeps_s: 20,
            purges: [0; RULES.len()],
            committed_micros,
        }
    }

    /// With other models behind the routes, and hedges, unless chance has none.
    pub fn degrade(&mut self, chance: impl Fn(u64) -> u64) {
        let mut others = OTHER_MODELS.map(str::to_owned).to_vec();
        others.rotate_left(index(chance(3)));
        others.truncate(index(chance(4)));
        let classes = || ModelFallbackClass::ALL.into_iter().filter(|_| chance(3) > 0).collect::<Vec<_>>();
        let fallback = |model| ModelFallback { on: classes(), model };
        self.model_fallbacks = others.into_iter().map(fallback).filter(|one| !one.on.is_empty()).collect();
        self.hedge_after_ms = (chance(2) == 0).then(|| 20 + chance(600));
    }

    /// Makes one random change, as an operator or owner would.
    pub fn change(&mut self, now_unix_ms: u64, chance: impl Fn(u64) -> u64) {
        self.version += 1;
        let flip = |state: CredentialState| match state {
            CredentialState::Active => CredentialState::Disabled,
            _ => CredentialState::Active,
        };
        match chance(9) {
            0 => {
                let at = index(chance(small(CREDENTIALS)));
                self.credential_states[at] = flip(self.credential_states[at]);
            }
            1 => {
                let at = index(chance(2));
                let states = [NodeState::Ready, NodeState::Draining, NodeState::Unreachable];
                self.node_states[at] = states[index(chance(3))];
            }
            2 => {
                let at = index(chance(small(ACCOUNTS)));
                self.account_disabled[at] = !self.account_disabled[at];
            }
            3 => self.fallback_on = FallbackClass::ALL.into_iter().filter(|_| chance(2) == 0).collect(),
            4 => self.purges[index(chance(small(RULES.len())))] += 1,
            5 => {
                let at = index(chance(small(RULES.len())));
                self.keeps[at] = !self.keeps[at];
            }
            6 => self.policies[index(chance(small(RULES.len())))] = policies::any(&chance),
            _ => self.aliases.change(now_unix_ms, chance),
        }
    }

    fn project(&self, at: usize, project: usize) -> Arc<ProjectEntry> {
        Arc::new(ProjectEntry {
            origins: "".into(),
            legal_hold: None,
            retention: None,
            policy: policies::layers(at, self.policies[at].as_ref()),
            caching: self.caching(at),
            id: project_id(at, project),
            workspace: workspace_id(at),
            name: format!("p{project}").into(),
            environment: "production".into(),
        })
    }

    fn caching(&self, at: usize) -> CachePolicy {
        CachePolicy {
            responses: self.keeps[at].then_some(ResponseCacheMode::Exact),
            responses_ttl_s: Some(self.keeps_s),
            generation: self.purges[at],
            ..CachePolicy::default()
        }
    }

    /// Whether a workspace's requests for a model may go to one of the principals at all.
    pub fn may_ask(&self, workspace: usize, principal: Principal, model: &str) -> bool {
        let policy = self.policies[workspace].as_ref();
        if policy.is_some_and(|policy| !policies::allows(policy, principal, model)) {
            return false;
        }
        let number = principals().into_iter().position(|one| one == principal).expect("it is configured");
        match principal {
            Principal::Credential(_) | Principal::Subscription(_) => {
                number / 2 == workspace && self.credential_states[number] == CredentialState::Active
            }
            Principal::Account(_) => !self.account_disabled[number - CREDENTIALS],
            Principal::Node(_) => {
                let state = self.node_states[number - CREDENTIALS - ACCOUNTS];
                RULES[workspace] == Rule::Nodes && state == NodeState::Ready
            }
        }
    }

    /// A canary of a workspace is withdrawn.
    pub fn withdraw_canary(&mut self, at: usize) {
        self.version += 1;
        self.aliases.canaries[at] = None;
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(Snapshot::assemble(Parts {
            version: self.version,
            keys: (0..RULES.len())
                .flat_map(|at| [(at, 0), (at, 1)])
                .map(|(at, project)| (Plain.digest(&key_text(at, project)), Arc::new(key(at, project))))
                .collect(),
            workspaces: (0..RULES.len()).map(|at| Arc::new(self.workspace(at))).collect(),
            accounts: (0..ACCOUNTS).map(|at| Arc::new(self.account(at))).collect(),
            catalogue: catalogue(),
            key_hash: Arc::new(Plain),
        }))
    }

    fn workspace(&self, at: usize) -> WorkspaceEntry {
        let mut spec = RouteSpec {
            model_fallbacks: self.model_fallbacks.clone(),
            hedge_after_ms: self.hedge_after_ms,
            ..RouteSpec::default()
        };
        match RULES[at] {
            Rule::FallsBack => {
                spec.byok_fallback = ByokFallback::Managed;
                spec.fallback_on = self.fallback_on.clone();
            }
            Rule::Overflows | Rule::Committed => spec.overflow_managed = true,
            Rule::Strict | Rule::Pool | Rule::Nodes => {}
        }
        let owned = if at < OWNERS { 2 * at..2 * at + 2 } else { 0..0 };
        let credentials = owned.map(|number| self.credential(at, number)).collect();
        let nodes = if RULES[at] == Rule::Nodes { vec![self.node(at, 0), self.node(at, 1)] } else { vec![] };
        let terms = || Terms { commitments: self.budgets(), ..Terms::default() };
        WorkspaceEntry {
            id: workspace_id(at),
            name: format!("w{at}").into(),
            projects: vec![self.project(at, 0), self.project(at, 1)],
            credentials,
            nodes,
            routes: vec![Arc::new(RouteEntry { id: RouteId::new(small(at), [5; 10]), spec })],
            aliases: vec![self.aliases.entry(at)],
            hints: Vec::new(),
            terms: (at == COMMITTED).then(|| Arc::new(terms())),
            caching: domain::CachePolicy::default(),
        }
    }

    /// The commitments, each as a budget.
    pub fn budgets(&self) -> Vec<Arc<Budget>> {
        let budget = |(id, limit): (BudgetId, i64)| {
            Arc::new(Budget {
                id,
                workspace: workspace_id(COMMITTED),
                name: "commitment".into(),
                subject: Subject::Workspace,
                limit: Nanos(limit),
                period: Period::Month,
                on_reached: OnReached::Allow,
                counts: Counts::Committed,
            })
        };
        self.committed().map(budget).collect()
    }

    /// Each commitment, and how many nano-USD it is.
    pub fn committed(&self) -> impl Iterator<Item = (BudgetId, i64)> {
        let amounts = self.committed_micros.into_iter().map(|micros| i64::try_from(micros).unwrap() * 1_000);
        COMMITTED_CREDENTIALS.into_iter().map(|at| BudgetId::of_commitment(credential_id(at))).zip(amounts)
    }

    fn agreement(&self, at: usize) -> Agreement {
        let number = COMMITTED_CREDENTIALS.iter().position(|committed| *committed == at);
        let commitment = number.map(|number| Commitment {
            amount_micros: self.committed_micros[number],
            period: CommitmentPeriod::Month,
        });
        Agreement { commitment, ..Agreement::default() }
    }

    fn credential(&self, workspace: usize, at: usize) -> Arc<CredentialEntry> {
        Arc::new(CredentialEntry {
            agreement: Arc::new(self.agreement(at)),
            subscription: None,
            quirks: domain::MissingFeatures::default(),
            id: credential_id(at),
            workspace: workspace_id(workspace),
            provider: "openai".into(),
            display_name: format!("c{at}").into(),
            base_url: Some(format!("https://c{at}.example/v1").into()),
            region: None,
            hosting: Arc::default(),
            sealed: sealed(),
            state: self.credential_states[at],
            expires_unix_ms: None,
            project: None,
            environment: None,
            pricing: Arc::new(Vec::new()),
            created_unix_ms: small(at),
        })
    }

    fn node(&self, workspace: usize, at: usize) -> Arc<NodeEntry> {
        Arc::new(NodeEntry {
            quirks: domain::MissingFeatures::default(),
            hour_nanos: 0,
            id: NodeId::new(small(at), [3; 10]),
            workspace: workspace_id(workspace),
            name: format!("n{at}").into(),
            base_url: format!("http://n{at}.example/v1").into(),
            sealed: None,
            state: self.node_states[at],
            models: Arc::new(vec![NODE_MODEL.to_owned(), OTHER_NODE_MODEL.to_owned()]),
            labels: Arc::new(Vec::new()),
            created_unix_ms: small(at),
        })
    }

    fn account(&self, at: usize) -> AccountEntry {
        AccountEntry {
            agreement: Arc::default(),
            id: AccountId::new(small(at), [2; 10]),
            provider: if at + 1 == ACCOUNTS { "anthropic" } else { "openai" }.into(),
            display_name: format!("a{at}").into(),
            base_url: Some(format!("https://a{at}.example/v1").into()),
            region: None,
            hosting: Arc::default(),
            sealed: sealed(),
            disabled: self.account_disabled[at],
            models: None,
            weight: 1 + u32::try_from(at).unwrap(),
            markup_bps: 1_000,
            allow_unpriced: false,
            pricing: Arc::default(),
            created_unix_ms: small(at),
        }
    }
}

/// The managed account that sells another provider's models.
pub fn other_account() -> Principal {
    Principal::Account(AccountId::new(small(ACCOUNTS - 1), [2; 10]))
}

/// Every principal of the configuration, in a fixed order.
pub fn principals() -> Vec<Principal> {
    let credentials = (0..CREDENTIALS).map(|at| Principal::Credential(credential_id(at)));
    let accounts = (0..ACCOUNTS).map(|at| Principal::Account(AccountId::new(small(at), [2; 10])));
    let nodes = (0..2).map(|at| Principal::Node(NodeId::new(at, [3; 10])));
    credentials.chain(accounts).chain(nodes).collect()
}

/// The headers of a client of one of a workspace's projects.
pub fn headers(workspace: usize, project: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", key_text(workspace, project)).parse().unwrap());
    headers.insert("content-type", "application/json".parse().unwrap());
    headers
}

pub fn workspace_id(at: usize) -> WorkspaceId {
    WorkspaceId::new(small(at), [7; 10])
}

pub fn credential_id(at: usize) -> CredentialId {
    CredentialId::new(small(at), [1; 10])
}

fn project_id(at: usize, project: usize) -> ProjectId {
    ProjectId::new(small(at), [6 + u8::try_from(project).unwrap(); 10])
}

fn key(at: usize, project: usize) -> KeyEntry {
    KeyEntry {
        origins: "".into(),
        id: KeyId::new(small(at), [4 + u8::try_from(project).unwrap(); 10]),
        workspace: workspace_id(at),
        project: project_id(at, project),
        environment: "production".into(),
        scopes: Scopes { inference: true, ..Scopes::default() },
        expires_unix_ms: None,
        revoked: false,
        ip_allowlist: Vec::new(),
        priority: None,
        access_secret: None,
    }
}

fn key_text(at: usize, project: usize) -> String {
    api_key::encode(true, &[u8::try_from(2 * at + project).unwrap(); 32])
}

fn sealed() -> Arc<Sealed> {
    Arc::new(Sealed { version: 1, key_id: "k".into(), bytes: vec![1] })
}

fn catalogue() -> Arc<Catalogue> {
    static READ: OnceLock<Arc<Catalogue>> = OnceLock::new();
    Arc::clone(READ.get_or_init(|| Arc::new(Catalogue::embedded().unwrap())))
}

pub fn small(at: usize) -> u64 {
    u64::try_from(at).unwrap()
}

pub fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}
