//! `tidegate receipt`: verifies the signed receipt of a purge, without a gateway and without a network.

use std::path::PathBuf;

use cli::output::{self, Failure};
use cli::shared::Shared;
use proof::{PublicKey, document};
use serde_json::{Map, Value, json};

use crate::commands::trusted_key::trusted_key;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Checks that nothing in a signed document was changed, and says whose key was trusted. Works offline.
    Verify {
        /// The document, as `tidegate purge receipt` prints it.
        file: PathBuf,
        /// The trusted public key, as printed by `tidegate audit key`, or a file with it; without it, the key inside the document is printed.
        #[arg(long)]
        key: Option<String>,
        /// The previous receipt, whose hash this one must contain.
        #[arg(long, value_name = "FILE")]
        after: Option<PathBuf>,
    },
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let Command::Verify { file, key, after } = command;
    let trusted = trusted_key(key.as_deref())?;
    let document = read(&file)?;
    let signer = verify(&file, &document, trusted)?;
    if let Some(earlier) = after {
        let before = read(&earlier)?;
        verify(&earlier, &before, Some(signer))?;
        let canonical = document::canonical(&before).map_err(|error| broken(&earlier, &error))?;
        let hash = proof::Digest::of(&[&canonical]).to_string();
        if text(&document, "previous_hash") != hash {
            return Err(broken(&file, &format!("it does not follow {}", earlier.display())));
        }
    }
    report(shared, &document, signer, trusted.is_some());
    Ok(())
}

fn usage(message: String) -> Failure {
    Failure::new(output::USAGE, message)
}

fn broken(file: &std::path::Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(output::FAILED, format!("{} does not hold: {why}.", file.display()))
}

fn read(file: &PathBuf) -> Result<Map<String, Value>, Failure> {
    let text = std::fs::read(file).map_err(|error| usage(format!("{}: {error}", file.display())))?;
    document::read(&text).map_err(|error| broken(file, &error))
}

fn verify(
    file: &std::path::Path,
    document: &Map<String, Value>,
    trusted: Option<PublicKey>,
) -> Result<PublicKey, Failure> {
    document::verify(document, trusted).map_err(|forged| broken(file, &forged))
}

fn text<'a>(document: &'a Map<String, Value>, name: &str) -> &'a str {
    document.get(name).and_then(Value::as_str).unwrap_or("-")
}

fn report(shared: &Shared, document: &Map<String, Value>, signer: PublicKey, is_given: bool) {
    let trusted = if is_given { "the given key" } else { "the key inside the document" };
    let (fingerprint, guarantee) = (signer.fingerprint(), text(document, "guarantee"));
    if shared.json {
        println!(
            "{}",
            json!({"object": text(document, "object"), "id": text(document, "id"), "holds": true, "public_key": signer.to_string(),
                "fingerprint": fingerprint, "trusted": if is_given { "given" } else { "document" }, "guarantee": guarantee,
                "complete": document.get("complete")})
        );
        return;
    }
    println!("{} {} holds.", text(document, "object"), text(document, "id"));
    println!("  Signed by  {signer}");
    println!("             {fingerprint}; trusted: {trusted}");
    println!("  Guarantee  {guarantee}");
    for line in document.get("processors").and_then(Value::as_array).into_iter().flatten() {
        let of = |name| line.get(name).and_then(Value::as_str).unwrap_or_default();
        let before = line.get("before").and_then(Value::as_u64).unwrap_or_default();
        println!(
            "  {}: {} {}: {} of {before}, {}",
            of("place"),
            of("processor"),
            of("kind"),
            of("status"),
            of("guarantee")
        );
    }
    if !is_given {
        eprintln!("Compare the key with one that you know to be this installation's: --key does it for you.");
    }
}
