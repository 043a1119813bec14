//! More requests than a gateway can serve.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::fixture::{Fixture, Plan};

const CLIENTS: usize = 4;
const CHAT: &str = r#"{"model":"echo","messages":[{"role":"user","content":"hello tide"}]}"#;

/// Ends the clients, even if the test ends early.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A bound that every queue exceeds: clients that send one request after another are too many by it, and the
/// thread catches up when they pause. The timing of shedding is tested without a clock elsewhere.
#[test]
fn a_thread_that_stays_behind_refuses_what_is_new_until_it_has_caught_up() {
    let fixture = Fixture::start(Plan { queue_delay_max: Duration::from_micros(1), ..Plan::default() });
    let (refused, served, is_over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let answer = fixture.ask(&fixture.chat(CHAT));
                    match answer.status {
                        200 => served.fetch_add(1, Ordering::Relaxed),
                        503 => {
                            assert!(answer.text().contains("gateway_overloaded"), "{answer:?}");
                            assert_eq!(answer.header("retry-after"), Some("1"));
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                        _ => panic!("{answer:?}"),
                    };
                }
            });
        }
        let _end = End(&is_over);
        let live = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n";
        fixture.until("a hundred requests were refused", |fixture| {
            assert_eq!(fixture.ask(live).status, 200, "health is told meanwhile");
            refused.load(Ordering::Relaxed) >= 100
        });
    });
    assert!(served.into_inner() > 0, "a burst is served");
    // A second without requests, as `Retry-After` says.
    let quiet = fixture.connect();
    quiet.socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    assert!(quiet.socket.peek(&mut [0]).is_err(), "nothing is sent unasked");
    assert_eq!(fixture.ask(&fixture.chat(CHAT)).status, 200);
    let counted = fixture.gauge("tidegate_refusals_total{code=\"gateway_overloaded\"}");
    assert!(refused.into_inner() <= counted, "{counted} are counted");
}
