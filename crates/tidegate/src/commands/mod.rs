//! The list of commands: one file for each, with its arguments and the shared options.

mod account;
mod adapters;
mod agreement;
mod apply;
mod audit;
mod backup;
mod billing;
mod budget;
mod call;
mod chat;
mod completions;
mod config;
mod context;
mod credential;
mod doctor;
mod export;
mod hosting;
mod init;
mod invoice_check;
mod jobs;
mod key;
mod ledger;
mod login;
mod member;
mod models;
pub(crate) mod node;
mod node_join;
mod nodes;
mod open;
mod plan;
mod policy;
mod project;
mod pull;
#[cfg(test)]
mod reference;
mod request;
mod route;
mod serve;
mod servers;
mod tail;
mod tariff;
mod train;
mod usage;
mod vault;
mod webhook;
mod workspace;

use clap::{Args, Parser, Subcommand};

use crate::contexts::Contexts;
use crate::output::{Failure, Form};

/// Tokens three ways behind one API: your provider keys, the operator's accounts, your own hardware.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, propagate_version = true, arg_required_else_help = true)]
pub struct Arguments {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Shared {
    /// Prints JSON: one object, or one object a line for lists and streams.
    #[arg(long, global = true)]
    pub json: bool,
    /// How rows are printed: table, json, csv.
    #[arg(long, global = true, value_enum, conflicts_with = "json")]
    pub output: Option<Form>,
    /// Where the gateway listens; http://127.0.0.1:8787 where nothing says otherwise.
    #[arg(long, global = true, env = "TIDEGATE_URL")]
    pub url: Option<String>,
    /// Which of the gateways that `tidegate login` knows.
    #[arg(long, global = true, env = "TIDEGATE_CONTEXT")]
    pub context: Option<String>,
    /// Never asks: what would be asked for must be given or is an error.
    #[arg(long, global = true, env = "TIDEGATE_NO_INPUT")]
    pub no_input: bool,
}

const USUAL_URL: &str = "http://127.0.0.1:8787";

impl Shared {
    /// How rows are printed.
    #[must_use]
    pub fn form(&self) -> Form {
        if self.json { Form::Json } else { self.output.unwrap_or(Form::Table) }
    }

    /// The gateway's address, and the key to use there. A key is only sent where it belongs: the
    /// environment's key to the address given with it, a context's key to that context's gateway.
    ///
    /// # Errors
    /// The contexts can't be read, or the named one does not exist.
    pub fn gateway(&self) -> Result<(String, Option<String>), Failure> {
        let given = self.url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
        let key = std::env::var("TIDEGATE_API_KEY").ok().filter(|key| !key.is_empty());
        if let (Some(key), None) = (key, &self.context) {
            return Ok((given.unwrap_or_else(|| USUAL_URL.to_owned()), Some(key)));
        }
        let contexts = Contexts::read()?;
        let chosen = contexts.choose(self.context.as_deref())?.map(|(_, context)| context.clone());
        Ok(match (given, chosen) {
            (None, Some(context)) => (context.url, Some(context.api_key)),
            (Some(given), Some(context)) if given == context.url => (given, Some(context.api_key)),
            (Some(given), _) => (given, None),
            (None, None) => (USUAL_URL.to_owned(), None),
        })
    }

    /// The address of the gateway to sign in to. The context need not exist: signing in creates it.
    ///
    /// # Errors
    /// The contexts can't be read.
    pub fn address(&self) -> Result<String, Failure> {
        if let Some(given) = &self.url {
            return Ok(given.trim_end_matches('/').to_owned());
        }
        let contexts = Contexts::read()?;
        let known = self.context.as_ref().and_then(|name| contexts.contexts.get(name));
        Ok(known.map_or_else(|| USUAL_URL.to_owned(), |context| context.url.clone()))
    }

    /// Reports success; under `--json` as JSON, for programs that read lines.
    pub fn done(&self, sentence: &str) {
        if self.json {
            println!("{}", serde_json::json!({"ok": true}));
        } else {
            println!("{sentence}");
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Creates a data directory: master key, database, first workspace, project and keys.
    Init(init::Options),
    /// Runs the gateway, its control plane and its books; a first start makes `./data`, and `tidegate init` makes any other
    /// directory.
    Serve(serve::Options),
    /// Runs a model on this machine behind the OpenAI dialect.
    Node(node::Options),
    /// Manages the nodes that serve this workspace.
    #[command(subcommand)]
    Nodes(nodes::Command),
    /// Manages the adapters of the nodes that are runtimes of ours.
    #[command(subcommand)]
    Adapters(adapters::Command),
    /// Manages training on the nodes that are runtimes of ours.
    #[command(subcommand)]
    Train(train::Command),
    /// Manages API keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Manages provider credentials of your own (BYOK).
    #[command(subcommand)]
    Credential(credential::Command),
    /// Manages the operator's pooled provider accounts.
    #[command(subcommand)]
    Account(account::Command),
    /// Manages routes: which profiles and credentials serve which requests.
    #[command(subcommand)]
    Route(route::Command),
    /// Manages policies: what the requests of a project may reach, whatever a route says.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Manages projects.
    #[command(subcommand)]
    Project(project::Command),
    /// Makes the workspace what a document says, and shows what that changes.
    Apply(apply::Options),
    /// Writes the workspace's configuration and data to files.
    Export(export::Options),
    /// Signs this machine in: a person confirms a code in their browser.
    Login(login::Options),
    /// Ends what `login` began.
    Logout,
    /// Shows whose key is used, and where.
    Whoami,
    /// Manages the gateways that this machine is signed in to.
    #[command(subcommand)]
    Context(context::Command),
    /// Manages the people of a workspace.
    #[command(subcommand)]
    Member(member::Command),
    /// Manages workspaces.
    #[command(subcommand)]
    Workspace(workspace::Command),
    /// Shows and changes the keys that seal everything.
    #[command(subcommand)]
    Vault(vault::Command),
    /// Explains what would serve a model, and why, without sending anything.
    Plan(plan::Options),
    /// Shows what was used.
    Usage(usage::Options),
    /// Shows what it costs, by mode, what was paid ahead, and the invoices.
    Billing(billing::Options),
    /// Shows or sets what the operator asks for beside tokens.
    #[command(subcommand)]
    Tariff(tariff::Command),
    /// Manages where this workspace is told of its events.
    #[command(subcommand)]
    Webhook(webhook::Command),
    /// Manages budgets.
    #[command(subcommand)]
    Budget(budget::Command),
    /// Shows one request by the id that SDKs and headers show, or lists the latest.
    #[command(visible_alias = "requests")]
    Request(request::Options),
    /// Shows who did what, and proves and checks it.
    Audit(audit::Options),
    /// Checks the books.
    #[command(subcommand)]
    Ledger(ledger::Command),
    /// Brings a model from a hub onto this machine's disk, going on where the last pull stopped.
    Pull(pull::Options),
    /// Lists the models that are known, who sells them, and for how much, or manages those on this machine's disk.
    Models(models::Models),
    /// Shows what providers and their models can do, and where that was read.
    Capabilities(models::Options),
    /// Shows how the gateway's own queue of work stands, and what it gave up.
    Jobs,
    /// Copies an installation into a directory, while it serves.
    Backup(backup::Backup),
    /// Makes an empty data directory what a backup says.
    Restore(backup::Restore),
    /// Explains the settings.
    #[command(subcommand)]
    Config(config::Command),
    /// Looks for what is wrong with an installation, and says how to mend it.
    Doctor(doctor::Options),
    /// Talks to a model, in turns where a terminal asks.
    #[command(visible_alias = "run")]
    Chat(chat::Options),
    /// Opens a page of the console.
    Open(open::Options),
    /// Calls any path of the API.
    Api(call::Options),
    /// Prints a shell's completion script.
    Completions(completions::Options),
}

/// Runs one command to its end.
///
/// # Errors
/// What failed, with the exit code for it.
pub fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { mut shared, command } = arguments;
    shared.json |= shared.output == Some(Form::Json);
    let json = shared.json;
    let result = match command {
        Command::Init(options) => init::run(&shared, &options),
        Command::Serve(options) => serve::run(&options),
        Command::Node(options) => node::run(&options),
        Command::Nodes(command) => nodes::run(&shared, command),
        Command::Adapters(command) => adapters::run(&shared, command),
        Command::Train(command) => train::run(&shared, command),
        Command::Key(command) => key::run(&shared, command),
        Command::Credential(command) => credential::run(&shared, command),
        Command::Account(command) => account::run(&shared, command),
        Command::Route(command) => route::run(&shared, command),
        Command::Policy(command) => policy::run(&shared, command),
        Command::Project(command) => project::run(&shared, command),
        Command::Apply(options) => apply::run(&shared, &options),
        Command::Export(options) => export::run(&shared, &options),
        Command::Context(command) => context::run(&shared, command),
        Command::Audit(options) => audit::run(&shared, options),
        Command::Open(options) => open::run(&shared, &options),
        Command::Api(options) => call::run(&shared, &options),
        Command::Login(options) => login::run(&shared, &options),
        Command::Logout => login::out(&shared),
        Command::Whoami => login::whoami(&shared),
        Command::Member(command) => member::run(&shared, command),
        Command::Workspace(command) => workspace::run(&shared, command),
        Command::Vault(command) => vault::run(&shared, command),
        Command::Plan(options) => plan::run(&shared, &options),
        Command::Usage(options) => usage::run(&shared, &options),
        Command::Billing(options) => billing::run(&shared, &options),
        Command::Tariff(command) => tariff::run(&shared, command),
        Command::Webhook(command) => webhook::run(&shared, command),
        Command::Budget(command) => budget::run(&shared, command),
        Command::Request(options) => request::run(&shared, &options),
        Command::Ledger(command) => ledger::run(&shared, &command),
        Command::Jobs => jobs::run(&shared),
        Command::Pull(options) => pull::run(&shared, &options),
        Command::Models(options) => models::models(&shared, options),
        Command::Capabilities(options) => models::capabilities(&shared, &options),
        Command::Backup(options) => backup::backup(&shared, &options),
        Command::Restore(options) => backup::restore(&shared, &options),
        Command::Config(command) => config::run(&shared, &command),
        Command::Doctor(options) => doctor::run(&shared, &options),
        Command::Chat(options) => chat::run(&shared, &options),
        Command::Completions(options) => completions::run(&options),
    };
    result.map_err(|failure| Failure { json, ..failure })
}
