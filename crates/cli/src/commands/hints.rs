//! `tidegate hints`: stored hints, which requests refer to with `Agent-Hints-Ref`.

use serde_json::{Map, Value};

use crate::body::Body;
use crate::collection::Collection;
use crate::output::Failure;
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Stores hints. An omitted field states no preference.
    Add {
        #[command(flatten)]
        hints: Box<Hints>,
    },
    /// Lists stored hints.
    List,
    /// Shows stored hints, and which of their fields have no effect.
    Show { id: String },
    /// Changes stored hints; omitted fields don't change.
    Set {
        id: String,
        #[command(flatten)]
        hints: Box<Hints>,
    },
    /// Deletes stored hints. Requests that refer to them are refused.
    Remove { id: String },
}

#[derive(Debug, clap::Args)]
pub struct Hints {
    /// A name for people to recognise them by.
    #[arg(long)]
    name: Option<String>,
    /// The tag that routes may match.
    #[arg(long)]
    tag: Option<String>,
    /// The service class: interactive, standard, background or batch.
    #[arg(long)]
    class: Option<String>,
    /// The target time to the first token, in milliseconds.
    #[arg(long)]
    target_ttft_ms: Option<u64>,
    /// The deadline after which a request is ended, in milliseconds.
    #[arg(long)]
    deadline_ms: Option<u64>,
    /// The priority under overload, from 0 (refused first) to 255; at most what the key allows.
    #[arg(long)]
    priority: Option<u8>,
    /// What may serve after a failure: forbid or `allow_compatible_fallback`.
    #[arg(long)]
    degrade_policy: Option<String>,
    /// Whether an earlier answer may be reused: bypass, allow or prefer.
    #[arg(long)]
    reuse: Option<String>,
    /// Where in the world requests may be served: `us_only`, `eu_only`, global or any.
    #[arg(long)]
    region_policy: Option<String>,
    /// The only profiles that may serve: byok, byoc, managed, subscription.
    #[arg(long = "profile", value_delimiter = ',')]
    profiles: Vec<String>,
    /// project, or strict or `no_openrouter` to forbid the provider that serves in emergencies.
    #[arg(long)]
    data_boundary: Option<String>,
}

impl Hints {
    fn body(self) -> Value {
        let qos = Body::new()
            .with_some("class", self.class)
            .with_some("target_ttft_ms", self.target_ttft_ms)
            .with_some("deadline_ms", self.deadline_ms)
            .with_some("priority", self.priority)
            .with_some("degrade_policy", self.degrade_policy);
        let routing = Body::new()
            .with_some("region_policy", self.region_policy)
            .with_list("execution_profiles", &self.profiles)
            .with_some("data_boundary", self.data_boundary);
        Body::new()
            .with_some("name", self.name)
            .with_some("tag", self.tag)
            .with_some("qos", stated(qos))
            .with_some("reuse", stated(Body::new().with_some("preference", self.reuse)))
            .with_some("routing", stated(routing))
            .build()
    }
}

/// A part of which something is stated.
fn stated(body: Body) -> Option<Value> {
    let built = body.build();
    built.as_object().is_none_or(|fields: &Map<String, Value>| !fields.is_empty()).then_some(built)
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let stored = Collection::connect(shared, "/v2/agent-hints")?;
    match command {
        Command::Add { hints } => stored.create(&hints.body()),
        Command::List => stored.list(
            &["id", "name", "tag", "qos", "reuse", "routing"],
            "No stored hints. `tidegate hints add --class background` stores some.",
        ),
        Command::Show { id } => stored.show(&id),
        Command::Set { id, hints } => stored.change(&id, &hints.body()),
        Command::Remove { id } => stored.remove(&id),
    }
}
