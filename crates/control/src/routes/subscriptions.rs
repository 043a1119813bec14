//! `/v2/subscription-credentials`: sealed tokens of vendors' subscriptions, each for one project. Off unless the
//! operator switches them on.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing, not_found};
use api::limits::NAME_CHARS_MAX;
use api::moment::Moment;
use api::names::checked_name;
use api::openapi::bounds::NAME;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::SUBSCRIPTION_WINDOWS_MAX;
use domain::{
    Agreement, AuthKind, CredentialId, Fault, FaultClass, ProjectId, Secret, ServerFacts, Subscription,
    SubscriptionId, UsageWindow, WindowUse,
};
use egress::TargetKind;
use http::Method;
use line::SubscriptionTokens;
use reconcilers::{moment, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use snapshot::CredentialState;
use store::{CredentialRow, SealedSecret, SubscriptionRow};

use super::secrets;
use crate::limits::{SUBSCRIPTION_HOURS_MAX, SUBSCRIPTION_USE_MAX};
use crate::resource::{Resource, WritableResource, delete, list, load, patch, post, reply_written};

const MINUTE_MS: u64 = 60_000;

pub fn routes() -> Vec<Route> {
    let rotate_one = "/v2/subscription-credentials/{id}/rotate";
    vec![
        post::<SubscriptionRow>("Adds a subscription's token, sealed on arrival, for one project.")
            .makes::<SubscriptionView>()
            .refuses(403, "subscriptions_off"),
        list::<SubscriptionRow>("Lists the workspace's subscriptions."),
        Route::new(Method::GET, SubscriptionRow::ONE, Access::LOOK, show_opened)
            .says("Shows a subscription, and how often its token was opened.")
            .returns::<Opened>(),
        patch::<SubscriptionRow>("Changes fields of a subscription."),
        delete::<SubscriptionRow>("Deletes a subscription. Its token can't be recovered."),
        Route::new(Method::POST, rotate_one, Access::MANAGE, rotate)
            .says("Replaces a subscription's token, without a failed request.")
            .takes::<TokenInput>()
            .returns::<SubscriptionView>()
            .refuses(403, "subscriptions_off"),
    ]
}

/// The secret: a token, or an access token with what renews it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SubscriptionToken")]
pub struct TokenInput {
    #[schemars(extend("writeOnly" = true))]
    token: Option<String>,
    oauth: Option<OauthInput>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SubscriptionOauth")]
struct OauthInput {
    #[schemars(required, extend("writeOnly" = true))]
    access_token: Option<String>,
    #[schemars(required, extend("writeOnly" = true))]
    refresh_token: Option<String>,
    /// When the access token expires. It is renewed before.
    #[schemars(required)]
    expires_at: Option<String>,
    /// Where tokens are renewed: an OAuth 2 token endpoint.
    #[schemars(required, url)]
    token_url: Option<String>,
    client_id: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SubscriptionCredential")]
pub struct Input {
    /// A vendor's product, such as `claude_code` or `codex`, or its provider.
    provider: Option<String>,
    /// Another name of `provider`, as a subscription is shown.
    product: Option<String>,
    /// The project that it serves; by default that of the calling key.
    project_id: Option<String>,
    #[schemars(length(min = 1, max = NAME_CHARS_MAX), regex(pattern = NAME))]
    display_name: Option<String>,
    #[schemars(extend("writeOnly" = true))]
    token: Option<String>,
    oauth: Option<OauthInput>,
    #[schemars(url)]
    base_url: Option<String>,
    #[schemars(length(max = NAME_CHARS_MAX))]
    plan: Option<String>,
    /// The discount on the provider's list price, in per cent; by default the one that is usual for the product.
    #[schemars(range(min = 0, max = 100))]
    cached_price_discount_pct: Option<u8>,
    #[serde(default)]
    #[schemars(length(max = SUBSCRIPTION_WINDOWS_MAX))]
    windows: Vec<WindowInput>,
    /// When a token that can't be renewed expires.
    expires_at: Option<String>,
    #[serde(default)]
    metadata: Value,
}

/// The fields of a subscription that can be changed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SubscriptionCredentialChange")]
pub struct Update {
    #[schemars(length(min = 1, max = NAME_CHARS_MAX), regex(pattern = NAME))]
    display_name: Option<String>,
    #[schemars(length(max = NAME_CHARS_MAX))]
    plan: Option<String>,
    #[schemars(range(min = 0, max = 100))]
    cached_price_discount_pct: Option<u8>,
    #[serde(default)]
    #[schemars(length(max = SUBSCRIPTION_WINDOWS_MAX))]
    windows: Vec<WindowInput>,
    #[schemars(extend("enum" = ["active", "disabled", "revoked", null]))]
    status: Option<String>,
    /// Another token, as `rotate` takes it.
    #[schemars(extend("writeOnly" = true))]
    token: Option<String>,
    oauth: Option<OauthInput>,
    #[serde(default)]
    metadata: Value,
}

/// A cap on use within each span of so many hours.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SubscriptionWindow")]
struct WindowInput {
    #[schemars(range(min = 1, max = SUBSCRIPTION_HOURS_MAX))]
    hours: u32,
    /// When one of the spans starts; by default when the subscription was added.
    starts_at: Option<String>,
    #[schemars(range(max = SUBSCRIPTION_USE_MAX))]
    requests: Option<u64>,
    #[schemars(range(max = SUBSCRIPTION_USE_MAX))]
    tokens: Option<u64>,
}

/// The object without its token.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SubscriptionCredential")]
pub struct SubscriptionView {
    #[schemars(regex(pattern = SubscriptionId::pattern()))]
    id: String,
    object: &'static str,
    workspace_id: String,
    project_id: Option<String>,
    provider: String,
    /// The name that it was added under: the vendor's product, or the provider.
    product: String,
    display_name: String,
    plan: Option<String>,
    #[schemars(extend("enum" = ["active", "expired", "invalid", "disabled", "revoked", "off"]))]
    status: &'static str,
    token_fingerprint: String,
    token_version: u32,
    /// Whether its access token is renewed automatically.
    renews: bool,
    token_url: Option<String>,
    base_url: Option<String>,
    cached_price_discount_pct: u8,
    windows: Vec<WindowView>,
    /// The use of each window.
    window_use: Vec<WindowUseView>,
    expires_at: Option<Moment>,
    last_renewed_at: Option<Moment>,
    last_error: Option<String>,
    metadata: Value,
    created_at: Moment,
}

/// A cap as its owner states it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SubscriptionWindow")]
struct WindowView {
    hours: u32,
    /// Absent where the spans start with the subscription itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_at: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u64>,
}

/// The use within the present span of a window, as far as this gateway knows.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SubscriptionWindowUse")]
struct WindowUseView {
    requests: u64,
    tokens: u64,
    resets_at: Moment,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OpenedSubscriptionCredential")]
struct Opened {
    #[serde(flatten)]
    subscription: SubscriptionView,
    openings: u64,
}

fn show(control: &Control, SubscriptionRow(row): &SubscriptionRow) -> SubscriptionView {
    let now = control.deps.world.clock.unix_ms();
    let id = SubscriptionId::from_uuid(*row.id.as_uuid());
    let none =
        Subscription { product: row.provider.clone(), plan: None, discount_pct: 0, windows: Vec::new() };
    let stated = row.subscription.as_ref().unwrap_or(&none);
    let used = control.deps.board.window_use(id, &stated.windows, now);
    let start = row.created_unix_ms - row.created_unix_ms % MINUTE_MS;
    let window = |window: &UsageWindow| WindowView {
        hours: window.hours,
        starts_at: (window.starts_unix_ms != start).then_some(Moment(window.starts_unix_ms)),
        requests: window.requests,
        tokens: window.tokens,
    };
    let in_use = |(window, used): (&UsageWindow, WindowUse)| WindowUseView {
        requests: used.requests,
        tokens: used.tokens,
        resets_at: Moment(window.end(now)),
    };
    SubscriptionView {
        id: id.to_string(),
        object: "subscription_credential",
        workspace_id: row.workspace.to_string(),
        project_id: row.project.map(|id| id.to_string()),
        provider: row.provider.clone(),
        product: stated.product.clone(),
        display_name: row.display_name.clone(),
        plan: stated.plan.clone(),
        status: status_name(control, row, now),
        token_fingerprint: row.secret.fingerprint.clone(),
        token_version: row.secret.sealed.version,
        renews: row.auth == AuthKind::SubscriptionOauth.as_str(),
        token_url: row.config.get("token_url").and_then(Value::as_str).map(str::to_owned),
        base_url: row.base_url.clone(),
        cached_price_discount_pct: stated.discount_pct,
        windows: stated.windows.iter().map(window).collect(),
        window_use: stated.windows.iter().zip(used).map(in_use).collect(),
        expires_at: row.expires_unix_ms.map(Moment),
        last_renewed_at: row.last_verified_unix_ms.map(Moment),
        last_error: row.last_error.clone(),
        metadata: row.metadata.clone(),
        created_at: Moment(row.created_unix_ms),
    }
}

fn status_name(control: &Control, row: &CredentialRow, now_unix_ms: u64) -> &'static str {
    match row.state {
        CredentialState::Revoked => "revoked",
        CredentialState::Disabled => "disabled",
        _ if !is_on(control) => "off",
        CredentialState::Unverified | CredentialState::Invalid => "invalid",
        CredentialState::Active if row.expires_unix_ms.is_some_and(|end| end <= now_unix_ms) => "expired",
        CredentialState::Active => "active",
    }
}

fn is_on(control: &Control) -> bool {
    control.deps.keeper.current().catalogue().takes_subscriptions()
}

fn require_on(control: &Control) -> Result<(), Box<Fault>> {
    if is_on(control) {
        return Ok(());
    }
    let message = "Subscriptions are switched off on this gateway.";
    let fix = "The operator sets TIDEGATE_SUBSCRIPTIONS=1, if the vendor's terms allow such use.";
    Err(Box::new(Fault::new(FaultClass::Forbidden, "subscriptions_off", message).fix(fix)))
}

/// A token as it is sealed, and what is stored of it in the clear.
struct ReadToken {
    kind: AuthKind,
    secret: Secret,
    config: Value,
    expires_unix_ms: Option<u64>,
}

fn read_token(
    control: &Control,
    token: Option<String>,
    oauth: Option<OauthInput>,
) -> Result<ReadToken, Box<Fault>> {
    match (token, oauth) {
        (Some(token), None) => {
            let secret = secrets::read_text(Some(Value::String(token)))
                .map_err(|fault| Box::new(fault.param("token")))?;
            let kind = AuthKind::SubscriptionToken;
            Ok(ReadToken { kind, secret, config: Value::Null, expires_unix_ms: None })
        }
        (None, Some(oauth)) => read_oauth(control, oauth),
        (Some(_), Some(_)) => {
            let message = "token and oauth are two kinds of secret.";
            Err(invalid("oauth", message, "Send one of them."))
        }
        (None, None) => {
            Err(missing("token", "Send the token, or oauth with its tokens; they are sealed on arrival."))
        }
    }
}

fn read_oauth(control: &Control, oauth: OauthInput) -> Result<ReadToken, Box<Fault>> {
    let text = |value: Option<String>, field: &'static str| {
        let read = secrets::read_text(value.map(Value::String));
        let secret = read.map_err(|fault| Box::new(fault.param(field)))?;
        Ok::<_, Box<Fault>>(secret.expose_text().unwrap_or_default().to_owned())
    };
    let expires_at = oauth.expires_at.ok_or_else(|| {
        missing("oauth.expires_at", "Give the access token's expiry, as the vendor stated it.")
    })?;
    let expires_unix_ms = moment::read(&expires_at, "oauth.expires_at")?;
    let token_url = oauth
        .token_url
        .ok_or_else(|| missing("oauth.token_url", "Give the address at which the vendor renews tokens."))?;
    egress::check_base_url(&token_url, &control.web.egress, TargetKind::Provider)
        .map_err(|fault| Box::new(fault.param("oauth.token_url")))?;
    let tokens = SubscriptionTokens {
        access_token: text(oauth.access_token, "oauth.access_token")?,
        refresh_token: text(oauth.refresh_token, "oauth.refresh_token")?,
        expires_unix_ms,
    };
    Ok(ReadToken {
        kind: AuthKind::SubscriptionOauth,
        secret: tokens.to_secret(),
        config: json!({"token_url": token_url, "client_id": oauth.client_id}),
        expires_unix_ms: Some(expires_unix_ms),
    })
}

fn read_windows(windows: Vec<WindowInput>, created_unix_ms: u64) -> Result<Vec<UsageWindow>, Box<Fault>> {
    if windows.len() > SUBSCRIPTION_WINDOWS_MAX {
        let message = format!("A subscription has at most {SUBSCRIPTION_WINDOWS_MAX} windows.");
        return Err(invalid("windows", message, "Leave the longest ones."));
    }
    let read = |(at, window): (usize, WindowInput)| {
        let field = |name: &str| format!("windows[{at}].{name}");
        if !(1..=SUBSCRIPTION_HOURS_MAX).contains(&window.hours) {
            let message = format!("A window lasts 1 to {SUBSCRIPTION_HOURS_MAX} hours.");
            return Err(invalid(field("hours"), message, "A week is 168 hours."));
        }
        let caps = [window.requests, window.tokens];
        if caps.iter().flatten().any(|cap| *cap > SUBSCRIPTION_USE_MAX) || caps == [None, None] {
            let message = format!("A window caps requests or tokens, at {SUBSCRIPTION_USE_MAX} at most.");
            return Err(invalid(field("requests"), message, "Give requests, tokens or both."));
        }
        let starts = match &window.starts_at {
            Some(text) => moment::read(text, "starts_at")?,
            None => created_unix_ms,
        };
        Ok(UsageWindow {
            hours: window.hours,
            // The books sum by whole minutes.
            starts_unix_ms: starts - starts % MINUTE_MS,
            requests: window.requests,
            tokens: window.tokens,
        })
    };
    windows.into_iter().enumerate().map(read).collect()
}

fn read_discount(given: Option<u8>, usual: u8) -> Result<u8, Box<Fault>> {
    let discount = given.unwrap_or(usual);
    if discount <= 100 {
        return Ok(discount);
    }
    let message = format!("{discount} isn't a discount in per cent.");
    Err(invalid("cached_price_discount_pct", message, "Give 0 to 100."))
}

fn read_status(wanted: Option<&str>, now: CredentialState) -> Result<CredentialState, Box<Fault>> {
    match wanted {
        None => Ok(now),
        Some("active") => Ok(CredentialState::Active),
        Some("disabled") => Ok(CredentialState::Disabled),
        Some("revoked") => Ok(CredentialState::Revoked),
        Some(other) => {
            let message = format!("\"{other}\" isn't a status to set.");
            Err(invalid("status", message, "Use active, disabled or revoked."))
        }
    }
}

/// The project that a new one serves: the named one, or the calling key's.
async fn project_of(
    control: &Control,
    request: &ApiRequest,
    named: Option<&str>,
) -> Result<ProjectId, Box<Fault>> {
    let id = match (named, request.caller.key()) {
        (Some(text), _) => text.parse().map_err(|_| not_found("project", text))?,
        (None, Some(key)) => key.project,
        (None, None) => {
            return Err(missing("project_id", "A subscription serves one project: name it."));
        }
    };
    Ok(control.deps.store.projects().get(request.workspace(), id).await.map_err(of_store)?.id)
}

impl Resource for SubscriptionRow {
    const PATH: &'static str = "/v2/subscription-credentials";
    const ONE: &'static str = "/v2/subscription-credentials/{id}";
    const WHAT: &'static str = "subscription";
    type View = SubscriptionView;

    fn table(control: &Control) -> &dyn store::Resource<Self> {
        control.deps.store.subscriptions()
    }

    async fn view(&self, control: &Control) -> Result<SubscriptionView, Box<Fault>> {
        Ok(show(control, self))
    }
}

impl WritableResource for SubscriptionRow {
    type Input = Input;
    type Update = Update;
    type Rest = ();

    fn writable(&self, control: &Control) -> Result<Value, Box<Fault>> {
        let view = json!(show(control, self));
        let field = |name: &str| view.get(name).cloned().unwrap_or_default();
        Ok(json!({
            "display_name": field("display_name"),
            "plan": field("plan"),
            "cached_price_discount_pct": field("cached_price_discount_pct"),
            "windows": field("windows"),
            "metadata": field("metadata"),
        }))
    }

    async fn new(control: &Control, request: &ApiRequest, input: Input) -> Result<(Self, ()), Box<Fault>> {
        require_on(control)?;
        let name = input.provider.or(input.product);
        let name = name.ok_or_else(|| missing("provider", "Name the product or its provider."))?;
        let (provider, usual) = known_product(control, &name)?;
        let project = project_of(control, request, input.project_id.as_deref()).await?;
        let token = read_token(control, input.token, input.oauth)?;
        let now = control.deps.world.clock.unix_ms();
        let expires_unix_ms = match (token.expires_unix_ms, &input.expires_at) {
            (None, Some(text)) => Some(moment::read(text, "expires_at")?),
            (renewed, _) => renewed,
        };
        let subscription = Subscription {
            plan: input.plan,
            discount_pct: read_discount(input.cached_price_discount_pct, usual)?,
            windows: read_windows(input.windows, now)?,
            product: name.clone(),
        };
        let id = CredentialId::new(now, control.deps.world.id_bytes());
        let row = CredentialRow {
            secret: secrets::seal(control, request.workspace(), &id.to_string(), 1, &token.secret)?,
            id,
            workspace: request.workspace(),
            provider,
            display_name: checked_name(input.display_name.or(Some(name)), "display_name")?,
            auth: token.kind.as_str().to_owned(),
            base_url: secrets::base_url(control, input.base_url, TargetKind::Provider)?,
            region: None,
            config: token.config,
            pricing: Vec::new(),
            agreement: Agreement::default(),
            metadata: input.metadata,
            project: Some(project),
            environment: None,
            state: CredentialState::Active,
            expires_unix_ms,
            last_verified_unix_ms: None,
            last_error: None,
            server: ServerFacts::default(),
            subscription: Some(subscription),
            created_unix_ms: now,
            version: 0,
        };
        Ok((Self(row), ()))
    }

    async fn change(
        self,
        control: &Control,
        _: &ApiRequest,
        update: Update,
    ) -> Result<((Self, Option<SealedSecret>), ()), Box<Fault>> {
        let Self(row) = self;
        let old = row.subscription.as_ref();
        let subscription = Subscription {
            product: old.map_or_else(|| row.provider.clone(), |old| old.product.clone()),
            plan: update.plan,
            discount_pct: read_discount(
                update.cached_price_discount_pct,
                old.map_or(0, |old| old.discount_pct),
            )?,
            windows: read_windows(update.windows, row.created_unix_ms)?,
        };
        let changed = CredentialRow {
            display_name: checked_name(update.display_name, "display_name")?,
            state: read_status(update.status.as_deref(), row.state)?,
            metadata: update.metadata,
            subscription: Some(subscription),
            ..row
        };
        if update.token.is_none() && update.oauth.is_none() {
            return Ok(((Self(changed), None), ()));
        }
        Ok((with_token(control, changed, update.token, update.oauth)?, ()))
    }
}

/// A row with another token, which is sealed as its next version.
fn with_token(
    control: &Control,
    row: CredentialRow,
    token: Option<String>,
    oauth: Option<OauthInput>,
) -> Result<(SubscriptionRow, Option<SealedSecret>), Box<Fault>> {
    require_on(control)?;
    let token = read_token(control, token, oauth)?;
    let version = row.secret.sealed.version.saturating_add(1);
    let secret = secrets::seal(control, row.workspace, &row.id.to_string(), version, &token.secret)?;
    let row = CredentialRow {
        auth: token.kind.as_str().to_owned(),
        config: token.config,
        expires_unix_ms: token.expires_unix_ms,
        ..row
    };
    Ok((SubscriptionRow(row), Some(secret)))
}

/// The provider that a product's subscription is used with, and what it usually saves.
fn known_product(control: &Control, name: &str) -> Result<(String, u8), Box<Fault>> {
    let snapshot = control.deps.keeper.current();
    let catalogue = snapshot.catalogue();
    if let Some((facts, product)) = catalogue.subscription(name) {
        return Ok((facts.slug.clone(), product.map_or(0, |product| product.discount_pct)));
    }
    let known = catalogue.providers().iter().flat_map(|facts| &facts.subscriptions);
    let known: Vec<&str> = known.map(|product| product.name.as_str()).collect();
    let message = format!("No subscription is known under the name \"{name}\".");
    Err(invalid("provider", message, format!("Use one of {}.", known.join(", "))))
}

async fn show_opened(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row: SubscriptionRow = load(control, &request).await?;
    let openings = control.deps.store.audit().openings(row.0.id).await.map_err(of_store)?;
    Ok(Reply::json(&Opened { subscription: show(control, &row), openings })?.version(row.0.version))
}

/// Gives it another token, of the same kind or the other.
async fn rotate(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let TokenInput { token, oauth } = request.json()?;
    let SubscriptionRow(row) = load(control, &request).await?;
    let expected = request.if_match()?.or(Some(row.version));
    let act = request.act(&control.deps.world);
    let changed = with_token(control, row, token, oauth)?;
    let replaced = SubscriptionRow::table(control).replace(changed, expected, act).await;
    reply_written(control, replaced.map_err(of_store)?).await
}
