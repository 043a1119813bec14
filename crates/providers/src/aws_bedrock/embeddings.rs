//! Embeddings of Bedrock's `InvokeModel`: those of Amazon Titan and of Cohere.

use std::borrow::Cow;

use conversation::answer::StreamFault;
use conversation::embed::{EmbeddingInputs, Vectors, unsayable};
use dialects::VendorVectors;
use domain::Fault;
use serde::Serialize;

use crate::vectors::{VectorMembers, only, read_vectors};

/// How the answer is read, of either vendor.
pub(super) const ANSWER: VendorVectors = VendorVectors { read };

const MEMBERS: VectorMembers = VectorMembers {
    lists: &[],
    objects: &["embeddings"],
    vectors: &["embedding", "embeddings", "float"],
    tokens: &["inputTextTokenCount"],
};

/// The input type where the client gives none: documents that are stored for search.
const STORED: &str = "search_document";

/// The body that a model reads its inputs from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EmbeddingForm {
    /// Amazon Titan: `{"inputText"}`, one input.
    InputText,
    /// Cohere: `{"texts", "input_type"}`; `is_sized` where the model accepts a number of dimensions.
    Texts { is_sized: bool },
}

fn read(body: &[u8]) -> Result<Vectors<'_>, StreamFault> {
    read_vectors(body, &MEMBERS)
}

pub(super) fn write(texts: &EmbeddingInputs<'_>, form: EmbeddingForm) -> Result<Vec<u8>, Box<Fault>> {
    let json = match form {
        EmbeddingForm::InputText => {
            let body = InputText { input_text: only(texts)?, dimensions: texts.dimensions };
            serde_json::to_vec(&body)
        }
        EmbeddingForm::Texts { is_sized } => {
            if let (false, Some(_)) = (is_sized, texts.dimensions) {
                let what = "asks for a vector length that this model doesn't produce";
                return Err(unsayable("dimensions".to_owned(), what, "Leave it out."));
            }
            serde_json::to_vec(&ManyTexts {
                texts: &texts.texts,
                input_type: STORED,
                embedding_types: ["float"],
                output_dimension: texts.dimensions,
            })
        }
    };
    json.map_err(|_| Box::new(Fault::internal()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::tests::{numbers, texts};

    fn encode(texts: &EmbeddingInputs<'_>, form: EmbeddingForm) -> String {
        String::from_utf8(write(texts, form).unwrap()).unwrap()
    }

    #[test]
    fn each_model_is_asked_in_its_form() {
        let two = texts(&["a", "b"], Some(8), None);
        let plain = texts(&["a"], None, None);
        assert_eq!(encode(&plain, EmbeddingForm::InputText), r#"{"inputText":"a"}"#);
        assert_eq!(
            encode(&two, EmbeddingForm::Texts { is_sized: true }),
            r#"{"texts":["a","b"],"input_type":"search_document","embedding_types":["float"],"output_dimension":8}"#
        );
        for (form, param) in
            [(EmbeddingForm::InputText, "input"), (EmbeddingForm::Texts { is_sized: false }, "dimensions")]
        {
            let fault = write(&two, form).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), ("unsupported_value", Some(param)));
        }
    }

    #[test]
    fn an_answer_is_read_in_each_form() {
        for (body, vectors, tokens) in [
            (
                r#"{"embedding":[1,2],"embeddingsByType":{"float":[1,2]},"inputTextTokenCount":6}"#,
                &["[1,2]"][..],
                Some(6),
            ),
            (r#"{"id":"x","embeddings":{"float":[[1],[ 2 ]]},"texts":["a","b"]}"#, &["[1]", "[ 2 ]"], None),
            (r#"{"embeddings":[ [1],[2]],"response_type":"embeddings_floats"}"#, &["[1]", "[2]"], None),
        ] {
            let answer = read(body.as_bytes()).unwrap();
            assert_eq!((numbers(&answer), answer.usage.map(|usage| usage.input)), (vectors.to_vec(), tokens));
        }
    }
}
