//! The energy that this machine's processors took, by the counters that the Linux kernel shows (RAPL), and its accelerators, by
//! those of their driver.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::accelerators::Accelerators;
use crate::limits::ENERGY_ZONES_MAX;

const MICROJOULES_PER_MILLIJOULE: u64 = 1_000;

/// The energy counters of a machine. They see the processors and, where the kernel shows it, their memory, and accelerators whose
/// driver counts: no disks, fans or power supply.
#[derive(Debug, Default)]
pub struct EnergyMeter {
    zones: Vec<Zone>,
    accelerators: Option<Accelerators>,
    total_uj: u64,
}

/// One counter, which begins again at zero once it is full.
#[derive(Debug)]
struct Zone {
    directory: PathBuf,
    full_uj: u64,
    last_uj: u64,
}

impl Zone {
    /// `None` if this counter is part of another one, or can't be read.
    fn open(directory: PathBuf) -> Option<Self> {
        let name = fs::read_to_string(directory.join("name")).ok()?;
        // A package contains its cores, and a platform its packages; memory is beside the packages.
        if !name.starts_with("package") && name.trim() != "dram" {
            return None;
        }
        let full_uj = number(&directory.join("max_energy_range_uj")).ok()?;
        let last_uj = number(&directory.join("energy_uj")).ok()?;
        Some(Self { directory, full_uj, last_uj })
    }

    /// What came since the last reading.
    fn read(&mut self) -> io::Result<u64> {
        let now_uj = number(&self.directory.join("energy_uj"))?;
        let before_uj = std::mem::replace(&mut self.last_uj, now_uj);
        Ok(match now_uj.checked_sub(before_uj) {
            Some(came_uj) => came_uj,
            // The counter counts from zero to `full_uj`, both included.
            None => self.full_uj.saturating_sub(before_uj).saturating_add(now_uj).saturating_add(1),
        })
    }
}

impl EnergyMeter {
    /// The counters below the kernel's directory, such as `/sys/class/powercap`. Usually only root may read them.
    pub fn open(powercap: &Path) -> Self {
        let mut directories: Vec<PathBuf> = fs::read_dir(powercap)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("intel-rapl:"))
            .map(|entry| entry.path())
            .take(ENERGY_ZONES_MAX)
            .collect();
        directories.sort();
        Self { zones: directories.into_iter().filter_map(Zone::open).collect(), ..Self::default() }
    }

    pub fn with_accelerators(mut self, accelerators: Option<Accelerators>) -> Self {
        self.accelerators = accelerators;
        self
    }

    /// Whether there is a counter that this process may read.
    pub fn is_readable(&self) -> bool {
        !self.zones.is_empty() || self.accelerators.is_some()
    }

    /// The energy since it was opened, in millijoules; `None` if it isn't known. It must be read more often than a counter
    /// becomes full, which takes minutes.
    pub(crate) fn read_mj(&mut self) -> Option<u64> {
        if !self.is_readable() {
            return None;
        }
        let mut came_uj = 0_u64;
        for zone in &mut self.zones {
            match zone.read() {
                Ok(zone_uj) => came_uj = came_uj.saturating_add(zone_uj),
                Err(error) => {
                    tracing::warn!(%error, zone = %zone.directory.display(), "the energy can't be read any more, and is not reported");
                    return self.give_up();
                }
            }
        }
        if let Some(accelerators) = &mut self.accelerators {
            let Some(came_mj) = accelerators.read_mj() else {
                tracing::warn!("the energy of an accelerator can't be read any more, and none is reported");
                return self.give_up();
            };
            came_uj = came_uj.saturating_add(came_mj.saturating_mul(MICROJOULES_PER_MILLIJOULE));
        }
        self.total_uj = self.total_uj.saturating_add(came_uj);
        Some(self.total_uj / MICROJOULES_PER_MILLIJOULE)
    }

    /// A sum with a gap would be too small.
    fn give_up(&mut self) -> Option<u64> {
        *self = Self::default();
        None
    }
}

fn number(path: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    text.trim().parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(root: &Path, zone: &str, name: &str, energy_uj: u64) -> PathBuf {
        let directory = root.join(zone);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("name"), format!("{name}\n")).unwrap();
        fs::write(directory.join("max_energy_range_uj"), "999999\n").unwrap();
        fs::write(directory.join("energy_uj"), format!("{energy_uj}\n")).unwrap();
        directory.join("energy_uj")
    }

    #[test]
    fn packages_and_memory_are_added_and_what_is_in_them_is_not() {
        let root = tempfile::tempdir().unwrap();
        let package = zone(root.path(), "intel-rapl:0", "package-0", 100_000);
        let cores = zone(root.path(), "intel-rapl:0:0", "core", 50_000);
        let memory = zone(root.path(), "intel-rapl:0:1", "dram", 7_000);
        let platform = zone(root.path(), "intel-rapl:1", "psys", 500_000);
        zone(root.path(), "intel-rapl-mmio:0", "package-0", 100_000);
        let mut meter = EnergyMeter::open(root.path());
        assert!(meter.is_readable());
        assert_eq!(meter.read_mj(), Some(0), "it counts from its start");
        fs::write(&package, "140000").unwrap();
        fs::write(&cores, "80000").unwrap();
        fs::write(&memory, "9000").unwrap();
        fs::write(&platform, "900000").unwrap();
        assert_eq!(meter.read_mj(), Some(42));
        assert_eq!(meter.read_mj(), Some(42));
        fs::write(&package, "40000").unwrap();
        assert_eq!(meter.read_mj(), Some(42 + 900), "the counter went round: 860 + 40");
    }

    #[test]
    fn what_can_not_be_read_is_absent_and_never_zero() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(EnergyMeter::open(&root.path().join("none")).read_mj(), None);
        assert_eq!(EnergyMeter::open(root.path()).read_mj(), None);
        let package = zone(root.path(), "intel-rapl:0", "package-0", 100);
        let mut meter = EnergyMeter::open(root.path());
        assert_eq!(meter.read_mj(), Some(0));
        fs::write(&package, "many").unwrap();
        assert_eq!(meter.read_mj(), None);
        fs::write(&package, "5000").unwrap();
        assert_eq!(meter.read_mj(), None, "it would have a gap");
    }
}
