//! The plot: which share of the requests has its first token within which time, by placement.

use crate::placing::Policy;
use crate::run::Figures;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 330.0;
const RIGHT: f64 = 700.0;
const COLOURS: [&str; 4] = ["#0b6e4f", "#c44900", "#7a5195", "#2f6690"];
const TIMES_MS: [u64; 9] = [20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];

fn x(ms: f64) -> f64 {
    let (from, to) = (20_f64.ln(), 10_000_f64.ln());
    LEFT + (RIGHT - LEFT) * ((ms.ln() - from) / (to - from)).clamp(0.0, 1.0)
}

fn y(share: f64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * share
}

pub fn svg(figures: &[(Policy, Figures)]) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Share of requests with a first token within a time, by placement</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    for step in 0..=5 {
        let share = f64::from(step) / 5.0;
        let at = y(share);
        out.push_str(&format!(
            "<path d=\"M{LEFT} {at:.1}H{RIGHT}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} %</text>\n",
            LEFT - 6.0,
            at + 4.0,
            share * 100.0
        ));
    }
    for ms in TIMES_MS {
        let at = x(ms as f64);
        let label = if ms < 1_000 { format!("{ms} ms") } else { format!("{} s", ms / 1_000) };
        out.push_str(&format!(
            "<path d=\"M{at:.1} {TOP}V{BOTTOM}\" stroke=\"#eee\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>\n",
            BOTTOM + 18.0
        ));
    }
    for ((policy, one), (number, colour)) in figures.iter().zip(COLOURS.iter().enumerate()) {
        let points: Vec<String> = (0..=160)
            .map(|step| (20_f64.ln() + (10_000_f64.ln() - 20_f64.ln()) * f64::from(step) / 160.0).exp())
            .map(|ms| format!("{:.1},{:.1}", x(ms), y(one.within(ms as u64))))
            .collect();
        let at = TOP + 200.0 + 20.0 * number as f64;
        out.push_str(&format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>\n\
             <path d=\"M470 {:.1}h18\" stroke=\"{colour}\" stroke-width=\"3\"/><text x=\"494\" y=\"{at:.1}\">{}</text>\n",
            points.join(" "),
            at - 4.0,
            policy.name()
        ));
    }
    out.push_str("<text x=\"378\" y=\"370\" text-anchor=\"middle\">time to the first token</text>\n</svg>\n");
    out
}
