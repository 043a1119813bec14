//! Stored responses, of which only the end is read.

use conversation::answer::ReadAnswer;
use domain::Event;
use responses::{StoredReader, read_final_usage, read_response};

fn read(events: &[&str]) -> (usize, Option<u64>) {
    let (mut reader, mut out) = (StoredReader::default(), Vec::new());
    for data in events {
        reader.event(b"", data.as_bytes(), &mut out).unwrap();
    }
    let used = out.iter().find_map(|event| match event {
        Event::Usage(usage) => Some(usage.completion_total()),
        _ => None,
    });
    (out.iter().filter(|event| **event == Event::Done).count(), used)
}

#[test]
fn a_stream_is_read_from_anywhere_and_only_its_end_tells() {
    let delta = r#"{"type":"response.function_call_arguments.delta","output_index":3,"delta":"{"}"#;
    let open = r#"{"type":"response.in_progress","response":{"status":"in_progress","usage":{"input_tokens":1,"output_tokens":1}}}"#;
    assert_eq!(read(&[delta, open, "what isn't JSON"]), (0, None));
    for status in ["completed", "incomplete", "failed", "cancelled"] {
        let end = format!(
            r#"{{"type":"response.{status}","response":{{"status":"{status}","usage":{{"input_tokens":3,"output_tokens":5}}}}}}"#
        );
        assert_eq!(read(&[delta, &end]), (1, Some(5)), "{status}");
        let end = format!(r#"{{"type":"response.{status}","response":{{"status":"{status}"}}}}"#);
        assert_eq!(read(&[&end]), (1, None), "{status}");
    }
}

#[test]
fn a_whole_answer_tells_what_it_used_once_it_is_over() {
    let used = |status| {
        let body = format!(
            r#"{{"object":"response","status":"{status}","usage":{{"input_tokens":3,"output_tokens":5}}}}"#
        );
        read_final_usage(body.as_bytes()).map(|usage| usage.prompt_total())
    };
    assert_eq!(["queued", "in_progress"].map(used), [None; 2]);
    assert_eq!(["completed", "cancelled"].map(used), [Some(3); 2]);
    assert_eq!(read_final_usage(br#"{"id":"r","object":"response","deleted":true}"#), None);
    assert_eq!(read_final_usage(br#"{"status":"cancelled","usage":null}"#), None);
    assert_eq!(read_final_usage(b"[]"), None);
}

#[test]
fn an_answer_may_be_over_and_tell_nothing() {
    let read_over = |body: &str| {
        read_response(body.as_bytes()).map(|report| (report.is_over, report.usage.map(|used| used.output)))
    };
    assert_eq!(read_over(r#"{"status":"queued","usage":null}"#), Some((false, None)));
    assert_eq!(read_over(r#"{"status":"in_progress"}"#), Some((false, None)));
    assert_eq!(read_over(r#"{"status":"cancelled","usage":null}"#), Some((true, None)));
    let whole = r#"{"status":"completed","usage":{"input_tokens":3,"output_tokens":5}}"#;
    assert_eq!(read_over(whole), Some((true, Some(5))));
    assert_eq!(read_over(r#"{"id":"r","object":"response","deleted":true}"#), None);
    assert_eq!(read_over("<html>"), None);
}
