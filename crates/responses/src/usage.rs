//! Usage in Responses format, read and written.

use domain::{Tier, Units, Usage, UsageSource};
use json::members::Members;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct UsageBody {
    input_tokens: u64,
    input_tokens_details: InputDetails,
    output_tokens: u64,
    output_tokens_details: OutputDetails,
    total_tokens: u64,
}

#[derive(Serialize)]
struct InputDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Serialize)]
struct OutputDetails {
    reasoning_tokens: u64,
}

impl From<&Usage> for UsageBody {
    fn from(usage: &Usage) -> Self {
        let (input, output) = (usage.prompt_total(), usage.completion_total());
        Self {
            input_tokens: input,
            input_tokens_details: InputDetails {
                cached_tokens: usage.cached_read,
                cache_write_tokens: usage.cache_write.saturating_add(usage.cache_write_long),
            },
            output_tokens: output,
            output_tokens_details: OutputDetails { reasoning_tokens: usage.reasoning },
            total_tokens: input.saturating_add(output),
        }
    }
}

/// The usage that a response reports, in disjoint classes; `None` where it reports none, or only zeros for an
/// answer that is not empty.
pub(super) fn read_usage(response: &Members<'_>, is_empty: bool) -> Option<Usage> {
    let usage = response.find_members("usage")?;
    let (prompt, completion) =
        (usage.find_count("input_tokens")?, usage.find_count("output_tokens").unwrap_or(0));
    if prompt == 0 && completion == 0 && !is_empty {
        return None;
    }
    let details = usage.find_members("input_tokens_details");
    let detail =
        |name| details.as_ref().and_then(|details: &Members<'_>| details.find_count(name)).unwrap_or(0);
    let (cached, written) = (detail("cached_tokens"), detail("cache_write_tokens"));
    let lifetimes = details.as_ref().and_then(|details| details.find_members("cache_write_tokens_details"));
    let long =
        lifetimes.and_then(|lifetimes| lifetimes.find_count("ttl_12h_tokens")).unwrap_or(0).min(written);
    let thought = usage.find_members("output_tokens_details");
    // Reasoning tokens are part of the completion, so a larger count is wrong.
    let reasoning =
        thought.and_then(|details| details.find_count("reasoning_tokens")).unwrap_or(0).min(completion);
    Some(Usage {
        input: prompt.saturating_sub(cached).saturating_sub(written),
        cached_read: cached,
        cache_write: written - long,
        cache_write_long: long,
        output: completion - reasoning,
        reasoning,
        units: hosted_calls(response),
        tier: response.find_text("service_tier").and_then(|word| Tier::from_word(&word)),
        source: UsageSource::Provider,
    })
}

/// The calls of hosted tools. The response counts its web searches separately, and they may be more than the
/// calls shown.
fn hosted_calls(response: &Members<'_>) -> Units {
    let mut units = Units::default();
    for item in response.find_elements("output") {
        let Some(item) = Members::of_answer(item) else { continue };
        let Some(kind) = item.find_text("type") else { continue };
        match &*kind {
            "web_search_call" => {
                let act = item.find_members("action");
                let act = act.as_ref().and_then(|act| act.find_text("type"));
                // Opening a page from the results costs only tokens.
                units.web_searches += u64::from(act.is_none_or(|act| act == "search"));
            }
            "file_search_call" => units.file_searches += 1,
            "function_call" | "custom_tool_call" | "computer_call" | "mcp_call" | "local_shell_call"
            | "apply_patch_call" | "tool_search_call" => {}
            kind if kind.ends_with("_call") => units.hosted_calls += 1,
            _ => {}
        }
    }
    let tool_usage = response.find_members("tool_usage");
    let web_search = tool_usage.as_ref().and_then(|usage| usage.find_members("web_search"));
    if let Some(requests) = web_search.and_then(|search| search.find_count("num_requests")) {
        units.web_searches = requests;
    }
    units
}
