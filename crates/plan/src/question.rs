//! What the broker is asked: whose call it is and which model it names.

use catalogue::{Catalogue, Modality};
use domain::{Dialect, KeyId, PriceTerms, Principal};
use snapshot::{AccountEntry, CredentialEntry, ProjectEntry, WorkspaceEntry};
use std::sync::Arc;

/// A model, and everything of its asker that a route may match.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// As the client wrote it.
    pub model: &'a str,
    pub workspace: &'a WorkspaceEntry,
    pub project: &'a ProjectEntry,
    pub environment: &'a str,
    pub key: Option<KeyId>,
    pub tag: Option<&'a str>,
    pub modality: Modality,
    /// On whose paths it was asked.
    pub dialect: Dialect,
    /// The tier that it asks for, and the tools of the provider's own that it offers the model.
    pub terms: PriceTerms,
}

impl Question<'_> {
    /// Whether a credential is for the project and the environment that ask.
    pub(crate) fn is_in_scope_of(&self, credential: &CredentialEntry) -> bool {
        let is_its_project = credential.project.is_none_or(|project| project == self.project.id);
        is_its_project && credential.environment.as_deref().is_none_or(|name| name == self.environment)
    }
}

/// A question with what it is answered from.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub question: Question<'a>,
    pub accounts: &'a [Arc<AccountEntry>],
    pub catalogue: &'a Catalogue,
    /// Who made the answer that this one goes on from, or keeps the files that it names: nobody else knows them.
    pub maker: Option<Principal>,
    /// Where the call names a file that this one keeps, too.
    pub file_place: Option<&'a str>,
    pub random: u64,
    /// In the place of chance, among accounts: the same for prompts of one beginning, whose cache is one account's.
    pub affinity: &'a dyn Fn() -> Option<u64>,
    pub now_us: u64,
    pub now_unix_ms: u64,
}

impl<'a> Ask<'a> {
    /// The one slug of a provider, whichever of its names is given.
    pub fn canonical<'b>(&self, provider: &'b str) -> &'b str
    where
        'a: 'b,
    {
        self.catalogue.provider(provider).map_or(provider, |facts| facts.slug.as_str())
    }
}
