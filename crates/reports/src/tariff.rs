//! `/v2/tariff`: what the operator charges besides tokens, and which tariff each workspace has.
//!
//! Tariffs are no `Resource`: a row has neither an id nor a version, nobody lists or deletes one, and a PUT sets the
//! version of a month whether it exists or not.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing};
use api::moment::Moment;
use api::names::checked_name;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::BUDGET_MICROS_MAX;
use domain::{Fault, Price, WorkspaceId};
use http::Method;
use ledger::tariff::ProfileFees;
use ledger::{Fee, Tariff};
use reconcilers::{moment, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::tariffs::USUAL;
use store::{Assignment, TariffVersion};

const PATH: &str = "/v2/tariff";
const ASSIGNMENT: &str = "/v2/tariff/assignments/{id}";

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, PATH, Access::OPERATE, get)
            .says("Shows the tariff in force, all versions, and which workspace has which.")
            .returns_value::<TariffsView>(),
        Route::new(Method::PUT, PATH, Access::OPERATE, put)
            .says("Sets the version of a tariff from a month on.")
            .takes::<Input>()
            .returns_value::<VersionView>(),
        Route::new(Method::PUT, ASSIGNMENT, Access::OPERATE, assign)
            .says("Assigns a tariff to a workspace, from a month on.")
            .takes::<AssignInput>()
            .returns_value::<AssignmentView>()
            .refuses(409, "no_such_tariff"),
    ]
}

/// A fee as written: micro-USD per million.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "TariffFees")]
struct FeesInput {
    per_million_requests_micros: u64,
    included_requests: u64,
    per_million_tokens_micros: u64,
    included_tokens: u64,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "TariffActs")]
struct ActsInput {
    per_million_acts_micros: u64,
    included_acts: u64,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "TariffProfiles")]
struct ProfilesInput {
    managed_provider: FeesInput,
    byok: FeesInput,
    subscription: FeesInput,
    byoc: FeesInput,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Tariff")]
struct Input {
    /// By default `default`.
    name: Option<String>,
    /// The first day of a month, such as `2026-12-01`; by default the current month.
    effective_from: Option<String>,
    #[serde(default)]
    monthly_base_micros: u64,
    #[serde(default)]
    profiles: ProfilesInput,
    #[serde(default)]
    acts: ActsInput,
}

impl Input {
    /// An amount is at most the largest budget, so that no sum of a month exceeds the arithmetic of money.
    fn check_amounts(&self) -> Result<(), Box<Fault>> {
        let Self { monthly_base_micros, profiles, acts, .. } = self;
        let ProfilesInput { managed_provider, byok, subscription, byoc } = profiles;
        let fees = [
            ("managed_provider", managed_provider),
            ("byok", byok),
            ("subscription", subscription),
            ("byoc", byoc),
        ];
        let of_profiles = fees.into_iter().flat_map(|(profile, fees)| {
            let field = move |name| format!("profiles.{profile}.{name}");
            [
                (field("per_million_requests_micros"), fees.per_million_requests_micros),
                (field("per_million_tokens_micros"), fees.per_million_tokens_micros),
            ]
        });
        let mut amounts = of_profiles.chain([
            ("monthly_base_micros".to_owned(), *monthly_base_micros),
            ("acts.per_million_acts_micros".to_owned(), acts.per_million_acts_micros),
        ]);
        match amounts.find(|(_, micros)| *micros > BUDGET_MICROS_MAX) {
            None => Ok(()),
            Some((field, micros)) => {
                let message = format!("{micros} millionths of a USD are too much for \"{field}\".");
                Err(invalid(field, message, format!("Give at most {BUDGET_MICROS_MAX}.")))
            }
        }
    }
}

impl FeesInput {
    fn of(fees: &ProfileFees) -> Self {
        Self {
            per_million_requests_micros: fees.requests.price.0,
            included_requests: fees.requests.included,
            per_million_tokens_micros: fees.tokens.price.0,
            included_tokens: fees.tokens.included,
        }
    }

    const fn fees(&self) -> ProfileFees {
        ProfileFees {
            requests: Fee {
                price: Price(self.per_million_requests_micros),
                included: self.included_requests,
            },
            tokens: Fee { price: Price(self.per_million_tokens_micros), included: self.included_tokens },
        }
    }
}

/// A tariff, as the API shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Tariff")]
pub struct TariffView {
    name: String,
    monthly_base_micros: u64,
    profiles: ProfilesInput,
    acts: ActsInput,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TariffVersion")]
struct VersionView {
    object: &'static str,
    #[serde(flatten)]
    tariff: TariffView,
    effective_from: Moment,
    created_at: Moment,
}

/// Without a tariff, only tokens are charged.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TariffInForce")]
#[serde(untagged)]
enum InForce {
    Set(VersionView),
    Unset(TariffView),
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TariffAssignment")]
struct AssignmentView {
    object: &'static str,
    workspace_id: String,
    tariff: String,
    effective_from: Moment,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Tariffs")]
struct TariffsView {
    object: &'static str,
    in_force: InForce,
    versions: Vec<VersionView>,
    assignments: Vec<AssignmentView>,
}

pub fn show_tariff(tariff: &Tariff) -> TariffView {
    TariffView {
        name: tariff.name.clone(),
        monthly_base_micros: tariff.monthly_base.0,
        profiles: ProfilesInput {
            managed_provider: FeesInput::of(&tariff.managed_provider),
            byok: FeesInput::of(&tariff.byok),
            subscription: FeesInput::of(&tariff.subscription),
            byoc: FeesInput::of(&tariff.byoc),
        },
        acts: ActsInput { per_million_acts_micros: tariff.acts.price.0, included_acts: tariff.acts.included },
    }
}

fn show(version: &TariffVersion) -> VersionView {
    VersionView {
        object: "tariff",
        tariff: show_tariff(&version.tariff),
        effective_from: Moment(version.effective_unix_ms),
        created_at: Moment(version.created_unix_ms),
    }
}

fn show_assignment(assignment: &Assignment) -> AssignmentView {
    AssignmentView {
        object: "tariff_assignment",
        workspace_id: assignment.workspace.to_string(),
        tariff: assignment.tariff.clone(),
        effective_from: Moment(assignment.effective_unix_ms),
    }
}

/// Each month is charged by a single tariff, so a tariff starts with a month; the default is the current
/// month.
fn checked_month(control: &Control, text: Option<&str>) -> Result<u64, Box<Fault>> {
    let Some(text) = text else { return Ok(moment::month_start(control.deps.world.clock.unix_ms())) };
    let unix_ms = moment::read(text, "effective_from")?;
    if moment::month_start(unix_ms) == unix_ms {
        return Ok(unix_ms);
    }
    let message = format!("{text} is not the first moment of a month in UTC.");
    Err(invalid("effective_from", message, "Write it as 2026-12-01: a month is charged by one tariff."))
}

async fn get(control: &Arc<Control>, _: ApiRequest) -> Handled {
    let versions = control.deps.store.tariffs().list().await.map_err(of_store)?;
    let assignments = control.deps.store.tariffs().assignments().await.map_err(of_store)?;
    let now = moment::month_start(control.deps.world.clock.unix_ms());
    let usual =
        versions.iter().rfind(|version| version.tariff.name == USUAL && version.effective_unix_ms <= now);
    let none = Tariff { name: USUAL.to_owned(), ..Tariff::default() };
    Reply::json(&TariffsView {
        object: "tariffs",
        in_force: usual.map_or_else(|| InForce::Unset(show_tariff(&none)), |usual| InForce::Set(show(usual))),
        versions: versions.iter().map(show).collect(),
        assignments: assignments.iter().map(show_assignment).collect(),
    })
}

async fn put(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: Input = request.json()?;
    input.check_amounts()?;
    let name = checked_name(Some(input.name.unwrap_or_else(|| USUAL.to_owned())), "name")?;
    let tariff = Tariff {
        name,
        monthly_base: Price(input.monthly_base_micros),
        managed_provider: input.profiles.managed_provider.fees(),
        byok: input.profiles.byok.fees(),
        subscription: input.profiles.subscription.fees(),
        byoc: input.profiles.byoc.fees(),
        acts: Fee { price: Price(input.acts.per_million_acts_micros), included: input.acts.included_acts },
    };
    let effective_unix_ms = checked_month(control, input.effective_from.as_deref())?;
    let act = request.act(&control.deps.world);
    let version = TariffVersion { tariff, effective_unix_ms, created_unix_ms: act.unix_ms };
    let written = control.deps.store.tariffs().put(version, act).await.map_err(of_store)?;
    Reply::json(&show(&written.row))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TariffAssignment")]
struct AssignInput {
    #[schemars(required)]
    tariff: Option<String>,
    effective_from: Option<String>,
}

async fn assign(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let workspace: WorkspaceId = request.id("workspace")?;
    let input: AssignInput = request.json()?;
    let tariff = input.tariff.ok_or_else(|| missing("tariff", "Give the name of a tariff."))?;
    let effective_unix_ms = checked_month(control, input.effective_from.as_deref())?;
    let assignment = Assignment { workspace, tariff, effective_unix_ms };
    let act = request.act(&control.deps.world);
    let written = control.deps.store.tariffs().assign(assignment, act).await.map_err(of_store)?;
    Reply::json(&show_assignment(&written.row))
}
