//! CPU time and memory of a process tree, from `/proc`.

use std::collections::BTreeMap;
use std::fs;

/// A process and all its descendants.
pub fn tree(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in pids() {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut open) = (Vec::new(), vec![root]);
    while let Some(pid) = open.pop() {
        found.push(pid);
        open.extend(children.get(&pid).into_iter().flatten());
    }
    found
}

/// CPU nanoseconds of all living threads in the tree.
pub fn cpu_ns(root: u32) -> u64 {
    cpu_ns_of(root, "")
}

/// The same for threads whose names start with `name`.
pub fn cpu_ns_of(root: u32, name: &str) -> u64 {
    tree(root).into_iter().map(|pid| process_cpu_ns(pid, name)).sum()
}

/// Proportional set size of the tree in KiB.
pub fn memory_kib(root: u32) -> u64 {
    tree(root).into_iter().filter_map(process_memory_kib).sum()
}

/// Clock ticks during which cores were busy, whatever ran on them.
pub fn busy_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // user, nice, system, irq and softirq; idle and iowait are the fourth and fifth fields.
    let busy = fields.enumerate().filter(|(at, _)| [0, 1, 2, 5, 6].contains(at));
    busy.filter_map(|(_, ticks)| ticks.parse::<u64>().ok()).sum()
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain spaces; the parent id is the second field after it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn process_cpu_ns(pid: u32, name: &str) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| {
            let found = fs::read_to_string(task.path().join("comm")).ok()?;
            if !found.starts_with(name) {
                return None;
            }
            let schedstat = fs::read_to_string(task.path().join("schedstat")).ok()?;
            schedstat.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}

fn process_memory_kib(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{cpu_ns, cpu_ns_of, memory_kib, tree};

    #[test]
    fn this_process_has_a_tree_time_and_memory() {
        let own = std::process::id();
        assert!(tree(own).contains(&own));
        assert!(cpu_ns(own) > 0);
        assert_eq!(cpu_ns_of(own, "no thread is called so"), 0);
        assert!(memory_kib(own) > 0);
    }
}
