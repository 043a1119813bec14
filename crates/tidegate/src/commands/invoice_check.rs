//! `tidegate ledger verify --invoice`: a finalised invoice recomputed from the records of its month.

use cli::output::{self, Failure};
use cli::shared::Shared;
use domain::InvoiceId;
use ledger::invoice::Difference;
use reconcilers::invoicing::{self, Checked};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::data_dir;
use crate::settings::Settings;

/// The end of the name of an amount.
const NANOS: &str = "_nanos";

pub fn run(shared: &Shared, runtime: &Runtime, settings: &Settings, id: &str) -> Result<(), Failure> {
    let wanted: InvoiceId = id.parse().map_err(|error: domain::ids::IdError| {
        Failure::new(output::USAGE, format!("\"{id}\" isn't an invoice: {error}."))
    })?;
    let checked = runtime.block_on(check(settings, wanted))?.ok_or_else(|| {
        let message =
            format!("There is no finalised invoice {id}; a draft is computed again each time it is shown.");
        Failure::new(output::NOT_FOUND, message)
    })?;
    if shared.json {
        println!("{}", document(id, &checked));
    } else {
        print_report(id, &checked);
    }
    if checked.is_sound() {
        return Ok(());
    }
    Err(Failure::new(output::FINDINGS, format!("The invoice {id} does not follow from the books.")))
}

async fn check(settings: &Settings, id: InvoiceId) -> anyhow::Result<Option<Checked>> {
    let store = data_dir::open_store(settings).await?;
    let checked = invoicing::verify(&store, id).await;
    store.close().await;
    Ok(checked?)
}

fn document(id: &str, checked: &Checked) -> Value {
    let differences = |found: &[Difference]| found.iter().map(difference).collect::<Vec<_>>();
    json!({
        "ok": checked.is_sound(),
        "invoice_id": id,
        "total_nanos": checked.invoice.total.0,
        "records": checked.records.records,
        "without_record": checked.without_record,
        "mismatch_count": checked.records.mismatch_count,
        "unsound": differences(&checked.unsound),
        "differing": differences(&checked.differing),
        "adjusted_nanos": checked.adjusted.0,
        "unexplained_nanos": checked.unexplained.0,
    })
}

fn difference(found: &Difference) -> Value {
    json!({
        "line": found.line,
        "what": found.what,
        "recorded": found.recorded.to_string(),
        "recomputed": found.recomputed.to_string(),
    })
}

/// A difference's figure: an amount in dollars, or a count.
fn figure(what: &str, value: i128) -> String {
    match i64::try_from(value) {
        Ok(nanos) if what == "price" || what.ends_with(NANOS) => output::nano_dollars(nanos),
        _ => value.to_string(),
    }
}

fn print_report(id: &str, checked: &Checked) {
    println!(
        "{id}: {} lines, total {}, {} records recomputed",
        checked.invoice.lines.len(),
        output::dollars(checked.invoice.total.micros()),
        checked.records.records
    );
    if checked.without_record > 0 {
        println!(
            "  {} requests of this month have no record any more: it was recomputed from the hourly sums",
            checked.without_record
        );
    }
    for (what, found) in [("NOT FOLLOWING", &checked.unsound), ("DIFFERS", &checked.differing)] {
        for found in found {
            let Difference { line, what: field, recorded, recomputed } = found;
            let figure = |value: &i128| figure(field, *value);
            let field = field.strip_suffix(NANOS).unwrap_or(field);
            println!(
                "  {what}  {line}: {field} is {}, the books come to {}",
                figure(recorded),
                figure(recomputed)
            );
        }
    }
    if checked.records.mismatch_count > 0 {
        println!("  {} charges don't agree with their records", checked.records.mismatch_count);
    }
    if checked.adjusted.0 != 0 {
        println!("  later invoices added {} for this month", output::nano_dollars(checked.adjusted.0));
    }
    if checked.unexplained.0 != 0 {
        println!(
            "  {} is not invoiced: records that came late, which the next invoice takes, or a changed row",
            output::nano_dollars(checked.unexplained.0)
        );
    }
    println!("  {}", if checked.is_sound() { "it follows from the books" } else { "it does not follow" });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_in_dollars_and_a_count_as_it_is() {
        for (what, expected) in [
            ("amount_nanos", "$0.0012"),
            ("price", "$0.0012"),
            ("quantity", "1200000"),
            ("included", "1200000"),
        ] {
            assert_eq!(figure(what, 1_200_000), expected, "{what}");
        }
    }
}
