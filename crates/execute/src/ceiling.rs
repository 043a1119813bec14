//! The most that an answer can use, which is reserved before the request is sent.

use domain::limits::{
    AUDIO_TOKENS_OF_A_CHARACTER_MAX, CHARACTER_UNITS_MAX, HOSTED_SEARCHES_MAX, IMAGE_TOKENS_MAX,
    IMAGE_UNITS_MAX, OUTPUT_TOKENS_UNKNOWN, PICTURE_TEXT_BYTES_MAX, PICTURES_SENT_MAX,
    REALTIME_OUTPUT_TOKENS_MAX, SOUND_UNITS_OF_MS_MAX,
};
use domain::{HostedTool, Operation, Units, Usage};

use crate::answer::Exchange;

/// No codec compresses a second of speech to less.
const SOUND_BYTES_PER_S_MIN: u64 = 500;

/// The most that an answer can use: no token is shorter than a byte, no prompt longer than the model's
/// context, and no answer longer than requested or than the model's maximum.
pub(crate) fn ceiling(exchange: &Exchange) -> Usage {
    let request = exchange.call.request();
    let operation = exchange.call.operation();
    if matches!(operation, Operation::Count | Operation::Stored) || operation.is_kept() {
        return Usage::default();
    }
    if exchange.call.operation().is_media() {
        return media_ceiling(exchange);
    }
    if exchange.call.operation() == Operation::Realtime {
        return realtime_ceiling(exchange);
    }
    let model = exchange.caller.snapshot().catalogue().model(&exchange.resolved_model);
    let listens = exchange.call.operation().is_transcription();
    let body_bytes = if listens { 0 } else { exchange.body.borrow().len() as u64 };
    let context = model.and_then(|model| model.context_tokens);
    let input = body_bytes.max(request.prompt_bytes).min(context.unwrap_or(u64::MAX));
    let own = model.and_then(|model| model.output_tokens_max.or(model.context_tokens));
    let own = own.unwrap_or(OUTPUT_TOKENS_UNKNOWN);
    let each = request
        .max_output_tokens
        .map_or(own, |requested| if model.is_some() { requested.min(own) } else { requested });
    let heard = if listens { exchange.heard_at(SOUND_BYTES_PER_S_MIN) } else { Units::default() };
    let searches = |tool| if request.terms.hosted.has(tool) { HOSTED_SEARCHES_MAX } else { 0 };
    let units = Units {
        billed: heard.audio_ms.saturating_mul(SOUND_UNITS_OF_MS_MAX),
        web_searches: searches(HostedTool::WebSearch),
        file_searches: searches(HostedTool::FileSearch),
        ..heard
    };
    Usage { input, output: each.saturating_mul(u64::from(request.choices.max(1))), units, ..Usage::default() }
}

/// The same for one response of a session: all input so far, and an answer that is audio from start to end.
fn realtime_ceiling(exchange: &Exchange) -> Usage {
    let model = exchange.caller.snapshot().catalogue().model(&exchange.resolved_model);
    let context = model.and_then(|model| model.context_tokens).unwrap_or(u64::MAX);
    let audio_out = model.and_then(|model| model.output_tokens_max).unwrap_or(REALTIME_OUTPUT_TOKENS_MAX);
    let input = exchange.call.request().prompt_bytes.min(context);
    Usage { input, units: Units { audio_out, ..Units::default() }, ..Usage::default() }
}

/// The same for operations that are not counted in text tokens alone.
fn media_ceiling(exchange: &Exchange) -> Usage {
    let request = exchange.call.request();
    // The unread part of a form may hold a prompt, and files, as long and as many as are accepted.
    let (prompt_bytes, files) = match (exchange.call.operation().is_form(), exchange.call.upload()) {
        (true, Some(_)) => (request.prompt_bytes.max(PICTURE_TEXT_BYTES_MAX), PICTURES_SENT_MAX),
        (true, None) => (request.prompt_bytes, request.form.as_ref().map_or(0, |form| form.files)),
        (false, _) => (request.prompt_bytes.max(exchange.body.borrow().len() as u64), 0),
    };
    let requested = request.units;
    let units = Units {
        image_in: files.saturating_mul(IMAGE_TOKENS_MAX),
        billed: requested
            .images
            .saturating_mul(IMAGE_UNITS_MAX)
            .saturating_add(requested.characters.saturating_mul(CHARACTER_UNITS_MAX)),
        image_out: requested.images.saturating_mul(IMAGE_TOKENS_MAX),
        audio_out: requested.characters.saturating_mul(AUDIO_TOKENS_OF_A_CHARACTER_MAX),
        ..requested
    };
    Usage { input: prompt_bytes, units, ..Usage::default() }
}
