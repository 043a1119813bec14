//! Chat Completions' face.

use bytes::Bytes;
use conversation::answer::{AnswerOptions, ReadAnswer, StreamFault, WriteAnswer};
use conversation::embed::{EmbeddingInputs, Embeddings, VectorOptions, Vectors};
use conversation::face::{Face, Facts, PrefixMembers, RateLimits, SaltPlace};
use conversation::losses::DroppedFields;
use conversation::openai_error::error_body;
use conversation::request::{Addressed, Request, VectorForm};
use conversation::target::TargetModel;
use domain::{Fault, Operation, Prompt, TraceId};
use http::header::HeaderName;

use crate::{Reader, Writer, decode_request, embed, read_prompt, write_prompt};

static HEADERS: [HeaderName; 2] =
    [HeaderName::from_static("x-grok-conv-id"), HeaderName::from_static("x-session-affinity")];

static FACTS: Facts = Facts {
    native_headers: &HEADERS,
    rate_limits: RateLimits { upstream: Some(b"x-ratelimit-"), ..Facts::USUAL.rate_limits },
    prefix: Some(PrefixMembers {
        instructions: "",
        turns: "messages",
        key: "prompt_cache_key",
        takes_marks: false,
    }),
    salt: SaltPlace::Messages,
    ..Facts::USUAL
};

/// The dialect as the registry has it.
#[derive(Debug)]
pub struct Chat;

impl Face for Chat {
    fn facts(&self) -> &'static Facts {
        &FACTS
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

    fn write_vectors(
        &self,
        vectors: &Vectors<'_>,
        options: VectorOptions<'_>,
    ) -> Result<Vec<u8>, StreamFault> {
        embed::write_vectors(vectors, options)
    }
}
