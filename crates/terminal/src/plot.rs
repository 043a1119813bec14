//! Plots of block characters for the terminal: a chart with axes of one series, sparklines above a time axis of several.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::limits::{BAR_CHARS_MAX, CHART_ROWS, PLOT_CELLS_MAX, PLOT_LINES_MAX};

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

const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;
/// What ticks may be apart, in seconds.
const STRIDES: [i64; 9] =
    [HOUR_S, 3 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S, DAY_S, 2 * DAY_S, 7 * DAY_S, 14 * DAY_S, 28 * DAY_S];
/// A tick's label, such as "20 Nov", and the space before the next one.
const TICK_CHARS: usize = 8;

/// Where the intervals of a window stand: a cell for one or several of them, a few characters wide if there are few.
struct Cells {
    /// The start of the first cell, in seconds.
    start: i64,
    /// How long a cell is, in seconds.
    length: i64,
    count: usize,
    chars: usize,
}

/// A series' sum, its name, and a value for each cell.
type Series = (i64, String, Vec<i64>);

impl Cells {
    fn of(span: &[String; 2], interval: &str) -> Option<Self> {
        let step = if interval == "hour" { HOUR_S } else { DAY_S };
        let [start, end] = [seconds(&span[0])?, seconds(&span[1])?];
        let start = start.div_euclid(step);
        // The window extends a little past now; its last interval is the current one.
        let intervals = usize::try_from((end - 1).div_euclid(step) - start + 1).unwrap_or(0).clamp(1, 10_000);
        let each = intervals.div_ceil(PLOT_CELLS_MAX);
        let count = intervals.div_ceil(each);
        let length = step.saturating_mul(i64::try_from(each).ok()?);
        let chars = (PLOT_CELLS_MAX / count).clamp(1, BAR_CHARS_MAX);
        Some(Self { start: start * step, length, count, chars })
    }

    /// The series, the largest first.
    fn series(&self, points: Vec<Point>) -> Vec<Series> {
        let mut series: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for point in points {
            let cell = seconds(&point.start).map(|at| (at - self.start).div_euclid(self.length));
            let values = series.entry(point.name).or_insert_with(|| vec![0; self.count]);
            let value =
                cell.and_then(|cell| usize::try_from(cell).ok()).and_then(|cell| values.get_mut(cell));
            if let Some(value) = value {
                *value = value.saturating_add(point.value);
            }
        }
        let mut series: Vec<_> =
            series.into_iter().map(|(name, values)| (values.iter().sum::<i64>(), name, values)).collect();
        series.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
        series.truncate(PLOT_LINES_MAX);
        series
    }

    /// A bar of a cell; wide ones stand apart.
    fn bar(&self, block: char) -> String {
        let gap = usize::from(self.chars > 2);
        let mut bar: String = std::iter::repeat_n(block, self.chars - gap).collect();
        bar.extend(std::iter::repeat_n(' ', gap));
        bar
    }

    /// The cells that have a tick, each with its label: hours, and dates at midnight.
    fn ticks(&self) -> Vec<(usize, String)> {
        let is_apart = |stride: &&i64| {
            usize::try_from(**stride / self.length).unwrap_or(0).saturating_mul(self.chars) >= TICK_CHARS
        };
        let stride = STRIDES.iter().find(is_apart).copied().unwrap_or(28 * DAY_S);
        let starts = (0..self.count).zip((self.start..).step_by(usize::try_from(self.length).unwrap_or(1)));
        starts
            .filter_map(|(cell, start)| {
                let tick = (start + stride - 1).div_euclid(stride) * stride;
                (tick < start + self.length).then(|| (cell, label(tick)))
            })
            .collect()
    }

    /// The time axis and its labels, without what stands left of it.
    fn axis(&self) -> [String; 2] {
        let ticks = self.ticks();
        let mark = |cell| if ticks.iter().any(|(at, _)| *at == cell) { '┴' } else { '─' };
        let line = (0..self.count).map(|cell| {
            std::iter::once(mark(cell)).chain(std::iter::repeat_n('─', self.chars - 1)).collect::<String>()
        });
        let mut labels = String::new();
        for (cell, label) in &ticks {
            let place = cell * self.chars;
            if place >= labels.len() {
                labels.push_str(&" ".repeat(place - labels.len()));
                labels.push_str(label);
                labels.push(' ');
            }
        }
        [line.collect(), labels.trim_end().to_owned()]
    }
}

fn label(unix_s: i64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp(unix_s) else { return String::new() };
    if at.hour() > 0 {
        return format!("{:02}:00", at.hour());
    }
    let month = at.month().to_string();
    format!("{} {}", at.day(), month.get(..3).unwrap_or(&month))
}

/// A chart with both axes of one series; of several, a line for each, scaled to its own maximum, above the time axis.
/// `write` makes values into text.
pub fn lines(
    points: Vec<Point>,
    span: &[String; 2],
    interval: &str,
    write: impl Fn(i64) -> String,
) -> Vec<String> {
    let Some(cells) = Cells::of(span, interval) else { return Vec::new() };
    match cells.series(points).as_slice() {
        [] => Vec::new(),
        [(_, _, values)] => chart(&cells, values, write),
        many => sparklines(&cells, many, write),
    }
}

fn chart(cells: &Cells, values: &[i64], write: impl Fn(i64) -> String) -> Vec<String> {
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let (top, half) = (write(most), write(most / 2));
    let width = [&top, &half].map(|text| text.chars().count()).into_iter().max().unwrap_or(1);
    let [axis, labels] = cells.axis();
    let mut lines = Vec::new();
    for row in (0..CHART_ROWS).rev() {
        let text = match row {
            row if row == CHART_ROWS - 1 => &top,
            row if row == CHART_ROWS / 2 - 1 => &half,
            _ => "",
        };
        let edge = if text.is_empty() { '│' } else { '┤' };
        let bars: String =
            values.iter().map(|value| cells.bar(block(*value, most, CHART_ROWS, row))).collect();
        lines.push(format!("{text:>width$} {edge}{bars}").trim_end().to_owned());
    }
    lines.push(format!("{:>width$} └{axis}", write(0)));
    lines.push(format!("{:>width$}  {labels}", ""));
    lines
}

fn sparklines(cells: &Cells, series: &[Series], write: impl Fn(i64) -> String) -> Vec<String> {
    let width = series.iter().map(|(_, name, _)| name.chars().count()).max().unwrap_or(0);
    let line = |(sum, name, values): &Series| {
        let most = values.iter().copied().max().unwrap_or(0).max(1);
        let bars: String = values.iter().map(|value| cells.bar(block(*value, most, 1, 0))).collect();
        format!("{name:<width$}  {bars}  {}", write(*sum))
    };
    let below = cells.axis().map(|line| format!("{:width$}  {line}", ""));
    series.iter().map(line).chain(below).collect()
}

/// The block of a value in one of the rows, of which 0 is the lowest: the highest block is the maximum, the lowest any value
/// above zero.
fn block(value: i64, most: i64, rows: u32, row: u32) -> char {
    let steps = i128::try_from(BLOCKS.len()).unwrap_or(1);
    let all = steps * i128::from(rows);
    let level = (i128::from(value.max(0)) * all + i128::from(most) - 1) / i128::from(most.max(1));
    let filled = (level - steps * i128::from(row)).clamp(0, steps);
    let index = usize::try_from(filled).unwrap_or(0).checked_sub(1);
    index.and_then(|index| BLOCKS.get(index)).copied().unwrap_or(' ')
}

/// One line for values that rise and fall, scaled from the lowest to the highest; if there are many, each
/// cell is the mean of several.
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
    fn several_series_are_lines_above_a_time_axis() {
        let span = ["2026-11-20T08:30:00.000Z".to_owned(), "2026-11-20T13:00:00.000Z".to_owned()];
        let points = vec![point("a", 8, 1), point("a", 10, 800), point("a", 12, 400), point("bb", 12, 5_000)];
        assert_eq!(
            lines(points, &span, "hour", |value| format!("{value}")),
            [
                "bb                          █████   5000",
                "a   ▁▁▁▁▁       █████       ▄▄▄▄▄   1201",
                "    ──────┴─────────────────┴─────",
                "          09:00             12:00",
            ]
        );
        assert_eq!(lines(vec![], &span, "hour", |value| value.to_string()), Vec::<String>::new());
    }

    #[test]
    fn one_series_is_a_chart_with_both_axes() {
        let span = ["2026-11-20T20:00:00.000Z".to_owned(), "2026-11-21T03:00:00.000Z".to_owned()];
        let at = |start: &str, value| Point { name: "a".into(), start: start.into(), value };
        let points = vec![at("2026-11-20T22:00:00Z", 8_000), at("2026-11-21T00:00:00Z", 3_000)];
        assert_eq!(
            lines(points, &span, "hour", |value| format!("${}", value / 1_000)),
            [
                "$8 ┤            █████",
                "   │            █████",
                "   │            █████",
                "   │            █████",
                "$4 ┤            █████",
                "   │            █████       █████",
                "   │            █████       █████",
                "   │            █████       █████",
                "$0 └──────┴─────────────────┴─────────────────",
                "          21:00             21 Nov",
            ]
        );
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
    fn a_long_window_is_drawn_in_longer_cells() {
        let span = ["2026-01-01T00:00:00Z".to_owned(), "2026-12-31T00:00:00Z".to_owned()];
        let point = |name: &str, day: &str| Point {
            name: name.into(),
            start: format!("2026-{day}T00:00:00Z"),
            value: 1,
        };
        let points = vec![point("x", "01-01"), point("x", "01-02"), point("x", "12-30"), point("y", "03-01")];
        let drawn = lines(points, &span, "day", |value| value.to_string());
        assert!(
            drawn[0].chars().filter(|c| *c == '█' || *c == '▄').count() == 2 && drawn[0].ends_with("  3"),
            "{drawn:?}"
        );
        let [axis, labels] = [&drawn[2], &drawn[3]];
        assert_eq!(axis.chars().count(), 3 + 52, "364 days, seven in a cell");
        assert!(labels.contains("Jan") && labels.contains("Dec") && labels.chars().count() < 70, "{labels}");
    }
}
