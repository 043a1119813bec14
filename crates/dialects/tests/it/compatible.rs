//! The exchanges in `golden/dialects/compatible`: answers of servers that take liberties with chat, and what clients of chat
//! and of another grammar get of each. `TIDEGATE_GOLDEN=write` writes them anew.

use bytes::Bytes;
use dialects::{AnswerStream, VectorForm, Way, whole_answer};
use domain::{Grammar, Operation, TraceId};
use serde_json::Value;

fn way(client: Grammar) -> Way {
    Way {
        operation: Operation::Chat,
        client,
        upstream: Grammar::Chat,
        is_loose: true,
        usage: true,
        as_array: false,
        model: "m".to_owned(),
        trace: TraceId::new(1, [0; 10]),
        created_unix_s: 1,
        asked: dialects::Asked::default(),
        vectors: VectorForm::default(),
        prompt_bytes: 8,
        keeps_text: false,
        form: dialects::AnswerForm::default(),
        guess: None,
        film: None,
        heard: None,
    }
}

/// What a client of chat gets: the same bytes, but for what its SDK could not read.
fn passed(upstream: &[Bytes]) -> String {
    let body = Bytes::from(upstream.concat());
    if body.starts_with(b"{") {
        let answer = whole_answer(&way(Grammar::Chat), body).expect("an answer");
        return String::from_utf8(answer.body.into()).expect("a text");
    }
    let mut stream = AnswerStream::new(way(Grammar::Chat));
    let mut out = Vec::new();
    for chunk in upstream {
        stream.push(chunk.clone(), &mut out).expect("a stream");
    }
    stream.finish(&mut out).expect("its end");
    String::from_utf8(out.concat()).expect("a text")
}

/// What a client of messages is told of it.
fn told(upstream: &[Bytes]) -> Value {
    let answer = whole_answer(&way(Grammar::Anthropic), upstream.concat().into()).expect("an answer");
    let message: Value = serde_json::from_slice(&answer.body).expect("a message");
    let kept = ["content", "stop_reason", "usage"];
    kept.into_iter().map(|name| (name.to_owned(), message[name].clone())).collect()
}

#[test]
fn every_liberty_is_read_and_what_sdks_trip_over_is_mended() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/dialects/compatible");
    let writes = std::env::var_os("TIDEGATE_GOLDEN").is_some_and(|value| value == "write");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is in the repository") {
        let path = entry.expect("an entry").path();
        let mut exchange: Value =
            serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("an exchange");
        assert!(exchange["source"].as_str().is_some_and(|source| source.starts_with("constructed: ")));
        let upstream: Vec<Bytes> = serde_json::from_value::<Vec<String>>(exchange["upstream"].clone())
            .expect("texts")
            .into_iter()
            .map(Bytes::from)
            .collect();
        let found = serde_json::json!({"chat": passed(&upstream), "message": told(&upstream)});
        if writes {
            exchange["expected"] = found;
            let text = serde_json::to_string_pretty(&exchange).expect("JSON") + "\n";
            std::fs::write(&path, text).expect("it can be written");
        } else {
            assert_eq!(found, exchange["expected"], "{}", path.display());
        }
        count += 1;
    }
    assert!(count > 14, "only {count} exchanges were found");
}
