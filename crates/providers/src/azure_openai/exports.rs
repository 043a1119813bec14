//! Azure's export: the cost and usage details of Cost Management, as a table.
//!
//! They can be joined by the day, model, token class and tier, and by resource or subscription; never by request.

use domain::Tier;

use crate::exports::{Export, ExportError, Fields, Form, Line, Lines, Measure};

/// The formats.
pub static EXPORTS: [&Export; 2] = [&DETAILS, &OLD_DETAILS];

const SOURCE: &str = "https://learn.microsoft.com/en-us/azure/cost-management-billing/automate/understand-usage-details-fields (the \
                      words of meter names as price lists have them; not verified against a recorded file)";

static DETAILS: Export = Export {
    name: "azure-costs",
    source: SOURCE,
    is_grouped: false,
    form: Form::Table { columns: &["date", "meterName", "quantity", "unitOfMeasure"], read },
};

static OLD_DETAILS: Export = Export {
    name: "azure-costs-ea",
    source: SOURCE,
    is_grouped: false,
    form: Form::Table { columns: &["Date", "MeterName", "Quantity", "UnitOfMeasure"], read },
};

const DAY_S: u64 = 86_400;

/// The name under which a file has one of these columns.
fn column(row: &Fields<'_>, names: [&'static str; 4]) -> &'static str {
    let [first, ..] = names;
    names.into_iter().find(|name| row.has_column(name)).unwrap_or(first)
}

fn read(row: &Fields<'_>, lines: &mut Lines<'_>) -> Result<(), ExportError> {
    let sort = row.any(&["MeterSubCategory", "meterSubCategory", "meterSubcategory"]).unwrap_or_default();
    let category = row.any(&["MeterCategory", "meterCategory"]).unwrap_or_default();
    if ![sort, category].iter().any(|text| text.to_ascii_lowercase().contains("openai")) {
        lines.skip();
        return Ok(());
    }
    row.check_currency(column(
        row,
        ["BillingCurrency", "billingCurrency", "BillingCurrencyCode", "billingCurrencyCode"],
    ))?;
    let day = row.moment(column(row, ["Date", "date", "UsageDate", "usageDate"]))?;
    let meter = read_meter(row.any(&["MeterName", "meterName"]).unwrap_or_default());
    let mut line = Line {
        account: row
            .any(&["ResourceId", "resourceId", "ResourceID", "SubscriptionId", "subscriptionId"])
            .map(str::to_owned),
        model: Some(meter.model),
        tier: Some(meter.tier),
        ..Line::of(day, day + DAY_S, meter.measure)
    };
    row.cost(
        column(row, ["CostInBillingCurrency", "costInBillingCurrency", "Cost", "PreTaxCost"]),
        0,
        &mut line,
    )?;
    if line.cost_picos.is_none_or(|cost| cost >= 0) && meter.measure != Measure::Other {
        let unit_column = column(row, ["UnitOfMeasure", "unitOfMeasure", "Unit", "unit"]);
        let unit = row.text(unit_column).unwrap_or_default();
        let thousands = thousands(unit)
            .ok_or_else(|| row.wrong(unit_column, format!("\"{unit}\" is not a unit of tokens.")))?;
        line.quantity = Some(
            row.units(column(row, ["Quantity", "quantity", "UsageQuantity", "usageQuantity"]), thousands)?,
        );
    }
    lines.take(line);
    Ok(())
}

/// The power of ten of `1K`, `1M`, `1000` and the like.
fn thousands(unit: &str) -> Option<i32> {
    let first = unit.split([' ', '/']).next().unwrap_or_default();
    let (digits, power) = match first.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 3),
        None => first.strip_suffix(['M', 'm']).map_or((first, 0), |digits| (digits, 6)),
    };
    let zeros = digits.strip_prefix('1')?;
    let is_power = zeros.bytes().all(|byte| byte == b'0');
    is_power.then(|| i32::try_from(zeros.len()).ok()).flatten().map(|zeros| zeros + power)
}

struct Meter {
    model: String,
    measure: Measure,
    tier: Tier,
}

/// The words of a meter's name that are of no model's name.
const OTHER_WORDS: [&str; 35] = [
    "inp", "input", "in", "outp", "output", "out", "opt", "cached", "cchd", "ccchd", "cd", "wr", "write",
    "glbl", "global", "gl", "regnl", "regional", "rg", "dz", "dzone", "data", "zone", "std", "batch", "btch",
    "pp", "priority", "shortco", "longco", "tokens", "token", "1m", "1k", "aud",
];

/// Reads `gpt-4o-0806-Inp-glbl Tokens` and the like.
fn read_meter(name: &str) -> Meter {
    let lower = name.to_ascii_lowercase();
    let words: Vec<_> = lower.split([' ', '-', '_']).filter(|word| !word.is_empty()).collect();
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    let is_cached = has(&["cached", "cchd", "ccchd", "cd"]);
    let is_input = has(&["inp", "input", "in"]);
    let is_output = has(&["outp", "output", "out", "opt"]);
    let measure = match (is_input, is_output) {
        _ if is_cached && has(&["wr", "write"]) => Measure::CacheWrite,
        (_, true) if has(&["aud"]) => Measure::AudioOut,
        (_, true) => Measure::Output,
        _ if is_cached => Measure::CachedRead,
        (true, _) if has(&["aud"]) => Measure::AudioIn,
        // Of embeddings there is only the input.
        _ if is_input || lower.contains("embedding") => Measure::Input,
        _ => return Meter { model: name.to_owned(), measure: Measure::Other, tier: Tier::Standard },
    };
    let tier = match () {
        () if has(&["batch", "btch"]) => Tier::Batch,
        () if has(&["pp", "priority"]) => Tier::Priority,
        () => Tier::Standard,
    };
    let model: Vec<_> = words.iter().copied().filter(|word| !OTHER_WORDS.contains(word)).collect();
    // The meters of GPT's newer generations leave the family out.
    let family = if words.first().is_some_and(|word| word.starts_with(|first: char| first.is_ascii_digit())) {
        "gpt-"
    } else {
        ""
    };
    Meter { model: format!("{family}{}", model.join("-")), measure, tier }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_says_model_class_and_tier() {
        for (text, model, measure, tier) in [
            ("gpt-4o-0806-Inp-glbl Tokens", "gpt-4o-0806", Measure::Input, Tier::Standard),
            ("gpt-4o-mini-0718-Batch-Outp-glbl Tokens", "gpt-4o-mini-0718", Measure::Output, Tier::Batch),
            ("gpt 4.1 cached Inp glbl Tokens", "gpt-4.1", Measure::CachedRead, Tier::Standard),
            ("5.4 pp cd inp Dz 1M Tokens", "gpt-5.4", Measure::CachedRead, Tier::Priority),
            ("5.6 sol ShortCo Cd Wr Std Gl 1M Tokens", "gpt-5.6-sol", Measure::CacheWrite, Tier::Standard),
            ("text-embedding-3-large-glbl Tokens", "text-embedding-3-large", Measure::Input, Tier::Standard),
            ("Fine-tuning hosting", "Fine-tuning hosting", Measure::Other, Tier::Standard),
        ] {
            let read = read_meter(text);
            assert_eq!((read.model.as_str(), read.measure, read.tier), (model, measure, tier), "{text}");
        }
        for (unit, expected) in [
            ("1K", Some(3)),
            ("1M", Some(6)),
            ("1 Hour", Some(0)),
            ("1000", Some(3)),
            ("10K", Some(4)),
            ("GB", None),
        ] {
            assert_eq!(thousands(unit), expected, "{unit}");
        }
    }
}
