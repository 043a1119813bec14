//! The form between dialects: what later stages know of a request, the events of an answer read and written,
//! and what is lost where one dialect can't express what another does.

#![expect(
    clippy::result_large_err,
    reason = "a fault ends a stream, so its size is paid once and not per chunk"
)]

pub mod address;
pub mod answer;
pub mod batch;
pub mod batch_counts;
pub mod blocks;
pub mod calls;
pub mod claude_fields;
pub mod claude_schema;
pub mod constraints;
pub mod divide;
pub mod embed;
pub mod face;
pub mod fault_text;
pub mod features;
pub mod fields;
pub mod files;
pub mod form;
pub mod item_order;
pub mod limits;
pub mod losses;
pub mod models;
pub mod object;
pub mod objects;
mod one_text;
pub mod openai_error;
pub mod openai_fields;
pub mod own_batch;
pub mod prompt_text;
pub mod repeat;
pub mod request;
pub mod routes;
pub mod screening;
pub mod shared_fields;
pub mod status;
pub mod stored;
pub mod target;
pub mod thinking;
pub mod traits;
pub mod turns;
pub mod upstream_error;
pub mod video;
