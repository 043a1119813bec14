//! Gemini's face.

use bytes::Bytes;
use conversation::answer::{AnswerOptions, ReadAnswer, StreamFault, WriteAnswer};
use conversation::batch::{BatchOutputLine, LineAnswer};
use conversation::divide::DividesPrompts;
use conversation::embed::{EmbeddingInputs, Embeddings, VectorOptions, Vectors};
use conversation::face::{
    Count, Face, Facts, Instructions, ParameterMembers, PrefixMembers, SaltPlace, TurnMembers, bare_block,
};
use conversation::losses::DroppedFields;
use conversation::models::ModelRow;
use conversation::objects::StoredObjects;
use conversation::own_batch::OwnBatches;
use conversation::request::{Addressed, Request, VectorForm, resource_text};
use conversation::routes::{DialectRoute, RouteAction, call, route};
use conversation::shared_fields::Fields;
use conversation::target::TargetModel;
use domain::{Fault, FaultClass, Operation, Prompt, StoredKind, TraceId};
use http::Method;
use http::header::HeaderName;
use json::members::with_first;

use crate::address::read_model_address;
use crate::divide::Divides;
use crate::features::NAMES;
use crate::names::camel;
use crate::objects::{CachedContents, ContentBatches};
use crate::own_batch::OwnContentBatches;
use crate::{
    Reader, Writer, batch, blocked_body, decode_request, embed, error_body, models, read_prompt,
    shared_fields, status, vectors, write_prompt,
};

static KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
const LIST: &str = "/v1beta/batches";
const NAMED: &str = "/v1beta/batches/{rest}";
const CACHES: &str = "/v1beta/cachedContents";
const CACHE: &str = "/v1beta/cachedContents/{rest}";
static ROUTES: [DialectRoute; 13] = [
    route(Method::POST, "/v1/models/{rest}", RouteAction::Addressed),
    route(Method::GET, "/v1beta/models", RouteAction::ListModels),
    route(Method::GET, "/v1beta/models/{rest}", RouteAction::ShowModel),
    // A batch is created at the address of its model.
    route(Method::GET, LIST, RouteAction::ListObjects(StoredKind::Batch)),
    route(Method::GET, NAMED, RouteAction::StoredObject(StoredKind::Batch)),
    route(Method::POST, NAMED, RouteAction::StoredObject(StoredKind::Batch)),
    route(Method::DELETE, NAMED, RouteAction::StoredObject(StoredKind::Batch)),
    route(Method::GET, CACHES, RouteAction::ListObjects(StoredKind::CachedContent)),
    call(CACHES, Operation::CachedContent),
    route(Method::GET, CACHE, RouteAction::StoredObject(StoredKind::CachedContent)),
    route(Method::PATCH, CACHE, RouteAction::StoredObject(StoredKind::CachedContent)),
    route(Method::DELETE, CACHE, RouteAction::StoredObject(StoredKind::CachedContent)),
    route(Method::POST, "/v1beta/{rest}", RouteAction::Addressed),
];

static FACTS: Facts = Facts {
    features: NAMES,
    roots: &["/v1beta"],
    sdk_header: Some(&KEY),
    key_parameter: Some("key"),
    shared_paths: &[("/v1/batches", LIST), ("/v1/cachedContents", CACHES)],
    // Gemini SDKs read no comments, and their chat sessions drop an answer that has a chunk without
    // parts; blank lines pass.
    ping: b"\r\n\r\n",
    count: Count { open: "{\"totalTokens\":", member: "totalTokens", omits_zero: true },
    batches: Some(batch::CONTENTS),
    field_name: Some(camel),
    salt: SaltPlace::Instructions(Instructions {
        name: "systemInstruction",
        alias: "system_instruction",
        inner: Some("parts"),
        block: bare_block,
        value: |line| format!(r#"{{"parts":[{}]}}"#, bare_block(line)),
    }),
    prefix: Some(PrefixMembers {
        instructions: "systemInstruction",
        turns: "contents",
        key: "cachedContent",
        takes_marks: false,
    }),
    parameters: ParameterMembers {
        container: Some("generationConfig"),
        output_tokens: &["maxOutputTokens"],
        store: None,
    },
    turns: TurnMembers { list: "contents", content: "parts" },
    ..Facts::USUAL
};

/// The dialect as the registry has it.
#[derive(Debug)]
pub struct Gemini;

impl Face for Gemini {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn routes(&self) -> &'static [DialectRoute] {
        &ROUTES
    }

    fn read_address(&self, rest: &str, query: &str) -> Result<(Addressed, Operation), Box<Fault>> {
        read_model_address(rest, query)
    }

    fn objects(&self, kind: StoredKind) -> Option<&'static dyn StoredObjects> {
        match kind {
            StoredKind::Batch => Some(&ContentBatches),
            StoredKind::CachedContent => Some(&CachedContents),
            StoredKind::File | StoredKind::Video => None,
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
        addressed: Option<&Addressed>,
    ) -> Option<Result<Request, Box<Fault>>> {
        Some(batch::decode(body, addressed))
    }

    fn read_batch_item<'l>(&self, line: &'l [u8]) -> Option<(BatchOutputLine, LineAnswer<'l>)> {
        batch::read_item(line)
    }

    fn own_batches(&self) -> Option<&'static dyn OwnBatches> {
        Some(&OwnContentBatches)
    }

    fn embeddings(&self) -> Option<&'static dyn Embeddings> {
        Some(&Gemini)
    }

    fn divides(&self) -> Option<&'static dyn DividesPrompts> {
        Some(&Divides)
    }

    fn shared_fields(&self, operation: Operation) -> &'static Fields {
        match operation {
            Operation::Embed => &shared_fields::EMBED,
            Operation::CachedContent => &shared_fields::CACHED_CONTENT,
            _ => &shared_fields::REQUEST,
        }
    }

    fn error_body(&self, fault: &Fault, trace: TraceId) -> Bytes {
        error_body(fault, status(fault), trace)
    }

    fn count_request(&self, body: &[u8], model: &str) -> Result<String, Box<Fault>> {
        let inside = with_first(body, "model", &resource_text(model))?;
        Ok(format!("{{\"generateContentRequest\":{inside}}}"))
    }

    fn status(&self, fault: &Fault) -> u16 {
        status(fault)
    }

    fn blocked_body(&self, fault: &Fault, model: &str, trace: TraceId) -> Option<Vec<u8>> {
        (fault.class == FaultClass::ContentPolicy).then(|| blocked_body(fault, model, trace))
    }

    fn models_list(&self, rows: &[ModelRow]) -> Bytes {
        models::models_list(rows)
    }

    fn model_object(&self, row: &ModelRow) -> Bytes {
        models::model_object(row)
    }
}

impl Embeddings for Gemini {
    fn read_texts<'a>(
        &self,
        body: &'a [u8],
        form: VectorForm,
        has_tasks: bool,
        losses: &mut DroppedFields,
    ) -> Result<EmbeddingInputs<'a>, Box<Fault>> {
        embed::read_texts(body, form.is_batch, has_tasks, losses)
    }

    fn write_texts(&self, texts: &EmbeddingInputs<'_>, model: &str) -> Result<Vec<u8>, Box<Fault>> {
        embed::write_texts(texts, model)
    }

    fn read_vectors<'a>(&self, body: &'a [u8]) -> Result<Vectors<'a>, StreamFault> {
        vectors::read_vectors(body)
    }

    fn write_vectors(
        &self,
        vectors: &Vectors<'_>,
        options: VectorOptions<'_>,
    ) -> Result<Vec<u8>, StreamFault> {
        vectors::write_vectors(vectors, options.form.is_batch)
    }
}
