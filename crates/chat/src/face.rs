//! Chat Completions' face.

use bytes::Bytes;
use conversation::answer::{AnswerOptions, ReadAnswer, WriteAnswer};
use conversation::face::{Face, Facts, PrefixMembers, RateLimits};
use conversation::losses::DroppedFields;
use conversation::openai_error::error_body;
use conversation::request::{Addressed, Request};
use conversation::target::TargetModel;
use domain::{Fault, Operation, Prompt, TraceId};
use http::header::HeaderName;

use crate::{Reader, Writer, read_prompt, side, write_prompt};

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
            None => side::decode(operation, body),
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

    fn error_body(&self, fault: &Fault, trace: TraceId) -> Bytes {
        error_body(fault, trace)
    }
}
