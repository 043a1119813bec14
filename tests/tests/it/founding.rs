//! The installation that a gateway of a test begins with. `init` runs every migration, which all tests together would
//! wait minutes for: the first gateway of each test gets a copy of the one installation that is made in a test run.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::process::tidegate;
use serde_json::Value;

use crate::command::Cli;
use crate::gateway::Founded;

/// What `init` prints, kept beside the data directory that it made.
const PRINTED: &str = "printed.json";
const DATA: &str = "data";
/// Settings with these beginnings change what `init` makes.
const CHANGES_INIT: [&str; 3] = ["TIDEGATE_DATABASE", "TIDEGATE_MASTER_KEY", "TIDEGATE_VAULT"];

/// What is older than this belongs to no run that is still going on.
const RUN_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A second copy in the same test would have the first one's keys and ids, which no other installation has.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Makes an installation in `data`, by the command line of this program.
pub fn found(cli: &Cli, program: &Path, environment: &[(String, String)], data: &Path) -> Founded {
    let changes_init = |name: &str| CHANGES_INIT.iter().any(|one| name.starts_with(one));
    let is_plain = program == tidegate().unwrap() && !environment.iter().any(|(name, _)| changes_init(name));
    let printed = match std::env::var("NEXTEST_RUN_ID") {
        Ok(run) if is_plain && !IS_TAKEN.swap(true, Ordering::Relaxed) => copied(&run, data),
        _ => init(cli, data),
    };
    serde_json::from_value(printed).unwrap()
}

fn init(cli: &Cli, data: &Path) -> Value {
    cli.run(&["init", "--data-dir", &data.display().to_string(), "--json"]).json()
}

fn copied(run: &str, data: &Path) -> Value {
    let template = template(run);
    copy(&template.join(DATA), data);
    serde_json::from_slice(&std::fs::read(template.join(PRINTED)).unwrap()).unwrap()
}

/// The run's installation, which the first test that needs it makes. Two that begin together both make one, and the
/// first to rename its own wins.
fn template(run: &str) -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let template = all.join(format!("founded-{run}"));
    if !template.exists() {
        remove_old(all);
        let made = tempfile::tempdir_in(all).unwrap();
        let printed = init(&Cli::new(), &made.path().join(DATA));
        std::fs::write(made.path().join(PRINTED), printed.to_string()).unwrap();
        if std::fs::rename(made.path(), &template).is_err() {
            assert!(template.exists(), "the installation can't be moved to {}", template.display());
        }
    }
    template
}

/// Removes the installations of earlier runs.
fn remove_old(all: &Path) {
    for entry in std::fs::read_dir(all).unwrap().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with("founded-");
        let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|made| made.elapsed());
        if is_ours && age.is_ok_and(|age| age.is_ok_and(|age| age > RUN_MAX)) {
            // Another test may have removed it already.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    std::fs::set_permissions(to, from.metadata().unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
