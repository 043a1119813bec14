//! One workspace sends a hundred times its neighbour's load to one bounded core: who is refused, and who never is. `make prove-overload` runs it
//! longer, with more clients and a machine that has room for them, and also bounds how much later the neighbour is answered.

use std::time::{Duration, Instant};

use harness::Behaviour;
use harness::client::{Answer, Client};
use harness::setting::number;
use serde_json::json;

use crate::ask::{CHAT, MINI, question, refused, with};
use crate::crowds::{of_status, tenant, wait_of};
use crate::gateway::{Gateway, OWN, OWN_SECOND, config};
use crate::wait::{a_pause, until};

const MESSAGES: &str = "/v1/messages";
/// How often the noisy workspace's load is its neighbour's.
const TIMES: u64 = 100;
/// Each client sends a request so often, or when the one before was answered, if that is later.
const PACE: Duration = Duration::from_millis(500);
const LATENCY: Duration = Duration::from_millis(300);

/// One client's answers, each with how long it took.
async fn paced(client: Client, path: &'static str, begins: Duration, rounds: u32) -> Vec<(Answer, Duration)> {
    let started = Instant::now();
    let body = with(question(MINI), json!({"max_tokens": 16}));
    let mut answers = Vec::new();
    for round in 0..rounds {
        a_pause((begins + PACE * round).saturating_sub(started.elapsed())).await;
        let sent = Instant::now();
        let answer = client.post(path, &body).await.unwrap();
        answers.push((answer, sent.elapsed()));
    }
    answers
}

/// The answers of so many clients at once, which begin one after another within the first pace. Every second one speaks
/// another dialect.
async fn load(client: &Client, clients: u64, rounds: u32) -> Vec<(&'static str, Answer, Duration)> {
    let mut open = Vec::new();
    for number in 0..clients {
        let path = if number % 2 == 0 { CHAT } else { MESSAGES };
        let begins = PACE * u32::try_from(number).unwrap() / u32::try_from(clients).unwrap();
        open.push((path, tokio::spawn(paced(client.clone(), path, begins, rounds))));
    }
    let mut answers = Vec::new();
    for (path, one) in open {
        answers.extend(one.await.unwrap().into_iter().map(|(answer, took)| (path, answer, took)));
    }
    answers
}

/// The neighbour's answers, all of which were served; how long half of them took at most, and 99 of a hundred.
async fn neighbour(client: &Client, clients: u64, rounds: u32) -> (usize, Duration, Duration) {
    let mut times = Vec::new();
    for (path, answer, took) in load(client, clients, rounds).await {
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        times.push(took);
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    (times.len(), at(50), at(99))
}

fn is_over_share(path: &str, answer: &Answer) {
    assert_eq!(wait_of(answer), 1);
    if path == CHAT {
        let error = refused(answer, 429, "rate_limit_exceeded");
        assert!(error["message"].as_str().unwrap().contains("its share"), "{error}");
        return;
    }
    let body = answer.json();
    assert_eq!((answer.status, &body["type"]), (429, &json!("error")), "{body}");
    assert_eq!(body["error"]["type"], "rate_limit_error", "{body}");
}

/// A figure of the page of metrics.
pub async fn gauge(gateway: &Gateway, name: &str) -> u64 {
    let page = gateway.client().get("/metrics").await.unwrap().text();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{page}")).parse().unwrap()
}

/// Case 35. The bound of the queue's delay is off: what is refused is refused for what is in flight.
#[cfg(feature = "figures")]
#[tokio::test]
async fn a_workspace_at_a_hundred_times_its_neighbours_load_is_refused_and_the_neighbour_is_not() {
    let clients = number("TIDEGATE_OVERLOAD_CLIENTS").unwrap_or(1);
    let in_flight = number("TIDEGATE_OVERLOAD_IN_FLIGHT").unwrap_or(16);
    let rounds = u32::try_from(number("TIDEGATE_OVERLOAD_SECS").unwrap_or(4)).unwrap() * 2;
    let bound = in_flight.to_string();
    let settings = [
        ("TIDEGATE_WORKERS", "1"),
        ("TIDEGATE_IN_FLIGHT_MAX", &*bound),
        ("TIDEGATE_QUEUE_DELAY_MAX_MS", "0"),
    ];
    let gateway = Gateway::with(config(), &settings).await;
    gateway.credential("openai", OWN).await;
    let noisy = tenant(&gateway, OWN_SECOND, None).await;
    for secret in [OWN, OWN_SECOND] {
        gateway.emulator.script(secret, [Behaviour::ok().latency(LATENCY).always()]);
    }
    // Alone, it may use all of the core.
    let alone = load(&noisy, 4 * in_flight, 1).await;
    assert!(alone.iter().all(|(_, answer, _)| answer.status == 200), "{alone:?}");

    let quiet = gateway.client();
    let (before, before_p50, before_p99) = neighbour(&quiet, clients, rounds).await;
    let noise = {
        let noisy = noisy.clone();
        tokio::spawn(async move { load(&noisy, TIMES * clients, rounds).await })
    };
    let (beside, p50, p99) = neighbour(&quiet, clients, rounds).await;
    let mut answers = Vec::new();
    let mut shed = 0;
    for (path, answer, _) in noise.await.unwrap() {
        if answer.status != 200 {
            is_over_share(path, &answer);
            shed += 1;
        }
        answers.push(answer);
    }
    let served = of_status(&answers, 200);
    println!(
        "of {} noisy requests {served} were served beside {beside} of the neighbour, whose median went from \
         {before_p50:?} to {p50:?} and whose p99 went from {before_p99:?} to {p99:?}: {:+.1} %",
        answers.len(),
        100.0 * (p99.as_secs_f64() / before_p99.as_secs_f64() - 1.0)
    );
    assert!(shed > 0 && served > 0, "{shed} refused, {served} served");
    assert_eq!(gateway.calls(OWN_SECOND).len(), alone.len() + served, "a refused request was sent");
    assert_eq!(gateway.calls(OWN).len(), before + beside);
    until("nothing is in flight", async || gauge(&gateway, "tidegate_requests_in_flight").await == 0).await;
    assert_eq!(gauge(&gateway, "tidegate_share_refusals_total").await, shed);
    // Of the proof alone: in the small edition the gateway shares its cores with all these clients.
    if std::env::var_os("TIDEGATE_OVERLOAD_LATER_PERCENT").is_some() {
        let later_max = number("TIDEGATE_OVERLOAD_LATER_PERCENT").unwrap_or(0) as f64 / 100.0;
        assert!(
            p99.as_secs_f64() <= before_p99.as_secs_f64() * (1.0 + later_max),
            "{before_p99:?} to {p99:?}"
        );
    }
}
