//! Flows from outside: documents, expressions, and what can run next.

#![expect(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod diff;
mod document;
mod expression;
mod functions;
mod schedule;
mod template;
mod validation;
