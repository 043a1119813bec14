//! Execution modes: a request may ask to be served on this machine, elsewhere, or on either. A header takes
//! precedence over a prefix of the model's name.

use domain::runtime::{GenerateRequest, RuntimeModel};
use domain::{Fault, FaultClass};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

const MODE: HeaderName = HeaderName::from_static("x-hybrie-execution-mode");
const ADAPTER: HeaderName = HeaderName::from_static("x-hybrie-adapter-id");
const SELECTED_MODE: HeaderName = HeaderName::from_static("x-hybrie-selected-mode");
const SELECTED_BACKEND: HeaderName = HeaderName::from_static("x-hybrie-selected-backend");

/// This machine, as a mode and as a backend.
const LOCAL: HeaderValue = HeaderValue::from_static("local");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Local,
    Cloud,
    Hybrid,
}

/// Adds headers that say that the request was served here, and with which adapter.
pub(crate) fn set_headers(headers: &mut HeaderMap, adapter: Option<&str>) {
    headers.insert(SELECTED_MODE, LOCAL);
    headers.insert(SELECTED_BACKEND, LOCAL);
    let adapter = adapter.and_then(|adapter| HeaderValue::try_from(adapter).ok());
    headers.insert(ADAPTER, adapter.unwrap_or(HeaderValue::from_static("none")));
}

/// Whether a request explicitly asks for no adapter.
pub(crate) fn names_none(headers: &HeaderMap) -> bool {
    headers.get(ADAPTER).is_some_and(|value| value == "none")
}

/// Splits the adapter off a model name. Model names may contain colons themselves: the longest match wins.
pub(crate) fn take_adapter(models: &[RuntimeModel], request: &mut GenerateRequest) {
    let behind = |model: &RuntimeModel| {
        let adapter = request.model.strip_prefix(&model.id)?.strip_prefix(':')?;
        Some((model.id.clone(), adapter.to_owned()))
    };
    if models.iter().any(|model| model.id == request.model) {
        return;
    }
    if let Some((model, adapter)) = models.iter().filter_map(behind).max_by_key(|(model, _)| model.len()) {
        request.model = model;
        request.parameters.adapter.get_or_insert(adapter);
    }
}

impl Mode {
    const ALL: [(&str, Self); 3] = [("local", Self::Local), ("cloud", Self::Cloud), ("hybrid", Self::Hybrid)];

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(name, _)| *name == word).map(|(_, mode)| mode)
    }
}

/// Removes the mode from a request, and refuses one that this node does not serve: it is strictly local.
///
/// # Errors
/// An unknown mode, or one that would leave this machine.
pub(crate) fn settle(headers: &HeaderMap, request: &mut GenerateRequest) -> Result<(), Box<Fault>> {
    let mut mode = Mode::Local;
    if let Some((first, rest)) = request.model.split_once('/')
        && let Some(named) = Mode::of(first)
    {
        mode = named;
        request.model = rest.to_owned();
    }
    if let Some(value) = headers.get(MODE) {
        let Some(named) = value.to_str().ok().and_then(Mode::of) else {
            let message = "x-hybrie-execution-mode must be local, cloud or hybrid.";
            let fault = Fault::new(FaultClass::BadRequest, "invalid_execution_mode", message);
            return Err(Box::new(fault.param("x-hybrie-execution-mode").fix("Send local, or leave it out.")));
        };
        mode = named;
    }
    if let Some(adapter) = headers.get(ADAPTER).and_then(|value| value.to_str().ok()) {
        request.parameters.adapter = (adapter != "none").then(|| adapter.to_owned());
    }
    if mode == Mode::Local {
        return Ok(());
    }
    let message = "This node is strictly local: nothing it is asked leaves this machine.";
    let fault = Fault::new(FaultClass::Forbidden, "local_only", message);
    Err(Box::new(
        fault.param("model").fix("Ask for the model without cloud/ or hybrid/, and leave the header out."),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle_request(
        model: &str,
        headers: &[(&'static str, &'static str)],
    ) -> Result<(String, Option<String>), &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        let mut request = GenerateRequest { model: model.to_owned(), ..GenerateRequest::default() };
        settle(&map, &mut request).map_err(|fault| fault.code)?;
        Ok((request.model, request.parameters.adapter))
    }

    #[test]
    fn the_header_beats_the_prefix_and_nothing_leaves() {
        let ok = |model: &str, adapter: Option<&str>| Ok((model.to_owned(), adapter.map(str::to_owned)));
        assert_eq!(settle_request("local/a/b", &[]), ok("a/b", None));
        assert_eq!(settle_request("qwen/a", &[]), ok("qwen/a", None));
        assert_eq!(settle_request("hybrid/a", &[]), Err("local_only"));
        assert_eq!(settle_request("cloud/a", &[("x-hybrie-execution-mode", "local")]), ok("a", None));
        assert_eq!(settle_request("local/a", &[("x-hybrie-execution-mode", "hybrid")]), Err("local_only"));
        assert_eq!(
            settle_request("a", &[("x-hybrie-execution-mode", "moon")]),
            Err("invalid_execution_mode")
        );
        assert_eq!(settle_request("a", &[("x-hybrie-adapter-id", "law")]), ok("a", Some("law")));
        assert_eq!(settle_request("a", &[("x-hybrie-adapter-id", "none")]), ok("a", None));
    }

    #[test]
    fn an_adapter_stands_behind_a_models_name() {
        let model = |id: &str| RuntimeModel { id: id.to_owned(), ..RuntimeModel::default() };
        let models = [model("qwen3"), model("qwen3:0.6b")];
        let take = |requested: &str, named: Option<&str>| {
            let mut request = GenerateRequest { model: requested.to_owned(), ..GenerateRequest::default() };
            request.parameters.adapter = named.map(str::to_owned);
            take_adapter(&models, &mut request);
            (request.model, request.parameters.adapter)
        };
        let is = |model: &str, adapter: Option<&str>| (model.to_owned(), adapter.map(str::to_owned));
        assert_eq!(take("qwen3", None), is("qwen3", None));
        assert_eq!(take("qwen3:0.6b", None), is("qwen3:0.6b", None));
        assert_eq!(take("qwen3:0.6b:law", None), is("qwen3:0.6b", Some("law")));
        assert_eq!(take("qwen3:law", None), is("qwen3", Some("law")));
        assert_eq!(take("qwen3:law", Some("tides")), is("qwen3", Some("tides")));
        assert_eq!(take("other:law", None), is("other:law", None));
    }
}
