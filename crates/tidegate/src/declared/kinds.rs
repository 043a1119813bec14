//! The kinds of objects that a document may declare: one row each. A new one is a row here and nothing else.

/// One kind of object.
#[derive(Debug)]
pub struct Kind {
    /// Its table in a document.
    pub noun: &'static str,
    /// Its collection in `/v2`.
    pub path: &'static str,
    /// The fields that tell one from another.
    pub identity: &'static [&'static str],
    pub fields: &'static [Field],
    pub secret: SecretNeed,
    /// What an answer to its making shows only once.
    pub shown_once: Option<&'static str>,
    /// Has `metadata`, where what was applied is marked as such.
    pub has_metadata: bool,
    /// Belongs to the installation: only its operators see it.
    pub of_operator: bool,
    /// Values of a field that mean that the object is over: they are in no document.
    pub over: &'static [(&'static str, &'static str)],
}

/// One field, under its name in the document.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    /// Its place in the object of `/v2`.
    pub place: &'static [&'static str],
    pub form: Form,
    pub change: Change,
    /// JSON of what it is where nobody says anything.
    pub usual: &'static str,
}

/// How a value is written in a document, and when two are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Plain,
    /// In any order.
    Set,
    /// With or without a slash at its end.
    Address,
    /// Addresses and blocks of them.
    Blocks,
    Moment,
    /// A provider, under any of its names.
    Provider,
    /// What the server may tell as something else while nobody changed it: the second word counts as the first.
    Status(&'static str, &'static [&'static str]),
    /// The name of an object of this kind, where `/v2` has its id.
    Name(&'static str),
    Names(&'static str),
    /// What a route is for; keys and projects by their names.
    Scope,
    /// What models a node was told to serve, not those that it was found to.
    DeclaredModels,
}

/// Whether it can be changed once the object is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Free,
    Fixed,
    /// Said when it is made; its owner's own business afterwards.
    AtFirst,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretNeed {
    None,
    Optional,
    Needed,
}

const fn field(name: &'static str, place: &'static [&'static str], form: Form, usual: &'static str) -> Field {
    Field { name, place, form, change: Change::Free, usual }
}

const fn fixed(name: &'static str, place: &'static [&'static str], form: Form) -> Field {
    fixed_or(name, place, form, "null")
}

/// As `fixed`, with a value of its own where nobody says anything.
const fn fixed_or(
    name: &'static str,
    place: &'static [&'static str],
    form: Form,
    usual: &'static str,
) -> Field {
    Field { name, place, form, change: Change::Fixed, usual }
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

/// In the order in which they may name each other.
pub const KINDS: &[Kind] = &[
    Kind {
        noun: "project",
        path: "/v2/projects",
        identity: &["name"],
        fields: &[
            fixed("name", &["name"], Form::Plain),
            field("environment", &["environment"], Form::Plain, "null"),
            field("caching", &["caching"], Form::Plain, "{}"),
            METADATA,
        ],
        secret: SecretNeed::None,
        shown_once: None,
        has_metadata: true,
        of_operator: false,
        over: &[],
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
        shown_once: None,
        has_metadata: true,
        of_operator: true,
        over: &[],
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
        shown_once: None,
        has_metadata: true,
        of_operator: false,
        over: &[("status", "revoked")],
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
            field("status", &["status"], Form::Status("ready", &["unreachable"]), "\"ready\""),
            STATED_FACTS,
            METADATA,
        ],
        secret: SecretNeed::Optional,
        shown_once: None,
        has_metadata: true,
        of_operator: false,
        over: &[],
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
            field("expires_at", &["expires_at"], Form::Moment, "null"),
        ],
        secret: SecretNeed::None,
        shown_once: Some("key"),
        has_metadata: false,
        of_operator: false,
        over: &[("status", "revoked"), ("status", "expired")],
    },
    Kind {
        noun: "route",
        path: "/v2/routes",
        identity: &["scope"],
        fields: &[
            Field { name: "scope", place: &["scope"], form: Form::Scope, change: Change::Fixed, usual: "{}" },
            field("profiles", &["profiles"], Form::Plain, "[]"),
            field("providers", &["providers"], Form::Plain, "[]"),
            field("credentials", &["credential_ids"], Form::Names("credential"), "[]"),
            field("regions", &["regions"], Form::Plain, "[]"),
            field("node_labels", &["node_labels"], Form::Plain, "[]"),
            field("byok_fallback", &["byok_fallback"], Form::Plain, "\"never\""),
            field("fallback_on", &["fallback_on"], Form::Set, "[]"),
            field("overflow", &["overflow"], Form::Plain, "null"),
            field("emergency", &["emergency"], Form::Plain, "null"),
            field("head_wait_ms", &["head_wait_ms"], Form::Plain, "null"),
            field("first_byte_timeout_ms", &["first_byte_timeout_ms"], Form::Plain, "null"),
            field("idle_timeout_ms", &["idle_timeout_ms"], Form::Plain, "null"),
            field("deadline_ms", &["deadline_ms"], Form::Plain, "null"),
        ],
        secret: SecretNeed::None,
        shown_once: None,
        has_metadata: false,
        of_operator: false,
        over: &[],
    },
    Kind {
        noun: "policy",
        path: "/v2/policies",
        identity: &["project"],
        fields: &[
            fixed("project", &["project_id"], Form::Name("project")),
            field("allowed_providers", &["allowed_providers"], Form::Plain, "[]"),
            field("allowed_models", &["allowed_models"], Form::Plain, "[]"),
            field("allowed_regions", &["allowed_regions"], Form::Plain, "[]"),
            field("profiles", &["profiles"], Form::Plain, "[]"),
            field("retention", &["retention"], Form::Plain, "null"),
            field("compliance", &["compliance"], Form::Set, "[]"),
        ],
        secret: SecretNeed::None,
        shown_once: None,
        has_metadata: false,
        of_operator: false,
        over: &[],
    },
    Kind {
        noun: "member",
        path: "/v2/members",
        identity: &["email"],
        fields: &[
            fixed("email", &["email"], Form::Plain),
            field("role", &["role"], Form::Plain, "null"),
            Field {
                name: "name",
                place: &["name"],
                form: Form::Plain,
                change: Change::AtFirst,
                usual: "null",
            },
        ],
        secret: SecretNeed::None,
        shown_once: Some("invite_link"),
        has_metadata: false,
        of_operator: false,
        over: &[],
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
        secret: SecretNeed::None,
        shown_once: None,
        has_metadata: false,
        of_operator: false,
        over: &[],
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
        // The receiver's is made by the gateway: nobody brings one along.
        secret: SecretNeed::None,
        shown_once: Some("secret"),
        has_metadata: false,
        of_operator: false,
        over: &[],
    },
];

impl Kind {
    #[must_use]
    pub fn named(noun: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.noun == noun)
    }

    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        let fields: &'static [Field] = self.fields;
        fields.iter().find(|field| field.name == name)
    }
}

impl Field {
    /// The value where nobody says anything.
    #[must_use]
    pub fn usual_value(&self) -> serde_json::Value {
        serde_json::from_str(self.usual).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_come_after_those_that_they_name() {
        for (place, kind) in KINDS.iter().enumerate() {
            assert!(kind.identity.iter().all(|name| kind.field(name).is_some()), "{}", kind.noun);
            assert_eq!(kind.has_metadata, kind.field("metadata").is_some(), "{}", kind.noun);
            for field in kind.fields {
                assert!(serde_json::from_str::<serde_json::Value>(field.usual).is_ok(), "{}", field.name);
                if let Form::Name(noun) | Form::Names(noun) = field.form {
                    assert!(
                        KINDS[..place].iter().any(|earlier| earlier.noun == noun),
                        "{} names {noun}",
                        kind.noun
                    );
                }
            }
        }
    }
}
