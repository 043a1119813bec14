//! Bounds of flows: how large a document is, and how much an expression may do.

/// A document as it is sent.
pub const DOCUMENT_BYTES_MAX: usize = 4 * 1024 * 1024;
pub const STEPS_MAX: usize = 10_000;
/// Errors that are listed of one document.
pub(crate) const ERRORS_MAX: usize = 100;
/// The source of one expression.
pub const EXPRESSION_BYTES_MAX: usize = 4 * 1024;
pub(crate) const EXPRESSION_NODES_MAX: usize = 1_000;
/// Parts of an expression within each other, also those that a chain of operators makes.
pub(crate) const EXPRESSION_DEPTH_MAX: usize = 100;
/// Parentheses and the like within each other.
pub(crate) const EXPRESSION_NESTED_MAX: u16 = 32;
/// The work of one expression, or of all expressions of a template together: a unit for each part that is visited, and for each 64 bytes that are made or compared.
pub(crate) const EVALUATION_UNITS_MAX: u64 = 500_000;
/// A value that an expression or a step makes, as JSON.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// How deep a document's values are nested.
pub(crate) const TEMPLATE_DEPTH_MAX: usize = 32;
/// Items of one map.
pub const MAP_ITEMS_MAX: usize = 10_000;
/// Steps of one run that run at the same time.
pub const PARALLEL_MAX: u32 = 64;
/// Differences that are listed.
pub(crate) const DIFFERENCES_MAX: usize = 1_000;
