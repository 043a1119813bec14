//! A response within a realtime session.

use conversation::request::Request;
use domain::limits::REALTIME_OUTPUT_TOKENS_MAX;
use domain::{Fault, Operation, Units, Usage};

use crate::spec::{CallSize, Facts, ModelLimits, OperationSpec, RequestSource, Unsupported};

/// A session counts so many bytes for each token that it has had.
const BYTES_PER_TOKEN: u64 = 4;

static FACTS: Facts = Facts {
    unsupported: Unsupported {
        code: "realtime_not_supported_for_model",
        lacks: "has no realtime sessions",
        fix: "Name a realtime model of a provider that has them.",
    },
    is_session: true,
    ..Facts::TEXT
};

#[derive(Debug)]
pub(crate) struct Realtime;

impl OperationSpec for Realtime {
    fn operation(&self) -> Operation {
        Operation::Realtime
    }

    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    /// The session's address says all there is to know.
    fn read_request(&self, source: RequestSource<'_>) -> Result<Request, Box<Fault>> {
        let addressed = source.addressed.ok_or_else(|| Box::new(Fault::internal()))?;
        Ok(Request { prompt_bytes: addressed.prompt_bytes, ..Request::of_model(&addressed.model) })
    }

    /// All input so far, of which each token that the session has had may be sound, and an answer that is audio from start to end.
    fn ceiling(&self, call: &CallSize<'_>, model: ModelLimits) -> Usage {
        let (bytes, context) = (call.request.prompt_bytes, model.context_tokens.unwrap_or(u64::MAX));
        let audio_in = bytes.div_ceil(BYTES_PER_TOKEN).min(context);
        let input = bytes.min(context).saturating_sub(audio_in);
        let audio_out = model.output_tokens_max.unwrap_or(REALTIME_OUTPUT_TOKENS_MAX);
        Usage { input, units: Units { audio_in, audio_out, ..Units::default() }, ..Usage::default() }
    }
}
