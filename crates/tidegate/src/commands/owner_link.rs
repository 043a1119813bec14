//! `tidegate login --link --data-dir`: a link that signs the owner in, made on the machine that runs the gateway.

use std::path::Path;

use cli::commands::login::show_link;
use cli::output::{self, Failure};
use cli::shared::Shared;
use serde_json::json;

use super::serve::SettingFlags;
use crate::server_state;
use crate::settings::Settings;

pub fn run(shared: &Shared, data_dir: &Path) -> Result<(), Failure> {
    let flags = SettingFlags { data_dir: Some(data_dir.to_owned()), ..SettingFlags::default() };
    let settings =
        Settings::check(&flags.layers()?).map_err(|error| Failure::new(output::USAGE, error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let path = runtime.block_on(server_state::owners_link(&settings))?;
    // The address comes from the directory's own settings, unless another one is given.
    let base = match &shared.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => settings.site()?.base_url(&http::HeaderMap::new()),
    };
    show_link(shared, &json!({"sign_in_link": format!("{base}{path}")}));
    Ok(())
}
