//! `tidegate apply`: makes a workspace match a document, and shows what that changes.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::changes::{self, Action, ApplyOptions, Changed, Plan, Step};
use crate::document::MANAGED;
use crate::kinds::SecretNeed;
use crate::{document, live};
use cli::api::Api;
use cli::output::{self, Failure};
use cli::shared::Shared;
use terminal::paint::{Style, paint};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// A .toml or .json document, or a directory of them.
    #[arg(short, long, value_name = "FILE|DIR")]
    file: PathBuf,
    /// Also removes what `apply` manages and the document no longer declares.
    #[arg(long)]
    prune: bool,
    /// Also sends the secrets of objects that already exist.
    #[arg(long)]
    with_secrets: bool,
    /// Writes new keys, invitations and signing secrets to this file (mode 0600), instead of printing them.
    #[arg(long, value_name = "FILE")]
    keys_to: Option<PathBuf>,
}

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let document = document::read(&options.file)?;
    let api = Api::connect(shared)?;
    let mut workspace = live::read(&api)?;
    let wishes = ApplyOptions { prune: options.prune, with_secrets: options.with_secrets };
    let plan = changes::plan(&api, document, &workspace, wishes)?;
    if !shared.json || shared.dry_run {
        plan.steps.iter().for_each(|step| show(shared, step, false, &Value::Null));
    }
    if shared.dry_run {
        // The API answers these as dry runs, too.
        changes::check(&api, &plan.steps, &workspace.names)?;
    } else {
        allow_removals(shared, &plan)?;
        let secrets = changes::read_secrets(&plan.steps)?;
        let mut kept = options.keys_to.as_deref().map(open_private).transpose()?;
        for (number, step) in plan.steps.iter().enumerate() {
            let secret = secrets.get(&number).map(String::as_str);
            let mut answer = changes::carry_out(&api, step, secret, &mut workspace.names)
                .map_err(|refused| after_others(refused, plan.steps.get(..number).unwrap_or_default()))?;
            if let Some(file) = &mut kept {
                keep(file, step, &mut answer)?;
            }
            if shared.json {
                show(shared, step, true, &answer);
            } else {
                show_once(step, &answer);
            }
        }
    }
    sum_up(shared, &plan);
    Ok(())
}

/// Prints a line for each step and each changed field, or an object for programs.
fn show(shared: &Shared, step: &Step, is_done: bool, answer: &Value) {
    if shared.json {
        let changed: Vec<_> = step
            .changes
            .iter()
            .map(|one| json!({"field": one.field, "before": one.before, "after": one.after}))
            .collect();
        let mut line = json!({
            "object": "change",
            "action": step.action.as_str(),
            "kind": step.kind.noun,
            "name": step.label,
            "place": step.place().map(ToString::to_string),
            "changes": changed,
            "notes": step.notes(),
            "done": is_done,
        });
        if let (Some(name), Some(fields)) = (step.kind.one_time_field, line.as_object_mut()) {
            let value = answer.get(name).cloned();
            fields.extend(value.map(|value| (name.to_owned(), value)));
        }
        println!("{line}");
        return;
    }
    let (sign, style) = match step.action {
        Action::Create => ("+", Style::Good),
        Action::Update => ("~", Style::Changed),
        Action::Delete => ("-", Style::Bad),
        Action::Keep => return,
    };
    let title = format!("{sign} {:<10} {}", step.kind.noun, output::printable(&step.label));
    println!("{}", paint(style, title.trim_end()));
    step.changes.iter().for_each(|changed| println!("    {}", describe(step.action, changed)));
    step.notes().iter().for_each(|note| println!("    {}", paint(Style::Faint, note)));
}

/// Says which steps were carried out before the one that was refused.
fn after_others(refused: Failure, before: &[Step]) -> Failure {
    let done: Vec<String> = before
        .iter()
        .filter(|step| step.action != Action::Keep)
        .map(|step| format!("{} {}", step.kind.noun, output::printable(&step.label)))
        .collect();
    if done.is_empty() {
        return refused;
    }
    let what = done.join(", ");
    Failure { message: format!("{} Carried out before it: {what}.", refused.message), ..refused }
}

fn describe(action: Action, changed: &Changed) -> String {
    let after = output::printable(&changed.after.to_string());
    if action == Action::Create {
        return format!("{}: {after}", changed.field);
    }
    format!("{}: {} -> {after}", changed.field, output::printable(&changed.before.to_string()))
}

fn show_once(step: &Step, answer: &Value) {
    let value = step.kind.one_time_field.and_then(|name| answer.get(name)?.as_str());
    if let Some(value) = value {
        println!("{} {}: {value}   (shown once)", step.kind.noun, output::printable(&step.label));
    }
}

fn open_private(path: &Path) -> Result<std::fs::File, Failure> {
    let opened = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
    opened.map_err(|error| Failure::new(output::USAGE, format!("{} can't be made: {error}.", path.display())))
}

/// Moves a value that is shown only once from the answer to the file.
fn keep(file: &mut std::fs::File, step: &Step, answer: &mut Value) -> Result<(), Failure> {
    let Some(name) = step.kind.one_time_field else { return Ok(()) };
    if let Some(value) = answer.as_object_mut().and_then(|fields| fields.remove(name)) {
        writeln!(file, "{}", json!({"kind": step.kind.noun, "name": step.label, name: value}))?;
        file.sync_all()?;
    }
    Ok(())
}

fn allow_removals(shared: &Shared, plan: &Plan) -> Result<(), Failure> {
    let gone = plan.steps.iter().filter(|step| step.action == Action::Delete).count();
    if gone == 0 || shared.yes {
        return Ok(());
    }
    if shared.no_input || !std::io::stdin().is_terminal() {
        let message =
            format!("{gone} objects would be removed: --yes says that they may, --dry-run shows them.");
        return Err(Failure::new(output::USAGE, message));
    }
    eprint!("Remove {gone} objects? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(output::FAILED, "Nothing was changed."))
}

fn sum_up(shared: &Shared, plan: &Plan) {
    let counts = changes::counts(&plan.steps);
    let of =
        |action: Action| counts.iter().find(|(known, _)| *known == action).map_or(0, |(_, count)| *count);
    let (made, changed, gone, kept) =
        (of(Action::Create), of(Action::Update), of(Action::Delete), of(Action::Keep));
    if shared.json {
        println!(
            "{}",
            json!({"object": "apply", "created": made, "updated": changed, "deleted": gone, "unchanged": kept,
                "left": plan.left, "dry_run": shared.dry_run})
        );
        return;
    }
    if made + changed + gone == 0 {
        println!("No change: {kept} objects are as declared.");
    } else {
        let summary = match shared.dry_run {
            true => format!("Would make {made}, change {changed}, remove {gone}; {kept} are as declared."),
            false => format!("Made {made}, changed {changed}, removed {gone}; {kept} were as declared."),
        };
        println!("{summary}");
    }
    if !plan.left.is_empty() {
        println!("No longer declared, and removed with --prune: {}.", plan.left.join(", "));
    }
    let once = changes::kinds_with_one_time_values(&plan.steps);
    if shared.dry_run && !once.is_empty() {
        println!(
            "{}",
            paint(
                Style::Faint,
                "New keys, invitations and signing secrets are shown once, when they are made."
            )
        );
    }
}

/// The workspace as a TOML document, for `export`.
///
/// # Errors
/// A value can't be written as TOML.
pub fn write_toml(
    workspace: &live::Workspace,
    variable: &dyn Fn(&live::Live) -> String,
) -> Result<String, Failure> {
    let mut text = String::new();
    for live in &workspace.objects {
        text.push_str(&format!("\n[[{}]]\n", live.kind.noun));
        for (name, value) in &live.fields {
            text.push_str(&format!("{name} = {}\n", toml_of(value)?));
        }
        if is_left_alone(live) {
            text.push_str(&format!("{MANAGED} = false\n"));
        }
        if live.kind.secret == SecretNeed::Needed {
            text.push_str(&format!("secret = {{ env = \"{}\" }}\n", variable(live)));
        }
    }
    Ok(text)
}

fn toml_of(value: &Value) -> Result<toml::Value, Failure> {
    fn without_null(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let kept = members.iter().filter(|(_, value)| !value.is_null());
                Value::Object(kept.map(|(name, value)| (name.clone(), without_null(value))).collect())
            }
            Value::Array(items) => items.iter().filter(|item| !item.is_null()).map(without_null).collect(),
            other => other.clone(),
        }
    }
    toml::Value::try_from(without_null(value)).map_err(|error| Failure::from(anyhow::Error::from(error)))
}

/// The same document as JSON.
pub fn write_json(workspace: &live::Workspace, variable: &dyn Fn(&live::Live) -> String) -> Value {
    let mut kinds = serde_json::Map::new();
    for live in &workspace.objects {
        let mut fields = live.fields.clone();
        if is_left_alone(live) {
            fields.insert(MANAGED.to_owned(), json!(false));
        }
        if live.kind.secret == SecretNeed::Needed {
            fields.insert("secret".to_owned(), json!({"env": variable(live)}));
        }
        let list = kinds.entry(live.kind.noun).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(Value::Object(fields));
        }
    }
    Value::Object(kinds)
}

/// Whether `apply` does not manage the object, which the written document must state (`managed = false`).
fn is_left_alone(live: &live::Live) -> bool {
    live.kind.has_metadata() && !live.is_applied
}

/// Whether a key is of a signed-in device or of the installation, so that no document contains it.
pub fn is_personal(live: &live::Live) -> bool {
    let scopes = live.fields.get("scopes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let name = live.fields.get("name").and_then(Value::as_str).unwrap_or_default();
    live.kind.noun == "key"
        && (scopes.iter().any(|scope| scope == "operator") || name.ends_with(" (signed in)"))
}

/// The environment variables that secrets are read from, each named after its object.
pub fn variables(workspace: &live::Workspace) -> HashMap<(&'static str, String), String> {
    let mut found: HashMap<(&'static str, String), String> = HashMap::new();
    for live in workspace.objects.iter().filter(|live| live.kind.secret == SecretNeed::Needed) {
        let word = |text: &str| -> String {
            text.chars()
                .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
                .collect()
        };
        let name = format!("TIDEGATE_SECRET_{}_{}", word(live.kind.noun), word(&live.label));
        // Names that differ only in characters that a variable can't have get a number.
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        let free = std::iter::once(name.clone())
            .chain(numbered)
            .find(|name| !found.values().any(|taken| taken == name));
        found.insert((live.kind.noun, live.label.clone()), free.unwrap_or(name));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::kinds::Kind;

    #[test]
    fn each_secret_has_a_variable_of_its_own() {
        let object = |noun: &str, label: &str| live::Live {
            kind: Kind::by_noun(noun).unwrap(),
            id: String::new(),
            label: label.to_owned(),
            fields: Map::new(),
            is_applied: false,
        };
        let objects = vec![
            object("account", "ours"),
            object("credential", "ours"),
            object("credential", "a b"),
            object("credential", "a-b"),
        ];
        let found = variables(&live::Workspace { objects, ..live::Workspace::default() });
        let of = |noun, label: &str| found[&(noun, label.to_owned())].as_str();
        assert_eq!(of("account", "ours"), "TIDEGATE_SECRET_ACCOUNT_OURS");
        assert_eq!(of("credential", "ours"), "TIDEGATE_SECRET_CREDENTIAL_OURS");
        assert_eq!(
            (of("credential", "a b"), of("credential", "a-b")),
            ("TIDEGATE_SECRET_CREDENTIAL_A_B", "TIDEGATE_SECRET_CREDENTIAL_A_B_2")
        );
    }
}
