//! Signed documents: a JSON object that names the key of its signer, with a signature over everything else in it.
//!
//! What is signed is the object without its `signature`, in a form that any language can reproduce: keys in the order of their
//! bytes, no spaces, numbers as whole numbers, text as UTF-8 with the shortest escapes.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::{PublicKey, Signature, SigningKey};

const PUBLIC_KEY: &str = "public_key";
const FINGERPRINT: &str = "fingerprint";
const SIGNATURE: &str = "signature";

/// Why a document can't be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a signed document has whole numbers only")]
pub struct Fractional;

/// Why a document does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    #[error("it has no \"{0}\", or not in its form")]
    Missing(&'static str),
    #[error(transparent)]
    Fractional(#[from] Fractional),
    #[error("it says that its key has the fingerprint {stated}, and it has {found}")]
    Fingerprint { stated: String, found: String },
    #[error("it is signed by the key {found}, and the trusted one is {trusted}")]
    Key { found: String, trusted: String },
    #[error("it was changed after it was signed, or the key that it names did not sign it")]
    Signature,
}

/// Why a text is no document that could be signed.
#[derive(Debug, thiserror::Error)]
#[error("it isn't a JSON object of whole numbers, each of whose members is there once: {0}")]
pub struct Unreadable(#[from] serde_json::Error);

/// Reads a document. A member that is there twice is refused: readers would differ in which of the two they believe.
///
/// # Errors
/// Says what is wrong, and where.
pub fn read(text: &[u8]) -> Result<Map<String, Value>, Unreadable> {
    let mut from = serde_json::Deserializer::from_slice(text);
    let read = Once.deserialize(&mut from)?;
    from.end()?;
    match read {
        Value::Object(object) => Ok(object),
        _ => Err(Unreadable(de::Error::custom("it isn't an object"))),
    }
}

/// A value whose objects have each member once.
struct Once;

impl<'de> DeserializeSeed<'de> for Once {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Err(E::custom(format!("{value} isn't a whole number")))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(Self)? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = from.next_key::<String>()? {
            let value = from.next_value_seed(Self)?;
            if members.contains_key(&name) {
                return Err(de::Error::custom(format!("{name:?} is there twice")));
            }
            members.insert(name, value);
        }
        Ok(members.into())
    }
}

/// Adds the key, its fingerprint and the signature.
///
/// # Errors
/// If the document has a number that isn't whole.
pub fn sign(mut document: Map<String, Value>, key: &SigningKey) -> Result<Map<String, Value>, Fractional> {
    document.remove(SIGNATURE);
    document.insert(PUBLIC_KEY.to_owned(), key.public().to_string().into());
    document.insert(FINGERPRINT.to_owned(), key.public().fingerprint().into());
    let signature = key.sign(&canonical(&document)?);
    document.insert(SIGNATURE.to_owned(), signature.to_string().into());
    Ok(document)
}

/// Verifies that nothing was changed since the key inside signed it, and that the key is the trusted one, if one is given.
///
/// # Errors
/// Says what does not hold.
pub fn verify(document: &Map<String, Value>, trusted: Option<PublicKey>) -> Result<PublicKey, Forged> {
    let key: PublicKey = field(document, PUBLIC_KEY)?;
    let signature: Signature = field(document, SIGNATURE)?;
    let stated = document.get(FINGERPRINT).and_then(Value::as_str).ok_or(Forged::Missing(FINGERPRINT))?;
    if stated != key.fingerprint() {
        return Err(Forged::Fingerprint { stated: stated.to_owned(), found: key.fingerprint() });
    }
    if let Some(trusted) = trusted.filter(|trusted| *trusted != key) {
        return Err(Forged::Key { found: key.fingerprint(), trusted: trusted.fingerprint() });
    }
    if key.verify(&canonical(document)?, &signature) { Ok(key) } else { Err(Forged::Signature) }
}

fn field<T: std::str::FromStr>(document: &Map<String, Value>, name: &'static str) -> Result<T, Forged> {
    let text = document.get(name).and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).ok_or(Forged::Missing(name))
}

/// The bytes that are signed.
///
/// # Errors
/// If there is a number that isn't whole.
pub fn canonical(document: &Map<String, Value>) -> Result<Vec<u8>, Fractional> {
    let mut text = String::new();
    write_object(document, &mut text, true)?;
    Ok(text.into_bytes())
}

fn write_object(object: &Map<String, Value>, text: &mut String, is_document: bool) -> Result<(), Fractional> {
    let mut fields: Vec<_> = object.iter().filter(|(name, _)| !is_document || *name != SIGNATURE).collect();
    fields.sort_by_key(|(name, _)| *name);
    text.push('{');
    for (at, (name, value)) in fields.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&Value::from(name.as_str()).to_string());
        text.push(':');
        write_value(value, text)?;
    }
    text.push('}');
    Ok(())
}

fn write_value(value: &Value, text: &mut String) -> Result<(), Fractional> {
    match value {
        Value::Object(object) => return write_object(object, text, false),
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write_value(item, text)?;
            }
            text.push(']');
        }
        Value::Number(number) if number.is_f64() => return Err(Fractional),
        plain => text.push_str(&plain.to_string()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_seed(&[7; 32]).unwrap()
    }

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(object) = value else { panic!("an object was expected") };
        object
    }

    #[test]
    fn what_is_signed_can_be_written_by_others() {
        let document =
            object(json!({"b": [1, -2, null, true], "a": {"z": "é\n\u{1}\"", "y": ""}, "signature": "x"}));
        let expected = "{\"a\":{\"y\":\"\",\"z\":\"é\\n\\u0001\\\"\"},\"b\":[1,-2,null,true]}";
        assert_eq!(String::from_utf8(canonical(&document).unwrap()).unwrap(), expected);
        assert_eq!(canonical(&object(json!({"share": 0.5}))), Err(Fractional));
    }

    #[test]
    fn one_changed_byte_is_found() {
        let signed =
            sign(object(json!({"object": "receipt", "count": 12, "places": [{"name": "cache"}]})), &key())
                .unwrap();
        assert_eq!(verify(&signed, None), Ok(key().public()));
        assert_eq!(verify(&signed, Some(key().public())), Ok(key().public()));
        let text = Value::Object(signed).to_string();
        let mut found = 0;
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(changed) = serde_json::from_slice::<Map<String, Value>>(&bytes) else { continue };
            assert!(verify(&changed, None).is_err(), "byte {at}");
            found += 1;
        }
        assert!(found > 200, "{found}");
    }

    #[test]
    fn a_document_has_each_member_once_and_whole_numbers() {
        let read = |text: &str| read(text.as_bytes()).map(Value::Object).ok();
        let fine = r#" {"a": [1, -2, null, true, {"a": "b"}], "b": {}} "#;
        assert_eq!(read(fine), serde_json::from_str(fine).ok());
        let nested = r#"{"a": [{"b": {"c": 1, "\u0063": 1}}]}"#;
        for wrong in [r#"{"a": 1, "a": 1}"#, nested, r#"{"a": 0.5}"#, r#"{"a": 1} {}"#, "[]", "1", ""] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn another_key_is_not_trusted() {
        let other = SigningKey::from_seed(&[8; 32]).unwrap();
        let signed = sign(object(json!({"object": "receipt"})), &other).unwrap();
        assert!(matches!(verify(&signed, Some(key().public())), Err(Forged::Key { .. })));
        let mut renamed = signed.clone();
        renamed.insert("fingerprint".to_owned(), key().public().fingerprint().into());
        assert!(matches!(verify(&renamed, None), Err(Forged::Fingerprint { .. })));
        let mut unsigned = signed;
        unsigned.remove("signature");
        assert_eq!(verify(&unsigned, None), Err(Forged::Missing("signature")));
    }
}
