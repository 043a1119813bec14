//! Google's export: rows of the billing export to BigQuery, as JSON, for Vertex AI and for the Gemini API.
//!
//! They can be joined by the hour, model, token class and tier, and by project; never by request.

use domain::Tier;

use crate::exports::{Export, ExportError, Form, Line, Lines, Measure, Node};

/// The formats of Vertex AI.
pub static EXPORTS: [&Export; 1] = [&VERTEX];
/// Those of the Gemini API, whose rows are in the same table.
pub static GEMINI_EXPORTS: [&Export; 1] = [&GEMINI];

const SOURCE: &str = "https://cloud.google.com/billing/docs/how-to/export-data-bigquery-tables/detailed-usage (the words of SKU \
                      descriptions as price lists have them; not verified against recorded rows)";

static VERTEX: Export = Export {
    name: "google-billing",
    source: SOURCE,
    is_grouped: false,
    form: Form::Json {
        is: is_row,
        read: |row, lines| read_row(row, lines, |service| service == "Vertex AI"),
    },
};

static GEMINI: Export = Export {
    name: "google-billing",
    source: SOURCE,
    is_grouped: false,
    form: Form::Json {
        is: is_row,
        read: |row, lines| {
            read_row(row, lines, |service| matches!(service, "Gemini API" | "Generative Language API"))
        },
    },
};

fn is_row(row: &Node<'_>) -> bool {
    row.at("sku").has("description") && row.has("usage_start_time")
}

fn read_row(row: &Node<'_>, lines: &mut Lines<'_>, is_ours: fn(&str) -> bool) -> Result<(), ExportError> {
    if !row.at("service").at("description").text().is_some_and(is_ours) {
        lines.skip();
        return Ok(());
    }
    row.at("currency").check_currency()?;
    let (start, end) = (row.at("usage_start_time").moment()?, row.at("usage_end_time").moment()?);
    let description = row.at("sku").at("description");
    let sku = read_sku(description.text().unwrap_or_default());
    let mut line = Line {
        account: row.at("project").at("id").text().map(str::to_owned),
        model: Some(sku.model),
        tier: Some(sku.tier),
        ..Line::of(start, end, sku.measure)
    };
    row.at("cost").cost(0, &mut line)?;
    let is_refund = line.cost_picos.is_some_and(|cost| cost < 0);
    if !is_refund && !matches!(sku.measure, Measure::Other | Measure::CacheTokenHours) {
        line.quantity = Some(row.at("usage").at("amount").units()?);
    }
    if row.has("credits") {
        for credit in row.at("credits").items()? {
            let mut back = Line { quantity: None, ..line.clone() };
            credit.at("amount").cost(0, &mut back)?;
            lines.take(back);
        }
    }
    lines.take(line);
    Ok(())
}

struct Sku {
    model: String,
    measure: Measure,
    tier: Tier,
}

/// The words of a description that are of no model's name.
const OTHER_WORDS: [&str; 26] = [
    "text",
    "image",
    "audio",
    "video",
    "input",
    "output",
    "token",
    "tokens",
    "count",
    "generate",
    "content",
    "predictions",
    "cached",
    "caching",
    "cache",
    "storage",
    "batch",
    "thinking",
    "long",
    "short",
    "ga",
    "global",
    "prediction",
    "flex",
    "priority",
    "for",
];

/// Reads `Gemini 2.5 Pro Text Input - Predictions` and the like.
fn read_sku(description: &str) -> Sku {
    let lower = description.to_ascii_lowercase();
    let words: Vec<_> = lower.split([' ', '-']).filter(|word| !word.is_empty()).collect();
    let has = |word: &str| words.contains(&word);
    let is_cached = has("cached") || has("caching") || has("cache");
    let measure = match (has("input"), has("output")) {
        (true, false) if has("storage") => Measure::CacheTokenHours,
        (true, false) if is_cached => Measure::CachedRead,
        (true, false) if has("audio") => Measure::AudioIn,
        (true, false) if has("image") || has("video") => Measure::ImageIn,
        (true, false) => Measure::Input,
        (false, true) if has("audio") => Measure::AudioOut,
        (false, true) if has("image") => Measure::ImageOut,
        (false, true) => Measure::Output,
        _ => return Sku { model: description.to_owned(), measure: Measure::Other, tier: Tier::Standard },
    };
    let tiers = [("batch", Tier::Batch), ("flex", Tier::Flex), ("priority", Tier::Priority)];
    let tier = tiers.into_iter().find_map(|(word, tier)| has(word).then_some(tier)).unwrap_or(Tier::Standard);
    let model: Vec<_> = words.iter().copied().filter(|word| !OTHER_WORDS.contains(word)).collect();
    Sku { model: model.join("-"), measure, tier }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_says_model_class_and_tier() {
        for (text, model, measure, tier) in [
            ("Gemini 2.5 Pro Text Input - Predictions", "gemini-2.5-pro", Measure::Input, Tier::Standard),
            (
                "Gemini 2.5 Flash GA Thinking Text Output - Predictions",
                "gemini-2.5-flash",
                Measure::Output,
                Tier::Standard,
            ),
            (
                "Gemini 2.5 Flash GA Input Text Caching",
                "gemini-2.5-flash",
                Measure::CachedRead,
                Tier::Standard,
            ),
            (
                "Gemini 3 Flash Text Input Caching Storage",
                "gemini-3-flash",
                Measure::CacheTokenHours,
                Tier::Standard,
            ),
            (
                "Generate content output token count gemini 2.5 flash lite batch",
                "gemini-2.5-flash-lite",
                Measure::Output,
                Tier::Batch,
            ),
            (
                "Gemini 2.5 Flash Audio Input - Predictions",
                "gemini-2.5-flash",
                Measure::AudioIn,
                Tier::Standard,
            ),
            (
                "Vertex AI: Provisioned Throughput",
                "Vertex AI: Provisioned Throughput",
                Measure::Other,
                Tier::Standard,
            ),
        ] {
            let read = read_sku(text);
            assert_eq!((read.model.as_str(), read.measure, read.tier), (model, measure, tier), "{text}");
        }
    }
}
