//! `/v2/replay-gates`: what a candidate must keep to before traffic moves onto it, and whether it must at all.

use std::sync::Arc;

use api::access::Access;
use api::failure::invalid;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reporting::GatesForm;
use crate::rows::GateSettings;
use crate::runs::checked_gates;
use crate::sql::ReplayRuns;

const PATH: &str = "/v2/replay-gates";
const WORDS: [&str; 2] = ["gated", "open"];

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, PATH, Access::LOOK, get)
            .says("Shows what a candidate must keep to before traffic moves onto it.")
            .returns::<SettingsView>(),
        Route::new(Method::PUT, PATH, Access::OWN, put)
            .says("Sets what a candidate must keep to before traffic moves onto it, and whether it must.")
            .takes::<SettingsInput>()
            .returns::<SettingsView>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptReplayGates")]
struct SettingsInput {
    /// `gated`, which is also the default: a change that moves traffic of others onto a node needs a report that passed. `open`: it
    /// needs none.
    #[schemars(extend("enum" = ["gated", "open", null]))]
    byoc_activation: Option<String>,
    #[serde(default)]
    gates: GatesForm,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KeptReplayGates")]
struct SettingsView {
    object: &'static str,
    #[schemars(extend("enum" = WORDS))]
    byoc_activation: &'static str,
    gates: GatesForm,
}

fn show(settings: &GateSettings) -> SettingsView {
    let [gated, open] = WORDS;
    SettingsView {
        object: "replay_gates",
        byoc_activation: if settings.is_gated { gated } else { open },
        gates: GatesForm::of(&settings.gates),
    }
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let settings = ReplayRuns::of(&control.deps.store).gates(request.workspace()).await;
    let settings = settings.map_err(of_store)?;
    Ok(Reply::json(&show(&settings))?.version(settings.version))
}

async fn put(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: SettingsInput = request.json()?;
    let [gated, open] = WORDS;
    let is_gated = match input.byoc_activation.as_deref() {
        None => true,
        Some(word) if word == gated => true,
        Some(word) if word == open => false,
        Some(word) => {
            let message = format!("\"{word}\" isn't an activation.");
            return Err(invalid("byoc_activation", message, "Send gated or open, or leave it out."));
        }
    };
    let settings = GateSettings { is_gated, gates: checked_gates(&input.gates)?, version: 0 };
    let (expected, act) = (request.if_match()?, request.act(&control.deps.world));
    let runs = ReplayRuns::of(&control.deps.store);
    let settings = runs.set_gates(request.workspace(), settings, expected, act).await.map_err(of_store)?;
    Ok(Reply::json(&show(&settings))?.version(settings.version))
}
