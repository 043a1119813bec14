//! The form between dialects from outside.

mod batch_counts;
mod calls;
mod claude_schema;
mod constraints;
mod embed;
mod features;
mod losses;
mod models;
mod one_text;
mod prompt_text;
mod traits;
mod turns;
mod video;
