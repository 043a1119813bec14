//! `/v2/bundles`: artifacts in an order that stays as it was given.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, not_there};
use api::moment::Moment;
use api::names::checked_name;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{BundleId, Fault};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transcripts::{BundleItem, BundleRow};

use crate::artifacts::{VERSION, check_version};
use crate::limits::{BUNDLE_ITEMS_MAX, ROLE_CHARS_MAX};
use crate::scope;

const PATH: &str = "/v2/bundles";
const ONE: &str = "/v2/bundles/{id}";
pub(crate) const WHAT: &str = "bundle";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::WRITE_STATE, create)
            .says("Makes a bundle of artifacts, in the order in which they are sent.")
            .takes::<BundleInput>()
            .makes::<BundleView>()
            .refuses(409, "artifact_revoked"),
        Route::new(Method::GET, PATH, Access::READ_STATE, list)
            .says("Lists bundles.")
            .query("project_id", "Only those of this project.")
            .lists::<BundleView>(),
        Route::new(Method::GET, ONE, Access::READ_STATE, get).says("Shows a bundle.").returns::<BundleView>(),
        Route::new(Method::DELETE, ONE, Access::WRITE_STATE, delete)
            .says("Deletes a bundle. Its artifacts stay.")
            .returns_no_content(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BundleInput {
    /// By default the key's project, or the workspace's first.
    project_id: Option<String>,
    name: Option<String>,
    /// Ids of artifacts, or objects with an id and a role.
    #[schemars(length(min = 1, max = BUNDLE_ITEMS_MAX))]
    items: Vec<ItemInput>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "BundleItemInput")]
enum ItemInput {
    Id(String),
    Item(ItemFields),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "BundleItemFields")]
struct ItemFields {
    artifact_id: String,
    role: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BundleItem")]
struct ItemView {
    artifact_id: String,
    role: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Bundle")]
struct BundleView {
    id: String,
    object: &'static str,
    project_id: String,
    name: Option<String>,
    items: Vec<ItemView>,
    created_at: Moment,
}

fn show(row: &BundleRow) -> BundleView {
    let item =
        |item: &BundleItem| ItemView { artifact_id: item.artifact.to_string(), role: item.role.clone() };
    BundleView {
        id: row.id.to_string(),
        object: "bundle",
        project_id: row.project.to_string(),
        name: Some(row.name.clone()).filter(|name| !name.is_empty()),
        items: row.items.iter().map(item).collect(),
        created_at: Moment(row.created_unix_ms),
    }
}

fn checked_items(items: Vec<ItemInput>) -> Result<Vec<BundleItem>, Box<Fault>> {
    if items.is_empty() || items.len() > BUNDLE_ITEMS_MAX {
        let message =
            format!("A bundle has 1 to {BUNDLE_ITEMS_MAX} items, and this one has {}.", items.len());
        return Err(invalid("items", message, "Send the artifacts for the bundle."));
    }
    let checked = |(at, item)| {
        let (id, role) = match item {
            ItemInput::Id(id) => (id, None),
            ItemInput::Item(ItemFields { artifact_id, role }) => (artifact_id, role),
        };
        if role.as_ref().is_some_and(|role| role.chars().count() > ROLE_CHARS_MAX) {
            let message = format!("The role of item {at} is longer than {ROLE_CHARS_MAX} characters.");
            return Err(invalid(format!("items[{at}].role"), message, "Shorten it."));
        }
        Ok(BundleItem { artifact: scope::read(&format!("items[{at}]"), &id)?, role })
    };
    items.into_iter().enumerate().map(checked).collect()
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: BundleInput = request.json()?;
    let project = scope::of_new(control, &request, input.project_id.as_deref())?;
    let now_unix_ms = control.deps.world.clock.unix_ms();
    let row = BundleRow {
        id: BundleId::new(now_unix_ms, control.deps.world.id_bytes()),
        workspace: request.workspace(),
        project,
        name: input.name.map(|name| checked_name(Some(name), "name")).transpose()?.unwrap_or_default(),
        items: checked_items(input.items)?,
        created_unix_ms: now_unix_ms,
    };
    let act = request.act(&control.deps.world);
    control.deps.store.bundles().create(row.clone(), act).await.map_err(of_store)?;
    Ok(Reply::json(&show(&row))?.version(VERSION).as_created(format!("{PATH}/{}", row.id)))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let project = scope::listed(&request)?;
    let bundles = control.deps.store.bundles();
    let listed = bundles.list(request.workspace(), project, request.page()?).await.map_err(of_store)?;
    Reply::json(&request.page_of(listed, show))
}

async fn load(control: &Control, request: &ApiRequest) -> Result<BundleRow, Box<Fault>> {
    let id: BundleId = request.id(WHAT)?;
    let found = control.deps.store.bundles().get(request.workspace(), id).await;
    let row = found.map_err(|error| not_there(error, WHAT, &id))?;
    scope::check(request, row.project, WHAT, &id)?;
    Ok(row)
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    Ok(Reply::json(&show(&load(control, &request).await?))?.version(VERSION))
}

async fn delete(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load(control, &request).await?;
    check_version(&request, WHAT)?;
    let act = request.act(&control.deps.world);
    control.deps.store.bundles().delete(request.workspace(), row.id, act).await.map_err(of_store)?;
    Ok(Reply::no_content())
}
