//! A collection of the control plane: its objects are created, listed, shown, changed and removed alike.

use serde_json::Value;

use crate::api::{Api, at};
use crate::made;
use crate::output::{self, Failure, Form};
use crate::shared::Shared;

/// The objects at a path of the gateway.
pub struct Collection<'a> {
    shared: &'a Shared,
    pub api: Api,
    path: &'static str,
    /// How one of them is printed, where its fields alone don't tell.
    for_form: fn(Form, Value) -> Value,
}

impl<'a> Collection<'a> {
    pub fn connect(shared: &'a Shared, path: &'static str) -> Result<Self, Failure> {
        Ok(Self { shared, api: Api::connect(shared)?, path, for_form: |_, object| object })
    }

    /// The same, each printed as `for_form` has it.
    pub fn printed(self, for_form: fn(Form, Value) -> Value) -> Self {
        Self { for_form, ..self }
    }

    /// The path of all.
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// The path of one.
    pub fn at(&self, id: &str) -> String {
        at(self.path, id)
    }

    /// Creates one, and prints it.
    pub fn create(&self, body: &Value) -> Result<(), Failure> {
        let created = self.api.post(self.path, body)?;
        made::print(self.shared, &(self.for_form)(self.shared.form(), created));
        Ok(())
    }

    /// Lists the first page.
    pub fn list(&self, columns: &[&str], empty: &str) -> Result<(), Failure> {
        let mut page = self.api.get(self.path)?;
        if let Some(rows) = page.get_mut("data").and_then(Value::as_array_mut) {
            rows.iter_mut().for_each(|row| *row = (self.for_form)(self.shared.form(), row.take()));
        }
        output::list(self.shared, &page, columns, empty);
        Ok(())
    }

    pub fn show(&self, id: &str) -> Result<(), Failure> {
        self.print(self.api.get(&self.at(id))?);
        Ok(())
    }

    /// Changes fields of one and shows it.
    pub fn change(&self, id: &str, body: &Value) -> Result<(), Failure> {
        self.print(self.api.patch(&self.at(id), body)?);
        Ok(())
    }

    fn print(&self, object: Value) {
        output::object(self.shared, &(self.for_form)(self.shared.form(), object));
    }

    pub fn remove(&self, id: &str) -> Result<(), Failure> {
        self.api.delete(&self.at(id))?;
        self.shared.report(&format!("{id} is removed."));
        Ok(())
    }
}
