//! The domain's types and rules from outside.

#![expect(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod agreement;
mod alias;
mod allowance;
mod api_key;
mod app;
mod audit;
mod auth;
mod batch;
mod caching;
mod calendar;
mod conditions;
mod fault_page;
mod forecast;
mod hash;
mod hints;
mod hosting;
mod ids;
mod kept_names;
mod master_key;
mod money;
mod operation;
mod pattern;
mod policy;
mod profile;
mod purge;
mod record;
mod retention;
mod reuse;
mod role;
mod secret;
mod server;
mod stored_object;
mod subscription;
mod task;
mod tier;
mod tools;
mod usage;
