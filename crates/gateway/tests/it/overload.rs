//! More requests than a gateway can serve.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::house::{House, Plan};

const CLIENTS: usize = 48;
const CHAT: &str = r#"{"model":"echo","messages":[{"role":"user","content":"hello tide"}]}"#;
/// Served between the first refusal and the end: a gateway that sheds goes on serving.
const SERVED_BESIDE: usize = 100;

/// Each client asks again as soon as it has its answer, so that every serving thread always has a queue.
#[test]
fn a_thread_that_stays_behind_refuses_what_is_new_until_it_has_caught_up() {
    let house = House::start(Plan { queue_delay_max: Duration::from_millis(5), ..Plan::default() });
    // Work for the gateway alone: a long body, and a model that nobody has.
    let words = vec!["tide"; 4_000].join(" ");
    let long = json!({"model": "nobody", "messages": [{"role": "user", "content": words}]}).to_string();
    let long = house.chat(&long);
    let (refused, served_beside, is_over) =
        (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let answer = house.ask(&long);
                    match answer.status {
                        404 if refused.load(Ordering::Relaxed) > 0 => {
                            served_beside.fetch_add(1, Ordering::Relaxed);
                        }
                        404 => {}
                        503 => {
                            assert!(answer.text().contains("gateway_overloaded"), "{answer:?}");
                            assert_eq!(answer.header("retry-after"), Some("1"));
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        _ => panic!("{answer:?}"),
                    }
                }
            });
        }
        let live = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n";
        house.until("a request was refused, and others served beside", |house| {
            assert_eq!(house.ask(live).status, 200, "health is told meanwhile");
            served_beside.load(Ordering::Relaxed) >= SERVED_BESIDE
        });
        is_over.store(true, Ordering::Relaxed);
    });
    let refused = refused.into_inner() as u64;
    house.until("it serves again", |house| house.ask(&house.chat(CHAT)).status == 200);
    let counted = house.gauge("tidegate_refusals_total{code=\"gateway_overloaded\"}");
    assert!(refused <= counted, "{refused} were refused, {counted} are counted");
}
