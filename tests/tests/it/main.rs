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

mod agreements;
mod alias_parameters;
mod aliases;
mod ask;
mod audio;
mod audit;
mod authorisation;
mod azure;
mod background;
mod backups;
mod bad_input;
mod batches;
mod bedrock;
mod books;
mod browser;
mod budgets;
mod byok;
mod cache_keep_alive;
mod cached_contents;
mod caching;
mod canary;
mod capabilities;
mod capability_inputs;
mod checks;
mod cli;
mod command;
mod commands;
mod commitments;
mod compatible;
mod console;
mod content_batches;
mod contents;
mod context_caches;
mod context_care;
mod contract;
mod converse;
mod crowds;
mod data_exports;
mod data_path;
mod declared;
mod devices;
mod diagnostics;
mod dry_runs;
mod edges;
mod embeddings;
mod environments;
mod estimates;
mod exports;
mod fal;
mod fal_films;
mod fal_sounds;
mod fault_matrix;
mod faults;
mod files;
mod filters;
mod findings;
mod first_request;
mod fleet;
mod forms;
mod full_disk;
mod gateway;
mod hints;
mod hooks;
mod hot_path;
mod idempotency;
mod imagen;
mod injection;
mod invoices;
mod isolation;
mod joining;
mod kept_responses;
mod keys;
mod kill;
mod legal_holds;
mod local_adapters;
mod local_bad_models;
mod local_node;
mod local_training;
mod local_vectors;
mod managed;
mod mantle;
mod matrix;
mod media;
mod message_batches;
mod mistral;
mod model_fallbacks;
mod models;
mod moving;
mod named_files;
mod names;
mod native_responses;
mod neighbours;
mod own_batches;
mod own_file_batches;
mod own_key;
mod people;
mod person;
mod pictures;
mod plans;
mod played_runtime;
mod policies;
mod pooled;
mod pooled_batches;
mod pull;
mod purge;
mod purge_kills;
mod purge_places;
mod realtime;
mod reasons;
mod reconciled_month;
mod reconciliation;
mod replicas;
mod resilience;
mod response_cache;
mod rotation;
mod routing;
mod run;
mod runtimes;
mod scale;
mod scores;
mod sdk;
mod semantic_cache;
mod sessions;
mod smuggling;
mod state_figures;
mod stored;
mod stored_batches;
mod strategies;
mod streams;
mod subscriptions;
mod three_modes;
mod tiers;
mod together;
mod upgrade;
mod vault;
mod veo;
mod vertex;
mod videos;
mod wait;
mod webhooks;
mod websocket;
mod writes;

use std::time::Duration;

/// Far longer than anything here takes; reaching it is a failure.
const WITHIN: Duration = Duration::from_secs(20);
