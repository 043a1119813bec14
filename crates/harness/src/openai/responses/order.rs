//! Checks between items: references, calls and their outputs, reasoning and the item that must follow it.

use std::collections::HashSet;

use serde_json::Value;

use super::answer::reasoning_of;
use super::seal::Sealer;
use super::store::{Owner, Store};
use crate::openai::error::ApiError;
use crate::openai::flavour::Flavour;

/// Where referenced items are looked up.
pub(crate) struct Known<'a> {
    pub(crate) owner: Owner<'a>,
    pub(crate) flavour: Flavour,
    pub(crate) sealer: &'a Sealer,
    pub(crate) store: &'a Store,
}

/// The conversation with references resolved, or the first reason to reject it; `before` holds the earlier,
/// already accepted items.
pub(crate) fn check(before: Vec<Value>, input: &[Value], known: &Known<'_>) -> Result<Vec<Value>, ApiError> {
    let started = before.len();
    let mut all = before;
    for item in input {
        all.push(resolve(item, known)?);
    }
    unique(&all)?;
    calls(&all)?;
    let thoughts = thoughts(&all, known);
    let own = all.get(started..).unwrap_or_default();
    for (at, item) in own.iter().enumerate() {
        match kind(item) {
            "reasoning" => reasoning(item, own.get(at + 1), known)?,
            kind => follows(item, kind, &thoughts)?,
        }
    }
    Ok(all)
}

pub(crate) fn kind(item: &Value) -> &str {
    text(item, "type")
}

pub(crate) fn text<'a>(item: &'a Value, name: &str) -> &'a str {
    item.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn resolve(item: &Value, known: &Known<'_>) -> Result<Value, ApiError> {
    if kind(item) != "item_reference" {
        return Ok(item.clone());
    }
    let id = text(item, "id");
    known.store.item(known.owner, id).ok_or_else(|| not_kept(id))
}

fn not_kept(id: &str) -> ApiError {
    let message = format!(
        "Item with id '{id}' not found. Items are not persisted when `store` is set to false. Try again with `store` \
         set to true, or remove this item from your input."
    );
    ApiError::new(404, "invalid_request_error", message).param("input")
}

fn unique(items: &[Value]) -> Result<(), ApiError> {
    let mut seen = HashSet::new();
    let twice = items.iter().map(|item| text(item, "id")).find(|id| !id.is_empty() && !seen.insert(*id));
    match twice {
        None => Ok(()),
        Some(id) => Err(ApiError::bad(format!(
            "Duplicate item found with id {id}. Remove duplicate items from your input and try again."
        ))
        .param("input")),
    }
}

/// Each output needs a preceding call, and each call needs an output.
fn calls(items: &[Value]) -> Result<(), ApiError> {
    let mut open: Vec<(&str, &str)> = Vec::new();
    for item in items {
        let id = text(item, "call_id");
        match kind(item) {
            "function_call" => open.push((id, "function call")),
            "custom_tool_call" => open.push((id, "custom tool call")),
            "function_call_output" => close_call(&mut open, id, "function call")?,
            "custom_tool_call_output" => close_call(&mut open, id, "custom tool call")?,
            _ => {}
        }
    }
    match open.first() {
        None => Ok(()),
        Some((id, what)) => {
            Err(ApiError::bad(format!("No tool output found for {what} {id}.")).param("input"))
        }
    }
}

fn close_call(open: &mut Vec<(&str, &str)>, id: &str, what: &str) -> Result<(), ApiError> {
    match open.iter().position(|(call, kind)| *call == id && *kind == what) {
        Some(at) => {
            open.swap_remove(at);
            Ok(())
        }
        None => {
            Err(ApiError::bad(format!("No tool call found for {what} output with call_id {id}."))
                .param("input"))
        }
    }
}

/// Reasoning must be the vendor's own and unaltered, and the item that it led to must follow.
fn reasoning(item: &Value, next: Option<&Value>, known: &Known<'_>) -> Result<(), ApiError> {
    let id = text(item, "id");
    match item.get("encrypted_content").and_then(Value::as_str) {
        Some(sealed) => {
            let opened = known.sealer.open(known.flavour, sealed);
            if opened.is_none_or(|sealed| !id.is_empty() && sealed != id) {
                return Err(altered(sealed));
            }
        }
        None if known.store.item(known.owner, id).is_some() => {}
        None => return Err(not_kept(id)),
    }
    let led_to = |next: &Value| match kind(next) {
        "message" => text(next, "role") == "assistant",
        kind => !kind.ends_with("_output"),
    };
    if next.is_some_and(led_to) {
        return Ok(());
    }
    Err(ApiError::bad(format!(
        "Item '{id}' of type 'reasoning' was provided without its required following item."
    ))
    .param("input"))
}

fn altered(sealed: &str) -> ApiError {
    let head: String = sealed.chars().take(4).collect();
    let tail: String = sealed.chars().skip(sealed.chars().count().saturating_sub(4)).collect();
    ApiError::bad(format!(
        "The encrypted content {head}...{tail} could not be verified. Reason: Encrypted content could not be decrypted \
         or parsed."
    ))
    .code("invalid_encrypted_content")
}

/// The ids of all reasoning items, including those that a client identifies only by their encrypted content.
fn thoughts(items: &[Value], known: &Known<'_>) -> HashSet<String> {
    let of = |item: &Value| match item.get("encrypted_content").and_then(Value::as_str) {
        Some(sealed) => known.sealer.open(known.flavour, sealed),
        None => Some(text(item, "id").to_owned()),
    };
    items.iter().filter(|item| kind(item) == "reasoning").filter_map(of).collect()
}

/// An item that reasoning led to must not be sent back without it.
fn follows(item: &Value, kind: &str, thoughts: &HashSet<String>) -> Result<(), ApiError> {
    let id = text(item, "id");
    match reasoning_of(id).filter(|reasoning| !thoughts.contains(reasoning)) {
        None => Ok(()),
        Some(reasoning) => Err(ApiError::bad(format!(
            "Item '{id}' of type '{kind}' was provided without its required 'reasoning' item: '{reasoning}'."
        ))
        .param("input")),
    }
}
