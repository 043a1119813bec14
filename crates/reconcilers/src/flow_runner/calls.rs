//! What a try of a step is made with, and the ids of what it begins: the same, whoever makes it.

use std::sync::Arc;

use domain::{FlowRunId, TaskId};

use super::drive::Drive;
use super::leaf::{Call, Prepared};

impl Drive {
    pub(crate) fn call_of(
        &self,
        prepared: Prepared,
        (path, tries, started_unix_ms): (String, u32, u64),
        is_approved: bool,
    ) -> Call {
        let (shared, lease, run) = (Arc::clone(&self.shared), self.lease.clone(), self.run.clone());
        let seed = self.seed((&path, tries, started_unix_ms));
        Call { shared, lease, run, prepared, path, seed, tries, is_approved }
    }

    fn seed(&self, (path, tries, started_unix_ms): (&str, u32, u64)) -> (u64, [u8; 10]) {
        (started_unix_ms, self.shared.deps.vault.requests.of_flow_step(self.lease.id, path, tries))
    }

    /// The id of the task or the run that a try begins.
    pub(crate) fn begins(&self, prepared: &Prepared, of: (&str, u32, u64)) -> Option<String> {
        let (unix_ms, bytes) = self.seed(of);
        match prepared {
            Prepared::App { .. } => Some(TaskId::new(unix_ms, bytes).to_string()),
            Prepared::Flow { .. } => Some(FlowRunId::new(unix_ms, bytes).to_string()),
            Prepared::Called(_) => None,
        }
    }
}
