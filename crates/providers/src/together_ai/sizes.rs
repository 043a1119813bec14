//! Image requests for Together AI, which takes the width and the height as numbers.

use std::borrow::Cow;

use bytes::Bytes;
use json::splice::{Edit, splice};
use json::{Cursor, JsonError, Span, Value};
use operations::images::width_and_height;

/// Rewrites `size` as `width` and `height`, and `b64_json` as `base64`. A size that is not two numbers stays,
/// for the upstream to judge.
pub(super) fn with_width_and_height(body: &Bytes) -> Vec<Bytes> {
    let mut edits = Vec::new();
    // A body that is not an object passes unchanged; decoding has already rejected it.
    if edits_of(body, &mut edits).is_err() {
        edits.clear();
    }
    let mut out = Vec::with_capacity(1);
    splice(body, &mut edits, &mut out);
    out
}

fn edits_of(body: &[u8], edits: &mut Vec<Edit<'static>>) -> Result<(), JsonError> {
    let mut cursor = Cursor::new(body)?;
    cursor.object(|cursor, member| {
        let start = member.key.span.start;
        let value = cursor.value()?;
        let Value::String(text) = value else { return Ok::<(), JsonError>(()) };
        let text = text.decode();
        if member.key.is("size")
            && let Some((width, height)) = width_and_height(&text)
        {
            let span = Span::new(start, cursor.position());
            let text = format!(r#""width":{width},"height":{height}"#);
            edits.push(Edit { span, text: Cow::Owned(text) });
        } else if member.key.is("response_format") && text == "b64_json" {
            let span = Span::new(start, cursor.position());
            edits.push(Edit { span, text: Cow::Borrowed(r#""response_format":"base64""#) });
        }
        Ok(())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &'static str, expected: &str) {
        let out = with_width_and_height(&Bytes::from_static(body.as_bytes())).concat();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_size_becomes_two_sides() {
        check(
            r#"{"model":"m", "size" : "1024x768","n":1,"response_format":"b64_json"}"#,
            r#"{"model":"m", "width":1024,"height":768,"n":1,"response_format":"base64"}"#,
        );
        check(
            r#"{"size":"auto","response_format":"url","prompt":"size"}"#,
            r#"{"size":"auto","response_format":"url","prompt":"size"}"#,
        );
    }
}
