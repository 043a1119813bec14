//! `/v2/webhooks`: the endpoints to which a workspace's events are sent.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing};
use api::moment::Moment;
use api::openapi::description::Nothing;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::WEBHOOK_OVERLAP;
use domain::{EventId, Fault, MemberId, Secret, WebhookId, WorkspaceId};
use http::Method;
use naming::{Kind, Within};
use reconcilers::webhooks::{mint_secret, readable, secret_text};
use reconcilers::{milliseconds, of_store};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::webhooks::sealed_object;
use store::{
    DISABLED_BY_SOMEBODY, DeliveryRow, DeliveryState, EventKind, EventRow, SigningSecret, StoreError,
    WebhookFormat, WebhookRow,
};

use super::conditions::{WindowWire, printable};
use super::secrets;
use crate::limits::WEBHOOK_DESCRIPTION_CHARS_MAX;
use crate::resource::{Resource, WritableResource, delete, get, list, load, patch, post, put, reply};

/// What an email address begins with, as a URL.
const MAILTO: &str = "mailto:";
/// Every version of a webhook's secret is an object of its own, sealed once.
const FIRST_VERSION: u32 = 1;

pub fn routes() -> Vec<Route> {
    vec![
        post::<WebhookRow>("Adds a webhook. Its secret is only in this response.")
            .makes::<WithSecret>()
            .refuses(409, "too_many_webhooks"),
        list::<WebhookRow>("Lists the workspace's webhooks."),
        get::<WebhookRow>("Shows a webhook."),
        patch::<WebhookRow>("Changes fields of a webhook."),
        put::<WebhookRow>("Replaces a webhook. Its secrets stay."),
        delete::<WebhookRow>("Removes a webhook."),
        Route::new(Method::POST, "/v2/webhooks/{id}/test", Access::MANAGE, test)
            .says("Sends a test event immediately, and returns the result.")
            .takes_nothing()
            .returns_value::<TestResult>()
            .no_rehearsal("A test event that isn't sent tests nothing."),
        Route::new(Method::POST, "/v2/webhooks/{id}/rotate", Access::MANAGE, rotate)
            .says("Creates a new signing secret, which is only in this response. The old secret also signs for another day.")
            .takes_nothing()
            .returns::<WithSecret>()
            .refuses(409, "secret_version"),
        Route::new(Method::POST, "/v2/webhooks/{id}/resend", Access::MANAGE, resend)
            .says("Sends an event again, with the same id and a new signature.")
            .takes::<ResendInput>()
            .returns_value::<Delivery>()
            .refuses(409, "webhook_disabled")
            .refuses(409, "delivery_running"),
        Route::new(Method::GET, "/v2/webhooks/{id}/deliveries", Access::LOOK, deliveries)
            .says("Lists the deliveries of a webhook, newest first.")
            .lists::<Delivery>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Webhook")]
pub struct Input {
    /// `standard`, which is also the default: signed documents of Standard Webhooks. `slack`: messages for an incoming webhook of
    /// Slack, or of a chat that takes the same. `email`: emails to a member of the workspace. It can't be changed.
    #[schemars(extend("enum" = [WebhookFormat::WORDS[0], WebhookFormat::WORDS[1], WebhookFormat::WORDS[2], null]))]
    format: Option<String>,
    /// For `slack` it is a secret: it is sealed, shown without its path, and can't be changed. For `email`, a member's address
    /// (`mailto:ann@acme.example`) or id.
    #[schemars(required)]
    url: Option<String>,
    #[serde(default)]
    description: String,
    /// The part of the week in which events wait; by default they never do.
    quiet_hours: Option<WindowWire>,
    /// Empty means every kind.
    #[serde(default)]
    #[schemars(schema_with = "event_names")]
    events: Vec<String>,
    #[schemars(extend("enum" = ["active", "disabled", null]))]
    status: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Webhook")]
pub struct WebhookView {
    id: String,
    object: &'static str,
    workspace_id: String,
    #[schemars(extend("enum" = WebhookFormat::WORDS))]
    format: &'static str,
    /// For `slack`, without its path; for `email`, `mailto:` with the member's address, or the id of one who left.
    url: String,
    description: String,
    quiet_hours: Option<WindowWire>,
    /// Empty means every kind.
    events: Vec<&'static str>,
    #[schemars(extend("enum" = ["active", "disabled"]))]
    status: &'static str,
    disabled_reason: Option<String>,
    /// Newest first.
    secrets: Vec<SecretView>,
    created_at: Moment,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookSecret")]
struct SecretView {
    fingerprint: String,
    expires_at: Option<Moment>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookWithSecret")]
struct WithSecret {
    #[serde(flatten)]
    webhook: WebhookView,
    /// `null` for `slack`, whose secret is the address, and for `email`.
    secret: Option<String>,
}

/// What a write did, beside its row.
pub enum Wrote {
    /// With the secret's text, where the webhook has one.
    New(Option<String>),
    Change,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookTest")]
struct TestResult {
    object: &'static str,
    event_id: String,
    delivered: bool,
    /// The upstream's HTTP status.
    status: Option<u16>,
    error: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookResend")]
struct ResendInput {
    /// The event of a delivery of this webhook.
    event_id: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookDelivery")]
struct Delivery {
    object: &'static str,
    event_id: String,
    r#type: &'static str,
    data: Value,
    #[schemars(extend("enum" = ["pending", "delivered", "failed"]))]
    status: &'static str,
    attempts: u32,
    last_status: Option<u16>,
    last_error: Option<String>,
    attempted_at: Option<Moment>,
    created_at: Moment,
}

const fn status_of(row: &WebhookRow) -> &'static str {
    if row.disabled_reason.is_some() { "disabled" } else { "active" }
}

fn kinds(row: &WebhookRow) -> Vec<&'static str> {
    row.events.iter().map(|kind| kind.as_str()).collect()
}

/// A webhook with the address of its receiver as it is now.
async fn show(control: &Control, row: &WebhookRow) -> Result<WebhookView, Box<Fault>> {
    let url = match row.url.parse() {
        Ok(member) if row.format == WebhookFormat::Email => {
            let found = control.deps.mail_receiver(row.workspace, member).await.map_err(of_store)?;
            found.map(|member| format!("{MAILTO}{}", member.person.email))
        }
        _ => None,
    };
    Ok(view_of(row, url.unwrap_or_else(|| row.url.clone())))
}

fn view_of(row: &WebhookRow, url: String) -> WebhookView {
    let secrets = row.secrets.iter().map(|secret| SecretView {
        fingerprint: secret.secret.fingerprint.clone(),
        expires_at: secret.expires_unix_ms.map(Moment),
    });
    WebhookView {
        id: row.id.to_string(),
        object: "webhook",
        workspace_id: row.workspace.to_string(),
        format: row.format.as_str(),
        url,
        description: row.description.clone(),
        quiet_hours: row.quiet.map(WindowWire::of),
        events: kinds(row),
        status: status_of(row),
        disabled_reason: row.disabled_reason.clone(),
        secrets: secrets.collect(),
        created_at: Moment(row.created_unix_ms),
    }
}

/// The event kinds that can be subscribed to; a test event is sent only on request.
fn subscribable() -> impl Iterator<Item = EventKind> {
    EventKind::ALL.into_iter().filter(|kind| *kind != EventKind::WebhookTest)
}

fn event_names(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<_> = subscribable().map(EventKind::as_str).collect();
    json_schema!({"type": "array", "items": {"type": "string", "enum": names}})
}

fn checked_events(names: &[String]) -> Result<Vec<EventKind>, Box<Fault>> {
    let mut events = Vec::new();
    for name in names {
        let kind = subscribable().find(|kind| kind.as_str() == name).ok_or_else(|| {
            let known: Vec<_> = subscribable().map(EventKind::as_str).collect();
            invalid("events", format!("\"{name}\" isn't an event."), format!("Use {}.", known.join(", ")))
        })?;
        if !events.contains(&kind) {
            events.push(kind);
        }
    }
    Ok(events)
}

/// The format that a new webhook has, or one that is there keeps.
fn checked_format(word: Option<&str>, base: &WebhookRow) -> Result<WebhookFormat, Box<Fault>> {
    let fix = format!("Use {}.", WebhookFormat::WORDS.join(" or "));
    let format = match word {
        None => base.format,
        Some(word) => WebhookFormat::from_word(word)
            .ok_or_else(|| invalid("format", format!("Unknown format \"{}\".", printable(word)), fix))?,
    };
    if base.version > 0 && format != base.format {
        let message = "The format of a webhook can't be changed.";
        return Err(invalid("format", message, "Add another webhook, and remove this one."));
    }
    Ok(format)
}

/// The address of a Slack webhook without what makes it one: whoever knows all of it may write to the chat.
fn without_path(url: &str) -> String {
    let host = domain::host_of(url);
    format!("https://{host}/…")
}

/// Where events go, as it is stored.
async fn checked_url(
    control: &Control,
    url: &str,
    format: WebhookFormat,
    base: &WebhookRow,
) -> Result<String, Box<Fault>> {
    match format {
        WebhookFormat::Slack if base.version > 0 => {
            if url != base.url {
                let message = "The address of a Slack webhook is its secret, and can't be changed.";
                return Err(invalid("url", message, "Add another webhook, and remove this one."));
            }
        }
        WebhookFormat::Email => {
            // A member who left stays written down, so that everything else can be changed.
            if base.version > 0 && url == base.url {
                return Ok(base.url.clone());
            }
            return member_at(control, base.workspace, url).await.map(|member| member.to_string());
        }
        WebhookFormat::Standard | WebhookFormat::Slack => {
            egress::check_webhook_url(url, &control.web.egress)?
        }
    }
    Ok(url.to_owned())
}

/// The member with this address or id. Nobody else is written to, so that no workspace sends mail to strangers in the operator's
/// name.
async fn member_at(control: &Control, workspace: WorkspaceId, text: &str) -> Result<MemberId, Box<Fault>> {
    if control.deps.mail.is_none() {
        let message = "This gateway sends no mail: its operator has set no mail server.";
        return Err(invalid("format", message, "Set mail.server and mail.from, or use slack or standard."));
    }
    let nobody = || {
        let message = format!("No member of this workspace has the address \"{}\".", printable(text));
        invalid("url", message, "Use the address of a member who has accepted their invitation.")
    };
    let address = text.strip_prefix(MAILTO).unwrap_or(text);
    let mut named = vec![address.to_owned()];
    if !naming::has_the_form_of_an_id(address) {
        let (database, within) =
            (control.deps.store.database(), Within { workspace, project: None, is_operator: false });
        named = naming::ids_called(database, Kind::Member, within, address).await.map_err(of_store)?;
    }
    for id in named.iter().filter_map(|id| id.parse().ok()) {
        if control.deps.mail_receiver(workspace, id).await.map_err(of_store)?.is_some() {
            return Ok(id);
        }
    }
    Err(nobody())
}

async fn row_of(control: &Control, input: Input, base: WebhookRow) -> Result<WebhookRow, Box<Fault>> {
    let url = input.url.ok_or_else(|| missing("url", "Give the https address that receives the events."))?;
    let format = checked_format(input.format.as_deref(), &base)?;
    let url = checked_url(control, url.trim(), format, &base).await?;
    let quiet = input.quiet_hours.map(|window| window.read("quiet_hours")).transpose()?;
    if quiet.is_some_and(|quiet| quiet.contains(0) && quiet.end_after(0).is_none()) {
        let fix = "Shorten the window, or disable the webhook: PATCH it with status disabled.";
        return Err(invalid("quiet_hours", "These quiet hours never end.", fix));
    }
    if input.description.chars().count() > WEBHOOK_DESCRIPTION_CHARS_MAX {
        let message = format!("description is longer than {WEBHOOK_DESCRIPTION_CHARS_MAX} characters.");
        return Err(invalid("description", message, "Shorten it."));
    }
    let disabled_reason = match input.status.as_deref() {
        None => base.disabled_reason,
        Some("active") => None,
        Some("disabled") => base.disabled_reason.or_else(|| Some(DISABLED_BY_SOMEBODY.to_owned())),
        Some(other) => {
            let message = format!("\"{other}\" isn't a status.");
            return Err(invalid("status", message, "Use active or disabled."));
        }
    };
    let events = checked_events(&input.events)?;
    Ok(WebhookRow { format, url, description: input.description, quiet, events, disabled_reason, ..base })
}

/// A fresh secret: as it is stored, and as it is shown to its owner.
fn new_secret(
    control: &Control,
    request: &ApiRequest,
    id: WebhookId,
    generation: u32,
) -> Result<(SigningSecret, String), Box<Fault>> {
    let secret = mint_secret(&*control.deps.world.random);
    Ok((sealed(control, request, id, generation, &secret)?, secret_text(&secret)))
}

fn sealed(
    control: &Control,
    request: &ApiRequest,
    id: WebhookId,
    generation: u32,
    secret: &Secret,
) -> Result<SigningSecret, Box<Fault>> {
    let object = sealed_object(id, generation);
    let sealed = secrets::seal(control, request.workspace(), &object, FIRST_VERSION, secret)?;
    Ok(SigningSecret { generation, secret: sealed, expires_unix_ms: None })
}

impl Resource for WebhookRow {
    const PATH: &'static str = "/v2/webhooks";
    const ONE: &'static str = "/v2/webhooks/{id}";
    const WHAT: &'static str = "webhook";
    type View = WebhookView;

    fn table(control: &Control) -> &dyn store::Resource<Self> {
        control.deps.store.webhooks()
    }

    async fn view(&self, control: &Control) -> Result<WebhookView, Box<Fault>> {
        show(control, self).await
    }
}

impl WritableResource for WebhookRow {
    type Input = Input;
    type Update = Input;
    type Rest = Wrote;

    fn writable(&self, _: &Control) -> Result<Value, Box<Fault>> {
        Ok(json!({
            "format": self.format.as_str(),
            "url": self.url,
            "description": self.description,
            "quiet_hours": self.quiet.map(WindowWire::of),
            "events": kinds(self),
            "status": status_of(self),
        }))
    }

    async fn new(
        control: &Control,
        request: &ApiRequest,
        input: Input,
    ) -> Result<(Self, Self::Rest), Box<Fault>> {
        let now = control.deps.world.clock.unix_ms();
        let id = WebhookId::new(now, control.deps.world.id_bytes());
        let blank = Self {
            id,
            workspace: request.workspace(),
            format: WebhookFormat::Standard,
            url: String::new(),
            description: String::new(),
            quiet: None,
            events: Vec::new(),
            disabled_reason: None,
            secrets: Vec::new(),
            created_unix_ms: now,
            version: 0,
        };
        let mut row = row_of(control, input, blank).await?;
        if row.format == WebhookFormat::Email {
            return Ok((row, Wrote::New(None)));
        }
        if row.format == WebhookFormat::Slack {
            let address = Secret::from_text(std::mem::take(&mut row.url));
            row.url = without_path(std::str::from_utf8(address.expose()).unwrap_or_default());
            row.secrets.push(sealed(control, request, id, 1, &address)?);
            return Ok((row, Wrote::New(None)));
        }
        let (secret, text) = new_secret(control, request, id, 1)?;
        row.secrets.push(secret);
        Ok((row, Wrote::New(Some(text))))
    }

    async fn change(
        self,
        control: &Control,
        _: &ApiRequest,
        input: Input,
    ) -> Result<(Self, Self::Rest), Box<Fault>> {
        Ok((row_of(control, input, self).await?, Wrote::Change))
    }

    async fn finish(
        self,
        control: &Arc<Control>,
        _: &ApiRequest,
        wrote: Self::Rest,
    ) -> Result<Reply, Box<Fault>> {
        match wrote {
            Wrote::New(secret) => show_with(control, &self, secret).await,
            Wrote::Change => reply(control, self).await,
        }
    }
}

async fn show_with(control: &Control, row: &WebhookRow, secret: Option<String>) -> Result<Reply, Box<Fault>> {
    Ok(Reply::json(&WithSecret { webhook: show(control, row).await?, secret })?.version(row.version))
}

/// Sends a test event at once and returns the result; the event is neither stored nor retried.
async fn test(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let Nothing {} = request.json()?;
    let row: WebhookRow = load(control, &request).await?;
    let now = control.deps.world.clock.unix_ms();
    let event = EventRow {
        id: EventId::new(now, control.deps.world.id_bytes()),
        workspace: row.workspace,
        kind: EventKind::WebhookTest,
        payload: json!({"webhook_id": row.id.to_string()}),
        created_unix_ms: now,
    };
    let attempt = control.deps.test_webhook(&row, &event).await;
    Reply::json(&TestResult {
        object: "webhook_test",
        event_id: event.id.to_string(),
        delivered: attempt.state == DeliveryState::Delivered,
        status: attempt.status,
        error: attempt.error,
    })
}

/// Creates a new secret; the previous one also signs for another day.
async fn rotate(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let Nothing {} = request.json()?;
    let row: WebhookRow = load(control, &request).await?;
    if row.format == WebhookFormat::Email {
        let message = "Emails are not signed: there is no secret to rotate.";
        return Err(invalid("id", message, "Rotate a webhook of the format standard."));
    }
    if row.format == WebhookFormat::Slack {
        let message = "The secret of a Slack webhook is its address, which only Slack can replace.";
        let fix = "Create another webhook in Slack, add it here, and remove this one.";
        return Err(invalid("id", message, fix));
    }
    let newest = row.secrets.first().map_or(0, |secret| secret.generation);
    let (secret, text) = new_secret(control, &request, row.id, newest.saturating_add(1))?;
    let act = request.act(&control.deps.world);
    let until = act.unix_ms.saturating_add(milliseconds(WEBHOOK_OVERLAP));
    let rotated = control.deps.store.webhooks().rotate(row.workspace, row.id, secret, until, act);
    let written = rotated.await.map_err(of_store)?;
    control.deps.await_published(written.version).await?;
    show_with(control, &written.row, Some(text)).await
}

/// Delivers an event again, as durably as the first time; the result appears among the deliveries.
async fn resend(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let id = request.id("webhook")?;
    let ResendInput { event_id } = request.json()?;
    let event = event_id.parse().map_err(|_| {
        let message = format!("\"{event_id}\" isn't an event.");
        invalid("event_id", message, "Use the event_id of one of the webhook's deliveries.")
    })?;
    let act = request.act(&control.deps.world);
    let pending = control.deps.store.webhooks().resend(request.workspace(), id, event, act).await;
    Reply::json(&show_delivery(&pending.map_err(not_resent)?))
}

fn not_resent(error: StoreError) -> Box<Fault> {
    let fault = of_store(error);
    match fault.code {
        "webhook_disabled" => Box::new(fault.fix("Enable the webhook first: PATCH it with status active.")),
        "delivery_running" => {
            Box::new(fault.fix("Send this again in a moment, if that try fails.").retry_after_ms(1_000))
        }
        _ => fault,
    }
}

fn show_delivery(row: &DeliveryRow) -> Delivery {
    Delivery {
        object: "webhook_delivery",
        event_id: row.event.id.to_string(),
        r#type: row.event.kind.as_str(),
        data: readable(&row.event.payload),
        status: row.state.as_str(),
        attempts: row.attempts,
        last_status: row.last_status,
        last_error: row.last_error.clone(),
        attempted_at: row.attempted_unix_ms.map(Moment),
        created_at: Moment(row.event.created_unix_ms),
    }
}

async fn deliveries(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let id = request.id("webhook")?;
    let listed = control.deps.store.webhooks().deliveries(request.workspace(), id, request.page()?);
    Reply::json(&request.page_of(listed.await.map_err(of_store)?, show_delivery))
}
