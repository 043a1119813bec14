//! The admin API, `/v2`, on top of the store, the vault and the snapshot. It runs on a runtime of its own, never
//! on the serving cores.

mod access;
mod agreement;
mod answering;
mod attempts;
mod body;
mod caller;
pub mod console;
mod cursor;
mod export;
mod failure;
mod filter;
mod founding;
mod hosting;
mod idempotency;
mod incoming;
mod joined_nodes;
mod learned_limits;
mod moment;
mod openapi;
mod owner;
mod passwords;
mod reply;
mod request;
mod resource;
mod router;
mod routes;
mod runtimes;
mod servers;
mod site;
mod tokens;
mod version;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use domain::ports::{AnswerStore, KeyHash, StoredAnswer};
use domain::{Fault, Secret, TraceId, WorkspaceId};
use http::{Method, Response};
use http_body::Body;
use http_body_util::Full;
use reconcilers::{Deps, Nodes};
use tasks::Writes;

pub use access::{Access, People};
use answering::ResponseBuilder;
use attempts::AttemptLimiter;
use caller::UnauthenticatedCaller;
pub use founding::{Founded, NewWorkspace, found};
use incoming::Incoming;
pub use owner::{OWNER_EMAIL, first_owner, owners_link};
use passwords::Passwords;
pub use reply::Reply;
use router::{Handled, Matched, Route, RouteAuth};
pub use routes::checked_email;
pub use site::Site;

/// The routes of `/v2`, and what they work with.
pub struct Control {
    deps: Deps,
    nodes: Arc<Nodes>,
    web: Web,
    /// The workspace whose owners run this installation.
    operator: WorkspaceId,
    sign_in: SignIn,
    api: Api,
}

/// What the API alone needs.
pub struct Web {
    pub site: Site,
    pub egress: Arc<egress::EgressSettings>,
    /// Stored answers to requests with an idempotency key.
    pub answers: Arc<dyn AnswerStore>,
}

/// What signing in needs.
struct SignIn {
    passwords: Passwords,
    attempts: AttemptLimiter,
    /// Of the store, after a response.
    writes: Writes,
}

/// The routes and their description.
struct Api {
    table: Vec<Route>,
    /// The body of `/v2/openapi.json`.
    document: Bytes,
}

/// What the reconcilers work with is a route's too: `control.store`.
impl Deref for Control {
    type Target = Deps;

    fn deref(&self) -> &Deps {
        &self.deps
    }
}

impl SignIn {
    fn new(vault: &vault::Vault) -> Self {
        let hasher = || Arc::clone(&vault.hasher) as Arc<dyn KeyHash>;
        let writes = Writes::default();
        let attempts = AttemptLimiter::new(hasher(), writes.clone());
        Self { passwords: Passwords::new(hasher()), attempts, writes }
    }
}

impl Api {
    fn new() -> Result<Self, String> {
        let table = routes::all();
        access::check(&table)?;
        openapi::describe::check(&table)?;
        let document = serde_json::to_vec(&openapi::document(&table)?).map_err(|error| error.to_string())?;
        Ok(Self { table, document: document.into() })
    }
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
    pub async fn start(deps: Deps, nodes: Arc<Nodes>, web: Web) -> Result<Arc<Self>, String> {
        let api = Api::new()?;
        let operator = owner::operators_workspace(&deps.store).await.map_err(|error| error.to_string())?;
        let sign_in = SignIn::new(&deps.vault);
        Ok(Arc::new(Self { deps, nodes, web, operator, sign_in, api }))
    }

    /// Returns when the writes that follow a response are done.
    pub async fn finish(&self) {
        self.sign_in.writes.finish().await;
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
            match router::find(&self.api.table, &head.method, head.uri.path()) {
                Matched::Found(route, parameters) => (Some(route), parameters, None),
                Matched::OtherMethods(allowed) => (None, Vec::new(), Some(allowed)),
                Matched::Unknown => (None, Vec::new(), None),
            };
        if let Some(route @ Route { auth: RouteAuth::Open(handler), .. }) = route {
            let carries = caller::session_token(&self.web.site, &head.headers).map_err(plain)?;
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
}

/// Every route with its access rule, for tests and documentation; `None` for a route that needs neither a key
/// nor a person.
#[must_use]
pub fn declared() -> Vec<(http::Method, &'static str, Option<Access>)> {
    routes::all().into_iter().map(|route| (route.method, route.pattern, route.auth.access())).collect()
}

/// The methods and paths that the OpenAPI document describes.
#[must_use]
pub fn described() -> BTreeSet<(http::Method, String)> {
    let document = openapi::document(&routes::all()).unwrap_or_default();
    let paths = document.get("paths").and_then(serde_json::Value::as_object).into_iter().flatten();
    let operations = paths.flat_map(|(path, operations)| {
        let methods =
            operations.as_object().into_iter().flatten().map(|(method, _)| method.to_ascii_uppercase());
        methods.filter_map(|method| method.parse().ok()).map(|method| (method, path.clone()))
    });
    operations.collect()
}
