//! Embeddings of models hosted at Vertex AI (`predict`, `embedContent`) and Amazon Bedrock (`InvokeModel`),
//! where each model family has its own request body.

use std::borrow::Cow;

use conversation::answer::StreamFault;
use domain::{Fault, Usage, UsageSource};
use json::{Cursor, Kind, Value};
use serde::Serialize;

use conversation::embed::{EmbeddingInputs, Task, Vector, Vectors, unsayable};

/// The body that a model reads its inputs from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbeddingForm {
    /// Vertex AI `predict`: `{"instances": [{"content"}], "parameters"}`.
    Instances,
    /// Vertex AI `embedContent`: `{"content", "embedContentConfig"}`, one input.
    Content,
    /// Amazon Titan on Bedrock: `{"inputText"}`, one input.
    InputText,
    /// Cohere on Bedrock: `{"texts", "input_type"}`; `is_sized` where the model accepts a number of
    /// dimensions.
    Texts { is_sized: bool },
}

/// The input type where the client gives none: documents that are stored for search.
const KEPT: &str = "search_document";

impl EmbeddingForm {
    /// Whether the form has task types.
    pub(crate) fn has_tasks(self) -> bool {
        matches!(self, Self::Instances | Self::Content)
    }
}

pub(crate) fn write_texts(texts: &EmbeddingInputs<'_>, form: EmbeddingForm) -> Result<Vec<u8>, Box<Fault>> {
    let json = match form {
        EmbeddingForm::Instances => serde_json::to_vec(&instances(texts)),
        EmbeddingForm::Content => serde_json::to_vec(&content(texts)?),
        EmbeddingForm::InputText => {
            let body = InputText { input_text: only(texts)?, dimensions: texts.dimensions };
            serde_json::to_vec(&body)
        }
        EmbeddingForm::Texts { is_sized } => {
            if let (false, Some(_)) = (is_sized, texts.dimensions) {
                let what = "asks for a length that vectors of this model do not come in";
                return Err(unsayable("dimensions".to_owned(), what, "Leave it out."));
            }
            serde_json::to_vec(&ManyTexts {
                texts: &texts.texts,
                input_type: KEPT,
                embedding_types: ["float"],
                output_dimension: texts.dimensions,
            })
        }
    };
    json.map_err(|_| Box::new(Fault::internal()))
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InputText<'a> {
    input_text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u64>,
}

#[derive(Serialize)]
struct ManyTexts<'a> {
    texts: &'a [Cow<'a, str>],
    input_type: &'static str,
    embedding_types: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<u64>,
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

/// The input, for models that take one at a time.
fn only<'a>(texts: &'a EmbeddingInputs<'_>) -> Result<&'a str, Box<Fault>> {
    match &*texts.texts {
        [one] => Ok(one),
        _ => {
            let what = "holds more than the one text that the model takes at once";
            Err(unsayable(texts.param.to_owned(), what, "Send each text in a request of its own."))
        }
    }
}

/// Reads the response in whichever form it comes.
pub(crate) fn read_vectors(body: &[u8]) -> Result<Vectors<'_>, StreamFault> {
    let mut cursor = Cursor::new(body)?;
    if cursor.kind()? != Kind::Object {
        return Err(StreamFault::Broken("not_an_object"));
    }
    let mut found = Found::default();
    cursor.object(|cursor, member| match &*member.key.decode() {
        "predictions" => each(cursor, |cursor| found.object(cursor)),
        name => found.member(cursor, name),
    })?;
    cursor.end()?;
    let counted = |input| Usage { input, source: UsageSource::Provider, ..Usage::default() };
    Ok(Vectors { vectors: found.vectors, usage: found.tokens.map(counted) })
}

#[derive(Default)]
struct Found<'a> {
    vectors: Vec<Vector<'a>>,
    tokens: Option<u64>,
}

impl<'a> Found<'a> {
    fn object(&mut self, cursor: &mut Cursor<'a>) -> Result<(), StreamFault> {
        cursor.object(|cursor, member| self.member(cursor, &member.key.decode())).map(drop)
    }

    fn member(&mut self, cursor: &mut Cursor<'a>, name: &str) -> Result<(), StreamFault> {
        match (name, cursor.kind()?) {
            ("embedding" | "embeddings" | "statistics" | "usageMetadata", Kind::Object) => {
                self.object(cursor)
            }
            ("embedding" | "embeddings" | "values" | "float", Kind::Array) => self.array(cursor),
            ("token_count" | "promptTokenCount" | "inputTextTokenCount", Kind::Number) => {
                self.tokens = Some(self.tokens.unwrap_or(0).saturating_add(count(&cursor.value()?)));
                Ok(())
            }
            _ => cursor.skip().map(drop).map_err(StreamFault::from),
        }
    }

    /// One vector, or several.
    fn array(&mut self, cursor: &mut Cursor<'a>) -> Result<(), StreamFault> {
        let bytes = cursor.bytes();
        let span = cursor.skip()?;
        let text = std::str::from_utf8(span.of(bytes)).map_err(|_| StreamFault::Broken("no_vector"))?;
        let is_list = text.get(1..).is_some_and(|inside| inside.trim_ascii_start().starts_with('['));
        if !is_list {
            self.vectors.push(Vector::Numbers(text));
            return Ok(());
        }
        each(&mut Cursor::new(text.as_bytes())?, |cursor| self.array(cursor))
    }
}

fn each<'a>(
    cursor: &mut Cursor<'a>,
    mut read: impl FnMut(&mut Cursor<'a>) -> Result<(), StreamFault>,
) -> Result<(), StreamFault> {
    cursor.array(|cursor, _| read(cursor)).map(drop)
}

/// Some write a count with a decimal point.
fn count(value: &Value<'_>) -> u64 {
    let Value::Number(text) = value else { return 0 };
    text.split('.').next().and_then(|whole| whole.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<'a>(all: &[&'a str], dimensions: Option<u64>, kind: Option<&'a str>) -> EmbeddingInputs<'a> {
        let tasks = kind.map(|kind| vec![Task { kind: Some(kind.into()), title: None }; all.len()]);
        let texts = all.iter().map(|text| Cow::Borrowed(*text)).collect();
        EmbeddingInputs { texts, dimensions, tasks: tasks.unwrap_or_default(), param: "input" }
    }

    fn encode(texts: &EmbeddingInputs<'_>, form: EmbeddingForm) -> String {
        String::from_utf8(write_texts(texts, form).unwrap()).unwrap()
    }

    #[test]
    fn each_model_is_asked_in_its_form() {
        let two = texts(&["a", "b"], Some(8), Some("RETRIEVAL_QUERY"));
        assert_eq!(
            encode(&two, EmbeddingForm::Instances),
            r#"{"instances":[{"content":"a","task_type":"RETRIEVAL_QUERY"},{"content":"b","task_type":"RETRIEVAL_QUERY"}],"parameters":{"outputDimensionality":8}}"#
        );
        assert_eq!(
            encode(&texts(&["a"], Some(8), Some("X")), EmbeddingForm::Content),
            r#"{"content":{"parts":[{"text":"a"}]},"embedContentConfig":{"taskType":"X","outputDimensionality":8}}"#
        );
        let plain = texts(&["a"], None, None);
        assert_eq!(encode(&plain, EmbeddingForm::Content), r#"{"content":{"parts":[{"text":"a"}]}}"#);
        assert_eq!(encode(&plain, EmbeddingForm::InputText), r#"{"inputText":"a"}"#);
        let sized = EmbeddingForm::Texts { is_sized: true };
        assert_eq!(
            encode(&texts(&["a", "b"], Some(8), None), sized),
            r#"{"texts":["a","b"],"input_type":"search_document","embedding_types":["float"],"output_dimension":8}"#
        );
        for (texts, form, param) in [
            (&two, EmbeddingForm::Content, "input"),
            (&two, EmbeddingForm::InputText, "input"),
            (&two, EmbeddingForm::Texts { is_sized: false }, "dimensions"),
        ] {
            let fault = write_texts(texts, form).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), ("unsupported_value", Some(param)));
        }
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
            (
                r#"{"embedding":[1,2],"embeddingsByType":{"float":[1,2]},"inputTextTokenCount":6}"#,
                &["[1,2]"],
                Some(6),
            ),
            (r#"{"id":"x","embeddings":{"float":[[1],[ 2 ]]},"texts":["a","b"]}"#, &["[1]", "[ 2 ]"], None),
            (r#"{"embeddings":[ [1],[2]],"response_type":"embeddings_floats"}"#, &["[1]", "[2]"], None),
        ] {
            let answer = read_vectors(body.as_bytes()).unwrap();
            let numbers: Vec<&str> = answer
                .vectors
                .iter()
                .map(|vector| match vector {
                    Vector::Numbers(text) => *text,
                    Vector::Base64(_) => "base64",
                })
                .collect();
            assert_eq!((&*numbers, answer.usage.map(|usage| usage.input)), (vectors, tokens), "{body}");
        }
        for broken in ["[]", "{", "5", r#"{"embedding":[1}"#] {
            assert!(read_vectors(broken.as_bytes()).is_err(), "{broken}");
        }
        assert!(read_vectors(b"{}").unwrap().vectors.is_empty());
    }
}
