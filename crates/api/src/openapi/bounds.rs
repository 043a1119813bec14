//! Patterns of names, emails and environments, defined once for the checks and for the OpenAPI document. Where
//! the two can't express the same rule the document is the stricter one: the checks trim spaces around a name
//! first.

/// At least one visible character, and no control characters.
pub const NAME: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";

pub const EMAIL: &str = r"^\s*[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+\s*$";

pub const ENVIRONMENT: &str = r"^[a-z0-9_-]+$";
