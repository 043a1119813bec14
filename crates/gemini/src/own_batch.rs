//! Content batches that the gateway works through itself. Their results are part of the batch, as at the provider.

use bytes::Bytes;
use conversation::models::moment;
use conversation::own_batch::{FileRequests, OwnBatches, OwnItem, OwnResult};
use conversation::request::Addressed;
use domain::{Fault, ItemOutcome, OwnBatch, StoredObjectId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::batch::{RESOURCE, code_of};
use crate::pooled;

const KIND: &str = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch";
const OUTPUT_KIND: &str =
    "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatchOutput";
/// Codes of `google.rpc`.
const CANCELLED: i64 = 1;
const DEADLINE_EXCEEDED: i64 = 4;

#[derive(Debug)]
pub(crate) struct OwnContentBatches;

/// A new batch; fields have two spellings.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    batch: New<'a>,
}

#[derive(Deserialize)]
struct New<'a> {
    #[serde(rename = "displayName", alias = "display_name", default)]
    display_name: String,
    #[serde(borrow, rename = "inputConfig", alias = "input_config")]
    input: Input<'a>,
}

#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    requests: Requests<'a>,
}

#[derive(Deserialize)]
struct Requests<'a> {
    #[serde(borrow)]
    requests: Vec<Request<'a>>,
}

/// A request as it is sent, and as it is kept: then with the model of the batch.
#[derive(Serialize, Deserialize)]
struct Request<'a> {
    #[serde(default)]
    model: Option<String>,
    #[serde(borrow)]
    request: &'a RawValue,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

/// The details stored with a batch.
#[derive(Serialize, Deserialize, Default)]
struct Details {
    model: String,
    display_name: String,
}

#[derive(Deserialize)]
struct Refused {
    error: Status,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    status: String,
    #[serde(default)]
    message: String,
}

fn moment_of(unix_ms: u64) -> String {
    moment(unix_ms / 1_000)
}

fn status(code: i64, message: &str) -> String {
    json!({"error": {"code": code, "message": message}}).to_string()
}

/// The batch but for its results.
fn described(batch: &OwnBatch) -> Value {
    let Details { model, display_name } = serde_json::from_str(&batch.details).unwrap_or_default();
    let counts = batch.counts;
    let is_expired = batch.cancelled_unix_ms.is_none() && counts.expired > 0;
    let state = match (batch.ended_unix_ms, batch.cancelled_unix_ms) {
        (None, _) if counts.processing == counts.total() => "BATCH_STATE_PENDING",
        (None, _) => "BATCH_STATE_RUNNING",
        (Some(_), Some(_)) => "BATCH_STATE_CANCELLED",
        (Some(_), None) if is_expired => "BATCH_STATE_EXPIRED",
        (Some(_), None) => "BATCH_STATE_SUCCEEDED",
    };
    // Numbers of 64 bits are texts in this API's JSON.
    let text = |count: u64| count.to_string();
    let mut metadata = json!({
        "@type": KIND, "model": format!("models/{model}"), "displayName": display_name,
        "createTime": moment_of(batch.created_unix_ms),
        "updateTime": moment_of(batch.ended_unix_ms.unwrap_or(batch.created_unix_ms)),
        "batchStats": {
            "requestCount": text(counts.total()), "successfulRequestCount": text(counts.succeeded),
            "failedRequestCount": text(counts.errored + counts.cancelled + counts.expired),
            "pendingRequestCount": text(counts.processing),
        },
        "state": state, "name": format!("{RESOURCE}{}", batch.id),
    });
    if let (Some(ended), Some(fields)) = (batch.ended_unix_ms, metadata.as_object_mut()) {
        fields.insert("endTime".to_owned(), json!(moment_of(ended)));
    }
    metadata
}

impl OwnBatches for OwnContentBatches {
    fn split(&self, body: &Bytes, model: &str) -> Result<FileRequests, Box<Fault>> {
        let read: Body<'_> = serde_json::from_slice(body).map_err(|_| Box::new(Fault::internal()))?;
        let New { display_name, input } = read.batch;
        let kept = |one: Request<'_>| serde_json::to_vec(&Request { model: Some(model.to_owned()), ..one });
        let items = input.requests.requests.into_iter().map(|one| kept(one).map(Bytes::from));
        let items = items.collect::<Result<Vec<Bytes>, _>>().map_err(|_| Box::new(Fault::internal()))?;
        let details = Details { model: model.to_owned(), display_name };
        let details = serde_json::to_string(&details).map_err(|_| Box::new(Fault::internal()))?;
        Ok(FileRequests { items, details })
    }

    /// What its client named it is its metadata, as they are written.
    fn read_item(&self, item: &Bytes) -> Option<OwnItem> {
        let Request { model, request, metadata } = serde_json::from_slice(item).ok()?;
        Some(OwnItem {
            custom_id: metadata.map_or_else(String::new, |metadata| metadata.get().to_owned()),
            body: item.slice_ref(request.get().as_bytes()),
            // A new batch has its model in its address.
            addressed: Some(Addressed { model: model.unwrap_or_default(), ..Addressed::default() }),
            endpoint: None,
        })
    }

    fn write_line(&self, result: &OwnResult<'_>) -> Vec<u8> {
        let outcome = match result.outcome {
            ItemOutcome::Succeeded => {
                result.body_on_one_line().map(|answer| format!(r#"{{"response":{answer}}}"#))
            }
            ItemOutcome::Errored => {
                let refused = serde_json::from_slice::<Refused>(result.body).ok();
                refused.map(|refused| status(code_of(&refused.error.status), &refused.error.message))
            }
            ItemOutcome::Cancelled => {
                Some(status(CANCELLED, "The batch was cancelled before this request began."))
            }
            ItemOutcome::Expired => {
                Some(status(DEADLINE_EXCEEDED, "The batch expired before this request began."))
            }
        };
        let mut line = outcome.unwrap_or_else(|| status(code_of("INTERNAL"), "The request has no answer."));
        if !result.custom_id.is_empty() {
            line.pop();
            line.push_str(&format!(r#","metadata":{}}}"#, result.custom_id.replace(['\n', '\r'], " ")));
        }
        line.push('\n');
        line.into_bytes()
    }

    fn write_batch(&self, batch: &OwnBatch) -> String {
        let mut written = json!({"name": format!("{RESOURCE}{}", batch.id), "metadata": described(batch)});
        if let (Some(_), Some(fields)) = (batch.ended_unix_ms, written.as_object_mut()) {
            fields.insert("done".to_owned(), json!(true));
        }
        written.to_string()
    }

    /// The provider tells the results twice.
    fn write_around_results(&self, batch: &OwnBatch) -> Option<Vec<String>> {
        batch.ended_unix_ms?;
        let name = json!(format!("{RESOURCE}{}", batch.id));
        let metadata = described(batch).to_string();
        let metadata = metadata.strip_suffix('}')?;
        Some(vec![
            format!(
                r#"{{"name":{name},"metadata":{metadata},"output":{{"inlinedResponses":{{"inlinedResponses":["#
            ),
            format!(
                r#"]}}}}}},"done":true,"response":{{"@type":"{OUTPUT_KIND}","inlinedResponses":{{"inlinedResponses":["#
            ),
            "]}}}".to_owned(),
        ])
    }

    fn write_cancelled(&self, _batch: &OwnBatch) -> String {
        "{}".to_owned()
    }

    fn write_deleted(&self, _id: StoredObjectId) -> String {
        "{}".to_owned()
    }

    fn lines_type(&self) -> &'static str {
        "application/json"
    }

    fn may_be_pooled(&self, item: &Bytes) -> bool {
        pooled::may_be_pooled(item)
    }

    fn poolable(&self, content: &Bytes) -> Option<Vec<Bytes>> {
        let requests = pooled::requests(std::str::from_utf8(content).ok()?)?;
        Some(requests.into_iter().map(|one| content.slice_ref(one.get().as_bytes())).collect())
    }
}

#[cfg(test)]
mod tests {
    use domain::{BatchCounts, ObjectOwner, ProjectId, TraceId, WorkspaceId};

    use super::*;
    use crate::objects::kind;

    const MODEL: &str = "anthropic/claude-haiku-4-5";

    fn batch() -> OwnBatch {
        let (workspace, project) = (WorkspaceId::new(1, [1; 10]), ProjectId::new(1, [2; 10]));
        OwnBatch {
            id: StoredObjectId { kind: kind(), digest: [7; 16] },
            owner: ObjectOwner { workspace, project },
            request: TraceId::new(1, [3; 10]),
            key: None,
            headers: Vec::new(),
            details: json!({"model": MODEL, "display_name": "tides"}).to_string(),
            counts: BatchCounts { processing: 2, ..BatchCounts::default() },
            created_unix_ms: 784_111_777_000,
            expires_unix_ms: 784_198_177_000,
            cancelled_unix_ms: None,
            ended_unix_ms: None,
        }
    }

    #[test]
    fn each_request_is_one_to_the_model_of_the_address() {
        let body = Bytes::from_static(
            br#"{"batch":{"display_name":"tides","input_config":{"requests":{"requests":[
                {"request":{"contents":[ 1 ]},"metadata":{"key":"a"}},{"request":{}}]}}}}"#,
        );
        let FileRequests { items, details } = OwnContentBatches.split(&body, MODEL).unwrap();
        let read: Vec<OwnItem> =
            items.iter().map(|item| OwnContentBatches.read_item(item).unwrap()).collect();
        assert_eq!(
            (&*read[0].body, read[0].custom_id.as_str()),
            (&br#"{"contents":[ 1 ]}"#[..], r#"{"key":"a"}"#)
        );
        assert_eq!((&*read[1].body, read[1].custom_id.as_str()), (&b"{}"[..], ""));
        assert!(
            read.iter().all(|item| item.addressed.as_ref().is_some_and(|address| address.model == MODEL))
        );
        assert_eq!(
            serde_json::from_str::<Value>(&details).unwrap(),
            json!({"model": MODEL, "display_name": "tides"})
        );
    }

    #[test]
    fn a_result_has_the_answer_or_a_status_and_the_metadata_of_its_request() {
        let line = |outcome, body: &str, custom_id: &str| {
            let result = OwnResult { custom_id, outcome, body: body.as_bytes(), position: 0, exchange: None };
            serde_json::from_slice::<Value>(&OwnContentBatches.write_line(&result)).unwrap()
        };
        let answered = line(ItemOutcome::Succeeded, "{\n\"candidates\":[]}", r#"{"key":"a"}"#);
        assert_eq!(answered, json!({"response": {"candidates": []}, "metadata": {"key": "a"}}));
        let refused = r#"{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}"#;
        assert_eq!(line(ItemOutcome::Errored, refused, ""), json!({"error": {"code": 3, "message": "no"}}));
        assert_eq!(line(ItemOutcome::Errored, "<html>", "")["error"]["code"], 13);
        for (outcome, code) in [(ItemOutcome::Cancelled, 1), (ItemOutcome::Expired, 4)] {
            assert_eq!(line(outcome, "", "")["error"]["code"], code);
        }
    }

    #[test]
    fn a_batch_has_its_results_twice_once_it_has_ended() {
        let read =
            |batch: &OwnBatch| serde_json::from_str::<Value>(&OwnContentBatches.write_batch(batch)).unwrap();
        let state = |batch: &OwnBatch| read(batch)["metadata"]["state"].as_str().unwrap().to_owned();
        let open = batch();
        assert_eq!((state(&open).as_str(), read(&open).get("done")), ("BATCH_STATE_PENDING", None));
        assert!(OwnContentBatches.write_around_results(&open).is_none());
        let some = BatchCounts { processing: 1, succeeded: 1, ..BatchCounts::default() };
        assert_eq!(state(&OwnBatch { counts: some, ..batch() }), "BATCH_STATE_RUNNING");
        let counts = BatchCounts { succeeded: 1, errored: 1, ..BatchCounts::default() };
        let ended = OwnBatch { counts, ended_unix_ms: Some(784_111_779_000), ..batch() };
        assert_eq!(state(&ended), "BATCH_STATE_SUCCEEDED");
        let cancelled = OwnBatch { cancelled_unix_ms: Some(1), ..ended.clone() };
        assert_eq!(state(&cancelled), "BATCH_STATE_CANCELLED");
        let expired = BatchCounts { expired: 1, ..counts };
        assert_eq!(state(&OwnBatch { counts: expired, ..ended.clone() }), "BATCH_STATE_EXPIRED");
        let whole = OwnContentBatches.write_around_results(&ended).unwrap().join("{}");
        let whole: Value = serde_json::from_str(&whole).unwrap();
        let results = json!({"inlinedResponses": [{}]});
        assert_eq!((&whole["response"]["inlinedResponses"], &whole["done"]), (&results, &json!(true)));
        assert_eq!(whole["metadata"]["output"]["inlinedResponses"], results);
        let stats = &whole["metadata"]["batchStats"];
        assert_eq!((&stats["requestCount"], &stats["failedRequestCount"]), (&json!("2"), &json!("1")));
    }
}
