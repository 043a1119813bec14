//! Maps a method and a path to a Gemini API call.

use http::{Method, Uri};
use percent_encoding::percent_decode_str;

use super::error::ApiError;
use super::stream::Form;
use crate::emulator::service::query_pairs;

/// A Gemini API call, with the API version of its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) version: &'static str,
    pub(crate) target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Models,
    Model(String),
    /// A model and the method to call.
    Method(String, String),
    Caches,
    Cache(String),
    Batches,
    Batch(String),
    BatchCancel(String),
}

/// The API version of a path, with the rest of the path; `None` for other providers' paths.
pub(crate) fn version(path: &str) -> Option<(&'static str, &str)> {
    ["v1beta", "v1"].into_iter().find_map(|version| {
        let rest = path.strip_prefix('/')?.strip_prefix(version)?;
        Some((version, rest.strip_prefix('/')?))
    })
}

pub(crate) fn route(path: &str) -> Result<Route, ApiError> {
    let unknown = || ApiError::not_found("The requested URL was not found on this server.");
    let (version, rest) = version(path).ok_or_else(unknown)?;
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let target = match rest.split_once('/') {
        None if rest == "models" => Target::Models,
        None if rest == "cachedContents" => Target::Caches,
        None if rest == "batches" => Target::Batches,
        Some(("models", model)) => match decode(model).rsplit_once(':') {
            Some((model, method)) => Target::Method(model.to_owned(), method.to_owned()),
            None => Target::Model(decode(model)),
        },
        Some(("batches", id)) => match decode(id).split_once(':') {
            Some((id, "cancel")) => Target::BatchCancel(id.to_owned()),
            Some(_) => return Err(unknown()),
            None => Target::Batch(decode(id)),
        },
        Some(("cachedContents", id)) => Target::Cache(format!("cachedContents/{}", decode(id))),
        _ => return Err(unknown()),
    };
    Ok(Route { version, target })
}

/// A decoded query parameter.
pub(crate) fn query(uri: &Uri, name: &str) -> Option<String> {
    let mut values = query_pairs(uri).filter(|(key, _)| *key == name);
    values.next().map(|(_, value)| percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// The wire form of a stream; `None` if the call is not a streaming one.
pub(crate) fn form(uri: &Uri, target: &Target) -> Option<Form> {
    let Target::Method(_, method) = target else { return None };
    let streams = method == "streamGenerateContent";
    let events = query(uri, "alt").as_deref() == Some("sse");
    streams.then_some(if events { Form::Events } else { Form::Array })
}

impl Target {
    /// Whether the target accepts this HTTP method.
    pub(crate) fn takes(&self, method: &Method) -> bool {
        match self {
            Target::Models | Target::Model(_) | Target::Batches => method == Method::GET,
            Target::Method(..) | Target::BatchCancel(_) => method == Method::POST,
            Target::Batch(_) => method == Method::GET || method == Method::DELETE,
            Target::Caches => method == Method::GET || method == Method::POST,
            Target::Cache(_) => [Method::GET, Method::PATCH, Method::DELETE].contains(method),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_a_version_and_a_target() {
        let method = |model: &str, method: &str| Some(Target::Method(model.to_owned(), method.to_owned()));
        for (path, version, target) in [
            ("/v1beta/models", "v1beta", Some(Target::Models)),
            ("/v1/models/gemini-x", "v1", Some(Target::Model("gemini-x".to_owned()))),
            ("/v1/models/gemini-x:countTokens", "v1", method("gemini-x", "countTokens")),
            ("/v1beta/models/a%2Fb%3A1:generateContent", "v1beta", method("a/b:1", "generateContent")),
            ("/v1beta/cachedContents/c1", "v1beta", Some(Target::Cache("cachedContents/c1".to_owned()))),
            ("/v1beta/cachedContents", "v1beta", Some(Target::Caches)),
            ("/v1beta/batches", "v1beta", Some(Target::Batches)),
            ("/v1beta/batches/b1", "v1beta", Some(Target::Batch("b1".to_owned()))),
            ("/v1beta/batches/b1:cancel", "v1beta", Some(Target::BatchCancel("b1".to_owned()))),
            ("/v1beta/batches/b1:pause", "", None),
            ("/v1beta/files", "", None),
            ("/v2/models", "", None),
            ("/v1beta", "", None),
        ] {
            let expected = target.map(|target| Route { version, target });
            assert_eq!(route(path).ok(), expected, "{path}");
        }
    }
}
