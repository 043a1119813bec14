//! The admin API, `/v2`, on top of the store, the vault and the snapshot, with its background jobs. It runs
//! on a runtime of its own, never on the serving cores.

mod access;
mod agreement;
mod answering;
mod async_billing;
mod attempts;
mod background;
mod batches;
mod body;
mod caller;
pub mod console;
mod cursor;
mod export;
mod failure;
mod filter;
mod founding;
mod heads;
mod hosting;
mod idempotency;
mod incoming;
pub mod invoicing;
mod joined_nodes;
mod judgement;
mod keys;
mod learned_limits;
mod moment;
mod node_books;
mod nodes;
mod openapi;
mod owner;
mod passwords;
mod poll_queue;
mod polling;
mod reply;
mod request;
mod resource;
mod responses;
mod router;
mod routes;
mod runtimes;
mod servers;
mod site;
mod tokens;
mod version;
mod videos;
mod webhooks;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::ports::{AnswerStore, KeyHash, PortFuture, StoredAnswer};
use domain::{Fault, FaultClass, ProbeResult, Secret, TraceId, WorkspaceId};
use evidence::Auditor;
use http::{Method, Response};
use http_body::Body;
use http_body_util::Full;
use line::{RuntimeReply, RuntimeRequest, Seat, StoredPoll, VerifyReport, VerifyTarget};
use tasks::Writes;
use tokio::sync::mpsc;
use world::World;

pub use access::{Access, People};
use answering::ResponseBuilder;
use attempts::AttemptLimiter;
pub use background::{handlers, schedule};
use caller::UnauthenticatedCaller;
pub use founding::{Founded, NewWorkspace, found};
pub use heads::{HeadStore, Heads};
use incoming::Incoming;
pub use line::Needs;
pub use owner::{OWNER_EMAIL, first_owner, owners_link};
use passwords::Passwords;
pub use polling::{polling_job_of, response_polling_job_of};
pub use reply::Reply;
use router::{Handled, Matched, Route, RouteAuth};
pub use routes::checked_email;
pub use site::Site;
pub use webhooks::{PostError, Posted, Posting};

/// How long a write waits to take effect here before it answers that it hasn't yet.
const PUBLISH_TIME_MAX: Duration = Duration::from_secs(5);

/// Outgoing requests of the control plane. They run on a serving core, as all egress does.
pub trait Outbound: Send + Sync {
    /// The cheapest real call with a credential, an account or a node.
    fn verify(&self, target: VerifyTarget) -> PortFuture<'_, VerifyReport>;
    /// A few small calls that find out what a compatible server supports. `models` are those it is known to
    /// serve.
    fn probe(&self, target: VerifyTarget, models: Vec<String>) -> PortFuture<'_, ProbeResult>;
    /// One query or command to one of our own runtimes.
    fn ask_runtime(
        &self,
        target: VerifyTarget,
        request: RuntimeRequest,
    ) -> PortFuture<'_, Result<RuntimeReply, Box<Fault>>>;
    /// Reads an object or its content from a provider, for billing: the pieces as they arrive, or a fault
    /// where the stream breaks off.
    fn fetch_object(
        &self,
        target: VerifyTarget,
        poll: StoredPoll,
    ) -> mpsc::Receiver<Result<Bytes, Box<Fault>>>;
    /// Posts one event to a workspace's webhook: under the address guard, within `WEBHOOK_TIME_MAX`, and
    /// without following redirects.
    fn post(&self, posting: Posting) -> PortFuture<'_, Result<Posted, PostError>>;
}

/// The state and dependencies of `/v2`.
pub struct Control {
    pub store: store::Store,
    pub keeper: Arc<snapshot::Keeper>,
    pub vault: vault::Vault,
    pub masters: Arc<vault::MasterKeyring>,
    pub egress: Arc<egress::EgressSettings>,
    pub board: Arc<board::Shared>,
    pub outbound: Arc<dyn Outbound>,
    pub world: World,
    pub site: Site,
    /// Stored answers to requests with an idempotency key.
    pub answers: Arc<dyn AnswerStore>,
    /// This process's name among the gateways of one database.
    pub replica: String,
    beat_every: Duration,
    /// Joined nodes that are to be polled at their address.
    poll_queue: poll_queue::PollQueue,
    /// The workspace whose owners run this installation.
    operator: WorkspaceId,
    passwords: Passwords,
    attempts: AttemptLimiter,
    /// Of the store, after a response.
    writes: Writes,
    auditor: Auditor,
    table: Vec<Route>,
    /// The body of `/v2/openapi.json`.
    document: Bytes,
}

/// The dependencies that a `Control` is built from.
pub struct Parts {
    pub store: store::Store,
    pub keeper: Arc<snapshot::Keeper>,
    pub vault: vault::Vault,
    pub masters: Arc<vault::MasterKeyring>,
    pub egress: Arc<egress::EgressSettings>,
    pub board: Arc<board::Shared>,
    pub outbound: Arc<dyn Outbound>,
    pub world: World,
    pub site: Site,
    pub answers: Arc<dyn AnswerStore>,
    /// Its name among the gateways of one database.
    pub replica: String,
    /// How often joined nodes are to send heartbeats.
    pub beat_every: Duration,
}

/// The outcome of a request.
enum KeyedOutcome {
    Unkeyed(Reply),
    /// The first request under its idempotency key.
    Claimed(Reply, line::ClaimGuard),
    Replayed(StoredAnswer),
}

impl Control {
    /// # Errors
    /// The table of routes is unsound, or the store can't be read.
    pub async fn start(parts: Parts) -> Result<Arc<Self>, String> {
        let Parts {
            store,
            keeper,
            vault,
            masters,
            egress,
            board,
            outbound: trips,
            world,
            site,
            answers,
            replica,
            beat_every,
        } = parts;
        let table = routes::all();
        access::check(&table)?;
        openapi::describe::check(&table)?;
        let document = serde_json::to_vec(&openapi::document(&table)?).map_err(|error| error.to_string())?;
        let operator = owner::operators_workspace(&store).await.map_err(|error| error.to_string())?;
        let passwords = Passwords::new(Arc::clone(&vault.hasher) as Arc<dyn KeyHash>);
        let writes = Writes::default();
        let attempts = AttemptLimiter::new(Arc::clone(&vault.hasher) as Arc<dyn KeyHash>, writes.clone());
        let auditor =
            Auditor::new(store.clone(), &vault, world.clone()).map_err(|error| error.to_string())?;
        Ok(Arc::new(Self {
            store,
            keeper,
            vault,
            masters,
            egress,
            board,
            outbound: trips,
            world,
            site,
            answers,
            replica,
            beat_every,
            poll_queue: poll_queue::PollQueue::default(),
            operator,
            passwords,
            attempts,
            writes,
            auditor,
            table,
            document: document.into(),
        }))
    }

    /// Answers one `/v2` request. It never fails: errors become problem documents.
    pub async fn handle<B>(
        self: &Arc<Self>,
        request: http::Request<B>,
        peer: IpAddr,
        trace: TraceId,
    ) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let answering = ResponseBuilder::of(&request, trace);
        let (mut head, body) = request.into_parts();
        incoming::name_host(&mut head);
        match self.answer(Incoming { head, body, peer, trace }).await {
            Ok(KeyedOutcome::Unkeyed(reply)) => answering.succeed(reply),
            Ok(KeyedOutcome::Claimed(reply, held)) => idempotency::keep(answering.succeed(reply), held).await,
            Ok(KeyedOutcome::Replayed(answer)) => idempotency::again(answer),
            Err((fault, allow)) => answering.fail(&fault, allow),
        }
    }

    async fn answer<B>(
        self: &Arc<Self>,
        incoming: Incoming<B>,
    ) -> Result<KeyedOutcome, (Box<Fault>, Option<String>)>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let plain = |fault: Box<Fault>| (fault, None);
        let head = &incoming.head;
        // The caller is authenticated before the response depends on the path: unauthenticated callers must
        // not find out which paths exist.
        let (route, parameters, other_methods) =
            match router::find(&self.table, &head.method, head.uri.path()) {
                Matched::Found(route, parameters) => (Some(route), parameters, None),
                Matched::OtherMethods(allowed) => (None, Vec::new(), Some(allowed)),
                Matched::Unknown => (None, Vec::new(), None),
            };
        if let Some(route @ Route { auth: RouteAuth::Open(handler), .. }) = route {
            let carries = caller::session_token(&self.site, &head.headers).map_err(plain)?;
            let carries = carries.map(|token| Secret::from_text(token.to_owned()));
            let stranger = UnauthenticatedCaller { session_token: carries };
            let request = incoming.read(self, route, parameters, stranger, None).await.map_err(plain)?;
            return self
                .run_handler(request.is_rehearsal, handler(self, request))
                .await
                .map(KeyedOutcome::Unkeyed)
                .map_err(plain);
        }
        if let Some(route @ Route { auth: RouteAuth::Node(handler), .. }) = route {
            let reporter = caller::reporter(self, &head.headers).await.map_err(plain)?;
            let workspace = Some(reporter.known.workspace);
            let request = incoming.read(self, route, parameters, reporter, workspace).await.map_err(plain)?;
            return self
                .run_handler(request.is_rehearsal, handler(self, request))
                .await
                .map(KeyedOutcome::Unkeyed)
                .map_err(plain);
        }
        let unmatched = if head.method == Method::OPTIONS { Access::ONESELF } else { Access::LOOK };
        let access = route.and_then(|route| route.auth.access()).unwrap_or(unmatched);
        let caller = caller::identify(self, head, incoming.peer, access).await.map_err(plain)?;
        let Some(route @ Route { auth: RouteAuth::Known(_, handler), .. }) = route else {
            return match other_methods {
                Some(allowed) if head.method == Method::OPTIONS => {
                    Ok(KeyedOutcome::Unkeyed(Reply::allows(allowed)))
                }
                Some(allowed) => Err(incoming::wrong_method(&head.method, allowed)),
                None => Err(plain(incoming::unknown_path(head.uri.path()))),
            };
        };
        let workspace = Some(caller.workspace());
        let path = head.uri.path().to_owned();
        let request = incoming.read(self, route, parameters, caller, workspace).await.map_err(plain)?;
        let held = match idempotency::claim(self, route, &path, &request).await.map_err(plain)? {
            Some(line::KeyClaim::Repeat(answer)) => return Ok(KeyedOutcome::Replayed(answer)),
            Some(line::KeyClaim::First(held)) => Some(held),
            None => None,
        };
        // If it fails, the claim on the idempotency key is released.
        let reply = self.run_handler(request.is_rehearsal, handler(self, request)).await.map_err(plain)?;
        Ok(match held {
            Some(held) => KeyedOutcome::Claimed(reply, held),
            None => KeyedOutcome::Unkeyed(reply),
        })
    }

    /// Runs a handler; in a rehearsal its writes are rolled back and only the reply remains.
    async fn run_handler(&self, is_rehearsal: bool, handled: Handled<'_>) -> Result<Reply, Box<Fault>> {
        if is_rehearsal { store::rehearse(handled).await.map(Reply::rehearsed) } else { handled.await }
    }

    /// Verifies a seat with the cheapest real call, and clears its breaker on the board if it works.
    async fn verify(&self, seat: Seat) -> Result<VerifyReport, Box<Fault>> {
        let target = self.target(seat)?;
        let report = self.outbound.verify(target).await;
        if report.is_well() {
            self.board.forgive(report.principal);
        }
        Ok(report)
    }

    /// The address and credentials for calling a seat.
    fn target(&self, seat: Seat) -> Result<VerifyTarget, Box<Fault>> {
        VerifyTarget::of(seat, &self.keeper.current()).ok_or_else(|| {
            Box::new(
                Fault::new(FaultClass::BadRequest, "no_address", "Nobody knows where this provider listens.")
                    .param("base_url")
                    .fix("Give it a base_url."),
            )
        })
    }

    /// Returns once requests on this gateway are served with a write, so that its author can read it back.
    ///
    /// # Errors
    /// 503: the write is stored, but not in force yet.
    pub async fn await_published(&self, version: u64) -> Result<(), Box<Fault>> {
        match tokio::time::timeout(PUBLISH_TIME_MAX, self.keeper.await_version(version)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Box::new(
                Fault::new(
                    FaultClass::Unavailable,
                    "not_in_force_yet",
                    "The change is kept, but this process has not taken it up yet.",
                )
                .fix("Read it back in a moment; don't send it again.")
                .retry_after_ms(1_000),
            )),
        }
    }
}

/// Every route with its access rule, for tests and documentation; `None` for a route that needs neither a key
/// nor a person.
#[must_use]
pub fn declared() -> Vec<(http::Method, &'static str, Option<Access>)> {
    routes::all().into_iter().map(|route| (route.method, route.pattern, route.auth.access())).collect()
}

/// Whether the OpenAPI document describes this method of this path.
#[must_use]
pub fn describes(method: &http::Method, path: &str) -> bool {
    let document = openapi::document(&routes::all()).unwrap_or_default();
    let operations = document.get("paths").and_then(|paths| paths.get(path));
    operations.is_some_and(|of| of.get(method.as_str().to_ascii_lowercase()).is_some())
}
