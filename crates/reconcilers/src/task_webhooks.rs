//! Tells the address that a task's request names of its end: the task as its client reads it, signed with the installation's
//! key (Standard Webhooks 1.0, asymmetric), whose public half is at `/v2/audit/key`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::limits::WEBHOOK_OFFERED_MAX;
use domain::ports::PortFuture;
use domain::{ObjectOwner, RunTask, TaskContents, TaskId};
use jobs::{Handler, Outcome, Policy};
use runs::{TaskContent, TaskRequest};
use serde_json::json;
use store::{JobRow, NewJob};

use crate::Deps;
use crate::webhooks::Posting;

const TELL: &str = "tasks.tell";
/// Retries for three days, as of other webhooks.
const POLICY: Policy = Policy {
    first_wait_ms: 5_000,
    wait_max_ms: 6 * 3_600_000,
    retry_for_ms: WEBHOOK_OFFERED_MAX.as_secs() * 1_000,
};

/// The job that tells of the end of a task.
pub fn task_webhook_job_of(owner: ObjectOwner, id: TaskId, unix_ms: u64) -> NewJob {
    NewJob {
        kind: TELL,
        workspace: owner.workspace,
        name: Some(format!("{TELL}:{id}")),
        payload: json!({"project": owner.project.to_string(), "task": id.to_string()}),
        run_unix_ms: unix_ms,
        every_ms: None,
        unix_ms,
    }
}

/// The handler of these jobs.
pub struct TellOfTask(pub Deps);

impl TellOfTask {
    async fn tell(&self, job: &JobRow) -> Outcome {
        let text = |name: &str| job.payload.get(name).and_then(|value| value.as_str());
        let (Some(project), Some(id)) =
            (text("project").and_then(|id| id.parse().ok()), text("task").and_then(|id| id.parse().ok()))
        else {
            return Outcome::Permanent { error: "it names no task".into() };
        };
        let owner = ObjectOwner { workspace: job.workspace, project };
        let found = runs::stored(&self.0.store).find(owner, id, self.0.world.clock.unix_ms()).await;
        let (task, sealed) = match found {
            Ok(Some(found)) => found,
            // It was deleted meanwhile.
            Ok(None) => return Outcome::Done,
            Err(error) => return Outcome::failure(error),
        };
        let contents = TaskContent::open_all(&sealed, &self.0.vault, owner.workspace);
        let Some(url) = TaskRequest::read(&contents).and_then(|request| request.webhook) else {
            return Outcome::Done;
        };
        self.post(&task, &contents, url).await
    }

    async fn post(&self, task: &RunTask, contents: &TaskContents, url: String) -> Outcome {
        let id = task.id.to_string();
        let unix_s = self.0.world.clock.unix_ms() / 1_000;
        let body = Bytes::from(runs::document(task, contents).to_string());
        let signed = [id.as_bytes(), b".", unix_s.to_string().as_bytes(), b".", &body].concat();
        let signature = self.0.auditor.sign_text(&signed);
        let headers = vec![
            ("webhook-id", id),
            ("webhook-timestamp", unix_s.to_string()),
            ("webhook-signature", format!("v1a,{}", STANDARD.encode(signature))),
        ];
        let posted = match Posting::json(Some(task.owner.workspace), url, headers, body) {
            Ok(posting) => self.0.outbound.post(posting).await,
            Err(error) => Err(error),
        };
        match posted {
            Ok(posted) if (200..300).contains(&posted.status) || posted.status == 410 => Outcome::Done,
            Ok(posted) => Outcome::Failed {
                error: format!("it answered {}", posted.status),
                wait_ms: posted.retry_after_s.map(|seconds| seconds * 1_000),
            },
            Err(error) => Outcome::failure(error.message()),
        }
    }
}

impl Handler for TellOfTask {
    fn kind(&self) -> &'static str {
        TELL
    }

    fn policy(&self) -> Policy {
        POLICY
    }

    fn run<'a>(&'a self, job: &'a JobRow) -> PortFuture<'a, Outcome> {
        Box::pin(self.tell(job))
    }
}
