//! Other addresses at which clients look for what is served: base URLs without a version, and the addresses of other vendors. They
//! are looked up only where there is nothing else, so that no request at an address of ours waits for it.

use std::cell::OnceCell;

use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;

use super::{Action, Found, Route};

/// Each address with the one of ours that it means; of two that fit, the first. `{rest}` takes whatever follows, `{model}` whatever
/// is between, slashes too, and any other name one segment. A model that ours does not have in its address is put into the body.
static ALIASES: [(&str, &str); 46] = [
    // A base URL without a version, with the version twice, or with a slash behind it.
    ("/chat/completions", "/v1/chat/completions"),
    ("/completions", "/v1/completions"),
    ("/embeddings", "/v1/embeddings"),
    ("/moderations", "/v1/moderations"),
    ("/rerank", "/v1/rerank"),
    ("/responses", "/v1/responses"),
    ("/responses/{rest}", "/v1/responses/{rest}"),
    ("/messages", "/v1/messages"),
    ("/messages/count_tokens", "/v1/messages/count_tokens"),
    ("/models", "/v1/models"),
    ("/models/{rest}", "/v1/models/{rest}"),
    ("/images/generations", "/v1/images/generations"),
    ("/images/edits", "/v1/images/edits"),
    ("/audio/speech", "/v1/audio/speech"),
    ("/audio/transcriptions", "/v1/audio/transcriptions"),
    ("/audio/translations", "/v1/audio/translations"),
    ("/v1/v1/{rest}", "/v1/{rest}"),
    ("/v1/models/", "/v1/models"),
    ("/v1beta/models/", "/v1beta/models"),
    ("/health", "/health/ready"),
    // OpenRouter's, beside those of Stimulir's client.
    ("/api/v1/chat/completions", "/v1/chat/completions"),
    ("/api/v1/completions", "/v1/completions"),
    ("/api/v1/embeddings", "/v1/embeddings"),
    ("/api/v1/responses", "/v1/responses"),
    ("/api/v1/messages", "/v1/messages"),
    ("/api/v1/models", "/v1/models"),
    ("/api/v1/models/{rest}", "/v1/models/{rest}"),
    // Azure OpenAI's: a deployment's name is its model's name here.
    ("/openai/deployments/{model}/chat/completions", "/v1/chat/completions"),
    ("/openai/deployments/{model}/completions", "/v1/completions"),
    ("/openai/deployments/{model}/embeddings", "/v1/embeddings"),
    ("/openai/deployments/{model}/images/generations", "/v1/images/generations"),
    ("/openai/deployments/{model}/images/edits", "/v1/images/edits"),
    ("/openai/deployments/{model}/audio/speech", "/v1/audio/speech"),
    ("/openai/deployments/{model}/audio/transcriptions", "/v1/audio/transcriptions"),
    ("/openai/deployments/{model}/audio/translations", "/v1/audio/translations"),
    ("/openai/v1/models/", "/v1/models"),
    ("/openai/v1/{rest}", "/v1/{rest}"),
    ("/openai/{rest}", "/v1/{rest}"),
    // Gemini's for OpenAI's clients.
    ("/v1beta/openai/models/", "/v1/models"),
    ("/v1beta/openai/{rest}", "/v1/{rest}"),
    // Vertex AI's, for Google's own models.
    ("/v1/projects/{project}/locations/{location}/publishers/google/models/{rest}", "/v1beta/models/{rest}"),
    (
        "/v1beta1/projects/{project}/locations/{location}/publishers/google/models/{rest}",
        "/v1beta/models/{rest}",
    ),
    ("/v1/publishers/google/models/{rest}", "/v1beta/models/{rest}"),
    ("/v1beta1/publishers/google/models/{rest}", "/v1beta/models/{rest}"),
    ("/v1beta1/models/{rest}", "/v1beta/models/{rest}"),
    ("/v1beta1/models", "/v1beta/models"),
];
/// Routes that take whatever is below them, beside which there may be other addresses.
const BROAD: [&str; 3] = ["/api/v1/{rest}", "/v1beta/{rest}", "/v1/projects/{rest}"];

/// What another address means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alias {
    pub path: String,
    /// What only the address named.
    pub model: Option<String>,
}

/// Finds the route of a path, or of the one that it means.
pub(crate) fn find<'t, 'p>(
    table: &'t [Route],
    method: &Method,
    path: &'p str,
    headers: &HeaderMap,
    alias: &'p OnceCell<Alias>,
) -> Found<'t, 'p> {
    let found = super::find(table, method, path);
    let is_other = match &found {
        Found::Route(route, _) => match route.action {
            Action::Page => !console::wants_page(headers),
            _ => BROAD.contains(&route.path),
        },
        Found::OtherMethods(..) | Found::Nothing => true,
    };
    match is_other.then(|| meant(path)).flatten() {
        Some(other) => super::find(table, method, &alias.get_or_init(|| other).path),
        None => found,
    }
}

/// The address of ours that another one means.
pub(crate) fn meant(path: &str) -> Option<Alias> {
    ALIASES.iter().find_map(|(other, ours)| {
        let Holes { model, rest } = read(other, path)?;
        let path = ours.replace("{rest}", rest);
        let model = model.map(|model| percent_decode_str(model).decode_utf8_lossy().into_owned());
        Some(Alias { path, model })
    })
}

#[derive(Default)]
struct Holes<'p> {
    model: Option<&'p str>,
    rest: &'p str,
}

fn read<'p>(mut pattern: &str, mut path: &'p str) -> Option<Holes<'p>> {
    loop {
        let Some((literal, after)) = pattern.split_once('{') else {
            return (pattern == path).then(Holes::default);
        };
        let (hole, end) = after.split_once('}')?;
        path = path.strip_prefix(literal)?;
        let (taken, rest) = match hole {
            "rest" => (path, ""),
            "model" => (path.strip_suffix(end)?, ""),
            _ => path.split_at(path.find('/')?),
        };
        match hole {
            _ if taken.is_empty() => return None,
            "rest" => return Some(Holes { rest: taken, model: None }),
            "model" => return Some(Holes { model: Some(taken), rest: "" }),
            _ => (pattern, path) = (end, rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes;

    fn check(path: &str, expected: Option<(&str, Option<&str>)>) {
        let found = meant(path);
        let found = found.as_ref().map(|alias| (&*alias.path, alias.model.as_deref()));
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn another_address_means_one_of_ours() {
        for (path, ours) in [
            ("/chat/completions", "/v1/chat/completions"),
            ("/models", "/v1/models"),
            ("/models/openai/gpt-4o", "/v1/models/openai/gpt-4o"),
            ("/messages/count_tokens", "/v1/messages/count_tokens"),
            ("/v1/models/", "/v1/models"),
            ("/v1/v1/messages", "/v1/messages"),
            ("/api/v1/chat/completions", "/v1/chat/completions"),
            ("/openai/v1/embeddings", "/v1/embeddings"),
            ("/openai/responses", "/v1/responses"),
            ("/v1beta/openai/chat/completions", "/v1/chat/completions"),
            (
                "/v1/projects/p/locations/global/publishers/google/models/gemini-2.5-flash:generateContent",
                "/v1beta/models/gemini-2.5-flash:generateContent",
            ),
            ("/v1beta1/publishers/google/models/m:countTokens", "/v1beta/models/m:countTokens"),
            ("/health", "/health/ready"),
        ] {
            check(path, Some((ours, None)));
        }
        let chat = "/v1/chat/completions";
        check("/openai/deployments/mine/chat/completions", Some((chat, Some("mine"))));
        check("/openai/deployments/openai/gpt-4o/chat/completions", Some((chat, Some("openai/gpt-4o"))));
        check("/openai/deployments/openai%2Fgpt-4o/chat/completions", Some((chat, Some("openai/gpt-4o"))));
        check("/openai/deployments/mine/completions", Some(("/v1/completions", Some("mine"))));
        for path in [
            "/v1/chat/completions",
            "/chat/completions/",
            "/models/",
            "/openai",
            "/openai/",
            "/api/v1/usage/summary",
            "/v1beta/models/m:generateContent",
            "/v1/projects/p/publishers/google/models/m:generateContent",
            "/v1/projects//locations/l/publishers/google/models/m:generateContent",
            "/v1/projects/p/locations/l/publishers/anthropic/models/m:rawPredict",
        ] {
            check(path, None);
        }
    }

    /// An address that has its own route would never be looked up here.
    #[test]
    fn every_alias_leads_to_a_route_and_hides_none() {
        let table = routes::table();
        let leads = |method: &Method, path: &str| match routes::find(&table, method, path) {
            Found::Route(route, _) => Some(route.clone()),
            _ => None,
        };
        for (other, _) in ALIASES {
            let path = other.replace("{rest}", "chat/completions").replace(['{', '}'], "");
            let alias = meant(&path).unwrap();
            let own = [Method::GET, Method::POST].map(|method| leads(&method, &path));
            for route in own.into_iter().flatten() {
                assert!(route.action == Action::Page || BROAD.contains(&route.path), "{other}: {route:?}");
            }
            let is_served = |method| leads(method, &alias.path).is_some();
            assert!(
                is_served(&Method::GET) || is_served(&Method::POST),
                "{other} leads to {}, where there is nothing",
                alias.path
            );
        }
    }
}
