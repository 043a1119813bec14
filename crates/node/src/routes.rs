//! What a node serves: the paths, and the methods that each takes.

use http::Method;

/// What a path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does<'p> {
    Chat,
    Models,
    Model(&'p str),
    Health,
    Capabilities,
    /// The path is known and takes this method instead.
    Other(&'static str),
    Nothing,
}

pub(crate) fn find<'p>(method: &Method, path: &'p str) -> Does<'p> {
    let reads = *method == Method::GET || *method == Method::HEAD;
    let found = match path {
        "/v1/chat/completions" => {
            return if *method == Method::POST { Does::Chat } else { Does::Other("POST") };
        }
        "/v1/models" => Does::Models,
        "/v1/health" => Does::Health,
        "/v1/capabilities" => Does::Capabilities,
        _ => match path.strip_prefix("/v1/models/").filter(|id| !id.is_empty()) {
            Some(id) => Does::Model(id),
            None => return Does::Nothing,
        },
    };
    if reads { found } else { Does::Other("GET, HEAD") }
}
