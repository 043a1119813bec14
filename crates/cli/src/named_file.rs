//! What somebody is told who names a file where the name of something stored belongs.

use std::path::Path;

use serde_json::{Value, json};

use crate::output::{self, Failure};

/// A failure to find what was named, with how a file is stored first, where it looks like one.
pub(crate) fn instead_of_file(mut failure: Failure, named: &str, stores: &str) -> Failure {
    if failure.code != output::NOT_FOUND || !is_like_a_file(named) {
        return failure;
    }
    let fix = format!("\"{named}\" looks like a file. {stores}; then run it by its name.");
    let document = failure.document.get_or_insert_with(|| json!({}));
    if let Value::Object(fields) = document {
        fields.insert("fix".to_owned(), Value::String(fix));
    }
    failure
}

fn is_like_a_file(named: &str) -> bool {
    let extension = Path::new(named).extension().and_then(|extension| extension.to_str());
    let is_document = extension.is_some_and(|extension| {
        ["json", "yaml", "yml"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    });
    is_document || Path::new(named).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_a_file_learns_how_it_is_stored() {
        let fix = |code: u8, named: &str| {
            let failure =
                Failure { document: Some(json!({"fix": "as before"})), ..Failure::new(code, "none") };
            let failure = instead_of_file(failure, named, "`add` stores it");
            failure.document.unwrap()["fix"].as_str().unwrap().to_owned()
        };
        let told = fix(output::NOT_FOUND, "./greet.JSON");
        assert_eq!(told, "\"./greet.JSON\" looks like a file. `add` stores it; then run it by its name.");
        assert!(fix(output::NOT_FOUND, "Cargo.toml").contains("`add`"), "it is there");
        for (code, named) in [(output::NOT_FOUND, "greet"), (output::FORBIDDEN, "greet.yml")] {
            assert_eq!(fix(code, named), "as before", "{named}");
        }
    }
}
