//! OpenAI's exports: the pages of `/v1/organization/usage/…` and `/v1/organization/costs`, and the dashboard's tables of both.
//!
//! They can be joined by the hour or day, model, token class, batch and service tier, and by project or key; never by request.

use domain::Tier;

use crate::exports::fields::tier;
use crate::exports::{Export, ExportError, Fields, Form, Line, Lines, Measure, Node};

/// The formats.
pub static EXPORTS: [&Export; 4] = [&USAGE, &COSTS, &USAGE_TABLE, &COSTS_TABLE];

static USAGE: Export = Export {
    name: "openai-usage",
    source: "https://developers.openai.com/api/docs/api-reference/usage (usage objects; not verified against a recorded page)",
    is_grouped: false,
    form: Form::Json { is: |page| is_page(page, false), read: read_usage },
};

static COSTS: Export = Export {
    name: "openai-costs",
    source: "https://developers.openai.com/api/docs/api-reference/usage/costs (the words of line_item are not documented: \
             \"gpt-4o-2024-08-06, cached input\" as users report them; not verified against a recorded page)",
    is_grouped: false,
    form: Form::Json { is: |page| is_page(page, true), read: read_costs },
};

static USAGE_TABLE: Export = Export {
    name: "openai-usage-csv",
    source: "the usage dashboard's export, as users show it; not documented, not verified against a recorded file",
    is_grouped: true,
    form: Form::Table {
        columns: &["start_time", "end_time", "input_tokens", "output_tokens"],
        read: read_usage_row,
    },
};

static COSTS_TABLE: Export = Export {
    name: "openai-costs-csv",
    source: "the cost dashboard's export, as users show it; not documented, not verified against a recorded file",
    is_grouped: true,
    form: Form::Table {
        columns: &["start_time", "end_time", "amount_value", "line_item"],
        read: read_costs_row,
    },
};

const COSTS_OBJECT: &str = "organization.costs.result";

/// Whether a page of buckets has costs; one without any results is of usage.
fn is_page(page: &Node<'_>, has_costs: bool) -> bool {
    let buckets = page.at("data").items().unwrap_or_default();
    let results = || buckets.iter().filter_map(|bucket| bucket.at("results").items().ok()).flatten();
    let is_costs = results().next().is_some_and(|result| result.at("object").text() == Some(COSTS_OBJECT));
    page.at("object").text() == Some("page") && page.has("data") && is_costs == has_costs
}

type Read = fn(&Node<'_>, &Node<'_>, (u64, u64), &mut Lines<'_>) -> Result<(), ExportError>;

fn read_page(page: &Node<'_>, lines: &mut Lines<'_>, read: Read) -> Result<(), ExportError> {
    for bucket in page.at("data").items()? {
        let span = (bucket.at("start_time").moment()?, bucket.at("end_time").moment()?);
        lines.cover(span);
        for result in bucket.at("results").items()? {
            lines.once(&format!("{}{}", span.0, result.text_of_all()), result.place())?;
            read(&bucket, &result, span, lines)?;
        }
    }
    Ok(())
}

fn read_usage(page: &Node<'_>, lines: &mut Lines<'_>) -> Result<(), ExportError> {
    read_page(page, lines, |_, result, span, lines| {
        let owned = |name: &str| result.at(name).text().map(str::to_owned);
        let is_batch = result.at("batch").flag();
        let base = Line {
            account: owned("project_id").or_else(|| owned("api_key_id")),
            model: owned("model"),
            tier: tier(result.at("service_tier").text(), is_batch),
            ..Line::of(span.0, span.1, Measure::Input)
        };
        let units = |name: &str| result.at(name).units();
        let cached = units("input_cached_tokens")?;
        let counts = [
            (Measure::Input, units("input_tokens")?.saturating_sub(cached)),
            (Measure::CachedRead, cached),
            (Measure::Output, units("output_tokens")?),
            (Measure::AudioIn, units("input_audio_tokens")?),
            (Measure::AudioOut, units("output_audio_tokens")?),
            (Measure::Images, units("images")?),
            (Measure::Characters, units("characters")?),
            (Measure::AudioMs, units("seconds")?.saturating_mul(1_000)),
        ];
        lines.take_all(&base, counts);
        Ok(())
    })
}

fn read_costs(page: &Node<'_>, lines: &mut Lines<'_>) -> Result<(), ExportError> {
    read_page(page, lines, |_, result, span, lines| {
        let amount = result.at("amount");
        amount.at("currency").check_currency()?;
        let mut line = billed(result.at("line_item").text(), span);
        line.account = result.at("project_id").text().map(str::to_owned);
        amount.at("value").cost(0, &mut line)?;
        lines.take(line);
        Ok(())
    })
}

/// What a line item bills, such as `batch | gpt-4o-2024-08-06 audio, cached input, long context`.
fn billed(item: Option<&str>, span: (u64, u64)) -> Line {
    let line = Line::of(span.0, span.1, Measure::Whole);
    let Some(item) = item else { return line };
    let (prefix, rest) =
        item.split_once('|').map_or(("", item), |(prefix, rest)| (prefix.trim(), rest.trim()));
    let mut parts = rest.split(',').map(str::trim);
    let (name, direction) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (model, modality) = name.rsplit_once(' ').unwrap_or((name, "text"));
    let measure = match (modality, direction) {
        ("text", "input") => Measure::Input,
        ("text", "cached input") => Measure::CachedRead,
        ("text", "output") => Measure::Output,
        ("audio", "input") => Measure::AudioIn,
        ("audio", "output") => Measure::AudioOut,
        ("image", "input") => Measure::ImageIn,
        ("image", "output") => Measure::ImageOut,
        _ => return Line { model: Some(item.to_owned()), measure: Measure::Other, ..line },
    };
    let tier = if prefix.is_empty() { None } else { Tier::from_word(prefix) };
    Line { model: Some(model.to_owned()), tier, measure, ..line }
}

fn read_usage_row(row: &Fields<'_>, lines: &mut Lines<'_>) -> Result<(), ExportError> {
    let is_batch = row.text("batch").map(|word| word.eq_ignore_ascii_case("true"));
    let base = Line {
        account: row.any(&["project_id", "api_key_id"]).map(str::to_owned),
        model: row.text("model").map(str::to_owned),
        tier: tier(row.text("service_tier"), is_batch),
        ..Line::of(row.moment("start_time")?, row.moment("end_time")?, Measure::Input)
    };
    let cached = row.units("input_cached_tokens", 0)?;
    let counts = [
        (Measure::Input, row.units("input_tokens", 0)?.saturating_sub(cached)),
        (Measure::CachedRead, cached),
        (Measure::Output, row.units("output_tokens", 0)?),
        (Measure::AudioIn, row.units("input_audio_tokens", 0)?),
        (Measure::AudioOut, row.units("output_audio_tokens", 0)?),
    ];
    lines.take_all(&base, counts);
    Ok(())
}

fn read_costs_row(row: &Fields<'_>, lines: &mut Lines<'_>) -> Result<(), ExportError> {
    row.check_currency("amount_currency")?;
    let span = (row.moment("start_time")?, row.moment("end_time")?);
    let mut line = billed(row.text("line_item"), span);
    line.account = row.text("project_id").map(str::to_owned);
    row.cost("amount_value", 0, &mut line)?;
    lines.take(line);
    Ok(())
}
