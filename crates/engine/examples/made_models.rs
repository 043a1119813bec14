//! Writes the synthetic models of the tests and inputs for them. `scripts/model-goldens.py` runs the same
//! files in transformers, to record the expected states.
//!
//! `made_models DIRECTORY`
#![allow(
    clippy::indexing_slicing,
    dead_code,
    reason = "what it shares with the tests is written as tests are"
)]

use std::error::Error;
use std::path::PathBuf;

use serde_json::json;

#[path = "../tests/it/cases.rs"]
mod cases;
#[path = "../tests/it/shapes.rs"]
mod shapes;

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::args().nth(1).ok_or("say where to write")?);
    for case in cases::cases() {
        let directory = root.join(case.name);
        case.made.write_plain(&directory, case.is_older)?;
        let text = json!({"tokens": case.tokens, "places": case.positions});
        std::fs::write(directory.join("text.json"), text.to_string())?;
    }
    Ok(())
}
