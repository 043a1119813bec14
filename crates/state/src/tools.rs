//! `/v2/tools`: functions and HTTP calls that a project declares for its models.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::tools::{Declared, ImportError, ImportedTool, NAME_BYTES_MAX, ToolKind, ToolRow, import};
use api::access::Access;
use api::failure::{invalid, missing};
use api::moment::Moment;
use api::openapi::bounds::WORD;
use api::reply::{Page, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::MODEL_NAME_BYTES_MAX;
use domain::tools::{ArgumentPlace, HttpAction, ToolDefinition};
use domain::{Fault, FaultClass, ObjectOwner, ToolId};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::tool_fields::{
    AuthInput, AuthView, Sealing, auth_view, check_moved, checked_description, checked_name, checked_schema,
    checked_url,
};
use crate::{declared, scope};

const PATH: &str = "/v2/tools";
const ONE: &str = "/v2/tools/{id}";
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::MANAGE, create)
            .says("Declares a tool: a function, which the client executes, or an HTTP call, which the gateway makes.")
            .takes::<ToolInput>()
            .makes::<ToolView>()
            .refuses(409, "name_taken")
            .refuses(409, "too_many_tools"),
        Route::new(Method::POST, "/v2/tools/import", Access::MANAGE, import_all)
            .says("Declares an HTTP tool for each operation of an OpenAPI document, or for those that are named.")
            .takes::<ImportInput>()
            .returns_value::<Page<ToolView>>()
            .refuses(400, "openapi_not_imported")
            .refuses(409, "name_taken")
            .no_rehearsal("It makes several tools, one after the other."),
        Route::new(Method::GET, PATH, Access::LOOK, list)
            .says("Lists tools.")
            .query("project_id", "Only those of this project.")
            .lists::<ToolView>(),
        Route::new(Method::GET, ONE, Access::LOOK, get).says("Shows a tool.").returns::<ToolView>(),
        Route::new(Method::PATCH, ONE, Access::MANAGE, change)
            .says("Changes fields of a tool. Sealed values stay, unless `auth` is sent.")
            .patches::<ToolUpdate>()
            .returns::<ToolView>(),
        Route::new(Method::DELETE, ONE, Access::MANAGE, delete).says("Deletes a tool.").returns_no_content(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToolInput {
    /// By default the key's project.
    project_id: Option<String>,
    /// The name that requests and the model use.
    #[schemars(required)]
    #[schemars(length(max = 64), regex(pattern = WORD))]
    name: Option<String>,
    /// `function`: the client executes it. `http`: the gateway does. `app`: the gateway runs an app.
    #[schemars(extend("enum" = ["function", "http", "app"]))]
    kind: String,
    /// What the model reads of it.
    #[serde(default)]
    description: String,
    /// The JSON Schema of its arguments.
    #[schemars(extend("type" = ["object", "null"]))]
    parameters: Option<Value>,
    /// Of an HTTP call.
    #[schemars(extend("enum" = ["GET", "POST", "PUT", "PATCH", "DELETE", null]))]
    method: Option<String>,
    /// Of an HTTP call: each `{name}` in its path is replaced by an argument.
    url: Option<String>,
    /// Where arguments go: `path`, `query`, `header` or `body`. Others go into the body of a method that has one, or into the query.
    arguments: Option<BTreeMap<String, String>>,
    auth: Option<AuthInput>,
    /// Of an app: a model, or an HTTP server of the project. Its parameters are by default what the app takes.
    app: Option<String>,
    /// Each call waits for the client's approval.
    require_approval: Option<bool>,
    enabled: Option<bool>,
}

/// The fields that a change may name.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToolUpdate {
    name: Option<String>,
    /// What the model reads of it.
    #[serde(default)]
    description: String,
    /// The JSON Schema of its arguments.
    #[schemars(extend("type" = ["object", "null"]))]
    parameters: Option<Value>,
    /// Of an HTTP call.
    #[schemars(extend("enum" = ["GET", "POST", "PUT", "PATCH", "DELETE", null]))]
    method: Option<String>,
    /// Of an HTTP call: each `{name}` in its path is replaced by an argument.
    url: Option<String>,
    /// Where arguments go: `path`, `query`, `header` or `body`. Others go into the body of a method that has one, or into the query.
    arguments: Option<BTreeMap<String, String>>,
    auth: Option<AuthInput>,
    /// Of an app: a model, or an HTTP server of the project. Its parameters are by default what the app takes.
    app: Option<String>,
    /// Each call waits for the client's approval.
    require_approval: Option<bool>,
    enabled: Option<bool>,
}

impl From<ToolInput> for ToolUpdate {
    fn from(input: ToolInput) -> Self {
        let ToolInput {
            project_id: _,
            kind: _,
            name,
            description,
            parameters,
            method,
            url,
            arguments,
            auth,
            app,
            require_approval,
            enabled,
        } = input;
        Self { name, description, parameters, method, url, arguments, auth, app, require_approval, enabled }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ImportInput {
    project_id: Option<String>,
    /// The document, of OpenAPI 3.
    #[schemars(required, extend("type" = "object"))]
    document: Option<Value>,
    /// In place of the document's first server.
    base_url: Option<String>,
    /// The operations to import, by their ids; by default all.
    operation_ids: Option<Vec<String>>,
    /// The prefix of the tools' names.
    #[serde(default)]
    prefix: String,
    auth: Option<AuthInput>,
    require_approval: Option<bool>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Tool")]
struct ToolView {
    id: String,
    object: &'static str,
    project_id: String,
    name: String,
    kind: &'static str,
    description: String,
    parameters: Value,
    method: Option<String>,
    url: Option<String>,
    arguments: Option<BTreeMap<String, &'static str>>,
    /// The sealed headers.
    auth: Option<AuthView>,
    app: Option<String>,
    require_approval: bool,
    enabled: bool,
    /// What makes its description look like an instruction to the model.
    suspicious: Option<String>,
    created_at: Moment,
}

fn show(row: &ToolRow) -> ToolView {
    let definition = &row.definition;
    let http = definition.http.as_ref();
    let places =
        http.map(|http| http.places.iter().map(|(name, place)| (name.clone(), place.as_str())).collect());
    ToolView {
        id: row.id.to_string(),
        object: "tool",
        project_id: row.owner.project.to_string(),
        name: row.name.clone(),
        kind: ToolShape::of(definition).as_str(),
        description: definition.description.clone(),
        parameters: serde_json::from_str(&definition.parameters).unwrap_or_default(),
        method: http.map(|http| http.method.clone()),
        url: http.map(|http| http.url.clone()),
        arguments: places,
        auth: auth_view(&definition.secret_headers),
        app: definition.app.clone(),
        require_approval: definition.needs_approval,
        enabled: row.is_enabled,
        suspicious: ::tools::suspicion(&definition.description),
        created_at: Moment(row.created_unix_ms),
    }
}

domain::words! {
    /// What executes a tool.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum ToolShape by by_name {
        Function = "function",
        Http = "http",
        App = "app",
    }
}

impl ToolShape {
    const fn of(definition: &ToolDefinition) -> Self {
        match definition {
            ToolDefinition { app: Some(_), .. } => Self::App,
            ToolDefinition { http: Some(_), .. } => Self::Http,
            _ => Self::Function,
        }
    }
}

/// The app of a tool. One that itself calls tools could call this one, and so on for ever.
fn checked_app(shape: ToolShape, app: Option<String>) -> Result<Option<String>, Box<Fault>> {
    let fix = "Name a model, or an HTTP server that the project declares as an app.";
    match (shape, app) {
        (ToolShape::App, None) => Err(missing("app", fix)),
        (ToolShape::App, Some(app)) => {
            let is_own = ["tools/", "agents/", "flows/"].iter().any(|kind| app.starts_with(kind));
            let is_name =
                !app.is_empty() && app.len() <= MODEL_NAME_BYTES_MAX && !app.contains(char::is_control);
            if is_own {
                let message = "A tool can't run a tool, an agent or a flow.";
                return Err(invalid("app", message, fix));
            }
            if is_name { Ok(Some(app)) } else { Err(invalid("app", "This isn't the name of an app.", fix)) }
        }
        (_, None) => Ok(None),
        (_, Some(_)) => {
            let fix = "Leave it out, or declare a tool of the kind app.";
            Err(invalid("app", "Only a tool of the kind app has one.", fix))
        }
    }
}

/// The call that the fields of a tool or app describe.
pub(crate) fn action(
    control: &Control,
    (method, url): (Option<&str>, Option<&str>),
    arguments: Option<&BTreeMap<String, String>>,
) -> Result<HttpAction, Box<Fault>> {
    let method = method.unwrap_or("GET").to_owned();
    if !METHODS.contains(&method.as_str()) {
        return Err(invalid(
            "method",
            "This method isn't supported.",
            format!("Send one of {}.", METHODS.join(", ")),
        ));
    }
    let url = checked_url(control, url, true)?;
    let mut places = BTreeMap::new();
    for (name, word) in arguments.into_iter().flatten() {
        let place = ArgumentPlace::by_name(word).ok_or_else(|| {
            let fix = format!("Send one of {}.", ArgumentPlace::WORDS.join(", "));
            invalid(format!("arguments.{name}"), "This isn't a place for an argument.", fix)
        })?;
        if place == ArgumentPlace::Path && !url.contains(&format!("{{{name}}}")) {
            let message = format!("The url has no placeholder \"{{{name}}}\".");
            return Err(invalid(
                format!("arguments.{name}"),
                message,
                "Write the placeholder into the path of the url.",
            ));
        }
        places.insert(name.clone(), place);
    }
    Ok(HttpAction { method, url, places })
}

/// The row with other fields; its kind stays.
fn with_fields(
    control: &Control,
    request: &ApiRequest,
    row: ToolRow,
    fields: ToolUpdate,
    shape: ToolShape,
) -> Result<ToolRow, Box<Fault>> {
    let called = (fields.method.as_deref(), fields.url.as_deref());
    let is_http = shape == ToolShape::Http;
    let http = if is_http { Some(action(control, called, fields.arguments.as_ref())?) } else { None };
    if !is_http && (fields.url.is_some() || fields.method.is_some() || fields.auth.is_some()) {
        let message = "Only an HTTP call has a url, a method or auth.";
        return Err(invalid("kind", message, "Leave them out, or declare a tool of the kind http."));
    }
    let app = checked_app(shape, fields.app)?;
    let old = row.definition.http.as_ref().map(|http| http.url.as_str()).unwrap_or_default();
    let new = http.as_ref().map(|http| http.url.as_str()).unwrap_or_default();
    check_moved(&row, (old, new), fields.auth.as_ref())?;
    let sealing = Sealing { control, request, owner: row.owner, id: row.id.to_string() };
    let present = (row.secret.clone(), row.definition.secret_headers.clone());
    let (secret, secret_headers) = sealing.seal(fields.auth, present)?;
    let definition = ToolDefinition {
        description: checked_description(fields.description)?,
        parameters: checked_schema("parameters", fields.parameters.as_ref())?,
        http,
        app,
        secret_headers,
        needs_approval: fields.require_approval.unwrap_or(false),
    };
    Ok(ToolRow { definition, secret, is_enabled: fields.enabled.unwrap_or(true), ..row })
}

fn blank(control: &Control, owner: ObjectOwner, name: String) -> ToolRow {
    let world = &control.deps.world;
    let now_unix_ms = world.clock.unix_ms();
    ToolRow {
        id: ToolId::new(now_unix_ms, world.id_bytes()),
        owner,
        name,
        is_enabled: true,
        definition: ToolDefinition {
            description: String::new(),
            parameters: String::new(),
            http: None,
            app: None,
            secret_headers: Vec::new(),
            needs_approval: false,
        },
        state: (),
        secret: None,
        created_unix_ms: now_unix_ms,
        version: 1,
    }
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: ToolInput = request.json()?;
    let project = scope::of_new(control, &request, input.project_id.as_deref())?;
    let shape = ToolShape::by_name(&input.kind)
        .ok_or_else(|| invalid("kind", "This isn't a kind of tool.", "Send function, http or app."))?;
    let name = checked_name(input.name.as_deref(), NAME_BYTES_MAX)?;
    let owner = ObjectOwner { workspace: request.workspace(), project };
    let row = with_fields(control, &request, blank(control, owner, name), input.into(), shape)?;
    let act = request.act(&control.deps.world);
    Declared::of(&control.deps.store).create(row.clone(), act).await.map_err(of_store)?;
    Ok(Reply::json(&show(&row))?.version(row.version).as_created(format!("{PATH}/{}", row.id)))
}

pub(crate) fn not_imported(error: &ImportError) -> Box<Fault> {
    let message = format!("The document can't be imported at {}: {}", error.pointer, error.message);
    let fault = Fault::new(FaultClass::BadRequest, "openapi_not_imported", message);
    Box::new(
        fault
            .param(format!("document{}", error.pointer))
            .fix("Correct the document, or name the operations to import in \"operation_ids\"."),
    )
}

async fn import_all(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let mut input: ImportInput = request.json()?;
    let project = scope::of_new(control, &request, input.project_id.as_deref())?;
    let owner = ObjectOwner { workspace: request.workspace(), project };
    let document = input.document.take();
    let document =
        document.ok_or_else(|| missing("document", "Send the OpenAPI document as a JSON object."))?;
    let wanted = input.operation_ids.as_deref();
    let imported =
        import(&document, input.base_url.as_deref(), wanted).map_err(|error| not_imported(&error))?;
    let mut rows: Vec<ToolRow> = Vec::with_capacity(imported.len());
    for tool in imported {
        let row = imported_row(control, owner, tool, &input.prefix)?;
        let needs_approval = input.require_approval.unwrap_or(false);
        let definition = ToolDefinition { needs_approval, ..row.definition };
        let row = ToolRow { definition, ..row };
        if rows.iter().any(|other| other.name == row.name) {
            let message = format!("Two operations would make the tool \"{}\".", row.name);
            return Err(invalid(
                "document",
                message,
                "Give the operations other ids, or import one of them.",
            ));
        }
        rows.push(row);
    }
    let declared = Declared::of(&control.deps.store);
    refuse_taken(&declared, owner, &rows).await?;
    for row in &mut rows {
        let sealing = Sealing { control, request: &request, owner, id: row.id.to_string() };
        let auth = input.auth.as_ref().map(AuthInput::again);
        (row.secret, row.definition.secret_headers) = sealing.seal(auth, (None, Vec::new()))?;
        let act = request.act(&control.deps.world);
        declared.create(row.clone(), act).await.map_err(of_store)?;
    }
    Reply::json(&Page::whole(rows.iter().map(show).collect()))
}

/// Nothing is made where a name is taken.
async fn refuse_taken(declared: &Declared, owner: ObjectOwner, rows: &[ToolRow]) -> Result<(), Box<Fault>> {
    let present = declared.enabled::<ToolKind>(owner).await.map_err(of_store)?;
    let taken = rows.iter().find(|row| present.iter().any(|other| other.name == row.name));
    taken.map_or(Ok(()), |row| {
        let message = format!("The project has a tool with the name \"{}\" already.", row.name);
        let fault = Fault::new(FaultClass::Conflict, "name_taken", message).param("document");
        Err(Box::new(fault.fix("Delete it first, or send another prefix.")))
    })
}

fn imported_row(
    control: &Control,
    owner: ObjectOwner,
    tool: ImportedTool,
    prefix: &str,
) -> Result<ToolRow, Box<Fault>> {
    let name: String = format!("{prefix}{}", tool.name).chars().take(NAME_BYTES_MAX).collect();
    let name = checked_name(Some(&name), NAME_BYTES_MAX)?;
    checked_url(control, Some(&tool.action.url), true)?;
    let row = blank(control, owner, name);
    let definition = ToolDefinition {
        description: checked_description(tool.description)?,
        parameters: checked_schema("parameters", Some(&tool.parameters))?,
        http: Some(tool.action),
        ..row.definition
    };
    Ok(ToolRow { definition, ..row })
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    declared::list::<ToolKind, _>(control, &request, show).await
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = declared::load::<ToolKind>(control, &request).await?;
    Ok(Reply::json(&show(&row))?.version(row.version))
}

/// The fields that a patch may change, as they are.
fn writable(row: &ToolRow) -> Value {
    let view = show(row);
    let mut fields = json!({
        "name": view.name, "description": view.description, "parameters": view.parameters,
        "require_approval": view.require_approval, "enabled": view.enabled,
    });
    if let (Some(fields), Some(http)) = (fields.as_object_mut(), &row.definition.http) {
        fields.insert("method".to_owned(), json!(http.method));
        fields.insert("url".to_owned(), json!(http.url));
        fields.insert("arguments".to_owned(), json!(view.arguments));
    }
    if let (Some(fields), Some(app)) = (fields.as_object_mut(), &row.definition.app) {
        fields.insert("app".to_owned(), json!(app));
    }
    fields
}

async fn change(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = declared::load::<ToolKind>(control, &request).await?;
    let update: ToolUpdate = request.apply_patch(writable(&row))?;
    let shape = ToolShape::of(&row.definition);
    let name = checked_name(update.name.as_deref(), NAME_BYTES_MAX)?;
    let row = with_fields(control, &request, ToolRow { name, ..row }, update, shape)?;
    let (expected, act) = (request.if_match()?, request.act(&control.deps.world));
    let changed = Declared::of(&control.deps.store).replace(row, expected, act).await.map_err(of_store)?;
    Ok(Reply::json(&show(&changed))?.version(changed.version))
}

async fn delete(control: &Arc<Control>, request: ApiRequest) -> Handled {
    declared::delete::<ToolKind>(control, &request).await
}
