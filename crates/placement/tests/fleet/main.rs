//! A fleet of nodes under traffic of conversations, on a virtual clock: what placement by expected time gives beside round
//! robin, fewest connections and consistent hashing. `make prove-placement` runs it for 200 nodes.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the lint knows test functions, not the helpers of an integration test"
)]

mod node;
mod placing;
mod plot;
mod run;
mod traffic;

use crate::placing::Policy;
use crate::run::{Figures, Fleet, run};

fn variable(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn table(figures: &[(Policy, Figures)]) -> String {
    let mut text = String::from(
        "| placement | prompt tokens from a cache | first token p50, ms | p90, ms | p99, ms | whole p50, ms | Jain's index of load |\n|---|---|---|---|---|---|---|\n",
    );
    for (policy, one) in figures {
        let [p50, p90, p99] = [50, 90, 99].map(|percent| one.first_token_ms(percent));
        text.push_str(&format!(
            "| {} | {} | {p50} | {p90} | {p99} | {} | {:.3} |\n",
            policy.name(),
            percent(one.hit_rate()),
            one.whole_ms(50),
            one.fairness()
        ));
    }
    text
}

type Compared = Vec<(Policy, Figures)>;

fn compare(is_mixed: bool, gateways: usize) -> Compared {
    let nodes = variable("TIDEGATE_PLACEMENT_NODES", 16);
    let seconds = variable("TIDEGATE_PLACEMENT_SECS", 180);
    let seed = variable("TIDEGATE_SEED", 7);
    let fleet = Fleet { nodes: usize::try_from(nodes).unwrap(), is_mixed, seconds, seed, gateways };
    let figures: Compared = Policy::ALL.into_iter().map(|policy| (policy, run(&fleet, policy))).collect();
    let (requests, which) =
        (figures[0].1.requests(), if is_mixed { "a quarter half as fast" } else { "all alike" });
    println!(
        "seed {seed}: {nodes} nodes, {which}, {gateways} gateways, {seconds} s, {requests} requests, the same for each placement\n"
    );
    println!("{}", table(&figures));
    figures
}

fn of(figures: &Compared, wanted: Policy) -> &Figures {
    &figures.iter().find(|(policy, _)| *policy == wanted).unwrap().1
}

/// Sooner than those that don't look at caches, and with more hits.
fn check_sooner(figures: &Compared) {
    let of = |wanted: Policy| of(figures, wanted);
    let ours = of(Policy::ExpectedTime);
    for other in [Policy::RoundRobin, Policy::FewestConnections] {
        assert!(ours.first_token_ms(99) < of(other).first_token_ms(99), "p99 of {}", other.name());
        assert!(ours.first_token_ms(50) < of(other).first_token_ms(50), "p50 of {}", other.name());
        assert!(ours.hit_rate() > of(other).hit_rate(), "hits of {}", other.name());
    }
}

/// The same, with nearly the hits of the one that looks at nothing else.
fn check(figures: &Compared) {
    check_sooner(figures);
    let (ours, hashed) = (of(figures, Policy::ExpectedTime), of(figures, Policy::ConsistentHashing));
    assert!(ours.hit_rate() > 0.9 * hashed.hit_rate(), "{} of {}", ours.hit_rate(), hashed.hit_rate());
    // Conversations that stay where their prompts are load nodes unevenly, within this bound.
    assert!(ours.fairness() > 0.75, "{}", ours.fairness());
}

#[test]
fn placement_by_expected_time_beats_the_others_where_nodes_are_alike() {
    check(&compare(false, 1));
}

#[test]
fn placement_by_expected_time_beats_the_others_where_nodes_differ() {
    let figures = compare(true, 1);
    check(&figures);
    if let Ok(path) = std::env::var("TIDEGATE_PLACEMENT_SVG") {
        std::fs::write(path, plot::svg(&figures)).unwrap();
    }
}

#[test]
fn placement_by_expected_time_beats_the_others_where_gateways_share_the_nodes() {
    let figures = compare(true, 4);
    check_sooner(&figures);
    // Hashing keeps more hits, and sends slow nodes what they can't compute.
    let [ours, hashed] = [Policy::ExpectedTime, Policy::ConsistentHashing].map(|policy| of(&figures, policy));
    assert!(ours.first_token_ms(99) < hashed.first_token_ms(99));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let fleet = Fleet { nodes: 4, is_mixed: true, seconds: 30, seed: 3, gateways: 2 };
    let of = |policy| run(&fleet, policy);
    assert_eq!(of(Policy::ExpectedTime), of(Policy::ExpectedTime));
}
