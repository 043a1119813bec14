//! Signing schemes, one file each.

pub(crate) mod bearer;
pub(crate) mod key;
