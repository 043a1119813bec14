//! Reads the golden exchanges of one folder of `golden/dialects`, for every test that checks them.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

/// Calls `check` with the path and content of each exchange; there must be at least `least` of them. A
/// content that it returns is compared with the file, or written to it with `TIDEGATE_GOLDEN=write`.
pub fn each_exchange<T: DeserializeOwned>(
    folder: &str,
    least: usize,
    mut check: impl FnMut(&str, T) -> Option<String>,
) {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/dialects")).join(folder);
    let writes = std::env::var_os("TIDEGATE_GOLDEN").is_some_and(|value| value == "write");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is in the repository") {
        let path = entry.expect("an entry").path();
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).expect("a text");
        let exchange = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        match check(&name, exchange) {
            Some(seen) if writes => std::fs::write(&path, seen).expect("it can be written"),
            Some(seen) => assert_eq!(seen, text, "{name}"),
            None => {}
        }
        count += 1;
    }
    assert!(count >= least, "only {count} exchanges were found");
}
