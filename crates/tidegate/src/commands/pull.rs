//! `tidegate pull`: downloads a model from a hub to this machine's disk, resuming where the last pull
//! stopped.

use std::sync::Arc;

use cli::output::{self, Failure};
use cli::progress::Progress;
use cli::shared::Shared;
use egress::{Client, EgressSettings};
use hub::{Endpoint, Event, HubError, Order, Reference, Token};
use serde_json::json;
use tokio::task::LocalSet;
use world::World;

use crate::settings::{Layers, Settings};
use crate::shelf::{self, ModelsDir};
use crate::signals::Stop;

const INTERRUPTED: u8 = 130;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// A short name such as qwen3:0.6b, OWNER/NAME, or OWNER/NAME:TAG for one of several GGUF files.
    model: String,
    /// The hub or mirror to pull from; by default HF_ENDPOINT or the Hugging Face hub.
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// A branch, tag or commit.
    #[arg(long, default_value = "main")]
    revision: String,
    /// One GGUF file of the repository.
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    #[command(flatten)]
    place: ModelsDir,
}

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let failure = |error: HubError| shelf::failure(&error);
    let mut model = Reference::read(&options.model).map_err(failure)?;
    if let Some(file) = &options.file {
        model = model.with_file(file).map_err(failure)?;
    }
    let (endpoint, token) = source(options.from.as_deref()).map_err(failure)?;
    let shelf = options.place.shelf()?;
    let world = World::system();
    let progress = Progress::new(shared.json);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = client()?;
    let entry = LocalSet::new().block_on(&runtime, async {
        let order = Order {
            model: &model,
            revision: &options.revision,
            endpoint: &endpoint,
            token: token.as_ref(),
            store: &shelf,
            client: &client,
            world: &world,
        };
        let on_event = |event: &Event| print_event(&progress, event);
        let mut stop = Stop::listen()?;
        tokio::select! {
            pulled = hub::pull(&order, &on_event) => pulled.map_err(failure),
            () = stop.received() => Err(Failure::new(
                INTERRUPTED,
                "Stopped. What came is kept: the same command goes on from there.",
            )),
        }
    });
    progress.end_line();
    let entry = entry?;
    let memory = hub::memory_of(&entry);
    if shared.json {
        println!("{}", json!({"event": "pulled", "model": shelf::document(&entry, &memory)}));
        return Ok(());
    }
    let (name, files) = (&entry.manifest.name, entry.manifest.files.len());
    println!(
        "{name} is here: {files} files, {}, in {}",
        output::bytes(entry.manifest.bytes),
        entry.directory.display()
    );
    println!("Memory to run it: {}.", shelf::need(&memory));
    Ok(())
}

/// The hub and its token. The environment's token is for the environment's hub: a different one that is named
/// with `--from` does not get it.
fn source(from: Option<&str>) -> Result<(Endpoint, Option<Token>), HubError> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let usual = match set("HF_ENDPOINT") {
        Some(url) => Endpoint::read(&url)?,
        None => Endpoint::usual()?,
    };
    let endpoint = from.map(Endpoint::read).transpose()?.unwrap_or_else(|| usual.clone());
    let token = set("HF_TOKEN").filter(|_| endpoint.is_same_hub(&usual));
    Ok((endpoint, token.as_deref().map(Token::read).transpose()?))
}

/// The HTTP client, under the egress rules of this machine's settings.
fn client() -> Result<Client, Failure> {
    let layers = Layers::resolve(None, &|name| std::env::var(name).ok(), &[]);
    let settings = layers.and_then(|layers| Settings::check(&layers));
    let settings = settings.map_err(|error| Failure::new(output::USAGE, error.to_string()))?;
    let extra_roots_pem = settings.ca_file.as_ref().map(std::fs::read).transpose()?;
    let settings = EgressSettings {
        allow_private: settings.allow_private_upstreams,
        extra_roots_pem,
        ..EgressSettings::default()
    };
    Ok(Client::new(Arc::new(settings))?)
}

fn print_event(progress: &Progress, event: &Event) {
    match event {
        Event::Started { revision, files, bytes, bytes_here } => {
            progress.begin(*bytes_here);
            let (size, here) = (output::bytes(*bytes), output::bytes(*bytes_here));
            progress.say(
                &format!("{files} files, {size}, of which {here} are here already"),
                &json!({"event": "begun", "revision": revision, "files": files, "bytes": bytes, "bytes_here": bytes_here}),
            );
        }
        Event::Moved { bytes_here, bytes } => progress.moved(*bytes_here, *bytes),
        Event::Checked { file, bytes } => progress.say(
            &format!("{file} is whole ({})", output::bytes(*bytes)),
            &json!({"event": "checked", "file": file, "bytes": bytes}),
        ),
        Event::Waiting { why, wait } => progress.say(
            &format!("{why} Trying again in {}.{} s.", wait.as_secs(), wait.subsec_millis() / 100),
            &json!({"event": "waiting", "why": why, "wait_ms": u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)}),
        ),
    }
}
