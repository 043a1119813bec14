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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fact;
    use crate::load::from_texts;

    const PROVIDERS: &str = r#"
[[provider]]
slug = "alpha"
display_name = "Alpha"
byok = true
"#;

    /// Every fact of a provider, all unverified but its dialects.
    fn complete() -> String {
        let unsaid = Facts::default().missing();
        let facts: Vec<String> = unsaid
            .into_iter()
            .map(|name| match name {
                "grammars" => "grammars = { value = [\"chat\"], source = \"page\" }".to_owned(),
                _ => format!("{name} = {{ source = \"unverified\" }}"),
            })
            .collect();
        let head = "date = \"2026-11-20\"\n[sources]\n\
                    page = { at = \"https://alpha.example/api\", checked = \"2026-11-20\" }\n";
        format!("{head}[[provider]]\nslug = \"alpha\"\n[provider.facts]\n{}\n", facts.join("\n"))
    }

    fn manifest_of(text: &str) -> Result<Manifest, CatalogueError> {
        let catalogue = from_texts(PROVIDERS, "revision = \"r1\"").unwrap();
        load(Source { file: "capabilities.toml", text, overlay: false }, &catalogue)
    }

    fn row(names: &str, facts: &str) -> String {
        format!("[[provider.model]]\nnames = {names}\n[provider.model.facts]\n{facts}\n")
    }

    fn marks(value: bool) -> String {
        format!("cache_marks = {{ value = {value}, source = \"page\" }}")
    }

    #[test]
    fn the_more_exact_row_is_the_stronger() {
        let text = [
            complete(),
            row("[\"one*\"]", &marks(true)),
            row("[\"one-two\"]", "cache_marks = { source = \"unverified\" }"),
            row("[\"one-three*\"]", &marks(false)),
            row("[\"one-three-x*\"]", "vision = { value = true, source = \"page\" }"),
        ]
        .concat();
        let manifest = manifest_of(&text).unwrap();
        for (model, has_marks) in [
            ("one", true),
            ("accounts/alpha/models/one", true),
            ("one-2026", true),
            ("one-two", false),
            ("one-two-b", true),
            ("one-three", false),
            ("one-three-x", false),
            ("other", false),
        ] {
            assert_eq!(manifest.abilities("alpha", model).cache_marks, has_marks, "{model}");
        }
        let facts = manifest.provider("alpha").unwrap().facts_of("one-three-x9");
        assert_eq!(facts.vision.as_ref().and_then(Fact::value), Some(&true));
        assert_eq!(facts.cache_marks.as_ref().and_then(Fact::value), Some(&false));
        assert_eq!(facts.cache_marks.as_ref().map(Fact::source), Some("https://alpha.example/api"));
        assert!(facts.documents.as_ref().is_some_and(|fact| fact.value().is_none()));
        assert!(facts.missing().is_empty());
        assert_eq!(manifest.abilities("nobody", "one"), domain::Abilities::default());
    }

    #[test]
    fn another_content_has_another_revision() {
        let one = manifest_of(&complete()).unwrap();
        let again = manifest_of(&complete()).unwrap();
        let other = manifest_of(&(complete() + &row("[\"x\"]", &marks(true)))).unwrap();
        assert_eq!(one.revision(), again.revision());
        assert_ne!(one.revision(), other.revision());
        let digest = one.revision().strip_prefix("cap_2026_11_20_").unwrap();
        assert!(digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest}");
    }

    #[test]
    fn a_wrong_fact_is_refused_with_its_field() {
        let with = |names: &str, facts: &str| complete() + &row(names, facts);
        let without = |name: &str| {
            complete().lines().filter(|line| !line.starts_with(name)).collect::<Vec<_>>().join("\n")
        };
        for (text, message) in [
            (without("date"), "missing field `date`"),
            (complete().replace("date = \"2026-11-20\"", "date = \"today\""), "is a day"),
            (complete().replace("checked = \"2026-11-20\"", "checked = \"\""), "on which day"),
            (complete().replace("at = \"https://alpha.example/api\"", "at = \"\""), "a source says where"),
            (complete().replace("\"alpha\"\n[", "\"beta\"\n["), "no such provider"),
            (without("purge"), "purge is missing"),
            (complete().replace("[\"chat\"]", "[]"), "speaks no grammar"),
            (complete().replace("[\"chat\"]", "[\"telex\"]"), "no such grammar: \"telex\""),
            (complete().replace("page = {", "leaf = {"), "no such source: \"page\""),
            (
                complete().replace("page = {", "leaf = { at = \"x\", checked = \"2026-11-20\" }\npage = {"),
                "no fact was read there",
            ),
            (
                with("[\"x\"]", "cache_marks = { value = true, source = \"unverified\" }"),
                "unverified\" alone",
            ),
            (with("[\"x\"]", "cache_marks = { source = \"page\" }"), "the source it was read at"),
            (with("[\"x\"]", "cache_marks = { value = 1, source = \"page\" }"), "expected a boolean"),
            (with("[\"x\"]", "cash_marks = { value = true, source = \"page\" }"), "unknown field"),
            (
                with("[\"x\"]", "prompt_cache_discount_pct = { value = 101, source = \"page\" }"),
                "more than 100",
            ),
            (with("[\"*\"]", &marks(true)), "without a path"),
            (with("[\"a*b\"]", &marks(true)), "without a path"),
            (with("[\"a/b\"]", &marks(true)), "without a path"),
            (with("[\"x\", \"x\"]", &marks(true)), "\"x\" stands twice"),
            (
                complete()
                    + &complete()
                        .split_once("[[provider]]")
                        .map(|(_, row)| format!("[[provider]]{row}"))
                        .unwrap(),
                "stands twice",
            ),
        ] {
            let error = manifest_of(&text).unwrap_err();
            assert!(error.to_string().contains(message), "wanted {message:?}, got: {error}");
            assert_eq!(error.file, "capabilities.toml");
        }
    }
}
