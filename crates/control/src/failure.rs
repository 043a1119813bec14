//! Faults of a request's fields.

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
