//! What a request of the responses grammar asks of the state that is kept for it.

use bytes::Bytes;
use domain::Fault;
use domain::limits::BODY_BYTES_MAX;
use json::Span;
use serde_json::Value;

use crate::items;
use runbody::{members, push_member};

/// The fields that are of concern here, and where all of them are.
#[derive(Debug)]
pub(crate) struct StateFields {
    /// What it continues.
    pub previous: Option<String>,
    pub conversation: Option<String>,
    /// Answers are stored unless the client says otherwise.
    pub stores: bool,
    pub is_background: bool,
    pub streams: bool,
    /// What does not fit into the model's context is left out.
    pub truncates: bool,
    /// The tokens from which on the older part of the conversation gives way to a summary.
    pub compact_threshold: Option<u64>,
    members: Vec<(String, Span)>,
}

impl StateFields {
    /// `None` where the body is no valid request: it is refused elsewhere.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let members = members(body, "").ok()?;
        let raw = |name: &str| members.iter().find(|(known, _)| known == name).map(|(_, span)| span.of(body));
        let is = |name: &str, truth: &[u8]| raw(name) == Some(truth);
        let previous = match raw("previous_response_id") {
            Some(id) => serde_json::from_slice(id).ok()?,
            None => None,
        };
        let conversation = match raw("conversation") {
            Some(named) => match serde_json::from_slice(named).ok()? {
                Value::Null => None,
                Value::String(id) => Some(id),
                Value::Object(named) => Some(named.get("id")?.as_str()?.to_owned()),
                _ => return None,
            },
            None => None,
        };
        Some(Self {
            previous,
            conversation,
            stores: !is("store", b"false"),
            is_background: is("background", b"true"),
            streams: is("stream", b"true"),
            compact_threshold: raw("context_management").and_then(compact_threshold),
            truncates: is("truncation", b"\"auto\""),
            members,
        })
    }

    /// The items of `input`, each as it is written in a list.
    pub(crate) fn input_items(&self, body: &[u8]) -> Vec<String> {
        let input = self.members.iter().find(|(name, _)| name == "input");
        input.map(|(_, span)| items::of_input(span.of(body))).unwrap_or_default()
    }

    /// The body with what it continues before the items of its input.
    ///
    /// # Errors
    /// Both together are longer than a request may be.
    pub(crate) fn continuing(
        &self,
        body: &[u8],
        history: &[String],
        input: &[String],
    ) -> Result<Bytes, Box<Fault>> {
        let input = [history, input].concat().join(",");
        if input.len() > BODY_BYTES_MAX {
            return Err(decode::too_large(BODY_BYTES_MAX));
        }
        let mut written = self.without(body, &["previous_response_id", "conversation", "input"]);
        push_member(&mut written, "input", format!("[{input}]").as_bytes());
        written.push(b'}');
        Ok(written.into())
    }

    /// The body with other items in its input.
    pub(crate) fn with_input(&self, body: &[u8], items: &[String]) -> Bytes {
        let mut written = self.without(body, &["input"]);
        push_member(&mut written, "input", format!("[{}]", items.join(",")).as_bytes());
        written.push(b'}');
        written.into()
    }

    /// The body as one of a request that its client waits for, and of which a provider stores nothing.
    pub(crate) fn in_foreground(body: &[u8]) -> Option<Bytes> {
        let mut written = Self::read(body)?.without(body, &["background", "store"]);
        push_member(&mut written, "store", b"false");
        written.push(b'}');
        Some(written.into())
    }

    /// The members but these, without the end of the object. At least one more is to come.
    fn without(&self, body: &[u8], names: &[&str]) -> Vec<u8> {
        let mut written = Vec::with_capacity(body.len());
        for (name, span) in self.members.iter().filter(|(name, _)| !names.contains(&name.as_str())) {
            push_member(&mut written, name, span.of(body));
        }
        written
    }
}

/// What `context_management` says of compaction.
fn compact_threshold(entries: &[u8]) -> Option<u64> {
    let entries: Vec<Value> = serde_json::from_slice(entries).ok()?;
    let entry = entries.iter().find(|entry| entry.get("type").is_some_and(|kind| kind == "compaction"))?;
    entry.get("compact_threshold")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_continued_comes_before_the_input_and_the_rest_stays_as_written() {
        let body = br#"{"model":"m","previous_response_id":"resp_1","temperature":1.0,"input":"and now?"}"#;
        let fields = StateFields::read(body).unwrap();
        assert_eq!(
            (fields.previous.as_deref(), fields.stores, fields.is_background),
            (Some("resp_1"), true, false)
        );
        let history = [r#"{"role":"user","content":"hi"}"#.to_owned()];
        let written = fields.continuing(body, &history, &fields.input_items(body)).unwrap();
        let expected = r#"{"model":"m","temperature":1.0,"input":[{"role":"user","content":"hi"},{"role":"user","content":"and now?"}]}"#;
        assert_eq!(written, expected);
        let items = [r#"{"role":"user","content":1.0}"#.to_owned()];
        let expected = r#"{"model":"m","previous_response_id":"resp_1","temperature":1.0,"input":[{"role":"user","content":1.0}]}"#;
        assert_eq!(fields.with_input(body, &items), expected);
        let nothing = br#"{"previous_response_id":"resp_1"}"#;
        assert_eq!(
            StateFields::read(nothing).unwrap().continuing(nothing, &[], &[]).unwrap(),
            r#"{"input":[]}"#
        );
    }

    #[test]
    fn fields_are_read_and_what_is_wrong_is_left() {
        let fields = StateFields::read(
            br#"{"store":false,"background":true,"stream":true,"previous_response_id":null}"#,
        )
        .unwrap();
        assert_eq!(
            (fields.previous, fields.stores, fields.is_background, fields.streams),
            (None, false, true, true)
        );
        for (said, truncates) in [("auto", true), ("disabled", false)] {
            let body = format!(r#"{{"truncation":"{said}"}}"#);
            assert_eq!(StateFields::read(body.as_bytes()).unwrap().truncates, truncates);
        }
        for (said, threshold) in [
            (r#"[{"type":"compaction","compact_threshold":7}]"#, Some(7)),
            (r#"[{"type":"other","compact_threshold":1},{"type":"compaction"}]"#, None),
            ("null", None),
        ] {
            let body = format!(r#"{{"context_management":{said}}}"#);
            assert_eq!(StateFields::read(body.as_bytes()).unwrap().compact_threshold, threshold, "{said}");
        }
        for wrong in [&b"[]"[..], b"{", b"{\"a\":1,\"a\":2}", b"{\"previous_response_id\":7}", b""] {
            assert!(StateFields::read(wrong).is_none(), "{wrong:?}");
        }
        for (named, id) in [
            (&br#"{"conversation":"conv_1"}"#[..], "conv_1"),
            (br#"{"conversation":{"id":"conv_2"}}"#, "conv_2"),
        ] {
            assert_eq!(StateFields::read(named).unwrap().conversation.as_deref(), Some(id));
        }
        assert!(StateFields::read(br#"{"conversation":7}"#).is_none());
        let body = br#"{"background":true,"model":"m","store":true}"#;
        assert_eq!(StateFields::in_foreground(body).unwrap(), r#"{"model":"m","store":false}"#);
    }
}
