//! `tidegate policy`: what the requests of a project, or of all projects, may reach and contain, whatever a route
//! says.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::agreement::retention;
use super::budget::micros_or;
use crate::body::Body;
use crate::collection::Collection;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Creates the policy of a project, or of the workspace. An omitted field allows everything.
    Add {
        #[arg(long, required_unless_present = "workspace")]
        project: Option<String>,
        /// Applies the policy to all projects of the workspace; a project's own policy can only tighten it.
        #[arg(long, conflicts_with = "project")]
        workspace: bool,
        #[command(flatten)]
        rules: Box<Rules>,
    },
    /// Lists policies.
    List,
    /// Shows one policy.
    Show { id: String },
    /// Changes a policy; omitted fields don't change.
    Set {
        id: String,
        #[command(flatten)]
        rules: Box<Rules>,
    },
    /// Creates a new signing secret for a policy's hooks and prints it; the old one also signs for another day.
    Rotate { id: String },
    /// Removes a policy. The remaining policies and routes still apply.
    Remove { id: String },
    /// Counts the requests that policies refused, by project, policy and rule.
    Refusals {
        /// 24h, 7d, 30d or month.
        #[arg(long, default_value = "7d")]
        window: String,
        /// One row per hour or day.
        #[arg(long)]
        interval: Option<String>,
    },
    /// Shows what a project may do under both its own policy and the workspace's.
    Effective {
        #[arg(long)]
        project: String,
    },
}

#[derive(Debug, clap::Args)]
pub struct Rules {
    /// The only providers that may serve; byoc stands for your own nodes.
    #[arg(long = "provider", alias = "seller", value_delimiter = ',', help_heading = "Targets")]
    providers: Vec<String>,
    /// The only models that may serve, by full name: exact unless it ends in `*` or `/`.
    #[arg(long = "model", value_delimiter = ',', help_heading = "Targets")]
    models: Vec<String>,
    /// The only regions that may serve; a target whose region is unknown isn't allowed.
    #[arg(long = "region", value_delimiter = ',', help_heading = "Targets")]
    regions: Vec<String>,
    /// Where in the world requests may be served: `us_only`, `eu_only`, global or any.
    #[arg(long, help_heading = "Targets")]
    region_policy: Option<String>,
    /// project, or strict or `no_openrouter` to forbid the provider that serves in emergencies.
    #[arg(long, help_heading = "Targets")]
    data_boundary: Option<String>,
    /// The only profiles that may serve: byok, byoc, managed.
    #[arg(long = "profile", value_delimiter = ',', help_heading = "Targets")]
    profiles: Vec<String>,
    /// The longest time that a provider may retain requests: zero, or a number of days.
    #[arg(long, help_heading = "Targets")]
    retention: Option<String>,
    /// Compliance regimes that a credential's or account's agreement must cover, such as hipaa.
    #[arg(long = "compliance", value_delimiter = ',', help_heading = "Targets")]
    compliance: Vec<String>,
    /// The most output tokens per request.
    #[arg(long, help_heading = "Limits")]
    max_output_tokens: Option<u64>,
    /// The most input tokens per request, estimated.
    #[arg(long, help_heading = "Limits")]
    max_input_tokens: Option<u64>,
    /// The highest cost per request in USD, such as 0.50.
    #[arg(long, value_name = "USD", help_heading = "Limits")]
    max_cost: Option<String>,
    /// The same in millionths of a dollar.
    #[arg(long, hide = true, conflicts_with = "max_cost")]
    max_cost_micros: Option<u64>,
    /// The longest duration of a request, in milliseconds.
    #[arg(long, help_heading = "Limits")]
    max_duration_ms: Option<u64>,
    /// Keys that the request's metadata must have; tag and `end_user` stand for the request's tag and end user.
    #[arg(long = "require-metadata", value_delimiter = ',', help_heading = "Content")]
    required_metadata: Vec<String>,
    /// The only functions that requests may offer the model, by name or prefix; `none` forbids all.
    #[arg(long = "tool", value_delimiter = ',', help_heading = "Content")]
    tools: Vec<String>,
    /// The only provider-hosted tools that requests may use, by kind or prefix; `none` forbids all.
    #[arg(long = "hosted-tool", value_delimiter = ',', help_heading = "Content")]
    hosted_tools: Vec<String>,
    /// The only files that requests may contain: image, audio, video, pdf, document; `none` forbids all.
    #[arg(long = "file-kind", value_delimiter = ',', help_heading = "Content")]
    file_kinds: Vec<String>,
    /// Bounds for a numeric parameter. DEFAULT is sent if a request sets none; with clamp, a value outside is moved to the
    /// nearest bound instead of refused.
    #[arg(long = "parameter", value_name = "NAME=MIN..MAX[:DEFAULT][:clamp]", help_heading = "Content")]
    parameters: Vec<String>,
    /// A content check, such as email:mask:both:restore. The detectors are secrets, email, phone, iban, card and `national_id`;
    /// the actions flag, mask and block; the directions input, output and both.
    #[arg(long = "check", value_name = "DETECTOR:ACTION[:DIRECTION][:restore]", help_heading = "Content")]
    checks: Vec<String>,
    /// A hook, such as `pre=https://hooks.example/decide:allow:500:content`. The points are pre and post; allow or refuse
    /// (default) says what happens if the hook doesn't answer; MS is its timeout; content sends it the content; `none` removes
    /// all hooks.
    #[arg(long = "hook", value_name = "POINT=URL[:allow|:refuse][:MS][:content]", help_heading = "Content")]
    hooks: Vec<String>,
}

impl Rules {
    fn body(&self, project: Option<&String>, workspace: bool) -> Result<Value, Failure> {
        Ok(Body::new()
            .with_some("project_id", project)
            .with_some("workspace", workspace.then_some(true))
            .with_list("allowed_providers", &self.providers)
            .with_list("allowed_models", &self.models)
            .with_list("allowed_regions", &self.regions)
            .with_list("profiles", &self.profiles)
            .with_some("retention", self.retention.as_deref().map(retention).transpose()?)
            .with_list("compliance", &self.compliance)
            .with_some("region_policy", self.region_policy.as_ref())
            .with_some("data_boundary", self.data_boundary.as_ref())
            .with_some("limits", self.limits()?)
            .with_list("required_metadata", &self.required_metadata)
            .with_some("allowed_tools", listed(&self.tools))
            .with_some("allowed_hosted_tools", listed(&self.hosted_tools))
            .with_some("allowed_file_kinds", listed(&self.file_kinds))
            .with_some("parameters", parameters(&self.parameters)?)
            .with_some("checks", checks(&self.checks)?)
            .with_some("hooks", hooks(&self.hooks)?)
            .build())
    }

    fn limits(&self) -> Result<Option<Value>, Failure> {
        let max_cost = micros_or(self.max_cost.as_deref(), self.max_cost_micros)?;
        let limits = Body::new()
            .with_some("max_output_tokens", self.max_output_tokens)
            .with_some("max_input_tokens", self.max_input_tokens)
            .with_some("max_cost_micros", max_cost)
            .with_some("max_duration_ms", self.max_duration_ms)
            .build();
        Ok(limits.as_object().is_some_and(|limits| !limits.is_empty()).then_some(limits))
    }
}

pub(super) fn parameters(given: &[String]) -> Result<Option<Value>, Failure> {
    let mut body = Body::new();
    for text in given {
        let wrong = || {
            Failure::new(
                output::USAGE,
                format!("{text} isn't a parameter: write temperature=0..1 or temperature=0..1:0.7:clamp."),
            )
        };
        let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
        let mut parts = rest.split(':');
        let (least, most) = parts.next().and_then(|range| range.split_once("..")).ok_or_else(wrong)?;
        let number = |text: &str| match text {
            "" => Ok(None),
            text => text.parse::<f64>().map(Some).map_err(|_| wrong()),
        };
        let mut rule = Body::new().with_some("min", number(least)?).with_some("max", number(most)?);
        for part in parts {
            rule = if part == "clamp" {
                rule.with("clamp", true)
            } else {
                rule.with_some("default", number(part)?)
            };
        }
        body = body.with(name, rule.build());
    }
    Ok((!given.is_empty()).then(|| body.build()))
}

fn checks(given: &[String]) -> Result<Option<Vec<Value>>, Failure> {
    let check = |text: &String| {
        let mut parts = text.split(':');
        let (Some(detect), Some(action)) = (parts.next(), parts.next()) else {
            return Err(Failure::new(
                output::USAGE,
                format!("{text} isn't a check: write email:mask or email:mask:both:restore."),
            ));
        };
        let body = Body::new().with("detect", detect).with("action", action);
        let body = parts.fold(body, |body, part| match part {
            "restore" => body.with("restore", true),
            direction => body.with("direction", direction),
        });
        Ok(body.build())
    };
    match given {
        [] => Ok(None),
        [none] if none == "none" => Ok(Some(Vec::new())),
        given => given.iter().map(check).collect::<Result<_, _>>().map(Some),
    }
}

fn hooks(given: &[String]) -> Result<Option<Vec<Value>>, Failure> {
    match given {
        [] => Ok(None),
        [none] if none == "none" => Ok(Some(Vec::new())),
        given => given.iter().map(|text| hook(text)).collect::<Result<_, _>>().map(Some),
    }
}

/// The address has colons of its own, so that the parts after it are read from the end.
fn hook(text: &str) -> Result<Value, Failure> {
    let Some((at, mut url)) = text.split_once('=') else {
        let message = format!("{text} isn't a hook: write pre=https://hooks.example/decide:refuse:500.");
        return Err(Failure::new(output::USAGE, message));
    };
    let (mut on_silence, mut timeout_ms, mut reads_content) = ("refuse", None, false);
    while let Some((rest, part)) = url.rsplit_once(':') {
        match part {
            "allow" | "refuse" => on_silence = part,
            "content" => reads_content = true,
            // A port belongs to the address.
            _ => match part.parse::<u64>() {
                Ok(ms)
                    if rest.contains("//")
                        && rest.rsplit("//").next().is_some_and(|host| host.contains('/')) =>
                {
                    timeout_ms = Some(ms);
                }
                _ => break,
            },
        }
        url = rest;
    }
    Ok(Body::new()
        .with("at", at)
        .with("url", url)
        .with("on_silence", on_silence)
        .with_some("timeout_ms", timeout_ms)
        .with("content", reads_content)
        .build())
}

/// `none` is the empty list, which allows nothing.
fn listed(names: &[String]) -> Option<Vec<String>> {
    match names {
        [] => None,
        [none] if none == "none" => Some(Vec::new()),
        names => Some(names.to_vec()),
    }
}

const PATH: &str = "/v2/policies";

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let policies = Collection::connect(shared, PATH)?;
    match command {
        Command::Add { project, workspace, rules } => {
            policies.create(&rules.body(project.as_ref(), workspace)?)?;
        }
        Command::List => policies.list(
            &[
                "id",
                "project_id",
                "workspace",
                "allowed_providers",
                "allowed_models",
                "allowed_regions",
                "profiles",
                "retention",
            ],
            "No policies: requests reach what routes say.",
        )?,
        Command::Show { id } => policies.show(&id)?,
        Command::Set { id, rules } => {
            policies.change(&id, &rules.body(None, false)?)?;
        }
        Command::Rotate { id } => {
            let path = format!("{}/rotate", policies.at(&id));
            output::object(shared, &policies.api.post(&path, &json!({}))?);
        }
        Command::Remove { id } => policies.remove(&id)?,
        Command::Refusals { window, interval } => {
            let interval = interval.map(|interval| format!("&interval={interval}")).unwrap_or_default();
            let found = policies.api.get(&format!("/v2/analytics/refusals?window={window}{interval}"))?;
            output::list(
                shared,
                &found,
                &["start", "project_id", "policy_id", "rule", "requests"],
                "No request was refused by a policy.",
            );
        }
        Command::Effective { project } => {
            let project = utf8_percent_encode(&project, NON_ALPHANUMERIC);
            let effective = policies.api.get(&format!("{PATH}/effective?project_id={project}"))?;
            output::object(shared, &effective);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        rules: Rules,
    }

    fn body(arguments: &[&str]) -> Option<Value> {
        let line = Line::try_parse_from(["set"].iter().chain(arguments)).ok()?;
        line.rules.body(None, false).ok()
    }

    #[test]
    fn a_provider_is_also_a_seller_and_a_cost_is_in_dollars_or_millionths() {
        let sellers = Some(json!({"allowed_providers": ["openai", "byoc"]}));
        assert_eq!(body(&["--provider", "openai,byoc"]), sellers);
        assert_eq!(body(&["--seller", "openai,byoc"]), sellers);
        let cost = Some(json!({"limits": {"max_cost_micros": 20_000}}));
        assert_eq!(body(&["--max-cost", "0.02"]), cost);
        assert_eq!(body(&["--max-cost-micros", "20000"]), cost);
        assert_eq!(body(&["--max-cost", "a lot"]), None);
        assert_eq!(body(&["--max-cost", "1", "--max-cost-micros", "1"]), None);
    }

    #[test]
    fn a_hook_is_read_with_what_stands_behind_its_address() {
        let made = |at: &str, url: &str, on_silence: &str, timeout_ms: Option<u64>, content: bool| {
            let mut hook = json!({"at": at, "url": url, "on_silence": on_silence, "content": content});
            if let Some(timeout_ms) = timeout_ms {
                hook["timeout_ms"] = timeout_ms.into();
            }
            hook
        };
        for (text, hook) in [
            ("pre=https://h.example", made("pre", "https://h.example", "refuse", None, false)),
            ("pre=https://h.example:8443", made("pre", "https://h.example:8443", "refuse", None, false)),
            ("pre=https://h.example/a:500", made("pre", "https://h.example/a", "refuse", Some(500), false)),
            (
                "post=https://h.example:8443/a:allow:500:content",
                made("post", "https://h.example:8443/a", "allow", Some(500), true),
            ),
        ] {
            assert_eq!(super::hook(text).unwrap(), hook, "{text}");
        }
        assert!(super::hook("https://h.example").is_err());
    }
}
