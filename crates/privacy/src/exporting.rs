//! The job that makes a data export: it reads the workspace through the API's own routes, and seals the archive part by part.
//! It may be killed at any point, and then starts over.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::server::Server;
use batches::{ExportedBatch, ExportedItem, StoredBatches};
use domain::limits::PAGE_ROWS_MAX;
use domain::ports::{KeptBody, PortFuture};
use domain::{DataExportId, Fault, FaultClass, TraceMode};
use evidence::exports::{
    DATA_EXPORT_JOB, DataExportFormat, DataExportRow, DataExportState, DataExports, ExportedFile, SealedPart,
};
use jobs::{Handler, Outcome, Policy};
use proof::Digest;
use reconcilers::Deps;
use runs::ExportedTask;
use serde_json::{Map, Value, json};
use sessions::{KeptContent, open_content};
use store::{JobRow, Page, StoreError};
use transcripts::{ContentFilter, RequestContentRow, RequestContents};

use crate::archive::Archive;
use crate::collections::{
    BATCH_ITEMS, BATCHES, COLLECTIONS, Collection, FLOW_RUNS, LEFT_OUT, REQUEST_CONTENTS, RETENTION_PROFILES,
    TASKS,
};
use crate::columnar::parquet_of;
use crate::limits::{EXPORT_BYTES_MAX, EXPORT_FILE_BYTES_MAX, EXPORT_PART_BYTES_MAX, FLOW_RUNS_AT_ONCE_MAX};

/// An export that was not made within a day is not what was asked for any more.
const POLICY: Policy = Policy { first_wait_ms: 1_000, wait_max_ms: 60_000, retry_for_ms: 24 * 3_600_000 };

/// How many contents are read at a time, each of at most 2 MiB.
const EXPORTED_CONTENTS_ROWS: u32 = 10;

/// The handler of data exports on the durable queue.
pub struct DataExportHandler {
    server: Arc<Server>,
    pub(crate) deps: Deps,
}

/// Why a try ends before its archive does.
pub(crate) enum Stop {
    /// The export was deleted, by a person or a purge.
    Deleted,
    /// Another try may succeed.
    Later(String),
    Never(String),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Later(error.to_string())
    }
}

impl From<Box<Fault>> for Stop {
    fn from(fault: Box<Fault>) -> Self {
        let message = fault.message.to_string();
        if fault.class == FaultClass::Unavailable { Self::Later(message) } else { Self::Never(message) }
    }
}

impl DataExportHandler {
    pub const fn new(server: Arc<Server>, deps: Deps) -> Self {
        Self { server, deps }
    }

    async fn export(&self, id: DataExportId) -> Outcome {
        let exports = DataExports::of(&self.deps.store);
        let row = match exports.find(id).await {
            Ok(Some(row)) => row,
            Ok(None) => return Outcome::Done,
            Err(error) => return Outcome::failure(error),
        };
        if matches!(row.state, DataExportState::Completed | DataExportState::Failed) {
            return Outcome::Done;
        }
        let mut export = Export::new(self, exports, row);
        match export.run().await {
            Ok(()) | Err(Stop::Deleted) => Outcome::Done,
            Err(Stop::Later(error)) => Outcome::failure(error),
            Err(Stop::Never(error)) => export.give_up(error).await,
        }
    }
}

impl Handler for DataExportHandler {
    fn kind(&self) -> &'static str {
        DATA_EXPORT_JOB
    }

    fn policy(&self) -> Policy {
        POLICY
    }

    fn run<'a>(&'a self, job: &'a JobRow) -> PortFuture<'a, Outcome> {
        Box::pin(async move {
            match job.payload.get("data_export").and_then(|id| id.as_str()?.parse().ok()) {
                Some(id) => self.export(id).await,
                None => Outcome::Permanent { error: "it does not say which export".to_owned() },
            }
        })
    }
}

/// One try at an export.
pub(crate) struct Export<'a> {
    pub handler: &'a DataExportHandler,
    pub exports: DataExports,
    batches: StoredBatches,
    pub row: DataExportRow,
    archive: Archive,
    /// Files that are not in the archive yet, by name.
    open: BTreeMap<&'static str, OpenFile>,
}

/// Lines that are not in the archive yet.
#[derive(Default)]
struct OpenFile {
    text: String,
    lines: u64,
    /// How many files of this name are in the archive.
    written: u64,
}

impl<'a> Export<'a> {
    fn new(handler: &'a DataExportHandler, exports: DataExports, row: DataExportRow) -> Self {
        let batches = batches::stored(&handler.deps.store);
        Self { handler, exports, batches, row, archive: Archive::default(), open: BTreeMap::new() }
    }

    async fn run(&mut self) -> Result<(), Stop> {
        self.exports.begin(self.row.id).await?;
        self.row.progress = evidence::exports::DataExportProgress::default();
        for collection in COLLECTIONS {
            self.walk(collection, Vec::new()).await?;
            self.close_files().await?;
        }
        self.add_batches().await?;
        self.add_items().await?;
        self.add_tasks().await?;
        self.add_flow_runs().await?;
        self.add_profiles().await?;
        self.add_contents().await?;
        self.add_kept().await?;
        self.close_files().await?;
        let manifest = format!("{:#}\n", self.manifest());
        self.add_file("manifest.json".to_owned(), 0, manifest.as_bytes()).await?;
        self.archive.end();
        let rest = self.archive.take_rest();
        self.add_part(&rest).await?;
        let now_unix_ms = self.handler.deps.world.clock.unix_ms();
        let is_there = self.exports.save(&self.row, DataExportState::Completed, Some(now_unix_ms)).await?;
        if is_there { Ok(()) } else { Err(Stop::Deleted) }
    }

    async fn give_up(&mut self, error: String) -> Outcome {
        self.row.progress.error = Some(error.clone());
        let now_unix_ms = self.handler.deps.world.clock.unix_ms();
        match self.exports.save(&self.row, DataExportState::Failed, Some(now_unix_ms)).await {
            Ok(_) => Outcome::Permanent { error },
            Err(error) => Outcome::failure(error),
        }
    }

    /// Reads a list to its end, and what is below each of its objects.
    fn walk<'s>(
        &'s mut self,
        collection: &'static Collection,
        ids: Vec<String>,
    ) -> PortFuture<'s, Result<(), Stop>> {
        Box::pin(async move {
            let mut cursor = None;
            loop {
                let Some(page) = self.look(collection, &ids, cursor.take()).await? else { return Ok(()) };
                for mut object in page.objects {
                    let id = object.get("id").and_then(Value::as_str).map(str::to_owned);
                    if ids.is_empty() && !self.is_meant(collection, &object) {
                        continue;
                    }
                    if let Some(above) = ids.last() {
                        object.insert("of".to_owned(), json!(above));
                    }
                    self.add_line(collection.name, &Value::Object(object)).await?;
                    let Some(id) = id else { continue };
                    for below in collection.below {
                        let ids = ids.iter().cloned().chain([id.clone()]).collect();
                        self.walk(below, ids).await?;
                    }
                }
                cursor = page.next;
                if cursor.is_none() {
                    return Ok(());
                }
            }
        })
    }

    /// A page of a list, or one document; `None` where an object has none.
    async fn look(
        &self,
        collection: &Collection,
        ids: &[String],
        cursor: Option<String>,
    ) -> Result<Option<PageOfObjects>, Stop> {
        let mut query: BTreeMap<String, String> =
            collection.query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        query.insert("limit".to_owned(), PAGE_ROWS_MAX.to_string());
        query.extend(cursor.map(|cursor| ("cursor".to_owned(), cursor)));
        match self.handler.server.look(self.row.workspace, &collection.at(ids), query).await {
            Ok(reply) => Ok(Some(PageOfObjects::read(&reply.body)?)),
            // It is not there yet, or not any more.
            Err(fault) if !ids.is_empty() && is_absent(fault.class) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Whether an object is in the project that is exported, if it is one.
    fn is_meant(&self, collection: &Collection, object: &Map<String, Value>) -> bool {
        let Some(project) = self.row.project else { return true };
        let name = if collection.name == "projects" { "id" } else { "project_id" };
        object.get(name).and_then(Value::as_str) == Some(project.to_string().as_str())
    }

    async fn add_batches(&mut self) -> Result<(), Stop> {
        let mut after = None;
        loop {
            let batches = self.batches.exported_batches(self.row.workspace, after).await?;
            let Some(last) = batches.last() else { return Ok(()) };
            after = Some(last.id);
            for batch in batches {
                if self.row.project.is_none_or(|project| project == batch.project) {
                    self.add_line(BATCHES, &line_of_batch(&batch)).await?;
                }
            }
        }
    }

    async fn add_items(&mut self) -> Result<(), Stop> {
        let mut after = None;
        loop {
            let vault = &self.handler.deps.vault;
            let items = self.batches.exported_items(vault, self.row.workspace, after).await?;
            let Some(last) = items.last() else { return Ok(()) };
            after = Some(last.digest);
            for item in items {
                if self.row.project.is_none_or(|project| project == item.project) {
                    self.add_line(BATCH_ITEMS, &line_of_item(item)).await?;
                }
            }
        }
    }

    async fn add_tasks(&mut self) -> Result<(), Stop> {
        self.handler.deps.tasks.settled().await;
        let stored = runs::stored(&self.handler.deps.store);
        let mut after = None;
        loop {
            let vault = &self.handler.deps.vault;
            let tasks = stored.exported(vault, self.row.workspace, after).await?;
            let Some(last) = tasks.last() else { return Ok(()) };
            after = Some(last.task.id);
            for ExportedTask { task, contents } in tasks {
                if self.row.project.is_none_or(|project| project == task.owner.project) {
                    let mut line = runs::document(&task, &contents);
                    if let Some(fields) = line.as_object_mut() {
                        fields.insert("object".to_owned(), json!("task"));
                        fields.insert("project_id".to_owned(), json!(task.owner.project.to_string()));
                        fields.insert("request_id".to_owned(), json!(task.request().to_string()));
                    }
                    self.add_line(TASKS, &line).await?;
                }
            }
        }
    }

    async fn add_flow_runs(&mut self) -> Result<(), Stop> {
        let stored = flowruns::StoredRuns::of(&self.handler.deps.store);
        let mut after = None;
        loop {
            let runs = stored.exported(self.row.workspace, after, FLOW_RUNS_AT_ONCE_MAX).await?;
            let Some(last) = runs.last() else { return Ok(()) };
            after = Some(last.id);
            for run in runs {
                if self.row.project.is_some_and(|project| project != run.owner.project) {
                    continue;
                }
                let contents = stored.contents(run.id).await?;
                let vault = &self.handler.deps.vault;
                let opened = contents
                    .iter()
                    .filter_map(|content| Some((content.part.clone(), content.open(vault, run.owner)?)));
                let line = json!({
                    "object": "flow_run", "id": run.id.to_string(), "project_id": run.owner.project.to_string(),
                    "request_id": run.request.to_string(), "name": run.name, "status": run.status.as_str(),
                    "error_code": run.error_code, "cost_nano_usd": run.cost_nanos,
                    "created_unix_ms": run.created_unix_ms, "ended_unix_ms": run.ended_unix_ms,
                    "contents": opened.collect::<serde_json::Map<_, _>>(),
                });
                self.add_line(FLOW_RUNS, &line).await?;
            }
        }
    }

    /// What projects keep of their requests.
    async fn add_profiles(&mut self) -> Result<(), Stop> {
        let snapshot = self.handler.deps.keeper.current();
        let Some(workspace) = snapshot.workspace(self.row.workspace) else { return Ok(()) };
        for project in &workspace.projects {
            let is_meant = self.row.project.is_none_or(|id| id == project.id);
            if let Some(kept) = project.retention.filter(|_| is_meant) {
                let line = json!({
                    "object": "retention_profile",
                    "project_id": project.id.to_string(),
                    "trace_mode": kept.mode.as_str(),
                    "default_retention_days": kept.days,
                    "sample_percent": kept.sample_percent,
                });
                self.add_line(RETENTION_PROFILES, &line).await?;
            }
        }
        Ok(())
    }

    /// What they kept.
    async fn add_contents(&mut self) -> Result<(), Stop> {
        let contents = RequestContents::of(self.handler.deps.store.database());
        let now_unix_ms = self.handler.deps.world.clock.unix_ms();
        for mode in [TraceMode::Tokenized, TraceMode::FullFidelity] {
            let filter = ContentFilter { mode, ..ContentFilter::all(self.row.project, now_unix_ms) };
            let mut page = Page::first(EXPORTED_CONTENTS_ROWS);
            loop {
                let listed = contents.list(self.row.workspace, filter, page.clone()).await?;
                for row in &listed.rows {
                    // What does not open is a loss that its reader is told where it is looked for.
                    if let Ok(content) = open_content(&self.handler.deps.vault, self.row.workspace, row) {
                        self.add_line(REQUEST_CONTENTS, &line_of_content(row, &content)).await?;
                    }
                }
                page.after = listed.next;
                if page.after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn add_line(&mut self, name: &'static str, line: &Value) -> Result<(), Stop> {
        let file = self.open.entry(name).or_default();
        file.text.push_str(&line.to_string());
        file.text.push('\n');
        file.lines += 1;
        if file.text.len() >= EXPORT_FILE_BYTES_MAX { self.close_file(name).await } else { Ok(()) }
    }

    async fn close_file(&mut self, name: &'static str) -> Result<(), Stop> {
        let file = self.open.entry(name).or_default();
        file.written += 1;
        let number = if file.written == 1 { String::new() } else { format!(".{}", file.written) };
        let (text, lines) = (std::mem::take(&mut file.text), std::mem::take(&mut file.lines));
        let ending = self.row.format.as_str();
        let content = match self.row.format {
            DataExportFormat::JsonLines => text.into_bytes(),
            DataExportFormat::Parquet => columns_of(&text)?,
        };
        self.add_file(format!("{name}{number}.{ending}"), lines, &content).await
    }

    async fn close_files(&mut self) -> Result<(), Stop> {
        let unwritten: Vec<_> =
            self.open.iter().filter(|(_, file)| file.lines > 0).map(|(name, _)| *name).collect();
        for name in unwritten {
            self.close_file(name).await?;
        }
        Ok(())
    }

    async fn add_file(&mut self, name: String, lines: u64, content: &[u8]) -> Result<(), Stop> {
        self.archive.add(&name, content, self.row.created_unix_ms / 1_000);
        let sha256 = Digest::of(&[content]).to_string();
        self.row.progress.files.push(ExportedFile { name, lines, bytes: content.len() as u64, sha256 });
        while let Some(part) = self.archive.take(EXPORT_PART_BYTES_MAX) {
            self.add_part(&part).await?;
        }
        let is_there = self.exports.save(&self.row, DataExportState::Running, None).await?;
        if is_there { Ok(()) } else { Err(Stop::Deleted) }
    }

    async fn add_part(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let progress = &mut self.row.progress;
        progress.bytes += bytes.len() as u64;
        if progress.bytes > EXPORT_BYTES_MAX {
            let error =
                format!("The archive is longer than {EXPORT_BYTES_MAX} bytes: export project by project.");
            return Err(Stop::Never(error));
        }
        let position = progress.parts;
        progress.parts += 1;
        let sealed = SealedPart::seal(&self.handler.deps.vault, &self.row, position, bytes);
        let sealed = sealed.map_err(|error| Stop::Later(error.to_string()))?;
        let is_there = self.exports.add_part(&self.row, sealed).await?;
        if is_there { Ok(()) } else { Err(Stop::Deleted) }
    }

    fn manifest(&self) -> Value {
        let left_out = LEFT_OUT.iter().map(|(what, why)| json!({"what": what, "why": why}));
        json!({
            "object": "data_export_manifest",
            "id": self.row.id.to_string(),
            "workspace_id": self.row.workspace.to_string(),
            "project_id": self.row.project.map(|id| id.to_string()),
            "created_at_unix_ms": self.row.created_unix_ms,
            "format": self.row.format.as_str(),
            "files": self.row.progress.files,
            "left_out": left_out.collect::<Vec<_>>(),
        })
    }
}

/// The lines of a file in columns.
fn columns_of(text: &str) -> Result<Vec<u8>, Stop> {
    let lines: Result<Vec<Map<String, Value>>, _> = text.lines().map(serde_json::from_str).collect();
    let lines = lines.map_err(|error| Stop::Never(error.to_string()))?;
    parquet_of(&lines).map_err(|error| Stop::Never(error.to_string()))
}

/// What an answer of the API lists, or the one document that it is.
struct PageOfObjects {
    objects: Vec<Map<String, Value>>,
    next: Option<String>,
}

impl PageOfObjects {
    fn read(body: &[u8]) -> Result<Self, Stop> {
        let unreadable = || Stop::Never("an answer of the API could not be read".to_owned());
        let read: Map<String, Value> = serde_json::from_slice(body).map_err(|_| unreadable())?;
        let Some(Value::Array(listed)) = read.get("data") else {
            return Ok(Self { objects: vec![read], next: None });
        };
        let objects = listed.iter().map(|one| one.as_object().cloned().ok_or_else(unreadable));
        let next = read.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        Ok(Self { objects: objects.collect::<Result<_, _>>()?, next })
    }
}

const fn is_absent(class: FaultClass) -> bool {
    matches!(class, FaultClass::NotFound | FaultClass::Conflict)
}

fn line_of_batch(batch: &ExportedBatch) -> Value {
    json!({
        "id": batch.id.to_string(),
        "object": "batch",
        "project_id": batch.project.to_string(),
        "status": batch.state,
        "items": batch.items,
        "created_at_unix_ms": batch.created_unix_ms,
        "ended_at_unix_ms": batch.ended_unix_ms,
    })
}

fn line_of_content(row: &RequestContentRow, content: &KeptContent) -> Value {
    let body = |kept: &KeptBody| {
        json!({
            "media_type": kept.media_type,
            "bytes": kept.length,
            "truncated": kept.length > kept.bytes.len() as u64,
            "content": value_of(&kept.bytes),
        })
    };
    json!({
        "object": "request_content",
        "request_id": content.request.to_string(),
        "project_id": row.content.project.to_string(),
        "trace_mode": content.mode.as_str(),
        "dialect": content.dialect,
        "operation": content.operation,
        "status": content.status,
        "complete": content.is_whole,
        "expires_at_unix_ms": content.until_unix_ms,
        "request": body(&content.sent),
        "answer": body(&content.answer),
    })
}

/// JSON where it is JSON, and else a text.
pub(crate) fn value_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

fn line_of_item(item: ExportedItem) -> Value {
    let content = item.content.map(|bytes| value_of(&bytes));
    json!({
        "batch_id": item.batch.to_string(),
        "object": "batch_item",
        "project_id": item.project.to_string(),
        "position": item.position,
        "part": item.part,
        "content": content,
    })
}
