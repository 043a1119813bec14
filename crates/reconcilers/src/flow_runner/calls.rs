//! What a try of a step is made with, and the ids of what it begins: the same, whoever makes it.

use std::sync::Arc;

use domain::{FlowRunId, TaskId};
use flowruns::{StepRow, StepStatus};

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

    /// Notes that a try of a step starts; which one it is, and since when. One that was on its way when its process died is
    /// made as the same try.
    pub(crate) fn start_try(&mut self, prepared: &Prepared, path: &str, kind: &str) -> (u32, u64) {
        let row = self.row_of(path, kind);
        let has_started = matches!(row.status, StepStatus::Running | StepStatus::Waiting);
        let tries = if has_started { row.tries.max(1) } else { row.tries + 1 };
        let started_unix_ms = row.started_unix_ms.unwrap_or_else(|| self.shared.deps.world.clock.unix_ms());
        let began = self.begins(prepared, (path, tries, started_unix_ms));
        let status = StepStatus::Running;
        let started = Some(started_unix_ms);
        self.write(StepRow { status, tries, started_unix_ms: started, began, ..row }, None, None);
        (tries, started_unix_ms)
    }

    fn seed(&self, (path, tries, started_unix_ms): (&str, u32, u64)) -> (u64, [u8; 10]) {
        (started_unix_ms, self.shared.deps.vault.requests.of_flow_step(self.lease.id, path, tries))
    }

    /// The id of the task or the run that a try begins.
    fn begins(&self, prepared: &Prepared, of: (&str, u32, u64)) -> Option<String> {
        let (unix_ms, bytes) = self.seed(of);
        match prepared {
            Prepared::App { .. } => Some(TaskId::new(unix_ms, bytes).to_string()),
            Prepared::Flow { .. } => Some(FlowRunId::new(unix_ms, bytes).to_string()),
            Prepared::Called(_) => None,
        }
    }
}
