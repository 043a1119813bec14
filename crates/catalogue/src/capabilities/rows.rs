//! From the file to the manifest: every source must be listed and used, every fact of a provider set.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::facts::{FactRows, Facts, Reading, Readings};
use super::{Manifest, ModelManifest, Pattern, ProviderManifest, revision_id, wrong_name};
use crate::Catalogue;
use crate::error::CatalogueError;
use crate::source::{Source, UNVERIFIED, fingerprint, is_day};

/// `capabilities.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CapabilitiesFile {
    /// The day of its last change.
    date: Spanned<String>,
    #[serde(default)]
    sources: BTreeMap<String, Spanned<Reading>>,
    #[serde(default)]
    provider: Vec<ProviderRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderRow {
    slug: Spanned<String>,
    facts: FactRows,
    #[serde(default)]
    model: Vec<ModelRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelRow {
    names: Spanned<Vec<String>>,
    facts: FactRows,
}

/// # Errors
/// The file is wrong; the error names its line and field.
pub fn load(source: Source<'_>, catalogue: &Catalogue) -> Result<Manifest, CatalogueError> {
    let file = source.parse::<CapabilitiesFile>()?;
    if !is_day(file.date.get_ref()) {
        return Err(source.wrong(file.date.span(), "date", "is a day, as \"2026-11-20\""));
    }
    let day = file.date.into_inner();
    let mut readings = readings(source, file.sources)?;
    let mut providers: Vec<ProviderManifest> = Vec::new();
    for row in file.provider {
        let span = row.slug.span();
        let manifest = provider_of(catalogue, &mut readings, row, &day)?;
        if providers.iter().any(|other| other.provider == manifest.provider) {
            let field = format!("provider \"{}\"", manifest.provider);
            return Err(source.wrong(span, &field, "stands twice"));
        }
        providers.push(manifest);
    }
    if let Some((name, _)) = readings.known.iter().find(|(_, (_, is_used))| !is_used) {
        return Err(source.wrong(0..0, &format!("source \"{name}\""), "no fact was read there"));
    }
    Ok(Manifest { revision: revision_id(&day, fingerprint(source.text)), day, providers })
}

fn readings(
    source: Source<'_>,
    rows: BTreeMap<String, Spanned<Reading>>,
) -> Result<Readings<'_>, CatalogueError> {
    let mut known = BTreeMap::new();
    for (name, row) in rows {
        let reading = row.get_ref();
        if name == UNVERIFIED || reading.at.is_empty() || !is_day(&reading.checked) {
            let message = "a source says where (`at`) and on which day (`checked`) something was read";
            return Err(source.wrong(row.span(), &format!("source \"{name}\""), message));
        }
        known.insert(name, (row.into_inner(), false));
    }
    Ok(Readings { source, known })
}

fn provider_of(
    catalogue: &Catalogue,
    readings: &mut Readings<'_>,
    row: ProviderRow,
    day: &str,
) -> Result<ProviderManifest, CatalogueError> {
    let source = readings.source;
    let span = row.slug.span();
    let slug = row.slug.into_inner();
    let owner = format!("provider \"{slug}\"");
    if !catalogue.providers().iter().any(|facts| facts.slug == slug) {
        return Err(source.wrong(span, &owner, "no such provider"));
    }
    let facts = row.facts.read(&owner, readings)?;
    if let Some(name) = facts.missing().first() {
        let message = format!("{name} is missing; what nobody read is source = \"unverified\"");
        return Err(source.wrong(span, &owner, &message));
    }
    let grammars: Vec<_> = facts
        .grammars
        .as_ref()
        .and_then(|fact| fact.value())
        .into_iter()
        .flatten()
        .map(|name| name.0)
        .collect();
    if grammars.is_empty() {
        return Err(source.wrong(span, &owner, "speaks no grammar"));
    }
    check_shares(source, &owner, &facts)?;
    let mut models = Vec::new();
    let mut names: Vec<(Pattern, usize)> = Vec::new();
    for row in row.model {
        let span = row.names.span();
        let written = row.names.into_inner();
        let owner = format!("{owner}, model {written:?}");
        for name in &written {
            let pattern = Pattern::of(name);
            if let Some(message) = wrong_name(name) {
                return Err(source.wrong(span, &owner, message));
            }
            if names.iter().any(|(other, _)| *other == pattern) {
                return Err(source.wrong(span, &owner, &format!("\"{name}\" stands twice")));
            }
            names.push((pattern, models.len()));
        }
        let facts = row.facts.read(&owner, readings)?;
        check_shares(source, &owner, &facts)?;
        models.push(ModelManifest { names: written, facts });
    }
    names.sort_by_key(|(pattern, _)| Reverse(pattern.rank()));
    let mut manifest =
        ProviderManifest { provider: slug, facts, models, grammars, names, ..Default::default() };
    manifest.name_revision(day);
    Ok(manifest)
}

fn check_shares(source: Source<'_>, owner: &str, facts: &Facts) -> Result<(), CatalogueError> {
    match facts.wrong_share() {
        Some(name) => Err(source.wrong(0..0, &format!("{owner}, {name}"), "is more than 100")),
        None => Ok(()),
    }
}
