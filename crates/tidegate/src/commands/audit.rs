//! `tidegate audit`: who did what, newest first; proofs of it, and their verification without a gateway.

use std::path::{Path, PathBuf};

use cli::api::Api;
use cli::commands::tail::{Tail, cells};
use cli::output::{self, Failure};
use cli::shared::Shared;
use domain::limits::AUDIT_PROOF_ROWS_MAX;
use proof::audit::{Head, Proof, VerifyError};
use proof::{Digest, PublicKey};
use serde_json::{Value, json};

use crate::commands::trusted_key::trusted_key;
use crate::heads;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(flatten)]
    listing: Listing,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Args)]
struct Listing {
    /// The number of entries, at most 1000.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Lists all entries, not only one page.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(flatten)]
    search: Search,
    #[command(flatten)]
    chain: Chain,
}

/// Which entries are listed.
#[derive(Debug, clap::Args)]
struct Search {
    /// Only entries with this text in the actor, action, target or detail.
    #[arg(long, short, value_name = "TEXT")]
    query: Option<String>,
    /// Only actions by this key, person or `system`.
    #[arg(long)]
    actor: Option<String>,
    /// Only this action, such as credential.create, or all actions that start with a word, such as credential.
    #[arg(long)]
    action: Option<String>,
    /// Only actions on this object.
    #[arg(long)]
    target: Option<String>,
    /// Only entries from this time on.
    #[arg(long)]
    start: Option<String>,
    /// Only entries before this time.
    #[arg(long)]
    end: Option<String>,
}

impl Search {
    fn query(&self) -> String {
        let fields = [
            ("q", &self.query),
            ("actor", &self.actor),
            ("action", &self.action),
            ("target", &self.target),
            ("start", &self.start),
            ("end", &self.end),
        ];
        let given = fields.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        given.map(|(name, value)| format!("&{name}={}", cli::api::escape(value))).collect()
    }
}

#[derive(Debug, clap::Args)]
struct Chain {
    /// `installation`, for the operator: actions that concern no workspace. By default the workspace's own chain.
    #[arg(long)]
    chain: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Shows new entries as they are written, until interrupted.
    Tail {
        /// The number of entries to start with.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        #[command(flatten)]
        chain: Chain,
    },
    /// Prints a range of the audit with its hashes and a signed head, for `verify`.
    Proof {
        /// The number of the first entry.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// The number of the last entry; by default as many as fit in one proof.
        #[arg(long)]
        to: Option<u64>,
        #[command(flatten)]
        chain: Chain,
    },
    /// Writes the whole audit as proofs into a directory, for `verify` and for auditors.
    Export {
        /// The directory to write to.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        #[command(flatten)]
        chain: Chain,
    },
    /// Checks proofs: every hash, and the signature. With a file, it works offline.
    Verify {
        /// The output of `proof`, or the directory of `export`; by default the gateway's current audit.
        #[arg(value_name = "FILE|DIR")]
        file: Option<PathBuf>,
        /// The directory where a gateway stored signed heads (`audit.heads`): reveals entries that were removed or rewritten before a head.
        #[arg(long, value_name = "DIR")]
        heads: Option<PathBuf>,
        /// The trusted public key, as printed by `tidegate audit key`, or a file with it; without it, the key inside the proof is printed.
        #[arg(long)]
        key: Option<String>,
        #[command(flatten)]
        chain: Chain,
    },
    /// Shows the public key that this installation signs with.
    Key,
}

const COLUMNS: [&str; 5] = ["at", "actor", "action", "target", "sentence"];
/// A proof with fewer entries was not cut short: the chain ended there.
const CUT_SHORT: usize = AUDIT_PROOF_ROWS_MAX as usize / 2;

impl Chain {
    fn query(&self) -> String {
        self.chain.as_deref().map(|chain| format!("&chain={}", cli::api::escape(chain))).unwrap_or_default()
    }
}

pub fn run(shared: &Shared, options: Options) -> Result<(), Failure> {
    match options.command {
        None => list(shared, &options.listing),
        Some(Command::Tail { limit, chain }) => {
            let chain = chain.query();
            let tail = Tail {
                first: format!("/v2/audit?limit={limit}{chain}"),
                then: format!("/v2/audit?limit=200{chain}"),
                columns: &COLUMNS,
                identity_fields: &["id"],
                line: &|row| cells(row, &COLUMNS),
            };
            tail.follow(shared, &Api::connect(shared)?)
        }
        Some(Command::Proof { from, to, chain }) => {
            let to = to.map(|to| format!("&to={to}")).unwrap_or_default();
            let path = format!("/v2/audit/proof?from={from}{to}{}", chain.query());
            println!("{:#}", Api::connect(shared)?.get(&path)?);
            Ok(())
        }
        Some(Command::Export { to, chain }) => export(shared, &to, &chain),
        Some(Command::Verify { file, heads, key, chain }) => {
            let trusted = trusted_key(key.as_deref())?;
            let mut walk = VerifyProgress { trusted, kept_at: heads, ..VerifyProgress::default() };
            match file {
                Some(path) => files(&path)?.iter().try_for_each(|file| walk.take(&read(file)?))?,
                None => proofs(&Api::connect(shared)?, &chain, &mut |proof| walk.take(proof))?,
            }
            walk.report(shared)
        }
        Some(Command::Key) => {
            output::object(shared, &Api::connect(shared)?.get("/v2/audit/key")?);
            Ok(())
        }
    }
}

fn usage(message: String) -> Failure {
    Failure::new(output::USAGE, message)
}

fn list(shared: &Shared, listing: &Listing) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    let (empty, chosen) =
        ("Nothing has been done yet.", format!("{}{}", listing.chain.query(), listing.search.query()));
    if !listing.all {
        let page = api.get(&format!("/v2/audit?limit={}{chosen}", listing.limit))?;
        output::list(shared, &page, &COLUMNS, empty);
        return Ok(());
    }
    if !shared.json {
        let path = format!("/v2/audit?{}", chosen.trim_start_matches('&'));
        output::rows(shared, &api.get_all(path.trim_end_matches('?'))?, &COLUMNS, empty);
        return Ok(());
    }
    // Page by page, so that an export of any length takes little memory.
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("/v2/audit?limit=1000{chosen}{cursor}"))?;
        for row in page.get("data").and_then(Value::as_array).into_iter().flatten() {
            println!("{row}");
        }
        match page.get("next_cursor").and_then(Value::as_str) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(()),
        }
    }
}

/// Fetches the whole chain as successive proofs: each begins with the last entry of the one before.
fn proofs(
    api: &Api,
    chain: &Chain,
    each: &mut dyn FnMut(&Proof) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut from = 1;
    loop {
        let text = api.text(&format!("/v2/audit/proof?from={from}{}", chain.query()))?;
        let proof: Proof = serde_json::from_str(&text).map_err(anyhow::Error::from)?;
        each(&proof)?;
        match proof.entries.last() {
            Some(last) if proof.entries.len() >= CUT_SHORT && last.entry.sequence > from => {
                from = last.entry.sequence;
            }
            _ => return Ok(()),
        }
    }
}

fn export(shared: &Shared, to: &Path, chain: &Chain) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    let refused = |error: std::io::Error| usage(format!("{} can't be written to: {error}.", to.display()));
    std::fs::create_dir_all(to).map_err(refused)?;
    let mut written = Vec::new();
    proofs(&api, chain, &mut |proof| {
        let first = proof.entries.first().map_or(0, |linked| linked.entry.sequence);
        let name = format!("{}-{first:012}.json", proof.chain);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(to.join(&name));
        let mut file = file.map_err(refused)?;
        serde_json::to_writer(&mut file, proof).map_err(anyhow::Error::from)?;
        file.sync_all().map_err(refused)?;
        written.push(json!({"file": name, "rows": proof.entries.len()}));
        Ok(())
    })?;
    output::rows(shared, &written, &["file", "rows"], "Nothing was written.");
    Ok(())
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|error| usage(format!("{}: {error}", path.display())))?;
    let files = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    if files.is_empty() {
        return Err(usage(format!("{} holds no proof.", path.display())));
    }
    Ok(files)
}

fn read(file: &Path) -> Result<Proof, Failure> {
    let text = std::fs::read(file).map_err(|error| usage(format!("{}: {error}", file.display())))?;
    serde_json::from_slice(&text)
        .map_err(|error| usage(format!("{} isn't a proof of an audit: {error}", file.display())))
}

/// What was found to hold so far.
#[derive(Default)]
struct VerifyProgress {
    trusted: Option<PublicKey>,
    kept_at: Option<PathBuf>,
    chain: String,
    first: u64,
    /// The last place, the hash there, and whose word it is.
    end: Option<(u64, Digest, PublicKey)>,
    /// Heads that were kept of the chain and are not looked at yet.
    kept: Vec<Head>,
    agreed: usize,
}

impl VerifyProgress {
    fn take(&mut self, proof: &Proof) -> Result<(), Failure> {
        if self.end.is_none() {
            self.chain.clone_from(&proof.chain);
            self.kept = self.read_heads()?;
        }
        self.follow(proof).map_err(|broken| self.broken(&broken))
    }

    fn broken(&self, broken: &VerifyError) -> Failure {
        Failure::new(output::FINDINGS, format!("The audit of {} does not hold: {broken}.", self.chain))
    }

    fn read_heads(&self) -> Result<Vec<Head>, Failure> {
        let Some(path) = &self.kept_at else { return Ok(Vec::new()) };
        let found = heads::read(path, &self.chain).map_err(|error| usage(format!("{error:#}")))?;
        if found.unreadable > 0 {
            eprintln!("{} lines in {} are no heads.", found.unreadable, path.display());
        }
        if found.heads.is_empty() {
            let message = format!("{} holds no head of {}.", path.display(), self.chain);
            return Err(Failure::new(output::FINDINGS, message));
        }
        Ok(found.heads)
    }

    fn follow(&mut self, proof: &Proof) -> Result<(), VerifyError> {
        let holds = proof.verify(self.trusted)?;
        match self.end {
            None => self.first = holds.first,
            Some((last, hash, key)) => {
                let wanted = last + 1;
                let joint = proof.hash_at(last).ok_or(VerifyError::Order { wanted, found: holds.first })?;
                if joint != hash || proof.chain != self.chain {
                    return Err(VerifyError::Changed(last));
                }
                if key != holds.key {
                    let (found, trusted) = (holds.key.fingerprint(), key.fingerprint());
                    return Err(VerifyError::Key { found, trusted });
                }
            }
        }
        let mut left = Vec::new();
        for head in std::mem::take(&mut self.kept) {
            if proof.keeps(&head)? { self.agreed += 1 } else { left.push(head) }
        }
        self.kept = left;
        self.end = Some((holds.last, holds.head, holds.key));
        Ok(())
    }

    fn report(&self, shared: &Shared) -> Result<(), Failure> {
        let Some((last, head, key)) = self.end else { return Err(usage("There is no proof.".to_owned())) };
        let beyond = self.kept.iter().map(|head| head.length).filter(|length| *length > last).max();
        if let Some(kept) = beyond {
            return Err(self.broken(&VerifyError::Cut { length: last, kept }));
        }
        if shared.json {
            println!("{}", self.document(last, head, key));
            return Ok(());
        }
        println!("The audit of {} holds from entry {} to {last}.", self.chain, self.first);
        println!("  head       {head}");
        println!("  signed by  {key} ({})", key.fingerprint());
        match self.trusted {
            Some(_) => println!("  trusted    the key that was given"),
            None => {
                println!("  trusted    the key inside: compare it with `tidegate audit key`, or give --key")
            }
        }
        if self.kept_at.is_some() {
            let before = self.kept.len();
            let more = if before > 0 { format!("; {before} are of what came before") } else { String::new() };
            println!("  kept       {} heads say the same{more}", self.agreed);
        }
        Ok(())
    }

    fn document(&self, last: u64, head: Digest, key: PublicKey) -> Value {
        json!({
            "ok": true,
            "chain": self.chain,
            "first": self.first,
            "last": last,
            "head": head.to_string(),
            "public_key": key.to_string(),
            "fingerprint": key.fingerprint(),
            "trusted": if self.trusted.is_some() { "given" } else { "inside" },
            "kept_heads": self.kept_at.as_ref().map(|_| self.agreed),
        })
    }
}
