//! `/v2/device`: the device flow, by which a command line without a browser gets a key that a person approves
//! elsewhere.

use std::sync::Arc;

use api::access::{Access, person_needed};
use api::attempts::AttemptSubject;
use api::caller::UnauthenticatedCaller;
use api::failure::missing;
use api::limits::NAME_CHARS_MAX;
use api::moment::Moment;
use api::names::checked_name;
use api::openapi::bounds::NAME;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use api::tokens::{self, Kind};
use domain::limits::{DEVICE_KEY_TIME_MAX, DEVICE_POLL_EVERY, DEVICE_TIME_MAX, DEVICES_WAITING_MAX};
use domain::{Fault, FaultClass, MemberId, Role, Secret, WorkspaceId};
use http::Method;
use reconcilers::{milliseconds, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use snapshot::Scopes;
use store::{Act, ApiKeyRow, DeviceAnswer, DeviceRow, Membership, Page, StoreError};

use crate::founding::new_key;
use crate::sign_in::NO_REHEARSAL;

pub fn routes() -> Vec<Route> {
    vec![
        Route::open(Method::POST, "/v2/device", ask_for_code)
            .says("Starts the sign-in of a command line.")
            .takes::<Client>()
            .no_rehearsal(NO_REHEARSAL)
            .returns_value::<WaitingDevice<'_>>(),
        Route::open(Method::POST, "/v2/device/token", ask_for_key)
            .says("Polls whether the device was approved, and returns its key.")
            .takes::<Poll>()
            .no_rehearsal(NO_REHEARSAL)
            .returns_value::<DeviceKey<'_>>()
            .refuses(400, "authorization_pending")
            .refuses(400, "slow_down")
            .refuses(400, "expired_token")
            .refuses(400, "access_denied")
            .refuses(400, "no_project"),
        Route::new(Method::POST, "/v2/device/approve", Access::PERSON, answer)
            .says("Shows a waiting device and, with `approve`, approves or denies it.")
            .takes::<Answer>()
            .returns_value::<AnsweredDevice>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Device")]
struct Client {
    #[schemars(required)]
    #[schemars(length(min = 1, max = NAME_CHARS_MAX), regex(pattern = NAME))]
    client_name: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct WaitingDevice<'a> {
    object: &'static str,
    /// For the program that polls.
    device_code: &'a str,
    /// For the person at the device.
    user_code: &'a str,
    verification_url: String,
    verification_url_complete: String,
    interval_s: u64,
    expires_in_s: u64,
}

#[derive(Serialize, JsonSchema)]
struct DeviceKey<'a> {
    object: &'static str,
    api_key: &'a str,
    key_id: String,
    workspace_id: String,
    expires_at: Option<Moment>,
}

#[derive(Serialize, JsonSchema)]
struct AnsweredDevice {
    object: &'static str,
    client_name: String,
    address: String,
    requested_at: Moment,
    #[schemars(extend("enum" = ["pending", "denied", "approved"]))]
    status: &'static str,
}

async fn ask_for_code(control: &Arc<Control>, request: ApiRequest<UnauthenticatedCaller>) -> Handled {
    let input: Client = request.json()?;
    let client_name = checked_name(input.client_name, "client_name")?;
    let now = control.deps.world.clock.unix_ms();
    control
        .sign_in
        .attempts
        .count(&control.deps.store, &AttemptSubject::address(request.peer), None, now)
        .await?;
    let device_code = tokens::mint(&*control.deps.world.random);
    let user_code = tokens::mint_user_code(&*control.deps.world.random);
    let device = DeviceRow {
        digest: digest(control, Kind::Device, device_code.expose_text().unwrap_or_default()),
        user_code: digest(control, Kind::UserCode, &tokens::read_user_code(&user_code)),
        client_name,
        address: request.peer.to_string(),
        answer: None,
        polled_unix_ms: None,
        created_unix_ms: now,
        expires_unix_ms: now.saturating_add(milliseconds(DEVICE_TIME_MAX)),
    };
    control.deps.store.devices().create(device, DEVICES_WAITING_MAX).await.map_err(busy)?;
    let base = control.web.site.base_url(&request.headers);
    Reply::json(&WaitingDevice {
        object: "device",
        device_code: device_code.expose_text().unwrap_or_default(),
        verification_url: format!("{base}/device"),
        verification_url_complete: format!("{base}/device#code={user_code}"),
        user_code: &user_code,
        interval_s: DEVICE_POLL_EVERY.as_secs(),
        expires_in_s: DEVICE_TIME_MAX.as_secs(),
    })
}

fn digest(control: &Control, kind: Kind, text: &str) -> store::TokenDigest {
    tokens::digest(&*control.deps.vault.hasher, kind, text)
}

fn busy(error: StoreError) -> Box<Fault> {
    match error {
        StoreError::Conflict { what: "too_many_devices", .. } => Box::new(
            Fault::new(FaultClass::RateLimit, "too_many_attempts", "Too many devices wait to be let in.")
                .fix("Try again in some minutes.")
                .retry_after_ms(60_000),
        ),
        other => of_store(other),
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DevicePoll")]
struct Poll {
    #[schemars(required)]
    device_code: Option<String>,
}

/// The error codes of RFC 8628, which the device's program branches on.
fn not_yet(code: &'static str, message: &'static str, fix: &'static str) -> Box<Fault> {
    Box::new(Fault::new(FaultClass::BadRequest, code, message).fix(fix))
}

fn expired() -> Box<Fault> {
    not_yet("expired_token", "This device code is unknown, used or too old.", "Begin again.")
}

fn denied() -> Box<Fault> {
    not_yet("access_denied", "The person at the device declined.", "Begin again, if that was a mistake.")
}

async fn ask_for_key(control: &Arc<Control>, request: ApiRequest<UnauthenticatedCaller>) -> Handled {
    let input: Poll = request.json()?;
    let code = input.device_code.ok_or_else(|| missing("device_code", "Send what /v2/device answered."))?;
    let code = Secret::from_text(code);
    let digest = digest(control, Kind::Device, code.expose_text().unwrap_or_default());
    let now = control.deps.world.clock.unix_ms();
    let device = control.deps.store.devices().poll(digest, now).await.map_err(of_store)?;
    let device = device.ok_or_else(expired)?;
    match device.answer {
        Some(DeviceAnswer::Denied) => Err(denied()),
        Some(DeviceAnswer::Approved { person, workspace }) => {
            give_key(control, &request, &device, person, workspace).await
        }
        None if is_too_soon(&device, now) => {
            Err(not_yet("slow_down", "That was too soon.", "Wait interval_s between two questions."))
        }
        None => Err(not_yet(
            "authorization_pending",
            "This device hasn't been approved yet.",
            "Ask again after interval_s.",
        )),
    }
}

/// Slightly early polls are accepted: clocks and schedulers differ.
fn is_too_soon(device: &DeviceRow, now: u64) -> bool {
    let wait_ms = milliseconds(DEVICE_POLL_EVERY) * 9 / 10;
    device.polled_unix_ms.is_some_and(|polled| now < polled.saturating_add(wait_ms))
}

async fn give_key(
    control: &Arc<Control>,
    request: &ApiRequest<UnauthenticatedCaller>,
    device: &DeviceRow,
    person: MemberId,
    workspace: WorkspaceId,
) -> Result<Reply, Box<Fault>> {
    let memberships = control.deps.store.people().memberships(person).await.map_err(of_store)?;
    let Some(membership) = memberships.into_iter().find(|one| one.workspace == workspace) else {
        return Err(denied());
    };
    let (text, key) = key_of(control, device, &membership).await?;
    let act = Act::new(&control.deps.world, person.to_string(), Some(request.trace));
    let granted = control.deps.store.devices().grant(device.digest, membership.role, key, act).await;
    let written = match granted {
        // The person's role was changed, or another poll was faster.
        Err(StoreError::NotFound { .. }) => return Err(denied()),
        granted => granted.map_err(of_store)?,
    };
    control.deps.await_published(written.version).await?;
    Reply::json(&DeviceKey {
        object: "device_key",
        api_key: text.expose_text().unwrap_or_default(),
        key_id: written.row.id.to_string(),
        workspace_id: workspace.to_string(),
        expires_at: written.row.expires_unix_ms.map(Moment),
    })
}

/// A key with the person's own rights.
async fn key_of(
    control: &Control,
    device: &DeviceRow,
    membership: &Membership,
) -> Result<(Secret, ApiKeyRow), Box<Fault>> {
    let workspace = membership.workspace;
    let projects = control.deps.store.projects().list(workspace, Page::first(1)).await.map_err(of_store)?;
    let Some(project) = projects.rows.first() else {
        return Err(not_yet(
            "no_project",
            "The workspace has no project for the key.",
            "Create one, then start again.",
        ));
    };
    let role = membership.role;
    let scopes = Scopes {
        inference: role.covers(Role::Developer),
        read: true,
        admin: role.covers(Role::Admin),
        operator: role == Role::Owner && workspace == control.operator,
    };
    let name = format!("{} (signed in)", device.client_name);
    let (world, vault) = (&control.deps.world, &control.deps.vault);
    let (text, row) = new_key(world, vault, (workspace, project.id), &name, &project.environment, scopes);
    let expires_unix_ms = world.clock.unix_ms().saturating_add(milliseconds(DEVICE_KEY_TIME_MAX));
    Ok((Secret::from_text(text), ApiKeyRow { expires_unix_ms: Some(expires_unix_ms), ..row }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DeviceAnswer")]
struct Answer {
    #[schemars(required)]
    user_code: Option<String>,
    /// Without it, the device is only shown.
    approve: Option<bool>,
}

async fn answer(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: Answer = request.json()?;
    let typed =
        input.user_code.ok_or_else(|| missing("user_code", "Type the code that the device shows."))?;
    let person = request.caller.person().ok_or_else(person_needed)?.signed_in.person.id;
    let now = control.deps.world.clock.unix_ms();
    control.sign_in.attempts.count(&control.deps.store, &AttemptSubject::Person(person), None, now).await?;
    let code = digest(control, Kind::UserCode, &tokens::read_user_code(&typed));
    let device = match input.approve {
        None => control.deps.store.devices().waiting(code, now).await.map_err(of_store)?,
        Some(approve) => {
            let workspace = request.workspace();
            let device_answer =
                if approve { DeviceAnswer::Approved { person, workspace } } else { DeviceAnswer::Denied };
            let act = request.act(&control.deps.world);
            match control.deps.store.devices().answer(code, device_answer, workspace, act).await {
                Err(StoreError::NotFound { .. }) => None,
                answered => Some(answered.map_err(of_store)?),
            }
        }
    };
    let device = device.ok_or_else(unknown_code)?;
    control.sign_in.attempts.forget(&control.deps.store, &AttemptSubject::Person(person));
    Reply::json(&AnsweredDevice {
        object: "device",
        requested_at: Moment(device.created_unix_ms),
        status: match device.answer {
            None => "pending",
            Some(DeviceAnswer::Denied) => "denied",
            Some(DeviceAnswer::Approved { .. }) => "approved",
        },
        client_name: device.client_name,
        address: device.address,
    })
}

fn unknown_code() -> Box<Fault> {
    Box::new(
        Fault::new(FaultClass::NotFound, "not_found", "No device waits with this code.")
            .param("user_code")
            .fix("Type the code as the device shows it; it is good for ten minutes."),
    )
}
