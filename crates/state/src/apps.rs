//! `/v2/apps`: HTTP servers that a project declares as apps, which `/v1/run` runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::tools::{AppKind, AppRow, Declared, ImportedTool, Kind as _, import};
use api::access::Access;
use api::failure::{invalid, missing, not_there};
use api::moment::Moment;
use api::reply::{Page, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::tools::HttpAction;
use domain::{AppDefinition, AppId, Fault, FaultClass, ObjectOwner};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app_fields::{
    RequirementField, SecretUse, checked_app_name, checked_holds, checked_output_schema,
    checked_requirements, checked_secrets, requirements_view, secrets_view,
};
use crate::tool_fields::{checked_description, checked_schema, checked_url};
use crate::tools::{action, not_imported};
use crate::{declared, scope};

const PATH: &str = "/v2/apps";
const ONE: &str = "/v2/apps/{id}";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::MANAGE, create)
            .says("Declares an HTTP server as an app, which `/v1/run` runs by its name.")
            .takes::<AppInput>()
            .makes::<AppView>()
            .refuses(409, "name_taken")
            .refuses(409, "too_many_tools"),
        Route::new(Method::POST, "/v2/apps/import", Access::MANAGE, import_all)
            .says("Declares an app for each operation of an OpenAPI document, or for those that are named.")
            .takes::<ImportInput>()
            .returns_value::<Page<AppView>>()
            .refuses(400, "openapi_not_imported")
            .refuses(409, "name_taken")
            .no_rehearsal("It makes several apps, one after the other."),
        Route::new(Method::GET, PATH, Access::LOOK, list)
            .says("Lists the apps that projects declare.")
            .query("project_id", "Only those of this project.")
            .lists::<AppView>(),
        Route::new(Method::GET, ONE, Access::LOOK, get).says("Shows an app.").returns::<AppView>(),
        Route::new(Method::PATCH, ONE, Access::MANAGE, change)
            .says("Changes fields of an app, which makes a new version of it.")
            .patches::<AppUpdate>()
            .returns::<AppView>(),
        Route::new(Method::DELETE, ONE, Access::MANAGE, delete)
            .says("Deletes an app with all its versions.")
            .returns_no_content(),
        Route::new(Method::GET, "/v2/apps/{id}/versions", Access::LOOK, versions)
            .says("Lists the versions of an app, newest first. A run names one as `NAME@VERSION`.")
            .returns_value::<Page<AppVersionView>>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AppInput")]
struct AppInput {
    /// By default the key's project.
    project_id: Option<String>,
    /// The name that runs use: `NAMESPACE/NAME`.
    #[schemars(required)]
    #[schemars(regex(pattern = "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$"))]
    name: Option<String>,
    /// What it does.
    #[serde(default)]
    description: String,
    /// The JSON Schema of its input, an object.
    #[schemars(extend("type" = ["object", "null"]))]
    input_schema: Option<Value>,
    /// The JSON Schema of its output; by default anything fits.
    output_schema: Option<Value>,
    /// By default POST.
    #[schemars(extend("enum" = ["GET", "POST", "PUT", "PATCH", "DELETE", null]))]
    method: Option<String>,
    /// Each `{name}` in its path is replaced by a field of the input.
    #[schemars(required)]
    url: Option<String>,
    /// Where fields of the input go: `path`, `query`, `header` or `body`. Others go into the body of a method that has one, or into the query.
    arguments: Option<BTreeMap<String, String>>,
    /// The secrets that its server is sent.
    #[serde(default)]
    secrets: Vec<SecretUse>,
    /// What a run needs beside secrets.
    #[serde(default)]
    requirements: Vec<RequirementField>,
    enabled: Option<bool>,
}

/// The fields that a change may name.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AppUpdate")]
struct AppUpdate {
    name: Option<String>,
    /// What it does.
    #[serde(default)]
    description: String,
    /// The JSON Schema of its input, an object.
    #[schemars(extend("type" = ["object", "null"]))]
    input_schema: Option<Value>,
    /// The JSON Schema of its output; by default anything fits.
    output_schema: Option<Value>,
    #[schemars(extend("enum" = ["GET", "POST", "PUT", "PATCH", "DELETE", null]))]
    method: Option<String>,
    url: Option<String>,
    /// Where fields of the input go: `path`, `query`, `header` or `body`.
    arguments: Option<BTreeMap<String, String>>,
    /// The secrets that its server is sent.
    #[serde(default)]
    secrets: Vec<SecretUse>,
    /// What a run needs beside secrets.
    #[serde(default)]
    requirements: Vec<RequirementField>,
    enabled: Option<bool>,
}

impl From<AppInput> for AppUpdate {
    fn from(input: AppInput) -> Self {
        Self {
            name: input.name,
            description: input.description,
            input_schema: input.input_schema,
            output_schema: input.output_schema,
            method: input.method,
            url: input.url,
            arguments: input.arguments,
            secrets: input.secrets,
            requirements: input.requirements,
            enabled: input.enabled,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AppImport")]
struct ImportInput {
    project_id: Option<String>,
    /// The namespace of the apps.
    #[schemars(required)]
    namespace: Option<String>,
    /// The document, of OpenAPI 3.
    #[schemars(required, extend("type" = "object"))]
    document: Option<Value>,
    /// In place of the document's first server.
    base_url: Option<String>,
    /// The operations to import, by their ids; by default all.
    operation_ids: Option<Vec<String>>,
    /// The secrets that the server is sent, by each app.
    #[serde(default)]
    secrets: Vec<SecretUse>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "App")]
struct AppView {
    id: String,
    object: &'static str,
    project_id: String,
    name: String,
    #[serde(flatten)]
    fields: AppFields,
    enabled: bool,
    /// Which version of it this is. `NAME@VERSION` names an older one.
    version: u64,
    created_at: Moment,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AppVersion")]
struct AppVersionView {
    version: u64,
    object: &'static str,
    /// The fields of the app at this version.
    #[serde(flatten)]
    fields: AppFields,
    /// When the next version replaced it; `null` for the newest.
    replaced_at: Option<Moment>,
}

/// What a version says.
#[derive(Serialize, JsonSchema)]
struct AppFields {
    description: String,
    input_schema: Value,
    output_schema: Value,
    method: String,
    url: String,
    arguments: BTreeMap<String, &'static str>,
    secrets: Vec<SecretUse>,
    requirements: Vec<RequirementField>,
}

fn fields(definition: &AppDefinition) -> AppFields {
    let places = definition.http.places.iter();
    AppFields {
        description: definition.description.clone(),
        input_schema: serde_json::from_str(&definition.input_schema).unwrap_or_default(),
        output_schema: serde_json::from_str(&definition.output_schema).unwrap_or_default(),
        method: definition.http.method.clone(),
        url: definition.http.url.clone(),
        arguments: places.map(|(name, place)| (name.clone(), place.as_str())).collect(),
        secrets: secrets_view(&definition.secrets),
        requirements: requirements_view(&definition.requirements),
    }
}

fn show(row: &AppRow) -> AppView {
    AppView {
        id: row.id.to_string(),
        object: "app",
        project_id: row.owner.project.to_string(),
        name: row.name.clone(),
        fields: fields(&row.definition),
        enabled: row.is_enabled,
        version: row.version,
        created_at: Moment(row.created_unix_ms),
    }
}

fn definition(control: &Control, fields: AppUpdate) -> Result<AppDefinition, Box<Fault>> {
    let called = (fields.method.as_deref().or(Some("POST")), fields.url.as_deref());
    if let Some(schema) = &fields.input_schema {
        checked_holds("input_schema", schema)?;
    }
    Ok(AppDefinition {
        http: action(control, called, fields.arguments.as_ref())?,
        description: checked_description(fields.description)?,
        input_schema: checked_schema("input_schema", fields.input_schema.as_ref())?,
        output_schema: checked_output_schema(fields.output_schema.as_ref())?,
        secrets: checked_secrets(fields.secrets)?,
        requirements: checked_requirements(control, fields.requirements)?,
    })
}

fn new_row(
    control: &Control,
    owner: ObjectOwner,
    (name, is_enabled): (String, bool),
    definition: AppDefinition,
) -> AppRow {
    let world = &control.deps.world;
    let created_unix_ms = world.clock.unix_ms();
    let id = AppId::new(created_unix_ms, world.id_bytes());
    AppRow { id, owner, name, is_enabled, definition, state: (), secret: None, created_unix_ms, version: 1 }
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: AppInput = request.json()?;
    let project = scope::of_new(control, &request, input.project_id.as_deref())?;
    let owner = ObjectOwner { workspace: request.workspace(), project };
    let named = (checked_app_name(control, input.name.as_deref())?, input.enabled.unwrap_or(true));
    let row = new_row(control, owner, named, definition(control, input.into())?);
    let act = request.act(&control.deps.world);
    Declared::of(&control.deps.store).create(row.clone(), act).await.map_err(of_store)?;
    Ok(Reply::json(&show(&row))?.version(row.version).as_created(format!("{PATH}/{}", row.id)))
}

async fn import_all(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: ImportInput = request.json()?;
    let project = scope::of_new(control, &request, input.project_id.as_deref())?;
    let owner = ObjectOwner { workspace: request.workspace(), project };
    let namespace = input.namespace.ok_or_else(|| missing("namespace", "Name the namespace of the apps."))?;
    let document =
        input.document.ok_or_else(|| missing("document", "Send the OpenAPI document as a JSON object."))?;
    let imported = import(&document, input.base_url.as_deref(), input.operation_ids.as_deref());
    let secrets = checked_secrets(input.secrets)?;
    let declared = Declared::of(&control.deps.store);
    let mut rows: Vec<AppRow> = Vec::new();
    for operation in imported.map_err(|error| not_imported(&error))? {
        let name = checked_app_name(control, Some(&format!("{namespace}/{}", operation.name)))?;
        refuse_taken(&declared, owner, &rows, &name).await?;
        let definition =
            AppDefinition { secrets: secrets.clone(), ..imported_definition(control, operation)? };
        rows.push(new_row(control, owner, (name, true), definition));
    }
    // Nothing is made where one of them can't be.
    for row in &rows {
        let act = request.act(&control.deps.world);
        declared.create(row.clone(), act).await.map_err(of_store)?;
    }
    Reply::json(&Page::whole(rows.iter().map(show).collect()))
}

async fn refuse_taken(
    declared: &Declared,
    owner: ObjectOwner,
    rows: &[AppRow],
    name: &str,
) -> Result<(), Box<Fault>> {
    if rows.iter().any(|row| row.name == name) {
        let message = format!("Two operations would make the app \"{name}\".");
        return Err(invalid("document", message, "Give the operations other ids, or import one of them."));
    }
    let taken = declared.named::<AppKind>(owner, name.to_owned()).await.map_err(of_store)?;
    if taken.is_none() {
        return Ok(());
    }
    let message = format!("The project has an app with the name \"{name}\" already.");
    let fault = Fault::new(FaultClass::Conflict, "name_taken", message).param("document");
    Err(Box::new(fault.fix("Delete it first, or use another namespace.")))
}

fn imported_definition(control: &Control, operation: ImportedTool) -> Result<AppDefinition, Box<Fault>> {
    let HttpAction { url, .. } = &operation.action;
    checked_url(control, Some(url), true)?;
    checked_holds("document", &operation.parameters)?;
    Ok(AppDefinition {
        description: checked_description(operation.description)?,
        input_schema: checked_schema("document", Some(&operation.parameters))?,
        output_schema: checked_output_schema(Some(&operation.output))?,
        http: operation.action,
        secrets: Vec::new(),
        requirements: Vec::new(),
    })
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    declared::list::<AppKind, _>(control, &request, show).await
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = declared::load::<AppKind>(control, &request).await?;
    Ok(Reply::json(&show(&row))?.version(row.version))
}

/// The fields that a patch may change, as they are.
fn writable(row: &AppRow) -> Value {
    let mut fields = json!(show(row));
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|name, _| {
            !matches!(name.as_str(), "id" | "object" | "project_id" | "version" | "created_at")
        });
    }
    fields
}

async fn change(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = declared::load::<AppKind>(control, &request).await?;
    let update: AppUpdate = request.apply_patch(writable(&row))?;
    let name = checked_app_name(control, update.name.as_deref())?;
    let is_enabled = update.enabled.unwrap_or(true);
    let row = AppRow { name, is_enabled, definition: definition(control, update)?, ..row };
    let (expected, act) = (request.if_match()?, request.act(&control.deps.world));
    let changed = Declared::of(&control.deps.store).replace(row, expected, act).await.map_err(of_store)?;
    Ok(Reply::json(&show(&changed))?.version(changed.version))
}

async fn delete(control: &Arc<Control>, request: ApiRequest) -> Handled {
    declared::delete::<AppKind>(control, &request).await
}

async fn versions(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let id: AppId = scope::in_path(&request, 0, AppKind::WHAT)?;
    let declared = Declared::of(&control.deps.store);
    let found = declared.get::<AppKind>(request.workspace(), id).await;
    let row = found.map_err(|error| not_there(error, AppKind::WHAT, &id))?;
    scope::check(&request, row.owner.project, AppKind::WHAT, &id)?;
    let older = declared.app_versions(request.workspace(), id).await.map_err(of_store)?;
    let view = |version, definition, replaced_at| AppVersionView {
        version,
        object: "app_version",
        fields: fields(definition),
        replaced_at,
    };
    let newest = view(row.version, &row.definition, None);
    let older = older.iter().map(|one| view(one.number, &one.definition, Some(Moment(one.replaced_unix_ms))));
    Reply::json(&Page::whole(std::iter::once(newest).chain(older).collect()))
}
