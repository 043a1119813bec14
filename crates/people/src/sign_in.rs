//! `/v2/sign-in`, `/v2/sign-in/link`, `/v2/sign-out`: how a person's session starts and ends.

use std::sync::Arc;

use api::access::Access;
use api::attempts::AttemptSubject;
use api::caller::{Caller, UnauthenticatedCaller, cookie_name, live};
use api::failure::missing;
use api::openapi::description::Nothing;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use api::tokens::{self, Kind};
use domain::limits::SESSION_TIME_MAX;
use domain::ports::AuditEntry;
use domain::{AuditId, Fault, FaultClass, MemberId, Secret, TraceId, WorkspaceId};
use http::Method;
use http::header::{HeaderMap, USER_AGENT};
use reconcilers::{milliseconds, of_store};
use schemars::JsonSchema;
use serde::Deserialize;
use store::{Act, AuditRow, PersonRow, Redeemed, Redeemer, SignInRow};

use crate::limits::USER_AGENT_CHARS_MAX;
use crate::me::{self, Me};

pub fn routes() -> Vec<Route> {
    vec![
        Route::open(Method::POST, "/v2/sign-in", by_password)
            .says("Signs a person in by password. The response sets the session cookie.")
            .takes::<Password>()
            .no_rehearsal(NO_REHEARSAL)
            .returns_value::<Me>()
            .refuses(401, "sign_in_failed"),
        Route::open(Method::POST, "/v2/sign-in/link", by_link)
            .says("Signs a person in by a link's token, once.")
            .takes::<Link>()
            .no_rehearsal(NO_REHEARSAL)
            .returns_value::<Me>()
            .refuses(401, "link_over")
            .refuses(401, "sign_in_first"),
        Route::new(Method::POST, "/v2/sign-out", Access::ONESELF, out)
            .says("Ends the session, or revokes the key of a command line.")
            .takes_nothing()
            .returns_no_content()
            .refuses(409, "not_a_sign_in"),
    ]
}

/// Why signing in can't be rehearsed.
pub const NO_REHEARSAL: &str = "A person who signs in stays known for good, so this has no dry run.";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PasswordSignIn")]
struct Password {
    #[schemars(required)]
    email: Option<String>,
    #[schemars(required, extend("writeOnly" = true))]
    password: Option<String>,
}

async fn by_password(control: &Arc<Control>, request: ApiRequest<UnauthenticatedCaller>) -> Handled {
    control.web.site.check(&request.headers, false)?;
    let input: Password = request.json()?;
    let email = input.email.ok_or_else(|| missing("email", "Give the email that you sign in with."))?;
    let password = input.password.ok_or_else(|| missing("password", "Give your password."))?;
    let (email, password) = (in_one_form(&email), Secret::from_text(password));
    let now = control.deps.world.clock.unix_ms();
    let (address, trier) =
        (AttemptSubject::address(request.peer), AttemptSubject::account(email.clone(), request.peer));
    // Concurrent with password hashing; the result is returned only if the attempt is within the limit.
    let counting = control.sign_in.attempts.count(&control.deps.store, &address, Some(&trier), now);
    let ((), (person, is_right)) = tokio::try_join!(counting, compare(control, email, &password))?;
    let Some(person) = person.as_ref().filter(|_| is_right) else {
        record_failure(control, request.trace, person);
        return Err(failed());
    };
    let memberships = control.deps.store.people().memberships(person.id).await.map_err(of_store)?;
    let Some(first) = memberships.first() else { return Err(failed()) };
    control.sign_in.attempts.forget(&control.deps.store, &trier);
    let fresh = NewSession::of(control, &request, person.id, false);
    let act = Act::new(&control.deps.world, person.id.to_string(), Some(request.trace));
    let start = control.deps.store.sign_ins().start(
        fresh.row,
        session_digest(control, &request),
        Some(first.workspace),
        act,
    );
    start.await.map_err(of_store)?;
    welcome(control, &request.headers, &fresh.token).await
}

/// The person with this email and this password; otherwise any person with the email. Several people may have
/// the same email, since nothing proves who owns it.
async fn compare(
    control: &Control,
    email: String,
    password: &Secret,
) -> Result<(Option<PersonRow>, bool), Box<Fault>> {
    let people = control.deps.store.people().by_email(email).await.map_err(of_store)?;
    let (known, strangers): (Vec<_>, Vec<_>) =
        people.into_iter().partition(|person| person.password_hash.is_some());
    let hashes = known.iter().filter_map(|person| person.password_hash.clone()).collect();
    let place = control.sign_in.passwords.place_of(password, hashes).await?;
    if let Some(person) = place.and_then(|place| known.get(place)) {
        return Ok((Some(person.clone()), true));
    }
    Ok((known.into_iter().chain(strangers).next(), false))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LinkSignIn")]
struct Link {
    #[schemars(required, extend("writeOnly" = true))]
    token: Option<String>,
    /// The person who opened the link does not use the invited address.
    new_person: Option<bool>,
}

async fn by_link(control: &Arc<Control>, request: ApiRequest<UnauthenticatedCaller>) -> Handled {
    control.web.site.check(&request.headers, false)?;
    let input: Link = request.json()?;
    let token = Secret::from_text(input.token.ok_or_else(|| missing("token", "Open the whole link."))?);
    let now = control.deps.world.clock.unix_ms();
    control
        .sign_in
        .attempts
        .count(&control.deps.store, &AttemptSubject::address(request.peer), None, now)
        .await?;
    let signed_in = match &request.caller.session_token {
        Some(carried) => live(control, carried.expose_text().unwrap_or_default()).await?,
        None => None,
    };
    let redeemer = match signed_in {
        _ if input.new_person == Some(true) => Redeemer::New,
        Some(signed_in) => Redeemer::Known(signed_in.person.id),
        None => Redeemer::Nobody,
    };
    // The store fills in the person of the link.
    let nobody = MemberId::from_uuid(*vault::OPERATOR.as_uuid());
    let fresh = NewSession::of(control, &request, nobody, true);
    let digest =
        tokens::digest(&*control.deps.vault.hasher, Kind::Link, token.expose_text().unwrap_or_default());
    let act = Act::new(&control.deps.world, "link", Some(request.trace));
    let redeem = control.deps.store.sign_ins().redeem(
        digest,
        redeemer,
        fresh.row,
        session_digest(control, &request),
        act,
    );
    match redeem.await.map_err(of_store)? {
        Redeemed::By(_) => welcome(control, &request.headers, &fresh.token).await,
        Redeemed::SignInFirst => Err(Box::new(
            Fault::new(
                FaultClass::Unauthenticated,
                "sign_in_first",
                "This link is for a person who already has a sign-in here.",
            )
            .fix("Sign in first, then open the link again. If that is not you, send it with \"new_person\": true."),
        )),
        Redeemed::Unknown => Err(Box::new(
            Fault::new(
                FaultClass::Unauthenticated,
                "link_over",
                "This link was used already, or is too old.",
            )
            .fix("Get another one: `tidegate login --link`, or ask the person who sent it."),
        )),
    }
}

async fn out(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let Nothing {} = request.json()?;
    let act = request.act(&control.deps.world);
    match &request.caller {
        Caller::Person(person) => {
            let (digest, workspace) = (person.signed_in.session.digest, person.acting.workspace);
            control.deps.store.sign_ins().end(digest, Some(workspace), act).await.map_err(of_store)?;
            Ok(Reply::no_content().cookie(cookie(control, &request.headers, "", 0)))
        }
        Caller::Key(key) => {
            let key = key.key().map(|key| key.id).ok_or_else(|| Box::new(Fault::internal()))?;
            let given_back = control
                .deps
                .store
                .devices()
                .revoke_key(request.workspace(), key, act)
                .await
                .map_err(of_store)?;
            if !given_back.row {
                return Err(Box::new(
                    Fault::new(FaultClass::Conflict, "not_a_sign_in", "This key was not made by signing in.")
                        .fix("Revoke it with `tidegate key revoke` where it is no longer needed."),
                ));
            }
            control.deps.await_published(given_back.version).await?;
            Ok(Reply::no_content())
        }
    }
}

/// A new session: the holder's token, and the row that is stored.
pub struct NewSession {
    pub token: Secret,
    pub row: SignInRow,
}

impl NewSession {
    /// Always a fresh token, against session fixation: a token that the browser sent before is never reused.
    pub fn of<C>(control: &Control, request: &ApiRequest<C>, person: MemberId, by_link: bool) -> Self {
        let token = tokens::mint(&*control.deps.world.random);
        let now = control.deps.world.clock.unix_ms();
        let agent = request.headers.get(USER_AGENT).map_or(&b""[..], |value| value.as_bytes());
        let agent = String::from_utf8_lossy(agent).chars().take(USER_AGENT_CHARS_MAX).collect();
        let text = token.expose_text().unwrap_or_default();
        let row = SignInRow {
            digest: tokens::digest(&*control.deps.vault.hasher, Kind::Session, text),
            person,
            by_link,
            address: request.peer.to_string(),
            agent,
            created_unix_ms: now,
            used_unix_ms: now,
            expires_unix_ms: now.saturating_add(milliseconds(SESSION_TIME_MAX)),
        };
        Self { token, row }
    }
}

/// The response of a sign-in: the person and the session cookie.
pub async fn welcome(control: &Control, headers: &HeaderMap, token: &Secret) -> Result<Reply, Box<Fault>> {
    let text = token.expose_text().unwrap_or_default();
    let signed_in = live(control, text).await?.ok_or_else(failed)?;
    let acting = signed_in.memberships.first().ok_or_else(failed)?;
    let csrf_token = tokens::csrf(&*control.deps.vault.hasher, text);
    let view = me::show(&signed_in, acting, &csrf_token);
    Ok(Reply::json(&view)?.cookie(cookie(control, headers, text, SESSION_TIME_MAX.as_secs())))
}

fn cookie(control: &Control, headers: &HeaderMap, token: &str, seconds: u64) -> String {
    let (name, secure) = (
        cookie_name(&control.web.site, headers),
        if control.web.site.is_https(headers) { "; Secure" } else { "" },
    );
    format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

fn session_digest(
    control: &Control,
    request: &ApiRequest<UnauthenticatedCaller>,
) -> Option<store::TokenDigest> {
    let carried = request.caller.session_token.as_ref()?.expose_text()?;
    Some(tokens::digest(&*control.deps.vault.hasher, Kind::Session, carried))
}

/// An email, normalised for storage and comparison.
pub fn in_one_form(email: &str) -> String {
    email.trim().to_lowercase()
}

fn failed() -> Box<Fault> {
    Box::new(
        Fault::new(FaultClass::Unauthenticated, "sign_in_failed", "The email or the password is wrong.").fix(
            "Try again, or sign in by a link: `tidegate login --link` on the machine that runs the gateway.",
        ),
    )
}

/// Written to the audit after the response, which would otherwise take longer for known emails.
fn record_failure(control: &Arc<Control>, trace: TraceId, person: Option<PersonRow>) {
    let writes = control.sign_in.writes.clone();
    let control = Arc::clone(control);
    let recording = writes.run(async move {
        let mut workspace: Option<WorkspaceId> = None;
        if let Some(person) = &person {
            let memberships = control.deps.store.people().memberships(person.id).await.unwrap_or_default();
            workspace = memberships.first().map(|membership| membership.workspace);
        }
        let now = control.deps.world.clock.unix_ms();
        // An unknown email is not stored: it may be a password typed in the wrong field.
        let object = person.map_or_else(|| "-".to_owned(), |person| person.id.to_string());
        let entry = AuditEntry {
            workspace,
            actor: "system".to_owned(),
            action: "sign_in.fail",
            object,
            detail: "wrong email or password".to_owned(),
            trace: Some(trace),
        };
        let row = AuditRow::new(AuditId::new(now, control.deps.world.id_bytes()), now, entry);
        if let Err(error) = control.deps.store.audit().append(vec![row]).await {
            tracing::warn!(%error, "a failed sign-in could not be kept in the audit");
        }
    });
    drop(recording);
}
