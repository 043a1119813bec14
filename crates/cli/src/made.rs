//! Prints an object that was just made: its name and id, the fields that appear only now, and the next step.

use serde_json::{Map, Value};

use crate::output::{self, Form};
use crate::shared::Shared;

/// A kind of object, the noun of its commands, and the next step.
const NEXT: &[(&str, &str, &str)] = &[
    ("account", "account", "`tidegate plan MODEL` says whether it serves a model."),
    ("agent", "agent", "`tidegate agent chat NAME` talks to it."),
    ("agent_hints", "hints", "send `Agent-Hints-Ref: ID` with a request."),
    ("alert_rule", "alert", "`tidegate alert list` shows what it measures."),
    (
        "api_key",
        "key",
        "keep the key, which isn't shown again; `tidegate key limits NAME` bounds its requests.",
    ),
    ("app", "app", "`tidegate run NAME --input FIELD=VALUE` runs it."),
    ("budget", "budget", "`tidegate budget list` shows what is spent of it."),
    ("model_alias", "alias", "`tidegate chat NAME Hello` requests it."),
    ("node", "node", "`tidegate chat MODEL Hello` sends a request to one of its models."),
    ("policy", "policy", "`tidegate policy list` shows which rules hold."),
    ("project", "project", "`tidegate key create KEY --project ID` creates a key of it."),
    ("provider_credential", "credential", "`tidegate plan MODEL` says whether it serves a model."),
    ("route", "route", "`tidegate plan MODEL` says what serves a model now."),
    ("subscription_credential", "subscription", "`tidegate plan MODEL` says whether it serves a model."),
    ("tool", "tool", "send `Agent-Tools: NAME` with a chat."),
    ("webhook", "webhook", "`tidegate webhook test ID` sends an event; a secret above isn't shown again."),
];
/// Fields that appear only now, or say that more is to be done.
const FIELDS: [&str; 5] = ["key", "aws", "secret", "status", "warning"];

/// Prints it for a person as three lines or so; otherwise, and where nothing was made, all of it.
pub(crate) fn print(shared: &Shared, made: &Value) {
    let kind = output::cell(made, "object");
    let known = NEXT.iter().find(|(object, ..)| *object == kind);
    let Some((_, noun, next)) = known.filter(|_| shared.form() == Form::Table && !shared.dry_run) else {
        return output::object(shared, made);
    };
    let id = output::printable(&output::cell(made, "id"));
    let text = |field: &&str| made.get(*field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let name = ["name", "display_name", "description", "url"].iter().find_map(text).map(output::printable);
    let called = name.as_ref().map(|name| format!("{name} ")).unwrap_or_default();
    println!("The {noun} {called}is added: {id}");
    let field = |name: &&str| {
        let value = made.get(*name).filter(|value| !value.is_null())?;
        Some(((*name).to_owned(), value.clone()))
    };
    output::object(shared, &Value::Object(FIELDS.iter().filter_map(field).collect::<Map<_, _>>()));
    if let Some(error) = made.pointer("/server/error").and_then(Value::as_str) {
        println!("What its server takes is not known: {}", output::printable(error));
    }
    println!("Next: {}", addressed(next, name.as_deref(), &id));
}

/// The next step with the object's own name, or its id where a shell would take the name apart.
fn addressed(next: &str, name: Option<&str>, id: &str) -> String {
    let is_word = |text: &&str| text.chars().all(|one| one.is_ascii_alphanumeric() || "._-".contains(one));
    next.replace("ID", id).replace("NAME", name.filter(is_word).unwrap_or(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_step_can_be_typed_as_it_is() {
        let step = |kind: &str, name| {
            let (_, _, next) = NEXT.iter().find(|(object, ..)| *object == kind).unwrap();
            addressed(next, name, "id_1")
        };
        assert!(step("api_key", Some("ci")).contains("`tidegate key limits ci`"));
        assert!(step("api_key", Some("my key")).contains("`tidegate key limits id_1`"));
        assert!(step("project", Some("web")).contains("`tidegate key create KEY --project id_1`"));
        assert!(step("webhook", None).contains("`tidegate webhook test id_1`"));
        assert!(step("route", None).contains("`tidegate plan MODEL`"));
    }
}
