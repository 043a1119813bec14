//! The database of a gateway as its owner can read it: a hash of every table, and the audit log. A program
//! beside the test reads it, so that thousands of looks don't start as many programs.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::WITHIN;
use crate::command::workspace;
use crate::gateway::Gateway;
use crate::program::Program;

/// A look at the tables; entries of the audit log are only counted.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Seen {
    /// The hash of each table, by its name.
    pub tables: BTreeMap<String, String>,
    pub audited: usize,
}

pub struct Tables {
    reader: Program,
}

impl Tables {
    pub fn of(gateway: &Gateway) -> Self {
        let mut command = Command::new(workspace().join(".venv/bin/python"));
        command.arg(workspace().join("tests/tools/tables.py")).arg(gateway.data().join("tidegate.db"));
        Self { reader: Program::start(&mut command) }
    }

    pub async fn look(&mut self) -> Seen {
        serde_json::from_value(self.reader.ask(&"tables", WITHIN).await).unwrap()
    }

    /// The entries of the audit log but its first.
    pub async fn audit_after(&mut self, first: usize) -> Vec<Value> {
        serde_json::from_value(self.reader.ask(&json!({"audit_after": first}), WITHIN).await).unwrap()
    }
}
