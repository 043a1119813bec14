//! `tidegate pull`: downloads a model from a hub to this machine's disk, resuming where the last pull
//! stopped.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use cli::output::{self, Failure};
use cli::shared::Shared;
use egress::{Client, EgressSettings};
use hub::{Endpoint, Event, HubError, Order, Reference, Token};
use serde_json::{Value, json};
use tokio::task::LocalSet;
use world::World;

use crate::settings::{Layers, Settings};
use crate::shelf::{self, ModelsDir};
use crate::signals::Stop;

const INTERRUPTED: u8 = 130;
/// A terminal is written to at most so often, a pipe far less.
const REDRAW_EVERY: Duration = Duration::from_millis(100);
const LINE_EVERY: Duration = Duration::from_secs(10);
const DOCUMENT_EVERY: Duration = Duration::from_secs(1);

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

/// Shows how far a pull is.
struct ProgressPrinter {
    world: World,
    how: ProgressStyle,
    every: Duration,
    last_printed_us: Cell<Option<u64>>,
    started_us: Cell<u64>,
    bytes_at_start: Cell<u64>,
    is_line_open: Cell<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ProgressStyle {
    Terminal,
    Lines,
    Documents,
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
    let printer = ProgressPrinter::new(&world, shared.json);
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
        let on_event = |event: &Event| printer.print_event(event);
        let mut stop = Stop::listen()?;
        tokio::select! {
            pulled = hub::pull(&order, &on_event) => pulled.map_err(failure),
            () = stop.received() => Err(Failure::new(
                INTERRUPTED,
                "Stopped. What came is kept: the same command goes on from there.",
            )),
        }
    });
    printer.end_line();
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

impl ProgressPrinter {
    fn new(world: &World, json: bool) -> Self {
        let (how, every) = match (json, std::io::stderr().is_terminal()) {
            (true, _) => (ProgressStyle::Documents, DOCUMENT_EVERY),
            (false, true) => (ProgressStyle::Terminal, REDRAW_EVERY),
            (false, false) => (ProgressStyle::Lines, LINE_EVERY),
        };
        Self {
            world: world.clone(),
            how,
            every,
            last_printed_us: Cell::new(None),
            started_us: Cell::new(0),
            bytes_at_start: Cell::new(0),
            is_line_open: Cell::new(false),
        }
    }

    fn print_event(&self, event: &Event) {
        match event {
            Event::Started { revision, files, bytes, bytes_here } => {
                self.started_us.set(self.world.clock.monotonic_us());
                self.bytes_at_start.set(*bytes_here);
                let (size, here) = (output::bytes(*bytes), output::bytes(*bytes_here));
                self.say(
                    &format!("{files} files, {size}, of which {here} are here already"),
                    &json!({"event": "begun", "revision": revision, "files": files, "bytes": bytes, "bytes_here": bytes_here}),
                );
            }
            Event::Moved { bytes_here, bytes } => self.moved(*bytes_here, *bytes),
            Event::Checked { file, bytes } => self.say(
                &format!("{file} is whole ({})", output::bytes(*bytes)),
                &json!({"event": "checked", "file": file, "bytes": bytes}),
            ),
            Event::Waiting { why, wait } => self.say(
                &format!("{why} Trying again in {}.{} s.", wait.as_secs(), wait.subsec_millis() / 100),
                &json!({"event": "waiting", "why": why, "wait_ms": u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)}),
            ),
        }
    }

    fn moved(&self, here: u64, all: u64) {
        let now_us = self.world.clock.monotonic_us();
        let since_us =
            now_us.saturating_sub(self.last_printed_us.get().unwrap_or_else(|| self.started_us.get()));
        if u128::from(since_us) < self.every.as_micros() {
            return;
        }
        self.last_printed_us.set(Some(now_us));
        let passed_us = now_us.saturating_sub(self.started_us.get()).max(1);
        let fetched = u128::from(here.saturating_sub(self.bytes_at_start.get()));
        let rate = u64::try_from(fetched * 1_000_000 / u128::from(passed_us)).unwrap_or(u64::MAX);
        let left_s = all.saturating_sub(here).checked_div(rate);
        let text = line(here, all, rate, left_s);
        match self.how {
            ProgressStyle::Terminal => {
                // A closed terminal is reported by the next print.
                let _ = write!(std::io::stderr(), "\r\u{1b}[2K{text}");
                let _ = std::io::stderr().flush();
                self.is_line_open.set(true);
            }
            ProgressStyle::Lines => eprintln!("{text}"),
            ProgressStyle::Documents => println!(
                "{}",
                json!({"event": "moved", "bytes_here": here, "bytes": all, "bytes_per_second": rate, "seconds_left": left_s})
            ),
        }
    }

    fn say(&self, text: &str, document: &Value) {
        self.end_line();
        match self.how {
            ProgressStyle::Documents => println!("{document}"),
            ProgressStyle::Terminal | ProgressStyle::Lines => eprintln!("{}", output::printable(text)),
        }
    }

    fn end_line(&self) {
        if self.is_line_open.replace(false) {
            eprintln!();
        }
    }
}

fn line(here: u64, all: u64, rate: u64, left_s: Option<u64>) -> String {
    let percent = here.saturating_mul(100).checked_div(all).unwrap_or(100);
    let left = left_s.map_or_else(String::new, |seconds| format!(", {} left", clock(seconds)));
    format!(
        "{percent:>3} %  {} of {}  {}/s{left}",
        output::bytes(here),
        output::bytes(all),
        output::bytes(rate)
    )
}

fn clock(seconds: u64) -> String {
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_bytes_rate_and_time_left() {
        assert_eq!(
            line(500_000_000, 1_500_000_000, 10_000_000, Some(100)),
            " 33 %  500.0 MB of 1.5 GB  10.0 MB/s, 1 min 40 s left"
        );
        assert_eq!(line(0, 0, 0, None), "100 %  0 B of 0 B  0 B/s");
        assert_eq!((clock(59), clock(7_260)), ("59 s".to_owned(), "2 h 1 min".to_owned()));
    }
}
