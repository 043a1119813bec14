//! Under which names an installation stores its master keys' ids, and the prefix of what a master key
//! wrapped.

/// The master key in use.
pub const CURRENT: &str = "vault.master_key_id";
/// The master key that is to replace it.
pub const NEXT: &str = "vault.next_master_key_id";
/// The master key that was replaced. It still opens keys that were wrapped under it during the rotation.
pub const PREVIOUS: &str = "vault.previous_master_key_id";
/// Master keys that no longer open anything, one id a line.
pub const RETIRED: &str = "vault.retired_master_key_ids";

const FORMAT: u8 = 2;

/// The prefix of every workspace key that this master key wrapped. The store finds the keys that are still to
/// be rewrapped by it.
pub fn wrapped_prefix(master_key_id: &str) -> Vec<u8> {
    let name = master_key_id.as_bytes();
    let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
    let mut prefix = vec![FORMAT, length];
    prefix.extend_from_slice(name.get(..usize::from(length)).unwrap_or_default());
    prefix
}
