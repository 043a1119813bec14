//! `tidegate plan`: what would serve a model and why, without sending anything.

use serde_json::Value;

use crate::api::Api;
use crate::body::Body;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Args)]
pub struct Options {
    model: String,
    #[arg(long)]
    project: Option<String>,
    #[arg(long)]
    environment: Option<String>,
    /// The modality (chat, embedding, image, audio, video, rerank, moderation, realtime); by default the model's own.
    #[arg(long)]
    modality: Option<String>,
    /// The dialect of the request: chat (default), responses, anthropic, gemini, converse or run.
    #[arg(long)]
    dialect: Option<String>,
    /// The request tag to plan for.
    #[arg(long)]
    tag: Option<String>,
}

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let body = Body::new()
        .with("model", &options.model)
        .with_some("project_id", options.project.as_ref())
        .with_some("modality", options.modality.as_ref())
        .with_some("dialect", options.dialect.as_ref())
        .with_some("environment", options.environment.as_ref())
        .with_some("tag", options.tag.as_ref())
        .build();
    let plan = Api::connect(shared)?.post("/v2/plan", &body)?;
    if shared.json {
        println!("{plan}");
    } else {
        explain(&plan);
    }
    Ok(())
}

fn explain(plan: &Value) {
    println!("model     {} ({})", output::cell(plan, "resolved_model"), output::cell(plan, "resolution"));
    let modality = output::cell(plan, "modality");
    if modality != "chat" {
        println!("for       {modality}");
    }
    let route = plan.get("route").filter(|route| !route.is_null());
    println!(
        "route     {}",
        route.map_or("none: the broker's own order".into(), |route| output::cell(route, "id"))
    );
    let lists = [("attempts", "would serve"), ("rejected", "rejected")];
    for (field, title) in lists {
        let rows = plan.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for row in rows {
            let reason =
                if field == "attempts" { output::cell(row, "profile") } else { output::cell(row, "detail") };
            let who = output::cell(row, "principal");
            println!("{title:<11} {who}  {}  {}", output::cell(row, "provider"), output::printable(&reason));
        }
    }
    if let Some(error) = plan.get("error").filter(|error| !error.is_null()) {
        println!("refused   {}", output::printable(&output::cell(error, "detail")));
    }
}
