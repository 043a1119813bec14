//! Embeddings of vendors with formats of their own: the one input that some models take, and the vectors of a
//! response.

use conversation::answer::StreamFault;
use conversation::embed::{EmbeddingInputs, Vector, Vectors, unsayable};
use domain::{Fault, Usage, UsageSource};
use json::{Cursor, Kind, Value};

/// The input, for models that take one at a time.
pub(crate) fn only<'a>(texts: &'a EmbeddingInputs<'_>) -> Result<&'a str, Box<Fault>> {
    match &*texts.texts {
        [one] => Ok(one),
        _ => {
            let what = "holds more than the one text that the model accepts per request";
            Err(unsayable(texts.param.to_owned(), what, "Send each text in a separate request."))
        }
    }
}

/// Where a vendor's embeddings responses hold vectors and token counts, by the names of members.
pub(crate) struct VectorMembers {
    /// Lists of objects, at the top level.
    pub lists: &'static [&'static str],
    pub objects: &'static [&'static str],
    /// One vector, or several.
    pub vectors: &'static [&'static str],
    pub tokens: &'static [&'static str],
}

/// Reads a response in whichever of the forms it comes.
pub(crate) fn read_vectors<'a>(
    body: &'a [u8],
    members: &'static VectorMembers,
) -> Result<Vectors<'a>, StreamFault> {
    let mut cursor = Cursor::new(body)?;
    if cursor.kind()? != Kind::Object {
        return Err(StreamFault::Broken("not_an_object"));
    }
    let mut found = Found { members, vectors: Vec::new(), tokens: None };
    cursor.object(|cursor, member| match &*member.key.decode() {
        name if members.lists.contains(&name) => each(cursor, |cursor| found.object(cursor)),
        name => found.member(cursor, name),
    })?;
    cursor.end()?;
    let counted = |input| Usage { input, source: UsageSource::Provider, ..Usage::default() };
    Ok(Vectors { vectors: found.vectors, usage: found.tokens.map(counted) })
}

struct Found<'a> {
    members: &'static VectorMembers,
    vectors: Vec<Vector<'a>>,
    tokens: Option<u64>,
}

impl<'a> Found<'a> {
    fn object(&mut self, cursor: &mut Cursor<'a>) -> Result<(), StreamFault> {
        cursor.object(|cursor, member| self.member(cursor, &member.key.decode())).map(drop)
    }

    fn member(&mut self, cursor: &mut Cursor<'a>, name: &str) -> Result<(), StreamFault> {
        match cursor.kind()? {
            Kind::Object if self.members.objects.contains(&name) => self.object(cursor),
            Kind::Array if self.members.vectors.contains(&name) => self.array(cursor),
            Kind::Number if self.members.tokens.contains(&name) => {
                self.tokens = Some(self.tokens.unwrap_or(0).saturating_add(count(&cursor.value()?)));
                Ok(())
            }
            _ => cursor.skip().map(drop).map_err(StreamFault::from),
        }
    }

    /// One vector, or several.
    fn array(&mut self, cursor: &mut Cursor<'a>) -> Result<(), StreamFault> {
        let bytes = cursor.bytes();
        let span = cursor.skip()?;
        let text = std::str::from_utf8(span.of(bytes)).map_err(|_| StreamFault::Broken("no_vector"))?;
        let is_list = text.get(1..).is_some_and(|inside| inside.trim_ascii_start().starts_with('['));
        if !is_list {
            self.vectors.push(Vector::Numbers(text));
            return Ok(());
        }
        each(&mut Cursor::new(text.as_bytes())?, |cursor| self.array(cursor))
    }
}

fn each<'a>(
    cursor: &mut Cursor<'a>,
    mut read: impl FnMut(&mut Cursor<'a>) -> Result<(), StreamFault>,
) -> Result<(), StreamFault> {
    cursor.array(|cursor, _| read(cursor)).map(drop)
}

/// Some write a count with a decimal point.
fn count(value: &Value<'_>) -> u64 {
    let Value::Number(text) = value else { return 0 };
    text.split('.').next().and_then(|whole| whole.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::borrow::Cow;

    use conversation::embed::Task;

    use super::*;

    const MEMBERS: VectorMembers =
        VectorMembers { lists: &["list"], objects: &["in"], vectors: &["vector"], tokens: &["tokens"] };

    pub(crate) fn texts<'a>(
        all: &[&'a str],
        dimensions: Option<u64>,
        kind: Option<&'a str>,
    ) -> EmbeddingInputs<'a> {
        let tasks = kind.map(|kind| vec![Task { kind: Some(kind.into()), title: None }; all.len()]);
        let texts = all.iter().map(|text| Cow::Borrowed(*text)).collect();
        EmbeddingInputs { texts, dimensions, tasks: tasks.unwrap_or_default(), param: "input" }
    }

    pub(crate) fn numbers<'a>(answer: &Vectors<'a>) -> Vec<&'a str> {
        let number = |vector: &Vector<'a>| match vector {
            Vector::Numbers(text) => *text,
            Vector::Base64(_) => "base64",
        };
        answer.vectors.iter().map(number).collect()
    }

    #[test]
    fn vectors_are_found_by_their_members() {
        let body =
            br#"{"list":[{"vector":[1],"tokens":2}],"in":{"vector":[[2],[ 3 ]],"tokens":3.0},"x":[4]}"#;
        let answer = read_vectors(body, &MEMBERS).unwrap();
        assert_eq!(numbers(&answer), ["[1]", "[2]", "[ 3 ]"]);
        assert_eq!(answer.usage.map(|usage| usage.input), Some(5));
        for broken in ["[]", "{", "5", r#"{"vector":[1}"#] {
            assert!(read_vectors(broken.as_bytes(), &MEMBERS).is_err(), "{broken}");
        }
        assert!(read_vectors(b"{}", &MEMBERS).unwrap().vectors.is_empty());
    }
}
