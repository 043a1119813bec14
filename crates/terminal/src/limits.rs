//! How much of a terminal a plot takes.

/// The width of a plot, so that it fits a terminal beside its names; more intervals than that are merged.
pub(crate) const PLOT_CELLS_MAX: usize = 60;
/// Series of a plot, the largest first, so that it fits a terminal's height.
pub(crate) const PLOT_LINES_MAX: usize = 20;
/// The height of a chart of one series.
pub(crate) const CHART_ROWS: u32 = 8;
/// The width of a bar where there are few.
pub(crate) const BAR_CHARS_MAX: usize = 6;
