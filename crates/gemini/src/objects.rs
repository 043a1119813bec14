//! Content batches and cached prompts: their addresses, their lists, the ids in answers about them, and where
//! results are.

use bytes::Bytes;
use conversation::batch::{BatchEnd, BatchResults, BatchState, EndedBatch, SplitResults};
use conversation::objects::{
    AddressRow, ClientIds, ObjectPage, StoredObjects, addressed, at, below, no_such_address, read_cursor,
    read_list_query, read_object_address, wrong_parameter,
};
use conversation::request::{Addressed, StoredAct};
use conversation::stored::StoredObjectReport;
use domain::limits::KEPT_ROWS_MAX;
use domain::{BatchCounts, Dialect, Fault, ObjectListQuery, ObjectOwner, StoredKind, StoredObjectKind};
use http::Method;

use crate::batch::{CONTENTS, read_gemini_batch_counts, read_gemini_batch_status, rename};
use crate::cache;
use crate::results::GeminiBatchResults;

/// The default and the largest page.
const ROWS: (u32, u32) = (50, 1_000);
const HOW: &str = "A batch is read and deleted at its own address, /v1beta/batches/ID, and cancelled by a POST to ID:cancel.";
static ADDRESSES: [AddressRow; 3] = [
    at(Method::GET, StoredAct::Read),
    at(Method::DELETE, StoredAct::Delete),
    below(Method::POST, "cancel", StoredAct::Cancel),
];

const CACHES_HOW: &str =
    "A cached prompt is read, extended (PATCH) and deleted at its own address, /v1beta/cachedContents/ID.";
static CACHE_ADDRESSES: [AddressRow; 3] = [
    at(Method::GET, StoredAct::Read),
    at(Method::PATCH, StoredAct::Extend),
    at(Method::DELETE, StoredAct::Delete),
];

/// Batches that are created with inline requests, and whose results are part of the batch object.
#[derive(Debug)]
pub(crate) struct ContentBatches;

pub(crate) fn kind() -> StoredObjectKind {
    StoredObjectKind::of(Dialect::Gemini, StoredKind::Batch)
}

impl StoredObjects for ContentBatches {
    fn read_address(&self, method: &Method, rest: &str, _query: &str) -> Result<Addressed, Box<Fault>> {
        let read = read_object_address(&ADDRESSES, ':', method, rest);
        let (id, act) = read.ok_or_else(|| no_such_address(method, HOW))?;
        Ok(addressed(id, act, ""))
    }

    fn read_list_query(&self, owner: ObjectOwner, query: &str) -> Result<ObjectListQuery, Box<Fault>> {
        read_page_query(owner, kind(), query)
    }

    fn write_page(&self, page: ObjectPage) -> String {
        written_page("operations", &page)
    }

    fn rewrite_ids(&self, body: &Bytes, ours: &mut ClientIds<'_>) -> Option<(Bytes, StoredObjectReport)> {
        rename(body, ours)
    }

    /// An empty object answers a cancel and a delete.
    fn is_answer(&self, _text: &[u8]) -> bool {
        true
    }

    fn has_empty_answer(&self, act: StoredAct) -> bool {
        matches!(act, StoredAct::Cancel | StoredAct::Delete)
    }

    fn read_batch(&self, body: &[u8]) -> Result<BatchState, String> {
        let status = read_gemini_batch_status(body).ok_or("the answer isn't a batch")?;
        let Some(ended) = status.ended_at else {
            return Ok(BatchState::Running(format!("it is {}", status.state)));
        };
        let ended = BatchEnd::Written(ended, "endTime");
        let endpoint = CONTENTS.to_owned();
        Ok(BatchState::Ended(EndedBatch { ended, endpoint, results: BatchResults::Inside }))
    }

    fn batch_counts(&self, body: &[u8]) -> Option<BatchCounts> {
        read_gemini_batch_counts(body)
    }

    fn split_results(&self) -> Option<Box<dyn SplitResults>> {
        Some(Box::new(GeminiBatchResults::default()))
    }
}

/// No page size is too large, and 0 means the default.
fn read_page_query(
    owner: ObjectOwner,
    kind: StoredObjectKind,
    query: &str,
) -> Result<ObjectListQuery, Box<Fault>> {
    let (usual, most) = ROWS;
    read_list_query((owner, kind), usual, query, |page, name, value| {
        match name {
            "pageSize" | "page_size" => {
                let wrong = |_| wrong_parameter(name, format!("Send a number from 0 to {most}."));
                let size: u32 = value.parse().map_err(wrong)?;
                page.limit = if size == 0 { usual } else { size.min(most).min(KEPT_ROWS_MAX) };
            }
            "pageToken" | "page_token" if !value.is_empty() => {
                let fix = "Send the nextPageToken of the previous page.";
                page.after = read_cursor(page.kind, name, value, fix)?;
            }
            _ => {}
        }
        Ok(())
    })
}

fn written_page(list: &str, page: &ObjectPage) -> String {
    let next = page.next().map_or_else(String::new, |id| format!(",\"nextPageToken\":\"{id}\""));
    format!("{{\"{list}\":[{}]{next}}}", page.entries())
}

/// Prompts that are cached by name.
#[derive(Debug)]
pub(crate) struct CachedContents;

impl StoredObjects for CachedContents {
    fn read_address(&self, method: &Method, rest: &str, _query: &str) -> Result<Addressed, Box<Fault>> {
        let read = read_object_address(&CACHE_ADDRESSES, ':', method, rest);
        let (id, act) = read.ok_or_else(|| no_such_address(method, CACHES_HOW))?;
        Ok(addressed(format!("{}{id}", cache::RESOURCE), act, ""))
    }

    fn read_list_query(&self, owner: ObjectOwner, query: &str) -> Result<ObjectListQuery, Box<Fault>> {
        read_page_query(owner, StoredObjectKind::CACHED_CONTENT, query)
    }

    fn write_page(&self, page: ObjectPage) -> String {
        written_page("cachedContents", &page)
    }

    fn rewrite_ids(&self, body: &Bytes, ours: &mut ClientIds<'_>) -> Option<(Bytes, StoredObjectReport)> {
        cache::rename(body, ours)
    }

    /// An empty object answers a delete.
    fn is_answer(&self, _text: &[u8]) -> bool {
        true
    }

    fn has_empty_answer(&self, act: StoredAct) -> bool {
        act == StoredAct::Delete
    }
}

#[cfg(test)]
mod tests {
    use domain::{FaultClass, ProjectId, StoredObjectId, WorkspaceId};

    use super::*;

    #[test]
    fn a_page_is_selected_by_the_parameters_of_the_vendor() {
        let owner =
            ObjectOwner { workspace: WorkspaceId::new(1, [1; 10]), project: ProjectId::new(1, [2; 10]) };
        let read = |query: &str| ContentBatches.read_list_query(owner, query);
        let id = StoredObjectId { kind: kind(), digest: [7; 16] };
        let page = read(&format!("pageSize=7&pageToken={id}&limit=no&key=k")).unwrap();
        assert_eq!((page.limit, page.oldest_first, page.after), (7, false, Some(id)));
        for (query, limit) in [("", 50), ("pageSize=0&pageToken=", 50), ("page_size=5000", 1_000)] {
            let page = read(query).unwrap();
            assert_eq!((page.limit, page.after), (limit, None), "{query}");
        }
        let file = StoredObjectId { kind: StoredObjectKind::FILE, digest: [7; 16] };
        for wrong in ["pageSize=many", "pageSize=-1", &format!("pageToken={file}")] {
            assert_eq!(read(wrong).unwrap_err().class, FaultClass::BadRequest, "{wrong}");
        }
    }

    #[test]
    fn a_cached_prompt_is_addressed_by_its_name_alone() {
        let read = |method: &str, rest: &str| {
            let read = CachedContents.read_address(&method.parse().unwrap(), rest, "updateMask=ttl").ok()?;
            read.stored.map(|stored| (stored.id, stored.act, stored.query))
        };
        for (method, act) in [
            ("GET", StoredAct::Read),
            ("HEAD", StoredAct::Read),
            ("PATCH", StoredAct::Extend),
            ("DELETE", StoredAct::Delete),
        ] {
            assert_eq!(
                read(method, "c"),
                Some(("cachedContents/c".to_owned(), act, String::new())),
                "{method}"
            );
        }
        for (method, rest) in [("POST", "c"), ("PATCH", "c:extend"), ("PUT", "c")] {
            assert_eq!(read(method, rest), None, "{method} {rest}");
        }
    }

    #[test]
    fn a_batch_is_addressed_by_its_name_and_a_verb() {
        let read = |method: &str, rest: &str| {
            let read = ContentBatches.read_address(&method.parse().unwrap(), rest, "key=k").ok()?;
            read.stored.map(|stored| (stored.id, stored.act, stored.query))
        };
        for (method, rest, act) in [
            ("GET", "b", StoredAct::Read),
            ("HEAD", "b", StoredAct::Read),
            ("DELETE", "b", StoredAct::Delete),
            ("POST", "b:cancel", StoredAct::Cancel),
        ] {
            assert_eq!(read(method, rest), Some(("b".to_owned(), act, String::new())), "{method} {rest}");
        }
        for (method, rest) in [
            ("POST", "b"),
            ("GET", "b:cancel"),
            ("POST", "b:pause"),
            ("DELETE", "b:cancel"),
            ("POST", "b/cancel"),
        ] {
            assert_eq!(read(method, rest), None, "{method} {rest}");
        }
    }
}
