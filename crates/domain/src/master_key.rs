//! The names of master keys: under which facts an installation keeps them, and how what they wrapped begins.

/// The master key in force.
pub const CURRENT: &str = "vault.master_key_id";
/// The one that is to replace it.
pub const NEXT: &str = "vault.next_master_key_id";
/// The one that was replaced, and still opens what somebody wrapped under it meanwhile.
pub const PREVIOUS: &str = "vault.previous_master_key_id";
/// Those that open nothing any more, one a line.
pub const RETIRED: &str = "vault.retired_master_key_ids";

const FORMAT: u8 = 2;

/// How each key begins that this master key wrapped. The store tells by it what is left to wrap anew.
#[must_use]
pub fn wrapped_prefix(master_key_id: &str) -> Vec<u8> {
    let name = master_key_id.as_bytes();
    let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
    let mut prefix = vec![FORMAT, length];
    prefix.extend_from_slice(name.get(..usize::from(length)).unwrap_or_default());
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_begins_as_another_does() {
        assert_eq!(wrapped_prefix("local:a"), b"\x02\x07local:a");
        assert!(!wrapped_prefix("local:ab").starts_with(&wrapped_prefix("local:a")));
        assert_eq!(wrapped_prefix(&"n".repeat(300)).len(), 257);
    }
}
