//! The API keys of a node: shown once, and stored as digests in the node's directory, beside where it listened last.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use cli::output::{self, Failure};
use domain::{Secret, api_key};
use proof::Digest;
use world::World;

/// Where a node keeps what is its own, where nobody says.
pub const DATA_DIR: &str = "./node-data";

const FILE: &str = "keys";
const ADDRESS_FILE: &str = "address";

const PREFIX_CACHE_FILE: &str = "prefix-cache.key";
const PREFIX_CACHE_KEY_BYTES: usize = 32;

/// Creates a key and prints it.
pub fn make(data_dir: &Path) -> Result<(), Failure> {
    let key = mint();
    keep(data_dir, &key)?;
    println!("{key}");
    eprintln!(
        "It is shown this once. A node that runs with --data-dir {} takes it from its next start on.",
        data_dir.display()
    );
    Ok(())
}

/// Keeps where the node listens, for a gateway that it joins later.
pub fn keep_address(data_dir: &Path, address: SocketAddr) -> std::io::Result<()> {
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    std::fs::write(data_dir.join(ADDRESS_FILE), SocketAddr::new(ip, address.port()).to_string())
}

/// Where the node listened last.
pub fn last_address(data_dir: &Path) -> Option<SocketAddr> {
    std::fs::read_to_string(data_dir.join(ADDRESS_FILE)).ok()?.trim().parse().ok()
}

/// A new random key.
pub fn mint() -> String {
    let mut random = [0; 32];
    World::system().random.fill(&mut random);
    api_key::encode(true, &random)
}

/// Adds a key to this directory; the node accepts it from its next start on.
pub fn keep(data_dir: &Path, key: &str) -> Result<(), Failure> {
    create(data_dir)?;
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(data_dir.join(FILE))?;
    writeln!(file, "{}", Digest::of(&[key.as_bytes()]))?;
    file.sync_all()?;
    Ok(())
}

/// The key that this node's prefix cache on disk is sealed with, made at the first use.
pub fn prefix_cache(data_dir: &Path) -> Result<Secret, Failure> {
    let path = data_dir.join(PREFIX_CACHE_FILE);
    let wrong = |what: String| {
        let message = format!("{}: {what}. Remove it; the node makes another one.", path.display());
        Failure::new(output::FAILED, message)
    };
    match std::fs::read(&path) {
        Ok(key) if key.len() == PREFIX_CACHE_KEY_BYTES => return Ok(Secret::new(key)),
        Ok(_) => return Err(wrong("it isn't a key of a prefix cache".to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(wrong(error.to_string())),
    }
    create(data_dir)?;
    let mut key = vec![0; PREFIX_CACHE_KEY_BYTES];
    World::system().random.fill(&mut key);
    // A key that is written in part is none; the lock of the directory keeps a second process out.
    world::replace_private(&path, &key)?;
    Ok(Secret::new(key))
}

/// Creates the directory, readable by its owner only.
pub fn create(data_dir: &Path) -> Result<(), Failure> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
    Ok(())
}

/// The digests of all keys; empty if there are none.
pub fn read(data_dir: &Path) -> Result<Vec<Digest>, Failure> {
    let path = data_dir.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::new(output::FAILED, format!("{}: {error}", path.display()))),
    };
    let read = |line: &str| {
        let wrong = || format!("{}: \"{line}\" isn't a digest of a key. Remove that line.", path.display());
        line.parse().map_err(|()| Failure::new(output::FAILED, wrong()))
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(read).collect()
}
