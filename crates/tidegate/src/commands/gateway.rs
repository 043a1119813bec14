//! `tidegate gateway`: a data plane, which serves what a control plane elsewhere configures.

use cli::output::{self, Failure};
use dataplane::Membership;
use store::datadir::DataDir;

use super::serve;
use crate::data_plane;
use crate::settings::Settings;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The control plane's address, such as https://gateway.example. Only needed at the first start.
    #[arg(long, value_name = "URL")]
    control: Option<String>,
    /// The token from `tidegate data-planes invite`. Only needed at the first start. Other users of this machine can read a
    /// command line, so prefer `TIDEGATE_DATA_PLANE_TOKEN`.
    #[arg(long, env = "TIDEGATE_DATA_PLANE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Adds the token's workspace to a data plane that already serves another workspace of the same control plane.
    #[arg(long, requires = "token")]
    add_workspace: bool,
    #[command(flatten)]
    settings: serve::SettingFlags,
}

pub fn run(options: &Options) -> Result<(), Failure> {
    let settings = Settings::check(&options.settings.layers()?)
        .map_err(|error| Failure::new(output::USAGE, error.to_string()))?;
    let control = options.control.as_deref().map(|control| control.trim().trim_end_matches('/'));
    let token = options.token.as_deref().map(str::trim);
    let found = store::datadir::inspect(&settings.data_dir).map_err(anyhow::Error::from)?;
    let memberships = data_plane::memberships(&settings)?;
    match (found, memberships.first(), control, token) {
        (DataDir::Empty, _, Some(control), Some(token)) if !options.add_workspace => {
            data_plane::join(&settings, control, token)?;
        }
        (DataDir::Ready, Some(first), control, Some(token)) if !is_known(&memberships, token) => {
            check_same(&settings, first, control)?;
            if !options.add_workspace {
                let message = format!(
                    "{} has joined as {} of {} with another token. To serve the workspace of this token as well, give \
                     --add-workspace; otherwise choose another --data-dir, or leave the token out.",
                    settings.data_dir.display(),
                    first.name,
                    first.workspace_id
                );
                return Err(Failure::new(output::USAGE, message));
            }
            data_plane::add(&settings, (&first.control, token))?;
        }
        (DataDir::Ready, Some(first), control, _) => check_same(&settings, first, control)?,
        (found, ..) => return Err(not_joined(&settings, found)),
    }
    serve::start(&settings)
}

/// Whether one of the memberships came by this token. Older programs kept no digest, and ignored the token.
fn is_known(memberships: &[Membership], token: &str) -> bool {
    let digest = data_plane::token_digest(token);
    memberships.iter().any(|known| known.token_digest.as_ref().is_none_or(|of_it| *of_it == digest))
}

fn check_same(settings: &Settings, first: &Membership, control: Option<&str>) -> Result<(), Failure> {
    match control.filter(|control| *control != first.control) {
        None => Ok(()),
        Some(control) => {
            let data_dir = settings.data_dir.display();
            let joined = &first.control;
            let message =
                format!("{data_dir} has joined {joined}. Choose another --data-dir to join {control}.");
            Err(Failure::new(output::USAGE, message))
        }
    }
}

fn not_joined(settings: &Settings, found: DataDir) -> Failure {
    let data_dir = settings.data_dir.display();
    let message = match found {
        DataDir::Empty => format!(
            "{data_dir} has not joined a control plane: give --control and --token, without --add-workspace. `tidegate data-planes \
             invite NAME` makes a token."
        ),
        DataDir::Ready => format!(
            "{data_dir} is an installation with its own control plane. Choose another --data-dir for a data plane."
        ),
    };
    Failure::new(output::USAGE, message)
}
