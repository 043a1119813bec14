//! What is printed where nobody may read any more. The library's own macros panic there; these take their names, so that no
//! command has to think of it: under `tidegate … | head` the program ends as other tools do, without a word.

use std::fmt;
use std::io::{self, ErrorKind, Write};

/// What a shell tells of a program whose reader left: 128 and the signal's number.
const READER_LEFT: i32 = 141;

macro_rules! print {
    ($($said:tt)*) => { $crate::printing::out(format_args!($($said)*), "") };
}

macro_rules! println {
    () => { $crate::printing::out(format_args!(""), "\n") };
    ($($said:tt)*) => { $crate::printing::out(format_args!($($said)*), "\n") };
}

macro_rules! eprint {
    ($($said:tt)*) => { $crate::printing::beside(format_args!($($said)*), "") };
}

macro_rules! eprintln {
    () => { $crate::printing::beside(format_args!(""), "\n") };
    ($($said:tt)*) => { $crate::printing::beside(format_args!($($said)*), "\n") };
}

/// Writes an answer. Where it can't be, nothing more is to be done.
pub fn out(said: fmt::Arguments<'_>, end: &str) {
    let mut out = io::stdout().lock();
    let Err(error) = out.write_fmt(said).and_then(|()| out.write_all(end.as_bytes())) else { return };
    if error.kind() != ErrorKind::BrokenPipe {
        eprintln!("error: the answer can't be written: {error}");
    }
    let code =
        if error.kind() == ErrorKind::BrokenPipe { READER_LEFT } else { i32::from(crate::output::FAILED) };
    std::process::exit(code)
}

/// Writes what stands beside an answer. Where nobody reads that, the program does what it is there for: it may serve.
pub fn beside(said: fmt::Arguments<'_>, end: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_fmt(said).and_then(|()| out.write_all(end.as_bytes()));
}
