//! `/v1/models`: what the key may use, by the same decision that would serve it.

use admit::Caller;
use catalogue::Modality;
use dialects::chat::{ModelRow, model_object, models_list};
use domain::{Dialect, Fault, FaultClass, TraceId};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use plan::{Question, ServedModel, served_models};
use relay::served_headers;
use settle::{ReplyBody, whole};

use crate::{Core, refuse};

/// Lists what the caller may use, or shows the one model `id`.
#[must_use]
pub fn models(core: &Core, caller: &Caller, id: Option<&str>, trace: TraceId) -> Response<ReplyBody> {
    let question = Question {
        model: "",
        workspace: caller.workspace(),
        project: caller.project(),
        environment: caller.environment(),
        key: caller.key().map(|key| key.id),
        tag: None,
        modality: Modality::Chat,
    };
    let served = served_models(&question, caller.snapshot(), core.now_unix_ms());
    let body = match id {
        None => models_list(&served.into_iter().map(row).collect::<Vec<_>>()),
        Some(id) => match served.into_iter().find(|model| model.id == id) {
            Some(model) => model_object(&row(model)),
            None => return refuse(core, Dialect::Chat, &unknown(id), trace),
        },
    };
    let mut headers = served_headers(trace, None);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    core.counters.answered(200);
    whole(StatusCode::OK, headers, body)
}

/// When a model was made is nothing that sellers agree on; the field must be there and says nothing.
fn row(model: ServedModel) -> ModelRow {
    ModelRow { id: model.id, owned_by: model.owned_by, created: 0 }
}

fn unknown(id: &str) -> Fault {
    let shown: String = id.chars().take(128).collect();
    let message = format!("There is no model \"{shown}\" that this key may use.");
    Fault::new(FaultClass::NotFound, "model_not_found", message)
        .fix("List the models at /v1/models and use one of their ids.")
        .param("model")
}
