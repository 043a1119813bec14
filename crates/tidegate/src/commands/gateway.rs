//! `tidegate gateway`: a data plane, which serves what a control plane elsewhere configures.

use cli::output::{self, Failure};
use store::datadir::DataDir;

use super::serve;
use crate::data_plane;
use crate::settings::Settings;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The control plane's address, such as https://gateway.example. Needed at the first start only.
    #[arg(long, value_name = "URL")]
    control: Option<String>,
    /// The token from `tidegate data-planes invite`. Needed at the first start only. Other users of this machine can read a
    /// command line, so prefer `TIDEGATE_DATA_PLANE_TOKEN`.
    #[arg(long, env = "TIDEGATE_DATA_PLANE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    #[command(flatten)]
    settings: serve::SettingFlags,
}

pub fn run(options: &Options) -> Result<(), Failure> {
    let settings = Settings::check(&options.settings.layers()?)
        .map_err(|error| Failure::new(output::USAGE, error.to_string()))?;
    let usage = |message: String| Err(Failure::new(output::USAGE, message));
    if settings.database.is_some() {
        return usage(
            "A data plane has its database in its data directory: leave --database and TIDEGATE_DATABASE_URL out."
                .to_owned(),
        );
    }
    let data_dir = settings.data_dir.display();
    let found = store::datadir::inspect(&settings.data_dir).map_err(anyhow::Error::from)?;
    match (found, data_plane::membership(&settings)?, &options.control, &options.token) {
        (DataDir::Empty, _, Some(control), Some(token)) => {
            data_plane::join(&settings, control.trim().trim_end_matches('/'), token.trim())?;
        }
        (DataDir::Empty, ..) => {
            return usage(format!(
                "{data_dir} has not joined a control plane: give --control and --token. `tidegate data-planes invite NAME` makes \
                 a token."
            ));
        }
        (DataDir::Ready, None, ..) => {
            return usage(format!(
                "{data_dir} is an installation with a control plane of its own. Choose another --data-dir for a data plane."
            ));
        }
        (DataDir::Ready, Some(membership), Some(control), _)
            if membership.control != control.trim().trim_end_matches('/') =>
        {
            return usage(format!(
                "{data_dir} has joined {}. Choose another --data-dir to join {control}.",
                membership.control
            ));
        }
        (DataDir::Ready, Some(membership), _, Some(token))
            if membership
                .token_digest
                .as_ref()
                .is_some_and(|digest| *digest != data_plane::token_digest(token.trim())) =>
        {
            return usage(format!(
                "{data_dir} has joined as {} of {} with another token, and a data plane serves one workspace. Choose another \
                 --data-dir to join with this token, or leave it out.",
                membership.name, membership.workspace_id
            ));
        }
        (DataDir::Ready, Some(_), ..) => {}
    }
    serve::start(&settings)
}
