//! Retries, failover between own credentials, the pool as a fallback, and the client's error when all fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{ByokFallback, FallbackClass, FaultClass, Outcome, Profile, RouteSpec};
use harness::emulator::CannedBody;
use harness::pace::{Pace, Threads};
use harness::{At, Behaviour, KeyState};
use serde_json::json;
use world::{Random, SystemRandom, World};

use crate::bench::{Bench, CHAT, OWN_KEYS, POOL_KEYS, Setup, on_bench, on_core};

fn fallback(classes: &[FallbackClass]) -> RouteSpec {
    RouteSpec { byok_fallback: ByokFallback::Managed, fallback_on: classes.to_vec(), ..RouteSpec::default() }
}

/// The keys that the upstream saw, in order.
fn keys_used(bench: &Bench) -> Vec<String> {
    bench.emulator.journal().iter().filter_map(|sent| sent.key.clone()).collect()
}

/// Draws the longest backoff pauses: just under 200 and 400 ms for the first two.
#[derive(Debug)]
struct Longest;

impl Random for Longest {
    fn fill(&self, bytes: &mut [u8]) {
        SystemRandom.fill(bytes);
    }

    fn next_u64(&self) -> u64 {
        399_999
    }
}

#[test]
fn a_busy_upstream_is_asked_again_with_growing_pauses() {
    on_core(async {
        let world = World { random: Arc::new(Longest), ..World::system() };
        let bench = Bench::start_in(world, Setup::own(&OWN_KEYS[..1])).await;
        bench.emulator.script_all([Behaviour::status(503).times(2)]);
        let pace = Pace::start(&[Threads::of_emulators()]);
        let answer = bench.ask(json!({})).await;
        let took = pace.elapsed();
        assert_eq!((answer.status, answer.header("agent-attempts")), (200, Some("3")));
        assert!(took < Duration::from_millis(200 + 400 + 1_500), "{took:?}");
        let record = bench.record().await;
        let faults: Vec<_> = record.attempts.iter().map(|attempt| attempt.fault).collect();
        assert_eq!(faults, [Some(FaultClass::Overloaded), Some(FaultClass::Overloaded), None]);
        let pauses = record.attempts.windows(2).map(|two| {
            let ended_us = two[0].started_us + two[0].duration_us;
            Duration::from_micros(two[1].started_us - ended_us)
        });
        let pauses: Vec<_> = pauses.collect();
        let (first, second) = (Duration::from_millis(199), Duration::from_millis(399));
        assert!(pauses[0] >= first && pauses[1] >= second, "{pauses:?}");
        assert_eq!(record.outcome, Outcome::Completed);
        assert!(!record.fallback_used);
    });
}

#[test]
fn a_refused_credential_gives_way_to_the_next_own_one_and_is_left_alone_after() {
    on_bench(Setup::own(&OWN_KEYS[..2]), async |bench| {
        bench.emulator.set_key(OWN_KEYS[0], KeyState::Revoked);
        for attempts in ["2", "1"] {
            let answer = bench.ask(json!({})).await;
            assert_eq!((answer.status, answer.header("agent-attempts")), (200, Some(attempts)));
            assert_eq!(answer.header("agent-fallback-used"), Some("false"));
            let second = bench.workspace.credentials[1].id.to_string();
            assert_eq!(answer.header("agent-byok-credential-id"), Some(second.as_str()));
        }
        assert_eq!(keys_used(&bench), [OWN_KEYS[0], OWN_KEYS[1], OWN_KEYS[1]]);
    });
}

#[test]
fn limits_and_empty_accounts_move_on_at_once() {
    for state in [KeyState::RateLimited { retry_after_ms: 5_000 }, KeyState::Exhausted] {
        on_bench(Setup::own(&OWN_KEYS[..2]), async |bench| {
            bench.emulator.set_key(OWN_KEYS[0], state);
            let pace = Pace::start(&[Threads::of_emulators()]);
            let answer = bench.ask(json!({})).await;
            let took = pace.elapsed();
            assert_eq!((answer.status, answer.header("agent-attempts")), (200, Some("2")), "{state:?}");
            assert!(took < Duration::from_secs(2), "the five seconds that it names: {took:?}");
            bench.ask(json!({})).await;
            let sent = [OWN_KEYS[0], OWN_KEYS[1], OWN_KEYS[1]];
            assert_eq!(keys_used(&bench), sent, "known to be refused isn't sent");
        });
    }
}

#[test]
fn a_short_retry_after_is_waited_and_a_long_one_is_told() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        bench.emulator.script_all([Behaviour::rate_limited(1)]);
        bench.told(200, json!({})).await;
        let sent = bench.emulator.journal();
        assert!(sent[1].received - sent[0].received >= Duration::from_secs(1));

        bench.emulator.reset();
        bench.emulator.script_all([Behaviour::rate_limited(40)]);
        let answer = bench.told(429, json!({})).await;
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((39..=40).contains(&wait), "{wait}");
        assert_eq!(answer.header("agent-attempts"), Some("1"));

        // Meanwhile the upstream is not called, and the client gets the remaining time in `retry-after`.
        let again = bench.told(429, json!({})).await;
        let wait: u64 = again.header("retry-after").unwrap().parse().unwrap();
        assert!((38..=40).contains(&wait), "{wait}");
        assert_eq!(bench.emulator.journal().len(), 1);
    });
}

#[test]
fn strict_byok_never_touches_the_pool() {
    on_bench(Setup::own(&OWN_KEYS[..2]).pool(&POOL_KEYS), async |bench| {
        bench.emulator.set_key(OWN_KEYS[0], KeyState::Revoked);
        bench.emulator.set_key(OWN_KEYS[1], KeyState::Exhausted);
        for _ in 0..3 {
            let answer = bench.ask(json!({})).await;
            assert!(answer.status >= 400, "{}", answer.text());
            assert_eq!(answer.header("x-should-retry"), Some("false"));
        }
        let used = keys_used(&bench);
        assert!(used.iter().all(|key| OWN_KEYS.contains(&key.as_str())), "{used:?}");
        assert_eq!(used.len(), 2, "refused ones are not asked again");
    });
}

#[test]
fn the_pool_is_a_fallback_only_where_the_route_says_so_and_marked() {
    on_core(async {
        let setup = Setup::own(&OWN_KEYS[..1]).pool(&POOL_KEYS).route(fallback(&[FallbackClass::Auth]));
        let bench = Bench::start(setup).await;
        bench.emulator.set_key(OWN_KEYS[0], KeyState::Revoked);
        let answer = bench.told(200, json!({})).await;
        assert_eq!(answer.header("agent-fallback-used"), Some("true"));
        assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
        assert_eq!(answer.header("agent-byok-credential-id"), None);
        let record = bench.record().await;
        assert_eq!(record.profile(), Some(Profile::ManagedProvider));
        assert!(record.fallback_used && record.charge.cost.0 > 0);
        assert_eq!(record.attempts[0].charge.cost.0, 0);
    });
    on_core(async {
        let setup = Setup::own(&OWN_KEYS[..1]).pool(&POOL_KEYS).route(fallback(&[FallbackClass::Auth]));
        let bench = Bench::start(setup).await;
        bench.emulator.set_key(OWN_KEYS[0], KeyState::Exhausted);
        bench.told(402, json!({})).await;
        assert!(keys_used(&bench).iter().all(|key| key == OWN_KEYS[0]));
    });
}

#[test]
fn a_credential_that_is_parked_is_named_in_the_head_of_every_error() {
    for (state, status) in [(KeyState::Exhausted, 402), (KeyState::Revoked, 502)] {
        on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
            bench.emulator.set_key(OWN_KEYS[0], state);
            let first = bench.ask(json!({})).await;
            let id = first.header("agent-byok-credential-id").unwrap().to_owned();
            for stream in [false, true] {
                let sent = bench.emulator.journal().len();
                let later = bench.ask(json!({"stream": stream})).await;
                let calls = bench.emulator.journal().len();
                assert_eq!((later.status, calls), (status, sent), "{}", later.text());
                assert_eq!(later.header("agent-attempts"), Some("0"));
                assert_eq!(later.header("agent-execution-profile"), Some("byok"));
                assert_eq!(later.header("agent-byok-credential-id"), Some(id.as_str()));
                assert!(later.text().contains(&id), "{}", later.text());
            }
        });
    }
}

#[test]
fn accounts_of_the_pool_stand_in_for_each_other() {
    on_bench(Setup::own(&[]).pool(&POOL_KEYS), async |bench| {
        bench.emulator.script_all([Behaviour::status(401)]);
        let answer = bench.ask(json!({})).await;
        assert_eq!((answer.status, answer.header("agent-attempts")), (200, Some("2")), "{}", answer.text());
        assert_eq!(answer.header("agent-fallback-used"), Some("false"));
        let used = keys_used(&bench);
        assert_ne!(used[0], used[1]);
    });
}

#[test]
fn an_error_after_retries_tells_sdks_not_to_try_again() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        bench.emulator.script_all([Behaviour::status(500).always()]);
        let answer = bench.told(502, json!({})).await;
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert_eq!(answer.header("agent-attempts"), Some("3"));
        assert_eq!(answer.header("agent-execution-profile"), Some("byok"));
        let record = bench.record().await;
        assert_eq!((record.outcome, record.fault), (Outcome::Failed, Some(FaultClass::Upstream)));
        assert_eq!(record.attempts.len(), 3);
    });
}

#[test]
fn a_bad_request_is_not_sent_twice() {
    on_bench(Setup::own(&OWN_KEYS[..2]), async |bench| {
        bench.emulator.script_all([Behaviour::status(400).message("temperature is too hot").always()]);
        let answer = bench.told(400, json!({})).await;
        assert!(answer.text().contains("temperature is too hot"), "{}", answer.text());
        assert_eq!(bench.emulator.journal().len(), 1);
    });
}

#[test]
fn a_redirect_is_an_error_and_never_followed() {
    on_core(async {
        let other = Bench::start(Setup::own(&[])).await;
        let bench = Bench::start(Setup::own(&OWN_KEYS[..1])).await;
        bench.emulator.script_all([Behaviour::ok().redirect(other.emulator.base_url()).always()]);
        bench.told(502, json!({})).await;
        assert!(other.emulator.journal().is_empty());
        assert_eq!(bench.emulator.journal().len(), 1);
    });
}

#[test]
fn the_deadline_is_hard_and_told() {
    for stream in [false, true] {
        on_core(async {
            let spec =
                RouteSpec { deadline_ms: Some(300), head_wait_ms: Some(10_000), ..RouteSpec::default() };
            let bench = Bench::start(Setup::own(&OWN_KEYS[..1]).route(spec)).await;
            bench.emulator.script_all([Behaviour::ok().latency(Duration::from_secs(30)).always()]);
            let pace = Pace::start(&[]);
            let answer = bench.ask(json!({"stream": stream})).await;
            let took = pace.elapsed();
            assert_eq!(answer.status, 504, "{}", answer.text());
            assert!(answer.text().contains("deadline_exceeded"));
            assert!(took < Duration::from_millis(800), "{took:?}");
            assert_eq!(bench.record().await.outcome, Outcome::Deadline);
            let gone = bench.emulator.wait_for(Duration::from_secs(2), |sent| sent[0].cancelled.is_some());
            assert!(gone.await.is_ok(), "the upstream is cut off");
        });
    }
}

#[test]
fn a_slow_first_byte_goes_to_the_next() {
    on_core(async {
        let spec = RouteSpec { first_byte_timeout_ms: Some(200), ..RouteSpec::default() };
        let bench = Bench::start(Setup::own(&OWN_KEYS[..1]).route(spec)).await;
        bench.emulator.script_all([Behaviour::ok().latency(Duration::from_secs(30))]);
        bench.told(200, json!({})).await;
        let record = bench.record().await;
        assert_eq!(record.attempts[0].fault, Some(FaultClass::Timeout));
        assert!(record.attempts[0].usage.prompt_total() > 0, "it may have been billed");
    });
}

#[test]
fn an_upstream_that_can_not_be_reached_is_told_as_such() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        bench.emulator.refuse().await;
        let answer = bench.told(502, json!({})).await;
        assert!(answer.text().contains("upstream_unreachable"), "{}", answer.text());
    });
}

#[test]
fn when_all_are_limited_the_client_is_told_the_earliest_time() {
    on_bench(Setup::own(&OWN_KEYS[..2]), async |bench| {
        bench.emulator.script(OWN_KEYS[0], [Behaviour::rate_limited(50)]);
        bench.emulator.script(OWN_KEYS[1], [Behaviour::rate_limited(30)]);
        for attempts in [Some("2"), Some("0")] {
            let answer = bench.told(429, json!({})).await;
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((29..=30).contains(&wait), "{wait}");
            assert_eq!(answer.header("agent-attempts"), attempts);
        }
        assert_eq!(bench.emulator.journal().len(), 2);
    });
}

#[test]
fn a_storm_of_failures_is_bounded_by_the_retry_budget() {
    on_bench(Setup::own(&OWN_KEYS[..1]), async |bench| {
        bench.emulator.script_all([Behaviour::status(503).always()]);
        let (began, calls) = (Instant::now(), 40);
        let call = |_| {
            let (client, body) = (bench.client.clone(), bench.chat(json!({})));
            tokio::task::spawn_local(async move { client.post(CHAT, &body).await.unwrap().status })
        };
        let under_way: Vec<_> = (0..calls).map(call).collect();
        for call in under_way {
            assert_eq!(call.await.unwrap(), 503);
        }
        let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
        let sent = bench.emulator.journal().len();
        let most = calls + calls / 5 + 10 * seconds + 11;
        assert!(sent <= most, "{sent} sent for {calls} calls in {seconds} s");
    });
}

#[test]
fn an_answer_that_is_none_goes_to_the_next() {
    let broken = [
        Behaviour::ok().close(At::Event(1)),
        Behaviour::ok().cut(At::Event(1)),
        Behaviour::canned(CannedBody::Html),
        Behaviour::canned(CannedBody::Empty),
        Behaviour::canned(CannedBody::Openai),
        Behaviour::ok().bomb(512 * 1024 * 1024),
    ];
    for behaviour in broken {
        on_bench(Setup::own(&OWN_KEYS[..2]), async |bench| {
            bench.emulator.script(OWN_KEYS[0], [behaviour.clone().always()]);
            let answer = bench.ask(json!({})).await;
            assert_eq!(answer.status, 200, "{behaviour:?} {}", answer.text());
            assert_eq!(answer.json()["object"], "chat.completion", "{behaviour:?}");
            let record = bench.record().await;
            let last = bench.emulator.journal().pop().unwrap();
            assert_eq!(last.key.as_deref(), Some(OWN_KEYS[1]), "{behaviour:?}");
            assert_eq!(record.usage.completion_total(), last.said_tokens);
        });
    }
}

#[test]
fn a_dead_upstream_is_left_alone_while_another_serves() {
    on_bench(Setup::own(&OWN_KEYS[..2]), async |bench| {
        bench.emulator.script(OWN_KEYS[0], [Behaviour::status(500).always()]);
        for _ in 0..4 {
            assert_eq!(bench.ask(json!({})).await.status, 200);
        }
        let first = keys_used(&bench).iter().filter(|key| *key == OWN_KEYS[0]).count();
        assert_eq!(first, 5, "five failures in a row open its breaker");
    });
}
