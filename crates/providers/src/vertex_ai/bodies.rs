//! Adapts bodies for Vertex AI's hosted models: what the address says is left out, and what the model's
//! vendor reads from headers is added to the body.

use bytes::Bytes;
use domain::Fault;
use json::splice::{Edit, splice};
use json::{Cursor, JsonError, Kind, Span};

/// The object with these members (name and JSON) replacing its own, and without `model` where the address has
/// it. There must be at least one member.
///
/// # Errors
/// The body is not an object.
pub(super) fn with_members(
    body: &[Bytes],
    members: &[(&str, String)],
    has_model: bool,
) -> Result<Vec<Bytes>, Box<Fault>> {
    let body = join(body);
    let mut cursor = Cursor::new(&body)?;
    let mut edits = Vec::with_capacity(4);
    let mut keeps_first = false;
    let mut end = 0;
    let object = cursor.object(|cursor, member| {
        let is_ours = members.iter().any(|(name, _)| member.key.is(name));
        let is_cut = is_ours || !has_model && member.key.is("model");
        keeps_first |= member.first && !is_cut;
        let value = cursor.skip()?;
        if is_cut {
            edits.push((end, value.end));
        }
        end = value.end;
        Ok::<(), JsonError>(())
    })?;
    let open = object.start + 1;
    // An edit before the first value starts after the brace.
    let mut edits: Vec<Edit<'_>> =
        edits.into_iter().map(|(start, end)| Edit::cut(Span::new(start.max(open), end))).collect();
    let mut text = String::new();
    for (at, (name, value)) in members.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        text.push_str(&format!("{comma}\"{name}\":{value}"));
    }
    if keeps_first && !text.is_empty() {
        text.push(',');
    }
    match edits.iter_mut().find(|edit| edit.span.start == open) {
        Some(first) => first.text = text.into(),
        None => edits.push(Edit::insert(open, text)),
    }
    let mut out = Vec::with_capacity(3);
    splice(&body, &mut edits, &mut out);
    Ok(out)
}

/// The members that Vertex AI's `countTokens` accepts, which takes the request itself and not one nested in
/// another.
const COUNTED: [&str; 6] =
    ["contents", "systemInstruction", "system_instruction", "tools", "generationConfig", "generation_config"];

/// A Gemini token count request, as Vertex AI takes it.
///
/// # Errors
/// The body is not an object.
pub(super) fn bare_count(body: &[Bytes]) -> Result<Vec<Bytes>, Box<Fault>> {
    let body = join(body);
    let mut inner = None;
    let mut cursor = Cursor::new(&body)?;
    cursor.object(|cursor, member| {
        let is_inner = member.key.is("generateContentRequest") || member.key.is("generate_content_request");
        let is_object = cursor.kind()? == Kind::Object;
        let value = cursor.skip()?;
        inner = inner.or((is_inner && is_object).then_some(value));
        Ok::<(), JsonError>(())
    })?;
    match inner {
        None => Ok(vec![body]),
        Some(inner) => Ok(vec![Bytes::from(json::members::keep_members(inner.of(&body), &COUNTED)?)]),
    }
}

fn join(body: &[Bytes]) -> Bytes {
    match body {
        [one] => one.clone(),
        several => Bytes::from(several.concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &'static str, expected: &str) {
        let members = [("version", "\"v\"".to_owned()), ("beta", "[\"b\"]".to_owned())];
        let out = with_members(&[Bytes::from_static(body.as_bytes())], &members, false).unwrap();
        assert_eq!(String::from_utf8(out.concat()).unwrap(), expected, "{body}");
    }

    #[test]
    fn the_model_gives_way_to_what_is_put_in() {
        let put = r#""version":"v","beta":["b"]"#;
        check("{}", &format!("{{{put}}}"));
        check(r#"{"model":"m"}"#, &format!("{{{put}}}"));
        check(r#"{ "model" : "m" , "a":1}"#, &format!("{{{put} , \"a\":1}}"));
        check(r#"{"a":1,"model":"m"}"#, &format!("{{{put},\"a\":1}}"));
        check(
            r#"{"a":1, "model":"m" ,"b":{"model":2}}"#,
            &format!("{{{put},\"a\":1 ,\"b\":{{\"model\":2}}}}"),
        );
        check(r#"{"version":1,"model":"m","b":2}"#, &format!("{{{put},\"b\":2}}"));
        check(r#"{"a":1,"mod\u0065l":"m","model":"n","beta":[]}"#, &format!("{{{put},\"a\":1}}"));
        assert!(with_members(&[Bytes::from_static(b"[]")], &[], false).is_err());
    }

    #[test]
    fn a_model_stays_where_the_address_has_none() {
        let body = [Bytes::from_static(br#"{"model":"m","#), Bytes::from_static(br#""a":1}"#)];
        let out = with_members(&body, &[("v", "2".to_owned())], true).unwrap();
        assert_eq!(out.concat(), br#"{"v":2,"model":"m","a":1}"#);
    }

    #[test]
    fn a_count_is_asked_of_the_request_itself() {
        let bare = |body: &'static str| {
            String::from_utf8(bare_count(&[Bytes::from_static(body.as_bytes())]).unwrap().concat()).unwrap()
        };
        assert_eq!(bare(r#"{"contents":[]}"#), r#"{"contents":[]}"#);
        assert_eq!(
            bare(
                r#"{"generateContentRequest":{"model":"models/m","contents":[1],"toolConfig":{},"tools":[]}}"#
            ),
            r#"{"contents":[1],"tools":[]}"#
        );
    }
}
