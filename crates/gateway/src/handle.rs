//! From a request to an answer: routes it, identifies the caller before the body is read, and contains panics.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use admit::{Caller, Needs, Signed, SignedHead};
use api::tunnels::TunnelEntrance;
use bytes::Bytes;
use conversation::request::{Addressed, StoredAct};
use conversation::routes::RouteAction;
use decode::{Inbound, SessionHistory, comes_as_form};
use domain::limits::BODY_BYTES_MAX;
use domain::{Dialect, Fault, FaultClass, Operation, StoredKind, TraceId};
use futures_util::FutureExt;
use futures_util::future::Either;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version};
use line::{Core, Keyed, RecordedBody};
use run::Taken;

use crate::beside::{self, COMPACT, PanicWatch, beside, continued, invoked, is_beside, stateful, with_tools};
use crate::body::{self, TimedBody};
use crate::client::Proxies;
use crate::control::ControlHandle;
use crate::form;
use crate::held_bodies::{HeldBodies, Holder};
use crate::http1::{Arrived, Refusal};
use crate::in_flight::Permit;
use crate::incoming::Incoming;
use crate::mcp;
use crate::metrics::Cores;
use crate::moved::{CoreSenders, serve_tunnel};
use crate::quarantine::Quarantine;
use crate::realtime;
use crate::reply::{HandedOver, Reply, with_request_id};
use crate::routes::{self, Access, Action, Found, Route, aliases, dialect_at, operation_at};
use crate::shed::Shedder;
use crate::unrouted::{no_route, unknown};
use crate::vendor_paths::Translation;
use crate::{AskReadiness, Origins, Readiness, Times};

/// What one core answers requests with.
pub(crate) struct CoreHandler {
    pub core: Rc<Core>,
    pub table: Vec<Route>,
    pub times: Times,
    pub control: Option<ControlHandle>,
    pub ready: AskReadiness,
    pub cores: Cores,
    pub senders: Rc<CoreSenders>,
    pub proxies: Proxies,
    pub origins: Origins,
    pub shedder: Rc<Shedder>,
    /// The sessions of MCP clients; shared by all cores.
    pub mcp: mcp::SharedSessions,
    pub bodies: Arc<HeldBodies>,
    pub quarantine: Arc<Quarantine>,
}

/// When a request arrived, and from where.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub trace: TraceId,
    /// The client's address, if a trusted proxy names it; else the connection's.
    pub peer: IpAddr,
    /// The connection itself comes from this machine.
    is_loopback: bool,
    pub us: u64,
    pub unix_ms: u64,
}

impl CoreHandler {
    /// For whom a body of this caller's arrives.
    pub(crate) fn holder(&self, caller: &Caller) -> Holder<'_> {
        Holder { bodies: &self.bodies, workspace: Some(caller.workspace().id) }
    }

    fn arrival(&self, peer: SocketAddr, arrived: &Arrived) -> Arrival {
        let world = &self.core.deps.world;
        let unix_ms = world.clock.unix_ms();
        let us = world.clock.monotonic_us();
        // An IPv4 client of a dual-stack listener is the IPv4 client that allowlists name.
        let from = peer.ip().to_canonical();
        let peer = match arrived {
            Arrived::Request(request) => self.proxies.client(from, request.headers()),
            Arrived::Refused(_) => from,
        };
        let is_near = from.is_loopback();
        Arrival { trace: TraceId::new(unix_ms, world.id_bytes()), peer, is_loopback: is_near, us, unix_ms }
    }
}

/// Answers one request of any kind.
pub(crate) fn answer(
    handler: Rc<CoreHandler>,
    arrived: Arrived,
    peer: SocketAddr,
) -> impl Future<Output = Response<Reply>> {
    let arrival = handler.arrival(peer, &arrived);
    let mut found = OfRequest { dialect: Dialect::Chat, permit: None };
    let dispatched = std::panic::catch_unwind(AssertUnwindSafe(|| match arrived {
        Arrived::Request(request) => dispatch(&handler, request, arrival, &mut found),
        Arrived::Refused(refusal) => Dispatched::Answered(refused_head(&handler, refusal, arrival.trace)),
    }));
    let OfRequest { dialect, permit } = found;
    let apart = match dispatched {
        Ok(Dispatched::Trip { headers, body, trip }) => {
            let served = serve_call(Rc::clone(&handler), headers, body, trip, arrival);
            return Either::Left(caught(served, handler, (dialect, arrival.trace), permit));
        }
        Ok(Dispatched::Answered(answer)) => Either::Left(std::future::ready(answer)),
        Ok(Dispatched::Detached(answer)) => {
            Either::Right(caught(answer, handler, (dialect, arrival.trace), permit))
        }
        Err(_) => Either::Left(std::future::ready(panicked(&handler, dialect, arrival.trace))),
    };
    Either::Right(apart)
}

fn caught<F: Future<Output = Response<Reply>>>(
    answering: F,
    handler: Rc<CoreHandler>,
    (dialect, trace): (Dialect, TraceId),
    permit: Option<Permit>,
) -> impl Future<Output = Response<Reply>> {
    let caught = AssertUnwindSafe(answering).catch_unwind();
    caught.map(move |caught| match caught {
        // The reply to a signed request holds its permit already.
        Ok(answer) if permit.is_none() => answer,
        Ok(answer) => answer.map(|reply| reply.with_permit(permit)),
        Err(_) => panicked(&handler, dialect, trace),
    })
}

fn panicked(handler: &CoreHandler, dialect: Dialect, trace: TraceId) -> Response<Reply> {
    tracing::error!(request = %trace, "a panic ended a request");
    refuse(handler, dialect, &Fault::internal(), trace)
}

pub(crate) fn refuse(
    handler: &CoreHandler,
    dialect: Dialect,
    fault: &Fault,
    trace: TraceId,
) -> Response<Reply> {
    line::refuse(&handler.core, dialect, fault, trace).map(Reply::from)
}

/// Refuses and closes the connection: what the client goes on sending is not read as a next request.
pub(crate) fn refuse_and_close(
    handler: &CoreHandler,
    dialect: Dialect,
    fault: &Fault,
    trace: TraceId,
) -> Response<Reply> {
    let mut answer = refuse(handler, dialect, fault, trace);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// What is found out of a request on the way, and remains where the way ends in a panic.
struct OfRequest {
    /// In which such an end is told.
    dialect: Dialect,
    permit: Option<Permit>,
}

/// What a request head leads to.
pub(crate) enum Dispatched {
    /// It is answered already.
    Answered(Response<Reply>),
    Trip {
        headers: HeaderMap,
        body: TimedBody,
        trip: Trip,
    },
    /// Other work that takes time. Boxed: inline, it would be a part of every request's future.
    Detached(Pin<Box<dyn Future<Output = Response<Reply>>>>),
}

/// What only some requests need is boxed: every connection is as large as this future.
#[expect(clippy::manual_async_fn, reason = "an `async fn` would keep its arguments twice")]
fn serve_call(
    handler: Rc<CoreHandler>,
    mut headers: HeaderMap,
    mut body: TimedBody,
    trip: Trip,
    arrival: Arrival,
) -> impl Future<Output = Response<Reply>> {
    async move {
        if trip.is_made() && comes_as_form(trip.operation, &headers) {
            return Box::pin(serve_form(handler, headers, body, trip, arrival)).await;
        }
        let Trip { caller, path, dialect, operation, addressed, translation } = trip;
        let read = body::read(&mut body, &mut headers, BODY_BYTES_MAX, handler.holder(&caller)).await;
        drop(body);
        let body = match read {
            Ok(body) => match translation {
                Some(translation) => translation.apply(&mut headers, body),
                None => body,
            },
            Err(fault) => return refuse_and_close(&handler, dialect, &fault, arrival.trace),
        };
        let place = (path, operation, addressed.as_deref());
        let _watch = match PanicWatch::begin(&handler, &caller, place, &body, arrival) {
            Ok(watch) => watch,
            Err(fault) => return refuse(&handler, dialect, &fault, arrival.trace),
        };
        if dialect == Dialect::Invoke {
            let inbound = inbound(headers, addressed, body, dialect, operation, arrival);
            return Box::pin(invoked(handler, inbound, caller, path)).await;
        }
        match key_of(&headers, addressed.as_deref()) {
            Ok(None) => {}
            Ok(Some(key)) => {
                let key = key.to_owned();
                let inbound = inbound(headers, addressed, body, dialect, operation, arrival);
                return Box::pin(keyed(&handler.core, inbound, caller, key, path)).await.map(Reply::from);
            }
            Err(fault) => return refuse(&handler, dialect, &fault, arrival.trace),
        }
        if matches!(operation, Operation::Run | Operation::Batch | Operation::File) {
            let inbound = inbound(headers, addressed, body, dialect, operation, arrival);
            return if operation == Operation::Run {
                Box::pin(run::run(&handler.core, inbound, caller, path)).await.map(Reply::from)
            } else {
                Box::pin(line::serve_batch(&handler.core, inbound, caller)).await.map(Reply::from)
            };
        }
        if toolloop::may_want(dialect, operation, &headers, &body) {
            let inbound = inbound(headers, addressed, body, dialect, operation, arrival);
            return Box::pin(with_tools(&handler.core, inbound, caller)).await;
        }
        if dialect == Dialect::Responses {
            let inbound = inbound(headers, addressed, body, dialect, operation, arrival);
            return Box::pin(stateful(&handler.core, inbound, caller)).await;
        }
        if SessionHistory::is_named(&headers) || dialects::names_threads(dialect, &headers) {
            let inbound = inbound(headers, addressed, body, dialect, operation, arrival);
            return Box::pin(continued(&handler.core, inbound, caller)).await;
        }
        if line::keeps_answers(&caller) {
            let inbound = inbound(headers, addressed, body, dialect, operation, arrival);
            return Box::pin(line::serve_cached(&handler.core, inbound, caller)).await.map(Reply::from);
        }
        let inbound = inbound(headers, addressed, body, dialect, operation, arrival);
        let answer = line::serve(&handler.core, inbound, caller);
        answer.await.map(Reply::from)
    }
}

/// A request whose signature covers its body: the caller is known only when that has arrived.
struct SignedTrip {
    route: Route,
    rest: String,
    head: Parts,
    needs: Needs,
    service: &'static str,
}

async fn serve_signed(
    handler: Rc<CoreHandler>,
    signed_trip: SignedTrip,
    mut body: TimedBody,
    arrival: Arrival,
) -> Response<Reply> {
    let SignedTrip { route, rest, mut head, needs, service } = signed_trip;
    let dialect = route.dialect;
    let signed = match line::identify_signed(&handler.core, &signed_head(&head, service), arrival.peer, needs)
    {
        Ok(signed) => signed,
        Err(fault) => return refuse_and_close(&handler, dialect, &fault, arrival.trace),
    };
    let (caller, body) = match signed_body(&handler, &mut body, &mut head.headers, signed).await {
        Ok(read) => read,
        Err(fault) => return refuse_and_close(&handler, dialect, &fault, arrival.trace),
    };
    // Only the body proves who signed it.
    let now_us = handler.core.deps.world.clock.monotonic_us();
    let permit = match handler.shedder.check(route.action, &caller, &head.headers, now_us) {
        Ok(permit) => permit,
        Err(fault) => return refuse(&handler, dialect, &fault, arrival.trace),
    };
    if let Action::Dialect(RouteAction::ListObjects(kind)) = route.action {
        return list_stored(handler, caller, (dialect, kind), &head.uri, arrival.trace).await;
    }
    let Trip { caller, path, dialect, operation, addressed, .. } =
        match trip(&route, &rest, &head, (caller, None)) {
            Ok(trip) => trip,
            Err(fault) => return refuse(&handler, dialect, &fault, arrival.trace),
        };
    let place = (path, operation, addressed.as_deref());
    let _watch = match PanicWatch::begin(&handler, &caller, place, &body, arrival) {
        Ok(watch) => watch,
        Err(fault) => return refuse(&handler, dialect, &fault, arrival.trace),
    };
    if dialect == Dialect::Invoke {
        let inbound = inbound(head.headers, addressed, body, dialect, operation, arrival);
        let answer = Box::pin(invoked(handler, inbound, caller, path)).await;
        return answer.map(|reply| reply.with_permit(permit));
    }
    let key = match key_of(&head.headers, addressed.as_deref()) {
        Ok(key) => key.map(str::to_owned),
        Err(fault) => return refuse(&handler, dialect, &fault, arrival.trace),
    };
    let inbound = inbound(head.headers, addressed, body, dialect, operation, arrival);
    let answer: Response<Reply> = match key {
        Some(key) => keyed(&handler.core, inbound, caller, key, path).await.map(Reply::from),
        None if operation == Operation::Batch => {
            line::serve_batch(&handler.core, inbound, caller).await.map(Reply::from)
        }
        None if line::keeps_answers(&caller) => {
            line::serve_cached(&handler.core, inbound, caller).await.map(Reply::from)
        }
        None => line::serve(&handler.core, inbound, caller).await.map(Reply::from),
    };
    answer.map(|reply| reply.with_permit(permit))
}

/// The signature covers the body as sent, and nothing is decompressed for a caller who did not sign it.
async fn signed_body(
    handler: &CoreHandler,
    body: &mut TimedBody,
    headers: &mut HeaderMap,
    signed: Signed,
) -> Result<(Caller, Bytes), Box<Fault>> {
    let holder = Holder { bodies: &handler.bodies, workspace: None };
    let sent = body::read_sent(body, headers, BODY_BYTES_MAX, holder).await?;
    let caller = line::verify_signed_body(&handler.core, signed, &sent.bytes)?;
    let body = sent.unpack(headers, BODY_BYTES_MAX, handler.holder(&caller)).await?;
    Ok((caller, body))
}

fn signed_head<'a>(head: &'a Parts, service: &'static str) -> SignedHead<'a> {
    SignedHead {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        authority: head.uri.authority().map(http::uri::Authority::as_str),
        service,
    }
}

/// A call whose body may still be arriving while it is served.
async fn serve_form(
    handler: Rc<CoreHandler>,
    mut headers: HeaderMap,
    body: TimedBody,
    trip: Trip,
    arrival: Arrival,
) -> Response<Reply> {
    let Trip { caller, path, dialect, operation, addressed, .. } = trip;
    let key = match key_of(&headers, None) {
        Ok(key) => key.map(str::to_owned),
        Err(fault) => return refuse_and_close(&handler, dialect, &fault, arrival.trace),
    };
    // A body under an idempotency key is compared with the one that came before under it.
    let form = match form::open(body, &mut headers, operation, key.is_some(), handler.holder(&caller)).await {
        Ok(form) => form,
        Err(fault) => return refuse_and_close(&handler, dialect, &fault, arrival.trace),
    };
    let compared = if key.is_some() { form.compared() } else { Bytes::new() };
    let inbound = inbound(headers, addressed, compared, dialect, operation, arrival);
    let inbound = Inbound { form: Some(Box::new(form)), ..inbound };
    match key {
        Some(key) => keyed(&handler.core, inbound, caller, key, path).await.map(Reply::from),
        None if operation == Operation::File => {
            line::serve_batch(&handler.core, inbound, caller).await.map(Reply::from)
        }
        None => line::serve(&handler.core, inbound, caller).await.map(Reply::from),
    }
}

/// The request's idempotency key. Reads of stored objects ignore it.
fn key_of<'h>(headers: &'h HeaderMap, addressed: Option<&Addressed>) -> Result<Option<&'h str>, Box<Fault>> {
    let stored = addressed.and_then(|addressed| addressed.stored.as_ref());
    let is_read = stored.is_some_and(|stored| {
        matches!(stored.act, StoredAct::Read | StoredAct::Content | StoredAct::ListInput)
    });
    if is_read { Ok(None) } else { line::idempotency_key(headers) }
}

/// A request that its client may repeat under an idempotency key.
pub(crate) async fn keyed(
    core: &Rc<Core>,
    inbound: Inbound,
    caller: Caller,
    key: String,
    path: &'static str,
) -> Response<RecordedBody> {
    let (dialect, trace, body) = (inbound.dialect, inbound.trace, inbound.body.clone());
    // If the address says what the body doesn't, it is part of the comparison.
    let path = match inbound.addressed.as_deref() {
        Some(Addressed { stored: Some(stored), .. }) => {
            Cow::Owned(format!("{path} {:?} {} {}", stored.act, stored.id, stored.query))
        }
        Some(addressed) => Cow::Owned(format!("{path} {} {}", addressed.model, addressed.stream)),
        None => Cow::Borrowed(path),
    };
    let keyed = Keyed { key: &key, path: &path, dialect, trace, body };
    let requester = caller.clone();
    line::serve_idempotent(core, &requester, keyed, || async {
        let (dialect, operation) = (inbound.dialect, inbound.operation);
        let is_apart = dialect == Dialect::Native || *path == *COMPACT;
        let (inbound, caller) =
            if !is_apart && toolloop::may_want(dialect, operation, &inbound.headers, &inbound.body) {
                match toolloop::take(core, inbound, caller).await {
                    toolloop::Taken::Answered(response) => return *response,
                    toolloop::Taken::Left(left) => *left,
                }
            } else {
                (inbound, caller)
            };
        match (dialect, operation) {
            (_, Operation::Run) => run::run(core, inbound, caller, &path).await,
            (_, Operation::Batch | Operation::File) => line::serve_batch(core, inbound, caller).await,
            (Dialect::Native, _) => run::respond(core, inbound, caller).await,
            (Dialect::Responses, _) if *path == *COMPACT => run::compact(core, inbound, caller).await,
            (Dialect::Responses, _) => match run::take_response(core, inbound, caller).await {
                Taken::Answered(response) => *response,
                Taken::Left(inbound, caller) => line::serve(core, *inbound, *caller).await,
            },
            _ if run::continues_session(&inbound) => run::serve_continued(core, inbound, caller).await,
            _ => line::serve(core, inbound, caller).await,
        }
    })
    .await
}

pub(crate) fn inbound(
    headers: HeaderMap,
    addressed: Option<Box<Addressed>>,
    body: Bytes,
    dialect: Dialect,
    operation: Operation,
    arrival: Arrival,
) -> Inbound {
    let Arrival { trace, us: received_us, unix_ms: received_unix_ms, .. } = arrival;
    let form = None;
    Inbound { trace, dialect, operation, headers, addressed, body, form, received_us, received_unix_ms }
}

/// Finds out what a request is, and answers it if that needs no body or other work. What is in flight then holds a permit.
fn dispatch(
    handler: &Rc<CoreHandler>,
    request: Request<Incoming>,
    arrival: Arrival,
    found: &mut OfRequest,
) -> Dispatched {
    let (mut head, body) = request.into_parts();
    if let Some(refusal) = malformed(&head) {
        return Dispatched::Answered(refused_head(handler, refusal, arrival.trace));
    }
    let meant = routes::meant_path(&head.method, &head.uri, &head.headers);
    let path = meant.as_deref().unwrap_or(head.uri.path());
    let alias = OnceCell::new();
    let (route, rest) = match aliases::find(&handler.table, &head.method, path, &head.headers, &alias) {
        Found::Route(route, rest) => (route, rest),
        elsewhere => {
            let from = (arrival.peer, arrival.trace);
            return Dispatched::Answered(no_route(&handler.core, (&head, path), elsewhere, from));
        }
    };
    found.dialect = route.dialect;
    let does = if is_managing(route.action, &head) { Action::Control } else { route.action };
    if matches!(does, Action::Control | Action::Upload | Action::Link) {
        return without_caller(handler, (does, rest.to_owned()), head, body, arrival);
    }
    routes::take_key(route, head.uri.query().unwrap_or_default(), &mut head.headers);
    if let (Access::Key(needs), Some(service)) = (route.access, route.signed_for(&head.headers)) {
        let signed_trip = SignedTrip { route: route.clone(), rest: rest.to_owned(), needs, service, head };
        let served =
            serve_signed(Rc::clone(handler), signed_trip, TimedBody::new(body, handler.times), arrival);
        return Dispatched::Detached(Box::pin(async move { with_request_id(served.await, arrival.trace) }));
    }
    let translation = Translation::of(meant.as_ref().map(|_| head.uri.path()), alias.get());
    let caller = match allow(handler, route, (&head, translation.as_deref()), arrival, &mut found.permit) {
        Ok(caller) => caller,
        Err(fault) => return Dispatched::Answered(not_allowed(handler, route, &head, &fault, arrival.trace)),
    };
    let answered = match (route.action, caller) {
        (Action::Live | Action::Ready | Action::Welcome | Action::Page | Action::Asset, _) => {
            open_to_all(handler, route.action, &head, arrival)
        }
        (Action::Metrics, caller) => return counted(Rc::clone(handler), caller.as_ref(), arrival),
        (Action::Dialect(RouteAction::ListModels | RouteAction::ShowModel), Some(caller)) => {
            listed(handler, &caller, route, rest, &head.headers, arrival.trace)
        }
        (does, Some(caller)) if is_beside(does) => {
            return beside(handler, (does, rest.to_owned()), head, body, caller, arrival);
        }
        (Action::Dialect(RouteAction::Realtime), Some(caller)) => {
            let (handler, dialect) = (Rc::clone(handler), route.dialect);
            return Dispatched::Detached(Box::pin(realtime::open(handler, head, dialect, caller, arrival)));
        }
        (Action::Dialect(RouteAction::ListObjects(kind)), Some(caller)) => {
            let listing =
                list_stored(Rc::clone(handler), caller, (route.dialect, kind), &head.uri, arrival.trace);
            return Dispatched::Detached(Box::pin(listing));
        }
        (Action::Dialect(_), Some(caller)) => {
            match trip(route, rest, &head, (caller, translation)) {
                // The headers alone: the path would hold a slice of the read buffer during the upstream call.
                Ok(trip) => {
                    return Dispatched::Trip {
                        headers: with_host(route.action, head),
                        body: TimedBody::new(body, handler.times),
                        trip,
                    };
                }
                Err(fault) => refuse(handler, route.dialect, &fault, arrival.trace),
            }
        }
        // The table's check at start leaves no such row.
        _ => refuse(handler, route.dialect, &Fault::internal(), arrival.trace),
    };
    Dispatched::Answered(with_request_id(answered, arrival.trace))
}

/// The headers of a request. What a run makes is named by the address that its client came by, which HTTP/2 has no header for.
fn with_host(does: Action, head: Parts) -> HeaderMap {
    let mut headers = head.headers;
    if does == Action::Dialect(RouteAction::Call(Operation::Run))
        && let Some(host) = head.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok())
    {
        headers.entry(HOST).or_insert(host);
    }
    headers
}

/// Whether a published client manages something at a path below which it also runs something, or where people find a page.
fn is_managing(does: Action, head: &Parts) -> bool {
    let is_shared = match does {
        Action::App | Action::Task | Action::Agent => true,
        Action::Page => !console::wants_page(&head.headers),
        _ => false,
    };
    is_shared && inferencesh::takes(&head.method, head.uri.path())
}

fn not_allowed(
    handler: &CoreHandler,
    route: &Route,
    head: &Parts,
    fault: &Fault,
    trace: TraceId,
) -> Response<Reply> {
    let refused = refuse(handler, route.dialect, fault, trace);
    mcp::authorized(handler.control.as_ref(), route, head, fault, refused)
}

/// What is known by something else than a key of the caller's: the control plane has its own ways, and the content of a file comes
/// to an address that is a secret itself, or is read at one.
fn without_caller(
    handler: &Rc<CoreHandler>,
    (does, rest): (Action, String),
    head: Parts,
    body: Incoming,
    arrival: Arrival,
) -> Dispatched {
    if does == Action::Upload {
        return beside::upload(handler, head, (rest, body), arrival);
    }
    if does == Action::Link {
        return beside::linked(handler, rest, arrival.trace);
    }
    let body = TimedBody::new(body, handler.times);
    let (handler, request) = (Rc::clone(handler), Request::from_parts(head, body));
    Dispatched::Detached(Box::pin(async move { control(&handler, request, arrival).await }))
}

fn counted(handler: Rc<CoreHandler>, caller: Option<&Caller>, arrival: Arrival) -> Dispatched {
    let is_operator = caller.is_none_or(|caller| caller.may(Needs::Operator));
    let page = async move { with_request_id(metrics(&handler, is_operator).await, arrival.trace) };
    Dispatched::Detached(Box::pin(page))
}

/// Routes that reveal nothing about anyone.
fn open_to_all(handler: &CoreHandler, does: Action, head: &Parts, arrival: Arrival) -> Response<Reply> {
    match does {
        Action::Live => text(StatusCode::OK, "live\n"),
        Action::Ready => match (handler.ready)() {
            Readiness::Ready => text(StatusCode::OK, "ready\n"),
            Readiness::Degraded(why) => text(StatusCode::OK, format!("degraded: {why}\n")),
            Readiness::Not(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
        },
        Action::Welcome | Action::Page if console::wants_page(&head.headers) => {
            console::page(&head.headers).map(Reply::whole)
        }
        Action::Welcome => text(StatusCode::OK, routes::WELCOME),
        Action::Asset => match console::asset(head.uri.path().trim_start_matches('/'), &head.headers) {
            Some(file) => file.map(Reply::whole),
            None => unknown(&handler.core, head, (arrival.peer, arrival.trace)),
        },
        // Only browsers are sent pages; for other clients there is nothing at their paths.
        _ => unknown(&handler.core, head, (arrival.peer, arrival.trace)),
    }
}

/// HTTP/2 has two names for the host.
fn malformed(head: &Parts) -> Option<Refusal> {
    if head.version != Version::HTTP_2 {
        return None;
    }
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let host = head.headers.get(HOST).map(HeaderValue::as_bytes);
    let differ = match (authority, host) {
        (Some(authority), Some(host)) => !authority.as_bytes().eq_ignore_ascii_case(host),
        (None, None) => true,
        _ => false,
    };
    (differ || authority.is_some_and(|authority| authority.contains('@'))).then_some(Refusal::Host)
}

fn refused_head(handler: &CoreHandler, refusal: Refusal, trace: TraceId) -> Response<Reply> {
    let mut answer = refuse_and_close(handler, Dialect::Chat, &refusal.fault(), trace);
    if refusal == Refusal::TooLarge {
        *answer.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    }
    answer
}

fn allow(
    handler: &CoreHandler,
    route: &Route,
    (head, translation): (&Parts, Option<&Translation>),
    arrival: Arrival,
    permit: &mut Option<Permit>,
) -> Result<Option<Caller>, Box<Fault>> {
    match route.access {
        Access::Open => Ok(None),
        Access::LoopbackOrKey(_)
            if arrival.is_loopback && handler.proxies.is_local(&head.uri, &head.headers) =>
        {
            Ok(None)
        }
        Access::Key(needs) | Access::LoopbackOrKey(needs) => {
            // The head is complete: no time has passed since it arrived.
            let snapshot = handler.core.snapshot.current();
            let caller = admit::identify(snapshot, &head.headers, arrival.peer, needs, arrival.unix_ms)?;
            if let Some(translation) = translation {
                translation.check_scope(&head.headers, &caller)?;
            }
            *permit = handler.shedder.check(route.action, &caller, &head.headers, arrival.us)?;
            Ok(Some(caller))
        }
        // Such a route never gets here; if it did, it would be refused.
        Access::Control => Err(Box::new(Fault::internal())),
    }
}

pub(crate) struct Trip {
    caller: Caller,
    path: &'static str,
    dialect: Dialect,
    operation: Operation,
    addressed: Option<Box<Addressed>>,
    /// Boxed: few requests come at a path of another product's client.
    translation: Option<Box<Translation>>,
}

impl Trip {
    fn is_made(&self) -> bool {
        is_made(self.addressed.as_deref())
    }
}

/// Whether the request makes a new stored object, instead of naming one.
pub(crate) fn is_made(addressed: Option<&Addressed>) -> bool {
    addressed.is_none_or(|addressed| addressed.stored.is_none())
}

fn trip(
    route: &Route,
    rest: &str,
    head: &Parts,
    (caller, translation): (Caller, Option<Box<Translation>>),
) -> Result<Trip, Box<Fault>> {
    let (operation, addressed) =
        operation_at(route, rest, &head.method, head.uri.query().unwrap_or_default())?;
    let dialect = dialect_at(route, addressed.as_deref());
    Ok(Trip { caller, path: route.path, dialect, operation, addressed, translation })
}

fn listed(
    handler: &CoreHandler,
    caller: &Caller,
    route: &Route,
    rest: &str,
    headers: &HeaderMap,
    trace: TraceId,
) -> Response<Reply> {
    let dialect = routes::listing_dialect(route, headers);
    // SDKs write the slash of `publisher/model` as %2F.
    let id = percent_encoding::percent_decode_str(rest).decode_utf8_lossy();
    let id = (route.action == Action::Dialect(RouteAction::ShowModel)).then_some(&*id);
    line::models(&handler.core, caller, id, dialect, trace).map(Reply::from)
}

fn list_stored(
    handler: Rc<CoreHandler>,
    caller: Caller,
    objects: (Dialect, StoredKind),
    uri: &Uri,
    trace: TraceId,
) -> impl Future<Output = Response<Reply>> + use<> {
    let query = uri.query().unwrap_or_default().to_owned();
    async move { line::list_objects(&handler.core, &caller, objects, &query, trace).await.map(Reply::from) }
}

async fn control(handler: &CoreHandler, request: Request<TimedBody>, arrival: Arrival) -> Response<Reply> {
    let Some(control) = &handler.control else {
        let fault = Fault::new(FaultClass::NotFound, "unknown_path", "This process has no control plane.")
            .fix("Ask the process that runs `tidegate serve`.");
        return refuse(handler, Dialect::Native, &fault, arrival.trace);
    };
    let version = request.version();
    match control.call(request, &handler.bodies, (arrival.peer, arrival.trace)).await {
        Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
            tunnelled(handler, answer, version, arrival)
        }
        Ok(answer) => answer.map(Reply::whole),
        Err(_) => {
            tracing::error!(request = %arrival.trace, "a panic ended a control request");
            refuse(handler, Dialect::Native, &Fault::internal(), arrival.trace)
        }
    }
}

/// Hands the connection over to the tunnel that a node opens.
fn tunnelled(
    handler: &CoreHandler,
    answer: Response<Bytes>,
    version: Version,
    arrival: Arrival,
) -> Response<Reply> {
    let (mut head, _) = answer.into_parts();
    let entrance = head.extensions.remove::<Arc<TunnelEntrance>>();
    let Some(entrance) = entrance.filter(|_| version == Version::HTTP_11) else {
        let fault = Fault::new(
            FaultClass::BadRequest,
            "tunnel_required",
            "A tunnel can't be opened over this HTTP version.",
        )
        .fix("Open the tunnel over HTTP/1.1.");
        return refuse(handler, Dialect::Native, &fault, arrival.trace);
    };
    let senders = Rc::clone(&handler.senders);
    let take = move |handed: HandedOver| async move { serve_tunnel(entrance, handed, &senders).await };
    Response::from_parts(head, Reply::handover(take))
}

async fn metrics(handler: &CoreHandler, is_operator: bool) -> Response<Reply> {
    let page = Bytes::from(handler.cores.page(is_operator).await);
    typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page)
}

fn text(status: StatusCode, words: impl Into<Bytes>) -> Response<Reply> {
    typed(status, "text/plain; charset=utf-8", words.into())
}

pub(crate) fn typed(status: StatusCode, media_type: &'static str, bytes: Bytes) -> Response<Reply> {
    let mut answer = Response::new(Reply::whole(bytes));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_bytes<A, B, C, R>(_: impl FnOnce(A, B, C) -> R) -> usize {
        size_of::<R>()
    }

    /// Every connection has this size: its requests are answered in this future, and then streamed.
    #[test]
    fn the_future_of_a_request_is_small() {
        let bytes = future_bytes(answer);
        assert!(bytes <= 2952, "{bytes}");
    }
}
