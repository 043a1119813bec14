//! The energy counters of NVIDIA's accelerators, read by the library that comes with their driver (NVML). It is opened where it is
//! installed, so that one build runs with and without it.

#![allow(unsafe_code, reason = "the library is C: what is called, and with which arguments, is here alone")]

use std::ffi::{c_int, c_uint, c_ulonglong, c_void};
use std::path::Path;
use std::ptr;

use libloading::Library;

use crate::limits::ACCELERATORS_MAX;

/// The driver's library.
pub const NVML: &str = "libnvidia-ml.so.1";
const SUCCESS: c_int = 0;

type Init = unsafe extern "C" fn() -> c_int;
type Count = unsafe extern "C" fn(*mut c_uint) -> c_int;
type ByIndex = unsafe extern "C" fn(c_uint, *mut *mut c_void) -> c_int;
type TotalEnergy = unsafe extern "C" fn(*mut c_void, *mut c_ulonglong) -> c_int;

/// The counters of all accelerators that count their energy: those since Volta do.
#[derive(Debug)]
pub struct Accelerators {
    counters: Vec<Counter>,
    total_energy: TotalEnergy,
    /// What the function belongs to.
    _library: Library,
}

/// Counts millijoules since the driver was loaded.
#[derive(Debug)]
struct Counter {
    device: Device,
    last_mj: u64,
}

/// A handle of the library's.
#[derive(Debug, Clone, Copy)]
struct Device(*mut c_void);

// SAFETY: handles are valid in the whole process, and NVML's documentation says that its functions may be called from any thread.
unsafe impl Send for Device {}

impl Accelerators {
    /// `None` if the library isn't there, or none of its accelerators counts.
    pub fn open(library: &Path) -> Option<Self> {
        // SAFETY: the driver's library, which the machine's administrator installed; its initialisers have no conditions.
        let library = unsafe { Library::new(library) }.ok()?;
        // SAFETY: the signatures are those of nvml.h, and what is returned is called only as long as the library is open.
        let (init, count, by_index, total_energy) = unsafe {
            (
                *library.get::<Init>(b"nvmlInit_v2\0").ok()?,
                *library.get::<Count>(b"nvmlDeviceGetCount_v2\0").ok()?,
                *library.get::<ByIndex>(b"nvmlDeviceGetHandleByIndex_v2\0").ok()?,
                *library.get::<TotalEnergy>(b"nvmlDeviceGetTotalEnergyConsumption\0").ok()?,
            )
        };
        let mut devices: c_uint = 0;
        // SAFETY: `init` comes first, and may be called more than once; `devices` outlives the call.
        if unsafe { init() != SUCCESS || count(&raw mut devices) != SUCCESS } {
            return None;
        }
        let counters: Vec<Counter> = (0..devices.min(ACCELERATORS_MAX))
            .filter_map(|index| {
                let mut device = ptr::null_mut();
                // SAFETY: `index` is below the count, and `device` outlives the call.
                let found = unsafe { by_index(index, &raw mut device) } == SUCCESS;
                let device = Device(device);
                let last_mj = if found { read(total_energy, device) } else { None }?;
                Some(Counter { device, last_mj })
            })
            .collect();
        (!counters.is_empty()).then_some(Self { counters, total_energy, _library: library })
    }

    /// What came since the last reading, in millijoules; `None` where a counter can't be read any more, or began again.
    pub(crate) fn read_mj(&mut self) -> Option<u64> {
        let mut came_mj = 0_u64;
        for counter in &mut self.counters {
            let now_mj = read(self.total_energy, counter.device)?;
            let before_mj = std::mem::replace(&mut counter.last_mj, now_mj);
            came_mj = came_mj.saturating_add(now_mj.checked_sub(before_mj)?);
        }
        Some(came_mj)
    }
}

fn read(total_energy: TotalEnergy, device: Device) -> Option<u64> {
    let mut energy_mj: c_ulonglong = 0;
    // SAFETY: the library gave out this handle and is open, and `energy_mj` outlives the call.
    let status = unsafe { total_energy(device.0, &raw mut energy_mj) };
    (status == SUCCESS).then_some(energy_mj)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A library with NVML's functions: three accelerators, of which the first doesn't count. The others' counters grow by what is
    /// in a file beside it.
    const LIBRARY: &str = r#"
        #include <stdio.h>
        static int initialised, handles[3];
        int nvmlInit_v2(void) { initialised = 1; return 0; }
        int nvmlDeviceGetCount_v2(unsigned *count) { *count = 3; return initialised ? 0 : 1; }
        int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
            if (index >= 3) return 2;
            *device = &handles[index];
            return 0;
        }
        int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *energy) {
            if (device == &handles[0]) return 3;
            FILE *file = fopen(COUNTER, "r");
            if (!file) return 999;
            int read = fscanf(file, "%llu", energy);
            fclose(file);
            return read == 1 ? 0 : 999;
        }
    "#;

    #[test]
    fn counters_are_added_and_a_gap_is_never_zero() {
        let root = tempfile::tempdir().unwrap();
        let (source, library) = (root.path().join("nvml.c"), root.path().join("libnvml.so"));
        let counter = root.path().join("counter");
        std::fs::write(&source, LIBRARY).unwrap();
        std::fs::write(&counter, "5000").unwrap();
        let macro_of_counter = format!("-DCOUNTER=\"{}\"", counter.display());
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", &macro_of_counter, "-o"]).arg(&library).arg(&source);
        assert!(compiler.status().unwrap().success());

        let mut accelerators = Accelerators::open(&library).unwrap();
        assert_eq!(accelerators.read_mj(), Some(0), "it counts from its start");
        std::fs::write(&counter, "5040").unwrap();
        assert_eq!(accelerators.read_mj(), Some(80), "two of three count");
        std::fs::write(&counter, "10").unwrap();
        assert_eq!(accelerators.read_mj(), None, "the driver was loaded again");
        std::fs::remove_file(&counter).unwrap();
        assert_eq!(accelerators.read_mj(), None);
        assert!(Accelerators::open(&library).is_none(), "none of them can be read");
        assert!(Accelerators::open(&root.path().join("none.so")).is_none());
    }
}
