//! Bedrock's exports: lines of the Cost and Usage Report, and logs of model invocations.
//!
//! The report can be joined by the hour or day, model, token class and tier, and by account; the logs by request.

use domain::Tier;

use crate::exports::{Export, ExportError, Fields, Form, Line, Lines, Measure, Node};

/// The formats.
pub static EXPORTS: [&Export; 3] = [&REPORT, &OLD_REPORT, &INVOCATIONS];
/// Those of the OpenAI-compatible endpoint, whose lines are in the same report.
pub static MANTLE_EXPORTS: [&Export; 2] = [&MANTLE_REPORT, &OLD_MANTLE_REPORT];

const SOURCE: &str = "https://docs.aws.amazon.com/bedrock/latest/userguide/cost-mgmt-understanding-cur-data.html (the usage types of \
                      cache writes for an hour and of tiers as price lists have them; not verified against a recorded report)";
const COLUMNS: &[&str] = &["line_item_usage_start_date", "line_item_usage_type", "line_item_usage_amount"];
const OLD_COLUMNS: &[&str] = &["lineItem/UsageStartDate", "lineItem/UsageType", "lineItem/UsageAmount"];

static REPORT: Export = Export {
    name: "aws-cur2",
    source: SOURCE,
    is_grouped: false,
    form: Form::Table { columns: COLUMNS, read: |row, lines| read_row(row, lines, &NEW, false) },
};

static OLD_REPORT: Export = Export {
    name: "aws-cur",
    source: SOURCE,
    is_grouped: false,
    form: Form::Table { columns: OLD_COLUMNS, read: |row, lines| read_row(row, lines, &OLD, false) },
};

static MANTLE_REPORT: Export = Export {
    name: "aws-cur2",
    source: SOURCE,
    is_grouped: false,
    form: Form::Table { columns: COLUMNS, read: |row, lines| read_row(row, lines, &NEW, true) },
};

static OLD_MANTLE_REPORT: Export = Export {
    name: "aws-cur",
    source: SOURCE,
    is_grouped: false,
    form: Form::Table { columns: OLD_COLUMNS, read: |row, lines| read_row(row, lines, &OLD, true) },
};

static INVOCATIONS: Export = Export {
    name: "bedrock-invocations",
    source: "https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html (that inputTokenCount is without \
             cached tokens is not documented; not verified against a recorded log)",
    is_grouped: true,
    form: Form::Json {
        is: |log| log.at("schemaType").text() == Some("ModelInvocationLog"),
        read: read_invocation,
    },
};

/// The names of a report's columns.
struct Columns {
    start: &'static str,
    end: &'static str,
    usage_type: &'static str,
    amount: &'static str,
    unit: &'static str,
    cost: &'static str,
    kind: &'static str,
    product: &'static str,
    account: &'static str,
    currency: &'static str,
}

static NEW: Columns = Columns {
    start: "line_item_usage_start_date",
    end: "line_item_usage_end_date",
    usage_type: "line_item_usage_type",
    amount: "line_item_usage_amount",
    unit: "pricing_unit",
    cost: "line_item_unblended_cost",
    kind: "line_item_line_item_type",
    product: "line_item_product_code",
    account: "line_item_usage_account_id",
    currency: "line_item_currency_code",
};

static OLD: Columns = Columns {
    start: "lineItem/UsageStartDate",
    end: "lineItem/UsageEndDate",
    usage_type: "lineItem/UsageType",
    amount: "lineItem/UsageAmount",
    unit: "pricing/unit",
    cost: "lineItem/UnblendedCost",
    kind: "lineItem/LineItemType",
    product: "lineItem/ProductCode",
    account: "lineItem/UsageAccountId",
    currency: "lineItem/CurrencyCode",
};

fn read_row(
    row: &Fields<'_>,
    lines: &mut Lines<'_>,
    columns: &Columns,
    is_mantle: bool,
) -> Result<(), ExportError> {
    let usage_type = row.text(columns.usage_type).unwrap_or_default();
    let is_ours = row.text(columns.product).is_some_and(|code| code.contains("Bedrock"));
    let is_usage = |kind: &str| matches!(kind, "Usage" | "DiscountedUsage" | "Credit" | "Refund");
    if !is_ours
        || !row.text(columns.kind).is_none_or(is_usage)
        || usage_type.contains("-mantle-") != is_mantle
    {
        lines.skip();
        return Ok(());
    }
    row.check_currency(columns.currency)?;
    let (start, end) = (row.moment(columns.start)?, row.moment(columns.end)?);
    let kind = read_usage_type(usage_type);
    let mut line = Line {
        account: row.text(columns.account).map(str::to_owned),
        model: Some(kind.model.to_owned()),
        tier: Some(kind.tier),
        ..Line::of(start, end, kind.measure)
    };
    row.cost(columns.cost, 0, &mut line)?;
    if line.cost_picos.is_none_or(|cost| cost >= 0) && kind.measure != Measure::Other {
        let thousands = match row.text(columns.unit) {
            None => 3,
            Some(unit) if unit.starts_with("1K") => 3,
            Some(unit) if unit.starts_with("1M") || unit.starts_with("Million") => 6,
            Some(unit) if unit.eq_ignore_ascii_case("tokens") || unit.eq_ignore_ascii_case("units") => 0,
            Some(unit) => return Err(row.wrong(columns.unit, format!("\"{unit}\" is not a unit of tokens."))),
        };
        line.quantity = Some(row.units(columns.amount, thousands)?);
    }
    lines.take(line);
    Ok(())
}

struct UsageType<'t> {
    model: &'t str,
    measure: Measure,
    tier: Tier,
}

/// The end of a usage type, before its tier and region; of what cache words contain, those come first.
const ENDS: [(&str, Measure); 10] = [
    ("-cache-read-input-token-count", Measure::CachedRead),
    ("-cache-write-input-token-count-1-hour", Measure::CacheWriteLong),
    ("-cache-write-input-token-count", Measure::CacheWrite),
    ("-cache-read-tokens", Measure::CachedRead),
    ("-cache-write-tokens-1h", Measure::CacheWriteLong),
    ("-cache-write-tokens", Measure::CacheWrite),
    ("-input-tokens", Measure::Input),
    ("-output-tokens", Measure::Output),
    ("-input-token-count", Measure::Input),
    ("-output-token-count", Measure::Output),
];

/// Reads `USE1-Claude4.6Sonnet-cache-read-input-token-count` and the like.
fn read_usage_type(text: &str) -> UsageType<'_> {
    let found = ENDS.iter().find_map(|(end, measure)| text.find(end).map(|at| (at, end, *measure)));
    let Some((at, end, measure)) = found else {
        return UsageType { model: text, measure: Measure::Other, tier: Tier::Standard };
    };
    let before = text.get(..at).unwrap_or_default();
    let after = text.get(at + end.len()..).unwrap_or_default();
    let before = before.strip_suffix("-mantle").unwrap_or(before);
    let is_region =
        |part: &str| part.len() >= 3 && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let model = match before.split_once('-') {
        Some((region, rest)) if is_region(region) => rest,
        _ => before,
    };
    let mut words = after.split('-').filter_map(|word| match word {
        "batch" => Some(Tier::Batch),
        "flex" => Some(Tier::Flex),
        "priority" => Some(Tier::Priority),
        _ => None,
    });
    UsageType { model, measure, tier: words.next().unwrap_or(Tier::Standard) }
}

fn read_invocation(log: &Node<'_>, lines: &mut Lines<'_>) -> Result<(), ExportError> {
    let at = log.at("timestamp").moment()?;
    let model = log.at("modelId").text().unwrap_or_default();
    let base = Line {
        account: log.at("accountId").text().map(str::to_owned),
        // Of a profile's or model's ARN, the name.
        model: model.rsplit('/').next().map(str::to_owned),
        request: log.at("requestId").text().map(str::to_owned),
        ..Line::of(at, at, Measure::Input)
    };
    let (input, output) = (log.at("input"), log.at("output"));
    let counts = [
        (Measure::Input, input.at("inputTokenCount").units()?),
        (Measure::CachedRead, input.at("cacheReadInputTokenCount").units()?),
        (Measure::CacheWrite, input.at("cacheWriteInputTokenCount").units()?),
        (Measure::Output, output.at("outputTokenCount").units()?),
    ];
    lines.take_all(&base, counts);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_type_says_model_class_and_tier() {
        for (text, model, measure, tier) in [
            ("USE1-Claude4.6Sonnet-input-tokens", "Claude4.6Sonnet", Measure::Input, Tier::Standard),
            (
                "USE1-Nova2.0Lite-cache-read-input-token-count",
                "Nova2.0Lite",
                Measure::CachedRead,
                Tier::Standard,
            ),
            ("Nova2.0Lite-cache-write-input-token-count", "Nova2.0Lite", Measure::CacheWrite, Tier::Standard),
            (
                "USE1-Claude4Sonnet-cache-write-input-token-count-1-hour",
                "Claude4Sonnet",
                Measure::CacheWriteLong,
                Tier::Standard,
            ),
            (
                "USE1-anthropic.claude-sonnet-4-5-mantle-cache-write-tokens-1h-standard",
                "anthropic.claude-sonnet-4-5",
                Measure::CacheWriteLong,
                Tier::Standard,
            ),
            ("EUC1-NovaPro-output-tokens-batch", "NovaPro", Measure::Output, Tier::Batch),
            ("EUC1-NovaPro-output-tokens-flex-cross-region-global", "NovaPro", Measure::Output, Tier::Flex),
            ("USE1-Guardrails-units", "USE1-Guardrails-units", Measure::Other, Tier::Standard),
        ] {
            let read = read_usage_type(text);
            assert_eq!((read.model, read.measure, read.tier), (model, measure, tier), "{text}");
        }
    }
}
