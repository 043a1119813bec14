//! Flows: documents of steps, checked and compiled; expressions that end; and which steps can run next, as a pure function of a
//! flow and what became of its steps.

mod diff;
mod document;
mod evaluation;
mod expression;
mod functions;
mod limits;
mod schedule;
mod template;
mod validation;

pub use diff::{Difference, diff};
pub use document::{
    Case, Document, LeafDocument, OnError, Retry, StepDocument, StepKind, Unreadable, WaitDocument, read,
    schema,
};
pub use evaluation::{EvaluationError, Names, evaluate};
pub use expression::Expression;
pub use limits::{
    DOCUMENT_BYTES_MAX, EXPRESSION_BYTES_MAX, MAP_ITEMS_MAX, PARALLEL_MAX, STEPS_MAX, VALUE_BYTES_MAX,
};
pub use schedule::{Outcome, Schedule, Work};
pub use schemas::{STORED_DEPTH_MAX, is_too_deep, value_or_text};
pub use template::Template;
pub use validation::{Action, Flow, FlowError, Leaf, Step, Wait, compile};
