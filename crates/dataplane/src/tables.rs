//! Which rows a data plane is sent: what a snapshot of one workspace is made of, and nothing else.
//!
//! Content, agents, tools and their secrets, people and money are not among them: what requests make stays where they are
//! served. Nor are the operator's accounts, and credentials of subscriptions, whose tokens only one holder can renew.

use database::feed::Part;
use domain::{CredentialId, KeyId, NodeId, PolicyId};
use uuid::Uuid;

/// A table, in the order in which rows refer to each other.
#[derive(Debug)]
pub(crate) struct TableSpec {
    pub name: &'static str,
    /// The rows of the workspace `$1`.
    pub rows: &'static str,
    pub key: &'static [&'static str],
    /// What no two rows of a workspace share, beside the key.
    pub unique: Option<&'static str>,
    pub secret: Option<SecretColumns>,
    /// What a data plane finds out by itself: once it has a row, these are its own.
    pub own: &'static [&'static str],
    /// What a change of a row is announced as.
    pub part: Part,
}

/// Where a table has its secrets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SecretColumns {
    pub version: &'static str,
    pub key_id: &'static str,
    pub sealed: &'static str,
    pub fingerprint: Option<&'static str>,
    /// The name under which an object's secret is sealed.
    pub object: fn(Uuid) -> String,
}

impl SecretColumns {
    /// The columns that never leave their installation.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &'static str> {
        [Some(self.version), Some(self.key_id), Some(self.sealed), self.fingerprint].into_iter().flatten()
    }
}

const fn secret(object: fn(Uuid) -> String) -> Option<SecretColumns> {
    Some(SecretColumns {
        version: "secret_version",
        key_id: "secret_key_id",
        sealed: "secret_sealed",
        fingerprint: Some("fingerprint"),
        object,
    })
}

const ACCESS_SECRET: SecretColumns = SecretColumns {
    version: "access_secret_version",
    key_id: "access_secret_key_id",
    sealed: "access_secret_sealed",
    fingerprint: None,
    object: |id| KeyId::from_uuid(id).to_string(),
};

const fn plain(name: &'static str, rows: &'static str) -> TableSpec {
    TableSpec { name, rows, key: &["id"], unique: None, secret: None, own: &[], part: Part::Workspace }
}

pub(crate) const TABLES: &[TableSpec] = &[
    TableSpec {
        own: &["caching_generation"],
        ..plain("workspaces", "SELECT * FROM workspaces WHERE id = $1 ORDER BY id")
    },
    TableSpec {
        unique: Some("name"),
        own: &["caching_generation"],
        ..plain("projects", "SELECT * FROM projects WHERE workspace = $1 ORDER BY id")
    },
    TableSpec {
        key: &["project"],
        ..plain(
            "retention_profiles",
            "SELECT * FROM retention_profiles WHERE workspace = $1 ORDER BY project",
        )
    },
    TableSpec {
        secret: Some(ACCESS_SECRET),
        part: Part::Key,
        ..plain("api_keys", "SELECT * FROM api_keys WHERE workspace = $1 ORDER BY id")
    },
    TableSpec {
        secret: secret(|id| CredentialId::from_uuid(id).to_string()),
        ..plain(
            "credentials",
            "SELECT * FROM credentials WHERE workspace = $1 AND subscription IS NULL ORDER BY id",
        )
    },
    TableSpec {
        unique: Some("name"),
        secret: secret(|id| NodeId::from_uuid(id).to_string()),
        own: &["reachable", "learned_models", "last_seen_unix_ms", "last_error"],
        ..plain("nodes", "SELECT * FROM nodes WHERE workspace = $1 ORDER BY id")
    },
    TableSpec {
        unique: Some("scope"),
        ..plain("routes", "SELECT * FROM routes WHERE workspace = $1 ORDER BY id")
    },
    TableSpec {
        secret: secret(|id| PolicyId::from_uuid(id).to_string()),
        ..plain("policies", "SELECT * FROM policies WHERE workspace = $1 ORDER BY id")
    },
    plain("aliases", "SELECT * FROM aliases WHERE workspace = $1 ORDER BY id"),
    plain("alias_releases", "SELECT * FROM alias_releases WHERE workspace = $1 ORDER BY id"),
    plain("agent_hints", "SELECT * FROM agent_hints WHERE workspace = $1 ORDER BY id"),
    TableSpec {
        key: &["workspace", "kind", "subject"],
        ..plain("limits", "SELECT * FROM limits WHERE workspace = $1 ORDER BY kind, subject")
    },
    plain("budgets", "SELECT * FROM budgets WHERE workspace = $1 ORDER BY id"),
    TableSpec {
        key: &["budget", "percent"],
        ..plain(
            "budget_thresholds",
            "SELECT * FROM budget_thresholds WHERE budget IN (SELECT id FROM budgets WHERE workspace = $1)
             ORDER BY budget, percent",
        )
    },
    TableSpec {
        key: &["provider"],
        part: Part::Accounts,
        // What the operator states holds for every workspace.
        ..plain(
            "capability_statements",
            "SELECT * FROM capability_statements WHERE $1 = $1 ORDER BY provider",
        )
    },
];
