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
    let reasoning = thought.and_then(|details| details.find_count("reasoning_tokens")).unwrap_or(0);
    Some(Usage {
        input: prompt.saturating_sub(cached).saturating_sub(written),
        cached_read: cached,
        cache_write: written - long,
        cache_write_long: long,
        output: completion.saturating_sub(reasoning),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(report: &str, [input, cached, write, long, output, reasoning]: [u64; 6]) {
        let response = format!("{{\"usage\":{report}}}");
        let usage = read_usage(&Members::of_answer(response.as_bytes()).unwrap(), false).unwrap();
        let counts = [
            usage.input,
            usage.cached_read,
            usage.cache_write,
            usage.cache_write_long,
            usage.output,
            usage.reasoning,
        ];
        assert_eq!(counts, [input, cached, write, long, output, reasoning], "{report}");
    }

    #[test]
    fn every_class_is_told_apart() {
        check(r#"{"input_tokens":10,"output_tokens":4}"#, [10, 0, 0, 0, 4, 0]);
        check(
            r#"{"input_tokens":100,"input_tokens_details":{"cached_tokens":60,"cache_write_tokens":30,
                "cache_write_tokens_details":{"ttl_30m_tokens":10,"ttl_12h_tokens":20}},
                "output_tokens":50,"output_tokens_details":{"reasoning_tokens":20}}"#,
            [10, 60, 10, 20, 30, 20],
        );
        check(
            r#"{"input_tokens":5,"input_tokens_details":{"cached_tokens":9},"output_tokens":1,"output_tokens_details":null}"#,
            [0, 9, 0, 0, 1, 0],
        );
    }

    #[test]
    fn the_tier_and_what_the_provider_ran_are_told() {
        let response = r#"{"service_tier":"flex","usage":{"input_tokens":1,"output_tokens":1},"output":[
            {"type":"web_search_call","action":{"type":"search"}},{"type":"web_search_call","action":{"type":"open_page"}},
            {"type":"file_search_call"},{"type":"code_interpreter_call"},{"type":"function_call"},{"type":"message"}]}"#;
        let usage = read_usage(&Members::of_answer(response.as_bytes()).unwrap(), false).unwrap();
        let units = Units { web_searches: 1, file_searches: 1, hosted_calls: 1, ..Units::default() };
        assert_eq!((usage.tier, usage.units), (Some(Tier::Flex), units));
        let reported = response.replacen('{', r#"{"tool_usage":{"web_search":{"num_requests":4}},"#, 1);
        let usage = read_usage(&Members::of_answer(reported.as_bytes()).unwrap(), false).unwrap();
        assert_eq!(usage.units, Units { web_searches: 4, ..units });
    }

    #[test]
    fn zeros_of_an_answer_that_said_something_are_no_report() {
        let zero = Members::of_answer(br#"{"usage":{"input_tokens":0,"output_tokens":0}}"#).unwrap();
        assert_eq!(read_usage(&zero, false), None);
        assert!(read_usage(&zero, true).is_some());
        assert_eq!(read_usage(&Members::of_answer(br#"{"usage":null}"#).unwrap(), true), None);
    }
}
