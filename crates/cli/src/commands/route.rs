//! `tidegate route`: routing rules, which are part of the workspace and not of the calling code.

use domain::ModelPattern;
use serde_json::Value;

use crate::api::Api;
use crate::body::Body;
use crate::collection::Collection;
use crate::limits::COVERED_LISTED_MAX;
use crate::output::Failure;
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Adds a rule. Without any scope it is the workspace's default.
    Add(Box<Rule>),
    /// Lists rules.
    List,
    /// Shows one rule.
    Show { id: String },
    /// Changes a rule; omitted fields stay.
    Set {
        id: String,
        #[command(flatten)]
        rule: Box<Rule>,
    },
    /// Removes a rule.
    Remove { id: String },
}

#[derive(Debug, clap::Args)]
pub struct Rule {
    /// A model's name: exact unless it ends in `*` or `/`, as in `openai/gpt-4o*` or `openai/`. The longest match wins.
    #[arg(long, help_heading = "Scope")]
    model: Option<String>,
    #[arg(long, help_heading = "Scope")]
    provider: Option<String>,
    #[arg(long, help_heading = "Scope")]
    environment: Option<String>,
    #[arg(long, help_heading = "Scope")]
    project: Option<String>,
    #[arg(long, help_heading = "Scope")]
    key: Option<String>,
    /// The tag that a request carries in `Agent-Hints`.
    #[arg(long, help_heading = "Scope")]
    tag: Option<String>,
    /// byok, byoc, `managed_provider`, in order of preference.
    #[arg(long = "profile", value_delimiter = ',')]
    profiles: Vec<String>,
    /// Sellers, in order of preference.
    #[arg(long = "seller", value_delimiter = ',')]
    providers: Vec<String>,
    #[arg(long = "credential", value_delimiter = ',')]
    credential_ids: Vec<String>,
    #[arg(long = "region", value_delimiter = ',')]
    regions: Vec<String>,
    #[arg(long = "node-label", value_delimiter = ',')]
    node_labels: Vec<String>,
    /// What serves when your own credentials have failed: never (default) or managed.
    #[arg(long)]
    byok_fallback: Option<String>,
    /// The failures that the fallback may follow: auth, quota, `rate_limit`, overloaded, upstream, timeout.
    #[arg(long = "fallback-on", value_delimiter = ',')]
    fallback_on: Vec<String>,
    /// `allowed` lets the operator's emergency account serve when all other accounts of the pool have failed.
    #[arg(long)]
    emergency: Option<String>,
}

impl Rule {
    fn body(&self) -> Value {
        let scope = Body::new()
            .with_some("model", self.model.as_ref())
            .with_some("provider", self.provider.as_ref())
            .with_some("environment", self.environment.as_ref())
            .with_some("project_id", self.project.as_ref())
            .with_some("key_id", self.key.as_ref())
            .with_some("tag", self.tag.as_ref())
            .build();
        let has_scope = scope.as_object().is_some_and(|scope| !scope.is_empty());
        Body::new()
            .with_some("scope", has_scope.then_some(scope))
            .with_list("profiles", &self.profiles)
            .with_list("providers", &self.providers)
            .with_list("credential_ids", &self.credential_ids)
            .with_list("regions", &self.regions)
            .with_list("node_labels", &self.node_labels)
            .with_list("fallback_on", &self.fallback_on)
            .with_some("byok_fallback", self.byok_fallback.as_ref())
            .with_some("emergency", self.emergency.as_ref())
            .build()
    }
}

const PATH: &str = "/v2/routes";

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let routes = Collection::connect(shared, PATH)?;
    match command {
        Command::Add(rule) => {
            routes.create(&rule.body())?;
            print_covered(shared, &routes.api, rule.model.as_deref())?;
        }
        Command::List => routes.list(
            &["id", "scope", "profiles", "providers", "credential_ids", "byok_fallback"],
            "No routes: own credentials serve first, then nodes, then managed accounts.",
        )?,
        Command::Show { id } => routes.show(&id)?,
        Command::Set { id, rule } => {
            routes.change(&id, &rule.body())?;
            print_covered(shared, &routes.api, rule.model.as_deref())?;
        }
        Command::Remove { id } => routes.remove(&id)?,
    }
    Ok(())
}

/// Shows the known models that a pattern covers.
fn print_covered(shared: &Shared, api: &Api, model: Option<&str>) -> Result<(), Failure> {
    let Some(pattern) = model.map(ModelPattern::read).filter(|pattern| !pattern.is_exact() && !shared.json)
    else {
        return Ok(());
    };
    let book = api.get("/v2/price-books")?;
    let rows = book.get("data").and_then(Value::as_array);
    let names = rows.into_iter().flatten().filter_map(|row| row.get("model")?.as_str());
    println!("{}", covered(pattern, names));
    Ok(())
}

fn covered<'a>(pattern: ModelPattern<'_>, known: impl Iterator<Item = &'a str>) -> String {
    let is_covered = |name: &str| {
        let bare = name.split_once('/').map_or(name, |(_, bare)| bare);
        pattern.matches(name) || pattern.matches(bare)
    };
    let names: Vec<&str> = known.filter(|name| is_covered(name)).collect();
    let more = match names.len().saturating_sub(COVERED_LISTED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let listed = names.iter().take(COVERED_LISTED_MAX).copied().collect::<Vec<_>>().join(", ");
    if names.is_empty() {
        format!("{} covers no model of the catalogue.", pattern.as_text())
    } else {
        format!("{} covers {listed}{more}.", pattern.as_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_says_what_it_covers() {
        let known = ["openai/gpt-4o", "openai/gpt-4o-mini", "xai/grok-4.5"];
        for (pattern, expected) in [
            ("openai/gpt-4o*", "openai/gpt-4o* covers openai/gpt-4o, openai/gpt-4o-mini."),
            ("gpt-4o-*", "gpt-4o-* covers openai/gpt-4o-mini."),
            ("mistral/", "mistral/ covers no model of the catalogue."),
        ] {
            assert_eq!(covered(ModelPattern::read(pattern), known.into_iter()), expected);
        }
        let many: Vec<String> = (0..10).map(|number| format!("a/{number}")).collect();
        let text = covered(ModelPattern::read("a/"), many.iter().map(String::as_str));
        assert_eq!(text, "a/ covers a/0, a/1, a/2, a/3, a/4, a/5, a/6, a/7 and 2 more.");
    }
}
