//! Chat Completions' face.

use bytes::Bytes;
use conversation::answer::{AnswerFacts, AnswerOptions, ReadAnswer, StreamFault, WriteAnswer};
use conversation::embed::{EmbeddingInputs, Embeddings, VectorOptions, Vectors};
use conversation::face::{Face, Facts, ParameterMembers, PrefixMembers, RateLimits, SaltPlace};
use conversation::losses::DroppedFields;
use conversation::objects::StoredObjects;
use conversation::openai_error::error_body;
use conversation::own_batch::OwnBatches;
use conversation::request::{Addressed, Request, VectorForm};
use conversation::routes::{DialectRoute, RouteAction, call, route};
use conversation::shared_fields::Fields;
use conversation::target::TargetModel;
use domain::{Fault, Operation, Prompt, StoredKind, TraceId};
use http::Method;
use http::header::HeaderName;

use crate::features::NAMES;
use crate::own_batch::OwnFileBatches;
use crate::{
    Reader, Writer, decode_request, embed, normalise_completion, objects, operations, read_prompt,
    shared_fields, write_prompt,
};

static HEADERS: [HeaderName; 2] =
    [HeaderName::from_static("x-grok-conv-id"), HeaderName::from_static("x-session-affinity")];

const FILES: &str = "/v1/files";
const FILE: &str = "/v1/files/{rest}";
const BATCHES: &str = "/v1/batches";
const BATCH: &str = "/v1/batches/{rest}";
const VIDEOS: &str = "/v1/videos";
const VIDEO: &str = "/v1/videos/{rest}";
static ROUTES: [DialectRoute; 25] = [
    call("/v1/chat/completions", Operation::Chat),
    call("/v1/completions", Operation::Complete),
    call("/v1/embeddings", Operation::Embed),
    call("/v1/moderations", Operation::Moderate),
    call("/v1/images/generations", Operation::Images),
    call("/v1/images/edits", Operation::ImageEdits),
    call("/v1/images/variations", Operation::ImageVariations),
    call("/v1/audio/speech", Operation::Speech),
    call("/v1/audio/transcriptions", Operation::Transcribe),
    call("/v1/audio/translations", Operation::Translate),
    call("/v1/rerank", Operation::Rerank),
    route(Method::GET, "/v1/realtime", RouteAction::Realtime),
    route(Method::GET, FILES, RouteAction::ListObjects(StoredKind::File)),
    call(FILES, Operation::File),
    route(Method::GET, FILE, RouteAction::StoredObject(StoredKind::File)),
    route(Method::DELETE, FILE, RouteAction::StoredObject(StoredKind::File)),
    route(Method::GET, BATCHES, RouteAction::ListObjects(StoredKind::Batch)),
    call(BATCHES, Operation::Batch),
    route(Method::GET, BATCH, RouteAction::StoredObject(StoredKind::Batch)),
    route(Method::POST, BATCH, RouteAction::StoredObject(StoredKind::Batch)),
    route(Method::GET, VIDEOS, RouteAction::ListObjects(StoredKind::Video)),
    call(VIDEOS, Operation::Video),
    route(Method::GET, VIDEO, RouteAction::StoredObject(StoredKind::Video)),
    route(Method::DELETE, VIDEO, RouteAction::StoredObject(StoredKind::Video)),
    route(Method::POST, VIDEO, RouteAction::StoredObject(StoredKind::Video)),
];

static FACTS: Facts = Facts {
    features: NAMES,
    roots: &["/v1"],
    forward: Some(normalise_completion),
    batch_endpoints: &[
        ("/v1/chat/completions", Operation::Chat),
        ("/v1/embeddings", Operation::Embed),
        ("/v1/completions", Operation::Complete),
        ("/v1/moderations", Operation::Moderate),
        ("/v1/images/generations", Operation::Images),
    ],
    native_headers: &HEADERS,
    rate_limits: RateLimits { upstream: Some(b"x-ratelimit-"), ..Facts::USUAL.rate_limits },
    prefix: Some(PrefixMembers {
        instructions: "",
        turns: "messages",
        key: "prompt_cache_key",
        takes_marks: false,
    }),
    salt: SaltPlace::Messages,
    parameters: ParameterMembers {
        container: None,
        output_tokens: &["max_completion_tokens", "max_tokens"],
        store: Some(("store", false)),
    },
    ..Facts::USUAL
};

/// The dialect as the registry has it.
#[derive(Debug)]
pub struct Chat;

impl Face for Chat {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn routes(&self) -> &'static [DialectRoute] {
        &ROUTES
    }

    fn objects(&self, kind: StoredKind) -> Option<&'static dyn StoredObjects> {
        Some(match kind {
            StoredKind::File => &objects::FILES,
            StoredKind::Batch => &objects::BATCHES,
            StoredKind::Video => &objects::VIDEOS,
            StoredKind::CachedContent => return None,
        })
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
        addressed: Option<&Addressed>,
    ) -> Result<Request, Box<Fault>> {
        match addressed {
            // Its address says all there is to know.
            Some(addressed) => {
                Ok(Request { prompt_bytes: addressed.prompt_bytes, ..Request::of_model(&addressed.model) })
            }
            None if operation == Operation::Embed => embed::read_request(body),
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

    fn embeddings(&self) -> Option<&'static dyn Embeddings> {
        Some(&Chat)
    }

    fn own_batches(&self) -> Option<&'static dyn OwnBatches> {
        Some(&OwnFileBatches)
    }

    fn shared_fields(&self, operation: Operation) -> &'static Fields {
        shared_fields::fields(operation)
    }

    fn error_body(&self, fault: &Fault, trace: TraceId) -> Bytes {
        error_body(fault, trace)
    }
}

impl Embeddings for Chat {
    fn read_texts<'a>(
        &self,
        body: &'a [u8],
        _form: VectorForm,
        _has_tasks: bool,
        losses: &mut DroppedFields,
    ) -> Result<EmbeddingInputs<'a>, Box<Fault>> {
        embed::read_texts(body, losses)
    }

    fn write_texts(&self, texts: &EmbeddingInputs<'_>, model: &str) -> Result<Vec<u8>, Box<Fault>> {
        embed::write_texts(texts, model)
    }

    fn read_vectors<'a>(&self, body: &'a [u8]) -> Result<Vectors<'a>, StreamFault> {
        embed::read_vectors(body)
    }

    fn read_usage(&self, body: &Bytes) -> Option<Result<AnswerFacts, StreamFault>> {
        Some(operations::read_answer(body))
    }

    fn write_vectors(
        &self,
        vectors: &Vectors<'_>,
        options: VectorOptions<'_>,
    ) -> Result<Vec<u8>, StreamFault> {
        embed::write_vectors(vectors, options)
    }
}
