//! The key that a verification trusts, as `--key` gives it.

use cli::output::{self, Failure};
use proof::PublicKey;

/// The key of an option; `None` where it wasn't given, so that the key inside a document counts.
pub fn trusted_key(option: Option<&str>) -> Result<Option<PublicKey>, Failure> {
    let key = option.map(|key| key.trim().parse::<PublicKey>()).transpose();
    key.map_err(|()| Failure::new(output::USAGE, "--key is 64 hexadecimal digits."))
}
