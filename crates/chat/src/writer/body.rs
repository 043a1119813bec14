//! The JSON of choices, as Chat Completions SDKs read it.

use domain::prompt::Json;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

#[derive(Serialize)]
pub(super) struct DeltaChoice<'a> {
    pub index: u32,
    pub delta: DeltaBody<'a>,
    pub finish_reason: Option<&'static str>,
    pub logprobs: Option<Logprobs<'a>>,
}

#[derive(Serialize, Default)]
pub(super) struct DeltaBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// `null` where the answer starts with something other than text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<&'a str>,
    /// Reasoning text, as self-hosted servers send it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<[Picture; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<[CallDelta<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<[&'a Annotation; 1]>,
}

/// A picture that the model made. OpenAI's own chat models make none: this is the form of OpenRouter and LiteLLM,
/// which is that of a picture in a prompt.
#[derive(Serialize)]
pub(super) struct Picture {
    r#type: &'static str,
    image_url: PictureUrl,
}

#[derive(Serialize)]
struct PictureUrl {
    url: String,
}

impl Picture {
    pub(super) fn of(media_type: &str, base64: &str) -> Self {
        let url = format!("data:{media_type};base64,{base64}");
        Self { r#type: "image_url", image_url: PictureUrl { url } }
    }
}

#[derive(Serialize)]
pub(super) struct CallDelta<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    #[serde(flatten)]
    named: NamedDelta<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum NamedDelta<'a> {
    Function {
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        arguments: &'a str,
    },
    Custom {
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        input: &'a str,
    },
}

#[derive(Serialize)]
pub(super) struct WholeChoice<'a> {
    pub index: u32,
    pub message: Message<'a>,
    pub finish_reason: &'static str,
    pub logprobs: Option<WholeLogprobs<'a>>,
}

#[derive(Serialize)]
pub(super) struct Message<'a> {
    pub role: &'static str,
    pub content: Option<&'a str>,
    pub refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Picture>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<WholeCall<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub annotations: &'a [Annotation],
}

#[derive(Serialize)]
pub(super) struct WholeCall<'a> {
    pub id: &'a str,
    pub r#type: &'static str,
    #[serde(flatten)]
    pub named: NamedDelta<'a>,
}

/// Logprobs of a text, or of a refusal.
#[derive(Serialize)]
pub(super) struct Logprobs<'a> {
    content: Option<Raw<'a>>,
    refusal: Option<Raw<'a>>,
}

#[derive(Serialize)]
pub(super) struct WholeLogprobs<'a> {
    pub content: Option<Raw<'a>>,
    pub refusal: Option<Raw<'a>>,
}

/// JSON that is written as it came.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a>(pub &'a Json);

/// A web citation in Chat Completions form.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Annotation {
    r#type: UrlCitationWord,
    url_citation: UrlCitation,
}

#[derive(Debug, Serialize, Deserialize)]
enum UrlCitationWord {
    #[serde(rename = "url_citation")]
    UrlCitation,
}

#[derive(Debug, Serialize, Deserialize)]
struct UrlCitation {
    end_index: u64,
    start_index: u64,
    title: String,
    url: String,
}

/// The same in the flat form of OpenAI's Responses API.
#[derive(Deserialize)]
struct FlatCitation {
    r#type: UrlCitationWord,
    #[serde(flatten)]
    url_citation: UrlCitation,
}

/// `None` for a citation that this format can't express.
pub(super) fn annotation(json: &Json) -> Option<Annotation> {
    serde_json::from_str(json.as_str()).ok().or_else(|| {
        let flat: FlatCitation = serde_json::from_str(json.as_str()).ok()?;
        Some(Annotation { r#type: flat.r#type, url_citation: flat.url_citation })
    })
}

/// Joins several arrays into one; `None` for none.
pub(super) fn join(arrays: &[Json]) -> Option<Json> {
    match arrays {
        [] => None,
        [one] => Some(one.clone()),
        several => {
            let inside = |json: &'_ Json| {
                let text = json.as_str().trim();
                text.strip_prefix('[')
                    .and_then(|text| text.strip_suffix(']'))
                    .unwrap_or_default()
                    .trim()
                    .to_owned()
            };
            let members: Vec<String> = several.iter().map(inside).filter(|text| !text.is_empty()).collect();
            Some(Json(format!("[{}]", members.join(","))))
        }
    }
}

impl<'a> Logprobs<'a> {
    pub(super) const fn of(tokens: &'a Json, is_refusal: bool) -> Self {
        let raw = Some(Raw(tokens));
        if is_refusal { Self { content: None, refusal: raw } } else { Self { content: raw, refusal: None } }
    }
}

impl<'a> NamedDelta<'a> {
    pub(super) const fn new(name: Option<&'a str>, text: &'a str, is_custom: bool) -> Self {
        if is_custom { Self::Custom { name, input: text } } else { Self::Function { name, arguments: text } }
    }
}

pub(super) const fn call_type(is_custom: bool) -> &'static str {
    if is_custom { "custom" } else { "function" }
}

impl<'a> CallDelta<'a> {
    /// The first delta of a call, with id and name.
    pub(super) const fn first(index: u32, id: &'a str, name: &'a str, is_custom: bool) -> Self {
        let named = NamedDelta::new(Some(name), "", is_custom);
        Self { index, id: Some(id), r#type: Some(call_type(is_custom)), named }
    }

    pub(super) const fn more(index: u32, text: &'a str, is_custom: bool) -> Self {
        Self { index, id: None, r#type: None, named: NamedDelta::new(None, text, is_custom) }
    }
}

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.0.as_str()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}
