//! What `serve` and `up` print once they serve: where everything is, the keys of a new installation, and what to do first.

use std::sync::Arc;

use api::planner::assumed_caller;
use api::state::Control;
use cli::shared::USUAL_URL;

use super::serve::Opened;

/// Where everything is, and the keys. Printed before anything else can fail, since they are shown once.
pub fn welcome(opened: &Opened<'_>) {
    let Opened { settings, address, console, .. } = opened;
    println!("Tidegate {} ready in {} ms", env!("CARGO_PKG_VERSION"), opened.started.elapsed().as_millis());
    println!("  Console    {}   ({})", console.url, console.remark);
    println!("  API        http://{address}/v1");
    println!("  Data       {}", settings.data_dir.display());
    if let Some(database) = &settings.database {
        println!("  Database   {database}");
    }
    if let Some(founded) = &opened.founded {
        println!();
        println!("  API key    {}   (for applications: it calls models)", founded.api_key);
        println!("  Admin key  {}   (for you: it manages this installation)", founded.admin_key);
        println!("  Both are shown this once, and stored only as hashes.");
    }
}

/// What to do first: ask a model that is there, or get one.
pub fn suggest(opened: &Opened<'_>, model: Option<&str>) {
    println!();
    match model {
        Some(model) => suggest_request(opened, model),
        None => {
            suggest_models(opened);
            println!("To try it without any, stop this and run:");
            println!("  tidegate up --data-dir {}", opened.settings.data_dir.display());
        }
    }
}

/// A request that works, to a model that is there.
pub fn suggest_request(opened: &Opened<'_>, model: &str) {
    println!("Send a request:");
    println!(
        "  curl http://{}/v1/chat/completions -H \"Authorization: Bearer {}\" -H 'Content-Type: application/json' -d \
         '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"What is Tidegate?\"}}]}}'",
        opened.address,
        key_to_send(opened)
    );
}

/// How a gateway without models gets some.
pub fn suggest_models(opened: &Opened<'_>) {
    println!("Connect a model first, with any of these, and {}:", variables(opened));
    println!("  tidegate credential add openai           takes a provider key of yours");
    println!(
        "  tidegate nodes add NAME --base-url URL   takes a server of yours with an OpenAI-compatible API"
    );
    println!("  tidegate nodes invite NAME               makes a token that a node of yours joins with");
    println!("Then ask for one of the models that are there:");
    println!(
        "  curl http://{}/v1/models -H \"Authorization: Bearer {}\"",
        opened.address,
        key_to_send(opened)
    );
}

/// What the command line needs in its environment to manage this installation.
pub fn variables(opened: &Opened<'_>) -> String {
    let key = "the admin key in TIDEGATE_API_KEY";
    let address = opened.address;
    if format!("http://{address}") == USUAL_URL {
        return key.to_owned();
    }
    format!("{key} and TIDEGATE_URL=http://{address}")
}

/// A chat model that the operator's workspace can call now.
pub fn first_model(control: &Control) -> Option<String> {
    let snapshot = control.deps.keeper.current();
    let workspace = Arc::clone(snapshot.workspace(control.operator)?);
    let project = Arc::clone(workspace.projects.first()?);
    let caller = assumed_caller(snapshot, &workspace, project, None)?;
    let models = line::chat_models(&caller, control.deps.world.clock.unix_ms());
    models.into_iter().next().map(|model| model.id)
}

fn key_to_send<'a>(opened: &'a Opened<'_>) -> &'a str {
    opened.founded.as_ref().map_or("$TIDEGATE_API_KEY", |founded| &founded.api_key)
}
