//! The servers as a table: their paths, how they refuse, and the names of what they publish, from their documentation and
//! sources as docs/placement.md names them.

use serde_json::{Value, json};

use super::page::Page;
use super::request::Refused;
use super::{json_reply, text_reply};
use crate::loopback::Reply;

/// A kind of server.
#[derive(Debug)]
pub struct Surface {
    pub name: &'static str,
    pub load: PublishedLoad,
    pub(super) pages: &'static [Route],
    pub(super) native: Option<Native>,
    pub(super) form: Form,
    /// The status for a request that it can't read.
    pub(super) invalid_status: u16,
    /// Whether it refuses fields that it does not know; the others ignore them.
    pub(super) refuses_unknown: bool,
    /// The status for a model that it does not have; `None` where it serves whatever is named.
    pub(super) checks_model: Option<u16>,
    pub(super) labels: &'static str,
    pub(super) figures: &'static [Figure],
    pub(super) slots: usize,
    /// How many requests may wait, and the refusal of more; `None` without a bound.
    pub(super) waiting_max: Option<(usize, u16, &'static str)>,
}

/// What a server publishes of its load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishedLoad {
    Nothing,
    /// Which of its slots are busy, and not how many requests wait.
    Slots,
    Queue,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub method: &'static str,
    pub path: &'static str,
    pub page: Page,
}

/// The server's API beside OpenAI's, for a prompt in one field.
#[derive(Debug)]
pub(super) struct Native {
    pub path: &'static str,
    pub prompt: &'static str,
    pub(super) answer: &'static str,
}

#[derive(Debug)]
pub(super) struct Figure {
    pub name: &'static str,
    pub measure: Measure,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Measure {
    Running,
    Waiting,
    Cache,
    Served,
    TokenRate,
    TokenTimes,
}

impl Measure {
    /// The type that Prometheus' format states.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Served => "counter",
            Self::TokenTimes => "histogram",
            Self::Running | Self::Waiting | Self::Cache | Self::TokenRate => "gauge",
        }
    }
}

/// How a server writes errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `{"error": {"message", "type", "param", "code"}}`, and FastAPI's own where it knows no path.
    Nested,
    /// `{"object": "error", "message", …}`, and FastAPI's own where it knows no path.
    Flat,
    /// `{"detail"}`.
    Detail,
    /// `{"error": {"code", "message", "type"}}`, for paths too.
    Coded,
    /// As `Nested`, with a text where it knows no path.
    Plain,
    /// `{"error", "error_type"}`, and nothing where it knows no path.
    Typed,
}

const fn get(path: &'static str, page: Page) -> Route {
    Route { method: "GET", path, page }
}

const fn figure(name: &'static str, measure: Measure) -> Figure {
    Figure { name, measure }
}

/// What most of them do; each states what it does otherwise.
#[rustfmt::skip]
const USUAL: Surface = Surface {
    name: "", load: PublishedLoad::Queue, pages: &[], native: None, form: Form::Nested, invalid_status: 400,
    refuses_unknown: false, checks_model: None, labels: "", figures: &[], slots: 4, waiting_max: None,
};

const LLAMA_SERVER: Surface = Surface {
    name: "llama.cpp",
    pages: &[
        get("/health", Page::Fixed("{\"status\":\"ok\"}")),
        get("/v1/models", Page::Models),
        get("/metrics", Page::Metrics),
        get("/slots", Page::Slots),
    ],
    native: Some(Native { path: "/completion", prompt: "prompt", answer: "content" }),
    form: Form::Coded,
    figures: &[
        figure("llamacpp:n_decode_total", Measure::Served),
        figure("llamacpp:predicted_tokens_seconds", Measure::TokenRate),
        figure("llamacpp:requests_processing", Measure::Running),
        figure("llamacpp:requests_deferred", Measure::Waiting),
    ],
    ..USUAL
};

/// All of them. llama.cpp's server is there twice: it publishes metrics only where a flag says so.
pub static MODEL_SERVERS: [Surface; 7] = [
    Surface {
        name: "vLLM",
        pages: &[
            get("/health", Page::Nothing),
            get("/version", Page::Fixed("{\"version\":\"0.11.0\"}")),
            get("/v1/models", Page::Models),
            get("/metrics", Page::Metrics),
        ],
        checks_model: Some(404),
        labels: "engine=\"0\",model_name=\"MODEL\"",
        figures: &[
            figure("vllm:num_requests_running", Measure::Running),
            figure("vllm:num_requests_waiting", Measure::Waiting),
            figure("vllm:kv_cache_usage_perc", Measure::Cache),
            figure("vllm:request_success_total", Measure::Served),
            figure("vllm:inter_token_latency_seconds", Measure::TokenTimes),
        ],
        ..USUAL
    },
    Surface {
        name: "SGLang",
        pages: &[
            get("/health", Page::Nothing),
            get("/health_generate", Page::Nothing),
            get("/v1/models", Page::Models),
            get("/metrics", Page::Metrics),
        ],
        native: Some(Native { path: "/generate", prompt: "text", answer: "text" }),
        form: Form::Flat,
        labels: "model_name=\"MODEL\"",
        figures: &[
            figure("sglang:num_running_reqs", Measure::Running),
            figure("sglang:num_queue_reqs", Measure::Waiting),
            figure("sglang:token_usage", Measure::Cache),
            figure("sglang:num_requests_total", Measure::Served),
            figure("sglang:inter_token_latency_seconds", Measure::TokenTimes),
        ],
        waiting_max: Some((64, 503, "The request queue is full.")),
        ..USUAL
    },
    LLAMA_SERVER,
    Surface {
        name: "llama.cpp without --metrics",
        load: PublishedLoad::Slots,
        pages: &[
            get("/health", Page::Fixed("{\"status\":\"ok\"}")),
            get("/v1/models", Page::Models),
            get("/metrics", Page::Off("--metrics")),
            get("/slots", Page::Slots),
        ],
        figures: &[],
        ..LLAMA_SERVER
    },
    Surface {
        name: "Ollama",
        load: PublishedLoad::Nothing,
        pages: &[
            get("/", Page::Text("Ollama is running")),
            get("/api/version", Page::Fixed("{\"version\":\"0.12.0\"}")),
            get("/api/tags", Page::Stored),
            get("/api/ps", Page::Loaded),
            get("/v1/models", Page::Models),
        ],
        native: Some(Native { path: "/api/generate", prompt: "prompt", answer: "response" }),
        form: Form::Plain,
        checks_model: Some(404),
        slots: 1,
        waiting_max: Some((16, 503, "server busy, please try again. maximum pending requests exceeded")),
        ..USUAL
    },
    Surface {
        name: "TGI",
        pages: &[
            get("/health", Page::Nothing),
            get("/info", Page::Fixed("{\"version\":\"3.3.0\",\"max_concurrent_requests\":128}")),
            get("/v1/models", Page::Models),
            get("/metrics", Page::Metrics),
        ],
        native: Some(Native { path: "/generate", prompt: "inputs", answer: "generated_text" }),
        form: Form::Typed,
        invalid_status: 422,
        figures: &[
            figure("tgi_batch_current_size", Measure::Running),
            figure("tgi_queue_size", Measure::Waiting),
            figure("tgi_request_success", Measure::Served),
            figure("tgi_request_mean_time_per_token_duration", Measure::TokenTimes),
        ],
        waiting_max: Some((128, 429, "Model is overloaded")),
        ..USUAL
    },
    // Its frontend with OpenAI's API, which publishes the metrics of the server at the same address.
    Surface {
        name: "Triton",
        pages: &[
            get("/health/ready", Page::Nothing),
            get("/v1/models", Page::Models),
            get("/metrics", Page::Metrics),
        ],
        form: Form::Detail,
        invalid_status: 422,
        refuses_unknown: true,
        checks_model: Some(400),
        labels: "model=\"MODEL\",version=\"1\"",
        figures: &[
            figure("nv_inference_request_success", Measure::Served),
            figure("nv_inference_pending_request_count", Measure::Waiting),
        ],
        ..USUAL
    },
];

impl Surface {
    /// Whether what it publishes has its KV cache.
    #[must_use]
    pub fn publishes_cache(&self) -> bool {
        self.figures.iter().any(|figure| matches!(figure.measure, Measure::Cache))
    }

    /// The path and the body of a completion as its own clients write it.
    #[must_use]
    pub fn native_request(&self, model: &str) -> (&'static str, Value) {
        let prompt = "Which tide is it? ".repeat(8);
        match &self.native {
            Some(native) => {
                let mut body = json!({"model": model});
                body[native.prompt] = prompt.into();
                (native.path, body)
            }
            None => {
                let messages = json!([{"role": "user", "content": prompt}]);
                ("/v1/chat/completions", json!({"model": model, "messages": messages}))
            }
        }
    }

    /// The requests that it serves at once.
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.slots
    }

    /// The requests that may wait at most; `None` without a bound.
    #[must_use]
    pub fn waiting_max(&self) -> Option<usize> {
        self.waiting_max.map(|(most, ..)| most)
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = Route> + '_ {
        let completes = |path| Route { method: "POST", path, page: Page::Complete };
        let own = self.native.as_ref().map(|native| completes(native.path));
        self.pages.iter().copied().chain(own).chain([completes("/v1/chat/completions")])
    }

    pub(super) fn slug(&self) -> String {
        self.name.to_ascii_lowercase().replace([' ', '.'], "-")
    }

    pub(super) fn invalid(&self, message: String, field: Option<&str>) -> Refused {
        Refused { status: self.invalid_status, kind: "invalid", message, field: field.map(str::to_owned) }
    }

    pub(super) fn missing(&self, field: &str) -> Refused {
        self.invalid(format!("{field}: Field required"), Some(field))
    }
}

impl Form {
    pub(super) fn unknown_path(self, path: &str) -> Reply {
        match self {
            Self::Nested | Self::Flat | Self::Detail => fastapi_error(404, "Not Found"),
            Self::Coded => {
                let error = json!({"code": 404, "message": "File Not Found", "type": "not_found_error"});
                json_reply(404, &json!({"error": error}))
            }
            Self::Plain => text_reply(404, format!("404 page not found: {path}")),
            Self::Typed => text_reply(404, ""),
        }
    }

    pub(super) fn wrong_method(self, path: &str) -> Reply {
        match self {
            Self::Coded => self.unknown_path(path),
            Self::Nested | Self::Flat | Self::Detail => fastapi_error(405, "Method Not Allowed"),
            Self::Plain | Self::Typed => text_reply(405, ""),
        }
    }

    pub(super) fn refuse(self, refused: &Refused) -> Reply {
        let Refused { status, kind, message, field } = refused;
        let nested = json!({"message": message, "type": kind, "param": field, "code": status});
        let body = match self {
            Self::Nested | Self::Plain => json!({"error": nested}),
            Self::Flat => {
                json!({"object": "error", "message": message, "type": kind, "param": field, "code": status})
            }
            Self::Detail if *status == 422 => {
                json!({"detail": [{"type": "extra_forbidden", "loc": ["body", field], "msg": message}]})
            }
            Self::Detail => json!({"detail": message}),
            Self::Coded => json!({"error": {"code": status, "message": message, "type": kind}}),
            Self::Typed => json!({"error": message, "error_type": kind}),
        };
        json_reply(*status, &body)
    }
}

fn fastapi_error(status: u16, detail: &str) -> Reply {
    json_reply(status, &json!({"detail": detail}))
}
