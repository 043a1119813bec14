//! Authentication of `/v2` requests: an API key, a signed-in person, or a joined node.

use std::net::IpAddr;
use std::sync::Arc;

use admit::Needs;
use dataplane::{DataPlaneRow, DataPlanes};
use domain::limits::SESSION_IDLE_MAX;
use domain::{Fault, FaultClass, Role, Secret, WorkspaceId};
use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName};
use http::request::Parts;
use reconcilers::of_store;
use snapshot::{KeyEntry, ProjectEntry};
use store::{KnownNode, Membership, SignedIn, TokenDigest};
use subtle::ConstantTimeEq;

use crate::access::{Access, People, insufficient_role, person_needed};
use crate::failure::not_found;
use crate::site::Site;
use crate::state::Control;
use crate::tokens::{self, Kind};

pub const COOKIE_NAME: &str = "tidegate_session";
/// The `__Host-` prefix makes browsers accept the cookie only over https and only from this exact host:
/// neither a sibling domain nor an attacker who answers for this host over http can plant one.
const HOST_COOKIE_NAME: &str = "__Host-tidegate_session";
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const CSRF: HeaderName = HeaderName::from_static("x-tidegate-csrf");
const WORKSPACE: HeaderName = HeaderName::from_static("tidegate-workspace");
/// The resolution of a session's last-used time.
const TOUCH_EVERY_MS: u64 = 60_000;

/// A caller that passed the route's authorisation.
pub enum Caller {
    Key(admit::Caller),
    Person(Box<Person>),
}

/// A signed-in person, and the workspace that they act in.
pub struct Person {
    pub signed_in: SignedIn,
    pub acting: Membership,
    pub csrf_token: String,
    is_operator: bool,
    /// Of the workspace they act in, oldest first.
    projects: Vec<Arc<ProjectEntry>>,
}

/// An unauthenticated caller of a sign-in route.
pub struct UnauthenticatedCaller {
    /// The session cookie it sent, whether or not the session is still valid.
    pub session_token: Option<Secret>,
}

/// A joined node, authenticated by its node credential.
pub struct Reporter {
    pub credential: TokenDigest,
    pub known: KnownNode,
}

impl Caller {
    /// The gateway itself, in a workspace.
    pub(crate) fn of_gateway(control: &Control, workspace: WorkspaceId) -> Result<Self, Box<Fault>> {
        let snapshot = control.deps.keeper.current();
        let caller = snapshot.workspace(workspace).and_then(|entry| {
            let project = Arc::clone(entry.projects.first()?);
            admit::assumed(Arc::clone(&snapshot), Arc::clone(entry), project, None)
        });
        caller.map(Self::Key).ok_or_else(|| not_found("workspace", &workspace.to_string()))
    }

    pub fn workspace(&self) -> WorkspaceId {
        match self {
            Self::Key(key) => key.workspace().id,
            Self::Person(person) => person.acting.workspace,
        }
    }

    pub fn key(&self) -> Option<&Arc<KeyEntry>> {
        match self {
            Self::Key(key) => key.key(),
            Self::Person(_) => None,
        }
    }

    pub fn person(&self) -> Option<&Person> {
        match self {
            Self::Key(_) => None,
            Self::Person(person) => Some(person),
        }
    }

    /// The default project where a request names none: the key's own, or the workspace's first.
    pub fn project(&self) -> Option<&Arc<ProjectEntry>> {
        match self {
            Self::Key(key) => Some(key.project()),
            Self::Person(person) => person.projects.first(),
        }
    }

    /// Whether the caller runs this installation.
    pub fn is_operator(&self) -> bool {
        match self {
            Self::Key(key) => key.key().is_some_and(|key| key.scopes.operator),
            Self::Person(person) => person.is_operator,
        }
    }

    /// The role that the caller's rights are equivalent to: nobody can grant more than they have.
    pub fn rank(&self) -> Role {
        match self {
            Self::Key(key) => key.key().map_or(Role::Viewer, |key| rank_of(key.scopes)),
            Self::Person(person) => person.acting.role,
        }
    }

    /// Who acts, for the audit.
    pub fn actor(&self) -> String {
        match self {
            Self::Key(key) => key.key().map_or_else(|| "system".to_owned(), |key| key.id.to_string()),
            Self::Person(person) => person.signed_in.person.id.to_string(),
        }
    }
}

/// A data plane, authenticated by its credential. It may be revoked, which it is told.
pub struct DataPlaneCaller(pub DataPlaneRow);

impl DataPlaneCaller {
    /// The data plane, unless it is revoked.
    ///
    /// # Errors
    /// 401.
    pub fn live(&self) -> Result<&DataPlaneRow, Box<Fault>> {
        match self.0.revoked_unix_ms {
            None => Ok(&self.0),
            Some(_) => Err(not_a_data_plane("data_plane_revoked", "This data plane is revoked.")),
        }
    }
}

fn not_a_data_plane(code: &'static str, message: &'static str) -> Box<Fault> {
    let fix = "Join again: `tidegate data-planes invite` makes a token, and `tidegate gateway` takes it.";
    Box::new(Fault::new(FaultClass::Unauthenticated, code, message).fix(fix))
}

/// Authenticates a data plane.
///
/// # Errors
/// 401 where the token is not a data plane's credential.
pub async fn data_plane(control: &Control, headers: &HeaderMap) -> Result<DataPlaneCaller, Box<Fault>> {
    let unknown =
        || not_a_data_plane("unknown_data_plane_credential", "This is the credential of no data plane.");
    let token = bearer(headers).ok_or_else(unknown)?;
    let credential = tokens::digest(&*control.deps.vault.hasher, Kind::DataPlane, token);
    let found = DataPlanes::of(&control.deps.store).of_credential(credential).await.map_err(of_store)?;
    found.map(DataPlaneCaller).ok_or_else(unknown)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The lowest role that may grant these scopes to a key.
pub const fn rank_of(scopes: snapshot::Scopes) -> Role {
    match (scopes.operator, scopes.admin) {
        (true, _) => Role::Owner,
        (false, true) => Role::Admin,
        (false, false) => Role::Viewer,
    }
}

/// The session cookie's name for the scheme that this request came by.
pub fn cookie_name(site: &Site, headers: &HeaderMap) -> &'static str {
    if site.is_https(headers) { HOST_COOKIE_NAME } else { COOKIE_NAME }
}

/// Authenticates and authorises the caller before the body is read. A key takes precedence over a cookie: a
/// program sends the key on purpose, a browser adds the cookie by itself.
///
/// # Errors
/// 401 for an unknown caller, 403 where the caller may not do this, 404 for a workspace that isn't theirs.
pub async fn identify(
    control: &Control,
    head: &Parts,
    peer: IpAddr,
    access: Access,
) -> Result<Caller, Box<Fault>> {
    let carries_key = head.headers.contains_key(AUTHORIZATION) || head.headers.contains_key(API_KEY);
    let session = if carries_key { None } else { session_token(&control.web.site, &head.headers)? };
    let caller = match session {
        Some(token) => Caller::Person(Box::new(person(control, head, token, access.people).await?)),
        None => Caller::Key(key(control, head, peer, access.key)?),
    };
    match requested_workspace(&head.headers) {
        Some(wanted) if wanted != caller.workspace().to_string() => Err(not_found("workspace", &wanted)),
        _ => Ok(caller),
    }
}

/// Authenticates the node that reports.
///
/// # Errors
/// 401 where the token is not a node's credential, or was revoked.
pub async fn reporter(control: &Control, headers: &HeaderMap) -> Result<Reporter, Box<Fault>> {
    let refused = |code, message| {
        let fix = "Join again: `tidegate nodes invite` makes a token, and `tidegate node join` takes it.";
        Box::new(Fault::new(FaultClass::Unauthenticated, code, message).fix(fix))
    };
    let unknown = || refused("unknown_node_credential", "This is the credential of no node.");
    let credential =
        tokens::digest(&*control.deps.vault.hasher, Kind::Node, bearer(headers).ok_or_else(unknown)?);
    let known = control
        .deps
        .store
        .joins()
        .node_of_credential(credential)
        .await
        .map_err(of_store)?
        .ok_or_else(unknown)?;
    if known.is_revoked {
        Err(refused("node_credential_revoked", "The credential of this node is revoked."))
    } else {
        Ok(Reporter { credential, known })
    }
}

fn key(
    control: &Control,
    head: &Parts,
    peer: IpAddr,
    needs: Option<Needs>,
) -> Result<admit::Caller, Box<Fault>> {
    let (snapshot, now) = (control.deps.keeper.current(), control.deps.world.clock.unix_ms());
    let known = needs.unwrap_or(Needs::Known);
    let caller = admit::identify(snapshot, &head.headers, peer, known, now)?;
    if needs.is_some() { Ok(caller) } else { Err(person_needed()) }
}

async fn person(
    control: &Control,
    head: &Parts,
    token: &str,
    access: Option<People>,
) -> Result<Person, Box<Fault>> {
    let changes = !head.method.is_safe();
    control.web.site.check(&head.headers, changes)?;
    let signed_in = live(control, token).await?.ok_or_else(session_over)?;
    let csrf_token = tokens::csrf(&*control.deps.vault.hasher, token);
    if changes && !carries(&head.headers, &csrf_token) {
        return Err(csrf_refused());
    }
    let acting = acting(&head.headers, &signed_in.memberships)?;
    let is_operator = acting.role == Role::Owner && acting.workspace == control.operator;
    match access {
        None => return Err(Box::new(Fault::internal())),
        Some(People::Least(least)) if !acting.role.covers(least) => {
            return Err(insufficient_role(&least.to_string(), acting.role));
        }
        Some(People::Operator) if !is_operator => {
            return Err(insufficient_role("owner of the operator's workspace", acting.role));
        }
        Some(People::Least(_) | People::Operator) => {}
    }
    touch(control, &signed_in).await?;
    let snapshot = control.deps.keeper.current();
    let projects = snapshot.workspace(acting.workspace).map(|entry| entry.projects.clone());
    Ok(Person { signed_in, acting, csrf_token, is_operator, projects: projects.unwrap_or_default() })
}

/// The session of a token, if it is still valid.
pub async fn live(control: &Control, token: &str) -> Result<Option<SignedIn>, Box<Fault>> {
    let digest = tokens::digest(&*control.deps.vault.hasher, Kind::Session, token);
    let found = control.deps.store.sign_ins().find(digest).await.map_err(of_store)?;
    let now = control.deps.world.clock.unix_ms();
    let idle_ms = u64::try_from(SESSION_IDLE_MAX.as_millis()).unwrap_or(u64::MAX);
    let lives = |signed_in: &SignedIn| {
        let session = &signed_in.session;
        now < session.expires_unix_ms && now < session.used_unix_ms.saturating_add(idle_ms)
    };
    // A person without any membership can't do anything, so the session doesn't count.
    Ok(found.filter(|found| lives(found) && !found.memberships.is_empty()))
}

async fn touch(control: &Control, signed_in: &SignedIn) -> Result<(), Box<Fault>> {
    let (session, now) = (&signed_in.session, control.deps.world.clock.unix_ms());
    if now < session.used_unix_ms.saturating_add(TOUCH_EVERY_MS) {
        return Ok(());
    }
    control.deps.store.sign_ins().touch(session.digest, now).await.map_err(of_store)
}

/// A workspace of others is answered like one that doesn't exist.
fn acting(headers: &HeaderMap, memberships: &[Membership]) -> Result<Membership, Box<Fault>> {
    let found = match requested_workspace(headers) {
        None => memberships.first(),
        Some(wanted) => {
            let found = memberships.iter().find(|membership| membership.workspace.to_string() == wanted);
            return found.cloned().ok_or_else(|| not_found("workspace", &wanted));
        }
    };
    found.cloned().ok_or_else(session_over)
}

fn requested_workspace(headers: &HeaderMap) -> Option<String> {
    let wanted = String::from_utf8_lossy(headers.get(WORKSPACE)?.as_bytes()).trim().to_owned();
    (!wanted.is_empty()).then(|| wanted.chars().take(64).collect())
}

/// The session cookie's value. Two cookies of that name are a 401: another port of this host may have planted
/// one of them.
///
/// # Errors
/// 401.
pub fn session_token<'h>(site: &Site, headers: &'h HeaderMap) -> Result<Option<&'h str>, Box<Fault>> {
    let wanted = cookie_name(site, headers);
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = pairs.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut tokens = pairs.filter(|(name, _)| *name == wanted).map(|(_, token)| token);
    let first = tokens.next();
    match tokens.next() {
        None => Ok(first.filter(|token| !token.is_empty())),
        Some(_) => Err(Box::new(
            Fault::new(
                FaultClass::Unauthenticated,
                "ambiguous_session",
                "The request carries two session cookies.",
            )
            .fix("Delete this site's cookies and sign in again."),
        )),
    }
}

fn carries(headers: &HeaderMap, csrf_token: &str) -> bool {
    let given = headers.get(CSRF).map_or(&b""[..], |value| value.as_bytes());
    bool::from(given.ct_eq(csrf_token.as_bytes()))
}

fn session_over() -> Box<Fault> {
    let message = "This session is over, or is unknown here.";
    Box::new(Fault::new(FaultClass::Unauthenticated, "session_over", message).fix("Sign in again."))
}

fn csrf_refused() -> Box<Fault> {
    let message = "The request lacks its session's X-Tidegate-CSRF token, or carries another one.";
    Box::new(
        Fault::new(FaultClass::Forbidden, "csrf_refused", message)
            .param("X-Tidegate-CSRF")
            .fix("Send the csrf_token that GET /v2/me answers for this session."),
    )
}
