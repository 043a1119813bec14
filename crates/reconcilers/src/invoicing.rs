//! Draws invoices from the books, finalises the months that are over, and verifies finalised invoices.

use std::collections::BTreeMap;

use domain::limits::{INVOICE_ADJUSTED_MONTHS, INVOICE_MODEL_LINES_MAX, PAGE_ROWS_MAX};
use domain::{InvoiceId, MeterRecord, Nanos, Profile, TraceId, WorkspaceId};
use ledger::invoice::{Counted, Difference, LateRecords, Month, Period, ProfileMonth, check, compare_months};
use ledger::verify::VerifyReport;
use ledger::{Invoice, LineKind, Tariff};
use store::{
    Act, Dimension, InvoiceRow, Page, Store, StoreError, UsageFilter, UsageQuery, UsageRow, UsageSums, Window,
};

use crate::moment::{month_start, next_month};

/// The month that contains a moment.
pub fn month_of(workspace: WorkspaceId, unix_ms: u64) -> Period {
    let start_unix_ms = month_start(unix_ms);
    Period { workspace, start_unix_ms, end_unix_ms: next_month(start_unix_ms) }
}

/// The totals of a month so far.
pub async fn month(store: &Store, period: Period) -> Result<Month, StoreError> {
    let wholes = sums(store, period, vec![Dimension::Profile]).await?;
    let models = sums(store, period, vec![Dimension::Profile, Dimension::Model]).await?;
    let mut profiles = Vec::new();
    for profile in Profile::ALL {
        let of_profile = |row: &&UsageRow| value(row, 0) == Some(profile.as_str());
        let Some(whole) = wholes.iter().find(of_profile) else { continue };
        let of_models = models.iter().filter(of_profile);
        let of_models =
            of_models.filter_map(|row| value(row, 1).map(|model| (model.to_owned(), counts_of(&row.sums))));
        profiles.push(profile_month(profile, counts_of(&whole.sums), of_models.collect()));
    }
    Ok(Month { profiles, acts: store.invoices().acts(period).await? })
}

/// The most expensive models get lines of their own.
fn profile_month(profile: Profile, whole: Counted, mut models: Vec<(String, Counted)>) -> ProfileMonth {
    models.sort_by_key(|(name, sums)| {
        (std::cmp::Reverse((sums.cost, sums.provider_cost, sums.requests)), name.clone())
    });
    models.truncate(INVOICE_MODEL_LINES_MAX);
    ProfileMonth { profile, whole, models }
}

async fn sums(store: &Store, period: Period, group_by: Vec<Dimension>) -> Result<Vec<UsageRow>, StoreError> {
    let window = Window { start_unix_ms: period.start_unix_ms, end_unix_ms: period.end_unix_ms };
    let filter = UsageFilter::default();
    let query = UsageQuery { workspace: period.workspace, window, group_by, interval: None, filter };
    store.records().usage(query).await
}

fn value(row: &UsageRow, index: usize) -> Option<&str> {
    row.groups.get(index).and_then(|(_, value)| value.as_deref())
}

const fn counts_of(sums: &UsageSums) -> Counted {
    Counted {
        requests: sums.requests,
        input_tokens: sums.input_tokens,
        output_tokens: sums.output_tokens,
        cached_tokens: sums.cached_tokens,
        cost: sums.cost,
        provider_cost: sums.provider_cost,
        unpriced: sums.unpriced,
    }
}

/// The invoice of a month as of now, with adjustments for earlier months, less the prepaid credit it uses.
pub async fn draw(store: &Store, period: Period) -> Result<Invoice, StoreError> {
    let workspace = period.workspace;
    let mut taken = credit_taken(&earlier_invoices(store, period).await?);
    if credit(store, period, taken).await? > Nanos::ZERO {
        // Earlier months that are over but not finalised take their credit first.
        for month in open_months(store, workspace, period.start_unix_ms).await?.into_iter().rev() {
            if month.start_unix_ms < period.start_unix_ms {
                let credit = credit(store, month, taken).await?;
                let drawn = Box::pin(draw_with(store, month, credit)).await?;
                taken = taken.plus(-drawn.amount_of(LineKind::Credit));
            }
        }
    }
    let credit = credit(store, period, taken).await?;
    Box::pin(draw_with(store, period, credit)).await
}

async fn draw_with(store: &Store, period: Period, credit: Nanos) -> Result<Invoice, StoreError> {
    let tariff = store.tariffs().in_force(period.workspace, period.start_unix_ms).await?;
    let late = late_records(store, period).await?;
    Ok(Invoice::compute(period, tariff, &month(store, period).await?, &late, credit))
}

/// The credit that a month may use: everything prepaid before its end, less what earlier months took.
/// Computed from stored data alone, so drawing the month again gives the same result.
async fn credit(store: &Store, period: Period, taken: Nanos) -> Result<Nanos, StoreError> {
    let credited = store.budgets().credit_before(period.workspace, period.end_unix_ms).await?;
    Ok(Nanos(credited.plus(-taken).0.max(0)))
}

/// The credit that these invoices used.
fn credit_taken(invoices: &[InvoiceRow]) -> Nanos {
    -invoices.iter().map(|row| row.invoice.amount_of(LineKind::Credit)).sum::<Nanos>()
}

/// All finalised invoices before this month's. Even years of them are few.
async fn earlier_invoices(store: &Store, period: Period) -> Result<Vec<InvoiceRow>, StoreError> {
    let mut rows = finalised_invoices(store, period.workspace, usize::MAX).await?;
    rows.retain(|row| row.invoice.period.start_unix_ms < period.start_unix_ms);
    Ok(rows)
}

/// Draws a month again under the tariff of its invoice, without adjustments for other months.
async fn redraw(store: &Store, period: Period, tariff: Tariff) -> Result<Invoice, StoreError> {
    Ok(Invoice::compute(period, tariff, &month(store, period).await?, &[], Nanos::ZERO))
}

/// Earlier months whose totals now differ from what was invoiced for them so far.
async fn late_records(store: &Store, period: Period) -> Result<Vec<LateRecords>, StoreError> {
    let earlier: Vec<InvoiceRow> = finalised_invoices(store, period.workspace, INVOICE_ADJUSTED_MONTHS)
        .await?
        .into_iter()
        .filter(|row| row.invoice.period.start_unix_ms < period.start_unix_ms)
        .collect();
    let mut found = Vec::new();
    for row in earlier.iter().rev() {
        let of_row = row.invoice.period;
        let now = redraw(store, of_row, row.invoice.tariff.clone()).await?;
        let invoiced = amount_invoiced(&row.invoice, earlier.iter().map(|row| &row.invoice));
        let amount = now.of_month().plus(-invoiced);
        if amount != Nanos::ZERO {
            let requests = requests(&now).saturating_sub(requests(&row.invoice));
            found.push(LateRecords { period_start_unix_ms: of_row.start_unix_ms, amount, requests });
        }
    }
    Ok(found)
}

fn requests(invoice: &Invoice) -> u64 {
    invoice.lines.iter().map(|line| line.counted.requests).sum()
}

/// The amount invoiced for a month, including later adjustments.
fn amount_invoiced<'a>(invoice: &Invoice, others: impl Iterator<Item = &'a Invoice>) -> Nanos {
    let added: Nanos = others.map(|other| other.adjustment_for(invoice.period.start_unix_ms)).sum();
    invoice.of_month().plus(added)
}

/// The newest finalised invoices, newest first.
async fn finalised_invoices(
    store: &Store,
    workspace: WorkspaceId,
    count: usize,
) -> Result<Vec<InvoiceRow>, StoreError> {
    let limit = u32::try_from(count).unwrap_or(PAGE_ROWS_MAX);
    Ok(Box::pin(store.invoices().list(workspace, Page::first(limit))).await?.rows)
}

/// Months that are not finalised, newest first: the current one, and those that are over but still pending.
pub async fn open_months(
    store: &Store,
    workspace: WorkspaceId,
    now_unix_ms: u64,
) -> Result<Vec<Period>, StoreError> {
    let first = match finalised_invoices(store, workspace, 1).await?.first() {
        Some(newest) => newest.invoice.period.end_unix_ms,
        None => month_start(store.workspaces().get((), workspace).await?.created_unix_ms),
    };
    let mut months = Vec::new();
    let mut start = first;
    while start <= now_unix_ms {
        let month = month_of(workspace, start);
        start = month.end_unix_ms;
        months.push(month);
    }
    months.reverse();
    Ok(months)
}

/// Finalises a month, once; returns whether this call did it.
pub async fn finalise(store: &Store, period: Period, act: Act) -> Result<bool, StoreError> {
    let invoice = draw(store, period).await?;
    let row = InvoiceRow { id: period.invoice_id(), invoice, finalised_unix_ms: act.unix_ms };
    store.invoices().finalise(row, act).await
}

/// The result of verifying a finalised invoice.
#[derive(Debug)]
pub struct Checked {
    pub invoice: Invoice,
    /// Arithmetic errors: lines that don't follow from their own figures, a total that isn't the sum of its
    /// lines, or a credit part that doesn't match the available credit.
    pub unsound: Vec<Difference>,
    /// Lines that the books don't confirm.
    pub differing: Vec<Difference>,
    /// What later invoices added for this month.
    pub adjusted: Nanos,
    /// What the books add up to beyond everything invoiced: late records that the next invoice will take, or
    /// an altered row.
    pub unexplained: Nanos,
    /// The month's records, each recomputed.
    pub records: VerifyReport,
    /// Exchanges that remain only in the hourly sums: where there are any, the month was recomputed from
    /// those sums.
    pub without_record: u64,
}

impl Checked {
    pub fn is_sound(&self) -> bool {
        let explained = self.differing.is_empty() || self.adjusted != Nanos::ZERO;
        let follows = self.unsound.is_empty() && self.records.mismatch_count == 0;
        follows && explained && self.unexplained == Nanos::ZERO
    }
}

/// Recomputes a finalised invoice from the month's records. `None` where there is no such invoice.
pub async fn verify(store: &Store, id: InvoiceId) -> Result<Option<Checked>, StoreError> {
    let Some(row) = Box::pin(store.invoices().find(id)).await? else { return Ok(None) };
    let invoice = row.invoice;
    let period = invoice.period;
    let by_sums = Box::pin(redraw(store, period, invoice.tariff.clone())).await?;
    let mut recorded = Recorded::default();
    Box::pin(recorded.read(store, period)).await?;
    let acts = Box::pin(store.invoices().acts(period)).await?;
    let by_records =
        Invoice::compute(period, invoice.tariff.clone(), &recorded.month(acts), &[], Nanos::ZERO);
    let without_record = requests(&by_sums).saturating_sub(requests(&by_records));
    let now = if without_record == 0 { by_records } else { by_sums };
    // All of them. Even years of them are few.
    let all = finalised_invoices(store, period.workspace, usize::MAX).await?;
    let adjusted: Nanos = all.iter().map(|other| other.invoice.adjustment_for(period.start_unix_ms)).sum();
    let credit = credit(store, period, credit_taken(&earlier_invoices(store, period).await?)).await?;
    Ok(Some(Checked {
        unsound: check(&invoice, credit),
        differing: compare_months(&invoice, &now),
        adjusted,
        unexplained: now.of_month().plus(-invoice.of_month()).plus(-adjusted),
        records: recorded.report,
        without_record,
        invoice,
    }))
}

/// A month summed from its records.
#[derive(Default)]
struct Recorded {
    report: VerifyReport,
    profiles: BTreeMap<Profile, BTreeMap<String, Counted>>,
}

/// A trace id begins with its time; if the clock was corrected in between, the two may differ by this much.
const TRACE_SLACK_MS: u64 = 86_400_000;

impl Recorded {
    async fn read(&mut self, store: &Store, period: Period) -> Result<(), StoreError> {
        let first = TraceId::new(period.start_unix_ms.saturating_sub(TRACE_SLACK_MS), [0; 10]);
        let end = TraceId::new(period.end_unix_ms.saturating_add(TRACE_SLACK_MS), [0; 10]);
        let mut after = Some(first);
        while after.is_some_and(|trace| trace < end) {
            let page = Page { limit: PAGE_ROWS_MAX, after };
            let listed = store.records().every_record(period.workspace, page).await?;
            for record in &listed.rows {
                if (period.start_unix_ms..period.end_unix_ms).contains(&record.started_unix_ms) {
                    self.add(record);
                }
            }
            after = listed.next;
        }
        Ok(())
    }

    fn add(&mut self, record: &MeterRecord) {
        self.report.check(record);
        let Some(profile) = record.profile().filter(|_| !record.attempts.is_empty()) else { return };
        let row = ledger::UsageRow::from(record);
        let counted = Counted {
            requests: row.requests,
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            cached_tokens: row.cached_tokens,
            cost: row.cost,
            provider_cost: row.provider_cost,
            unpriced: row.unpriced,
        };
        let sums =
            self.profiles.entry(profile).or_default().entry(record.resolved_model.clone()).or_default();
        *sums = sums.plus(counted);
    }

    fn month(&self, acts: u64) -> Month {
        let of = |profile: Profile| {
            let models = self.profiles.get(&profile)?;
            let whole = models.values().fold(Counted::default(), |sum, counted| sum.plus(*counted));
            // As in the hourly sums: an empty model name gets no line.
            let named = models.iter().filter(|(name, _)| !name.is_empty());
            let named = named.map(|(name, counted)| (name.clone(), *counted)).collect();
            Some(profile_month(profile, whole, named))
        };
        Month { profiles: Profile::ALL.into_iter().filter_map(of).collect(), acts }
    }
}
