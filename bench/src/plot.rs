//! The report as SVG bar charts, one per metric.

use std::fmt::Write;

use crate::parties::Party;
use crate::report::{Report, Row};

const WIDTH: usize = 760;
const LABEL_RIGHT: usize = 96;
const BAR_MAX: f64 = 480.0;
const BAR_HEIGHT: usize = 16;
const BAR_STEP: usize = 20;
const TITLE_HEIGHT: usize = 22;
const GAP: usize = 14;
const TOP: usize = 58;

/// A self-contained image: no scripts, no custom fonts, a white background in dark viewers too.
pub fn draw(report: &Report) -> String {
    let rows: Vec<&Row> = report.rows.iter().filter(|row| !row.medians.is_empty()).collect();
    let mut body = String::new();
    let mut top = TOP;
    for row in rows {
        draw_row(&mut body, row, top);
        top += TITLE_HEIGHT + BAR_STEP * bars(row).count() + GAP;
    }
    let caption = escape(&report.caption());
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{top}\" viewBox=\"0 0 {WIDTH} {top}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">
<title>Tidegate beside nginx and a thin pass-through</title>
<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>
<text x=\"16\" y=\"24\" font-size=\"16\" font-weight=\"bold\">Tidegate beside nginx and a thin pass-through</text>
<text x=\"16\" y=\"42\" fill=\"#666\">{caption}</text>
{body}</svg>
"
    )
}

/// The parties with the same load: a request a hundred times larger would make all other bars vanish.
fn bars(row: &Row) -> impl Iterator<Item = (&Party, &f64)> {
    row.medians.iter().filter(|(party, _)| party.prompt_bytes() == 0)
}

fn draw_row(body: &mut String, row: &Row, top: usize) {
    let largest = bars(row).map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let title = escape(row.metric.label());
    // Writing to a string can't fail.
    let _ = writeln!(body, "<text x=\"16\" y=\"{}\" font-weight=\"bold\">{title}</text>", top + 14);
    for (at, (party, value)) in bars(row).enumerate() {
        let y = top + TITLE_HEIGHT + BAR_STEP * at;
        let text_y = y + 12;
        let length = (value / largest * BAR_MAX).max(1.0);
        let end = LABEL_RIGHT as f64 + 8.0 + length + 6.0;
        let ratio = row.to_nginx.get(party).filter(|_| *party != Party::Nginx);
        let ratio = ratio.map_or(String::new(), |ratio| format!(" · {ratio:.2}× nginx"));
        let (name, colour) = (party.name(), colour(*party));
        let bar = LABEL_RIGHT + 8;
        let _ = writeln!(
            body,
            "<text x=\"{LABEL_RIGHT}\" y=\"{text_y}\" text-anchor=\"end\">{name}</text><rect x=\"{bar}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{colour}\"/><text x=\"{end:.1}\" y=\"{text_y}\">{value:.1}{ratio}</text>"
        );
    }
}

fn colour(party: Party) -> &'static str {
    match party {
        Party::Us => "#0b7285",
        Party::Nginx => "#868e96",
        Party::ThinHyper => "#c9b037",
        _ => "#66b2bf",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
