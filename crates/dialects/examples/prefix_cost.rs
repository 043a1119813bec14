//! Measures what hashing a prompt's prefixes costs, with and without inserting cache breakpoints.
//!
//! `cargo run --release -p dialects --example prefix_cost`

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use dialects::{insert, read_prefixes};
use domain::Grammar;

const ROUNDS: u32 = 400;

/// A conversation of about `bytes` bytes, half of it instructions.
fn talk(grammar: Grammar, bytes: usize) -> Bytes {
    let line = "The tide comes in twice a day and lifts what floats; \\\"né\\\" 漢字. ";
    let instructions = line.repeat(bytes / 2 / line.len());
    let turns: Vec<_> = (0..bytes / 2 / (line.len() + 34))
        .map(|turn| {
            let role = if turn % 2 == 0 { "user" } else { "assistant" };
            format!(r#"{{"role":"{role}","content":"{line}"}}"#)
        })
        .collect();
    let turns = turns.join(",");
    Bytes::from(match grammar {
        Grammar::Anthropic => {
            format!(r#"{{"model":"m","max_tokens":9,"system":"{instructions}","messages":[{turns}]}}"#)
        }
        Grammar::Responses => format!(r#"{{"model":"m","instructions":"{instructions}","input":[{turns}]}}"#),
        Grammar::Chat | Grammar::Gemini | Grammar::Converse => {
            format!(r#"{{"model":"m","messages":[{{"role":"system","content":"{instructions}"}},{turns}]}}"#)
        }
    })
}

/// The fastest of many short rounds, in microseconds per run, so that other load on the machine does not
/// count.
fn measure(mut run: impl FnMut()) -> f64 {
    let round = |_| {
        let start = Instant::now();
        (0..8).for_each(|_| run());
        start.elapsed().as_secs_f64() * 1e6 / 8.0
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

fn main() {
    println!("grammar        bytes   read, µs   read and marked, µs");
    for bytes in [4 * 1024, 100 * 1024, 1024 * 1024] {
        for grammar in [Grammar::Chat, Grammar::Responses, Grammar::Anthropic] {
            let body = talk(grammar, bytes);
            let read = measure(|| drop(black_box(read_prefixes(grammar, &body))));
            let marked = measure(|| {
                let prefixes = read_prefixes(grammar, &body);
                let marks = prefixes.map(|prefixes| prefixes.marks(&[0, 1, 2])).unwrap_or_default();
                black_box(insert(&body, &marks));
            });
            println!("{grammar:<10?} {:>9}   {read:>8.1}   {marked:>8.1}", body.len());
        }
    }
}
