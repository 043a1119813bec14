//! `/v2/accounts`: the operator's pooled provider accounts, which serve managed requests.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing, not_found};
use api::limits::NAME_CHARS_MAX;
use api::moment::Moment;
use api::names::checked_name;
use api::openapi::bounds::NAME;
use api::openapi::description::Nothing;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{AccountId, Agreement, Fault, Principal};
use egress::TargetKind;
use http::Method;
use plan::Seat;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::AccountRow;

use super::secrets::{self, HoldsSecret, Rotation, rotate};
use crate::agreement::{self, CommitmentForm, LimitsForm, PricingForm, RetentionForm, Sent};
use crate::hosting;
use crate::hosting::{Destination, RequestedHosting};
use crate::limits::{ACCOUNT_WEIGHT_MAX, MARKUP_BPS_MAX};
use crate::resource::{
    Resource, WritableResource, delete, get, list, load, patch, post, put, reply_written, without,
};
use reports::learned_limits;
use reports::learned_limits::{BreakerView, LearnedLimits};

/// The fields of a view that nobody writes.
const DERIVED: [&str; 9] = [
    "id",
    "object",
    "secret_fingerprint",
    "secret_version",
    "learned_limits",
    "breakers",
    "last_verified_at",
    "last_error",
    "created_at",
];

pub fn routes() -> Vec<Route> {
    let access = Access::OPERATE;
    vec![
        post::<AccountRow>("Adds an operator account, which serves managed requests.").makes::<AccountView>(),
        list::<AccountRow>("Lists the operator's accounts."),
        get::<AccountRow>("Shows an account."),
        patch::<AccountRow>("Changes fields of an account.").refuses(409, "base_url_needs_secret"),
        put::<AccountRow>("Replaces an account.").refuses(409, "base_url_needs_secret"),
        delete::<AccountRow>("Removes an account."),
        Route::new(Method::POST, "/v2/accounts/{id}/verify", access, verify)
            .says("Verifies an account with the provider's cheapest real call.")
            .takes_nothing()
            .returns::<AccountView>(),
        Route::new(Method::POST, "/v2/accounts/{id}/rotate", access, rotate::<AccountRow>)
            .says("Replaces an account's secret.")
            .takes::<Rotation>()
            .returns::<AccountView>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Account")]
pub struct Input {
    #[schemars(required)]
    #[schemars(length(min = 1))]
    provider: Option<String>,
    #[schemars(length(min = 1, max = NAME_CHARS_MAX), regex(pattern = NAME))]
    display_name: Option<String>,
    auth: Option<String>,
    #[schemars(with = "Option<String>", extend("type" = ["string", "object", "null"], "writeOnly" = true))]
    secret: Option<Value>,
    #[schemars(url)]
    base_url: Option<String>,
    region: Option<String>,
    #[serde(default)]
    config: Value,
    /// The agreement: what its owner states about the contract with the provider.
    limits: Option<LimitsForm>,
    #[serde(default)]
    #[schemars(with = "Option<RetentionForm>")]
    retention: Value,
    #[serde(default)]
    pricing: PricingForm,
    commitment: Option<CommitmentForm>,
    /// Compliance regimes that it may be used under, such as `hipaa`.
    #[serde(default)]
    compliance: Vec<String>,
    #[serde(default)]
    metadata: Value,
    models: Option<Vec<String>>,
    weight: Option<u32>,
    markup_bps: Option<u32>,
    #[serde(default)]
    allow_unpriced: bool,
    #[schemars(extend("enum" = ["active", "disabled", null]))]
    status: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Account")]
pub struct AccountView {
    id: String,
    object: &'static str,
    provider: String,
    display_name: String,
    auth: String,
    #[schemars(extend("enum" = ["active", "disabled"]))]
    status: &'static str,
    secret_fingerprint: String,
    secret_version: u32,
    base_url: Option<String>,
    region: Option<String>,
    config: Value,
    retention: Option<RetentionForm>,
    limits: LimitsForm,
    /// The rate limits that the provider last reported to this gateway.
    learned_limits: Vec<LearnedLimits>,
    /// The circuit breakers that are not closed, as this gateway knows them.
    breakers: Vec<BreakerView>,
    pricing: PricingForm,
    commitment: Option<CommitmentForm>,
    compliance: Vec<String>,
    metadata: Value,
    models: Option<Vec<String>>,
    weight: u32,
    markup_bps: u32,
    allow_unpriced: bool,
    last_verified_at: Option<Moment>,
    last_error: Option<String>,
    created_at: Moment,
}

fn show(control: &Control, row: &AccountRow) -> AccountView {
    AccountView {
        id: row.id.to_string(),
        object: "account",
        provider: row.provider.clone(),
        display_name: row.display_name.clone(),
        auth: row.auth.clone(),
        status: if row.disabled { "disabled" } else { "active" },
        secret_fingerprint: row.secret.fingerprint.clone(),
        secret_version: row.secret.sealed.version,
        base_url: row.base_url.clone(),
        region: row.region.clone(),
        config: row.config.clone(),
        retention: agreement::show_retention(row.agreement.retention),
        limits: agreement::show_limits(&row.agreement),
        learned_limits: learned_limits::learned(control, Principal::Account(row.id)),
        breakers: learned_limits::breakers(control, Principal::Account(row.id)),
        pricing: agreement::show_pricing(&row.pricing),
        commitment: agreement::show_commitment(&row.agreement),
        compliance: row.agreement.compliance.clone(),
        metadata: row.metadata.clone(),
        models: row.models.clone(),
        weight: row.weight,
        markup_bps: row.markup_bps,
        allow_unpriced: row.allow_unpriced,
        last_verified_at: row.last_verified_unix_ms.map(Moment),
        last_error: row.last_error.clone(),
        created_at: Moment(row.created_unix_ms),
    }
}

fn checked_provider(control: &Control, provider: Option<String>) -> Result<String, Box<Fault>> {
    let name = provider.ok_or_else(|| {
        missing("provider", "Name the provider; GET /v2/provider-credentials/kinds lists them.")
    })?;
    let snapshot = control.deps.keeper.current();
    let catalogue = snapshot.catalogue();
    match catalogue.provider(&name) {
        // The emergency provider may be stored before a route may choose it.
        Some(facts) if facts.managed || facts.emergency_only => Ok(facts.slug.clone()),
        found => {
            let why = if found.is_some() {
                "can't serve as a managed account in this version"
            } else {
                "isn't a provider that the catalogue knows"
            };
            let usable: Vec<_> = catalogue
                .providers()
                .iter()
                .filter(|p| p.managed && p.available)
                .map(|p| p.slug.as_str())
                .collect();
            Err(invalid("provider", format!("{name} {why}."), format!("Use one of {}.", usable.join(", "))))
        }
    }
}

fn check_range(value: Option<u32>, default: u32, max: u32, field: &'static str) -> Result<u32, Box<Fault>> {
    let value = value.unwrap_or(default);
    if value <= max {
        Ok(value)
    } else {
        Err(invalid(field, format!("{field} is {value}."), format!("Give 0 to {max}.")))
    }
}

fn row_of(control: &Control, input: &Input, base: AccountRow) -> Result<AccountRow, Box<Fault>> {
    let disabled = match input.status.as_deref() {
        None => base.disabled,
        Some("active") => false,
        Some("disabled") => true,
        Some(other) => {
            return Err(invalid("status", format!("\"{other}\" isn't a status."), "Use active or disabled."));
        }
    };
    let snapshot = control.deps.keeper.current();
    let claim = RequestedHosting {
        facts: snapshot.catalogue().provider(&base.provider),
        workspace: None,
        auth: input.auth.as_deref(),
        config: &input.config,
        base_url: input.base_url.as_deref(),
        region: input.region.as_deref(),
    };
    let auth = hosting::check(control, &claim)?;
    Ok(AccountRow {
        display_name: checked_name(input.display_name.clone(), "display_name")?,
        auth: auth.as_str().to_owned(),
        base_url: secrets::base_url(control, input.base_url.clone(), TargetKind::Provider)?,
        region: input.region.clone(),
        config: input.config.clone(),
        pricing: agreement::read_pricing(&input.pricing)?,
        agreement: agreement::read(&Sent {
            limits: input.limits,
            retention: &input.retention,
            commitment: input.commitment.as_ref(),
            compliance: &input.compliance,
        })?,
        metadata: input.metadata.clone(),
        models: input.models.clone(),
        weight: check_range(input.weight, 1, ACCOUNT_WEIGHT_MAX, "weight")?,
        markup_bps: check_range(input.markup_bps, 0, MARKUP_BPS_MAX, "markup_bps")?,
        allow_unpriced: input.allow_unpriced,
        disabled,
        ..base
    })
}

impl Resource for AccountRow {
    const PATH: &'static str = "/v2/accounts";
    const ONE: &'static str = "/v2/accounts/{id}";
    const WHAT: &'static str = "account";
    const READ: Access = Access::OPERATE;
    const WRITE: Access = Access::OPERATE;
    type View = AccountView;

    fn table(control: &Control) -> &dyn store::Resource<Self> {
        control.deps.store.accounts()
    }

    async fn view(&self, control: &Control) -> Result<AccountView, Box<Fault>> {
        Ok(show(control, self))
    }
}

impl WritableResource for AccountRow {
    type Input = Input;
    type Update = Input;
    type Rest = ();

    fn writable(&self, control: &Control) -> Result<Value, Box<Fault>> {
        Ok(without(json!(show(control, self)), &DERIVED))
    }

    async fn new(control: &Control, _: &ApiRequest, mut input: Input) -> Result<(Self, ()), Box<Fault>> {
        let provider = checked_provider(control, input.provider.take())?;
        input.display_name = input.display_name.take().or_else(|| Some(provider.clone()));
        let (_, form) = hosting::secret_of(control, &provider, input.auth.as_deref());
        let secret = secrets::read(input.secret.take(), form)?;
        let now = control.deps.world.clock.unix_ms();
        let id = AccountId::new(now, control.deps.world.id_bytes());
        let blank = Self {
            id,
            provider,
            display_name: String::new(),
            auth: String::new(),
            secret: secrets::seal(control, vault::OPERATOR, &id.to_string(), 1, &secret)?,
            base_url: None,
            region: None,
            config: Value::Null,
            pricing: Vec::new(),
            agreement: Agreement::default(),
            metadata: Value::Null,
            models: None,
            weight: 1,
            markup_bps: 0,
            allow_unpriced: false,
            disabled: false,
            last_verified_unix_ms: None,
            last_error: None,
            created_unix_ms: now,
            version: 0,
        };
        Ok((row_of(control, &input, blank)?, ()))
    }

    async fn change(
        self,
        control: &Control,
        _: &ApiRequest,
        mut input: Input,
    ) -> Result<(Self::Change, ()), Box<Fault>> {
        if input.provider.as_ref().is_some_and(|provider| *provider != self.provider) {
            return Err(invalid(
                "provider",
                "The provider of an account can't be changed.",
                "Make another account.",
            ));
        }
        let renewal = self.secret_owner().renew(control, input.auth.as_deref(), input.secret.take())?;
        let destination = Destination::of(self.base_url.as_ref(), &self.config);
        let changed = row_of(control, &input, self)?;
        renewal.check(&destination, &Destination::of(changed.base_url.as_ref(), &changed.config))?;
        Ok(((changed, renewal.secret), ()))
    }
}

async fn verify(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let Nothing {} = request.json()?;
    let row: AccountRow = load(control, &request).await?;
    if request.is_rehearsal {
        return Reply::json(&show(control, &row));
    }
    let snapshot = control.deps.keeper.current();
    let entry = snapshot.accounts().iter().find(|entry| entry.id == row.id).cloned();
    let entry = entry.ok_or_else(|| not_found("account", &row.id.to_string()))?;
    let report = control.deps.verify(Seat::Managed(entry)).await?;
    let found = secrets::finding(control, &report, row.secret.sealed.version);
    let written = row.record(control, found, request.act(&control.deps.world)).await;
    reply_written(control, written.map_err(of_store)?).await
}
