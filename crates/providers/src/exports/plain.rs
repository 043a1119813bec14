//! Tidegate's own format: one line for each quantity or amount, for providers without a format here, and what the command line
//! sends of files that stay on their machine.

use domain::Tier;

use super::{Export, ExportError, Fields, Form, Line, Lines, Measure};

const COLUMNS: [&str; 9] =
    ["from", "until", "account", "model", "tier", "request_id", "measure", "quantity", "cost_usd"];

/// The format, which every provider's files may have.
pub static PLAIN: Export = Export {
    name: "tidegate",
    source: "docs/reconciliation.md",
    is_grouped: false,
    form: Form::Table { columns: &["from", "until", "measure"], read },
};

fn read(row: &Fields<'_>, lines: &mut Lines<'_>) -> Result<(), ExportError> {
    let word = row.text("measure").unwrap_or_default();
    let measure = Measure::from_word(word).ok_or_else(|| {
        let known: Vec<_> = Measure::ALL.iter().map(|measure| measure.as_str()).collect();
        row.wrong("measure", format!("\"{word}\" isn't a measure. Known: {}.", known.join(", ")))
    })?;
    let owned = |column: &str| row.text(column).map(str::to_owned);
    let mut line = Line {
        account: owned("account"),
        model: owned("model"),
        tier: row.text("tier").map(|word| Tier::from_word(word).unwrap_or(Tier::Standard)),
        request: owned("request_id"),
        ..Line::of(row.moment("from")?, row.moment("until")?, measure)
    };
    if line.until_unix_s < line.from_unix_s {
        return Err(row.wrong("until", "It is before the line's from."));
    }
    if row.text("quantity").is_some() {
        line.quantity = Some(row.units("quantity", 0)?);
    }
    if row.text("cost_usd").is_some() {
        row.cost("cost_usd", 0, &mut line)?;
    }
    lines.take(line);
    Ok(())
}

/// Writes lines in this format, each with its decimals.
pub fn write<'l>(lines: impl IntoIterator<Item = &'l Line>) -> String {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    // Writing to memory does not fail.
    let _ = writer.write_record(COLUMNS);
    for line in lines {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let _ = writer.write_record([
            line.from_unix_s.to_string(),
            line.until_unix_s.to_string(),
            text(&line.account),
            text(&line.model),
            line.tier.map_or_else(String::new, |tier| tier.as_str().to_owned()),
            text(&line.request),
            line.measure.as_str().to_owned(),
            line.quantity.map_or_else(String::new, |quantity| quantity.to_string()),
            line.cost_picos.map_or_else(String::new, |picos| dollars(picos, line.decimals)),
        ]);
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// With at least the decimals that it was stated with, and all that it has.
fn dollars(picos: i128, decimals: u8) -> String {
    let (sign, picos) = (if picos < 0 { "-" } else { "" }, picos.unsigned_abs());
    let part = format!("{:012}", picos % 1_000_000_000_000);
    let needed = part.trim_end_matches('0').len().max(usize::from(decimals));
    let part: String = part.chars().chain(std::iter::repeat('0')).take(needed).collect();
    format!("{sign}{}.{part}", picos / 1_000_000_000_000)
}
