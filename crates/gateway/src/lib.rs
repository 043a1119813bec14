//! The HTTP front end: sockets, HTTP, the routing table, and request bodies that are
//! bounded before anything reads them.

mod beside;
mod body;
mod client;
mod control;
mod cors;
mod form;
mod handle;
mod held_bodies;
mod http1;
mod http2;
mod in_flight;
mod incoming;
mod invoked;
mod limits;
mod linger;
mod mcp;
mod metrics;
mod moved;
mod origins;
pub mod planned;
mod protocols;
mod quarantine;
mod readiness;
mod realtime;
mod reply;
pub mod routes;
mod serve;
mod shares;
mod shed;
mod times;
mod tunnel;
mod unpack;
mod unrouted;
mod upload_address;
mod vendor_paths;
mod worker;
mod write_stall;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use domain::limits::BODY_BYTES_MAX;
use domain::{Dialect, TraceId};
use futures_util::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode};
use line::{Core, SettledCounts};
use tasks::{Task, Thread};
use tokio::sync::{mpsc, oneshot, watch};

use crate::handle::CoreHandler;
use crate::held_bodies::{HeldBodies, Holder};
use crate::http1::Arrived;
use crate::limits::{COUNTER_QUERIES_MAX, MOVED_WAITING_MAX};
use crate::metrics::{Cores, Question};
use crate::moved::{CoreSenders, serve_moved};
use crate::reply::Reply;
use crate::serve::Phase;
use crate::shed::Shedder;
use crate::worker::{ConnectionLimit, CoreFuture, Open};

pub use client::Proxies;
pub use control::{ControlBody, ControlHandle, ControlService};
pub use http1::Refusal;
pub use http1::dissect::{Dissection, End, dissect};
pub use limits::NODE_BODY_BYTES_MAX;
pub use origins::Origins;
pub use readiness::{AskReadiness, Readiness};
pub use times::Times;
pub use tunnel::ServedTunnel;

/// Where the gateway listens, and its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewaySettings {
    pub listen: SocketAddr,
    /// Serving cores; at least one.
    pub workers: u32,
    pub times: Times,
    pub proxies: Proxies,
    /// Nodes have none.
    pub origins: Origins,
    /// The most client connections that are open at once; further ones wait until one is closed.
    pub connections_max: usize,
    /// A serving thread whose queue stays longer than this refuses new requests; zero: never.
    /// Nodes have a queue of their own.
    pub queue_delay_max: Duration,
    /// Requests in flight on a serving thread from which on a workspace with its share of them is refused more; zero: only
    /// while the thread's queue is too long.
    pub in_flight_max: u32,
    /// The most bytes of large request bodies that are held at once, of which a workspace may have half.
    pub body_bytes_max: usize,
}

/// Makes a core on its own thread; called once for each worker with its number.
pub type MakeCore = Arc<dyn Fn(u32) -> Pin<Box<dyn Future<Output = io::Result<Rc<Core>>>>> + Send + Sync>;

/// A running gateway. Dropping it closes it at once.
pub struct Running {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    threads: Vec<Thread>,
}

impl Running {
    /// The listening address, with the real port if port 0 was requested.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no new connections; what runs may end.
    pub fn drain(&self) {
        self.phase.send_if_modified(|phase| {
            let before = *phase;
            *phase = before.max(Phase::Draining);
            *phase != before
        });
    }

    /// Cuts every connection.
    pub fn stop(&self) {
        self.phase.send_replace(Phase::Stopped);
    }

    /// `true` once every connection is gone.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(Thread::is_finished)
    }

    /// Returns when every serving thread has ended; it blocks, so call it where blocking is fine.
    pub fn join(mut self) {
        for thread in std::mem::take(&mut self.threads) {
            if thread.join().is_err() {
                tracing::error!("a serving thread ended by a panic");
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Stopped);
    }
}

/// Starts the gateway: binds, starts a thread for each worker, and returns once every core is made.
///
/// # Errors
/// The routing table is unsound, the address is in use, or a core could not be made.
pub async fn start(
    settings: GatewaySettings,
    make_core: MakeCore,
    control: Option<ControlHandle>,
    ready: AskReadiness,
    settled: Arc<SettledCounts>,
) -> io::Result<Running> {
    routes::check(&routes::table()).map_err(io::Error::other)?;
    let (address, listeners) = worker::listeners(settings.listen, settings.workers)?;
    let connection_limit = ConnectionLimit::new(settings.connections_max);
    let (phase, watched) = watch::channel(Phase::Serving);
    let (questions, answerers): (Vec<_>, Vec<_>) =
        listeners.iter().map(|_| mpsc::channel(COUNTER_QUERIES_MAX)).unzip();
    let cores = Cores { questions, settled };
    let (senders, receivers): (Vec<_>, Vec<_>) =
        listeners.iter().map(|_| mpsc::channel(MOVED_WAITING_MAX)).unzip();
    let sessions = Arc::<::mcp::Sessions>::default();
    let bodies = HeldBodies::new(settings.body_bytes_max);
    let quarantine = Arc::<quarantine::Quarantine>::default();
    let mut running = Running { address, phase, threads: Vec::new() };
    let mut made = Vec::new();
    let of_cores = listeners.into_iter().zip(answerers).zip(receivers);
    for (number, ((listener, questions), arriving)) in (0_u32..).zip(of_cores) {
        let senders = CoreSenders { own: number, all: senders.clone() };
        let (result_sender, outcome) = oneshot::channel();
        made.push(outcome);
        let (make_core, control, ready) = (Arc::clone(&make_core), control.clone(), Arc::clone(&ready));
        let (mcp, bodies) = (Arc::clone(&sessions), Arc::clone(&bodies));
        let quarantine = Arc::clone(&quarantine);
        let (cores, watched, times) = (cores.clone(), watched.clone(), settings.times);
        let (proxies, origins) = (settings.proxies.clone(), settings.origins.clone());
        let connection_limit = connection_limit.clone();
        let (queue_delay_max, in_flight_max) = (settings.queue_delay_max, settings.in_flight_max);
        running.threads.push(worker::spawn(format!("serve-{number}"), move || -> CoreFuture {
            Box::pin(async move {
                let core = match make_core(number).await {
                    Ok(core) => core,
                    Err(error) => return drop(result_sender.send(Err(error))),
                };
                let _ = result_sender.send(Ok(()));
                let shedder = Shedder::new(Rc::clone(&core.overload), queue_delay_max, in_flight_max);
                let shedder = Rc::new(shedder);
                let table = routes::table();
                let senders = Rc::new(senders);
                let handler = CoreHandler {
                    core,
                    table,
                    times,
                    control,
                    ready,
                    cores,
                    senders,
                    proxies,
                    origins,
                    shedder,
                    mcp,
                    bodies,
                    quarantine,
                };
                let serving_moved = serve_moved(arriving, watched.clone());
                let serving = serve_core(Rc::new(handler), listener, watched, questions, connection_limit);
                tokio::join!(serving, serving_moved);
            })
        })?);
    }
    for outcome in made {
        outcome.await.map_err(|_| io::Error::other("a serving thread ended before it served"))??;
    }
    Ok(running)
}

async fn serve_core(
    handler: Rc<CoreHandler>,
    listener: std::net::TcpListener,
    phase: watch::Receiver<Phase>,
    mut questions: mpsc::Receiver<Question>,
    connection_limit: ConnectionLimit,
) {
    let open = Open::default();
    let (counting, counted) = (Rc::clone(&handler), Rc::clone(&open));
    let _answering = Task::spawn_local("counters", async move {
        while let Some(question) = questions.recv().await {
            let mut all = counting.core.counters.snapshot();
            all.push(("connections", "", counted.get()));
            all.push(("upstream_connections", "", counting.core.deps.egress.connections() as u64));
            all.extend(counting.shedder.counts());
            let (damaged, missing) = counting.core.journal.damage_counts();
            all.extend([("journal_damage", "", damaged), ("journal_records_missing", "", missing)]);
            let _ = question.send(all);
        }
    });
    let clock = Arc::clone(&handler.core.deps.world.clock);
    let measuring = Rc::clone(&handler.shedder).measure(move || clock.monotonic_us());
    let _measuring = Task::spawn_local("queue-delay", measuring);
    let times = handler.times;
    let handler = Rc::new(move |arrived: Arrived, peer| cors::answer(Rc::clone(&handler), arrived, peer));
    worker::serve(listener, times, phase, open, connection_limit, handler).await;
}

/// Listens for a node's service, which does not listen itself.
///
/// # Errors
/// The address is in use, or the TLS root certificates for backends can't be read.
pub fn serve_node(service: Arc<node::Service>, settings: &GatewaySettings) -> io::Result<Running> {
    // What would fail on the serving threads fails before the address is taken.
    service.exit()?;
    let (address, listeners) = worker::listeners(settings.listen, settings.workers)?;
    let (phase, watched) = watch::channel(Phase::Serving);
    let mut running = Running { address, phase, threads: Vec::new() };
    let connection_limit = ConnectionLimit::new(settings.connections_max);
    let services = std::iter::repeat(service);
    let bodies = HeldBodies::new(settings.body_bytes_max);
    for ((number, listener), service) in (0_u32..).zip(listeners).zip(services) {
        let (watched, times, connection_limit) = (watched.clone(), settings.times, connection_limit.clone());
        let bodies = Arc::clone(&bodies);
        running.threads.push(worker::spawn(format!("serve-{number}"), move || -> CoreFuture {
            Box::pin(async move {
                // Made here: its connections are tasks of this thread.
                let exit = match service.exit() {
                    Ok(exit) => exit,
                    Err(error) => return tracing::error!(%error, "a serving thread can't reach backends"),
                };
                let handler = Rc::new(move |arrived, peer| {
                    answer_node(
                        Arc::clone(&service),
                        exit.clone(),
                        (times, Arc::clone(&bodies)),
                        arrived,
                        peer,
                    )
                });
                worker::serve(listener, times, watched, Open::default(), connection_limit, handler).await;
            })
        })?);
    }
    Ok(running)
}

async fn answer_node(
    service: Arc<node::Service>,
    exit: node::Exit,
    (times, bodies): (Times, Arc<HeldBodies>),
    arrived: Arrived,
    peer: SocketAddr,
) -> Response<Reply> {
    let trace = service.mint();
    let request = match arrived {
        Arrived::Request(request) => request,
        Arrived::Refused(refusal) => return refuse_node(&refusal.fault(), trace),
    };
    let (mut head, body) = request.into_parts();
    let allowed = service.admit(&mut head, peer.ip().to_canonical());
    let read = match allowed {
        Ok(()) => {
            let mut body = body::TimedBody::new(body, times);
            let holder = Holder { bodies: &bodies, workspace: None };
            body::read(&mut body, &mut head.headers, BODY_BYTES_MAX, holder).await
        }
        Err(fault) => Err(fault),
    };
    let body = match read {
        Ok(body) => body,
        Err(fault) => return refuse_node(&fault, trace),
    };
    let answering = service.call_with(Request::from_parts(head, body), trace, &exit);
    let called = AssertUnwindSafe(answering).catch_unwind().await;
    called.map_or_else(
        |_| {
            tracing::error!(request = %trace, "a panic ended a request");
            refuse_node(&domain::Fault::internal(), trace)
        },
        |answer| answer.map(Reply::from),
    )
}

fn refuse_node(fault: &domain::Fault, trace: TraceId) -> Response<Reply> {
    let rendered = dialects::render_error(fault, Dialect::Chat, trace);
    let status = StatusCode::from_u16(rendered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = handle::typed(status, rendered.content_type, rendered.body);
    for (name, value) in rendered.headers {
        answer.headers_mut().insert(name, value);
    }
    answer.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    answer
}
