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
    /// `None` where a party was missing.
    found: Option<f64>,
    /// `None` where there is no limit.
    met: Option<bool>,
}

impl Report {
    pub fn new(facts: Facts, options: &Options, samples: Vec<Sample>) -> Self {
        let rows = Metric::ALL.into_iter().map(|metric| Row::new(metric, &samples)).collect();
        let targets = TARGETS.iter().map(|target| Verdict::new(*target, &samples)).collect();
        Self { facts, options: options.clone(), rows, targets, samples }
    }

    /// The processor, which identifies runs: ratios on one processor say little about another.
    pub fn processor(&self) -> String {
        format!("{}, {} cores", self.facts.processor, self.facts.core_count)
    }

    /// How many limits are not met of those that were asked for; what couldn't be measured is none that was met.
    pub fn missed(&self) -> usize {
        self.asked().filter(|verdict| verdict.met == Some(false)).count()
    }

    fn asked(&self) -> impl Iterator<Item = &Verdict> {
        self.targets.iter().filter(|verdict| verdict.is_asked(&self.options.only))
    }

    /// In one line, whether the limits are met, and which are not.
    fn outcome(&self) -> String {
        let bounds = self.asked().filter(|verdict| verdict.met.is_some()).count();
        let missed: Vec<String> = self
            .asked()
            .filter(|verdict| verdict.met == Some(false))
            .map(|verdict| format!("{} ({})", verdict.name(), verdict.words().1))
            .collect();
        if missed.is_empty() {
            format!("All {bounds} bounds are met.")
        } else {
            format!("MISSED: {} of {bounds} bounds: {}.", missed.len(), missed.join("; "))
        }
    }

    /// The section for docs/benchmarks.md: each figure next to its target.
    pub fn published(&self) -> String {
        let Facts { date, compiler, nginx, commit, .. } = &self.facts;
        let noisy = self.samples.iter().filter(|sample| sample.foreign_cores > FOREIGN_CORES_MAX).count();
        let mut text = format!(
            "{}\n\n{date}, commit {commit}, {compiler}, {nginx}; {} rounds, {noisy} of {} samples noisy.\n\n\
             | figure | asked | found | met |\n|---|---|---|---|\n",
            self.outcome(),
            self.options.rounds,
            self.samples.len()
        );
        for verdict in &self.targets {
            let (asked, found) = verdict.words();
            let met = match verdict.met {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "",
            };
            text.push_str(&format!("| {} | {asked} | {found} | {met} |\n", verdict.name()));
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
    fn new(target: Target, samples: &[Sample]) -> Self {
        let Target { metric, party, other, limit } = target;
        let compared =
            |compare: fn(f64, f64) -> f64| median(paired(metric, (party, other), samples, compare));
        let (found, max) = match limit {
            Limit::RatioMax(max) => (compared(|a, b| a / b), Some(max)),
            Limit::DifferenceMax(max) => (compared(|a, b| a - b), Some(max)),
            Limit::Max(max) => (median(by_round(metric, party, samples).into_values().collect()), Some(max)),
            Limit::Ratio => (compared(|a, b| a / b), None),
        };
        let met = max.map(|max| found.is_some_and(|found| found <= max));
        Self { target, found: found.map(rounded), met }
    }

    /// Whether a run of these parties has what this compares.
    fn is_asked(&self, parties: &[Party]) -> bool {
        let Target { party, other, limit, .. } = self.target;
        parties.contains(&party) && (matches!(limit, Limit::Max(_)) || parties.contains(&other))
    }

    fn name(&self) -> String {
        format!("{}: {}", self.target.party.name(), self.target.metric.label())
    }

    /// The target and the figure, in words.
    fn words(&self) -> (String, String) {
        let other = self.target.other.name();
        let (asked, unit, decimals) = match self.target.limit {
            Limit::RatioMax(max) => (format!("{max} times {other}'s at most"), " times", 3),
            Limit::DifferenceMax(max) => (format!("{max} above {other}'s at most"), " above", 0),
            Limit::Max(max) => (format!("{max} at most"), "", 1),
            Limit::Ratio => (String::new(), " times", 3),
        };
        let found = self.found.map_or("not measured".to_owned(), |found| match self.target.limit {
            Limit::Ratio => format!("{found:.decimals$}{unit} {other}'s"),
            _ => format!("{found:.decimals$}{unit}"),
        });
        (asked, found)
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
        writeln!(formatter, "{}\n", self.outcome())?;
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
        for verdict in self.asked() {
            let word = match verdict.met {
                Some(true) => "met",
                Some(false) => "NOT MET",
                None => "",
            };
            let (asked, found) = verdict.words();
            writeln!(formatter, "{word:8} {}: {found}; {asked}", verdict.name())?;
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
        let met = |limit| Verdict::new(target(Metric::CpuUsPerRequest, limit), &samples()).met;
        assert_eq!(met(Limit::RatioMax(1.6)), Some(true));
        assert_eq!(met(Limit::RatioMax(1.4)), Some(false));
        assert_eq!(met(Limit::DifferenceMax(4.0)), Some(false));
        assert_eq!(met(Limit::Max(24.0)), Some(true));
        assert_eq!(met(Limit::Ratio), None);
        // What wasn't measured isn't met, and isn't left out.
        let unknown = Verdict::new(target(Metric::IdleMib, Limit::Max(1.0)), &samples());
        assert_eq!((unknown.met, unknown.words().1.as_str()), (Some(false), "not measured"));
        assert!(unknown.is_asked(&[Party::Us]) && !unknown.is_asked(&[Party::Nginx]));
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
        let verdict = Verdict::new(target, &samples);
        assert_eq!((verdict.found, verdict.met), (Some(1.02), Some(true)));
        assert!(!verdict.is_asked(&[Party::UsManyKeys]));
    }
}
