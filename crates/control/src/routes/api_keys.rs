//! `/v2/api-keys`: keys are shown once, found by a keyed hash, and revoked with immediate effect.

use std::sync::Arc;

use api::access::{Access, insufficient_role};
use api::caller::rank_of;
use api::failure::{invalid, missing, not_an_id, not_there};
use api::limits::{ENVIRONMENT_BYTES_MAX, NAME_CHARS_MAX, ORIGINS_MAX};
use api::moment::Moment;
use api::names::{checked_environment, checked_name, checked_origins};
use api::openapi::bounds::{ENVIRONMENT, MOMENT, NAME};
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::Route;
use api::state::Control;
use domain::{Fault, FaultClass, KeyId, ProjectId, Role, Sealed, Secret, Subject, api_key};
use people::{new_key, scope_names};
use reconcilers::{moment, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use snapshot::{IpNet, Scopes, origins_of};
use store::{ApiKeyRow, LimitsOf, Listed};

use super::limits::{self, LimitsForm};
use super::secrets;
use crate::limits::KEY_EXPIRES_IN_DAYS_MAX;
use crate::resource::{Resource, WritableResource, delete, delete_row, get, list, load, patch, post, put};

const DAY_MS: u64 = 86_400_000;

pub fn routes() -> Vec<Route> {
    vec![
        post::<ApiKeyRow>("Creates an API key. Its text is only in this response.").makes::<ApiKeyView>(),
        list::<ApiKeyRow>("Lists the workspace's API keys.")
            .query("project_id", "Only those of this project."),
        get::<ApiKeyRow>("Shows an API key, without its text."),
        patch::<ApiKeyRow>("Changes fields of an API key."),
        put::<ApiKeyRow>("Replaces all writable fields of an API key."),
        delete::<ApiKeyRow>("Revokes an API key, immediately and permanently."),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ApiKey")]
pub struct Input {
    #[schemars(required)]
    #[schemars(length(min = 1, max = NAME_CHARS_MAX), regex(pattern = NAME))]
    name: Option<String>,
    project_id: Option<String>,
    #[schemars(length(min = 1, max = ENVIRONMENT_BYTES_MAX), regex(pattern = ENVIRONMENT))]
    environment: Option<String>,
    scopes: Option<Vec<String>>,
    #[schemars(range(min = 1, max = KEY_EXPIRES_IN_DAYS_MAX))]
    expires_in_days: Option<u32>,
    #[schemars(regex(pattern = MOMENT))]
    expires_at: Option<String>,
    #[serde(default)]
    ip_allowlist: Vec<String>,
    /// Origins of pages that may read its answers in a browser, such as `https://app.example`, or `*` for all. A list
    /// narrows its project's; without one, the project's counts.
    #[serde(default)]
    #[schemars(length(max = ORIGINS_MAX))]
    origins: Vec<String>,
    /// The priority of its requests under overload, from 0 (refused first) to 255, and the most that their hints can
    /// state. Without one it is that of their hints, at most 192, or 128.
    priority: Option<u8>,
    limits: Option<LimitsForm>,
    /// Also creates a pair of access keys, for clients that sign their requests. Only at creation.
    aws: Option<bool>,
}

/// Access keys for clients that sign their requests.
#[derive(Serialize, JsonSchema)]
struct AccessKeys {
    access_key_id: String,
    /// Only in the response that created it.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_access_key: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ApiKey")]
pub struct ApiKeyView {
    id: String,
    object: &'static str,
    name: String,
    project_id: String,
    environment: String,
    scopes: Vec<&'static str>,
    last4: String,
    #[schemars(extend("enum" = ["active", "expired", "revoked"]))]
    status: &'static str,
    ip_allowlist: Vec<String>,
    /// Origins of pages that may read its answers; without one, its project's count.
    origins: Vec<String>,
    /// The priority of its requests under overload, and the most that their hints can state.
    priority: Option<u8>,
    limits: LimitsForm,
    expires_at: Option<Moment>,
    revoked_at: Option<Moment>,
    /// The member in whose name it was created; null if there was none or it was not recorded.
    created_by: Option<String>,
    created_at: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    aws: Option<AccessKeys>,
    /// Only in the response that created it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

const fn of(row: &ApiKeyRow) -> LimitsOf {
    LimitsOf::Subject(Subject::Key(row.id))
}

fn show(control: &Control, row: &ApiKeyRow, now_unix_ms: u64) -> ApiKeyView {
    let expired = row.expires_unix_ms.is_some_and(|at| at <= now_unix_ms);
    ApiKeyView {
        id: row.id.to_string(),
        object: "api_key",
        name: row.name.clone(),
        project_id: row.project.to_string(),
        environment: row.environment.clone(),
        scopes: scope_names(row.scopes),
        last4: row.last4.clone(),
        status: match (row.revoked_unix_ms, expired) {
            (Some(_), _) => "revoked",
            (None, true) => "expired",
            (None, false) => "active",
        },
        ip_allowlist: row
            .ip_allowlist
            .iter()
            .map(|net| format!("{}/{}", net.address, net.prefix_bits))
            .collect(),
        origins: origins_of(&row.origins).map(str::to_owned).collect(),
        priority: row.priority,
        limits: limits::show(control, row.workspace, &of(row)),
        expires_at: row.expires_unix_ms.map(Moment),
        revoked_at: row.revoked_unix_ms.map(Moment),
        created_by: row.created_by.map(|id| id.to_string()),
        created_at: Moment(row.created_unix_ms),
        aws: row
            .access_secret
            .as_ref()
            .map(|_| AccessKeys { access_key_id: api_key::access_key_id(row.id), secret_access_key: None }),
        key: None,
    }
}

fn checked_scopes(names: Option<&[String]>, request: &ApiRequest) -> Result<Scopes, Box<Fault>> {
    let Some(names) = names else { return Ok(Scopes { inference: true, ..Scopes::default() }) };
    let mut scopes = Scopes::default();
    for name in names {
        match name.as_str() {
            "inference" => scopes.inference = true,
            "read" => scopes.read = true,
            "admin" => scopes.admin = true,
            "operator" if request.is_operator() => scopes.operator = true,
            "operator" => {
                return Err(Box::new(
                    Fault::new(
                        FaultClass::Forbidden,
                        "insufficient_scope",
                        "Only the operator can create operator keys.",
                    )
                    .param("scopes")
                    .fix("Create it with a key that has the operator scope."),
                ));
            }
            other => {
                return Err(invalid(
                    "scopes",
                    format!("\"{other}\" isn't a scope."),
                    "Use inference, read or admin.",
                ));
            }
        }
    }
    within_rank(scopes, request)?;
    Ok(scopes)
}

fn home_project(request: &ApiRequest) -> Result<ProjectId, Box<Fault>> {
    let home = request.caller.project().map(|project| project.id);
    home.ok_or_else(|| {
        missing("project_id", "This workspace has no project yet: create one, and name it here.")
    })
}

/// A caller can't grant rights they don't have, nor change a key with more rights than their own.
fn within_rank(scopes: Scopes, request: &ApiRequest) -> Result<(), Box<Fault>> {
    let rank = request.caller.rank();
    let is_fine = match rank_of(scopes) {
        // Anyone who may create keys may create keys that call models and read.
        Role::Viewer => true,
        needed => rank.covers(needed),
    };
    if is_fine {
        return Ok(());
    }
    Err(match request.caller.key() {
        None => insufficient_role(rank_of(scopes).as_str(), rank),
        Some(_) => Box::new(
            Fault::new(
                FaultClass::Forbidden,
                "insufficient_scope",
                "The new key would have more permissions than yours.",
            )
            .fix("Use a key with the operator scope for keys that have it."),
        ),
    })
}

fn checked_allowlist(blocks: &[String]) -> Result<Vec<IpNet>, Box<Fault>> {
    blocks
        .iter()
        .map(|block| {
            read_block(block).ok_or_else(|| {
                let message = format!("\"{block}\" isn't an address or block.");
                invalid("ip_allowlist", message, "Write 203.0.113.7, 10.0.0.0/8 or 2001:db8::/32.")
            })
        })
        .collect()
}

fn read_block(block: &str) -> Option<IpNet> {
    let (address, bits) = block.split_once('/').map_or((block, None), |(a, b)| (a, Some(b)));
    let address: std::net::IpAddr = address.parse().ok()?;
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    let prefix_bits = match bits {
        None => bits_max,
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= bits_max)?,
    };
    Some(IpNet { address, prefix_bits })
}

fn checked_expiry(input: &Input, now_unix_ms: u64) -> Result<Option<u64>, Box<Fault>> {
    match (input.expires_in_days, &input.expires_at) {
        (Some(_), Some(_)) => {
            Err(invalid("expires_at", "Two expiries are given.", "Give expires_in_days or expires_at."))
        }
        (Some(days), None) if (1..=KEY_EXPIRES_IN_DAYS_MAX).contains(&days) => {
            Ok(Some(now_unix_ms + u64::from(days) * DAY_MS))
        }
        (Some(days), None) => {
            let message = format!("A key can't expire in {days} days.");
            Err(invalid(
                "expires_in_days",
                message,
                format!("Give 1 to {KEY_EXPIRES_IN_DAYS_MAX}, or leave it out."),
            ))
        }
        (None, Some(text)) => moment::read(text, "expires_at").map(Some),
        (None, None) => Ok(None),
    }
}

/// Adds an access key pair to the API key: its sealed secret, its anti-rollback floor, and the secret itself,
/// which is shown once.
fn with_access_secret(
    control: &Control,
    row: ApiKeyRow,
    is_wanted: bool,
) -> Result<(ApiKeyRow, Option<Sealed>, Option<Secret>), Box<Fault>> {
    if !is_wanted {
        return Ok((row, None, None));
    }
    let secret = vault::mint_access_secret(&*control.deps.world.random);
    let sealed = secrets::seal(control, row.workspace, &row.id.to_string(), 1, &secret)?;
    Ok((ApiKeyRow { access_secret: Some(sealed.sealed), ..row }, Some(sealed.floor), Some(secret)))
}

/// What of a key is written, or given out, after it.
pub struct AfterWrite {
    limits: Option<LimitsForm>,
    /// The key, where it is new.
    text: Option<String>,
    /// Its access secret, where it is new.
    secret: Option<Secret>,
}

impl Resource for ApiKeyRow {
    const PATH: &'static str = "/v2/api-keys";
    const ONE: &'static str = "/v2/api-keys/{id}";
    const WHAT: &'static str = "API key";
    const WRITE: Access = Access::DEVELOP;
    type View = ApiKeyView;

    fn table(control: &Control) -> &dyn store::Resource<Self> {
        control.deps.store.api_keys()
    }

    async fn view(&self, control: &Control) -> Result<ApiKeyView, Box<Fault>> {
        Ok(show(control, self, control.deps.world.clock.unix_ms()))
    }

    async fn rows(control: &Control, request: &ApiRequest) -> Result<Listed<Self, KeyId>, Box<Fault>> {
        let project =
            match request.query.get("project_id") {
                None => None,
                Some(text) => Some(text.parse().map_err(|_| {
                    invalid("project_id", "This isn't a project's id.", "See GET /v2/projects.")
                })?),
            };
        let page = request.page()?;
        control.deps.store.api_keys().filter(request.workspace(), project, page).await.map_err(of_store)
    }

    async fn delete(control: &Control, request: &ApiRequest) -> Result<u64, Box<Fault>> {
        let row: Self = load(control, request).await?;
        within_rank(row.scopes, request)?;
        delete_row::<Self>(control, request).await
    }
}

impl WritableResource for ApiKeyRow {
    type Input = Input;
    type Update = Input;
    type Rest = AfterWrite;

    fn writable(&self, control: &Control) -> Result<Value, Box<Fault>> {
        let view = show(control, self, 0);
        Ok(json!({
            "name": view.name, "scopes": view.scopes, "ip_allowlist": view.ip_allowlist,
            "origins": view.origins, "expires_at": view.expires_at, "priority": view.priority,
            "limits": view.limits,
        }))
    }

    async fn new(
        control: &Control,
        request: &ApiRequest,
        input: Input,
    ) -> Result<(Self::New, AfterWrite), Box<Fault>> {
        let now = control.deps.world.clock.unix_ms();
        let project = match &input.project_id {
            None => home_project(request)?,
            Some(text) => text.parse::<ProjectId>().map_err(|_| not_an_id("project_id", "project", text))?,
        };
        let home = control.deps.store.projects().get(request.workspace(), project).await;
        let home = home.map_err(|error| not_there(error, "project", &project))?;
        let environment =
            checked_environment(input.environment.as_deref().unwrap_or(&home.environment), "environment")?;
        let scopes = checked_scopes(input.scopes.as_deref(), request)?;
        let name = checked_name(input.name.clone(), "name")?;
        let whose = (request.workspace(), project);
        let (text, row) =
            new_key(&control.deps.world, &control.deps.vault, whose, &name, &environment, scopes);
        let row = Self {
            expires_unix_ms: checked_expiry(&input, now)?,
            ip_allowlist: checked_allowlist(&input.ip_allowlist)?,
            origins: checked_origins(&input.origins)?,
            priority: input.priority,
            ..row
        };
        limits::check(input.limits, "limits")?;
        let (row, floor, secret) = with_access_secret(control, row, input.aws == Some(true))?;
        Ok(((row, floor), AfterWrite { limits: input.limits, text: Some(text), secret }))
    }

    async fn change(
        self,
        control: &Control,
        request: &ApiRequest,
        input: Input,
    ) -> Result<(Self, AfterWrite), Box<Fault>> {
        within_rank(self.scopes, request)?;
        let now = control.deps.world.clock.unix_ms();
        if input.aws.is_some_and(|wanted| wanted != self.access_secret.is_some()) {
            let message = "Access keys are made with their key, and end with it.";
            return Err(invalid("aws", message, "Create another key and revoke this one."));
        }
        let fixed = [
            ("project_id", &input.project_id, self.project.to_string()),
            ("environment", &input.environment, self.environment.clone()),
        ];
        for (field, given, stays) in fixed {
            if given.as_ref().is_some_and(|given| *given != stays) {
                return Err(invalid(
                    field,
                    format!("{field} of a key can't be changed."),
                    "Create another key and revoke this one.",
                ));
            }
        }
        let changed = Self {
            name: checked_name(input.name.clone(), "name")?,
            scopes: checked_scopes(input.scopes.as_deref(), request)?,
            expires_unix_ms: checked_expiry(&input, now)?,
            ip_allowlist: checked_allowlist(&input.ip_allowlist)?,
            origins: checked_origins(&input.origins)?,
            priority: input.priority,
            ..self
        };
        limits::check(input.limits, "limits")?;
        Ok((changed, AfterWrite { limits: input.limits, text: None, secret: None }))
    }

    async fn finish(
        self,
        control: &Arc<Control>,
        request: &ApiRequest,
        after: AfterWrite,
    ) -> Result<Reply, Box<Fault>> {
        let limits =
            limits::write(control, request.act(&control.deps.world), self.workspace, of(&self), after.limits)
                .await?;
        let view = show(control, &self, control.deps.world.clock.unix_ms());
        let mut view = ApiKeyView { key: after.text, limits, ..view };
        if let (Some(pair), Some(secret)) = (&mut view.aws, after.secret) {
            pair.secret_access_key = secret.expose_text().map(str::to_owned);
        }
        Ok(Reply::json(&view)?.version(self.version))
    }
}
