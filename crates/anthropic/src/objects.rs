//! Message batches and files: their addresses, their lists, the ids in answers about them, and where results are.

use bytes::Bytes;
use conversation::batch::{BatchEnd, BatchResults, BatchState, EndedBatch};
use conversation::objects::{
    ADDRESS_HOW, AddressRow, ClientIds, ObjectMembers, ObjectPage, StoredObjects, addressed, at, below,
    no_such_address, read_cursor, read_limit, read_list_query, read_object_address, wrong_parameter,
};
use conversation::request::{Addressed, StoredAct};
use conversation::stored::StoredObjectReport;
use domain::{Dialect, Fault, ObjectListQuery, ObjectOwner, StoredKind, StoredObjectKind};
use http::Method;
use serde::Deserialize;

use crate::batch::{MESSAGES, results_address};

/// The default and the largest page.
const ROWS: (u32, u32) = (20, 1_000);
/// The beginning of page tokens.
const PAGE: &str = "page_";
static BATCH_ADDRESSES: [AddressRow; 4] = [
    at(Method::GET, StoredAct::Read),
    at(Method::DELETE, StoredAct::Delete),
    below(Method::POST, "cancel", StoredAct::Cancel),
    below(Method::GET, "results", StoredAct::Content),
];
static FILE_ADDRESSES: [AddressRow; 3] = [
    at(Method::GET, StoredAct::Read),
    at(Method::DELETE, StoredAct::Delete),
    below(Method::GET, "content", StoredAct::Content),
];

/// One kind of object.
#[derive(Debug)]
pub(crate) struct Objects {
    kind: StoredKind,
    addresses: &'static [AddressRow],
    members: ObjectMembers,
}

/// Batches that are created with inline requests, and whose results have a separate address.
pub(crate) static BATCHES: Objects = Objects {
    kind: StoredKind::Batch,
    addresses: &BATCH_ADDRESSES,
    members: ObjectMembers { address: Some(("results_url", results_address)), ..ObjectMembers::USUAL },
};
/// Files that messages name.
pub(crate) static FILES: Objects =
    Objects { kind: StoredKind::File, addresses: &FILE_ADDRESSES, members: ObjectMembers::USUAL };

/// The status of a batch.
#[derive(Deserialize)]
struct Status {
    processing_status: String,
    /// RFC 3339; set once all requests have ended, successfully or not.
    ended_at: Option<String>,
}

impl Objects {
    fn kind(&self) -> StoredObjectKind {
        StoredObjectKind::of(Dialect::Anthropic, self.kind)
    }
}

impl StoredObjects for Objects {
    fn read_address(&self, method: &Method, rest: &str, _query: &str) -> Result<Addressed, Box<Fault>> {
        let read = read_object_address(self.addresses, '/', method, rest);
        let (id, act) = read.ok_or_else(|| no_such_address(method, ADDRESS_HOW))?;
        Ok(addressed(id, act, ""))
    }

    fn read_list_query(&self, owner: ObjectOwner, query: &str) -> Result<ObjectListQuery, Box<Fault>> {
        let (usual, most) = ROWS;
        read_list_query((owner, self.kind()), usual, query, |page, name, value| {
            match name {
                "limit" => page.limit = read_limit(name, value, most)?,
                "after_id" | "before_id" => {
                    let fix = "Send an id from a previous page.";
                    page.after = read_cursor(page.kind, name, value, fix)?;
                    // Reads upwards from the cursor, so that the page is the one next to it.
                    page.oldest_first = name == "before_id";
                }
                "page" => {
                    let fix = "Send the next_page of a previous page.";
                    page.after =
                        read_cursor(page.kind, name, value.strip_prefix(PAGE).unwrap_or(value), fix)?;
                }
                "purpose" => page.label = Some(value.to_owned()),
                // A list, so that brackets may follow.
                _ if name == "scope_id" || name.starts_with("ids") => {
                    return Err(wrong_parameter(name, "Leave it out: read each file by its id.".to_owned()));
                }
                _ => {}
            }
            Ok(())
        })
    }

    fn write_page(&self, mut page: ObjectPage) -> String {
        // Always newest first, whichever direction was paged.
        if page.is_oldest_first {
            page.rows.reverse();
        }
        let data = page.data();
        if self.kind != StoredKind::File {
            return format!("{{{data}}}");
        }
        // Older clients go on from an id, newer ones with a token.
        let next = page.next().filter(|_| !page.is_oldest_first);
        let next = next.map_or("null".to_owned(), |id| format!("\"{PAGE}{id}\""));
        format!("{{{data},\"next_page\":{next}}}")
    }

    fn rewrite_ids(&self, body: &Bytes, ours: &mut ClientIds<'_>) -> Option<(Bytes, StoredObjectReport)> {
        self.members.rewrite(body, self.kind(), ours)
    }

    fn read_batch(&self, body: &[u8]) -> Result<BatchState, String> {
        let status: Status = serde_json::from_slice(body).map_err(|_| "the answer isn't a batch")?;
        let Some(ended) = status.ended_at else {
            return Ok(BatchState::Running(format!("it is {}", status.processing_status)));
        };
        let ended = BatchEnd::Written(ended, "ended_at");
        let endpoint = MESSAGES.to_owned();
        Ok(BatchState::Ended(EndedBatch { ended, endpoint, results: BatchResults::Below }))
    }
}

#[cfg(test)]
mod tests {
    use domain::{FaultClass, ProjectId, StoredObjectId, WorkspaceId};

    use super::*;

    fn read_list(objects: &Objects, query: &str) -> Result<ObjectListQuery, Box<Fault>> {
        let owner =
            ObjectOwner { workspace: WorkspaceId::new(1, [1; 10]), project: ProjectId::new(1, [2; 10]) };
        objects.read_list_query(owner, query)
    }

    #[test]
    fn a_page_is_selected_by_the_parameters_of_the_vendor() {
        let id = StoredObjectId { kind: BATCHES.kind(), digest: [7; 16] };
        let page = read_list(&BATCHES, &format!("limit=1000&before_id={id}&order=none&after=x")).unwrap();
        assert_eq!((page.limit, page.oldest_first, page.after), (1_000, true, Some(id)));
        let page = read_list(&BATCHES, &format!("after_id={id}")).unwrap();
        assert_eq!((page.limit, page.oldest_first, page.after), (20, false, Some(id)));
        let file = StoredObjectId { kind: StoredObjectKind::FILE, digest: [7; 16] };
        for wrong in ["limit=1001", "after_id=msgbatch_1", &format!("before_id={file}")] {
            assert_eq!(read_list(&BATCHES, wrong).unwrap_err().class, FaultClass::BadRequest, "{wrong}");
        }
        let id = StoredObjectId { kind: FILES.kind(), digest: [7; 16] };
        let rows = vec![(id, "{}".to_owned())];
        let written = FILES.write_page(ObjectPage { rows, is_oldest_first: false, has_more: true });
        assert!(written.ends_with(&format!(r#""has_more":true,"next_page":"page_{id}"}}"#)), "{written}");
        assert_eq!(read_list(&FILES, &format!("page=page_{id}")).unwrap().after, Some(id));
        for wrong in ["page=page_x", "ids%5B%5D=a", "ids[]=a", "scope_id=s"] {
            assert_eq!(read_list(&FILES, wrong).unwrap_err().class, FaultClass::BadRequest, "{wrong}");
        }
    }

    #[test]
    fn the_id_and_the_address_of_results_become_ours() {
        let rename = |body: &'static str| {
            let mut ours = |kind: StoredObjectKind, id: &str| format!("{}{id}", kind.prefix());
            let (body, _) = BATCHES.rewrite_ids(&Bytes::from(body), &mut ours).unwrap();
            String::from_utf8(body.to_vec()).unwrap()
        };
        let ended = r#"{"results_url":"https://a.test/v1/messages/batches/m1/results","id":"m1","type":"message_batch"}"#;
        let expected = r#"{"results_url":"/v1/messages/batches/msgbatch_tg_m1/results","id":"msgbatch_tg_m1","type":"message_batch"}"#;
        assert_eq!(rename(ended), expected);
        let going = r#"{"id":"m1","results_url":null}"#;
        assert_eq!(rename(going), r#"{"id":"msgbatch_tg_m1","results_url":null}"#);
    }

    #[test]
    fn a_batch_says_when_it_ended() {
        let going = br#"{"id":"b","processing_status":"in_progress","ended_at":null}"#;
        let running = BatchState::Running("it is in_progress".to_owned());
        assert_eq!(BATCHES.read_batch(going), Ok(running));
        let ended = br#"{"id":"b","processing_status":"ended","ended_at":"2026-11-21T10:00:00Z"}"#;
        let Ok(BatchState::Ended(ended)) = BATCHES.read_batch(ended) else { panic!("it has ended") };
        assert_eq!(ended.ended, BatchEnd::Written("2026-11-21T10:00:00Z".to_owned(), "ended_at"));
        assert_eq!(BATCHES.read_batch(b"{}"), Err("the answer isn't a batch".to_owned()));
    }
}
