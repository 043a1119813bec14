//! The adapter API of a served model, and the translation of adapter errors to faults.

use std::fmt::Display;
use std::path::Path;

use domain::adapters::{AdapterLimits, AdapterState, Adapters, NewAdapter, RuntimeFuture};
use domain::{Fault, FaultClass};
use kernels::KernelError;
use weights::WeightsError;

use super::served::Local;
use crate::EngineError;
use crate::adapters::{AdapterId, AdapterStatus, RegisterOptions};

/// The retry delay suggested when there is not enough memory.
const MEMORY_WAIT_MS: u64 = 10_000;

impl Adapters for Local {
    fn limits(&self) -> AdapterLimits {
        let limits = self.host.limits();
        AdapterLimits {
            registered_max: limits.registered,
            resident_max: limits.resident,
            resident_bytes_max: limits.resident_bytes,
            rank_max: limits.rank,
        }
    }

    fn list(&self) -> RuntimeFuture<'_, Vec<AdapterState>> {
        Box::pin(async {
            let all = self.host.adapters().await.map_err(fault)?;
            Ok(all.into_iter().map(state).collect())
        })
    }

    fn register(&self, new: NewAdapter) -> RuntimeFuture<'_, u64> {
        let NewAdapter { id, directory, replaces, is_pinned } = new;
        let how = RegisterOptions { replaces, is_pinned };
        Box::pin(async move {
            let id = AdapterId::from(id.as_str());
            self.host.register_adapter(id, directory, how).await.map_err(fault)
        })
    }

    fn load(&self, id: String, waits: bool) -> RuntimeFuture<'_, ()> {
        Box::pin(async move {
            let id = AdapterId::from(id.as_str());
            let loaded =
                if waits { self.host.bring_adapter(id).await } else { self.host.load_adapter(id).await };
            loaded.map_err(fault)
        })
    }

    fn pin(&self, id: String, is_pinned: bool) -> RuntimeFuture<'_, ()> {
        Box::pin(async move {
            self.host.pin_adapter(AdapterId::from(id.as_str()), is_pinned).await.map_err(fault)
        })
    }

    fn unload(&self, id: String) -> RuntimeFuture<'_, ()> {
        Box::pin(async move { self.host.unload_adapter(AdapterId::from(id.as_str())).await.map_err(fault) })
    }
}

fn state(status: AdapterStatus) -> AdapterState {
    let AdapterStatus { id, generation, rank, bytes, is_resident, is_pinned, in_use, failed } = status;
    AdapterState { id: id.to_string(), generation, rank, bytes, is_resident, is_pinned, in_use, failed }
}

/// The error as the client sees it. Of a path only the file name is shown, since the directories are internal
/// to this machine.
pub(super) fn client_message(error: &dyn Display, at: Option<(&Path, String)>) -> String {
    let Some((path, cause)) = at else { return format!("{error}.") };
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    format!("{name}: {cause}.")
}

/// The fault that the client gets.
pub(super) fn fault(error: EngineError) -> Fault {
    let message = client_message(&error, error.file_and_cause());
    match error {
        EngineError::NoAdapter(_) => Fault::new(FaultClass::NotFound, "adapter_not_found", message)
            .param("id")
            .fix("GET /v1/adapters lists the registered adapters."),
        EngineError::AdapterKnown(_) => Fault::new(FaultClass::Conflict, "adapter_exists", message)
            .param("id")
            .fix("Register it under another name, or send \"replace\": true."),
        EngineError::Weights(WeightsError::AdapterLimit { .. }) => {
            Fault::new(FaultClass::BadRequest, "adapter_limit", message)
                .fix("Unload adapters that you don't need, or give the node more room for them.")
        }
        EngineError::Weights(WeightsError::Memory { .. }) => {
            Fault::new(FaultClass::Unavailable, "not_enough_memory", message)
                .retry_after_ms(MEMORY_WAIT_MS)
                .fix("Unload adapters that you don't need, or give the node more memory.")
        }
        EngineError::Weights(WeightsError::Adapter { field, .. }) => {
            let fault = Fault::new(FaultClass::BadRequest, "invalid_adapter", message);
            fault.param(field).fix("Use a LoRA that PEFT saved for exactly this model.")
        }
        EngineError::Disk(_) => Fault::new(FaultClass::Unavailable, "storage_full", message).fix(
            "Check the disk, and send the request again; or stop the node and delete the cache's directory.",
        ),
        EngineError::Lost
        | EngineError::Kernel(KernelError::Step(_))
        | EngineError::Weights(WeightsError::Kernel(KernelError::Step(_))) => Fault::internal(),
        _ => Fault::new(FaultClass::BadRequest, "invalid_adapter", message)
            .fix("Provide adapter_config.json and adapter_model.safetensors as PEFT writes them."),
    }
}

#[cfg(test)]
mod tests {
    use super::{EngineError, WeightsError, fault};

    #[test]
    fn an_adapter_above_the_limits_has_a_code_of_its_own() {
        let limit = fault(WeightsError::AdapterLimit { what: "rank", wanted: 128, most: 64 }.into());
        assert_eq!(limit.code, "adapter_limit");
        assert!(limit.message.contains("128") && limit.message.contains("64"), "{}", limit.message);
        assert_eq!(fault(EngineError::Lost).code, "internal_error");
    }
}
