//! `tidegate route`: routing rules, which are part of the workspace and not of the calling code.

use domain::ModelPattern;
use serde_json::Value;

use super::dry_run::{self, Sample};
use crate::api::Api;
use crate::body::Body;
use crate::collection::Collection;
use crate::limits::COVERED_LISTED_MAX;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Adds a route. Without any scope it is the workspace's default.
    Add(Box<Rule>),
    /// Lists routes.
    List,
    /// Shows one route.
    Show { id: String },
    /// Changes a route; omitted fields don't change.
    Set {
        id: String,
        #[command(flatten)]
        rule: Box<Rule>,
    },
    /// Removes a route.
    Remove { id: String },
    /// Lists the versions of a route, newest first, and what each one changed.
    Versions { id: String },
    /// Shows what differs between two versions of a route.
    Diff {
        id: String,
        /// The older version's number; by default the one before --to.
        #[arg(long)]
        from: Option<u64>,
        /// The newer version's number; by default the newest.
        #[arg(long)]
        to: Option<u64>,
    },
    /// Shows what a new, changed or removed route would have changed for stored requests, without sending anything.
    Try {
        /// The route to change, with the other options as its new fields.
        #[arg(long)]
        id: Option<String>,
        /// Tries removing the route.
        #[arg(long, requires = "id")]
        remove: bool,
        #[command(flatten)]
        rule: Box<Rule>,
        #[command(flatten)]
        sample: Sample,
    },
    /// Restores an earlier version of a route.
    Rollback {
        id: String,
        /// The number of the version to restore, as listed by `versions`.
        #[arg(value_name = "VERSION")]
        number: u64,
    },
}

#[derive(Debug, clap::Args)]
pub struct Rule {
    /// A model's name: exact unless it ends in `*` or `/`, as in `openai/gpt-4o*` or `openai/`. The longest match wins.
    #[arg(long, help_heading = "Scope")]
    model: Option<String>,
    /// The name of an alias; takes precedence over a model.
    #[arg(long, help_heading = "Scope")]
    alias: Option<String>,
    /// The kind of model: chat, embedding, image, video, audio, realtime, rerank or moderation.
    #[arg(long, help_heading = "Scope")]
    modality: Option<String>,
    /// The provider that a request pins, or else the model's own publisher; --seller says who may serve it.
    #[arg(long, help_heading = "Scope")]
    provider: Option<String>,
    #[arg(long, help_heading = "Scope")]
    environment: Option<String>,
    #[arg(long, help_heading = "Scope")]
    project: Option<String>,
    #[arg(long, help_heading = "Scope")]
    key: Option<String>,
    /// The tag that a request sends in `Agent-Hints`.
    #[arg(long, help_heading = "Scope")]
    tag: Option<String>,
    #[command(flatten)]
    when: When,
    /// How the allowed targets are ordered: none (default), committed-first, cheapest, fastest, balanced, local-first or
    /// byok-strict.
    #[arg(long, help_heading = "Targets and order")]
    strategy: Option<String>,
    /// byok, byoc, managed, in order of preference.
    #[arg(long = "profile", value_delimiter = ',', help_heading = "Targets and order")]
    profiles: Vec<String>,
    /// Providers that sell the model, in order of preference.
    #[arg(long = "seller", value_delimiter = ',', help_heading = "Targets and order")]
    providers: Vec<String>,
    #[arg(long = "credential", value_delimiter = ',', help_heading = "Targets and order")]
    credential_ids: Vec<String>,
    #[arg(long = "region", value_delimiter = ',', help_heading = "Targets and order")]
    regions: Vec<String>,
    #[arg(long = "node-label", value_delimiter = ',', help_heading = "Targets and order")]
    node_labels: Vec<String>,
    /// What serves when your own credentials have failed: never (default) or managed.
    #[arg(long, help_heading = "Fallback and overload")]
    byok_fallback: Option<String>,
    /// The failures that the fallback may follow: auth, quota, `rate_limit`, overloaded, upstream, timeout; with `model_missing`,
    /// requests continue to other routes if nothing of this one has the model.
    #[arg(long = "fallback-on", value_delimiter = ',', help_heading = "Fallback and overload")]
    fallback_on: Vec<String>,
    /// Another model to try after a failure, such as `context_length=openai/gpt-4.1` or `content_policy,outage=MODEL`; may be
    /// repeated, in order.
    #[arg(long = "model-fallback", value_parser = model_fallback, value_name = "WHEN=MODEL", help_heading = "Fallback and overload")]
    model_fallbacks: Vec<Value>,
    /// Where requests go when your own credentials have no capacity left: managed, or own:ID for a credential.
    #[arg(long, value_name = "WHERE", help_heading = "Fallback and overload")]
    overflow: Option<String>,
    /// `allowed` lets the operator's emergency account serve when all other accounts of the pool have failed.
    #[arg(long, help_heading = "Fallback and overload")]
    emergency: Option<String>,
    /// `drop` drops and reports a provider's own tools (`web_search`, `file_search`, …) that the target lacks; by default, such
    /// a request is refused.
    #[arg(long, help_heading = "Targets and order")]
    hosted_tools: Option<String>,
    /// The highest priority that its requests can have under overload, from 0 (refused first) to 255.
    #[arg(long, help_heading = "Fallback and overload")]
    priority: Option<u8>,
}

/// Facts of a request that must hold, too.
#[derive(Debug, clap::Args)]
struct When {
    /// Prompts of at least this many tokens, estimated as a quarter of their bytes.
    #[arg(long, help_heading = "Conditions")]
    prompt_tokens_min: Option<u64>,
    #[arg(long, help_heading = "Conditions")]
    prompt_tokens_max: Option<u64>,
    /// Requests with tools (true) or without (false).
    #[arg(long, help_heading = "Conditions")]
    has_tools: Option<bool>,
    /// The weekdays of the time window, mon to sun; by default every day.
    #[arg(long, value_delimiter = ',', help_heading = "Conditions")]
    weekdays: Vec<String>,
    /// The time of day when the route starts to apply, such as 22:00. A window may span midnight.
    #[arg(long, help_heading = "Conditions")]
    from: Option<String>,
    /// The time of day when the route stops applying.
    #[arg(long, help_heading = "Conditions")]
    to: Option<String>,
    /// The time window's offset from UTC, such as +02:00; by default UTC.
    #[arg(long, help_heading = "Conditions", allow_hyphen_values = true)]
    utc_offset: Option<String>,
    /// An entry in the request's metadata, as name=value; may be repeated.
    #[arg(long = "metadata", value_parser = entry, help_heading = "Conditions")]
    metadata: Vec<(String, String)>,
    #[arg(long, help_heading = "Conditions")]
    end_user: Option<String>,
}

fn entry(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The failures and the model that follows them.
fn model_fallback(text: &str) -> Result<Value, String> {
    let (on, model) = text.split_once('=').ok_or("write it as WHEN=MODEL")?;
    // The words of the API have underscores.
    let on: Vec<String> = on.split(',').map(|class| class.trim().replace('-', "_")).collect();
    Ok(Body::new().with_list("on", &on).with("model", model).build())
}

impl When {
    /// `None` without any condition.
    fn body(&self) -> Option<Value> {
        let time = Body::new()
            .with_list("weekdays", &self.weekdays)
            .with_some("from", self.from.as_ref())
            .with_some("to", self.to.as_ref())
            .with_some("utc_offset", self.utc_offset.as_ref())
            .build();
        let metadata = self.metadata.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        let metadata = Value::Object(metadata.collect());
        let when = Body::new()
            .with_some("prompt_tokens_min", self.prompt_tokens_min)
            .with_some("prompt_tokens_max", self.prompt_tokens_max)
            .with_some("has_tools", self.has_tools)
            .with_some("time", filled(time))
            .with_some("metadata", filled(metadata))
            .with_some("end_user", self.end_user.as_ref())
            .build();
        filled(when)
    }
}

/// The object, unless it is empty.
fn filled(object: Value) -> Option<Value> {
    Some(object).filter(|object| object.as_object().is_some_and(|members| !members.is_empty()))
}

impl Rule {
    fn body(&self) -> Value {
        let scope = Body::new()
            .with_some("model", self.model.as_ref())
            .with_some("alias", self.alias.as_ref())
            .with_some("modality", self.modality.as_ref())
            .with_some("provider", self.provider.as_ref())
            .with_some("environment", self.environment.as_ref())
            .with_some("project_id", self.project.as_ref())
            .with_some("key_id", self.key.as_ref())
            .with_some("tag", self.tag.as_ref())
            .build();
        // The words of the API have underscores.
        let strategy = self.strategy.as_ref().map(|name| name.replace('-', "_"));
        let fallbacks = Some(&self.model_fallbacks).filter(|listed| !listed.is_empty()).cloned();
        Body::new()
            .with_some("scope", filled(scope))
            .with_some("when", self.when.body())
            .with_some("strategy", strategy)
            .with_list("profiles", &self.profiles)
            .with_list("providers", &self.providers)
            .with_list("credential_ids", &self.credential_ids)
            .with_list("regions", &self.regions)
            .with_list("node_labels", &self.node_labels)
            .with_list("fallback_on", &self.fallback_on)
            .with_some("model_fallbacks", fallbacks)
            .with_some("byok_fallback", self.byok_fallback.as_ref())
            .with_some("overflow", self.overflow.as_ref())
            .with_some("emergency", self.emergency.as_ref())
            .with_some("hosted_tools", self.hosted_tools.as_ref())
            .with_some("priority", self.priority)
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
            &["id", "scope", "when", "strategy", "profiles", "providers", "credential_ids", "byok_fallback"],
            "No routes: own credentials serve first, then nodes, then managed accounts.",
        )?,
        Command::Show { id } => routes.show(&id)?,
        Command::Set { id, rule } => {
            routes.change(&id, &rule.body())?;
            print_covered(shared, &routes.api, rule.model.as_deref())?;
        }
        Command::Remove { id } => routes.remove(&id)?,
        Command::Versions { id } => {
            let page = routes.api.get(&format!("{}/versions", routes.at(&id)))?;
            if shared.json {
                println!("{page}");
            } else {
                print_versions(&page, ["version", "saved_at", "saved_by"]);
            }
        }
        Command::Diff { id, from, to } => {
            let sides = [("from", from), ("to", to)];
            let query: Vec<String> =
                sides.iter().filter_map(|(name, number)| Some(format!("{name}={}", (*number)?))).collect();
            let path = format!("{}/diff?{}", routes.at(&id), query.join("&"));
            let difference = routes.api.get(&path)?;
            if shared.json {
                println!("{difference}");
            } else {
                let of = |name: &str| output::printable(&output::cell(&difference, name));
                println!("version {} -> {}", of("from"), of("to"));
                print_changes(&difference);
            }
        }
        Command::Try { id, remove, rule, sample } => {
            let body = Body::new().with_some("route_id", id);
            let body =
                if remove { body.with("remove", true) } else { body.with("route", rule.body()) }.build();
            dry_run::run(shared, &routes.api, &format!("{PATH}/dry-run"), &body, &sample)?;
        }
        Command::Rollback { id, number } => {
            let path = format!("{}/rollback", routes.at(&id));
            let body = Body::new().with("version", number).build();
            output::object(shared, &routes.api.post(&path, &body)?);
        }
    }
    Ok(())
}

/// Shows each version with what differs from the one before.
pub(super) fn print_versions(page: &Value, [number, moment, author]: [&str; 3]) {
    let list =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    for version in list(page, "data") {
        let cell = |name: &str| output::printable(&output::cell(&version, name));
        println!("{:<4} {}  {}", cell(number), cell(moment), cell(author));
        print_changes(&version);
    }
}

/// Shows the fields that differ.
pub(super) fn print_changes(of: &Value) {
    for change in of.get("changes").and_then(Value::as_array).into_iter().flatten() {
        let of = |name: &str| output::printable(&change.get(name).map_or_else(String::new, Value::to_string));
        println!(
            "     {}: {} -> {}",
            output::printable(&output::cell(change, "field")),
            of("before"),
            of("after")
        );
    }
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
