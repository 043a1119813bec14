//! Bedrock model invocation jobs: batches whose requests and results are in the customer's own S3 storage. A
//! job names the storage, the model and the role; result lines report the usage of each request.

use std::borrow::Cow;

use bytes::Bytes;
use conversation::batch::{BatchModels, BatchOutputLine, JobStorage, LineAnswer, Named};
use conversation::models::moment;
use conversation::request::{Request, RequestPart};
use domain::hosting::BatchPlaces;
use domain::{Fault, Grammar};
use json::fields::not_empty;
use json::refusal::{duplicate, missing, no_object, wrong_type};
use json::{Cursor, Kind, Span, Value};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};

/// The endpoint that creates jobs.
pub(crate) const JOBS: &str = "/model-invocation-job";

pub(crate) const MODEL: &str = "modelId";
/// The member that holds a job's id in responses.
pub(crate) const NAME: &str = "jobArn";
const MODEL_HOW: &str = "Name a model, such as anthropic/claude-haiku-4-5.";
/// The members of the client's request that lists show until the job is polled.
const LISTED: [&str; 7] = [
    "jobName",
    "roleArn",
    "clientRequestToken",
    "inputDataConfig",
    "outputDataConfig",
    "timeoutDurationInHours",
    "modelInvocationType",
];

/// The status of a new job.
pub(crate) const NEW_JOB: &str = "Submitted";

/// A job as lists show it after its creation, until it is polled.
pub(crate) fn job_list_entry(storage: &JobStorage, name: &str, model: &str, made_unix_s: u64) -> String {
    let made = &*moment(made_unix_s);
    let mut entry = storage.listed.clone();
    for (member, value) in [(NAME, name), (MODEL, model), ("status", NEW_JOB), ("submitTime", made)] {
        entry.insert(member.to_owned(), value.into());
    }
    Json::Object(entry).to_string()
}

/// Reads what later stages need to know about a new job.
pub(super) fn decode(body: &Bytes) -> Result<Request, Box<Fault>> {
    not_empty(body)?;
    let mut cursor = Cursor::new(body)?;
    let kind = cursor.kind()?;
    if kind != Kind::Object {
        return Err(no_object(kind));
    }
    let (mut model, mut listed) = (None, Map::new());
    cursor.object(|cursor, member| {
        let kind = cursor.kind()?;
        let span = cursor.skip()?;
        let name = member.key.decode();
        if name == MODEL {
            let Value::String(text) = Cursor::new(span.of(body))?.value()? else {
                return Err(wrong_type(MODEL.to_owned(), "a string", kind));
            };
            return match model.replace((text.decode().into_owned(), span)) {
                Some(_) => Err(duplicate(MODEL.to_owned())),
                None => Ok(()),
            };
        }
        if !LISTED.contains(&&*name) {
            return Ok(());
        }
        match listed.insert(name.clone().into_owned(), read(span, body)) {
            Some(_) => Err(duplicate(name.into_owned())),
            None => Ok::<(), Box<Fault>>(()),
        }
    })?;
    cursor.end()?;
    let named = model.filter(|(model, _)| !model.is_empty());
    let (model, span) = named.ok_or_else(|| missing(MODEL.to_owned(), MODEL_HOW))?;
    let places = BatchPlaces {
        input: text(
            &listed,
            BatchPlaces::INPUT,
            "Name the file of requests, as in s3://bucket/in/asks.jsonl.",
        )?,
        output: text(
            &listed,
            BatchPlaces::OUTPUT,
            "Name the location for the results, as in s3://bucket/out/.",
        )?,
        role: text(&listed, BatchPlaces::ROLE, "Name the role that has access to the storage.")?,
    };
    let storage = JobStorage { places, listed };
    let request = Request::of_model(&model);
    let bundle = BatchModels::of_job(model, MODEL, span, storage);
    Ok(Request { max_output_tokens: Some(0), part: RequestPart::Batch(Box::new(bundle)), ..request })
}

fn read(span: Span, body: &[u8]) -> Json {
    serde_json::from_slice(span.of(body)).unwrap_or_default()
}

/// The string at a dotted path below an object.
fn text(members: &Map<String, Json>, path: &'static str, fix: &'static str) -> Result<String, Box<Fault>> {
    let mut parts = path.split('.');
    let first = parts.next().and_then(|part| members.get(part));
    match parts.try_fold(first, |value, part| value.map(|value| value.get(part))).flatten() {
        Some(Json::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(Json::Null) | None => Err(missing(path.to_owned(), fix)),
        Some(other) => Err(wrong_type(path.to_owned(), "a string", kind_of(other))),
    }
}

fn kind_of(value: &Json) -> Kind {
    match value {
        Json::Null => Kind::Null,
        Json::Bool(_) => Kind::Boolean,
        Json::Number(_) => Kind::Number,
        Json::String(_) => Kind::String,
        Json::Array(_) => Kind::Array,
        Json::Object(_) => Kind::Object,
    }
}

/// The status of a job, and where its results are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InvocationJob {
    pub status: String,
    message: Option<String>,
    #[serde(rename = "jobArn")]
    name: String,
    submit_time: String,
    last_modified_time: Option<String>,
    end_time: Option<String>,
    processed_record_count: Option<u64>,
    input_data_config: InputConfig,
    output_data_config: OutputConfig,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct InputConfig {
    #[serde(rename = "s3InputDataConfig")]
    at: StorageUri,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct OutputConfig {
    #[serde(rename = "s3OutputDataConfig")]
    at: StorageUri,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct StorageUri {
    #[serde(rename = "s3Uri")]
    uri: String,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobOutcome {
    /// It is still running.
    Running,
    /// It ended without a single processed request.
    NoResults,
    /// It ended, and its results are stored.
    Results,
}

impl InvocationJob {
    pub fn outcome(&self) -> JobOutcome {
        match (self.status.as_str(), self.processed_record_count) {
            ("Failed", _) | ("Stopped" | "Expired", Some(0)) => JobOutcome::NoResults,
            ("Completed" | "PartiallyCompleted" | "Stopped" | "Expired", _) => JobOutcome::Results,
            _ => JobOutcome::Running,
        }
    }

    /// RFC 3339.
    pub fn ended(&self) -> &str {
        self.end_time.as_deref().or(self.last_modified_time.as_deref()).unwrap_or(&self.submit_time)
    }

    /// The status and its reason in the provider's words.
    pub fn why(&self) -> Cow<'_, str> {
        match &self.message {
            Some(message) => format!("it is {}: {message}", self.status).into(),
            None => format!("it is {}", self.status).into(),
        }
    }

    /// The URI of its results: a file named after the input file, in a folder named after the job.
    pub fn results(&self) -> Option<String> {
        let job = self.name.rsplit('/').next()?;
        let file = self.input_data_config.at.uri.rsplit('/').next().filter(|file| !file.is_empty())?;
        Some(format!("{}/{job}/{file}.out", self.output_data_config.at.uri.trim_end_matches('/')))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobRequests {
    input_data_config: InputConfig,
}

/// The URI of the requests of a job, or of the call that makes it.
pub(crate) fn requests_of(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<JobRequests>(body).ok().map(|job| job.input_data_config.at.uri)
}

/// Reads a provider's job object; `None` where it is not one.
pub(crate) fn read_job(body: &[u8]) -> Option<InvocationJob> {
    serde_json::from_slice(body).ok()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemLine<'a> {
    #[serde(borrow)]
    record_id: Cow<'a, str>,
    #[serde(borrow)]
    model_output: Option<&'a RawValue>,
    error: Option<Failed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failed {
    error_code: Option<Json>,
}

/// Reads a line of a results file; `None` where it is not a result.
pub(super) fn read_item(line: &[u8]) -> Option<(BatchOutputLine, LineAnswer<'_>)> {
    let ItemLine { record_id, model_output, error } = serde_json::from_slice(line).ok()?;
    let nothing = BatchOutputLine {
        custom_id: record_id.into_owned(),
        model: None,
        status: 0,
        request_id: None,
        error_code: None,
        usage: None,
    };
    Some(match (model_output, error) {
        (Some(output), None) => {
            let output = output.get();
            let model = serde_json::from_str::<Named<'_>>(output).ok().and_then(|named| named.model);
            let line = BatchOutputLine { model: model.map(Cow::into_owned), status: 200, ..nothing };
            (line, counted(output))
        }
        (_, Some(Failed { error_code })) => {
            let code = error_code.as_ref().and_then(Json::as_u64).and_then(|code| u16::try_from(code).ok());
            let status = code.filter(|status| (400..600).contains(status)).unwrap_or(500);
            let words = error_code.as_ref().and_then(Json::as_str).map(str::to_owned);
            (BatchOutputLine { status, error_code: words, ..nothing }, None)
        }
        (None, None) => (BatchOutputLine { error_code: Some("batch_not_tried".to_owned()), ..nothing }, None),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestLine<'a> {
    #[serde(borrow)]
    model_input: &'a RawValue,
}

/// Reads what bounds the answer to a request in a job's file; `None` where it has no messages, as those of `counted` have.
pub(super) fn read_request(line: &[u8]) -> Option<Request> {
    let RequestLine { model_input } = serde_json::from_slice(line).ok()?;
    let input: Map<String, Json> = serde_json::from_str(model_input.get()).ok()?;
    input.get("messages")?;
    let most = input.get("max_tokens").or_else(|| input.get("max_completion_tokens"));
    let most = most.or_else(|| input.get("inferenceConfig")?.get("maxTokens"));
    let max_output_tokens = most.and_then(Json::as_u64);
    Some(Request { max_output_tokens, prompt_bytes: model_input.get().len() as u64, ..Request::of_model("") })
}

#[derive(Deserialize)]
struct Shape {
    #[serde(rename = "type")]
    kind: Option<String>,
    choices: Option<Json>,
    usage: Option<Map<String, Json>>,
}

/// A model's own response, where its vendor's form reports a usage.
fn counted(output: &str) -> LineAnswer<'_> {
    let shape: Shape = serde_json::from_str(output).ok()?;
    let usage = shape.usage?;
    let grammar = match shape.kind.as_deref() {
        Some("message") if usage.contains_key("input_tokens") => Grammar::Anthropic,
        _ if usage.contains_key("inputTokens") => Grammar::Converse,
        _ if shape.choices.is_some() && usage.contains_key("prompt_tokens") => Grammar::Chat,
        _ => return None,
    };
    Some((output, grammar))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NEW: &str = r#"{"jobName":"night","roleArn":"arn:aws:iam::123456789012:role/batches","modelId": "anthropic/m",
        "inputDataConfig":{"s3InputDataConfig":{"s3Uri":"s3://own/in/asks.jsonl"}},
        "outputDataConfig":{"s3OutputDataConfig":{"s3Uri":"s3://own/out/"}},"tags":[{"key":"modelId","value":"x"}]}"#;

    #[test]
    fn a_job_names_its_model_and_its_places() {
        let body = Bytes::from_static(NEW.as_bytes());
        let mut request = decode(&body).unwrap();
        assert_eq!(request.model, "anthropic/m");
        let bundle = request.batch_mut().unwrap();
        assert_eq!(bundle.models[0].path, "modelId");
        let storage = bundle.storage.clone().unwrap();
        assert_eq!(
            (&*storage.places.input, &*storage.places.output),
            ("s3://own/in/asks.jsonl", "s3://own/out/")
        );
        assert_eq!(storage.places.role, "arn:aws:iam::123456789012:role/batches");
        bundle.models[0].upstream_name = Some("us.anthropic.m".to_owned());
        let sent = conversation::request::upstream_body(&body, &request, "unread", true).concat();
        let expected = NEW.replace(r#""modelId": "anthropic/m""#, r#""modelId": "us.anthropic.m""#);
        assert_eq!(String::from_utf8(sent).unwrap(), expected);
        let entry: Json =
            serde_json::from_str(&job_list_entry(&storage, "arn:x", "anthropic/m", 1_795_248_000)).unwrap();
        let expected = json!({
            "jobArn": "arn:x", "jobName": "night", "modelId": "anthropic/m", "status": "Submitted",
            "submitTime": "2026-11-21T08:00:00Z", "roleArn": storage.places.role,
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": storage.places.input}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": storage.places.output}},
        });
        assert_eq!(entry, expected);
    }

    #[test]
    fn what_is_wrong_with_a_job_is_said_with_its_place() {
        let without = |from: &str, to: &str| NEW.replacen(from, to, 1);
        for (body, code, param) in [
            (String::new(), "empty_body", None),
            ("[]".to_owned(), "invalid_type", None),
            ("{".to_owned(), "invalid_json", None),
            (without("modelId", "model"), "missing_required_parameter", Some("modelId")),
            (without(r#""anthropic/m""#, "7"), "invalid_type", Some("modelId")),
            (without("jobName", "modelId"), "duplicate_field", Some("modelId")),
            (without("jobName", "roleArn"), "duplicate_field", Some("roleArn")),
            (without("roleArn", "role"), "missing_required_parameter", Some("roleArn")),
            (without("s3Uri", "uri"), "missing_required_parameter", Some(BatchPlaces::INPUT)),
            (without(r#""s3://own/out/""#, "[]"), "invalid_type", Some(BatchPlaces::OUTPUT)),
        ] {
            let fault = decode(&Bytes::from(body.clone())).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), (code, param), "{body}");
        }
    }

    #[test]
    fn a_look_tells_how_far_it_is_and_where_results_lie() {
        let job = |status: &str, more: &str| {
            let body = format!(
                r#"{{"jobArn":"arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abc123def456","status":"{status}",
                "submitTime":"2026-11-21T08:00:00Z","inputDataConfig":{{"s3InputDataConfig":{{"s3Uri":"s3://own/in/asks.jsonl"}}}},
                "outputDataConfig":{{"s3OutputDataConfig":{{"s3Uri":"s3://own/out/"}}}}{more}}}"#
            );
            read_job(body.as_bytes()).unwrap()
        };
        let ended = job("Completed", r#","endTime":"2026-11-21T09:00:00Z""#);
        assert_eq!((ended.outcome(), ended.ended()), (JobOutcome::Results, "2026-11-21T09:00:00Z"));
        assert_eq!(ended.results().as_deref(), Some("s3://own/out/abc123def456/asks.jsonl.out"));
        let new =
            br#"{"jobName":"n","inputDataConfig":{"s3InputDataConfig":{"s3Uri":"s3://own/in/asks.jsonl"}}}"#;
        assert_eq!(requests_of(new).as_deref(), Some("s3://own/in/asks.jsonl"));
        let failed = job("Failed", r#","message":"no role""#);
        assert_eq!((failed.outcome(), &*failed.why()), (JobOutcome::NoResults, "it is Failed: no role"));
        for (status, more, end) in [
            ("Stopped", r#","processedRecordCount":0"#, JobOutcome::NoResults),
            ("Stopped", r#","processedRecordCount":3"#, JobOutcome::Results),
            ("Expired", "", JobOutcome::Results),
            ("PartiallyCompleted", "", JobOutcome::Results),
            ("InProgress", "", JobOutcome::Running),
            ("SomethingNew", "", JobOutcome::Running),
        ] {
            assert_eq!(job(status, more).outcome(), end, "{status} {more}");
        }
        assert_eq!(read_job(b"{}"), None);
    }
}
