//! Providers' service tiers, each with its own price, and the hosted tools that providers run for an answer.

/// A service tier, under one name whatever its provider calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    Standard,
    Flex,
    Priority,
    /// Reserved capacity.
    Scale,
    Fast,
    Ultrafast,
    Batch,
    /// A tier that is not in this list.
    Other,
}

impl Tier {
    pub const ALL: [Self; 8] = [
        Self::Standard,
        Self::Flex,
        Self::Priority,
        Self::Scale,
        Self::Fast,
        Self::Ultrafast,
        Self::Batch,
        Self::Other,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Flex => "flex",
            Self::Priority => "priority",
            Self::Scale => "scale",
            Self::Fast => "fast",
            Self::Ultrafast => "ultrafast",
            Self::Batch => "batch",
            Self::Other => "other",
        }
    }

    /// The tier that a provider's word names, in any case; `None` if the word leaves the choice to the
    /// provider.
    #[must_use]
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

/// A tool that the provider runs and may bill on top of the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostedTool {
    WebSearch,
    /// The older version, which has another fee.
    WebSearchPreview,
    FileSearch,
    CodeExecution,
    ImageGeneration,
    /// A tool that is not in this list.
    Other,
}

impl HostedTool {
    pub const ALL: [Self; 6] = [
        Self::WebSearch,
        Self::WebSearchPreview,
        Self::FileSearch,
        Self::CodeExecution,
        Self::ImageGeneration,
        Self::Other,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebSearch => "web_search",
            Self::WebSearchPreview => "web_search_preview",
            Self::FileSearch => "file_search",
            Self::CodeExecution => "code_execution",
            Self::ImageGeneration => "image_generation",
            Self::Other => "hosted tool",
        }
    }

    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.as_str() == word)
    }
}

/// The hosted tools that a request offers its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct HostedTools(u8);

impl HostedTools {
    pub const fn add(&mut self, tool: HostedTool) {
        self.0 |= 1 << tool as u8;
    }

    #[must_use]
    pub const fn has(self, tool: HostedTool) -> bool {
        self.0 & (1 << tool as u8) != 0
    }

    #[must_use]
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
    #[must_use]
    pub fn is_none(self) -> bool {
        matches!(self.tier, None | Some(Tier::Standard)) && self.hosted.is_none()
    }
}
