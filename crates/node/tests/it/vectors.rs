//! Embeddings and reranking over the HTTP API with a runtime that needs no model: formats, journal and
//! errors.

use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll};

use domain::adapters::RuntimeFuture;
use domain::inference_task::{BoxedInferenceTask, EmbedRequest, InferenceTask, ModelUses, RankRequest};
use domain::runtime::{BoxedGeneration, GenerateRequest, RawPrompt, Runtime, RuntimeModel};
use domain::{Fault, FaultClass, Usage};
use node::{Echo, RuntimeEnd};

use crate::{call, json, kept, service};

/// Returns the length of each text; fails for a text that says "fail".
struct Counting;

struct Counted<T>(Option<Result<T, Fault>>);

impl<T: Unpin> InferenceTask for Counted<T> {
    type TaskOutput = T;

    fn poll_output(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Fault>> {
        cx.waker().wake_by_ref();
        self.0.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn usage(self: Pin<&Self>) -> Usage {
        Usage { input: 9, ..Usage::default() }
    }
}

fn broken() -> Fault {
    Fault::new(FaultClass::Upstream, "engine_failed", "The engine failed.")
}

impl Runtime for Counting {
    fn models(&self) -> Vec<RuntimeModel> {
        let makes = ModelUses { answers: false, vectors: true, ranks: true };
        vec![RuntimeModel { id: "m".into(), is_model: true, operations: makes, ..RuntimeModel::default() }]
    }

    fn generate(&self, _request: GenerateRequest) -> Result<BoxedGeneration, Fault> {
        Err(broken())
    }

    fn count_tokens(&self, _request: GenerateRequest) -> RuntimeFuture<'_, u64> {
        Box::pin(ready(Ok(7)))
    }

    fn embed(&self, request: EmbedRequest) -> Result<BoxedInferenceTask<Vec<Vec<f32>>>, Fault> {
        assert_eq!((request.model.as_str(), request.adapter.as_deref()), ("m", Some("law")));
        let vector = |text: &RawPrompt| match text {
            RawPrompt::Text(text) if text == "fail" => None,
            RawPrompt::Text(text) => Some(vec![f32::from(u8::try_from(text.len()).ok()?)]),
            RawPrompt::Tokens(tokens) => Some(vec![f32::from(u8::try_from(tokens.len()).ok()?), 0.5]),
        };
        let vectors: Option<Vec<_>> = request.texts.iter().map(vector).collect();
        Ok(Box::pin(Counted(Some(vectors.ok_or_else(broken)))))
    }

    fn rank(&self, request: RankRequest) -> Result<BoxedInferenceTask<Vec<f64>>, Fault> {
        let score = |document: &String| if *document == request.query { 1.0 } else { 0.25 };
        Ok(Box::pin(Counted(Some(Ok(request.documents.iter().map(score).collect())))))
    }
}

#[test]
fn vectors_and_ranks_are_told_and_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let service = kept(Counting, Some(dir.path()));
    let request_body = r#"{"model":"local/m","input":["abc",[1,2]]}"#;
    let request = http::Request::builder().method("POST").uri("/v1/embeddings");
    let request = request.header("content-type", "application/json").header("x-hybrie-adapter-id", "law");
    let request = request.body(bytes::Bytes::from(request_body)).unwrap();
    let (head, bytes) = crate::waited(async {
        let (head, body) = service.call(request, service.mint()).await.into_parts();
        (head, crate::read(body).await.0)
    });
    assert_eq!((head.status.as_u16(), &head.headers["x-hybrie-adapter-id"]), (200, &"law".parse().unwrap()));
    let answer = json(&bytes);
    assert_eq!(answer["data"][0]["embedding"], serde_json::json!([3.0]));
    assert_eq!(answer["data"][1]["embedding"], serde_json::json!([2.0, 0.5]));
    assert_eq!((&answer["model"], &answer["usage"]["prompt_tokens"]), (&"m".into(), &9.into()));
    let ranked = r#"{"model":"m","query":"b","documents":["a","b"],"top_n":1,"return_documents":true}"#;
    let (head, bytes, _) = call(&service, "POST", "/v1/rerank", ranked);
    let answer = json(&bytes);
    assert_eq!(head.status(), 200, "{answer}");
    let found = answer["results"].to_string();
    assert_eq!(found, r#"[{"index":1,"relevance_score":1.0,"document":{"text":"b"}}]"#);
    assert!(answer["id"].as_str().unwrap().starts_with("rerank-"));
    let page = json(&call(&service, "GET", "/v1/usage", "").1);
    let records: Vec<_> = page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| {
            (
                record["operation"].as_str().unwrap(),
                record["adapter"].as_str(),
                record["input_tokens"].as_u64(),
            )
        })
        .collect();
    assert_eq!(records, [("embed", Some("law"), Some(9)), ("rerank", None, Some(9))]);
    assert_eq!(page["data"][0]["end"], serde_json::to_value(RuntimeEnd::Whole).unwrap());
}

#[test]
fn an_adapter_is_had_by_the_models_name_and_kept_by_a_session() {
    let dir = tempfile::tempdir().unwrap();
    let service = kept(Counting, Some(dir.path()));
    for model in ["m:law", "m"] {
        let body = format!(r#"{{"model":"{model}","input":"abc"}}"#);
        let request = crate::post("/v1/embeddings").header("x-hybrie-session-id", "s");
        let request = request.body(bytes::Bytes::from(body)).unwrap();
        let (head, bytes) = crate::waited(async {
            let (head, body) = service.call(request, service.mint()).await.into_parts();
            (head, crate::read(body).await.0)
        });
        assert_eq!(head.status.as_u16(), 200);
        assert_eq!(head.headers["x-hybrie-adapter-id"], "law");
        assert_eq!(json(&bytes)["model"], "m");
    }
    let page = json(&call(&service, "GET", "/v1/usage", "").1);
    let records: Vec<_> = page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| (&record["model"], &record["adapter"]))
        .collect();
    assert_eq!(records, [(&"m".into(), &"law".into()), (&"m".into(), &"law".into())]);
}

#[test]
fn what_fails_is_in_the_books_and_what_is_refused_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let service = kept(Counting, Some(dir.path()));
    assert_eq!(call(&service, "POST", "/v1/rerank", r#"{"model":"m","query":"q"}"#).0.status(), 400);
    let request = http::Request::post("/v1/embeddings").header("x-hybrie-adapter-id", "law");
    let request = request.header("content-type", "application/json");
    let request = request.body(bytes::Bytes::from(r#"{"model":"m","input":"fail"}"#)).unwrap();
    let status = crate::waited(async { service.call(request, service.mint()).await.status().as_u16() });
    assert_eq!(status, 502);
    let records = json(&call(&service, "GET", "/v1/usage", "").1);
    let newest = &records["data"][0];
    assert_eq!((&newest["end"], &newest["operation"]), (&"failed".into(), &"embed".into()));
    let page = call(&service, "GET", "/metrics", "").1;
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert!(page.contains("tidegate_node_requests_total{end=\"refused\"} 2"), "{page}");
    assert!(page.contains("tidegate_node_requests_open 0"), "{page}");
}

#[test]
fn a_runtime_without_them_says_so() {
    for (path, body) in [
        ("/v1/embeddings", r#"{"model":"echo","input":"a"}"#),
        ("/v1/rerank", r#"{"model":"echo","query":"q","documents":["a"]}"#),
    ] {
        let (head, bytes, _) = call(&service(Echo), "POST", path, body);
        assert_eq!(head.status().as_u16(), 400);
        assert_eq!(json(&bytes)["error"]["code"], "unsupported_operation");
        assert_eq!(call(&service(Echo), "GET", path, "").0.status(), 405);
    }
    let models = json(&call(&service(Echo), "GET", "/v1/models", "").1);
    assert_eq!(models["data"][0]["capabilities"], serde_json::json!(["chat"]), "{models}");
}
