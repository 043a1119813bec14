//! The results table of a run.

use std::fmt::Write;
use std::process::Command;

use crate::Options;
use crate::rows::{Row, Wanted};

pub fn table(options: &Options, rows: &[Row]) -> String {
    let mut table = format!(
        "# The engine beside llama.cpp\n\n{}\n\n`make bench-engine`: a model of the shape of one of 0.6 billion weights (28 layers, \
         hidden 1024, vocabulary 151,936, tied), made of random numbers, on {} threads; median of {} rounds after one that does \
         not count, each of the engine and of llama.cpp in turn. llama.cpp is built from the sources in the crate \
         `llama-cpp-sys-2` 0.1.161 {}; PEFT 0.21.2 runs on torch 2.15.0.\n\n{}\n\n| | measured | gate | target | is | gate met | target met |\n|---|---|---|---|---|---|---|\n",
        outcome(rows),
        options.threads,
        options.rounds,
        options.llama_built,
        machine()
    );
    for row in rows {
        let sign = match row.wanted {
            Wanted::AtLeast => ">=",
            Wanted::AtMost => "<=",
        };
        let [held, reached] =
            [row.gate, row.target].map(|bound| if reaches(row, bound) { "yes" } else { "**no**" });
        let Row { name, what, gate, target, is, .. } = row;
        // Writing to a string can't fail.
        let _ = writeln!(
            table,
            "| {name} | {what} | {sign} {gate} | {sign} {target} | {is:.3} | {held} | {reached} |"
        );
    }
    table.push_str("\nThe figures behind them:\n\n");
    for row in rows {
        let _ = writeln!(table, "- {}: {}", row.name, row.behind);
    }
    table
}

/// In one line, which gates and targets are missed.
fn outcome(rows: &[Row]) -> String {
    let missed = |bound: fn(&Row) -> f64| {
        let names: Vec<&str> =
            rows.iter().filter(|row| !reaches(row, bound(row))).map(|row| row.name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    format!("Gates missed: {}. Targets missed: {}.", missed(|row| row.gate), missed(|row| row.target))
}

/// Whether each row reaches its gate.
pub fn holds(rows: &[Row]) -> bool {
    rows.iter().all(|row| reaches(row, row.gate))
}

fn reaches(row: &Row, bound: f64) -> bool {
    match row.wanted {
        Wanted::AtLeast => row.is >= bound,
        Wanted::AtMost => row.is <= bound,
    }
}

pub fn machine() -> String {
    let of = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':')).map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let output_of = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{}, {}, {cores} cores, {} of memory; {}; commit {}",
        output_of("date", &["-u", "+%Y-%m-%d"]),
        of("/proc/cpuinfo", "model name"),
        of("/proc/meminfo", "MemTotal"),
        output_of("rustc", &["--version"]),
        output_of("git", &["describe", "--always", "--dirty"]),
    )
}
