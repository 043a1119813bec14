//! The contents of the journal and the totals.

use std::time::Duration;

use harness::pace::{Pace, Threads};
use harness::{Behaviour, Outcome};
use serde_json::json;

use crate::{CHAT, KEY, OTHER_KEY, WITHIN, client, question, start, streaming, with};

#[tokio::test]
async fn an_entry_tells_the_whole_call() {
    let emulator = start().await;
    let answer = client(&emulator).header("x-probe", "yes").post(CHAT, &question()).await.unwrap();
    let journal = emulator.wait_for(WITHIN, |journal| journal[0].finished).await.unwrap();
    let entry = &journal[0];
    assert_eq!(
        (entry.method.as_str(), entry.path.as_str(), entry.version.as_str()),
        ("POST", CHAT, "HTTP/1.1")
    );
    assert_eq!(entry.key.as_deref(), Some(KEY));
    assert_eq!(entry.header("X-Probe"), Some("yes"));
    assert_eq!(entry.json(), question());
    assert_eq!(Some(entry.request_id.as_str()), answer.header("x-request-id"));
    assert_eq!(
        (entry.status, entry.outcome, entry.model.as_deref()),
        (Some(200), Outcome::Answered, Some("gpt-4o-mini"))
    );
    assert_eq!((entry.prompt_tokens, entry.cached_tokens, entry.said_tokens), (8, 0, 4));
    assert_eq!(entry.bytes_written, answer.body.len() as u64);
    assert!(entry.received <= entry.head.unwrap() && entry.head <= entry.ended);
    for name in [
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-tokens",
        "openai-processing-ms",
        "openai-version",
    ] {
        assert!(answer.header(name).is_some(), "{name}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_seen_at_each_stage() {
    let emulator = start().await;
    for (read, http2) in [(0, false), (0, true), (1, false), (1, true), (4, false), (4, true)] {
        emulator.reset();
        emulator.script(KEY, [Behaviour::ok().chunks(1000).interval(Duration::from_millis(2))]);
        let client = if http2 { client(&emulator).http2() } else { client(&emulator) };
        let mut stream = client.stream(CHAT, &streaming()).await.unwrap();
        for _ in 0..read {
            stream.event().await.unwrap().unwrap();
        }
        let pace = Pace::start(&[Threads::of_emulators()]);
        stream.hang_up();
        let journal = emulator.wait_for(WITHIN, |journal| journal[0].cancelled.is_some()).await.unwrap();
        let took = pace.elapsed();
        let entry = &journal[0];
        assert_eq!((entry.outcome, entry.finished), (Outcome::Cancelled, false));
        assert!(took < Duration::from_millis(100), "seen after {took:?}");
        assert!(entry.said_tokens < 900);
        let totals = emulator.totals();
        assert_eq!((totals.all.cancelled, totals.all.completion_tokens), (1, entry.said_tokens));
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_is_seen() {
    let emulator = start().await;
    for http2 in [false, true] {
        emulator.reset();
        emulator.script(KEY, [Behaviour::ok().latency(Duration::from_secs(3600))]);
        let client = if http2 { client(&emulator).http2() } else { client(&emulator) };
        let call = tokio::spawn(async move { client.post(CHAT, &question()).await });
        emulator.wait_for(WITHIN, |journal| journal.iter().any(|entry| entry.model.is_some())).await.unwrap();
        call.abort();
        let journal =
            emulator.wait_for(WITHIN, |journal| journal[0].outcome == Outcome::Cancelled).await.unwrap();
        assert_eq!((journal[0].head, journal[0].said_tokens), (None, 0));
    }
}

#[tokio::test]
async fn a_long_prefix_is_cached_for_its_key_only() {
    let emulator = start().await;
    let long = " tide".repeat(1500);
    let ask = async |key: &str, last: &str| {
        let messages = json!([{"role": "system", "content": long}, {"role": "user", "content": last}]);
        let client = harness::client::Client::new(emulator.origin()).bearer(key);
        let answer =
            client.post(CHAT, &with(question(), json!({"messages": messages}))).await.unwrap().json();
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    assert_eq!(ask(KEY, "one").await, 0);
    assert_eq!(ask(KEY, "two").await, 1408);
    assert_eq!(ask(OTHER_KEY, "two").await, 0);
    let journal =
        emulator.wait_for(WITHIN, |journal| journal.iter().all(|entry| entry.finished)).await.unwrap();
    assert_eq!(journal.len(), 3);
    let totals = emulator.totals();
    assert_eq!((totals.by_key[KEY].calls, totals.by_key[KEY].cached_tokens), (2, 1408));
    assert_eq!((totals.by_key[OTHER_KEY].calls, totals.by_key[OTHER_KEY].cached_tokens), (1, 0));
    assert_eq!(totals.all.prompt_tokens, journal.iter().map(|entry| entry.prompt_tokens).sum::<u64>());
}

#[tokio::test]
async fn reported_usage_is_the_truth_of_the_journal() {
    let emulator = start().await;
    for script in [
        "chunks=20",
        "tokens=300,chunks=7",
        "tools=interleaved",
        "reasoning=40",
        "completion_tokens=500",
        "completion_tokens=2",
    ] {
        emulator.reset();
        let request = with(streaming(), json!({"user": format!("emu:{script}"), "n": 2}));
        let (events, _) = client(&emulator).stream(CHAT, &request).await.unwrap().events().await;
        let journal = emulator.wait_for(WITHIN, |journal| journal[0].finished).await.unwrap();
        let usage: serde_json::Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
        assert_eq!(usage["usage"]["completion_tokens"], journal[0].said_tokens, "{script}");
        assert_eq!(emulator.totals().all.completion_tokens, journal[0].said_tokens, "{script}");
    }
}

#[tokio::test]
async fn reset_forgets_everything() {
    let emulator = start().await;
    emulator.set_key(KEY, harness::KeyState::Revoked);
    client(&emulator).bearer("x").post(CHAT, &question()).await.unwrap();
    emulator.reset();
    assert!(emulator.journal().is_empty() && emulator.violations().is_empty());
    assert_eq!(emulator.totals(), harness::emulator::Totals::default());
    assert_eq!(client(&emulator).post(CHAT, &question()).await.unwrap().status, 200);
}
