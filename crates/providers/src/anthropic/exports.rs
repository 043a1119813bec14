//! Anthropic's exports: the pages of `/v1/organizations/usage_report/messages` and `cost_report`, and the console's table.
//!
//! They can be joined by the minute, hour or day, model, token class and service tier, and by workspace or key; never by request.

use domain::Tier;

use crate::exports::{Export, ExportError, Fields, Form, Line, Lines, Measure, Node};

/// The formats.
pub static EXPORTS: [&Export; 3] = [&USAGE, &COSTS, &USAGE_TABLE];

static USAGE: Export = Export {
    name: "anthropic-usage",
    source: "https://platform.claude.com/docs/en/api/admin-api/usage-cost/get-messages-usage-report \
             (not verified against a recorded page)",
    is_grouped: false,
    form: Form::Json { is: |page| is_page(page, "uncached_input_tokens"), read: read_usage },
};

static COSTS: Export = Export {
    name: "anthropic-costs",
    source: "https://platform.claude.com/docs/en/api/admin-api/usage-cost/get-cost-report (not verified against a recorded page)",
    is_grouped: false,
    form: Form::Json { is: |page| is_page(page, "amount"), read: read_costs },
};

static USAGE_TABLE: Export = Export {
    name: "anthropic-usage-csv",
    source: "the console's export of usage, as users show it; not documented, not verified against a recorded file",
    is_grouped: true,
    form: Form::Table {
        columns: &["usage_date_utc", "model_version", "usage_input_tokens_no_cache", "usage_output_tokens"],
        read: read_row,
    },
};

const DAY_S: u64 = 86_400;

/// Whether a page's first result has this field.
fn is_page(page: &Node<'_>, field: &str) -> bool {
    let buckets = page.at("data").items().unwrap_or_default();
    let mut results = buckets.iter().filter_map(|bucket| bucket.at("results").items().ok()).flatten();
    buckets.first().is_some_and(|bucket| bucket.has("starting_at"))
        && results.next().is_none_or(|result| result.has(field))
}

type Read = fn(&Node<'_>, Line, &mut Lines<'_>) -> Result<(), ExportError>;

fn read_page(page: &Node<'_>, lines: &mut Lines<'_>, read: Read) -> Result<(), ExportError> {
    for bucket in page.at("data").items()? {
        let span = (bucket.at("starting_at").moment()?, bucket.at("ending_at").moment()?);
        lines.cover(span);
        for result in bucket.at("results").items()? {
            lines.once(&format!("{}{}", span.0, result.text_of_all()), result.place())?;
            let owned = |name: &str| result.at(name).text().map(str::to_owned);
            let base = Line {
                account: owned("workspace_id").or_else(|| owned("api_key_id")),
                model: owned("model"),
                tier: result.at("service_tier").text().and_then(Tier::from_word),
                ..Line::of(span.0, span.1, Measure::Whole)
            };
            read(&result, base, lines)?;
        }
    }
    Ok(())
}

fn read_usage(page: &Node<'_>, lines: &mut Lines<'_>) -> Result<(), ExportError> {
    read_page(page, lines, |result, base, lines| {
        let (written, tools) = (result.at("cache_creation"), result.at("server_tool_use"));
        let counts = [
            (Measure::Input, result.at("uncached_input_tokens").units()?),
            (Measure::CacheWrite, written.at("ephemeral_5m_input_tokens").units()?),
            (Measure::CacheWriteLong, written.at("ephemeral_1h_input_tokens").units()?),
            (Measure::CachedRead, result.at("cache_read_input_tokens").units()?),
            (Measure::Output, result.at("output_tokens").units()?),
            (Measure::WebSearches, tools.at("web_search_requests").units()?),
        ];
        lines.take_all(&base, counts);
        Ok(())
    })
}

/// Amounts are decimal texts of cents.
const CENTS: i32 = 2;

fn read_costs(page: &Node<'_>, lines: &mut Lines<'_>) -> Result<(), ExportError> {
    read_page(page, lines, |result, base, lines| {
        result.at("currency").check_currency()?;
        let measure = match (result.at("cost_type").text(), result.at("token_type").text()) {
            (None, None) => Measure::Whole,
            (_, Some("uncached_input_tokens")) => Measure::Input,
            (_, Some("cache_creation.ephemeral_5m_input_tokens")) => Measure::CacheWrite,
            (_, Some("cache_creation.ephemeral_1h_input_tokens")) => Measure::CacheWriteLong,
            (_, Some("cache_read_input_tokens")) => Measure::CachedRead,
            (_, Some("output_tokens")) => Measure::Output,
            (Some("web_search"), _) => Measure::WebSearches,
            _ => Measure::Other,
        };
        let of_other = || result.at("description").text().map(str::to_owned);
        let model = base.model.clone().or_else(of_other);
        let mut line = Line { measure, model, ..base };
        result.at("amount").cost(CENTS, &mut line)?;
        lines.take(line);
        Ok(())
    })
}

fn read_row(row: &Fields<'_>, lines: &mut Lines<'_>) -> Result<(), ExportError> {
    let day = row.moment("usage_date_utc")?;
    let base = Line {
        account: row.any(&["workspace", "api_key"]).map(str::to_owned),
        model: row.text("model_version").map(str::to_owned),
        tier: row.text("usage_type").and_then(Tier::from_word),
        ..Line::of(day, day + DAY_S, Measure::Input)
    };
    let counts = [
        (Measure::Input, "usage_input_tokens_no_cache"),
        (Measure::CacheWrite, "usage_input_tokens_cache_write_5m"),
        (Measure::CacheWriteLong, "usage_input_tokens_cache_write_1h"),
        (Measure::CachedRead, "usage_input_tokens_cache_read"),
        (Measure::Output, "usage_output_tokens"),
        (Measure::WebSearches, "web_search_count"),
    ];
    for (measure, column) in counts {
        lines.take(Line { measure, quantity: Some(row.units(column, 0)?), ..base.clone() });
    }
    Ok(())
}
