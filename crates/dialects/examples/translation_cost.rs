//! Measures what it costs to read a request and write it again: forwarded as it is, and translated into each
//! other dialect.
//!
//! `cargo run --release -p dialects --example translation_cost`

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use conversation::request::{Addressed, upstream_body};
use conversation::target::TargetModel;
use dialects::{AnswerPath, AnswerStream, decode_request, read_prompt, translate_request, write_prompt};
use domain::{Abilities, Grammar, Operation, TraceId};

const ROUNDS: u32 = 7;
/// The dialects that clients speak.
const CLIENTS: [Grammar; 4] = [Grammar::Chat, Grammar::Responses, Grammar::Anthropic, Grammar::Gemini];

/// A Chat Completions conversation with tools, whose texts add up to about `bytes` bytes.
fn chat(bytes: usize) -> Bytes {
    let line = "The tide comes in twice a day and lifts what floats; \\\"né\\\" 漢字.";
    let turns = (bytes / (2 * (line.len() + 60))).max(1);
    let mut messages = vec![r#"{"role":"system","content":"Be brief."}"#.to_owned()];
    for turn in 0..turns {
        messages.push(format!(r#"{{"role":"user","content":[{{"type":"text","text":"{turn} {line}"}}]}}"#));
        messages.push(format!(r#"{{"role":"assistant","content":"{line}"}}"#));
    }
    messages.push(r#"{"role":"user","content":"And now?"}"#.to_owned());
    let tool = r#"{"type":"function","function":{"name":"tide_table","description":"Looks a tide up.","parameters":{"type":"object","properties":{"port":{"type":"string"},"day":{"type":"string"}},"required":["port"]}}}"#;
    let messages = messages.join(",");
    Bytes::from(format!(
        r#"{{"model":"a/b","messages":[{messages}],"tools":[{tool}],"temperature":0.7,"max_tokens":256}}"#
    ))
}

/// The median of the rounds, in microseconds per run.
fn measure(mut run: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (start, mut count) = (Instant::now(), 0_u32);
            while start.elapsed().as_millis() < 60 {
                (0..16).for_each(|_| run());
                count += 16;
            }
            start.elapsed().as_secs_f64() * 1e6 / f64::from(count)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(rounds.len() / 2).copied().unwrap_or_default()
}

fn main() {
    let target = TargetModel { model: "b", abilities: Abilities::default() };
    println!("request        bytes   passed on   translated into each grammar, µs");
    for bytes in [4 * 1024, 100 * 1024] {
        for client in CLIENTS {
            let (body, addressed) = translate_body(client, bytes);
            let decode = || decode_request(client, Operation::Chat, &body, addressed.as_ref());
            let Ok(request) = decode() else { continue };
            let passed = measure(|| {
                let request = decode();
                black_box(request.map(|request| upstream_body(&body, &request, "b", true)).is_ok());
            });
            print!("{:<14} {:>6}   {passed:>9.1} ", client.as_str(), body.len());
            for upstream in Grammar::ALL.into_iter().filter(|upstream| *upstream != client) {
                let translated_us = measure(|| {
                    let _ = black_box(decode());
                    let prompt = read_prompt(client, &body, &request);
                    let translated =
                        prompt.and_then(|prompt| translate_request(client, &prompt, upstream, &target, true));
                    black_box(translated.is_ok());
                });
                print!("  {} {translated_us:.1}", upstream.as_str());
            }
            println!();
        }
    }
    streams();
}

/// The same conversation, translated into another dialect.
fn translate_body(grammar: Grammar, bytes: usize) -> (Bytes, Option<Addressed>) {
    let body = chat(bytes);
    let target = TargetModel { model: "a/b", abilities: Abilities::default() };
    let addressed = Addressed { model: "a/b".to_owned(), ..Addressed::default() };
    if grammar == Grammar::Chat {
        return (body, None);
    }
    let prompt = decode_request(Grammar::Chat, Operation::Chat, &body, None)
        .and_then(|request| read_prompt(Grammar::Chat, &body, &request));
    let mut losses =
        conversation::losses::DroppedFields::new(Grammar::Chat, grammar, dialects::feature_names);
    let body = prompt.and_then(|prompt| write_prompt(grammar, &prompt, &target, &mut losses));
    (Bytes::from(body.unwrap_or_default()), (grammar == Grammar::Gemini).then_some(addressed))
}

/// A Chat Completions stream of a thousand chunks, as each client dialect reads it, and one of ten megabytes,
/// whose cost per chunk must not be higher.
fn streams() {
    println!("\nstream of chat  chunks   for one chunk, µs");
    for chunks in [1_000, 40_000] {
        let mut stream = Vec::new();
        for _ in 0..chunks {
            stream.extend_from_slice(b"data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" tide comes in\"},\"finish_reason\":null}]}\n\n");
        }
        stream.extend_from_slice(b"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n");
        let pieces: Vec<Bytes> = stream.chunks(1_400).map(Bytes::copy_from_slice).collect();
        for client in CLIENTS {
            let answer_path =
                AnswerPath::chat(client, Grammar::Chat).with_labels("m", TraceId::new(1, [1; 10]), 1);
            let start = Instant::now();
            let mut answer = AnswerStream::new(answer_path);
            let mut out = Vec::new();
            for piece in &pieces {
                black_box(answer.push(piece.clone(), &mut out).is_ok());
                out.clear();
            }
            let per_chunk = start.elapsed().as_secs_f64() * 1e6 / f64::from(chunks);
            println!("{:<14} {chunks:>7}   {per_chunk:.2}", client.as_str());
        }
    }
}
