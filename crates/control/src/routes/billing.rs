//! `/v2/billing/…`: the running month by mode, the invoices, and what was paid ahead.

use std::sync::Arc;

use domain::limits::BUDGET_MICROS_MAX;
use domain::{BudgetId, Fault, InvoiceId, Mode, Nanos, WorkspaceId};
use http::Method;
use ledger::{Invoice, InvoiceLine, LineKind};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::{BudgetStanding, CreditRow, Dimension, InvoiceRow, UsageFilter, UsageQuery, UsageSums, Window};

use super::tariff;
use super::usage::columns;
use crate::access::Access;
use crate::failure::{invalid, missing, of_store};
use crate::invoicing::{self, month_of};
use crate::reply::Page;
use crate::request::{Ask, not_found};
use crate::router::{Handled, Route};
use crate::{Control, Reply, moment};

const CREDITS_SHOWN_MAX: u32 = 50;
const NOTE_BYTES_MAX: usize = 500;

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/billing/snapshot", Access::LOOK, snapshot),
        Route::new(Method::GET, "/v2/billing/invoices", Access::BILL, list),
        // `…/{id}.csv` too: a parameter is a whole segment.
        Route::new(Method::GET, "/v2/billing/invoices/{id}", Access::BILL, get),
        Route::new(Method::GET, "/v2/billing/account", Access::LOOK, account),
        Route::new(Method::POST, "/v2/billing/account/credits", Access::OPERATE, add_credit),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreditInput {
    amount_micros: Option<i64>,
    #[serde(default)]
    note: String,
    /// The caller's own workspace where it is left out.
    workspace_id: Option<String>,
}

async fn show_account(control: &Control, workspace: WorkspaceId) -> Result<Value, Box<Fault>> {
    let budgets = control.store.budgets();
    let credit = budgets.credit(workspace).await.map_err(of_store)?;
    let standing = match &credit {
        Some(credit) => budgets.standing(credit.id, 0).await.map_err(of_store)?,
        None => BudgetStanding::default(),
    };
    let left = |granted: Nanos| Nanos(granted.0 - standing.spent.0).micros();
    let credits = budgets.credits(workspace, CREDITS_SHOWN_MAX).await.map_err(of_store)?;
    let shown = |row: &CreditRow| {
        json!({
            "id": row.id.to_string(),
            "amount_micros": row.amount.micros(),
            "note": row.note,
            "actor": row.actor,
            "created_at": moment::write(row.created_unix_ms),
        })
    };
    Ok(json!({
        "object": "billing_account",
        "workspace_id": workspace.to_string(),
        // Whoever never paid ahead pays afterwards, and is not stopped.
        "mode": if credit.is_some() { "prepaid" } else { "postpaid" },
        "credit_micros": credit.as_ref().map(|credit| left(credit.limit)),
        "credited_micros": credit.as_ref().map_or(0, |credit| credit.limit.micros()),
        "spent_micros": standing.spent.micros(),
        "reserved_micros": standing.reserved.micros(),
        "credits": credits.iter().map(shown).collect::<Vec<_>>(),
    }))
}

fn account(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        ask.only_query(&[])?;
        Reply::json(&show_account(control, ask.workspace()).await?)
    })
}

fn add_credit(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        let input: CreditInput = ask.json()?;
        let workspace = match &input.workspace_id {
            None => ask.workspace(),
            Some(text) => text.parse().map_err(|_| not_found("workspace", text))?,
        };
        control.store.workspaces().get(workspace).await.map_err(of_store)?;
        let amount = input.amount_micros.ok_or_else(|| {
            missing(
                "amount_micros",
                "Give what is added in millionths of a USD; a negative amount takes away.",
            )
        })?;
        if amount == 0 || amount.unsigned_abs() > BUDGET_MICROS_MAX || input.note.len() > NOTE_BYTES_MAX {
            let message = format!("{amount} micro-USD with this note can't be added.");
            return Err(invalid("amount_micros", message, "Give an amount other than 0, and a short note."));
        }
        let budget = BudgetId::new(control.world.clock.unix_ms(), control.world.id_bytes());
        let (amount, act) = (Nanos(amount * 1_000), ask.act(&control.world));
        let added = control.store.budgets().add_credit(workspace, budget, amount, input.note, act).await;
        control.published(added.map_err(of_store)?.version).await?;
        Ok(Reply::json(&show_account(control, workspace).await?)?.created("/v2/billing/account".to_owned()))
    })
}

/// The invoice as it would be drawn now, by mode: what its lines say is what this says.
fn snapshot(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        ask.only_query(&[])?;
        let period = month_of(ask.workspace(), control.world.clock.unix_ms());
        let window = Window { start_unix_ms: period.start_unix_ms, end_unix_ms: period.end_unix_ms };
        let query = UsageQuery {
            workspace: period.workspace,
            window,
            group_by: vec![Dimension::Profile],
            interval: None,
            filter: UsageFilter::default(),
        };
        let rows = control.store.records().usage(query).await.map_err(of_store)?;
        let tariff = control.store.tariffs().in_force(period.workspace, period.start_unix_ms);
        let tariff = tariff.await.map_err(of_store)?;
        let acts = control.store.invoices().acts(period).await.map_err(of_store)?;
        let mut by_mode = Mode::ALL.map(|mode| (mode, UsageSums::default()));
        for row in &rows {
            let profile = row.groups.first().and_then(|(_, value)| value.as_deref());
            let Some(profile) = profile.and_then(|name| name.parse::<domain::Profile>().ok()) else {
                continue;
            };
            let mut sums = row.sums;
            sums.cost = sums.cost.plus(tariff.fees(profile).of(sums.requests, tokens(&sums)));
            for (_, total) in by_mode.iter_mut().filter(|(mode, _)| *mode == profile.mode()) {
                *total = add(*total, &sums);
            }
        }
        let total = by_mode.iter().fold(UsageSums::default(), |sum, (_, sums)| add(sum, sums));
        let (base, acts) = (Nanos::from(tariff.monthly_base), tariff.acts.of(acts));
        let shown = by_mode.iter().map(|(mode, sums)| {
            let mut fields = columns(sums);
            fields.insert("mode".into(), json!(mode.as_str()));
            Value::Object(fields)
        });
        let mut mtd = columns(&total);
        mtd.insert("by_mode".into(), Value::Array(shown.collect()));
        Reply::json(&json!({
            "object": "billing_snapshot",
            "period_start": moment::write(period.start_unix_ms),
            "period_end": moment::write(period.end_unix_ms),
            "mtd": mtd,
            "monthly_base_micros": base.micros(),
            "acts_micros": acts.micros(),
            "owed_micros": total.cost.plus(base).plus(acts).micros(),
            "unmetered_event_count": total.unmetered,
            "unpriced_event_count": total.unpriced,
        }))
    })
}

const fn tokens(sums: &UsageSums) -> u64 {
    sums.input_tokens.saturating_add(sums.output_tokens)
}

/// Money is added in nanos and rounded once, when it is shown.
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

/// An invoice, and when it was finalised: a draft is drawn anew each time.
struct Shown {
    id: InvoiceId,
    invoice: Invoice,
    finalised_unix_ms: Option<u64>,
}

impl From<InvoiceRow> for Shown {
    fn from(row: InvoiceRow) -> Self {
        Self { id: row.id, invoice: row.invoice, finalised_unix_ms: Some(row.finalised_unix_ms) }
    }
}

fn head(shown: &Shown) -> Map<String, Value> {
    let (invoice, period) = (&shown.invoice, shown.invoice.period);
    let modes =
        Mode::ALL.map(|mode| json!({"mode": mode.as_str(), "cost_micros": invoice.of_mode(mode).micros()}));
    let head = json!({
        "id": shown.id.to_string(),
        "object": "invoice",
        "workspace_id": period.workspace.to_string(),
        "status": if shown.finalised_unix_ms.is_some() { "final" } else { "draft" },
        "period_start": moment::write(period.start_unix_ms),
        "period_end": moment::write(period.end_unix_ms),
        "currency": "USD",
        "by_mode": modes,
        "monthly_base_micros": invoice.amount_of(LineKind::Base).micros(),
        "acts_micros": invoice.amount_of(LineKind::Acts).micros(),
        "adjustment_micros": invoice.amount_of(LineKind::Adjustment).micros(),
        "credit_micros": invoice.amount_of(LineKind::Credit).micros(),
        "total_micros": invoice.total.micros(),
        "total_nanos": invoice.total.0,
        "finalised_at": shown.finalised_unix_ms.map(moment::write),
    });
    head.as_object().cloned().unwrap_or_default()
}

fn line(line: &InvoiceLine) -> Value {
    let counted = &line.counted;
    json!({
        "kind": line.kind.as_str(),
        "description": description(line),
        "profile": line.profile.map(domain::Profile::as_str),
        "model": line.model,
        "for_month": line.period_start_unix_ms.map(moment::write),
        "quantity": line.quantity,
        "included": line.included,
        "price_micros": line.price.map(|price| price.0),
        "amount_micros": line.amount.micros(),
        "amount_nanos": line.amount.0,
        "requests": counted.requests,
        "input_tokens": counted.input_tokens,
        "output_tokens": counted.output_tokens,
        "cached_tokens": counted.cached_tokens,
        "provider_cost_micros": counted.provider_cost.micros(),
        "unpriced_requests": counted.unpriced,
    })
}

fn description(line: &InvoiceLine) -> String {
    let profile = line.profile.map_or("", domain::Profile::as_str);
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

fn whole(shown: &Shown) -> Value {
    let mut fields = head(shown);
    fields.insert("tariff".into(), tariff::shown(&shown.invoice.tariff));
    fields.insert("lines".into(), shown.invoice.lines.iter().map(line).collect());
    Value::Object(fields)
}

/// The drafts first, since they are of the newest months, then what is finalised.
fn list(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        ask.only_query(&["limit", "cursor"])?;
        let page: store::Page<InvoiceId> = ask.page()?;
        let (store, limit) = (&control.store, page.limit as usize);
        let now = control.world.clock.unix_ms();
        let mut rows = Vec::new();
        for month in invoicing::open_months(store, ask.workspace(), now).await.map_err(of_store)? {
            let id = month.invoice_id();
            if rows.len() <= limit && page.after.is_none_or(|after| id < after) {
                let invoice = invoicing::draw(store, month).await.map_err(of_store)?;
                rows.push(Shown { id, invoice, finalised_unix_ms: None });
            }
        }
        let listed = store.invoices().list(ask.workspace(), page).await.map_err(of_store)?;
        let more = listed.next.is_some();
        rows.extend(listed.rows.into_iter().map(Shown::from));
        let has_more = more || rows.len() > limit;
        rows.truncate(limit);
        let next = if has_more { rows.last().map(|row| row.id) } else { None };
        let listed = store::Listed { rows, next };
        Reply::json(&Page::of(listed, |row| Value::Object(head(row))))
    })
}

/// One invoice, or with `.csv` behind its id its lines as a file.
fn get(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        ask.only_query(&[])?;
        let named = ask.parameters.first().map_or("", String::as_str);
        let (id, as_csv) = named.strip_suffix(".csv").map_or((named, false), |id| (id, true));
        let id: InvoiceId = id.parse().map_err(|_| not_found("invoice", named))?;
        let shown = find(control, &ask, id).await?.ok_or_else(|| not_found("invoice", named))?;
        if as_csv {
            let lines = Page::whole(shown.invoice.lines.iter().map(line).collect());
            return Reply::list(Some("csv"), &lines);
        }
        Reply::json(&whole(&shown))
    })
}

async fn find(control: &Control, ask: &Ask, id: InvoiceId) -> Result<Option<Shown>, Box<Fault>> {
    let (store, now) = (&control.store, control.world.clock.unix_ms());
    if let Some(row) = store.invoices().get(ask.workspace(), id).await.map_err(of_store)? {
        return Ok(Some(row.into()));
    }
    let open = invoicing::open_months(store, ask.workspace(), now).await.map_err(of_store)?;
    let Some(month) = open.into_iter().find(|month| month.invoice_id() == id) else { return Ok(None) };
    let invoice = invoicing::draw(store, month).await.map_err(of_store)?;
    Ok(Some(Shown { id, invoice, finalised_unix_ms: None }))
}
