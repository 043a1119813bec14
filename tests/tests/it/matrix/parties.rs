//! The parties of the SDK matrix: the clients' wire formats, the providers and theirs, and the cells between
//! them.

use harness::bedrock::{REGION, access_keys};
use harness::{Config, Emulator, Flavour, Model};
use serde_json::{Value, json};

use super::cases::Case;
use super::driver::Language;
use super::page::Note;

named! {
    /// The wire format of a client.
    Client, as_str:
    Chat "chat", Responses "responses", Messages "messages", Gemini "gemini", Converse "converse",
}

named! {
    /// A provider in the matrix: at Vertex with Google's own models. The compatible one is a custom server of
    /// the workspace with OpenAI's API.
    Seller, slug:
    OpenAi "openai", Anthropic "anthropic", Gemini "gemini", Xai "xai", Fireworks "fireworks_ai",
    Bedrock "aws_bedrock", Vertex "vertex_ai", Azure "azure_openai", Mistral "mistral",
    Together "together_ai", Compatible "acme",
}

/// The inference profile through which Bedrock serves the requested model.
const HAIKU: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";

/// One cell, streamed or buffered.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    pub client: Client,
    pub seller: Seller,
    pub case: Case,
    pub stream: bool,
}

impl Client {
    /// Whether the SDK for this language is run.
    pub fn is_driven_in(self, language: Language) -> bool {
        self != Self::Converse || language == Language::Python
    }
}

impl Seller {
    /// The workspace's key at this provider; each is different, so that the journal's entries can be told
    /// apart.
    pub fn key(self) -> String {
        format!("sk-{}-5d0c7a19e4b82f6380a1c94e7d2b6f58", self.slug())
    }

    /// The workspace's credential at this provider.
    pub fn credential(self, emulator: &Emulator) -> Value {
        let mut body =
            json!({"provider": self.slug(), "secret": self.key(), "base_url": self.base_url(emulator)});
        match self {
            Self::Bedrock => {
                body["auth"] = "iam_static".into();
                body["secret"] = access_keys(&self.key());
                body["region"] = REGION.into();
            }
            Self::Vertex => {
                let file = emulator.service_account(&self.key());
                body["config"] = json!({"location": "us-east5", "token_url": file["token_uri"]});
                body["auth"] = "service_account".into();
                body["secret"] = file;
            }
            Self::Azure => {
                let (speaks, thinks) = (self.models(), self.upstream_models());
                body["config"] = json!({"deployments": {speaks.0: thinks.0, speaks.1: thinks.1}});
            }
            // The emulator refuses unknown fields, and its wire format has more fields than a probe can
            // discover.
            Self::Compatible => body["stated_facts"] = json!({"unknown_fields": true}),
            _ => {}
        }
        body
    }

    fn base_url(self, emulator: &Emulator) -> String {
        match self {
            Self::OpenAi | Self::Compatible => emulator.base_url(),
            Self::Anthropic => emulator.anthropic_url(),
            Self::Gemini | Self::Vertex => emulator.origin(),
            Self::Bedrock => emulator.bedrock_url(),
            Self::Azure => emulator.base_url_of(Flavour::Azure),
            Self::Mistral => emulator.base_url_of(Flavour::Mistral),
            Self::Together => emulator.base_url_of(Flavour::Together),
            Self::Xai => emulator.base_url_of(Flavour::Xai),
            Self::Fireworks => emulator.base_url_of(Flavour::Fireworks),
        }
    }

    /// The model names that clients use; the second model reasons.
    pub const fn models(self) -> (&'static str, &'static str) {
        match self {
            Self::OpenAi => ("openai/gpt-4o-mini", "openai/gpt-5-mini"),
            Self::Anthropic => ("anthropic/claude-sonnet-4-6", "anthropic/claude-sonnet-4-6"),
            Self::Gemini => ("google/gemini-2.5-flash", "google/gemini-3-flash-preview"),
            Self::Xai => ("xai/grok-4.20-0309-non-reasoning", "xai/grok-4.20-0309-reasoning"),
            Self::Fireworks => ("deepseek-ai/DeepSeek-V3.2", "deepseek-ai/DeepSeek-V4-Pro"),
            Self::Bedrock => ("anthropic/claude-haiku-4-5", "anthropic/claude-haiku-4-5"),
            Self::Vertex => ("google/gemini-2.5-flash", "google/gemini-3-flash-preview"),
            Self::Azure => ("openai/gpt-4o-mini", "openai/gpt-5-mini"),
            Self::Mistral => ("mistralai/mistral-large-2512", "mistralai/magistral-medium-latest"),
            Self::Together => ("moonshotai/Kimi-K2.6", "openai/gpt-oss-120b"),
            Self::Compatible => ("acme/acme-large", "acme/acme-thinks"),
        }
    }

    /// The provider's names for the same two models.
    pub const fn upstream_models(self) -> (&'static str, &'static str) {
        match self {
            Self::OpenAi => ("gpt-4o-mini", "gpt-5-mini"),
            Self::Anthropic => ("claude-sonnet-4-6", "claude-sonnet-4-6"),
            Self::Gemini | Self::Vertex => ("gemini-2.5-flash", "gemini-3-flash-preview"),
            Self::Bedrock => (HAIKU, HAIKU),
            Self::Azure => ("my-gpt-4o-mini", "my-gpt-5-mini"),
            Self::Mistral => ("mistral-large-2512", "magistral-medium-latest"),
            Self::Together => ("moonshotai/Kimi-K2.6", "openai/gpt-oss-120b"),
            Self::Xai => ("grok-4.20-0309-non-reasoning", "grok-4.20-0309-reasoning"),
            Self::Fireworks => {
                ("accounts/fireworks/models/deepseek-v3p2", "accounts/fireworks/models/deepseek-v4-pro")
            }
            Self::Compatible => ("acme-large", "acme-thinks"),
        }
    }

    /// The wire format in which the gateway calls it for this client.
    pub const fn grammar(self, client: Client) -> Client {
        match (self, client) {
            (Self::Anthropic, _) => Client::Messages,
            (Self::Bedrock, _) => Client::Converse,
            (Self::Gemini | Self::Vertex, _) => Client::Gemini,
            (Self::Mistral | Self::Together | Self::Compatible, _) => Client::Chat,
            (Self::OpenAi | Self::Azure | Self::Xai | Self::Fireworks, Client::Responses) => client,
            (Self::OpenAi | Self::Azure | Self::Xai | Self::Fireworks, _) => Client::Chat,
        }
    }
}

impl Cell {
    /// Whether the client's request is passed on unchanged. Two providers have their own fields in OpenAI's
    /// wire format.
    pub fn is_passed_on(&self) -> bool {
        let has_own_words = matches!(self.seller, Seller::Mistral | Seller::Together);
        !has_own_words && self.seller.grammar(self.client) == self.client
    }

    pub fn model(&self) -> (&'static str, &'static str) {
        let (named, upstream) = (self.seller.models(), self.seller.upstream_models());
        if self.case.thinks() { (named.1, upstream.1) } else { (named.0, upstream.0) }
    }

    pub fn name(&self) -> String {
        let form = if self.stream { "streamed" } else { "buffered" };
        format!("{} to {}, {}, {form}", self.client.as_str(), self.seller.slug(), self.case.name())
    }
}

/// All cells of a provider.
pub fn cells(seller: Seller) -> Vec<Cell> {
    let mut cells = Vec::new();
    for client in Client::ALL {
        for case in Case::ALL {
            if Note::of(client, seller, case) != Some(Note::NoSuchField) {
                cells.extend([false, true].map(|stream| Cell { client, seller, case, stream }));
            }
        }
    }
    cells
}

/// An emulator configuration that serves all providers.
pub fn config() -> Config {
    let config = Config::default().keys(Seller::ALL.map(Seller::key));
    Seller::ALL.into_iter().fold(config, |config, seller| {
        let (speaks, thinks) = seller.upstream_models();
        let config = config.model(Model::chat(speaks));
        if thinks == speaks { config } else { config.model(Model::reasoning(thinks)) }
    })
}
