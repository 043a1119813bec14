//! `/v2/billing/…`: the current month by mode, the invoices, and prepaid credit.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing, not_found};
use api::moment::Moment;
use api::reply::{Page, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::BUDGET_MICROS_MAX;
use domain::{BudgetId, Fault, InvoiceId, Mode, Nanos, Profile, WorkspaceId};
use http::Method;
use ledger::{Invoice, InvoiceLine, LineKind};
use reconcilers::invoicing::{self, month_of};
use reconcilers::{moment, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{BudgetStanding, CreditRow, Dimension, InvoiceRow, UsageFilter, UsageQuery, UsageSums, Window};

use crate::hardware_costs;
use crate::limits::{CREDIT_NOTE_BYTES_MAX, CREDITS_LISTED_MAX};
use crate::tariff::{self, TariffView};
use crate::usage::{Columns, columns};

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/billing/snapshot", Access::LOOK, snapshot)
            .says("Shows the current month so far, by mode.")
            .returns_value::<Snapshot>(),
        Route::new(Method::GET, "/v2/billing/invoices", Access::BILL, list)
            .says("Lists invoices, newest first; a month that isn't finalised is a draft.")
            .lists::<InvoiceView>(),
        // Also matches `…/{id}.csv`: a parameter is a whole segment.
        Route::new(Method::GET, "/v2/billing/invoices/{id}", Access::BILL, get)
            .says("Shows an invoice with its lines. With `.csv` after its id, returns the lines as CSV.")
            .returns_value::<WholeInvoice>()
            .or_csv(),
        Route::new(Method::GET, "/v2/billing/account", Access::LOOK, account)
            .says("Shows the prepaid credit, and how much of it is left.")
            .returns_value::<Account>(),
        Route::new(Method::POST, "/v2/billing/account/credits", Access::OPERATE, add_credit)
            .says("Adds credit to a workspace, or deducts some.")
            .takes::<CreditInput>()
            .makes::<Account>(),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BillingSnapshot")]
struct Snapshot {
    object: &'static str,
    period_start: Moment,
    period_end: Moment,
    mtd: MonthToDate,
    monthly_base_micros: i64,
    acts_micros: i64,
    /// The total: charges for use, the base and acts.
    owed_micros: i64,
    /// What is owed, and what the workspace's own providers bill it.
    spend_micros: i64,
    unmetered_event_count: u64,
    unpriced_event_count: u64,
}

#[derive(Serialize, JsonSchema)]
struct MonthToDate {
    #[serde(flatten)]
    columns: Columns,
    /// Always three rows, one for each mode.
    by_mode: Vec<ModeSums>,
    /// The same by profile: the mode `byok` has those of `byok` and of `subscription`.
    by_profile: Vec<ProfileSums>,
}

#[derive(Serialize, JsonSchema)]
struct ProfileSums {
    #[serde(flatten)]
    columns: Columns,
    #[schemars(extend("enum" = ["managed_provider", "byok", "subscription", "byoc"]))]
    profile: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct ModeSums {
    #[serde(flatten)]
    columns: Columns,
    #[schemars(extend("enum" = ["mi", "byok", "byoc"]))]
    mode: &'static str,
    /// Of `byoc`: what the hardware of the nodes cost this month by what their owners state. It is owed to nobody, and in no
    /// other sum. Null if the cost of no node is stated.
    hardware_cost_micros: Option<i64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Credit")]
struct CreditInput {
    /// A negative amount deducts.
    #[schemars(required)]
    amount_micros: Option<i64>,
    #[serde(default)]
    note: String,
    /// By default the caller's own workspace.
    workspace_id: Option<String>,
}

/// A workspace that never prepaid is postpaid, and is not stopped.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BillingAccount")]
struct Account {
    object: &'static str,
    workspace_id: String,
    #[schemars(extend("enum" = ["prepaid", "postpaid"]))]
    mode: &'static str,
    /// What is left.
    credit_micros: Option<i64>,
    credited_micros: i64,
    spent_micros: i64,
    reserved_micros: i64,
    /// Newest first.
    credits: Vec<CreditView>,
}

impl Account {
    /// The account after a rehearsed credit.
    fn add(&mut self, credit: &CreditRow) {
        let amount = credit.amount.micros();
        self.mode = "prepaid";
        self.credit_micros = Some(self.credit_micros.unwrap_or_default().saturating_add(amount));
        self.credited_micros = self.credited_micros.saturating_add(amount);
        self.credits.insert(0, show_credit(credit));
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Credit")]
struct CreditView {
    id: String,
    amount_micros: i64,
    note: String,
    actor: String,
    created_at: Moment,
}

fn show_credit(row: &CreditRow) -> CreditView {
    CreditView {
        id: row.id.to_string(),
        amount_micros: row.amount.micros(),
        note: row.note.clone(),
        actor: row.actor.clone(),
        created_at: Moment(row.created_unix_ms),
    }
}

async fn show_account(control: &Control, workspace: WorkspaceId) -> Result<Account, Box<Fault>> {
    let budgets = control.deps.store.budgets();
    let credit = budgets.credit(workspace).await.map_err(of_store)?;
    let standing = match &credit {
        Some(credit) => budgets.standing(credit.id, 0).await.map_err(of_store)?,
        None => BudgetStanding::default(),
    };
    let left = |granted: Nanos| Nanos(granted.0 - standing.spent.0).micros();
    let credits = budgets.credits(workspace, CREDITS_LISTED_MAX).await.map_err(of_store)?;
    Ok(Account {
        object: "billing_account",
        workspace_id: workspace.to_string(),
        mode: if credit.is_some() { "prepaid" } else { "postpaid" },
        credit_micros: credit.as_ref().map(|credit| left(credit.limit)),
        credited_micros: credit.as_ref().map_or(0, |credit| credit.limit.micros()),
        spent_micros: standing.spent.micros(),
        reserved_micros: standing.reserved.micros(),
        credits: credits.iter().map(show_credit).collect(),
    })
}

async fn account(control: &Arc<Control>, request: ApiRequest) -> Handled {
    Reply::json(&show_account(control, request.workspace()).await?)
}

fn check_credit(amount: i64, note: &str) -> Result<(), Box<Fault>> {
    if amount == 0 || amount.unsigned_abs() > BUDGET_MICROS_MAX {
        let message = if amount == 0 {
            "The amount can't be 0.".to_owned()
        } else {
            format!("{amount} millionths of a USD are too much for one credit.")
        };
        let fix = format!("Give 1 to {BUDGET_MICROS_MAX} millionths of a USD; a negative amount takes away.");
        return Err(invalid("amount_micros", message, fix));
    }
    if note.len() > CREDIT_NOTE_BYTES_MAX {
        let message = format!("The note is {} bytes long.", note.len());
        return Err(invalid("note", message, format!("Give at most {CREDIT_NOTE_BYTES_MAX} bytes.")));
    }
    Ok(())
}

async fn add_credit(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: CreditInput = request.json()?;
    let workspace = match &input.workspace_id {
        None => request.workspace(),
        Some(text) => text.parse().map_err(|_| not_found("workspace", text))?,
    };
    control.deps.store.workspaces().get((), workspace).await.map_err(of_store)?;
    let amount = input.amount_micros.ok_or_else(|| {
        missing("amount_micros", "Give what is added in millionths of a USD; a negative amount takes away.")
    })?;
    check_credit(amount, &input.note)?;
    let budgets = control.deps.store.budgets();
    // The first credit makes a workspace prepaid.
    if amount < 0 && budgets.credit(workspace).await.map_err(of_store)?.is_none() {
        let message = "The workspace has no credit of which some could be deducted.";
        let fix = "Add credit first: it makes the workspace prepaid.";
        return Err(invalid("amount_micros", message, fix));
    }
    let budget = BudgetId::new(control.deps.world.clock.unix_ms(), control.deps.world.id_bytes());
    let (amount, act) = (Nanos(amount * 1_000), request.act(&control.deps.world));
    let added = budgets.add_credit(workspace, budget, amount, input.note, act).await;
    let added = added.map_err(of_store)?;
    control.deps.await_published(added.version).await?;
    let mut account = show_account(control, workspace).await?;
    if request.is_rehearsal {
        account.add(&added.row);
    }
    Ok(Reply::json(&account)?.as_created("/v2/billing/account".to_owned()))
}

/// The current month by mode, taken from the invoice as it would be drawn now, so that the two always agree.
async fn snapshot(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let period = month_of(request.workspace(), control.deps.world.clock.unix_ms());
    let window = Window { start_unix_ms: period.start_unix_ms, end_unix_ms: period.end_unix_ms };
    let query = UsageQuery {
        workspace: period.workspace,
        window,
        group_by: vec![Dimension::Profile],
        interval: None,
        filter: UsageFilter::default(),
    };
    let rows = control.deps.store.records().usage(query).await.map_err(of_store)?;
    let tariff = control.deps.store.tariffs().in_force(period.workspace, period.start_unix_ms);
    let tariff = tariff.await.map_err(of_store)?;
    let acts = control.deps.store.invoices().acts(period).await.map_err(of_store)?;
    let own_providers: Nanos =
        rows.iter().map(|row| Nanos(row.spend.0.saturating_sub(row.sums.cost.0))).sum();
    let mut by_mode = Mode::ALL.map(|mode| (mode, UsageSums::default()));
    let mut by_profile = Profile::ALL.map(|profile| (profile, UsageSums::default()));
    for row in &rows {
        let profile = row.groups.first().and_then(|(_, value)| value.as_deref());
        let Some(profile) = profile.and_then(|name| name.parse::<Profile>().ok()) else {
            continue;
        };
        let mut sums = row.sums;
        sums.cost = sums.cost.plus(tariff.fees(profile).of(sums.requests, tokens(&sums)));
        for (_, total) in by_profile.iter_mut().filter(|(known, _)| *known == profile) {
            *total = add(*total, &sums);
        }
        for (_, total) in by_mode.iter_mut().filter(|(mode, _)| *mode == profile.mode()) {
            *total = add(*total, &sums);
        }
    }
    let total = by_mode.iter().fold(UsageSums::default(), |sum, (_, sums)| add(sum, sums));
    let (base, acts) = (Nanos::from(tariff.monthly_base), tariff.acts.of(acts));
    let owed = total.cost.plus(base).plus(acts);
    let costs = hardware_costs::by_node(control, period.workspace, window).await?;
    let hardware: Option<Nanos> = (!costs.is_empty()).then(|| costs.values().copied().sum());
    let by_mode = by_mode.iter().map(|(mode, sums)| ModeSums {
        columns: columns(sums),
        mode: mode.as_str(),
        hardware_cost_micros: hardware.filter(|_| *mode == Mode::Byoc).map(Nanos::micros),
    });
    let by_profile = by_profile
        .iter()
        .map(|(profile, sums)| ProfileSums { columns: columns(sums), profile: profile.as_str() });
    Reply::json(&Snapshot {
        object: "billing_snapshot",
        period_start: Moment(period.start_unix_ms),
        period_end: Moment(period.end_unix_ms),
        mtd: MonthToDate {
            columns: columns(&total),
            by_mode: by_mode.collect(),
            by_profile: by_profile.collect(),
        },
        monthly_base_micros: base.micros(),
        acts_micros: acts.micros(),
        owed_micros: owed.micros(),
        spend_micros: owed.plus(own_providers).micros_beside(owed),
        unmetered_event_count: total.unmetered,
        unpriced_event_count: total.unpriced,
    })
}

const fn tokens(sums: &UsageSums) -> u64 {
    sums.input_tokens.saturating_add(sums.output_tokens)
}

/// Money is summed in nanos and rounded once, when it is shown.
const fn add(sum: UsageSums, row: &UsageSums) -> UsageSums {
    UsageSums {
        requests: sum.requests + row.requests,
        input_tokens: sum.input_tokens + row.input_tokens,
        output_tokens: sum.output_tokens + row.output_tokens,
        cached_tokens: sum.cached_tokens + row.cached_tokens,
        cost: sum.cost.plus(row.cost),
        provider_cost: sum.provider_cost.plus(row.provider_cost),
        unpriced: sum.unpriced + row.unpriced,
        unmetered: sum.unmetered + row.unmetered,
        ..sum
    }
}

/// An invoice, and when it was finalised; a draft is drawn again for each request.
struct InvoiceRecord {
    id: InvoiceId,
    invoice: Invoice,
    finalised_unix_ms: Option<u64>,
}

impl From<InvoiceRow> for InvoiceRecord {
    fn from(row: InvoiceRow) -> Self {
        Self { id: row.id, invoice: row.invoice, finalised_unix_ms: Some(row.finalised_unix_ms) }
    }
}

/// An invoice without its lines.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Invoice")]
struct InvoiceView {
    id: String,
    object: &'static str,
    workspace_id: String,
    #[schemars(extend("enum" = ["draft", "final"]))]
    status: &'static str,
    period_start: Moment,
    period_end: Moment,
    currency: &'static str,
    by_mode: Vec<ModeCost>,
    monthly_base_micros: i64,
    acts_micros: i64,
    adjustment_micros: i64,
    credit_micros: i64,
    total_micros: i64,
    total_nanos: i64,
    finalised_at: Option<Moment>,
}

#[derive(Serialize, JsonSchema)]
struct ModeCost {
    #[schemars(extend("enum" = ["mi", "byok", "byoc"]))]
    mode: &'static str,
    cost_micros: i64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InvoiceLine")]
struct LineView {
    #[schemars(extend("enum" = ["base", "request_fee", "token_fee", "managed_tokens", "byok_tokens", "byoc_tokens", "acts", "adjustment", "credit"]))]
    kind: &'static str,
    description: String,
    profile: Option<&'static str>,
    model: Option<String>,
    /// The earlier month that an adjustment is for.
    for_month: Option<Moment>,
    quantity: u64,
    included: u64,
    /// Per million.
    price_micros: Option<u64>,
    amount_micros: i64,
    amount_nanos: i64,
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
    cached_tokens: u64,
    provider_cost_micros: i64,
    unpriced_requests: u64,
}

/// An invoice with its tariff and its lines.
#[derive(Serialize, JsonSchema)]
struct WholeInvoice {
    #[serde(flatten)]
    invoice: InvoiceView,
    tariff: TariffView,
    lines: Vec<LineView>,
}

fn show_invoice(drawn: &InvoiceRecord) -> InvoiceView {
    let (invoice, period) = (&drawn.invoice, drawn.invoice.period);
    let modes =
        Mode::ALL.map(|mode| ModeCost { mode: mode.as_str(), cost_micros: invoice.of_mode(mode).micros() });
    InvoiceView {
        id: drawn.id.to_string(),
        object: "invoice",
        workspace_id: period.workspace.to_string(),
        status: if drawn.finalised_unix_ms.is_some() { "final" } else { "draft" },
        period_start: Moment(period.start_unix_ms),
        period_end: Moment(period.end_unix_ms),
        currency: "USD",
        by_mode: modes.into(),
        monthly_base_micros: invoice.amount_of(LineKind::Base).micros(),
        acts_micros: invoice.amount_of(LineKind::Acts).micros(),
        adjustment_micros: invoice.amount_of(LineKind::Adjustment).micros(),
        credit_micros: invoice.amount_of(LineKind::Credit).micros(),
        total_micros: invoice.total.micros(),
        total_nanos: invoice.total.0,
        finalised_at: drawn.finalised_unix_ms.map(Moment),
    }
}

fn line(line: &InvoiceLine) -> LineView {
    let counted = &line.counted;
    LineView {
        kind: line.kind.as_str(),
        description: description(line),
        profile: line.profile.map(Profile::as_str),
        model: line.model.clone(),
        for_month: line.period_start_unix_ms.map(Moment),
        quantity: line.quantity,
        included: line.included,
        price_micros: line.price.map(|price| price.0),
        amount_micros: line.amount.micros(),
        amount_nanos: line.amount.0,
        requests: counted.requests,
        input_tokens: counted.input_tokens,
        output_tokens: counted.output_tokens,
        cached_tokens: counted.cached_tokens,
        provider_cost_micros: counted.provider_cost.micros(),
        unpriced_requests: counted.unpriced,
    }
}

fn description(line: &InvoiceLine) -> String {
    let profile = line.profile.map_or("", Profile::as_str);
    let model = line.model.as_deref().unwrap_or("other models");
    let month = line.period_start_unix_ms.map(moment::write).unwrap_or_default();
    let month = month.get(..7).unwrap_or_default();
    match line.kind {
        LineKind::Base => "Monthly base".to_owned(),
        LineKind::RequestFee => format!("Platform fee, requests, {profile}"),
        LineKind::TokenFee => format!("Platform fee, tokens, {profile}"),
        LineKind::ManagedTokens => format!("Tokens, {model}"),
        LineKind::ByokTokens => format!("Tokens, {model} (billed by the provider)"),
        LineKind::ByocTokens => format!("Tokens, {model} (own hardware)"),
        LineKind::Acts => "Control-plane acts".to_owned(),
        LineKind::Adjustment => format!("Booked late for {month}"),
        LineKind::Credit => "Credit".to_owned(),
    }
}

/// Drafts first, since they are of the newest months, then the finalised invoices.
async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let page: store::Page<InvoiceId> = request.page()?;
    let (store, limit) = (&control.deps.store, page.limit as usize);
    let now = control.deps.world.clock.unix_ms();
    let mut rows = Vec::new();
    for month in invoicing::open_months(store, request.workspace(), now).await.map_err(of_store)? {
        let id = month.invoice_id();
        if rows.len() <= limit && page.after.is_none_or(|after| id < after) {
            let invoice = invoicing::draw(store, month).await.map_err(of_store)?;
            rows.push(InvoiceRecord { id, invoice, finalised_unix_ms: None });
        }
    }
    let listed = store.invoices().list(request.workspace(), page).await.map_err(of_store)?;
    let more = listed.next.is_some();
    rows.extend(listed.rows.into_iter().map(InvoiceRecord::from));
    let has_more = more || rows.len() > limit;
    rows.truncate(limit);
    let next = if has_more { rows.last().map(|row| row.id) } else { None };
    let listed = store::Listed { rows, next };
    Reply::json(&request.page_of(listed, show_invoice))
}

/// One invoice, or its lines as CSV if the id ends in `.csv`.
async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let named = request.parameters.first().map_or("", String::as_str);
    let (id, as_csv) = named.strip_suffix(".csv").map_or((named, false), |id| (id, true));
    let id: InvoiceId = id.parse().map_err(|_| not_found("invoice", named))?;
    let drawn = find(control, &request, id).await?.ok_or_else(|| not_found("invoice", named))?;
    let lines: Vec<_> = drawn.invoice.lines.iter().map(line).collect();
    if as_csv {
        return Reply::list(Some("csv"), &Page::whole(lines));
    }
    let tariff = tariff::show_tariff(&drawn.invoice.tariff);
    Reply::json(&WholeInvoice { invoice: show_invoice(&drawn), tariff, lines })
}

async fn find(
    control: &Control,
    request: &ApiRequest,
    id: InvoiceId,
) -> Result<Option<InvoiceRecord>, Box<Fault>> {
    let (store, now) = (&control.deps.store, control.deps.world.clock.unix_ms());
    if let Some(row) = store.invoices().get(request.workspace(), id).await.map_err(of_store)? {
        return Ok(Some(row.into()));
    }
    let open = invoicing::open_months(store, request.workspace(), now).await.map_err(of_store)?;
    let Some(month) = open.into_iter().find(|month| month.invoice_id() == id) else { return Ok(None) };
    let invoice = invoicing::draw(store, month).await.map_err(of_store)?;
    Ok(Some(InvoiceRecord { id, invoice, finalised_unix_ms: None }))
}
