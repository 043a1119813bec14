//! Responses' face.

use bytes::Bytes;
use conversation::answer::{AnswerOptions, ReadAnswer, WriteAnswer};
use conversation::face::{Face, Facts, ParameterMembers, PrefixMembers, RateLimits, TurnMembers};
use conversation::losses::DroppedFields;
use conversation::openai_error;
use conversation::request::{Addressed, Request};
use conversation::routes::{DialectRoute, RouteAction, call, route};
use conversation::shared_fields::Fields;
use conversation::target::TargetModel;
use domain::{Fault, Operation, Prompt, TraceId, Usage};
use http::Method;
use http::header::HeaderName;

use crate::features::NAMES;
use crate::{
    Reader, StoredReader, Writer, address, decode_request, decode_stored_request, read_final_usage,
    read_prompt, shared_fields, write_prompt,
};

static HEADERS: [HeaderName; 2] =
    [HeaderName::from_static("x-grok-conv-id"), HeaderName::from_static("x-session-affinity")];

const NAMED: &str = "/v1/responses/{rest}";
static ROUTES: [DialectRoute; 6] = [
    call("/v1/responses", Operation::Chat),
    call("/v1/responses/input_tokens", Operation::Count),
    route(Method::POST, "/v1/responses/compact", RouteAction::Compact),
    route(Method::GET, NAMED, RouteAction::StoredResponse),
    route(Method::DELETE, NAMED, RouteAction::StoredResponse),
    route(Method::POST, NAMED, RouteAction::StoredResponse),
];

static FACTS: Facts = Facts {
    features: NAMES,
    roots: &["/v1/responses"],
    batch_endpoints: &[("/v1/responses", Operation::Chat)],
    reports_hosted_calls: true,
    ends_with_its_error: true,
    native_headers: &HEADERS,
    rate_limits: RateLimits { upstream: Some(b"x-ratelimit-"), ..Facts::USUAL.rate_limits },
    prefix: Some(PrefixMembers {
        instructions: "instructions",
        turns: "input",
        key: "prompt_cache_key",
        takes_marks: false,
    }),
    parameters: ParameterMembers {
        container: None,
        output_tokens: &["max_output_tokens"],
        store: Some(("store", true)),
    },
    turns: TurnMembers { list: "input", content: "content" },
    ..Facts::USUAL
};

/// The dialect as the registry has it.
#[derive(Debug)]
pub struct Responses;

impl Face for Responses {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn routes(&self) -> &'static [DialectRoute] {
        &ROUTES
    }

    fn read_response_address(
        &self,
        method: &Method,
        rest: &str,
        query: &str,
    ) -> Result<Addressed, Box<Fault>> {
        address::read_stored_address(method, rest, query)
    }

    fn reader(&self) -> Box<dyn ReadAnswer> {
        Box::new(Reader::default())
    }

    fn stored_reader(&self) -> Box<dyn ReadAnswer> {
        Box::new(StoredReader::default())
    }

    fn stored_usage(&self, body: &[u8]) -> Option<Usage> {
        read_final_usage(body)
    }

    fn writer(&self, options: AnswerOptions) -> Box<dyn WriteAnswer> {
        Box::new(Writer::new(options))
    }

    fn decode_request(
        &self,
        _operation: Operation,
        body: &Bytes,
        addressed: Option<&Addressed>,
    ) -> Result<Request, Box<Fault>> {
        match addressed.and_then(|addressed| addressed.stored.as_ref()) {
            Some(stored) => Ok(decode_stored_request(stored)),
            None => decode_request(body),
        }
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

    fn shared_fields(&self, _operation: Operation) -> &'static Fields {
        &shared_fields::REQUEST
    }

    fn error_body(&self, fault: &Fault, trace: TraceId) -> Bytes {
        openai_error::error_body(fault, trace)
    }
}
