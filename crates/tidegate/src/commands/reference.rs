//! Generates the command line's reference page from the definitions of its help, and tests that every route
//! has a command.

use std::fmt::Write;

use clap::{Arg, ArgAction, Command};
use declared::kinds::{Change, Form, KINDS, SecretNeed};
use filter::{Field, Measure};

const HEAD: &str = "# The command line

This page is generated from the program itself; `tidegate COMMAND --help` prints the same text.

Results go to standard output, messages to standard error. With `--json`, a result is one JSON object, and a list is one object per line.
`--jq FILTER` applies a jq filter to each of these objects: `tidegate key list --jq '[.name, .id]'`.
Output is coloured on terminals only: `NO_COLOR` turns colour off, `FORCE_COLOR` turns it on everywhere. A secret is never an argument: commands prompt for it, or
read it from standard input.

A command finds the gateway and its key in this order: `--url` and `--context`; `TIDEGATE_URL` with `TIDEGATE_API_KEY`; the context that
`tidegate login` created or `tidegate context use` selected. A key is only ever sent to the gateway that it belongs to.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | the command, a file or a setting is wrong |
| 3 | not found |
| 4 | not signed in, or the key is unknown |
| 5 | not allowed |
| 6 | a conflict: it already exists, or somebody else has changed it in the meantime |
| 7 | a rate limit was reached |
| 8 | a budget is used up |
| 9 | the provider failed |
| 10 | the gateway can't be reached, or is overloaded |
| 11 | `doctor`, `ledger verify` or `reconcile` found something |
| 12 | the followed task was cancelled |
| 130 | interrupted |
| 141 | the program that read the output closed the pipe |
";

const BACKUPS: &str = "
## Backups

`tidegate backup --to DIR` copies the journal, then a consistent snapshot of the database (with SQLite's own backup or, for PostgreSQL, with `pg_dump`, or table by
table if `pg_dump` is missing), and the settings file. It contains every request that was answered before it began. DIR only gets its name once every file is
written, synced and listed with its SHA-256. A backup that is interrupted leaves `DIR.part-…`, which `restore` never accepts. `tidegate restore` checks every file
first, and only writes into an empty data directory (and an empty database). Requests that were open at the moment of the backup are closed as interrupted by the
first `serve`.

The master key isn't in the backup unless you pass `--with-master-key`: a backup without it is useless to anybody who finds it, but also to you if you lose the key.
If several gateways share a PostgreSQL database, each has its own journal: back up the directory of each, or drain it first.
";

fn reference() -> String {
    let mut page = HEAD.to_owned();
    filters(&mut page);
    documents(&mut page);
    page.push_str(BACKUPS);
    let mut command = super::tree();
    command.build();
    page.push_str("\n## Every command\n\nEach also takes:\n\n");
    for argument in command.get_arguments().filter(|argument| argument.is_global_set()) {
        let _ = writeln!(page, "- {}", describe_argument(argument));
    }
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        describe(&mut page, &format!("tidegate {}", sub.get_name()), sub);
    }
    page
}

fn filters(page: &mut String) {
    page.push_str(
        "\n## Filters\n\n`--filter`, the console's search box and the `filter` parameter of `/v2/requests`, `/v2/usage` and `/v2/analytics` share one syntax:\n\
         terms with spaces between them, all of which must match, such as `status:error model:gpt-4o* cost:>0.01 since:24h`. A `-` before a term negates\n\
         it. Put a value with spaces in quotes (`key:\"my laptop\"`); inside them, write `\\\"` for a quote and `\\\\` for a backslash. A `*` at the end of a text matches\n\
         any ending. Numbers compare with `>`, `>=`, `<` and `<=`; the colon before them is optional. Give keys and projects by name or id.\n\n\
         | field | value | for totals |\n|---|---|---|\n",
    );
    for (_, name, measure, of_sums) in Field::ALL {
        let value = match measure {
            Measure::Text => "text".to_owned(),
            Measure::Word(words) => {
                words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            }
            Measure::Status => "`429`, `>=500`, `4xx`, `error`, `ok`".to_owned(),
            Measure::Count => "a number, also as `10k` or `2M`".to_owned(),
            Measure::Money => "dollars".to_owned(),
            Measure::Time => "`250ms`, `1.5s`, `2m`".to_owned(),
            Measure::Moment => "`30m`, `24h`, `7d`, `2w` ago, or a timestamp".to_owned(),
        };
        let _ = writeln!(page, "| `{name}` | {value} | {} |", if of_sums { "yes" } else { "" });
    }
}

fn documents(page: &mut String) {
    page.push_str(
        "\n## Documents\n\n`tidegate apply -f` takes TOML or JSON, or a directory of both; `tidegate export` writes one. Each object is a table under its kind\n\
         (`[[project]]`; in JSON, a list under `\"project\"`). The fields in bold identify it, and objects refer to each other by name: a key is `PROJECT/NAME`.\n\
         What a document doesn't mention doesn't change. A document never contains a secret: `secret = { env = \"NAME\" }`, `{ file = \"PATH\" }` or `{ stdin = true }` says where\n\
         to read it. It is sent when the object is created, when its `base_url` changes, and with `--with-secrets`.\n\n\
         `--prune` removes what `apply` manages and the document no longer declares: objects with `metadata.managed_by` = `tidegate apply`, and every object of\n\
         the kinds that the document lists in `owns = [\"route\"]`. It never removes the key that applies the document. `apply` marks the objects that it creates\n\
         or finds declared as managed, except those with `managed = false`, which `export` writes for objects without the mark.\n\n\
         | kind | fields | secret |\n|---|---|---|\n",
    );
    for kind in KINDS {
        let fields = kind.fields.iter().map(|field| {
            let name = if kind.identity.contains(&field.name) {
                format!("**{}**", field.name)
            } else {
                field.name.to_owned()
            };
            let note = match (field.change, field.form) {
                (Change::AtFirst, _) => " (set when created)",
                (Change::Fixed, _) if !kind.identity.contains(&field.name) => " (fixed)",
                (_, Form::Scope) => {
                    " (`tag`, `key`, `project`, `alias`, `model`, `modality`, `provider`, `environment`)"
                }
                _ => "",
            };
            format!("{name}{note}")
        });
        let fields = fields.collect::<Vec<_>>().join(", ");
        let secret = match kind.secret {
            SecretNeed::None => "",
            SecretNeed::Optional => "optional",
            SecretNeed::Needed => "yes",
        };
        let _ = writeln!(page, "| `{}` | {fields} | {secret} |", kind.noun);
    }
}

fn describe(page: &mut String, name: &str, command: &Command) {
    let aliases: Vec<_> = command.get_visible_aliases().map(|alias| format!("`{alias}`")).collect();
    let also = if aliases.is_empty() { String::new() } else { format!(" Also: {}.", aliases.join(", ")) };
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let about = if about.ends_with('.') { about } else { format!("{about}.") };
    let level = if name.split(' ').count() > 2 { "###" } else { "##" };
    let _ = writeln!(page, "\n{level} `{name}`\n\n{about}{also}");
    let own = |argument: &&Arg| {
        !argument.is_global_set()
            && !argument.is_hide_set()
            && !matches!(argument.get_id().as_str(), "help" | "version")
    };
    let arguments: Vec<_> = command.get_arguments().filter(own).collect();
    for heading in headings(&arguments) {
        page.push('\n');
        if let Some(heading) = heading {
            let _ = writeln!(page, "**{heading}**\n");
        }
        for argument in arguments.iter().filter(|argument| argument.get_help_heading() == heading) {
            let _ = writeln!(page, "- {}", describe_argument(argument));
        }
    }
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let examples = examples.lines().filter_map(|line| line.trim().strip_prefix("$ ")).collect::<Vec<_>>();
    if !command.is_subcommand_required_set() && !examples.is_empty() {
        let _ = write!(page, "\n```console\n$ {}\n```\n", examples.join("\n$ "));
    }
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        describe(page, &format!("{name} {}", sub.get_name()), sub);
    }
}

/// The sections of a command's arguments in the order of its help: those without one come first.
fn headings<'a>(arguments: &[&'a Arg]) -> Vec<Option<&'a str>> {
    let mut found: Vec<_> = arguments.iter().map(|argument| argument.get_help_heading()).collect();
    found.sort_by_key(Option::is_some);
    let mut seen = Vec::new();
    found.retain(|heading| {
        let is_new = !seen.contains(heading);
        seen.push(*heading);
        is_new
    });
    found
}

fn describe_argument(argument: &Arg) -> String {
    let id = argument.get_id().as_str().to_uppercase();
    let names = argument
        .get_value_names()
        .map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    let value = names.unwrap_or(id);
    let takes = !matches!(argument.get_action(), ArgAction::SetTrue | ArgAction::Help | ArgAction::Version);
    let form = match argument.get_long() {
        None => format!("`{value}`"),
        Some(long) if takes => format!("`--{long} {value}`"),
        Some(long) => format!("`--{long}`"),
    };
    let short = argument.get_short().map(|short| format!(" (`-{short}`)")).unwrap_or_default();
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let help = if help.is_empty() { help } else { format!(": {help}") };
    let variable = argument
        .get_env()
        .map(|name| format!(". Environment variable: `{}`", name.to_string_lossy()))
        .unwrap_or_default();
    let usual: Vec<_> =
        argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    let usual =
        if usual.is_empty() || !takes { String::new() } else { format!(". Default: {}", usual.join(", ")) };
    format!("{form}{short}{help}{variable}{usual}")
}

#[test]
fn the_reference_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    if cfg!(feature = "peers") {
        assert_eq!(page, reference(), "run the tests of this crate with UPDATE_DOCS=1");
    }
    // A build without the mesh of peers lacks its commands; what it has is on the page as well.
    let lines: std::collections::HashSet<&str> = page.lines().collect();
    let own = reference();
    let missing: Vec<&str> = own.lines().filter(|line| !lines.contains(line)).collect();
    assert!(missing.is_empty(), "run the tests of this crate with UPDATE_DOCS=1: {missing:#?}");
}

/// The console completes exactly the fields that the filter grammar has.
#[test]
fn the_console_knows_every_field_of_a_filter() {
    let source = include_str!("../../../../console/src/lib/filter.ts");
    for (_, name, _, of_sums) in Field::ALL {
        let (fields, rest) = source.split_once("] as const;").unwrap();
        assert!(fields.contains(&format!("'{name}'")), "{name} is missing in console/src/lib/filter.ts");
        let of_requests = rest.split_once("OF_REQUESTS").unwrap().1.split_once("];").unwrap().0;
        assert_eq!(!of_sums, of_requests.contains(&format!("'{name}'")), "{name}");
    }
}

/// Each route of `/v2` that is for people, with the words that reach it.
const ROUTES: &[(&str, &str)] = &[
    ("POST /v2/sign-in", "login"),
    ("POST /v2/sign-in/link", "login"),
    ("POST /v2/sign-out", "logout"),
    ("GET /v2/me", "whoami"),
    ("PATCH /v2/me", "open"),
    ("POST /v2/device", "login"),
    ("POST /v2/device/token", "login"),
    ("POST /v2/device/approve", "open"),
    ("POST /v2/members", "member invite"),
    ("GET /v2/members", "member list"),
    ("GET /v2/members/{id}", "member show"),
    ("PATCH /v2/members/{id}", "member set-role"),
    ("DELETE /v2/members/{id}", "member remove"),
    ("POST /v2/members/{id}/link", "member link"),
    ("POST /v2/workspaces", "workspace create"),
    ("GET /v2/workspaces", "workspace list"),
    ("GET /v2/workspaces/{id}", "workspace show"),
    ("PATCH /v2/workspaces/{id}", "workspace rename"),
    ("DELETE /v2/workspaces/{id}", "workspace remove"),
    ("POST /v2/projects", "project create"),
    ("GET /v2/projects", "project list"),
    ("GET /v2/projects/{id}", "project show"),
    ("PATCH /v2/projects/{id}", "project set"),
    ("DELETE /v2/projects/{id}", "project remove"),
    ("POST /v2/projects/{id}/purge-cache", "project purge-cache"),
    ("POST /v2/api-keys", "key create"),
    ("GET /v2/api-keys", "key list"),
    ("GET /v2/api-keys/{id}", "key show"),
    ("PATCH /v2/api-keys/{id}", "key set"),
    ("DELETE /v2/api-keys/{id}", "key revoke"),
    ("POST /v2/subscription-credentials", "subscription add"),
    ("GET /v2/subscription-credentials", "subscription list"),
    ("GET /v2/subscription-credentials/{id}", "subscription show"),
    ("PATCH /v2/subscription-credentials/{id}", "subscription set"),
    ("DELETE /v2/subscription-credentials/{id}", "subscription remove"),
    ("POST /v2/subscription-credentials/{id}/rotate", "subscription rotate"),
    ("POST /v2/provider-credentials", "credential add"),
    ("GET /v2/provider-credentials", "credential list"),
    ("GET /v2/provider-credentials/kinds", "credential kinds"),
    ("GET /v2/provider-credentials/{id}", "credential show"),
    ("PATCH /v2/provider-credentials/{id}", "credential set"),
    ("DELETE /v2/provider-credentials/{id}", "credential remove"),
    ("POST /v2/provider-credentials/{id}/verify", "credential verify"),
    ("POST /v2/provider-credentials/{id}/probe", "credential probe"),
    ("POST /v2/provider-credentials/{id}/rotate", "credential rotate"),
    ("POST /v2/accounts", "account add"),
    ("GET /v2/accounts", "account list"),
    ("GET /v2/accounts/{id}", "account show"),
    ("PATCH /v2/accounts/{id}", "account set"),
    ("DELETE /v2/accounts/{id}", "account remove"),
    ("POST /v2/accounts/{id}/verify", "account verify"),
    ("POST /v2/accounts/{id}/rotate", "account rotate"),
    ("POST /v2/byoc/nodes", "nodes add"),
    ("GET /v2/byoc/nodes", "nodes list"),
    ("GET /v2/byoc/nodes/{id}", "nodes show"),
    ("PATCH /v2/byoc/nodes/{id}", "nodes set"),
    ("DELETE /v2/byoc/nodes/{id}", "nodes remove"),
    ("POST /v2/byoc/nodes/{id}/probe", "nodes probe"),
    ("POST /v2/byoc/nodes/{id}/cordon", "nodes cordon"),
    ("POST /v2/byoc/nodes/{id}/uncordon", "nodes uncordon"),
    ("POST /v2/byoc/nodes/{id}/drain", "nodes drain"),
    ("POST /v2/byoc/nodes/join-tokens", "nodes invite"),
    ("GET /v2/byoc/nodes/join-tokens", "nodes invites"),
    ("GET /v2/byoc/nodes/join-tokens/{id}", "nodes invites"),
    ("DELETE /v2/byoc/nodes/join-tokens/{id}", "nodes uninvite"),
    ("POST /v2/byoc/nodes/join", "node join"),
    ("POST /v2/byoc/nodes/{id}/revoke", "nodes revoke"),
    ("POST /v2/data-planes", "data-planes invite"),
    ("GET /v2/data-planes", "data-planes list"),
    ("GET /v2/data-planes/{id}", "data-planes show"),
    ("POST /v2/data-planes/{id}/revoke", "data-planes revoke"),
    ("POST /v2/data-planes/{id}/supersede", "data-planes supersede"),
    ("GET /v2/data-planes/{id}/evidence", "data-planes evidence"),
    ("POST /v2/data-planes/join", "gateway"),
    ("GET /v2/byoc/nodes/{id}/usage", "nodes usage"),
    ("GET /v2/byoc/costs", "nodes costs"),
    ("GET /v2/byoc/nodes/{id}/costs", "nodes costs"),
    ("GET /v2/byoc/nodes/{id}/runtime", "nodes runtime"),
    ("GET /v2/adapters", "adapters list"),
    ("POST /v2/adapters", "adapters register"),
    ("POST /v2/adapters/{id}/load", "adapters load"),
    ("POST /v2/adapters/{id}/unload", "adapters unload"),
    ("GET /v2/train/jobs", "train list"),
    ("POST /v2/train/jobs", "train start"),
    ("POST /v2/train/preview", "train start"),
    ("GET /v2/train/jobs/{id}", "train show"),
    ("GET /v2/train/jobs/{id}/events", "train watch"),
    ("POST /v2/train/jobs/{id}/cancel", "train cancel"),
    ("POST /v2/train/jobs/{id}/pause", "train pause"),
    ("POST /v2/train/jobs/{id}/resume", "train resume"),
    ("GET /v2/train/jobs/{id}/checkpoints", "train checkpoints"),
    ("POST /v2/agent-hints", "hints add"),
    ("GET /v2/agent-hints", "hints list"),
    ("GET /v2/agent-hints/{id}", "hints show"),
    ("PATCH /v2/agent-hints/{id}", "hints set"),
    ("DELETE /v2/agent-hints/{id}", "hints remove"),
    ("POST /v2/flows", "flow add"),
    ("GET /v2/flows", "flow list"),
    ("POST /v2/flows/validate", "flow validate"),
    ("GET /v2/flows/{id}", "flow show"),
    ("POST /v2/flows/{id}/versions", "flow add"),
    ("DELETE /v2/flows/{id}", "flow remove"),
    ("POST /v2/flow-runs", "flow run"),
    ("GET /v2/flow-runs", "flow list"),
    ("GET /v2/flow-runs/{id}", "flow show"),
    ("POST /v2/flow-runs/{id}/cancel", "flow cancel"),
    ("POST /v2/flow-runs/{id}/pause", "flow pause"),
    ("POST /v2/flow-runs/{id}/resume", "flow resume"),
    ("POST /v2/flow-runs/{id}/retry", "flow retry"),
    ("POST /v2/flow-runs/{id}/approvals", "flow approve"),
    ("POST /v2/agents", "agent create"),
    ("GET /v2/agents", "agent list"),
    ("GET /v2/agents/{id}", "agent get"),
    ("PATCH /v2/agents/{id}", "agent update"),
    ("DELETE /v2/agents/{id}", "agent remove"),
    ("GET /v2/agents/{id}/versions", "agent versions"),
    ("POST /v2/tools", "tool add"),
    ("POST /v2/tools/import", "tool import"),
    ("GET /v2/tools", "tool list"),
    ("GET /v2/tools/{id}", "tool show"),
    ("PATCH /v2/tools/{id}", "tool set"),
    ("DELETE /v2/tools/{id}", "tool remove"),
    ("POST /v2/mcp-servers", "mcp-server add"),
    ("GET /v2/mcp-servers", "mcp-server list"),
    ("GET /v2/mcp-servers/{id}", "mcp-server show"),
    ("PATCH /v2/mcp-servers/{id}", "mcp-server set"),
    ("DELETE /v2/mcp-servers/{id}", "mcp-server remove"),
    ("POST /v2/mcp-servers/{id}/refresh", "mcp-server refresh"),
    ("POST /v2/mcp-servers/{id}/accept", "mcp-server accept"),
    ("POST /v2/apps", "app add"),
    ("POST /v2/apps/import", "app import"),
    ("GET /v2/apps", "app list"),
    ("GET /v2/apps/{id}", "app show"),
    ("GET /v2/apps/{id}/versions", "app versions"),
    ("PATCH /v2/apps/{id}", "app set"),
    ("DELETE /v2/apps/{id}", "app remove"),
    ("POST /v2/secrets", "secret set"),
    ("GET /v2/secrets", "secret list"),
    ("GET /v2/secrets/{id}", "secret show"),
    ("PATCH /v2/secrets/{id}", "secret set"),
    ("DELETE /v2/secrets/{id}", "secret remove"),
    ("POST /v2/mcp-servers/{id}/authorize", "mcp-server authorize"),
    ("POST /v2/artifacts", "artifact add"),
    ("GET /v2/artifacts", "artifact list"),
    ("GET /v2/artifacts/{id}", "artifact show"),
    ("GET /v2/artifacts/{id}/content", "artifact read"),
    ("DELETE /v2/artifacts/{id}", "artifact remove"),
    ("POST /v2/bundles", "bundle add"),
    ("GET /v2/bundles", "bundle list"),
    ("GET /v2/bundles/{id}", "bundle show"),
    ("DELETE /v2/bundles/{id}", "bundle remove"),
    ("POST /v2/sessions", "session open"),
    ("GET /v2/sessions", "session list"),
    ("GET /v2/sessions/{id}", "session show"),
    ("PATCH /v2/sessions/{id}", "session set"),
    ("DELETE /v2/sessions/{id}", "session remove"),
    ("GET /v2/sessions/{id}/usage", "session usage"),
    ("POST /v2/sessions/{id}/keep-alive", "session keep-alive"),
    ("POST /v2/sessions/{id}/end", "session end"),
    ("POST /v2/sessions/{id}/branches", "session fork"),
    ("GET /v2/sessions/{id}/branches", "session branches"),
    ("GET /v2/sessions/{id}/branches/{branch_id}", "session branches"),
    ("POST /v2/sessions/{id}/branches/{branch_id}/events", "session append"),
    ("GET /v2/sessions/{id}/branches/{branch_id}/events", "session events"),
    ("POST /v2/sessions/{id}/snapshots", "session snapshot"),
    ("GET /v2/sessions/{id}/snapshots", "session snapshots"),
    ("GET /v2/sessions/{id}/snapshots/{snapshot_id}", "session snapshots"),
    ("POST /v2/policies", "policy add"),
    ("GET /v2/policies", "policy list"),
    ("GET /v2/policies/effective", "policy effective"),
    ("GET /v2/regional-policy", "policy show"),
    ("POST /v2/regional-policy", "policy set"),
    ("PUT /v2/regional-policy", "policy set"),
    ("GET /v2/governance/regional-policy", "policy show"),
    ("POST /v2/governance/regional-policy", "policy set"),
    ("PUT /v2/governance/regional-policy", "policy set"),
    ("GET /v2/policies/{id}", "policy show"),
    ("PATCH /v2/policies/{id}", "policy set"),
    ("DELETE /v2/policies/{id}", "policy remove"),
    ("POST /v2/policies/{id}/rotate", "policy rotate"),
    ("POST /v2/model-aliases", "alias add"),
    ("GET /v2/model-aliases", "alias list"),
    ("GET /v2/model-aliases/{id}", "alias show"),
    ("PATCH /v2/model-aliases/{id}", "alias canary"),
    ("DELETE /v2/model-aliases/{id}", "alias remove"),
    ("POST /v2/model-aliases/{id}/releases", "alias release"),
    ("GET /v2/model-aliases/{id}/releases", "alias show"),
    ("GET /v2/model-aliases/{id}/releases/{release_id}", "alias show"),
    ("POST /v2/model-aliases/{id}/promote", "alias promote"),
    ("POST /v2/model-aliases/{id}/rollback", "alias rollback"),
    ("POST /v2/model-aliases/{id}/dry-run", "alias try"),
    ("GET /v2/model-aliases/{id}/diff", "alias diff"),
    ("GET /v2/model-aliases/{id}/measurements", "alias show"),
    ("POST /v2/routes", "route add"),
    ("GET /v2/routes/{id}/versions", "route versions"),
    ("POST /v2/routes/{id}/rollback", "route rollback"),
    ("POST /v2/routes/dry-run", "route try"),
    ("GET /v2/routes/{id}/diff", "route diff"),
    ("GET /v2/routes", "route list"),
    ("GET /v2/routes/{id}", "route show"),
    ("PATCH /v2/routes/{id}", "route set"),
    ("DELETE /v2/routes/{id}", "route remove"),
    ("POST /v2/plan", "plan"),
    ("POST /v2/diagnostics", "diagnostics run"),
    ("GET /v2/diagnostics", "diagnostics list"),
    ("GET /v2/diagnostics/{id}", "diagnostics show"),
    ("GET /v2/capabilities", "capabilities"),
    ("GET /v2/capabilities/{id}", "capability show"),
    ("PUT /v2/capabilities/{id}", "capability set"),
    ("PATCH /v2/capabilities/{id}", "capability set"),
    ("GET /v2/capabilities/{id}/revisions", "capability revisions"),
    ("POST /v2/capabilities/{id}/rollback", "capability rollback"),
    ("GET /v2/price-books", "models"),
    ("GET /v2/usage", "usage"),
    ("GET /v2/analytics", "usage"),
    ("GET /v2/analytics/refusals", "policy refusals"),
    ("GET /v2/requests", "request list"),
    ("GET /v2/requests/{id}", "request show"),
    ("GET /v2/requests/{id}/content", "content show"),
    ("POST /v2/requests/{id}/replay", "content replay"),
    ("POST /v2/sessions/{id}/replay", "session replay"),
    ("GET /v2/datasets", "content dataset"),
    ("GET /v2/retention-profile", "content profile"),
    ("POST /v2/retention-profile", "content keep"),
    ("GET /v2/data-path", "data-path"),
    ("GET /v2/records", "export"),
    ("GET /v2/billing/snapshot", "billing"),
    ("POST /v2/budgets", "budget add"),
    ("GET /v2/budgets", "budget list"),
    ("GET /v2/budgets/{id}", "budget show"),
    ("PATCH /v2/budgets/{id}", "budget set"),
    ("DELETE /v2/budgets/{id}", "budget remove"),
    ("GET /v2/commitments", "commitments"),
    ("POST /v2/replay-runs", "replay run"),
    ("GET /v2/replay-runs", "replay list"),
    ("GET /v2/replay-runs/{id}", "replay show"),
    ("GET /v2/replay-runs/{id}/report", "replay report"),
    ("POST /v2/replay-runs/{id}/cancel", "replay cancel"),
    ("GET /v2/replay-gates", "replay gates"),
    ("PUT /v2/replay-gates", "replay gates"),
    ("GET /v2/diagnostics/escalation", "replay escalation"),
    ("POST /v2/reconciliations", "reconcile"),
    ("GET /v2/reconciliations", "reconcile list"),
    ("GET /v2/reconciliations/{id}", "reconcile show"),
    ("GET /v2/health/upstreams", "health"),
    ("GET /v2/billing/account", "billing credit"),
    ("POST /v2/billing/account/credits", "billing add-credit"),
    ("GET /v2/billing/invoices", "billing invoices"),
    ("GET /v2/billing/invoices/{id}", "billing invoice"),
    ("GET /v2/tariff", "tariff show"),
    ("POST /v2/webhooks", "webhook add"),
    ("GET /v2/webhooks", "webhook list"),
    ("GET /v2/webhooks/{id}", "webhook show"),
    ("PATCH /v2/webhooks/{id}", "webhook set"),
    ("DELETE /v2/webhooks/{id}", "webhook remove"),
    ("POST /v2/webhooks/{id}/test", "webhook test"),
    ("POST /v2/webhooks/{id}/rotate", "webhook rotate"),
    ("POST /v2/webhooks/{id}/resend", "webhook resend"),
    ("GET /v2/webhooks/{id}/deliveries", "webhook deliveries"),
    ("POST /v2/alert-rules", "alert add"),
    ("GET /v2/alert-rules", "alert list"),
    ("GET /v2/alert-rules/{id}", "alert show"),
    ("PATCH /v2/alert-rules/{id}", "alert set"),
    ("DELETE /v2/alert-rules/{id}", "alert remove"),
    ("GET /v2/jobs", "jobs"),
    ("GET /v2/vault", "vault status"),
    ("POST /v2/vault/master-key/rotate", "vault rotate-master"),
    ("POST /v2/vault/master-key/finalize", "vault finalize"),
    ("POST /v2/vault/accounts-key/rotate", "vault rotate-accounts"),
    ("GET /v2/vault/workspace-key", "vault status"),
    ("POST /v2/vault/workspace-key/rotate", "vault rotate-workspace"),
    ("GET /v2/tasks", "task list"),
    ("GET /v2/tasks/{id}", "task show"),
    ("POST /v2/tasks/{id}/cancel", "task cancel"),
    ("POST /v2/files", "file put"),
    ("GET /v2/files", "file list"),
    ("GET /v2/files/{id}", "file show"),
    ("GET /v2/files/{id}/content", "file get"),
    ("DELETE /v2/files/{id}", "file delete"),
    ("GET /v2/batches", "batch list"),
    ("GET /v2/batches/{id}", "batch show"),
    ("POST /v2/batches/{id}/cancel", "batch cancel"),
    ("POST /v2/purge-jobs", "purge add"),
    ("GET /v2/purge-jobs", "purge list"),
    ("GET /v2/purge-jobs/{id}", "purge show"),
    ("GET /v2/purge-jobs/{id}/receipt", "purge receipt"),
    ("POST /v2/legal-holds", "hold add"),
    ("GET /v2/legal-holds", "hold list"),
    ("GET /v2/legal-holds/{id}", "hold show"),
    ("DELETE /v2/legal-holds/{id}", "hold release"),
    ("POST /v2/data-exports", "data-export add"),
    ("GET /v2/data-exports", "data-export list"),
    ("GET /v2/data-exports/{id}", "data-export show"),
    ("GET /v2/data-exports/{id}/content", "data-export save"),
    ("DELETE /v2/data-exports/{id}", "data-export remove"),
    ("POST /v2/deletion-requests", "erase add"),
    ("GET /v2/deletion-requests/{id}", "erase show"),
    ("GET /v2/audit", "audit"),
    ("GET /v2/audit/proof", "audit proof"),
    ("GET /v2/audit/key", "audit key"),
];

/// Routes that no person calls, each with its caller. `tidegate api` reaches them like every other.
const OF_PROGRAMS: &[(&str, &str)] = &[
    ("GET /v2/attention", "programs list by it what needs somebody's attention"),
    ("GET /v2/file-storage", "the console shows how much storage each project uses"),
    ("GET /v2/mail", "the console shows whether email is sent, and what the mail server says"),
    ("GET /v2/flows/schema", "an editor checks documents of flows by it"),
    ("GET /v2/flows/{id}/versions", "the console compares versions, and programs list them"),
    ("GET /v2/flows/{id}/versions/{number}", "the console shows what an older version said"),
    ("GET /v2/flows/{id}/diff", "the console compares versions"),
    ("GET /v2/flow-runs/{id}/step", "the console shows what a step made, at its place in the graph"),
    ("GET /v2/flow-runs/{id}/stream", "programs follow a run by it"),
    ("POST /v2/flow-runs/{id}/events", "what a step waits for happens in a program"),
    ("POST /v2/flow-runs/{id}/replay", "a program repeats runs under a changed version"),
    ("GET /v2/flow-runs/{id}/diff", "a program compares a repeated run with the first"),
    ("POST /v2/flowruns", "published clients start runs by it, in their form"),
    ("GET /v2/flowruns/{id}", "published clients read runs by it, in their form"),
    ("POST /v2/flowruns/{id}/cancel", "published clients cancel runs by it"),
    ("GET /v2/flowruns/{id}/stream", "published clients follow runs by it"),
    (
        "POST /v2/mcp-servers/authorized",
        "the console hands over what a browser brings back from an authorization server",
    ),
    ("POST /v2/oauth/consent", "a person lets a program in at the console, which asks by it"),
    ("GET /v2/openapi.json", "what generates a client reads it; docs/openapi.json is the same for people"),
    (
        "GET /v2/models",
        "the console names in its first commands what is there; /v1/models is the same for a key",
    ),
    (
        "PATCH /v2/model-aliases/{id}/releases/{release_id}",
        "nobody succeeds: it is there to say that a release never changes",
    ),
    (
        "POST /v2/scores",
        "an application or an evaluator scores answers, and a person does at a request's page",
    ),
    ("GET /v2/scores", "an evaluator reads back what it gave; a request shows its own"),
    ("GET /v2/scores/{id}", "an evaluator reads back what it gave; a request shows its own"),
    ("GET /v2/scores/summary", "an evaluator compares models by what it gave"),
    ("GET /v2/routes/{id}/scores", "an evaluator compares what a route chose by what it gave"),
    ("DELETE /v2/scores/{id}", "an application takes back what its user took back"),
    (
        "GET /v2/byoc/peers",
        "the console draws by it which nodes are connected; a node lists its peers itself",
    ),
    ("GET /v2/workers", "the console shows workers by it; a node lists its own itself"),
    ("GET /v2/workers/{id}/logs", "the console shows workers by it; a node shows its own itself"),
    ("POST /v2/workers/{id}/destroy", "the console ends workers by it; a node ends its own itself"),
    ("POST /v2/byoc/nodes/heartbeat", "a node that joined says by it that it is there"),
    ("POST /v2/byoc/nodes/records", "a node that joined tells by it what it served"),
    ("POST /v2/byoc/nodes/certificate", "a node that joined gets its certificate by it"),
    ("POST /v2/byoc/nodes/tunnel", "a node that joined opens its tunnel by it"),
    ("POST /v2/data-planes/configuration", "a data plane asks by it for what it serves with"),
    ("POST /v2/data-planes/records", "a data plane tells by it what it served"),
    ("POST /v2/data-planes/leases", "a data plane leases parts of budgets by it"),
    ("POST /v2/data-planes/evidence", "a data plane delivers by it what it signed"),
];

#[test]
fn every_route_has_its_command() {
    let command = super::tree();
    for (route, words) in ROUTES {
        let found = words.split(' ').try_fold(&command, |at, word| at.find_subcommand(word));
        assert!(found.is_some(), "{route} names tidegate {words}, which isn't a command");
        assert_ne!(*words, "api", "{route} has no words of its own");
    }
    for (method, pattern, _) in control::declared() {
        let route = format!("{method} {pattern}");
        // A PUT replaces all fields of an object; the command that changes fields covers it.
        let known = ROUTES.iter().chain(OF_PROGRAMS).any(|(known, _)| *known == route);
        assert!(
            known || method == http::Method::PUT,
            "{route} has no command: give it one, or say who asks for it"
        );
    }
}
