//! The operator's pooled provider accounts.

use database::act::{Act, Written};
use database::error::StoreFuture;
use domain::{AccountId, Agreement, Rates};

use crate::credentials::{SealedSecret, Verification};
use crate::resource::{Json, Resource};

#[derive(Debug, Clone, PartialEq)]
pub struct AccountRow {
    pub id: AccountId,
    pub provider: String,
    pub display_name: String,
    pub auth: String,
    pub secret: SealedSecret,
    pub base_url: Option<String>,
    pub region: Option<String>,
    pub config: Json,
    /// What the operator pays the provider, by model name, where it differs from the catalogue's price.
    pub pricing: Vec<(String, Rates)>,
    pub agreement: Agreement,
    pub metadata: Json,
    /// Serves only these models; `None` serves every offer of the provider.
    pub models: Option<Vec<String>>,
    pub weight: u32,
    pub markup_bps: u32,
    pub allow_unpriced: bool,
    pub disabled: bool,
    pub last_verified_unix_ms: Option<u64>,
    pub last_error: Option<String>,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

/// A change is like a credential's; it writes `disabled` too.
pub trait Accounts: Resource<AccountRow> {
    /// Stores a verification's result; a refusal is shown but does not disable the account.
    fn record_verification(
        &self,
        id: AccountId,
        found: Verification,
        act: Act,
    ) -> StoreFuture<'_, Written<AccountRow>>;
}
