//! Image requests and responses in fal's wire format.

use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::target::TranslatedRequest;
use domain::Fault;
use json::members::Members;
use json::written::{json_object, json_string};
use operations::images::{Image, ImageDelivery, ImageRequest, ImageSource, VendorImages, width_and_height};

/// A billing megapixel: an image of 1024 by 1024 counts as one.
const PIXELS_OF_UNIT: u64 = 1_048_576;
const MICRO: u64 = 1_000_000;

/// How the answer is read.
pub(super) const ANSWER: VendorImages = VendorImages { read, read_event };

/// Translates an image request for fal. `own` are the model's further parameters, which pass through
/// unchanged.
///
/// # Errors
/// The request needs something that fal lacks and that may not be dropped.
pub(super) fn write(request: ImageRequest<'_>, own: &[&str]) -> Result<TranslatedRequest, Box<Fault>> {
    let ImageRequest { prompt, count, size, output_format, delivery, stream, mut extra } = request;
    let mut fields = vec![("prompt", json_string(&prompt))];
    fields.extend(count.map(|count| ("num_images", count.to_string())));
    fields.extend(size.map(|size| ("image_size", sides(&size))));
    // A stream's events carry the image itself, as they have no field for a URL.
    if stream || delivery == Some(ImageDelivery::Bytes) {
        fields.push(("sync_mode", "true".to_owned()));
    }
    fields.extend(output_format.map(|format| ("output_format", json_string(&format))));
    extra.pass_through(own, &mut fields)?;
    Ok(TranslatedRequest { body: Bytes::from(json_object(&fields)), dropped: extra.finish()? })
}

/// The width and height if the size is two numbers. Any other value is passed on, for the model to judge.
fn sides(size: &str) -> String {
    match width_and_height(size) {
        Some((width, height)) => format!(r#"{{"width":{width},"height":{height}}}"#),
        None => json_string(size),
    }
}

/// The images of a response, in their order; `None` if it has no list of images.
fn read(answer: &Members<'_>) -> Result<Option<Vec<Image>>, StreamFault> {
    let elements = match (answer.find_array("images"), answer.find_object("image")) {
        (Some(_), _) => answer.find_elements("images"),
        (None, Some(one)) => vec![one],
        (None, None) => return Ok(None),
    };
    Ok(elements.into_iter().map(image).collect())
}

/// The same of one event of a stream, which may be an app's error.
fn read_event(answer: &Members<'_>) -> Result<Option<Vec<Image>>, StreamFault> {
    if answer.find_text("error_type").is_some() || answer.find_text("detail").is_some() {
        return Err(chat::upstream_error(answer.bytes()));
    }
    read(answer)
}

fn image(element: &[u8]) -> Option<Image> {
    let members = Members::of_answer(element)?;
    let url = members.find_text("url")?.into_owned();
    let source = match url.strip_prefix("data:").and_then(|data| data.split_once(";base64,")) {
        Some((_, bytes)) => ImageSource::Bytes(bytes.to_owned()),
        None => ImageSource::Url(url),
    };
    let sides = members.find_count("width").zip(members.find_count("height"));
    let size = sides.filter(|(width, height)| *width > 0 && *height > 0);
    let format = members.find_text("content_type");
    let format = format.and_then(|format| format.strip_prefix("image/").map(str::to_owned));
    Some(Image { source, size, format, revised_prompt: None, billed: size.map(billed) })
}

fn billed((width, height): (u64, u64)) -> u64 {
    width.saturating_mul(height).div_ceil(PIXELS_OF_UNIT).saturating_mul(MICRO)
}

#[cfg(test)]
mod tests {
    use dialects::{AnswerPath, VendorAnswer};
    use domain::{Grammar, Usage};

    use super::*;

    fn translate(body: &str, is_lenient: bool) -> Result<(String, Vec<String>), Box<Fault>> {
        let request = ImageRequest::read(Grammar::Chat, body.as_bytes(), is_lenient)?;
        let translated = write(request, &["seed", "guidance_scale"])?;
        Ok((String::from_utf8(translated.body.to_vec()).unwrap(), translated.dropped))
    }

    #[test]
    fn common_words_become_those_of_hosted_models() {
        let (body, dropped) = translate(
            r#"{"model":"m","prompt":"a \"tide\"","n":2,"size":"640x480","response_format":"b64_json","seed":18446744073709551615,
            "guidance_scale":3.50,"output_format":"jpeg","quality":"auto","background":null,"user":"u","stream":false}"#,
            false,
        )
        .unwrap();
        let expected = r#"{"prompt":"a \"tide\"","num_images":2,"image_size":{"width":640,"height":480},"sync_mode":true,"output_format":"jpeg","seed":18446744073709551615,"guidance_scale":3.50}"#;
        assert_eq!((body.as_str(), dropped), (expected, vec!["user".to_owned()]));
        let (body, dropped) =
            translate(r#"{"prompt":"a","size":"auto","response_format":"url"}"#, false).unwrap();
        assert_eq!((body.as_str(), dropped), (r#"{"prompt":"a"}"#, Vec::new()));
        let (body, _) = translate(r#"{"prompt":"a","size":"square_hd"}"#, false).unwrap();
        assert_eq!(body, r#"{"prompt":"a","image_size":"square_hd"}"#);
    }

    #[test]
    fn what_has_no_word_is_refused_or_dropped_by_name() {
        for (more, name) in [
            (r#""quality":"high""#, "quality"),
            (r#""background":"transparent""#, "background"),
            (r#""style":"vivid""#, "style"),
            (r#""num_images":9"#, "num_images"),
        ] {
            let body = format!(r#"{{"prompt":"a",{more}}}"#);
            let fault = translate(&body, false).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), ("unsupported_parameter", Some(name)));
            assert_eq!(
                translate(&body, true).unwrap(),
                (r#"{"prompt":"a"}"#.to_owned(), vec![name.to_owned()])
            );
        }
        assert_eq!(translate(r#"{"prompt":"a","partial_images":1}"#, false).unwrap().1, ["partial_images"]);
        let fault = translate(r#"{"prompt":"a","response_format":"x"}"#, true).unwrap_err();
        assert_eq!(fault.param.as_deref(), Some("response_format"));
    }

    #[test]
    fn pixels_are_counted_up_to_whole_units_where_they_are_reported() {
        let count = |answer: &str| -> Vec<Option<u64>> {
            let members = Members::of_answer(answer.as_bytes()).unwrap();
            read(&members).unwrap().unwrap().into_iter().map(|image| image.billed).collect()
        };
        let sized = r#"{"url":"u","width":1024,"height":1024}"#;
        assert_eq!(
            count(&format!(r#"{{"images":[{sized},{{"url":"v","width":512,"height":512}}]}}"#)),
            [Some(1_000_000), Some(1_000_000)]
        );
        assert_eq!(count(&format!(r#"{{"images":[{sized},{{"url":"v"}}]}}"#)), [Some(1_000_000), None]);
        assert_eq!(count(&format!(r#"{{"image":{sized}}}"#)), [Some(1_000_000)]);
        let wide = r#"{"images":[{"url":"u","width":1025,"height":1024}]}"#;
        assert_eq!(count(wide), [Some(2_000_000)]);
        let none = Members::of_answer(br#"{"images":[{"url":7}]}"#).unwrap();
        assert!(read(&none).unwrap().is_none());
    }

    fn read_answer(body: &str) -> Result<(String, Option<Usage>), StreamFault> {
        let mut path = AnswerPath::chat(Grammar::Chat, Grammar::Chat);
        path.options.created_unix_s = 7;
        let answer = ANSWER.buffered(&path, &Bytes::copy_from_slice(body.as_bytes()))?;
        Ok((String::from_utf8(answer.body.to_vec()).unwrap(), answer.facts.usage))
    }

    #[test]
    fn a_response_becomes_an_image_response() {
        let made = r#"{"images":[{"url":"data:image/png;base64,AA==","width":640,"height":480,"content_type":"image/png"}]}"#;
        let (body, usage) = read_answer(made).unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let expected = serde_json::json!({
            "created": 7, "data": [{"b64_json": "AA=="}], "size": "640x480", "output_format": "png",
        });
        assert_eq!(body, expected);
        assert_eq!(usage.map(|usage| (usage.units.images, usage.units.billed)), Some((1, 1_000_000)));
        assert_eq!(read_answer("{}").unwrap_err(), StreamFault::Broken("not_an_answer"));
    }

    #[test]
    fn an_error_in_a_stream_is_one() {
        let path = AnswerPath::chat(Grammar::Chat, Grammar::Chat);
        let mut stream = ANSWER.stream(&path).unwrap();
        stream.opened(b"text/event-stream").unwrap();
        let refused = "data: {\"detail\":\"gone\",\"error_type\":\"runner_disconnected\"}\n\n";
        let fault = stream.push(Bytes::from_static(refused.as_bytes()), &mut Vec::new()).unwrap_err();
        assert!(matches!(fault, StreamFault::Upstream(..)));
    }
}
