//! Sparklines: plots of block characters for the terminal.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::limits::{PLOT_CELLS_MAX, PLOT_LINES_MAX};

/// The sum for one interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// The name of the series.
    pub name: String,
    /// The start of the interval.
    pub start: String,
    pub value: i64,
}

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One line for each series, the largest first; intervals without a point are empty.
#[must_use]
pub fn lines(points: Vec<Point>, span: &[String; 2], interval: &str) -> Vec<String> {
    let step = if interval == "hour" { 3_600 } else { 86_400 };
    let [Some(start), Some(end)] = [seconds(&span[0]), seconds(&span[1])] else { return Vec::new() };
    let start = start.div_euclid(step);
    // The window extends a little past now; its last interval is the current one.
    let count = usize::try_from((end - 1).div_euclid(step) - start + 1).unwrap_or(0).clamp(1, 10_000);
    let each = count.div_ceil(PLOT_CELLS_MAX);
    let mut series: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for point in points {
        let offset = seconds(&point.start)
            .map(|at| at.div_euclid(step) - start)
            .and_then(|offset| usize::try_from(offset).ok());
        let values = series.entry(point.name).or_insert_with(|| vec![0; count.div_ceil(each)]);
        if let Some(value) = offset.and_then(|offset| values.get_mut(offset / each)) {
            *value = value.saturating_add(point.value);
        }
    }
    let mut series: Vec<_> =
        series.into_iter().map(|(name, values)| (values.iter().sum::<i64>(), name, values)).collect();
    series.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    let width =
        series.iter().take(PLOT_LINES_MAX).map(|(_, name, _)| name.chars().count()).max().unwrap_or(0);
    let line = |(sum, name, values): &(i64, String, Vec<i64>)| {
        format!("{name:<width$}  {}  {sum}", blocks(values)).trim_start().to_owned()
    };
    series.iter().take(PLOT_LINES_MAX).map(line).collect()
}

fn blocks(values: &[i64]) -> String {
    let most = values.iter().copied().max().unwrap_or(0);
    let block = |value: i64| {
        if value <= 0 || most <= 0 {
            return ' ';
        }
        // The highest block is the maximum, the lowest any value above zero.
        let steps = i64::try_from(BLOCKS.len()).unwrap_or(1);
        let index = (i128::from(value) * i128::from(steps) - 1) / i128::from(most);
        BLOCKS.get(usize::try_from(index).unwrap_or(0)).copied().unwrap_or('█')
    };
    values.iter().copied().map(block).collect()
}

/// One line for values that rise and fall, scaled from the lowest to the highest; if there are many, each
/// cell is the mean of several.
#[must_use]
pub fn curve(values: &[f64]) -> String {
    let each = values.len().div_ceil(PLOT_CELLS_MAX).max(1);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let cells: Vec<f64> = values.chunks(each).map(mean).collect();
    let lowest = cells.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = cells.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let span = highest - lowest;
    let steps = BLOCKS.iter().zip(1_u8..);
    let block = |value: f64| {
        let level = if span > 0.0 { (value - lowest) / span * BLOCKS.len() as f64 } else { 1.0 };
        let found = steps.clone().find(|(_, step)| level <= f64::from(*step));
        found.map_or('█', |(block, _)| *block)
    };
    cells.into_iter().map(block).collect()
}

fn seconds(moment: &str) -> Option<i64> {
    OffsetDateTime::parse(moment, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(name: &str, hour: u32, value: i64) -> Point {
        Point { name: name.into(), start: format!("2026-11-20T{hour:02}:00:00.000Z"), value }
    }

    #[test]
    fn a_line_shows_each_span_against_the_most() {
        let span = ["2026-11-20T08:30:00.000Z".to_owned(), "2026-11-20T13:00:00.000Z".to_owned()];
        let points = vec![point("a", 8, 1), point("a", 10, 800), point("a", 12, 400), point("bb", 12, 5_000)];
        assert_eq!(lines(points, &span, "hour"), ["bb      █  5000", "a   ▁ █ ▄  1201"]);
        assert_eq!(lines(vec![], &span, "hour"), Vec::<String>::new());
        assert_eq!(lines(vec![point("", 9, 3)], &span, "hour"), ["█     3"]);
    }

    #[test]
    fn a_curve_goes_from_its_lowest_to_its_highest() {
        assert_eq!(curve(&[4.0, 3.0, 2.0, 1.0, 0.0]), "█▆▄▂▁");
        assert_eq!(curve(&[2.0, 2.0]), "▁▁");
        assert_eq!(curve(&[]), "");
        let many: Vec<f64> = (0..1_000_u16).map(f64::from).collect();
        let drawn = curve(&many);
        assert!(
            drawn.chars().count() <= PLOT_CELLS_MAX && drawn.starts_with('▁') && drawn.ends_with('█'),
            "{drawn}"
        );
    }

    #[test]
    fn a_long_window_is_drawn_in_longer_spans() {
        let span = ["2026-01-01T00:00:00Z".to_owned(), "2026-12-31T00:00:00Z".to_owned()];
        let point = |day: &str| Point { name: "x".into(), start: format!("2026-{day}T00:00:00Z"), value: 1 };
        let drawn = lines(vec![point("01-01"), point("01-02"), point("12-30")], &span, "day");
        assert!(
            drawn[0].chars().filter(|c| *c == '█' || *c == '▄').count() == 2 && drawn[0].ends_with("  3"),
            "{drawn:?}"
        );
    }
}
