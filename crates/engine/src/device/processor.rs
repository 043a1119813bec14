//! The backends: the CPU with our own kernels, or candle tensors on CPU, CUDA or Metal.

use std::fmt;
use std::str::FromStr;

use candle_core::{Device, DeviceLocation};
use kernels::KvDtype;
use weights::Source;

use crate::EngineError;

/// What computes a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Processor {
    /// The CPU, with the kernels of this crate.
    #[default]
    Own,
    /// The CPU with tensors: the accelerators' code path, for tests where there is no accelerator.
    Tensors,
    /// An NVIDIA GPU, by its index.
    Cuda(usize),
    /// An Apple GPU.
    Metal,
}

/// The names that `FromStr` accepts, for error messages.
const NAMES: &str = "cpu, cpu-tensors, cuda, cuda:N and metal";

impl Processor {
    /// Tokens per step: enough to keep the backend busy without delaying running sequences more than
    /// necessary.
    pub const fn step_tokens(self) -> usize {
        match self {
            Self::Own | Self::Tensors => 256,
            Self::Metal => 1024,
            Self::Cuda(_) => 4096,
        }
    }

    /// Whether it is a GPU.
    pub const fn is_accelerator(self) -> bool {
        matches!(self, Self::Cuda(_) | Self::Metal)
    }

    /// Checks that this build includes the backend.
    ///
    /// # Errors
    /// It does not; the error names the feature to build with.
    pub fn check(self) -> Result<(), EngineError> {
        let missing = match self {
            Self::Cuda(_) if !cfg!(feature = "cuda") => {
                "is not in this build: build with `--features cuda` or `--features cuda,flash-attn` where nvcc is installed"
            }
            Self::Metal if !cfg!(feature = "metal") => {
                "is not in this build: build with `--features metal` on a Mac"
            }
            _ => return Ok(()),
        };
        Err(self.refusal(missing))
    }

    /// Checks that it supports a KV cache of this precision.
    ///
    /// # Errors
    /// 8-bit KV caches are only implemented in the CPU kernels.
    pub fn check_keeps(self, keeps: KvDtype) -> Result<(), EngineError> {
        match (self, keeps) {
            (Self::Own, _) | (_, KvDtype::F16 | KvDtype::F32) => Ok(()),
            (_, KvDtype::Q8) => Err(self.keeps_none()),
        }
    }

    /// Whether a prefix cache on disk can be used.
    ///
    /// # Errors
    /// Only blocks of the CPU kernels are copied there.
    pub fn check_disk_cache(self) -> Result<(), EngineError> {
        match self {
            Self::Own => Ok(()),
            _ => Err(self.refusal("doesn't support a prefix cache on disk: only cpu does")),
        }
    }

    pub(super) fn keeps_none(self) -> EngineError {
        self.refusal("supports only a 16-bit KV cache: an 8-bit one (q8) needs cpu")
    }

    /// The backend that a device belongs to.
    pub(super) fn of(device: &Device) -> Self {
        match device.location() {
            DeviceLocation::Cpu => Self::Tensors,
            DeviceLocation::Cuda { gpu_id } => Self::Cuda(gpu_id),
            DeviceLocation::Metal { .. } => Self::Metal,
        }
    }

    /// The tensor device; `None` for the CPU kernels.
    pub(crate) fn open(self) -> Result<Option<Device>, EngineError> {
        self.check()?;
        let opened = match self {
            Self::Own => return Ok(None),
            Self::Tensors => Ok(Device::Cpu),
            Self::Cuda(number) => Device::new_cuda(number),
            Self::Metal => Device::new_metal(0),
        };
        opened.map(Some).map_err(|error| self.refusal(format!("can't be opened: {error}")))
    }

    /// The bytes of weights on the device that computes, and those that stay in host memory besides.
    pub fn takes(self, source: &Source) -> (u64, u64) {
        match self {
            Self::Own => (source.weight_bytes(), 0),
            _ => source.taken_by_tensors(self == Self::Tensors),
        }
    }

    /// Checks that a device that reports its free memory has enough for the weights and the KV cache.
    pub(crate) fn check_room(self, source: &Source, memory_bytes: usize) -> Result<(), EngineError> {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let Some(free) = self.open()?.and_then(|device| free(&device)) else { return Ok(()) };
        let (weights, memory) = (self.takes(source).0, memory_bytes as u64);
        if weights.saturating_add(memory) <= free {
            return Ok(());
        }
        Err(self.refusal(format!(
            "has {} MiB free, but the weights need {} MiB and the KV cache needs {} MiB: reduce the KV cache, or use a quantized \
             model",
            mib(free),
            mib(weights),
            mib(memory)
        )))
    }

    fn refusal(self, what: impl Into<String>) -> EngineError {
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
                let what = format!("isn't a device: use one of {NAMES}");
                Err(EngineError::Processor { named: named.to_owned(), what })
            }
        }
    }
}

/// The free memory of a GPU.
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
