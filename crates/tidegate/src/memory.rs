//! Whether this machine has the memory that a model needs, told before it is loaded.

use std::fs;

/// What steps are made in, and tokens are kept in, beside weights and conversations.
const BESIDE: u64 = 128 * MIB;
const MIB: u64 = 1024 * 1024;

/// Where a control group says what its processes may take; the root of what this one sees.
const GROUP: &str = "/sys/fs/cgroup";

/// What a model will take.
#[derive(Debug, Clone, Copy)]
pub struct Needed {
    pub weights: u64,
    pub conversations: u64,
}

impl Needed {
    /// # Errors
    /// More is needed than is free, and nobody said that this is known.
    pub fn within(self, free: Option<u64>, is_ignored: bool) -> Result<(), String> {
        let all = self.weights.saturating_add(self.conversations).saturating_add(BESIDE);
        let Some(free) = free.filter(|free| all > *free && !is_ignored) else { return Ok(()) };
        let mib = |bytes: u64| bytes.div_ceil(MIB);
        Err(format!(
            "needs {} MiB of memory ({} of weights, {} for conversations, {} to compute in), and {} are free. Give \
             --kv-memory less, take a smaller model or one that is rounded further, or load it all the same with \
             --ignore-memory.",
            mib(all),
            mib(self.weights),
            mib(self.conversations),
            mib(BESIDE),
            free / MIB
        ))
    }
}

/// The memory that is free, where the system says it.
pub fn free() -> Option<u64> {
    let of_group = |name: &str| fs::read_to_string(format!("{GROUP}/{name}")).ok();
    let group = [of_group("memory.max"), of_group("memory.current"), of_group("memory.stat")];
    let of_machine = available(&fs::read_to_string("/proc/meminfo").ok()?);
    let [most, taken, details] = group.each_ref().map(|text| text.as_deref().unwrap_or_default());
    [of_machine, left(most, taken, details)].into_iter().flatten().min()
}

fn available(told: &str) -> Option<u64> {
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// What a control group leaves: files that it only remembers make room.
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
        assert_eq!(needed.within(None, false), Ok(()));
        assert_eq!(needed.within(Some(1752 * MIB), false), Ok(()));
        assert_eq!(needed.within(Some(1751 * MIB), true), Ok(()));
        let told = needed.within(Some(1751 * MIB), false).unwrap_err();
        assert!(told.contains("needs 1752 MiB") && told.contains("and 1751 are free"), "{told}");
        assert!(told.contains("--ignore-memory") && told.contains("600 of weights"), "{told}");
        let endless = Needed { weights: u64::MAX, conversations: u64::MAX };
        assert!(endless.within(Some(u64::MAX - 1), false).is_err());
    }

    #[test]
    fn what_is_free_is_read_as_the_system_writes_it() {
        let told = "MemTotal:       24000000 kB\nMemFree:         1000 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(available(told), Some(2048 * 1024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert_eq!(left("max\n", "100\n", ""), None);
        assert_eq!(left("1000\n", "900\n", "anon 5\ninactive_file 300\n"), Some(400));
        assert_eq!(left("1000\n", "2000\n", ""), Some(0));
    }
}
