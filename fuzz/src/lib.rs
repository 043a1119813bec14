//! The home of the fuzz targets, one for each parser of foreign bytes; they are the tests named `fuzz_*`.
//!
//! `cargo nextest run -p fuzz` runs each for a moment with random input; `cargo bolero test -p fuzz NAME` runs
//! one with a coverage-guided engine for as long as it is let.
