//! An order for a worker, as a request states it: checked against what the node's owner allows.

use std::collections::BTreeMap;

use domain::{Fault, FaultClass, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{CommandConfig, HostConfig, WorkersConfig};
use crate::limits::{ARGUMENTS_MAX, IDLE_MINUTES_MAX, SPEC_BYTES_MAX, VARIABLES_MAX, WORD_BYTES_MAX};

/// The words for providers in requests.
const PROVIDERS: &str = "exec, ssh, kubernetes or webhook";

/// A worker to be started.
pub(crate) struct Order {
    pub plan: Plan,
    pub environment: BTreeMap<String, Secret>,
    pub idle_minutes: Option<u64>,
    pub rate: Option<Rate>,
    /// Where the node that is started listens, if that is known before.
    pub address: Option<String>,
}

/// What is started, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "provider", rename_all = "snake_case")]
pub(crate) enum Plan {
    Exec { command: String, arguments: Vec<String> },
    Ssh { host: String, command: String, arguments: Vec<String> },
    Kubernetes(Pods),
    Webhook { spec: Map<String, Value> },
}

/// What runs in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pods {
    pub image: String,
    pub model: String,
    pub replicas: u32,
    pub gpus: u32,
    pub cpu_millis: Option<u32>,
    pub memory_mib: Option<u32>,
    pub arguments: Vec<String>,
}

/// What a worker costs, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rate {
    pub nano_usd_per_hour: u64,
    pub stated_by: StatedBy,
}

impl Rate {
    /// What a provider states, if that can be.
    pub(crate) fn of_provider(stated: Option<u64>) -> Option<Self> {
        let possible = stated.filter(|stated| *stated <= hardware::limits::NANO_USD_PER_HOUR_MAX);
        possible.map(|nano_usd_per_hour| Self { nano_usd_per_hour, stated_by: StatedBy::Provider })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StatedBy {
    /// The node's configuration.
    Owner,
    /// The request.
    Caller,
    /// The service that started it.
    Provider,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    spec: Value,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExecSpec {
    command: String,
    #[serde(default)]
    arguments: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SshSpec {
    host: String,
    command: String,
    #[serde(default)]
    arguments: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KubernetesSpec {
    image: Option<String>,
    model: String,
    #[serde(default = "one")]
    replicas: u32,
    #[serde(default)]
    gpus: u32,
    cpu_millis: Option<u32>,
    memory_mib: Option<u32>,
    #[serde(default)]
    arguments: Vec<String>,
}

const fn one() -> u32 {
    1
}

pub(crate) fn invalid(field: &str, message: impl Into<String>, fix: impl Into<String>) -> Box<Fault> {
    let fault = Fault::new(FaultClass::BadRequest, "invalid_value", message.into());
    Box::new(fault.param(field.to_owned()).fix(fix.into()))
}

fn missing_provider(what: String, fix: &str) -> Box<Fault> {
    let fault = Fault::new(FaultClass::NotFound, "worker_provider_missing", what);
    Box::new(fault.fix(fix.to_owned()))
}

impl Plan {
    pub(crate) const fn provider(&self) -> &'static str {
        match self {
            Self::Exec { .. } => "exec",
            Self::Ssh { .. } => "ssh",
            Self::Kubernetes(_) => "kubernetes",
            Self::Webhook { .. } => "webhook",
        }
    }
}

impl Order {
    /// # Errors
    /// The request is malformed, or names what the configuration does not allow.
    pub(crate) fn read(
        config: &WorkersConfig,
        provider: Option<&str>,
        body: &[u8],
    ) -> Result<Self, Box<Fault>> {
        let provider = provider.ok_or_else(|| {
            invalid(
                "provider",
                "The query doesn't name a provider.",
                format!("Add ?provider= with {PROVIDERS}."),
            )
        })?;
        if body.len() > SPEC_BYTES_MAX {
            let fix = format!("Send at most {SPEC_BYTES_MAX} bytes.");
            return Err(invalid("spec", "The body is too long.", fix));
        }
        let Body { spec, env } = serde_json::from_slice(body).map_err(|error| {
            invalid(
                "spec",
                format!("The body can't be read: {error}."),
                "Send {\"spec\": {…}, \"env\": {…}}.",
            )
        })?;
        let Value::Object(mut spec) = spec else {
            return Err(invalid("spec", "spec isn't an object.", "Send {\"spec\": {…}, \"env\": {…}}."));
        };
        let idle_minutes = take_number(&mut spec, "idle_minutes", IDLE_MINUTES_MAX)?;
        let stated = take_number(&mut spec, "nano_usd_per_hour", hardware::limits::NANO_USD_PER_HOUR_MAX)?;
        let by_caller =
            stated.map(|nano_usd_per_hour| Rate { nano_usd_per_hour, stated_by: StatedBy::Caller });
        let (plan, allowed, owners, address) = plan(config, provider, spec)?;
        let by_owner = owners.map(|nano_usd_per_hour| Rate { nano_usd_per_hour, stated_by: StatedBy::Owner });
        let environment = variables(env, allowed)?;
        Ok(Self { plan, environment, idle_minutes, rate: by_owner.or(by_caller), address })
    }
}

type Planned<'c> = (Plan, &'c [String], Option<u64>, Option<String>);

fn plan<'c>(
    config: &'c WorkersConfig,
    provider: &str,
    spec: Map<String, Value>,
) -> Result<Planned<'c>, Box<Fault>> {
    let off = || {
        let what = format!("This node doesn't start workers with {provider}.");
        missing_provider(what, "Configure [workers.…] for it, or use another provider.")
    };
    match provider {
        "exec" => {
            let exec = config.exec.as_ref().ok_or_else(off)?;
            let ExecSpec { command, arguments } = read(spec)?;
            let known = known(&exec.commands, "spec.command", &command)?;
            let arguments = added(known, arguments)?;
            let plan = Plan::Exec { command, arguments };
            Ok((plan, &known.environment, known.nano_usd_per_hour, known.address.clone()))
        }
        "ssh" => {
            let ssh = config.ssh.as_ref().ok_or_else(off)?;
            let SshSpec { host, command, arguments } = read(spec)?;
            let HostConfig { commands, .. } = known(&ssh.hosts, "spec.host", &host)?;
            let known = known(commands, "spec.command", &command)?;
            let arguments = added(known, arguments)?;
            let plan = Plan::Ssh { host, command, arguments };
            Ok((plan, &known.environment, known.nano_usd_per_hour, known.address.clone()))
        }
        "kubernetes" => {
            let kubernetes = config.kubernetes.as_ref().ok_or_else(off)?;
            let pods = pods(&kubernetes.images, read(spec)?)?;
            Ok((Plan::Kubernetes(pods), &kubernetes.environment, kubernetes.nano_usd_per_hour, None))
        }
        "webhook" => {
            let webhook = config.webhook.as_ref().ok_or_else(off)?;
            Ok((Plan::Webhook { spec }, &webhook.environment, None, None))
        }
        other => Err(invalid(
            "provider",
            format!("\"{other}\" isn't a provider of workers."),
            format!("Use {PROVIDERS}."),
        )),
    }
}

fn pods(images: &[String], spec: KubernetesSpec) -> Result<Pods, Box<Fault>> {
    let KubernetesSpec { image, model, replicas, gpus, cpu_millis, memory_mib, arguments } = spec;
    let image = match (image, images.first()) {
        (Some(image), _) if images.contains(&image) => image,
        (None, Some(first)) => first.clone(),
        _ => {
            return Err(invalid(
                "spec.image",
                "The configuration does not allow this image.",
                "Leave it out, or use one that it lists.",
            ));
        }
    };
    if !(1..=64).contains(&replicas) || gpus > 16 {
        return Err(invalid(
            "spec.replicas",
            "This is out of range.",
            "Use 1 to 64 replicas, with up to 16 GPUs each.",
        ));
    }
    check_words("spec.arguments", &arguments)?;
    check_words("spec.model", std::slice::from_ref(&model))?;
    Ok(Pods { image, model, replicas, gpus, cpu_millis, memory_mib, arguments })
}

fn read<T: for<'de> Deserialize<'de>>(spec: Map<String, Value>) -> Result<T, Box<Fault>> {
    serde_json::from_value(Value::Object(spec)).map_err(|error| {
        invalid("spec", format!("spec can't be read: {error}."), "Correct the field that it names.")
    })
}

fn known<'c, T>(all: &'c BTreeMap<String, T>, field: &'static str, name: &str) -> Result<&'c T, Box<Fault>> {
    all.get(name).ok_or_else(|| {
        let names: Vec<&str> = all.keys().map(String::as_str).collect();
        invalid(
            field,
            format!("The configuration doesn't allow \"{name}\"."),
            format!("Use one of: {}.", names.join(", ")),
        )
    })
}

fn added(command: &CommandConfig, arguments: Vec<String>) -> Result<Vec<String>, Box<Fault>> {
    if !arguments.is_empty() && !command.takes_arguments {
        return Err(invalid(
            "spec.arguments",
            "The configuration doesn't allow arguments for this command.",
            "Leave them out.",
        ));
    }
    check_words("spec.arguments", &arguments)?;
    Ok(arguments)
}

fn check_words(field: &'static str, words: &[String]) -> Result<(), Box<Fault>> {
    let is_wrong = |word: &String| word.len() > WORD_BYTES_MAX || word.contains('\0');
    if words.len() > ARGUMENTS_MAX || words.iter().any(is_wrong) {
        let fix = format!("Send at most {ARGUMENTS_MAX}, each of at most {WORD_BYTES_MAX} bytes.");
        return Err(invalid(
            field,
            "There are too many arguments, or one is too long or has a zero byte.",
            fix,
        ));
    }
    Ok(())
}

/// Only variables that the configuration names: others could change what a program loads.
fn variables(
    env: BTreeMap<String, String>,
    allowed: &[String],
) -> Result<BTreeMap<String, Secret>, Box<Fault>> {
    if env.len() > VARIABLES_MAX {
        return Err(invalid(
            "env",
            "There are too many variables.",
            format!("Send at most {VARIABLES_MAX}."),
        ));
    }
    let mut variables = BTreeMap::new();
    for (name, value) in env {
        if !allowed.contains(&name) {
            let name: String = name.chars().take(100).collect();
            let message = format!("The configuration doesn't allow the variable {name}.");
            return Err(invalid("env", message, format!("It allows: {}.", allowed.join(", "))));
        }
        if value.len() > WORD_BYTES_MAX || value.contains(['\0', '\n']) {
            let message = format!("The value of {name} is too long, or has a zero byte or a line break.");
            return Err(invalid("env", message, "Send it in one line."));
        }
        variables.insert(name, Secret::from_text(value));
    }
    Ok(variables)
}

fn take_number(
    spec: &mut Map<String, Value>,
    field: &'static str,
    max: u64,
) -> Result<Option<u64>, Box<Fault>> {
    let Some(value) = spec.remove(field).filter(|value| !value.is_null()) else { return Ok(None) };
    let number = value.as_u64().filter(|number| (1..=max).contains(number));
    let wrong =
        || invalid(&format!("spec.{field}"), "This isn't a number in range.", format!("Use 1 to {max}."));
    number.map(Some).ok_or_else(wrong)
}
