//! `/v2/me`: the caller's own identity, and what they may change of it.

use std::sync::Arc;

use api::access::{Access, person_needed};
use api::attempts::AttemptSubject;
use api::caller::{Caller, Person};
use api::failure::invalid;
use api::limits::{EMAIL_BYTES_MAX, NAME_CHARS_MAX};
use api::names::checked_name;
use api::openapi::bounds::{EMAIL, NAME};
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::LINK_TIME_MAX;
use domain::{Fault, FaultClass, Secret};
use http::Method;
use reconcilers::{milliseconds, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use snapshot::Scopes;
use store::{Membership, PersonRow, SignedIn};

use crate::sign_in::{NewSession, in_one_form, welcome};

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/me", Access::ONESELF, get)
            .says("Returns who is calling: a signed-in person or a key.")
            .returns_value::<Me>(),
        Route::new(Method::PATCH, "/v2/me", Access::PERSON, change)
            .says(
                "Changes the caller's own name, email or password. A new password ends every other session.",
            )
            .patches::<Input>()
            .returns_value::<Me>()
            .refuses(403, "wrong_password")
            .refuses(409, "email_taken"),
    ]
}

/// Any caller.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Me {
    Person {
        object: &'static str,
        member: OwnMember,
        workspace_id: String,
        role: &'static str,
        workspaces: Vec<OwnWorkspace>,
        /// For the header `X-Tidegate-CSRF`, which every write needs.
        csrf_token: String,
    },
    Key {
        object: &'static str,
        key: OwnKey,
        workspace_id: String,
        workspaces: Vec<OwnWorkspace>,
    },
}

#[derive(Serialize, JsonSchema)]
pub struct OwnMember {
    id: String,
    email: String,
    name: String,
    has_password: bool,
}

#[derive(Serialize, JsonSchema)]
pub struct OwnWorkspace {
    id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
}

#[derive(Serialize, JsonSchema)]
pub struct OwnKey {
    id: String,
    name: String,
    last4: String,
    scopes: Vec<&'static str>,
    project_id: String,
    environment: String,
}

/// A signed-in person as shown to themselves.
pub fn show(signed_in: &SignedIn, acting: &Membership, csrf_token: &str) -> Me {
    let workspaces = signed_in.memberships.iter().map(|membership| OwnWorkspace {
        id: membership.workspace.to_string(),
        name: membership.name.clone(),
        role: Some(membership.role.as_str()),
    });
    Me::Person {
        object: "me",
        member: OwnMember {
            id: signed_in.person.id.to_string(),
            email: signed_in.person.email.clone(),
            name: signed_in.person.name.clone(),
            has_password: signed_in.person.password_hash.is_some(),
        },
        workspace_id: acting.workspace.to_string(),
        role: acting.role.as_str(),
        workspaces: workspaces.collect(),
        csrf_token: csrf_token.to_owned(),
    }
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let key = match &request.caller {
        Caller::Person(person) => {
            return Reply::json(&show(&person.signed_in, &person.acting, &person.csrf_token));
        }
        Caller::Key(key) => key,
    };
    let id = key.key().map(|key| key.id).ok_or_else(|| Box::new(Fault::internal()))?;
    let row = control.deps.store.api_keys().get(request.workspace(), id).await.map_err(of_store)?;
    let (workspace, project) = (key.workspace(), key.project());
    Reply::json(&Me::Key {
        object: "me",
        key: OwnKey {
            id: row.id.to_string(),
            name: row.name,
            last4: row.last4,
            scopes: scope_names(row.scopes),
            project_id: project.id.to_string(),
            environment: row.environment,
        },
        workspace_id: workspace.id.to_string(),
        workspaces: vec![OwnWorkspace {
            id: workspace.id.to_string(),
            name: workspace.name.to_string(),
            role: None,
        }],
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Me")]
struct Input {
    #[schemars(length(min = 1, max = NAME_CHARS_MAX), regex(pattern = NAME))]
    name: Option<String>,
    #[schemars(email, length(max = EMAIL_BYTES_MAX), regex(pattern = EMAIL))]
    email: Option<String>,
    password: Option<String>,
    current_password: Option<String>,
}

async fn change(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: Input = request.json()?;
    let person = request.caller.person().ok_or_else(person_needed)?;
    let email = input.email.as_deref().map(checked_email).transpose()?;
    let email = email.filter(|email| *email != person.signed_in.person.email);
    let name = input.name.map(|name| checked_name(Some(name), "name")).transpose()?;
    if email.is_some() || input.password.is_some() {
        prove(control, person, input.current_password.map(Secret::from_text)).await?;
    }
    let hash = match input.password.map(Secret::from_text) {
        Some(password) => Some(control.sign_in.passwords.hash(&password, &*control.deps.world.random).await?),
        None => None,
    };
    let before = &person.signed_in.person;
    let mut changed = person.signed_in.clone();
    if name.is_some() || email.is_some() {
        let wanted = PersonRow {
            name: name.unwrap_or_else(|| before.name.clone()),
            email: email.unwrap_or_else(|| before.email.clone()),
            ..before.clone()
        };
        let act = request.act(&control.deps.world);
        let renamed = control.deps.store.people().rename(wanted, request.workspace(), act);
        changed.person = renamed.await.map_err(of_store)?.row;
    }
    if let Some(hash) = hash {
        // All sessions of the old password end; this one is replaced by a new session.
        let fresh = NewSession::of(control, &request, before.id, false);
        let act = request.act(&control.deps.world);
        let set = control.deps.store.people().set_password(hash, fresh.row, request.workspace(), act);
        set.await.map_err(of_store)?;
        if request.is_rehearsal {
            return Reply::json(&show(&changed, &person.acting, &person.csrf_token));
        }
        return welcome(control, &request.headers, &fresh.token).await;
    }
    Reply::json(&show(&changed, &person.acting, &person.csrf_token))
}

/// Sensitive changes require the password, so that a stolen session alone is not enough. A person without a
/// password, or who has just signed in by a link, needs none.
async fn prove(control: &Control, person: &Person, password: Option<Secret>) -> Result<(), Box<Fault>> {
    let (row, session) = (&person.signed_in.person, &person.signed_in.session);
    let now = control.deps.world.clock.unix_ms();
    let trier = AttemptSubject::Person(row.id);
    control.sign_in.attempts.count(&control.deps.store, &trier, None, now).await?;
    let by_fresh_link =
        session.by_link && now < session.created_unix_ms.saturating_add(milliseconds(LINK_TIME_MAX));
    if by_fresh_link || row.password_hash.is_none() {
        return Ok(());
    }
    let Some(password) = password else { return Err(current_password("The present password is missing.")) };
    if control.sign_in.passwords.matches(&password, row.password_hash.clone()).await? {
        control.sign_in.attempts.forget(&control.deps.store, &trier);
        return Ok(());
    }
    Err(current_password("The present password is wrong."))
}

fn current_password(message: &'static str) -> Box<Fault> {
    Box::new(
        Fault::new(FaultClass::Forbidden, "wrong_password", message)
            .param("current_password")
            .fix("Give the current password, or sign in by a link, which replaces it for ten minutes."),
    )
}

/// An email, normalised. Whether it can receive mail is not checked.
///
/// # Errors
/// 400 for an invalid address.
pub fn checked_email(email: &str) -> Result<String, Box<Fault>> {
    let email = in_one_form(email);
    let parts = email.split_once('@');
    let plain =
        |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control());
    let fine = parts.is_some_and(|(local, host)| plain(local) && plain(host) && !host.contains('@'));
    if fine && email.len() <= EMAIL_BYTES_MAX {
        return Ok(email);
    }
    Err(invalid("email", "This isn't an email address.", "Write it as name@example.com."))
}

/// Scopes by the names that callers use.
pub fn scope_names(scopes: Scopes) -> Vec<&'static str> {
    [
        ("inference", scopes.inference),
        ("read", scopes.read),
        ("admin", scopes.admin),
        ("operator", scopes.operator),
    ]
    .into_iter()
    .filter_map(|(name, has)| has.then_some(name))
    .collect()
}
