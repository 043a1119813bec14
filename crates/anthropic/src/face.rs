//! The Messages API's face.

use bytes::Bytes;
use conversation::answer::{AnswerOptions, ReadAnswer, WriteAnswer};
use conversation::batch::{BatchOutputLine, LineAnswer};
use conversation::face::{
    Count, Face, Facts, Instructions, PrefixMembers, RateLimits, SaltPlace, text_block,
};
use conversation::losses::DroppedFields;
use conversation::models::ModelRow;
use conversation::objects::StoredObjects;
use conversation::own_batch::OwnBatches;
use conversation::repeat::RepeatsPrefixes;
use conversation::request::{Addressed, Request};
use conversation::routes::{DialectRoute, RouteAction, call, route};
use conversation::shared_fields::Fields;
use conversation::target::TargetModel;
use domain::{Fault, Operation, Prompt, StoredKind, TraceId};
use http::Method;
use http::header::HeaderName;
use json::members::keep_members;

use crate::features::NAMES;
use crate::objects;
use crate::own_batch::OwnMessageBatches;
use crate::repeat::Repeats;
use crate::{
    PING, Reader, Writer, batch, decode_request, error_body, models, read_prompt, shared_fields, status,
    write_prompt,
};

static REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
static VERSION: HeaderName = HeaderName::from_static("anthropic-version");
static HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("anthropic-beta"),
    HeaderName::from_static("x-session-affinity"),
];
static REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("anthropic-ratelimit-requests-limit"),
    HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
    HeaderName::from_static("anthropic-ratelimit-requests-reset"),
];
static TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("anthropic-ratelimit-tokens-limit"),
    HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
    HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
];
const COUNTED: &[&str] =
    &["model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control"];

static ROUTES: [DialectRoute; 11] = [
    call("/v1/messages", Operation::Chat),
    call("/v1/messages/count_tokens", Operation::Count),
    route(Method::GET, LIST, RouteAction::ListObjects(StoredKind::Batch)),
    call(LIST, Operation::Batch),
    route(Method::GET, NAMED, RouteAction::StoredObject(StoredKind::Batch)),
    route(Method::POST, NAMED, RouteAction::StoredObject(StoredKind::Batch)),
    route(Method::DELETE, NAMED, RouteAction::StoredObject(StoredKind::Batch)),
    route(Method::GET, FILES, RouteAction::ListObjects(StoredKind::File)),
    call(FILES, Operation::File),
    route(Method::GET, FILE, RouteAction::StoredObject(StoredKind::File)),
    route(Method::DELETE, FILE, RouteAction::StoredObject(StoredKind::File)),
];
const LIST: &str = "/v1/messages/batches";
const NAMED: &str = "/v1/messages/batches/{rest}";
/// Clients know it as `/v1/files`, which is also a path of another API.
const FILES: &str = "/v1/messages/files";
const FILE: &str = "/v1/messages/files/{rest}";

static FACTS: Facts = Facts {
    features: NAMES,
    roots: &["/v1/messages"],
    sdk_header: Some(&VERSION),
    // Its files are none of another API's, whose provider must not get them.
    shared_paths: &[("/v1/files", FILES)],
    ping: PING,
    request_id: &REQUEST_ID,
    native_headers: &HEADERS,
    rate_limits: RateLimits {
        requests: &REQUESTS,
        tokens: &TOKENS,
        has_reset: false,
        upstream: Some(b"anthropic-ratelimit-"),
    },
    has_object_arguments: true,
    has_pictures: false,
    count: Count { open: "{\"input_tokens\":", ..Facts::USUAL.count },
    prefix: Some(PrefixMembers {
        instructions: "system",
        turns: "messages",
        key: "cache_control",
        takes_marks: true,
    }),
    batches: Some(batch::MESSAGES),
    salt: SaltPlace::Instructions(Instructions {
        name: "system",
        alias: "system",
        inner: None,
        block: text_block,
        value: |line| format!(r#""{line}""#),
    }),
    ..Facts::USUAL
};

/// The dialect as the registry has it.
#[derive(Debug)]
pub struct Anthropic;

impl Face for Anthropic {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn routes(&self) -> &'static [DialectRoute] {
        &ROUTES
    }

    fn objects(&self, kind: StoredKind) -> Option<&'static dyn StoredObjects> {
        match kind {
            StoredKind::File => Some(&objects::FILES),
            StoredKind::Batch => Some(&objects::BATCHES),
            StoredKind::Video | StoredKind::CachedContent => None,
        }
    }

    fn reader(&self) -> Box<dyn ReadAnswer> {
        Box::new(Reader::default())
    }

    fn writer(&self, options: AnswerOptions) -> Box<dyn WriteAnswer> {
        Box::new(Writer::new(options))
    }

    fn decode_request(
        &self,
        operation: Operation,
        body: &Bytes,
        _addressed: Option<&Addressed>,
    ) -> Result<Request, Box<Fault>> {
        decode_request(operation, body)
    }

    fn read_prompt(&self, body: &[u8], _request: &Request) -> Result<Prompt, Box<Fault>> {
        read_prompt(body)
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
        Some(batch::decode(body))
    }

    fn own_batches(&self) -> Option<&'static dyn OwnBatches> {
        Some(&OwnMessageBatches)
    }

    fn read_batch_item<'l>(&self, line: &'l [u8]) -> Option<(BatchOutputLine, LineAnswer<'l>)> {
        batch::read_item(line)
    }

    fn shared_fields(&self, _operation: Operation) -> &'static Fields {
        &shared_fields::REQUEST
    }

    fn repeats(&self) -> Option<&'static dyn RepeatsPrefixes> {
        Some(&Repeats)
    }

    fn error_body(&self, fault: &Fault, trace: TraceId) -> Bytes {
        error_body(fault, trace)
    }

    fn count_request(&self, body: &[u8], _model: &str) -> Result<String, Box<Fault>> {
        keep_members(body, COUNTED)
    }

    fn status(&self, fault: &Fault) -> u16 {
        status(fault)
    }

    fn models_list(&self, rows: &[ModelRow]) -> Bytes {
        models::models_list(rows)
    }

    fn model_object(&self, row: &ModelRow) -> Bytes {
        models::model_object(row)
    }
}
