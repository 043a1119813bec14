//! What a node's machine costs, as options, and the report on what own hardware costs.

use serde_json::{Map, Value, json};

use super::budget;
use crate::api::{self, Api};
use crate::output::{self, Failure, Form};
use crate::shared::Shared;

/// What its machine costs its owner; charged to nobody.
#[derive(Debug, Default, clap::Args)]
pub struct CostOptions {
    /// The price per hour of a rented node, in USD.
    #[arg(long, value_name = "USD", conflicts_with_all = ["price", "months", "watts", "watts_idle", "kwh_price"])]
    cost_per_hour: Option<String>,
    /// The purchase price in USD, spread over --months.
    #[arg(long, value_name = "USD")]
    price: Option<String>,
    /// The months over which --price is spread.
    #[arg(long)]
    months: Option<u32>,
    /// The watts that it draws while it serves; without it, the energy that the node measures counts.
    #[arg(long)]
    watts: Option<u32>,
    /// The watts that it draws while idle; by default the same as --watts.
    #[arg(long)]
    watts_idle: Option<u32>,
    /// The price of a kilowatt-hour, in USD.
    #[arg(long, value_name = "USD")]
    kwh_price: Option<String>,
    /// Removes the node's costs.
    #[arg(long, conflicts_with_all = ["cost_per_hour", "price", "months", "watts", "watts_idle", "kwh_price"])]
    no_cost: bool,
}

/// Which costs to show.
#[derive(Debug, clap::Args)]
pub struct ReportOptions {
    /// One node, by name or id; by default all.
    node: Option<String>,
    /// `24h`, `7d`, `30d` or `month`.
    #[arg(long, default_value = "30d")]
    window: String,
    /// A catalogue model whose prices are shown next to models that the catalogue doesn't know.
    #[arg(long, value_name = "MODEL")]
    compare: Option<String>,
}

const OWNED: [&str; 5] = ["price_nano_usd", "months", "watts_idle", "watts_busy", "nano_usd_per_kwh"];
const RENTED: &str = "nano_usd_per_hour";

impl CostOptions {
    /// The change of the stated cost; `None` leaves it as it is. The fields of the other kind are removed.
    pub fn patch(&self) -> Result<Option<Value>, Failure> {
        if self.no_cost {
            return Ok(Some(Value::Null));
        }
        if let Some(price) = &self.cost_per_hour {
            let mut fields = blank(&OWNED);
            fields.insert("kind".to_owned(), json!("cloud"));
            fields.insert(RENTED.to_owned(), nanos(price)?);
            return Ok(Some(Value::Object(fields)));
        }
        let price = self.price.as_deref().map(nanos).transpose()?;
        let kwh_price = self.kwh_price.as_deref().map(nanos).transpose()?;
        let given = [
            price,
            self.months.map(Value::from),
            self.watts_idle.map(Value::from),
            self.watts.map(Value::from),
            kwh_price,
        ];
        if given.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut fields = blank(&[RENTED]);
        fields.insert("kind".to_owned(), json!("owned"));
        let stated = OWNED.into_iter().zip(given);
        fields.extend(stated.filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Ok(Some(Value::Object(fields)))
    }
}

fn blank(names: &[&str]) -> Map<String, Value> {
    names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect()
}

pub(super) fn nanos(usd: &str) -> Result<Value, Failure> {
    Ok(budget::micros(usd)?.saturating_mul(1_000).into())
}

/// Shows the report: nodes, and below them what they served beside the cheapest provider.
pub fn show(shared: &Shared, api: &Api, path: &str, options: &ReportOptions) -> Result<(), Failure> {
    let compare = options.compare.as_deref().map(|model| format!("&compare={}", api::escape(model)));
    let query = format!("window={}{}", api::escape(&options.window), compare.unwrap_or_default());
    let costs = api.get(&format!("{path}?{query}"))?;
    if shared.form() != Form::Table {
        output::object(shared, &costs);
        return Ok(());
    }
    let rows = |of: &Value, name: &str| of.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let columns = [
        "name",
        "hours_up",
        "utilisation",
        "requests",
        "input_tokens",
        "output_tokens",
        "hardware_cost",
        "per_million_tokens",
        "wh_per_million_tokens",
    ];
    let nodes = rows(&costs, "nodes");
    output::rows(shared, &nodes.iter().map(priced).collect::<Vec<_>>(), &columns, "No nodes.");
    let mut models = Vec::new();
    for model in rows(&costs, "models") {
        let providers = rows(&model, "providers");
        if providers.is_empty() {
            models.push(priced(&model));
        }
        models.extend(providers.iter().map(|provider| beside(&model, provider)));
    }
    if !models.is_empty() {
        println!();
        let columns = [
            "model",
            "adapter",
            "input_tokens",
            "output_tokens",
            "hardware_cost",
            "per_million_tokens",
            "provider",
            "would_cost",
            "provider_per_million",
            "break_even_tokens_per_day",
        ];
        output::rows(shared, &models, &columns, "");
    }
    if nodes.iter().all(|node| node.get("cost").is_none_or(Value::is_null)) && !nodes.is_empty() {
        eprintln!(
            "No node's cost is stated: `tidegate nodes set NODE --cost-per-hour 1.20`, or --price, --months, --watts and --kwh-price."
        );
    }
    Ok(())
}

/// A row with its money in USD.
fn priced(row: &Value) -> Value {
    let mut fields = row.as_object().cloned().unwrap_or_default();
    for (name, field) in
        [("hardware_cost", "hardware_cost_micros"), ("per_million_tokens", "micros_per_million_tokens")]
    {
        fields.insert(name.to_owned(), usd(row, field));
    }
    Value::Object(fields)
}

fn beside(model: &Value, provider: &Value) -> Value {
    let mut fields = priced(model).as_object().cloned().unwrap_or_default();
    let field = |name: &str| provider.get(name).cloned().unwrap_or_default();
    fields.insert("provider".to_owned(), field("provider"));
    fields.insert("would_cost".to_owned(), usd(provider, "would_cost_micros"));
    fields.insert("provider_per_million".to_owned(), usd(provider, "micros_per_million_tokens"));
    fields.insert("break_even_tokens_per_day".to_owned(), field("break_even_tokens_per_day"));
    Value::Object(fields)
}

fn usd(row: &Value, field: &str) -> Value {
    row.get(field).and_then(Value::as_i64).map_or(Value::Null, |micros| output::dollars(micros).into())
}

impl ReportOptions {
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_of_one_kind_removes_the_fields_of_the_other() {
        let patch = |options: CostOptions| options.patch().unwrap();
        assert_eq!(patch(CostOptions::default()), None);
        assert_eq!(patch(CostOptions { no_cost: true, ..CostOptions::default() }), Some(Value::Null));
        let rented = CostOptions { cost_per_hour: Some("1.20".into()), ..CostOptions::default() };
        let expected = json!({
            "kind": "cloud", "nano_usd_per_hour": 1_200_000_000_u64, "price_nano_usd": null, "months": null,
            "watts_idle": null, "watts_busy": null, "nano_usd_per_kwh": null,
        });
        assert_eq!(patch(rented), Some(expected));
        let owned = CostOptions {
            price: Some("2400".into()),
            months: Some(36),
            watts: Some(350),
            kwh_price: Some("0.30".into()),
            ..CostOptions::default()
        };
        let expected = json!({
            "kind": "owned", "price_nano_usd": 2_400_000_000_000_u64, "months": 36, "watts_busy": 350,
            "nano_usd_per_kwh": 300_000_000, "nano_usd_per_hour": null,
        });
        assert_eq!(patch(owned), Some(expected));
    }
}
