//! The report: medians, ratios paired by round, and targets.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::facts::Facts;
use crate::metrics::{Limit, Metric, Sample, TARGETS, Target, median, rounded};
use crate::options::Options;
use crate::parties::Party;
use crate::rounds::FOREIGN_CORES_MAX;

#[derive(Debug, Serialize)]
pub struct Report {
    facts: Facts,
    options: Options,
    pub rows: Vec<Row>,
    targets: Vec<Verdict>,
    samples: Vec<Sample>,
}

/// One metric, with the figures of each party that has it.
#[derive(Debug, Serialize)]
pub struct Row {
    pub metric: Metric,
    pub medians: BTreeMap<Party, f64>,
    /// Median over the rounds of the party's figure divided by nginx's in the same round.
    pub to_nginx: BTreeMap<Party, f64>,
}

#[derive(Debug, Serialize)]
struct Verdict {
    #[serde(flatten)]
    target: Target,
    found: f64,
    met: bool,
}

impl Report {
    pub fn new(facts: Facts, options: &Options, samples: Vec<Sample>) -> Self {
        let rows = Metric::ALL.into_iter().map(|metric| Row::new(metric, &samples)).collect();
        let targets = TARGETS.iter().filter_map(|target| Verdict::new(*target, &samples)).collect();
        Self { facts, options: options.clone(), rows, targets, samples }
    }

    /// The processor, which identifies runs: ratios on one processor say little about another.
    pub fn processor(&self) -> String {
        format!("{}, {} cores", self.facts.processor, self.facts.core_count)
    }

    /// The section for docs/benchmarks.md: each figure next to its target.
    pub fn published(&self) -> String {
        let Facts { date, compiler, nginx, commit, .. } = &self.facts;
        let noisy = self.samples.iter().filter(|sample| sample.foreign_cores > FOREIGN_CORES_MAX).count();
        let mut text = format!(
            "{date}, commit {commit}, {compiler}, {nginx}; {} rounds, {noisy} of {} samples noisy.\n\n\
             | figure | asked | found | |\n|---|---|---|---|\n",
            self.options.rounds,
            self.samples.len()
        );
        for verdict in &self.targets {
            let Target { metric, party, .. } = verdict.target;
            let (asked, found) = verdict.words();
            let word = if verdict.met { "met" } else { "**not met**" };
            text.push_str(&format!(
                "| {}: {} | {asked} | {found} | {word} |\n",
                party.name(),
                metric.label()
            ));
        }
        let of = |metric| self.rows.iter().find(|row| row.metric == metric);
        for metric in [Metric::CpuUsPerRequest, Metric::CpuUsPerChunk] {
            if let Some(ratio) = of(metric).and_then(|row| row.to_nginx.get(&Party::UsPlain)) {
                let name = Party::UsPlain.name();
                text.push_str(&format!("| {name}: {} | | {ratio:.3} times nginx's | |\n", metric.label()));
            }
        }
        text
    }

    /// The machine and date, for the plot's caption.
    pub fn caption(&self) -> String {
        let Facts { date, processor, core_count, .. } = &self.facts;
        let rounds = self.options.rounds;
        format!("median of {rounds} interleaved rounds · {processor}, {core_count} cores · {date}")
    }
}

impl Row {
    fn new(metric: Metric, samples: &[Sample]) -> Self {
        let of = |party: Party| by_round(metric, party, samples);
        let parties = || Party::ALL.into_iter();
        let medians =
            parties().filter_map(|party| Some((party, rounded(median(of(party).into_values().collect())?))));
        // Parties with another load than nginx's can't be compared with it.
        let ratios = parties().filter(|party| party.prompt_bytes() == 0).filter_map(|party| {
            Some((party, rounded(median(paired(metric, (party, Party::Nginx), samples, |a, b| a / b))?)))
        });
        Self { metric, medians: medians.collect(), to_nginx: ratios.collect() }
    }
}

impl Verdict {
    fn new(target: Target, samples: &[Sample]) -> Option<Self> {
        let Target { metric, party, other, limit } = target;
        let compared =
            |compare: fn(f64, f64) -> f64| median(paired(metric, (party, other), samples, compare));
        let (found, max) = match limit {
            Limit::RatioMax(max) => (compared(|a, b| a / b)?, max),
            Limit::DifferenceMax(max) => (compared(|a, b| a - b)?, max),
            Limit::Max(max) => (median(by_round(metric, party, samples).into_values().collect())?, max),
        };
        Some(Self { target, found: rounded(found), met: found <= max })
    }

    /// The target and the figure, in words.
    fn words(&self) -> (String, String) {
        let (found, other) = (self.found, self.target.other.name());
        match self.target.limit {
            Limit::RatioMax(max) => (format!("{max} times {other}'s at most"), format!("{found:.3} times")),
            Limit::DifferenceMax(max) => {
                (format!("{max} above {other}'s at most"), format!("{found:.0} above"))
            }
            Limit::Max(max) => (format!("{max} at most"), format!("{found:.1}")),
        }
    }
}

fn by_round(metric: Metric, party: Party, samples: &[Sample]) -> BTreeMap<usize, f64> {
    let wanted = samples.iter().filter(|sample| sample.metric == metric && sample.party == party);
    wanted.map(|sample| (sample.round, sample.value)).collect()
}

/// The first party's figures compared with the second's in the same round.
fn paired(
    metric: Metric,
    parties: (Party, Party),
    samples: &[Sample],
    compare: impl Fn(f64, f64) -> f64,
) -> Vec<f64> {
    let reference = by_round(metric, parties.1, samples);
    let rounds = by_round(metric, parties.0, samples).into_iter();
    rounds.filter_map(|(round, value)| Some(compare(value, *reference.get(&round)?))).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:34}", "median (times nginx's)")?;
        let has = |party: &Party| self.rows.iter().any(|row| row.medians.contains_key(party));
        let parties: Vec<Party> = Party::ALL.into_iter().filter(has).collect();
        for party in &parties {
            write!(formatter, "{:>20}", party.name())?;
        }
        writeln!(formatter)?;
        for row in &self.rows {
            write!(formatter, "{:34}", row.metric.label())?;
            for party in &parties {
                let cell = match (row.medians.get(party), row.to_nginx.get(party)) {
                    (Some(value), Some(ratio)) => format!("{value:.1} ({ratio:.2})"),
                    (Some(value), None) => format!("{value:.1}"),
                    (None, _) => "-".to_owned(),
                };
                write!(formatter, "{cell:>20}")?;
            }
            writeln!(formatter)?;
        }
        for verdict in &self.targets {
            let Target { metric, party, .. } = verdict.target;
            let word = if verdict.met { "met" } else { "NOT MET" };
            let (asked, found) = verdict.words();
            writeln!(formatter, "{word:8} {}: {}: {found}; {asked}", party.name(), metric.label())?;
        }
        let noisy = self.samples.iter().filter(|sample| sample.foreign_cores > FOREIGN_CORES_MAX).count();
        if noisy > 0 {
            let count = self.samples.len();
            writeln!(
                formatter,
                "{noisy} of {count} samples are noisy: something else used the cores; measure again"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Row, Verdict};
    use crate::metrics::{Limit, Metric, Sample, Target};
    use crate::parties::Party;

    fn samples() -> Vec<Sample> {
        let metric = Metric::CpuUsPerRequest;
        let rounds = [(0, 10.0, 15.0), (1, 20.0, 24.0), (2, 40.0, 80.0)];
        let both = rounds
            .into_iter()
            .flat_map(|(round, nginx, us)| [(Party::Nginx, round, nginx), (Party::Us, round, us)]);
        both.map(|(party, round, value)| Sample { party, round, metric, value, foreign_cores: 0.0 }).collect()
    }

    #[test]
    fn ratios_are_paired_by_round() {
        let row = Row::new(Metric::CpuUsPerRequest, &samples());
        assert_eq!((row.medians[&Party::Us], row.medians[&Party::Nginx]), (24.0, 20.0));
        assert_eq!(row.to_nginx[&Party::Us], 1.5);
    }

    #[test]
    fn verdicts_can_be_either() {
        let target = |metric, limit| Target { metric, party: Party::Us, other: Party::Nginx, limit };
        let met = |limit| {
            Verdict::new(target(Metric::CpuUsPerRequest, limit), &samples()).map(|verdict| verdict.met)
        };
        assert_eq!(met(Limit::RatioMax(1.6)), Some(true));
        assert_eq!(met(Limit::RatioMax(1.4)), Some(false));
        assert_eq!(met(Limit::DifferenceMax(4.0)), Some(false));
        assert_eq!(met(Limit::Max(24.0)), Some(true));
        assert!(Verdict::new(target(Metric::IdleMib, Limit::Max(1.0)), &samples()).is_none());
    }

    #[test]
    fn growth_is_beside_ourselves() {
        let mut samples = samples();
        samples.extend([(0, 15.3), (1, 24.3), (2, 90.0)].map(|(round, value)| Sample {
            party: Party::UsManyKeys,
            round,
            metric: Metric::CpuUsPerRequest,
            value,
            foreign_cores: 0.0,
        }));
        let target = Target {
            metric: Metric::CpuUsPerRequest,
            party: Party::UsManyKeys,
            other: Party::Us,
            limit: Limit::RatioMax(1.05),
        };
        let verdict = Verdict::new(target, &samples).unwrap();
        assert_eq!((verdict.found, verdict.met), (1.02, true));
    }
}
