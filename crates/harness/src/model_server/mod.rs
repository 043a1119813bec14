//! Strict emulations of the inference servers that teams run themselves: each answers at its own paths, in its own error
//! format, and publishes its load as its documentation says. Requests wait in a queue for a slot and hold a part of the KV
//! cache, so that what is published changes with what is sent.

#![expect(
    clippy::indexing_slicing,
    reason = "a member that a request lacks is null, and answers are made here"
)]

mod page;
mod request;
mod surface;

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use self::request::{Completion, Refused};
use crate::loopback::{HttpRequest, Loopback, Reply};

pub use surface::{MODEL_SERVERS, PublishedLoad, Surface};

/// A running server; dropping it closes its address.
pub struct ModelServer {
    shared: Arc<Shared>,
    loopback: Loopback,
}

struct Shared {
    surface: &'static Surface,
    model: String,
    state: Mutex<State>,
    changed: Condvar,
}

/// What a server publishes of itself.
#[derive(Debug, Default, Clone)]
struct State {
    /// Whether answers wait for [`ModelServer::release`].
    is_held: bool,
    running: usize,
    waiting: usize,
    /// The tokens of prompts and answers that running requests have in the KV cache.
    held_tokens: u64,
    served: u64,
    answer_tokens: u64,
    /// All requests, such as `GET /metrics`.
    requests: Vec<String>,
}

impl ModelServer {
    /// Starts on a thread.
    ///
    /// # Errors
    /// Of the socket.
    pub fn start(surface: &'static Surface, model: &str) -> io::Result<Self> {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { surface, model: model.to_owned(), state, changed });
        let answering = Arc::clone(&shared);
        let loopback = Loopback::start(move |request| Some(answering.answer(request)))?;
        Ok(Self { shared, loopback })
    }

    #[must_use]
    pub fn origin(&self) -> String {
        self.loopback.origin()
    }

    /// The address that OpenAI clients use.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.origin())
    }

    /// From now on requests that have a slot keep it, until they are released.
    pub fn hold(&self) {
        self.shared.locked().is_held = true;
    }

    /// Ends all requests that run or wait.
    pub fn release(&self) {
        self.shared.locked().is_held = false;
        self.shared.changed.notify_all();
    }

    /// Requests that have a slot, and those that wait for one.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        let state = self.shared.locked();
        (state.running, state.waiting)
    }

    /// The requests that it answered with a completion.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.shared.locked().served
    }

    /// The methods and paths of all requests.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.shared.locked().requests.clone()
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.release();
    }
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &HttpRequest) -> Reply {
        let path = request.target.split('?').next().unwrap_or_default();
        self.locked().requests.push(format!("{} {path}", request.method));
        let surface = self.surface;
        let Some(route) = surface.routes().find(|route| route.path == path) else {
            return surface.form.unknown_path(path);
        };
        if route.method != request.method {
            return surface.form.wrong_method(path);
        }
        let page = route.page.render(surface, &self.model, &self.locked());
        page.unwrap_or_else(|| {
            self.complete(request, path).unwrap_or_else(|refused| surface.form.refuse(&refused))
        })
    }

    fn complete(&self, request: &HttpRequest, path: &str) -> Result<Reply, Refused> {
        let wanted = Completion::read(self.surface, &self.model, path, &request.body)?;
        self.take_slot(wanted.held_tokens())?;
        let mut state = self.locked();
        state = self.changed.wait_while(state, |state| state.is_held).unwrap_or_else(PoisonError::into_inner);
        state.running -= 1;
        state.held_tokens -= wanted.held_tokens();
        state.served += 1;
        state.answer_tokens += request::ANSWER_TOKENS;
        drop(state);
        self.changed.notify_all();
        Ok(wanted.answer(self.surface, &self.model))
    }

    /// Waits in the queue until a slot is free.
    fn take_slot(&self, tokens: u64) -> Result<(), Refused> {
        let surface = self.surface;
        let mut state = self.locked();
        if state.running >= surface.slots {
            if let Some((waiting_max, status, message)) = surface.waiting_max
                && state.waiting >= waiting_max
            {
                return Err(Refused { status, kind: "overloaded", message: message.to_owned(), field: None });
            }
            state.waiting += 1;
            let is_full = |state: &mut State| state.running >= surface.slots;
            state = self.changed.wait_while(state, is_full).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        state.running += 1;
        state.held_tokens += tokens;
        Ok(())
    }
}

/// A JSON reply.
fn json_reply(status: u16, body: &serde_json::Value) -> Reply {
    Reply::of(status, body.to_string()).with("content-type", "application/json")
}

/// A plain text.
fn text_reply(status: u16, text: impl Into<String>) -> Reply {
    Reply::of(status, text).with("content-type", "text/plain; charset=utf-8")
}
