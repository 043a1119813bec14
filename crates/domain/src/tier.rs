//! Providers' service tiers, each with its own price, and the hosted tools that providers run for an answer.

crate::words! {
    /// A service tier, under one name whatever its provider calls it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Tier {
        Standard = "standard",
        Flex = "flex",
        Priority = "priority",
        /// Reserved capacity.
        Scale = "scale",
        Fast = "fast",
        Ultrafast = "ultrafast",
        Batch = "batch",
        /// A tier that is not in this list.
        Other = "other",
    }
}

impl Tier {
    /// The tier that a provider's word names, in any case; `None` if the word leaves the choice to the
    /// provider.
    pub fn from_word(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        let word = word.strip_prefix("service_tier_").unwrap_or(&word);
        match word {
            "" | "auto" | "unspecified" | "traffic_type_unspecified" => None,
            "standard" | "default" | "standard_only" | "on_demand" => Some(Self::Standard),
            "flex" | "on_demand_flex" => Some(Self::Flex),
            "priority" | "on_demand_priority" => Some(Self::Priority),
            "scale" | "reserved" | "provisioned_throughput" => Some(Self::Scale),
            "fast" => Some(Self::Fast),
            "ultrafast" => Some(Self::Ultrafast),
            "batch" => Some(Self::Batch),
            _ => Some(Self::Other),
        }
    }

    pub(crate) fn number(self) -> u64 {
        Self::ALL.iter().position(|tier| *tier == self).map_or(u64::MAX, |index| index as u64)
    }

    /// A tier written by a newer version has no price here.
    pub(crate) fn of_number(number: u64) -> Self {
        usize::try_from(number).ok().and_then(|index| Self::ALL.get(index)).copied().unwrap_or(Self::Other)
    }
}

crate::words! {
    /// A tool that the provider runs and may bill on top of the tokens.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum HostedTool by from_word {
        WebSearch = "web_search",
        /// The older version, which has another fee.
        WebSearchPreview = "web_search_preview",
        FileSearch = "file_search",
        CodeExecution = "code_execution",
        ImageGeneration = "image_generation",
        /// A tool that is not in this list.
        Other = "hosted tool",
    }
}

/// The hosted tools that a request offers its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct HostedTools(u8);

impl HostedTools {
    pub const fn add(&mut self, tool: HostedTool) {
        self.0 |= 1 << tool as u8;
    }

    pub const fn has(self, tool: HostedTool) -> bool {
        self.0 & (1 << tool as u8) != 0
    }

    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = HostedTool> {
        HostedTool::ALL.into_iter().filter(move |tool| self.has(*tool))
    }
}

/// The properties of a request that change its token prices or are billed on top of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PriceTerms {
    /// The requested tier; `None` leaves it to the provider.
    pub tier: Option<Tier>,
    pub hosted: HostedTools,
}

impl PriceTerms {
    pub fn is_none(self) -> bool {
        matches!(self.tier, None | Some(Tier::Standard)) && self.hosted.is_none()
    }
}
