//! Faults of a request: its fields, its parameters, and what it names.

use std::borrow::Cow;

use domain::{Fault, FaultClass};
use reconcilers::of_store;
use store::StoreError;

/// A 400 for one field.
pub fn invalid(field: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) -> Box<Fault> {
    Box::new(
        Fault::new(FaultClass::BadRequest, "invalid_value", message.into())
            .param(field.into())
            .fix(fix.into()),
    )
}

/// A 400 for a missing field.
pub fn missing(field: impl Into<Cow<'static, str>>, fix: impl Into<Cow<'static, str>>) -> Box<Fault> {
    let field = field.into();
    Box::new(
        Fault::new(FaultClass::BadRequest, "missing_field", format!("{field} is missing."))
            .param(field)
            .fix(fix),
    )
}

/// The 404 for an object, the same whether it never existed or belongs to another workspace.
pub fn not_found(what: &str, id: &str) -> Box<Fault> {
    let place = if what == "workspace" { "that you may use" } else { "in this workspace" };
    Box::new(
        Fault::new(FaultClass::NotFound, "not_found", format!("There is no {what} {id} {place}."))
            .fix(how_to_find(what)),
    )
}

/// The 404 of `not_found` for an object that the store doesn't have, and every other failure of the store as it is.
pub fn not_there(error: StoreError, what: &str, id: &impl ToString) -> Box<Fault> {
    match error {
        StoreError::NotFound { what: missing } if missing == what => not_found(what, &id.to_string()),
        other => of_store(other),
    }
}

/// A 400 for a field that takes the id of one kind, and has something else.
pub fn not_an_id(field: &'static str, what: &str, text: &str) -> Box<Fault> {
    let excerpt: String = text.chars().take(64).collect();
    invalid(field, format!("\"{excerpt}\" isn't the id of {}.", with_article(what)), how_to_find(what))
}

fn with_article(what: &str) -> String {
    let begins_with_vowel = what.starts_with(['a', 'e', 'i', 'o', 'A', 'E', 'I', 'O']);
    format!("{} {what}", if begins_with_vowel { "an" } else { "a" })
}

fn how_to_find(what: &str) -> String {
    naming::how_to_list(what)
        .unwrap_or_else(|| "Check the id. A GET on the path without it lists what there is.".to_owned())
}

/// The 500 for stored content that its key does not open.
pub fn content_unreadable() -> Box<Fault> {
    let message = "The stored content can't be opened: it was changed, or its key is not here.";
    let fault = Fault::new(FaultClass::Internal, "content_unreadable", message);
    Box::new(fault.fix("Restore the database, or the master key that it was written with."))
}

/// The 400 for a query parameter that the route doesn't know.
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
