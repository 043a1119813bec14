//! The documents by which clients find out where to go (RFC 8414, RFC 9728).

use serde_json::{Value, json};

/// What a program may do with its key: what a key of the scope `inference` may.
pub(crate) const SCOPE: &str = "inference";

/// The resource that keys are given for.
pub(crate) fn resource(base: &str) -> String {
    format!("{base}/mcp")
}

/// Where the document about the resource is.
pub fn resource_metadata_url(base: &str) -> String {
    format!("{base}/.well-known/oauth-protected-resource/mcp")
}

pub(crate) fn of_resource(base: &str) -> Value {
    json!({
        "resource": resource(base),
        "authorization_servers": [base],
        "scopes_supported": [SCOPE],
        "bearer_methods_supported": ["header"],
        "resource_name": "Tidegate",
    })
}

pub(crate) fn of_server(base: &str) -> Value {
    json!({
        "issuer": base,
        "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/oauth/token"),
        "registration_endpoint": format!("{base}/oauth/register"),
        "revocation_endpoint": format!("{base}/oauth/revoke"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "scopes_supported": [SCOPE],
    })
}
