//! Files as clients of `/files` read them.

use domain::{FileId, KeptFile};
use serde_json::{Value, json};

use super::PageOptions;
use runs::moment;

/// The address of a file's content, by which runs may name the file as well.
pub(crate) fn address(origin: &str, id: FileId) -> String {
    format!("{origin}/files/{id}/content")
}

/// A file. The token is a part of the address that its content is sent to, and of nothing else.
pub(super) fn file(file: &KeptFile, origin: &str, token: Option<&str>) -> Value {
    let id = file.id.to_string();
    let upload_url = token.map(|token| format!("{origin}/files/{id}/upload/{token}")).unwrap_or_default();
    let made = moment(file.created_unix_ms);
    json!({
        "id": id,
        "short_id": id.get(id.len().saturating_sub(8)..).unwrap_or_default(),
        "created_at": made,
        "updated_at": made,
        "expires_at": moment(file.until_unix_ms),
        "user_id": "",
        "team_id": "",
        "visibility": "private",
        "path": file.path.as_deref().unwrap_or_default(),
        "remote_path": "",
        "upload_url": upload_url,
        "uri": address(origin, file.id),
        "content_type": file.content_type,
        "size": file.size(),
        "filename": file.name,
        "category": file.purpose,
        "rating": "unrated",
        "status": if file.is_complete { "uploaded" } else { "uploading" },
    })
}

/// A page of files: those that were found, which may be one more than it has.
pub(super) fn page(mut files: Vec<KeptFile>, limit: u32, after: Option<FileId>, origin: &str) -> Value {
    let PageOptions { limit, after } = PageOptions { limit, after };
    let has_next = files.len() > limit as usize;
    files.truncate(limit as usize);
    let next = files.last().filter(|_| has_next).map(|last| last.id.to_string()).unwrap_or_default();
    let items: Vec<Value> = files.iter().map(|one| file(one, origin, None)).collect();
    json!({
        "total_items": items.len(),
        "items": items,
        "next_cursor": next,
        "prev_cursor": "",
        "has_next": has_next,
        "has_previous": after.is_some(),
        "items_per_page": limit,
    })
}
