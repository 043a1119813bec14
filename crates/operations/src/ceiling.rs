//! The most that an answer can use, for kinds of answers that several operations have: no token is shorter than a byte, no
//! prompt longer than the model's context, and no answer longer than requested or than the model's maximum.

use conversation::request::Request;
use domain::limits::{
    AUDIO_TOKENS_OF_A_CHARACTER_MAX, CACHED_TOKENS_UNKNOWN, CHARACTER_UNITS_MAX, HOSTED_SEARCHES_MAX,
    IMAGE_TOKENS_MAX, IMAGE_UNITS_MAX, OUTPUT_TOKENS_UNKNOWN,
};
use domain::{HostedTool, Units, Usage};

use crate::spec::ModelLimits;

/// That of a text, beside `units`.
pub(crate) fn of_text(request: &Request, body_bytes: u64, model: ModelLimits, units: Units) -> Usage {
    // The length of a prompt that is cached by name is not in the request.
    let cached = if request.names_cached_content() { CACHED_TOKENS_UNKNOWN } else { 0 };
    let prompt = body_bytes.max(request.prompt_bytes).saturating_add(cached);
    let input = prompt.min(model.context_tokens.unwrap_or(u64::MAX));
    let own = model.output_tokens_max.or(model.context_tokens).unwrap_or(OUTPUT_TOKENS_UNKNOWN);
    let each = request
        .max_output_tokens
        .map_or(own, |requested| if model.is_known { requested.min(own) } else { requested });
    let searches = |tool| if request.terms.hosted.has(tool) { HOSTED_SEARCHES_MAX } else { 0 };
    let units = Units {
        web_searches: searches(HostedTool::WebSearch),
        file_searches: searches(HostedTool::FileSearch),
        ..units
    };
    let output = each.saturating_mul(u64::from(request.choices.max(1)));
    if request.speaks {
        // All of it may be sound, which costs more than text.
        return Usage { input, units: Units { audio_out: output, ..units }, ..Usage::default() };
    }
    Usage { input, output, units, ..Usage::default() }
}

/// That of an answer which is not counted in text tokens alone, for a prompt of so many bytes and files.
pub(crate) fn of_media(request: &Request, prompt_bytes: u64, files: u64) -> Usage {
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
