//! Files, batches and videos of OpenAI's API: their addresses, their lists, the ids in answers about them, and
//! where the results of a batch are.

use bytes::Bytes;
use conversation::batch::{BatchEnd, BatchResults, BatchState, EndedBatch};
use conversation::objects::{
    ADDRESS_HOW, AddressRow, ClientIds, ObjectMembers, ObjectPage, StoredObjects, addressed, at, below,
    no_such_address, read_cursor, read_limit, read_list_query, read_object_address, wrong_parameter,
};
use conversation::request::{Addressed, StoredAct};
use conversation::stored::StoredObjectReport;
use domain::{Fault, ObjectListQuery, ObjectOwner, StoredKind, StoredObjectKind};
use http::Method;
use serde::Deserialize;

const VIDEO_HOW: &str =
    "A video is read and deleted at its own address; its /content takes GET, and its /remix takes POST.";

/// One kind of object.
#[derive(Debug)]
pub(crate) struct Objects {
    kind: StoredObjectKind,
    addresses: &'static [AddressRow],
    /// The fix for an address that is none of them.
    how: &'static str,
    /// The default and the largest page.
    rows: (u32, u32),
    members: ObjectMembers,
}

static FILE_ADDRESSES: [AddressRow; 3] = [
    at(Method::GET, StoredAct::Read),
    at(Method::DELETE, StoredAct::Delete),
    below(Method::GET, "content", StoredAct::Content),
];
static BATCH_ADDRESSES: [AddressRow; 2] =
    [at(Method::GET, StoredAct::Read), below(Method::POST, "cancel", StoredAct::Cancel)];
static VIDEO_ADDRESSES: [AddressRow; 4] = [
    at(Method::GET, StoredAct::Read),
    at(Method::DELETE, StoredAct::Delete),
    below(Method::GET, "content", StoredAct::Content),
    below(Method::POST, "remix", StoredAct::Make),
];
const MEMBERS: ObjectMembers =
    ObjectMembers { files: &["input_file_id", "output_file_id", "error_file_id"], ..ObjectMembers::USUAL };

pub(crate) static FILES: Objects = Objects {
    kind: StoredObjectKind::FILE,
    addresses: &FILE_ADDRESSES,
    how: ADDRESS_HOW,
    rows: (10_000, 10_000),
    members: MEMBERS,
};
pub(crate) static BATCHES: Objects = Objects {
    kind: StoredObjectKind::BATCH,
    addresses: &BATCH_ADDRESSES,
    how: ADDRESS_HOW,
    rows: (20, 100),
    members: MEMBERS,
};
pub(crate) static VIDEOS: Objects = Objects {
    kind: StoredObjectKind::VIDEO,
    addresses: &VIDEO_ADDRESSES,
    how: VIDEO_HOW,
    rows: (20, 100),
    members: ObjectMembers { source: Some("remixed_from_video_id"), unlisted: Some("prompt"), ..MEMBERS },
};

/// A batch object, as the provider returns it.
#[derive(Debug, Deserialize)]
struct ProviderBatch {
    status: String,
    #[serde(default)]
    endpoint: String,
    input_file_id: Option<String>,
    output_file_id: Option<String>,
    error_file_id: Option<String>,
    #[serde(default)]
    created_at: u64,
    completed_at: Option<u64>,
    expired_at: Option<u64>,
    cancelled_at: Option<u64>,
}

/// Where its requests are, as the call that makes it says, too.
#[derive(Debug, Deserialize)]
struct BatchRequests {
    #[serde(default)]
    endpoint: String,
    input_file_id: Option<String>,
}

impl ProviderBatch {
    /// When it ended; `None` while it runs, or where it failed before any request was processed.
    fn ended_unix_ms(&self) -> Option<u64> {
        let at = match self.status.as_str() {
            "completed" => self.completed_at,
            "expired" => self.expired_at,
            "cancelled" => self.cancelled_at,
            _ => return None,
        };
        Some(at.unwrap_or(self.created_at).saturating_mul(1_000))
    }
}

impl StoredObjects for Objects {
    fn read_address(&self, method: &Method, rest: &str, query: &str) -> Result<Addressed, Box<Fault>> {
        let read = read_object_address(self.addresses, '/', method, rest);
        let (id, act) = read.ok_or_else(|| no_such_address(method, self.how))?;
        // A video, or an image that represents it.
        let is_video = self.kind.kind() == StoredKind::Video && act == StoredAct::Content;
        let variant = query.split('&').find(|pair| is_video && pair.starts_with("variant="));
        Ok(addressed(id, act, variant.unwrap_or_default()))
    }

    fn read_list_query(&self, owner: ObjectOwner, query: &str) -> Result<ObjectListQuery, Box<Fault>> {
        let (usual, most) = self.rows;
        read_list_query((owner, self.kind), usual, query, |page, name, value| {
            match (name, value) {
                ("limit", _) => page.limit = read_limit(name, value, most)?,
                ("after", _) => {
                    let fix = "Send an id from a previous page.";
                    page.after = read_cursor(page.kind, name, value, fix)?;
                }
                ("order", "asc") => page.oldest_first = true,
                ("order", "desc") => page.oldest_first = false,
                ("order", _) => return Err(wrong_parameter(name, "Send asc or desc.".to_owned())),
                ("purpose", _) => page.label = Some(value.to_owned()),
                _ => {}
            }
            Ok(())
        })
    }

    fn write_page(&self, page: ObjectPage) -> String {
        format!("{{\"object\":\"list\",{}}}", page.data())
    }

    fn rewrite_ids(&self, body: &Bytes, ours: &mut ClientIds<'_>) -> Option<(Bytes, StoredObjectReport)> {
        self.members.rewrite(body, self.kind, ours)
    }

    fn read_batch(&self, body: &[u8]) -> Result<BatchState, String> {
        let batch: ProviderBatch =
            serde_json::from_slice(body).map_err(|error| format!("the answer isn't a batch: {error}"))?;
        if batch.status == "failed" {
            return Ok(BatchState::NoResults);
        }
        let Some(ended_unix_ms) = batch.ended_unix_ms() else {
            return Ok(BatchState::Running(format!("it is {}", batch.status)));
        };
        let results = [batch.output_file_id, batch.error_file_id].into_iter().flatten().collect();
        Ok(BatchState::Ended(EndedBatch {
            ended: BatchEnd::UnixMs(ended_unix_ms),
            endpoint: batch.endpoint,
            results: BatchResults::Files { results, requests: batch.input_file_id },
        }))
    }

    fn batch_requests(&self, body: &[u8]) -> Option<(String, String)> {
        let batch: BatchRequests = serde_json::from_slice(body).ok()?;
        Some((batch.input_file_id?, batch.endpoint))
    }
}

#[cfg(test)]
mod tests {
    use domain::{FaultClass, ProjectId, StoredObjectId, WorkspaceId};

    use super::*;

    fn rename(body: &str, objects: &Objects) -> Option<(String, StoredObjectReport)> {
        let mut ours = |kind: StoredObjectKind, id: &str| format!("{}{id}", kind.prefix());
        let (body, made) = objects.rewrite_ids(&Bytes::from(body.to_owned()), &mut ours)?;
        Some((String::from_utf8(body.to_vec()).unwrap(), made))
    }

    #[test]
    fn every_name_of_the_providers_becomes_ours_and_all_else_stays() {
        let batch = r#"{"id": "b1", "input_file_id":"f1","output_file_id":"f2" ,"error_file_id":null,"metadata":{"id":"mine"},"created_at":17,"expires_at":19}"#;
        let (body, made) = rename(batch, &BATCHES).unwrap();
        let expected = r#"{"id": "batch_tg_b1", "input_file_id":"file-tg_f1","output_file_id":"file-tg_f2" ,"error_file_id":null,"metadata":{"id":"mine"},"created_at":17,"expires_at":19}"#;
        assert_eq!(body, expected);
        assert_eq!((&*made.id, made.files.as_slice()), ("b1", &["f1".to_owned(), "f2".to_owned()][..]));
        assert_eq!((made.created_unix_ms, made.expires_unix_ms), (Some(17_000), Some(19_000)));
        let (body, made) = rename(r#"{"object":"file","id":"f\u0031","purpose":"batch"}"#, &FILES).unwrap();
        assert_eq!(body, r#"{"object":"file","id":"file-tg_f1","purpose":"batch"}"#);
        assert_eq!((&*made.id, &*made.purpose), ("f1", "batch"));
        assert_eq!(made.list_entry, body);
        assert_eq!(rename(r#"{"object":"file"}"#, &FILES), None);
        assert_eq!(rename("[]", &FILES), None);
    }

    #[test]
    fn a_video_is_listed_without_its_prompt() {
        let video =
            r#"{"id":"video_2","prompt":"a \"tide\" in","remixed_from_video_id":"video_1","file_id":"x"}"#;
        let (body, made) = rename(video, &VIDEOS).unwrap();
        let expected = |prompt: &str| {
            format!(
                r#"{{"id":"video_tg_video_2","prompt":{prompt},"remixed_from_video_id":"video_tg_video_1","file_id":"x"}}"#
            )
        };
        assert_eq!((body, made.list_entry), (expected(r#""a \"tide\" in""#), expected("null")));
        let own = r#"{"id":"video_2","prompt":"x","remixed_from_video_id":null}"#;
        assert!(rename(own, &VIDEOS).unwrap().1.list_entry.ends_with(r#""remixed_from_video_id":null}"#));
    }

    fn read_list(objects: &Objects, query: &str) -> Result<ObjectListQuery, Box<Fault>> {
        let owner =
            ObjectOwner { workspace: WorkspaceId::new(1, [1; 10]), project: ProjectId::new(1, [2; 10]) };
        objects.read_list_query(owner, query)
    }

    #[test]
    fn a_page_is_selected_by_the_parameters_of_the_vendor() {
        let usual = read_list(&FILES, "").unwrap();
        assert_eq!((usual.limit, usual.oldest_first, usual.after, usual.label), (1_000, false, None, None));
        let id = StoredObjectId { kind: StoredObjectKind::FILE, digest: [7; 16] };
        let query = format!("limit=10000&after={id}&order=asc&purpose=user%5Fdata&who=knows");
        let page = read_list(&FILES, &query).unwrap();
        assert_eq!((page.limit, page.oldest_first, page.after), (1_000, true, Some(id)));
        assert_eq!(page.label.as_deref(), Some("user_data"));
        let turned = read_list(&FILES, &format!("order=asc&after={id}")).unwrap();
        assert_eq!((turned.oldest_first, turned.after), (true, Some(id)), "in whichever order they come");
        assert_eq!(read_list(&BATCHES, "limit=100").unwrap().limit, 100);
        for (objects, wrong) in [
            (&FILES, "limit=0"),
            (&FILES, "limit=10001"),
            (&BATCHES, "limit=101"),
            (&FILES, "limit=many"),
            (&FILES, "after=file-abc"),
            (&BATCHES, &format!("after={id}")),
            (&FILES, "order=newest"),
        ] {
            assert_eq!(read_list(objects, wrong).unwrap_err().class, FaultClass::BadRequest, "{wrong}");
        }
    }

    #[test]
    fn a_video_is_addressed_by_its_name() {
        let read = |method: &str, rest: &str, query: &str| {
            let read = VIDEOS.read_address(&method.parse().unwrap(), rest, query).ok()?;
            read.stored.map(|stored| (stored.id, stored.act, stored.query))
        };
        for (method, rest, query, act, variant) in [
            ("GET", "v_1", "variant=thumbnail", StoredAct::Read, ""),
            ("DELETE", "v_1", "", StoredAct::Delete, ""),
            ("GET", "v_1/content", "", StoredAct::Content, ""),
            ("GET", "v_1/content", "a=b&variant=thumbnail&c", StoredAct::Content, "variant=thumbnail"),
            ("POST", "v_1/remix", "variant=x", StoredAct::Make, ""),
        ] {
            let expected = Some(("v_1".to_owned(), act, variant.to_owned()));
            assert_eq!(read(method, rest, query), expected, "{method} {rest} {query}");
        }
        for (method, rest) in
            [("POST", "v_1"), ("POST", "edits"), ("POST", "v_1/content"), ("GET", "characters/c_1")]
        {
            assert_eq!(read(method, rest, ""), None, "{method} {rest}");
        }
    }

    #[test]
    fn a_batch_says_when_it_ended_and_where_its_results_are() {
        let read = |body: &str| BATCHES.read_batch(body.as_bytes());
        assert_eq!(read(r#"{"status":"failed"}"#), Ok(BatchState::NoResults));
        assert_eq!(
            read(r#"{"status":"in_progress"}"#),
            Ok(BatchState::Running("it is in_progress".to_owned()))
        );
        let ended = r#"{"status":"expired","endpoint":"/v1/embeddings","created_at":3,"input_file_id":"i","output_file_id":"o","error_file_id":null}"#;
        let results = BatchResults::Files { results: vec!["o".to_owned()], requests: Some("i".to_owned()) };
        let ended_at = BatchEnd::UnixMs(3_000);
        let expected = EndedBatch { ended: ended_at, endpoint: "/v1/embeddings".to_owned(), results };
        assert_eq!(read(ended), Ok(BatchState::Ended(expected)));
        let requests = ("i".to_owned(), "/v1/embeddings".to_owned());
        assert_eq!(BATCHES.batch_requests(ended.as_bytes()), Some(requests));
        assert_eq!(BATCHES.batch_requests(br#"{"status":"in_progress"}"#), None);
        assert!(read("{}").unwrap_err().starts_with("the answer isn't a batch: "));
    }
}
