//! `tidegate ledger`: recomputes the ledger's charges and sums from the records, without the gateway.

use cli::output::{self, Failure};
use cli::shared::Shared;
use ledger::JournalDamage;
use ledger::verify::{Mismatch, VerifyReport};
use serde_json::{Value, json};
use store::Page;

use super::serve::SettingFlags;
use crate::data_dir;
use crate::settings::Settings;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Recomputes every charge from the tokens and prices in its record, and every sum from the records.
    Verify(Options),
}

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Recomputes this finalised invoice from the records of its month instead.
    #[arg(long, value_name = "ID")]
    invoice: Option<String>,
    #[command(flatten)]
    settings: SettingFlags,
}

const PAGE_RECORDS: u32 = 1_000;

pub fn run(shared: &Shared, command: &Command) -> Result<(), Failure> {
    let Command::Verify(options) = command;
    let settings = Settings::check(&options.settings.layers()?)
        .map_err(|error| Failure::new(output::USAGE, error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Some(id) = &options.invoice {
        return super::invoice_check::run(shared, &runtime, &settings, id);
    }
    let report = runtime.block_on(verify(&settings))?;
    let (damage, fix) = data_dir::journal_damage(&settings.data_dir)
        .map_err(|error| anyhow::anyhow!("the notes of a damaged journal can't be read: {error}"))?;
    if shared.json {
        println!("{}", document(&report, &damage));
    } else {
        print_report(&report);
        damage.iter().for_each(|damage| println!("  DAMAGE {damage}"));
    }
    if report.mismatch_count > 0 {
        let message = format!("{} charges don't agree with their records.", report.mismatch_count);
        return Err(Failure::new(output::FINDINGS, message));
    }
    if damage.is_empty() {
        return Ok(());
    }
    let missing: u64 = damage.iter().map(|damage| damage.records_missing).sum();
    let message = format!(
        "The records agree with their charges, but the journal was damaged: {missing} records are known to be missing. {fix}"
    );
    Err(Failure::new(output::FINDINGS, message))
}

fn document(report: &VerifyReport, damage: &[JournalDamage]) -> Value {
    let by_mode = report.by_mode.iter().map(|totals| {
        json!({
            "mode": totals.mode.as_str(),
            "requests": totals.requests,
            "input_tokens": totals.input_tokens,
            "output_tokens": totals.output_tokens,
            "cached_tokens": totals.cached_tokens,
            "cost_micros": totals.cost.micros(),
            "provider_cost_micros": totals.provider_cost.micros(),
        })
    });
    json!({
        "ok": report.mismatch_count == 0 && damage.is_empty(),
        "records": report.records,
        "attempts": report.attempts,
        "unpriced": report.unpriced,
        "estimated": report.estimated,
        "mismatch_count": report.mismatch_count,
        "mismatches": report.mismatches.iter().map(mismatch).collect::<Vec<_>>(),
        "by_mode": by_mode.collect::<Vec<_>>(),
        "journal_damage": damage.iter().map(damage_document).collect::<Vec<_>>(),
    })
}

fn damage_document(damage: &JournalDamage) -> Value {
    json!({
        "core": damage.core,
        "found_unix_ms": damage.found_unix_ms,
        "segments_kept_aside": damage.damaged,
        "segments_gone": damage.gone,
        "entries_missing": damage.entries_missing,
        "records_missing": damage.records_missing,
    })
}

fn mismatch(found: &Mismatch) -> Value {
    json!({
        "request_id": found.trace.to_string(),
        "attempt": found.attempt,
        "recorded_nanos": found.recorded.cost.0,
        "recomputed_nanos": found.recomputed.cost.0,
        "recorded_provider_nanos": found.recorded.provider_cost.0,
        "recomputed_provider_nanos": found.recomputed.provider_cost.0,
    })
}

fn print_report(report: &VerifyReport) {
    println!("{} records, {} attempts recomputed", report.records, report.attempts);
    for totals in &report.by_mode {
        println!(
            "  {:<5} {} requests, in {} out {} cached {}, owed {}, provider bills {}",
            totals.mode.as_str(),
            totals.requests,
            totals.input_tokens,
            totals.output_tokens,
            totals.cached_tokens,
            output::dollars(totals.cost.micros()),
            output::dollars(totals.provider_cost.micros()),
        );
    }
    for found in &report.mismatches {
        let attempt = found.attempt.map(|number| format!(" attempt {number}")).unwrap_or_default();
        let [owed, again, bills, bills_again] = [
            found.recorded.cost,
            found.recomputed.cost,
            found.recorded.provider_cost,
            found.recomputed.provider_cost,
        ]
        .map(|amount| output::nano_dollars(amount.0));
        println!(
            "  MISMATCH {}{attempt}: owed {owed}, recomputed {again}; provider bills {bills}, recomputed {bills_again}",
            found.trace
        );
    }
    println!(
        "  {} estimated, {} unpriced, {} mismatches",
        report.estimated, report.unpriced, report.mismatch_count
    );
}

async fn verify(settings: &Settings) -> anyhow::Result<VerifyReport> {
    let store = data_dir::open_store(settings).await?;
    let mut report = ledger::verify::recompute([]);
    for workspace in store.records().recorded_workspaces().await? {
        let mut page = Page::first(PAGE_RECORDS);
        loop {
            let listed = store.records().every_record(workspace, page.clone()).await?;
            for record in &listed.rows {
                report.check(record);
            }
            let Some(after) = listed.next else { break };
            page.after = Some(after);
        }
    }
    store.close().await;
    Ok(report)
}
