//! One core's connection pool: HTTP/1.1 connections taken and given back, HTTP/2 ones
//! shared up to a number of streams.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use domain::limits::{H2_STREAMS_PER_CONNECTION, IDLE_CONNECTION_TIME_MAX, IDLE_CONNECTIONS_PER_HOST};
use http::header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::uri::{Authority, InvalidUri};
use http::{HeaderValue, StatusCode, Uri};
use hyper::client::conn::http2;
use tasks::Task;
use tokio::sync::watch;

use crate::body::{Answer, InBody, Upgrade};
use crate::connect::{self, Opened};
use crate::error::{EgressError, EgressErrorKind, from_broke, from_hyper};
use crate::gauge::Gauge;
use crate::guard::{Target, read_target};
use crate::http1::Connection;
use crate::limits::PARSED_URLS_MAX;
use crate::message::{Headers, Request};
use crate::out_body::OutBody;
use crate::settings::{Destination, EgressSettings, TargetKind};

/// How often idle connections are checked, while there are any.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// The sweep at which a connection has been idle for too long, so that no request reads a clock for it.
const IDLE_SWEEPS: u64 = IDLE_CONNECTION_TIME_MAX.as_secs() / SWEEP_EVERY.as_secs();

pub(crate) struct Pool {
    settings: Arc<EgressSettings>,
    tls: Arc<rustls::ClientConfig>,
    hosts: RefCell<HashMap<Authority, Vec<Rc<Host>>>>,
    /// The host of the last request, which is most often that of the next.
    latest: RefCell<Option<Rc<Host>>>,
    /// URLs as given, and as parsed.
    read_urls: RefCell<Vec<(String, Uri)>>,
    gauge: Rc<Gauge>,
    sweeper: RefCell<Option<Task>>,
}

/// One (scheme, authority, destination): what the guard read from it, and its connections.
pub(crate) struct Host {
    target: Target,
    destination: Destination,
    header: HeaderValue,
    /// What ALPN chose last time; decides whether requests wait for one connection or open their own.
    protocol: Cell<Option<Protocol>>,
    idle: RefCell<VecDeque<Idle>>,
    shared: RefCell<Vec<Rc<Shared>>>,
    opening: RefCell<Vec<Rc<Opening>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

struct Idle {
    connection: Box<Connection>,
    sweeps: u64,
}

struct Shared {
    sender: http2::SendRequest<OutBody>,
    /// The number that the peer allows, updated by the connection's task.
    streams_allowed: Rc<Cell<usize>>,
    streams: Cell<usize>,
    /// Sweeps since it was last used.
    sweeps: Cell<u64>,
}

/// A connection that is being opened and that requests have agreed to wait for.
struct Opening {
    seats: Cell<usize>,
    outcome: watch::Sender<Option<Result<(), EgressError>>>,
}

/// An exchange's hold on its connection. Dropped without `give_back`, it cancels the exchange.
pub(crate) struct Lease {
    host: Rc<Host>,
    hold: Option<Hold>,
}

enum Hold {
    Exclusive(Box<Connection>),
    Shared(Rc<Shared>),
}

pub(crate) enum Sent {
    Answer(Answer),
    /// The connection was closed before it took the request: nothing was written.
    Untouched(EgressError),
    Failed(EgressError),
}

impl Pool {
    pub(crate) fn new(settings: Arc<EgressSettings>, tls: Arc<rustls::ClientConfig>) -> Self {
        Self {
            settings,
            tls,
            hosts: RefCell::new(HashMap::new()),
            latest: RefCell::default(),
            read_urls: RefCell::default(),
            gauge: Rc::new(Gauge::default()),
            sweeper: RefCell::default(),
        }
    }

    pub(crate) fn connections(&self) -> usize {
        // No task polls an idle HTTP/1.1 connection, so a close by its peer has to be checked for.
        for host in self.hosts.borrow().values().flatten() {
            host.idle.borrow_mut().retain_mut(|idle| idle.connection.is_quiet());
        }
        self.gauge.open()
    }

    pub(crate) fn settings(&self) -> &Arc<EgressSettings> {
        &self.settings
    }

    /// Parses a URL. The last few are cached, since requests go to few of them.
    pub(crate) fn read_url(&self, url: String) -> Result<Uri, InvalidUri> {
        let mut known = self.read_urls.borrow_mut();
        if let Some((_, uri)) = known.iter().find(|(text, _)| *text == url) {
            return Ok(uri.clone());
        }
        let uri = Uri::try_from(url.as_str())?;
        if known.len() >= PARSED_URLS_MAX {
            known.remove(0);
        }
        known.push((url, uri.clone()));
        Ok(uri)
    }

    /// The host of a URI. It is parsed and checked once; later requests find it by its authority.
    fn host(self: &Rc<Self>, uri: &Uri, destination: Destination) -> Result<Rc<Host>, EgressError> {
        let https = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        if let (Some(authority), Some(host)) = (uri.authority(), &*self.latest.borrow())
            && host.target.https == https
            && host.destination == destination
            && host.header.as_bytes() == authority.as_str().as_bytes()
        {
            return Ok(Rc::clone(host));
        }
        let host = self.host_of_all(uri, https, destination)?;
        *self.latest.borrow_mut() = Some(Rc::clone(&host));
        Ok(host)
    }

    fn host_of_all(
        self: &Rc<Self>,
        uri: &Uri,
        https: bool,
        destination: Destination,
    ) -> Result<Rc<Host>, EgressError> {
        if let Some(authority) = uri.authority()
            && let Some(hosts) = self.hosts.borrow().get(authority)
            && let Some(host) =
                hosts.iter().find(|host| host.target.https == https && host.destination == destination)
        {
            return Ok(Rc::clone(host));
        }
        let target = read_target(uri)?;
        let Some(authority) = uri.authority().cloned() else {
            return Err(EgressError::new(EgressErrorKind::Guard, "The URL names no host."));
        };
        let header = HeaderValue::from_str(authority.as_str())
            .map_err(|_| EgressError::new(EgressErrorKind::Guard, "The URL's host isn't a header value."))?;
        let host = Rc::new(Host {
            protocol: Cell::new((!target.https).then_some(Protocol::Http1)),
            target,
            destination,
            header,
            idle: RefCell::default(),
            shared: RefCell::default(),
            opening: RefCell::default(),
        });
        self.hosts.borrow_mut().entry(authority).or_default().push(Rc::clone(&host));
        self.start_sweeping();
        Ok(host)
    }

    /// The sweeper lives as long as there are hosts to check: an idle process is not woken.
    fn start_sweeping(self: &Rc<Self>) {
        if self.sweeper.borrow().is_some() {
            return;
        }
        let pool: Weak<Self> = Rc::downgrade(self);
        let sweeper = Task::spawn_local("idle-connections", async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                let Some(pool) = pool.upgrade() else { return };
                if pool.sweep() {
                    drop(pool.sweeper.take());
                    return;
                }
            }
        });
        self.sweeper.replace(Some(sweeper));
    }

    /// Drops connections that were idle too long, and hosts without connections; `true` if none is left.
    fn sweep(&self) -> bool {
        *self.latest.borrow_mut() = None;
        let mut hosts = self.hosts.borrow_mut();
        hosts.retain(|_, variants| {
            variants.retain(|host| !host.sweep() || Rc::strong_count(host) > 1);
            !variants.is_empty()
        });
        hosts.is_empty()
    }
}

impl Host {
    /// One that dials itself: it has the connections that are put here.
    pub(crate) fn dialling(name: &str, header: &'static str) -> Rc<Self> {
        Rc::new(Self {
            target: Target { https: false, host: name.to_owned(), address: None, port: 0 },
            destination: Destination::from(TargetKind::Node),
            header: HeaderValue::from_static(header),
            protocol: Cell::new(Some(Protocol::Http1)),
            idle: RefCell::default(),
            shared: RefCell::default(),
            opening: RefCell::default(),
        })
    }

    /// `true` when nothing is left.
    pub(crate) fn sweep(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        idle.retain_mut(|idle| {
            idle.sweeps += 1;
            idle.sweeps < IDLE_SWEEPS && idle.connection.is_quiet()
        });
        let mut shared = self.shared.borrow_mut();
        shared.retain(|shared| {
            shared.sweeps.set(shared.sweeps.get() + 1);
            let unused = shared.streams.get() == 0 && shared.sweeps.get() >= IDLE_SWEEPS;
            !unused && !shared.sender.is_closed()
        });
        idle.is_empty() && shared.is_empty() && self.opening.borrow().is_empty()
    }

    /// The connection that was used last, or a free stream of a shared one.
    pub(crate) fn checkout(self: &Rc<Self>) -> Option<Lease> {
        if self.protocol.get() == Some(Protocol::Http2) {
            let mut all = self.shared.borrow_mut();
            all.retain(|shared| !shared.sender.is_closed());
            // The first with a free stream: those that a burst opened then fall idle and are closed.
            let shared = all.iter().find(|shared| shared.has_room()).map(Rc::clone)?;
            return Some(self.lease_shared(shared));
        }
        let mut idle = self.idle.borrow_mut();
        while let Some(mut last) = idle.pop_back() {
            if last.connection.is_quiet() {
                let hold = Some(Hold::Exclusive(last.connection));
                return Some(Lease { host: Rc::clone(self), hold });
            }
        }
        None
    }

    fn lease_shared(self: &Rc<Self>, shared: Rc<Shared>) -> Lease {
        shared.streams.set(shared.streams.get() + 1);
        Lease { host: Rc::clone(self), hold: Some(Hold::Shared(shared)) }
    }

    /// Puts a new connection where `checkout` finds it.
    pub(crate) fn adopt(&self, opened: Opened) {
        match opened {
            Opened::Http1(connection) => {
                self.protocol.set(Some(Protocol::Http1));
                self.put_idle(connection);
            }
            Opened::Http2(sender, streams_allowed) => {
                self.protocol.set(Some(Protocol::Http2));
                let (streams, sweeps) = (Cell::new(0), Cell::new(0));
                let shared = Shared { sender, streams_allowed, streams, sweeps };
                self.shared.borrow_mut().push(Rc::new(shared));
            }
        }
    }

    fn put_idle(&self, connection: Box<Connection>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= IDLE_CONNECTIONS_PER_HOST {
            idle.pop_front();
        }
        idle.push_back(Idle { connection, sweeps: 0 });
    }
}

impl Shared {
    fn has_room(&self) -> bool {
        let room = H2_STREAMS_PER_CONNECTION.min(self.streams_allowed.get().max(1));
        self.streams.get() < room
    }
}

impl Lease {
    /// The response was read to its end: the connection is free, if its peer
    /// `keeps` it and nothing is left over.
    pub(crate) fn give_back(&mut self, keeps: bool) {
        match self.hold.take() {
            Some(Hold::Exclusive(mut connection)) if keeps && connection.is_clean() => {
                connection.shrink();
                self.host.put_idle(connection);
            }
            Some(Hold::Shared(shared)) => shared.leave(),
            _ => {}
        }
    }

    /// The connection that the exchange has to itself.
    pub(crate) fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.hold {
            Some(Hold::Exclusive(connection)) => Some(connection),
            _ => None,
        }
    }

    pub(crate) fn host_name(&self) -> &str {
        &self.host.target.host
    }
}

impl Shared {
    fn leave(&self) {
        self.streams.set(self.streams.get().saturating_sub(1));
        self.sweeps.set(0);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Dropping an exclusive connection closes it; a shared one's stream is reset by the drop of its body.
        if let Some(Hold::Shared(shared)) = self.hold.take() {
            shared.leave();
        }
    }
}

pub(crate) async fn send(
    pool: &Rc<Pool>,
    request: &Request,
    destination: Destination,
) -> Result<Answer, EgressError> {
    let host = pool.host(&request.url, destination)?;
    loop {
        let (lease, fresh) = match host.checkout() {
            Some(lease) => (lease, false),
            // Rare, and large: boxed, so that every request's future stays small.
            None => match Box::pin(open(pool, &host)).await? {
                Some(lease) => (lease, true),
                None => continue,
            },
        };
        let sent = match lease.hold {
            Some(Hold::Shared(_)) => Box::pin(exchange_shared(lease, request)).await,
            _ => exchange_own(lease, request).await,
        };
        match sent {
            Sent::Answer(answer) => return Ok(answer),
            Sent::Untouched(_) if !fresh => {}
            Sent::Untouched(error) | Sent::Failed(error) => return Err(error),
        }
    }
}

/// The WebSocket handshake, over a connection that no other request gets.
pub(crate) async fn open_socket(
    pool: &Rc<Pool>,
    request: &Request,
    destination: Destination,
    key: &str,
) -> Result<Upgrade, EgressError> {
    let mut handshake = request.clone();
    let key_value = HeaderValue::from_str(key)
        .map_err(|_| EgressError::new(EgressErrorKind::Protocol, "The key isn't a header value."))?;
    handshake
        .headers
        .extend([(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")), (SEC_WEBSOCKET_KEY, key_value)]);
    let opened = upgrade(pool, &handshake, destination, "websocket").await?;
    // Its secret is not held any longer.
    drop(handshake);
    if let Upgrade::Open(headers, _) = &opened {
        let accepts = headers.get("sec-websocket-accept") == Some(framing::websocket::accept(key).as_bytes());
        if !accepts || headers.get("sec-websocket-extensions").is_some() {
            return Err(other_handshake(request.url.host().unwrap_or_default()));
        }
    }
    Ok(opened)
}

/// Asks for another protocol, over a connection that no other request gets.
pub(crate) async fn upgrade(
    pool: &Rc<Pool>,
    request: &Request,
    destination: Destination,
    protocol: &'static str,
) -> Result<Upgrade, EgressError> {
    let host = pool.host(&request.url, destination)?;
    // An HTTP/2 connection can't be upgraded.
    let mut tls = rustls::ClientConfig::clone(&pool.tls);
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let opened =
        connect::open(&host.target, destination.kind, &pool.settings, &Arc::new(tls), &pool.gauge).await?;
    let Opened::Http1(mut connection) = opened else {
        let text = format!("{} speaks HTTP/2 alone, which has no upgrades here.", host.target.host);
        return Err(EgressError::new(EgressErrorKind::Protocol, text));
    };
    let mut handshake = request.clone();
    handshake.headers.push((UPGRADE, HeaderValue::from_static(protocol)));
    connection.begin(&handshake, &host.header);
    // Its secret is not held while waiting for the response.
    drop(handshake);
    let head = match connection.head(&request.method).await {
        Ok(head) => head,
        Err(broke) => {
            let (touched, error) = (connection.is_touched(), from_broke(broke, &host.target.host));
            return Err(if touched { error.sent() } else { error });
        }
    };
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        let lease = Lease { host, hold: Some(Hold::Exclusive(connection)) };
        let body = InBody::own(head.framing, false, lease);
        return Ok(Upgrade::Answered(Answer { status: head.status, headers: head.headers, body }));
    }
    let is_wanted =
        head.headers.get("upgrade").is_some_and(|value| value.eq_ignore_ascii_case(protocol.as_bytes()));
    if !is_wanted {
        return Err(other_handshake(&host.target.host));
    }
    Ok(Upgrade::Open(head.headers, connection.into_socket()))
}

fn other_handshake(host: &str) -> EgressError {
    let text = format!("{host} shook hands for something else than was asked for.");
    EgressError::new(EgressErrorKind::Protocol, text).sent()
}

/// An exclusive connection; or, for HTTP/2, `None` once there is a shared one to check out.
async fn open(pool: &Rc<Pool>, host: &Rc<Host>) -> Result<Option<Lease>, EgressError> {
    if host.protocol.get() == Some(Protocol::Http1) {
        let opened =
            connect::open(&host.target, host.destination.kind, &pool.settings, &pool.tls, &pool.gauge)
                .await?;
        return Ok(match opened {
            Opened::Http1(connection) => {
                Some(Lease { host: Rc::clone(host), hold: Some(Hold::Exclusive(connection)) })
            }
            changed @ Opened::Http2(..) => {
                host.adopt(changed);
                None
            }
        });
    }
    let mut outcome = join_opening(pool, host);
    let opened = outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
    match opened {
        Ok(Some(Ok(()))) => Ok(None),
        Ok(Some(Err(error))) => Err(error),
        Ok(None) | Err(_) => {
            Err(EgressError::new(EgressErrorKind::Closed, format!("No connection to {}.", host.target.host)))
        }
    }
}

/// A place on a connection that is being opened, or a new one: a burst of requests opens as many connections
/// as its streams need, not one each.
fn join_opening(pool: &Rc<Pool>, host: &Rc<Host>) -> watch::Receiver<Option<Result<(), EgressError>>> {
    let joined = host
        .opening
        .borrow()
        .iter()
        .find(|opening| opening.seats.get() < H2_STREAMS_PER_CONNECTION)
        .map(Rc::clone);
    if let Some(opening) = joined {
        opening.seats.set(opening.seats.get() + 1);
        return opening.outcome.subscribe();
    }
    let (outcome, receiver) = watch::channel(None);
    let opening = Rc::new(Opening { seats: Cell::new(1), outcome });
    host.opening.borrow_mut().push(Rc::clone(&opening));
    let (pool, host) = (Rc::clone(pool), Rc::clone(host));
    // A task of its own: the request that started it may be cancelled while others wait.
    tasks::spawn_on_core(async move {
        let opened =
            connect::open(&host.target, host.destination.kind, &pool.settings, &pool.tls, &pool.gauge).await;
        host.opening.borrow_mut().retain(|other| !Rc::ptr_eq(other, &opening));
        opening.outcome.send_replace(Some(opened.map(|opened| host.adopt(opened))));
    });
    receiver
}

fn no_connection() -> Sent {
    Sent::Untouched(EgressError::new(EgressErrorKind::Closed, "No connection."))
}

pub(crate) async fn exchange_own(mut lease: Lease, request: &Request) -> Sent {
    let Some(Hold::Exclusive(connection)) = &mut lease.hold else { return no_connection() };
    connection.begin(request, &lease.host.header);
    match connection.head(&request.method).await {
        Ok(head) => Sent::Answer(Answer {
            status: head.status,
            headers: head.headers,
            body: InBody::own(head.framing, head.keeps, lease),
        }),
        Err(broke) => {
            let touched = connection.is_touched();
            let error = from_broke(broke, lease.host_name());
            if touched { Sent::Failed(error.sent()) } else { Sent::Untouched(error) }
        }
    }
}

async fn exchange_shared(lease: Lease, request: &Request) -> Sent {
    let Some(Hold::Shared(shared)) = &lease.hold else { return no_connection() };
    let mut sender = shared.sender.clone();
    match sender.try_send_request(request.to_shared()).await {
        Ok(answer) => {
            let (parts, body) = answer.into_parts();
            let headers = Headers::from(&parts.headers);
            Sent::Answer(Answer { status: parts.status, headers, body: InBody::shared(body, lease) })
        }
        Err(mut failed) => {
            let is_untouched = failed.take_message().is_some();
            let error = from_hyper(failed.error(), !is_untouched, lease.host_name());
            if is_untouched { Sent::Untouched(error) } else { Sent::Failed(error) }
        }
    }
}
