//! The table, the layers, and what each refuses.

use super::*;

#[test]
fn the_reference_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/settings.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(page, reference(), "run the tests of this crate with UPDATE_DOCS=1");
}

fn resolve(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&'static str, &str)],
) -> Result<Layers, SettingsError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidegate.toml");
    std::fs::write(&path, file).unwrap();
    let lookup = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    let flags: Vec<_> = flags.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
    Layers::resolve(Some(&path), &lookup, &flags)
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let layers = resolve(
        "listen = \"127.0.0.1:1\"\nworkers = 3\n[journal]\ndurability = \"synced\"",
        &[("TIDEGATE_LISTEN", "127.0.0.1:2"), ("TIDEGATE_WORKERS", "4")],
        &[("listen", "127.0.0.1:3")],
    )
    .unwrap();
    let settings = Settings::check(&layers).unwrap();
    assert_eq!((settings.listen.port(), settings.workers, settings.durability_synced), (3, 4, true));
    assert_eq!(layers.origin("listen"), Origin::Flag);
    assert_eq!(layers.origin("workers"), Origin::Environment("TIDEGATE_WORKERS"));
}

#[test]
fn a_wrong_value_is_told_with_its_place_and_remedy() {
    let layers = resolve("", &[("TIDEGATE_LISTEN", "8787")], &[]).unwrap();
    let message = Settings::check(&layers).unwrap_err().0;
    assert!(message.contains("TIDEGATE_LISTEN") && message.contains("127.0.0.1:8787"), "{message}");
}

#[test]
fn an_unknown_name_and_a_secret_in_the_file_are_refused() {
    assert!(resolve("listne = \"x\"", &[], &[]).unwrap_err().0.contains("listne"));
    assert!(resolve("master_key = \"x\"", &[], &[]).unwrap_err().0.contains("TIDEGATE_MASTER_KEY"));
}

#[test]
fn a_database_is_told_without_its_password() {
    let of = |url| Settings::check(&resolve("", &[("TIDEGATE_DATABASE_URL", url)], &[]).unwrap());
    let settings = of("postgres://tide:hunter2@db/books").unwrap();
    assert!(settings.database.is_some() && !format!("{settings:?}").contains("hunter2"));
    let message = of("mysql://tide:hunter2@db/books").unwrap_err().0;
    assert!(message.contains("TIDEGATE_DATABASE_URL") && !message.contains("hunter2"), "{message}");
    assert!(resolve("database = \"postgres://a\"", &[], &[]).is_err(), "not in a file");
}

#[test]
fn networks_are_read_strictly() {
    assert_eq!(parse_networks("10.0.0.0/8, fd00::/8").map(|n| n.len()), Some(2));
    assert_eq!(parse_networks("10.0.0.0/33"), None);
    assert_eq!(parse_networks("ten"), None);
    assert_eq!(parse_networks(""), Some(vec![]));
}
