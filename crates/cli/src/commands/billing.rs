//! `tidegate billing`: this month's charges by mode, prepaid credit, and the invoices.

use serde_json::{Value, json};

use super::budget::micros;
use crate::api::{Api, at};
use crate::body::Body;
use crate::output::{self, Failure};
use crate::people::{mode, month};
use crate::shared::Shared;

#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists invoices, newest first; the invoice of an unfinished month is a draft.
    Invoices,
    /// Shows one invoice with its lines.
    Invoice {
        id: String,
        /// Prints the lines as CSV.
        #[arg(long)]
        csv: bool,
    },
    /// Shows the prepaid credit, and how much is left.
    Credit,
    /// Adds to a workspace's prepaid credit; for the operator.
    AddCredit {
        /// The amount in USD, such as 25 or 0.50; -5 deducts.
        #[arg(value_name = "USD", allow_hyphen_values = true)]
        amount: String,
        /// The workspace (`ws_…`); by default your own.
        #[arg(long = "of", value_name = "WORKSPACE")]
        workspace: Option<String>,
        /// The reason, such as a payment's number.
        #[arg(long)]
        note: Option<String>,
    },
}

const ACCOUNT: &str = "/v2/billing/account";
const INVOICES: &str = "/v2/billing/invoices";

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    match &options.command {
        None => snapshot(shared),
        Some(Command::Credit) => account(shared, &Api::connect(shared)?.get(ACCOUNT)?),
        Some(Command::AddCredit { amount, workspace, note }) => {
            let body = Body::new()
                .with("amount_micros", signed_micros(amount)?)
                .with_some("workspace_id", workspace.as_deref())
                .with_some("note", note.as_deref());
            account(shared, &Api::connect(shared)?.post(&format!("{ACCOUNT}/credits"), &body.build())?)
        }
        Some(Command::Invoices) => invoices(shared),
        Some(Command::Invoice { id, csv: true }) => {
            print!("{}", Api::connect(shared)?.text(&format!("{}.csv", at(INVOICES, id)))?);
            Ok(())
        }
        Some(Command::Invoice { id, csv: false }) => invoice(shared, id),
    }
}

fn signed_micros(amount: &str) -> Result<i64, Failure> {
    let (sign, size) = amount.strip_prefix('-').map_or((1, amount), |size| (-1, size));
    let wrong = || Failure::new(output::USAGE, format!("\"{amount}\" is more than there is"));
    Ok(sign * i64::try_from(micros(size)?).map_err(|_| wrong())?)
}

fn account(shared: &Shared, account: &Value) -> Result<(), Failure> {
    if shared.json {
        println!("{account}");
        return Ok(());
    }
    let id = output::cell(account, "workspace_id");
    if output::cell(account, "mode") == "postpaid" {
        println!("{id} pays by invoice and has no prepaid credit.");
        return Ok(());
    }
    let [left, paid, spent] =
        ["credit_micros", "credited_micros", "spent_micros"].map(|name| output::money(account, name));
    println!("{id} has {left} left of {paid} paid ahead; {spent} is spent.");
    let credits = account.get("credits").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let cells: Vec<_> = credits
        .iter()
        .map(|row| {
            vec![
                output::cell(row, "created_at"),
                output::money(row, "amount_micros"),
                output::cell(row, "note"),
            ]
        })
        .collect();
    output::table(&["when", "added", "note"], &cells);
    Ok(())
}

fn invoices(shared: &Shared) -> Result<(), Failure> {
    let mut rows = Api::connect(shared)?.get_all(INVOICES)?;
    for row in rows.iter_mut().filter(|_| !shared.json) {
        let (credit, total) = (output::money(row, "credit_micros"), output::money(row, "total_micros"));
        if let Some(fields) = row.as_object_mut() {
            fields.insert("credit".into(), credit.into());
            fields.insert("total".into(), total.into());
        }
    }
    let columns = ["id", "period_start", "status", "credit", "total"];
    output::list(shared, &json!({"data": rows}), &columns, "No invoices.");
    Ok(())
}

fn invoice(shared: &Shared, id: &str) -> Result<(), Failure> {
    let invoice = Api::connect(shared)?.get(&at(INVOICES, id))?;
    if shared.json {
        println!("{invoice}");
        return Ok(());
    }
    let [id, status, start, end] =
        ["id", "status", "period_start", "period_end"].map(|field| output::cell(&invoice, field));
    println!("{id}  {status}  {start} to {end}");
    let lines = invoice.get("lines").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let cells: Vec<_> = lines
        .iter()
        .map(|line| {
            let counted = ["description", "quantity", "included"].map(|field| output::cell(line, field));
            let amounts = [output::money(line, "amount_micros"), own_bill(line, "profile")];
            counted.into_iter().chain(amounts).collect()
        })
        .collect();
    output::table(&["line", "quantity", "included", "amount", "your providers bill"], &cells);
    println!("total {}", output::money(&invoice, "total_micros"));
    Ok(())
}

/// The bill of the workspace's own providers.
fn own_bill(row: &Value, of: &str) -> String {
    if output::is_own_bill(row, of) { output::money(row, "provider_cost_micros") } else { "-".to_owned() }
}

fn snapshot(shared: &Shared) -> Result<(), Failure> {
    let snapshot = Api::connect(shared)?.get("/v2/billing/snapshot")?;
    if shared.json {
        println!("{snapshot}");
        return Ok(());
    }
    println!("{} (UTC)", month(&output::cell(&snapshot, "period_start")));
    let rows = snapshot.pointer("/mtd/by_mode").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            let counts =
                ["requests", "input_tokens", "output_tokens", "cached_tokens"].map(|f| output::cell(row, f));
            std::iter::once(mode(&output::cell(row, "mode")).to_owned())
                .chain(counts)
                .chain([output::money(row, "cost_micros"), own_bill(row, "mode")])
                .collect()
        })
        .collect();
    output::table(&["mode", "requests", "input", "output", "cached", "owed", "your providers bill"], &cells);
    println!(
        "base {}   acts {}   owed so far {}",
        output::money(&snapshot, "monthly_base_micros"),
        output::money(&snapshot, "acts_micros"),
        output::money(&snapshot, "owed_micros")
    );
    println!(
        "spend {}: what is owed, and what your own providers bill",
        output::money(&snapshot, "spend_micros")
    );
    println!(
        "unmetered events: {}   unpriced events: {}",
        output::cell(&snapshot, "unmetered_event_count"),
        output::cell(&snapshot, "unpriced_event_count")
    );
    Ok(())
}
