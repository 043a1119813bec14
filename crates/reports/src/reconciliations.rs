//! `/v2/reconciliations`: a provider's exports of usage and costs, compared with the records.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing, not_found};
use api::moment::Moment;
use api::named;
use api::openapi::bounds::MOMENT;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{Fault, FaultClass, Principal, ReconciliationId, WorkspaceId};
use http::Method;
use reconcilers::{moment, of_store};
use reconciliation::{Difference, Kind, KindSum, Matching, Names, Outcome, ReadExport, Side, Theirs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Page, ReconciliationRow, RequestFilter};

use crate::limits::{RECONCILED_FILES_MAX, RECONCILED_PAGE_MAX, RECONCILED_RECORDS_MAX};
use crate::price_books::canonical;

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/v2/reconciliations", Access::BILL, create)
            .says("Compares a provider's exports of usage and costs with the records, and stores the report.")
            .takes::<NewReconciliation>()
            .takes_content()
            .makes_once::<Reconciliation>()
            .refuses(400, "invalid_export"),
        Route::new(Method::GET, "/v2/reconciliations", Access::LOOK, list)
            .says("Lists the reports of reconciliations, newest first.")
            .lists::<Reconciliation>(),
        Route::new(Method::GET, "/v2/reconciliations/{id}", Access::LOOK, get)
            .says("Shows one report of a reconciliation.")
            .returns_value::<Reconciliation>(),
    ]
}

/// The exports of one provider, as texts.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewReconciliation {
    provider: String,
    #[schemars(length(min = 1, max = RECONCILED_FILES_MAX))]
    files: Vec<ExportFile>,
    /// The first moment that the exports cover; by default that of their first row.
    #[schemars(regex(pattern = MOMENT))]
    from: Option<String>,
    /// Exclusive; by default the end of their last row.
    #[schemars(regex(pattern = MOMENT))]
    until: Option<String>,
    /// Only rows of this project, key or account of the provider's.
    account: Option<String>,
    /// Only what this credential of the workspace, or account of the operator, by id or name, was used for.
    principal_id: Option<String>,
    /// `workspace` for the workspace's own credentials, or `accounts` for the operator's accounts, of which only the operator
    /// knows what all workspaces used.
    #[schemars(extend("enum" = ["workspace", "accounts"]))]
    scope: Option<String>,
    /// How much may stay unexplained, in millionths; 1000 by default.
    tolerance_ppm: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExportFile {
    name: Option<String>,
    /// The name of its format; found by its columns or fields unless stated.
    format: Option<String>,
    #[schemars(length(min = 1))]
    text: String,
}

/// A tenth of a per cent.
const TOLERANCE_PPM: u32 = 1_000;

/// The result of a reconciliation.
#[derive(Serialize, JsonSchema)]
struct Reconciliation {
    id: String,
    object: &'static str,
    created_at: Moment,
    provider: String,
    #[schemars(extend("enum" = ["workspace", "accounts"]))]
    scope: &'static str,
    from: Moment,
    until: Moment,
    /// The width of what was compared, in seconds; `null` if it is the whole span.
    bucket_seconds: Option<u64>,
    files: Vec<FileView>,
    theirs: SideView,
    ours: SideView,
    /// Requests that were compared by the provider's own id.
    requests_by_id: u64,
    /// Attempts that may have been billed and of which no usage is known.
    unmetered_attempts: u64,
    kinds: Vec<KindView>,
    /// How much is missing, extra or at another price, in millionths of the money or of the quantity, whichever is more.
    unexplained_ppm: u64,
    tolerance_ppm: u32,
    /// Whether no more than the tolerance is unexplained.
    reconciled: bool,
    /// The largest of what is unexplained.
    differences: Vec<DifferenceView>,
    differences_left_out: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReconciledFile")]
struct FileView {
    name: Option<String>,
    format: &'static str,
    /// Where the format was read, and what of it is not verified.
    format_source: &'static str,
    lines: u64,
    /// Rows of something else, such as another service.
    skipped: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReconciledSide")]
struct SideView {
    /// Lines of the exports, or attempts in the records.
    lines: u64,
    /// Tokens and other units.
    quantity: i64,
    cost_micros: i64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReconciledKind")]
struct KindView {
    #[schemars(extend("enum" = ["matched", "late", "estimate", "rounding", "price_differs", "missing", "extra", "credit"]))]
    kind: &'static str,
    explained: bool,
    /// Buckets, or requests.
    lines: u64,
    quantity: i64,
    cost_micros: i64,
}

/// A bucket, or a request, that nothing explains.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReconciledDifference")]
struct DifferenceView {
    #[schemars(extend("enum" = ["price_differs", "missing", "extra"]))]
    kind: &'static str,
    from: Moment,
    until: Moment,
    model: Option<String>,
    service_tier: Option<&'static str>,
    /// What is counted: a token class, a unit, or `whole` for all money together.
    measure: &'static str,
    their_quantity: Option<i64>,
    our_quantity: Option<i64>,
    /// How much of it is missing or extra.
    quantity: i64,
    their_cost_micros: Option<i64>,
    our_cost_micros: Option<i64>,
    /// What it is worth, or how much more they bill.
    cost_micros: i64,
    their_price_micros_per_million: Option<u64>,
    our_price_micros_per_million: Option<u64>,
    /// Where the catalogue's price was read, if that is ours.
    price_source: Option<String>,
    upstream_request_id: Option<String>,
    attempts: u64,
    /// Attempts there whose usage is not known.
    unmetered_attempts: u64,
    /// Some of the requests there.
    request_ids: Vec<String>,
    /// The filter of `/v2/requests` that lists the requests there.
    requests_filter: String,
}

/// Whose use is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Workspace(WorkspaceId),
    Accounts,
}

impl Scope {
    fn read(request: &ApiRequest, word: Option<&str>) -> Result<Self, Box<Fault>> {
        match word {
            None | Some("workspace") => Ok(Self::Workspace(request.workspace())),
            Some("accounts") if request.is_operator() => Ok(Self::Accounts),
            Some("accounts") => Err(Box::new(
                Fault::new(
                    FaultClass::Forbidden,
                    "insufficient_scope",
                    "Only the operator can compare the use of its accounts.",
                )
                .param("scope")
                .fix("Leave scope out, to compare the workspace's own credentials."),
            )),
            Some(other) => {
                Err(invalid("scope", format!("\"{other}\" isn't a scope."), "Use workspace or accounts."))
            }
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Workspace(_) => "workspace",
            Self::Accounts => "accounts",
        }
    }

    /// What it is that is used.
    const fn kind(self) -> named::Kind {
        match self {
            Self::Workspace(_) => named::Kind::Credential,
            Self::Accounts => named::Kind::Account,
        }
    }

    const fn holds(self, principal: Principal) -> bool {
        match self {
            Self::Workspace(_) => matches!(principal, Principal::Credential(_)),
            Self::Accounts => matches!(principal, Principal::Account(_)),
        }
    }
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let body: NewReconciliation = request.json()?;
    let scope = Scope::read(&request, body.scope.as_deref())?;
    let snapshot = control.deps.keeper.current();
    let provider = canonical(&snapshot, &body.provider);
    let names = Names::new(snapshot.catalogue(), &provider);
    let tolerance = body.tolerance_ppm.unwrap_or(TOLERANCE_PPM);
    let wanted = match body.principal_id.clone() {
        Some(named) => Some(named::id(control, &request, scope.kind(), named, "principal_id").await?),
        None => None,
    };
    let (matching, files) = read_files(names, body).await?;
    let outcome = compare(control, matching, scope, wanted).await?;
    let id = ReconciliationId::new(control.deps.world.clock.unix_ms(), control.deps.world.id_bytes());
    let created = control.deps.world.clock.unix_ms();
    let report = show(id, created, (provider, scope), files, &outcome, tolerance);
    let row = ReconciliationRow {
        id,
        workspace: request.workspace(),
        report: serde_json::to_value(&report).map_err(|_| Box::new(Fault::internal()))?,
        created_unix_ms: created,
    };
    let act = request.act(&control.deps.world);
    control.deps.store.reconciliations().put(row, act).await.map_err(of_store)?;
    Ok(Reply::json(&report)?.as_created(format!("/v2/reconciliations/{id}")))
}

fn of_file(name: Option<&str>, error: &reconciliation::ExportError) -> Box<Fault> {
    let message = match name {
        Some(name) => format!("{name}: {error}"),
        None => error.to_string(),
    };
    Box::new(
        Fault::new(FaultClass::BadRequest, "invalid_export", message)
            .param("files")
            .fix("docs/reconciliation.md lists the formats and where each is exported; any other file can be written in Tidegate's own."),
    )
}

/// Reads the exports on a thread of their own: a large file takes a second.
async fn read_files(
    names: Names,
    body: NewReconciliation,
) -> Result<(Matching, Vec<(Option<String>, ReadExport)>), Box<Fault>> {
    let bounds = (
        body.from.as_deref().map(|text| moment::read(text, "from")).transpose()?,
        body.until.as_deref().map(|text| moment::read(text, "until")).transpose()?,
    );
    if body.files.is_empty() {
        return Err(missing("files", "Give at least one export."));
    }
    if body.files.len() > RECONCILED_FILES_MAX {
        let message = format!("There are {} files.", body.files.len());
        return Err(invalid("files", message, format!("Give at most {RECONCILED_FILES_MAX}.")));
    }
    let read = move || {
        let provider = names.provider().to_owned();
        let mut theirs = Theirs::new(names);
        let mut files = Vec::with_capacity(body.files.len());
        for file in body.files {
            let account = body.account.as_deref();
            let mut sink = |line: reconciliation::Line| {
                if account.is_none_or(|account| line.account.as_deref() == Some(account)) {
                    theirs.take(line);
                }
            };
            let read = reconciliation::read_export(
                &provider,
                file.format.as_deref(),
                &mut file.text.as_bytes(),
                &mut sink,
            )
            .map_err(|error| of_file(file.name.as_deref(), &error))?;
            if let Some((from, until)) = read.covered {
                theirs.widen(from, until);
            }
            files.push((file.name, read));
        }
        if let Some(from) = bounds.0 {
            theirs.widen(from / 1_000, from / 1_000 + 1);
        }
        if let Some(until) = bounds.1 {
            theirs.widen((until / 1_000).saturating_sub(1), until / 1_000);
        }
        Ok((Matching::new(theirs), files))
    };
    tasks::blocking(read).await.map_err(|_| Box::new(Fault::internal()))?
}

/// Reads the records past the exports, workspace by workspace.
async fn compare(
    control: &Control,
    mut matching: Matching,
    scope: Scope,
    wanted: Option<String>,
) -> Result<Outcome, Box<Fault>> {
    let records = control.deps.store.records();
    let workspaces = match scope {
        Scope::Workspace(workspace) => vec![workspace],
        Scope::Accounts => records.recorded_workspaces().await.map_err(of_store)?,
    };
    let (from, until) = matching.reads();
    let filter = RequestFilter {
        since_unix_ms: Some(from.saturating_mul(1_000)),
        until_unix_ms: Some(until.saturating_mul(1_000)),
        ..RequestFilter::default()
    };
    let is_ours = |principal: Principal| {
        scope.holds(principal) && wanted.as_ref().is_none_or(|wanted| principal.to_string() == *wanted)
    };
    let mut count = 0_u64;
    for workspace in workspaces {
        let mut page = Page::first(RECONCILED_PAGE_MAX);
        loop {
            let listed = records.matching(workspace, filter.clone(), page).await.map_err(of_store)?;
            count = count.saturating_add(listed.rows.len() as u64);
            if count > RECONCILED_RECORDS_MAX {
                let message = format!("The exports' span has over {RECONCILED_RECORDS_MAX} requests.");
                return Err(invalid("files", message, "Split the exports, and compare a part at a time."));
            }
            for record in &listed.rows {
                matching.take(record, &is_ours);
            }
            match listed.next {
                None => break,
                after => page = Page { limit: RECONCILED_PAGE_MAX, after },
            }
        }
    }
    tasks::blocking(move || matching.finish()).await.map_err(|_| Box::new(Fault::internal()))
}

fn whole(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

/// Micro-USD, rounded half up: the amounts themselves are exact until here.
fn micros(picos: i128) -> i64 {
    whole(picos.saturating_add(500_000).div_euclid(1_000_000))
}

fn show(
    id: ReconciliationId,
    created_unix_ms: u64,
    (provider, scope): (String, Scope),
    files: Vec<(Option<String>, ReadExport)>,
    outcome: &Outcome,
    tolerance_ppm: u32,
) -> Reconciliation {
    let unexplained_ppm = outcome.unexplained_millionths();
    let file = |(name, read): (Option<String>, ReadExport)| FileView {
        name,
        format: read.format,
        format_source: read.source,
        lines: read.lines,
        skipped: read.skipped,
    };
    let differences = outcome.differences.iter().map(|one| difference(&provider, one)).collect();
    Reconciliation {
        id: id.to_string(),
        object: "reconciliation",
        created_at: Moment(created_unix_ms),
        scope: scope.as_str(),
        from: Moment(outcome.from_unix_s.saturating_mul(1_000)),
        until: Moment(outcome.until_unix_s.saturating_mul(1_000)),
        bucket_seconds: outcome.width_s,
        files: files.into_iter().map(file).collect(),
        theirs: side(outcome.theirs),
        ours: side(outcome.ours),
        requests_by_id: outcome.by_request,
        unmetered_attempts: outcome.unmetered,
        kinds: Kind::ALL.into_iter().map(|kind| kind_view(kind, outcome.sum(kind))).collect(),
        unexplained_ppm,
        tolerance_ppm,
        reconciled: unexplained_ppm <= u64::from(tolerance_ppm),
        differences,
        differences_left_out: outcome.differences_left_out,
        provider,
    }
}

fn side(side: Side) -> SideView {
    SideView { lines: side.lines, quantity: whole(side.quantity), cost_micros: micros(side.picos) }
}

fn kind_view(kind: Kind, sum: KindSum) -> KindView {
    KindView {
        kind: kind.as_str(),
        explained: !kind.is_unexplained(),
        lines: sum.lines,
        quantity: whole(sum.quantity),
        cost_micros: micros(sum.picos),
    }
}

fn difference(provider: &str, one: &Difference) -> DifferenceView {
    // A name with its publisher is the catalogue's, by which requests are found.
    let model = one.model.as_deref();
    let by_model = model.filter(|model| model.contains('/')).map(|model| format!(" model:{model}"));
    // Requests are listed by when they began, and counted where they ended.
    let since = moment::write(one.from_unix_s.saturating_sub(LONG_REQUEST_S).saturating_mul(1_000));
    let until = moment::write(one.until_unix_s.saturating_mul(1_000));
    let by_model = by_model.unwrap_or_default();
    DifferenceView {
        kind: one.kind.as_str(),
        from: Moment(one.from_unix_s.saturating_mul(1_000)),
        until: Moment(one.until_unix_s.saturating_mul(1_000)),
        model: model.map(str::to_owned),
        service_tier: one.tier.map(domain::Tier::as_str),
        measure: one.measure.as_str(),
        their_quantity: one.theirs.map(whole),
        our_quantity: one.ours.map(whole),
        quantity: whole(one.quantity),
        their_cost_micros: one.their_picos.map(micros),
        our_cost_micros: one.our_picos.map(micros),
        cost_micros: micros(one.picos),
        their_price_micros_per_million: one.their_price,
        our_price_micros_per_million: one.our_price,
        price_source: one.price_source.clone(),
        upstream_request_id: one.request.as_deref().filter(|id| !id.is_empty()).map(str::to_owned),
        attempts: one.attempts,
        unmetered_attempts: one.unmetered,
        request_ids: one.examples.iter().map(ToString::to_string).collect(),
        requests_filter: format!("provider:{provider} since:{since} until:{until}{by_model}"),
    }
}

/// How long before it ended a request of a bucket may have begun.
const LONG_REQUEST_S: u64 = 600;

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let page = request.page()?;
    let listed =
        control.deps.store.reconciliations().list(request.workspace(), page).await.map_err(of_store)?;
    Reply::json(&request.page_of(listed, |row| row.report.clone()))
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let id: ReconciliationId = request.id("reconciliation")?;
    let found = control.deps.store.reconciliations().get(request.workspace(), id).await.map_err(of_store)?;
    let row = found.ok_or_else(|| not_found("reconciliation", &id.to_string()))?;
    let report: Value = row.report;
    Reply::json(&report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_to_micros_once() {
        for (picos, expected) in [
            (0, 0),
            (499_999, 0),
            (500_000, 1),
            (-500_000, 0),
            (-500_001, -1),
            (1_000_000, 1),
            (i128::MAX, i64::MAX),
        ] {
            assert_eq!(micros(picos), expected, "{picos}");
        }
    }
}
