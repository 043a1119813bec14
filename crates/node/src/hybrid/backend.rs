//! A backend: an address that answers requests in the node's place, and the requests that are sent there.

use std::collections::BTreeMap;

use bytes::Bytes;
use conversation::request::own_edits;
use decode::Call;
use dialects::native_headers;
use domain::{Dialect, Secret};
use egress::{OutBody, Request};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Uri};
use json::splice::{Edit, splice};

use super::hops::HOPS;
use crate::mode::{ADAPTER, MODE, Mode};

/// Headers of requests and answers that only a gateway knows.
const GATEWAY_HEADERS: &str = "agent-";

pub(crate) struct Backend {
    pub id: String,
    /// Ends in `/v1`, without a slash behind it.
    pub base_url: String,
    pub key: Option<Secret>,
    /// A gateway, which knows the `Agent-…` headers.
    pub is_gateway: bool,
    /// The gateway that this node has joined: it books what it answers, and the node's records name its requests.
    pub is_joined: bool,
    /// With `model_map` empty, too, it takes every model.
    pub models: Vec<String>,
    /// The names of models there, by their names here.
    pub model_map: BTreeMap<String, String>,
    /// Adapters that are there, too.
    pub adapters: Vec<String>,
}

/// A request as it is sent to a backend.
pub(crate) struct Forwarded<'a> {
    pub call: &'a Call,
    pub headers: &'a HeaderMap,
    /// Of the request, behind `/v1`.
    pub path: &'a str,
    pub adapter: Option<&'a str>,
    pub hops: HeaderValue,
}

domain::brief_debug!(Backend, id, base_url);

impl Backend {
    /// The name that a model has there; `None` if this backend does not take it.
    pub(crate) fn name_of<'a>(&'a self, model: &'a str) -> Option<&'a str> {
        let takes_all = self.models.is_empty() && self.model_map.is_empty();
        let mapped = self.model_map.get(model).map(String::as_str);
        mapped.or_else(|| (takes_all || self.models.iter().any(|known| known == model)).then_some(model))
    }

    /// Whether it takes a model with this adapter.
    pub(crate) fn takes(&self, model: &str, adapter: Option<&str>) -> bool {
        let has_adapter = adapter.is_none_or(|adapter| self.adapters.iter().any(|known| known == adapter));
        has_adapter && self.name_of(model).is_some()
    }

    /// # Errors
    /// The URL or the key can't be sent.
    pub(crate) fn request(&self, model: &str, forwarded: &Forwarded<'_>) -> Result<Request, String> {
        let url = format!("{}{}", self.base_url, forwarded.path);
        let url = Uri::try_from(url).map_err(|error| format!("its address can't be used: {error}"))?;
        let mut request = Request::new(Method::POST, url);
        let call = forwarded.call;
        request.headers = native_headers(call.dialect().grammar(), forwarded.headers);
        let agent = HeaderValue::from_static(concat!("tidegate-node/", env!("CARGO_PKG_VERSION")));
        request.headers.push((USER_AGENT, agent));
        request.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        request.headers.push((ACCEPT, HeaderValue::from_static("application/json, text/event-stream")));
        request.headers.push((HOPS, forwarded.hops.clone()));
        // A node of another make that does not count hops answers itself, or not at all.
        request.headers.push((MODE, HeaderValue::from_static(Mode::Local.as_str())));
        if let Some(adapter) = forwarded.adapter {
            let adapter = HeaderValue::try_from(adapter);
            request
                .headers
                .push((ADAPTER, adapter.map_err(|_| "the adapter's name can't be sent".to_owned())?));
        }
        if self.is_gateway {
            request.headers.extend(gateway_headers(forwarded.headers.iter()));
        }
        if let Some(key) = &self.key {
            request
                .headers
                .push(key_header(call.dialect(), key).ok_or("its key has bytes that a header can't carry")?);
        }
        request.body = OutBody::from(body(call, model));
        Ok(request)
    }
}

/// The header of a key, as clients of the dialect send it.
fn key_header(dialect: Dialect, key: &Secret) -> Option<(HeaderName, HeaderValue)> {
    let (name, mut value) = match dialect {
        Dialect::Chat | Dialect::Responses => {
            let bearer = [b"Bearer ", key.expose()].concat();
            (AUTHORIZATION, HeaderValue::from_bytes(&bearer).ok()?)
        }
        _ => (HeaderName::from_static("x-api-key"), HeaderValue::from_bytes(key.expose()).ok()?),
    };
    value.set_sensitive(true);
    Some((name, value))
}

/// The headers that the gateway and its clients exchange.
pub(crate) fn gateway_headers<'a>(
    headers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    headers
        .filter(|(name, _)| name.as_str().starts_with(GATEWAY_HEADERS))
        .map(|(name, value)| (name.clone(), value.clone()))
}

/// The client's bytes with the model's name there; a stream reports its usage, too.
fn body(call: &Call, model: &str) -> Vec<Bytes> {
    let (rename, usage) = own_edits(call.request(), model, true);
    let mut edits: Vec<Edit<'_>> = usage.into_iter().chain(rename).collect();
    let mut out = Vec::with_capacity(1);
    splice(call.body(), &mut edits, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_takes_what_it_names_or_everything() {
        let backend = |models: &[&str], map: &[(&str, &str)], adapters: &[&str]| Backend {
            id: "b".to_owned(),
            base_url: "https://b.example/v1".to_owned(),
            key: Some(Secret::from_text("secret-key".to_owned())),
            is_gateway: false,
            is_joined: false,
            models: models.iter().map(|&model| model.to_owned()).collect(),
            model_map: map.iter().map(|&(here, there)| (here.to_owned(), there.to_owned())).collect(),
            adapters: adapters.iter().map(|&adapter| adapter.to_owned()).collect(),
        };
        let all = backend(&[], &[], &[]);
        assert_eq!(all.name_of("any/model"), Some("any/model"));
        let some = backend(&["one"], &[("two", "publisher/two")], &["law"]);
        assert_eq!(some.name_of("one"), Some("one"));
        assert_eq!(some.name_of("two"), Some("publisher/two"));
        assert_eq!(some.name_of("three"), None);
        assert!(some.takes("one", None) && some.takes("two", Some("law")));
        assert!(!some.takes("one", Some("tides")) && !some.takes("three", Some("law")));
        assert!(!format!("{all:?}").contains("secret-key"));
    }
}
