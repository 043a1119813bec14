//! Who answers for each table of the database when content is purged. A test fails for a table without a row.

use domain::purge::Place;

/// What a table holds of tenants' requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Content of requests, or names of it: this place purges it.
    Content(Place),
    /// What was counted and what is owed. It stays, since others rely on it; there is no content in it.
    Books,
    /// What people configured. They change and delete it themselves.
    Configuration,
    /// Who may do what.
    Identity,
    /// What makes the installation work: ids, positions and leases.
    Machinery,
    /// What was done, for those who must prove it.
    Evidence,
}

/// Every table, in the order of its name.
pub const TABLES: &[(&str, Holds)] = &[
    ("accounts", Holds::Configuration),
    ("agent_hints", Holds::Configuration),
    // Names, and numbers of versions. What a version says is sealed in `tool_secrets`.
    ("agent_versions", Holds::Configuration),
    ("agents", Holds::Configuration),
    ("alert_rules", Holds::Configuration),
    ("alias_releases", Holds::Configuration),
    ("aliases", Holds::Configuration),
    ("api_keys", Holds::Identity),
    ("app_versions", Holds::Configuration),
    ("apps", Holds::Configuration),
    ("artifacts", Holds::Content(Place::AgentState)),
    ("audit", Holds::Evidence),
    ("audit_chains", Holds::Evidence),
    ("audit_sent", Holds::Machinery),
    ("batch_contents", Holds::Content(Place::Batches)),
    ("batch_costs", Holds::Books),
    // Positions, times and how each ended.
    ("batch_items", Holds::Machinery),
    ("batches", Holds::Content(Place::Batches)),
    ("budget_alerts", Holds::Books),
    ("budget_leases", Holds::Machinery),
    ("budget_periods", Holds::Books),
    ("budget_thresholds", Holds::Configuration),
    ("budgets", Holds::Configuration),
    ("bundles", Holds::Content(Place::AgentState)),
    ("capability_revisions", Holds::Configuration),
    ("capability_statements", Holds::Configuration),
    ("changes", Holds::Machinery),
    ("credential_openings", Holds::Books),
    ("credentials", Holds::Configuration),
    ("credits", Holds::Books),
    ("data_export_parts", Holds::Content(Place::DataExports)),
    ("data_exports", Holds::Content(Place::DataExports)),
    // Receipts of purges and heads of audits, as data planes signed them.
    ("data_plane_evidence", Holds::Evidence),
    // Settled records on their way to the control plane.
    ("data_plane_outbox", Holds::Books),
    ("data_planes", Holds::Identity),
    ("device_keys", Holds::Identity),
    ("devices", Holds::Identity),
    // Scores, counts and ids of requests: a report has no content, and its uploads are refused with any.
    ("diagnostics", Holds::Books),
    // Keyed hashes and counts.
    ("end_user_days", Holds::Books),
    // What happened to configuration and budgets: events name objects and hold no content of requests.
    ("events", Holds::Machinery),
    // Sizes, and random names of objects.
    ("file_pieces", Holds::Machinery),
    ("files", Holds::Content(Place::Files)),
    ("flow_contents", Holds::Content(Place::FlowRuns)),
    // Names of steps, times and costs; they go with their run.
    ("flow_events", Holds::Content(Place::FlowRuns)),
    ("flow_runs", Holds::Content(Place::FlowRuns)),
    ("flow_steps", Holds::Content(Place::FlowRuns)),
    ("flow_versions", Holds::Configuration),
    ("flows", Holds::Configuration),
    ("head", Holds::Machinery),
    ("invoices", Holds::Books),
    // A payload has ids alone; the polling of a provider's object ends once that object is purged.
    ("jobs", Holds::Machinery),
    ("journal_epochs", Holds::Machinery),
    ("journal_positions", Holds::Machinery),
    ("kept_answers", Holds::Content(Place::IdempotentAnswers)),
    ("kept_objects", Holds::Content(Place::ProviderObjects)),
    // Keyed hashes, which go with their turns.
    ("kept_turn_calls", Holds::Content(Place::KeptTurns)),
    ("kept_turns", Holds::Content(Place::KeptTurns)),
    // Ids, and a reason that people wrote.
    ("legal_hold_objects", Holds::Evidence),
    ("legal_holds", Holds::Evidence),
    ("limits", Holds::Configuration),
    // Scopes and times. The tokens are sealed in `tool_secrets`.
    ("mcp_grants", Holds::Configuration),
    ("mcp_servers", Holds::Configuration),
    ("mcp_sign_ins", Holds::Machinery),
    ("memberships", Holds::Identity),
    ("meta", Holds::Machinery),
    ("meter_records", Holds::Books),
    ("named_secrets", Holds::Configuration),
    ("node_credentials", Holds::Identity),
    ("node_hours", Holds::Books),
    ("node_join_tokens", Holds::Identity),
    ("node_records", Holds::Books),
    ("node_work", Holds::Books),
    ("nodes", Holds::Configuration),
    ("people", Holds::Identity),
    ("policies", Holds::Configuration),
    ("projects", Holds::Configuration),
    ("purge_jobs", Holds::Evidence),
    ("purge_receipts", Holds::Evidence),
    ("reconciliations", Holds::Books),
    ("record_batches", Holds::Books),
    ("records", Holds::Books),
    ("replay_gates", Holds::Configuration),
    // Ids, shapes, times and money: a run sends content, and stores none.
    ("replay_runs", Holds::Books),
    ("replay_traces", Holds::Books),
    ("replica_lives", Holds::Machinery),
    ("replicas", Holds::Machinery),
    ("request_contents", Holds::Content(Place::RequestContents)),
    ("retention_profiles", Holds::Configuration),
    ("rolled_days", Holds::Machinery),
    ("route_versions", Holds::Configuration),
    ("routes", Holds::Configuration),
    ("run_contents", Holds::Content(Place::Tasks)),
    // It names an app.
    ("run_tasks", Holds::Content(Place::Tasks)),
    // Names of what was judged, numbers and ids of requests.
    ("scores", Holds::Books),
    ("seal_floors", Holds::Machinery),
    ("session_branches", Holds::Content(Place::AgentState)),
    ("session_events", Holds::Content(Place::AgentState)),
    ("session_snapshots", Holds::Content(Place::AgentState)),
    // It goes with its session.
    ("session_sums", Holds::Books),
    ("sessions", Holds::Content(Place::AgentState)),
    ("sign_in_links", Holds::Identity),
    ("sign_in_tries", Holds::Identity),
    ("sign_ins", Holds::Identity),
    ("state_contents", Holds::Content(Place::AgentState)),
    ("stored_responses", Holds::Content(Place::ProviderResponses)),
    ("tariff_assignments", Holds::Configuration),
    ("tariffs", Holds::Configuration),
    // Names of tools, times and sizes.
    ("tool_calls", Holds::Books),
    ("tool_secrets", Holds::Configuration),
    ("tools", Holds::Configuration),
    ("usage_groups", Holds::Books),
    ("usage_minutes", Holds::Books),
    ("webhook_deliveries", Holds::Machinery),
    ("webhook_secrets", Holds::Configuration),
    ("webhooks", Holds::Configuration),
    ("workspace_keys", Holds::Machinery),
    ("workspaces", Holds::Configuration),
];

/// What no purge removes, with the reason, as each receipt states it.
pub const STATED: &[(&str, &str)] = &[
    (
        "records",
        "Meter records, usage and invoices stay: they are the books, and hold ids, model names, keyed hashes of end users' names, counts, money and times, no content.",
    ),
    ("journal", "The journal of a gateway holds what meter records hold, and no content."),
    ("audit", "The audit stays: it names acts and objects, and holds no content."),
    ("logs", "Logs, metrics and webhook events hold no content of requests."),
    (
        "node_files",
        "Adapters and training data on a node are deleted there, by their own routes; the journal of a node holds no content.",
    ),
    (
        "exports",
        "Lists, records and archives of data exports that were downloaded are in the hands of those who asked.",
    ),
    (
        "backups",
        "Backups made before this purge hold sealed copies. `tidegate restore --receipts` purges them again before a gateway can use them.",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use database::fields::Fields;
    use database::statement::sql;
    use store::Store;

    use super::*;
    use crate::fixture::founded;

    #[test]
    fn tables_are_in_order_and_places_of_the_database_have_one() {
        assert!(TABLES.is_sorted_by(|one, next| one.0 < next.0));
        let owned: BTreeSet<_> = TABLES
            .iter()
            .filter_map(|(_, holds)| if let Holds::Content(place) = holds { Some(*place) } else { None })
            .collect();
        for place in Place::ALL.into_iter().filter(|place| place.is_in_database()) {
            assert!(owned.contains(&place), "{place:?}");
        }
    }

    #[tokio::test]
    async fn every_table_has_an_owner() {
        let dir = tempfile::tempdir().unwrap();
        let store = founded(dir.path()).await;
        let found = tables(&store).await;
        let listed: BTreeSet<_> = TABLES.iter().map(|(table, _)| (*table).to_owned()).collect();
        let of_postgres = ["meter_records", "records", "replicas"];
        let expected: BTreeSet<_> =
            listed.into_iter().filter(|table| !of_postgres.contains(&table.as_str())).collect();
        assert_eq!(found, expected);
    }

    async fn tables(store: &Store) -> BTreeSet<String> {
        let mut connection = store.database().read().await.unwrap();
        let query = sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
             AND name <> '_sqlx_migrations'");
        let rows = query.rows(&mut connection).await.unwrap();
        rows.iter().map(|row| Fields::new("sqlite_master", row).text("name").unwrap()).collect()
    }
}
