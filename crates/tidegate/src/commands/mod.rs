//! The list of commands. Those that work on this machine have a file each here; the others only talk to a gateway and are
//! in the `cli` crate.

#[cfg(test)]
mod argument_tests;
mod audit;
mod backup;
mod completions;
mod config;
mod data_planes;
mod diagnostics;
mod doctor;
mod endpoint_picker;
mod gateway;
mod greeting;
mod help;
mod init;
mod invoice_check;
mod ledger;
mod man;
mod models;
pub(crate) mod node;
#[cfg(feature = "peers")]
mod node_fetch;
mod node_join;
mod node_joined;
mod node_workers;
mod owner_link;
mod pull;
mod receipt;
mod reconcile;
#[cfg(test)]
mod reference;
mod removal;
mod replay;
mod serve;
mod trusted_key;
mod up;
mod vault;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use cli::commands::{
    account, adapters, agent, alert, alias, artifact, batch, billing, budget, cache, call, capability, chat,
    commitments, connect, content, context, credential, data_export, data_path, erase, file, flow, health,
    hints, hold, jobs, key, login, logs, mcp_server, member, nodes, open, own_app, plan, policy, project,
    purge, request, route, secret, session, status, subscription, tariff, task, tool, top, train, usage,
    webhook, workspace,
};
use cli::output::{self, Failure, Form};
use cli::shared::Shared;
use declared::{apply, export};

/// Tokens three ways behind one API: your provider keys, the operator's accounts, your own hardware.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, propagate_version = true, disable_help_flag = true)]
pub struct Arguments {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Option<Command>,
    /// What the command removes, if it does.
    #[arg(skip)]
    removal: Option<removal::Removal>,
}

impl Arguments {
    /// The command line of this process; what is wrong with it, or help that it asks for, ends the process.
    pub fn of_process() -> Self {
        let mut tree = tree();
        let words = arguments::as_defined(&tree, std::env::args_os().collect());
        let matches = tree.try_get_matches_from_mut(words.clone());
        let matches = matches.unwrap_or_else(|error| arguments::secret(&mut tree, &words, error).exit());
        let removal = removal::of(&matches);
        match Self::from_arg_matches(&matches) {
            Ok(arguments) => Self { removal, ..arguments },
            Err(error) => error.exit(),
        }
    }
}

/// All commands with their help.
fn tree() -> clap::Command {
    help::dress(Arguments::command())
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts everything on this machine: the gateway, its console and a demo node with a small model.
    Up(up::Options),
    /// Creates a data directory: master key, database, first workspace, project and keys.
    Init(init::Options),
    /// Runs the gateway with its control plane. The first start creates `./data`; use `tidegate init` for any other directory.
    Serve(serve::Options),
    /// Runs a data plane: the gateway alone, configured by a control plane elsewhere, which it joins at its first start.
    Gateway(gateway::Options),
    /// Runs a model on this machine behind the OpenAI API.
    Node(Box<node::Options>),
    #[command(flatten)]
    Hardware(Hardware),
    /// Manages API keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Manages provider credentials of your own (BYOK).
    #[command(subcommand)]
    Credential(credential::Command),
    /// Manages tokens of vendors' subscriptions, which the operator has to enable first.
    #[command(subcommand)]
    Subscription(subscription::Command),
    /// Manages the operator's pooled provider accounts.
    #[command(subcommand)]
    Account(account::Command),
    /// Manages routes: which profiles and credentials serve which requests.
    #[command(subcommand)]
    Route(route::Command),
    /// Manages policies: which targets a project's requests may reach, regardless of routes.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Manages stored hints: how clients want requests to be served, under an id that requests refer to.
    #[command(subcommand)]
    Hints(hints::Command),
    #[command(flatten)]
    Stored(Stored),
    /// Manages aliases: model names of your own, with releases, canaries and rollbacks.
    #[command(subcommand)]
    Alias(alias::Command),
    /// Manages projects.
    #[command(subcommand)]
    Project(project::Command),
    /// Measures what the semantic response cache would do.
    #[command(subcommand)]
    Cache(cache::Command),
    /// Applies a document to the workspace, and shows the changes.
    Apply(apply::Options),
    /// Writes the workspace's configuration and data to files.
    Export(export::Options),
    /// Signs in on this machine: you confirm a code in your browser.
    Login(login::Options),
    /// Signs out on this machine.
    Logout,
    /// Shows whose key you use, and for which gateway.
    Whoami,
    /// Manages the gateways that this machine is signed in to.
    #[command(subcommand)]
    Context(context::Command),
    /// Manages the members of a workspace.
    #[command(subcommand)]
    Member(member::Command),
    /// Manages workspaces.
    #[command(subcommand)]
    Workspace(workspace::Command),
    /// Shows and rotates the keys that encrypt all secrets.
    #[command(subcommand)]
    Vault(vault::Command),
    /// Explains what would serve a model, and why, without sending anything.
    Plan(plan::Options),
    /// Shows usage.
    Usage(usage::Options),
    /// Shows what is being served, refreshed every two seconds.
    Top(top::Options),
    /// Shows costs by mode, prepaid credit and invoices.
    Billing(billing::Options),
    /// Shows or sets what the operator charges in addition to tokens.
    #[command(subcommand)]
    Tariff(tariff::Command),
    /// Manages alert rules: a metric of your requests, and the value above which an event is sent.
    #[command(subcommand)]
    Alert(alert::Command),
    /// Manages the webhooks that receive this workspace's events.
    #[command(subcommand)]
    Webhook(webhook::Command),
    /// Manages budgets.
    #[command(subcommand)]
    Budget(budget::Command),
    /// Shows how much of each credential's committed spend is used, with a forecast.
    Commitments,
    /// Shows the health of credentials, accounts and nodes: circuit breakers, pauses, load and speed.
    Health,
    /// Shows one request by its request id, or lists the latest.
    #[command(visible_alias = "requests")]
    Request(request::Options),
    /// Follows requests.
    #[command(subcommand)]
    Logs(logs::Command),
    /// Shows who saw the metadata or content of requests, where, under whose key, and how long they retain it.
    DataPath(data_path::Options),
    /// Shows the audit log, and exports and verifies proofs of it.
    Audit(audit::Options),
    /// Purges stored data of requests, with a signed receipt.
    #[command(subcommand)]
    Purge(purge::Command),
    /// Exports the workspace's data, without secrets.
    #[command(subcommand)]
    DataExport(data_export::Command),
    /// Erases a person or a workspace, with a signed receipt.
    #[command(subcommand)]
    Erase(erase::Command),
    /// Places legal holds on stored content, so that nobody deletes or purges it.
    #[command(subcommand)]
    Hold(hold::Command),
    /// Sets which content projects keep of their requests, shows it, and replays it on other models.
    #[command(subcommand)]
    Content(content::Command),
    /// Verifies signed receipts, offline.
    #[command(subcommand)]
    Receipt(receipt::Command),
    /// Reports how well a workload reuses prompts and what missed reuse costs, and verifies such reports.
    #[command(subcommand)]
    Diagnostics(diagnostics::Command),
    /// Sends stored requests to a candidate and reports how it did: the evidence that a node needs before traffic moves to it.
    #[command(subcommand)]
    Replay(replay::Command),
    /// Verifies the ledger.
    #[command(subcommand)]
    Ledger(ledger::Command),
    /// Compares a provider's exports of usage and costs with the requests that it served.
    Reconcile(reconcile::Reconcile),
    /// Downloads a model from a hub, and resumes an interrupted download.
    Pull(pull::Options),
    /// Lists the known models, their sellers and their prices, or manages the models on this machine.
    Models(models::Models),
    /// Shows what providers and their models support, with the sources.
    Capabilities(models::Options),
    /// Shows one provider's facts and their revisions, and overrides the built-in ones.
    #[command(subcommand)]
    Capability(capability::Command),
    /// Shows the gateway's job queue, and the jobs that it gave up on.
    Jobs,
    /// Copies an installation into a directory, while it serves.
    Backup(backup::Backup),
    /// Restores a backup into an empty data directory.
    Restore(backup::Restore),
    /// Explains the settings.
    #[command(subcommand)]
    Config(config::Command),
    /// Checks an installation for problems, and says how to fix them.
    Doctor(doctor::Options),
    /// Sends a prompt to a model, or starts a conversation in a terminal.
    #[command(
        visible_alias = "run",
        override_usage = "tidegate chat [OPTIONS] <MODEL> [PROMPT]...\n       tidegate run [OPTIONS] <APP> --input <INPUT>..."
    )]
    Chat(chat::Options),
    /// Sets up a tool, such as Claude Code or Codex, to use the gateway, and verifies one call.
    Connect(connect::Options),
    /// Opens a page of the console.
    Open(open::Options),
    /// Calls any path of the API.
    Api(call::Options),
    #[command(flatten)]
    Program(Program),
}

impl Command {
    /// # Errors
    /// `--dry-run` was given to what works on this machine: nothing there could only be tried.
    fn check_dry_run(&self, shared: &Shared) -> Result<(), Failure> {
        let is_here = matches!(
            self,
            Self::Up(_)
                | Self::Init(_)
                | Self::Serve(_)
                | Self::Gateway(_)
                | Self::Node(_)
                | Self::Login(_)
                | Self::Logout
                | Self::Context(_)
                | Self::Vault(_)
                | Self::Pull(_)
                | Self::Models(_)
                | Self::Backup(_)
                | Self::Restore(_)
                | Self::Export(_)
                | Self::Hardware(Hardware::EndpointPicker(_) | Hardware::Train(_))
                | Self::Stored(Stored::File(_))
        );
        if shared.dry_run && is_here {
            return Err(Failure::new(output::USAGE, "This command has no dry run: leave --dry-run out."));
        }
        Ok(())
    }
}

/// What is about the program itself.
#[derive(Debug, Subcommand)]
enum Program {
    /// Prints a shell's completion script.
    Completions(completions::Options),
    /// Writes the manual: a man page of each command.
    Man(man::Options),
    /// Prints the version.
    Version,
}

impl Program {
    fn run(self, shared: &Shared) -> Result<(), Failure> {
        match self {
            Self::Completions(options) => completions::run(&options),
            Self::Man(options) => man::run(&options),
            Self::Version if shared.json => {
                println!("{}", serde_json::json!({"version": env!("CARGO_PKG_VERSION")}));
                Ok(())
            }
            Self::Version => {
                print!("{}", tree().render_version());
                Ok(())
            }
        }
    }
}

/// What is about the hardware that serves.
#[derive(Debug, Subcommand)]
enum Hardware {
    /// Manages the data planes that serve this workspace elsewhere.
    #[command(subcommand)]
    DataPlanes(data_planes::Command),
    /// Manages the nodes that serve this workspace.
    #[command(subcommand)]
    Nodes(nodes::Command),
    /// Picks a model server of a pool for each request of a Kubernetes inference gateway.
    EndpointPicker(Box<endpoint_picker::Options>),
    /// Manages the adapters of nodes that run `tidegate node`.
    #[command(subcommand)]
    Adapters(adapters::Command),
    /// Manages training on nodes that run `tidegate node`.
    #[command(subcommand)]
    Train(train::Command),
}

impl Hardware {
    fn run(self, shared: &Shared) -> Result<(), Failure> {
        match self {
            Self::DataPlanes(command) => data_planes::run(shared, command),
            Self::Nodes(command) => nodes::run(shared, command),
            Self::EndpointPicker(options) => endpoint_picker::run(&options),
            Self::Adapters(command) => adapters::run(shared, command),
            Self::Train(command) => train::run(shared, command),
        }
    }
}

/// What is about things that clients store.
#[derive(Debug, Subcommand)]
enum Stored {
    /// Manages agent sessions: branches of events, forks and snapshots.
    #[command(subcommand)]
    Session(session::Command),
    /// Manages agents and chats with them.
    #[command(subcommand)]
    Agent(agent::Command),
    /// Manages tools: functions and HTTP calls that a project offers its models.
    #[command(subcommand)]
    Tool(tool::Command),
    /// Manages MCP servers whose tools a project offers its models.
    #[command(subcommand)]
    McpServer(mcp_server::Command),
    /// Manages apps: HTTP servers that a project runs by one call.
    #[command(subcommand)]
    App(own_app::Command),
    /// Manages named secrets, which are sent to a project's apps.
    #[command(subcommand)]
    Secret(secret::Command),
    /// Manages artifacts: content that never changes, which sessions refer to.
    #[command(subcommand)]
    Artifact(artifact::ArtifactCommand),
    /// Manages bundles: ordered lists of artifacts.
    #[command(subcommand)]
    Bundle(artifact::BundleCommand),
    /// Shows and cancels tasks: runs of apps.
    #[command(subcommand)]
    Task(task::Command),
    /// Manages flows: steps that a project declares, and their runs.
    #[command(subcommand)]
    Flow(flow::Command),
    /// Shows and cancels batches.
    #[command(subcommand)]
    Batch(batch::Command),
    /// Uploads, lists, reads and deletes files.
    #[command(subcommand)]
    File(file::Command),
}

impl Stored {
    fn run(self, shared: &Shared) -> Result<(), Failure> {
        match self {
            Self::Session(command) => session::run(shared, command),
            Self::Agent(command) => agent::run(shared, command),
            Self::Tool(command) => tool::run(shared, command),
            Self::McpServer(command) => mcp_server::run(shared, command),
            Self::App(command) => own_app::run(shared, command),
            Self::Secret(command) => secret::run(shared, command),
            Self::Artifact(command) => artifact::run_artifact(shared, command),
            Self::Bundle(command) => artifact::run_bundle(shared, command),
            Self::Task(command) => task::run(shared, command),
            Self::Flow(command) => flow::run(shared, command),
            Self::Batch(command) => batch::run(shared, command),
            Self::File(command) => file::run(shared, command),
        }
    }
}

/// Runs one command to its end.
///
/// # Errors
/// What failed, with the exit code for it.
pub fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { mut shared, command, removal } = arguments;
    // A variable that is set to nothing is as good as unset.
    shared.url = shared.url.filter(|url| !url.is_empty());
    shared.context = shared.context.filter(|context| !context.is_empty());
    shared.json |= shared.output == Some(Form::Json) || shared.jq.is_some();
    if let Some(filter) = &shared.jq {
        cli::jq::set(filter)?;
    }
    let allowed = removal.map_or(Ok(()), |removal| removal.allowed(&shared));
    let result = allowed.and_then(|()| match command {
        Some(command) => command.check_dry_run(&shared).and_then(|()| carry_out(&shared, command)),
        None => show_start(&shared),
    });
    result.map_err(|failure| Failure { json: shared.json, ..failure })
}

/// What a person sees who names no command: where they are, or how to begin.
fn show_start(shared: &Shared) -> Result<(), Failure> {
    if shared.names_a_gateway() {
        return status::run(shared);
    }
    tree().print_help()?;
    Ok(())
}

fn carry_out(shared: &Shared, command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(options) => up::run(&options),
        Command::Init(options) => init::run(shared, &options),
        Command::Serve(options) => serve::run(&options),
        Command::Gateway(options) => gateway::run(&options),
        Command::Node(options) => node::run(&options),
        Command::Hardware(command) => command.run(shared),
        Command::Key(command) => key::run(shared, command),
        Command::Credential(command) => credential::run(shared, command),
        Command::Subscription(command) => subscription::run(shared, command),
        Command::Account(command) => account::run(shared, command),
        Command::Route(command) => route::run(shared, command),
        Command::Policy(command) => policy::run(shared, command),
        Command::Hints(command) => hints::run(shared, command),
        Command::Stored(command) => command.run(shared),
        Command::Alias(command) => alias::run(shared, command),
        Command::Project(command) => project::run(shared, command),
        Command::Cache(command) => cache::run(shared, command),
        Command::Apply(options) => apply::run(shared, &options),
        Command::Export(options) => export::run(shared, &options),
        Command::Context(command) => context::run(shared, command),
        Command::Audit(options) => audit::run(shared, options),
        Command::Purge(command) => purge::run(shared, command),
        Command::DataExport(command) => data_export::run(shared, command),
        Command::Erase(command) => erase::run(shared, command),
        Command::Hold(command) => hold::run(shared, command),
        Command::Content(command) => content::run(shared, command),
        Command::Receipt(command) => receipt::run(shared, command),
        Command::Open(options) => open::run(shared, &options),
        Command::Api(options) => call::run(shared, &options),
        Command::Login(options) => log_in(shared, &options),
        Command::Logout => login::out(shared),
        Command::Whoami => login::whoami(shared),
        Command::Member(command) => member::run(shared, command),
        Command::Workspace(command) => workspace::run(shared, command),
        Command::Vault(command) => vault::run(shared, command),
        Command::Plan(options) => plan::run(shared, &options),
        Command::Usage(options) => usage::run(shared, &options),
        Command::Top(options) => top::run(shared, &options),
        Command::Billing(options) => billing::run(shared, &options),
        Command::Tariff(command) => tariff::run(shared, command),
        Command::Alert(command) => alert::run(shared, command),
        Command::Webhook(command) => webhook::run(shared, command),
        Command::Budget(command) => budget::run(shared, command),
        Command::Commitments => commitments::run(shared),
        Command::Health => health::run(shared),
        Command::Request(options) => request::run(shared, &options),
        Command::Logs(command) => logs::run(shared, command),
        Command::DataPath(options) => data_path::run(shared, &options),
        Command::Diagnostics(command) => diagnostics::run(shared, command),
        Command::Ledger(command) => ledger::run(shared, &command),
        Command::Jobs => jobs::run(shared),
        Command::Replay(command) => replay::run(shared, command),
        Command::Reconcile(options) => reconcile::run(shared, &options),
        Command::Pull(options) => pull::run(shared, &options),
        Command::Models(options) => models::models(shared, options),
        Command::Capabilities(options) => models::capabilities(shared, &options),
        Command::Capability(command) => capability::run(shared, command),
        Command::Backup(options) => backup::backup(shared, &options),
        Command::Restore(options) => backup::restore(shared, &options),
        Command::Config(command) => config::run(shared, &command),
        Command::Doctor(options) => doctor::run(shared, &options),
        Command::Chat(options) => chat::run(shared, &options),
        Command::Connect(options) => connect::run(shared, &options),
        Command::Program(command) => command.run(shared),
    }
}

/// Signs in at a gateway, or makes a link for the owner of a data directory.
fn log_in(shared: &Shared, options: &login::Options) -> Result<(), Failure> {
    match options.data_dir() {
        Some(data_dir) => owner_link::run(shared, data_dir),
        None => login::run(shared, options),
    }
}
