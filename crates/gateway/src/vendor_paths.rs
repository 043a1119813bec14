//! Requests at the paths of another product's client: whom they are for, and what of them is that client's own.

use admit::Caller;
use api::failure::not_found;
use bytes::Bytes;
use decode::tag_hints;
use domain::Fault;
use http::{HeaderMap, HeaderName};

const HINTS: HeaderName = HeaderName::from_static("agent-hints");

/// Refuses a request whose headers name another workspace or project than its key's.
pub(crate) fn check_scope(headers: &HeaderMap, caller: &Caller) -> Result<(), Box<Fault>> {
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
pub(crate) fn translate(headers: &mut HeaderMap, body: Bytes) -> Bytes {
    let tag = stimulir::take_tags(headers);
    let (body, own) = stimulir::take_fields(&body).unwrap_or((body, None));
    if let Some(tag) = tag.or(own)
        && !headers.contains_key(HINTS)
    {
        headers.insert(HINTS, tag_hints(&tag));
    }
    body
}
