//! Wipes what functions leave behind on the stack. Freed memory is wiped by the allocator; a hash or a cipher works in a
//! context on the stack, whose last block stays there until another function happens to write over it.

use std::hint::black_box;

/// More than the functions of a hash or a cipher use of the stack.
const WIPED_BYTES: usize = 16 * 1024;

/// Calls a function that handles a secret, and overwrites the stack that it used.
pub(crate) fn wiped<T>(does: impl FnOnce() -> T) -> T {
    let result = apart(does);
    overwrite();
    result
}

#[inline(never)]
fn apart<T>(does: impl FnOnce() -> T) -> T {
    does()
}

#[inline(never)]
fn overwrite() {
    black_box(&mut [0_u8; WIPED_BYTES]);
}
