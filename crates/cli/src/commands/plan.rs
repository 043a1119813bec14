//! `tidegate plan`: what would serve a model or a request, why and at what price, without sending anything.

use std::io::Read as _;

use serde_json::{Map, Value};

use crate::api::Api;
use crate::body::Body;
use crate::output::{self, Failure};
use crate::people::mode;
use crate::shared::Shared;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The model; not needed with a request or a path.
    model: Option<String>,
    /// The request body, as a JSON file, or `-` for standard input. For a form, its fields as JSON.
    #[arg(long, value_name = "FILE|-")]
    request: Option<String>,
    /// The path that the request would be sent to; by default the dialect's own, such as /v1/chat/completions.
    #[arg(long)]
    path: Option<String>,
    /// The method; by default the path's own.
    #[arg(long)]
    method: Option<String>,
    /// A request header that the plan may depend on; may be repeated.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    #[arg(long)]
    project: Option<String>,
    #[arg(long)]
    environment: Option<String>,
    /// The modality (chat, embedding, image, audio, video, rerank, moderation, realtime); by default the model's own.
    #[arg(long)]
    modality: Option<String>,
    /// The dialect of the request: chat (default), responses, anthropic, gemini, converse, invoke or run.
    #[arg(long)]
    dialect: Option<String>,
    /// The request tag to plan for.
    #[arg(long)]
    tag: Option<String>,
}

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    if options.model.is_none() && options.request.is_none() && options.path.is_none() {
        let message = "Name a model, or give the request with --request FILE.";
        return Err(Failure::new(output::USAGE, message));
    }
    let body = Body::new()
        .with_some("model", options.model.as_ref())
        .with_some("request", options.request.as_deref().map(request).transpose()?.flatten())
        .with_some("path", options.path.as_ref())
        .with_some("method", options.method.as_ref())
        .with_some("headers", headers(&options.headers)?)
        .with_some("project_id", options.project.as_ref())
        .with_some("modality", options.modality.as_ref())
        .with_some("dialect", options.dialect.as_ref())
        .with_some("environment", options.environment.as_ref())
        .with_some("tag", options.tag.as_ref())
        .build();
    let plan = Api::connect(shared)?.post("/v2/plan", &body)?;
    if !shared.json {
        explain(&plan, options.model.as_deref());
    }
    check(&plan, shared.json)?;
    if shared.json {
        println!("{plan}");
    }
    Ok(())
}

/// Fails for a plan by which the request would be refused.
fn check(plan: &Value, json: bool) -> Result<(), Failure> {
    let Some(error) = plan.get("error").filter(|error| !error.is_null()) else { return Ok(()) };
    // A program gets the plan, as it does of a request that would be served.
    let document = if json { plan } else { error };
    let failure = Failure::new(output::NOT_FOUND, output::cell(error, "detail"));
    Err(Failure { document: Some(document.clone()), ..failure })
}

/// The model, and how it was found.
fn model_line(plan: &Value, requested: Option<&str>) -> Option<String> {
    let part = |name: &str| plan.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (part("resolved_model"), part("resolution")) {
        (Some(model), Some(resolution)) => Some(format!("{model} ({resolution})")),
        _ => requested.map(|model| format!("{} (unknown)", output::printable(model))),
    }
}

/// The request in a file or on standard input; `None` if that is empty, as for a session.
fn request(from: &str) -> Result<Option<Value>, Failure> {
    let wrong = |what: String| Failure::new(output::USAGE, what);
    let mut text = String::new();
    if from == "-" {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(from).map_err(|error| output::unreadable(from, &error))?;
    }
    if text.trim().is_empty() {
        return Ok(None);
    }
    serde_json::from_str(&text).map(Some).map_err(|error| wrong(format!("{from} is not JSON: {error}.")))
}

fn headers(given: &[String]) -> Result<Option<Map<String, Value>>, Failure> {
    let mut headers = Map::new();
    for header in given {
        let Some((name, value)) = header.split_once(':') else {
            let message = format!("--header {header}: write it as \"Name: value\".");
            return Err(Failure::new(output::USAGE, message));
        };
        headers.insert(name.trim().to_owned(), Value::from(value.trim()));
    }
    Ok((!headers.is_empty()).then_some(headers))
}

fn explain(plan: &Value, requested: Option<&str>) {
    if let Some(line) = model_line(plan, requested) {
        println!("model     {line}");
    }
    if let Some(alias) = plan.get("alias").filter(|alias| !alias.is_null()) {
        let part = |name: &str| output::printable(&output::cell(alias, name));
        println!("alias     {} at {} ({})", part("name"), part("release_id"), part("chosen"));
    }
    let modality = output::cell(plan, "modality");
    if modality != "chat" {
        println!("for       {modality}");
    }
    let route = plan.get("route").filter(|route| !route.is_null());
    println!(
        "route     {}",
        route.map_or("none: the default order".into(), |route| output::cell(route, "id"))
    );
    if let Some(order) = route.and_then(|route| route.get("order")).and_then(Value::as_str) {
        println!("order     {}", output::printable(order));
    }
    for row in list(plan, "attempts") {
        print_row("would serve", row, mode(&output::cell(row, "profile")));
        print_sent(row);
    }
    for fallback in list(plan, "model_fallbacks") {
        print_fallback(fallback);
    }
    if let Some(why) = plan.get("too_long").and_then(Value::as_str) {
        println!("too long    {}: another model is asked at once", output::printable(why));
    }
    if let Some(batch) = plan.get("batch").filter(|batch| !batch.is_null()) {
        print_batch(batch);
    }
    for hook in list(plan, "hooks") {
        let part = |name: &str| output::printable(&output::cell(hook, name));
        println!("hook        {} {}, {} where it is silent", part("at"), part("url"), part("on_silence"));
    }
    for row in list(plan, "rejected") {
        print_row("rejected", row, &output::cell(row, "detail"));
    }
    for (field, title) in [("cheaper", "cheaper"), ("faster", "faster")] {
        let Some(others) = plan.get(field).filter(|others| !others.is_null()) else { continue };
        for row in list(others, "data") {
            print_row(title, row, &output::cell(row, "detail"));
        }
    }
}

/// Who would process a batch, and at what share of the usual price.
fn print_batch(batch: &Value) {
    if output::cell(batch, "execution") == "gateway" {
        let why = output::printable(&output::cell(batch, "why"));
        println!("batch     worked through by the gateway, at the price of single requests: {why}");
        return;
    }
    println!("batch     worked through by its provider");
    for model in list(batch, "models") {
        let price = match model.get("price_percent").and_then(Value::as_u64) {
            Some(percent) => format!("{percent}% of the usual price"),
            None => "an unknown price".to_owned(),
        };
        println!("            {} at {price}", output::printable(&output::cell(model, "upstream_model")));
    }
}

/// Another model, after what it is asked, and who serves it or why nobody does.
fn print_fallback(fallback: &Value) {
    let on: Vec<&str> = list(fallback, "on").iter().filter_map(Value::as_str).collect();
    let title = format!("{} on {}", output::cell(fallback, "model"), on.join(", "));
    println!("or else     {}", output::printable(&title));
    for row in list(fallback, "attempts") {
        print_row("  served", row, mode(&output::cell(row, "profile")));
        print_sent(row);
    }
    if let Some(error) = fallback.get("error").filter(|error| !error.is_null()) {
        println!("  refused   {}", output::printable(&output::cell(error, "detail")));
    }
}

/// What an attempt's provider would not be sent, and what it can't be asked for.
fn print_sent(attempt: &Value) {
    let dropped: Vec<&str> = list(attempt, "dropped_params").iter().filter_map(Value::as_str).collect();
    if !dropped.is_empty() {
        println!("  dropped   {}", output::printable(&dropped.join(", ")));
    }
    if let Some(error) = attempt.get("error").filter(|error| !error.is_null()) {
        println!("  refused   {}", output::printable(&output::cell(error, "detail")));
    }
}

fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
}

/// One candidate: who it is, what it would cost and how fast it was, as far as that is known, and the reason.
fn print_row(title: &str, row: &Value, reason: &str) {
    let nanos = row.pointer("/price/total_nanos").and_then(Value::as_i64);
    let price = nanos.map(|nanos| format!("  at most {}", output::nano_dollars(nanos))).unwrap_or_default();
    let first_byte = row.get("first_byte_ms").and_then(Value::as_u64);
    let first_byte = first_byte.map(|ms| format!("  first byte {ms} ms")).unwrap_or_default();
    let (who, provider) = (output::cell(row, "principal"), output::cell(row, "provider"));
    println!("{title:<11} {who}  {provider}  {}{price}{first_byte}", output::printable(reason));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refused_plan_fails_and_names_the_model() {
        let error = json!({"status": 404, "detail": "Nothing serves echo.", "fix": "Add a credential."});
        let refused = json!({"resolved_model": "", "resolution": "", "error": error});
        let failure = check(&refused, false).unwrap_err();
        assert_eq!((failure.code, failure.message.as_str()), (output::NOT_FOUND, "Nothing serves echo."));
        assert_eq!(failure.fix_text(), Some("Add a credential."));
        assert_eq!(check(&refused, true).unwrap_err().document, Some(refused.clone()));
        assert_eq!(model_line(&refused, Some("echo")).as_deref(), Some("echo (unknown)"));
        assert_eq!(model_line(&refused, None), None);
        let served = json!({"resolved_model": "openai/gpt-4o", "resolution": "bare_name", "error": null});
        assert!(check(&served, false).is_ok());
        assert_eq!(model_line(&served, None).as_deref(), Some("openai/gpt-4o (bare_name)"));
    }
}
