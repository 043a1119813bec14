//! What the oracle knows of the calls of one exchange: which are in flight, and what each of them is booked with.

use domain::{FaultClass, MeterRecord, Outcome, OverflowReason, Principal, Profile, Usage};
use plan::Attempt;

/// What a second call must have in common with the one that it is made beside.
type Kind = (Profile, bool, bool, Option<OverflowReason>);

struct Sent {
    number: u32,
    principal: Principal,
    kind: Kind,
    at_us: u64,
    end: Option<End>,
}

/// How a call ended, apart from the one that answered.
enum End {
    Failed,
    /// Another answered first; what it may have used is an estimate.
    Outrun(Usage),
}

#[derive(Default)]
pub struct Calls {
    all: Vec<Sent>,
    /// The one whose answer the client gets.
    answered: Option<u32>,
    /// Hedges that the disk refused: they are in the books, and nobody was called.
    refused: usize,
    /// Of that answer: how much of its output the journal has on the disk.
    written_output: u64,
}

impl Calls {
    /// A request leaves; with `hedge_after_us`, beside one that was silent for that long.
    pub fn sent(&mut self, number: u32, attempt: &Attempt, hedge_after_us: Option<u64>, now_us: u64) {
        assert_eq!(self.answered, None, "call {number} is made after an answer");
        let kind = (attempt.profile(), attempt.is_fallback(), attempt.is_emergency(), attempt.overflow());
        let principal = attempt.principal();
        let in_flight: Vec<&Sent> = self.all.iter().filter(|one| one.end.is_none()).collect();
        match (in_flight.as_slice(), hedge_after_us) {
            ([], None) => {}
            ([first], Some(after_us)) => {
                assert!(now_us >= first.at_us + after_us, "a hedge beside one that was hardly silent");
                assert_eq!(first.kind, kind, "a hedge at another kind of seat");
                assert_ne!(first.principal, principal, "a hedge at the same seat");
            }
            (in_flight, _) => panic!("call {number} is made beside {} others", in_flight.len()),
        }
        self.all.push(Sent { number, principal, kind, at_us: now_us, end: None });
    }

    fn end(&mut self, number: u32, end: End) {
        let sent = self.all.iter_mut().find(|one| one.number == number).expect("it was made");
        assert!(sent.end.replace(end).is_none(), "call {number} ended twice");
    }

    /// It failed before anything of an answer was there.
    pub fn failed(&mut self, number: u32) {
        self.end(number, End::Failed);
    }

    /// Another call answered before this one did.
    pub fn outrun(&mut self, number: u32, usage: Usage) {
        self.end(number, End::Outrun(usage));
    }

    /// The first that answers is the only one left.
    pub fn answered(&mut self, number: u32) {
        let in_flight = self.all.iter().filter(|one| one.end.is_none()).map(|one| one.number);
        assert!(in_flight.eq([number]), "others are in flight beside the one that answered");
        self.answered = Some(number);
    }

    /// The disk refused a hedge, or nothing of its commitment was here.
    pub fn refuse(&mut self) {
        self.refused += 1;
    }

    pub const fn refused(&self) -> usize {
        self.refused
    }

    pub fn written(&mut self, output: u64) {
        self.written_output = self.written_output.max(output);
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn has(&self, number: u32) -> bool {
        self.all.iter().any(|one| one.number == number)
    }

    /// Each call is in the books once, and every token of it.
    pub fn check(&self, record: &MeterRecord, is_settled: bool) {
        let trace = record.trace;
        for sent in &self.all {
            let rows: Vec<_> = record.attempts.iter().filter(|row| row.number == sent.number).collect();
            let [row] = rows.as_slice() else {
                panic!("{trace}: call {} is not in the books once: {:?}", sent.number, record.attempts)
            };
            assert_eq!(row.principal, sent.principal, "{trace}: call {}", sent.number);
            match &sent.end {
                Some(End::Outrun(usage)) if is_settled => {
                    let outrun = (*usage, Some(FaultClass::Cancelled));
                    assert_eq!((row.usage, row.fault), outrun, "{trace}: call {} was outrun", sent.number);
                }
                Some(End::Failed) if is_settled => {
                    assert!(row.usage.is_nothing(), "{trace}: call {} failed and is billed", sent.number);
                }
                _ => {}
            }
        }
        if let (Some(answered), Outcome::Completed) = (self.answered, record.outcome) {
            let last = record.attempts.last().map(|row| (row.number, row.usage, row.fault));
            assert_eq!(last, Some((answered, record.usage, None)), "{trace}: {answered} answered");
        }
        if record.outcome == Outcome::Interrupted {
            let (kept, written) = (record.usage.output, self.written_output);
            assert!(kept >= written, "{trace}: {kept} of {written} tokens are in the books: {record:?}");
        }
    }
}
