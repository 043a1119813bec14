//! `/v2/tariff`: what the operator asks for beside tokens, and which workspace has which tariff.

use std::sync::Arc;

use domain::{Fault, Price, WorkspaceId};
use http::Method;
use ledger::tariff::ProfileFees;
use ledger::{Fee, Tariff};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::tariffs::USUAL;
use store::{Assignment, TariffVersion};

use super::workspaces::checked_name;
use crate::access::Access;
use crate::failure::{invalid, missing, of_store};
use crate::request::Ask;
use crate::router::{Handled, Route};
use crate::{Control, Reply, moment};

const PATH: &str = "/v2/tariff";
const ASSIGNMENT: &str = "/v2/tariff/assignments/{id}";

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, PATH, Access::OPERATE, get),
        Route::new(Method::PUT, PATH, Access::OPERATE, put),
        Route::new(Method::PUT, ASSIGNMENT, Access::OPERATE, assign),
    ]
}

/// A fee as it is written: micro-USD for a million.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FeesInput {
    per_million_requests_micros: u64,
    included_requests: u64,
    per_million_tokens_micros: u64,
    included_tokens: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ActsInput {
    per_million_acts_micros: u64,
    included_acts: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ProfilesInput {
    managed_provider: FeesInput,
    byok: FeesInput,
    subscription: FeesInput,
    byoc: FeesInput,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    name: Option<String>,
    effective_from: Option<String>,
    #[serde(default)]
    monthly_base_micros: u64,
    #[serde(default)]
    profiles: ProfilesInput,
    #[serde(default)]
    acts: ActsInput,
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

/// A tariff as the API tells it.
pub fn shown(tariff: &Tariff) -> Value {
    let profiles = ProfilesInput {
        managed_provider: FeesInput::of(&tariff.managed_provider),
        byok: FeesInput::of(&tariff.byok),
        subscription: FeesInput::of(&tariff.subscription),
        byoc: FeesInput::of(&tariff.byoc),
    };
    let acts =
        ActsInput { per_million_acts_micros: tariff.acts.price.0, included_acts: tariff.acts.included };
    json!({
        "name": tariff.name,
        "monthly_base_micros": tariff.monthly_base.0,
        "profiles": profiles,
        "acts": acts,
    })
}

fn show(version: &TariffVersion) -> Value {
    let mut fields = shown(&version.tariff);
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("object".into(), "tariff".into());
        fields.insert("effective_from".into(), moment::write(version.effective_unix_ms).into());
        fields.insert("created_at".into(), moment::write(version.created_unix_ms).into());
    }
    fields
}

fn show_assignment(assignment: &Assignment) -> Value {
    json!({
        "object": "tariff_assignment",
        "workspace_id": assignment.workspace.to_string(),
        "tariff": assignment.tariff,
        "effective_from": moment::write(assignment.effective_unix_ms),
    })
}

/// A month is charged by one tariff, so that each begins with one; the running month where nothing is said.
fn checked_month(control: &Control, text: Option<&str>) -> Result<u64, Box<Fault>> {
    let Some(text) = text else { return Ok(moment::month_start(control.world.clock.unix_ms())) };
    let unix_ms = moment::read(text, "effective_from")?;
    if moment::month_start(unix_ms) == unix_ms {
        return Ok(unix_ms);
    }
    let message = format!("{text} is not the first moment of a month in UTC.");
    Err(invalid("effective_from", message, "Write it as 2026-12-01: a month is charged by one tariff."))
}

fn get(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        ask.only_query(&[])?;
        let versions = control.store.tariffs().list().await.map_err(of_store)?;
        let assignments = control.store.tariffs().assignments().await.map_err(of_store)?;
        let now = moment::month_start(control.world.clock.unix_ms());
        let usual =
            versions.iter().rfind(|version| version.tariff.name == USUAL && version.effective_unix_ms <= now);
        let none = Tariff { name: USUAL.to_owned(), ..Tariff::default() };
        Reply::json(&json!({
            "object": "tariffs",
            "in_force": usual.map_or_else(|| shown(&none), show),
            "versions": versions.iter().map(show).collect::<Vec<_>>(),
            "assignments": assignments.iter().map(show_assignment).collect::<Vec<_>>(),
        }))
    })
}

fn put(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        let input: Input = ask.json()?;
        let name = checked_name(Some(input.name.unwrap_or_else(|| USUAL.to_owned())), "name")?;
        let tariff = Tariff {
            name,
            monthly_base: Price(input.monthly_base_micros),
            managed_provider: input.profiles.managed_provider.fees(),
            byok: input.profiles.byok.fees(),
            subscription: input.profiles.subscription.fees(),
            byoc: input.profiles.byoc.fees(),
            acts: Fee {
                price: Price(input.acts.per_million_acts_micros),
                included: input.acts.included_acts,
            },
        };
        let effective_unix_ms = checked_month(control, input.effective_from.as_deref())?;
        let act = ask.act(&control.world);
        let version = TariffVersion { tariff, effective_unix_ms, created_unix_ms: act.unix_ms };
        let written = control.store.tariffs().put(version, act).await.map_err(of_store)?;
        Reply::json(&show(&written.row))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AssignInput {
    tariff: Option<String>,
    effective_from: Option<String>,
}

fn assign(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        let workspace: WorkspaceId = ask.id("workspace")?;
        let input: AssignInput = ask.json()?;
        let tariff = input.tariff.ok_or_else(|| missing("tariff", "Give the name of a tariff."))?;
        let effective_unix_ms = checked_month(control, input.effective_from.as_deref())?;
        let assignment = Assignment { workspace, tariff, effective_unix_ms };
        let act = ask.act(&control.world);
        let written = control.store.tariffs().assign(assignment, act).await.map_err(of_store)?;
        Reply::json(&show_assignment(&written.row))
    })
}
