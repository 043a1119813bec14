//! `/v2/data-exports`: a copy of what a workspace owns, in open formats.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, not_found};
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{DataExportId, Fault, FaultClass, ProjectId};
use evidence::exports::{DataExportFormat, DataExportProgress, DataExportRow, DataExportState, DataExports};
use http::Method;
use reconcilers::{milliseconds, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::DATA_EXPORT_KEPT;

const PATH: &str = "/v2/data-exports";
const ONE: &str = "/v2/data-exports/{id}";
const CONTENT: &str = "/v2/data-exports/{id}/content";

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::MANAGE, create)
            .says("Exports what the workspace owns, or one project of it: JSON lines or Parquet in a tar archive, without secrets.")
            .takes::<Input>()
            .makes::<DataExportView>(),
        Route::new(Method::GET, PATH, Access::MANAGE, list)
            .says("Lists the data exports of the workspace, newest first.")
            .lists::<DataExportView>(),
        Route::new(Method::GET, ONE, Access::MANAGE, get)
            .says("Shows a data export, its progress and its files.")
            .returns::<DataExportView>(),
        Route::new(Method::GET, CONTENT, Access::MANAGE, content)
            .says("Returns one part of the archive. The parts, concatenated in order, are the archive.")
            .query("part", "The number of the part, from 1.")
            .returns_archive()
            .refuses(409, "data_export_not_over"),
        Route::new(Method::DELETE, ONE, Access::MANAGE, delete)
            .says("Deletes a data export with its archive.")
            .returns_no_content(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DataExport")]
struct Input {
    /// `jsonl`, which is also the default, or `parquet`, in which lists and objects are JSON texts.
    #[schemars(extend("enum" = ["jsonl", "parquet", null]))]
    format: Option<String>,
    /// Only what names this project; by default everything of the workspace.
    project_id: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DataExport")]
struct DataExportView {
    id: String,
    object: &'static str,
    #[schemars(extend("enum" = ["pending", "running", "completed", "failed"]))]
    status: &'static str,
    #[schemars(extend("enum" = DataExportFormat::WORDS))]
    format: &'static str,
    project_id: Option<String>,
    files: Vec<FileView>,
    /// How many parts the archive has so far, and bytes.
    parts: u64,
    bytes: u64,
    error: Option<String>,
    /// A key or a person.
    requested_by: String,
    created_at: Moment,
    completed_at: Option<Moment>,
    /// When it is deleted.
    expires_at: Moment,
    /// The path of its archive, once it is whole.
    content: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DataExportFile")]
struct FileView {
    name: String,
    lines: u64,
    bytes: u64,
    sha256: String,
}

impl Input {
    fn format(&self) -> Result<DataExportFormat, Box<Fault>> {
        let Some(word) = &self.format else { return Ok(DataExportFormat::default()) };
        DataExportFormat::from_name(word).ok_or_else(|| {
            let message = format!("Exports are not made as \"{word}\".");
            invalid("format", message, "Send jsonl or parquet, or leave it out.")
        })
    }

    async fn project(
        &self,
        control: &Control,
        request: &ApiRequest,
    ) -> Result<Option<ProjectId>, Box<Fault>> {
        let Some(text) = &self.project_id else { return Ok(None) };
        let project: ProjectId = text.parse().map_err(|_| not_found("project", text))?;
        control.deps.store.projects().get(request.workspace(), project).await.map_err(of_store)?;
        Ok(Some(project))
    }
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: Input =
        if request.body.is_empty() { Input { format: None, project_id: None } } else { request.json()? };
    let (format, project) = (input.format()?, input.project(control, &request).await?);
    let world = &control.deps.world;
    let act = request.act(world);
    let row = DataExportRow {
        id: DataExportId::new(act.unix_ms, world.id_bytes()),
        workspace: request.workspace(),
        project,
        request: request.trace,
        requested_by: act.actor.clone(),
        format,
        state: DataExportState::Pending,
        version: 1,
        progress: DataExportProgress::default(),
        created_unix_ms: act.unix_ms,
        completed_unix_ms: None,
        until_unix_ms: act.unix_ms.saturating_add(milliseconds(DATA_EXPORT_KEPT)),
    };
    DataExports::of(&control.deps.store).create(row.clone(), act).await.map_err(of_store)?;
    let location = format!("{PATH}/{}", row.id);
    Ok(Reply::json(&show(&row))?.version(row.version).as_created(location))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let now_unix_ms = control.deps.world.clock.unix_ms();
    let exports = DataExports::of(&control.deps.store);
    let listed = exports.list(request.workspace(), now_unix_ms, request.page()?).await;
    Reply::json(&request.page_of(listed.map_err(of_store)?, show))
}

async fn load(control: &Control, request: &ApiRequest) -> Result<DataExportRow, Box<Fault>> {
    let id: DataExportId = request.id("data export")?;
    let now_unix_ms = control.deps.world.clock.unix_ms();
    let exports = DataExports::of(&control.deps.store);
    exports.get(request.workspace(), id, now_unix_ms).await.map_err(of_store)
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load(control, &request).await?;
    Ok(Reply::json(&show(&row))?.version(row.version))
}

async fn content(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load(control, &request).await?;
    if row.state != DataExportState::Completed {
        let fault = Fault::new(FaultClass::Conflict, "data_export_not_over", "This export is not over.");
        return Err(Box::new(fault.fix("Get the data export until its status is completed.")));
    }
    let number = request.number("part", 1, u32::MAX)?;
    let exports = DataExports::of(&control.deps.store);
    let part = exports.part(row.id, u64::from(number) - 1).await.map_err(of_store)?;
    let opened = part.open(&control.deps.vault, &row).map_err(|error| {
        tracing::error!(export = %row.id, %error, "a part of a data export does not open");
        Box::new(Fault::internal())
    })?;
    if number == 1 {
        let act = request.act(&control.deps.world);
        exports.audit_reading(row.workspace, row.id, act).await.map_err(of_store)?;
    }
    Ok(Reply::archive(opened.into()))
}

async fn delete(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load(control, &request).await?;
    let (expected, act) = (request.if_match()?, request.act(&control.deps.world));
    let exports = DataExports::of(&control.deps.store);
    exports.remove(row.workspace, row.id, expected, act).await.map_err(of_store)?;
    Ok(Reply::no_content())
}

fn show(row: &DataExportRow) -> DataExportView {
    let progress = &row.progress;
    let files = progress.files.iter().map(|file| FileView {
        name: file.name.clone(),
        lines: file.lines,
        bytes: file.bytes,
        sha256: file.sha256.clone(),
    });
    let is_whole = row.state == DataExportState::Completed;
    DataExportView {
        id: row.id.to_string(),
        object: "data_export",
        status: row.state.as_str(),
        format: row.format.as_str(),
        project_id: row.project.map(|id| id.to_string()),
        files: files.collect(),
        parts: progress.parts,
        bytes: progress.bytes,
        error: progress.error.clone(),
        requested_by: row.requested_by.clone(),
        created_at: Moment(row.created_unix_ms),
        completed_at: row.completed_unix_ms.map(Moment),
        expires_at: Moment(row.until_unix_ms),
        content: is_whole.then(|| format!("{PATH}/{}/content", row.id)),
    }
}
