//! The terms that the owner of a credential or an account states of its contract with the provider, as `/v2`
//! reads and shows them: limits, retention, commitment, compliance, and negotiated prices.

use std::collections::{BTreeMap, BTreeSet};

use api::failure::invalid;
use domain::limits::MODEL_NAME_BYTES_MAX;
use domain::{
    AgreedLimits, Agreement, Commitment, CommitmentPeriod, Fault, Price, Rates, Retention, UnitRates,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits::{
    AGREED_LIMIT_MAX, AGREED_MODELS_MAX, AGREED_PRICE_MICROS_MAX, COMMITMENT_MICROS_MAX,
    COMPLIANCE_TAG_BYTES_MAX, COMPLIANCE_TAGS_MAX, RETENTION_DAYS_MAX,
};

/// Absent means not stated.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AgreedLimits")]
pub struct LimitsForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requests_per_minute: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens_per_minute: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requests_per_day: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    concurrent_requests: Option<u64>,
    /// Bought in advance, in the provider's own units of throughput.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reserved_units: Option<u64>,
    /// The tokens a minute that one reserved unit is worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens_per_minute_per_unit: Option<u64>,
}

/// How long the provider retains requests: `"zero"` if it agreed to retain nothing, otherwise the number of days.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "AgreedRetention")]
pub enum RetentionForm {
    Zero(ZeroRetention),
    Days { days: u32 },
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ZeroRetention {
    Zero,
}

/// A minimum payment to the provider per period, whatever is used.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AgreedCommitment")]
pub struct CommitmentForm {
    amount_micros: u64,
    #[schemars(extend("enum" = ["month", "quarter", "year"]))]
    period: String,
}

/// Prices in micro-USD per million tokens, or per million of the unit that the name says.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Rates")]
pub struct RatesForm {
    input: u64,
    output: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_input: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_long: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_input: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_output: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_input: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_output: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_image: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_audio_minute: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_thousand_searches: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_million_characters: Option<u64>,
    /// Per unit that the provider itself bills by.
    #[serde(skip_serializing_if = "Option::is_none")]
    per_billed_unit: Option<u64>,
    /// Per second of generated video.
    #[serde(skip_serializing_if = "Option::is_none")]
    per_video_second: Option<u64>,
}

/// By model name: `publisher/model`, or the seller's own.
pub type PricingForm = BTreeMap<String, RatesForm>;

/// The fields as sent.
pub struct Sent<'a> {
    pub limits: Option<LimitsForm>,
    pub retention: &'a Value,
    pub commitment: Option<&'a CommitmentForm>,
    pub compliance: &'a [String],
}

/// Validates the terms.
///
/// # Errors
/// 400 naming the field.
pub fn read(sent: &Sent<'_>) -> Result<Agreement, Box<Fault>> {
    Ok(Agreement {
        limits: limits(sent.limits.unwrap_or_default())?,
        retention: retention(sent.retention)?,
        commitment: sent.commitment.map(commitment).transpose()?,
        compliance: compliance(sent.compliance)?,
    })
}

fn limits(form: LimitsForm) -> Result<AgreedLimits, Box<Fault>> {
    let LimitsForm {
        requests_per_minute,
        tokens_per_minute,
        requests_per_day,
        concurrent_requests,
        reserved_units,
        tokens_per_minute_per_unit,
    } = form;
    let limits = AgreedLimits {
        requests_per_minute,
        tokens_per_minute,
        requests_per_day,
        concurrent_requests,
        reserved_units,
        tokens_per_minute_per_unit,
    };
    for (name, value) in limits.named() {
        if let Some(value) = value.filter(|value| *value == 0 || *value > AGREED_LIMIT_MAX) {
            let message = format!("limits.{name} can't be {value}.");
            let fix = format!("Give 1 to {AGREED_LIMIT_MAX}, or leave it out if you don't know it.");
            return Err(invalid(format!("limits.{name}"), message, fix));
        }
    }
    if limits.tokens_per_minute_per_unit.is_some() && limits.reserved_units.is_none() {
        let message =
            "limits.tokens_per_minute_per_unit says what a reserved unit is worth, and no units are stated.";
        let fix = "Give limits.reserved_units as well.";
        return Err(invalid("limits.tokens_per_minute_per_unit", message, fix));
    }
    Ok(limits)
}

/// # Errors
/// 400 naming the field.
pub fn retention(sent: &Value) -> Result<Option<Retention>, Box<Fault>> {
    let days = |fields: &serde_json::Map<String, Value>| {
        let days = fields.get("days").filter(|_| fields.len() == 1)?.as_u64()?;
        u32::try_from(days).ok().filter(|days| (1..=RETENTION_DAYS_MAX).contains(days))
    };
    let (field, known) = match sent {
        Value::Null => return Ok(None),
        Value::String(word) => ("retention", (word == "zero").then_some(Retention::Zero)),
        Value::Object(fields) if fields.contains_key("days") => {
            ("retention.days", days(fields).map(Retention::Days))
        }
        _ => ("retention", None),
    };
    let wrong = || {
        let fix = format!(
            "Give \"zero\" where the provider agreed to keep nothing, {{\"days\": 1 to {RETENTION_DAYS_MAX}}} alone, or leave it out if you don't know it."
        );
        invalid(field, format!("retention can't be {sent}."), fix)
    };
    known.map(Some).ok_or_else(wrong)
}

fn commitment(form: &CommitmentForm) -> Result<Commitment, Box<Fault>> {
    let CommitmentForm { amount_micros, period } = form;
    if *amount_micros == 0 || *amount_micros > COMMITMENT_MICROS_MAX {
        let message = format!("commitment.amount_micros can't be {amount_micros}.");
        let fix = format!("Give 1 to {COMMITMENT_MICROS_MAX}, or no commitment.");
        return Err(invalid("commitment.amount_micros", message, fix));
    }
    let period = CommitmentPeriod::named(period).ok_or_else(|| {
        let known = CommitmentPeriod::ALL.map(CommitmentPeriod::as_str).join(", ");
        invalid(
            "commitment.period",
            format!("\"{period}\" isn't a period of a commitment."),
            format!("Use one of {known}."),
        )
    })?;
    Ok(Commitment { amount_micros: *amount_micros, period })
}

/// # Errors
/// 400 naming the tag.
pub fn compliance(tags: &[String]) -> Result<Vec<String>, Box<Fault>> {
    if tags.len() > COMPLIANCE_TAGS_MAX {
        let message = format!("compliance has {} tags.", tags.len());
        return Err(invalid("compliance", message, format!("Give at most {COMPLIANCE_TAGS_MAX}.")));
    }
    for (at, tag) in tags.iter().enumerate() {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let begins = tag.bytes().next().is_some_and(is_letter);
        if !begins
            || tag.len() > COMPLIANCE_TAG_BYTES_MAX
            || !tag.bytes().all(|b| is_letter(b) || b"-_.".contains(&b))
        {
            let message = format!(
                "\"{}\" isn't a tag.",
                tag.chars().take(COMPLIANCE_TAG_BYTES_MAX).collect::<String>()
            );
            let fix = format!(
                "Use lower-case letters, digits, -, _ and ., a letter or digit first, {COMPLIANCE_TAG_BYTES_MAX} at most: hipaa, iso27001."
            );
            return Err(invalid(format!("compliance[{at}]"), message, fix));
        }
    }
    Ok(tags.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect())
}

/// Validates negotiated prices and their model names.
///
/// # Errors
/// 400 naming the field.
pub fn read_pricing(sent: &PricingForm) -> Result<Vec<(String, Rates)>, Box<Fault>> {
    if sent.len() > AGREED_MODELS_MAX {
        let message = format!("pricing has {} models.", sent.len());
        return Err(invalid("pricing", message, format!("Give at most {AGREED_MODELS_MAX}.")));
    }
    for (model, rates) in sent {
        if model.trim().is_empty() || model.len() > MODEL_NAME_BYTES_MAX {
            let fix = format!(
                "Give publisher/model, or the seller's own name, in 1 to {MODEL_NAME_BYTES_MAX} bytes."
            );
            return Err(invalid("pricing", "A name in pricing can't be that of a model.", fix));
        }
        if let Some((name, price)) =
            rates.named_prices().into_iter().find(|(_, price)| *price > AGREED_PRICE_MICROS_MAX)
        {
            let message = format!("{price} micro-USD for a million tokens isn't a price.");
            let fix = format!("Give 0 to {AGREED_PRICE_MICROS_MAX}.");
            return Err(invalid(format!("pricing.{model}.{name}"), message, fix));
        }
    }
    Ok(sent.iter().map(|(model, rates)| (model.clone(), rates.read())).collect())
}

impl RatesForm {
    fn named_prices(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("input", Some(self.input)),
            ("output", Some(self.output)),
            ("cached_input", self.cached_input),
            ("cache_write", self.cache_write),
            ("cache_write_long", self.cache_write_long),
            ("reasoning", self.reasoning),
            ("audio_input", self.audio_input),
            ("audio_output", self.audio_output),
            ("image_input", self.image_input),
            ("image_output", self.image_output),
            ("per_image", self.per_image),
            ("per_audio_minute", self.per_audio_minute),
            ("per_thousand_searches", self.per_thousand_searches),
            ("per_million_characters", self.per_million_characters),
            ("per_billed_unit", self.per_billed_unit),
            ("per_video_second", self.per_video_second),
        ];
        all.into_iter().filter_map(|(name, price)| Some((name, price?))).collect()
    }

    fn read(&self) -> Rates {
        Rates {
            input: Price(self.input),
            output: Price(self.output),
            cached_read: self.cached_input.map(Price),
            cache_write: self.cache_write.map(Price),
            cache_write_long: self.cache_write_long.map(Price),
            reasoning: self.reasoning.map(Price),
            units: UnitRates {
                audio_in: self.audio_input.map(Price),
                audio_out: self.audio_output.map(Price),
                image_in: self.image_input.map(Price),
                image_out: self.image_output.map(Price),
                image: self.per_image.map(Price::of_one),
                audio_ms: self.per_audio_minute.map(Price::of_minute),
                search: self.per_thousand_searches.map(Price::of_thousand),
                character: self.per_million_characters.map(Price),
                billed: self.per_billed_unit.map(Price),
                video_ms: self.per_video_second.map(Price::of_second),
                ..UnitRates::default()
            },
        }
    }

    fn show(rates: &Rates) -> Self {
        let number = |price: Price| price.0;
        Self {
            input: rates.input.0,
            output: rates.output.0,
            cached_input: rates.cached_read.map(number),
            cache_write: rates.cache_write.map(number),
            cache_write_long: rates.cache_write_long.map(number),
            reasoning: rates.reasoning.map(number),
            audio_input: rates.units.audio_in.map(number),
            audio_output: rates.units.audio_out.map(number),
            image_input: rates.units.image_in.map(number),
            image_output: rates.units.image_out.map(number),
            per_image: rates.units.image.map(Price::for_one),
            per_audio_minute: rates.units.audio_ms.map(Price::for_minute),
            per_thousand_searches: rates.units.search.map(Price::for_thousand),
            per_million_characters: rates.units.character.map(number),
            per_billed_unit: rates.units.billed.map(number),
            per_video_second: rates.units.video_ms.map(Price::for_second),
        }
    }
}

pub fn show_pricing(pricing: &[(String, Rates)]) -> PricingForm {
    pricing.iter().map(|(model, rates)| (model.clone(), RatesForm::show(rates))).collect()
}

pub const fn show_limits(agreed: &Agreement) -> LimitsForm {
    let AgreedLimits {
        requests_per_minute,
        tokens_per_minute,
        requests_per_day,
        concurrent_requests,
        reserved_units,
        tokens_per_minute_per_unit,
    } = agreed.limits;
    LimitsForm {
        requests_per_minute,
        tokens_per_minute,
        requests_per_day,
        concurrent_requests,
        reserved_units,
        tokens_per_minute_per_unit,
    }
}

pub fn show_retention(agreed: Option<Retention>) -> Option<RetentionForm> {
    agreed.map(|retention| match retention {
        Retention::Zero => RetentionForm::Zero(ZeroRetention::Zero),
        Retention::Days(days) => RetentionForm::Days { days },
    })
}

pub fn show_commitment(agreed: &Agreement) -> Option<CommitmentForm> {
    agreed.commitment.map(|agreed| CommitmentForm {
        amount_micros: agreed.amount_micros,
        period: agreed.period.as_str().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused_param<T>(read: Result<T, Box<Fault>>) -> String {
        let fault = read.err().unwrap();
        assert!(!fault.message.is_empty() && fault.fix.is_some(), "{fault:?}");
        fault.param.as_deref().unwrap().to_owned()
    }

    fn tags(tags: &[&str]) -> Result<Vec<String>, Box<Fault>> {
        compliance(&tags.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn limits_are_numbers_that_a_provider_can_have() {
        let of = |value: Value| limits(serde_json::from_value(value).unwrap());
        let read = of(json!({"requests_per_minute": 1, "reserved_units": AGREED_LIMIT_MAX})).unwrap();
        assert_eq!((read.requests_per_minute, read.reserved_units), (Some(1), Some(AGREED_LIMIT_MAX)));
        assert_eq!(of(json!({})).unwrap(), AgreedLimits::default());
        assert_eq!(refused_param(of(json!({"tokens_per_minute": 0}))), "limits.tokens_per_minute");
        assert_eq!(
            refused_param(of(json!({"requests_per_day": AGREED_LIMIT_MAX + 1}))),
            "limits.requests_per_day"
        );
        let worth = of(json!({"reserved_units": 2, "tokens_per_minute_per_unit": 500})).unwrap();
        assert_eq!(worth.paced_tokens_per_minute(), Some(1_000));
        let unitless = of(json!({"tokens_per_minute_per_unit": 500}));
        assert_eq!(refused_param(unitless), "limits.tokens_per_minute_per_unit");
        assert!(serde_json::from_value::<LimitsForm>(json!({"rpm": 1})).is_err());
    }

    #[test]
    fn retention_is_zero_or_days() {
        assert_eq!(retention(&Value::Null).unwrap(), None);
        assert_eq!(retention(&json!("zero")).unwrap(), Some(Retention::Zero));
        assert_eq!(retention(&json!({"days": 30})).unwrap(), Some(Retention::Days(30)));
        for word in [json!("none"), json!(""), json!(0), json!([]), json!({}), json!({"mode": "zero"})] {
            assert_eq!(refused_param(retention(&word)), "retention", "{word}");
        }
        for days in [json!(0), json!(3_651), json!(-1), json!(1.5), json!("30"), json!(5_000_000_000_u64)] {
            assert_eq!(refused_param(retention(&json!({"days": days}))), "retention.days", "{days}");
        }
        assert_eq!(refused_param(retention(&json!({"days": 3, "more": 1}))), "retention.days");
        for agreed in [Some(Retention::Zero), Some(Retention::Days(7)), None] {
            let form = show_retention(agreed);
            assert_eq!(retention(&json!(form)).unwrap(), agreed, "what is shown can be sent");
        }
    }

    #[test]
    fn a_commitment_has_an_amount_and_a_period() {
        let of = |amount_micros, period: &str| {
            commitment(&CommitmentForm { amount_micros, period: period.into() })
        };
        assert_eq!(of(5, "quarter").unwrap().period, CommitmentPeriod::Quarter);
        assert_eq!(refused_param(of(0, "month")), "commitment.amount_micros");
        assert_eq!(refused_param(of(COMMITMENT_MICROS_MAX + 1, "month")), "commitment.amount_micros");
        assert_eq!(refused_param(of(5, "week")), "commitment.period");
    }

    #[test]
    fn tags_are_a_set_of_short_words() {
        assert_eq!(tags(&["soc2", "hipaa", "iso27001", "soc2"]).unwrap(), ["hipaa", "iso27001", "soc2"]);
        assert_eq!(tags(&["9.a-b_c"]).unwrap(), ["9.a-b_c"]);
        let long = "a".repeat(64);
        for wrong in ["", "HIPAA", "a b", "-a", "ü", "a/b", &long] {
            assert_eq!(refused_param(tags(&["gdpr", wrong])), "compliance[1]", "{wrong}");
        }
        assert!(tags(&[&long[..63]]).is_ok() && tags(&["a"; 32]).is_ok());
        assert_eq!(refused_param(tags(&["a"; 33])), "compliance");
    }

    #[test]
    fn prices_are_of_models() {
        let of = |value: Value| read_pricing(&serde_json::from_value(value).unwrap());
        let read =
            of(json!({"a/b": {"input": 0, "output": AGREED_PRICE_MICROS_MAX, "cached_input": 3}})).unwrap();
        assert_eq!(
            json!(show_pricing(&read))["a/b"],
            json!({"input": 0, "output": AGREED_PRICE_MICROS_MAX, "cached_input": 3})
        );
        assert_eq!(refused_param(of(json!({" ": {"input": 1, "output": 1}}))), "pricing");
        assert_eq!(refused_param(of(json!({"m".repeat(257): {"input": 1, "output": 1}}))), "pricing");
        let dear = json!({"m": {"input": 1, "output": 1, "reasoning": AGREED_PRICE_MICROS_MAX + 1}});
        assert_eq!(refused_param(of(dear)), "pricing.m.reasoning");
        let many: PricingForm =
            (0..1_001).map(|n| (n.to_string(), RatesForm::show(&Rates::default()))).collect();
        assert_eq!(refused_param(read_pricing(&many)), "pricing");
    }
}
