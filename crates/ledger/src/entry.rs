//! The journal's entries: the state of an open tab, its checkpoints, and the settled record.

use domain::record::{Extras, PlanRecord, Reason};
use domain::{
    AttemptRecord, BudgetClaim, BudgetId, CacheRecord, Charge, Counts, Dialect, Drawn, FaultClass, KeyId,
    MeterRecord, Nanos, Operation, Outcome, Principal, ProjectId, Timeline, TraceId, Usage, WorkspaceId,
};
use serde::{Deserialize, Serialize, Serializer};

use crate::frame::RawEntry;
use crate::price;

pub(crate) const KIND_STATE: u8 = 1;
pub(crate) const KIND_CHECKPOINT: u8 = 2;
pub(crate) const KIND_SETTLED: u8 = 3;

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// An attempt starts or has failed: everything known of the open tab, so that no earlier entry is needed.
    State(Box<TabState>),
    Checkpoint(Box<StreamCheckpoint>),
    Settled(Box<MeterRecord>),
}

impl Entry {
    /// `None` for a kind or a body that this version doesn't know; since the frame's checksum holds, it is
    /// not a torn write.
    pub fn decode(raw: &RawEntry<'_>) -> Option<Self> {
        match raw.kind {
            KIND_STATE => postcard::from_bytes(raw.body).ok().map(|state| Self::State(Box::new(state))),
            KIND_CHECKPOINT => {
                postcard::from_bytes(raw.body).ok().map(|checkpoint| Self::Checkpoint(Box::new(checkpoint)))
            }
            KIND_SETTLED => {
                let read = postcard::from_bytes::<MeterRecord>(raw.body).ok();
                read.map(|record| Self::Settled(Box::new(record.read_back())))
            }
            _ => None,
        }
    }
}

/// The progress of an open stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StreamCheckpoint {
    pub usage: Usage,
    pub bytes_out: u64,
    pub timeline: Timeline,
}

/// An attempt of an open tab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAttempt<Text = String> {
    pub record: AttemptRecord<Text>,
    /// It failed, and its record is final.
    pub ended: bool,
    pub estimate_prompt_bytes: u64,
}

/// Everything known of an exchange that is not settled. `Text` is the type of its names: shared with the
/// snapshot while the exchange runs, owned once it is read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TabState<Text = String> {
    pub trace: TraceId,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub key: Option<KeyId>,
    pub environment: Text,
    pub operation: Operation,
    pub dialect: Dialect,
    pub stream: bool,
    pub requested_model: String,
    pub resolved_model: Text,
    pub tag: Option<String>,
    pub started_unix_ms: u64,
    pub plan: PlanRecord,
    pub attempts: Vec<OpenAttempt<Text>>,
    pub checkpoint: StreamCheckpoint,
    /// The budgets that it draws on.
    pub drawings: Vec<BudgetClaim>,
    pub caching: Option<CacheRecord>,
    /// The last field: tabs of earlier versions end before it.
    pub extras: Extras,
}

/// How an exchange ended, without borrowed parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub outcome: Outcome,
    pub status: u16,
    pub fault: Option<FaultClass>,
    pub fault_code: Option<String>,
    pub reason: Option<Reason>,
    pub usage: Usage,
    pub bytes_out: u64,
    pub fallback_used: bool,
    /// Since the exchange's start.
    pub finished_us: u64,
}

impl<Text> TabState<Text> {
    /// The attempt in progress.
    pub(crate) fn open_attempt(&mut self) -> Option<&mut OpenAttempt<Text>> {
        self.attempts.last_mut().filter(|attempt| !attempt.ended)
    }

    /// Of two attempts that ran at once one has ended: the other stays the last, which is the one in progress. Else a
    /// process that dies would lose what its checkpoints say.
    pub(crate) fn keep_running_last(&mut self) {
        if self.open_attempt().is_none()
            && let Some(at) = self.attempts.iter().rposition(|attempt| !attempt.ended)
        {
            let running = self.attempts.remove(at);
            self.attempts.push(running);
        }
    }

    /// The best known usage of the attempt in progress: the last checkpoint, else an estimate from bytes.
    pub(crate) fn last_known_usage(&self) -> Usage {
        let Some(attempt) = self.attempts.last().filter(|attempt| !attempt.ended) else {
            return Usage::default();
        };
        let StreamCheckpoint { usage, bytes_out, .. } = self.checkpoint;
        if !usage.is_nothing() {
            return usage;
        }
        price::estimate(attempt.estimate_prompt_bytes, bytes_out, self.stream)
    }

    /// Ends the attempt in progress according to `ending` and computes the charge of each attempt and of the
    /// exchange; returns the latter.
    pub(crate) fn conclude(&mut self, ending: &Ending) -> Charge {
        if let Some(open) = self.open_attempt() {
            open.ended = true;
            let attempt = &mut open.record;
            attempt.duration_us = ending.finished_us.saturating_sub(attempt.started_us);
            attempt.usage = ending.usage;
            // An answer that was cut, or that a hook refused, is not the attempt's fault.
            let is_answered = matches!(ending.outcome, Outcome::Cut | Outcome::Completed);
            attempt.fault = ending.fault.filter(|_| !is_answered);
            attempt.status = attempt.status.or((ending.status < 400 && ending.status > 0).then_some(200));
        }
        // One that ran beside it, and that nobody waits for any more.
        for open in self.attempts.iter_mut().filter(|attempt| !attempt.ended) {
            open.ended = true;
            let attempt = &mut open.record;
            attempt.duration_us = ending.finished_us.saturating_sub(attempt.started_us);
            attempt.fault = Some(FaultClass::Cancelled);
            attempt.usage = price::estimate(open.estimate_prompt_bytes, 0, self.stream);
        }
        let (operation, last) = (self.operation, self.attempts.last().map(|attempt| attempt.record.number));
        for OpenAttempt { record, .. } in &mut self.attempts {
            record.charge = price::charge_of(
                operation,
                ending.outcome,
                ending.status,
                record,
                last == Some(record.number),
            );
        }
        price::sum(self.attempts.iter().map(|attempt| attempt.record.charge))
    }

    /// The cost of the attempts so far, as a budget with `counts` sees it.
    pub(crate) fn cost_by(&self, counts: Counts) -> Nanos {
        self.attempts.iter().map(|attempt| counts.of(attempt.record.profile(), &attempt.record.charge)).sum()
    }

    /// What the provider bills for the attempts on the credential whose commitment this is.
    pub(crate) fn committed_cost(&self, commitment: BudgetId) -> Nanos {
        let of_it = self.attempts.iter().filter(|one| commitment.is_commitment_of(one.record.principal));
        of_it.map(|one| Counts::Committed.of(one.record.profile(), &one.record.charge)).sum()
    }

    /// The amounts that the concluded exchange draws on each of its budgets.
    fn draws(&self) -> Vec<Drawn> {
        let drawn = |drawing: &BudgetClaim| Drawn {
            budget: drawing.budget,
            period_unix_ms: drawing.period_unix_ms,
            amount: match drawing.counts {
                Counts::Committed => self.committed_cost(drawing.budget),
                counts @ (Counts::All | Counts::Owed) => self.cost_by(counts),
            },
        };
        self.drawings.iter().map(drawn).filter(|drawn| drawn.amount != Nanos::ZERO).collect()
    }

    /// Does not read the wall clock again, which may have been set back meanwhile.
    const fn finished_unix_ms(&self, ending: &Ending) -> u64 {
        self.started_unix_ms.saturating_add(ending.finished_us / 1_000)
    }

    const fn settled_timeline(&self, ending: &Ending) -> Timeline {
        Timeline { settled_us: ending.finished_us, ..self.checkpoint.timeline }
    }
}

impl TabState {
    /// The meter record of this tab, closed according to `ending`, with its charges.
    pub(crate) fn settle(mut self, ending: Ending) -> MeterRecord {
        let charge = self.conclude(&ending);
        let last = self.attempts.last().map(|attempt| &attempt.record);
        let (principal, provider) =
            last.map_or_else(|| (None, String::new()), |last| (Some(last.principal), last.provider.clone()));
        let (finished_unix_ms, timeline) = (self.finished_unix_ms(&ending), self.settled_timeline(&ending));
        let drawn = self.draws();
        MeterRecord {
            trace: self.trace,
            workspace: self.workspace,
            project: self.project,
            key: self.key,
            environment: self.environment,
            started_unix_ms: self.started_unix_ms,
            finished_unix_ms,
            operation: self.operation,
            dialect: self.dialect,
            stream: self.stream,
            requested_model: self.requested_model,
            resolved_model: self.resolved_model,
            outcome: ending.outcome,
            status: ending.status,
            fault: ending.fault,
            fault_code: ending.fault_code,
            principal,
            provider,
            fallback_used: ending.fallback_used,
            tag: self.tag,
            usage: ending.usage,
            charge,
            timeline,
            attempts: self.attempts.into_iter().map(|attempt| attempt.record).collect(),
            plan: self.plan,
            bytes_out: ending.bytes_out,
            drawn,
            caching: self.caching,
            reason: ending.reason,
            extras: self.extras,
        }
    }
}

/// A meter record as it is written: the same fields in the same order, borrowed from the tab, so that a close
/// copies nothing. A test ties the two together.
#[derive(Serialize)]
#[serde(bound = "Text: Serialize")]
pub(crate) struct SettledView<'a, Text> {
    trace: TraceId,
    workspace: WorkspaceId,
    project: ProjectId,
    key: Option<KeyId>,
    environment: &'a str,
    started_unix_ms: u64,
    finished_unix_ms: u64,
    operation: Operation,
    dialect: Dialect,
    stream: bool,
    requested_model: &'a str,
    resolved_model: &'a str,
    outcome: Outcome,
    status: u16,
    fault: Option<FaultClass>,
    fault_code: Option<&'a str>,
    principal: Option<Principal>,
    provider: &'a str,
    fallback_used: bool,
    tag: Option<&'a str>,
    usage: Usage,
    charge: Charge,
    #[serde(serialize_with = "records_only")]
    attempts: &'a [OpenAttempt<Text>],
    plan: &'a PlanRecord,
    timeline: Timeline,
    bytes_out: u64,
    drawn: Vec<Drawn>,
    caching: Option<CacheRecord>,
    reason: Option<&'a Reason>,
    extras: &'a Extras,
}

impl<'a, Text: AsRef<str>> SettledView<'a, Text> {
    /// The record of a tab that `ending` concluded, with the resulting charge.
    pub(crate) fn of(state: &'a TabState<Text>, ending: &'a Ending, charge: Charge) -> Self {
        let last = state.attempts.last().map(|attempt| &attempt.record);
        Self {
            trace: state.trace,
            workspace: state.workspace,
            project: state.project,
            key: state.key,
            environment: state.environment.as_ref(),
            started_unix_ms: state.started_unix_ms,
            finished_unix_ms: state.finished_unix_ms(ending),
            operation: state.operation,
            dialect: state.dialect,
            stream: state.stream,
            requested_model: &state.requested_model,
            resolved_model: state.resolved_model.as_ref(),
            outcome: ending.outcome,
            status: ending.status,
            fault: ending.fault,
            fault_code: ending.fault_code.as_deref(),
            principal: last.map(|last| last.principal),
            provider: last.map_or("", |last| last.provider.as_ref()),
            fallback_used: ending.fallback_used,
            tag: state.tag.as_deref(),
            usage: ending.usage,
            charge,
            attempts: &state.attempts,
            plan: &state.plan,
            timeline: state.settled_timeline(ending),
            bytes_out: ending.bytes_out,
            drawn: state.draws(),
            caching: state.caching,
            reason: ending.reason.as_ref(),
            extras: &state.extras,
        }
    }
}

fn records_only<Text: Serialize, S: Serializer>(
    attempts: &&[OpenAttempt<Text>],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(attempts.iter().map(|attempt| &attempt.record))
}

#[cfg(test)]
pub(crate) mod tests {
    use domain::record::Rejected;
    use domain::{CredentialId, Price, Priced, Rates, UsageSource};

    use super::*;
    use crate::frame::{FORMAT_VERSION, append_frame, parse_records, seal};

    pub(crate) fn state() -> TabState {
        let principal = Principal::Credential(CredentialId::new(7, [8; 10]));
        let usage = Usage {
            input: 300,
            cached_read: 1,
            output: 20,
            source: UsageSource::Provider,
            ..Usage::default()
        };
        let record = AttemptRecord {
            number: 1,
            principal,
            provider: "openai".into(),
            upstream_model: "gpt-4o".into(),
            region: Some("eu".into()),
            started_us: 9,
            duration_us: 10,
            status: Some(200),
            fault: Some(FaultClass::Timeout),
            upstream_request_id: Some("req".into()),
            usage,
            rates: Some(Rates {
                input: Price(1),
                output: Price(2),
                reasoning: Some(Price(3)),
                ..Rates::default()
            }),
            markup_bps: 11,
            charge: Charge { priced: Priced::Priced, ..Charge::default() },
        };
        let rejected = Rejected {
            principal,
            provider: "nebius".into(),
            reason: "expired".into(),
            detail: "since June".into(),
        };
        TabState {
            trace: TraceId::new(1, [1; 10]),
            workspace: WorkspaceId::new(2, [2; 10]),
            project: ProjectId::new(3, [3; 10]),
            key: Some(KeyId::new(4, [4; 10])),
            environment: "production".into(),
            operation: Operation::Chat,
            dialect: Dialect::Run,
            stream: true,
            requested_model: "gpt-4o".into(),
            resolved_model: "openai/gpt-4o".into(),
            tag: Some("tag".into()),
            started_unix_ms: 5,
            plan: PlanRecord {
                resolution: "catalogue".into(),
                route: "rte".into(),
                candidates: vec![principal],
                rejected: vec![rejected],
                snapshot_version: 6,
            },
            attempts: vec![OpenAttempt { record, ended: false, estimate_prompt_bytes: 12 }],
            checkpoint: StreamCheckpoint { usage, bytes_out: 13, timeline: Timeline::default() },
            drawings: vec![BudgetClaim {
                budget: domain::BudgetId::new(9, [9; 10]),
                period_unix_ms: 10,
                counts: Counts::All,
            }],
            caching: Some(caching()),
            extras: Extras::default(),
        }
    }

    fn caching() -> CacheRecord {
        CacheRecord { is_applied: true, marks: 2, reusable_tokens: 17, ..CacheRecord::default() }
    }

    fn masked() -> domain::CheckCount {
        domain::CheckCount {
            check: "email".into(),
            action: domain::CheckAction::Mask,
            is_input: true,
            count: 3,
        }
    }

    pub(crate) fn ending() -> Ending {
        Ending {
            outcome: Outcome::Deadline,
            status: 504,
            fault: Some(FaultClass::Deadline),
            fault_code: Some("deadline".into()),
            reason: None,
            usage: Usage::default(),
            bytes_out: 14,
            fallback_used: true,
            finished_us: 15_016,
        }
    }

    fn frame<T: Serialize>(kind: u8, body: &T) -> Vec<u8> {
        let mut frame = Vec::new();
        append_frame(&mut frame, kind, TraceId::new(1, [1; 10]), body).unwrap();
        seal(&mut frame, 77);
        frame
    }

    #[test]
    fn entries_read_back_what_was_written() {
        let (state, record) = (state(), state().settle(ending()));
        let cases = [
            (frame(KIND_STATE, &state), Entry::State(Box::new(state.clone()))),
            (frame(KIND_CHECKPOINT, &state.checkpoint), Entry::Checkpoint(Box::new(state.checkpoint))),
            (frame(KIND_SETTLED, &record), Entry::Settled(Box::new(record))),
        ];
        for (bytes, expected) in cases {
            let raw = parse_records(&bytes, 77).next().unwrap();
            assert_eq!((raw.end, Entry::decode(&raw)), (bytes.len(), Some(expected)));
            assert!(parse_records(&bytes, 78).next().is_none(), "another segment's seed");
        }
    }

    fn reason() -> Reason {
        let budget = domain::BudgetId::new(9, [9; 10]);
        Reason::of(
            &domain::Fault::new(FaultClass::BudgetReached, "quota_exceeded", "It is used up.")
                .fix("Raise it.")
                .refused_by(domain::Refuser::Budget(budget)),
        )
    }

    #[test]
    fn a_reason_stands_behind_the_rest_where_the_version_before_ends() {
        let with_reason = Ending { reason: Some(reason()), ..ending() };
        let (with, without) = (state().settle(with_reason), state().settle(ending()));
        let bytes = |record: &MeterRecord| postcard::to_allocvec(record).unwrap();
        // Without a reason a record ends with the mark of none, which versions before the checks did not write.
        let [before @ .., 0] = &bytes(&without)[..] else { panic!("it ends with no reason") };
        assert!(bytes(&with).starts_with(before), "the version before reads the beginning alone");
        assert_eq!(postcard::from_bytes::<MeterRecord>(before).unwrap(), without);
        assert_eq!(postcard::from_bytes::<MeterRecord>(&bytes(&with)).unwrap(), with);
        assert_eq!(postcard::from_bytes::<MeterRecord>(&bytes(&without)).unwrap(), without);
        // A reason in a later version's encoding costs the reason, not the record.
        let cut = &bytes(&with)[..before.len() + 4];
        assert_eq!(postcard::from_bytes::<MeterRecord>(cut).unwrap(), without);
    }

    #[test]
    fn an_answer_that_a_budget_cut_is_written_as_completed_and_read_as_cut() {
        let cut = Ending {
            outcome: Outcome::Cut,
            status: 200,
            fault: Some(FaultClass::BudgetReached),
            reason: Some(reason()),
            ..ending()
        };
        let record = state().settle(cut);
        assert_eq!(record.attempts[0].fault, None, "it did nothing wrong");
        let completed = MeterRecord { outcome: Outcome::Completed, ..record.clone() };
        let bytes = postcard::to_allocvec(&record).unwrap();
        assert_eq!(bytes, postcard::to_allocvec(&completed).unwrap());
        let settled = frame(KIND_SETTLED, &record);
        let raw = parse_records(&settled, 77).next().unwrap();
        assert_eq!(Entry::decode(&raw), Some(Entry::Settled(Box::new(record))));
    }

    #[test]
    fn a_close_writes_what_the_whole_record_would_be() {
        let mut again = state();
        let mut second = again.attempts[0].clone();
        again.attempts[0].ended = true;
        second.record.number = 2;
        again.attempts.push(second);
        let never_tried = TabState { attempts: Vec::new(), tag: None, key: None, ..state() };
        let completed = Ending {
            outcome: Outcome::Completed,
            status: 200,
            fault: None,
            fault_code: None,
            usage: again.checkpoint.usage,
            ..ending()
        };
        for state in [state(), again, never_tried] {
            let refused = Ending { reason: Some(reason()), ..ending() };
            for ending in [ending(), completed.clone(), refused] {
                let record = state.clone().settle(ending.clone());
                let mut booked = record.clone();
                price::book(&mut booked);
                assert_eq!(record, booked);
                let whole = frame(KIND_SETTLED, &record);
                let mut state = state.clone();
                let charge = state.conclude(&ending);
                assert_eq!(frame(KIND_SETTLED, &SettledView::of(&state, &ending, charge)), whole);
            }
        }
    }

    /// The format on disk must not change under the same version. Whoever changes a stored type fails here,
    /// raises `FORMAT_VERSION` and updates the figures.
    #[test]
    fn the_format_is_the_one_of_its_version() {
        let state = state();
        let checksums = [
            crc32fast::hash(&frame(KIND_STATE, &state)),
            crc32fast::hash(&frame(KIND_CHECKPOINT, &state.checkpoint)),
            crc32fast::hash(&frame(KIND_SETTLED, &state.settle(ending()))),
        ];
        assert_eq!((FORMAT_VERSION, checksums), (3, [1_240_527_298, 1_064_952_952, 3_242_366_045]));
    }

    fn hook_call() -> domain::HookCall {
        let (at, outcome) = (domain::HookPoint::Post, domain::HookOutcome::Timeout);
        domain::HookCall { at, owner: "project".to_owned(), place: 1, outcome, latency_ms: 500 }
    }

    fn hook_server() -> domain::HookServer {
        domain::HookServer { host: "hooks.example:8443".to_owned(), reads_content: true }
    }

    fn stated_qos() -> domain::record::StatedQos {
        domain::record::StatedQos {
            target_ttft_ms: Some(u64::MAX),
            deadline_ms: None,
            target_met: Some(true),
        }
    }

    fn search() -> domain::semantic::SemanticSearch {
        let embedding = domain::TraceId::new(9, [7; 10]);
        let outcome = domain::semantic::SemanticOutcome::Guarded;
        domain::semantic::SemanticSearch { outcome, similarity_bps: Some(10_000), embedding }
    }

    fn side_call() -> domain::SideCall {
        let purpose = domain::SideCallPurpose::SemanticCache;
        domain::SideCall { purpose, parent: domain::TraceId::new(8, [6; 10]) }
    }

    #[test]
    fn what_later_versions_added_is_read_back_and_older_ones_read_the_rest() {
        let (checks, qos_class) = (vec![masked()], Some(domain::QosClass::Batch));
        let cases = [
            Extras { checks: checks.clone(), ..Extras::default() },
            Extras { qos_class, ..Extras::default() },
            Extras { manifest_revision: Some("cap_1".to_owned()), ..Extras::default() },
            Extras { hooks: vec![hook_call()], ..Extras::default() },
            Extras { qos: Some(stated_qos()), ..Extras::default() },
            Extras { has_tools: Some(false), ..Extras::default() },
            Extras { semantic: Some(search()), ..Extras::default() },
            Extras { side_call: Some(side_call()), ..Extras::default() },
            Extras { session: Some(domain::SessionId::new(7, [5; 10])), ..Extras::default() },
            Extras { hook_servers: vec![hook_server()], ..Extras::default() },
            Extras { end_user: Some(domain::EndUserId::new(6, [4; 10])), ..Extras::default() },
            Extras { task: Some(domain::TaskId::new(5, [3; 10])), ..Extras::default() },
            Extras { agent: Some("helper".to_owned()), ..Extras::default() },
            Extras { adapter: Some("law".to_owned()), ..Extras::default() },
            Extras {
                checks,
                qos_class,
                manifest_revision: Some("cap_1".to_owned()),
                hooks: vec![hook_call()],
                qos: Some(stated_qos()),
                has_tools: Some(true),
                semantic: Some(search()),
                side_call: Some(side_call()),
                session: Some(domain::SessionId::new(7, [5; 10])),
                hook_servers: vec![hook_server()],
                end_user: Some(domain::EndUserId::new(6, [4; 10])),
                task: Some(domain::TaskId::new(5, [3; 10])),
                agent: Some("helper".to_owned()),
                adapter: Some("law".to_owned()),
            },
        ];
        let plain = postcard::to_allocvec(&state()).unwrap();
        for extras in cases {
            let state = TabState { extras: extras.clone(), ..state() };
            let bytes = postcard::to_allocvec(&state).unwrap();
            assert!(bytes.starts_with(&plain), "what older versions read does not change");
            assert_eq!(postcard::from_bytes::<TabState>(&bytes).unwrap(), state);
            for ending in [ending(), Ending { reason: Some(reason()), ..ending() }] {
                let record = state.clone().settle(ending);
                assert_eq!(record.extras, extras);
                let bytes = postcard::to_allocvec(&record).unwrap();
                assert_eq!(postcard::from_bytes::<MeterRecord>(&bytes).unwrap(), record);
            }
        }
        // As the version before wrote it: the checks alone.
        let before = [plain.as_slice(), &postcard::to_allocvec(&vec![masked()]).unwrap()].concat();
        let read = postcard::from_bytes::<TabState>(&before).unwrap();
        assert_eq!((read.extras.checks, read.extras.qos_class), (vec![masked()], None));
        // A class that only a later version knows costs the class, not the record.
        let unknown = [plain.as_slice(), &[0, 1, 9]].concat();
        assert_eq!(postcard::from_bytes::<TabState>(&unknown).unwrap(), state());
    }

    #[test]
    fn a_record_reads_back_and_without_reuse_is_written_as_before() {
        let plain = CacheRecord {
            is_applied: true,
            marks: 2,
            has_key: true,
            reusable_tokens: 300,
            ..CacheRecord::default()
        };
        let reuse = domain::PromptReuse {
            prompt_bytes: 9_000,
            seen_bytes: 4_000,
            tokens_min: 1_024,
            tokens_step: 128,
            is_unreported: true,
        };
        let served =
            domain::CachedAnswer { input_tokens: 7, output_tokens: 0, saved: domain::Nanos(3_000_000_000) };
        let cases = [
            plain,
            CacheRecord { reuse: Some(reuse), ..plain },
            CacheRecord { reuse: Some(domain::PromptReuse::default()), ..CacheRecord::default() },
            CacheRecord { served: Some(served), reuse: Some(reuse), ..plain },
            CacheRecord { has_context: true, ..plain },
        ];
        for record in cases {
            let bytes = postcard::to_allocvec(&(record, 77_u64)).unwrap();
            assert_eq!(postcard::from_bytes::<(CacheRecord, u64)>(&bytes).unwrap(), (record, 77));
        }
        assert_eq!(
            postcard::to_allocvec(&plain).unwrap(),
            [1, 2, 1, 0xac, 2],
            "the form of earlier versions"
        );
        let later = postcard::to_allocvec(&(true, 0x82_u8, true, 300_u64, vec![(200_u8, 5_u64)])).unwrap();
        assert_eq!(
            postcard::from_bytes::<CacheRecord>(&later).unwrap(),
            plain,
            "unknown numbers are skipped"
        );
    }
}
