//! OpenRouter's export: the activity page's table of generations, which can be joined by request.

use crate::exports::{Export, ExportError, Fields, Form, Line, Lines, Measure};

/// The formats.
pub static EXPORTS: [&Export; 1] = [&ACTIVITY];

static ACTIVITY: Export = Export {
    name: "openrouter-activity",
    source: "https://openrouter.ai/docs/guides/guides/activity-export (the columns as users show them; whether the counts are those \
             of the model's own tokenizer is not documented; not verified against a recorded file)",
    is_grouped: true,
    form: Form::Table { columns: &["generation_id", "created_at", "cost_total", "model_permaslug"], read },
};

fn read(row: &Fields<'_>, lines: &mut Lines<'_>) -> Result<(), ExportError> {
    let at = row.moment("created_at")?;
    let base = Line {
        account: row.text("api_key_name").map(str::to_owned),
        model: row.text("model_permaslug").map(str::to_owned),
        request: row.text("generation_id").map(str::to_owned),
        ..Line::of(at, at, Measure::Whole)
    };
    let cached = row.units("tokens_cached", 0)?;
    let counts = [
        (Measure::Input, row.units("tokens_prompt", 0)?.saturating_sub(cached)),
        (Measure::CachedRead, cached),
        (Measure::Output, row.units("tokens_completion", 0)?),
    ];
    lines.take_all(&base, counts);
    let mut line = base;
    row.cost("cost_total", 0, &mut line)?;
    lines.take(line);
    Ok(())
}
