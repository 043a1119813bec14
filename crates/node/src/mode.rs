//! Execution modes: a request may ask to be served on this machine, elsewhere, or on either. A header takes
//! precedence over a prefix of the model's name.

use std::time::Duration;

use domain::runtime::{GenerateRequest, RuntimeModel};
use domain::{Fault, FaultClass};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::hybrid::{HOPS, LeftBecause};

pub(crate) const MODE: HeaderName = HeaderName::from_static("x-hybrie-execution-mode");
pub(crate) const ADAPTER: HeaderName = HeaderName::from_static("x-hybrie-adapter-id");
const SELECTED_MODE: HeaderName = HeaderName::from_static("x-hybrie-selected-mode");
pub(crate) const SELECTED_BACKEND: HeaderName = HeaderName::from_static("x-hybrie-selected-backend");
const LEFT_BECAUSE: HeaderName = HeaderName::from_static("x-hybrie-left-because");

/// How long a request may wait in the queue here, in milliseconds: a gateway sends it elsewhere then.
const QUEUE_WAIT: HeaderName = HeaderName::from_static("x-hybrie-queue-wait-ms");

/// Marks usage that the runtime did not measure.
pub(crate) const USAGE: HeaderName = HeaderName::from_static("x-tidegate-usage");

/// This machine, as a backend.
const HERE: &str = "local";

domain::words! {
    /// Where a request may be answered.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Mode {
        /// Here, or not at all.
        Local = "local",
        /// By a backend.
        Cloud = "cloud",
        /// Here, and by a backend where this node can't.
        Hybrid = "hybrid",
    }
}

/// Where a request was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Selected<'a> {
    pub mode: Mode,
    /// `None` is this machine.
    pub backend: Option<&'a str>,
    pub adapter: Option<&'a str>,
    pub because: Option<LeftBecause>,
}

/// Adds headers that say where the request was served, with which adapter, and why it left.
pub(crate) fn set_headers(headers: &mut HeaderMap, selected: &Selected<'_>) {
    headers.insert(SELECTED_MODE, HeaderValue::from_static(selected.mode.as_str()));
    let mut set = |name: HeaderName, value: &str| {
        headers.insert(name, HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("none")));
    };
    set(SELECTED_BACKEND, selected.backend.unwrap_or(HERE));
    set(ADAPTER, selected.adapter.unwrap_or("none"));
    if let Some(because) = selected.because {
        set(LEFT_BECAUSE, because.as_str());
    }
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

/// How long the request may wait in the queue here before it is refused; `None` if it may wait as long as it takes.
pub(crate) fn queue_wait(headers: &HeaderMap) -> Option<Duration> {
    headers.get(QUEUE_WAIT)?.to_str().ok()?.parse().ok().map(Duration::from_millis)
}

impl Mode {
    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == word)
    }
}

/// Removes the mode and the adapter of the headers from a request, and returns the mode that it names.
///
/// # Errors
/// An unknown mode.
pub(crate) fn settle(headers: &HeaderMap, request: &mut GenerateRequest) -> Result<Option<Mode>, Box<Fault>> {
    let mut mode = None;
    if let Some((first, rest)) = request.model.split_once('/')
        && let Some(named) = Mode::of(first)
    {
        mode = Some(named);
        request.model = rest.to_owned();
    }
    // A node that forwards keeps others from forwarding further by the mode. The hops do that here, and let chains end.
    if let Some(value) = headers.get(MODE).filter(|_| !headers.contains_key(HOPS)) {
        let Some(named) = value.to_str().ok().and_then(Mode::of) else {
            let message = "x-hybrie-execution-mode must be local, cloud or hybrid.";
            let fault = Fault::new(FaultClass::BadRequest, "invalid_execution_mode", message);
            return Err(Box::new(fault.param("x-hybrie-execution-mode").fix("Send local, or leave it out.")));
        };
        mode = Some(named);
    }
    if let Some(adapter) = headers.get(ADAPTER).and_then(|value| value.to_str().ok()) {
        request.parameters.adapter = (adapter != "none").then(|| adapter.to_owned());
    }
    Ok(mode)
}

/// The mode that a request is served in: the one that it names, or the default. `why` says why nothing may leave.
///
/// # Errors
/// It may not leave, and names a mode in which it would.
pub(crate) fn resolve(
    named: Option<Mode>,
    default_mode: Mode,
    why: Option<&'static str>,
) -> Result<Mode, Box<Fault>> {
    match (named, why) {
        (named, None) => Ok(named.unwrap_or(default_mode)),
        (None | Some(Mode::Local), Some(_)) => Ok(Mode::Local),
        (Some(Mode::Cloud | Mode::Hybrid), Some(why)) => {
            let fault = Fault::new(FaultClass::Forbidden, "local_only", why).param("model");
            Err(Box::new(fault.fix("Request the model without cloud/ or hybrid/, and leave the header out.")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle_request(
        model: &str,
        headers: &[(&'static str, &'static str)],
    ) -> Result<(Option<Mode>, String, Option<String>), &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        let mut request = GenerateRequest { model: model.to_owned(), ..GenerateRequest::default() };
        let mode = settle(&map, &mut request).map_err(|fault| fault.code)?;
        Ok((mode, request.model, request.parameters.adapter))
    }

    #[test]
    fn the_header_beats_the_prefix() {
        let ok = |mode, model: &str, adapter: Option<&str>| {
            Ok((mode, model.to_owned(), adapter.map(str::to_owned)))
        };
        let (local, cloud, hybrid) = (Some(Mode::Local), Some(Mode::Cloud), Some(Mode::Hybrid));
        let by = |mode: &'static str| [("x-hybrie-execution-mode", mode)];
        assert_eq!(settle_request("local/a/b", &[]), ok(local, "a/b", None));
        assert_eq!(settle_request("publisher/a", &[]), ok(None, "publisher/a", None));
        assert_eq!(settle_request("hybrid/a", &[]), ok(hybrid, "a", None));
        assert_eq!(settle_request("cloud/a", &by("local")), ok(local, "a", None));
        assert_eq!(settle_request("local/a", &by("cloud")), ok(cloud, "a", None));
        assert_eq!(settle_request("a", &by("moon")), Err("invalid_execution_mode"));
        let forwarded = [("x-hybrie-execution-mode", "local"), ("x-hybrie-hops", "ab01")];
        assert_eq!(settle_request("a", &forwarded), ok(None, "a", None));
        assert_eq!(settle_request("a", &[("x-hybrie-adapter-id", "law")]), ok(None, "a", Some("law")));
        assert_eq!(settle_request("a", &[("x-hybrie-adapter-id", "none")]), ok(None, "a", None));
    }

    #[test]
    fn what_may_not_leave_is_served_here_or_refused() {
        let resolve =
            |named, default_mode, why| resolve(named, default_mode, why).map_err(|fault| fault.code);
        assert_eq!(resolve(None, Mode::Hybrid, None), Ok(Mode::Hybrid));
        assert_eq!(resolve(Some(Mode::Local), Mode::Hybrid, None), Ok(Mode::Local));
        assert_eq!(resolve(Some(Mode::Cloud), Mode::Local, None), Ok(Mode::Cloud));
        assert_eq!(resolve(None, Mode::Hybrid, Some("strict")), Ok(Mode::Local));
        assert_eq!(resolve(Some(Mode::Local), Mode::Local, Some("strict")), Ok(Mode::Local));
        assert_eq!(resolve(Some(Mode::Cloud), Mode::Local, Some("strict")), Err("local_only"));
        assert_eq!(resolve(Some(Mode::Hybrid), Mode::Hybrid, Some("strict")), Err("local_only"));
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
