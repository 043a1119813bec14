//! Fuzzes the reader of PDFs.

use std::sync::LazyLock;

use bolero::check;
use tokio::runtime::{Builder, Runtime};

use crate::material::fuzz;

/// The text of one document at most.
const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

pub static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));

#[test]
fn fuzz_pdf() {
    fuzz("pdf", check!(), |bytes| match pdf::read(bytes) {
        Ok(read) => {
            assert!(read.pages > 0 && !read.text.trim().is_empty() && read.text.len() <= TEXT_BYTES_MAX);
            assert!(!read.text.contains('\0'));
            true
        }
        Err(why) => {
            assert!(why.starts_with("is a PDF"), "{why}");
            false
        }
    });
}
