//! `tidegate webhook`: the endpoints that receive a workspace's events.

use serde_json::{Value, json};

use super::tail::{Tail, cells};
use crate::api::Api;
use crate::body::Body;
use crate::collection::Collection;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Adds a webhook and prints the secret for checking its signatures, which isn't shown again.
    Add {
        /// An https URL on port 443 or 8443; with --format email, a member's email address.
        // Not `url`: that is the gateway's, which every command takes.
        #[arg(value_name = "URL")]
        receiver: String,
        /// standard (default): signed documents; slack: messages for a chat's incoming webhook; email: emails to a member.
        #[arg(long)]
        format: Option<String>,
        #[command(flatten)]
        quiet: Quiet,
        /// The events to deliver, such as credential.invalid; by default all.
        #[arg(long = "event", value_delimiter = ',')]
        events: Vec<String>,
        #[arg(long)]
        description: Option<String>,
    },
    /// Lists webhooks.
    List,
    /// Shows one webhook.
    Show { id: String },
    /// Changes a webhook; its secret stays.
    Set {
        id: String,
        /// Another address for the events.
        #[arg(long, value_name = "URL")]
        to: Option<String>,
        #[command(flatten)]
        quiet: Quiet,
        /// The events to deliver, which replace the current ones.
        #[arg(long = "event", value_delimiter = ',')]
        events: Vec<String>,
        #[arg(long)]
        description: Option<String>,
    },
    /// Sends a test event immediately, and shows the result.
    Test { id: String },
    /// Creates a new signing secret; the old one also signs for another day.
    Rotate { id: String },
    /// Enables a disabled webhook again.
    Enable { id: String },
    /// Disables a webhook: nothing is delivered to it.
    Disable { id: String },
    /// Removes a webhook; pending deliveries aren't sent.
    Remove { id: String },
    /// Lists a webhook's deliveries and their results, newest first.
    Deliveries { id: String },
    /// Sends an event again, with the same id, so that the receiver can recognise it, and a new signature.
    Resend {
        id: String,
        /// The event (`evt_…`), as `deliveries` lists it.
        event: String,
    },
    /// Shows new deliveries as they happen, until interrupted.
    Tail {
        id: String,
        /// The number of entries to start with.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
}

#[derive(Debug, clap::Args)]
pub struct Quiet {
    /// Quiet hours, during which events wait, such as 22:00-07:00.
    #[arg(long = "quiet", value_name = "FROM-TO")]
    quiet_hours: Option<String>,
    /// The offset from UTC for --quiet, such as +02:00; by default UTC.
    #[arg(
        long = "quiet-offset",
        value_name = "OFFSET",
        requires = "quiet_hours",
        allow_hyphen_values = true
    )]
    offset: Option<String>,
}

impl Quiet {
    fn read(self) -> Result<Option<Value>, Failure> {
        let Some(hours) = self.quiet_hours else { return Ok(None) };
        let Some((from, to)) = hours.split_once('-') else {
            let message =
                format!("\"{}\" is not a span of hours; write 22:00-07:00", output::printable(&hours));
            return Err(Failure::new(output::USAGE, message));
        };
        let window = Body::new().with("from", from).with("to", to).with_some("utc_offset", self.offset);
        Ok(Some(window.build()))
    }
}

const PATH: &str = "/v2/webhooks";
const COLUMNS: [&str; 7] =
    ["event_id", "type", "status", "attempts", "last_status", "last_error", "created_at"];

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let webhooks = Collection::connect(shared, PATH)?;
    let (api, at) = (&webhooks.api, |id: &str| webhooks.at(id));
    match command {
        Command::Add { receiver, format, quiet, events, description } => {
            let body = Body::new()
                .with("url", receiver)
                .with_some("format", format)
                .with_some("quiet_hours", quiet.read()?)
                .with_list("events", &events)
                .with_some("description", description)
                .build();
            webhooks.create(&body)?;
        }
        Command::List => output::list(
            shared,
            &json!({"data": api.get_all(PATH)?}),
            &["id", "url", "events", "status", "description"],
            "No webhooks. `tidegate webhook add URL` adds one.",
        ),
        Command::Show { id } => webhooks.show(&id)?,
        Command::Set { id, to, quiet, events, description } => {
            let body = Body::new()
                .with_some("url", to)
                .with_some("quiet_hours", quiet.read()?)
                .with_list("events", &events)
                .with_some("description", description);
            webhooks.change(&id, &body.build())?;
        }
        Command::Test { id } => test(shared, &api.post(&format!("{}/test", at(&id)), &json!({}))?)?,
        Command::Rotate { id } => {
            output::object(shared, &api.post(&format!("{}/rotate", at(&id)), &json!({}))?);
        }
        Command::Enable { id } => {
            webhooks.change(&id, &json!({"status": "active"}))?;
        }
        Command::Disable { id } => {
            webhooks.change(&id, &json!({"status": "disabled"}))?;
        }
        Command::Remove { id } => webhooks.remove(&id)?,
        Command::Deliveries { id } => output::list(
            shared,
            &api.get(&format!("{}/deliveries", at(&id)))?,
            &COLUMNS,
            "Nothing was sent yet. `tidegate webhook test ID` sends a test.",
        ),
        Command::Resend { id, event } => {
            let body = json!({"event_id": event});
            output::object(shared, &api.post(&format!("{}/resend", at(&id)), &body)?);
        }
        Command::Tail { id, limit } => tail(shared, api, &format!("{}/deliveries", at(&id)), limit)?,
    }
    Ok(())
}

fn tail(shared: &Shared, api: &Api, deliveries: &str, limit: u32) -> Result<(), Failure> {
    let line_columns = ["created_at", "status", "type", "event_id", "attempts", "last_status", "last_error"];
    let tail = Tail {
        first: format!("{deliveries}?limit={limit}"),
        then: format!("{deliveries}?limit=100"),
        columns: &COLUMNS,
        identity_fields: &["event_id", "status", "attempts"],
        line: &|row| cells(row, &line_columns),
    };
    tail.follow(shared, api)
}

fn test(shared: &Shared, report: &Value) -> Result<(), Failure> {
    output::object(shared, report);
    if report.get("delivered").and_then(Value::as_bool) == Some(true) {
        return Ok(());
    }
    Err(Failure::new(output::UPSTREAM, "The receiver did not take the test."))
}
