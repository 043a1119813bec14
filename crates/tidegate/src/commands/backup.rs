//! `tidegate backup` and `tidegate restore`: copies a running installation to a directory, and back.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, bail};
use cli::output::{self, Failure};
use cli::progress::Progress;
use cli::shared::Shared;
use serde_json::json;
use store::datadir::{self, DATABASE_FILE, DataDir, JOURNAL_DIR, MASTER_KEY_FILE};
use world::World;

use super::serve::SettingFlags;
use super::trusted_key::trusted_key;
use crate::archive::{self, Manifest};
use crate::postgres::Tools;
use crate::repurge;
use crate::settings::Settings;
use crate::{data_dir, server_state};

#[derive(Debug, clap::Args)]
pub struct Backup {
    /// The directory to create; it must not exist yet.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Also copies the master key, which opens every secret in the backup: keep it as safe as the secrets themselves.
    #[arg(long)]
    with_master_key: bool,
    /// Copies PostgreSQL's tables without pg_dump, as is done if it is missing.
    #[arg(long)]
    without_pg_dump: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

#[derive(Debug, clap::Args)]
pub struct Restore {
    /// A directory that `tidegate backup` wrote.
    from: PathBuf,
    /// The master key's file, if the backup was made without it.
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,
    /// A folder with purge receipts; the restored database is purged again according to them before it can serve.
    #[arg(long, value_name = "DIR")]
    receipts: Option<PathBuf>,
    /// The public key that must have signed the receipts, as `tidegate audit key` prints it, or a file with it; by default this
    /// installation's own, which the master key determines.
    #[arg(long, value_name = "KEY", requires = "receipts")]
    receipt_key: Option<String>,
    #[command(flatten)]
    settings: SettingFlags,
}

/// What `pg_dump` writes.
const DUMP: &str = "database.dump";
/// What we write without it.
const ROWS: &str = "database.rows";
const REPLICA: &str = "replica";
const SETTINGS: &str = "tidegate.toml";
/// No database says how far its copy is: the file can only be looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub fn backup(shared: &Shared, options: &Backup) -> Result<(), Failure> {
    let (settings, url) = settings_of(&options.settings)?;
    match datadir::inspect(&settings.data_dir).map_err(anyhow::Error::from)? {
        DataDir::Ready => {}
        DataDir::Empty => {
            let message = format!("{} is empty: there is nothing to back up.", settings.data_dir.display());
            return Err(Failure::new(output::NOT_FOUND, message));
        }
    }
    if options.to.symlink_metadata().is_ok() {
        let message = format!(
            "{} exists already: a backup never writes over anything. Name another place.",
            options.to.display()
        );
        return Err(Failure::new(output::CONFLICT, message));
    }
    let manifest = make(options, &settings, url.as_deref())?;
    let has_key = manifest.has(MASTER_KEY_FILE);
    if shared.json {
        println!(
            "{}",
            json!({"backup": options.to, "database": manifest.database, "files": manifest.files.len(),
                "bytes": manifest.files.iter().map(|file| file.bytes).sum::<u64>(), "master_key": has_key})
        );
    } else {
        println!("{} is whole: {} files.", options.to.display(), manifest.files.len());
    }
    if has_key {
        eprintln!("It holds the master key: whoever has it can open every secret in it.");
    } else {
        eprintln!(
            "The master key is not in it. Keep that elsewhere: without it the secrets can't be opened again."
        );
    }
    Ok(())
}

fn make(options: &Backup, settings: &Settings, url: Option<&str>) -> anyhow::Result<Manifest> {
    let making = archive::PendingBackup::begin(&options.to)?;
    // The journal is copied first. Records that are drained and freed meanwhile are in the database, which is
    // copied after it; a record that is in both is booked once, by its trace.
    let journal = data_dir::journal(&settings.data_dir);
    for core in directories(&journal)? {
        for segment in files(&journal.join(&core))? {
            making.copy(&journal.join(&core).join(&segment), &format!("{JOURNAL_DIR}/{core}/{segment}"))?;
        }
    }
    let database = match url {
        None => {
            let (copy, original) = (making.path(DATABASE_FILE), data_dir::database(&settings.data_dir));
            let copying = async { Ok(store::copy_database(&original, &copy).await?) };
            // The copy has no free pages, so it may end smaller.
            current_thread()?.block_on(watched(&copy, Some(size(&original)), copying))?;
            restrict(&copy)?;
            "sqlite"
        }
        Some(url) => {
            making.copy(&settings.data_dir.join(REPLICA), REPLICA)?;
            if options.without_pg_dump || !Tools::can_dump() {
                let (address, rows) = (url.parse()?, making.path(ROWS));
                let dumping = async { Ok(store::dump(&address, &rows).await?) };
                current_thread()?.block_on(watched(&rows, None, dumping))?;
            } else {
                let (tools, dump) = (Tools::of(url)?, making.path(DUMP));
                current_thread()?.block_on(watched(&dump, None, tools.dump(&dump)))?;
                restrict(&dump)?;
            }
            "postgres"
        }
    };
    making.copy(&settings.data_dir.join(SETTINGS), SETTINGS)?;
    if options.with_master_key {
        let file =
            settings.master_key_file.clone().unwrap_or_else(|| settings.data_dir.join(MASTER_KEY_FILE));
        if !making.copy(&file, MASTER_KEY_FILE)? {
            bail!("there is no master key at {}: it comes from the environment or a command", file.display());
        }
    }
    making.finish(database, World::system().clock.unix_ms())
}

/// Says how much of a file is there until it is whole. How large a dump becomes nobody knows before.
async fn watched(
    file: &Path,
    all: Option<u64>,
    writing: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let progress = Progress::new(false);
    let mut writing = pin!(writing);
    loop {
        tokio::select! {
            written = &mut writing => return written,
            () = tokio::time::sleep(LOOK_EVERY) => match all {
                Some(all) => progress.moved(size(file).min(all), all),
                None => progress.grew(size(file)),
            },
        }
    }
}

fn size(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |metadata| metadata.len())
}

pub fn restore(shared: &Shared, options: &Restore) -> Result<(), Failure> {
    let (settings, url) = settings_of(&options.settings)?;
    let manifest = archive::check(&options.from)
        .map_err(|error| Failure::new(output::NOT_FOUND, format!("{error:#}")))?;
    let trusted = trusted_key(options.receipt_key.as_deref())?;
    let making = datadir::Making::begin(&settings.data_dir)
        .map_err(|error| Failure::new(output::CONFLICT, error.to_string()))?;
    let directory = making.dir().to_owned();
    bring_back(options, &settings, url.as_deref(), &manifest, &directory)?;
    // The directory is not complete before it is purged again: no gateway can serve from it.
    if let Some(folder) = &options.receipts {
        let runtime = current_thread()?;
        let (receipts, removed) = runtime.block_on(repurge::purge_again(&settings, folder, trusted))?;
        eprintln!("Purged again by {receipts} receipts: {removed} items.");
    }
    making.finish().map_err(anyhow::Error::from)?;
    let data_dir = settings.data_dir.display();
    if shared.json {
        println!(
            "{}",
            json!({"restored": settings.data_dir, "database": manifest.database, "made_unix_ms": manifest.made_unix_ms})
        );
    } else {
        println!("{data_dir} is restored.");
    }
    let has_key = settings.data_dir.join(MASTER_KEY_FILE).exists();
    if !has_key {
        eprintln!(
            "No master key came with it: put the installation's own at {data_dir}/{MASTER_KEY_FILE}, or name it with TIDEGATE_MASTER_KEY_FILE."
        );
    }
    eprintln!(
        "Next: tidegate ledger verify --data-dir {data_dir}, then tidegate serve --data-dir {data_dir}"
    );
    Ok(())
}

fn bring_back(
    options: &Restore,
    settings: &Settings,
    url: Option<&str>,
    manifest: &Manifest,
    directory: &Path,
) -> anyhow::Result<()> {
    match (manifest.database.as_str(), url) {
        ("sqlite", None) => {}
        ("postgres", Some(url)) if manifest.has(ROWS) => {
            current_thread()?.block_on(store::restore(&url.parse()?, &options.from.join(ROWS)))?;
        }
        ("postgres", Some(url)) => {
            current_thread()?.block_on(Tools::of(url)?.restore(&options.from.join(DUMP)))?;
        }
        ("sqlite", Some(_)) => bail!("this backup is of SQLite: leave TIDEGATE_DATABASE_URL out"),
        _ => bail!("this backup is of PostgreSQL: set TIDEGATE_DATABASE_URL to an empty database"),
    }
    fs::create_dir_all(data_dir::journal(directory))?;
    let kept: Vec<_> =
        manifest.files.iter().filter(|entry| ![DUMP, ROWS].contains(&entry.name.as_str())).collect();
    let (progress, all) = (Progress::new(false), kept.iter().map(|entry| entry.bytes).sum());
    let here = Cell::new(0);
    let on_bytes = |bytes: u64| {
        here.set(here.get() + bytes);
        progress.moved(here.get(), all);
    };
    for entry in kept {
        archive::copy_out(&options.from, &entry.name, &directory.join(&entry.name), &on_bytes)?;
    }
    progress.end_line();
    if let Some(file) = &options.master_key {
        if manifest.has(MASTER_KEY_FILE) {
            bail!("the backup has its master key: leave --master-key out");
        }
        let name = file.file_name().and_then(|name| name.to_str()).context("--master-key names no file")?;
        let beside = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        archive::copy_out(beside, name, &directory.join(MASTER_KEY_FILE), &|_| ())?;
    }
    // A master key that does not open the secrets is found before the directory is complete, not by the first
    // request.
    if directory.join(MASTER_KEY_FILE).exists() {
        let runtime = current_thread()?;
        runtime
            .block_on(server_state::unseals(settings))
            .context("the master key does not open this backup's secrets")?;
    }
    Ok(())
}

/// Also returns the database's address as it was given, since the parsed one shows no password.
fn settings_of(flags: &SettingFlags) -> Result<(Settings, Option<String>), Failure> {
    let layers = flags.layers()?;
    let settings =
        Settings::check(&layers).map_err(|error| Failure::new(output::USAGE, error.to_string()))?;
    let url = Some(layers.text("database").to_owned()).filter(|url| !url.is_empty());
    Ok((settings, url))
}

fn current_thread() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn directories(path: &Path) -> anyhow::Result<Vec<String>> {
    entry_names(path, true)
}

fn files(path: &Path) -> anyhow::Result<Vec<String>> {
    entry_names(path, false)
}

fn entry_names(path: &Path, wants_directories: bool) -> anyhow::Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("can't read {}", path.display()))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir() == wants_directories) {
            names.extend(entry.file_name().to_str().map(str::to_owned));
        }
    }
    names.sort();
    Ok(names)
}

fn restrict(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(fs::File::open(path)?.sync_all()?)
}
