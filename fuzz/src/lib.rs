//! The fuzz targets: one for each parser of untrusted bytes. They are the tests named `fuzz_*`; `xtask/parsers.toml` says which
//! files each of them covers.
//!
//! A target reads the files of its folder in `corpus/` as they are, and then with random changes. An input that failed is kept
//! there once it is mended; the name of one that is refused begins with `refused`.
//!
//! `cargo nextest run -p fuzz` runs each briefly; `make fuzz` for a minute each, and prints how much the parser took of what it was
//! given. `cargo bolero test -p fuzz NAME` runs one with a coverage-guided engine until it is stopped.
