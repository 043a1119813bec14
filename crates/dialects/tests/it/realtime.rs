//! The tests of `dialects::realtime`.

use dialects::{RealtimeAct, RealtimeEvent, realtime_error};
use domain::{Fault, FaultClass, TraceId};
use serde_json::{Value as Json, json};

const DONE: &str = r#"{"type":"response.done","event_id":"event_1","response":{"id":"resp_1","object":"realtime.response",
    "status":"completed","status_details":null,"output":[{"id":"item_1","type":"message"}],
    "usage":{"total_tokens":275,"input_tokens":127,"output_tokens":148,
      "input_token_details":{"text_tokens":119,"audio_tokens":8,"image_tokens":0,"cached_tokens":64,
        "cached_tokens_details":{"text_tokens":62,"audio_tokens":2,"image_tokens":0}},
      "output_token_details":{"text_tokens":36,"audio_tokens":112}}}}"#;

#[test]
fn a_response_that_ended_tells_each_kind_of_token_once() {
    let event = RealtimeEvent::read(DONE.as_bytes());
    assert_eq!((event.act(), event.response.as_deref()), (RealtimeAct::Done, Some("resp_1")));
    assert_eq!(event.status.as_deref(), Some("completed"));
    let usage = event.usage.unwrap();
    assert_eq!((usage.input, usage.cached_read, usage.output), (57, 64, 36));
    assert_eq!((usage.units.audio_in, usage.units.audio_out), (6, 112));
    assert_eq!((usage.prompt_total(), usage.completion_total()), (127, 148));
}

#[test]
fn what_is_cut_off_is_known_by_its_beginning() {
    for end in 0..DONE.len() {
        let event = RealtimeEvent::read(&DONE.as_bytes()[..end]);
        assert!(event.usage.is_none() || event.act() == RealtimeAct::Done, "{end}");
    }
    let cut = RealtimeEvent::read(&DONE.as_bytes()[..200]);
    assert_eq!((cut.act(), cut.usage), (RealtimeAct::Done, None));
    assert_eq!(RealtimeEvent::read(b"\xff{").act(), RealtimeAct::Other);
}

#[test]
fn what_cannot_be_read_whole_is_known_to_be_so() {
    assert!(RealtimeEvent::is_whole(DONE.as_bytes()));
    let deep = |levels: usize| {
        format!(r#"{{"session":{}{},"type":"response.create"}}"#, "[".repeat(levels), "]".repeat(levels))
    };
    assert!(RealtimeEvent::is_whole(deep(100).as_bytes()));
    for text in [
        &DONE[..DONE.len() - 1],
        &deep(140),
        "\u{feff}{\"type\":\"response.create\"}",
        r#"{"type":"response.cancel","type":"response.create"}"#,
        r#"{"t\u0079pe":"response.create","type":"response.cancel"}"#,
        r#"{"type":["response.create"]}"#,
        r#"{"session":{}}"#,
        r#"[{"type":"response.create"}]"#,
        "",
    ] {
        assert!(!RealtimeEvent::is_whole(text.as_bytes()), "{text}");
    }
    assert!(!RealtimeEvent::is_whole(b"{\"type\":\"response.create\",\"x\":\"\xff\"}"));
}

#[test]
fn a_failure_and_an_error_tell_why_and_whose() {
    let failed = r#"{"response":{"id":"r","status":"failed","status_details":{"type":"failed","error":{"type":"server_error",
        "code":"rate_limit_exceeded","message":"Slow down."}}},"type":"response.done"}"#;
    let event = RealtimeEvent::read(failed.as_bytes());
    assert_eq!(event.code.as_deref(), Some("rate_limit_exceeded"));
    assert_eq!(event.message.as_deref(), Some("Slow down."));
    let error = r#"{"type":"error","event_id":"e","error":{"message":"No.","code":"x","event_id":"mine"}}"#;
    let event = RealtimeEvent::read(error.as_bytes());
    assert_eq!((event.act(), event.about.as_deref()), (RealtimeAct::Error, Some("mine")));
}

#[test]
fn a_second_model_is_seen_wherever_it_is_asked_for() {
    for (session, transcribes) in [
        (r#"{"audio":{"input":{"transcription":{"model":"m"},"format":{}}}}"#, true),
        (r#"{"input_audio_transcription":{"model":"m"}}"#, true),
        (r#"{"audio":{"input":{"transcription":null}},"instructions":"transcription"}"#, false),
    ] {
        let event =
            RealtimeEvent::read(format!(r#"{{"type":"session.update","session":{session}}}"#).as_bytes());
        assert_eq!((event.act(), event.transcribes), (RealtimeAct::Configure, transcribes), "{session}");
    }
}

#[test]
fn an_error_of_ours_is_an_event_of_the_grammar() {
    let fault = Fault::new(FaultClass::BudgetReached, "budget_reached", "It is spent.");
    let event: Json =
        serde_json::from_slice(&realtime_error(&fault, TraceId::new(1, [1; 10]), Some("mine"))).unwrap();
    assert_eq!(event["type"], "error");
    let error = &event["error"];
    assert_eq!((&error["code"], &error["event_id"]), (&json!("budget_reached"), &json!("mine")));
    assert!(event["error"]["message"].as_str().unwrap().starts_with("It is spent."));
}
