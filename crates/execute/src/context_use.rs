//! What a prompt takes of the context of an attempt's model, known before anything is sent.

use admit::{Call, Caller};
use bytes::Bytes;
use domain::Prompt;
use plan::Attempt;

use crate::Deps;
use crate::estimate::prompt_tokens;

/// What a prompt takes of the context of the model that an attempt names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextUse {
    pub prompt_tokens: u64,
    /// What the prompt may take, beside the answer; `None` where the model's context is not known.
    pub room_tokens: Option<u64>,
}

impl ContextUse {
    pub fn fits(self) -> bool {
        self.room_tokens.is_none_or(|room_tokens| self.prompt_tokens <= room_tokens)
    }
}

/// What a call's prompt takes of the context of an attempt's model; `None` where the provider speaks the client's dialect: what
/// is to be done about a context, it does itself.
pub fn context_use(
    call: &Call,
    caller: &Caller,
    model: &str,
    attempt: &Attempt,
    deps: &Deps,
) -> Option<ContextUse> {
    let spoken = providers::provider(attempt.provider()).grammars(call.operation(), attempt.upstream_model());
    // A runtime of ours, or a server of the workspace's own, speaks more dialects than it has state for.
    if spoken.contains(&call.dialect().grammar()) && !attempt.is_node() {
        return None;
    }
    let (prompt_tokens, _) = tokens_of(call, caller, attempt, (call.body(), None), deps);
    let catalogue = caller.snapshot().catalogue();
    let known = catalogue.model(model);
    let context = (attempt.known_model(), known.and_then(|model| model.context_tokens));
    let context_tokens = catalogue.context_tokens(attempt.provider(), context);
    let answer = call.request().max_output_tokens.or(known.and_then(|model| model.output_tokens_max));
    let room_tokens = context_tokens.map(|context| room_in(context, answer));
    Some(ContextUse { prompt_tokens, room_tokens })
}

/// What is left for the prompt beside an answer, which gets half of the context at most.
fn room_in(context_tokens: u64, answer_tokens: Option<u64>) -> u64 {
    context_tokens - answer_tokens.unwrap_or(0).min(context_tokens / 2)
}

/// The tokens of a prompt: counted by the public tokenizer of the attempt's model, which is the second value, else estimated.
pub(crate) fn tokens_of(
    call: &Call,
    caller: &Caller,
    attempt: &Attempt,
    (body, prompt): (&Bytes, Option<&Prompt>),
    deps: &Deps,
) -> (u64, bool) {
    let vocabulary = caller.snapshot().catalogue().vocabulary(attempt.upstream_model());
    let counted = vocabulary.and_then(|vocabulary| prompt_tokens(call, body, prompt, vocabulary));
    counted.map_or_else(
        || {
            let ratio = deps.estimates.ratios().of(attempt.provider(), attempt.upstream_model());
            (ratio.prompt_tokens(call.request().prompt_bytes), false)
        },
        |counted| (counted, true),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_gets_its_part_of_the_context_and_half_of_it_at_most() {
        for (context, answer, room) in [
            (200_000, None, 200_000),
            (200_000, Some(64_000), 136_000),
            (8_192, Some(8_192), 4_096),
            (3, Some(9), 2),
            (0, Some(1), 0),
        ] {
            assert_eq!(room_in(context, answer), room, "{context} {answer:?}");
        }
    }

    #[test]
    fn a_prompt_fits_into_a_context_that_nobody_knows() {
        let of = |prompt_tokens, room_tokens| ContextUse { prompt_tokens, room_tokens };
        assert!(of(7, None).fits() && of(7, Some(7)).fits() && !of(8, Some(7)).fits());
    }
}
