//! A collection of the control plane: its objects are created, listed, shown, changed and removed alike.

use serde_json::Value;

use crate::api::{Api, at};
use crate::output::{self, Failure};
use crate::shared::Shared;

/// The objects at a path of the gateway.
pub struct Collection<'a> {
    shared: &'a Shared,
    pub api: Api,
    path: &'static str,
}

impl<'a> Collection<'a> {
    pub fn connect(shared: &'a Shared, path: &'static str) -> Result<Self, Failure> {
        Ok(Self { shared, api: Api::connect(shared)?, path })
    }

    /// The path of all.
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// The path of one.
    pub fn at(&self, id: &str) -> String {
        at(self.path, id)
    }

    /// Creates one and shows it.
    pub fn create(&self, body: &Value) -> Result<(), Failure> {
        output::object(self.shared, &self.api.post(self.path, body)?);
        Ok(())
    }

    /// Lists the first page.
    pub fn list(&self, columns: &[&str], empty: &str) -> Result<(), Failure> {
        output::list(self.shared, &self.api.get(self.path)?, columns, empty);
        Ok(())
    }

    pub fn show(&self, id: &str) -> Result<(), Failure> {
        output::object(self.shared, &self.api.get(&self.at(id))?);
        Ok(())
    }

    /// Changes fields of one and shows it.
    pub fn change(&self, id: &str, body: &Value) -> Result<(), Failure> {
        output::object(self.shared, &self.api.patch(&self.at(id), body)?);
        Ok(())
    }

    pub fn remove(&self, id: &str) -> Result<(), Failure> {
        self.api.delete(&self.at(id))?;
        self.shared.report(&format!("{id} is removed."));
        Ok(())
    }
}
