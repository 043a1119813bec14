//! What is stored of a declared tool, MCP server, app or named secret: its definition, and its headers, sealed.

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::sync::Arc;

use database::error::StoreFuture;
use database::fields::ColumnId;
use database::writing::Writing;
use domain::tools::{McpDefinition, McpState, SecretHeaders, ToolDefinition};
use domain::{
    AppDefinition, AppId, DeclaredApp, DeclaredServer, McpServerId, ObjectOwner, Secret, SecretDefinition,
    SecretId, ToolId,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use vault::Vault;

use crate::app_versions;
use crate::authorization::{self, GrantRow};
use crate::sealed::{CLIENT_SECRET, SealedHeaders};

/// Tools, MCP servers, apps or named secrets.
pub trait Kind: Debug + Clone + Send + Sync + 'static {
    const TABLE: &'static str;
    const WHAT: &'static str;
    /// What the audit calls one.
    const NOUN: &'static str;
    const HAS_STATE: bool;
    /// The tables whose rows share its names, with what each has.
    const NAMES: &'static [(&'static str, &'static str)];
    type Id: ColumnId + FromStr + Copy + Display + Debug + PartialEq + Send + Sync + 'static;
    type Definition: Serialize + DeserializeOwned + Clone + Debug + PartialEq + Send + Sync + 'static;
    type State: Serialize + DeserializeOwned + Default + Clone + Debug + PartialEq + Send + Sync + 'static;

    /// Keeps what is replaced, where its kind has versions.
    fn keep_replaced<'w>(
        _writing: &'w mut Writing,
        _replaced: &'w DeclaredRow<Self>,
        _unix_ms: u64,
    ) -> StoreFuture<'w, ()>
    where
        Self: Sized,
    {
        Box::pin(async { Ok(()) })
    }

    /// Forgets what was granted for a definition that is replaced, where the grant is not for the new one, too.
    fn forget_grant<'w>(
        _writing: &'w mut Writing,
        _id: Self::Id,
        _change: Option<(&Self::Definition, &Self::Definition)>,
    ) -> StoreFuture<'w, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// Requests name tools and MCP servers alike.
const CALLABLE: &[(&str, &str)] = &[(ToolKind::TABLE, ToolKind::WHAT), (ServerKind::TABLE, ServerKind::WHAT)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolKind;

impl Kind for ToolKind {
    const TABLE: &'static str = "tools";
    const WHAT: &'static str = "tool";
    const NOUN: &'static str = "tool";
    const HAS_STATE: bool = false;
    const NAMES: &'static [(&'static str, &'static str)] = CALLABLE;
    type Id = ToolId;
    type Definition = ToolDefinition;
    type State = ();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerKind;

impl Kind for ServerKind {
    const TABLE: &'static str = "mcp_servers";
    const WHAT: &'static str = "MCP server";
    const NOUN: &'static str = "mcp_server";
    const HAS_STATE: bool = true;
    const NAMES: &'static [(&'static str, &'static str)] = CALLABLE;
    type Id = McpServerId;
    type Definition = McpDefinition;
    type State = McpState;

    fn forget_grant<'w>(
        writing: &'w mut Writing,
        id: Self::Id,
        change: Option<(&Self::Definition, &Self::Definition)>,
    ) -> StoreFuture<'w, ()> {
        let is_kept = change.is_some_and(|(old, new)| (&old.url, &old.oauth) == (&new.url, &new.oauth));
        Box::pin(async move { if is_kept { Ok(()) } else { authorization::forget(writing, id).await } })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppKind;

impl Kind for AppKind {
    const TABLE: &'static str = "apps";
    const WHAT: &'static str = "app";
    const NOUN: &'static str = "app";
    const HAS_STATE: bool = false;
    const NAMES: &'static [(&'static str, &'static str)] = &[(Self::TABLE, Self::WHAT)];
    type Id = AppId;
    type Definition = AppDefinition;
    type State = ();

    fn keep_replaced<'w>(
        writing: &'w mut Writing,
        replaced: &'w AppRow,
        unix_ms: u64,
    ) -> StoreFuture<'w, ()> {
        Box::pin(app_versions::keep(writing, replaced, unix_ms))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretKind;

impl Kind for SecretKind {
    const TABLE: &'static str = "named_secrets";
    const WHAT: &'static str = "secret";
    const NOUN: &'static str = "secret";
    const HAS_STATE: bool = false;
    const NAMES: &'static [(&'static str, &'static str)] = &[(Self::TABLE, Self::WHAT)];
    type Id = SecretId;
    type Definition = SecretDefinition;
    type State = ();
}

/// One declared tool, MCP server, app or secret.
#[derive(Debug, Clone, PartialEq)]
pub struct DeclaredRow<K: Kind> {
    pub id: K::Id,
    pub owner: ObjectOwner,
    /// By which requests name it.
    pub name: String,
    pub is_enabled: bool,
    pub definition: K::Definition,
    pub state: K::State,
    pub secret: Option<SealedHeaders>,
    pub created_unix_ms: u64,
    pub version: u64,
}

pub type ToolRow = DeclaredRow<ToolKind>;
pub type McpServerRow = DeclaredRow<ServerKind>;
pub type AppRow = DeclaredRow<AppKind>;
/// Its value is sealed as a header of its name.
pub type SecretRow = DeclaredRow<SecretKind>;

impl From<AppRow> for DeclaredApp {
    fn from(row: AppRow) -> Self {
        let AppRow { id, name, definition, created_unix_ms, version, .. } = row;
        Self { id, name, definition, created_unix_ms, version }
    }
}

impl<K: Kind> DeclaredRow<K> {
    /// Its headers, opened; `None` if they don't open any more.
    pub fn headers(&self, vault: &Vault) -> Option<SecretHeaders> {
        let mut headers = self.opened(vault)?;
        headers.retain(|(name, _)| name != CLIENT_SECRET);
        Some(headers)
    }

    fn opened(&self, vault: &Vault) -> Option<SecretHeaders> {
        self.secret.as_ref().map_or(Some(Vec::new()), |secret| secret.open(vault, self.owner))
    }
}

impl McpServerRow {
    /// The secret of the client that its project registered.
    pub fn client_secret(&self, vault: &Vault) -> Option<Arc<Secret>> {
        let mut opened = self.opened(vault)?.into_iter();
        opened.find(|(name, _)| name == CLIENT_SECRET).map(|(_, secret)| secret)
    }

    /// As it is called, with what it was granted; `None` if its secrets don't open any more.
    pub fn declared(self, vault: &Vault, grant: Option<&GrantRow>) -> Option<DeclaredServer> {
        let headers = self.headers(vault)?;
        let held = grant.map(|grant| grant.open(vault));
        let Self { id, name, definition, state, .. } = self;
        Some(DeclaredServer { id, name, definition, state, headers, held })
    }
}
