//! Imagen requests in Vertex AI's `predict` format: one instance and parameters. The response is a list of
//! predictions, in which a filtered image is replaced by a reason.

use std::ops::RangeInclusive;

use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::target::TranslatedRequest;
use domain::{Fault, FaultClass};
use json::members::Members;
use json::refusal::wrong_value;
use json::written::{json_object, json_string};
use operations::ExtraFields;
use operations::images::{Image, ImageRequest, ImageSource, VendorImages, width_and_height};

/// How the answer is read.
pub(super) const ANSWER: VendorImages = VendorImages { read: predictions, read_event: predictions };

/// Imagen's default is several images, but clients of OpenAI's API expect one.
const COUNT: u64 = 1;
/// How many images a request may ask for.
const COUNTS: RangeInclusive<u64> = 1..=4;
const RATIO: &str = "aspectRatio";
const SIZE: &str = "sampleImageSize";
/// The supported sizes by aspect ratio; each exists at twice the width and height, too.
const SIZES: [(&str, (u32, u32)); 5] = [
    ("1:1", (1024, 1024)),
    ("3:4", (896, 1280)),
    ("4:3", (1280, 896)),
    ("9:16", (768, 1408)),
    ("16:9", (1408, 768)),
];
const LARGE: &str = "2K";
const SIZE_FIX: &str = "Send 1024x1024, 896x1280, 1280x896, 768x1408 or 1408x768, twice these sides, or a ratio such as 16:9; or \
                        leave it out.";
const FORMAT_FIX: &str = "Send \"png\" or \"jpeg\", or leave it out.";

/// Imagen's own parameters, which pass through unchanged: none of them changes how many images are generated,
/// or where they are stored.
const OWN_WORDS: [&str; 10] = [
    "addWatermark",
    RATIO,
    "enhancePrompt",
    "guidanceScale",
    "language",
    "negativePrompt",
    "personGeneration",
    "safetySetting",
    SIZE,
    "seed",
];

/// Translates an image request into an instance and parameters.
///
/// # Errors
/// The request needs something that the model lacks and that may not be dropped.
pub(super) fn write(mut request: ImageRequest<'_>) -> Result<TranslatedRequest, Box<Fault>> {
    let count = request.count.unwrap_or(COUNT);
    if !COUNTS.contains(&count) {
        let fix = format!("Send a number from {} to {}.", COUNTS.start(), COUNTS.end());
        let what = "isn't a number of pictures that this model makes per request";
        return Err(wrong_value("n".to_owned(), what, fix));
    }
    let mut fields: Vec<(&str, String)> = vec![("sampleCount", count.to_string())];
    let sized = size(request.size.as_deref(), &mut request.extra)?;
    let is_sized = !sized.is_empty();
    fields.extend(sized);
    fields.extend(output_options(&mut request)?.map(|options| ("outputOptions", options)));
    request.require_inline_bytes()?;
    let ImageRequest { prompt, mut extra, .. } = request;
    for name in OWN_WORDS {
        let Some(value) = extra.json(name)? else { continue };
        if is_sized && [RATIO, SIZE].contains(&name) {
            let fix = format!("Leave \"size\" or \"{name}\" out.");
            return Err(wrong_value(name.to_owned(), "duplicates \"size\"", fix));
        }
        fields.push((name, value));
    }
    // Without it the response gives no reason for missing images.
    fields.push(("includeRaiReason", "true".to_owned()));
    let (prompt, parameters) = (json_string(&prompt), json_object(&fields));
    let body = format!(r#"{{"instances":[{{"prompt":{prompt}}}],"parameters":{parameters}}}"#);
    Ok(TranslatedRequest { body: Bytes::from(body), dropped: extra.finish()? })
}

/// The aspect ratio, and the sample size if it is the large one. The model judges which ratios it supports.
fn size(
    requested: Option<&str>,
    extra: &mut ExtraFields<'_>,
) -> Result<Vec<(&'static str, String)>, Box<Fault>> {
    let Some(requested) = requested else { return Ok(Vec::new()) };
    if requested.contains(':') {
        return Ok(vec![(RATIO, json_string(requested))]);
    }
    let Some(wanted) = width_and_height(requested) else {
        extra.unsupported("size", "is no size", SIZE_FIX)?;
        return Ok(Vec::new());
    };
    let found = SIZES.iter().find_map(|(ratio, (width, height))| {
        let large = (wanted == (width * 2, height * 2)).then(|| (SIZE, json_string(LARGE)));
        let is_there = large.is_some() || wanted == (*width, *height);
        is_there.then(|| [(RATIO, json_string(ratio))].into_iter().chain(large).collect())
    });
    match found {
        Some(fields) => Ok(fields),
        None => {
            extra.unsupported("size", "asks for sides that pictures of this model do not have", SIZE_FIX)?;
            Ok(Vec::new())
        }
    }
}

/// `outputOptions`, if the request has a file format or a compression.
fn output_options(request: &mut ImageRequest<'_>) -> Result<Option<String>, Box<Fault>> {
    let ImageRequest { output_format, extra, .. } = request;
    let mut options = Vec::new();
    match output_format.as_deref() {
        None => {}
        Some(format @ ("png" | "jpeg")) => options.push(("mimeType", format!(r#""image/{format}""#))),
        Some(_) => {
            let what = "asks for a format that this model doesn't produce";
            extra.unsupported("output_format", what, FORMAT_FIX)?;
        }
    }
    options.extend(extra.count("output_compression")?.map(|count| ("compressionQuality", count.to_string())));
    Ok((!options.is_empty()).then(|| json_object(&options)))
}

/// The images of a response's predictions; `None` if it has no predictions. If all of them were filtered,
/// this is a refusal by the provider.
fn predictions(answer: &Members<'_>) -> Result<Option<Vec<Image>>, StreamFault> {
    if answer.find_array("predictions").is_none() {
        return Ok(None);
    }
    let mut images = Vec::new();
    let mut reason = None;
    for element in answer.find_elements("predictions") {
        let Some(one) = Members::of_answer(element) else {
            return Err(StreamFault::Broken("not_an_answer"));
        };
        let Some(bytes) = one.find_text("bytesBase64Encoded") else {
            // The verdict on the prompt is also one of the predictions.
            reason = reason.or(one.find_text("raiFilteredReason"));
            continue;
        };
        let format = one.find_text("mimeType");
        images.push(Image {
            source: ImageSource::Bytes(bytes.into_owned()),
            size: None,
            format: format.and_then(|format| format.strip_prefix("image/").map(str::to_owned)),
            revised_prompt: one.find_text("prompt").map(std::borrow::Cow::into_owned),
            billed: None,
        });
    }
    match reason {
        _ if !images.is_empty() => Ok(Some(images)),
        // `conversation::upstream_error::read_error` limits the message's length and redacts what looks like a key.
        Some(reason) => Err(StreamFault::Upstream(
            conversation::upstream_error::read_error(reason.as_bytes()),
            FaultClass::ContentPolicy,
        )),
        None => Err(StreamFault::Broken("not_an_answer")),
    }
}

#[cfg(test)]
mod tests {
    use domain::Grammar;

    use super::*;

    fn translate(body: &str, is_lenient: bool) -> Result<(String, Vec<String>), Box<Fault>> {
        let translated = write(ImageRequest::read(Grammar::Chat, body.as_bytes(), is_lenient)?)?;
        Ok((String::from_utf8(translated.body.to_vec()).unwrap(), translated.dropped))
    }

    /// The parameters after the prompt and the number of images.
    fn parameters(more: &str, is_lenient: bool) -> Result<(String, Vec<String>), Box<Fault>> {
        let (body, dropped) = translate(&format!(r#"{{"prompt":"a",{more}}}"#), is_lenient)?;
        let fields = body.strip_prefix(r#"{"instances":[{"prompt":"a"}],"parameters":{"sampleCount":1"#);
        let fields = fields.and_then(|fields| fields.strip_suffix(r#","includeRaiReason":true}}"#));
        Ok((fields.unwrap_or_else(|| panic!("{body}")).trim_start_matches(',').to_owned(), dropped))
    }

    #[test]
    fn common_words_become_an_instance_and_parameters() {
        let (body, dropped) = translate(
            r#"{"model":"m","prompt":"a \"tide\"","n":3,"size":"1408x768","output_format":"jpeg","output_compression":80,
            "response_format":"b64_json","stream":true,"partial_images":2,"quality":"auto","user":"u","seed":18446744073709551615,
            "addWatermark":false,"guidanceScale":3.50}"#,
            false,
        )
        .unwrap();
        let expected = r#"{"instances":[{"prompt":"a \"tide\""}],"parameters":{"sampleCount":3,"aspectRatio":"16:9","outputOptions":{"mimeType":"image/jpeg","compressionQuality":80},"addWatermark":false,"guidanceScale":3.50,"seed":18446744073709551615,"includeRaiReason":true}}"#;
        assert_eq!(
            (body.as_str(), dropped),
            (expected, vec!["user".to_owned(), "partial_images".to_owned()])
        );
    }

    #[test]
    fn a_size_is_a_ratio_and_may_be_large() {
        for (size, expected) in [
            ("auto", ""),
            ("1024x1024", r#""aspectRatio":"1:1""#),
            ("768x1408", r#""aspectRatio":"9:16""#),
            ("2560x1792", r#""aspectRatio":"4:3","sampleImageSize":"2K""#),
            ("16:9", r#""aspectRatio":"16:9""#),
        ] {
            let fields = parameters(&format!(r#""size":"{size}""#), false).unwrap();
            assert_eq!(fields, (expected.to_owned(), Vec::new()), "{size}");
        }
        let both = parameters(r#""size":"1024x1024","aspectRatio":"16:9""#, true).unwrap_err();
        assert_eq!((both.code, both.param.as_deref()), ("invalid_value", Some("aspectRatio")));
        let own = parameters(r#""aspectRatio":"16:9","sampleImageSize":"2K""#, false).unwrap();
        assert_eq!(own.0, r#""aspectRatio":"16:9","sampleImageSize":"2K""#);
    }

    #[test]
    fn what_there_are_no_words_for_is_refused_or_dropped_by_name() {
        for (more, name, code) in [
            (r#""size":"1536x1024""#, "size", "unsupported_value"),
            (r#""size":"2049x2048""#, "size", "unsupported_value"),
            (r#""size":"large""#, "size", "unsupported_value"),
            (r#""size":"4294967295x4294967295""#, "size", "unsupported_value"),
            (r#""output_format":"webp""#, "output_format", "unsupported_value"),
            (r#""response_format":"url""#, "response_format", "unsupported_value"),
            (r#""quality":"high""#, "quality", "unsupported_parameter"),
            (r#""background":"transparent""#, "background", "unsupported_parameter"),
            (r#""storageUri":"gs://b/c""#, "storageUri", "unsupported_parameter"),
        ] {
            let fault = parameters(more, false).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), (code, Some(name)), "{more}");
            assert_eq!(parameters(more, true).unwrap(), (String::new(), vec![name.to_owned()]), "{more}");
        }
        for (more, name) in [
            (r#""response_format":"x""#, "response_format"),
            (r#""n":0"#, "n"),
            (r#""n":5"#, "n"),
            (r#""n":18446744073709551615"#, "n"),
        ] {
            let fault = parameters(more, true).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), ("invalid_value", Some(name)), "{more}");
        }
        assert_eq!(translate(r#"{"n":1}"#, true).unwrap_err().param.as_deref(), Some("prompt"));
    }

    fn read(answer: &str) -> Result<Option<Vec<Image>>, StreamFault> {
        predictions(&Members::of_answer(answer.as_bytes()).unwrap())
    }

    #[test]
    fn predictions_are_pictures_but_for_those_that_were_held_back() {
        let answer = r#"{"predictions":[{"mimeType":"image/png","bytesBase64Encoded":"AA==","prompt":"a high tide"},{"raiFilteredReason":"One was held back."},{"safetyAttributes":{"scores":[0.1]},"contentType":"Positive Prompt"}]}"#;
        let pictures = read(answer).unwrap().unwrap();
        assert_eq!(pictures.len(), 1);
        assert_eq!((pictures[0].datum(), pictures[0].format.as_deref()), (("b64_json", "AA=="), Some("png")));
        assert_eq!(pictures[0].revised_prompt.as_deref(), Some("a high tide"));
        assert!(read(r#"{"images":[]}"#).unwrap().is_none());
        let fault = read(r#"{"predictions":[{"raiFilteredReason":"All images were filtered out."}]}"#);
        let Err(StreamFault::Upstream(report, FaultClass::ContentPolicy)) = fault else {
            panic!("{fault:?}")
        };
        assert_eq!(report.message.as_deref(), Some("All images were filtered out."));
        for none in [r#"{"predictions":[]}"#, r#"{"predictions":[7]}"#, r#"{"predictions":[{}]}"#] {
            assert_eq!(read(none).unwrap_err(), StreamFault::Broken("not_an_answer"), "{none}");
        }
    }
}
