//! What a release of an alias says, in one text.

use database::error::StoreError;
use database::fields;
use domain::{AliasReleaseSpec, AliasSplit, AliasTarget, ParameterRule};
use serde::{Deserialize, Serialize};

const TABLE: &str = "alias_releases";

#[derive(Serialize, Deserialize)]
struct StoredSpec {
    split: String,
    targets: Vec<StoredTarget>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parameters: Vec<ParameterRule>,
    #[serde(default)]
    note: String,
    /// Of the capability manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest_revision: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredTarget {
    model: String,
    weight: u32,
}

/// What a release says, and the revision of the capability manifest.
pub fn alias_release_to_text(
    spec: &AliasReleaseSpec,
    manifest_revision: Option<&str>,
) -> Result<String, StoreError> {
    let target = |target: &AliasTarget| StoredTarget { model: target.model.clone(), weight: target.weight };
    let stored = StoredSpec {
        split: spec.split.as_str().to_owned(),
        targets: spec.targets.iter().map(target).collect(),
        parameters: spec.parameters.clone(),
        note: spec.note.clone(),
        manifest_revision: manifest_revision.map(str::to_owned),
    };
    fields::to_text(TABLE, &stored)
}

/// What a release says, and the revision of the capability manifest.
///
/// # Errors
/// The text is not such a release.
pub fn alias_release_from_text(text: &str) -> Result<(AliasReleaseSpec, Option<String>), StoreError> {
    let stored: StoredSpec = fields::from_text(TABLE, text)?;
    let wrong = || StoreError::corrupt(TABLE, format!("{} isn't a split", stored.split));
    let spec = AliasReleaseSpec {
        split: AliasSplit::from_word(&stored.split).ok_or_else(wrong)?,
        targets: stored
            .targets
            .into_iter()
            .map(|target| AliasTarget { model: target.model, weight: target.weight })
            .collect(),
        parameters: stored.parameters,
        note: stored.note,
    };
    Ok((spec, stored.manifest_revision))
}

#[cfg(test)]
mod tests {
    use domain::Thousandths;

    use super::*;

    #[test]
    fn what_can_not_be_read_is_no_release() {
        let spec = AliasReleaseSpec {
            split: AliasSplit::Ordered,
            targets: vec![AliasTarget { model: "openai/gpt-4o".into(), weight: 3 }],
            parameters: vec![ParameterRule {
                name: "temperature".into(),
                default: None,
                least: None,
                most: Thousandths::of(1.0),
                clamps: true,
            }],
            note: "first".into(),
        };
        for revision in [None, Some("cap_1")] {
            let read = alias_release_from_text(&alias_release_to_text(&spec, revision).unwrap()).unwrap();
            assert_eq!(read, (spec.clone(), revision.map(str::to_owned)));
        }
        assert!(alias_release_from_text(r#"{"split": "by luck", "targets": []}"#).is_err());
        assert!(alias_release_from_text("{}").is_err());
    }
}
