//! Upgrades: a database with rows of the previous version is migrated, and the previous version runs beside
//! the newer schema.

use domain::{MeterRecord, Outcome, WorkspaceId};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use store::{Page, RequestFilter, Store, UsageFilter, UsageQuery, Window};

use crate::cases::records::put_behind;
use crate::postgres::{joined, run_on, run_query};
use crate::samples::{record, settled};
use crate::{Fresh, run};

const KEPT: u64 = 300;
const WEEK_MS: u64 = 7 * 86_400_000;
/// The requested name, behind its length, the principal that answered, an id behind its kind and length, and a list of one
/// further dimension, the cache, by its number: the previous version does not distinguish groups by them.
const REQUESTED: usize = 1 + "gpt-4o".len() + 2 + 16 + 3 + "provider".len();

fn of(fresh: &Fresh, number: u64) -> MeterRecord {
    let like = record(fresh.founding.workspace.id, fresh.founding.project.id, number);
    if number % 100 == 7 { MeterRecord { status: 502, outcome: Outcome::Failed, ..like } } else { like }
}

/// Records as the previous version packs them.
fn body(records: &[MeterRecord]) -> Vec<u8> {
    let mut body = vec![1];
    for record in records {
        let frame = postcard::to_allocvec(record).unwrap();
        body.extend_from_slice(&u32::try_from(frame.len()).unwrap().to_le_bytes());
        body.extend_from_slice(&frame);
    }
    body
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The statement with which the previous version inserts a record.
fn insert(record: &MeterRecord) -> String {
    format!(
        "INSERT INTO records (trace, workspace, started_unix_ms, body) VALUES ('\\x{}', '\\x{}', {}, '\\x{}') \
         ON CONFLICT DO NOTHING;",
        hex(record.trace.as_bytes()),
        hex(record.workspace.as_bytes()),
        record.started_unix_ms,
        hex(&body(std::slice::from_ref(record)))
    )
}

async fn counted(store: &Store, workspace: WorkspaceId) -> (u64, u64) {
    let window = Window { start_unix_ms: 0, end_unix_ms: u64::MAX };
    let query =
        UsageQuery { workspace, window, group_by: vec![], interval: None, filter: UsageFilter::default() };
    let summed = store.records().usage(query).await.unwrap();
    (store.records().record_count().await.unwrap(), summed[0].sums.requests)
}

/// Everything is there, in order, whichever version wrote it.
async fn agrees(store: &Store, fresh: &Fresh, numbers: std::ops::Range<u64>) {
    let workspace = fresh.founding.workspace.id;
    let expected: Vec<_> = numbers.clone().map(|number| of(fresh, number)).collect();
    let mut page = Page::first(70);
    let mut found = Vec::new();
    loop {
        let listed = store.records().every_record(workspace, page.clone()).await.unwrap();
        found.extend(listed.rows);
        let Some(after) = listed.next else { break };
        page.after = Some(after);
    }
    assert!(found == expected, "{} of {}", found.len(), expected.len());
    for number in [numbers.start, numbers.end - 1] {
        let record = of(fresh, number);
        assert_eq!(store.records().request(workspace, record.trace).await.unwrap(), record);
    }
    for filter in [
        RequestFilter { status: Some(502), ..Default::default() },
        RequestFilter { status: Some(502), model: Some("gpt-4o".into()), ..Default::default() },
        RequestFilter { tag: Some("none".into()), ..Default::default() },
    ] {
        let expected: Vec<_> =
            expected.iter().rev().filter(|r| filter.tag.is_none() && r.status == 502).collect();
        let listed = store.records().requests(workspace, filter, Page::first(1_000)).await.unwrap().rows;
        assert!(listed.iter().map(|row| row.trace).eq(expected.iter().map(|record| record.trace)));
    }
    let all = numbers.end - numbers.start;
    assert_eq!(counted(store, workspace).await, (all, all));
}

#[test]
fn rows_of_the_version_before_stay_on_postgres() {
    run(async {
        let fresh = crate::postgres::fresh().await;
        let url = fresh.url.clone().unwrap();
        put_behind(&fresh, 0, 1, (0..KEPT).map(|number| of(&fresh, number)).collect()).await;
        fresh.store.close().await;
        let week = of(&fresh, 0).started_unix_ms / WEEK_MS;
        run_on(&url, &format!("SELECT make_record_partition({week})")).await;
        for some in (0..KEPT).collect::<Vec<_>>().chunks(50) {
            let rows: String = some.iter().map(|number| insert(&of(&fresh, *number))).collect();
            run_on(&url, &rows).await;
        }
        run_on(
            &url,
            &format!(
                "ALTER TABLE workspaces DROP COLUMN caching_managed, DROP COLUMN caching_byok, \
                 DROP COLUMN caching_responses, DROP COLUMN caching_responses_ttl_s, DROP COLUMN caching_generation, \
                 DROP COLUMN caching_is_semantic, DROP COLUMN caching_semantic_model, DROP COLUMN caching_semantic_bps_min, \
                 DROP COLUMN caching_keep_alive; \
                 ALTER TABLE projects DROP COLUMN caching_managed, DROP COLUMN caching_byok, \
                 DROP COLUMN caching_responses, DROP COLUMN caching_responses_ttl_s, DROP COLUMN caching_generation, \
                 DROP COLUMN caching_is_semantic, DROP COLUMN caching_semantic_model, DROP COLUMN caching_semantic_bps_min, \
                 DROP COLUMN caching_keep_alive; \
                 ALTER TABLE kept_answers DROP COLUMN is_cached; DROP TABLE route_versions, diagnostics; \
                 DROP TABLE capability_statements, capability_revisions; DROP TABLE purge_jobs, purge_receipts; DROP TABLE legal_hold_objects, legal_holds, data_export_parts, data_exports; \
                 ALTER TABLE budgets DROP COLUMN commitment; \
                 ALTER TABLE credentials DROP COLUMN server, DROP COLUMN compliance, DROP COLUMN subscription; ALTER TABLE nodes DROP COLUMN server, DROP COLUMN cordoned, DROP COLUMN cost; DROP TABLE node_hours, node_work; DROP TABLE end_user_days; \
                 DROP TABLE data_plane_evidence, data_plane_outbox, data_planes; DROP TABLE replay_traces, replay_runs, replay_gates, alert_rules; \
                 ALTER TABLE webhooks DROP COLUMN format, DROP COLUMN quiet_hours; \
                 ALTER TABLE api_keys DROP COLUMN access_secret_version, DROP COLUMN access_secret_key_id, \
                 DROP COLUMN access_secret_sealed, DROP COLUMN created_by, DROP COLUMN priority; \
                 ALTER TABLE accounts DROP COLUMN pricing, DROP COLUMN retention, DROP COLUMN commitment, \
                 DROP COLUMN compliance; \
                 DROP TABLE node_join_tokens, node_credentials, node_records; \
                 ALTER TABLE people DROP COLUMN address; ALTER TABLE credential_openings DROP COLUMN kind; \
                 DROP TABLE app_versions, apps, named_secrets; DROP TABLE flow_contents, flow_events, flow_steps, flow_runs, flow_versions, flows; \
                 DROP TABLE agent_versions, agents; DROP TABLE tool_calls, tool_secrets, tools, mcp_grants, mcp_sign_ins, mcp_servers; DROP TABLE session_sums, session_snapshots, session_events, session_branches, sessions, bundles, artifacts, state_contents; \
                 DROP TABLE policies; DROP TABLE agent_hints; DROP TABLE aliases, alias_releases; DROP TABLE kept_objects; DROP TABLE stored_responses; \
                 DROP TABLE reconciliations; DROP TABLE audit_sent; DROP TABLE scores; DROP TABLE retention_profiles, request_contents, batch_costs; \
                 DROP TABLE batch_contents, batch_items, batches; DROP TABLE run_contents, run_tasks; DROP TABLE file_pieces, files; \
                 DROP TABLE kept_turn_calls, kept_turns; DROP TABLE sign_in_tries; \
                 DROP TABLE meter_records, rolled_days; DROP FUNCTION make_meter_partition, drop_record_week; \
                 DROP TRIGGER hour_changed ON usage_minutes; DROP FUNCTION forget_rolled_day; \
                 DROP INDEX usage_hours_by_group; ALTER TABLE usage_groups DROP COLUMN template; \
                 UPDATE usage_groups SET dimensions = substring(dimensions FOR octet_length(dimensions) - {REQUESTED}); \
                 DELETE FROM _sqlx_migrations WHERE version >= 7"
            ),
        )
        .await;
        let store = joined(&fresh, 5).await;
        agrees(&store, &fresh, 0..KEPT).await;
        // Duplicates are recognised, whichever version stored them.
        let upto = ledger::JournalPosition { epoch: 9, segment: 1, offset: 1 };
        for numbers in [KEPT - 150..KEPT + 100, KEPT - 20..KEPT + 120] {
            let records = settled(numbers.map(|number| of(&fresh, number)));
            let batch = ledger::DrainBatch { core: 0, upto, records };
            store.record_sink().apply(batch).await.unwrap();
        }
        agrees(&store, &fresh, 0..KEPT + 120).await;
        beside_the_version_before(&store, &fresh, &url).await;
    });
}

/// A replica of the previous version keeps working meanwhile.
async fn beside_the_version_before(store: &Store, fresh: &Fresh, url: &str) {
    let workspace = fresh.founding.workspace.id;
    let late = of(fresh, KEPT + 120);
    run_on(url, &insert(&late)).await;
    assert_eq!(store.records().request(workspace, late.trace).await.unwrap(), late);
    let listed =
        store.records().requests(workspace, RequestFilter::default(), Page::first(2)).await.unwrap().rows;
    assert_eq!(listed[0].trace, late.trace);
    let read = "SELECT COUNT(*) FROM records WHERE started_unix_ms > 0";
    assert_eq!(run_query(url, read).await, (KEPT + 1).to_string(), "its own rows are as it left them");
    // Its groups have no template, and its hours no summed day.
    let groups = "SELECT COUNT(*) FROM (SELECT id, workspace, dimensions FROM usage_groups) AS known";
    assert_ne!(run_query(url, groups).await, "0");
    let day = late.started_unix_ms / 86_400_000;
    assert_eq!(store.upkeep().sum_days(0, (day + 2) * 86_400_000).await.unwrap(), 1);
    let before = counted(store, workspace).await;
    let write = "UPDATE usage_minutes SET tally = tally WHERE span_minutes = 60";
    run_on(url, write).await;
    assert_eq!(run_query(url, "SELECT COUNT(*) FROM rolled_days").await, "0", "its hours sum the day anew");
    assert_eq!(counted(store, workspace).await, before);
    let forgotten = store.upkeep().forget_records(late.started_unix_ms + 2 * WEEK_MS).await.unwrap();
    assert_eq!((forgotten.weeks, counted(store, workspace).await.0), (2, 0), "of either version");
}

/// Statements that revert a database from the newest schema to the sixth.
const UNDONE: &[&str] = &[
    "ALTER TABLE kept_answers DROP COLUMN is_cached",
    "ALTER TABLE workspaces DROP COLUMN caching_keep_alive",
    "ALTER TABLE projects DROP COLUMN caching_keep_alive",
    "ALTER TABLE workspaces DROP COLUMN caching_is_semantic",
    "ALTER TABLE workspaces DROP COLUMN caching_semantic_model",
    "ALTER TABLE workspaces DROP COLUMN caching_semantic_bps_min",
    "ALTER TABLE projects DROP COLUMN caching_is_semantic",
    "ALTER TABLE projects DROP COLUMN caching_semantic_model",
    "ALTER TABLE projects DROP COLUMN caching_semantic_bps_min",
    "ALTER TABLE workspaces DROP COLUMN caching_responses",
    "ALTER TABLE workspaces DROP COLUMN caching_responses_ttl_s",
    "ALTER TABLE workspaces DROP COLUMN caching_generation",
    "ALTER TABLE projects DROP COLUMN caching_responses",
    "ALTER TABLE projects DROP COLUMN caching_responses_ttl_s",
    "ALTER TABLE projects DROP COLUMN caching_generation",
    "ALTER TABLE credentials DROP COLUMN subscription",
    "ALTER TABLE budgets DROP COLUMN commitment",
    "DROP TABLE route_versions",
    "DROP TABLE diagnostics",
    "DROP TABLE capability_statements; DROP TABLE capability_revisions",
    "DROP TABLE purge_receipts; DROP TABLE purge_jobs",
    "DROP TABLE legal_hold_objects; DROP TABLE legal_holds",
    "DROP TABLE data_export_parts; DROP TABLE data_exports",
    "DROP INDEX people_by_address; ALTER TABLE people DROP COLUMN address",
    "ALTER TABLE api_keys DROP COLUMN access_secret_version; ALTER TABLE api_keys DROP COLUMN access_secret_key_id",
    "ALTER TABLE api_keys DROP COLUMN access_secret_sealed; ALTER TABLE api_keys DROP COLUMN created_by; ALTER TABLE api_keys DROP COLUMN priority",
    "ALTER TABLE credentials DROP COLUMN compliance",
    "ALTER TABLE accounts DROP COLUMN pricing",
    "ALTER TABLE accounts DROP COLUMN retention",
    "ALTER TABLE accounts DROP COLUMN commitment",
    "ALTER TABLE accounts DROP COLUMN compliance",
    "ALTER TABLE credentials DROP COLUMN server",
    "ALTER TABLE nodes DROP COLUMN server; ALTER TABLE nodes DROP COLUMN cordoned; ALTER TABLE nodes DROP COLUMN cost",
    "DROP TABLE node_hours; DROP TABLE node_work; DROP TABLE end_user_days",
    "DROP TABLE data_plane_evidence; DROP TABLE data_plane_outbox; DROP TABLE data_planes",
    "DROP TABLE replay_traces; DROP TABLE replay_runs; DROP TABLE replay_gates",
    "DROP TABLE alert_rules; ALTER TABLE webhooks DROP COLUMN format; ALTER TABLE webhooks DROP COLUMN quiet_hours",
    "DROP TRIGGER hour_made",
    "DROP TRIGGER hour_changed",
    "ALTER TABLE workspaces DROP COLUMN caching_managed",
    "ALTER TABLE workspaces DROP COLUMN caching_byok",
    "ALTER TABLE projects DROP COLUMN caching_managed",
    "ALTER TABLE projects DROP COLUMN caching_byok",
    "DROP TABLE node_join_tokens; DROP TABLE node_credentials; DROP TABLE node_records",
    "DROP TABLE app_versions; DROP TABLE apps; DROP TABLE named_secrets",
    "DROP TABLE agent_versions; DROP TABLE agents",
    "DROP TABLE flow_contents; DROP TABLE flow_events; DROP TABLE flow_steps; DROP TABLE flow_runs; DROP TABLE flow_versions; DROP TABLE flows",
    "DROP TABLE tool_calls; DROP TABLE tool_secrets; DROP TABLE tools; DROP TABLE mcp_grants; DROP TABLE mcp_sign_ins; DROP TABLE mcp_servers",
    "DROP TABLE session_sums; DROP TABLE session_snapshots; DROP TABLE session_events; DROP TABLE session_branches; DROP TABLE sessions",
    "DROP TABLE bundles; DROP TABLE artifacts; DROP TABLE state_contents",
    "DROP TABLE policies",
    "DROP TABLE agent_hints",
    "DROP TABLE reconciliations",
    "DROP TABLE audit_sent",
    "DROP TABLE scores",
    "ALTER TABLE credential_openings DROP COLUMN kind",
    "DROP TABLE retention_profiles; DROP TABLE request_contents",
    "DROP TABLE batch_costs",
    "DROP TABLE file_pieces; DROP TABLE files",
    "DROP TABLE batch_contents; DROP TABLE batch_items; DROP TABLE batches",
    "DROP TABLE run_contents; DROP TABLE run_tasks",
    "DROP TABLE alias_releases; DROP TABLE aliases",
    "DROP TABLE kept_objects",
    "DROP TABLE stored_responses",
    "DROP TABLE kept_turn_calls",
    "DROP TABLE kept_turns",
    "DROP TABLE sign_in_tries",
    "DROP TABLE rolled_days",
    "DROP INDEX usage_hours_by_group",
    "ALTER TABLE usage_groups DROP COLUMN template",
    "DELETE FROM _sqlx_migrations WHERE version >= 7",
];

#[test]
fn rows_of_the_version_before_stay_on_sqlite() {
    run(async {
        let mut fresh = crate::sqlite::fresh().await;
        put_behind(&fresh, 0, 1, (0..KEPT).map(|number| of(&fresh, number)).collect()).await;
        fresh.store.close().await;
        let path = fresh.dir.path().join("t.db");
        let mut raw = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
        sqlx::query("DELETE FROM record_batches").execute(&mut raw).await.unwrap();
        for some in (0..KEPT).map(|number| of(&fresh, number)).collect::<Vec<_>>().chunks(40) {
            let (first, last) = (&some[0], &some[some.len() - 1]);
            let query = sqlx::query(
                "INSERT INTO record_batches (first_trace, last_trace, first_started_unix_ms, last_started_unix_ms, \
                 records, level, workspaces, traces, body) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8)",
            );
            let traces: Vec<u8> = some.iter().flat_map(|record| *record.trace.as_bytes()).collect();
            query
                .bind(first.trace.as_bytes().to_vec())
                .bind(last.trace.as_bytes().to_vec())
                .bind(first.started_unix_ms.cast_signed())
                .bind(last.started_unix_ms.cast_signed())
                .bind(some.len() as i64)
                .bind(first.workspace.as_bytes().to_vec())
                .bind(traces)
                .bind(body(some))
                .execute(&mut raw)
                .await
                .unwrap();
        }
        for undone in UNDONE {
            sqlx::query(*undone).execute(&mut raw).await.unwrap();
        }
        let query = sqlx::query(
            "UPDATE usage_groups SET dimensions = substr(dimensions, 1, length(dimensions) - ?1)",
        );
        query.bind(REQUESTED as i64).execute(&mut raw).await.unwrap();
        raw.close().await.unwrap();
        fresh.store = Store::open(&path).await.unwrap();
        agrees(&fresh.store, &fresh, 0..KEPT).await;
        // The old small rows are merged with new ones.
        for number in KEPT..KEPT + 40 {
            put_behind(&fresh, 0, number, vec![of(&fresh, number)]).await;
        }
        agrees(&fresh.store, &fresh, 0..KEPT + 40).await;
    });
}
