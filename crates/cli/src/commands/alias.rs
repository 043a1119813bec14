//! `tidegate alias`: model names of your own, each of which points at one release of targets.

use serde_json::{Value, json};

use super::dry_run::{self, Sample};
use super::policy::parameters;
use super::route::print_changes;
use crate::api::escape;
use crate::body::Body;
use crate::collection::Collection;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Adds an alias. Its targets are its first release.
    Add {
        /// The alias, which clients send as the model's name.
        name: String,
        #[command(flatten)]
        release: ReleaseArgs,
        /// The only project whose requests may use it; there it overrides a workspace alias of the same name.
        #[arg(long)]
        project: Option<String>,
        #[arg(long)]
        description: Option<String>,
    },
    /// Lists aliases.
    List,
    /// Shows one alias, with its releases and their measurements.
    Show { alias: String },
    /// Installs a release, which never changes. It takes effect when it is promoted or becomes the canary.
    Release {
        alias: String,
        #[command(flatten)]
        release: ReleaseArgs,
        /// Makes it the active release immediately.
        #[arg(long)]
        activate: bool,
    },
    /// Shows what differs between two releases.
    Diff {
        alias: String,
        /// A release (`alr_…`); by default the one that was active before.
        #[arg(long)]
        from: Option<String>,
        /// Another release; by default the active one.
        #[arg(long)]
        to: Option<String>,
    },
    /// Shows what a release would have changed for stored requests that named the alias, without sending anything.
    Try(Box<Try>),
    /// Sends a share of the callers to a release, which is withdrawn automatically if it fails its gates.
    Canary(Canary),
    /// Makes a release the active one: the named one, else the canary's, else the newest.
    Promote {
        alias: String,
        /// The release (`alr_…`).
        release: Option<String>,
    },
    /// Withdraws the canary or, if there is none, goes back to the previous active release.
    Rollback { alias: String },
    /// Removes an alias and its releases.
    Remove { alias: String },
}

#[derive(Debug, clap::Args)]
pub struct Try {
    alias: String,
    /// An installed release (`alr_…`), instead of targets.
    #[arg(long, conflicts_with = "targets")]
    release: Option<String>,
    /// A model with its weight, such as `openai/gpt-5=90`.
    #[arg(long = "target", required_unless_present = "release")]
    targets: Vec<String>,
    /// Uses the first target that can be served, instead of splitting by weight.
    #[arg(long, conflicts_with = "release")]
    ordered: bool,
    /// Tries it as a canary for this percentage of the callers; by default for all.
    #[arg(long)]
    percent: Option<u8>,
    #[command(flatten)]
    sample: Sample,
}

#[derive(Debug, clap::Args)]
pub struct ReleaseArgs {
    /// A model with its weight, such as `openai/gpt-5=90`; the default weight is 1.
    #[arg(long = "target", required = true)]
    targets: Vec<String>,
    /// Uses the first target that can be served, instead of splitting by weight.
    #[arg(long)]
    ordered: bool,
    /// Bounds for a numeric parameter. DEFAULT is sent if a request sets none; with clamp, a value outside is moved to the
    /// nearest bound instead of refused.
    #[arg(long = "parameter", value_name = "NAME=MIN..MAX[:DEFAULT][:clamp]")]
    parameters: Vec<String>,
    /// What the release is for.
    #[arg(long)]
    note: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Canary {
    alias: String,
    /// The release (`alr_…`); optional when you change a running canary.
    #[arg(long)]
    release: Option<String>,
    /// The percentage of the callers.
    #[arg(long)]
    percent: Option<u8>,
    /// The highest share of requests that may fail, in hundredths of a percent; 10000 disables the check.
    #[arg(long)]
    error_bps_max: Option<u32>,
    #[arg(long)]
    latency_p95_ms_max: Option<u64>,
    #[arg(long)]
    first_byte_p95_ms_max: Option<u64>,
    /// The number of requests before the gates are checked.
    #[arg(long)]
    requests_min: Option<u32>,
    /// How far back the gates look, in seconds.
    #[arg(long)]
    window_s: Option<u32>,
}

impl ReleaseArgs {
    fn body(self, body: Body) -> Result<Body, Failure> {
        Ok(body
            .with("targets", targets(&self.targets)?)
            .with_some("parameters", parameters(&self.parameters)?)
            .with("split", if self.ordered { "ordered" } else { "weighted" })
            .with_some("note", self.note))
    }
}

impl Try {
    fn body(&self) -> Result<Value, Failure> {
        let body = Body::new().with_some("percent", self.percent);
        let body = match &self.release {
            Some(release) => body.with("release_id", release.as_str()),
            None => body
                .with("targets", targets(&self.targets)?)
                .with("split", if self.ordered { "ordered" } else { "weighted" }),
        };
        Ok(body.build())
    }
}

fn targets(given: &[String]) -> Result<Vec<Value>, Failure> {
    given.iter().map(|text| target(text)).collect()
}

fn target(text: &str) -> Result<Value, Failure> {
    let Some((model, weight)) = text.rsplit_once('=') else { return Ok(json!({"model": text, "weight": 1})) };
    let weight: u32 = weight.parse().map_err(|_| {
        let message = format!("{}: the weight must be a whole number.", output::printable(text));
        Failure::new(output::USAGE, message).fix("Write it as --target openai/gpt-4o=90.")
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
        Command::Diff { alias, from, to } => {
            let sides = [("from", from), ("to", to)];
            let query =
                sides.iter().filter_map(|(name, id)| Some(format!("{name}={}", escape(id.as_ref()?))));
            let path = format!("{}/diff?{}", at(&alias), query.collect::<Vec<_>>().join("&"));
            print_difference(shared, &api.get(&path)?);
        }
        Command::Try(tried) => {
            let path = format!("{}/dry-run", at(&tried.alias));
            dry_run::run(shared, api, &path, &tried.body()?, &tried.sample)?;
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

fn print_difference(shared: &Shared, difference: &Value) {
    if shared.json {
        println!("{difference}");
        return;
    }
    let of = |row: &Value, name: &str| output::printable(&output::cell(row, name));
    println!("{} -> {}", of(difference, "from"), of(difference, "to"));
    for target in difference.get("targets").and_then(Value::as_array).into_iter().flatten() {
        let weights = [of(target, "before"), of(target, "after")].join(" -> ");
        println!("     {} {}: {weights}", of(target, "change"), of(target, "model"));
    }
    print_changes(difference);
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
        &["id", "number", "status", "split", "targets", "note", "capability_manifest_revision", "created_at"],
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
