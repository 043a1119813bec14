//! Where data may go, by name: which part of the world, and whether to the provider of last resort.

use serde::{Deserialize, Serialize};

/// The regions of the United States, by the names of the clouds that have them.
const US: &[&str] = &[
    "us",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-central1",
    "us-east1",
    "us-east4",
    "us-east5",
    "us-south1",
    "us-west1",
    "us-west2",
    "us-west3",
    "us-west4",
    "centralus",
    "eastus",
    "eastus2",
    "northcentralus",
    "southcentralus",
    "westcentralus",
    "westus",
    "westus2",
    "westus3",
    "usgovarizona",
    "usgovvirginia",
];
/// The regions of the European Union. London and Zurich are not in it, whatever their names start with.
const EU: &[&str] = &[
    "eu",
    "eu-central-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-3",
    "eusc-de-east-1",
    "europe-central2",
    "europe-north1",
    "europe-north2",
    "europe-southwest1",
    "europe-west1",
    "europe-west3",
    "europe-west4",
    "europe-west8",
    "europe-west9",
    "europe-west10",
    "europe-west12",
    "austriaeast",
    "belgiumcentral",
    "francecentral",
    "francesouth",
    "germanynorth",
    "germanywestcentral",
    "italynorth",
    "northeurope",
    "polandcentral",
    "spaincentral",
    "swedencentral",
    "swedensouth",
    "westeurope",
];

crate::words! {
    /// The part of the world in which a request may be processed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum RegionPolicy by from_name {
        UsOnly = "us_only",
        EuOnly = "eu_only",
        /// Everywhere, said on purpose.
        Global = "global",
        #[default]
        Any = "any",
    }
}

impl RegionPolicy {
    /// The names of the regions that it allows, in lower case; `None` allows all.
    pub const fn regions(self) -> Option<&'static [&'static str]> {
        match self {
            Self::UsOnly => Some(US),
            Self::EuOnly => Some(EU),
            Self::Global | Self::Any => None,
        }
    }

    pub const fn is_restriction(self) -> bool {
        self.regions().is_some()
    }

    pub fn allows(self, region: &str) -> bool {
        self.regions().is_none_or(|known| known.iter().any(|one| one.eq_ignore_ascii_case(region)))
    }

    /// Whether everything that it allows is allowed by the other.
    pub fn is_within(self, wider: Self) -> bool {
        !wider.is_restriction() || self == wider
    }
}

crate::words! {
    /// Whether data may go to a provider of last resort.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
    pub enum DataBoundary by from_name {
        /// Where the project's routes send it.
        #[default]
        #[serde(rename = "project")]
        Project = "project",
        /// Never to an emergency provider.
        #[serde(rename = "no_openrouter")]
        NoEmergency = "no_openrouter",
        /// Never to an emergency provider, whatever the operator and the routes allow later.
        #[serde(rename = "strict")]
        Strict = "strict",
    }
}

impl DataBoundary {
    pub const fn forbids_emergency(self) -> bool {
        !matches!(self, Self::Project)
    }

    /// The stricter of two.
    pub const fn or_stricter(self, other: Self) -> Self {
        match (self, other) {
            (Self::Strict, _) | (_, Self::Strict) => Self::Strict,
            (Self::NoEmergency, _) | (_, Self::NoEmergency) => Self::NoEmergency,
            (Self::Project, Self::Project) => Self::Project,
        }
    }
}
