//! Runs `pg_dump` and `pg_restore`; the password is passed through the environment, never as an argument.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use url::Url;

/// The environment with which the tools reach a database.
pub struct Tools {
    environment: Vec<(&'static str, String)>,
}

/// Where Debian installs the tools of each server version.
const VERSIONS: &str = "/usr/lib/postgresql";

impl Tools {
    /// # Errors
    /// The address can't be parsed; the error does not repeat it.
    pub fn of(url: &str) -> anyhow::Result<Self> {
        let url = Url::parse(url).map_err(|_| anyhow::anyhow!("the database's address can't be read"))?;
        let plain = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let mut environment = vec![
            ("PGHOST", url.host_str().map(plain).unwrap_or_default()),
            ("PGPORT", url.port().map(|port| port.to_string()).unwrap_or_default()),
            ("PGUSER", plain(url.username())),
            ("PGPASSWORD", url.password().map(plain).unwrap_or_default()),
            ("PGDATABASE", plain(url.path().trim_start_matches('/'))),
        ];
        for (name, value) in url.query_pairs() {
            let variable = match &*name {
                "host" => "PGHOST",
                "sslmode" => "PGSSLMODE",
                "sslrootcert" => "PGSSLROOTCERT",
                "sslcert" => "PGSSLCERT",
                "sslkey" => "PGSSLKEY",
                _ => continue,
            };
            environment.retain(|(known, _)| *known != variable);
            environment.push((variable, value.into_owned()));
        }
        environment.retain(|(_, value)| !value.is_empty());
        Ok(Self { environment })
    }

    /// Whether `pg_dump` is installed.
    pub fn can_dump() -> bool {
        on_path("pg_dump") || find_tool("pg_dump").is_some()
    }

    /// Dumps a consistent snapshot of the database, while others write to it.
    ///
    /// # Errors
    /// The tool is missing, or fails.
    pub async fn dump(&self, to: &Path) -> anyhow::Result<()> {
        let mut command = self.command("pg_dump");
        command.args(["--format=custom", "--no-owner", "--no-acl", "--file"]).arg(to);
        run(command, "pg_dump").await
    }

    /// Restores into an empty database, in one transaction.
    ///
    /// # Errors
    /// The tool is missing, the database is not empty, or the tool fails.
    pub async fn restore(&self, from: &Path) -> anyhow::Result<()> {
        self.refuse_full()?;
        let mut command = self.command("pg_restore");
        let database =
            self.environment.iter().find(|(name, _)| *name == "PGDATABASE").map(|(_, value)| value.clone());
        command.args(["--no-owner", "--no-acl", "--single-transaction", "--exit-on-error", "--dbname"]);
        // Only the name; everything else is in the environment.
        command.arg(database.context("the database's address names no database")?).arg(from);
        run(command, "pg_restore").await
    }

    fn refuse_full(&self) -> anyhow::Result<()> {
        let mut command = self.command("psql");
        command.args(["--no-psqlrc", "--tuples-only", "--no-align", "--command"]);
        command.arg("SELECT COUNT(*) FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace");
        let output = command.output().context("psql can't be run")?;
        if !output.status.success() {
            bail!("the database can't be asked: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        if String::from_utf8_lossy(&output.stdout).trim() != "0" {
            bail!("the database is not empty: a backup is restored into an empty one");
        }
        Ok(())
    }

    fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(find_tool(tool).unwrap_or_else(|| PathBuf::from(tool)));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

domain::brief_debug!(Tools as "Tools");

/// The newest installed version, if the tool is not on the path: an older tool refuses a newer server.
fn find_tool(tool: &str) -> Option<PathBuf> {
    if on_path(tool) {
        return None;
    }
    let versions = std::fs::read_dir(VERSIONS).ok()?;
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let mut homes: Vec<_> =
        versions.flatten().map(|entry| entry.path()).filter(|path| version(path).is_some()).collect();
    homes.sort_by_key(version);
    homes.into_iter().rev().map(|home| home.join("bin").join(tool)).find(|file| file.is_file())
}

fn on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(tool).is_file())
}

async fn run(command: Command, tool: &str) -> anyhow::Result<()> {
    let output = tokio::process::Command::from(command).output().await.with_context(|| {
        format!("{tool} can't be run: install PostgreSQL's client tools (Debian: apt-get install postgresql-client)")
    })?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{tool} failed: {}", String::from_utf8_lossy(&output.stderr).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_becomes_an_environment() {
        let tools =
            Tools::of("postgres://tide:p%40ss@db.example:6432/books?sslmode=require&host=/run/pg").unwrap();
        let of = |name| {
            tools.environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
        };
        assert_eq!(
            (of("PGUSER"), of("PGPASSWORD"), of("PGPORT")),
            (Some("tide"), Some("p@ss"), Some("6432"))
        );
        assert_eq!(
            (of("PGDATABASE"), of("PGSSLMODE"), of("PGHOST")),
            (Some("books"), Some("require"), Some("/run/pg"))
        );
        assert!(!format!("{tools:?}").contains("p@ss"));
        assert!(
            Tools::of("nonsense:hunter2")
                .map_or_else(|error| !error.to_string().contains("hunter2"), |_| true)
        );
    }
}
