//! The machine and the software versions of a run.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    pub date: String,
    pub processor: String,
    pub core_count: usize,
    pub memory_mib: u64,
    pub kernel: String,
    pub compiler: String,
    pub nginx: String,
    pub tidegate: String,
    pub commit: String,
}

impl Facts {
    pub fn gather(binary: &Path) -> Self {
        let processor = line_after("/proc/cpuinfo", "model name");
        let memory_kib = line_after("/proc/meminfo", "MemTotal");
        let memory_kib: u64 =
            memory_kib.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        Self {
            date: first_line("date", &["-u", "+%Y-%m-%dT%H:%MZ"]),
            processor,
            core_count: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory_kib / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            compiler: first_line("rustc", &["--version"]),
            nginx: first_line("nginx", &["-v"]),
            tidegate: first_line(&binary.to_string_lossy(), &["--version"]),
            commit: first_line("git", &["describe", "--always", "--dirty"]),
        }
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, processor, core_count, memory_mib, kernel, compiler, nginx, tidegate, commit } =
            self;
        writeln!(formatter, "{date}, {processor}, {core_count} cores, {memory_mib} MiB, Linux {kernel}")?;
        write!(formatter, "{compiler}; {nginx}; {tidegate}, commit {commit}")
    }
}

fn line_after(path: &str, key: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key));
    line.and_then(|line| line.split_once(':'))
        .map_or("unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

/// The first line that a program prints to standard output or standard error.
fn first_line(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return "absent".to_owned() };
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").to_owned()
}
