//! What servers publish beside completions: lists of models, health, and load.

use serde_json::{Value, json};

use super::surface::{Figure, Measure, Surface};
use super::{State, json_reply, text_reply};
use crate::loopback::Reply;

/// The KV cache, in tokens.
const CACHE_TOKENS: u64 = 4_096;
const TOKEN_SECONDS: f64 = 0.02;
const MODEL_BYTES: u64 = 6_591_830_464;

/// What a path answers with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Page {
    /// Completions: not rendered here.
    Complete,
    Nothing,
    Text(&'static str),
    /// A fixed JSON document.
    Fixed(&'static str),
    /// Turned off, and how it is turned on.
    Off(&'static str),
    Models,
    Metrics,
    Slots,
    /// The models in memory, or on disk, with their sizes.
    Loaded,
    Stored,
}

impl Page {
    pub(super) fn render(self, surface: &Surface, model: &str, state: &State) -> Option<Reply> {
        Some(match self {
            Self::Complete => return None,
            Self::Nothing => text_reply(200, ""),
            Self::Text(text) => text_reply(200, text),
            Self::Fixed(text) => Reply::of(200, text).with("content-type", "application/json"),
            Self::Off(flag) => {
                let message = format!("This server does not support this endpoint. Start it with `{flag}`");
                let error = json!({"code": 501, "message": message, "type": "not_supported_error"});
                json_reply(501, &json!({"error": error}))
            }
            Self::Models => {
                let row = json!({"id": model, "object": "model", "created": 1, "owned_by": surface.slug()});
                json_reply(200, &json!({"object": "list", "data": [row]}))
            }
            Self::Metrics => Reply::of(200, metrics(surface, model, state))
                .with("content-type", "text/plain; version=0.0.4; charset=utf-8"),
            Self::Slots => json_reply(200, &slots(surface, state)),
            Self::Loaded | Self::Stored => json_reply(200, &self.listed(model)),
        })
    }

    fn listed(self, model: &str) -> Value {
        let details = json!({"format": "gguf", "family": "qwen3", "families": ["qwen3"], "parameter_size": "8.0B", "quantization_level": "Q4_K_M"});
        let mut row = json!({"name": model, "model": model, "size": MODEL_BYTES, "digest": "a2af6cc3", "details": details});
        if matches!(self, Self::Loaded) {
            row["size_vram"] = (MODEL_BYTES / 2).into();
            row["expires_at"] = "2038-01-19T03:14:07Z".into();
            row["context_length"] = 4_096.into();
        } else {
            row["modified_at"] = "2026-01-01T00:00:00Z".into();
        }
        json!({"models": [row]})
    }
}

fn metrics(surface: &Surface, model: &str, state: &State) -> String {
    let labels = surface.labels.replace("MODEL", model);
    surface.figures.iter().map(|figure| render(figure, &labels, state)).collect()
}

fn render(figure: &Figure, labels: &str, state: &State) -> String {
    let Figure { name, measure } = figure;
    let kind = measure.kind();
    let head = format!("# HELP {name} As its documentation says.\n# TYPE {name} {kind}\n");
    let braced = |labels: &str| if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let tokens = state.answer_tokens;
    let own = braced(labels);
    let sample = |value: f64| format!("{head}{name}{own} {value:?}\n");
    match measure {
        Measure::Running => sample(state.running as f64),
        Measure::Waiting => sample(state.waiting as f64),
        Measure::Cache => sample(state.held_tokens as f64 / CACHE_TOKENS as f64),
        Measure::Served => sample(state.served as f64),
        Measure::TokenRate => sample(if tokens == 0 { 0.0 } else { TOKEN_SECONDS.recip() }),
        Measure::TokenTimes => {
            let separator = if labels.is_empty() { "" } else { "," };
            let buckets: String = ["0.01", "0.05", "+Inf"]
                .iter()
                .map(|le| {
                    let within = if *le == "0.01" { 0 } else { tokens };
                    format!("{name}_bucket{{{labels}{separator}le=\"{le}\"}} {within}\n")
                })
                .collect();
            let sum = tokens as f64 * TOKEN_SECONDS;
            format!("{head}{buckets}{name}_sum{own} {sum:?}\n{name}_count{own} {tokens}\n")
        }
    }
}

fn slots(surface: &Surface, state: &State) -> Value {
    let slot = |id: usize| {
        let mut slot =
            json!({"id": id, "n_ctx": 4_096, "speculative": false, "is_processing": id < state.running});
        // Only a slot that had a task before has these.
        if id < state.running {
            slot["id_task"] = id.into();
            slot["n_prompt_tokens"] = 32.into();
            slot["params"] = json!({"n_predict": -1, "temperature": 0.8, "stop": ["}", "is_processing"]});
            slot["next_token"] = json!([{"has_next_token": true, "n_remain": -1, "n_decoded": 3}]);
        }
        slot
    };
    (0..surface.slots).map(slot).collect()
}
