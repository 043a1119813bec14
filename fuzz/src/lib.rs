//! The fuzz targets: one for each parser of untrusted bytes. They are the tests named `fuzz_*`.
//!
//! `cargo nextest run -p fuzz` runs each briefly with random input; `cargo bolero test -p fuzz NAME` runs one
//! with a coverage-guided engine until it is stopped.
