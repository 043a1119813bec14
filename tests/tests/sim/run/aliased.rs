//! Aliases in a run: who names one, and the judgement of canaries.

use domain::AliasPick;
use reconcilers::canaries::{Measured, left};
use world::Clock;

use super::{Event, Run};
use crate::aliases::{ALIAS, JUDGED_EVERY_US, Named, has_left};
use crate::fixture::{RULES, workspace_id};

impl Run {
    pub(super) fn script_aliases(&mut self, span_us: u64) {
        let mut at_us = JUDGED_EVERY_US;
        while at_us < span_us {
            self.plan_event(at_us, Event::Judge);
            at_us += JUDGED_EVERY_US;
        }
    }

    pub(super) fn pick_name(&self) -> Named {
        match self.chance(8) {
            0..=3 => Named::Model,
            4..=6 => Named::Alias,
            _ => Named::Pinned { is_active: self.chance(2) == 0, is_long: self.chance(2) == 0 },
        }
    }

    /// Judges every canary by the records that are there, as the control plane does.
    pub(super) fn judge(&mut self) {
        if self.is_centre_away {
            return;
        }
        let records = self.books.sink.records();
        for at in 0..RULES.len() {
            let Some(started) = self.fixture.aliases.canaries[at] else { continue };
            let window_ms = u64::from(started.gates.window_s) * 1_000;
            let since = self.books.clock.unix_ms().saturating_sub(window_ms).max(started.from_unix_ms);
            let of = |is_active: bool| {
                let release = self.fixture.aliases.release_id(at, is_active);
                records.iter().filter(move |record| {
                    let pick = AliasPick::read(&record.plan.resolution);
                    let is_of = record.workspace == workspace_id(at) && record.requested_model == ALIAS;
                    is_of
                        && record.started_unix_ms >= since
                        && pick.is_some_and(|pick| pick.release == release)
                })
            };
            let measured = |is_active: bool| {
                let mut measured = Measured::default();
                for record in of(is_active) {
                    let first_byte_us = Some(record.timeline.first_byte_us).filter(|us| *us > 0);
                    measured.count(record.fault, record.timeline.settled_us, first_byte_us);
                }
                measured
            };
            let reason = left(&started.gates, &measured(false), Some(&measured(true)));
            assert_eq!(reason.is_some(), has_left(&started, of(false)), "{started:?}: {reason:?}");
            if let Some(reason) = reason {
                self.note(|| format!("the canary of w{at} is withdrawn: {reason}"));
                self.report.withdrawn += 1;
                self.fixture.withdraw_canary(at);
                self.snapshot = self.fixture.snapshot();
            }
        }
    }
}
