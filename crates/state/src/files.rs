//! `/v2/files`: the files of a workspace, whichever API they came by.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, not_found};
use api::moment::Moment;
use api::reply::{Page, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::limits::{CONTENT_TYPE_BYTES_MAX, FILE_NAME_BYTES_MAX};
use domain::ports::AuditEntry;
use domain::{Fault, FileId, KeptFile, NewFile, ObjectOwner, OpenFile, StoredBytes, USER_FILE};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{AuditRow, Listed, StoreError};

use crate::scope;

const PATH: &str = "/v2/files";
const ONE: &str = "/v2/files/{id}";
const WHAT: &str = "file";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::WRITE_STATE, create)
            .says("Creates a file. Send its content to its upload_url, whole or in parts with Content-Range.")
            .takes::<FileInput>()
            .makes_once::<NewFileView>(),
        Route::new(Method::GET, PATH, Access::READ_STATE, list)
            .says("Lists files, newest first, without those whose content has not arrived.")
            .query("project_id", "Only those of this project.")
            .lists::<FileView>(),
        Route::new(Method::GET, "/v2/file-storage", Access::READ_STATE, storage)
            .says("Lists how much each project stores in files, and its limit.")
            .query("project_id", "Only this project's.")
            .returns_value::<Page<StorageView>>(),
        Route::new(Method::GET, ONE, Access::READ_STATE, get)
            .says("Shows a file, without its content.")
            .returns::<FileView>(),
        Route::new(Method::GET, "/v2/files/{id}/content", Access::READ_STATE, read)
            .says("Lists the pieces of a file's content, in their order and one a page. The audit records each read.")
            .lists::<PieceView>(),
        Route::new(Method::DELETE, ONE, Access::WRITE_STATE, delete)
            .says("Deletes a file with its content.")
            .returns_no_content()
            .refuses(409, "legal_hold"),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileInput {
    /// By default the key's project.
    project_id: Option<String>,
    filename: String,
    /// By default what the file's beginning shows.
    content_type: Option<String>,
    /// In bytes. No more are accepted.
    size: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "File")]
struct FileView {
    id: String,
    object: &'static str,
    project_id: String,
    filename: String,
    content_type: String,
    purpose: String,
    #[schemars(extend("enum" = ["uploading", "uploaded"]))]
    status: &'static str,
    bytes: u64,
    /// The number of pieces in which its content is read.
    pieces: u64,
    created_at: Moment,
    expires_at: Moment,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewFile")]
struct NewFileView {
    #[serde(flatten)]
    file: FileView,
    /// Takes the content by PUT, without a key: whoever has it may send the content, once, within an hour.
    upload_url: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FileStorage")]
struct StorageView {
    object: &'static str,
    project_id: String,
    files: u64,
    /// With what was declared of files that are on their way.
    bytes: u64,
    /// `files.project_bytes_max`: what goes beyond is refused.
    bytes_max: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FilePiece")]
struct PieceView {
    object: &'static str,
    file_id: String,
    /// Counted from 0.
    piece: u64,
    content_base64: String,
}

fn show(file: &KeptFile) -> FileView {
    FileView {
        id: file.id.to_string(),
        object: WHAT,
        project_id: file.owner.project.to_string(),
        filename: file.name.clone(),
        content_type: file.content_type.clone(),
        purpose: file.purpose.clone(),
        status: if file.is_complete { "uploaded" } else { "uploading" },
        bytes: file.size(),
        pieces: file.pieces,
        created_at: Moment(file.created_unix_ms),
        expires_at: Moment(file.until_unix_ms),
    }
}

/// It changes with each piece, and never once the file is complete.
const fn version(file: &KeptFile) -> u64 {
    file.pieces + 1 + file.is_complete as u64
}

/// A text that a file is described by.
fn checked(field: &'static str, text: String, bytes_max: usize) -> Result<String, Box<Fault>> {
    if text.is_empty() || text.len() > bytes_max || text.contains(char::is_control) {
        let why = format!("{field} is empty, longer than {bytes_max} bytes, or holds control characters.");
        return Err(invalid(field, why, "Send a shorter text.".to_owned()));
    }
    Ok(text)
}

/// The file that would be made.
fn rehearsed(control: &Control, new: NewFile) -> OpenFile {
    let now = control.deps.world.clock.unix_ms();
    let file = KeptFile {
        id: FileId::new(now, control.deps.world.id_bytes()),
        owner: new.owner,
        request: new.request,
        name: new.name,
        content_type: new.content_type,
        path: None,
        purpose: new.purpose,
        declared: new.declared,
        received: 0,
        pieces: 0,
        last_piece: None,
        is_complete: false,
        created_unix_ms: now,
        link_key: String::new(),
        until_unix_ms: now,
    };
    OpenFile { file, token: "none".to_owned() }
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: FileInput = request.json()?;
    let project = scope::of_new(control, &request, input.project_id.as_deref())?;
    scope::check_retention(control, &request, project)?;
    let content_type = input.content_type.map(|kind| checked("content_type", kind, CONTENT_TYPE_BYTES_MAX));
    let new = NewFile {
        owner: ObjectOwner { workspace: request.workspace(), project },
        request: request.trace,
        name: checked("filename", input.filename, FILE_NAME_BYTES_MAX)?,
        content_type: content_type.transpose()?.unwrap_or_default(),
        path: None,
        purpose: USER_FILE.to_owned(),
        declared: input.size,
    };
    // What object storage took can't be rolled back: a rehearsal leaves it alone.
    let open = match request.is_rehearsal {
        true => rehearsed(control, new),
        false => control.web.files.open(new).await?,
    };
    let id = open.file.id;
    audit(control, &request, "file.create", id).await?;
    let origin = control.web.site.base_url(&request.headers);
    let upload_url = format!("{}/files/{id}/upload/{}", origin.trim_end_matches('/'), open.token);
    let view = NewFileView { file: show(&open.file), upload_url };
    Ok(Reply::json(&view)?.as_created(format!("{PATH}/{id}")))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let project = scope::listed(&request)?;
    let page: store::Page<FileId> = request.page()?;
    let wanted = page.rows_wanted();
    let limit = u32::try_from(wanted + 1).unwrap_or(u32::MAX);
    let found = control.web.files.list_workspace(request.workspace(), project, page.after, limit).await?;
    let listed = Listed::cut(found, wanted, |file| file.id);
    Reply::json(&request.page_of(listed, show))
}

async fn storage(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let project = scope::listed(&request)?;
    let stored = control.web.files.stored(request.workspace(), project).await?;
    let show = |one: &StoredBytes| StorageView {
        object: "file_storage",
        project_id: one.project.to_string(),
        files: one.files,
        bytes: one.bytes,
        bytes_max: one.bytes_max,
    };
    Reply::json(&Page::whole(stored.iter().map(show).collect()))
}

/// The file that the path names.
async fn load(control: &Control, request: &ApiRequest) -> Result<KeptFile, Box<Fault>> {
    let id: FileId = request.id(WHAT)?;
    let found = control.web.files.in_workspace(request.workspace(), id).await?;
    let file = found.ok_or_else(|| not_found(WHAT, &id.to_string()))?;
    scope::check(request, file.owner.project, WHAT, &id)?;
    Ok(file)
}

async fn audit(
    control: &Control,
    request: &ApiRequest,
    action: &'static str,
    id: FileId,
) -> Result<(), Box<Fault>> {
    let act = request.act(&control.deps.world);
    let entry = AuditEntry {
        workspace: Some(request.workspace()),
        actor: act.actor,
        action,
        object: id.to_string(),
        detail: String::new(),
        trace: act.trace,
    };
    let row = AuditRow::new(act.id, act.unix_ms, entry);
    control.deps.store.audit().append(vec![row]).await.map_err(of_store)
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let file = load(control, &request).await?;
    Ok(Reply::json(&show(&file))?.version(version(&file)))
}

async fn read(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let file = load(control, &request).await?;
    let page: store::Page<u64> = request.page()?;
    let piece = page.after.map_or(0, |last| last.saturating_add(1));
    if piece == 0 {
        audit(control, &request, "file.read", file.id).await?;
    }
    let content = control.web.files.piece(file.owner, file.id, piece).await?;
    let rows: Vec<_> = content.into_iter().map(|content| (piece, content)).collect();
    let next = rows.last().map(|(piece, _)| *piece).filter(|piece| piece.saturating_add(1) < file.pieces);
    let show = |(piece, content): &(u64, Bytes)| PieceView {
        object: "file.piece",
        file_id: file.id.to_string(),
        piece: *piece,
        content_base64: STANDARD.encode(content),
    };
    Reply::json(&request.page_of(Listed { rows, next }, show))
}

async fn delete(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let file = load(control, &request).await?;
    let current = version(&file);
    if request.if_match()?.is_some_and(|expected| expected != current) {
        return Err(of_store(StoreError::Precondition { what: WHAT, current }));
    }
    if !request.is_rehearsal && !control.web.files.forget(file.owner, file.id).await? {
        return Err(not_found(WHAT, &file.id.to_string()));
    }
    // Now, so that the entry says that it is gone.
    audit(control, &request, "file.delete", file.id).await?;
    Ok(Reply::no_content())
}
