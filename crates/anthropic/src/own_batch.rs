//! Message batches that the gateway works through itself.

use bytes::Bytes;
use conversation::models::moment;
use conversation::own_batch::{FileRequests, OwnBatches, OwnItem, OwnResult};
use domain::{Fault, ItemOutcome, OwnBatch, StoredObjectId};
use json::refusal::wrong_value;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::batch::results_address;
use crate::pooled;

#[derive(Debug)]
pub(crate) struct OwnMessageBatches;

#[derive(Deserialize)]
struct Requests<'a> {
    #[serde(borrow)]
    requests: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    custom_id: String,
    #[serde(borrow)]
    params: &'a RawValue,
}

#[derive(Deserialize)]
struct Params {
    #[serde(default)]
    stream: Value,
}

#[derive(Serialize)]
struct Counts {
    processing: u64,
    succeeded: u64,
    errored: u64,
    canceled: u64,
    expired: u64,
}

#[derive(Serialize)]
struct Batch {
    id: String,
    r#type: &'static str,
    processing_status: &'static str,
    request_counts: Counts,
    created_at: String,
    expires_at: String,
    ended_at: Option<String>,
    cancel_initiated_at: Option<String>,
    archived_at: Option<String>,
    results_url: Option<String>,
}

fn moment_of(unix_ms: u64) -> String {
    moment(unix_ms / 1_000)
}

/// What a vendor's `custom_id` is made of.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// The raw text of a part of a body, without a copy.
fn part_of(body: &Bytes, raw: &RawValue) -> Bytes {
    body.slice_ref(raw.get().as_bytes())
}

impl OwnBatches for OwnMessageBatches {
    fn split(&self, body: &Bytes, _model: &str) -> Result<FileRequests, Box<Fault>> {
        let read: Requests<'_> = serde_json::from_slice(body).map_err(|_| Box::new(Fault::internal()))?;
        let mut items = Vec::with_capacity(read.requests.len());
        for (at, item) in read.requests.into_iter().enumerate() {
            let item = part_of(body, item);
            let read = self.read_item(&item).ok_or_else(|| Box::new(Fault::internal()))?;
            if !read.custom_id.bytes().all(is_plain) {
                let fix = "Use only letters, digits, - and _.".to_owned();
                return Err(wrong_value(
                    format!("requests[{at}].custom_id"),
                    "has characters that aren't allowed",
                    fix,
                ));
            }
            let params = serde_json::from_slice::<Params>(&read.body);
            if params.is_ok_and(|params| params.stream == Value::Bool(true)) {
                let path = format!("requests[{at}].params.stream");
                let fix = "Leave it out: batch requests can't stream.".to_owned();
                return Err(wrong_value(path, "asks for a stream", fix));
            }
            items.push(item);
        }
        Ok(FileRequests { items, details: String::new() })
    }

    fn read_item(&self, item: &Bytes) -> Option<OwnItem> {
        let Item { custom_id, params } = serde_json::from_slice(item).ok()?;
        Some(OwnItem { custom_id, body: part_of(item, params), addressed: None, endpoint: None })
    }

    fn write_line(&self, result: &OwnResult<'_>) -> Vec<u8> {
        let custom_id = Value::from(result.custom_id);
        let (kind, member) = match result.outcome {
            ItemOutcome::Succeeded => ("succeeded", Some("message")),
            ItemOutcome::Errored => ("errored", Some("error")),
            ItemOutcome::Cancelled => ("canceled", None),
            ItemOutcome::Expired => ("expired", None),
        };
        let mut line = format!(r#"{{"custom_id":{custom_id},"result":{{"type":"{kind}""#).into_bytes();
        if let (Some(member), Some(body)) = (member, result.body_on_one_line()) {
            line.extend_from_slice(format!(r#","{member}":"#).as_bytes());
            line.extend_from_slice(body.as_bytes());
        }
        line.extend_from_slice(b"}}\n");
        line
    }

    fn write_batch(&self, batch: &OwnBatch) -> String {
        let counts = batch.counts;
        let processing_status = match (batch.ended_unix_ms, batch.cancelled_unix_ms) {
            (Some(_), _) => "ended",
            (None, Some(_)) => "canceling",
            (None, None) => "in_progress",
        };
        let id = batch.id.to_string();
        let results_url = batch.ended_unix_ms.map(|_| results_address(&id));
        let written = Batch {
            id,
            r#type: "message_batch",
            processing_status,
            request_counts: Counts {
                processing: counts.processing,
                succeeded: counts.succeeded,
                errored: counts.errored,
                canceled: counts.cancelled,
                expired: counts.expired,
            },
            created_at: moment_of(batch.created_unix_ms),
            expires_at: moment_of(batch.expires_unix_ms),
            ended_at: batch.ended_unix_ms.map(moment_of),
            cancel_initiated_at: batch.cancelled_unix_ms.map(moment_of),
            archived_at: None,
            results_url,
        };
        serde_json::to_string(&written).unwrap_or_default()
    }

    fn write_deleted(&self, id: StoredObjectId) -> String {
        format!(r#"{{"id":"{id}","type":"message_batch_deleted"}}"#)
    }

    fn lines_type(&self) -> &'static str {
        "application/x-jsonl"
    }

    fn may_be_pooled(&self, item: &Bytes) -> bool {
        pooled::may_be_pooled(item)
    }
}

#[cfg(test)]
mod tests {
    use domain::{
        BatchCounts, Dialect, ObjectOwner, ProjectId, StoredKind, StoredObjectKind, TraceId, WorkspaceId,
    };
    use serde_json::json;

    use super::*;

    #[test]
    fn the_requests_of_a_batch_are_those_of_its_list() {
        let body = Bytes::from_static(
            br#"{"x":1,"requests":[{"custom_id":"a\u0062","params":{"model":"m", "max_tokens":1}},
                {"params":{"model":"n"},"custom_id":"c"}]}"#,
        );
        let items = OwnMessageBatches.split(&body, "").unwrap().items;
        let read: Vec<_> = items.iter().map(|item| OwnMessageBatches.read_item(item).unwrap()).collect();
        let read: Vec<_> = read.iter().map(|item| (&*item.custom_id, &item.body[..])).collect();
        let (first, second) = (br#"{"model":"m", "max_tokens":1}"#, br#"{"model":"n"}"#);
        assert_eq!(read, [("ab", &first[..]), ("c", &second[..])]);
        let streamed =
            Bytes::from_static(br#"{"requests":[{"custom_id":"a","params":{"model":"m","stream":true}}]}"#);
        let fault = OwnMessageBatches.split(&streamed, "").unwrap_err();
        assert_eq!(fault.param.as_deref(), Some("requests[0].params.stream"));
    }

    #[test]
    fn a_line_is_read_as_a_result_whatever_the_answer() {
        let line = |outcome, body: &str| {
            let body = body.as_bytes();
            let result = OwnResult { custom_id: "a\"b", outcome, body, position: 0, exchange: None };
            let line = OwnMessageBatches.write_line(&result);
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            serde_json::from_slice::<Value>(&line).unwrap()
        };
        let answer = line(ItemOutcome::Succeeded, "{\n \"id\": \"m\\n\"\n}");
        assert_eq!(
            answer,
            json!({"custom_id": "a\"b", "result": {"type": "succeeded", "message": {"id": "m\n"}}})
        );
        let error = line(ItemOutcome::Errored, r#"{"type":"error","error":{"type":"api_error"}}"#);
        assert_eq!(error["result"]["error"]["error"]["type"], "api_error");
        for (outcome, kind) in [(ItemOutcome::Cancelled, "canceled"), (ItemOutcome::Expired, "expired")] {
            assert_eq!(line(outcome, ""), json!({"custom_id": "a\"b", "result": {"type": kind}}));
        }
    }

    #[test]
    fn a_batch_is_shown_in_the_words_of_its_vendor() {
        let kind = StoredObjectKind::of(Dialect::Anthropic, StoredKind::Batch);
        let running = OwnBatch {
            id: StoredObjectId { kind, digest: [7; 16] },
            owner: ObjectOwner {
                workspace: WorkspaceId::new(1, [1; 10]),
                project: ProjectId::new(1, [2; 10]),
            },
            request: TraceId::new(1, [3; 10]),
            key: None,
            headers: Vec::new(),
            details: String::new(),
            counts: BatchCounts { processing: 1, cancelled: 2, ..BatchCounts::default() },
            created_unix_ms: 784_111_777_000,
            expires_unix_ms: 784_198_177_000,
            cancelled_unix_ms: Some(784_111_778_000),
            ended_unix_ms: None,
        };
        let show =
            |batch: &OwnBatch| serde_json::from_str::<Value>(&OwnMessageBatches.write_batch(batch)).unwrap();
        let shown = show(&running);
        assert_eq!((&shown["processing_status"], &shown["results_url"]), (&json!("canceling"), &Value::Null));
        assert_eq!(
            (&shown["request_counts"]["canceled"], &shown["created_at"]),
            (&json!(2), &json!("1994-11-06T08:49:37Z"))
        );
        let ended = show(&OwnBatch { ended_unix_ms: Some(784_111_779_000), ..running });
        assert_eq!(
            (&ended["processing_status"], &ended["ended_at"]),
            (&json!("ended"), &json!("1994-11-06T08:49:39Z"))
        );
        assert_eq!(
            ended["results_url"],
            format!("/v1/messages/batches/{}/results", ended["id"].as_str().unwrap())
        );
    }
}
