//! Reads the usage of image, speech and rerank responses, in disjoint classes.

use domain::{Units, Usage, UsageSource};
use json::members::Members;

/// The token usage of an image response, or of the last event of an image stream. Without a breakdown, all
/// output tokens count as image tokens.
pub(super) fn of_pictures(answer: &Members<'_>) -> Usage {
    let Some(reported) = answer.find_members("usage") else { return Usage::default() };
    let of = |details: &str, name: &str| {
        let details = reported.find_members(details);
        details.and_then(|details| details.find_count(name)).unwrap_or(0)
    };
    let prompt = reported.find_count("input_tokens").unwrap_or(0);
    let cached = of("input_tokens_details", "cached_tokens").min(prompt);
    let seen = of("input_tokens_details", "image_tokens").min(prompt - cached);
    let made = reported.find_count("output_tokens").unwrap_or(0);
    let written = of("output_tokens_details", "text_tokens").min(made);
    // SVG drawings are written by another model, whose tokens are counted separately.
    let drawn = answer.find_members("svg_usage");
    let drawn = |name| drawn.as_ref().and_then(|drawn: &Members<'_>| drawn.find_count(name)).unwrap_or(0);
    Usage {
        input: (prompt - cached - seen).saturating_add(drawn("input_tokens")),
        cached_read: cached,
        output: written.saturating_add(drawn("output_tokens")),
        units: Units { image_in: seen, image_out: made - written, ..Units::default() },
        source: UsageSource::Provider,
        ..Usage::default()
    }
}

/// The token usage in the last event of a speech stream.
pub(super) fn of_speech(event: &Members<'_>) -> Option<Usage> {
    let reported = event.find_members("usage")?;
    let audio_out = reported.find_count("output_tokens").unwrap_or(0);
    let usage = Usage {
        input: reported.find_count("input_tokens")?,
        units: Units { audio_out, ..Units::default() },
        source: UsageSource::Provider,
        ..Usage::default()
    };
    Some(usage).filter(Usage::has_tokens)
}

/// The usage of a rerank response: searches, or tokens, for which some providers report a total only.
pub(super) fn of_ranks(answer: &Members<'_>) -> Option<Usage> {
    let of_meta = |name: &str, count: &str| {
        let meta = answer.find_members("meta")?;
        meta.find_members(name)?.find_count(count)
    };
    let reported = answer.find_members("usage");
    let reported = |name| reported.as_ref().and_then(|usage: &Members<'_>| usage.find_count(name));
    let output = reported("completion_tokens").unwrap_or(0);
    let all = || reported("total_tokens").map(|total| total.saturating_sub(output));
    let input = reported("prompt_tokens").filter(|count| *count > 0).or_else(all);
    let usage = Usage {
        input: input.or_else(|| of_meta("tokens", "input_tokens")).unwrap_or(0),
        output,
        units: Units { searches: of_meta("billed_units", "search_units").unwrap_or(0), ..Units::default() },
        source: UsageSource::Provider,
        ..Usage::default()
    };
    Some(usage).filter(|usage| !usage.is_nothing())
}
