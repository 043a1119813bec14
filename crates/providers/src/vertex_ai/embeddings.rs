//! Embeddings of Google's models at Vertex AI: `predict` takes a list of instances, `embedContent` a single
//! content.

use std::borrow::Cow;

use conversation::answer::StreamFault;
use conversation::embed::{EmbeddingInputs, Task, Vectors};
use dialects::VendorVectors;
use domain::Fault;
use serde::Serialize;

use crate::vectors::{VectorMembers, only, read_vectors};

/// How the answer is read.
pub(super) const ANSWER: VendorVectors = VendorVectors { read };

const MEMBERS: VectorMembers = VectorMembers {
    lists: &["predictions"],
    objects: &["embedding", "embeddings", "statistics", "usageMetadata"],
    vectors: &["values"],
    tokens: &["token_count", "promptTokenCount"],
};

fn read(body: &[u8]) -> Result<Vectors<'_>, StreamFault> {
    read_vectors(body, &MEMBERS)
}

/// The body of `predict`: `{"instances": [{"content"}], "parameters"}`.
pub(super) fn write_instances(texts: &EmbeddingInputs<'_>) -> Result<Vec<u8>, Box<Fault>> {
    serde_json::to_vec(&instances(texts)).map_err(|_| Box::new(Fault::internal()))
}

/// The body of `embedContent`: `{"content", "embedContentConfig"}`, one input.
pub(super) fn write_content(texts: &EmbeddingInputs<'_>) -> Result<Vec<u8>, Box<Fault>> {
    serde_json::to_vec(&content(texts)?).map_err(|_| Box::new(Fault::internal()))
}

#[derive(Serialize)]
struct Instances<'a> {
    instances: Vec<Instance<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Length>,
}

#[derive(Serialize)]
struct Instance<'a> {
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Length {
    output_dimensionality: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Content<'a> {
    content: Parts<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embed_content_config: Option<Config<'a>>,
}

#[derive(Serialize)]
struct Parts<'a> {
    parts: [Part<'a>; 1],
}

#[derive(Serialize)]
struct Part<'a> {
    text: &'a str,
}

#[derive(Serialize, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u64>,
}

fn instances<'a>(texts: &'a EmbeddingInputs<'_>) -> Instances<'a> {
    let instance = |(at, text): (usize, &'a Cow<'_, str>)| {
        let task = texts.tasks.get(at);
        Instance { content: text, task_type: task.and_then(Task::kind), title: task.and_then(Task::title) }
    };
    let instances = texts.texts.iter().enumerate().map(instance).collect();
    let length = |output_dimensionality| Length { output_dimensionality };
    Instances { instances, parameters: texts.dimensions.map(length) }
}

fn content<'a>(texts: &'a EmbeddingInputs<'_>) -> Result<Content<'a>, Box<Fault>> {
    let task = texts.tasks.first();
    let config = Config {
        task_type: task.and_then(Task::kind),
        title: task.and_then(Task::title),
        output_dimensionality: texts.dimensions,
    };
    let content = Parts { parts: [Part { text: only(texts)? }] };
    Ok(Content { content, embed_content_config: Some(config).filter(|config| *config != Config::default()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::tests::{numbers, texts};

    fn text(body: Result<Vec<u8>, Box<Fault>>) -> String {
        String::from_utf8(body.unwrap()).unwrap()
    }

    #[test]
    fn each_model_is_asked_in_its_form() {
        let two = texts(&["a", "b"], Some(8), Some("RETRIEVAL_QUERY"));
        assert_eq!(
            text(write_instances(&two)),
            r#"{"instances":[{"content":"a","task_type":"RETRIEVAL_QUERY"},{"content":"b","task_type":"RETRIEVAL_QUERY"}],"parameters":{"outputDimensionality":8}}"#
        );
        assert_eq!(
            text(write_content(&texts(&["a"], Some(8), Some("X")))),
            r#"{"content":{"parts":[{"text":"a"}]},"embedContentConfig":{"taskType":"X","outputDimensionality":8}}"#
        );
        let plain = texts(&["a"], None, None);
        assert_eq!(text(write_content(&plain)), r#"{"content":{"parts":[{"text":"a"}]}}"#);
        let fault = write_content(&two).unwrap_err();
        assert_eq!((fault.code, fault.param.as_deref()), ("unsupported_value", Some("input")));
    }

    #[test]
    fn an_answer_is_read_in_each_form() {
        for (body, vectors, tokens) in [
            (
                r#"{"predictions":[{"embeddings":{"values":[1,-2.5],"statistics":{"truncated":false,"token_count":3}}},{"embeddings":{"statistics":{"token_count":4.0},"values":[0]}}],"metadata":{"billableCharacterCount":9}}"#,
                &["[1,-2.5]", "[0]"][..],
                Some(7),
            ),
            (
                r#"{"embedding":{"values":[1]},"usageMetadata":{"promptTokenCount":5,"totalTokenCount":5},"truncated":false}"#,
                &["[1]"],
                Some(5),
            ),
        ] {
            let answer = read(body.as_bytes()).unwrap();
            assert_eq!((numbers(&answer), answer.usage.map(|usage| usage.input)), (vectors.to_vec(), tokens));
        }
    }
}
