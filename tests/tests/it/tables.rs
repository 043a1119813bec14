//! The database of a gateway as its owner can read it: a hash of every table, and the audit log. A program
//! beside the test reads it, so that thousands of looks don't start as many programs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::command::workspace;
use crate::gateway::Gateway;

/// The hash of each table, by its name.
pub type Hashes = BTreeMap<String, String>;

/// A look at the tables; entries of the audit log are only counted.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    pub tables: Hashes,
    pub audited: usize,
}

pub struct Tables {
    reader: RefCell<Reader>,
}

struct Reader {
    child: Child,
    /// Closed, it ends the program.
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Tables {
    pub fn of(gateway: &Gateway) -> Self {
        let mut child = Command::new(workspace().join(".venv/bin/python"))
            .arg(workspace().join("tests/tools/tables.py"))
            .arg(gateway.data().join("tidegate.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (questions, answers) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { reader: RefCell::new(Reader { child, questions, answers }) }
    }

    fn ask(&self, question: &str) -> Value {
        let mut reader = self.reader.borrow_mut();
        writeln!(reader.questions.as_ref().unwrap(), "{question}").unwrap();
        let mut line = String::new();
        reader.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    pub fn look(&self) -> Seen {
        let mut seen = self.ask("tables");
        let audited = seen["audited"].as_u64().unwrap();
        Seen {
            tables: serde_json::from_value(seen["tables"].take()).unwrap(),
            audited: usize::try_from(audited).unwrap(),
        }
    }

    /// The entries of the audit log but its first.
    pub fn audit_after(&self, first: usize) -> Vec<Value> {
        serde_json::from_value(self.ask(&format!("audit {first}"))).unwrap()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.questions = None;
        let _ = self.child.wait();
    }
}
