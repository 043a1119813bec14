//! Serialisation that several dialects share: objects whose members keep their order, and raw JSON.

use domain::Fault;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Names and values, owned or borrowed.
pub trait Rows {
    type Name: Serialize;
    type Value: Serialize;
    fn rows(&self) -> &[(Self::Name, Self::Value)];
}

impl<Name: Serialize, Value: Serialize> Rows for Vec<(Name, Value)> {
    type Name = Name;
    type Value = Value;
    fn rows(&self) -> &[(Name, Value)] {
        self
    }
}

impl<Name: Serialize, Value: Serialize> Rows for &[(Name, Value)] {
    type Name = Name;
    type Value = Value;
    fn rows(&self) -> &[(Name, Value)] {
        self
    }
}

/// Names and values as a JSON object, in their original order.
#[derive(Debug, Clone, Copy)]
pub struct Pairs<R>(pub R);

impl<R: Rows> Pairs<R> {
    pub fn is_empty(&self) -> bool {
        self.0.rows().is_empty()
    }
}

impl<R: Rows> Serialize for Pairs<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.rows().iter().map(|(name, value)| (name, value)))
    }
}

/// JSON that was validated before, to be written as it is.
pub fn checked(json: &str) -> Result<&RawValue, Box<Fault>> {
    serde_json::from_str(json).map_err(|_| Box::new(Fault::internal()))
}

/// An object whose member values are already JSON.
pub fn json_object(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// A text as JSON.
pub fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
