//! The dialects from outside: requests, streams and errors as clients and upstreams see them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a helper that fails should fail its test"
)]
#![expect(clippy::result_large_err, reason = "a fault ends a test as it ends a stream")]

mod anthropic;
mod as_chat;
mod batch;
#[path = "../shared/cases.rs"]
mod cases;
mod compatible;
mod count;
mod divide;
mod embed;
mod encode;
mod errors;
mod files;
mod golden;
#[path = "../shared/golden_exchanges.rs"]
mod golden_exchanges;
mod history;
mod last_text;
mod media;
mod prefix;
mod rate_limit_headers;
mod realtime;
mod registry;
mod repeatable;
mod request;
mod salt;
mod shared_account;
mod stored_objects;
mod stream;
mod transcript;
mod translated;
