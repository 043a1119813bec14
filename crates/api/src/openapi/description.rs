//! What a route says of itself: a one-sentence summary, its parameters, its body and its responses.

use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// Writes a type's schema with the given generator.
pub type Shape = fn(&mut SchemaGenerator) -> Schema;

/// A body that must be empty, or an object without fields.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

#[derive(Clone, Copy, Default)]
pub enum Body {
    #[default]
    Absent,
    Whole(Shape),
    /// A merge patch (RFC 7396) of this shape: null takes a field away.
    Patch(Shape),
}

/// A successful response.
#[derive(Clone, Copy)]
pub struct SuccessResponse {
    pub status: StatusCode,
    pub shape: Option<Shape>,
    /// Whether it is a single object with an ETag.
    pub is_object: bool,
}

#[derive(Clone, Default)]
pub struct Description {
    pub summary: &'static str,
    /// Query parameters and their meaning; the router refuses all others.
    pub query: Vec<(&'static str, &'static str)>,
    /// The allowed values of query parameters that take one of a few words.
    pub allowed_values: Vec<(&'static str, &'static [&'static str])>,
    pub body: Body,
    pub responses: Vec<SuccessResponse>,
    /// Whether the body is content (training data), which is larger than any configuration.
    pub takes_content: bool,
    /// Why its writes can't be rehearsed.
    pub no_rehearsal: Option<&'static str>,
    /// Whether the object's lines can also be fetched as CSV, under a path with `.csv`.
    pub has_csv: bool,
    /// Whether it answers bytes of an archive.
    pub gives_archive: bool,
    /// Whether it answers server-sent events.
    pub gives_events: bool,
    /// Refusals besides those of every route of its kind: status and code.
    pub refusals: Vec<(u16, &'static str)>,
}
