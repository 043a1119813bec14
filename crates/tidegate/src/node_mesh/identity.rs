//! `tidegate node identity`: the public key by which peers and the gateway know this node.

use std::path::Path;

use cli::output::Failure;
use node::NodeKey;

/// Prints the key, which is created where there is none.
///
/// # Errors
/// The data directory can't be used.
pub fn show(data_dir: &Path) -> Result<(), Failure> {
    let key = NodeKey::open_or_create(data_dir)?;
    println!("{}", key.public_key());
    Ok(())
}
