//! `/v2/policies`: what the requests of a project, or of all projects, may reach and contain, whatever their
//! routes say.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing, not_found};
use api::moment::Moment;
use api::openapi::description::Nothing;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{Fault, FaultClass, PolicyId, PolicySpec, ProjectId, Secret};
use http::Method;
use reconcilers::of_store;
use reconcilers::webhooks::{mint_secret, secret_text};
use replayruns::{Checked, check_policy, gated};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use snapshot::ProjectEntry;
use store::{HookSecretRow, PolicyRow};

use super::secrets;
use crate::effective_policy::EffectiveView;
use crate::policy_forms::PolicyForm;
use crate::resource::{Resource, WritableResource, delete, get, list, load, patch, post, put, without};

pub fn routes() -> Vec<Route> {
    vec![
        gated(
            post::<PolicyRow>(
                "Creates the policy of a project, or of the workspace: what requests may reach and contain, whatever a route says.",
            )
            .makes::<PolicyWithSecret>(),
        ),
        list::<PolicyRow>("Lists the policies of the workspace and of its projects."),
        Route::new(Method::GET, "/v2/policies/effective", Access::LOOK, effective)
            .says("Shows what the policies of the workspace and of a project allow together.")
            .query("project_id", "The project.")
            .returns_value::<EffectiveView>(),
        get::<PolicyRow>("Shows a policy."),
        gated(patch::<PolicyRow>("Changes fields of a policy. Its project can't change.")),
        gated(put::<PolicyRow>("Replaces a policy. Its project can't change.")),
        Route::new(Method::POST, "/v2/policies/{id}/rotate", Access::MANAGE, rotate)
            .says("Creates a new secret for the policy's hooks. The previous one also signs for another day.")
            .takes_nothing()
            .returns::<PolicyWithSecret>()
            .refuses(409, "secret_version"),
        gated(delete::<PolicyRow>("Deletes a policy. The remaining policies, and routes, still apply.")),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KeptPolicy")]
pub struct PolicyView {
    id: String,
    object: &'static str,
    #[serde(flatten)]
    rules: PolicyForm,
    /// Names the secret that signs the calls of its hooks.
    hook_secret_fingerprint: Option<String>,
    created_at: Moment,
}

/// A policy, with the secret of its hooks where this answer made one.
#[derive(Serialize, JsonSchema)]
struct PolicyWithSecret {
    #[serde(flatten)]
    policy: PolicyView,
    /// Checks the signatures of its hooks' calls. It is only in this answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    hook_secret: Option<String>,
}

fn show(row: &PolicyRow) -> PolicyView {
    PolicyView {
        id: row.id.to_string(),
        object: "policy",
        rules: PolicyForm {
            project_id: row.project.map(|project| project.to_string()),
            workspace: row.project.is_none(),
            ..PolicyForm::of(&row.spec)
        },
        hook_secret_fingerprint: row.hook_secret.as_ref().map(|own| own.secret.fingerprint.clone()),
        created_at: Moment(row.created_unix_ms),
    }
}

/// A caller's project, as requests read it.
pub fn project_of(
    control: &Control,
    request: &ApiRequest,
    id: &str,
) -> Result<Arc<ProjectEntry>, Box<Fault>> {
    let snapshot = control.deps.keeper.current();
    let workspace = snapshot.workspace(request.workspace());
    let mut projects = workspace.iter().flat_map(|workspace| &workspace.projects);
    projects.find(|project| project.id.to_string() == id).cloned().ok_or_else(|| not_found("project", id))
}

async fn effective(control: &Arc<Control>, request: ApiRequest) -> Handled {
    // Without a name it is the caller's own project, as in a plan.
    let own = || request.caller.project().map(|project| project.id.to_string());
    let Some(id) = request.query.get("project_id").cloned().or_else(own) else {
        return Err(missing("project_id", "Name the project. GET /v2/projects lists them."));
    };
    Reply::json(&EffectiveView::of(&*project_of(control, &request, &id)?))
}

pub fn spec_of(
    control: &Control,
    request: &ApiRequest,
    project: Option<ProjectId>,
    form: PolicyForm,
) -> Result<PolicySpec, Box<Fault>> {
    let catalogue = Arc::clone(control.deps.keeper.current().catalogue());
    let spec = form.spec(|name| catalogue.provider(&name).map_or(name, |facts| facts.slug.clone()))?;
    for (place, hook) in spec.hooks.iter().enumerate() {
        egress::check_webhook_url(&hook.url, &control.web.egress)
            .map_err(|fault| fault.param(format!("hooks[{place}].url")))?;
    }
    if project.is_some() {
        check_tightens(control, request, &spec)?;
    }
    Ok(spec)
}

/// A project's policy is refused where it allows what the workspace's does not.
fn check_tightens(control: &Control, request: &ApiRequest, spec: &PolicySpec) -> Result<(), Box<Fault>> {
    let snapshot = control.deps.keeper.current();
    let workspace = snapshot.workspace(request.workspace());
    let mut policies = workspace
        .iter()
        .flat_map(|workspace| &workspace.projects)
        .filter_map(|project| project.policy.as_ref())
        .flat_map(|policies| policies.each());
    let Some(wide) = policies.find(|policy| policy.project.is_none()) else { return Ok(()) };
    let Some(loosening) = spec.loosens(&wide.spec) else { return Ok(()) };
    let rule = loosening.rule.as_str();
    let message = format!(
        "{rule} allows {}, and the workspace's policy {} allows {}.",
        loosening.excess, wide.id, loosening.bound
    );
    let fix = "Keep within the workspace's policy, or have it changed first.";
    Err(Box::new(Fault::new(FaultClass::BadRequest, "policy_loosens", message).fix(fix).param(rule)))
}

impl Resource for PolicyRow {
    const PATH: &'static str = "/v2/policies";
    const ONE: &'static str = "/v2/policies/{id}";
    const WHAT: &'static str = "policy";
    type View = PolicyView;

    fn table(control: &Control) -> &dyn store::Resource<Self> {
        control.deps.store.policies()
    }

    async fn view(&self, _: &Control) -> Result<PolicyView, Box<Fault>> {
        Ok(show(self))
    }

    async fn check_deletion(control: &Control, request: &ApiRequest, id: PolicyId) -> Checked {
        check_policy(control, request, id, None).await
    }
}

impl WritableResource for PolicyRow {
    type Input = PolicyForm;
    type Update = PolicyForm;
    /// The text of a new secret of its hooks.
    type Rest = Option<String>;

    fn writable(&self, _: &Control) -> Result<Value, Box<Fault>> {
        Ok(without(json!(show(self)), &["id", "object", "created_at", "hook_secret_fingerprint"]))
    }

    async fn new(
        control: &Control,
        request: &ApiRequest,
        input: PolicyForm,
    ) -> Result<(Self, Self::Rest), Box<Fault>> {
        let project = match (&input.project_id, input.workspace) {
            (Some(project), false) => Some(project.parse().map_err(|_| not_found("project", project))?),
            (None, true) => None,
            (Some(_), true) => {
                let message = "A policy is a project's or the workspace's, and this one is both.";
                return Err(invalid("workspace", message, "Leave project_id or workspace out."));
            }
            (None, false) => {
                let fix = "Name the project (GET /v2/projects lists them), or set \"workspace\": true.";
                return Err(missing("project_id", fix));
            }
        };
        let now = control.deps.world.clock.unix_ms();
        let id = PolicyId::new(now, control.deps.world.id_bytes());
        let spec = spec_of(control, request, project, input)?;
        let workspace = request.workspace();
        Self { id, workspace, project, spec, hook_secret: None, created_unix_ms: now, version: 0 }
            .with_secret(control)
    }

    async fn change(
        self,
        control: &Control,
        request: &ApiRequest,
        input: PolicyForm,
    ) -> Result<(Self, Self::Rest), Box<Fault>> {
        let own = self.project.map(|project| project.to_string());
        if input.project_id != own || input.workspace != own.is_none() {
            let (field, value) = match own {
                Some(own) => ("project_id", own),
                None => ("workspace", "true".to_owned()),
            };
            let message = "A policy stays with its project or workspace.";
            return Err(invalid(field, message, format!("Give {value}, or create another policy.")));
        }
        Self { spec: spec_of(control, request, self.project, input)?, ..self }.with_secret(control)
    }

    async fn check_creation(control: &Control, request: &ApiRequest, new: &Self) -> Checked {
        check_policy(control, request, new.id, Some(new)).await
    }

    async fn check_change(control: &Control, request: &ApiRequest, change: &Self) -> Checked {
        check_policy(control, request, change.id, Some(change)).await
    }

    async fn finish(
        self,
        _: &Arc<Control>,
        _: &ApiRequest,
        hook_secret: Self::Rest,
    ) -> Result<Reply, Box<Fault>> {
        show_with(&self, hook_secret)
    }
}

fn show_with(row: &PolicyRow, hook_secret: Option<String>) -> Result<Reply, Box<Fault>> {
    Ok(Reply::json(&PolicyWithSecret { policy: show(row), hook_secret })?.version(row.version))
}

trait SignsHooks: Sized {
    /// With a secret, if it has hooks and none yet; and its text.
    fn with_secret(self, control: &Control) -> Result<(Self, Option<String>), Box<Fault>>;
    /// The next secret, sealed with the one before it, which also signs for a while; and its text.
    fn next_secret(&self, control: &Control) -> Result<(HookSecretRow, String), Box<Fault>>;
}

impl SignsHooks for PolicyRow {
    fn with_secret(self, control: &Control) -> Result<(Self, Option<String>), Box<Fault>> {
        if self.spec.hooks.is_empty() || self.hook_secret.is_some() {
            return Ok((self, None));
        }
        let (secret, text) = self.next_secret(control)?;
        Ok((Self { hook_secret: Some(secret), ..self }, Some(text)))
    }

    fn next_secret(&self, control: &Control) -> Result<(HookSecretRow, String), Box<Fault>> {
        let newest = mint_secret(&*control.deps.world.random);
        let object = self.id.to_string();
        let (mut version, mut keys) = (0, newest.expose().to_vec());
        if let Some(own) = &self.hook_secret {
            version = own.secret.sealed.version;
            let opened = control.deps.vault.opener.open(self.workspace, &object, &own.secret.sealed);
            // What no longer opens signs nothing either.
            if let Some(before) =
                opened.ok().as_ref().and_then(|keys| keys.expose().get(..newest.expose().len()))
            {
                keys.extend_from_slice(before);
            }
        }
        let sealed =
            secrets::seal(control, self.workspace, &object, version.saturating_add(1), &Secret::new(keys))?;
        let made_unix_ms = control.deps.world.clock.unix_ms();
        Ok((HookSecretRow { secret: sealed, made_unix_ms }, secret_text(&newest)))
    }
}

/// Makes a new secret for the hooks of a policy.
async fn rotate(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let Nothing {} = request.json()?;
    let row: PolicyRow = load(control, &request).await?;
    let (secret, text) = row.next_secret(control)?;
    let expected = request.if_match()?.or(Some(row.version));
    let act = request.act(&control.deps.world);
    let row = PolicyRow { hook_secret: Some(secret), ..row };
    let replaced = PolicyRow::table(control).replace(row, expected, act).await.map_err(of_store)?;
    control.deps.await_published(replaced.version).await?;
    show_with(&replaced.row, Some(text))
}
