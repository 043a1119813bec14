//! Streams: relayed as they arrive, failed over before content, ended with an error after it, and cancelled
//! when the client leaves.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::{FaultClass, Outcome, RouteSpec, UsageSource};
use harness::emulator::CannedBody;
use harness::pace::{Pace, Threads};
use harness::{At, Behaviour, UsageMode};
use serde_json::{Value, json};

use crate::bench::{Bench, CHAT, OWN_KEYS, Setup, on_bench, on_core};

fn text_of(events: &[String]) -> String {
    let deltas = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
    deltas.filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
}

fn has_usage(events: &[String]) -> bool {
    events.iter().any(|event| event.contains("usage"))
}

#[test]
fn a_stream_passes_whole_with_its_usage_read_and_hidden() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        bench.emulator.script_all([Behaviour::ok().chunks(20)]);
        let mut stream = bench.stream().await;
        assert_eq!(stream.status, 200);
        assert!(stream.header("content-type").unwrap().starts_with("text/event-stream"));
        assert_eq!(stream.header("x-accel-buffering"), Some("no"));
        assert_eq!(stream.header("agent-execution-profile"), Some("byok"));
        let (events, end) = stream.events().await;
        end.unwrap();
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
        assert!(!has_usage(&events), "{events:?}");
        let record = bench.record().await;
        let sent = &bench.emulator.journal()[0];
        assert_eq!(sent.json()["stream_options"]["include_usage"], true);
        assert_eq!((record.outcome, record.usage.source), (Outcome::Completed, UsageSource::Provider));
        assert_eq!(record.usage.completion_total(), sent.said_tokens);
        assert_eq!(record.usage.prompt_total(), sent.prompt_tokens);
        assert!(record.stream && record.bytes_out > 0);
    });
}

#[test]
fn a_whole_answer_to_a_stream_request_comes_out_as_a_stream() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        bench.emulator.script_all([Behaviour::ok().wrong_form()]);
        let mut stream = bench.stream().await;
        let (events, end) = stream.events().await;
        end.unwrap();
        assert_eq!(stream.status, 200, "{events:?}");
        assert!(stream.header("content-type").unwrap().starts_with("text/event-stream"));
        assert!(!text_of(&events).is_empty());
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
        assert!(!has_usage(&events), "{events:?}");
        let record = bench.record().await;
        let sent = &bench.emulator.journal()[0];
        assert_eq!((record.outcome, record.attempts.len()), (Outcome::Completed, 1));
        assert_eq!(record.usage.source, UsageSource::Provider);
        assert_eq!(record.usage.completion_total(), sent.said_tokens);
    });
}

#[test]
fn an_error_in_a_whole_answer_to_a_stream_request_is_told_as_what_it_is() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        bench.emulator.script_all([Behaviour::canned(CannedBody::Openai).code("insufficient_quota")]);
        let answer = bench.ask(json!({"stream": true})).await;
        assert_eq!(answer.json()["error"]["code"], "insufficient_quota", "{}", answer.text());
        let record = bench.record().await;
        assert_eq!(record.attempts[0].fault, Some(FaultClass::UpstreamQuota));
        assert_eq!(record.attempts[0].status, Some(200));
    });
}

/// The client has left: the upstream is cut off within a tenth of a second.
async fn check_cut(bench: &Bench, pace: &Pace) {
    let cut = bench.emulator.wait_for(Duration::from_secs(5), |sent| sent[0].cancelled.is_some()).await;
    let after = pace.elapsed();
    assert!(cut.is_ok(), "the upstream was not cancelled");
    assert!(after <= Duration::from_millis(100), "cancelled after {after:?}");
}

/// The number of pieces in which a stream of forty events arrives.
async fn pieces(behaviour: Behaviour) -> usize {
    let bench = Bench::start(Setup::own(&OWN_KEYS[..1])).await;
    bench.emulator.script_all([behaviour.chunks(40)]);
    let mut stream = bench.stream().await;
    let mut count = 0;
    while stream.chunk().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(bench.record().await.outcome, Outcome::Completed);
    count
}

#[test]
fn what_comes_together_goes_out_together_and_nothing_waits_for_more() {
    on_core(async {
        let burst = pieces(Behaviour::ok().burst()).await;
        assert!(burst <= 10, "{burst} writes for one burst");
        let paced = pieces(Behaviour::ok().interval(Duration::from_millis(5))).await;
        assert!(paced >= 30, "{paced} writes for forty events in forty instants");
    });
}

#[test]
fn usage_is_shown_to_who_asks_for_it() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        let body = bench.chat(json!({"stream": true, "stream_options": {"include_usage": true}}));
        let (events, end) = bench.client.stream(CHAT, &body).await.unwrap().events().await;
        end.unwrap();
        assert!(has_usage(&events));
    });
}

#[test]
fn what_fails_before_content_fails_over_with_a_real_status() {
    let failures = [
        Behaviour::status(503),
        Behaviour::reset(),
        Behaviour::ok().error_event(At::Event(0)),
        Behaviour::ok().error_event(At::Event(1)),
        Behaviour::ok().eof(At::Event(1)),
        Behaviour::ok().malformed(At::Event(0)),
        Behaviour::canned(CannedBody::Html),
        Behaviour::canned(CannedBody::Empty),
        Behaviour::canned(CannedBody::Openai),
    ];
    for failure in failures {
        on_bench(Setup::own(&OWN_KEYS[..2]), async |bench| {
            bench.emulator.script(OWN_KEYS[0], [failure.clone().always()]);
            let mut stream = bench.stream().await;
            let (events, end) = stream.events().await;
            assert_eq!(stream.status, 200, "{failure:?} {events:?}");
            end.unwrap();
            let second = bench.workspace.credentials[1].id.to_string();
            assert_eq!(stream.header("agent-byok-credential-id"), Some(second.as_str()), "{failure:?}");
            assert!(!events.iter().any(|event| event.contains("error")), "{failure:?} {events:?}");
            let record = bench.record().await;
            assert_eq!(record.outcome, Outcome::Completed);
            assert_eq!(record.usage.completion_total(), bench.emulator.journal().last().unwrap().said_tokens);
        });
    }
}

#[test]
fn when_all_fail_before_content_the_client_reads_an_error_status() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        bench.emulator.script_all([Behaviour::ok().error_event(At::Event(1)).always()]);
        let answer = bench.ask(json!({"stream": true})).await;
        assert!(answer.status >= 500, "{}", answer.text());
        assert!(answer.json()["error"]["message"].is_string());
        assert_eq!(answer.header("x-should-retry"), Some("false"));
    });
}

#[test]
fn what_breaks_after_content_is_an_error_event_and_no_clean_end() {
    let breaks = [
        Behaviour::ok().cut(At::Middle),
        Behaviour::ok().close(At::Middle),
        Behaviour::ok().eof(At::Middle),
        Behaviour::ok().error_event(At::Middle),
        Behaviour::ok().malformed(At::Middle),
    ];
    for broken in breaks {
        on_bench(Setup::own(&OWN_KEYS[..2]), async |bench| {
            let script = broken.clone().chunks(20).interval(Duration::from_millis(1));
            bench.emulator.script_all([script.always()]);
            let mut stream = bench.stream().await;
            let (events, end) = stream.events().await;
            assert!(end.is_err(), "{broken:?} ended cleanly");
            assert!(!text_of(&events).is_empty());
            let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
            assert!(last["error"]["message"].is_string(), "{broken:?} {last}");
            assert!(!events.iter().any(|event| event == "[DONE]"));
            assert_eq!(bench.emulator.journal().len(), 1, "no second text is spliced in");
            let record = bench.record().await;
            assert_eq!((record.outcome, record.status), (Outcome::Failed, 200), "{broken:?}");
            assert!(record.fault.is_some());
            assert_eq!(record.usage.source, UsageSource::Estimate);
            assert!(record.usage.completion_total() > 0);
        });
    }
}

#[test]
fn a_client_that_leaves_cuts_the_upstream_and_is_booked_once() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        let slow = Behaviour::ok().chunks(1_000).interval(Duration::from_millis(5));
        bench.emulator.script_all([slow]);
        let mut stream = bench.stream().await;
        for _ in 0..5 {
            stream.event().await.unwrap();
        }
        let pace = Pace::start(&[Threads::of_emulators()]);
        stream.hang_up();
        check_cut(&bench, &pace).await;
        let record = bench.record().await;
        assert_eq!((record.outcome, record.usage.source), (Outcome::ClientCancelled, UsageSource::Estimate));
        assert!(record.usage.completion_total() > 0);
        assert_eq!(record.attempts.len(), 1);
    });
}

#[test]
fn a_client_that_leaves_before_the_head_cuts_the_upstream_too() {
    for stream in [false, true] {
        on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
            bench.emulator.script_all([Behaviour::ok().latency(Duration::from_secs(30))]);
            let body = bench.chat(json!({"stream": stream}));
            let call = bench.client.post(CHAT, &body);
            let arrived = bench.emulator.wait_for(Duration::from_secs(5), |sent| !sent.is_empty());
            tokio::select! {
                answer = call => panic!("answered {answer:?}"),
                arrived = arrived => drop(arrived.unwrap()),
            }
            let pace = Pace::start(&[Threads::of_emulators()]);
            check_cut(&bench, &pace).await;
            assert_eq!(bench.record().await.outcome, Outcome::ClientCancelled);
        });
    }
}

fn short_head_wait() -> RouteSpec {
    RouteSpec { head_wait_ms: Some(50), ..RouteSpec::default() }
}

#[test]
fn a_silent_upstream_gets_its_head_out_and_the_answer_follows() {
    on_bench(Setup::own(&OWN_KEYS[..1]).route(short_head_wait()), async |bench| {
        bench.emulator.script_all([Behaviour::ok().latency(Duration::from_millis(400))]);
        let pace = Pace::start(&[]);
        let mut stream = bench.stream().await;
        let took = pace.elapsed();
        assert!(took < Duration::from_millis(300), "{took:?}");
        let (events, end) = stream.events().await;
        end.unwrap();
        assert!(!text_of(&events).is_empty());
        assert_eq!(bench.record().await.outcome, Outcome::Completed);
    });
}

#[test]
fn behind_the_head_only_the_same_seat_is_asked_again() {
    on_bench(Setup::own(&OWN_KEYS[..2]).route(short_head_wait()), async |bench| {
        let late = Behaviour::status(503).latency(Duration::from_millis(150));
        bench.emulator.script(OWN_KEYS[0], [late]);
        let mut stream = bench.stream().await;
        let (events, end) = stream.events().await;
        end.unwrap();
        assert!(!text_of(&events).is_empty());
        assert!(bench.emulator.journal().iter().all(|sent| sent.key.as_deref() == Some(OWN_KEYS[0])));
        let record = bench.record().await;
        assert_eq!(record.attempts.len(), 2);
        assert_eq!(record.attempts[0].fault, Some(FaultClass::Overloaded));
        assert_eq!(record.outcome, Outcome::Completed);
    });
    on_bench(Setup::own(&OWN_KEYS[..2]).route(short_head_wait()), async |bench| {
        let late = Behaviour::status(401).latency(Duration::from_millis(150));
        bench.emulator.script(OWN_KEYS[0], [late.always()]);
        let mut stream = bench.stream().await;
        let (events, end) = stream.events().await;
        assert!(end.is_err());
        assert!(events.last().unwrap().contains("upstream_auth_failed"), "{events:?}");
        assert_eq!(bench.emulator.journal().len(), 1);
    });
}

#[test]
fn a_stall_in_the_middle_ends_in_an_error_event() {
    on_core(async {
        let spec = RouteSpec { idle_timeout_ms: Some(200), ..RouteSpec::default() };
        let bench = Bench::start(Setup::own(&OWN_KEYS[..1]).route(spec)).await;
        bench.emulator.script_all([Behaviour::ok().chunks(10).stall(At::Middle)]);
        let pace = Pace::start(&[Threads::of_emulators()]);
        let mut stream = bench.stream().await;
        let (events, end) = stream.events().await;
        assert!(end.is_err());
        assert!(events.last().unwrap().contains("upstream_timeout"), "{events:?}");
        let took = pace.elapsed();
        assert!(took < Duration::from_millis(200 + 250 + 400), "{took:?}");
        assert_eq!(bench.record().await.fault, Some(FaultClass::Timeout));
    });
}

#[test]
fn a_stream_without_usage_is_estimated() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        bench.emulator.script_all([Behaviour::ok().usage(UsageMode::Missing)]);
        bench.stream().await.events().await.1.unwrap();
        let record = bench.record().await;
        assert_eq!((record.outcome, record.usage.source), (Outcome::Completed, UsageSource::Estimate));
    });
}

/// An upstream that writes one long stream to each client as fast as the client reads; returns how much was
/// written, per client.
fn flood(whole: usize) -> (String, Arc<[AtomicUsize; 2]>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let taken: Arc<[AtomicUsize; 2]> = Arc::default();
    let counters = Arc::clone(&taken);
    std::thread::spawn(move || {
        for (caller, socket) in listener.incoming().enumerate().take(2) {
            let (mut socket, counters) = (socket.unwrap(), Arc::clone(&counters));
            std::thread::spawn(move || {
                let mut request = [0; 64 * 1024];
                assert!(socket.read(&mut request).unwrap() > 0);
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                socket.write_all(head.as_bytes()).unwrap();
                let text = "tide".repeat(16 * 1024);
                let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": null});
                let event = format!("data: {}\n\n", json!({"choices": [choice]}));
                while counters[caller].load(Ordering::SeqCst) < whole {
                    if socket.write_all(event.as_bytes()).is_err() {
                        return;
                    }
                    counters[caller].fetch_add(event.len(), Ordering::SeqCst);
                }
                let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
                socket.write_all(format!("data: {end}\n\ndata: [DONE]\n\n").as_bytes()).unwrap();
            });
        }
    });
    (format!("http://{address}/v1"), taken)
}

#[test]
fn a_client_that_does_not_read_holds_the_upstream_back_and_nobody_else() {
    on_core(async {
        const WHOLE: usize = 40 * 1024 * 1024;
        // What two hops of socket buffers and our own buffers may hold.
        const HELD_MAX: usize = 24 * 1024 * 1024;
        let (base_url, taken) = flood(WHOLE);
        let bench = Bench::start(Setup { base_url: Some(base_url), ..Setup::own(&OWN_KEYS[..1]) }).await;
        let body = bench.chat(json!({"stream": true}));
        let mut idle = bench.client.stream(CHAT, &body).await.unwrap();
        let mut reader = bench.client.stream(CHAT, &body).await.unwrap();
        while reader.chunk().await.unwrap().is_some() {}
        assert!(taken[1].load(Ordering::SeqCst) >= WHOLE);
        let held = taken[0].load(Ordering::SeqCst);
        assert!(held < HELD_MAX, "{held} bytes were read though nobody took them");
        while idle.chunk().await.unwrap().is_some() {}
        assert!(bench.settled(2).await[1].bytes_out >= WHOLE as u64);
    });
}
