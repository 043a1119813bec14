//! A dialect's face: what the gateway needs of each wire format, which its crate implements once.

use std::borrow::Cow;
use std::fmt::Debug;

use bytes::Bytes;
use domain::{Fault, FaultClass, Operation, Prompt, StoredKind, TraceId, Usage};
use http::Method;
use http::header::{HeaderName, HeaderValue};
use json::members::keep_members;

use crate::answer::{AnswerFacts, AnswerOptions, ReadAnswer, ReadFrames, StreamFault, WriteAnswer};
use crate::batch::{BatchOutputLine, LineAnswer};
use crate::divide::DividesPrompts;
use crate::embed::Embeddings;
use crate::features::FeatureNames;
use crate::losses::DroppedFields;
use crate::models::{self, ModelRow};
use crate::objects::StoredObjects;
use crate::own_batch::OwnBatches;
use crate::repeat::RepeatsPrefixes;
use crate::request::{Addressed, Request};
use crate::routes::DialectRoute;
use crate::shared_fields::Fields;
use crate::status::common;
use crate::target::TargetModel;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
static TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];
/// The members of a request that count towards its tokens, as OpenAI's endpoint takes them.
const COUNTED: &[&str] = &[
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning",
    "text",
    "truncation",
];

/// Writes the name of a field as tables have it.
pub type FieldName = fn(&str) -> Cow<'_, str>;

/// Reads the usage of a buffered answer that is forwarded as it is, or repaired where the server is known to
/// deviate from the format.
pub type ForwardAnswer = fn(Bytes, bool) -> Result<(Bytes, AnswerFacts), StreamFault>;

/// What never changes about a dialect.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The paths below which errors are written in it, where no longer one of another dialect holds.
    pub roots: &'static [&'static str],
    /// The header that only its SDKs send.
    pub sdk_header: Option<&'static HeaderName>,
    /// The query parameter in which clients may send their key instead.
    pub key_parameter: Option<&'static str>,
    /// Paths of another dialect that its SDKs use too, each with the path here that they mean.
    pub shared_paths: &'static [(&'static str, &'static str)],
    /// Its names for the request features that it can express.
    pub features: FeatureNames,
    /// The `content-type` of a stream.
    pub stream_type: &'static str,
    /// Streams are binary frames, not server-sent events.
    pub has_frames: bool,
    /// How a buffered answer is forwarded from an upstream of this dialect to a client of it, without being
    /// turned into events.
    pub forward: Option<ForwardAnswer>,
    /// A comment or event that keeps an idle stream open, in a form that the dialect's SDKs ignore.
    pub ping: &'static [u8],
    /// An error in a stream is its last event, and tells what the whole answer is.
    pub ends_with_its_error: bool,
    /// The arguments of a call are an object: others are wrapped into one.
    pub has_object_arguments: bool,
    /// An answer may have pictures that the model made.
    pub has_pictures: bool,
    /// The header in which the dialect's SDKs look for the request id.
    pub request_id: &'static HeaderName,
    /// Request headers that are part of the format, and are forwarded to an upstream that speaks it.
    pub native_headers: &'static [HeaderName],
    pub rate_limits: RateLimits,
    pub count: Count,
    /// The endpoints that all requests of a batch file may have, and what those requests do.
    pub batch_endpoints: &'static [(&'static str, Operation)],
    /// Its answers report every call of a hosted tool.
    pub reports_hosted_calls: bool,
    /// The endpoint under which its own batches are booked, where it has some.
    pub batches: Option<&'static str>,
    /// How its tables of fields write a name that requests may write in several ways.
    pub field_name: Option<FieldName>,
    /// Where a line goes that sets its workspace's prompts apart.
    pub salt: SaltPlace,
    /// `None` where the format has no prompt caching that the gateway could help with.
    pub prefix: Option<PrefixMembers>,
    pub parameters: ParameterMembers,
    pub turns: TurnMembers,
}

/// Where a request of a conversation has its turns.
#[derive(Debug, Clone, Copy)]
pub struct TurnMembers {
    pub list: &'static str,
    /// The member of a turn that has its text, or blocks of it.
    pub content: &'static str,
}

/// Where a request of a conversation has its parameters.
#[derive(Debug, Clone, Copy)]
pub struct ParameterMembers {
    /// The member that holds them, in camel case; `None` where they are members of the request.
    pub container: Option<&'static str>,
    /// The names of the limit of the answer's length; the first is the one to write.
    pub output_tokens: &'static [&'static str],
    /// The member that says whether the provider stores the answer, and whether it does without it.
    pub store: Option<(&'static str, bool)>,
}

/// The headers of rate limits: limit, remaining, reset.
#[derive(Debug, Clone, Copy)]
pub struct RateLimits {
    pub requests: &'static [HeaderName; 3],
    pub tokens: &'static [HeaderName; 3],
    /// Whether resets are reported, as durations.
    pub has_reset: bool,
    /// What upstreams' headers of this kind begin with.
    pub upstream: Option<&'static [u8]>,
}

/// The answer of an endpoint that counts tokens.
#[derive(Debug, Clone, Copy)]
pub struct Count {
    /// The document up to the number.
    pub open: &'static str,
    pub member: &'static str,
    pub omits_zero: bool,
}

/// The members of a request that make up its prefix.
#[derive(Debug, Clone, Copy)]
pub struct PrefixMembers {
    pub instructions: &'static str,
    pub turns: &'static str,
    /// The member by which a client manages caching itself.
    pub key: &'static str,
    pub takes_marks: bool,
}

/// Where a request takes a line that sets its prompt apart from others.
#[derive(Debug, Clone, Copy)]
pub enum SaltPlace {
    /// Its first message.
    Messages,
    Instructions(Instructions),
    /// The key of the prompt cache, where instructions are repeated to the client.
    CacheKey,
}

/// Where a format has its instructions.
#[derive(Debug, Clone, Copy)]
pub struct Instructions {
    pub name: &'static str,
    pub alias: &'static str,
    /// The member of that object which holds the list.
    pub inner: Option<&'static str>,
    /// A line as an additional block.
    pub block: fn(&str) -> String,
    /// A line alone, as the whole value.
    pub value: fn(&str) -> String,
}

/// A line that needs no escapes, as a block of text.
pub fn text_block(line: &str) -> String {
    format!(r#"{{"type":"text","text":"{line}"}}"#)
}

/// The same in the formats whose blocks have no type.
pub fn bare_block(line: &str) -> String {
    format!(r#"{{"text":"{line}"}}"#)
}

impl Facts {
    /// Those of OpenAI, which most dialects have in common.
    pub const USUAL: Self = Self {
        roots: &[],
        sdk_header: None,
        key_parameter: None,
        shared_paths: &[],
        features: &[],
        stream_type: "text/event-stream; charset=utf-8",
        has_frames: false,
        forward: None,
        ping: b": ping\n\n",
        ends_with_its_error: false,
        has_object_arguments: false,
        has_pictures: true,
        request_id: &REQUEST_ID,
        native_headers: &[],
        rate_limits: RateLimits { requests: &REQUESTS, tokens: &TOKENS, has_reset: true, upstream: None },
        count: Count {
            open: "{\"object\":\"response.input_tokens\",\"input_tokens\":",
            member: "input_tokens",
            omits_zero: false,
        },
        batch_endpoints: &[],
        reports_hosted_calls: false,
        batches: None,
        field_name: None,
        salt: SaltPlace::CacheKey,
        prefix: None,
        parameters: ParameterMembers { container: None, output_tokens: &["max_tokens"], store: None },
        turns: TurnMembers { list: "messages", content: "content" },
    };
}

/// One wire format, as clients and upstreams speak it.
pub trait Face: Debug + Sync {
    fn facts(&self) -> &'static Facts;

    /// Its paths at the front door. The first one that fits is taken.
    fn routes(&self) -> &'static [DialectRoute];

    /// Reads an address that names a model and what is requested of it.
    ///
    /// # Errors
    /// It names neither, or no operation of the dialect.
    fn read_address(&self, _rest: &str, _query: &str) -> Result<(Addressed, Operation), Box<Fault>> {
        Err(no_address())
    }

    /// Reads an address that names a stored response.
    ///
    /// # Errors
    /// There is nothing at it, or no such operation.
    fn read_response_address(
        &self,
        _method: &Method,
        _rest: &str,
        _query: &str,
    ) -> Result<Addressed, Box<Fault>> {
        Err(no_address())
    }

    /// Its objects of a kind that providers store.
    fn objects(&self, _kind: StoredKind) -> Option<&'static dyn StoredObjects> {
        None
    }

    fn reader(&self) -> Box<dyn ReadAnswer>;

    /// The reader of its binary frames, where `has_frames` says that streams are such.
    fn frames(&self) -> Option<Box<dyn ReadFrames>> {
        None
    }

    /// Reads the stream of a response that its provider stores, which is forwarded whatever it holds.
    fn stored_reader(&self) -> Box<dyn ReadAnswer> {
        self.reader()
    }

    /// The final usage in a buffered response that its provider stores.
    fn stored_usage(&self, _body: &[u8]) -> Option<Usage> {
        None
    }

    fn writer(&self, options: AnswerOptions) -> Box<dyn WriteAnswer>;

    /// Reads what later stages need to know about a request.
    fn decode_request(
        &self,
        operation: Operation,
        body: &Bytes,
        addressed: Option<&Addressed>,
    ) -> Result<Request, Box<Fault>>;

    /// Reads the prompt of a request that was decoded before.
    fn read_prompt(&self, body: &[u8], request: &Request) -> Result<Prompt, Box<Fault>>;

    /// Writes a prompt as the body of an upstream request; `losses` collects what can't be expressed.
    ///
    /// # Errors
    /// The prompt can't be written, whatever is dropped.
    fn write_prompt(
        &self,
        prompt: &Prompt,
        target: &TargetModel<'_>,
        losses: &mut DroppedFields,
    ) -> Result<Vec<u8>, Box<Fault>>;

    /// A request to count tokens, made of one for an answer.
    ///
    /// # Errors
    /// The body is not an object.
    fn count_request(&self, body: &[u8], _model: &str) -> Result<String, Box<Fault>> {
        keep_members(body, COUNTED)
    }

    /// Reads what later stages need to know about a new batch; `None` where batches are files of requests.
    fn decode_batch(
        &self,
        _body: &Bytes,
        _addressed: Option<&Addressed>,
    ) -> Option<Result<Request, Box<Fault>>> {
        None
    }

    /// Reads the line of one result of such a batch; `None` where it is not one.
    fn read_batch_item<'l>(&self, _line: &'l [u8]) -> Option<(BatchOutputLine, LineAnswer<'l>)> {
        None
    }

    /// Reads what bounds the answer to a request in a line of a file that such a batch names; `None` where nothing is known to.
    fn read_batch_request(&self, _line: &[u8]) -> Option<Request> {
        None
    }

    /// The form of its batches where the gateway works through them itself, if it can.
    fn own_batches(&self) -> Option<&'static dyn OwnBatches> {
        None
    }

    /// What the fields of a request may contain on an account that several workspaces share.
    fn shared_fields(&self, operation: Operation) -> &'static Fields;

    /// Embeddings, where the dialect has them.
    fn embeddings(&self) -> Option<&'static dyn Embeddings> {
        None
    }

    /// How a prompt is divided into a part that is cached by name and the rest, where the dialect has such caches.
    fn divides(&self) -> Option<&'static dyn DividesPrompts> {
        None
    }

    /// How a marked prefix is sent once more by itself, where the dialect has cache marks.
    fn repeats(&self) -> Option<&'static dyn RepeatsPrefixes> {
        None
    }

    fn error_body(&self, fault: &Fault, trace: TraceId) -> Bytes;

    /// The status code for a fault.
    fn status(&self, fault: &Fault) -> u16 {
        common(fault)
    }

    /// A header that names the error.
    fn error_header(&self, _fault: &Fault) -> Option<(HeaderName, HeaderValue)> {
        None
    }

    /// The answer to a prompt that was blocked for its content, in a dialect where that is no error.
    fn blocked_body(&self, _fault: &Fault, _model: &str, _trace: TraceId) -> Option<Vec<u8>> {
        None
    }

    /// A list of models.
    fn models_list(&self, rows: &[ModelRow]) -> Bytes {
        models::models_list(rows)
    }

    fn model_object(&self, row: &ModelRow) -> Bytes {
        models::model_object(row)
    }
}

/// The dialect has no such addresses.
fn no_address() -> Box<Fault> {
    Box::new(Fault::new(FaultClass::NotFound, "unknown_path", "There is nothing at this path."))
}
