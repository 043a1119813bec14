//! The terms of a contract with a provider, as options of the commands for credentials and accounts.

use serde_json::{Map, Value, json};

use super::budget::micros;
use crate::body::Body;
use crate::output::{self, Failure};

/// What a provider agreed to; what is not said stays as it is.
#[derive(Debug, Default, clap::Args)]
pub struct Agreement {
    /// A limit set by the provider, such as `requests_per_minute=500`; NAME= alone removes it.
    #[arg(long = "limit", value_name = "NAME=NUMBER", help_heading = "Agreement")]
    limits: Vec<String>,
    /// How long the provider retains requests: zero, or a number of days; an empty value removes it.
    #[arg(long, value_name = "zero|DAYS", help_heading = "Agreement")]
    retention: Option<String>,
    /// Committed spend, such as 50000/month (or quarter, or year); an empty value removes it.
    #[arg(long, value_name = "USD/PERIOD", help_heading = "Agreement")]
    commitment: Option<String>,
    /// Compliance regimes that it may be used under, such as hipaa,soc2; an empty value removes all.
    #[arg(long, value_name = "TAG,…", help_heading = "Agreement")]
    compliance: Option<String>,
    /// Your own price in USD per million tokens, such as openai/gpt-4o=2.25/9, or 2.25/9/1.1 with a price for cached input;
    /// MODEL= alone removes it.
    #[arg(long = "price", value_name = "MODEL=IN/OUT", help_heading = "Agreement")]
    prices: Vec<String>,
}

impl Agreement {
    /// Adds the stated terms to a request body.
    pub fn write(self, body: Body) -> Result<Body, Failure> {
        let compliance = self.compliance.map(|tags| {
            let tags = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty());
            json!(tags.collect::<Vec<_>>())
        });
        Ok(body
            .with_some("limits", each(&self.limits, limit)?)
            .with_some("retention", self.retention.as_deref().map(retention).transpose()?)
            .with_some("commitment", self.commitment.as_deref().map(commitment).transpose()?)
            .with_some("compliance", compliance)
            .with_some("pricing", each(&self.prices, price)?))
    }
}

/// NAME=VALUE pairs as an object; `None` if there are none, null for a value that is taken back.
fn each(pairs: &[String], read: fn(&str) -> Result<Value, Failure>) -> Result<Option<Value>, Failure> {
    let mut fields = Map::new();
    for pair in pairs {
        let Some((name, text)) = pair.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            let message = format!("\"{pair}\" says nothing: write NAME=VALUE, or NAME= to take it back.");
            return Err(Failure::new(output::USAGE, message));
        };
        let value = if text.is_empty() { Value::Null } else { read(text)? };
        let name = match name {
            "rpm" => "requests_per_minute",
            "tpm" => "tokens_per_minute",
            name => name,
        };
        fields.insert(name.to_owned(), value);
    }
    Ok((!fields.is_empty()).then_some(Value::Object(fields)))
}

fn limit(text: &str) -> Result<Value, Failure> {
    let wrong =
        |_| Failure::new(output::USAGE, format!("\"{text}\" isn't a limit; write a number, such as 500."));
    text.parse::<u64>().map(Value::from).map_err(wrong)
}

pub(crate) fn retention(text: &str) -> Result<Value, Failure> {
    if matches!(text, "" | "zero") {
        return Ok(if text.is_empty() { Value::Null } else { text.into() });
    }
    let message = format!("\"{text}\" isn't a retention; write zero, or days such as 30.");
    let days: u32 = text.parse().map_err(|_| Failure::new(output::USAGE, message))?;
    Ok(json!({"days": days}))
}

fn commitment(text: &str) -> Result<Value, Failure> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let Some((amount, period)) = text.split_once('/') else {
        let message = format!("\"{text}\" isn't a commitment; write USD and a period, such as 50000/month.");
        return Err(Failure::new(output::USAGE, message));
    };
    Ok(json!({"amount_micros": micros(amount)?, "period": period}))
}

fn price(text: &str) -> Result<Value, Failure> {
    let prices = text.split('/').map(micros).collect::<Result<Vec<_>, _>>()?;
    match prices[..] {
        [input, output] => Ok(json!({"input": input, "output": output, "cached_input": null})),
        [input, output, cached] => Ok(json!({"input": input, "output": output, "cached_input": cached})),
        _ => {
            let message =
                format!("\"{text}\" isn't a price; write USD for input and output, such as 2.25/9.");
            Err(Failure::new(output::USAGE, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    fn body(agreement: Agreement) -> Option<Value> {
        agreement.write(Body::new()).ok().map(Body::build)
    }

    #[test]
    fn facts_are_said_and_taken_back() {
        assert_eq!(body(Agreement::default()), Some(json!({})));
        let agreement = Agreement {
            limits: list(&["rpm=500", "tokens_per_minute="]),
            retention: Some("zero".into()),
            commitment: Some("50000.5/quarter".into()),
            compliance: Some("soc2, hipaa".into()),
            prices: list(&["openai/gpt-4o=2.25/9", "m=1/2/0.5", "old="]),
        };
        let expected = json!({
            "limits": {"requests_per_minute": 500, "tokens_per_minute": null},
            "retention": "zero",
            "commitment": {"amount_micros": 50_000_500_000_u64, "period": "quarter"},
            "compliance": ["soc2", "hipaa"],
            "pricing": {
                "openai/gpt-4o": {"input": 2_250_000, "output": 9_000_000, "cached_input": null},
                "m": {"input": 1_000_000, "output": 2_000_000, "cached_input": 500_000},
                "old": null,
            },
        });
        assert_eq!(body(agreement), Some(expected));
        let back = Agreement {
            retention: Some(String::new()),
            commitment: Some(String::new()),
            compliance: Some(String::new()),
            ..Agreement::default()
        };
        assert_eq!(body(back), Some(json!({"retention": null, "commitment": null, "compliance": []})));
        let days = Agreement { retention: Some("30".into()), ..Agreement::default() };
        assert_eq!(body(days), Some(json!({"retention": {"days": 30}})));
    }

    #[test]
    fn what_says_nothing_is_refused_before_it_is_sent() {
        for limit in ["500", "=5", "requests_per_minute=many", "requests_per_minute=-1"] {
            assert_eq!(body(Agreement { limits: list(&[limit]), ..Agreement::default() }), None, "{limit}");
        }
        for price in ["m=1", "m=1/2/3/4", "m=a/b", "1/2"] {
            assert_eq!(body(Agreement { prices: list(&[price]), ..Agreement::default() }), None, "{price}");
        }
        for retention in ["none", "30d", "-1"] {
            let agreement = Agreement { retention: Some(retention.into()), ..Agreement::default() };
            assert_eq!(body(agreement), None, "{retention}");
        }
        for commitment in ["5", "x/month"] {
            let agreement = Agreement { commitment: Some(commitment.into()), ..Agreement::default() };
            assert_eq!(body(agreement), None, "{commitment}");
        }
    }
}
