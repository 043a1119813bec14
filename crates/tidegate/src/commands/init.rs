//! `tidegate init`: a data directory with its master key, database, first workspace, project and keys.

use std::path::PathBuf;

use cli::output::{self, Failure};
use cli::shared::Shared;
use world::World;

use super::serve::SettingFlags;
use crate::founding;
use crate::settings::Settings;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The directory to create.
    #[arg(long, env = "TIDEGATE_DATA_DIR", default_value = "./data")]
    data_dir: PathBuf,
    /// A PostgreSQL database to initialize, instead of SQLite in the directory; prefer `TIDEGATE_DATABASE_URL`.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// The email that the owner signs in with; it can be changed later.
    #[arg(long, default_value = control::OWNER_EMAIL)]
    email: String,
}

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let flags = SettingFlags {
        data_dir: Some(options.data_dir.clone()),
        database: options.database.clone(),
        ..SettingFlags::default()
    };
    let settings =
        Settings::check(&flags.layers()?).map_err(|error| Failure::new(output::USAGE, error.to_string()))?;
    let email = control::checked_email(&options.email)
        .map_err(|fault| Failure::new(output::USAGE, format!("--email: {fault}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let founded = runtime.block_on(founding::create_or_join(&settings, &World::system(), &email))?;
    let Some(founded) = founded else {
        // On a shared database, the keys were shown when the first gateway was set up.
        let database = settings.database.map(|address| address.to_string()).unwrap_or_default();
        if shared.json {
            println!("{}", serde_json::json!({"joined": database}));
        } else {
            println!("{} is ready. It joins {database}.", options.data_dir.display());
        }
        return Ok(());
    };
    if shared.json {
        let line = serde_json::to_string(&founded).map_err(anyhow::Error::from)?;
        println!("{line}");
    } else {
        println!("{} is ready. These keys are shown once:", options.data_dir.display());
        println!("  workspace  {}", founded.workspace_id);
        println!("  project    {}", founded.project_id);
        println!("  admin key  {}", founded.admin_key);
        println!("  API key    {}", founded.api_key);
        println!("Next: tidegate serve --data-dir {}", options.data_dir.display());
    }
    Ok(())
}
