//! What the routes of `/v2` accept and list at most, beside the limits in `domain::limits`.

/// A limit of a key, project, workspace or end user, per minute or at the same time. More limits nothing.
pub(crate) const RATE_LIMIT_MAX: u64 = 10_000_000_000;
/// Thresholds of one budget at which an alert is sent: one for every ten per cent.
pub(crate) const BUDGET_ALERTS_MAX: usize = 10;

/// A rate limit agreed with a provider, per minute; no provider's is higher.
pub(crate) const AGREED_LIMIT_MAX: u64 = 1_000_000_000_000;
/// Models with an agreed price. They are in every snapshot; no provider sells more.
pub(crate) const AGREED_MODELS_MAX: usize = 1_000;
/// An agreed price per million tokens: one USD per token; anything above is a typing error.
pub(crate) const AGREED_PRICE_MICROS_MAX: u64 = 1_000_000_000_000;
/// A commitment: a billion USD; anything above is a typing error.
pub(crate) const COMMITMENT_MICROS_MAX: u64 = 1_000_000_000_000_000;
/// How long a provider may retain content, in days: ten years; anything above is a typing error.
pub(crate) const RETENTION_DAYS_MAX: u32 = 3_650;
/// Compliance tags of one account. Planning compares each.
pub(crate) const COMPLIANCE_TAGS_MAX: usize = 32;
/// Length of a compliance tag; 63 bytes is what labels have elsewhere, such as those of DNS.
pub(crate) const COMPLIANCE_TAG_BYTES_MAX: usize = 63;
/// The markup on an account's price, in hundredths of a per cent: ten times the price; anything above is a
/// typing error.
pub(crate) const MARKUP_BPS_MAX: u32 = 100_000;
/// An account's weight. Only the ratio of weights counts, and one of 10,000 to 1 is like choosing one
/// account.
pub(crate) const ACCOUNT_WEIGHT_MAX: u32 = 10_000;

/// Deployments that one credential or account names. They are in every snapshot.
pub(crate) const DEPLOYMENTS_MAX: usize = 1_000;
/// Length of a deployment's name, which becomes part of URLs.
pub(crate) const DEPLOYMENT_NAME_BYTES_MAX: usize = 64;
/// Length of a cloud's id, project or role; ARNs are the longest.
pub(crate) const CLOUD_ID_BYTES_MAX: usize = 2_048;
/// The longest window in which a subscription's use is capped: a quarter of a year.
pub(crate) const SUBSCRIPTION_HOURS_MAX: u32 = 24 * 92;
/// A cap on the use of a subscription; more limits nothing.
pub(crate) const SUBSCRIPTION_USE_MAX: u64 = 1_000_000_000_000;
/// Size of a secret. A cloud's key file, the largest kind, has a few KiB.
pub(crate) const SECRET_BYTES_MAX: usize = 16 * 1024;

/// Revisions of a provider's capability manifest in one list, the latest.
pub(crate) const CAPABILITY_REVISIONS_MAX: u32 = 200;

/// Names in one list of a policy. Planning compares each.
pub(crate) const POLICY_NAMES_MAX: usize = 100;
/// Length of such a name; model names may be as long (`MODEL_NAME_BYTES_MAX`).
pub(crate) const POLICY_NAME_BYTES_MAX: usize = 256;
/// Lifetime of an API key, in days: ten years; a key that should live longer has no expiry.
pub(crate) const KEY_EXPIRES_IN_DAYS_MAX: u32 = 3_650;
/// The window of an alert rule: a day.
pub(crate) const ALERT_WINDOW_MINUTES_MAX: u32 = 1_440;
pub(crate) const ALERT_WINDOW_MINUTES_DEFAULT: u32 = 15;
/// The threshold of a share of requests, in percent. No share rises above 100.
pub(crate) const ERROR_PERCENT_MAX: u64 = 99;
/// Requests without which percents and percentiles of an alert rule say nothing.
pub(crate) const ALERT_REQUESTS_MIN_DEFAULT: u64 = 10;
/// Length of a webhook's description, which is one line of a table.
pub(crate) const WEBHOOK_DESCRIPTION_CHARS_MAX: usize = 200;

/// Length of a text that a node reports of itself: a version, a runtime, a device.
pub(crate) const NODE_TEXT_BYTES_MAX: usize = 128;
/// The time of one answer in a node's report: seven weeks.
pub(crate) const RECORD_TOOK_MS_MAX: u64 = u32::MAX as u64;

/// How often a change is checked again that the rules overtook, before its caller has to send it again. Of changes at the same time
/// one is written each time, so that no fewer can be made at once.
pub(crate) const CHECKED_AGAIN_MAX: u32 = 32;
/// Names that are tried for a credential that is given none.
pub(crate) const DEFAULT_NAMES_MAX: u32 = 100;
