//! `tidegate alias`: model names of your own, each of which points at one release of targets.

use serde_json::{Value, json};

use crate::body::Body;
use crate::collection::Collection;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Adds an alias. Its targets are its first release.
    Add {
        name: String,
        #[command(flatten)]
        release: ReleaseArgs,
        /// The only project whose requests may use it; for them it wins over the workspace's of the same name.
        #[arg(long)]
        project: Option<String>,
        #[arg(long)]
        description: Option<String>,
    },
    /// Lists aliases.
    List,
    /// Shows one alias, with its releases and what was measured of them.
    Show { alias: String },
    /// Installs a release, which never changes. It takes effect when it is promoted or becomes the canary.
    Release {
        alias: String,
        #[command(flatten)]
        release: ReleaseArgs,
        /// Makes it the active release at once.
        #[arg(long)]
        activate: bool,
    },
    /// Gives a release a part of the callers. Once it leaves its gates it is withdrawn.
    Canary(Canary),
    /// Makes a release the active one: the named one, else the canary's, else the newest.
    Promote {
        alias: String,
        /// The release (`alr_…`).
        release: Option<String>,
    },
    /// Withdraws the canary or, without one, makes the release before the active one active again.
    Rollback { alias: String },
    /// Removes an alias and its releases.
    Remove { alias: String },
}

#[derive(Debug, clap::Args)]
pub struct ReleaseArgs {
    /// A model, with its weight behind an equals sign: `openai/gpt-5=90`. Without one the weight is 1.
    #[arg(long = "target", required = true)]
    targets: Vec<String>,
    /// Takes the first target that something serves, instead of splitting by weight.
    #[arg(long)]
    ordered: bool,
    /// What the release is for.
    #[arg(long)]
    note: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Canary {
    alias: String,
    /// The release (`alr_…`); may be left out to change a canary that is under way.
    #[arg(long)]
    release: Option<String>,
    /// The share of the callers.
    #[arg(long)]
    percent: Option<u8>,
    /// The highest share of requests that may fail, in hundredths of a per cent; 10000 checks nothing.
    #[arg(long)]
    error_bps_max: Option<u32>,
    #[arg(long)]
    latency_p95_ms_max: Option<u64>,
    #[arg(long)]
    first_byte_p95_ms_max: Option<u64>,
    /// It is not judged before this many requests.
    #[arg(long)]
    requests_min: Option<u32>,
    /// How far back requests count, in seconds.
    #[arg(long)]
    window_s: Option<u32>,
}

impl ReleaseArgs {
    fn body(self, body: Body) -> Result<Body, Failure> {
        let targets = self.targets.iter().map(|text| target(text)).collect::<Result<Vec<_>, _>>()?;
        Ok(body
            .with("targets", targets)
            .with("split", if self.ordered { "ordered" } else { "weighted" })
            .with_some("note", self.note))
    }
}

fn target(text: &str) -> Result<Value, Failure> {
    let Some((model, weight)) = text.rsplit_once('=') else { return Ok(json!({"model": text, "weight": 1})) };
    let weight: u32 = weight.parse().map_err(|_| {
        Failure::new(
            output::USAGE,
            format!("{text}: behind the equals sign stands the weight, a whole number."),
        )
    })?;
    Ok(json!({"model": model, "weight": weight}))
}

impl Canary {
    fn body(&self) -> Value {
        Body::new()
            .with_some("release_id", self.release.as_ref())
            .with_some("percent", self.percent)
            .with_some("error_bps_max", self.error_bps_max)
            .with_some("latency_p95_ms_max", self.latency_p95_ms_max)
            .with_some("first_byte_p95_ms_max", self.first_byte_p95_ms_max)
            .with_some("requests_min", self.requests_min)
            .with_some("window_s", self.window_s)
            .build()
    }
}

const PATH: &str = "/v2/model-aliases";

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let aliases = Collection::connect(shared, PATH)?;
    let (api, at) = (&aliases.api, |id: &str| aliases.at(id));
    match command {
        Command::Add { name, release, project, description } => {
            let body = Body::new().with("name", name).with_some("project_id", project);
            aliases.create(&release.body(body.with_some("description", description))?.build())?;
        }
        Command::List => aliases.list(
            &["id", "name", "project_id", "split", "targets", "release_id", "canary"],
            "No aliases. `tidegate alias add code.best --target openai/gpt-5` adds one.",
        )?,
        Command::Show { alias } => show(shared, &aliases, &alias)?,
        Command::Release { alias, release, activate } => {
            let body = release.body(Body::new().with("activate", activate))?.build();
            output::object(shared, &api.post(&format!("{}/releases", at(&alias)), &body)?);
        }
        Command::Canary(canary) => aliases.change(&canary.alias, &json!({"canary": canary.body()}))?,
        Command::Promote { alias, release } => {
            let body = Body::new().with_some("release_id", release).build();
            output::object(shared, &api.post(&format!("{}/promote", at(&alias)), &body)?);
        }
        Command::Rollback { alias } => {
            output::object(shared, &api.post(&format!("{}/rollback", at(&alias)), &json!({}))?);
        }
        Command::Remove { alias } => aliases.remove(&alias)?,
    }
    Ok(())
}

fn show(shared: &Shared, aliases: &Collection<'_>, alias: &str) -> Result<(), Failure> {
    aliases.show(alias)?;
    if shared.json {
        return Ok(());
    }
    let at = aliases.at(alias);
    let releases = aliases.api.get(&format!("{at}/releases"))?;
    output::list(
        shared,
        &releases,
        &["id", "number", "status", "split", "targets", "note", "created_at"],
        "",
    );
    let measured = aliases.api.get(&format!("{at}/measurements"))?;
    let columns = [
        "release_id",
        "status",
        "requests",
        "errors",
        "error_bps",
        "latency_p95_ms",
        "first_byte_p95_ms",
        "since",
    ];
    output::list(shared, &measured, &columns, "");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_its_weight_behind_an_equals_sign() {
        for (text, model, weight) in [
            ("openai/gpt-5", "openai/gpt-5", 1),
            ("openai/gpt-5=90", "openai/gpt-5", 90),
            ("own:a=b=0", "own:a=b", 0),
        ] {
            assert_eq!(target(text).unwrap(), json!({"model": model, "weight": weight}), "{text}");
        }
        assert_eq!(target("openai/gpt-5=much").unwrap_err().code, output::USAGE);
    }
}
