//! `/v2/provider-credentials`: the customer's own provider credentials (BYOK), sealed on arrival.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing, not_found};
use api::limits::NAME_CHARS_MAX;
use api::moment::Moment;
use api::names::{checked_environment, checked_name};
use api::openapi::bounds::{MOMENT, NAME};
use api::openapi::description::Nothing;
use api::reply::{Page, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::CREDENTIAL_EXPIRY_NOTICES;
use domain::{
    Agreement, AuthKind, CredentialId, Fault, FaultClass, Principal, ProjectId, ServerFacts, WorkspaceId,
};
use egress::TargetKind;
use http::Method;
use plan::Seat;
use reconcilers::{moment, of_store};
use replayruns::{Checked, check_credential, gated};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use snapshot::{CredentialEntry, CredentialState};
use store::{Act, CredentialFilter, CredentialRow, Listed, SealedSecret, Written, credential_entry};

use super::secrets::{self, HoldsSecret, Rotation, rotate};
use crate::agreement::{self, CommitmentForm, LimitsForm, PricingForm, RetentionForm, Sent};
use crate::hosting;
use crate::hosting::{Destination, RequestedHosting};
use crate::limits::DEFAULT_NAMES_MAX;
use crate::resource::{
    Resource, WritableResource, delete, list, load, patch, post, put, reply, without, write_checked,
};
use crate::servers::{self, ProbeInput, ServerView};
use reports::learned_limits;
use reports::learned_limits::{BreakerView, LearnedLimits};

/// The fields of a view that nobody writes.
const DERIVED: [&str; 12] = [
    "id",
    "object",
    "workspace_id",
    "secret_fingerprint",
    "secret_version",
    "over_quota_until",
    "learned_limits",
    "breakers",
    "last_verified_at",
    "last_error",
    "server",
    "created_at",
];

pub fn routes() -> Vec<Route> {
    let kinds = "/v2/provider-credentials/kinds";
    let verify_one = "/v2/provider-credentials/{id}/verify";
    let probe_one = "/v2/provider-credentials/{id}/probe";
    let rotate_one = "/v2/provider-credentials/{id}/rotate";
    vec![
        post::<CredentialRow>("Adds a provider credential of the workspace's own, sealed on arrival.")
            .makes::<CredentialView>(),
        list::<CredentialRow>("Lists the workspace's credentials.")
            .query("provider", "Only those of this provider."),
        Route::new(Method::GET, kinds, Access::LOOK, list_kinds)
            .says("Lists the providers that a credential can be for, and what each needs.")
            .returns_value::<Page<Kind>>(),
        Route::new(Method::GET, CredentialRow::ONE, Access::LOOK, show_opened)
            .says("Shows a credential, and how often it was opened.")
            .returns::<Opened>(),
        gated(patch::<CredentialRow>("Changes fields of a credential."))
            .refuses(409, "base_url_needs_secret"),
        gated(put::<CredentialRow>("Replaces a credential.")).refuses(409, "base_url_needs_secret"),
        gated(delete::<CredentialRow>("Deletes a credential. Its secret can't be recovered.")),
        Route::new(Method::POST, verify_one, Access::MANAGE, verify)
            .says("Verifies a credential with the provider's cheapest real call.")
            .takes_nothing()
            .returns::<CredentialView>(),
        Route::new(Method::POST, probe_one, Access::MANAGE, probe)
            .says("Probes what the compatible server behind a credential supports, and stores the result.")
            .takes::<ProbeInput>()
            .returns::<CredentialView>(),
        Route::new(Method::POST, rotate_one, Access::MANAGE, rotate::<CredentialRow>)
            .says("Replaces a credential's secret, without a failed request.")
            .takes::<Rotation>()
            .returns::<CredentialView>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ProviderCredential")]
pub struct Input {
    #[schemars(required)]
    #[schemars(length(min = 1))]
    provider: Option<String>,
    #[schemars(length(min = 1, max = NAME_CHARS_MAX), regex(pattern = NAME))]
    display_name: Option<String>,
    auth: Option<String>,
    #[schemars(with = "Option<String>", extend("type" = ["string", "object", "null"], "writeOnly" = true))]
    secret: Option<Value>,
    #[serde(default)]
    config: Value,
    #[schemars(url)]
    base_url: Option<String>,
    region: Option<String>,
    scope: Option<ScopeInput>,
    #[schemars(regex(pattern = MOMENT))]
    expires_at: Option<String>,
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
    /// Features of a compatible server, stated by hand. They override what a probe finds.
    #[serde(default)]
    stated_facts: BTreeMap<String, Value>,
    #[schemars(extend("enum" = ["active", "unverified", "disabled", "revoked", "expiring", "expired", "over_quota", "invalid", null]))]
    status: Option<String>,
    /// Of a new one: it serves once its provider has accepted its secret, and is `unverified` until then. Of a change: a new
    /// secret is taken only if its provider accepts it. By default, a secret is taken as it is.
    #[serde(default)]
    verify: bool,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CredentialScope")]
struct ScopeInput {
    project_id: Option<String>,
    environment: Option<String>,
}

/// The object without its secret.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ProviderCredential")]
pub struct CredentialView {
    id: String,
    object: &'static str,
    workspace_id: String,
    provider: String,
    display_name: String,
    auth: String,
    #[schemars(extend("enum" = ["active", "unverified", "expiring", "expired", "over_quota", "invalid", "disabled", "revoked"]))]
    status: &'static str,
    /// When its provider is called again, if the quota is used up.
    over_quota_until: Option<Moment>,
    secret_fingerprint: String,
    secret_version: u32,
    base_url: Option<String>,
    region: Option<String>,
    scope: ScopeView,
    config: Value,
    expires_at: Option<Moment>,
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
    last_verified_at: Option<Moment>,
    last_error: Option<String>,
    stated_facts: BTreeMap<String, Value>,
    /// The known features of a compatible server; absent for a known provider.
    server: Option<ServerView>,
    created_at: Moment,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CredentialScope")]
struct ScopeView {
    project_id: Option<String>,
    environment: Option<String>,
}

/// A credential, and how often it was opened.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OpenedProviderCredential")]
struct Opened {
    #[serde(flatten)]
    credential: CredentialView,
    openings: u64,
}

fn show(control: &Control, row: &CredentialRow) -> CredentialView {
    // Why requests don't use the secret that it has now, as far as this gateway knows.
    let parking = control.deps.board.parking(Principal::Credential(row.id));
    let parking = parking.filter(|parking| parking.secret_version == row.secret.sealed.version);
    let over_quota_until = parking
        .filter(|parking| parking.cause == FaultClass::UpstreamQuota)
        .map(|parking| probed_unix_ms(control, parking.probe_at_us));
    let is_refused = parking.is_some_and(|parking| parking.cause == FaultClass::UpstreamAuth);
    CredentialView {
        id: row.id.to_string(),
        object: "provider_credential",
        workspace_id: row.workspace.to_string(),
        provider: row.provider.clone(),
        display_name: row.display_name.clone(),
        auth: row.auth.clone(),
        status: status_name(row, (is_refused, over_quota_until), control.deps.world.clock.unix_ms()),
        over_quota_until: over_quota_until.map(Moment),
        secret_fingerprint: row.secret.fingerprint.clone(),
        secret_version: row.secret.sealed.version,
        base_url: row.base_url.clone(),
        region: row.region.clone(),
        scope: ScopeView {
            project_id: row.project.map(|id| id.to_string()),
            environment: row.environment.clone(),
        },
        config: row.config.clone(),
        expires_at: row.expires_unix_ms.map(Moment),
        retention: agreement::show_retention(row.agreement.retention),
        limits: agreement::show_limits(&row.agreement),
        learned_limits: learned_limits::learned(control, Principal::Credential(row.id)),
        breakers: learned_limits::breakers(control, Principal::Credential(row.id)),
        pricing: agreement::show_pricing(&row.pricing),
        commitment: agreement::show_commitment(&row.agreement),
        compliance: row.agreement.compliance.clone(),
        metadata: row.metadata.clone(),
        last_verified_at: row.last_verified_unix_ms.map(Moment),
        last_error: row.last_error.clone(),
        stated_facts: servers::stated(&row.server),
        server: line::is_probed(&row.provider).then(|| servers::show(&row.server)),
        created_at: Moment(row.created_unix_ms),
    }
}

/// When a parked credential is tried again.
fn probed_unix_ms(control: &Control, probe_at_us: u64) -> u64 {
    let clock = &control.deps.world.clock;
    let left_us = probe_at_us.saturating_sub(clock.monotonic_us());
    // Computed from two clocks that drift: rounded to the second, the value is the same in every response.
    clock.unix_ms().saturating_add(left_us / 1_000).next_multiple_of(1_000)
}

/// Warnings about the future are shown only for a credential that has no other problem.
fn status_name(
    row: &CredentialRow,
    (is_refused, over_quota_until): (bool, Option<u64>),
    now_unix_ms: u64,
) -> &'static str {
    let [soon, ..] = CREDENTIAL_EXPIRY_NOTICES;
    let soon_ms = u64::try_from(soon.as_millis()).unwrap_or(u64::MAX);
    match row.state {
        CredentialState::Active if row.expires_unix_ms.is_some_and(|end| end <= now_unix_ms) => "expired",
        // Its provider refuses it in requests as it would in a verification.
        CredentialState::Active if is_refused => "invalid",
        CredentialState::Active if over_quota_until.is_some() => "over_quota",
        CredentialState::Active
            if row.expires_unix_ms.is_some_and(|end| end.saturating_sub(soon_ms) <= now_unix_ms) =>
        {
            "expiring"
        }
        state => state.as_str(),
    }
}

/// The provider's slug in the catalogue's spelling, or a slug the workspace chose where an address is given.
fn checked_provider(
    control: &Control,
    provider: Option<String>,
    has_address: bool,
) -> Result<String, Box<Fault>> {
    let name = provider.ok_or_else(|| {
        missing("provider", "Name the provider; GET /v2/provider-credentials/kinds lists them.")
    })?;
    let snapshot = control.deps.keeper.current();
    if let Some(facts) = snapshot.catalogue().provider(&name) {
        if facts.emergency_only || !facts.byok {
            return Err(invalid(
                "provider",
                format!("{name} can't be used under your own key."),
                "Name another provider: this one serves as a managed account only.",
            ));
        }
        if !facts.available {
            return Err(invalid(
                "provider",
                format!("This version of Tidegate can't call {name} yet."),
                "See GET /v2/provider-credentials/kinds for those that it can.",
            ));
        }
        return Ok(facts.slug.clone());
    }
    let is_slug = (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    match (is_slug, has_address) {
        (true, true) => Ok(name),
        (true, false) => Err(invalid(
            "provider",
            format!("{name} isn't a provider that the catalogue knows."),
            "Give base_url too, and it becomes an OpenAI-compatible provider of this workspace.",
        )),
        (false, _) => Err(invalid(
            "provider",
            format!("\"{name}\" can't name a provider."),
            "Use lower-case letters, digits, - and _.",
        )),
    }
}

async fn row_of(
    control: &Control,
    request: &ApiRequest,
    input: &Input,
    base: CredentialRow,
) -> Result<CredentialRow, Box<Fault>> {
    let scope = input.scope.as_ref();
    let project = match scope.and_then(|scope| scope.project_id.as_deref()) {
        None => None,
        Some(text) => {
            let id: ProjectId = text.parse().map_err(|_| not_found("project", text))?;
            Some(control.deps.store.projects().get(request.workspace(), id).await.map_err(of_store)?.id)
        }
    };
    let environment = match scope.and_then(|scope| scope.environment.as_deref()) {
        None => None,
        Some(text) => Some(checked_environment(text, "scope.environment")?),
    };
    let expires_unix_ms = match &input.expires_at {
        None => None,
        Some(text) => Some(moment::read(text, "expires_at")?),
    };
    let server = stated_server(control, input, &base)?;
    let snapshot = control.deps.keeper.current();
    let claim = RequestedHosting {
        facts: snapshot.catalogue().provider(&base.provider),
        workspace: Some(base.workspace),
        auth: input.auth.as_deref(),
        config: &input.config,
        base_url: input.base_url.as_deref(),
        region: input.region.as_deref(),
    };
    let auth = hosting::check(control, &claim)?;
    Ok(CredentialRow {
        server,
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
        project,
        environment,
        expires_unix_ms,
        ..base
    })
}

/// The provider's name, with a number behind it where other credentials are called so.
async fn free_name(control: &Control, workspace: WorkspaceId, provider: &str) -> Result<String, Box<Fault>> {
    let mut name = provider.to_owned();
    for number in 2..=DEFAULT_NAMES_MAX {
        let same = control.deps.store.credentials().ids_by_name(workspace, name.clone(), false).await;
        if same.map_err(of_store)?.is_empty() {
            break;
        }
        name = format!("{provider}-{number}");
    }
    Ok(name)
}

fn stated_server(control: &Control, input: &Input, base: &CredentialRow) -> Result<ServerFacts, Box<Fault>> {
    if !input.stated_facts.is_empty() && !line::is_probed(&base.provider) {
        return Err(invalid(
            "stated_facts",
            format!("What {} takes is known and can't be stated.", base.provider),
            "State facts only for a server at your own address, under a name that you choose.",
        ));
    }
    let now = control.deps.world.clock.unix_ms();
    let stated = servers::read_stated(&input.stated_facts, &base.server.stated, now)?;
    Ok(ServerFacts { stated, ..base.server.clone() })
}

/// What a changed credential leaves to do.
pub struct AfterWrite {
    /// Whether it is to be verified.
    verifies: bool,
    /// Whether its server is to be probed.
    probes: bool,
    status: Option<String>,
    before: CredentialState,
}

impl Resource for CredentialRow {
    const PATH: &'static str = "/v2/provider-credentials";
    const ONE: &'static str = "/v2/provider-credentials/{id}";
    const WHAT: &'static str = "credential";
    type View = CredentialView;

    fn table(control: &Control) -> &dyn store::Resource<Self> {
        control.deps.store.credentials()
    }

    async fn view(&self, control: &Control) -> Result<CredentialView, Box<Fault>> {
        Ok(show(control, self))
    }

    async fn rows(control: &Control, request: &ApiRequest) -> Result<Listed<Self, CredentialId>, Box<Fault>> {
        let provider = request.query.get("provider").cloned();
        let filter = CredentialFilter { provider, ..CredentialFilter::default() };
        let page = request.page()?;
        control.deps.store.credentials().filter(request.workspace(), filter, page).await.map_err(of_store)
    }

    async fn check_deletion(control: &Control, request: &ApiRequest, id: CredentialId) -> Checked {
        check_credential(control, request, id, None).await
    }
}

impl WritableResource for CredentialRow {
    type Input = Input;
    type Update = Input;
    type Rest = AfterWrite;

    fn writable(&self, control: &Control) -> Result<Value, Box<Fault>> {
        Ok(without(json!(show(control, self)), &DERIVED))
    }

    async fn new(
        control: &Control,
        request: &ApiRequest,
        mut input: Input,
    ) -> Result<(Self, AfterWrite), Box<Fault>> {
        let provider = checked_provider(control, input.provider.take(), input.base_url.is_some())?;
        if input.display_name.is_none() {
            input.display_name = Some(free_name(control, request.workspace(), &provider).await?);
        }
        let (_, form) = hosting::secret_of(control, &provider, input.auth.as_deref());
        let secret = secrets::read(input.secret.take(), form)?;
        let now = control.deps.world.clock.unix_ms();
        let id = CredentialId::new(now, control.deps.world.id_bytes());
        let secret = secrets::seal(control, request.workspace(), &id.to_string(), 1, &secret)?;
        let mut blank = blank(request.workspace(), id, provider, secret, now);
        if input.verify {
            blank.state = CredentialState::Unverified;
        }
        let row = row_of(control, request, &input, blank).await?;
        let (verifies, before) = (input.verify, row.state);
        Ok((row, AfterWrite { verifies, probes: true, status: None, before }))
    }

    async fn change(
        self,
        control: &Control,
        request: &ApiRequest,
        mut input: Input,
    ) -> Result<(Self::Change, AfterWrite), Box<Fault>> {
        if input.provider.as_ref().is_some_and(|provider| *provider != self.provider) {
            return Err(invalid(
                "provider",
                "The provider of a credential can't be changed.",
                "Make another credential.",
            ));
        }
        let renewal = self.secret_owner().renew(control, input.auth.as_deref(), input.secret.take())?;
        let (status, before) = (input.status.take(), self.state);
        let destination = Destination::of(self.base_url.as_ref(), &self.config);
        let changed = row_of(control, request, &input, self).await?;
        let probes =
            renewal.check(&destination, &Destination::of(changed.base_url.as_ref(), &changed.config))?;
        if let Some(state) = wanted_state(status.as_deref(), before)? {
            // Before anything of it is written: the state is written last.
            check_state(control, request, &changed, state).await?;
        }
        if let Some(secret) = renewal.secret.as_ref().filter(|_| input.verify && !request.is_rehearsal) {
            secrets::try_out(control, &changed, secret, true).await?;
        }
        Ok(((changed, renewal.secret), AfterWrite { verifies: input.verify, probes, status, before }))
    }

    async fn check_change(control: &Control, request: &ApiRequest, (row, _): &Self::Change) -> Checked {
        check_credential(control, request, row.id, Some(credential_entry(row.clone()))).await
    }

    async fn finish(
        self,
        control: &Arc<Control>,
        request: &ApiRequest,
        after: AfterWrite,
    ) -> Result<Reply, Box<Fault>> {
        let mut row = self;
        if let Some(state) = wanted_state(after.status.as_deref(), after.before)? {
            let set = set_state(control, request, &row, state).await?;
            control.deps.await_published(set.version).await?;
            // In a rehearsal the second write doesn't see the first one.
            row = if request.is_rehearsal { Self { state, ..row } } else { set.row };
        }
        if after.verifies && !request.is_rehearsal {
            row = verified(control, row, Act::system(&control.deps.world)).await?;
        } else if after.probes && !request.is_rehearsal {
            row = control.deps.probe_credential(Act::system(&control.deps.world), row, None).await?;
        }
        reply(control, row).await
    }
}

/// Checks another state. A revoked credential may have leaked, so that nothing stands in its way.
async fn check_state(
    control: &Control,
    request: &ApiRequest,
    row: &CredentialRow,
    state: CredentialState,
) -> Checked {
    // A credential that its owner disables stops now and can be enabled again, so no replay has to pass first.
    if matches!(state, CredentialState::Disabled | CredentialState::Revoked) {
        return Ok(None);
    }
    let entry = CredentialEntry { state, ..credential_entry(row.clone()) };
    check_credential(control, request, row.id, Some(entry)).await
}

async fn set_state(
    control: &Control,
    request: &ApiRequest,
    row: &CredentialRow,
    state: CredentialState,
) -> Result<Written<CredentialRow>, Box<Fault>> {
    let write = |premise| {
        let act = request.act(&control.deps.world).on(premise);
        control.deps.store.credentials().set_state(row.workspace, row.id, state, None, act)
    };
    write_checked(|| check_state(control, request, row, state), write).await
}

fn blank(
    workspace: WorkspaceId,
    id: CredentialId,
    provider: String,
    secret: SealedSecret,
    now_unix_ms: u64,
) -> CredentialRow {
    CredentialRow {
        id,
        workspace,
        provider,
        display_name: String::new(),
        auth: String::new(),
        secret,
        base_url: None,
        region: None,
        config: Value::Null,
        pricing: Vec::new(),
        agreement: Agreement::default(),
        metadata: Value::Null,
        project: None,
        environment: None,
        state: CredentialState::Active,
        expires_unix_ms: None,
        last_verified_unix_ms: None,
        last_error: None,
        server: ServerFacts::default(),
        subscription: None,
        created_unix_ms: now_unix_ms,
        version: 0,
    }
}

async fn show_opened(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row: CredentialRow = load(control, &request).await?;
    let openings = control.deps.store.audit().openings(row.id).await.map_err(of_store)?;
    Ok(Reply::json(&Opened { credential: show(control, &row), openings })?.version(row.version))
}

/// The state that a `status` stands for, if it differs from the current one.
fn wanted_state(
    status: Option<&str>,
    before: CredentialState,
) -> Result<Option<CredentialState>, Box<Fault>> {
    let wanted = match status {
        None => return Ok(None),
        Some("active") => CredentialState::Active,
        Some("disabled") => CredentialState::Disabled,
        Some("revoked") => CredentialState::Revoked,
        // A derived status that was read and sent back unchanged.
        Some("invalid") if before == CredentialState::Invalid => return Ok(None),
        Some("unverified") if before == CredentialState::Unverified => return Ok(None),
        Some("expiring" | "expired" | "over_quota" | "invalid") if before == CredentialState::Active => {
            return Ok(None);
        }
        Some(other) => {
            return Err(invalid(
                "status",
                format!("\"{other}\" isn't a status to set."),
                "Use active, disabled or revoked.",
            ));
        }
    };
    Ok(Some(wanted).filter(|wanted| *wanted != before))
}

async fn verify(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let Nothing {} = request.json()?;
    let row: CredentialRow = load(control, &request).await?;
    if request.is_rehearsal {
        return Reply::json(&show(control, &row));
    }
    let act = request.act(&control.deps.world);
    reply(control, verified(control, row, act).await?).await
}

/// Calls the provider with a credential's secret, and stores the result.
async fn verified(control: &Control, row: CredentialRow, act: Act) -> Result<CredentialRow, Box<Fault>> {
    let snapshot = control.deps.keeper.current();
    let entry = snapshot
        .workspace(row.workspace)
        .and_then(|workspace| workspace.credentials.iter().find(|entry| entry.id == row.id).cloned())
        .ok_or_else(|| not_found("credential", &row.id.to_string()))?;
    let report = control.deps.verify(Seat::Byok(entry)).await?;
    let found = secrets::finding(control, &report, row.secret.sealed.version);
    let written = row.record(control, found, act).await.map_err(of_store)?;
    control.deps.await_published(written.version).await?;
    // If the server could not be probed before, it is probed now.
    let is_known = written.row.server.probed.as_ref().is_some_and(|probed| probed.error.is_none());
    if report.is_well() && !is_known {
        return control.deps.probe_credential(Act::system(&control.deps.world), written.row, None).await;
    }
    Ok(written.row)
}

async fn probe(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let ProbeInput { model } = request.json()?;
    let row: CredentialRow = load(control, &request).await?;
    if !line::is_probed(&row.provider) {
        return Err(invalid(
            "id",
            format!("What {} takes is known: there is nothing to probe.", row.provider),
            "Probe servers at an address of your own, under a name of your own.",
        ));
    }
    let row = if request.is_rehearsal {
        row
    } else {
        control.deps.probe_credential(request.act(&control.deps.world), row, model).await?
    };
    reply(control, row).await
}

/// A provider's name and its kind of authentication.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CredentialKind")]
struct Kind {
    provider: String,
    display_name: String,
    synonyms: Vec<String>,
    /// The kind of its secret. A provider that accepts several is listed once for each, the usual one first.
    auth: &'static str,
    title: String,
    says: String,
    /// Whether it is the machine identity of the gateway's host.
    is_host_identity: bool,
    /// The minimal permissions that it needs, in the cloud's own notation.
    permission: Option<String>,
    /// Further permissions that batches in its owner's own storage need; replace the words in capitals.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_permission: Option<String>,
    /// Whether this version supports it.
    available: bool,
    /// Whether it is a custom provider, with a name and an address that the workspace chooses.
    custom: bool,
    base_url: Option<String>,
    /// The allowed form of the address, if each customer has their own.
    base_url_example: Option<String>,
    environment_variable: Option<String>,
    /// The JSON Schema of its input.
    schema: Value,
}

/// The kinds of credentials in the catalogue: each provider's name and authentication.
async fn list_kinds(control: &Arc<Control>, _: ApiRequest) -> Handled {
    let snapshot = control.deps.keeper.current();
    let offered = snapshot.catalogue().providers().iter().filter(|facts| facts.byok);
    let kinds = offered.flat_map(|facts| facts.auths.iter().map(move |auth| (facts, auth)));
    let kinds = kinds.map(|(facts, auth)| Kind {
        provider: facts.slug.clone(),
        display_name: facts.display_name.clone(),
        synonyms: facts.synonyms.clone(),
        auth: auth.kind.as_str(),
        title: auth.title.clone(),
        says: auth.description.clone(),
        is_host_identity: auth.host,
        permission: auth.permission.clone(),
        batch_permission: auth.batch_permission.clone(),
        available: facts.available,
        custom: facts.custom,
        // Where each customer has their own address, the example is more useful.
        base_url: facts.base_url.clone().filter(|_| facts.base_url_example.is_none()),
        base_url_example: facts.base_url_example.clone(),
        // The provider's own tools read an API key from this variable; other kinds have another format.
        environment_variable: facts.secret_env.clone().filter(|_| auth.kind == AuthKind::ApiKey),
        schema: hosting::schema(facts, auth),
    });
    Reply::json(&Page::whole(kinds.collect::<Vec<_>>()))
}
