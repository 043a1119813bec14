//! What goes beside the pipeline, or around it: runs, answers under a quality of service, and the state of responses.

use std::rc::Rc;

use ::a2a::A2aRequest;
use admit::Caller;
use bytes::Bytes;
use conversation::request::Addressed;
use conversation::routes::RouteAction;
use decode::{Inbound, SessionHistory};
use domain::limits::BODY_BYTES_MAX;
use domain::{Dialect, Fault, Operation, TraceId, WorkspaceId};
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use line::Core;
use run::{AgentRequest, AppRequest, ConversationRequest, FileRequest, FileUpload, Taken, TaskCallRequest};

use crate::body::{self, TimedBody};
use crate::form;
use crate::handle::{Arrival, CoreHandler, Dispatched, inbound, keyed, refuse, refuse_and_close};
use crate::incoming::Incoming;
use crate::invoked::{as_messages, in_frames};
use crate::mcp::{self, Server, origin};
use crate::quarantine::quarantined;
use crate::reply::{Reply, with_request_id};
use crate::routes::Action;

/// The address of answers under a quality of service, as repeated requests are compared by it.
const RESPONSES: &str = "/v2/responses";
/// That of summaries of conversations.
pub(crate) const COMPACT: &str = "/v1/responses/compact";

/// A request whose body has been read.
struct WholeRequest {
    handler: Rc<CoreHandler>,
    caller: Caller,
    head: Parts,
    /// What the path has below its route's.
    rest: String,
    body: Bytes,
    arrival: Arrival,
}

/// Whether a request is one of those that go beside the pipeline.
pub(crate) const fn is_beside(does: Action) -> bool {
    matches!(
        does,
        Action::Task
            | Action::Files
            | Action::App
            | Action::Mcp
            | Action::A2a
            | Action::Respond
            | Action::Response
            | Action::Conversation
            | Action::Agent
            | Action::Dialect(RouteAction::Compact)
    )
}

/// In which dialect such a request is refused whose body can't be read, and how long that may be.
const fn reading(does: Action) -> (Dialect, usize) {
    match does {
        Action::Mcp => (Dialect::Native, ::mcp::MESSAGE_BYTES_MAX),
        Action::A2a => (Dialect::Native, ::a2a::MESSAGE_BYTES_MAX),
        Action::Respond => (Dialect::Native, BODY_BYTES_MAX),
        Action::Conversation | Action::Dialect(_) => (Dialect::Responses, BODY_BYTES_MAX),
        _ => (Dialect::Run, BODY_BYTES_MAX),
    }
}

/// What is about runs and native answers.
pub(crate) fn beside(
    handler: &Rc<CoreHandler>,
    (does, rest): (Action, String),
    mut head: Parts,
    body: Incoming,
    caller: Caller,
    arrival: Arrival,
) -> Dispatched {
    let handler = Rc::clone(handler);
    if does == Action::Response {
        return response(handler, caller, head.method, rest, arrival);
    }
    let mut body = TimedBody::new(body, handler.times);
    let (dialect, bytes_max) = reading(does);
    Dispatched::Detached(Box::pin(async move {
        let holder = handler.holder(&caller);
        let body = match body::read(&mut body, &mut head.headers, bytes_max, holder).await {
            Ok(body) => body,
            Err(fault) => return refuse_and_close(&handler, dialect, &fault, arrival.trace),
        };
        let whole = WholeRequest { handler, caller, head, rest, body, arrival };
        let answer = match does {
            Action::Respond => whole.respond(RESPONSES).await,
            Action::Dialect(_) => whole.respond(COMPACT).await,
            Action::Files => whole.files().await,
            Action::App => whole.apps().await,
            Action::Mcp => whole.message().await,
            Action::A2a => whole.a2a().await,
            Action::Agent => whole.agents().await,
            Action::Conversation => whole.conversation().await,
            _ => whole.task().await,
        };
        with_request_id(answer, arrival.trace)
    }))
}

impl WholeRequest {
    async fn task(self) -> Response<Reply> {
        let request = TaskCallRequest {
            method: &self.head.method,
            rest: &self.rest,
            query: self.head.uri.query().unwrap_or_default(),
            headers: &self.head.headers,
            body: self.body,
            trace: self.arrival.trace,
            received_unix_ms: self.arrival.unix_ms,
        };
        run::task(&self.handler.core, &self.caller, request).await.map(Reply::from)
    }

    /// A model's answer under a quality of service, or a summary, which its client may repeat under an idempotency key.
    async fn respond(self, path: &'static str) -> Response<Reply> {
        let Self { handler, caller, head, body, arrival, .. } = self;
        let dialect = if path == COMPACT { Dialect::Responses } else { Dialect::Native };
        let key = match line::idempotency_key(&head.headers) {
            Ok(key) => key.map(str::to_owned),
            Err(fault) => return refuse(&handler, dialect, &fault, arrival.trace),
        };
        let place = (path, Operation::Chat, None);
        let _watch = match PanicWatch::begin(&handler, &caller, place, &body, arrival) {
            Ok(watch) => watch,
            Err(fault) => return refuse(&handler, dialect, &fault, arrival.trace),
        };
        let inbound = inbound(head.headers, None, body, dialect, Operation::Chat, arrival);
        match key {
            Some(key) => keyed(&handler.core, inbound, caller, key, path).await.map(Reply::from),
            None if path == COMPACT => run::compact(&handler.core, inbound, caller).await.map(Reply::from),
            None => run::respond(&handler.core, inbound, caller).await.map(Reply::from),
        }
    }

    async fn apps(self) -> Response<Reply> {
        // A repeated `HEAD` or `GET` is the same request.
        let method = if self.head.method == Method::POST { Method::POST } else { Method::GET };
        let request = AppRequest {
            method: &method,
            rest: &self.rest,
            query: self.head.uri.query().unwrap_or_default(),
            headers: &self.head.headers,
            body: self.body,
            trace: self.arrival.trace,
        };
        run::apps(&self.handler.core, &self.caller, &request).await.map(Reply::from)
    }

    async fn agents(self) -> Response<Reply> {
        let request = AgentRequest {
            method: &self.head.method,
            path: self.head.uri.path(),
            query: self.head.uri.query().unwrap_or_default(),
            headers: &self.head.headers,
            body: self.body,
            trace: self.arrival.trace,
            received_unix_ms: self.arrival.unix_ms,
        };
        run::agent(&self.handler.core, &self.caller, request).await.map(Reply::from)
    }

    async fn conversation(self) -> Response<Reply> {
        let request = ConversationRequest {
            method: &self.head.method,
            rest: &self.rest,
            query: self.head.uri.query().unwrap_or_default(),
            body: self.body,
            trace: self.arrival.trace,
        };
        run::conversation(&self.handler.core, &self.caller, request).await.map(Reply::from)
    }

    async fn files(self) -> Response<Reply> {
        let request = FileRequest {
            method: &self.head.method,
            rest: &self.rest,
            headers: &self.head.headers,
            body: self.body,
            origin: origin(&self.head),
            trace: self.arrival.trace,
        };
        run::files(&self.handler.core, &self.caller, request).await.map(Reply::from)
    }

    /// A request of an A2A client.
    async fn a2a(self) -> Response<Reply> {
        let site = self.handler.control.as_ref().and_then(|control| control.service.site());
        let origin = site.map_or_else(|| origin(&self.head), |site| site.base_url(&self.head.headers));
        let request = A2aRequest {
            method: &self.head.method,
            rest: &self.rest,
            query: self.head.uri.query().unwrap_or_default(),
            headers: &self.head.headers,
            body: self.body,
            origin: &origin,
            trace: self.arrival.trace,
            received_unix_ms: self.arrival.unix_ms,
        };
        ::a2a::serve(&self.handler.core, &self.caller, &request).await.map(Reply::from)
    }

    /// A message of an MCP client.
    async fn message(self) -> Response<Reply> {
        let server = Server {
            core: &self.handler.core,
            sessions: &self.handler.mcp,
            control: self.handler.control.as_ref(),
            bodies: &self.handler.bodies,
            times: self.handler.times,
        };
        let from = (self.arrival.peer, self.arrival.trace);
        mcp::serve(&server, &self.caller, &self.head, self.body, from).await
    }
}

fn response(
    handler: Rc<CoreHandler>,
    caller: Caller,
    method: Method,
    rest: String,
    arrival: Arrival,
) -> Dispatched {
    Dispatched::Detached(Box::pin(async move {
        let answer = run::response(&handler.core, &caller, &method, &rest, arrival.trace);
        with_request_id(answer.await.map(Reply::from), arrival.trace)
    }))
}

/// A request of the dialect that has state, of which the gateway keeps what no provider does.
pub(crate) async fn stateful(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Response<Reply> {
    match run::take_response(core, inbound, caller).await {
        Taken::Answered(response) => response.map(Reply::from),
        Taken::Left(inbound, caller) => served(core, *inbound, *caller).await,
    }
}

/// A request that goes through the line, by the response cache where its project has one.
async fn served(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Response<Reply> {
    if line::keeps_answers(&caller) {
        return line::serve_cached(core, inbound, caller).await.map(Reply::from);
    }
    line::serve(core, inbound, caller).await.map(Reply::from)
}

/// A request whose model may call tools that the gateway executes. What its provider runs is served as any other.
pub(crate) async fn with_tools(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Response<Reply> {
    let (inbound, caller) = match toolloop::take(core, inbound, caller).await {
        toolloop::Taken::Answered(response) => return response.map(Reply::from),
        toolloop::Taken::Left(left) => *left,
    };
    if inbound.dialect == Dialect::Responses {
        return stateful(core, inbound, caller).await;
    }
    if SessionHistory::is_named(&inbound.headers)
        || dialects::names_threads(inbound.dialect, &inbound.headers)
    {
        return continued(core, inbound, caller).await;
    }
    served(core, inbound, caller).await
}

/// A request to invoke a model, served as the messages that its body holds.
pub(crate) async fn invoked(
    handler: Rc<CoreHandler>,
    mut inbound: Inbound,
    caller: Caller,
    path: &'static str,
) -> Response<Reply> {
    let (trace, received_us) = (inbound.trace, inbound.received_us);
    let read = as_messages(&mut inbound).and_then(|()| line::idempotency_key(&inbound.headers));
    let key = match read.map(|key| key.map(str::to_owned)) {
        Ok(key) => key,
        Err(fault) => return refuse(&handler, Dialect::Invoke, &fault, trace),
    };
    let core = &handler.core;
    let answer = match key {
        Some(key) => keyed(core, inbound, caller, key, path).await.map(Reply::from),
        None if toolloop::may_want(Dialect::Invoke, inbound.operation, &inbound.headers, &inbound.body) => {
            with_tools(core, inbound, caller).await
        }
        None => served(core, inbound, caller).await,
    };
    in_frames(answer, move || handler.core.deps.world.clock.monotonic_us().saturating_sub(received_us) / 1000)
}

/// A request that may continue a session. Where nothing continues one, the pipeline says so.
pub(crate) async fn continued(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Response<Reply> {
    if run::continues_session(&inbound) {
        return run::serve_continued(core, inbound, caller).await.map(Reply::from);
    }
    line::serve(core, inbound, caller).await.map(Reply::from)
}

/// Content is read as fast as it can be stored, whatever its size.
pub(crate) fn upload(
    handler: &Rc<CoreHandler>,
    head: Parts,
    (rest, body): (String, Incoming),
    arrival: Arrival,
) -> Dispatched {
    let handler = Rc::clone(handler);
    Dispatched::Detached(Box::pin(async move {
        let body = form::stream(TimedBody::new(body, handler.times));
        let (origin, trace) = (origin(&head), arrival.trace);
        let request = FileUpload { rest: &rest, headers: &head.headers, body: body.clone(), origin, trace };
        let answer = run::upload(&handler.core, request).await;
        let mut answer = with_request_id(answer.map(Reply::from), trace);
        if body.left() != Some(0) && !answer.status().is_success() {
            // The rest of it is not read as a next request.
            answer.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }))
}

pub(crate) fn linked(handler: &Rc<CoreHandler>, link: String, trace: TraceId) -> Dispatched {
    let handler = Rc::clone(handler);
    Dispatched::Detached(Box::pin(async move {
        with_request_id(run::linked(&handler.core, &link, trace).await.map(Reply::from), trace)
    }))
}

/// A request until the head of its answer is there. Where a panic ends it, the panic drops this.
pub(crate) struct PanicWatch {
    handler: Rc<CoreHandler>,
    workspace: WorkspaceId,
    path: &'static str,
    /// A hash of the operation, the model and the id that the address names; the body names none of them.
    address: u64,
    body: Bytes,
}

impl PanicWatch {
    /// # Errors
    /// The request is in quarantine.
    pub(crate) fn begin(
        handler: &Rc<CoreHandler>,
        caller: &Caller,
        (path, operation, addressed): (&'static str, Operation, Option<&Addressed>),
        body: &Bytes,
        arrival: Arrival,
    ) -> Result<Self, Box<Fault>> {
        let (handler, workspace) = (Rc::clone(handler), caller.workspace().id);
        let address = addressed.map_or(0, |Addressed { model, stream, stored, .. }| {
            let stored = stored.as_ref().map(|stored| &stored.id);
            handler.quarantine.fingerprint((operation, model, stream, stored))
        });
        let watch = Self { handler, workspace, path, address, body: body.clone() };
        match watch.handler.quarantine.left_us(|| watch.fingerprint(), arrival.us) {
            Some(left_us) => Err(quarantined(left_us, arrival.unix_ms)),
            None => Ok(watch),
        }
    }

    fn fingerprint(&self) -> u64 {
        self.handler.quarantine.fingerprint((self.workspace, self.path, self.address, &self.body))
    }
}

impl Drop for PanicWatch {
    fn drop(&mut self) {
        // Requests without a body differ by more than their path.
        if std::thread::panicking() && !self.body.is_empty() {
            let now_us = self.handler.core.deps.world.clock.monotonic_us();
            self.handler.quarantine.suspect(self.fingerprint(), now_us);
        }
    }
}
