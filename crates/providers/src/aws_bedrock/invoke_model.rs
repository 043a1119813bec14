//! Image and rerank requests for Bedrock's `InvokeModel`, whose body is in the model vendor's own format:
//! Amazon Nova Canvas and Titan, Stability AI, Cohere.

use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::target::TranslatedRequest;
use domain::{Fault, FaultClass};
use json::Value;
use json::members::{Members, value_of};
use json::refusal::wrong_value;
use json::written::{json_object, json_string};
use operations::images::{Image, ImageRequest, ImageSource, VendorImages, width_and_height};
use operations::rerank::RerankRequest;

/// A vendor's format of image requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ImageForm {
    /// Nova Canvas and Titan: `{"taskType", "textToImageParams", "imageGenerationConfig"}`.
    Tasks,
    /// Stability: `{"prompt", "aspect_ratio", "output_format"}`, one image at a time.
    Prompt,
}

/// A vendor's format of rerank requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RerankForm {
    /// The API version to send, if the vendor requires one.
    pub version: Option<u32>,
    /// Further parameters, which pass through unchanged.
    pub passthrough: &'static [&'static str],
}

/// How an image response is read, of either vendor.
pub(super) const IMAGES: VendorImages = VendorImages { read: read_images, read_event: read_images };

const PNG: &str = "png";
const ONE_FIX: &str = "Send 1, or leave it out; ask again for the next.";
const RATIO_FIX: &str = "Send a ratio such as 16:9, or leave it out.";
const SIDES_FIX: &str = "Send two sides such as 1024x1024, or leave it out.";
/// Stability and Amazon give the reason for a missing image in one of these members.
const REASONS: &str = "finish_reasons";
const REASON: &str = "error";

/// Translates an image request for such a model.
///
/// # Errors
/// The request needs something that the model lacks and that may not be dropped.
pub(super) fn write_images(
    mut request: ImageRequest<'_>,
    form: ImageForm,
) -> Result<TranslatedRequest, Box<Fault>> {
    request.require_inline_bytes()?;
    let body = match form {
        ImageForm::Tasks => tasks(&mut request)?,
        ImageForm::Prompt => prompt(&mut request)?,
    };
    Ok(TranslatedRequest { body: Bytes::from(body), dropped: request.extra.finish()? })
}

fn tasks(request: &mut ImageRequest<'_>) -> Result<String, Box<Fault>> {
    let mut params = vec![("text", json_string(&request.prompt))];
    request.extra.pass_through(&["negativeText"], &mut params)?;
    let mut config: Vec<(&str, String)> = Vec::new();
    config.extend(request.count.map(|count| ("numberOfImages", count.to_string())));
    match request.quality()?.as_deref() {
        None => {}
        Some(quality @ ("standard" | "premium")) => config.push(("quality", json_string(quality))),
        Some("hd") => config.push(("quality", json_string("premium"))),
        Some(_) => {
            let fix = "Send \"standard\" or \"premium\", or leave it out.";
            let what = "asks for pictures that this model doesn't produce";
            request.extra.unsupported("quality", what, fix)?;
        }
    }
    match request.size.as_deref().map(width_and_height) {
        None => {}
        Some(Some((width, height))) => {
            config.extend([("width", width.to_string()), ("height", height.to_string())]);
        }
        Some(None) => request.extra.unsupported("size", "isn't a size of a picture", SIDES_FIX)?,
    }
    if request.output_format.as_deref().is_some_and(|format| format != PNG) {
        let fix = "Send \"png\", or leave it out.";
        let what = "asks for a format that this model doesn't produce";
        request.extra.unsupported("output_format", what, fix)?;
    }
    request.extra.pass_through(&["cfgScale", "seed"], &mut config)?;
    let (params, config) = (json_object(&params), json_object(&config));
    Ok(format!(
        r#"{{"taskType":"TEXT_IMAGE","textToImageParams":{params},"imageGenerationConfig":{config}}}"#
    ))
}

fn prompt(request: &mut ImageRequest<'_>) -> Result<String, Box<Fault>> {
    let ImageRequest { prompt, count, size, output_format, extra, .. } = request;
    let mut fields = vec![("prompt", json_string(prompt))];
    if count.is_some_and(|count| count != 1) {
        let what = "asks for other than the one picture that this model makes per request";
        extra.unsupported("n", what, ONE_FIX)?;
    }
    match size {
        None => {}
        Some(ratio) if ratio.contains(':') => fields.push(("aspect_ratio", json_string(ratio))),
        Some(_) => {
            let what = "asks for sides, and pictures of this model are asked for by their ratio";
            extra.unsupported("size", what, RATIO_FIX)?;
        }
    }
    // The model judges which formats it supports.
    fields.extend(output_format.as_deref().map(|format| ("output_format", json_string(format))));
    for name in ["aspect_ratio", "negative_prompt", "seed"] {
        let Some(value) = extra.json(name)? else { continue };
        if fields.iter().any(|(known, _)| *known == name) {
            let fix = format!("Leave \"size\" or \"{name}\" out.");
            return Err(wrong_value(name.to_owned(), "duplicates \"size\"", fix));
        }
        fields.push((name, value));
    }
    Ok(json_object(&fields))
}

/// The images of a response. A list without any, and without a reason, is an answer too.
fn read_images(answer: &Members<'_>) -> Result<Option<Vec<Image>>, StreamFault> {
    let is_list = answer.find_array("images").is_some();
    let found = base64_images(answer)?;
    Ok(found.or_else(|| (is_list && answer.find_elements("images").is_empty()).then(Vec::new)))
}

/// The images of a response that lists them in Base64; `None` if it is not such a list. If all of them were
/// filtered, this is a refusal by the provider.
fn base64_images(answer: &Members<'_>) -> Result<Option<Vec<Image>>, StreamFault> {
    let mut images = Vec::new();
    for element in answer.find_elements("images") {
        match value_of(element) {
            Ok(Value::String(bytes)) => {
                let bytes = bytes.decode().into_owned();
                let format = format_of(&bytes).map(str::to_owned);
                images.push(Image {
                    source: ImageSource::Bytes(bytes),
                    size: None,
                    format,
                    revised_prompt: None,
                    billed: None,
                });
            }
            // In place of a filtered image.
            Ok(Value::Null) => {}
            _ => return Ok(None),
        }
    }
    if !images.is_empty() {
        return Ok(Some(images));
    }
    let reasons = answer.find_elements(REASONS).into_iter();
    let reason = reasons.filter_map(|reason| match value_of(reason) {
        Ok(Value::String(text)) => Some(text.decode()),
        _ => None,
    });
    match answer.find_text(REASON).or(reason.into_iter().next()) {
        Some(reason) => Err(StreamFault::Upstream(
            conversation::upstream_error::read_error(reason.as_bytes()),
            FaultClass::ContentPolicy,
        )),
        None => Ok(None),
    }
}

/// An image's format, from its magic bytes.
fn format_of(base64: &str) -> Option<&'static str> {
    let begins = [("iVBORw0KGgo", PNG), ("/9j/", "jpeg"), ("UklGR", "webp")];
    begins.into_iter().find(|(begin, _)| base64.starts_with(begin)).map(|(_, format)| format)
}

/// Translates a rerank request for such a model.
///
/// # Errors
/// The request needs something that the model lacks and that may not be dropped.
pub(super) fn write_rerank(
    request: RerankRequest<'_>,
    form: RerankForm,
) -> Result<TranslatedRequest, Box<Fault>> {
    let RerankRequest { query, documents, top_n, return_documents, mut extra } = request;
    let documents: Vec<String> = documents.iter().map(|document| json_string(document)).collect();
    let mut fields =
        vec![("query", json_string(&query)), ("documents", format!("[{}]", documents.join(",")))];
    fields.extend(top_n.map(|count| ("top_n", count.to_string())));
    // The model returns indices only.
    if return_documents {
        extra.drop_field("return_documents");
    }
    extra.pass_through(form.passthrough, &mut fields)?;
    fields.extend(form.version.map(|version| ("api_version", version.to_string())));
    Ok(TranslatedRequest { body: Bytes::from(json_object(&fields)), dropped: extra.finish_without_hints()? })
}

#[cfg(test)]
mod tests {
    use domain::Grammar;

    use super::*;

    fn pictures(form: ImageForm, body: &str, is_lenient: bool) -> Result<(String, Vec<String>), Box<Fault>> {
        let request = ImageRequest::read(Grammar::Chat, body.as_bytes(), is_lenient)?;
        let translated = write_images(request, form)?;
        Ok((String::from_utf8(translated.body.to_vec()).unwrap(), translated.dropped))
    }

    #[test]
    fn common_words_become_a_task() {
        let (body, dropped) = pictures(
            ImageForm::Tasks,
            r#"{"model":"m","prompt":"a \"tide\"","n":2,"size":"1280x720","quality":"hd","output_format":"png","stream":true,
            "response_format":"b64_json","negativeText":"boats","cfgScale":6.50,"seed":12,"user":"u","background":"auto"}"#,
            false,
        )
        .unwrap();
        let expected = r#"{"taskType":"TEXT_IMAGE","textToImageParams":{"text":"a \"tide\"","negativeText":"boats"},"imageGenerationConfig":{"numberOfImages":2,"quality":"premium","width":1280,"height":720,"cfgScale":6.50,"seed":12}}"#;
        assert_eq!((body.as_str(), dropped), (expected, vec!["user".to_owned()]));
        let bare = pictures(ImageForm::Tasks, r#"{"prompt":"a","size":"auto","quality":"auto"}"#, false);
        let expected =
            r#"{"taskType":"TEXT_IMAGE","textToImageParams":{"text":"a"},"imageGenerationConfig":{}}"#;
        assert_eq!(bare.unwrap(), (expected.to_owned(), Vec::new()));
    }

    #[test]
    fn common_words_become_a_prompt_and_its_settings() {
        let (body, dropped) = pictures(
            ImageForm::Prompt,
            r#"{"prompt":"a","n":1,"size":"16:9","output_format":"jpeg","negative_prompt":"boats","seed":4294967295}"#,
            false,
        )
        .unwrap();
        let expected = r#"{"prompt":"a","aspect_ratio":"16:9","output_format":"jpeg","negative_prompt":"boats","seed":4294967295}"#;
        assert_eq!((body.as_str(), dropped), (expected, Vec::new()));
        let both = r#"{"prompt":"a","size":"16:9","aspect_ratio":"1:1"}"#;
        let fault = pictures(ImageForm::Prompt, both, true).unwrap_err();
        assert_eq!((fault.code, fault.param.as_deref()), ("invalid_value", Some("aspect_ratio")));
    }

    #[test]
    fn what_there_are_no_words_for_is_refused_or_dropped_by_name() {
        use ImageForm::{Prompt, Tasks};
        for (form, more, name, code) in [
            (Tasks, r#""size":"16:9""#, "size", "unsupported_value"),
            (Tasks, r#""quality":"medium""#, "quality", "unsupported_value"),
            (Tasks, r#""output_format":"webp""#, "output_format", "unsupported_value"),
            (Tasks, r#""response_format":"url""#, "response_format", "unsupported_value"),
            (Tasks, r#""style":"vivid""#, "style", "unsupported_parameter"),
            (Prompt, r#""n":2"#, "n", "unsupported_value"),
            (Prompt, r#""size":"1024x1024""#, "size", "unsupported_value"),
            (Prompt, r#""quality":"hd""#, "quality", "unsupported_parameter"),
            (Prompt, r#""mode":"image-to-image""#, "mode", "unsupported_parameter"),
        ] {
            let body = format!(r#"{{"prompt":"a",{more}}}"#);
            let fault = pictures(form, &body, false).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), (code, Some(name)), "{more}");
            assert_eq!(pictures(form, &body, true).unwrap().1, [name], "{more}");
        }
        let fault = pictures(Tasks, "{}", true).unwrap_err();
        assert_eq!(fault.param.as_deref(), Some("prompt"));
    }

    #[test]
    fn listed_pictures_are_read_and_a_filter_is_heard() {
        let read = |answer: &str| base64_images(&Members::of_answer(answer.as_bytes()).unwrap());
        let answer = r#"{"seeds":[1],"finish_reasons":[null,"Filter reason: output image"],"images":["iVBORw0KGgoA",null]}"#;
        let made = read(answer).unwrap().unwrap();
        assert_eq!(made.len(), 1);
        assert_eq!((made[0].datum(), made[0].format.as_deref()), (("b64_json", "iVBORw0KGgoA"), Some("png")));
        for (answer, expected) in [
            (r#"{"images":[],"error":"The prompt was blocked."}"#, "The prompt was blocked."),
            (r#"{"images":[null],"finish_reasons":["Filter reason: prompt"]}"#, "Filter reason: prompt"),
        ] {
            let Err(StreamFault::Upstream(report, FaultClass::ContentPolicy)) = read(answer) else {
                panic!("{answer}")
            };
            assert_eq!(report.message.as_deref(), Some(expected));
        }
        for none in [r#"{"images":[]}"#, r#"{"images":[7]}"#, "{}"] {
            assert!(read(none).unwrap().is_none(), "{none}");
        }
    }

    fn rerank(body: &str, is_lenient: bool) -> Result<(String, Vec<String>), Box<Fault>> {
        let ranking = RerankForm { version: Some(2), passthrough: &["max_tokens_per_doc"] };
        let request = RerankRequest::read(Grammar::Chat, body.as_bytes(), is_lenient)?;
        let translated = write_rerank(request, ranking)?;
        Ok((String::from_utf8(translated.body.to_vec()).unwrap(), translated.dropped))
    }

    #[test]
    fn texts_are_ranked_in_a_makers_words() {
        let (body, dropped) = rerank(
            r#"{"model":"m","query":"when?","documents":["at \"six\"",{"text":"never"}],"top_n":1,"return_documents":false,
            "max_tokens_per_doc":9}"#,
            false,
        )
        .unwrap();
        let expected = r#"{"query":"when?","documents":["at \"six\"","never"],"top_n":1,"max_tokens_per_doc":9,"api_version":2}"#;
        assert_eq!((body.as_str(), dropped), (expected, Vec::new()));
        for (body, code, name) in [
            (r#"{"documents":[]}"#, "missing_required_parameter", "query"),
            (r#"{"query":"a"}"#, "missing_required_parameter", "documents"),
            (r#"{"query":"a","documents":[7]}"#, "invalid_type", "documents[0]"),
            (
                r#"{"query":"a","documents":[{"title":"b"}]}"#,
                "missing_required_parameter",
                "documents[0].text",
            ),
            (r#"{"query":"a","documents":[{"text":"b","title":"c"}]}"#, "unsupported_value", "title"),
            (
                r#"{"query":"a","documents":["b"],"return_documents":true}"#,
                "unsupported_parameter",
                "return_documents",
            ),
            (
                r#"{"query":"a","documents":["b"],"rank_fields":["c"]}"#,
                "unsupported_parameter",
                "rank_fields",
            ),
        ] {
            let fault = rerank(body, false).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), (code, Some(name)), "{body}");
        }
        let lenient = rerank(r#"{"query":"a","documents":["b"],"return_documents":true}"#, true).unwrap();
        assert_eq!(lenient.1, ["return_documents"]);
    }
}
