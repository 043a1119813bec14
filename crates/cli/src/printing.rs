//! Replacements for `println!` and its like, under the same names: the standard macros panic on a closed
//! pipe. Under `tidegate … | head` the program ends silently, like other tools.

use std::fmt;
use std::io::{self, ErrorKind, Write};

/// The exit status of a program killed by SIGPIPE: 128 and the signal's number.
const READER_LEFT: i32 = 141;

#[macro_export]
macro_rules! print {
    ($($args:tt)*) => { $crate::printing::out(format_args!($($args)*), "") };
}

#[macro_export]
macro_rules! println {
    () => { $crate::printing::out(format_args!(""), "\n") };
    ($($args:tt)*) => { $crate::printing::out(format_args!($($args)*), "\n") };
}

#[macro_export]
macro_rules! eprint {
    ($($args:tt)*) => { $crate::printing::beside(format_args!($($args)*), "") };
}

#[macro_export]
macro_rules! eprintln {
    () => { $crate::printing::beside(format_args!(""), "\n") };
    ($($args:tt)*) => { $crate::printing::beside(format_args!($($args)*), "\n") };
}

/// Writes to standard output. If that fails, the process exits.
pub fn out(args: fmt::Arguments<'_>, end: &str) {
    let written = match crate::jq::filtered(args) {
        None => write(args, end),
        Some(Ok(lines)) => write(format_args!("{lines}"), ""),
        Some(Err(error)) => {
            eprintln!("error: --jq: {error}");
            std::process::exit(i32::from(crate::output::USAGE));
        }
    };
    let Err(error) = written else { return };
    if error.kind() != ErrorKind::BrokenPipe {
        eprintln!("error: the answer can't be written: {error}");
    }
    let code =
        if error.kind() == ErrorKind::BrokenPipe { READER_LEFT } else { i32::from(crate::output::FAILED) };
    std::process::exit(code)
}

fn write(args: fmt::Arguments<'_>, end: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_fmt(args)?;
    out.write_all(end.as_bytes())
}

/// Writes to standard error. A failure is ignored: the process may be a server, which continues.
pub fn beside(args: fmt::Arguments<'_>, end: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_fmt(args).and_then(|()| out.write_all(end.as_bytes()));
}
