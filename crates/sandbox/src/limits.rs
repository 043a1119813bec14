//! Bounds of a sandbox and of the file that declares programs.

/// Programs of one installation.
pub(crate) const PROGRAMS_MAX: usize = 100;
/// Words, paths, hosts and variables of one program.
pub(crate) const ITEMS_MAX: usize = 100;
/// The longest of them.
pub(crate) const ITEM_BYTES_MAX: usize = 4_096;
/// The longest name of a program.
pub(crate) const NAME_BYTES_MAX: usize = 48;
/// Memory of each process where its program states nothing, and at most; in MiB.
pub(crate) const MEMORY_MIB: u64 = 1_024;
pub(crate) const MEMORY_MIB_MAX: u64 = 1_048_576;
/// Processes and threads where a program states no number, and at most.
pub(crate) const PROCESSES: u64 = 64;
pub(crate) const PROCESSES_MAX: u64 = 4_096;
/// Seconds of processor time of each process.
pub(crate) const CPU_SECONDS: u64 = 600;
/// Seconds after which a sandbox ends whatever it does: longer than any request's.
#[cfg(target_os = "linux")]
pub(crate) const SECONDS: u64 = 2_100;
/// Open files of each process.
#[cfg(target_os = "linux")]
pub(crate) const OPEN_FILES: u64 = 1_024;
/// Bytes and files that fit into its `/tmp`, which is memory.
#[cfg(target_os = "linux")]
pub(crate) const TEMPORARY: &str = "size=64m,nr_inodes=8192,mode=1777";
/// What fits into its other directories, which hold mount points alone.
#[cfg(target_os = "linux")]
pub(crate) const SKELETON: &str = "size=1m,nr_inodes=1024,mode=755";
