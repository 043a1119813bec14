//! Converts content that a server sends as a list of parts into the two strings that Chat Completions clients
//! expect: text and reasoning.

use json::{Cursor, JsonError, Kind, Value};

/// The text of a list, and the reasoning in between.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) text: String,
    pub(super) thought: String,
}

impl Listed {
    /// Reads a list; parts that are neither text nor reasoning have no counterpart in this format.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, JsonError> {
        let mut listed = Self::default();
        cursor.array(|cursor, _| {
            if cursor.kind()? != Kind::Object {
                return cursor.ignore();
            }
            cursor.object(|cursor, member| {
                if member.key.is("thinking") && cursor.kind()? == Kind::Array {
                    cursor.array(|cursor, _| texts(cursor, &mut listed.thought))?;
                    return Ok::<(), JsonError>(());
                }
                match cursor.value()? {
                    Value::String(text) if member.key.is("text") => listed.text.push_str(&text.decode()),
                    Value::String(text) if member.key.is("thinking") => {
                        listed.thought.push_str(&text.decode());
                    }
                    _ => {}
                }
                Ok(())
            })?;
            Ok(())
        })?;
        Ok(listed)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.text.is_empty() && self.thought.is_empty()
    }

    /// The JSON that replaces the list: the text, then `reasoning_content` as a member of its own.
    pub(super) fn to_json(&self) -> String {
        let json = |text: &str| serde_json::to_string(text).unwrap_or_default();
        let text = json(&self.text);
        if self.thought.is_empty() {
            return text;
        }
        format!("{text},\"reasoning_content\":{}", json(&self.thought))
    }
}

fn texts(cursor: &mut Cursor<'_>, out: &mut String) -> Result<(), JsonError> {
    if cursor.kind()? != Kind::Object {
        return cursor.ignore();
    }
    cursor.object(|cursor, member| {
        match cursor.value()? {
            Value::String(text) if member.key.is("text") => out.push_str(&text.decode()),
            _ => {}
        }
        Ok::<(), JsonError>(())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_text_and_a_thought() {
        for (list, expected) in [
            (r#"[{"type":"text","text":"a\"é"},{"type":"text","text":"b"}]"#, r#""a\"éb""#),
            (
                r#"[{"type":"thinking","thinking":[{"type":"text","text":"h"},{"type":"text","text":"m"}],"closed":true},
                    {"type":"reference","reference_ids":[1]},{"type":"text","text":"a"}]"#,
                r#""a","reasoning_content":"hm""#,
            ),
            (r#"[{"type":"thinking","thinking":"hm"}]"#, r#""","reasoning_content":"hm""#),
            (r#"[1,"x",{"type":"thinking","thinking":[null]}]"#, r#""""#),
            ("[]", r#""""#),
        ] {
            let listed = Listed::read(&mut Cursor::new(list.as_bytes()).unwrap()).unwrap();
            assert_eq!(listed.to_json(), expected, "{list}");
            assert_eq!(listed.is_empty(), expected == r#""""#);
        }
    }
}
