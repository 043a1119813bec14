//! `/v2`: the workspace's own API over the store, the vault and the snapshot. It runs beside the serving cores, never on them.

mod access;
mod attempts;
mod caller;
pub mod console;
mod export;
mod failure;
mod founding;
mod judgement;
mod moment;
mod nodes;
mod openapi;
mod owner;
mod passwords;
mod reply;
mod request;
mod router;
mod routes;
mod site;
mod tokens;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::limits::CONTROL_BODY_BYTES_MAX;
use domain::ports::{KeyHash, PortFuture};
use domain::{Dialect, Fault, FaultClass, Secret, TraceId, WorkspaceId};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use line::{Seat, VerifyReport, VerifyTarget};
use world::World;

pub use access::{Access, People};
use attempts::Attempts;
use caller::Stranger;
pub use founding::{Founded, NewWorkspace, found};
pub use line::Needs;
pub use owner::{OWNER_EMAIL, first_owner, owners_link};
use passwords::Passwords;
pub use reply::Reply;
use request::Ask;
use router::{Matched, Route, Way};
pub use routes::checked_email;
pub use site::Site;

/// How long a write waits until it is in force, before it says that it isn't yet.
const PUBLISH_TIME_MAX: Duration = Duration::from_secs(5);

/// Trips of our own that leave the machine; they run on a core, since everything that goes out does.
pub trait Trips: Send + Sync {
    /// The cheapest real call with a credential, an account or a node.
    fn verify(&self, target: VerifyTarget) -> PortFuture<'_, VerifyReport>;
}

/// Everything that `/v2` works on.
pub struct Control {
    pub store: store::Store,
    pub keeper: Arc<snapshot::Keeper>,
    pub vault: vault::Vault,
    pub egress: Arc<egress::EgressSettings>,
    pub board: Arc<board::Shared>,
    pub trips: Arc<dyn Trips>,
    pub world: World,
    pub site: Site,
    /// The workspace whose owners run this installation.
    operator: WorkspaceId,
    passwords: Passwords,
    attempts: Attempts,
    table: Vec<Route>,
    /// What `/v2/openapi.json` answers.
    document: Bytes,
}

/// What a `Control` is made of.
pub struct Parts {
    pub store: store::Store,
    pub keeper: Arc<snapshot::Keeper>,
    pub vault: vault::Vault,
    pub egress: Arc<egress::EgressSettings>,
    pub board: Arc<board::Shared>,
    pub trips: Arc<dyn Trips>,
    pub world: World,
    pub site: Site,
}

impl Control {
    /// # Errors
    /// The table of routes is unsound, or the store can't be read.
    pub async fn start(parts: Parts) -> Result<Arc<Self>, String> {
        let Parts { store, keeper, vault, egress, board, trips, world, site } = parts;
        let table = routes::all();
        access::check(&table)?;
        openapi::describe::check(&table)?;
        let document = serde_json::to_vec(&openapi::document(&table)?).map_err(|error| error.to_string())?;
        let operator = owner::operators_workspace(&store).await.map_err(|error| error.to_string())?;
        let passwords = Passwords::new(Arc::clone(&vault.hasher) as Arc<dyn KeyHash>);
        let attempts = Attempts::default();
        Ok(Arc::new(Self {
            store,
            keeper,
            vault,
            egress,
            board,
            trips,
            world,
            site,
            operator,
            passwords,
            attempts,
            table,
            document: document.into(),
        }))
    }

    /// Answers one request of `/v2`. It always answers: what goes wrong is a problem document.
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
        match self.answer(request, peer, trace).await {
            Ok(reply) => succeed(reply, trace),
            Err((fault, allow)) => fail(&fault, trace, allow),
        }
    }

    async fn answer<B>(
        self: &Arc<Self>,
        request: http::Request<B>,
        peer: IpAddr,
        trace: TraceId,
    ) -> Result<Reply, (Box<Fault>, Option<String>)>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let plain = |fault: Box<Fault>| (fault, None);
        let (mut head, body) = request.into_parts();
        name_host(&mut head);
        let path = head.uri.path();
        // Identity comes before the path is told: what exists here is nobody's business who isn't known.
        let (route, parameters, other_methods) = match router::find(&self.table, &head.method, path) {
            Matched::Found(route, parameters) => (Some(route), parameters, None),
            Matched::OtherMethods(allowed) => (None, Vec::new(), Some(allowed)),
            Matched::Unknown => (None, Vec::new(), None),
        };
        if let Some(route @ Route { way: Way::Open(handler), .. }) = route {
            let carries = caller::session_token(&head.headers).map_err(plain)?;
            let carries = carries.map(|token| Secret::from_text(token.to_owned()));
            let ask = read(route, head, body, peer, trace, parameters, Stranger { carries })
                .await
                .map_err(plain)?;
            return handler(self, ask).await.map_err(plain);
        }
        let access = route.and_then(|route| route.way.access()).unwrap_or(Access::LOOK);
        let caller = caller::identify(self, &head, peer, access).await.map_err(plain)?;
        let Some(route @ Route { way: Way::Known(_, handler), .. }) = route else {
            return Err(match other_methods {
                Some(allowed) => wrong_method(&head.method, &allowed),
                None => plain(unknown_path(path)),
            });
        };
        let ask = read(route, head, body, peer, trace, parameters, caller).await.map_err(plain)?;
        handler(self, ask).await.map_err(plain)
    }

    /// Makes the cheapest real call as a seat, and forgives it on the board where it is well again.
    async fn verify(&self, seat: Seat) -> Result<VerifyReport, Box<Fault>> {
        let target = VerifyTarget::of(seat, &self.keeper.current()).ok_or_else(|| {
            Box::new(
                Fault::new(FaultClass::BadRequest, "no_address", "Nobody knows where this provider listens.")
                    .param("base_url")
                    .fix("Give it a base_url."),
            )
        })?;
        let report = self.trips.verify(target).await;
        if report.is_well() {
            self.board.forgive(report.principal);
        }
        Ok(report)
    }

    /// Returns once a write is what every request here is served with: who wrote it reads it.
    ///
    /// # Errors
    /// 503: it is kept, but not in force yet.
    pub async fn published(&self, version: u64) -> Result<(), Box<Fault>> {
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

/// Every route with who may use it, for tests and documentation; `None` where everybody may.
#[must_use]
pub fn declared() -> Vec<(http::Method, &'static str, Option<Access>)> {
    routes::all().into_iter().map(|route| (route.method, route.pattern, route.way.access())).collect()
}

/// Whether the document that `/v2/openapi.json` answers describes this method of this path.
#[must_use]
pub fn describes(method: &http::Method, path: &str) -> bool {
    let document = openapi::document(&routes::all()).unwrap_or_default();
    let operations = document.get("paths").and_then(|paths| paths.get(path));
    operations.is_some_and(|of| of.get(method.as_str().to_ascii_lowercase()).is_some())
}

/// HTTP/2 names the host in the target.
fn name_host(head: &mut http::request::Parts) {
    if head.headers.contains_key(header::HOST) {
        return;
    }
    let authority = head.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(authority) = authority {
        head.headers.insert(header::HOST, authority);
    }
}

async fn read<B, C>(
    route: &Route,
    head: http::request::Parts,
    body: B,
    peer: IpAddr,
    trace: TraceId,
    parameters: Vec<String>,
    caller: C,
) -> Result<Ask<C>, Box<Fault>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let query = request::read_query(head.uri.query().unwrap_or(""))?;
    route.check_query(&query)?;
    let body = read_body(body).await?;
    if !body.is_empty() && !is_json(&head.headers) {
        return Err(not_json());
    }
    Ok(Ask { caller, trace, peer, parameters, query, headers: head.headers, body })
}

async fn read_body<B>(body: B) -> Result<Bytes, Box<Fault>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, CONTROL_BODY_BYTES_MAX).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Box::new(
            Fault::new(
                FaultClass::TooLarge,
                "body_too_large",
                format!("The body is over {CONTROL_BODY_BYTES_MAX} bytes."),
            )
            .fix("Configuration is never that large; send less."),
        )),
        Err(_) => Err(Box::new(
            Fault::new(FaultClass::BadRequest, "body_cut", "The body ended before it was complete.")
                .fix("Send it again."),
        )),
    }
}

fn is_json(headers: &http::HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let kind = kind.split(';').next().unwrap_or("").trim();
    kind.eq_ignore_ascii_case("application/json") || kind.eq_ignore_ascii_case("application/merge-patch+json")
}

fn not_json() -> Box<Fault> {
    Box::new(
        Fault::new(FaultClass::MediaType, "unsupported_media_type", "The body is not declared as JSON.")
            .param("Content-Type")
            .fix("Send Content-Type: application/json."),
    )
}

fn unknown_path(path: &str) -> Box<Fault> {
    let shown: String = path.chars().take(200).collect();
    Box::new(
        Fault::new(
            FaultClass::NotFound,
            "not_found",
            format!("There is nothing at {shown} in this version of Tidegate."),
        )
        .fix("docs/api.md lists what this version serves under /v2."),
    )
}

fn wrong_method(method: &http::Method, allowed: &[http::Method]) -> (Box<Fault>, Option<String>) {
    let list = allowed.iter().map(http::Method::as_str).collect::<Vec<_>>().join(", ");
    let fault = Fault::new(
        FaultClass::MethodNotAllowed,
        "method_not_allowed",
        format!("This path doesn't take {method}."),
    )
    .fix(format!("It takes {list}."));
    (Box::new(fault), Some(list))
}

fn succeed(reply: Reply, trace: TraceId) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = reply.status;
    if reply.status != StatusCode::NO_CONTENT {
        set(&mut response, header::CONTENT_TYPE, reply.content_type);
    }
    if let Some(cursor) = reply.next_cursor {
        set(&mut response, header::HeaderName::from_static("x-next-cursor"), &cursor);
    }
    if let Some(version) = reply.version {
        set(&mut response, header::ETAG, &format!("\"v{version}\""));
    }
    if let Some(location) = reply.location {
        set(&mut response, header::LOCATION, &location);
    }
    if let Some(cookie) = reply.set_cookie {
        set(&mut response, header::SET_COOKIE, &cookie);
    }
    finish(response, trace)
}

fn fail(fault: &Fault, trace: TraceId, allow: Option<String>) -> Response<Full<Bytes>> {
    let rendered = line::render_error(fault, Dialect::Native, trace);
    let mut response = Response::new(Full::new(rendered.body));
    *response.status_mut() =
        StatusCode::from_u16(rendered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    set(&mut response, header::CONTENT_TYPE, rendered.content_type);
    for (name, value) in rendered.headers {
        response.headers_mut().insert(name, value);
    }
    if let Some(allow) = allow {
        set(&mut response, header::ALLOW, &allow);
    }
    finish(response, trace)
}

fn finish(mut response: Response<Full<Bytes>>, trace: TraceId) -> Response<Full<Bytes>> {
    // Nothing of this is a page: whatever is put into an object can't become one, and nobody frames it.
    for (name, value) in [
        (header::CACHE_CONTROL, "private, no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    set(&mut response, header::HeaderName::from_static("x-request-id"), &trace.to_string());
    response
}

fn set(response: &mut Response<Full<Bytes>>, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
