//! Checks whether this machine has the memory that a model needs, before it is loaded.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// Memory for step buffers and the tokenizer, besides weights and KV cache.
const BESIDE: u64 = 128 * MIB;
const MIB: u64 = 1024 * 1024;

/// Where a cgroup's limits are; the root as this process sees it.
const GROUP: &str = "/sys/fs/cgroup";

/// What a model will take.
#[derive(Debug, Clone, Copy)]
pub struct Needed {
    pub weights: u64,
    pub conversations: u64,
}

/// The available memory, where the system reports it.
#[derive(Debug, Clone, Copy, Default)]
pub struct FreeMemory {
    /// What the machine or the cgroup has free. It may grow.
    pub free: Option<u64>,
    /// What the process limits (`ulimit`) still allow: beyond it allocations fail and the process aborts.
    pub allowed: Option<u64>,
}

impl FreeMemory {
    /// The current state.
    pub fn now() -> Self {
        Self { free: free(), allowed: allowed() }
    }

    /// What may still be allocated while a model is served, less a reserve for computing.
    pub fn left(self, is_ignored: bool) -> Option<u64> {
        let free = self.free.filter(|_| !is_ignored);
        let least = [free, self.allowed].into_iter().flatten().min()?;
        Some(least.saturating_sub(BESIDE))
    }
}

impl Needed {
    /// # Errors
    /// More is needed than the process limits allow; or than is free, unless that is to be ignored.
    pub fn within(self, free_memory: FreeMemory, is_ignored: bool) -> Result<(), String> {
        let all = self.weights.saturating_add(self.conversations).saturating_add(BESIDE);
        let mib = |bytes: u64| bytes.div_ceil(MIB);
        let needs = format!(
            "needs {} MiB of memory ({} of weights, {} for conversations, {} to compute in)",
            mib(all),
            mib(self.weights),
            mib(self.conversations),
            mib(BESIDE),
        );
        let less = "Give --kv-memory less, take a smaller model or one that is rounded further";
        if let Some(allowed) = free_memory.allowed.filter(|allowed| all > *allowed) {
            let allowed = allowed / MIB;
            return Err(format!(
                "{needs}, and this process may take {allowed} more. {less}, or start it with a higher limit (`ulimit -v`, \
                 `ulimit -d`)."
            ));
        }
        match free_memory.free.filter(|free| all > *free && !is_ignored) {
            None => Ok(()),
            Some(free) => Err(format!(
                "{needs}, and {} are free. {less}, or load it all the same with --ignore-memory.",
                free / MIB
            )),
        }
    }
}

fn free() -> Option<u64> {
    let of_group = |name: &str| fs::read_to_string(format!("{GROUP}/{name}")).ok();
    let group = [of_group("memory.max"), of_group("memory.current"), of_group("memory.stat")];
    let of_machine = available(&fs::read_to_string("/proc/meminfo").ok()?);
    let [most, taken, details] = group.each_ref().map(|text| text.as_deref().unwrap_or_default());
    [of_machine, left(most, taken, details)].into_iter().flatten().min()
}

fn available(text: &str) -> Option<u64> {
    kilobytes(text, "MemAvailable:")
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// What the limits on address space and data segment leave.
fn allowed() -> Option<u64> {
    let taken = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let left = |limit: Resource, name: &str| {
        let most = getrlimit(limit).current?;
        Some(most.saturating_sub(kilobytes(&taken, name).unwrap_or(0)))
    };
    [left(Resource::As, "VmSize:"), left(Resource::Data, "VmData:")].into_iter().flatten().min()
}

/// What a cgroup's limit leaves; inactive page cache counts as free, because it is reclaimed.
fn left(most: &str, taken: &str, details: &str) -> Option<u64> {
    let most: u64 = most.trim().parse().ok()?;
    let taken: u64 = taken.trim().parse().ok()?;
    let remembered = details.lines().find_map(|line| line.strip_prefix("inactive_file "));
    let remembered = remembered.and_then(|count| count.trim().parse().ok()).unwrap_or(0);
    Some(most.saturating_sub(taken.saturating_sub(remembered)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_both_figures() {
        let needed = Needed { weights: 600 * MIB, conversations: 1024 * MIB };
        let free = |bytes: u64| FreeMemory { free: Some(bytes), allowed: None };
        assert_eq!(needed.within(FreeMemory::default(), false), Ok(()));
        assert_eq!(needed.within(free(1752 * MIB), false), Ok(()));
        assert_eq!(needed.within(free(1751 * MIB), true), Ok(()));
        let message = needed.within(free(1751 * MIB), false).unwrap_err();
        assert!(message.contains("needs 1752 MiB") && message.contains("and 1751 are free"), "{message}");
        assert!(message.contains("--ignore-memory") && message.contains("600 of weights"), "{message}");
        let endless = Needed { weights: u64::MAX, conversations: u64::MAX };
        assert!(endless.within(free(u64::MAX - 1), false).is_err());
        // Process limits are hard, even if free memory is to be ignored.
        let message = needed.within(FreeMemory { free: None, allowed: Some(1751 * MIB) }, true).unwrap_err();
        assert!(message.contains("may take 1751 more") && message.contains("ulimit -v"), "{message}");
    }

    #[test]
    fn what_is_left_is_the_least_of_what_may_be_taken() {
        let free_memory = |free, allowed| FreeMemory { free, allowed };
        assert_eq!(FreeMemory::default().left(false), None);
        assert_eq!(free_memory(Some(1128 * MIB), None).left(false), Some(1000 * MIB));
        assert_eq!(free_memory(Some(1128 * MIB), Some(228 * MIB)).left(false), Some(100 * MIB));
        assert_eq!(free_memory(Some(MIB), Some(228 * MIB)).left(true), Some(100 * MIB));
        assert_eq!(free_memory(Some(MIB), None).left(true), None);
        assert_eq!(free_memory(Some(MIB), None).left(false), Some(0));
    }

    #[test]
    fn what_is_free_is_read_as_the_system_writes_it() {
        let text = "MemTotal:       24000000 kB\nMemFree:         1000 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(available(text), Some(2048 * 1024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert_eq!(kilobytes("VmPeak:\t  9 kB\nVmSize:\t    2 kB\n", "VmSize:"), Some(2048));
        assert_eq!(left("max\n", "100\n", ""), None);
        assert_eq!(left("1000\n", "900\n", "anon 5\ninactive_file 300\n"), Some(400));
        assert_eq!(left("1000\n", "2000\n", ""), Some(0));
    }
}
