//! Tests of the grammar's two halves against each other, and of what it makes of prompts and answers of other grammars.

mod answers;
pub(crate) mod any;
mod prompts;
mod requests;
mod round_trips;
