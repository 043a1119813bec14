//! The cases, by noun.

pub mod accounts;
pub mod api_keys;
pub mod audit;
pub mod budgets;
pub mod credentials;
pub mod devices;
pub mod feed;
pub mod invoices;
pub mod jobs;
pub mod kept_answers;
pub mod meta;
pub mod nodes;
pub mod people;
pub mod projects;
pub mod records;
pub mod rehearsal;
pub mod rotations;
pub mod routes;
pub mod sign_ins;
pub mod source;
pub mod tenants;
pub mod upkeep;
pub mod usage;
pub mod webhooks;
pub mod workspaces;
