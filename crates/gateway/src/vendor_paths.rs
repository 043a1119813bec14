//! Requests at the paths of another product's client: whom they are for, what of them is that client's own, and the model where only
//! the path names it.

use admit::Caller;
use api::failure::not_found;
use bytes::Bytes;
use conversation::request::with_model;
use decode::tag_hints;
use domain::Fault;
use http::{HeaderMap, HeaderName};

use crate::routes::aliases::Alias;

const HINTS: HeaderName = HeaderName::from_static("agent-hints");

/// What of a request at another product's path is put into the form of ours.
pub(crate) enum Translation {
    /// The fields of Stimulir's client.
    OwnFields,
    /// The address names the model.
    Model(String),
}

impl Translation {
    /// Of a request at a path that has another name here.
    pub(crate) fn of(renamed: Option<&str>, alias: Option<&Alias>) -> Option<Box<Self>> {
        let model = alias.and_then(|alias| alias.model.clone()).map(Self::Model);
        let is_own = renamed.is_some_and(stimulir::is_inference);
        model.or_else(|| is_own.then_some(Self::OwnFields)).map(Box::new)
    }

    /// Refuses a request whose client names another workspace or project than its key's.
    pub(crate) fn check_scope(&self, headers: &HeaderMap, caller: &Caller) -> Result<(), Box<Fault>> {
        match self {
            Self::OwnFields => check_scope(headers, caller),
            Self::Model(_) => Ok(()),
        }
    }

    pub(crate) fn apply(self, headers: &mut HeaderMap, body: Bytes) -> Bytes {
        match self {
            Self::OwnFields => translate(headers, body),
            Self::Model(model) => with_model(body, &model),
        }
    }
}

/// Refuses a request whose headers name another workspace or project than its key's.
fn check_scope(headers: &HeaderMap, caller: &Caller) -> Result<(), Box<Fault>> {
    let named = |name: &str| {
        let text = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned());
        text.filter(|text| !text.is_empty())
    };
    let of_key = [
        ("workspace", stimulir::WORKSPACE, caller.workspace().id.to_string()),
        ("project", stimulir::PROJECT, caller.project().id.to_string()),
    ];
    for (what, header, own) in of_key {
        if let Some(wanted) = named(header).filter(|wanted| *wanted != own) {
            let clipped: String = wanted.chars().take(100).collect();
            return Err(not_found(what, &clipped));
        }
    }
    Ok(())
}

/// Takes the client's own fields out of a body; its tag becomes the request's, unless hints are sent.
fn translate(headers: &mut HeaderMap, body: Bytes) -> Bytes {
    let tag = stimulir::take_tags(headers);
    let (body, own) = stimulir::take_fields(&body).unwrap_or((body, None));
    if let Some(tag) = tag.or(own)
        && !headers.contains_key(HINTS)
    {
        headers.insert(HINTS, tag_hints(&tag));
    }
    body
}
