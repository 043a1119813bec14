//! How far long work is: bytes, rate and time left. A terminal is redrawn in place, a pipe gets a line now and then, and with
//! `--json` each report is a document.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::output;

/// A terminal is written to at most so often, a pipe far less.
const REDRAW_EVERY: Duration = Duration::from_millis(100);
const LINE_EVERY: Duration = Duration::from_secs(10);
const DOCUMENT_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Progress {
    form: Form,
    /// When the rate is counted from, and what was there already.
    began: Cell<(Instant, u64)>,
    /// `None` before the first report.
    printed: Cell<Option<Instant>>,
    is_line_open: Cell<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Terminal,
    Lines,
    Documents,
}

impl Progress {
    pub fn new(json: bool) -> Self {
        let form = match (json, std::io::stderr().is_terminal()) {
            (true, _) => Form::Documents,
            (false, true) => Form::Terminal,
            (false, false) => Form::Lines,
        };
        let now = Instant::now();
        Self { form, began: Cell::new((now, 0)), printed: Cell::new(None), is_line_open: Cell::new(false) }
    }

    /// Counts the rate from now on; `here` bytes need no work.
    pub fn begin(&self, here: u64) {
        self.began.set((Instant::now(), here));
    }

    /// Prints how far it is, unless it just did. A pipe gets its first line at the first percent, which has a rate that means something.
    pub fn moved(&self, here: u64, all: u64) {
        let (_, before) = self.began.get();
        let is_due = match self.printed.get() {
            None if self.form == Form::Lines => {
                here.saturating_sub(before) >= all / 100 && before < here && here < all
            }
            _ => self.is_time(),
        };
        if is_due {
            self.print(here, Some(all));
        }
    }

    /// Prints how much there is of something whose size nobody knows before its end, unless it just did.
    pub fn grew(&self, here: u64) {
        if self.is_time() {
            self.print(here, None);
        }
    }

    fn is_time(&self) -> bool {
        let every = match self.form {
            Form::Terminal => REDRAW_EVERY,
            Form::Lines => LINE_EVERY,
            Form::Documents => DOCUMENT_EVERY,
        };
        let (start, _) = self.began.get();
        self.printed.get().unwrap_or(start).elapsed() >= every
    }

    fn print(&self, here: u64, all: Option<u64>) {
        self.printed.set(Some(Instant::now()));
        let (start, before) = self.began.get();
        let rate = per_second(here.saturating_sub(before), start.elapsed());
        let left_s = all.and_then(|all| all.saturating_sub(here).checked_div(rate));
        let text = line(here, all, rate, left_s);
        match self.form {
            Form::Terminal => {
                // A closed terminal is reported by the next print.
                let _ = write!(std::io::stderr(), "\r\u{1b}[2K{text}");
                let _ = std::io::stderr().flush();
                self.is_line_open.set(true);
            }
            Form::Lines => eprintln!("{text}"),
            Form::Documents => println!(
                "{}",
                json!({"event": "moved", "bytes_here": here, "bytes": all, "bytes_per_second": rate, "seconds_left": left_s})
            ),
        }
    }

    /// Says something that happened: as text, or as a document.
    pub fn say(&self, text: &str, document: &Value) {
        self.end_line();
        match self.form {
            Form::Documents => println!("{document}"),
            Form::Terminal | Form::Lines => eprintln!("{}", output::printable(text)),
        }
    }

    /// Ends the line that is redrawn, so that the next text begins one.
    pub fn end_line(&self) {
        if self.is_line_open.replace(false) {
            eprintln!();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end_line();
    }
}

fn per_second(bytes: u64, passed: Duration) -> u64 {
    let rate = u128::from(bytes) * 1_000_000 / passed.as_micros().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

fn line(here: u64, all: Option<u64>, rate: u64, left_s: Option<u64>) -> String {
    let Some(all) = all else { return format!("{}  {}/s", output::bytes(here), output::bytes(rate)) };
    let percent = here.saturating_mul(100).checked_div(all).unwrap_or(100);
    let left = left_s.map_or_else(String::new, |seconds| format!(", {} left", clock(seconds)));
    format!(
        "{percent:>3} %  {} of {}  {}/s{left}",
        output::bytes(here),
        output::bytes(all),
        output::bytes(rate)
    )
}

/// Seconds in the two largest units.
pub fn clock(seconds: u64) -> String {
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_bytes_rate_and_time_left() {
        assert_eq!(
            line(500_000_000, Some(1_500_000_000), 10_000_000, Some(100)),
            " 33 %  500.0 MB of 1.5 GB  10.0 MB/s, 1 min 40 s left"
        );
        assert_eq!(line(0, Some(0), 0, None), "100 %  0 B of 0 B  0 B/s");
        assert_eq!(line(500_000_000, None, 10_000_000, None), "500.0 MB  10.0 MB/s");
        assert_eq!((clock(59), clock(7_260)), ("59 s".to_owned(), "2 h 1 min".to_owned()));
        assert_eq!(per_second(3_000, Duration::from_millis(1_500)), 2_000);
        assert_eq!(per_second(3, Duration::ZERO), 3_000_000);
    }
}
