//! How often secrets were opened, as entries of the audit: one for each secret and each time that they are counted, so that
//! the counts are linked into the chains as acts are.

use std::collections::{BTreeMap, HashMap};

use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::handle::Database;
use database::meta;
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::limits::PAGE_ROWS_MAX;
use domain::{AccountId, CredentialId, KeyId, NodeId, PolicyId, SubscriptionId, WebhookId, WorkspaceId};
use store::{Act, Store};
use world::World;

/// The facts that have the counts of the last entries, each under its secret's id.
const FACT: &str = "audit.openings.";

/// A secret, and how often it was opened since it was made.
struct Opened {
    row_id: CredentialId,
    workspace: Option<WorkspaceId>,
    action: &'static str,
    /// Its owner, as other entries name it.
    target: String,
    openings: u64,
    /// The count in the entry before; `None` where there is none.
    before: Option<u64>,
}

impl Opened {
    fn read(row: &Row, before: &HashMap<String, u64>) -> Result<Self, StoreError> {
        let fields = Fields::new("credential_openings", row);
        let row_id: CredentialId = fields.id("id")?;
        let kind = fields.text("kind")?;
        let node: Option<NodeId> = fields.maybe_id("node")?;
        let account: Option<AccountId> = fields.maybe_id("account")?;
        let id = row_id.as_uuid();
        let (action, target) = match (node, account) {
            _ if kind == "webhook" => ("webhook.open", WebhookId::from_uuid(*id).to_string()),
            _ if kind == "hook" => ("hook.open", PolicyId::from_uuid(*id).to_string()),
            _ if kind == "access_secret" => ("access_secret.open", KeyId::from_uuid(*id).to_string()),
            (Some(node), _) => ("node.open", node.to_string()),
            (None, Some(account)) => ("account.open", account.to_string()),
            (None, None) if fields.maybe_text("subscription")?.is_some() => {
                ("subscription.open", SubscriptionId::from_uuid(*id).to_string())
            }
            (None, None) => ("credential.open", row_id.to_string()),
        };
        Ok(Self {
            row_id,
            workspace: fields.maybe_id("workspace")?,
            action,
            target,
            openings: fields.number("openings")?,
            before: before.get(&fact(row_id)).copied(),
        })
    }

    fn is_news(&self) -> bool {
        self.openings > self.before.unwrap_or_default()
    }

    fn detail(&self) -> String {
        match self.before {
            None => format!("opened {} times since it was made", self.openings),
            Some(before) => {
                let since = self.openings.saturating_sub(before);
                format!("opened {since} times since the entry before, {} in all", self.openings)
            }
        }
    }
}

fn fact(row_id: CredentialId) -> String {
    format!("{FACT}{row_id}")
}

/// Writes an entry for each secret that was opened since its last one, into the chain of its workspace, or of the
/// installation for the operator's accounts. The count and its entry are one transaction: no opening is counted twice.
///
/// # Errors
/// Of the database. What was written counts; the rest is written the next time.
pub async fn audit_openings(store: &Store, world: &World) -> Result<(), StoreError> {
    let database = store.database();
    let before = counts_before(store).await?;
    let mut after = Vec::new();
    loop {
        let rows = page(database, after).await?;
        let opened: Vec<Opened> =
            rows.iter().map(|row| Opened::read(row, &before)).collect::<Result<_, _>>()?;
        let Some(last) = opened.last() else { return Ok(()) };
        after = last.row_id.bytes();
        // A transaction holds the lock of one chain.
        let mut chains: BTreeMap<Option<WorkspaceId>, Vec<Opened>> = BTreeMap::new();
        for one in opened.into_iter().filter(Opened::is_news) {
            chains.entry(one.workspace).or_default().push(one);
        }
        for opened in chains.into_values() {
            let world = world.clone();
            database.note(move |writing| Box::pin(write(writing, opened, world))).await?;
        }
    }
}

async fn counts_before(store: &Store) -> Result<HashMap<String, u64>, StoreError> {
    let facts = store.meta().starting_with(FACT.to_owned()).await?;
    let read = |(name, value): (String, Vec<u8>)| {
        let count = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
        count
            .map(|count| (name, count))
            .ok_or_else(|| StoreError::corrupt("meta", "a count of openings isn't a number"))
    };
    facts.into_iter().map(read).collect()
}

async fn page(database: &Database, after: Vec<u8>) -> Result<Vec<Row>, StoreError> {
    // What was deleted has no owner any more, and is the installation's.
    let query =
        sql("SELECT o.credential AS id, o.openings, o.kind, n.id AS node, a.id AS account, c.subscription,
             COALESCE(c.workspace, n.workspace, w.workspace, p.workspace, k.workspace) AS workspace
         FROM credential_openings o
         LEFT JOIN credentials c ON c.id = o.credential
         LEFT JOIN nodes n ON n.id = o.credential
         LEFT JOIN accounts a ON a.id = o.credential
         LEFT JOIN webhooks w ON w.id = o.credential
         LEFT JOIN policies p ON p.id = o.credential
         LEFT JOIN api_keys k ON k.id = o.credential
         WHERE o.credential > $1 ORDER BY o.credential LIMIT $2");
    let query = query.bind(after).bind(signed(u64::from(PAGE_ROWS_MAX)));
    query.rows(&mut database.read().await?).await
}

async fn write(writing: &mut Writing, opened: Vec<Opened>, world: World) -> Result<(), StoreError> {
    let mut facts = Vec::with_capacity(opened.len());
    for one in opened {
        let act = Act::system(&world);
        writing.audit(&act, one.workspace, one.action, &one.target, one.detail()).await?;
        facts.push((fact(one.row_id), one.openings.to_string().into_bytes()));
    }
    meta::put(writing, facts).await
}

#[cfg(test)]
mod tests {
    use domain::{Principal, SecretOwner};

    use super::*;
    use crate::fixture::founded;

    #[tokio::test]
    async fn openings_are_counted_once_also_those_of_what_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (store, world) = (founded(dir.path()).await, World::system());
        let credential = CredentialId::new(1, [7; 10]);
        let mut details = Vec::new();
        for count in [7, 0, 2] {
            if count > 0 {
                let openings = vec![(Principal::Credential(credential).into(), count)];
                store.audit().count_openings(openings).await.unwrap();
            }
            audit_openings(&store, &world).await.unwrap();
            let listed = store.audit().stretch(None, 1, 9).await.unwrap();
            assert!(listed.iter().all(|row| row.object == credential.to_string()));
            details = listed.into_iter().map(|row| format!("{} {}", row.action, row.detail)).collect();
        }
        assert_eq!(
            details,
            [
                "credential.open opened 7 times since it was made",
                "credential.open opened 2 times since the entry before, 9 in all",
            ]
        );
    }

    #[tokio::test]
    async fn secrets_of_webhooks_hooks_and_access_keys_are_named_by_their_owners() {
        let dir = tempfile::tempdir().unwrap();
        let (store, world) = (founded(dir.path()).await, World::system());
        let (webhook, policy) = (WebhookId::new(1, [7; 10]), PolicyId::new(1, [8; 10]));
        let key = KeyId::new(1, [9; 10]);
        let owners =
            [SecretOwner::Webhook(webhook), SecretOwner::Policy(policy), SecretOwner::AccessKey(key)];
        store.audit().count_openings(owners.map(|owner| (owner, 2)).to_vec()).await.unwrap();
        audit_openings(&store, &world).await.unwrap();
        let listed = store.audit().stretch(None, 1, 9).await.unwrap();
        let told: Vec<_> = listed.iter().map(|row| (row.action.as_str(), row.object.clone())).collect();
        let expected = [
            ("webhook.open", webhook.to_string()),
            ("hook.open", policy.to_string()),
            ("access_secret.open", key.to_string()),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn an_entry_counts_what_came_since_the_one_before() {
        let opened = |openings, before| Opened {
            row_id: CredentialId::new(1, [1; 10]),
            workspace: None,
            action: "credential.open",
            target: String::new(),
            openings,
            before,
        };
        for (openings, before, detail) in [
            (7, None, "opened 7 times since it was made"),
            (9, Some(7), "opened 2 times since the entry before, 9 in all"),
        ] {
            let one = opened(openings, before);
            assert!(one.is_news());
            assert_eq!(one.detail(), detail);
        }
        assert!(!opened(9, Some(9)).is_news() && !opened(0, None).is_news());
    }
}
