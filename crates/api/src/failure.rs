//! Faults of a request: its fields, its parameters, and what it names.

use std::borrow::Cow;

use domain::{Fault, FaultClass};

/// A 400 for one field.
#[must_use]
pub fn invalid(field: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) -> Box<Fault> {
    Box::new(
        Fault::new(FaultClass::BadRequest, "invalid_value", message.into())
            .param(field.into())
            .fix(fix.into()),
    )
}

/// A 400 for a missing field.
#[must_use]
pub fn missing(field: impl Into<Cow<'static, str>>, fix: impl Into<Cow<'static, str>>) -> Box<Fault> {
    let field = field.into();
    Box::new(
        Fault::new(FaultClass::BadRequest, "missing_field", format!("{field} is missing."))
            .param(field)
            .fix(fix),
    )
}

/// The 404 for an object, the same whether it never existed or belongs to another workspace.
#[must_use]
pub fn not_found(what: &str, id: &str) -> Box<Fault> {
    Box::new(
        Fault::new(FaultClass::NotFound, "not_found", format!("There is no {what} {id} in this workspace."))
            .fix(naming::how_to_list(what).unwrap_or_else(|| {
                "Check the id. A GET on the path without it lists what there is.".to_owned()
            })),
    )
}

/// The 500 for stored content that its key does not open.
#[must_use]
pub fn content_unreadable() -> Box<Fault> {
    let message = "The stored content can't be opened: it was changed, or its key is not here.";
    let fault = Fault::new(FaultClass::Internal, "content_unreadable", message);
    Box::new(fault.fix("Restore the database, or the master key that it was written with."))
}

/// The 400 for a query parameter that the route doesn't know.
#[must_use]
pub fn unknown_parameter(unknown: &str, known: &[&str]) -> Box<Fault> {
    let truncated: String = unknown.chars().take(100).collect();
    let fix = if known.is_empty() {
        "It takes none.".to_owned()
    } else {
        format!("It takes: {}.", known.join(", "))
    };
    let message = format!("{truncated} isn't a parameter of this path.");
    Box::new(Fault::new(FaultClass::BadRequest, "unknown_parameter", message).param(truncated).fix(fix))
}
