//! The one table of kinds with names: where their names are stored, and where requests refer to them.

use domain::{
    AccountId, AgentId, AlertRuleId, AppId, ArtifactId, BudgetId, BundleId, CredentialId, DataPlaneId,
    FlowId, HintsId, KeyId, McpServerId, MemberId, NodeId, PolicyId, ProjectId, SecretId, SessionId,
    SubscriptionId, ToolId, WebhookId, WorkspaceId,
};

/// A kind of object with names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Key,
    Project,
    Credential,
    Subscription,
    Account,
    Budget,
    AlertRule,
    Node,
    Policy,
    Webhook,
    Member,
    Hints,
    Secret,
    Agent,
    Tool,
    McpServer,
    App,
    Flow,
    Artifact,
    Bundle,
    Session,
    DataPlane,
    Workspace,
}

/// What objects of a kind are named by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    Name,
    Email,
    Description,
    Project,
}

/// What is known of a kind. All of it is text of this program; none is a caller's.
pub(crate) struct Facts {
    pub what: &'static str,
    pub prefix: &'static str,
    /// Its collection's path.
    pub path: &'static str,
    /// The command that lists them; without one, the path is named.
    pub command: Option<&'static str>,
    pub by: NamedBy,
    pub from: &'static str,
    pub id: &'static str,
    pub column: &'static str,
    /// The column of its workspace; `None` for the operator's.
    pub owner: Option<&'static str>,
    pub project: Option<&'static str>,
    /// Further conditions: an ended object is found by its id alone.
    pub live: &'static str,
}

const PLAIN: Facts = Facts {
    what: "",
    prefix: "",
    path: "",
    command: None,
    by: NamedBy::Name,
    from: "",
    id: "id",
    column: "name",
    owner: Some("workspace"),
    project: None,
    live: "",
};

const KEY: Facts = Facts {
    what: "key",
    prefix: KeyId::PREFIX,
    path: "/v2/api-keys",
    command: Some("tidegate key list"),
    from: "api_keys",
    project: Some("project"),
    live: " AND revoked_unix_ms IS NULL",
    ..PLAIN
};
const PROJECT: Facts = Facts {
    what: "project",
    prefix: ProjectId::PREFIX,
    path: "/v2/projects",
    command: Some("tidegate project list"),
    from: "projects",
    project: Some("id"),
    ..PLAIN
};
const CREDENTIAL: Facts = Facts {
    what: "credential",
    prefix: CredentialId::PREFIX,
    path: "/v2/provider-credentials",
    command: Some("tidegate credential list"),
    from: "credentials",
    column: "display_name",
    live: " AND subscription IS NULL",
    ..PLAIN
};
const SUBSCRIPTION: Facts = Facts {
    what: "subscription",
    prefix: SubscriptionId::PREFIX,
    path: "/v2/subscription-credentials",
    command: Some("tidegate subscription list"),
    live: " AND subscription IS NOT NULL",
    ..CREDENTIAL
};
const ACCOUNT: Facts = Facts {
    what: "account",
    prefix: AccountId::PREFIX,
    path: "/v2/accounts",
    command: Some("tidegate account list"),
    from: "accounts",
    column: "display_name",
    owner: None,
    ..PLAIN
};
const BUDGET: Facts = Facts {
    what: "budget",
    prefix: BudgetId::PREFIX,
    path: "/v2/budgets",
    command: Some("tidegate budget list"),
    from: "budgets",
    live: " AND period <> 'ever' AND commitment IS NULL",
    ..PLAIN
};
const ALERT_RULE: Facts = Facts {
    what: "alert rule",
    prefix: AlertRuleId::PREFIX,
    path: "/v2/alert-rules",
    command: Some("tidegate alert list"),
    from: "alert_rules",
    ..OF_PROJECT
};
const NODE: Facts = Facts {
    what: "node",
    prefix: NodeId::PREFIX,
    path: "/v2/byoc/nodes",
    command: Some("tidegate nodes list"),
    from: "nodes",
    ..PLAIN
};
const POLICY: Facts = Facts {
    what: "policy",
    prefix: PolicyId::PREFIX,
    path: "/v2/policies",
    command: Some("tidegate policy list"),
    by: NamedBy::Project,
    from: "policies JOIN projects ON projects.id = policies.project",
    id: "policies.id",
    column: "projects.name",
    owner: Some("policies.workspace"),
    project: Some("policies.project"),
    ..PLAIN
};
const WEBHOOK: Facts = Facts {
    what: "webhook",
    prefix: WebhookId::PREFIX,
    path: "/v2/webhooks",
    command: Some("tidegate webhook list"),
    by: NamedBy::Description,
    from: "webhooks",
    column: "description",
    ..PLAIN
};
const MEMBER: Facts = Facts {
    what: "member",
    prefix: MemberId::PREFIX,
    path: "/v2/members",
    command: Some("tidegate member list"),
    by: NamedBy::Email,
    from: "memberships JOIN people ON people.id = memberships.person",
    id: "people.id",
    column: "people.email",
    owner: Some("memberships.workspace"),
    ..PLAIN
};
const HINTS: Facts = Facts {
    what: "stored hints",
    prefix: HintsId::PREFIX,
    path: "/v2/agent-hints",
    command: Some("tidegate hints list"),
    from: "agent_hints",
    ..PLAIN
};
const OF_PROJECT: Facts = Facts { project: Some("project"), ..PLAIN };
const SECRET: Facts = Facts {
    what: "secret",
    prefix: SecretId::PREFIX,
    path: "/v2/secrets",
    command: Some("tidegate secret list"),
    from: "named_secrets",
    ..OF_PROJECT
};
const AGENT: Facts = Facts {
    what: "agent",
    prefix: AgentId::PREFIX,
    path: "/v2/agents",
    command: Some("tidegate agent list"),
    from: "agents",
    ..OF_PROJECT
};
const TOOL: Facts = Facts {
    what: "tool",
    prefix: ToolId::PREFIX,
    path: "/v2/tools",
    command: Some("tidegate tool list"),
    from: "tools",
    ..OF_PROJECT
};
const MCP_SERVER: Facts = Facts {
    what: "MCP server",
    prefix: McpServerId::PREFIX,
    path: "/v2/mcp-servers",
    command: Some("tidegate mcp-server list"),
    from: "mcp_servers",
    ..OF_PROJECT
};
const APP: Facts = Facts {
    what: "app",
    prefix: AppId::PREFIX,
    path: "/v2/apps",
    command: Some("tidegate app list"),
    from: "apps",
    ..OF_PROJECT
};
const FLOW: Facts = Facts {
    what: "flow",
    prefix: FlowId::PREFIX,
    path: "/v2/flows",
    command: Some("tidegate flow list"),
    from: "flows",
    ..OF_PROJECT
};
const ARTIFACT: Facts = Facts {
    what: "artifact",
    prefix: ArtifactId::PREFIX,
    path: "/v2/artifacts",
    command: Some("tidegate artifact list"),
    from: "artifacts",
    ..OF_PROJECT
};
const BUNDLE: Facts = Facts {
    what: "bundle",
    prefix: BundleId::PREFIX,
    path: "/v2/bundles",
    command: Some("tidegate bundle list"),
    from: "bundles",
    ..OF_PROJECT
};
const SESSION: Facts = Facts {
    what: "session",
    prefix: SessionId::PREFIX,
    path: "/v2/sessions",
    command: Some("tidegate session list"),
    from: "sessions",
    ..OF_PROJECT
};
const DATA_PLANE: Facts = Facts {
    what: "data plane",
    prefix: DataPlaneId::PREFIX,
    path: "/v2/data-planes",
    command: Some("tidegate data-planes list"),
    from: "data_planes",
    ..PLAIN
};
const WORKSPACE: Facts = Facts {
    what: "workspace",
    prefix: WorkspaceId::PREFIX,
    path: "/v2/workspaces",
    command: Some("tidegate workspace list"),
    from: "workspaces",
    owner: Some("id"),
    ..PLAIN
};

/// Every kind.
const KINDS: [Kind; 23] = [
    Kind::Key,
    Kind::Project,
    Kind::Credential,
    Kind::Subscription,
    Kind::Account,
    Kind::Budget,
    Kind::AlertRule,
    Kind::Node,
    Kind::Policy,
    Kind::Webhook,
    Kind::Member,
    Kind::Hints,
    Kind::Secret,
    Kind::Agent,
    Kind::Tool,
    Kind::McpServer,
    Kind::App,
    Kind::Flow,
    Kind::Artifact,
    Kind::Bundle,
    Kind::Session,
    Kind::DataPlane,
    Kind::Workspace,
];

/// Where bodies and queries refer to objects: the path of a field, with `[]` for the entries of a list.
pub const REFERENCES: [(&str, Kind); 12] = [
    ("project_id", Kind::Project),
    ("scope.project_id", Kind::Project),
    ("route.scope.project_id", Kind::Project),
    ("from.project_id", Kind::Project),
    ("key_id", Kind::Key),
    ("scope.key_id", Kind::Key),
    ("route.scope.key_id", Kind::Key),
    ("from.key_id", Kind::Key),
    ("credential_ids.[]", Kind::Credential),
    ("route.credential_ids.[]", Kind::Credential),
    ("candidate.node_id", Kind::Node),
    ("base_bundle_ids.[]", Kind::Bundle),
];

impl Kind {
    pub(crate) const fn facts(self) -> &'static Facts {
        match self {
            Self::Key => &KEY,
            Self::Project => &PROJECT,
            Self::Credential => &CREDENTIAL,
            Self::Subscription => &SUBSCRIPTION,
            Self::Account => &ACCOUNT,
            Self::Budget => &BUDGET,
            Self::AlertRule => &ALERT_RULE,
            Self::Node => &NODE,
            Self::Policy => &POLICY,
            Self::Webhook => &WEBHOOK,
            Self::Member => &MEMBER,
            Self::Hints => &HINTS,
            Self::Secret => &SECRET,
            Self::Agent => &AGENT,
            Self::Tool => &TOOL,
            Self::McpServer => &MCP_SERVER,
            Self::App => &APP,
            Self::Flow => &FLOW,
            Self::Artifact => &ARTIFACT,
            Self::Bundle => &BUNDLE,
            Self::Session => &SESSION,
            Self::DataPlane => &DATA_PLANE,
            Self::Workspace => &WORKSPACE,
        }
    }

    /// What people call one.
    pub const fn what(self) -> &'static str {
        self.facts().what
    }

    pub const fn by(self) -> NamedBy {
        self.facts().by
    }

    /// Whether a text is an id of this kind, whether or not there is such an object.
    pub fn is_id(self, text: &str) -> bool {
        text.strip_prefix(self.facts().prefix).and_then(|rest| rest.strip_prefix('_')).is_some_and(is_hex)
    }

    /// The fix for a name that nothing has.
    pub fn how_to_list(self) -> String {
        match self.facts().command {
            Some(command) => format!("`{command}` shows what there is."),
            None => format!("`GET {}` lists what there is.", self.facts().path),
        }
    }
}

/// The fix for an object of this kind, in people's words, that isn't there.
pub fn how_to_list(what: &str) -> Option<String> {
    // Some messages call a kind by a longer name, and two kinds are only found by their own handlers.
    let what = match what {
        "API key" => KEY.what,
        "agent hints" => HINTS.what,
        "alias" => return Some("`tidegate alias list` shows what there is.".to_owned()),
        "route" => return Some("`tidegate route list` shows what there is.".to_owned()),
        "request" => return Some("`tidegate request list` shows what there is.".to_owned()),
        "invoice" => return Some("`tidegate billing invoices` shows what there is.".to_owned()),
        "workspace" => return Some("`tidegate whoami` shows yours.".to_owned()),
        other => other,
    };
    KINDS.iter().find(|kind| kind.what() == what).map(|kind| kind.how_to_list())
}

/// The kind whose objects the first parameter of a path names.
pub fn kind_at(pattern: &str) -> Option<Kind> {
    KINDS.into_iter().find(|kind| {
        let rest = pattern.strip_prefix(kind.facts().path);
        rest.is_some_and(|rest| rest == "/{id}" || rest.starts_with("/{id}/"))
    })
}

/// Whether a text has the form of any id, so that it can't be a name.
pub fn has_the_form_of_an_id(text: &str) -> bool {
    KINDS.into_iter().any(|kind| kind.is_id(text))
}

fn is_hex(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_the_kind_of_its_first_parameter() {
        assert_eq!(kind_at("/v2/api-keys/{id}"), Some(Kind::Key));
        assert_eq!(kind_at("/v2/byoc/nodes/{id}/drain"), Some(Kind::Node));
        assert_eq!(kind_at("/v2/byoc/nodes/join-tokens/{id}"), None);
        assert_eq!(kind_at("/v2/api-keys"), None);
        assert_eq!(kind_at("/v2/requests/{id}"), None);
    }

    #[test]
    fn a_kind_is_listed_by_whichever_word_a_message_has() {
        let of_keys = how_to_list("key");
        assert!(of_keys.as_ref().is_some_and(|fix| fix.contains("tidegate key list")));
        assert_eq!(how_to_list("API key"), of_keys);
        assert!(how_to_list("alias").is_some_and(|fix| fix.contains("tidegate alias list")));
        for (what, command) in
            [("request", "request list"), ("invoice", "billing invoices"), ("workspace", "whoami")]
        {
            assert!(how_to_list(what).is_some_and(|fix| fix.contains(command)), "{what}");
        }
        assert_eq!(how_to_list("report"), None);
    }

    #[test]
    fn an_id_is_never_a_name() {
        let digits = "0123456789abcdef0123456789abcdef";
        assert!(Kind::Key.is_id(&format!("key_{digits}")));
        assert!(has_the_form_of_an_id(&format!("prj_{digits}")));
        assert!(!Kind::Key.is_id(&format!("prj_{digits}")));
        for name in ["ci", "key_1", "key", ""] {
            assert!(!has_the_form_of_an_id(name), "{name}");
        }
    }
}
