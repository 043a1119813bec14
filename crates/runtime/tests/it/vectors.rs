//! Embedding and rerank requests of a runtime, and their responses.

use domain::runtime::RawPrompt;
use domain::{TraceId, Usage};
use runtime::{ranks_answer, read_runtime_embeddings, read_runtime_ranking, vectors_answer};

fn texts(input: &str) -> Result<Vec<RawPrompt>, String> {
    let body = format!(r#"{{"model":"m","input":{input}}}"#);
    let read = read_runtime_embeddings(body.as_bytes(), false);
    read.map(|read| read.request.texts).map_err(|fault| fault.param.unwrap_or_default().into_string())
}

#[test]
fn texts_and_tokens_are_read_alone_and_together() {
    let text = |text: &str| RawPrompt::Text(text.to_owned());
    for (input, read) in [
        (r#""a""#, vec![text("a")]),
        (r#"["a","b"]"#, vec![text("a"), text("b")]),
        ("[1,2]", vec![RawPrompt::Tokens(vec![1, 2])]),
        (r#"[[1],[2,3],"c"]"#, vec![RawPrompt::Tokens(vec![1]), RawPrompt::Tokens(vec![2, 3]), text("c")]),
    ] {
        assert_eq!(texts(input), Ok(read), "{input}");
    }
    for (input, param) in [
        ("null", "input"),
        ("[]", "input"),
        (r#"[1,"a"]"#, "input[1]"),
        (r#"["a",1]"#, "input[1]"),
        ("[1,-2]", "input[1]"),
        ("[[1,4294967296]]", "input[0][1]"),
        (r#"["a",{}]"#, "input[1]"),
    ] {
        assert_eq!(texts(input), Err(param.to_owned()), "{input}");
    }
}

#[test]
fn what_nobody_knows_is_refused_by_name_or_left_out() {
    let body = br#"{"model":"m","input":"a","input_type":"query","user":"u","encoding_format":"base64"}"#;
    let fault = read_runtime_embeddings(body, false).unwrap_err();
    assert_eq!((fault.code, fault.param.as_deref()), ("unsupported_parameter", Some("input_type")));
    assert!(read_runtime_embeddings(body, true).unwrap().as_base64);
    let body = br#"{"model":"m","query":"q","documents":["a"],"max_chunks":1}"#;
    assert_eq!(read_runtime_ranking(body, false).unwrap_err().param.as_deref(), Some("max_chunks"));
}

#[test]
fn documents_are_texts_in_either_form() {
    let read = |documents: &str| {
        let body = format!(r#"{{"model":"m","query":"q","documents":{documents},"top_n":1}}"#);
        let ranking = read_runtime_ranking(body.as_bytes(), false).map(|ranking| ranking.request.documents);
        ranking.map_err(|fault| fault.param.unwrap_or_default().into_string())
    };
    assert_eq!(read(r#"["a",{"title":"t","text":"b"}]"#), Ok(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(read(r#"["a",{"title":"t"}]"#), Err("documents[1]".to_owned()));
    assert_eq!(read("[3]"), Err("documents[0]".to_owned()));
    assert_eq!(read("\"a\""), Err("documents".to_owned()));
}

#[test]
fn answers_are_in_their_vendors_shapes() {
    let usage = Usage { input: 3, ..Usage::default() };
    let answer = |as_base64| {
        let bytes = vectors_answer("m", vec![vec![1.0, -0.5]], as_base64, &usage);
        String::from_utf8(bytes.to_vec()).unwrap()
    };
    assert_eq!(
        answer(false),
        r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0,-0.5]}],"model":"m","usage":{"prompt_tokens":3,"total_tokens":3}}"#
    );
    assert!(answer(true).contains(r#""embedding":"AACAPwAAAL8=""#));
    let remembered = Usage { cached_read: 2, ..usage };
    let bytes = vectors_answer("m", vec![vec![1.0]], false, &remembered);
    let expected =
        r#""usage":{"prompt_tokens":5,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":2}}}"#;
    assert!(String::from_utf8(bytes.to_vec()).unwrap().ends_with(expected));
    let documents = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
    let trace = TraceId::new(0, [0; 10]);
    let ranks = |top_n, has_documents| {
        let bytes = ranks_answer(trace, "m", &documents, &[0.25, 0.5, 0.25], (top_n, has_documents), &usage);
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()["results"].to_string()
    };
    assert_eq!(ranks(Some(1), true), r#"[{"index":1,"relevance_score":0.5,"document":{"text":"b"}}]"#);
    assert_eq!(
        ranks(None, false),
        r#"[{"index":1,"relevance_score":0.5},{"index":0,"relevance_score":0.25},{"index":2,"relevance_score":0.25}]"#
    );
}
