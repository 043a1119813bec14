//! `/v2/billing/snapshot`: this month so far, by mode.

use std::sync::Arc;

use domain::Nanos;
use http::Method;
use serde_json::{Value, json};
use store::{UsageSums, Window};

use super::usage::columns;
use crate::access::Access;
use crate::failure::of_store;
use crate::request::Ask;
use crate::router::{Handled, Route};
use crate::{Control, Reply, moment};

pub fn routes() -> Vec<Route> {
    vec![Route::new(Method::GET, "/v2/billing/snapshot", Access::LOOK, snapshot)]
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
