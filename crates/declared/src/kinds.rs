//! The kinds of objects that a document may declare, one row each. Adding a kind takes a row here and nothing
//! else.

use cli::commands::subscription;

/// One kind of object.
#[derive(Debug)]
pub struct Kind {
    /// The name of its table in a document.
    pub noun: &'static str,
    /// The path of its collection in `/v2`.
    pub path: &'static str,
    /// The fields that identify an object.
    pub identity: &'static [&'static str],
    pub fields: &'static [Field],
    pub secret: SecretNeed,
    /// The field of the create response that is shown only once.
    pub one_time_field: Option<&'static str>,
    /// It belongs to the installation: only operators can see it.
    pub of_operator: bool,
    /// Field values of objects that have ended, such as revoked keys; no document contains these.
    pub ended_values: &'static [(&'static str, &'static str)],
}

/// One field, by its name in the document.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    /// Its path within the object of `/v2`.
    pub path: &'static [&'static str],
    pub form: Form,
    pub change: Change,
    /// Its default value, as JSON.
    pub usual: &'static str,
}

/// How a value is written in a document, and when two values are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Plain,
    /// A list in any order.
    Set,
    /// A URL, with or without a trailing slash.
    Address,
    /// IP addresses and CIDR blocks.
    Blocks,
    Moment,
    /// A provider, by any of its names.
    Provider,
    /// A status that the server changes on its own: the values of the list are equal to the first one.
    Status(&'static str, &'static [&'static str]),
    /// The name of an object of this kind, for which `/v2` has the id.
    Name(&'static str),
    Names(&'static str),
    /// A word, or the name of an object of the kind behind this prefix.
    Prefixed(&'static str, &'static str),
    /// The windows of a subscription.
    Windows,
    /// The scope of a route, with keys and projects by name.
    Scope,
    /// The targets of an alias.
    Targets,
    /// The conditions of a route, which are absent without any.
    Conditions,
    /// The models that were declared for a node, as opposed to those discovered on it.
    DeclaredModels,
}

/// Whether a field of an existing object can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Free,
    Fixed,
    /// Set when the object is created; `apply` leaves it to the owner afterwards.
    AtFirst,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretNeed {
    None,
    Optional,
    Needed,
}

const fn field(name: &'static str, path: &'static [&'static str], form: Form, usual: &'static str) -> Field {
    Field { name, path, form, change: Change::Free, usual }
}

const fn fixed(name: &'static str, path: &'static [&'static str], form: Form) -> Field {
    fixed_or(name, path, form, "null")
}

/// Like `fixed`, with a default.
const fn fixed_or(
    name: &'static str,
    path: &'static [&'static str],
    form: Form,
    usual: &'static str,
) -> Field {
    Field { name, path, form, change: Change::Fixed, usual }
}

const METADATA: Field = field("metadata", &["metadata"], Form::Plain, "null");
const STATED_FACTS: Field = field("stated_facts", &["stated_facts"], Form::Plain, "{}");
const BASE_URL: Field = field("base_url", &["base_url"], Form::Address, "null");
const REGION: Field = field("region", &["region"], Form::Plain, "null");
const CONFIG: Field = field("config", &["config"], Form::Plain, "null");
const LIMITS: Field = field("limits", &["limits"], Form::Plain, "{}");
const RETENTION: Field = field("retention", &["retention"], Form::Plain, "null");
const PRICING: Field = field("pricing", &["pricing"], Form::Plain, "{}");
const COMMITMENT: Field = field("commitment", &["commitment"], Form::Plain, "null");
const COMPLIANCE: Field = field("compliance", &["compliance"], Form::Set, "[]");
const SEALED_STATUS: Field = field(
    "status",
    &["status"],
    Form::Status("active", &["invalid", "expiring", "expired", "over_quota"]),
    "\"active\"",
);
const AUTH: Field = field("auth", &["auth"], Form::Plain, "\"api_key\"");

/// In dependency order: a kind comes after those that it refers to.
pub const KINDS: &[Kind] = &[
    Kind {
        noun: "project",
        path: "/v2/projects",
        identity: &["name"],
        fields: &[
            fixed("name", &["name"], Form::Plain),
            field("environment", &["environment"], Form::Plain, "null"),
            field("origins", &["origins"], Form::Set, "[]"),
            field("caching", &["caching"], Form::Plain, "{}"),
            METADATA,
        ],
        ..Kind::BARE
    },
    Kind {
        noun: "account",
        path: "/v2/accounts",
        identity: &["name"],
        fields: &[
            fixed("name", &["display_name"], Form::Plain),
            fixed("provider", &["provider"], Form::Provider),
            AUTH,
            BASE_URL,
            REGION,
            field("models", &["models"], Form::Plain, "null"),
            field("weight", &["weight"], Form::Plain, "1"),
            field("markup_bps", &["markup_bps"], Form::Plain, "0"),
            field("allow_unpriced", &["allow_unpriced"], Form::Plain, "false"),
            SEALED_STATUS,
            CONFIG,
            LIMITS,
            RETENTION,
            PRICING,
            COMMITMENT,
            COMPLIANCE,
            METADATA,
        ],
        secret: SecretNeed::Needed,
        of_operator: true,
        ..Kind::BARE
    },
    Kind {
        noun: "credential",
        path: "/v2/provider-credentials",
        identity: &["name"],
        fields: &[
            fixed("name", &["display_name"], Form::Plain),
            fixed("provider", &["provider"], Form::Provider),
            AUTH,
            BASE_URL,
            REGION,
            field("project", &["scope", "project_id"], Form::Name("project"), "null"),
            field("environment", &["scope", "environment"], Form::Plain, "null"),
            field("expires_at", &["expires_at"], Form::Moment, "null"),
            SEALED_STATUS,
            CONFIG,
            LIMITS,
            RETENTION,
            PRICING,
            COMMITMENT,
            COMPLIANCE,
            STATED_FACTS,
            METADATA,
        ],
        secret: SecretNeed::Needed,
        ended_values: &[("status", "revoked")],
        ..Kind::BARE
    },
    Kind {
        noun: "subscription",
        path: "/v2/subscription-credentials",
        identity: &["name"],
        fields: &[
            fixed("name", &["display_name"], Form::Plain),
            fixed("product", &["product"], Form::Plain),
            fixed_or("project", &["project_id"], Form::Name("project"), "null"),
            fixed_or("base_url", &["base_url"], Form::Address, "null"),
            field("plan", &["plan"], Form::Plain, "null"),
            field("cached_price_discount_pct", &["cached_price_discount_pct"], Form::Plain, "0"),
            field("windows", &["windows"], Form::Windows, "[]"),
            field(
                "status",
                &["status"],
                Form::Status("active", &["invalid", "expired", "off"]),
                "\"active\"",
            ),
            METADATA,
        ],
        secret: SecretNeed::Needed,
        ended_values: &[("status", "revoked")],
        ..Kind::BARE
    },
    Kind {
        noun: "node",
        path: "/v2/byoc/nodes",
        identity: &["name"],
        fields: &[
            fixed("name", &["name"], Form::Plain),
            BASE_URL,
            field("models", &["models"], Form::DeclaredModels, "null"),
            field("labels", &["labels"], Form::Set, "[]"),
            field("cost", &["cost"], Form::Plain, "null"),
            field("status", &["status"], Form::Status("ready", &["unreachable"]), "\"ready\""),
            STATED_FACTS,
            METADATA,
        ],
        secret: SecretNeed::Optional,
        ..Kind::BARE
    },
    Kind {
        noun: "key",
        path: "/v2/api-keys",
        identity: &["project", "name"],
        fields: &[
            fixed("project", &["project_id"], Form::Name("project")),
            fixed("name", &["name"], Form::Plain),
            fixed("environment", &["environment"], Form::Plain),
            field("scopes", &["scopes"], Form::Set, "[\"inference\"]"),
            field("ip_allowlist", &["ip_allowlist"], Form::Blocks, "[]"),
            field("origins", &["origins"], Form::Set, "[]"),
            field("priority", &["priority"], Form::Plain, "null"),
            field("expires_at", &["expires_at"], Form::Moment, "null"),
        ],
        one_time_field: Some("key"),
        ended_values: &[("status", "revoked"), ("status", "expired")],
        ..Kind::BARE
    },
    Kind {
        noun: "alias",
        path: "/v2/model-aliases",
        identity: &["project", "name"],
        fields: &[
            fixed_or("project", &["project_id"], Form::Name("project"), "null"),
            fixed("name", &["name"], Form::Plain),
            field("description", &["description"], Form::Plain, "\"\""),
            field("split", &["split"], Form::Plain, "\"weighted\""),
            field("targets", &["targets"], Form::Targets, "[]"),
            field("parameters", &["parameters"], Form::Plain, "{}"),
            field("note", &["note"], Form::Plain, "\"\""),
        ],
        ..Kind::BARE
    },
    Kind {
        noun: "route",
        path: "/v2/routes",
        identity: &["scope", "when"],
        fields: &[
            Field { name: "scope", path: &["scope"], form: Form::Scope, change: Change::Fixed, usual: "{}" },
            fixed("when", &["when"], Form::Conditions),
            field("strategy", &["strategy"], Form::Plain, "\"none\""),
            field("profiles", &["profiles"], Form::Plain, "[]"),
            field("providers", &["providers"], Form::Plain, "[]"),
            field("credentials", &["credential_ids"], Form::Names("credential"), "[]"),
            field("regions", &["regions"], Form::Plain, "[]"),
            field("node_labels", &["node_labels"], Form::Plain, "[]"),
            field("byok_fallback", &["byok_fallback"], Form::Plain, "\"never\""),
            field("fallback_on", &["fallback_on"], Form::Set, "[]"),
            field("model_fallbacks", &["model_fallbacks"], Form::Plain, "[]"),
            field("overflow", &["overflow"], Form::Prefixed("own:", "credential"), "null"),
            field("emergency", &["emergency"], Form::Plain, "null"),
            field("hosted_tools", &["hosted_tools"], Form::Plain, "null"),
            field("head_wait_ms", &["head_wait_ms"], Form::Plain, "null"),
            field("hedge_after_ms", &["hedge_after_ms"], Form::Plain, "null"),
            field("first_byte_timeout_ms", &["first_byte_timeout_ms"], Form::Plain, "null"),
            field("idle_timeout_ms", &["idle_timeout_ms"], Form::Plain, "null"),
            field("deadline_ms", &["deadline_ms"], Form::Plain, "null"),
            field("priority", &["priority"], Form::Plain, "null"),
        ],
        ..Kind::BARE
    },
    Kind {
        noun: "policy",
        path: "/v2/policies",
        identity: &["project"],
        fields: &[
            fixed_or("project", &["project_id"], Form::Name("project"), "null"),
            fixed_or("workspace", &["workspace"], Form::Plain, "false"),
            field("allowed_providers", &["allowed_providers"], Form::Plain, "[]"),
            field("allowed_models", &["allowed_models"], Form::Plain, "[]"),
            field("allowed_regions", &["allowed_regions"], Form::Plain, "[]"),
            field("region_policy", &["region_policy"], Form::Plain, "\"any\""),
            field("data_boundary", &["data_boundary"], Form::Plain, "\"project\""),
            field("profiles", &["profiles"], Form::Plain, "[]"),
            field("retention", &["retention"], Form::Plain, "null"),
            field("compliance", &["compliance"], Form::Set, "[]"),
            field("limits", &["limits"], Form::Plain, "{}"),
            field("required_metadata", &["required_metadata"], Form::Set, "[]"),
            field("allowed_tools", &["allowed_tools"], Form::Plain, "null"),
            field("allowed_hosted_tools", &["allowed_hosted_tools"], Form::Plain, "null"),
            field("allowed_file_kinds", &["allowed_file_kinds"], Form::Plain, "null"),
            field("parameters", &["parameters"], Form::Plain, "{}"),
            field("checks", &["checks"], Form::Plain, "[]"),
            field("hooks", &["hooks"], Form::Plain, "[]"),
        ],
        ..Kind::BARE
    },
    Kind {
        noun: "member",
        path: "/v2/members",
        identity: &["email"],
        fields: &[
            fixed("email", &["email"], Form::Plain),
            field("role", &["role"], Form::Plain, "null"),
            Field { change: Change::AtFirst, ..field("name", &["name"], Form::Plain, "null") },
        ],
        one_time_field: Some("invite_link"),
        ..Kind::BARE
    },
    Kind {
        noun: "budget",
        path: "/v2/budgets",
        identity: &["name"],
        fields: &[
            fixed("name", &["name"], Form::Plain),
            fixed_or("workspace", &["workspace"], Form::Plain, "false"),
            fixed_or("project", &["project_id"], Form::Name("project"), "null"),
            fixed_or("key", &["key_id"], Form::Name("key"), "null"),
            fixed_or("end_user", &["end_user"], Form::Plain, "null"),
            field("limit_micros", &["limit_micros"], Form::Plain, "null"),
            fixed_or("period", &["period"], Form::Plain, "\"month\""),
            field("on_reached", &["on_reached"], Form::Plain, "\"pause\""),
            fixed_or("counts", &["counts"], Form::Plain, "\"all\""),
            field("alerts", &["alerts"], Form::Set, "[50, 80, 100]"),
        ],
        ..Kind::BARE
    },
    Kind {
        noun: "webhook",
        path: "/v2/webhooks",
        identity: &["url"],
        fields: &[
            fixed("url", &["url"], Form::Plain),
            field("events", &["events"], Form::Set, "[]"),
            field("description", &["description"], Form::Plain, "\"\""),
            field("status", &["status"], Form::Plain, "\"active\""),
        ],
        // The gateway generates the signing secret; none is declared.
        one_time_field: Some("secret"),
        ..Kind::BARE
    },
];

impl Kind {
    /// A kind without the fields that few kinds have.
    const BARE: Self = Self {
        noun: "",
        path: "",
        identity: &[],
        fields: &[],
        secret: SecretNeed::None,
        one_time_field: None,
        of_operator: false,
        ended_values: &[],
    };

    /// Whether it has `metadata`, in which `apply` marks the objects that it manages.
    pub fn has_metadata(&self) -> bool {
        self.field(METADATA.name).is_some()
    }

    /// The field that a secret is sent in, and the secret as it is sent there.
    pub fn secret_field(&self, secret: &str) -> (&'static str, serde_json::Value) {
        if self.noun == "subscription" { subscription::token(secret) } else { ("secret", secret.into()) }
    }

    pub fn by_noun(noun: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.noun == noun)
    }

    pub fn field(&self, name: &str) -> Option<&'static Field> {
        let fields: &'static [Field] = self.fields;
        fields.iter().find(|field| field.name == name)
    }
}

impl Field {
    /// The default value.
    pub fn usual_value(&self) -> serde_json::Value {
        serde_json::from_str(self.usual).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_come_after_those_that_they_name() {
        for (index, kind) in KINDS.iter().enumerate() {
            assert!(kind.identity.iter().all(|name| kind.field(name).is_some()), "{}", kind.noun);
            for field in kind.fields {
                assert!(serde_json::from_str::<serde_json::Value>(field.usual).is_ok(), "{}", field.name);
                if let Form::Name(noun) | Form::Names(noun) = field.form {
                    assert!(
                        KINDS[..index].iter().any(|earlier| earlier.noun == noun),
                        "{} names {noun}",
                        kind.noun
                    );
                }
            }
        }
    }
}
