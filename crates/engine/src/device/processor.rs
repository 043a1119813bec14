//! Where a model is computed: on this machine's processor by kernels of ours, or by tensors, which accelerators have.

use std::fmt;
use std::str::FromStr;

use candle_core::{Device, DeviceLocation};

use crate::pool::Keeps;
use crate::{EngineError, Source};

/// What computes a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Processor {
    /// This machine's processor, by kernels of ours.
    #[default]
    Own,
    /// The same processor by tensors, as accelerators have them: what those are tried with where there is none.
    Tensors,
    /// A card of NVIDIA's, by its number.
    Cuda(usize),
    /// Apple's.
    Metal,
}

/// What each is asked for by.
const NAMES: &str = "cpu, cpu-tensors, cuda, cuda:N and metal";

impl Processor {
    /// The tokens of one step that keep it busy, and let those that are being told wait no longer than they have to.
    #[must_use]
    pub const fn step_tokens(self) -> usize {
        match self {
            Self::Own | Self::Tensors => 256,
            Self::Metal => 1024,
            Self::Cuda(_) => 4096,
        }
    }

    /// Whether it has memory of its own.
    #[must_use]
    pub const fn is_accelerator(self) -> bool {
        matches!(self, Self::Cuda(_) | Self::Metal)
    }

    /// Whether this build can compute on it.
    ///
    /// # Errors
    /// It was built without, and the error says with what to build it.
    pub fn check(self) -> Result<(), EngineError> {
        let missing = match self {
            Self::Cuda(_) if !cfg!(feature = "cuda") => {
                "is not in this build: build it with `--features cuda`, or `--features cuda,flash-attn`, where nvcc is installed"
            }
            Self::Metal if !cfg!(feature = "metal") => {
                "is not in this build: build it with `--features metal`, on a Mac"
            }
            _ => return Ok(()),
        };
        Err(self.refused(missing))
    }

    /// Whether it remembers texts in such numbers.
    ///
    /// # Errors
    /// They are in eight bits, and it computes by tensors, which have none with scales.
    pub fn check_keeps(self, keeps: Keeps) -> Result<(), EngineError> {
        match (self, keeps) {
            (Self::Own, _) | (_, Keeps::Half | Keeps::Single) => Ok(()),
            (_, Keeps::Eight) => Err(self.keeps_none()),
        }
    }

    pub(super) fn keeps_none(self) -> EngineError {
        self.refused("remembers conversations in 16 bits alone: 8 bits (q8) are there on cpu")
    }

    /// What has such tensors.
    pub(super) fn of(device: &Device) -> Self {
        match device.location() {
            DeviceLocation::Cpu => Self::Tensors,
            DeviceLocation::Cuda { gpu_id } => Self::Cuda(gpu_id),
            DeviceLocation::Metal { .. } => Self::Metal,
        }
    }

    /// The device of its tensors; none where kernels of ours compute.
    pub(crate) fn open(self) -> Result<Option<Device>, EngineError> {
        self.check()?;
        let opened = match self {
            Self::Own => return Ok(None),
            Self::Tensors => Ok(Device::Cpu),
            Self::Cuda(number) => Device::new_cuda(number),
            Self::Metal => Device::new_metal(0),
        };
        opened.map(Some).map_err(|error| self.refused(format!("can't be opened: {error}")))
    }

    /// What a model's weights take where they are computed, and what of them lies in this machine's memory beside that.
    #[must_use]
    pub fn takes(self, source: &Source) -> (u64, u64) {
        match self {
            Self::Own => (source.weight_bytes(), 0),
            _ => source.taken_by_tensors(self == Self::Tensors),
        }
    }

    /// Whether a device that can say so has room for a model and for what it remembers.
    pub(crate) fn check_room(self, source: &Source, memory_bytes: usize) -> Result<(), EngineError> {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let Some(free) = self.open()?.and_then(|device| free(&device)) else { return Ok(()) };
        let (weights, memory) = (self.takes(source).0, memory_bytes as u64);
        if weights.saturating_add(memory) <= free {
            return Ok(());
        }
        Err(self.refused(format!(
            "has {} MiB free, and {} MiB of weights and {} MiB for conversations are wanted: give conversations less, or take \
             a model that is rounded",
            mib(free),
            mib(weights),
            mib(memory)
        )))
    }

    fn refused(self, what: impl Into<String>) -> EngineError {
        EngineError::Processor { named: self.to_string(), what: what.into() }
    }
}

impl fmt::Display for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("cpu"),
            Self::Tensors => f.write_str("cpu-tensors"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl FromStr for Processor {
    type Err = EngineError;

    fn from_str(named: &str) -> Result<Self, EngineError> {
        let number =
            |digits: &str| digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
        match (named, named.strip_prefix("cuda:")) {
            ("cpu", _) => Ok(Self::Own),
            ("cpu-tensors", _) => Ok(Self::Tensors),
            ("cuda", _) => Ok(Self::Cuda(0)),
            ("metal", _) => Ok(Self::Metal),
            (_, Some(digits)) if number(digits).is_some() => {
                Ok(Self::Cuda(number(digits).unwrap_or_default()))
            }
            _ => {
                let what = format!("is no device: those are {NAMES}");
                Err(EngineError::Processor { named: named.to_owned(), what })
            }
        }
    }
}

/// What is free on a card that has a memory of its own.
#[cfg(feature = "cuda")]
fn free(device: &Device) -> Option<u64> {
    let card = device.as_cuda_device().ok()?;
    card.cuda_stream().context().mem_get_info().ok().map(|(free, _)| free as u64)
}

#[cfg(not(feature = "cuda"))]
const fn free(_: &Device) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_read_as_it_is_shown() {
        for processor in
            [Processor::Own, Processor::Tensors, Processor::Cuda(0), Processor::Cuda(3), Processor::Metal]
        {
            assert_eq!(processor.to_string().parse::<Processor>().unwrap(), processor);
        }
        assert_eq!("cuda".parse::<Processor>().unwrap(), Processor::Cuda(0));
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "cuda:99999999999999999999", "CPU"]
        {
            let refused = wrong.parse::<Processor>().unwrap_err().to_string();
            assert!(refused.contains("cpu-tensors, cuda, cuda:N and metal"), "{refused}");
        }
    }

    #[test]
    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    fn what_this_build_lacks_is_refused_with_what_to_build() {
        for (processor, feature) in
            [(Processor::Cuda(1), "--features cuda"), (Processor::Metal, "--features metal")]
        {
            let refused = processor.open().unwrap_err().to_string();
            assert!(refused.contains(feature) && refused.contains(&processor.to_string()), "{refused}");
        }
    }
}
