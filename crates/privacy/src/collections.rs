//! What a data export has: lists of `/v2`, each with what is below its objects, as the API shows it. It shows no secret.

/// A list, or something that each object of the list above has one of. A `{}` in the path is an id from above, the topmost first.
pub(crate) struct Collection {
    /// Of its file, without the ending.
    pub name: &'static str,
    pub path: &'static str,
    pub query: &'static [(&'static str, &'static str)],
    pub below: &'static [Self],
}

const fn list(name: &'static str, path: &'static str) -> Collection {
    Collection { name, path, query: &[], below: &[] }
}

const fn with(name: &'static str, path: &'static str, below: &'static [Collection]) -> Collection {
    Collection { name, path, query: &[], below }
}

const EVENTS: Collection = Collection {
    name: "session_events",
    path: "/v2/sessions/{}/branches/{}/events",
    query: &[("include", "content")],
    below: &[],
};

/// All of it, in the order of the files.
pub(crate) const COLLECTIONS: &[Collection] = &[
    list("projects", "/v2/projects"),
    list("members", "/v2/members"),
    list("api_keys", "/v2/api-keys"),
    list("provider_credentials", "/v2/provider-credentials"),
    list("subscription_credentials", "/v2/subscription-credentials"),
    list("nodes", "/v2/byoc/nodes"),
    with("routes", "/v2/routes", &[list("route_versions", "/v2/routes/{}/versions")]),
    list("policies", "/v2/policies"),
    list("agent_hints", "/v2/agent-hints"),
    with("agents", "/v2/agents", &[list("agent_versions", "/v2/agents/{}/versions")]),
    list("tools", "/v2/tools"),
    list("mcp_servers", "/v2/mcp-servers"),
    with("apps", "/v2/apps", &[list("app_versions", "/v2/apps/{}/versions")]),
    list("secrets", "/v2/secrets"),
    with("flows", "/v2/flows", &[list("flow_versions", "/v2/flows/{}/versions")]),
    with(
        "model_aliases",
        "/v2/model-aliases",
        &[list("model_alias_releases", "/v2/model-aliases/{}/releases")],
    ),
    list("budgets", "/v2/budgets"),
    list("webhooks", "/v2/webhooks"),
    list("alert_rules", "/v2/alert-rules"),
    list("records", "/v2/records"),
    list("scores", "/v2/scores"),
    list("invoices", "/v2/billing/invoices"),
    list("reconciliations", "/v2/reconciliations"),
    list("diagnostics", "/v2/diagnostics"),
    with("replay_runs", "/v2/replay-runs", &[list("replay_reports", "/v2/replay-runs/{}/report")]),
    list("audit", "/v2/audit"),
    with("purge_jobs", "/v2/purge-jobs", &[list("purge_receipts", "/v2/purge-jobs/{}/receipt")]),
    list("legal_holds", "/v2/legal-holds"),
    with("files", "/v2/files", &[list("file_contents", "/v2/files/{}/content")]),
    with("artifacts", "/v2/artifacts", &[list("artifact_contents", "/v2/artifacts/{}/content")]),
    list("bundles", "/v2/bundles"),
    with(
        "sessions",
        "/v2/sessions",
        &[
            with("session_branches", "/v2/sessions/{}/branches", &[EVENTS]),
            list("session_snapshots", "/v2/sessions/{}/snapshots"),
        ],
    ),
];

/// Files of batches, which only `/v1` has routes for.
pub(crate) const BATCHES: &str = "batches";
pub(crate) const BATCH_ITEMS: &str = "batch_items";
/// What no route lists with its content.
pub(crate) const RETENTION_PROFILES: &str = "retention_profiles";
pub(crate) const REQUEST_CONTENTS: &str = "request_contents";
/// Answers that are kept for a while; clients read them at their own paths.
pub(crate) const IDEMPOTENT_ANSWERS: &str = "idempotent_answers";
pub(crate) const TASKS: &str = "tasks";
/// Runs of flows, with what their steps made.
pub(crate) const FLOW_RUNS: &str = "flow_runs";
pub(crate) const RESPONSES: &str = "responses";
pub(crate) const TURNS: &str = "turns";
pub(crate) const PROVIDER_RESPONSES: &str = "provider_responses";

/// What an export has not, and why, as its manifest states it.
pub(crate) const LEFT_OUT: &[(&str, &str)] = &[
    ("secrets", "Keys, credentials and signing secrets are stored to be used, and never shown again."),
    (
        "providers",
        "Files, batches, videos and responses at providers are read there, by their names in the records and in provider_responses.",
    ),
    ("memory", "Caches of gateways and nodes are copies."),
];

impl Collection {
    /// The path with these ids in it.
    pub(crate) fn at(&self, ids: &[String]) -> String {
        let mut ids = ids.iter();
        let segments = self.path.split('/').map(|segment| match segment {
            "{}" => ids.next().map_or("", String::as_str),
            fixed => fixed,
        });
        segments.collect::<Vec<_>>().join("/")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_put_where_the_path_has_room() {
        assert_eq!(
            EVENTS.at(&["ses_1".to_owned(), "br_2".to_owned()]),
            "/v2/sessions/ses_1/branches/br_2/events"
        );
        let mut names = BTreeSet::from([BATCHES, BATCH_ITEMS, RETENTION_PROFILES, REQUEST_CONTENTS]);
        names.extend([IDEMPOTENT_ANSWERS, TASKS, FLOW_RUNS, RESPONSES, TURNS, PROVIDER_RESPONSES]);
        for one in COLLECTIONS {
            assert!(
                names.insert(one.name) && one.below.iter().all(|below| names.insert(below.name)),
                "{}",
                one.name
            );
        }
    }
}
