//! Encoding of a contract's stated terms in the columns `limits`, `retention`, `commitment` and `compliance`
//! of credentials and accounts.

use database::error::StoreError;
use database::fields::{Fields, to_text};
use database::statement::Columns;
use domain::{AgreedLimits, Agreement, Commitment, CommitmentPeriod};
use serde_json::{Map, Value, json};

/// The encoded columns.
pub struct Texts {
    pub limits: String,
    pub retention: String,
    pub commitment: String,
    pub compliance: String,
}

/// # Errors
/// They can't be written as JSON.
pub fn texts(table: &'static str, agreement: &Agreement) -> Result<Texts, StoreError> {
    let Agreement { limits, retention, commitment, compliance } = agreement;
    let limits: Map<String, Value> = limits
        .named()
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), json!(value?))))
        .collect();
    let commitment = commitment
        .map(|agreed| json!({"amount_micros": agreed.amount_micros, "period": agreed.period.as_str()}));
    Ok(Texts {
        limits: to_text(table, &limits)?,
        retention: to_text(table, &crate::retention_to_value(*retention))?,
        commitment: to_text(table, &commitment)?,
        compliance: to_text(table, compliance)?,
    })
}

/// Earlier versions stored whatever they were sent: an unknown fact counts as not stated.
///
/// # Errors
/// A column is missing or is not JSON.
pub fn read<R: Columns>(fields: &Fields<'_, R>) -> Result<Agreement, StoreError> {
    Ok(Agreement {
        limits: limits(&fields.json("limits")?),
        retention: crate::retention_from_value(&fields.json("retention")?),
        commitment: commitment(&fields.json("commitment")?),
        compliance: fields.json("compliance")?,
    })
}

fn limits(kept: &Value) -> AgreedLimits {
    let number = |name: &str| kept.get(name).and_then(Value::as_u64);
    AgreedLimits {
        requests_per_minute: number("requests_per_minute"),
        tokens_per_minute: number("tokens_per_minute"),
        requests_per_day: number("requests_per_day"),
        concurrent_requests: number("concurrent_requests"),
        reserved_units: number("reserved_units"),
        tokens_per_minute_per_unit: number("tokens_per_minute_per_unit"),
    }
}

fn commitment(kept: &Value) -> Option<Commitment> {
    let period = CommitmentPeriod::named(kept.get("period")?.as_str()?)?;
    Some(Commitment { amount_micros: kept.get("amount_micros")?.as_u64()?, period })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_versions_kept_in_words_of_their_own_is_not_stated() {
        assert_eq!(limits(&json!({"rpm": 10})), AgreedLimits::default());
        assert_eq!(limits(&Value::Null), AgreedLimits::default());
        assert_eq!(limits(&json!({"tokens_per_minute": 7, "rpm": 1})).tokens_per_minute, Some(7));
        for odd in [json!("none"), json!({"days": -1}), json!({"days": 5_000_000_000_u64}), json!([])] {
            assert_eq!(crate::retention_from_value(&odd), None, "{odd}");
        }
        for odd in [json!({"amount_micros": 5}), json!({"amount_micros": 5, "period": "era"}), json!(4)] {
            assert_eq!(commitment(&odd), None, "{odd}");
        }
    }
}
