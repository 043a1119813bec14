//! `/v2/regional-policy` and `/v2/governance/regional-policy`: where requests may be processed, as a part of the
//! policy of the workspace or of a project.

use std::sync::Arc;

use api::access::Access;
use api::failure::not_found;
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::PAGE_ROWS_MAX;
use domain::{DataBoundary, Fault, PolicyId, PolicySpec, ProjectId, RegionPolicy};
use http::Method;
use reconcilers::of_store;
use replayruns::gated;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{Page, PolicyRow};

use super::policies::spec_of;
use crate::policy_forms::{DataBoundaryName, PolicyForm, RegionPolicyName};
use crate::resource::{Resource, create_row, replace_row};

/// The prefix of the ids that each path gives.
const IDS: [&str; 2] = ["rgn", "rgp"];

pub fn routes() -> Vec<Route> {
    [at::<0>("/v2/regional-policy"), at::<1>("/v2/governance/regional-policy")]
        .into_iter()
        .flatten()
        .collect()
}

fn at<const IDS_AT: usize>(path: &'static str) -> [Route; 3] {
    let set = |method| {
        let route = Route::new(method, path, Access::MANAGE, set::<IDS_AT>)
            .says("Sets where requests may be processed, in the policy of the workspace or of a project.")
            .takes::<RegionalForm>()
            .returns::<RegionalView>()
            .refuses(400, "policy_loosens");
        gated(route)
    };
    let show = Route::new(Method::GET, path, Access::LOOK, render::<IDS_AT>)
        .says("Shows where requests may be processed.")
        .query("project_id", "A project's; by default the workspace's.")
        .returns::<RegionalView>();
    [show, set(Method::POST), set(Method::PUT)]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RegionalPolicy")]
struct RegionalForm {
    /// A project's; by default the workspace's.
    project_id: Option<String>,
    #[schemars(with = "Option<RegionPolicyName>")]
    region_policy: Option<String>,
    /// Empty allows all that `region_policy` allows.
    #[serde(default)]
    allowed_regions: Vec<String>,
    #[schemars(with = "Option<DataBoundaryName>")]
    data_boundary: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KeptRegionalPolicy")]
struct RegionalView {
    id: String,
    object: &'static str,
    /// The policy that it is a part of.
    policy_id: String,
    project_id: Option<String>,
    region_policy: &'static str,
    /// Names of regions in lower case, with those of `region_policy`; null allows all.
    allowed_regions: Option<Vec<String>>,
    data_boundary: &'static str,
    created_at: Moment,
}

fn show<const IDS_AT: usize>(row: &PolicyRow) -> Result<Reply, Box<Fault>> {
    let prefix = IDS.get(IDS_AT).copied().unwrap_or_default();
    let id = row.id.to_string();
    let digits = id.strip_prefix(PolicyId::PREFIX).unwrap_or(&id);
    let view = RegionalView {
        id: format!("{prefix}{digits}"),
        object: "regional_policy",
        policy_id: id.clone(),
        project_id: row.project.map(|project| project.to_string()),
        region_policy: row.spec.region_policy.as_str(),
        allowed_regions: crate::effective_policy::regions(&[&row.spec]),
        data_boundary: row.spec.data_boundary.as_str(),
        created_at: Moment(row.created_unix_ms),
    };
    Ok(Reply::json(&view)?.version(row.version))
}

async fn find(
    control: &Control,
    request: &ApiRequest,
    project: Option<ProjectId>,
) -> Result<Option<PolicyRow>, Box<Fault>> {
    let table = PolicyRow::table(control);
    let mut page = Page::first(PAGE_ROWS_MAX);
    loop {
        let listed = table.list(request.workspace(), page).await.map_err(of_store)?;
        if let Some(row) = listed.rows.into_iter().find(|row| row.project == project) {
            return Ok(Some(row));
        }
        match listed.next {
            Some(after) => page = Page { after: Some(after), limit: PAGE_ROWS_MAX },
            None => return Ok(None),
        }
    }
}

fn project(id: Option<&String>) -> Result<Option<ProjectId>, Box<Fault>> {
    id.map(|id| id.parse().map_err(|_| not_found("project", id))).transpose()
}

async fn render<const IDS_AT: usize>(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let project = project(request.query.get("project_id"))?;
    match find(control, &request, project).await? {
        Some(row) => show::<IDS_AT>(&row),
        None => Err(not_found("policy", "of this workspace or project")),
    }
}

async fn set<const IDS_AT: usize>(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let form: RegionalForm = request.json()?;
    let project = project(form.project_id.as_ref())?;
    let stated = PolicyForm {
        region_policy: form.region_policy.or_else(|| Some(RegionPolicy::Any.as_str().to_owned())),
        allowed_regions: form.allowed_regions,
        data_boundary: form.data_boundary.or_else(|| Some(DataBoundary::Project.as_str().to_owned())),
        ..PolicyForm::default()
    };
    let stated = spec_of(control, &request, project, stated)?;
    let of = |spec: PolicySpec| PolicySpec {
        regions: stated.regions.clone(),
        region_policy: stated.region_policy,
        data_boundary: stated.data_boundary,
        ..spec
    };
    let written = match find(control, &request, project).await? {
        Some(row) => {
            let row = PolicyRow { spec: of(row.spec.clone()), ..row };
            replace_row::<PolicyRow>(control, &request, row, request.if_match()?).await?
        }
        None => {
            let now = control.deps.world.clock.unix_ms();
            let id = PolicyId::new(now, control.deps.world.id_bytes());
            let (workspace, spec) = (request.workspace(), of(PolicySpec::default()));
            let row = PolicyRow {
                id,
                workspace,
                project,
                spec,
                hook_secret: None,
                created_unix_ms: now,
                version: 0,
            };
            create_row::<PolicyRow>(control, &request, row).await?
        }
    };
    control.deps.await_published(written.version).await?;
    show::<IDS_AT>(&written.row)
}
