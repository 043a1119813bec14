//! `/v2/retention-profile`: what a project keeps of its requests, of how many, and for how long. Without one, that is the metadata
//! alone.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, not_found};
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::CONTENT_DAYS_MAX;
use domain::{ContentRetention, Fault, ProjectId, TraceMode};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use snapshot::ProjectEntry;
use transcripts::profiles::{ProfileRow, RetentionProfiles};

const PATH: &str = "/v2/retention-profile";

pub fn routes() -> Vec<Route> {
    let set = |method| {
        Route::new(method, PATH, Access::MANAGE, set)
            .says("Sets what a project keeps of its requests. Omitted fields stay unchanged.")
            .takes::<ProfileInput>()
            .returns::<ProfileView>()
            .refuses(403, "policy_forbids")
            .refuses(412, "version_mismatch")
    };
    let get = Route::new(Method::GET, PATH, Access::LOOK, get)
        .says("Shows what a project keeps of its requests.")
        .query("project_id", "A project; by default the key's own, or the workspace's first.")
        .returns::<ProfileView>();
    vec![get, set(Method::POST), set(Method::PUT)]
}

/// What a project keeps of its requests.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RetentionProfileInput")]
struct ProfileInput {
    /// By default the key's own, or the workspace's first.
    project_id: Option<String>,
    /// `metadata`: ids, counts, times and money. `tokenized`: also the shape of each request, every text in its place as its length
    /// and a keyed hash. `encrypted_full_fidelity`: also the request, as the checks of policies left it, and its answer, sealed.
    #[schemars(extend("enum" = ["metadata", "tokenized", "encrypted_full_fidelity", null]))]
    trace_mode: Option<String>,
    /// How long shapes and contents are kept.
    #[schemars(range(min = 1, max = CONTENT_DAYS_MAX))]
    default_retention_days: Option<u32>,
    /// Of how many requests in a hundred, drawn by chance. A request that wishes for it by `Agent-Trace-Mode` is kept anyway.
    #[schemars(range(min = 0, max = 100))]
    sample_percent: Option<u32>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RetentionProfile")]
struct ProfileView {
    object: &'static str,
    project_id: String,
    #[schemars(extend("enum" = TraceMode::WORDS))]
    trace_mode: &'static str,
    default_retention_days: u32,
    sample_percent: u32,
    /// What is kept now: a policy that lets nothing be retained, of the project or its workspace, overrules the profile.
    #[schemars(extend("enum" = TraceMode::WORDS))]
    effective_trace_mode: &'static str,
    /// A key or a person; `null` where it was never set.
    changed_by: Option<String>,
    changed_at: Option<Moment>,
}

fn view(row: Option<ProfileRow>, project: &ProjectEntry) -> ProfileView {
    let retention = row.as_ref().map_or(ContentRetention::NOTHING, |row| row.retention);
    let retains_nothing = project.policy.as_ref().is_some_and(|policies| policies.retains_nothing());
    let effective = if retains_nothing { TraceMode::Metadata } else { retention.mode };
    ProfileView {
        object: "retention_profile",
        project_id: project.id.to_string(),
        trace_mode: retention.mode.as_str(),
        default_retention_days: retention.days,
        sample_percent: retention.sample_percent,
        effective_trace_mode: effective.as_str(),
        changed_at: row.as_ref().map(|row| Moment(row.changed_unix_ms)),
        changed_by: row.map(|row| row.changed_by),
    }
}

fn project_of(
    control: &Control,
    request: &ApiRequest,
    named: Option<&str>,
) -> Result<Arc<ProjectEntry>, Box<Fault>> {
    let own = request.caller.project().map(|project| project.id);
    let snapshot = control.deps.keeper.current();
    let workspace = snapshot.workspace(request.workspace());
    let mut projects = workspace.into_iter().flat_map(|entry| &entry.projects);
    let found = match (named, own) {
        (None, None) => projects.next(),
        (Some(text), _) => {
            let id: ProjectId = text.parse().map_err(|_| not_found("project", text))?;
            projects.find(|project| project.id == id)
        }
        (None, Some(own)) => projects.find(|project| project.id == own),
    };
    found.cloned().ok_or_else(|| not_found("project", named.unwrap_or("of this workspace")))
}

fn profiles(control: &Control) -> RetentionProfiles {
    RetentionProfiles::of(control.deps.store.database())
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let project = project_of(control, &request, request.query.get("project_id").map(String::as_str))?;
    request.seen_project(Some(project.id))?;
    let row = profiles(control).get(request.workspace(), project.id).await.map_err(of_store)?;
    let version = row.as_ref().map_or(0, |row| row.version);
    Ok(Reply::json(&view(row, &project))?.version(version))
}

impl ProfileInput {
    fn over(&self, kept: ContentRetention) -> Result<ContentRetention, Box<Fault>> {
        let mode = match &self.trace_mode {
            None => kept.mode,
            Some(word) => TraceMode::from_name(word).ok_or_else(|| {
                let fix = format!("Use {}.", TraceMode::WORDS.join(", "));
                invalid("trace_mode", format!("\"{word}\" isn't a trace mode."), fix)
            })?,
        };
        let days = self.default_retention_days.unwrap_or(kept.days);
        if !(1..=CONTENT_DAYS_MAX).contains(&days) {
            let message = format!("Content can't be kept for {days} days.");
            return Err(invalid("default_retention_days", message, format!("Use 1 to {CONTENT_DAYS_MAX}.")));
        }
        let sample_percent = self.sample_percent.unwrap_or(kept.sample_percent);
        if sample_percent > 100 {
            let message = format!("{sample_percent} of a hundred requests can't be kept.");
            return Err(invalid("sample_percent", message, "Use 0 to 100."));
        }
        Ok(ContentRetention { mode, days, sample_percent })
    }
}

async fn set(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: ProfileInput = request.json()?;
    let project = project_of(control, &request, input.project_id.as_deref())?;
    let before = profiles(control).get(request.workspace(), project.id).await.map_err(of_store)?;
    let kept = before.as_ref().map_or(ContentRetention::NOTHING, |row| row.retention);
    let retention = input.over(kept)?;
    if retention.mode != TraceMode::Metadata
        && let Some(policies) = &project.policy
        && let Some(fault) = policies.refuse_to_keep("the profile keeps content", "Change the policy first.")
    {
        return Err(Box::new(fault.param("trace_mode")));
    }
    let act = request.act(&control.deps.world);
    let row = ProfileRow {
        workspace: request.workspace(),
        project: project.id,
        retention,
        changed_by: act.actor.clone(),
        changed_unix_ms: act.unix_ms,
        version: 0,
    };
    // Fields that are left out are those of the version that was read.
    let expected = request.if_match()?.or_else(|| Some(before.map_or(0, |row| row.version)));
    let written = profiles(control).set(row, expected, act).await.map_err(of_store)?;
    control.deps.await_published(written.version).await?;
    let version = written.row.version;
    Ok(Reply::json(&view(Some(written.row), &project))?.version(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_it_was() {
        let kept = ContentRetention { mode: TraceMode::Tokenized, days: 7, sample_percent: 5 };
        let over = |text: &str| {
            let input: ProfileInput = serde_json::from_str(text).unwrap();
            input.over(kept).map_err(|fault| fault.param.as_deref().unwrap_or_default().to_owned())
        };
        assert_eq!(over("{}"), Ok(kept));
        assert_eq!(over(r#"{"sample_percent": 0}"#), Ok(ContentRetention { sample_percent: 0, ..kept }));
        let full = ContentRetention { mode: TraceMode::FullFidelity, days: 3650, ..kept };
        assert_eq!(
            over(r#"{"trace_mode": "encrypted_full_fidelity", "default_retention_days": 3650}"#),
            Ok(full)
        );
        for (text, field) in [
            (r#"{"trace_mode": "all"}"#, "trace_mode"),
            (r#"{"default_retention_days": 0}"#, "default_retention_days"),
            (r#"{"default_retention_days": 3651}"#, "default_retention_days"),
            (r#"{"sample_percent": 101}"#, "sample_percent"),
        ] {
            assert_eq!(over(text), Err(field.to_owned()), "{text}");
        }
    }
}
