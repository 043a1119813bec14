//! The migrations of both databases: each file runs once, in order, and is never edited afterwards.

/// A migration: its number, its name and its text.
pub(crate) type MigrationFile = (i64, &'static str, &'static str);

/// The migrations in one of the folders.
macro_rules! migration_files {
    ($folder:literal) => {
        $crate::schema::migration_files! {
            $folder,
            1 "spine" "0001_spine",
            2 "people" "0002_people",
            3 "budgets" "0003_budgets",
            4 "idempotency" "0004_idempotency",
            5 "jobs" "0005_jobs",
            6 "audit" "0006_audit",
            7 "records" "0007_records",
            8 "sign_in_tries" "0008_sign_in_tries",
            9 "grammars" "0009_grammars",
            10 "agreements" "0010_agreements",
            11 "kept_objects" "0011_kept_objects",
            12 "policies" "0012_policies",
            13 "access_keys" "0013_access_keys",
            14 "joined_nodes" "0014_joined_nodes",
            15 "join_tokens" "0015_join_tokens",
            16 "addresses_and_makers" "0016_addresses_and_makers",
            17 "aliases" "0017_aliases",
            18 "route_versions" "0018_route_versions",
            19 "commitments" "0019_commitments",
            20 "workspace_policies" "0020_workspace_policies",
            21 "subscriptions" "0021_subscriptions",
            22 "response_cache" "0022_response_cache",
            23 "agent_hints" "0023_agent_hints",
            24 "capabilities" "0024_capabilities",
            25 "key_priority" "0025_key_priority",
            26 "policy_hooks" "0026_policy_hooks",
            27 "semantic_cache" "0027_semantic_cache",
            28 "cache_keep_alive" "0028_cache_keep_alive",
            29 "sessions" "0029_sessions",
            30 "purges" "0030_purges",
            31 "diagnostics" "0031_diagnostics",
            32 "reconciliations" "0032_reconciliations",
            33 "audit_sent" "0033_audit_sent",
            34 "batches" "0034_batches",
            35 "legal_holds" "0035_legal_holds",
            36 "data_exports" "0036_data_exports",
            37 "scores" "0037_scores",
            38 "request_contents" "0038_request_contents",
            39 "batch_costs" "0039_batch_costs",
            40 "export_formats" "0040_export_formats",
            41 "opened_kinds" "0041_opened_kinds",
            42 "session_sums" "0042_session_sums",
            43 "run_tasks" "0043_run_tasks",
            44 "files" "0044_files",
            45 "tools" "0045_tools",
            46 "agents" "0046_agents",
            47 "flows" "0047_flows",
            48 "apps" "0048_apps",
            49 "mcp grants" "0049_mcp_grants",
            50 "flow engines" "0050_flow_engines",
            51 "warm sessions" "0051_warm_sessions",
            52 "app versions" "0052_app_versions",
            53 "node keys" "0053_node_keys",
            54 "cordoned nodes" "0054_cordoned_nodes",
            55 "left requests" "0055_left_requests",
            56 "hardware costs" "0056_hardware_costs",
            57 "node work" "0057_node_work",
            58 "data planes" "0058_data_planes",
            59 "replay runs" "0059_replay_runs",
            60 "data plane history" "0060_data_plane_history",
            61 "data plane deliveries" "0061_data_plane_deliveries",
            62 "long node records" "0062_long_node_records",
            63 "alert rules" "0063_alert_rules",
            64 "names" "0064_names",
            65 "fired alerts" "0065_fired_alerts",
            66 "end user days" "0066_end_user_days",
            67 "origins" "0067_origins",
        }
    };
    ($folder:literal, $($number:literal $name:literal $file:literal,)*) => {
        &[$(($number, $name, include_str!(concat!("../../migrations/", $folder, "/", $file, ".sql")))),*]
    };
}

pub(crate) use migration_files;
