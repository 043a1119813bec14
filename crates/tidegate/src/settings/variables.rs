//! Environment variables that nothing reads: most are misspelt.

use super::DEFINITIONS;

const PREFIX: &str = "TIDEGATE_";

/// Variables that commands read beside the settings.
const OF_COMMANDS: &[&str] = &[
    "TIDEGATE_API_KEY",
    "TIDEGATE_CONFIG",
    "TIDEGATE_CONTEXT",
    "TIDEGATE_DATA_PLANE_TOKEN",
    "TIDEGATE_MODELS_DIR",
    "TIDEGATE_NO_INPUT",
    "TIDEGATE_URL",
];

/// Those of this project's own tests and scripts, which share a shell with the program.
const OF_TOOLS: &str = include_str!("variables_of_tools.txt");

/// With these, an exported document names secrets.
const OF_DOCUMENTS: &str = "TIDEGATE_SECRET_";

fn offered() -> impl Iterator<Item = &'static str> {
    DEFINITIONS.iter().map(|definition| definition.env).chain(OF_COMMANDS.iter().copied())
}

fn is_known(name: &str, value: &str) -> bool {
    name.starts_with(OF_DOCUMENTS)
        || offered().chain(OF_TOOLS.lines()).any(|known| known == name)
        || is_of_kubernetes(name, value)
}

/// Pods get the addresses of services under such names: of one called `tidegate`, ours with `SERVICE_HOST`, `PORT` (an address)
/// and `PORT_8787_TCP_ADDR` behind the prefix.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let is_port = |rest: &str| match rest.strip_prefix('_') {
        Some(rest) => rest.starts_with(|one: char| one.is_ascii_digit()),
        None => rest.is_empty() && value.contains("://"),
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.split_once("_PORT").is_some_and(|(_, rest)| is_port(rest))
}

/// A sentence for each variable of ours that nothing reads, with the one that was probably meant.
fn unread(variables: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let unread = variables.filter(|(name, value)| name.starts_with(PREFIX) && !is_known(name, value));
    let mut names: Vec<_> = unread.map(|(name, _)| name).collect();
    names.sort_unstable();
    let sentence = |name: String| {
        // Without the common prefix, which would make any two of them look alike.
        let bare = |name: &'static str| name.strip_prefix(PREFIX).unwrap_or(name);
        let typed = name.strip_prefix(PREFIX).unwrap_or_default();
        let near = catalogue::nearest_of(typed, offered().map(bare), 1);
        match near.first() {
            Some(near) => format!("{name} is set, but nothing reads it. Did you mean {PREFIX}{near}?"),
            None => format!("{name} is set, but nothing reads it. `tidegate config explain` lists what is."),
        }
    };
    names.into_iter().map(sentence).collect()
}

/// The same, of this process.
pub fn unread_here() -> Vec<String> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    unread(std::env::vars_os().map(|(name, value)| (text(name), text(value))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn sentences(names: &[&str], value: &str) -> Vec<String> {
        unread(names.iter().map(|name| (format!("{PREFIX}{name}"), value.to_owned())))
    }

    #[test]
    fn a_misspelt_variable_is_named_with_the_one_that_was_meant() {
        for (typed, meant) in [
            ("LISTN", "LISTEN"),
            ("ALOW_PRIVATE_UPSTREAMS", "ALLOW_PRIVATE_UPSTREAMS"),
            ("DATABASE", "DATABASE_URL"),
            ("PUBLC_URL", "PUBLIC_URL"),
            ("API_KYE", "API_KEY"),
        ] {
            let sentence = sentences(&[typed], "x").join("\n");
            let (named, hint) = (format!("{PREFIX}{typed} is set"), format!("mean {PREFIX}{meant}?"));
            assert!(sentence.starts_with(&named) && sentence.contains(&hint), "{typed}: {sentence}");
        }
        let unlike = sentences(&["PORT"], "8080").join("\n");
        assert!(unlike.contains("config explain"), "{unlike}");
    }

    #[test]
    fn what_is_read_or_made_by_others_is_not_named() {
        let known = ["LISTEN", "API_KEY", "SECRET_CREDENTIAL_A", "KILLS"];
        let of_kubernetes =
            ["SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT", "PORT_8787_TCP_ADDR", "HEADLESS_SERVICE_HOST"];
        assert_eq!(sentences(&known, "x"), [""; 0]);
        assert_eq!(sentences(&of_kubernetes, "tcp://10.0.0.1:8787"), [""; 0]);
        let others = ["PATH", "TIDE"].map(|name| (name.to_owned(), String::new()));
        assert_eq!(unread(others.into_iter()), [""; 0]);
    }

    /// The names in a text, without those that end in the middle of a pattern.
    fn named(text: &str, found: &mut BTreeSet<String>) {
        for rest in text.split(PREFIX).skip(1) {
            let end = rest.find(|one: char| !one.is_ascii_uppercase() && !one.is_ascii_digit() && one != '_');
            let name = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            if !name.is_empty() && !name.ends_with('_') {
                found.insert(format!("{PREFIX}{name}"));
            }
        }
    }

    fn read(path: &Path, found: &mut BTreeSet<String>) {
        let skipped = ["target", "node_modules", "dist", "variables_of_tools.txt"];
        if path.file_name().is_some_and(|name| skipped.iter().any(|one| name == *one)) {
            return;
        }
        if path.is_dir() {
            std::fs::read_dir(path).unwrap().for_each(|entry| read(&entry.unwrap().path(), found));
        } else if let Ok(text) = std::fs::read_to_string(path) {
            named(&text, found);
        }
    }

    #[test]
    fn the_projects_own_variables_are_known() {
        let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let mut found = BTreeSet::new();
        for folder in
            ["crates", "tests", "bench", "fuzz", "scripts", "packaging", "xtask", "console/src", "Makefile"]
        {
            read(&root.join(folder), &mut found);
        }
        assert!(found.contains("TIDEGATE_LISTEN") && found.len() > 100, "{found:?}");
        // A test looks for variables that begin so.
        let beginnings = ["DATABASE", "VAULT"].map(|name| format!("{PREFIX}{name}"));
        let of_tools = found.iter().filter(|name| {
            let is_read = !name.starts_with(OF_DOCUMENTS) && !beginnings.contains(*name);
            is_read && !offered().any(|known| known == name.as_str())
        });
        let text: String = of_tools.map(|name| format!("{name}\n")).collect();
        let file = root.join("crates/tidegate/src/settings/variables_of_tools.txt");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(file).unwrap(), text, "run with UPDATE_DOCS=1");
    }
}
