//! `/v2/billing`: this month so far, by mode, and what was paid ahead.

use std::sync::Arc;

use domain::limits::BUDGET_MICROS_MAX;
use domain::{BudgetId, Fault, Nanos, WorkspaceId};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{BudgetStanding, CreditRow, UsageSums, Window};

use super::usage::columns;
use crate::access::Access;
use crate::failure::{invalid, missing, of_store};
use crate::request::{Ask, not_found};
use crate::router::{Handled, Route};
use crate::{Control, Reply, moment};

const CREDITS_SHOWN_MAX: u32 = 50;
const NOTE_BYTES_MAX: usize = 500;

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/billing/snapshot", Access::LOOK, snapshot),
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

fn snapshot(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        ask.only_query(&[])?;
        let now = control.world.clock.unix_ms();
        let start_unix_ms = moment::month_start(now);
        // Into the next month by less than a month: everything of this one, whatever the clocks say.
        let end_unix_ms = moment::month_start(start_unix_ms + 32 * 86_400_000);
        let window = Window { start_unix_ms, end_unix_ms };
        let rows = control.store.records().billing(ask.workspace(), window).await.map_err(of_store)?;
        let by_mode: Vec<_> = rows
            .iter()
            .map(|row| {
                let mut fields = columns(&row.sums);
                fields.insert("mode".into(), json!(row.mode.as_str()));
                Value::Object(fields)
            })
            .collect();
        let total = rows.iter().fold(UsageSums::default(), |sum, row| add(sum, &row.sums));
        let mut mtd = columns(&total);
        mtd.insert("by_mode".into(), Value::Array(by_mode));
        Reply::json(&json!({
            "object": "billing_snapshot",
            "period_start": moment::write(start_unix_ms),
            "period_end": moment::write(end_unix_ms),
            "mtd": mtd,
            "unmetered_event_count": total.unmetered,
            "unpriced_event_count": total.unpriced,
        }))
    })
}

/// Money is added in nanos and rounded once, when it is shown.
fn add(sum: UsageSums, row: &UsageSums) -> UsageSums {
    let money = |a: Nanos, b: Nanos| a.plus(b);
    UsageSums {
        requests: sum.requests + row.requests,
        input_tokens: sum.input_tokens + row.input_tokens,
        output_tokens: sum.output_tokens + row.output_tokens,
        cached_tokens: sum.cached_tokens + row.cached_tokens,
        cost: money(sum.cost, row.cost),
        provider_cost: money(sum.provider_cost, row.provider_cost),
        unpriced: sum.unpriced + row.unpriced,
        unmetered: sum.unmetered + row.unmetered,
        ..sum
    }
}
