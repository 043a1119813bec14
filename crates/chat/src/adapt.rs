//! Adapts a Chat Completions request to a server that supports only part of the format, by editing its bytes
//! in place.

use std::borrow::Cow;

use bytes::Bytes;
use conversation::features::{Feature, named};
use conversation::losses::{DroppedFields, is_meaning};
use conversation::request::{Insert, Request, own_edits};
use domain::{Fault, Grammar, MissingFeatures, ServerFeature};
use json::splice::{Edit, splice};
use json::{Cursor, JsonError, Kind, Span, Text, Value, find_member};

use super::supported_fields::SupportedFields;
use crate::features::NAMES;

/// The client's bytes for a server with quirks: like `upstream_body`, but without what the server does not
/// accept.
///
/// # Errors
/// The body is not JSON, which decoding already ruled out.
pub fn adapt_body(
    body: &Bytes,
    request: &Request,
    upstream_model: &str,
    quirks: MissingFeatures,
    supported: &SupportedFields,
    losses: &mut DroppedFields,
    inserts: &[Insert],
) -> Result<Vec<Bytes>, Box<Fault>> {
    let (rename, usage) = own_edits(request, upstream_model, !quirks.lacks(ServerFeature::StreamOptions));
    // Inserted text goes before what is cut at the same place.
    let inserts = inserts.iter().map(Insert::edit);
    let mut edits: Vec<Edit<'_>> = usage.into_iter().chain(rename).chain(inserts).collect();
    edits.extend(adapt(body, quirks, supported, losses)?);
    let mut out = Vec::with_capacity(1);
    splice(body, &mut edits, &mut out);
    Ok(out)
}

/// The same for a body that we wrote.
///
/// # Errors
/// As `adapt_body`.
pub fn adapt_written_body(
    body: &Bytes,
    quirks: MissingFeatures,
    supported: &SupportedFields,
    losses: &mut DroppedFields,
) -> Result<Vec<Bytes>, Box<Fault>> {
    let mut out = Vec::with_capacity(1);
    splice(body, &mut adapt(body, quirks, supported, losses)?, &mut out);
    Ok(out)
}

fn adapt(
    body: &[u8],
    quirks: MissingFeatures,
    supported: &SupportedFields,
    losses: &mut DroppedFields,
) -> Result<Vec<Edit<'static>>, JsonError> {
    let newer_length = find_member(body, "max_completion_tokens")?;
    let mut filter = FieldFilter {
        body,
        quirks,
        supported,
        losses,
        has_newer_length: newer_length.is_some_and(|span| span.of(body) != b"null"),
        edits: Vec::new(),
    };
    filter.members(&mut Cursor::new(body)?, FieldFilter::field)?;
    Ok(filter.edits)
}

struct FieldFilter<'a, 'b> {
    body: &'a [u8],
    quirks: MissingFeatures,
    supported: &'b SupportedFields,
    losses: &'b mut DroppedFields,
    has_newer_length: bool,
    edits: Vec<Edit<'static>>,
}

/// What happens to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MemberAction {
    Keep,
    Remove,
}

type Reading<'a, 'b> =
    fn(&mut FieldFilter<'a, 'b>, &mut Cursor<'a>, &Text<'a>, &str) -> Result<MemberAction, JsonError>;

/// Cuts members out of one object, each with one comma.
#[derive(Default)]
struct Cutter {
    /// Start of the members that were cut before any was kept.
    lead: Option<usize>,
    any_kept: bool,
    end: usize,
}

impl Cutter {
    fn pass(&mut self, start: usize, end: usize, action: MemberAction) -> Option<Edit<'static>> {
        let before = std::mem::replace(&mut self.end, end);
        match action {
            MemberAction::Remove if self.any_kept => Some(Edit::cut(Span::new(before, end))),
            MemberAction::Remove => {
                self.lead.get_or_insert(start);
                None
            }
            MemberAction::Keep => {
                self.any_kept = true;
                self.lead.take().map(|lead| Edit::cut(Span::new(lead, start)))
            }
        }
    }

    /// Where no member was kept, an empty object remains.
    fn close(self) -> Option<Edit<'static>> {
        self.lead.map(|lead| Edit::cut(Span::new(lead, self.end)))
    }
}

impl<'a, 'b> FieldFilter<'a, 'b> {
    /// Walks an object and cuts the members that `read` rejects. Returns where its last member ends.
    fn members(&mut self, cursor: &mut Cursor<'a>, read: Reading<'a, 'b>) -> Result<usize, JsonError> {
        let mut cutter = Cutter::default();
        cursor.object(|cursor, member| {
            let action = read(self, cursor, &member.key, &member.key.decode())?;
            let cut = cutter.pass(member.key.span.start, cursor.position(), action);
            self.edits.extend(cut);
            Ok::<(), JsonError>(())
        })?;
        let end = cutter.end;
        self.edits.extend(cutter.close());
        Ok(end)
    }

    fn field(
        &mut self,
        cursor: &mut Cursor<'a>,
        key: &Text<'a>,
        name: &str,
    ) -> Result<MemberAction, JsonError> {
        let lacks = |of| self.quirks.lacks(of);
        match name {
            "messages" if cursor.kind()? == Kind::Array => {
                cursor.array(|cursor, _| self.message(cursor))?;
                return Ok(MemberAction::Keep);
            }
            "tools" if lacks(ServerFeature::UnknownFields) && cursor.kind()? == Kind::Array => {
                cursor.array(|cursor, _| self.tool(cursor))?;
                return Ok(MemberAction::Keep);
            }
            _ => {}
        }
        let value = cursor.value()?;
        let action = match name {
            "max_tokens" if lacks(ServerFeature::MaxCompletionTokens) && self.has_newer_length => {
                MemberAction::Remove
            }
            "max_completion_tokens" if lacks(ServerFeature::MaxCompletionTokens) => self.older_length(key),
            "stream_options" if lacks(ServerFeature::StreamOptions) => self.stream_options(&value),
            "tool_choice" if lacks(ServerFeature::ForcedCall) && is_word(&value, "required") => {
                self.lose(Feature::ForcedCall)
            }
            "parallel_tool_calls" if lacks(ServerFeature::ParallelToolCalls) => {
                // Such servers make parallel calls by default; where the client disabled them, only the first
                // call of the answer is forwarded.
                if matches!(value, Value::Boolean(false)) {
                    self.losses.drop_feature(Feature::SingleToolCalls);
                }
                MemberAction::Remove
            }
            "response_format" if lacks(ServerFeature::JsonSchema) && self.is_schema(&value)? => {
                self.lose(Feature::JsonSchema)
            }
            "logprobs" | "top_logprobs" if self.supported.counts_logprobs => self.logprobs(name, &value),
            _ if self.supported.lists.contains(&name) => {
                self.as_list(&value);
                MemberAction::Keep
            }
            _ => match self.supported.own_name(name) {
                Some(own) => self.own_name(key, own)?,
                None => self.filter_field(&value, name, self.supported.fields, name),
            },
        };
        Ok(action)
    }

    fn lose(&mut self, feature: Feature) -> MemberAction {
        self.losses.drop_feature(feature);
        MemberAction::Remove
    }

    /// A number is the server's own form; the client could not read its answer to OpenAI's.
    fn logprobs(&mut self, name: &str, value: &Value<'_>) -> MemberAction {
        match value {
            Value::Boolean(true) => self.lose(Feature::Logprobs),
            Value::Number(_) if name == "top_logprobs" => self.lose(Feature::Logprobs),
            Value::Number(_) => MemberAction::Keep,
            _ => MemberAction::Remove,
        }
    }

    fn as_list(&mut self, value: &Value<'_>) {
        if let Value::String(text) = value {
            let list = format!("[{}]", String::from_utf8_lossy(text.span.of(self.body)));
            self.edits.push(Edit { span: text.span, text: Cow::Owned(list) });
        }
    }

    /// Renames the newer name to the older one.
    fn older_length(&mut self, key: &Text<'_>) -> MemberAction {
        if !self.has_newer_length {
            return MemberAction::Remove;
        }
        self.edits.push(Edit { span: key.span, text: Cow::Borrowed("\"max_tokens\"") });
        MemberAction::Keep
    }

    /// Renames OpenAI's name to the server's own; dropped where the client sent the latter too.
    fn own_name(&mut self, key: &Text<'_>, own: &'static str) -> Result<MemberAction, JsonError> {
        if find_member(self.body, own)?.is_some() {
            return Ok(MemberAction::Remove);
        }
        self.edits.push(Edit { span: key.span, text: Cow::Owned(format!("\"{own}\"")) });
        Ok(MemberAction::Keep)
    }

    /// Not a loss where we requested usage ourselves.
    fn stream_options(&mut self, value: &Value<'_>) -> MemberAction {
        if self.losses.client() == Grammar::Chat && value.is_something(self.body) {
            self.losses.drop_feature(Feature::StreamUsage);
        }
        MemberAction::Remove
    }

    fn is_schema(&self, value: &Value<'_>) -> Result<bool, JsonError> {
        let Value::Object(span) = value else { return Ok(false) };
        let format = span.of(self.body);
        let kind = find_member(format, "type")?;
        Ok(kind.is_some_and(|kind| kind.of(format) == b"\"json_schema\""))
    }

    /// A strict server is sent no field that it may not know. Dropping an empty value is not a loss.
    fn filter_field(&mut self, value: &Value<'_>, name: &str, fields: &[&str], path: &str) -> MemberAction {
        if !self.quirks.lacks(ServerFeature::UnknownFields) || fields.contains(&name) {
            return MemberAction::Keep;
        }
        if value.is_something(self.body) {
            match named(NAMES, path).or_else(|| named(NAMES, name)) {
                Some(feature) => self.losses.drop_feature(feature),
                None => self.losses.drop_unknown(path, is_meaning(name)),
            }
        }
        MemberAction::Remove
    }

    fn tool(&mut self, cursor: &mut Cursor<'a>) -> Result<(), JsonError> {
        if cursor.kind()? != Kind::Object {
            return cursor.ignore();
        }
        self.members(cursor, |filter, cursor, _, name| {
            if name == "function" && cursor.kind()? == Kind::Object {
                filter.members(cursor, Self::function_field)?;
            } else {
                cursor.skip()?;
            }
            Ok(MemberAction::Keep)
        })?;
        Ok(())
    }

    fn function_field(
        &mut self,
        cursor: &mut Cursor<'a>,
        _key: &Text<'a>,
        name: &str,
    ) -> Result<MemberAction, JsonError> {
        let value = cursor.value()?;
        let path = if name == "strict" { "tools.function.strict" } else { name };
        Ok(self.filter_field(&value, name, self.supported.function_fields, path))
    }

    fn message(&mut self, cursor: &mut Cursor<'a>) -> Result<(), JsonError> {
        if cursor.kind()? != Kind::Object {
            return cursor.ignore();
        }
        let start = cursor.position();
        let end = self.members(cursor, Self::message_field)?;
        if self.quirks.lacks(ServerFeature::NullContent) {
            let message = Span::new(start, cursor.position());
            self.fill(message, end)?;
        }
        Ok(())
    }

    fn message_field(
        &mut self,
        cursor: &mut Cursor<'a>,
        _key: &Text<'a>,
        name: &str,
    ) -> Result<MemberAction, JsonError> {
        let value = cursor.value()?;
        match (name, &value) {
            ("role", Value::String(role))
                if self.quirks.lacks(ServerFeature::DeveloperRole) && role.is("developer") =>
            {
                self.edits.push(Edit { span: role.span, text: Cow::Borrowed("\"system\"") });
            }
            ("content", Value::Array(span)) if self.quirks.lacks(ServerFeature::ContentParts) => {
                self.flatten(*span)?;
            }
            ("tool_call_id", Value::String(id)) => self.call_id(id, 0),
            ("tool_calls", Value::Array(span)) if self.supported.call_id_letters.is_some() => {
                self.call_ids(*span)?;
            }
            _ => {
                let path = format!("messages.{name}");
                return Ok(self.filter_field(&value, name, self.supported.message_fields, &path));
            }
        }
        Ok(MemberAction::Keep)
    }

    fn call_ids(&mut self, array: Span) -> Result<(), JsonError> {
        Cursor::new(array.of(self.body))?.array(|cursor, _| {
            if cursor.kind()? != Kind::Object {
                return cursor.ignore();
            }
            cursor.object(|cursor, member| {
                match cursor.value()? {
                    Value::String(id) if member.key.is("id") => self.call_id(&id, array.start),
                    _ => {}
                }
                Ok::<(), JsonError>(())
            })?;
            Ok(())
        })?;
        Ok(())
    }

    /// Rewrites an id to what the server accepts; `offset` is the start of the bytes that its span refers to.
    fn call_id(&mut self, id: &Text<'_>, offset: usize) {
        let decoded = id.decode();
        let mapped = self.supported.call_id(&decoded);
        if mapped != decoded {
            let span = Span::new(id.span.start + offset, id.span.end + offset);
            self.edits.push(Edit { span, text: Cow::Owned(format!("\"{mapped}\"")) });
        }
    }

    /// Joins text parts into one string. Where there are other parts, the server may refuse them.
    fn flatten(&mut self, array: Span) -> Result<(), JsonError> {
        let mut text = String::from("\"");
        let mut marked = None;
        let mut is_text = true;
        Cursor::new(array.of(self.body))?.array(|cursor, index| {
            let mut found = None;
            if cursor.kind()? != Kind::Object {
                is_text = false;
                return cursor.ignore();
            }
            cursor.object(|cursor, member| {
                match (&*member.key.decode(), cursor.value()?) {
                    ("text", Value::String(part)) => found = Some(part.written()),
                    ("type", value) => is_text &= is_word(&value, "text"),
                    _ => marked = Some(member.key.decode().into_owned()),
                }
                Ok::<(), JsonError>(())
            })?;
            is_text &= found.is_some();
            if index > 0 {
                text.push_str("\\n");
            }
            text.push_str(found.unwrap_or_default());
            Ok(())
        })?;
        if is_text {
            text.push('"');
            if let Some(name) = marked {
                self.losses.drop_at(Feature::CacheMark, name);
            }
            self.edits.push(Edit { span: array, text: Cow::Owned(text) });
        }
        Ok(())
    }

    /// Gives a message that has only calls an empty text as its content.
    fn fill(&mut self, message: Span, end: usize) -> Result<(), JsonError> {
        let bytes = message.of(self.body);
        let calls = find_member(bytes, "tool_calls")?.filter(|calls| calls.of(bytes) != b"null");
        if calls.is_none() {
            return Ok(());
        }
        match find_member(bytes, "content")? {
            Some(content) if content.of(bytes) == b"null" => {
                let span = Span::new(message.start + content.start, message.start + content.end);
                self.edits.push(Edit { span, text: Cow::Borrowed("\"\"") });
            }
            Some(_) => {}
            None => self.edits.push(Edit::insert(end, ",\"content\":\"\"".to_owned())),
        }
        Ok(())
    }
}

fn is_word(value: &Value<'_>, word: &str) -> bool {
    matches!(value, Value::String(text) if text.is(word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::decode_request;

    fn quirks(lacking: &[ServerFeature]) -> MissingFeatures {
        lacking.iter().copied().fold(MissingFeatures::default(), MissingFeatures::lacking)
    }

    fn send_to(body: &str, lacking: &[ServerFeature]) -> (String, DroppedFields) {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let mut losses = DroppedFields::of_server(Grammar::Chat, |_| NAMES);
        let out = adapt_written_body(&body, quirks(lacking), &SupportedFields::COMMON, &mut losses)
            .unwrap()
            .concat();
        (String::from_utf8(out).unwrap(), losses)
    }

    fn check(lacking: &[ServerFeature], body: &str, expected: &str, dropped: &[&str]) {
        let (sent, losses) = send_to(body, lacking);
        assert_eq!(sent, expected);
        assert_eq!(losses.finish(false).unwrap(), dropped, "{body}");
    }

    #[test]
    fn a_server_that_knows_the_older_words_is_sent_them() {
        check(
            &[ServerFeature::DeveloperRole],
            r#"{"messages":[{"role":"developer","content":"a"},{"role" : "user","content":"developer"}]}"#,
            r#"{"messages":[{"role":"system","content":"a"},{"role" : "user","content":"developer"}]}"#,
            &[],
        );
        let length = &[ServerFeature::MaxCompletionTokens];
        check(length, r#"{"max_completion_tokens":5,"n":1}"#, r#"{"max_tokens":5,"n":1}"#, &[]);
        check(length, r#"{"max_tokens":9, "max_completion_tokens":5}"#, r#"{"max_tokens":5}"#, &[]);
        check(length, r#"{"max_tokens":9,"max_completion_tokens":null}"#, r#"{"max_tokens":9}"#, &[]);
        check(
            &[ServerFeature::StreamOptions],
            r#"{"stream":true,"stream_options":{"include_usage":true},"n":1}"#,
            r#"{"stream":true,"n":1}"#,
            &["stream_options"],
        );
    }

    #[test]
    fn texts_stand_in_the_place_of_lists_and_of_nothing() {
        check(
            &[ServerFeature::ContentParts],
            r#"{"messages":[{"role":"system","content":[{"type":"text","text":"a\"é"},{"type":"text","text":"\u00e9"}]},
                {"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]},{"role":"tool","content":[]}]}"#,
            r#"{"messages":[{"role":"system","content":"a\"é\n\u00e9"},
                {"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]},{"role":"tool","content":""}]}"#,
            &[],
        );
        check(
            &[ServerFeature::ContentParts],
            r#"{"messages":[{"content":[{"type":"text","text":"a","prompt_cache_breakpoint":{}}]}]}"#,
            r#"{"messages":[{"content":"a"}]}"#,
            &["prompt_cache_breakpoint"],
        );
        check(
            &[ServerFeature::NullContent],
            r#"{"messages":[{"content": null ,"tool_calls":[{}]},{"tool_calls":[{}]},{"content":null},{"content":"x","tool_calls":null}]}"#,
            r#"{"messages":[{"content": "" ,"tool_calls":[{}]},{"tool_calls":[{}],"content":""},{"content":null},{"content":"x","tool_calls":null}]}"#,
            &[],
        );
    }

    #[test]
    fn what_changes_the_answer_is_refused_unless_it_may_be_dropped() {
        let cases = [
            (ServerFeature::ForcedCall, r#"{"n":1,"tool_choice":"required"}"#, "tool_choice"),
            (
                ServerFeature::JsonSchema,
                r#"{"n":1,"response_format":{"type":"json_schema"}}"#,
                "response_format",
            ),
            (ServerFeature::UnknownFields, r#"{"n":1,"surprise":1}"#, "surprise"),
        ];
        for (lacking, body, name) in cases {
            let (sent, losses) = send_to(body, &[lacking]);
            assert_eq!(sent, r#"{"n":1}"#);
            let fault = losses.clone().finish(false).unwrap_err();
            assert_eq!((fault.param.as_deref(), fault.code), (Some(name), "unsupported_parameter"));
            assert!(
                fault.to_string().contains("The server chosen for this request doesn't support"),
                "{fault}"
            );
            assert_eq!(losses.finish(true).unwrap(), [name]);
        }
        for kept in [r#"{"tool_choice":"auto"}"#, r#"{"response_format":{"type":"json_object"}}"#] {
            check(&[ServerFeature::ForcedCall, ServerFeature::JsonSchema], kept, kept, &[]);
        }
        let parallel = &[ServerFeature::ParallelToolCalls];
        check(parallel, r#"{"parallel_tool_calls":true}"#, "{}", &[]);
        check(parallel, r#"{"parallel_tool_calls":false}"#, "{}", &["parallel_tool_calls"]);
    }

    #[test]
    fn a_strict_server_is_sent_nothing_that_it_may_not_know() {
        check(
            &[ServerFeature::UnknownFields],
            r#"{"metadata":{"a":"b"},"store":null, "model":"m","min_p":0.1,"messages":[
                {"refusal":null,"role":"assistant","annotations":[{"a":1}],"content":"x"}],
                "tools":[{"type":"function","function":{"strict":true,"name":"f","parameters":{"x-own":1}}}],"verbosity":"low"}"#,
            r#"{"model":"m","messages":[
                {"role":"assistant","content":"x"}],
                "tools":[{"type":"function","function":{"name":"f","parameters":{"x-own":1}}}]}"#,
            &["metadata", "min_p", "annotations", "tools.function.strict", "verbosity"],
        );
    }

    #[test]
    fn the_model_is_renamed_and_usage_asked_for_in_the_same_pass() {
        let body = Bytes::from_static(
            br#"{"store":true,"stream":true,"model":"a/b","messages":[{"role":"user","content":"x"}]}"#,
        );
        let request = decode_request(&body).unwrap();
        let send = |lacking: &[ServerFeature]| {
            let mut losses = DroppedFields::of_server(Grammar::Chat, |_| NAMES);
            let out =
                adapt_body(&body, &request, "b", quirks(lacking), &SupportedFields::COMMON, &mut losses, &[]);
            let out = out.unwrap().concat();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            send(&[ServerFeature::UnknownFields]),
            r#"{"stream_options":{"include_usage":true},"stream":true,"model":"b","messages":[{"role":"user","content":"x"}]}"#
        );
        assert_eq!(
            send(&[ServerFeature::UnknownFields, ServerFeature::StreamOptions]),
            r#"{"stream":true,"model":"b","messages":[{"role":"user","content":"x"}]}"#
        );
    }

    #[test]
    fn a_list_stands_for_a_text_and_a_number_for_a_wish() {
        let supported =
            SupportedFields { lists: &["stop"], counts_logprobs: true, ..SupportedFields::COMMON };
        let adapt = |body: &'static str| {
            let mut losses = DroppedFields::of_server(Grammar::Chat, |_| NAMES);
            let sent = adapt_written_body(
                &Bytes::from_static(body.as_bytes()),
                quirks(&[]),
                &supported,
                &mut losses,
            )
            .unwrap();
            let lost =
                losses.finish(false).err().and_then(|fault| fault.param.map(|param| param.to_string()));
            (String::from_utf8(sent.concat()).unwrap(), lost)
        };
        for (body, sent, lost) in [
            (r#"{"stop":"a\"b"}"#, r#"{"stop":["a\"b"]}"#, None),
            (r#"{"stop":["a"],"logprobs":5}"#, r#"{"stop":["a"],"logprobs":5}"#, None),
            (r#"{"stop":null,"logprobs":false}"#, r#"{"stop":null}"#, None),
            (r#"{"logprobs":true}"#, "{}", Some("logprobs")),
            (r#"{"logprobs":5,"top_logprobs":2}"#, r#"{"logprobs":5}"#, Some("logprobs")),
        ] {
            assert_eq!(adapt(body), (sent.to_owned(), lost.map(str::to_owned)), "{body}");
        }
    }

    #[test]
    fn a_vendors_own_names_and_ids_are_said() {
        let supported = SupportedFields {
            fields: &["model", "messages", "random_seed", "tools"],
            message_fields: &["role", "content", "tool_calls", "tool_call_id"],
            function_fields: &["name", "strict"],
            renamed_fields: &[("seed", "random_seed")],
            call_id_letters: Some(9),
            ..SupportedFields::COMMON
        };
        let adapt = |body: &'static str| {
            let mut losses = DroppedFields::of_server(Grammar::Chat, |_| NAMES);
            let body = Bytes::from_static(body.as_bytes());
            let sent =
                adapt_written_body(&body, quirks(&[ServerFeature::UnknownFields]), &supported, &mut losses)
                    .unwrap()
                    .concat();
            (String::from_utf8(sent).unwrap(), losses.finish(false).unwrap())
        };
        let (sent, dropped) = adapt(
            r#"{"seed":7,"user":"me","messages":[{"role":"user","name":"Ann","content":"x"},
                {"role":"assistant","tool_calls":[{"type":"function","id":"call_1"},{"id":"D681PevKs"}]},
                {"role":"tool","tool_call_id":"call_1"},{"role":"tool","tool_call_id":"D681PevKs"}],
                "tools":[{"function":{"name":"f","strict":true}}]}"#,
        );
        let id = supported.call_id("call_1");
        let expected = r#"{"random_seed":7,"messages":[{"role":"user","content":"x"},
                {"role":"assistant","tool_calls":[{"type":"function","id":"@"},{"id":"D681PevKs"}]},
                {"role":"tool","tool_call_id":"@"},{"role":"tool","tool_call_id":"D681PevKs"}],
                "tools":[{"function":{"name":"f","strict":true}}]}"#;
        assert_eq!(sent, expected.replace('@', &id));
        assert_eq!(dropped, ["user", "messages.name"]);
        assert_eq!(adapt(r#"{"seed":7,"random_seed":8}"#).0, r#"{"random_seed":8}"#);
    }

    fn message() -> impl Strategy<Value = serde_json::Value> {
        let content = prop_oneof![
            Just(json!(null)),
            Just(json!("x")),
            Just(
                json!([{"type": "text", "text": "a\n\"b"}, {"type": "text", "text": "c", "cache_control": {}}])
            ),
            Just(json!([{"type": "image_url", "image_url": {"url": "u"}}])),
        ];
        let role = prop::sample::select(vec!["developer", "system", "user", "assistant", "tool"]);
        let calls = prop_oneof![Just(json!(null)), Just(json!([{"id": "a", "function": {"name": "f"}}]))];
        (role, content, calls, any::<[bool; 3]>()).prop_map(|(role, content, calls, has)| {
            let mut message = json!({"role": role});
            for (has, (name, value)) in
                has.into_iter().zip([("content", content), ("tool_calls", calls), ("refusal", json!("no"))])
            {
                if has {
                    message[name] = value;
                }
            }
            message
        })
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_json_without_what_the_server_lacks(
            messages in prop::collection::vec(message(), 0..5),
            fields in prop::collection::btree_map(
                prop::sample::select(vec![
                    "max_tokens", "max_completion_tokens", "stream_options", "store", "surprise", "n", "seed",
                    "parallel_tool_calls", "metadata",
                ]),
                prop_oneof![Just(json!(null)), Just(json!(true)), Just(json!(7)), Just(json!({"a": 1}))],
                0..9,
            ),
            mask in any::<u32>(),
        ) {
            let mut body = json!({"messages": messages});
            fields.iter().for_each(|(name, value)| body[*name] = value.clone());
            let lacking: Vec<ServerFeature> =
                ServerFeature::all().enumerate().filter(|(at, _)| mask >> at & 1 == 1).map(|(_, of)| of).collect();
            let (sent, losses) = send_to(&body.to_string(), &lacking);
            let sent: serde_json::Value = serde_json::from_str(&sent).expect("it is JSON");
            prop_assert!(losses.finish(true).is_ok());
            let lacks = |of| lacking.contains(&of);
            for (field, of) in [("max_completion_tokens", ServerFeature::MaxCompletionTokens), ("stream_options", ServerFeature::StreamOptions),
                ("parallel_tool_calls", ServerFeature::ParallelToolCalls), ("surprise", ServerFeature::UnknownFields)] {
                prop_assert_eq!(sent.get(field).is_some(), body.get(field).is_some() && !lacks(of), "{}", field);
            }
            prop_assert_eq!(sent["messages"].as_array().map(Vec::len), Some(messages.len()));
            for (sent, original) in sent["messages"].as_array().unwrap().iter().zip(&messages) {
                prop_assert!(!(lacks(ServerFeature::DeveloperRole) && sent["role"] == "developer"));
                prop_assert!(!(lacks(ServerFeature::UnknownFields) && sent.get("refusal").is_some()));
                let is_call = original.get("tool_calls").is_some_and(|calls| !calls.is_null());
                prop_assert!(!(lacks(ServerFeature::NullContent) && is_call && sent["content"].is_null()));
            }
            if lacking.is_empty() {
                prop_assert_eq!(sent, body);
            }
        }
    }
}
