//! Converse's face.

use bytes::Bytes;
use conversation::answer::{AnswerOptions, ReadAnswer, ReadFrames, WriteAnswer};
use conversation::batch::{BatchOutputLine, LineAnswer};
use conversation::face::{Count, Face, Facts, Instructions, ParameterMembers, SaltPlace, bare_block};
use conversation::losses::DroppedFields;
use conversation::objects::StoredObjects;
use conversation::request::{Addressed, Request};
use conversation::routes::{DialectRoute, RouteAction, call, route};
use conversation::shared_fields::Fields;
use conversation::target::TargetModel;
use domain::{Fault, Operation, Prompt, StoredKind, TraceId};
use http::Method;
use http::header::{HeaderName, HeaderValue};
use json::members::keep_members;

use crate::features::NAMES;
use crate::objects::InvocationJobs;
use crate::{
    Frames, Reader, Writer, decode_request, error_body, error_type, job, read_model_path, read_prompt,
    shared_fields, status, write_prompt,
};

static REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const COUNTED: &[&str] = &["messages", "system", "toolConfig", "additionalModelRequestFields"];

const NAMED: &str = "/model-invocation-job/{rest}";
static ROUTES: [DialectRoute; 5] = [
    route(Method::POST, "/model/{rest}", RouteAction::Addressed),
    call(job::JOBS, Operation::Batch),
    route(Method::GET, "/model-invocation-jobs", RouteAction::ListObjects(StoredKind::Batch)),
    route(Method::GET, NAMED, RouteAction::StoredObject(StoredKind::Batch)),
    route(Method::POST, NAMED, RouteAction::StoredObject(StoredKind::Batch)),
];

static FACTS: Facts = Facts {
    features: NAMES,
    roots: &["/model", "/model-invocation-job", "/model-invocation-jobs"],
    stream_type: "application/vnd.amazon.eventstream",
    has_frames: true,
    // No frame is ignored by every SDK: some pass on each event, known or not.
    ping: b"",
    request_id: &REQUEST_ID,
    count: Count { open: "{\"inputTokens\":", member: "inputTokens", omits_zero: false },
    batches: Some(job::JOBS),
    salt: SaltPlace::Instructions(Instructions {
        name: "system",
        alias: "system",
        inner: None,
        block: bare_block,
        value: |line| format!("[{}]", bare_block(line)),
    }),
    parameters: ParameterMembers {
        container: Some("inferenceConfig"),
        output_tokens: &["maxTokens"],
        store: None,
    },
    has_object_arguments: true,
    has_pictures: false,
    ..Facts::USUAL
};

/// The dialect as the registry has it.
#[derive(Debug)]
pub struct Converse;

impl Face for Converse {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn routes(&self) -> &'static [DialectRoute] {
        &ROUTES
    }

    fn read_address(&self, rest: &str, _query: &str) -> Result<(Addressed, Operation), Box<Fault>> {
        read_model_path(rest)
    }

    fn objects(&self, kind: StoredKind) -> Option<&'static dyn StoredObjects> {
        (kind == StoredKind::Batch).then_some(&InvocationJobs)
    }

    fn reader(&self) -> Box<dyn ReadAnswer> {
        Box::new(Reader::default())
    }

    fn frames(&self) -> Option<Box<dyn ReadFrames>> {
        Some(Box::new(Frames::default()))
    }

    fn writer(&self, options: AnswerOptions) -> Box<dyn WriteAnswer> {
        Box::new(Writer::new(options))
    }

    fn decode_request(
        &self,
        operation: Operation,
        body: &Bytes,
        addressed: Option<&Addressed>,
    ) -> Result<Request, Box<Fault>> {
        decode_request(operation, body, addressed)
    }

    fn read_prompt(&self, body: &[u8], request: &Request) -> Result<Prompt, Box<Fault>> {
        read_prompt(body, request)
    }

    fn write_prompt(
        &self,
        prompt: &Prompt,
        target: &TargetModel<'_>,
        losses: &mut DroppedFields,
    ) -> Result<Vec<u8>, Box<Fault>> {
        write_prompt(prompt, target, losses)
    }

    fn decode_batch(
        &self,
        body: &Bytes,
        _addressed: Option<&Addressed>,
    ) -> Option<Result<Request, Box<Fault>>> {
        Some(job::decode(body))
    }

    fn read_batch_item<'l>(&self, line: &'l [u8]) -> Option<(BatchOutputLine, LineAnswer<'l>)> {
        job::read_item(line)
    }

    fn read_batch_request(&self, line: &[u8]) -> Option<Request> {
        job::read_request(line)
    }

    fn shared_fields(&self, _operation: Operation) -> &'static Fields {
        &shared_fields::REQUEST
    }

    fn error_body(&self, fault: &Fault, trace: TraceId) -> Bytes {
        error_body(fault, trace)
    }

    fn count_request(&self, body: &[u8], _model: &str) -> Result<String, Box<Fault>> {
        let inside = keep_members(body, COUNTED)?;
        Ok(format!("{{\"input\":{{\"converse\":{inside}}}}}"))
    }

    fn status(&self, fault: &Fault) -> u16 {
        status(fault)
    }

    fn error_header(&self, fault: &Fault) -> Option<(HeaderName, HeaderValue)> {
        Some((ERROR_TYPE, HeaderValue::from_static(error_type(fault))))
    }
}
