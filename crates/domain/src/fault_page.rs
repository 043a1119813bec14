//! The table of fault codes, as `docs/errors.md` has it.

use crate::fault_codes::FAULT_CODES;

/// The table of `docs/errors.md`.
pub fn page_table() -> String {
    let mut table = String::from("| code | meaning |\n|---|---|\n");
    for (code, meaning) in FAULT_CODES {
        table.push_str(&format!("| `{code}` | {meaning} |\n"));
    }
    table
}
