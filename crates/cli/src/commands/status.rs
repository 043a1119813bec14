//! `tidegate` alone: which gateway is used, whether it answers, what it serves and spends today, and what may come next.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::{Api, at, escape, field};
use crate::output::{self, Failure};
use crate::shared::Shared;

pub fn run(shared: &Shared) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    let me = api.get("/v2/me")?;
    let workspace = field(&me, "workspace_id");
    let key = me.get("key").unwrap_or(&Value::Null);
    // Any key may ask who it is; what else it may see depends on its scopes.
    let named = api.get(&at("/v2/workspaces", &workspace)).ok().map(|found| field(&found, "name"));
    let models: Option<Vec<String>> = api.get("/v1/models").ok().map(|list| names(&list));
    let today = api.get(&format!("/v2/usage?start={}&end={}", midnight()?, now()?)).ok();
    let sum = |name: &str| today.as_ref()?.pointer(&format!("/data/0/{name}"))?.as_i64();
    let requests =
        today.as_ref().map(|_| sum("requests").unwrap_or(0) + sum("unattempted_requests").unwrap_or(0));
    let status = json!({
        "gateway": api.address(),
        "workspace": named.filter(|name| !name.is_empty()).unwrap_or(workspace),
        "key": key.get("name"),
        "scopes": key.get("scopes"),
        "models": models.as_ref().map(Vec::len),
        "requests_today": requests,
        "cost_micros_today": requests.map(|_| sum("cost_micros").unwrap_or(0)),
        "spend_micros_today": requests.map(|_| sum("spend_micros").unwrap_or(0)),
    });
    if shared.json {
        println!("{status}");
        return Ok(());
    }
    let line = |title: &str, text: &str| println!("{title:<10} {}", output::printable(text));
    line("Gateway", &format!("{} answers", output::cell(&status, "gateway")));
    line("Workspace", &output::cell(&status, "workspace"));
    line("Key", &format!("{} ({})", output::cell(&status, "key"), output::cell(&status, "scopes")));
    if let Some(models) = &models {
        line("Models", &models.len().to_string());
    }
    if let Some(requests) = requests {
        let spent = output::spend(sum("spend_micros").unwrap_or(0));
        let noun = if requests == 1 { "request" } else { "requests" };
        line("Today", &format!("{requests} {noun}, {spent} (since midnight UTC)"));
    }
    println!();
    for (command, why) in next(models.as_deref(), requests) {
        println!("  {command:<44} {why}");
    }
    Ok(())
}

/// What may come next, by what is there.
fn next(models: Option<&[String]>, requests: Option<i64>) -> Vec<(String, &'static str)> {
    let line = |command: &str, why| (command.to_owned(), why);
    match (models, requests) {
        (Some([]), _) => vec![
            line("tidegate credential add openai", "store a provider key of your own"),
            line("tidegate nodes invite NAME", "connect your own hardware"),
        ],
        (Some([first, ..]), Some(0) | None) => vec![
            (format!("tidegate chat {first} 'Hello'"), "send a first request"),
            line("tidegate key create NAME", "make a key for an application"),
        ],
        _ => vec![
            line("tidegate usage --by model", "tokens and money by model"),
            line("tidegate request --follow", "requests as they come"),
        ],
    }
}

fn names(list: &Value) -> Vec<String> {
    let data = list.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    data.iter().map(|model| output::printable(&field(model, "id"))).collect()
}

fn midnight() -> Result<String, Failure> {
    moment(OffsetDateTime::now_utc().date().midnight().assume_utc())
}

fn now() -> Result<String, Failure> {
    moment(OffsetDateTime::now_utc())
}

fn moment(at: OffsetDateTime) -> Result<String, Failure> {
    Ok(escape(&at.format(&Rfc3339).map_err(anyhow::Error::from)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_next_depends_on_what_is_there() {
        let first = |models: Option<&[String]>, requests| next(models, requests)[0].0.clone();
        assert_eq!(first(Some(&[]), Some(0)), "tidegate credential add openai");
        assert_eq!(first(Some(&["echo".to_owned()]), Some(0)), "tidegate chat echo 'Hello'");
        assert_eq!(first(Some(&["echo".to_owned()]), Some(3)), "tidegate usage --by model");
        assert_eq!(first(None, None), "tidegate usage --by model");
    }
}
