//! Deserialises a JSON body into a handler's type. Unlike plain serde, a struct is accepted only as an
//! object, never as an array of its fields in order.

use domain::{Fault, FaultClass};
use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{
    DeserializeOwned, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::Number;

/// The largest whole number up to which `f64` is exact.
const EXACT_WHOLE_LIMIT: f64 = 9_007_199_254_740_992.0;

/// Parses JSON of the expected shape, or reports where it is wrong. An empty body counts as an empty object.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Box<Fault>> {
    let mut reader = serde_json::Deserializer::from_slice(if body.is_empty() { b"{}" } else { body });
    let node: Node = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let code = if error.inner().is_data() { "invalid_value" } else { "invalid_json" };
        wrong(code, &error.path().to_string(), &error.inner().to_string())
    })?;
    reader.end().map_err(|_| {
        Box::new(
            Fault::new(FaultClass::BadRequest, "invalid_json", "The body goes on after its JSON document.")
                .fix("Send one JSON object and nothing else."),
        )
    })?;
    serde_path_to_error::deserialize(node)
        .map_err(|error| wrong("invalid_value", &error.path().to_string(), &error.inner().0))
}

fn wrong(code: &'static str, path: &str, why: &str) -> Box<Fault> {
    // A question mark stands for a name that was not read to its end.
    let path = path.trim_end_matches('?').trim_end_matches('.');
    let is_whole = path.is_empty();
    let prefix = if is_whole { String::new() } else { format!("{path}: ") };
    let fault =
        Fault::new(FaultClass::BadRequest, code, format!("The body is wrong: {prefix}{}", ended(why))).fix(
            if is_whole { "Send one JSON object." } else { "Correct that field and send the request again." },
        );
    Box::new(if is_whole { fault } else { fault.param(path.to_owned()) })
}

/// A sentence's end, once.
fn ended(why: &str) -> String {
    if why.ends_with('?') { why.to_owned() } else { format!("{why}.") }
}

/// The JSON as received, with the members of objects in order.
#[derive(Debug)]
enum Node {
    Null,
    Boolean(bool),
    Number(Number),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// What is wrong with a value, in words that mention no Rust type.
#[derive(Debug)]
struct InvalidValue(String);

impl std::fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidValue {}

impl Error for InvalidValue {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let near = nearest(field, expected);
        let meant = near.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default();
        let listed = if expected.is_empty() || !meant.is_empty() {
            String::new()
        } else {
            format!("; it has: {}", expected.join(", "))
        };
        Self(format!("unknown field \"{field}\"{meant}{listed}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self(format!("unknown value \"{variant}\"; use one of {}", expected.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self(format!("the field \"{field}\" is missing"))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self(format!("expected {}, not {}", plain_name(&expected.to_string()), describe_found(&found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }
}

/// The name that a mistyped one stands for.
fn nearest(wanted: &str, known: &[&'static str]) -> Option<&'static str> {
    let near = known.iter().map(|name| (strsim::damerau_levenshtein(wanted, name), *name));
    near.filter(|(edits, name)| *edits <= 2 && name.len() > 3).min().map(|(_, name)| name)
}

/// A Rust type's name in plain words.
fn plain_name(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "u128" | "usize" => "a whole number that is 0 or more",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "an array",
        "a map" => "an object",
        other => other,
    }
}

fn describe_found(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        other => other.to_string(),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Node;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Node, E> {
                Ok(Node::Boolean(truth))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
                Ok(Node::Number(number.into()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
                Ok(Node::Number(number.into()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Node, E> {
                Number::from_f64(number).map(Node::Number).ok_or_else(|| E::custom("isn't a finite number"))
            }

            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Node, E> {
                Ok(Node::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
                let mut nodes = Vec::new();
                while let Some(node) = list.next_element()? {
                    nodes.push(node);
                }
                Ok(Node::List(nodes))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Node, A::Error> {
                let mut members: Vec<(String, Node)> = Vec::new();
                while let Some((name, node)) = object.next_entry::<String, Node>()? {
                    members.push((name, node));
                }
                Ok(Node::Object(members))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

impl Node {
    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Self::Null => Unexpected::Unit,
            Self::Boolean(truth) => Unexpected::Bool(*truth),
            Self::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => Unexpected::Unsigned(number),
                (_, Some(number), _) => Unexpected::Signed(number),
                (_, _, number) => Unexpected::Float(number.unwrap_or_default()),
            },
            Self::Text(text) => Unexpected::Str(text),
            Self::List(_) => Unexpected::Seq,
            Self::Object(_) => Unexpected::Map,
        }
    }

    fn no_object(&self) -> InvalidValue {
        InvalidValue(format!("expected an object, not {}", describe_found(&self.unexpected())))
    }

    /// A whole number, even if written as `5.0`.
    fn visit_whole<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidValue> {
        let fraction = match &self {
            Self::Number(number) if number.is_f64() => number.as_f64(),
            _ => None,
        };
        match fraction.filter(|number| number.fract() == 0.0 && number.abs() <= EXACT_WHOLE_LIMIT) {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and of no more than 54 bits")]
            Some(number) if number < 0.0 => visitor.visit_i64(number as i64),
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and of no more than 54 bits")]
            Some(number) => visitor.visit_u64(number as u64),
            None => self.deserialize_any(visitor),
        }
    }
}

type Members<'de> = MapDeserializer<'de, std::vec::IntoIter<(String, Node)>, InvalidValue>;

fn members<'de>(object: Vec<(String, Node)>) -> Members<'de> {
    MapDeserializer::new(object.into_iter())
}

impl IntoDeserializer<'_, InvalidValue> for Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! whole {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidValue> {
            self.visit_whole(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Node {
    type Error = InvalidValue;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidValue> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Boolean(truth) => visitor.visit_bool(truth),
            Self::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or_default()),
            },
            Self::Text(text) => visitor.visit_string(text),
            Self::List(nodes) => {
                let mut list = SeqDeserializer::new(nodes.into_iter());
                let value = visitor.visit_seq(&mut list)?;
                list.end().map(|()| value)
            }
            Self::Object(object) => visitor.visit_map(members(object)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidValue> {
        match self {
            Self::Null => visitor.visit_none(),
            node => visitor.visit_some(node),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, InvalidValue> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, InvalidValue> {
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidValue> {
        match self {
            Self::Object(object) => visitor.visit_map(members(object)),
            other => Err(other.no_object()),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, InvalidValue> {
        match self {
            Self::Text(text) => {
                let text: StringDeserializer<InvalidValue> = text.into_deserializer();
                text.deserialize_enum("", variants, visitor)
            }
            Self::Object(object) if object.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(members(object)))
            }
            other => {
                let found = describe_found(&other.unexpected());
                Err(InvalidValue(format!("expected one of {}, not {found}", variants.join(", "))))
            }
        }
    }

    /// A field's name, or the word by which a tagged form says which it is. Serde would take a number for its position.
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidValue> {
        match self {
            Self::Text(text) => visitor.visit_string(text),
            other => {
                let found = describe_found(&other.unexpected());
                Err(InvalidValue(format!("expected a string, not {found}")))
            }
        }
    }

    whole! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    forward_to_deserialize_any! {
        bool f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Shape {
        name: String,
        #[serde(default)]
        limits: Option<Limits>,
        #[serde(default)]
        kinds: Vec<Kind>,
        #[serde(default)]
        more: BTreeMap<String, Limits>,
        #[serde(default)]
        free: serde_json::Value,
        #[serde(default)]
        tagged: Option<Tagged>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum Tagged {
        Cloud { rate: u64 },
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    struct Limits {
        #[serde(default)]
        rpm: u64,
        #[serde(default)]
        shift: i32,
        #[serde(default)]
        share: f64,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Small,
        Sized(u32),
    }

    fn error_of(body: &str) -> (&'static str, Option<String>, String) {
        let fault = read::<Shape>(body.as_bytes()).unwrap_err();
        (fault.code, fault.param.map(Into::into), fault.message.into_owned())
    }

    #[test]
    fn a_wrong_field_is_named_by_its_place_and_in_plain_words() {
        for (body, code, param, why) in [
            (r#"{"name": 3}"#, "invalid_value", Some("name"), "name: expected a string, not integer `3`."),
            (
                r#"["a", [1, 2]]"#,
                "invalid_value",
                None,
                "The body is wrong: expected an object, not an array.",
            ),
            ("7", "invalid_value", None, "expected an object, not integer `7`."),
            ("{", "invalid_json", None, "The body is wrong: EOF while parsing an object at line 1 column 1."),
            (r#"{"limits":{"#, "invalid_json", Some("limits"), "limits: EOF while parsing"),
            (
                r#"{"name":"a","limits":[5,6]}"#,
                "invalid_value",
                Some("limits"),
                "limits: expected an object, not an array.",
            ),
            (
                r#"{"name":"a","more":{"x":[1]}}"#,
                "invalid_value",
                Some("more.x"),
                "expected an object, not an array.",
            ),
            (
                r#"{"name":"a","kinds":["small","big"]}"#,
                "invalid_value",
                Some("kinds[1]"),
                "use one of small, sized.",
            ),
            (
                r#"{"name":"a","kinds":[3]}"#,
                "invalid_value",
                Some("kinds[0]"),
                "expected one of small, sized",
            ),
            (
                r#"{"name":"a","limits":{"rpm":5.5}}"#,
                "invalid_value",
                Some("limits.rpm"),
                "expected a whole number that is 0 or more",
            ),
            (
                r#"{"name":"a","tagged":{"kind":0,"rate":1}}"#,
                "invalid_value",
                None,
                "expected a string, not integer `0`",
            ),
            (r#"{"name":"a","limits":{"rpm":-1.0}}"#, "invalid_value", Some("limits.rpm"), "-1"),
            (r#"{"name":"a","nmae":"b"}"#, "invalid_value", Some("nmae"), "nmae"),
            (r#"{"name":"a","name":"b"}"#, "invalid_value", None, "duplicate field `name`"),
            ("{}", "invalid_value", None, "the field \"name\" is missing"),
            (r#"{"name": "#, "invalid_json", None, "EOF"),
            (r#"{"name":"a"} x"#, "invalid_json", None, "goes on"),
        ] {
            let (found, found_param, message) = error_of(body);
            assert_eq!(found, code, "{body}: {message}");
            assert!(message.contains(why), "{body}: {message}");
            assert!(param.is_none() || found_param.as_deref() == param, "{body}: {found_param:?}");
            assert!(!message.contains("struct"), "{body}: {message}");
        }
    }

    #[test]
    fn what_is_right_is_read() {
        let body = r#"{"name":"a","limits":{"rpm":5.0,"shift":-2.0,"share":1},"kinds":["small",{"sized":7.0}],
            "tagged":{"rate":2,"kind":"cloud"},"more":{"x":{}},"free":[{"a":[1,2.5,null]}]}"#;
        let shape: Shape = read(body.as_bytes()).unwrap();
        assert_eq!(shape.limits, Some(Limits { rpm: 5, shift: -2, share: 1.0 }));
        assert_eq!(shape.tagged, Some(Tagged::Cloud { rate: 2 }));
        assert_eq!(shape.kinds, [Kind::Small, Kind::Sized(7)]);
        assert_eq!(shape.free, serde_json::json!([{"a": [1, 2.5, null]}]));
        assert_eq!(read::<Limits>(b"").unwrap(), Limits::default());
    }
}
