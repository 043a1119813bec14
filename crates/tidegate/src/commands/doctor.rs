//! `tidegate doctor`: checks this machine, its data directory and the running gateway; each finding names its
//! fix.

mod database;
mod sandboxes;

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use cli::api::Api;
use cli::output::{self, Failure};
use cli::shared::Shared;
use serde_json::{Value, json};
use store::StoreError;

use super::serve::SettingFlags;
use crate::data_dir;
use crate::limits::RUNTIME_DELAY_MAX;
use crate::settings::Settings;
use crate::settings::variables::unread_here;

#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    settings: SettingFlags,
}

/// One thing that was looked at.
struct Check {
    name: &'static str,
    level: Level,
    found: String,
    fix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Fine,
    Warning,
    Error,
}

impl Check {
    fn fine(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, level: Level::Fine, found: found.into(), fix: String::new() }
    }

    fn warning(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, level: Level::Warning, found: found.into(), fix: fix.into() }
    }

    fn error(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, level: Level::Error, found: found.into(), fix: fix.into() }
    }
}

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let layers = options.settings.layers()?;
    let mut checks = Vec::new();
    match Settings::check(&layers) {
        Err(error) => {
            checks.push(Check::error("settings", error.to_string(), "Correct it, then run doctor again."))
        }
        Ok(settings) => {
            checks.push(Check::fine("settings", "every setting can be used"));
            local(&settings, &mut checks);
        }
    }
    environment(&mut checks);
    gateway(shared, &mut checks);
    report(shared, &checks)
}

fn data_directory(settings: &Settings, checks: &mut Vec<Check>) {
    let data_dir = settings.data_dir.display();
    let access = rustix::fs::access(&settings.data_dir, rustix::fs::Access::WRITE_OK);
    match store::datadir::inspect(&settings.data_dir) {
        Ok(_) if access == Err(rustix::io::Errno::ACCESS) => checks.push(Check::error(
            "data directory",
            format!("{data_dir} can't be written"),
            fix_of_permission(&settings.data_dir),
        )),
        Ok(store::datadir::DataDir::Ready) => {
            checks.push(Check::fine("data directory", format!("{data_dir} is initialised")))
        }
        Ok(store::datadir::DataDir::Empty) => checks.push(Check::warning(
            "data directory",
            format!("{data_dir} is empty"),
            "`tidegate serve` initialises it at its first start.",
        )),
        Err(error) => {
            checks.push(Check::error(
                "data directory",
                error.to_string(),
                fix_of(&error, &settings.data_dir),
            ));
        }
    }
}

fn local(settings: &Settings, checks: &mut Vec<Check>) {
    data_directory(settings, checks);
    let key_file = settings
        .master_key_file
        .clone()
        .unwrap_or_else(|| settings.data_dir.join(store::datadir::MASTER_KEY_FILE));
    if let Ok(metadata) = std::fs::metadata(&key_file) {
        let mode = metadata.permissions().mode() & 0o777;
        let name = key_file.display();
        checks.push(if vault::is_private(&metadata) {
            Check::fine("master key", format!("{name} has mode {mode:o}"))
        } else {
            Check::error(
                "master key",
                format!("{name} has mode {mode:o}: others can read it"),
                format!("chmod 600 {name}"),
            )
        });
    }
    disk(settings, checks);
    journal(settings, checks);
    let rolled_back = evidence::floor::rolled_back(&settings.data_dir);
    checks.extend(rolled_back.map(|(found, fix)| Check::error("database", found, fix)));
    if let Some(address) = &settings.database {
        let now = world::World::system().clock.unix_ms();
        database::check_database(address, now, settings.records_keep_days, checks);
    }
    if let Some(file) = &settings.stdio_file {
        sandboxes::check_sandboxes(file, checks);
    }
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    checks.push(if files >= 8_192 {
        Check::fine("open files", format!("up to {files}"))
    } else {
        Check::warning(
            "open files",
            format!("at most {files}: about {} streams at once", files / 2),
            "Raise the limit: ulimit -n 65536.",
        )
    });
}

/// What to do about a data directory that can't be used.
fn fix_of(error: &StoreError, data_dir: &Path) -> String {
    match error {
        StoreError::Disk { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            fix_of_permission(data_dir)
        }
        _ => "Choose or make another directory, and name it with --data-dir.".to_owned(),
    }
}

fn fix_of_permission(data_dir: &Path) -> String {
    let user = rustix::process::geteuid().as_raw();
    let data_dir = data_dir.display();
    format!(
        "You are user {user} here: `chown -R {user} {data_dir}` gives you the directory, --data-dir names another one."
    )
}

fn disk(settings: &Settings, checks: &mut Vec<Check>) {
    let directory = if settings.data_dir.exists() { settings.data_dir.clone() } else { ".".into() };
    let Ok(facts) = rustix::fs::statvfs(&directory) else { return };
    let free_mib = facts.f_bavail.saturating_mul(facts.f_frsize) / (1024 * 1024);
    checks.push(if free_mib >= 1_024 {
        Check::fine("disk", format!("{free_mib} MiB free"))
    } else {
        Check::warning(
            "disk",
            format!("only {free_mib} MiB free"),
            "Free some: the journal and the database grow with traffic.",
        )
    });
}

fn journal(settings: &Settings, checks: &mut Vec<Check>) {
    const NAME: &str = "journal";
    match data_dir::journal_damage(&settings.data_dir) {
        Ok((damage, _)) if damage.is_empty() => {
            checks.push(Check::fine(NAME, "nothing is known to be missing"))
        }
        Ok((damage, fix)) => {
            checks.extend(damage.iter().map(|damage| Check::error(NAME, damage.to_string(), fix.clone())));
        }
        Err(error) => checks.push(Check::error(
            NAME,
            format!("its notes of damage can't be read: {error}"),
            fix_of_permission(&settings.data_dir),
        )),
    }
}

fn environment(checks: &mut Vec<Check>) {
    let fix = "Correct its name, or unset it.";
    checks.extend(unread_here().into_iter().map(|remark| Check::warning("environment", remark, fix)));
    let base = std::env::var("OPENAI_BASE_URL").unwrap_or_default();
    let key = std::env::var("OPENAI_API_KEY").unwrap_or_default();
    if !base.is_empty() && !key.is_empty() && !key.starts_with("tg_") {
        checks.push(Check::warning(
            "environment",
            "OPENAI_BASE_URL is set, but OPENAI_API_KEY is not a key of a Tidegate gateway",
            "If the base URL is this gateway's, export one of its keys as OPENAI_API_KEY.",
        ));
    }
}

fn gateway(shared: &Shared, checks: &mut Vec<Check>) {
    let api = match Api::connect(shared) {
        Ok(api) => api,
        Err(failure) => {
            checks.push(Check::warning("gateway", "not asked", failure.message));
            return;
        }
    };
    let nodes = match api.get("/v2/byoc/nodes") {
        Ok(nodes) => nodes,
        Err(failure) => {
            checks.push(Check::error(
                "gateway",
                failure.message,
                "Start it with `tidegate serve`, or give its key and --url.",
            ));
            return;
        }
    };
    checks.push(Check::fine("gateway", format!("{} answers", api.address())));
    // Not for every key.
    if let Ok(metrics) = api.text("/metrics") {
        checks.extend(delay(&metrics));
    }
    states(
        "node",
        &nodes,
        &["ready", "cordoned", "draining"],
        "`tidegate nodes list` shows why; start it again or remove it.",
        checks,
    );
    if let Ok(credentials) = api.get("/v2/provider-credentials") {
        let fix = "`tidegate credential rotate ID` gives it a new secret, `tidegate credential verify ID` asks again.";
        states("credential", &credentials, &["active", "expiring", "disabled"], fix, checks);
    }
}

/// The runtime that was the latest, where the gateway measures them.
fn delay(metrics: &str) -> Option<Check> {
    const NAME: &str = "delays";
    let delays = metrics.lines().filter_map(|line| {
        let (runtime, us) =
            line.strip_prefix("tidegate_runtime_delay_microseconds{runtime=\"")?.split_once("\"} ")?;
        Some((Duration::from_micros(us.parse().ok()?), runtime))
    });
    let (delay, runtime) = delays.max()?;
    let found = format!("the runtime \"{runtime}\" was {} ms late in the last minutes", delay.as_millis());
    Some(if delay < RUNTIME_DELAY_MAX {
        Check::fine(NAME, found)
    } else {
        let fix = "Give the gateway more of a processor; if it has enough, report the requests of that time: one computes for too long.";
        Check::warning(NAME, found, fix)
    })
}

fn states(name: &'static str, page: &Value, fine: &[&str], fix: &str, checks: &mut Vec<Check>) {
    for row in page.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) {
        let (id, status) = (called(row), output::cell(row, "status"));
        let error = row.get("last_error").and_then(Value::as_str).filter(|error| !error.is_empty());
        checks.push(match error {
            // A key that its provider never took serves nothing, whatever its status.
            Some(error) if name == "credential" && matches!(status.as_str(), "active" | "expiring") => {
                Check::warning(name, format!("{id} is {status}, but its last check failed: {error}"), fix)
            }
            _ if fine.contains(&status.as_str()) => Check::fine(name, format!("{id} is {status}")),
            _ => Check::error(name, format!("{id} is {status}: {}", output::cell(row, "last_error")), fix),
        });
    }
}

/// A row's name with its id, which commands take even where the name is not unique.
fn called(row: &Value) -> String {
    let id = output::cell(row, "id");
    let name = ["display_name", "name"].iter().find_map(|field| row.get(*field)?.as_str());
    name.map_or_else(|| id.clone(), |name| format!("{name} ({id})"))
}

fn report(shared: &Shared, checks: &[Check]) -> Result<(), Failure> {
    for check in checks {
        let (mark, word) = match check.level {
            Level::Fine => ("✓", "fine"),
            Level::Warning => ("!", "warning"),
            Level::Error => ("✗", "error"),
        };
        if shared.json {
            println!(
                "{}",
                json!({"check": check.name, "level": word, "found": check.found, "fix": check.fix})
            );
        } else {
            println!("{mark} {}: {}", check.name, output::printable(&check.found));
            if !check.fix.is_empty() {
                println!("    fix: {}", output::printable(&check.fix));
            }
        }
    }
    let errors = checks.iter().filter(|check| check.level == Level::Error).count();
    if errors > 0 {
        return Err(Failure::new(
            output::FINDINGS,
            format!("{errors} of {} checks found something wrong.", checks.len()),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_runtime_is_named_and_warned_of_when_it_was_too_late() {
        let page = |control_us: u64| {
            format!(
                "tidegate_connections 3\n# TYPE tidegate_runtime_delay_microseconds gauge\n\
                 tidegate_runtime_delay_microseconds{{runtime=\"control\"}} {control_us}\n\
                 tidegate_runtime_delay_microseconds{{runtime=\"vital\"}} 2100\n"
            )
        };
        let told = |page: &str| delay(page).map(|check| (check.level, check.found));
        let (fine, late) = (told(&page(900)).unwrap(), told(&page(2_000_000)).unwrap());
        assert_eq!(fine, (Level::Fine, "the runtime \"vital\" was 2 ms late in the last minutes".to_owned()));
        assert_eq!(
            late,
            (Level::Warning, "the runtime \"control\" was 2000 ms late in the last minutes".to_owned())
        );
        assert_eq!(told("tidegate_connections 3\n"), None);
    }
}
