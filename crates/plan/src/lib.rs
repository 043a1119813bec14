//! The Execution Broker: which providers, credentials, accounts or nodes serve a call, in
//! which order, and why not others.
//!
//! Pure: time and randomness are arguments. Serving a call and explaining it in
//! `/v2/plan` use the same function.

mod aliases;
mod attempt;
mod batches;
mod broker;
mod candidates;
mod capabilities;
mod choice;
mod explain;
mod fallbacks;
mod faults;
mod limits;
mod listed;
mod order;
mod placing;
mod planned;
mod prompt_view;
mod question;
mod reason;
mod replay;
mod request_policy;
mod resolve;
mod routing;
mod served;
mod spent;
mod strategies;
mod uploads;

pub use aliases::{SplitBy, split_key};
pub use attempt::{Attempt, Seat};
pub use batches::{has_no_credential, is_left_to_us};
pub use candidates::{REGION_LABEL, rates_of_made};
pub use choice::release_of;
pub use explain::{
    ExplainedAttempt, ExplainedFallback, Explanation, OtherCandidate, WinningRoute, explain, explain_call,
};
pub use fallbacks::{PlannedFallback, left_on, next_model, rejected_model};
pub use faults::all_limited;
pub use limits::NODE_FULL_US;
pub use placing::{Placement, hash_of as node_hash};
pub use planned::{
    PlanFailed, Planned, PlannedParts, Timeouts, left_node, nodes_left_on, placed, plan, rejected_as_spent,
};
pub use prompt_view::PromptView;
pub use question::{PlanQuery, RequestNeeds, RequestSize};
pub use reason::Refusal;
pub use replay::{NotReplayed, ReplayWorld, Replayed, StoredRequest};
pub use served::{ModelFacts, ServedModel, modality_of, named_model, served_models};
pub use spent::CommitmentBoard;
