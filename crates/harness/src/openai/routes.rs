//! The paths below `/v1`: the endpoints, their methods, and the vendors that serve them.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::audio::{self, Task};
use super::error::ApiError;
use super::flavour::{Flavour, Served};
use super::pictures::{self, Change};
use super::responses::service as responses;
use super::server::Server;
use super::{batches, completions, embeddings, files, media, models, moderations, realtime, request, videos};
use crate::emulator::Behaviour;
use crate::emulator::answering;
use crate::emulator::service::{self, Answer, json_answer};
use crate::emulator::state::{Guard, Shared};
use crate::emulator::wire::Control;

/// One call whose key was accepted.
pub(crate) struct OpenAiCall<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) control: &'a Control,
    pub(crate) guard: &'a Guard,
    pub(crate) head: &'a http::request::Parts,
    pub(crate) body: &'a Bytes,
    pub(crate) key: &'a str,
    pub(crate) flavour: Flavour,
}

pub(crate) enum Route {
    Models,
    Model(String),
    Chat,
    Completions,
    Embeddings,
    Moderations,
    Images,
    Change(Change),
    Speech,
    Rerank,
    Listen(Task),
    Videos,
    AllVideos,
    Video(String, videos::Act),
    Responses,
    InputTokens,
    Response(String),
    DeleteResponse(String),
    CancelResponse(String),
    InputItems(String),
    Realtime,
    Upload,
    Files,
    File(String),
    DeleteFile(String),
    FileContent(String),
    CreateBatch,
    Batches,
    Batch(String),
    CancelBatch(String),
}

pub(crate) fn route(flavour: Flavour, method: &Method, path: &str) -> Result<Route, ApiError> {
    let unknown = || ApiError::invalid_url(method.as_str(), path);
    if let Some(below) = path.strip_prefix("/v1/responses/").filter(|id| !id.is_empty()) {
        return below_responses(flavour, method, path, below);
    }
    if let Some(below) = path.strip_prefix("/v1/files").filter(|_| flavour == Flavour::OpenAi) {
        return files_route(method, path, below);
    }
    if let Some(below) = path.strip_prefix("/v1/batches").filter(|_| flavour == Flavour::OpenAi) {
        return batches_route(method, path, below);
    }
    if let Some(below) = path.strip_prefix("/v1/videos/").filter(|_| has_videos(flavour)) {
        let (id, rest) = below.split_once('/').unwrap_or((below, ""));
        return videos::act(method, rest)
            .map(|act| Route::Video(id.to_owned(), act))
            .ok_or_else(|| ApiError::wrong_method(method.as_str(), path));
    }
    let (wanted, route) = match path {
        "/v1/videos" if has_videos(flavour) && *method == Method::GET => (Method::GET, Route::AllVideos),
        "/v1/videos" if has_videos(flavour) => (Method::POST, Route::Videos),
        "/v1/chat/completions" => (Method::POST, Route::Chat),
        "/v1/completions" => (Method::POST, Route::Completions),
        "/v1/embeddings" => (Method::POST, Route::Embeddings),
        "/v1/moderations" if flavour == Flavour::OpenAi => (Method::POST, Route::Moderations),
        "/v1/images/generations" if has_media(flavour) => (Method::POST, Route::Images),
        "/v1/images/edits" if has_media(flavour) && flavour != Flavour::Together => {
            (Method::POST, Route::Change(Change::Edit))
        }
        "/v1/images/variations" if flavour == Flavour::OpenAi || is_lenient(flavour) => {
            (Method::POST, Route::Change(Change::Vary))
        }
        "/v1/audio/speech" if has_media(flavour) => (Method::POST, Route::Speech),
        "/v1/rerank" if has_rerank(flavour) => (Method::POST, Route::Rerank),
        "/v1/audio/transcriptions" if flavour.listens() => (Method::POST, Route::Listen(Task::Transcribe)),
        "/v1/audio/translations" if flavour.listens() => (Method::POST, Route::Listen(Task::Translate)),
        "/v1/responses" => (Method::POST, Route::Responses),
        "/v1/realtime" if has_realtime(flavour) => (Method::GET, Route::Realtime),
        "/v1/models" => (Method::GET, Route::Models),
        _ => {
            let id = path.strip_prefix("/v1/models/").filter(|id| !id.is_empty()).ok_or_else(unknown)?;
            (Method::GET, Route::Model(percent_decode_str(id).decode_utf8_lossy().into_owned()))
        }
    };
    if *method == wanted { Ok(route) } else { Err(ApiError::wrong_method(method.as_str(), path)) }
}

fn has_realtime(flavour: Flavour) -> bool {
    matches!(flavour, Flavour::OpenAi | Flavour::Azure | Flavour::Xai)
}

fn has_videos(flavour: Flavour) -> bool {
    matches!(flavour, Flavour::OpenAi | Flavour::Azure) || is_lenient(flavour)
}

fn has_media(flavour: Flavour) -> bool {
    matches!(flavour, Flavour::OpenAi | Flavour::Azure | Flavour::Together) || is_lenient(flavour)
}

fn has_rerank(flavour: Flavour) -> bool {
    matches!(flavour, Flavour::Together | Flavour::Fireworks | Flavour::Server(Server::Vllm))
        || is_lenient(flavour)
}

fn is_lenient(flavour: Flavour) -> bool {
    flavour == Flavour::Server(Server::Lenient)
}

fn below_responses(flavour: Flavour, method: &Method, path: &str, below: &str) -> Result<Route, ApiError> {
    let (id, rest) = below.split_once('/').unwrap_or((below, ""));
    let id = id.to_owned();
    let wrong = || ApiError::wrong_method(method.as_str(), path);
    if flavour == Flavour::Xai && matches!(rest, "cancel" | "input_items") {
        return Err(ApiError::invalid_url(method.as_str(), path));
    }
    match (id.as_str(), rest, method) {
        ("input_tokens", "", &Method::POST) => Ok(Route::InputTokens),
        ("input_tokens", "", _) => Err(wrong()),
        (_, "", &Method::GET) => Ok(Route::Response(id)),
        (_, "", &Method::DELETE) => Ok(Route::DeleteResponse(id)),
        (_, "cancel", &Method::POST) => Ok(Route::CancelResponse(id)),
        (_, "input_items", &Method::GET) => Ok(Route::InputItems(id)),
        (_, "" | "cancel" | "input_items", _) => Err(wrong()),
        _ => Err(ApiError::invalid_url(method.as_str(), path)),
    }
}

fn batches_route(method: &Method, path: &str, below: &str) -> Result<Route, ApiError> {
    let (id, rest) = below.strip_prefix('/').map_or(("", below), |id| id.split_once('/').unwrap_or((id, "")));
    match (id, rest, method) {
        ("", "", &Method::POST) => Ok(Route::CreateBatch),
        ("", "", &Method::GET) => Ok(Route::Batches),
        (id, "", &Method::GET) if !id.is_empty() => Ok(Route::Batch(id.to_owned())),
        (id, "cancel", &Method::POST) => Ok(Route::CancelBatch(id.to_owned())),
        (_, "" | "cancel", _) => Err(ApiError::wrong_method(method.as_str(), path)),
        _ => Err(ApiError::invalid_url(method.as_str(), path)),
    }
}

fn files_route(method: &Method, path: &str, below: &str) -> Result<Route, ApiError> {
    let (id, rest) = below.strip_prefix('/').map_or(("", below), |id| id.split_once('/').unwrap_or((id, "")));
    let wrong = || ApiError::wrong_method(method.as_str(), path);
    match (id, rest, method) {
        ("", "", &Method::POST) => Ok(Route::Upload),
        ("", "", &Method::GET) => Ok(Route::Files),
        ("", "", _) => Err(wrong()),
        (id, "", &Method::GET) => Ok(Route::File(id.to_owned())),
        (id, "", &Method::DELETE) => Ok(Route::DeleteFile(id.to_owned())),
        (id, "content", &Method::GET) => Ok(Route::FileContent(id.to_owned())),
        (_, "" | "content", _) => Err(wrong()),
        _ => Err(ApiError::invalid_url(method.as_str(), path)),
    }
}

pub(crate) async fn answer(call: &OpenAiCall<'_>, route: Route) -> Result<Answer, ApiError> {
    match route {
        Route::Models => Ok(json_answer(200, Vec::new(), &models::all(call.served()))),
        Route::Model(id) => Ok(json_answer(200, Vec::new(), &models::one(call.served(), &id)?)),
        Route::Chat => chat(call).await,
        Route::Completions => completions::answer(call).await,
        Route::Embeddings => {
            let fields = call.fields()?;
            let wanted = embeddings::read(&fields, call.served())?;
            let behaviour = call.begin(&wanted.model, false, wanted.script.as_deref()).await?;
            answering::embeddings(call, &wanted, &behaviour)
        }
        Route::Moderations => moderations::answer(call).await,
        Route::Images => pictures::images(call).await,
        Route::Change(change) => pictures::change(call, change).await,
        Route::Speech => media::speech(call).await,
        Route::Rerank => media::rerank(call).await,
        Route::Videos => videos::create(call).await,
        Route::AllVideos => videos::all(call),
        Route::Video(id, act) => videos::look(call, &id, act).await,
        Route::Listen(task) => audio::answer(call, task).await,
        Route::Responses => responses::create(call).await,
        Route::InputTokens => responses::input_tokens(call),
        Route::Response(id) => responses::get(call, &id),
        Route::DeleteResponse(id) => {
            if let Some(behaviour) = call.shared.next_of_deletions(call.key) {
                service::before_head(call.control, call.guard, &behaviour).await;
            }
            responses::delete(call, &id)
        }
        Route::CancelResponse(id) => responses::cancel(call, &id),
        Route::InputItems(id) => responses::input_items(call, &id),
        Route::Realtime => realtime::open(call).await,
        Route::Upload => files::upload(call),
        Route::Files => files::list(call),
        Route::File(id) => files::show(call, &id),
        Route::DeleteFile(id) => files::delete(call, &id),
        Route::FileContent(id) => files::content(call, &id),
        Route::CreateBatch => batches::create(call),
        Route::Batches => batches::list(call),
        Route::Batch(id) => batches::show(call, &id),
        Route::CancelBatch(id) => batches::cancel(call, &id),
    }
}

async fn chat(call: &OpenAiCall<'_>) -> Result<Answer, ApiError> {
    let fields = call.fields()?;
    let mut chat = request::chat(&fields, call.served())?;
    files::check_named(call, &fields)?;
    let behaviour = call.begin(&chat.model, chat.stream, chat.script.as_deref()).await?;
    let cache = call.flavour.cache(call.key, &call.head.headers, &fields);
    answering::chat(call, &mut chat, &cache, &behaviour)
}

impl OpenAiCall<'_> {
    pub(crate) fn served(&self) -> Served<'_> {
        self.shared.served(self.flavour)
    }

    /// The body's fields.
    pub(crate) fn fields(&self) -> Result<Map<String, Value>, ApiError> {
        service::fields(&self.head.headers, self.body)
    }

    /// The call's number in the journal.
    pub(crate) fn number(&self) -> u64 {
        self.guard.number()
    }

    /// Records an accepted request in the journal, finds its script, and waits for the script's latency.
    pub(crate) async fn begin(
        &self,
        model: &str,
        stream: bool,
        script: Option<&str>,
    ) -> Result<Behaviour, ApiError> {
        self.guard.note(|entry| {
            entry.model = Some(model.to_owned());
            entry.stream = stream;
        });
        let behaviour = service::behaviour(self.shared, self.key, script)?;
        service::before_head(self.control, self.guard, &behaviour).await;
        Ok(behaviour)
    }
}
