//! `tidegate train`: training jobs that produce adapters on the workspace's own runtimes: starts, shows and
//! follows them.

use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::adapters::{OnNode, print_unreachable, query, rows_of};
use crate::api::{self, Api, escape};
use crate::body::Body;
use crate::output::{self, Failure, Form};
use crate::progress;
use crate::shared::Shared;
use terminal::plot;

const POLL_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Starts a training job: sends a file of conversations to a node, which trains an adapter on them.
    Start(Box<Start>),
    /// Lists the jobs of every node that runs `tidegate node`.
    List(OnNode),
    /// Shows a job, its settings and its loss over time.
    Show {
        id: String,
        #[command(flatten)]
        on: OnNode,
    },
    /// Follows a job to its end.
    Watch {
        id: String,
        #[command(flatten)]
        on: OnNode,
    },
    /// Cancels a job.
    Cancel {
        id: String,
        #[command(flatten)]
        on: OnNode,
    },
    /// Pauses a job until it is resumed; the next job runs meanwhile.
    Pause {
        id: String,
        #[command(flatten)]
        on: OnNode,
    },
    /// Resumes a paused job where it stopped.
    Resume {
        id: String,
        #[command(flatten)]
        on: OnNode,
    },
    /// Lists a job's checkpoints, one per epoch; each can be used as a model.
    Checkpoints {
        id: String,
        #[command(flatten)]
        on: OnNode,
    },
}

#[derive(Debug, clap::Args)]
pub struct Start {
    /// A file with one conversation per line, as JSON: {"messages": […]}; - reads standard input.
    file: PathBuf,
    #[command(flatten)]
    on: OnNode,
    /// The base model; optional if the node has only one.
    #[arg(long)]
    model: Option<String>,
    /// The adapter's name; requests name it as MODEL:ADAPTER. By default the job's id.
    #[arg(long)]
    adapter: Option<String>,
    /// Replaces another adapter of that name.
    #[arg(long)]
    replace: bool,
    /// An adapter in the node's folder to continue from.
    #[arg(long, value_name = "DIR")]
    from: Option<String>,
    /// The number of epochs.
    #[arg(long, help_heading = "Training")]
    epochs: Option<u64>,
    /// The adapter's rank.
    #[arg(long, help_heading = "Training")]
    rank: Option<u64>,
    /// The LoRA scaling factor alpha; by default the usual one for the rank.
    #[arg(long, help_heading = "Training")]
    alpha: Option<f64>,
    /// The learning rate, such as 0.0002.
    #[arg(long, help_heading = "Training")]
    rate: Option<f64>,
    /// The number of examples per step.
    #[arg(long, help_heading = "Training")]
    batch_size: Option<u64>,
    /// Validation examples, which are not trained on.
    #[arg(long, help_heading = "Validation")]
    held_out: Option<u64>,
    /// The number of steps between evaluations on the validation set.
    #[arg(long, help_heading = "Validation")]
    held_out_every: Option<u64>,
    /// The seed for shuffling the examples and initializing the adapter.
    #[arg(long, help_heading = "Training")]
    seed: Option<u64>,
    /// Estimates the job without starting it.
    #[arg(long)]
    preview: bool,
    /// Follows the job to its end.
    #[arg(long, conflicts_with = "preview")]
    watch: bool,
}

const PATH: &str = "/v2/train/jobs";
const COLUMNS: [&str; 9] =
    ["id", "node", "status", "model", "adapter", "step", "loss", "held_out_loss", "created_at"];
const CHECKPOINT_COLUMNS: [&str; 5] = ["step", "model", "loss", "held_out_loss", "created_at"];

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    match command {
        Command::Start(start) => begin(shared, &api, *start)?,
        Command::List(on) => {
            let listed = api.get(&format!("{PATH}{}", query(&on)))?;
            let rows: Vec<Value> = rows_of(&listed, "data").iter().map(|job| row(shared, job)).collect();
            output::rows(shared, &rows, &COLUMNS, "No jobs. `tidegate train start FILE` begins one.");
            print_unreachable(&listed);
        }
        Command::Show { id, on } => show(shared, &api, &id, &on)?,
        Command::Watch { id, on } => watch(shared, &api, &id, &on)?,
        Command::Cancel { id, on } => act(shared, &api, (&id, on), ("cancel", "is called off"))?,
        Command::Pause { id, on } => act(shared, &api, (&id, on), ("pause", "is paused"))?,
        Command::Resume { id, on } => act(shared, &api, (&id, on), ("resume", "goes on"))?,
        Command::Checkpoints { id, on } => {
            let listed = api.get(&at(&id, "/checkpoints", &on))?;
            output::rows(shared, rows_of(&listed, "data"), &CHECKPOINT_COLUMNS, "No epoch of it has ended.");
        }
    }
    Ok(())
}

fn act(
    shared: &Shared,
    api: &Api,
    (id, on): (&str, OnNode),
    (what, done): (&str, &str),
) -> Result<(), Failure> {
    let body = Body::new().with_some("node", on.node).build();
    api.post(&format!("{PATH}/{}/{what}", escape(id)), &body)?;
    shared.report(&format!("{id} {done}."));
    Ok(())
}

fn begin(shared: &Shared, api: &Api, start: Start) -> Result<(), Failure> {
    let data = lines_of(&start.file)?;
    let body = Body::new()
        .with("data", data)
        .with_some("node", start.on.node.clone())
        .with_some("model", start.model)
        .with_some("adapter", start.adapter)
        .with_some("replace", start.replace.then_some(true))
        .with_some("init_adapter_dir", start.from)
        .with_some("epochs", start.epochs)
        .with_some("lora_rank", start.rank)
        .with_some("lora_alpha", start.alpha)
        .with_some("lr", start.rate)
        .with_some("batch_size", start.batch_size)
        .with_some("eval_examples", start.held_out)
        .with_some("eval_every", start.held_out_every)
        .with_some("seed", start.seed)
        .build();
    if start.preview {
        output::object(shared, &flat(shared, &api.post("/v2/train/preview", &body)?));
        return Ok(());
    }
    let job = api.post(PATH, &body)?;
    if !start.watch {
        output::object(shared, &flat(shared, &job));
        return Ok(());
    }
    let on = OnNode { node: Some(api::field(&job, "node_id")) };
    if shared.form() == Form::Table {
        println!("{} on {}", output::cell(&job, "id"), output::cell(&job, "node"));
    }
    watch(shared, api, &api::field(&job, "id"), &on)
}

/// The content of a file, or of standard input.
fn lines_of(file: &std::path::Path) -> Result<String, Failure> {
    let wrong = |error: std::io::Error| output::unreadable(file.display(), &error);
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(wrong)?;
        return Ok(text);
    }
    std::fs::read_to_string(file).map_err(wrong)
}

fn at(id: &str, rest: &str, on: &OnNode) -> String {
    format!("{PATH}/{}{rest}{}", escape(id), query(on))
}

/// In a table, a job's row includes its progress.
fn row(shared: &Shared, job: &Value) -> Value {
    if shared.form() != Form::Table {
        return job.clone();
    }
    let mut row = job.clone();
    let of = |name: &str| job.pointer(&format!("/progress/{name}"));
    let steps = of("step").zip(of("of")).map(|(step, of)| format!("{step}/{of}"));
    if let Some(fields) = row.as_object_mut() {
        fields.insert("step".to_owned(), json!(steps));
        fields.insert("loss".to_owned(), of("loss").map_or(Value::Null, rounded));
        fields.insert("held_out_loss".to_owned(), of("held_out_loss").map_or(Value::Null, rounded));
    }
    row
}

/// A job with its nested objects flattened, for a table.
fn flat(shared: &Shared, job: &Value) -> Value {
    let mut flat = job.clone();
    if shared.form() != Form::Table {
        return flat;
    }
    let Some(fields) = flat.as_object_mut() else { return flat };
    for part in ["settings", "outlook", "progress"] {
        let Some(Value::Object(members)) = fields.remove(part) else { continue };
        for (name, value) in members.into_iter().filter(|(_, value)| !value.is_null()) {
            fields.entry(name).or_insert(value);
        }
    }
    flat
}

fn show(shared: &Shared, api: &Api, id: &str, on: &OnNode) -> Result<(), Failure> {
    let job = api.get(&at(id, "", on))?;
    output::object(shared, &flat(shared, &job));
    if shared.form() == Form::Table {
        let mut curve = Curve::default();
        let mut after = 0;
        while let Some(next) = more(api, id, on, after, |event| curve.take(event))? {
            after = next;
        }
        curve.draw();
    }
    Ok(())
}

/// Passes on the events after this one; `None` if there were none.
fn more(
    api: &Api,
    id: &str,
    on: &OnNode,
    after: u64,
    mut on_event: impl FnMut(&Value),
) -> Result<Option<u64>, Failure> {
    let joined = if on.node.is_some() { "&" } else { "?" };
    let page = api.get(&format!("{}{joined}after={after}", at(id, "/events", on)))?;
    let events = rows_of(&page, "data");
    events.iter().for_each(&mut on_event);
    let next = page.get("next").and_then(Value::as_u64).unwrap_or(after);
    Ok((!events.is_empty() && next > after).then_some(next))
}

/// Prints events until the job is over; of progress events that come faster, one for each poll.
fn watch(shared: &Shared, api: &Api, id: &str, on: &OnNode) -> Result<(), Failure> {
    let (mut curve, mut pace, mut after, mut ended) = (Curve::default(), Pace::default(), 0, None);
    while ended.is_none() {
        let mut last = None;
        let polled = more(api, id, on, after, |event| {
            curve.take(event);
            let kind = api::field(event, "kind");
            if matches!(kind.as_str(), "completed" | "failed" | "cancelled") {
                ended = Some((kind.clone(), event.clone()));
            }
            match shared.form() {
                Form::Json => println!("{event}"),
                _ if kind != "progress" => println!("{}", line(event)),
                _ => last = Some(format!("{}{}", line(event), pace.left(event, Instant::now()))),
            }
        });
        match polled {
            Ok(next) => after = next.unwrap_or(after),
            // A gateway or a node that restarts is polled again.
            Err(away) if [output::UNAVAILABLE, output::UPSTREAM].contains(&away.code) => {
                eprintln!("{}", away.message);
            }
            Err(refused) => return Err(refused),
        }
        if let Some(last) = last.filter(|_| ended.is_none()) {
            println!("{last}");
        }
        if ended.is_none() {
            api.pause(POLL_EVERY);
        }
    }
    if shared.form() == Form::Table {
        curve.draw();
    }
    match ended {
        Some((kind, event)) if kind == "failed" => {
            Err(Failure::new(output::FAILED, format!("{id} failed: {}", output::cell(&event, "message"))))
        }
        Some((kind, _)) if kind == "cancelled" => {
            Err(Failure::new(output::FAILED, format!("{id} was called off.")))
        }
        _ => Ok(()),
    }
}

/// An event as a line of text.
fn line(event: &Value) -> String {
    let part = |name: &str| output::printable(&output::cell(event, name));
    let number = |name: &str| event.get(name).filter(|value| value.is_number()).map(rounded);
    let kind = part("kind");
    match kind.as_str() {
        "progress" => {
            let held_out =
                number("held_out_loss").map(|loss| format!("  held out {loss}")).unwrap_or_default();
            let loss = number("loss").unwrap_or(Value::Null);
            format!(
                "step {}/{}  loss {loss}{held_out}  rate {}  {} tokens",
                part("step"),
                part("of"),
                part("learning_rate"),
                part("tokens")
            )
        }
        "started" | "resumed" => format!("{kind} at step {} of {}", part("step"), part("of")),
        "completed" => format!("completed: ask for {}", part("model")),
        "failed" => format!("failed: {}", part("message")),
        _ => kind,
    }
}

/// A loss rounded to four decimals.
fn rounded(value: &Value) -> Value {
    value.as_f64().map_or(Value::Null, |number| json!((number * 10_000.0).round() / 10_000.0))
}

/// How fast a job goes since it is watched.
#[derive(Debug, Default)]
struct Pace(Option<(Instant, u64)>);

impl Pace {
    /// The time left, once two steps were seen.
    fn left(&mut self, event: &Value, now: Instant) -> String {
        let number = |name: &str| event.get(name).and_then(Value::as_u64);
        let (Some(step), Some(of)) = (number("step"), number("of")) else { return String::new() };
        let (began, first) = *self.0.get_or_insert((now, step));
        let done = step.saturating_sub(first);
        let passed_ms = u64::try_from(now.duration_since(began).as_millis()).unwrap_or(u64::MAX);
        match of.saturating_sub(step).saturating_mul(passed_ms).checked_div(done) {
            Some(left_ms) => format!("  {} left", progress::clock(left_ms / 1_000)),
            None => String::new(),
        }
    }
}

/// How the losses of a job went.
#[derive(Debug, Default)]
struct Curve {
    learned: Vec<f64>,
    held_out: Vec<f64>,
}

impl Curve {
    fn take(&mut self, event: &Value) {
        let number = |name: &str| event.get(name).and_then(Value::as_f64);
        self.learned.extend(number("loss"));
        self.held_out.extend(number("held_out_loss"));
    }

    /// Draws the curves, oldest loss on the left.
    fn draw(&self) {
        for (name, losses) in [("loss", &self.learned), ("held out", &self.held_out)] {
            if let (Some(first), Some(last), true) = (losses.first(), losses.last(), losses.len() > 1) {
                println!("{name:<8}  {}  {first:.4} to {last:.4}", plot::curve(losses));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_steps_to_go() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        let at = |step: u64| json!({"step": step, "of": 1_000});
        assert_eq!(pace.left(&at(100), began), "", "one step has no rate");
        let later = began + Duration::from_secs(50);
        assert_eq!(pace.left(&at(200), later), "  6 min 40 s left");
        assert_eq!(pace.left(&json!({"kind": "resumed"}), later), "");
    }
}
