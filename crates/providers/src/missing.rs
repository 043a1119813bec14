//! Advice for refusals by AWS, Google Cloud and Azure: which permission, region or model an account lacks,
//! and who grants it. It is in our own words, because the clouds' messages presuppose expert knowledge, and
//! those about signatures may contain secrets.

/// Fragments of an error, and how to fix it. The first row whose fragments all occur applies.
type Row = (&'static [&'static str], &'static str);

const AMAZON: &[Row] = &[
    (
        &["InvalidSignatureException", "valid region"],
        "Give the region of the address that is asked: what was signed names another one.",
    ),
    (
        &["InvalidSignatureException", "does not match"],
        "Rotate the credential with the secret access key that belongs to its access key id.",
    ),
    (
        &["UnrecognizedClientException"],
        "Rotate the credential with an active access key: this one is unknown, deleted or switched off, or of another partition.",
    ),
    (
        &["ExpiredTokenException"],
        "Rotate the credential with keys that live: the session token is over. Keys of a role are renewed automatically.",
    ),
    (
        &["AccessDeniedException", "Bearer Token", "expired"],
        "Make another Bedrock API key and rotate the credential with it: this one has expired.",
    ),
    (
        &["AccessDeniedException", "API Key"],
        "Rotate the credential with an active Bedrock API key that was made in the credential's region.",
    ),
    (
        &["AccessDeniedException", "access to the model"],
        "Ask for access to the model in the Bedrock console, under Model access, in the region that is asked.",
    ),
    (&["AccessDenied", "sts:AssumeRoleWithWebIdentity"], BY_TOKEN),
    (
        &["AccessDenied", "sts:AssumeRole"],
        "Allow sts:AssumeRole on the role to the principal of the access keys, and name it, and config.external_id where it is asked for, \
         in the role's trust policy.",
    ),
    (
        &["InvalidClientTokenId"],
        "Rotate the credential with an active access key: this one is unknown, deleted or switched off.",
    ),
    (
        &["InvalidIdentityToken", "audience"],
        "Have the token issued for sts.amazonaws.com, or for the audience that the provider in IAM names.",
    ),
    (
        &["InvalidIdentityToken"],
        "Register the token's issuer as an OpenID Connect provider in IAM, and rotate the credential with a token of it.",
    ),
    (
        &["Token expired"],
        "Rotate the credential with a token that lives, or name the file that holds the renewed token.",
    ),
];
const BY_TOKEN: &str = "Let the role's trust policy allow sts:AssumeRoleWithWebIdentity for the token's issuer, audience and subject.";

const GOOGLE: &[Row] = &[
    (
        &["CONSUMER_INVALID"],
        "Correct config.project: there is no such project, or the account may not see it.",
    ),
    (
        &["USER_PROJECT_DENIED"],
        "Grant the account roles/serviceusage.serviceUsageConsumer on the quota project, or leave config.quota_project out.",
    ),
    (&["SERVICE_DISABLED"], "Enable the Vertex AI API, aiplatform.googleapis.com, in the project."),
    (
        &["aiplatform.endpoints.predict"],
        "Grant the account aiplatform.endpoints.predict on the project, such as by roles/aiplatform.user, and check that config.location is an existing location.",
    ),
    (
        &["Publisher Model"],
        "Enable the model in Model Garden, or name a location that serves it in config.location.",
    ),
    (
        &["short-lived token"],
        "Correct the clock of the machine that Tidegate runs on: the key's word was signed too early or too late.",
    ),
    (
        &["Invalid JWT Signature"],
        "Rotate the credential with a new key file: this key was deleted, or its account switched off.",
    ),
    (&["account not found"], "Rotate the credential with the key file of an existing service account."),
    (
        &["iam.serviceAccounts.getAccessToken"],
        "Grant the pool's principal roles/iam.workloadIdentityUser on the service account that the configuration names.",
    ),
    (
        &["invalid_target"],
        "Correct the audience of the configuration: it doesn't name a provider of an existing pool.",
    ),
    (&["audience in ID Token"], "Have the token issued for the audience that the pool's provider allows."),
    (
        &["ID Token is stale"],
        "Rotate the credential with a token that lives, or name the file that holds the renewed token.",
    ),
    (
        &["attribute condition"],
        "Let the pool's provider accept the token's subject, or use a token with a subject that it accepts.",
    ),
];

const AZURE: &[Row] = &[
    (
        &["PermissionDenied", "data action"],
        "Assign the role Cognitive Services OpenAI User on the resource to the application or the machine.",
    ),
    (
        &["invalid subscription key"],
        "Rotate the credential with one of the resource's own keys, and check that base_url is that resource's address.",
    ),
    (&["Virtual Network"], "Let the resource's firewall accept requests from this machine's network."),
    (&["private endpoint"], "Let the resource's firewall accept requests from this machine's network."),
    (&["DeploymentNotFound"], "Deploy the model under this name, or correct config.deployments."),
    (&["Resource not found"], "Correct base_url or config.api_version: the resource has no such path."),
    (
        &["AADSTS7000222"],
        "Make another client secret in Entra and rotate the credential with its value: this one has expired.",
    ),
    (
        &["AADSTS7000215"],
        "Rotate the credential with the value of a client secret of the application, not with its id.",
    ),
    (
        &["AADSTS700024"],
        "Rotate the credential with a token that lives, and correct the clock of the machine if it is wrong.",
    ),
    (
        &["AADSTS70021"],
        "Give the application a federated credential for the token's issuer, subject and audience.",
    ),
    (
        &["AADSTS700016"],
        "Correct config.client_id, or config.tenant_id: the directory knows no such application.",
    ),
    (&["AADSTS90002"], "Correct config.tenant_id: there is no such directory."),
];

fn find(rows: &[Row], code: Option<&str>, words: &str) -> Option<&'static str> {
    let occurs = |piece: &&str| words.contains(*piece) || code.is_some_and(|code| code.contains(*piece));
    rows.iter().find(|(pieces, _)| pieces.iter().all(occurs)).map(|(_, fix)| *fix)
}

/// What is missing at AWS: the action and the resource, if the error names them.
pub(crate) fn amazon(code: Option<&str>, words: &str) -> Option<String> {
    let is_ours =
        |action: &str| ["bedrock:", "bedrock-mantle:"].iter().any(|service| action.starts_with(service));
    if let Some((action, resource)) = denied_action(words).filter(|(action, _)| is_ours(action)) {
        return Some(format!(
            "Allow {action} on {resource} in a policy of the user or role, and in those that bound it."
        ));
    }
    find(AMAZON, code, words).map(str::to_owned)
}

/// The action and resource of `is not authorized to perform: ACTION on resource: RESOURCE`.
fn denied_action(words: &str) -> Option<(&str, &str)> {
    let (_, rest) = words.split_once("is not authorized to perform: ")?;
    let (action, rest) = rest.split_once(" on resource: ")?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":/-_.*".contains(&byte);
    let end = rest.bytes().position(|byte| !is_plain(byte)).unwrap_or(rest.len());
    let resource = rest.get(..end).filter(|resource| !resource.is_empty())?;
    Some((action, resource)).filter(|(action, _)| action.bytes().all(is_plain))
}

pub(crate) fn google(code: Option<&str>, words: &str) -> Option<String> {
    find(GOOGLE, code, words).map(str::to_owned)
}

pub(crate) fn azure(code: Option<&str>, words: &str) -> Option<String> {
    find(AZURE, code, words).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_that_is_missing_is_named_with_its_resource() {
        let words = r#"{"Message":"User: arn:aws:iam::1:user/a is not authorized to perform: bedrock:InvokeModel on resource: arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0 because no identity-based policy allows the bedrock:InvokeModel action"}"#;
        assert_eq!(
            amazon(Some("AccessDeniedException"), words).as_deref(),
            Some(
                "Allow bedrock:InvokeModel on arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0 in a policy of \
                 the user or role, and in those that bound it."
            )
        );
        let role = "User: a is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::1:role/x";
        assert!(amazon(Some("AccessDenied"), role).unwrap().starts_with("Allow sts:AssumeRole on the role"));
    }

    #[test]
    fn every_row_is_reached_by_its_own_words() {
        for rows in [AMAZON, GOOGLE, AZURE] {
            for (pieces, fix) in rows {
                assert_eq!(find(rows, None, &pieces.join(" ")), Some(*fix), "{pieces:?}");
                assert!(fix.ends_with('.'), "{fix}");
            }
        }
        assert_eq!(find(AMAZON, Some("ThrottlingException"), "Too many requests"), None);
    }
}
