//! How providers' servers differ, beside their wire formats: headers, caches and what is known of them.

/// How to help a provider's prompt cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheHelp {
    /// Cache marks in the prompt: without them nothing is cached.
    Marks,
    /// A key shared by requests with the same prefix, so that they are routed to where it is cached.
    Key { place: KeyPlace, of: KeyOf },
    /// It caches by itself, and what it is told to under a name, for a price. Requests then name that.
    Named,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPlace {
    /// A member of the request body.
    Member(&'static str),
    Header(&'static str),
}

/// Which requests share a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOf {
    /// Those with the same tools and instructions.
    Head,
    /// Those of one conversation.
    Conversation,
}

/// How a provider's servers differ from others, beside their wire formats.
#[derive(Debug, Clone, Copy)]
pub struct ServerFacts {
    /// Their capabilities are unknown until they are probed.
    pub is_probed: bool,
    /// They deviate from the wire format, so that buffered answers have to be normalised.
    pub needs_normalising: bool,
    /// They accept a tenant key, and isolate tenants' prompts in their cache.
    pub isolates_tenants: bool,
    /// Further domains where they store their accounts' objects, beyond their own address.
    pub storage_domains: &'static [&'static str],
    /// The response header with the billed amount, in the model's billing unit.
    pub units_header: Option<&'static str>,
    /// The response header with the service tier, if the body does not have it.
    pub tier_header: Option<&'static str>,
    /// The response header with the request id, if it is not one of the usual ones.
    pub id_header: Option<&'static str>,
}

impl ServerFacts {
    pub const USUAL: Self = Self {
        is_probed: false,
        needs_normalising: false,
        isolates_tenants: false,
        storage_domains: &[],
        units_header: None,
        tier_header: None,
        id_header: None,
    };
}
