//! The usage that a response reports.

use conversation::answer::ReadAnswer;
use domain::{Event, Tier, Units};
use responses::{Reader, read_final_usage};

fn check(report: &str, counts: [u64; 6]) {
    let response = format!("{{\"status\":\"completed\",\"usage\":{report}}}");
    let usage = read_final_usage(response.as_bytes()).unwrap();
    let [input, cached_read, cache_write, cache_write_long, output, reasoning] = counts;
    assert_eq!([usage.input, usage.output, usage.reasoning], [input, output, reasoning], "{report}");
    let cached = [usage.cached_read, usage.cache_write, usage.cache_write_long];
    assert_eq!(cached, [cached_read, cache_write, cache_write_long], "{report}");
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
    let response = r#"{"status":"completed","service_tier":"flex","usage":{"input_tokens":1,"output_tokens":1},"output":[
        {"type":"web_search_call","action":{"type":"search"}},{"type":"web_search_call","action":{"type":"open_page"}},
        {"type":"file_search_call"},{"type":"code_interpreter_call"},{"type":"function_call"},{"type":"message"}]}"#;
    let usage = read_final_usage(response.as_bytes()).unwrap();
    let units = Units { web_searches: 1, file_searches: 1, hosted_calls: 1, ..Units::default() };
    assert_eq!((usage.tier, usage.units), (Some(Tier::Flex), units));
    let reported = response.replacen('{', r#"{"tool_usage":{"web_search":{"num_requests":4}},"#, 1);
    let usage = read_final_usage(reported.as_bytes()).unwrap();
    assert_eq!(usage.units, Units { web_searches: 4, ..units });
}

#[test]
fn zeros_of_an_answer_that_said_something_are_no_report() {
    let said = r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"a"}"#;
    let reports = |usage: &str, before: &[&str]| {
        let response = format!(r#"{{"status":"completed","output":[],"usage":{usage}}}"#);
        let end = format!(r#"{{"type":"response.completed","response":{response}}}"#);
        let (mut reader, mut events) = (Reader::default(), Vec::new());
        for data in before.iter().chain([&&*end]) {
            reader.event(b"", data.as_bytes(), &mut events).unwrap();
        }
        events.iter().any(|event| matches!(event, Event::Usage(_)))
    };
    let zero = r#"{"input_tokens":0,"output_tokens":0}"#;
    assert!(!reports(zero, &[said]));
    assert!(reports(zero, &[]));
    assert!(!reports("null", &[]));
}
