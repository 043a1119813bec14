//! `tidegate audit`: who did what, newest first; proofs of it, and their check without a gateway.

use std::path::PathBuf;

use proof::PublicKey;
use proof::audit::Proof;
use serde_json::{Value, json};

use super::Shared;
use crate::api::Api;
use crate::output::{self, Failure};

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
    /// How many entries, at most 1000.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Every entry, page after page.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Prints a stretch of the audit with its hashes and a signed head, for `verify`.
    Proof {
        /// The first entry's place.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// The last entry's place; as far as one proof goes where it is left out.
        #[arg(long)]
        to: Option<u64>,
    },
    /// Checks a proof: every hash, and the signature. Needs nothing but the file.
    Verify {
        file: PathBuf,
        /// The public key that is trusted, as `GET /v2/audit/key` showed it; else the one inside is named.
        #[arg(long)]
        key: Option<String>,
    },
}

const COLUMNS: [&str; 5] = ["at", "actor", "action", "target", "detail"];

pub fn run(shared: &Shared, options: Options) -> Result<(), Failure> {
    match options.command {
        None => list(shared, &options.listing),
        Some(Command::Proof { from, to }) => {
            let to = to.map(|to| format!("&to={to}")).unwrap_or_default();
            println!("{:#}", Api::connect(shared)?.get(&format!("/v2/audit/proof?from={from}{to}"))?);
            Ok(())
        }
        Some(Command::Verify { file, key }) => verify(shared, &file, key.as_deref()),
    }
}

fn list(shared: &Shared, listing: &Listing) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    let empty = "Nothing has been done yet.";
    if listing.all {
        output::rows(shared, &api.get_all("/v2/audit")?, &COLUMNS, empty);
    } else {
        output::list(shared, &api.get(&format!("/v2/audit?limit={}", listing.limit))?, &COLUMNS, empty);
    }
    Ok(())
}

fn verify(shared: &Shared, file: &std::path::Path, key: Option<&str>) -> Result<(), Failure> {
    let usage = |message: String| Failure::new(output::USAGE, message);
    let text = std::fs::read(file).map_err(|error| usage(format!("{}: {error}", file.display())))?;
    let proof: Proof = serde_json::from_slice(&text)
        .map_err(|error| usage(format!("{} is no proof of an audit: {error}", file.display())))?;
    let trusted = key.map(|key| key.trim().parse::<PublicKey>()).transpose();
    let trusted = trusted.map_err(|()| usage("--key is 64 hexadecimal digits.".to_owned()))?;
    let holds = proof.verify(trusted).map_err(|broken| {
        Failure::new(output::FINDINGS, format!("The audit of {} does not hold: {broken}.", proof.chain))
    })?;
    if shared.json {
        println!("{}", document(&proof, &holds, trusted.is_some()));
        return Ok(());
    }
    println!("The audit of {} holds from entry {} to {}.", proof.chain, holds.first, holds.last);
    println!("  head       {}", holds.head);
    println!("  signed by  {} ({})", holds.key, holds.key.fingerprint());
    match trusted {
        Some(_) => println!("  trusted    the key that was given"),
        None => {
            println!("  trusted    the key inside the file: compare it with GET /v2/audit/key, or give --key")
        }
    }
    Ok(())
}

fn document(proof: &Proof, holds: &proof::audit::Holds, is_given: bool) -> Value {
    json!({
        "ok": true,
        "chain": proof.chain,
        "first": holds.first,
        "last": holds.last,
        "head": holds.head.to_string(),
        "public_key": holds.key.to_string(),
        "fingerprint": holds.key.fingerprint(),
        "trusted": if is_given { "given" } else { "inside" },
    })
}
