//! The input of a handler: the caller, the path parameters, the query, the headers and the body.

use std::collections::BTreeMap;
use std::net::IpAddr;

use admit::Needs;
use bytes::Bytes;
use domain::limits::{PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX};
use domain::{Fault, FaultClass, ProjectId, TraceId, WorkspaceId};
use http::HeaderMap;
use serde::de::DeserializeOwned;
use store::Act;
use world::World;

use crate::body;
use crate::caller::Caller;
use crate::cursor::CursorSeal;
use crate::failure::not_found;
use crate::reply::{Page, merge_patch};

/// One request that passed its route's authorisation.
pub struct ApiRequest<C = Caller> {
    pub caller: C,
    pub trace: TraceId,
    pub peer: IpAddr,
    pub parameters: Vec<String>,
    pub query: BTreeMap<String, String>,
    /// A dry run: nothing that the request writes is stored, and no side effect happens.
    pub is_rehearsal: bool,
    /// The scope that its route requires of a key.
    pub needs: Needs,
    /// Seals the cursors of the requested list.
    pub cursor_seal: CursorSeal,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl ApiRequest {
    /// The workspace that this request's objects are looked up in.
    pub fn workspace(&self) -> WorkspaceId {
        self.caller.workspace()
    }

    /// Whether the caller runs this installation.
    pub fn is_operator(&self) -> bool {
        self.caller.is_operator()
    }

    /// The only project that this request may read or change; `None` if it may do so in all projects. A key that only calls models is confined to
    /// its own project. A key that also reads may read all projects, and still changes its own alone.
    pub fn confined_to(&self) -> Option<ProjectId> {
        let key = self.caller.key()?;
        if self.needs.reaches_all(key.scopes) {
            None
        } else {
            self.caller.project().map(|project| project.id)
        }
    }

    /// The project of a list: the one that is wanted, within what the caller may see.
    ///
    /// # Errors
    /// 404 for a project that the caller may not see.
    pub fn seen_project(&self, wanted: Option<ProjectId>) -> Result<Option<ProjectId>, Box<Fault>> {
        match (self.confined_to(), wanted) {
            (Some(own), Some(wanted)) if own != wanted => Err(not_found("project", &wanted.to_string())),
            (own, wanted) => Ok(own.or(wanted)),
        }
    }

    /// The audit's data about a change that this request makes.
    pub fn act(&self, world: &World) -> Act {
        Act::new(world, self.caller.actor(), Some(self.trace))
    }
}

impl<C> ApiRequest<C> {
    /// The page given by `limit` and `cursor`.
    pub fn page<Id: std::str::FromStr>(&self) -> Result<store::Page<Id>, Box<Fault>> {
        let limit = self.number("limit", PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)?;
        let after = match self.query.get("cursor") {
            None => None,
            Some(cursor) => Some(self.cursor_seal.read(cursor).ok_or_else(|| {
                Box::new(
                    Fault::new(
                        FaultClass::BadRequest,
                        "invalid_cursor",
                        "This cursor is not one of this list.",
                    )
                    .param("cursor")
                    .fix("Take next_cursor of the last page unchanged, or start without a cursor."),
                )
            })?),
        };
        Ok(store::Page { limit, after })
    }

    /// A page of rows in their public form, with the cursor of the next page.
    pub fn page_of<T, Row, Id: std::fmt::Display>(
        &self,
        listed: store::Listed<Row, Id>,
        show: impl Fn(&Row) -> T,
    ) -> Page<T> {
        let next_cursor = listed.next.map(|id| self.cursor_seal.write(&id.to_string()));
        Page { data: listed.rows.iter().map(show).collect(), has_more: next_cursor.is_some(), next_cursor }
    }

    /// The path's only parameter as an id of the given kind; a malformed one counts as not found.
    ///
    /// # Errors
    /// 404.
    pub fn id<T: std::str::FromStr>(&self, what: &str) -> Result<T, Box<Fault>> {
        let text = self.parameters.first().map_or("", String::as_str);
        text.parse().map_err(|_| not_found(what, text))
    }

    /// The nth parameter of the path with its escapes resolved: names have letters that a path can't have.
    pub fn named(&self, at: usize) -> String {
        let text = self.parameters.get(at).map_or("", String::as_str);
        percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
    }

    /// The body deserialised from JSON. Errors name the place of unknown fields and wrong types.
    ///
    /// # Errors
    /// 400 or 415.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Box<Fault>> {
        body::read(&self.body)
    }

    /// The object's writable form with the body's merge patch applied.
    pub fn apply_patch<T: DeserializeOwned>(&self, document: serde_json::Value) -> Result<T, Box<Fault>> {
        patched(document, &body::read(&self.body)?)
    }

    /// The version in `If-Match`, if the header is sent.
    ///
    /// # Errors
    /// 400 where it is not one of this API's ETags.
    pub fn if_match(&self) -> Result<Option<u64>, Box<Fault>> {
        let Some(value) = self.headers.get(http::header::IF_MATCH) else { return Ok(None) };
        if value == "*" {
            return Ok(None);
        }
        let tag = value.to_str().ok().map(|v| v.trim().trim_start_matches("W/").trim_matches('"'));
        match tag.and_then(|t| t.strip_prefix('v')).and_then(|t| t.parse().ok()) {
            Some(version) => Ok(Some(version)),
            None => Err(Box::new(
                Fault::new(FaultClass::BadRequest, "invalid_header", "If-Match holds no ETag of this API.")
                    .param("If-Match")
                    .fix("Send the ETag header of the last answer unchanged."),
            )),
        }
    }

    /// A query parameter that is a number within a range.
    pub fn number(&self, name: &'static str, default: u32, max: u32) -> Result<u32, Box<Fault>> {
        let Some(text) = self.query.get(name) else { return Ok(default) };
        text.parse().ok().filter(|n| (1..=max).contains(n)).ok_or_else(|| {
            Box::new(
                Fault::new(FaultClass::BadRequest, "invalid_value", format!("{name} is \"{text}\"."))
                    .param(name)
                    .fix(format!("Give a number from 1 to {max}.")),
            )
        })
    }
}

/// A writable form with a merge patch applied.
pub fn patched<T: DeserializeOwned>(
    mut document: serde_json::Value,
    patch: &serde_json::Value,
) -> Result<T, Box<Fault>> {
    merge_patch(&mut document, patch);
    body::read(document.to_string().as_bytes())
}

/// Parses a query string. A duplicate name is a 400, since either value could be meant.
pub fn read_query(query: &str) -> Result<BTreeMap<String, String>, Box<Fault>> {
    let mut found = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (unescape(name), unescape(value));
        if found.insert(name.clone(), value).is_some() {
            return Err(Box::new(
                Fault::new(FaultClass::BadRequest, "duplicate_parameter", format!("{name} is given twice."))
                    .param(name)
                    .fix("Give it once."),
            ));
        }
    }
    Ok(found)
}

fn unescape(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_unescaped_and_has_no_duplicates() {
        assert_eq!(read_query("a=x%20y&b=1+2").unwrap()["a"], "x y");
        let twice = read_query("a=1&a=2").unwrap_err();
        assert_eq!((twice.code, twice.param.as_deref()), ("duplicate_parameter", Some("a")));
    }
}
