//! What a record of a data plane may state. Whoever runs the data plane may be the one who owes for it.

use domain::{MeterRecord, Nanos, Principal, TraceId};
use ledger::DrainBatch;

/// The first record of a batch that no data plane can have.
pub(crate) fn first_unsound(batch: &DrainBatch) -> Option<TraceId> {
    let named = batch.records.encoded().map(|(trace, _)| trace);
    let stated = batch.records.decoded::<String>().map(|(_, record)| record);
    named.zip(stated).find(|(trace, record)| !is_sound(*trace, record)).map(|(trace, _)| trace)
}

/// It has its own id; none of the operator's accounts served it, since data planes have none; no amount is below zero, which
/// would pay back what was spent of a budget, a credit or an invoice; and no count is beyond what an answer can have, which would
/// spoil every sum.
fn is_sound(named: TraceId, record: &MeterRecord) -> bool {
    let charges = record.attempts.iter().map(|attempt| attempt.charge).chain([record.charge]);
    let mut amounts = charges
        .flat_map(|charge| [charge.cost, charge.provider_cost])
        .chain(record.drawn.iter().map(|drawn| drawn.amount));
    let served = record.attempts.iter().map(|attempt| attempt.principal);
    let mut principals = served.chain(record.principal);
    let mut usages = record.attempts.iter().map(|attempt| attempt.usage).chain([record.usage]);
    named == record.trace
        && usages.all(|usage| usage.is_possible())
        && amounts.all(|amount| amount >= Nanos::ZERO)
        && !principals.any(|principal| matches!(principal, Principal::Account(_)))
}

#[cfg(test)]
mod tests {
    use domain::record::{Charge, Extras, PlanRecord};
    use domain::{
        AccountId, AttemptRecord, BudgetId, CredentialId, Dialect, Drawn, Operation, Outcome, ProjectId,
        Timeline, Usage, WorkspaceId,
    };
    use ledger::{JournalPosition, SettledRecords};

    use super::*;

    fn record() -> MeterRecord {
        let principal = Principal::Credential(CredentialId::new(1, [1; 10]));
        let charge = Charge { cost: Nanos(3), provider_cost: Nanos(9), ..Charge::default() };
        let attempt = AttemptRecord {
            number: 1,
            principal,
            provider: "openai".into(),
            upstream_model: "gpt-4o".into(),
            region: None,
            started_us: 0,
            duration_us: 5,
            status: Some(200),
            fault: None,
            upstream_request_id: None,
            usage: Usage::default(),
            rates: None,
            markup_bps: 0,
            charge,
        };
        MeterRecord {
            trace: TraceId::new(1, [1; 10]),
            workspace: WorkspaceId::new(1, [1; 10]),
            project: ProjectId::new(1, [1; 10]),
            key: None,
            environment: "production".into(),
            started_unix_ms: 1,
            finished_unix_ms: 2,
            operation: Operation::Chat,
            dialect: Dialect::Chat,
            stream: false,
            requested_model: "gpt-4o".into(),
            resolved_model: "openai/gpt-4o".into(),
            outcome: Outcome::Completed,
            status: 200,
            fault: None,
            fault_code: None,
            reason: None,
            extras: Extras::default(),
            principal: Some(principal),
            provider: "openai".into(),
            fallback_used: false,
            tag: None,
            usage: Usage::default(),
            charge,
            attempts: vec![attempt],
            plan: PlanRecord::default(),
            timeline: Timeline::default(),
            bytes_out: 5,
            drawn: vec![Drawn { budget: BudgetId::new(1, [1; 10]), period_unix_ms: 0, amount: Nanos(3) }],
            caching: None,
        }
    }

    fn unsound(change: impl Fn(&mut MeterRecord)) -> Option<TraceId> {
        let mut changed = record();
        changed.trace = TraceId::new(2, [2; 10]);
        change(&mut changed);
        let records = SettledRecords::of(&[record(), changed]).unwrap();
        let upto = JournalPosition { epoch: 1, segment: 1, offset: 1 };
        first_unsound(&DrainBatch { core: 0, upto, records })
    }

    #[test]
    fn nothing_is_paid_back_by_a_record() {
        assert_eq!(unsound(|_| {}), None);
        let second = Some(TraceId::new(2, [2; 10]));
        assert_eq!(unsound(|record| record.charge.cost = Nanos(-1)), second);
        assert_eq!(unsound(|record| record.charge.provider_cost = Nanos(-1)), second);
        assert_eq!(unsound(|record| record.attempts[0].charge.cost = Nanos(i64::MIN)), second);
        assert_eq!(unsound(|record| record.drawn[0].amount = Nanos(-1)), second);
        assert_eq!(unsound(|record| record.usage.output = u64::MAX), second);
        assert_eq!(unsound(|record| record.attempts[0].usage.units.billed = u64::MAX), second);
        let account = Principal::Account(AccountId::new(1, [1; 10]));
        assert_eq!(unsound(|record| record.principal = Some(account)), second);
        assert_eq!(unsound(|record| record.attempts[0].principal = account), second);
    }
}
