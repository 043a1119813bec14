//! The params of methods, each read under its own name.

use domain::{SessionId, TaskId};
use serde_json::{Map, Value};

use crate::errors::RpcError;

/// The fields of an object, and where it is in the params.
pub(crate) struct Fields<'a> {
    fields: &'a Map<String, Value>,
    path: &'a str,
}

impl<'a> Fields<'a> {
    /// # Errors
    /// It is not an object.
    pub(crate) fn of(value: &'a Value, path: &'a str) -> Result<Self, RpcError> {
        let named = if path.is_empty() { "params" } else { path };
        let fields = value.as_object().ok_or_else(|| RpcError::params(named, "it must be an object."))?;
        Ok(Self { fields, path })
    }

    pub(crate) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A field that is there and not null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn wrong(&self, name: &str, detail: impl AsRef<str>) -> RpcError {
        RpcError::params(&self.path(name), detail)
    }

    /// A text; an empty one counts as left out, as in `ProtoJSON`.
    ///
    /// # Errors
    /// It is not a string.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, RpcError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(self.wrong(name, "it must be a string.")),
        }
    }

    /// # Errors
    /// It is missing, or not a string.
    pub(crate) fn needed(&self, name: &str) -> Result<&'a str, RpcError> {
        self.text(name)?.ok_or_else(|| self.wrong(name, "it is missing; send a string that is not empty."))
    }

    /// # Errors
    /// It is not a boolean.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, RpcError> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(name, "it must be true or false.")),
        }
    }

    /// A whole number between two others.
    ///
    /// # Errors
    /// It is another one, or none.
    pub(crate) fn number(&self, name: &str, (min, max): (usize, usize)) -> Result<Option<usize>, RpcError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        match number.filter(|number| (min..=max).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, format!("it must be a whole number from {min} to {max}."))),
        }
    }

    /// How many messages of a task's history its client wants; `None` for all.
    ///
    /// # Errors
    /// It is not a number of messages.
    pub(crate) fn history(&self) -> Result<Option<usize>, RpcError> {
        self.number("historyLength", (0, i32::MAX as usize))
    }

    /// The task that a field names.
    ///
    /// # Errors
    /// It is missing, or can't be the id of a task of ours.
    pub(crate) fn task(&self, name: &str) -> Result<TaskId, RpcError> {
        let id = self.needed(name)?;
        id.parse().map_err(|_| RpcError::task_not_found(id))
    }

    /// The chat that a field names, if it is there.
    ///
    /// # Errors
    /// It can't be the id of a chat of ours.
    pub(crate) fn context(&self, name: &str) -> Result<Option<SessionId>, RpcError> {
        let Some(id) = self.text(name)? else { return Ok(None) };
        let how = "it names no context of this gateway. Leave it out to begin one, and use the contextId of its task from then on.";
        id.parse().map(Some).map_err(|_| self.wrong(name, how))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_refused_under_its_name() {
        let sent = json!({"a": 3, "b": "", "pageSize": 101, "flag": "yes", "id": "nonsense"});
        let fields = Fields::of(&sent, "message").unwrap();
        assert!(fields.needed("a").unwrap_err().message.contains("message.a"));
        assert!(fields.needed("b").unwrap_err().message.contains("missing"));
        assert!(fields.number("pageSize", (1, 100)).is_err() && fields.flag("flag").is_err());
        assert_eq!(fields.task("id").unwrap_err().code, -32_001);
        assert_eq!(fields.context("id").unwrap_err().code, -32_602);
        assert!(Fields::of(&json!([]), "").is_err());
    }
}
