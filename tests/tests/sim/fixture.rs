//! The simulated configuration: five workspaces with different rules over one pool.

use std::sync::{Arc, OnceLock};

use catalogue::Catalogue;
use domain::ports::KeyHash;
use domain::{
    AccountId, ByokFallback, CredentialId, FallbackClass, KeyId, NodeId, Principal, ProjectId, RouteId,
    RouteSpec, Sealed, WorkspaceId, api_key,
};
use http::HeaderMap;
use snapshot::{
    AccountEntry, CredentialEntry, CredentialState, KeyEntry, NodeEntry, NodeState, Parts, ProjectEntry,
    RouteEntry, Scopes, Snapshot, WorkspaceEntry,
};

pub const MODEL: &str = "openai/gpt-4o-mini";
pub const NODE_MODEL: &str = "own/qwen";

/// The routing rule of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Strict,
    FallsBack,
    Overflows,
    /// No own credential.
    Pool,
    /// Nodes only.
    Nodes,
}

pub const RULES: [Rule; 5] = [Rule::Strict, Rule::FallsBack, Rule::Overflows, Rule::Pool, Rule::Nodes];

/// The part of the configuration that may change while requests are in flight.
#[derive(Debug, Clone)]
pub struct Fixture {
    version: u64,
    /// Two for each of the first three workspaces.
    pub credential_states: [CredentialState; 6],
    pub node_states: [NodeState; 2],
    pub account_disabled: [bool; 3],
    pub fallback_on: Vec<FallbackClass>,
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
    pub fn new() -> Self {
        Self {
            version: 1,
            credential_states: [CredentialState::Active; 6],
            node_states: [NodeState::Ready; 2],
            account_disabled: [false; 3],
            fallback_on: Vec::new(),
        }
    }

    /// Makes one random change, as an operator or owner would.
    pub fn change(&mut self, chance: impl Fn(u64) -> u64) {
        self.version += 1;
        let flip = |state: CredentialState| match state {
            CredentialState::Active => CredentialState::Disabled,
            _ => CredentialState::Active,
        };
        match chance(4) {
            0 => {
                let at = index(chance(6));
                self.credential_states[at] = flip(self.credential_states[at]);
            }
            1 => {
                let at = index(chance(2));
                let states = [NodeState::Ready, NodeState::Draining, NodeState::Unreachable];
                self.node_states[at] = states[index(chance(3))];
            }
            2 => {
                let at = index(chance(3));
                self.account_disabled[at] = !self.account_disabled[at];
            }
            _ => self.fallback_on = FallbackClass::ALL.into_iter().filter(|_| chance(2) == 0).collect(),
        }
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(Snapshot::assemble(Parts {
            version: self.version,
            keys: (0..RULES.len()).map(|at| (Plain.digest(&key_text(at)), Arc::new(key(at)))).collect(),
            workspaces: (0..RULES.len()).map(|at| Arc::new(self.workspace(at))).collect(),
            accounts: (0..3).map(|at| Arc::new(self.account(at))).collect(),
            catalogue: catalogue(),
            key_hash: Arc::new(Plain),
        }))
    }

    fn workspace(&self, at: usize) -> WorkspaceEntry {
        let mut spec = RouteSpec::default();
        match RULES[at] {
            Rule::FallsBack => {
                spec.byok_fallback = ByokFallback::Managed;
                spec.fallback_on = self.fallback_on.clone();
            }
            Rule::Overflows => spec.overflow_managed = true,
            Rule::Strict | Rule::Pool | Rule::Nodes => {}
        }
        let credentials =
            if at < 3 { vec![self.credential(at, 2 * at), self.credential(at, 2 * at + 1)] } else { vec![] };
        let nodes = if RULES[at] == Rule::Nodes { vec![self.node(at, 0), self.node(at, 1)] } else { vec![] };
        WorkspaceEntry {
            id: workspace_id(at),
            name: format!("w{at}").into(),
            projects: vec![Arc::new(ProjectEntry {
                policy: None,
                caching: domain::CachePolicy::default(),
                id: project_id(at),
                workspace: workspace_id(at),
                name: "p".into(),
                environment: "production".into(),
            })],
            credentials,
            nodes,
            routes: vec![Arc::new(RouteEntry { id: RouteId::new(small(at), [5; 10]), spec })],
            aliases: Vec::new(),
            hints: Vec::new(),
            terms: None,
            caching: domain::CachePolicy::default(),
        }
    }

    fn credential(&self, workspace: usize, at: usize) -> Arc<CredentialEntry> {
        Arc::new(CredentialEntry {
            agreement: Arc::default(),
            subscription: None,
            quirks: domain::MissingFeatures::default(),
            id: CredentialId::new(small(at), [1; 10]),
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
            id: NodeId::new(small(at), [3; 10]),
            workspace: workspace_id(workspace),
            name: format!("n{at}").into(),
            base_url: format!("http://n{at}.example/v1").into(),
            sealed: None,
            state: self.node_states[at],
            models: Arc::new(vec![NODE_MODEL.to_owned()]),
            labels: Arc::new(Vec::new()),
            created_unix_ms: small(at),
        })
    }

    fn account(&self, at: usize) -> AccountEntry {
        AccountEntry {
            agreement: Arc::default(),
            id: AccountId::new(small(at), [2; 10]),
            provider: "openai".into(),
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

/// Every principal of the configuration, in a fixed order.
pub fn principals() -> Vec<Principal> {
    let credentials = (0..6).map(|at| Principal::Credential(CredentialId::new(at, [1; 10])));
    let accounts = (0..3).map(|at| Principal::Account(AccountId::new(at, [2; 10])));
    let nodes = (0..2).map(|at| Principal::Node(NodeId::new(at, [3; 10])));
    credentials.chain(accounts).chain(nodes).collect()
}

/// The headers of a workspace's client.
pub fn headers(workspace: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", key_text(workspace)).parse().unwrap());
    headers.insert("content-type", "application/json".parse().unwrap());
    headers
}

pub fn workspace_id(at: usize) -> WorkspaceId {
    WorkspaceId::new(small(at), [7; 10])
}

fn project_id(at: usize) -> ProjectId {
    ProjectId::new(small(at), [6; 10])
}

fn key(at: usize) -> KeyEntry {
    KeyEntry {
        id: KeyId::new(small(at), [4; 10]),
        workspace: workspace_id(at),
        project: project_id(at),
        environment: "production".into(),
        scopes: Scopes { inference: true, ..Scopes::default() },
        expires_unix_ms: None,
        revoked: false,
        ip_allowlist: Vec::new(),
        access_secret: None,
    }
}

fn key_text(at: usize) -> String {
    api_key::encode(true, &[u8::try_from(at).unwrap(); 32])
}

fn sealed() -> Arc<Sealed> {
    Arc::new(Sealed { version: 1, key_id: "k".into(), bytes: vec![1] })
}

fn catalogue() -> Arc<Catalogue> {
    static READ: OnceLock<Arc<Catalogue>> = OnceLock::new();
    Arc::clone(READ.get_or_init(|| Arc::new(Catalogue::embedded().unwrap())))
}

fn small(at: usize) -> u64 {
    u64::try_from(at).unwrap()
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}
