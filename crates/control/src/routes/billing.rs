//! `/v2/billing/snapshot`: this month so far, by mode.

use std::sync::Arc;

use domain::Nanos;
use http::Method;
use schemars::JsonSchema;
use serde::Serialize;
use store::{UsageSums, Window};

use super::usage::{Columns, columns};
use crate::access::Access;
use crate::failure::of_store;
use crate::moment::Moment;
use crate::request::Ask;
use crate::router::{Handled, Route};
use crate::{Control, Reply, moment};

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/billing/snapshot", Access::LOOK, snapshot)
            .says("Shows this month so far, by mode.")
            .tells::<Snapshot>(),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BillingSnapshot")]
struct Snapshot {
    object: &'static str,
    period_start: Moment,
    period_end: Moment,
    mtd: MonthToDate,
    unmetered_event_count: u64,
    unpriced_event_count: u64,
}

#[derive(Serialize, JsonSchema)]
struct MonthToDate {
    #[serde(flatten)]
    columns: Columns,
    /// Always three rows.
    by_mode: Vec<ModeSums>,
}

#[derive(Serialize, JsonSchema)]
struct ModeSums {
    #[serde(flatten)]
    columns: Columns,
    #[schemars(extend("enum" = ["mi", "byok", "byoc"]))]
    mode: &'static str,
}

fn snapshot(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        let now = control.world.clock.unix_ms();
        let start_unix_ms = moment::month_start(now);
        // Into the next month by less than a month: everything of this one, whatever the clocks say.
        let end_unix_ms = moment::month_start(start_unix_ms + 32 * 86_400_000);
        let window = Window { start_unix_ms, end_unix_ms };
        let rows = control.store.records().billing(ask.workspace(), window).await.map_err(of_store)?;
        let by_mode =
            rows.iter().map(|row| ModeSums { columns: columns(&row.sums), mode: row.mode.as_str() });
        let by_mode = by_mode.collect();
        let total = rows.iter().fold(UsageSums::default(), |sum, row| add(sum, &row.sums));
        Reply::json(&Snapshot {
            object: "billing_snapshot",
            period_start: Moment(start_unix_ms),
            period_end: Moment(end_unix_ms),
            mtd: MonthToDate { columns: columns(&total), by_mode },
            unmetered_event_count: total.unmetered,
            unpriced_event_count: total.unpriced,
        })
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
