//! An emulator's configuration: its models, its keys, and the state of each key.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::behaviour::setters;
use crate::anthropic::models::ClaudeModel;
use crate::openai::flavour::Flavour;

/// The kind of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Chat,
    /// A chat model with hidden reasoning that rejects sampling parameters.
    Reasoning,
    /// A legacy completion model; serves `/v1/completions` only.
    Completion,
    Embedding,
    Image,
    Speech,
    Rerank,
    Video,
}

/// One served model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    pub id: String,
    pub kind: Kind,
    /// The maximum of prompt and completion tokens together.
    pub context_tokens_max: u64,
    /// The highest output limit that a request may set; unchecked if absent.
    pub output_tokens_max: Option<u64>,
}

/// The state of an accepted key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    Ok,
    /// 401 `invalid_api_key`.
    Revoked,
    /// 429 `insufficient_quota`.
    Exhausted,
    /// 412, as Fireworks answers for an account that has not paid. Anthropic and Google have no such error
    /// and answer as for `Exhausted`.
    Suspended,
    /// 429 `rate_limit_exceeded` with `retry-after` and `retry-after-ms`.
    RateLimited {
        retry_after_ms: u64,
    },
}

/// The configuration of an emulator.
#[derive(Debug, Clone)]
pub struct Config {
    /// A loopback address; port 0 picks a free one.
    pub listen: String,
    /// The vendor that is served at the host's root; the other vendors are always served under their own base
    /// paths.
    pub flavour: Flavour,
    pub keys: Vec<(String, KeyState)>,
    pub models: Vec<Model>,
    /// The models served under Anthropic's paths, and only there.
    pub claude_models: Vec<ClaudeModel>,
    /// Vendor-specific fields accepted in addition to OpenAI's, at any level.
    pub accepted_fields: Vec<String>,
    /// How long a prefix that Anthropic caches for five minutes lives without a read.
    pub claude_cache_lifetime: Duration,
    /// Gemini caches no prompt by itself: whether it does is nowhere promised.
    pub gemini_forgets: bool,
    /// Serves TLS with a certificate generated at start.
    pub tls: bool,
    /// Where `ca.pem` is written; needs `tls`.
    pub tls_dir: Option<PathBuf>,
    pub h2_streams_max: u32,
    /// Worker threads; they belong to the emulator, so that a test's runtime cannot starve it.
    pub workers: usize,
    /// Number of journal entries retained; the oldest are dropped first.
    pub entries_max: usize,
    /// Larger request bodies are answered 413.
    pub body_bytes_max: usize,
}

/// The key that an emulator accepts by default.
const DEFAULT_KEY: &str = "sk-emulator-0123456789abcdef";

setters! { Config {
    true: gemini_forgets tls;
    [flavour] flavour: Flavour => flavour;
    [claude_cache_lifetime] lifetime: Duration => lifetime;
    [listen] address: impl Into<String> => address.into();
    [h2_streams_max] streams: u32 => streams;
} }

impl Config {
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.keys.push((key.into(), KeyState::Ok));
        self
    }

    /// Replaces the accepted keys.
    pub fn keys<K: Into<String>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.keys = keys.into_iter().map(|key| (key.into(), KeyState::Ok)).collect();
        self
    }

    pub fn model(mut self, model: Model) -> Self {
        self.models.push(model);
        self
    }

    pub fn claude_model(mut self, model: ClaudeModel) -> Self {
        self.claude_models.push(model);
        self
    }

    pub fn accept_field(mut self, name: impl Into<String>) -> Self {
        self.accepted_fields.push(name.into());
        self
    }

    pub fn tls_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.tls = true;
        self.tls_dir = Some(directory.into());
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            flavour: Flavour::OpenAi,
            keys: vec![(DEFAULT_KEY.to_owned(), KeyState::Ok)],
            models: vec![
                Model::chat("gpt-4o").output_tokens_max(16_384),
                Model::chat("gpt-4o-mini").output_tokens_max(16_384),
                Model::reasoning("gpt-5-mini").output_tokens_max(128_000),
                Model::embedding("text-embedding-3-small"),
                Model::chat("meta-llama/Llama-3.3-70B-Instruct"),
                Model::chat("meta-llama/Llama-3.3-70B-Instruct-Turbo"),
                Model::completion("gpt-3.5-turbo-instruct"),
                Model::chat("grok-3"),
                Model::reasoning("grok-4"),
                Model::chat("mistral-large-2512"),
                Model::chat("mistral-small-2603"),
                Model::reasoning("magistral-medium-latest"),
                Model::embedding("mistral-embed"),
                Model::chat("accounts/fireworks/models/llama-v3p3-70b-instruct"),
                Model::reasoning("accounts/fireworks/models/gpt-oss-120b"),
            ],
            claude_models: ClaudeModel::all(),
            accepted_fields: Vec::new(),
            claude_cache_lifetime: Duration::from_secs(300),
            gemini_forgets: false,
            tls: false,
            tls_dir: None,
            h2_streams_max: 100,
            workers: 2,
            entries_max: 50_000,
            body_bytes_max: 64 * 1024 * 1024,
        }
    }
}

setters! { Model {
    true: ;
    [context_tokens_max] tokens: u64 => tokens;
    [output_tokens_max] tokens: u64 => Some(tokens);
} }

/// A model of each kind, with its usual context.
macro_rules! kinds {
    ($($name:ident: $kind:ident, $context_tokens_max:literal;)*) => {
        impl Model {
            $(pub fn $name(id: impl Into<String>) -> Self {
                let (id, context_tokens_max) = (id.into(), $context_tokens_max);
                Self { id, kind: Kind::$kind, context_tokens_max, output_tokens_max: None }
            })*
        }
    };
}

kinds! {
    chat: Chat, 128_000;
    reasoning: Reasoning, 400_000;
    completion: Completion, 4_096;
    embedding: Embedding, 8_192;
    image: Image, 8_192;
    video: Video, 8_192;
    speech: Speech, 8_192;
    rerank: Rerank, 32_768;
}

impl Model {
    /// Derives the kind from the name, as the binary's `--models` does.
    pub fn named(id: &str) -> Self {
        let names = |parts: &[&str]| parts.iter().any(|part| id.to_lowercase().contains(part));
        if id.contains("embedding") {
            Self::embedding(id)
        } else if names(&["gpt-image", "flux"]) {
            Self::image(id)
        } else if names(&["sora"]) {
            Self::video(id)
        } else if names(&["tts"]) {
            Self::speech(id)
        } else if names(&["rerank", "-rank-"]) {
            Self::rerank(id)
        } else if id.ends_with("-turbo-instruct") {
            Self::completion(id)
        } else if ["o1", "o3", "o4", "gpt-5", "grok-4"].iter().any(|family| id.starts_with(family)) {
            Self::reasoning(id)
        } else {
            Self::chat(id)
        }
    }
}
