//! End-to-end tests of the built program: over sockets, with the strict emulator upstream and the official
//! SDKs in front.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "a helper that fails should fail its test, and JSON reads best by value and index"
)]
// Helpers of tests that only a tier has (tests/tiers.toml); with all of them, what nobody uses is found.
#![cfg_attr(
    not(all(
        feature = "broker",
        feature = "console",
        feature = "control",
        feature = "documents",
        feature = "engine",
        feature = "figures",
        feature = "fleet",
        feature = "flows",
        feature = "privacy",
        feature = "sdk",
        feature = "vendors"
    )),
    allow(dead_code, unused_imports, unused_macros)
)]

#[cfg(feature = "sdk")]
mod a2a;
mod agents;
mod agreements;
mod alerts;
mod alias_parameters;
mod aliases;
mod apps;
mod ask;
#[cfg(feature = "vendors")]
mod audio;
mod audit;
mod authorisation;
#[cfg(feature = "vendors")]
mod azure;
mod background;
#[cfg(feature = "privacy")]
mod backups;
mod bad_input;
mod batches;
#[cfg(feature = "vendors")]
mod bedrock;
mod books;
mod browser;
mod budgets;
mod byok;
mod cache_keep_alive;
#[cfg(feature = "vendors")]
mod cached_contents;
mod caching;
mod canary;
#[cfg(feature = "vendors")]
mod capabilities;
#[cfg(feature = "vendors")]
mod capability_inputs;
mod checks;
mod cli;
mod clock;
mod command;
mod commands;
mod commitments;
#[cfg(feature = "vendors")]
mod compatible;
#[cfg(feature = "sdk")]
mod connect;
mod console;
#[cfg(feature = "vendors")]
mod content_batches;
mod contents;
#[cfg(feature = "vendors")]
mod context_caches;
mod context_care;
mod contract;
#[cfg(feature = "sdk")]
mod converse;
mod crowds;
mod damaged_journals;
#[cfg(feature = "privacy")]
mod data_exports;
mod data_path;
mod data_planes;
#[cfg(feature = "fleet")]
mod data_planes_attacked;
#[cfg(feature = "fleet")]
mod data_planes_away;
#[cfg(feature = "fleet")]
mod data_planes_killed;
#[cfg(feature = "fleet")]
mod data_planes_shared;
mod declared;
mod devices;
mod diagnostics;
mod dry_runs;
mod edges;
mod embeddings;
mod end_users;
#[cfg(feature = "flows")]
mod endless_schemas;
#[cfg(feature = "fleet")]
mod endpoint_picker;
mod environments;
mod estimates;
mod exports;
#[cfg(feature = "vendors")]
mod fal;
#[cfg(feature = "vendors")]
mod fal_films;
#[cfg(feature = "vendors")]
mod fal_sounds;
#[cfg(feature = "broker")]
mod fault_matrix;
#[cfg(feature = "sdk")]
mod faults;
mod files;
mod filters;
mod findings;
mod first_request;
mod fleet;
#[cfg(feature = "flows")]
mod flow_engines;
#[cfg(feature = "flows")]
mod flows;
mod followed;
mod forms;
mod founding;
mod full_disk;
mod gated_moves;
mod gateway;
mod hardware_costs;
#[cfg(feature = "figures")]
mod heartbeats;
#[cfg(feature = "documents")]
mod help_examples;
mod hints;
mod hooks;
#[cfg(feature = "figures")]
mod hot_path;
#[cfg(feature = "documents")]
mod how_tos;
mod idempotency;
#[cfg(feature = "vendors")]
mod imagen;
#[cfg(feature = "sdk")]
mod inferencesh;
mod injection;
mod invoices;
mod isolation;
#[cfg(feature = "fleet")]
mod joining;
mod kept_responses;
mod kept_tasks;
mod keys;
mod kill;
mod leaving_nodes;
#[cfg(feature = "privacy")]
mod legal_holds;
#[cfg(feature = "engine")]
mod local_adapters;
#[cfg(feature = "engine")]
mod local_bad_models;
#[cfg(feature = "engine")]
mod local_node;
#[cfg(feature = "engine")]
mod local_training;
#[cfg(feature = "engine")]
mod local_vectors;
mod mailing;
mod managed;
#[cfg(feature = "vendors")]
mod mantle;
#[cfg(feature = "sdk")]
mod matrix;
#[cfg(feature = "sdk")]
mod mcp;
mod mcp_authorization;
#[cfg(feature = "vendors")]
mod media;
#[cfg(feature = "vendors")]
mod message_batches;
#[cfg(feature = "vendors")]
mod mistral;
mod model_fallbacks;
mod models;
mod moving;
mod named;
mod named_files;
mod names;
mod native_responses;
mod neighbours;
mod oauth;
mod older;
mod own_apps;
mod own_batches;
#[cfg(feature = "vendors")]
mod own_file_batches;
mod own_key;
mod pages;
#[cfg(feature = "fleet")]
mod peers;
#[cfg(feature = "fleet")]
mod peers_apart;
#[cfg(feature = "fleet")]
mod peers_relayed;
#[cfg(feature = "fleet")]
mod peers_same;
mod people;
mod person;
#[cfg(feature = "vendors")]
mod pictures;
mod placement;
mod plans;
mod played_runtime;
mod policies;
mod pooled;
#[cfg(feature = "vendors")]
mod pooled_batches;
#[cfg(feature = "engine")]
mod prefix_cache;
mod program;
#[cfg(feature = "engine")]
mod pull;
mod purge;
#[cfg(feature = "privacy")]
mod purge_kills;
#[cfg(feature = "privacy")]
mod purge_places;
#[cfg(feature = "engine")]
mod queue_waits;
#[cfg(feature = "vendors")]
mod realtime;
mod reasons;
#[cfg(feature = "figures")]
mod reconciled_month;
mod reconciliation;
mod recount;
mod replays;
mod replicas;
mod resilience;
mod response_cache;
#[cfg(feature = "privacy")]
mod rotation;
mod routing;
mod run;
#[cfg(feature = "engine")]
mod runtimes;
#[cfg(feature = "figures")]
mod scale;
mod scores;
mod sdk;
#[cfg(feature = "vendors")]
mod semantic_cache;
#[cfg(feature = "engine")]
mod servers_of_others;
mod session_history;
mod sessions;
#[cfg(feature = "privacy")]
mod shredding;
#[cfg(feature = "fleet")]
mod skewed_clocks;
mod smuggling;
#[cfg(feature = "figures")]
mod state_figures;
#[cfg(feature = "flows")]
mod stdio_servers;
#[cfg(feature = "engine")]
mod stimulir;
#[cfg(feature = "engine")]
mod stimulir_client;
mod stored;
#[cfg(feature = "vendors")]
mod stored_batches;
mod strategies;
mod streams;
mod subscriptions;
mod tables;
#[cfg(feature = "figures")]
mod task_figures;
mod tasks;
mod three_modes;
mod tiers;
#[cfg(feature = "vendors")]
mod together;
mod tools;
#[cfg(feature = "engine")]
mod topologies;
#[cfg(feature = "fleet")]
mod tunnel_attacks;
#[cfg(feature = "figures")]
mod tunnel_figures;
#[cfg(feature = "fleet")]
mod tunnel_gateways;
#[cfg(feature = "fleet")]
mod tunnels;
mod up;
mod upgrade;
mod uploads;
mod vault;
#[cfg(feature = "vendors")]
mod veo;
#[cfg(feature = "vendors")]
mod vertex;
#[cfg(feature = "vendors")]
mod videos;
mod wait;
mod warm_sessions;
mod webhooks;
mod websocket;
#[cfg(feature = "fleet")]
mod whole_fleet;
#[cfg(feature = "fleet")]
mod workers;
mod writes;
#[cfg(feature = "documents")]
mod wrong_inputs;

use std::time::Duration;

/// Far longer than anything here takes; reaching it is a failure.
const WITHIN: Duration = Duration::from_secs(20);
