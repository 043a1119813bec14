//! `GET /v2/models`: the models that the workspace can call now, decided by the same planner that would serve
//! the request.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::access::Access;
use api::reply::{Page, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{Dialect, Modality, PriceTerms};
use http::Method;
use plan::{PlanQuery, served_models};
use schemars::JsonSchema;
use serde::Serialize;

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/models", Access::LOOK, list)
            .says("Lists the models that this workspace's credentials or nodes, or the pool, serve now.")
            .lists::<CallableModel>(),
    ]
}

/// A model that would be served now, by a provider or by one of your nodes.
#[derive(Serialize, JsonSchema)]
struct CallableModel {
    id: String,
    object: &'static str,
    owned_by: String,
    /// `null` for a model that the catalogue doesn't know.
    modality: Option<&'static str>,
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let snapshot = control.deps.keeper.current();
    let (Some(workspace), Some(project)) =
        (snapshot.workspace(request.workspace()), request.caller.project())
    else {
        return Reply::json(&Page::<CallableModel>::whole(Vec::new()));
    };
    let key = request.caller.key();
    let environment = key.map_or_else(|| project.environment.to_string(), |key| key.environment.to_string());
    let mut found = BTreeMap::new();
    for modality in Modality::ALL {
        let question = PlanQuery {
            model: "",
            workspace,
            project,
            environment: &environment,
            key: key.map(|key| key.id),
            tag: None,
            split_key: 0,
            session_key: None,
            session_seat: None,
            modality,
            dialect: Dialect::Chat,
            terms: PriceTerms::default(),
            size: plan::RequestSize::default(),
            needs: plan::RequestNeeds::default(),
            traits: None,
            prompt: None,
            hints: None,
        };
        for model in served_models(&question, &snapshot, control.deps.world.clock.unix_ms()) {
            found.entry(model.id).or_insert(model.owned_by);
        }
    }
    let catalogue = snapshot.catalogue();
    let models = found.into_iter().map(|(id, owned_by)| CallableModel {
        modality: catalogue.model(&id).map(|model| model.modality.as_str()),
        id,
        object: "model",
        owned_by,
    });
    Reply::json(&Page::whole(models.collect()))
}
