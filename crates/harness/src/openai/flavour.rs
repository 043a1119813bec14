//! Vendors with OpenAI-compatible APIs that differ in details, and the base path of each.

use http::HeaderMap;
use serde_json::{Map, Value};

use super::error::ApiError;
use super::server::Server;
use super::tokens::CACHE_STEP_TOKENS;
use crate::emulator::Model;
use crate::mistral;

/// The vendor whose behaviour a response follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Flavour {
    #[default]
    OpenAi,
    Xai,
    Fireworks,
    /// OpenAI's models at a customer's Azure resource.
    Azure,
    Mistral,
    Together,
    /// A self-hosted server rather than a vendor.
    Server(Server),
}

/// What a call may use: the models of its flavour, and additional accepted vendor fields.
#[derive(Clone, Copy)]
pub(crate) struct Served<'a> {
    pub(crate) flavour: Flavour,
    pub(crate) models: &'a [Model],
    pub(crate) also: &'a [String],
}

/// The prompt cache that a call reads and fills, and its minimum prefix.
pub(crate) struct CacheSpace {
    pub(crate) name: String,
    /// `None` keeps the usual minimum.
    pub(crate) tokens_min: Option<u64>,
}

impl Flavour {
    /// The base path that always means this vendor, whatever the host is.
    pub fn base(self) -> &'static str {
        match self {
            Self::OpenAi => "/v1",
            Self::Xai => "/xai/v1",
            Self::Fireworks => "/fireworks/inference/v1",
            Self::Azure => "/azure",
            Self::Mistral => "/mistral/v1",
            Self::Together => "/together/v1",
            Self::Server(server) => server.base(),
        }
    }

    /// The base path on the vendor's own host.
    pub fn host_base(self) -> &'static str {
        match self {
            Self::OpenAi | Self::Xai | Self::Mistral | Self::Together | Self::Server(_) => "/v1",
            Self::Fireworks => "/inference/v1",
            Self::Azure => "",
        }
    }

    /// Parses a vendor's name, as in the program's flag.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "openai" => Some(Self::OpenAi),
            "xai" => Some(Self::Xai),
            "fireworks" => Some(Self::Fireworks),
            "azure" => Some(Self::Azure),
            "mistral" => Some(Self::Mistral),
            "together" => Some(Self::Together),
            _ => Server::ALL.into_iter().find(|server| server.name() == name).map(Self::Server),
        }
    }

    /// The vendor that a path belongs to, and the path from `/v1` on.
    pub(crate) fn of(path: &str, host: Self) -> (Self, &str) {
        let below = |prefix: &str| path.strip_prefix(prefix).filter(|rest| rest.starts_with("/v1/"));
        if let Some(path) = below("/xai") {
            (Self::Xai, path)
        } else if let Some(path) = below("/mistral") {
            (Self::Mistral, path)
        } else if let Some(path) = below("/together") {
            (Self::Together, path)
        } else if let Some(path) = path.strip_prefix("/azure").filter(|rest| rest.starts_with("/openai/")) {
            (Self::Azure, path)
        } else if let Some(path) = below("/fireworks/inference") {
            (Self::Fireworks, path)
        } else if let Some(path) = below("/inference").filter(|_| host == Self::Fireworks) {
            (Self::Fireworks, path)
        } else if let Some((server, path)) = Server::ALL.into_iter().find_map(|server| {
            let prefix = server.base().strip_suffix("/v1")?;
            Some((server, below(prefix)?))
        }) {
            (Self::Server(server), path)
        } else {
            (host, path)
        }
    }

    /// Whether the vendor serves transcription.
    pub(crate) fn listens(self) -> bool {
        matches!(self, Self::OpenAi | Self::Azure | Self::Server(_))
    }

    /// Whether the vendor serves this model; none serves another vendor's.
    pub(crate) fn serves(self, model: &str) -> bool {
        match self {
            Self::Xai => model.starts_with("grok"),
            Self::Fireworks => model.starts_with("accounts/"),
            Self::Mistral => mistral::serves(model),
            Self::OpenAi | Self::Azure | Self::Together | Self::Server(_) => {
                !model.starts_with("grok") && !model.starts_with("accounts/") && !mistral::serves(model)
            }
        }
    }

    /// The vendor's error for an unknown field.
    pub(crate) fn unknown_field(self, name: &str) -> ApiError {
        match self {
            Self::OpenAi | Self::Azure | Self::Xai | Self::Together | Self::Server(_) => {
                ApiError::unknown_argument(name)
            }
            Self::Mistral => mistral::unknown_field(name),
            Self::Fireworks => ApiError::bad(format!("Extra inputs are not permitted, field: '{name}'")),
        }
    }

    /// Which prompt cache a call uses; calls with the same name share one.
    pub(crate) fn cache(self, key: &str, headers: &HeaderMap, fields: &Map<String, Value>) -> CacheSpace {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let field = |name: &str| fields.get(name).and_then(Value::as_str);
        match self {
            Self::OpenAi | Self::Azure | Self::Together | Self::Server(_) => {
                CacheSpace { name: key.to_owned(), tokens_min: None }
            }
            // Without `prompt_cache_key`, Mistral caches nothing.
            Self::Mistral => match field("prompt_cache_key") {
                Some(conversation) => CacheSpace {
                    name: format!("{key} mistral {conversation}"),
                    tokens_min: Some(CACHE_STEP_TOKENS),
                },
                None => CacheSpace { name: format!("{key} mistral"), tokens_min: Some(u64::MAX) },
            },
            // xAI routes a named conversation to one server, so that its prefixes are found again, short ones
            // too.
            Self::Xai => match header("x-grok-conv-id").or_else(|| field("prompt_cache_key")) {
                Some(conversation) => CacheSpace {
                    name: format!("{key} xai {conversation}"),
                    tokens_min: Some(CACHE_STEP_TOKENS),
                },
                None => CacheSpace { name: format!("{key} xai"), tokens_min: None },
            },
            Self::Fireworks => {
                let isolation =
                    field("prompt_cache_isolation_key").or_else(|| header("x-prompt-cache-isolation-key"));
                let off = fields.get("prompt_cache_max_len").and_then(Value::as_u64) == Some(0);
                CacheSpace {
                    name: format!("{key} fireworks {}", isolation.unwrap_or_default()),
                    tokens_min: off.then_some(u64::MAX),
                }
            }
        }
    }
}

impl<'a> Served<'a> {
    pub(crate) fn all(self) -> impl Iterator<Item = &'a Model> {
        self.models.iter().filter(move |model| self.flavour.serves(&model.id))
    }

    pub(crate) fn find(self, name: &str) -> Result<&'a Model, ApiError> {
        let none = || match self.flavour {
            Flavour::Mistral => mistral::no_such_model(name),
            _ => ApiError::model_not_found(name),
        };
        self.all().find(|model| model.id == name).ok_or_else(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, host: Flavour, expected: (Flavour, &str)) {
        assert_eq!(Flavour::of(path, host), expected, "{path}");
    }

    #[test]
    fn a_path_says_whose_it_is() {
        use Flavour::{Fireworks, OpenAi, Xai};
        check("/v1/models", OpenAi, (OpenAi, "/v1/models"));
        check("/v1/models", Xai, (Xai, "/v1/models"));
        check("/xai/v1/responses", OpenAi, (Xai, "/v1/responses"));
        check("/fireworks/inference/v1/models", OpenAi, (Fireworks, "/v1/models"));
        check("/inference/v1/models", Fireworks, (Fireworks, "/v1/models"));
        check("/inference/v1/models", OpenAi, (OpenAi, "/inference/v1/models"));
        check("/old/v1/models", OpenAi, (Flavour::Server(Server::Old), "/v1/models"));
        check("/xaix/v1/models", OpenAi, (OpenAi, "/xaix/v1/models"));
    }
}
