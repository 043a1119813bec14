//! Time, randomness and disk as arguments: real ones here, and ones that a test or the simulator drives.

pub mod clock;
pub mod disk;
#[cfg(feature = "faults")]
pub mod fault_disk;
pub mod random;

use std::sync::Arc;

pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::{Disk, DiskFile, SystemDisk, replace_private};
#[cfg(feature = "faults")]
pub use fault_disk::{DiskFault, FaultDisk};
pub use random::{Random, SeededRandom, SystemRandom};

/// What a part of the system needs from the outside world, passed in by its composer.
#[derive(Clone)]
pub struct World {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub disk: Arc<dyn Disk>,
}

impl World {
    /// The real one.
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SystemRandom),
            disk: Arc::new(SystemDisk),
        }
    }

    /// The ten random bytes of an id.
    pub fn id_bytes(&self) -> [u8; 10] {
        let mut bytes = [0; 10];
        self.random.fill(&mut bytes);
        bytes
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}
