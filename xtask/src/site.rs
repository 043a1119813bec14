//! `cargo xtask site`: renders the pages that docs/SUMMARY.md lists into console/dist/docs, from where they are embedded. The pages
//! have no inline script or style and load nothing from elsewhere, as the console's content security policy wants it.

mod index;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

use self::index::Index;
use crate::tree;

const SUMMARY: &str = "docs/SUMMARY.md";
const OUT: &str = "console/dist/docs";
/// The build script of `console` embeds a folder that has this file: it is written last.
const STAMP: &str = ".stamp";
const STYLE: &str = include_str!("site/site.css");
/// The search field of the pages; what finds is shared with the console's palette.
const SEARCH: &str = include_str!("site/search.js");
const FIND: &str = "console/src/lib/find-docs.js";

/// Shown by the script, since it does nothing without.
const SEARCH_FIELD: &str = "<div class=\"search\" role=\"search\" hidden><label for=\"docs-search\">Search</label>\
    <input id=\"docs-search\" type=\"search\" autocomplete=\"off\" spellcheck=\"false\" aria-controls=\"docs-found\" aria-keyshortcuts=\"/\">\
    <p role=\"status\"></p><ul id=\"docs-found\" aria-label=\"Results\"></ul></div>";

/// A page in the order of the summary.
struct Page {
    /// Below the repository's root.
    source: String,
    /// Below the site's root, without `.html`.
    name: String,
    title: String,
}

/// A line of the navigation: a heading, or a page.
enum Entry {
    Part(String),
    Page(Page),
}

/// The rendered documentation.
#[derive(Default)]
struct Site {
    /// The name and the document of each page.
    pages: Vec<(String, String)>,
    /// Below the repository's root.
    images: Vec<String>,
    index: Index,
}

pub fn build(root: &Path) -> Result<()> {
    let site = render(root)?;
    let out = root.join(OUT);
    if out.exists() {
        fs::remove_dir_all(&out).context("emptying the site's folder")?;
    }
    for (name, document) in &site.pages {
        let file = out.join(format!("{name}.html"));
        fs::create_dir_all(file.parent().unwrap_or(&out))?;
        fs::write(&file, document).with_context(|| format!("writing {name}"))?;
    }
    for image in &site.images {
        let target = out.join(image.strip_prefix("docs/").unwrap_or(image));
        fs::create_dir_all(target.parent().unwrap_or(&out))?;
        fs::copy(root.join(image), target).with_context(|| format!("a page shows {image}"))?;
    }
    let (_, first) = site.pages.first().context("the summary lists no page")?;
    fs::write(out.join("index.html"), first)?;
    fs::write(out.join("site.css"), STYLE)?;
    fs::write(out.join("search.js"), SEARCH)?;
    fs::copy(root.join(FIND), out.join("find-docs.js")).context("copying what finds")?;
    let index = serde_json::to_vec(&site.index)?;
    fs::write(out.join("search.json"), &index)?;
    fs::write(out.join("search.json.gz"), packed(&index)?)?;
    fs::write(out.join(STAMP), "")?;
    println!("site: {} pages in {OUT}", site.pages.len());
    Ok(())
}

fn render(root: &Path) -> Result<Site> {
    let entries = entries(&tree::read(root, SUMMARY)?);
    let pages: Vec<&Page> = entries.iter().filter_map(page).collect();
    let mut site = Site::default();
    for page in &pages {
        let text = tree::read(root, &page.source)?;
        let events = events(&text, page, &pages, &mut site.images);
        site.index.add(&page.name, &page.title, &events);
        let mut body = String::new();
        html::push_html(&mut body, events.into_iter());
        // Long lines scroll, by the keyboard as well.
        let body = body.replace("<pre>", "<pre tabindex=\"0\">");
        site.pages.push((page.name.clone(), document(page, &entries, &body)));
    }
    Ok(site)
}

/// Compressed as the gateway serves it.
fn packed(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn page(entry: &Entry) -> Option<&Page> {
    match entry {
        Entry::Page(page) => Some(page),
        Entry::Part(_) => None,
    }
}

/// The headings of the second level, and the links below them.
fn entries(summary: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for line in summary.lines() {
        if let Some(part) = line.strip_prefix("## ") {
            entries.push(Entry::Part(part.to_owned()));
        } else if let Some((title, rest)) =
            line.trim_start().strip_prefix("- [").and_then(|link| link.split_once("]("))
        {
            let link = rest.trim_end().trim_end_matches(')');
            let source = resolve("docs", link);
            entries.push(Entry::Page(Page { name: name(&source), source, title: title.to_owned() }));
        }
    }
    entries
}

/// `docs/how-to/README.md` is `how-to/README`, and what is above docs is beside its pages.
fn name(source: &str) -> String {
    source.strip_prefix("docs/").unwrap_or(source).trim_end_matches(".md").to_owned()
}

/// A relative link from a folder, below the repository's root.
fn resolve(folder: &str, link: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// What a page consists of, with its links as the site has them.
fn events<'text>(
    text: &'text str,
    page: &Page,
    pages: &[&Page],
    images: &mut Vec<String>,
) -> Vec<Event<'text>> {
    let folder = page.source.rsplit_once('/').map_or("", |(folder, _)| folder);
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    // Links to the sources keep their text alone: the site doesn't have them.
    let mut is_cut = Vec::new();
    let mut events: Vec<Event<'text>> = Vec::new();
    for event in Parser::new_ext(text, options) {
        match event {
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let target = target(&dest_url, folder, pages);
                is_cut.push(target.is_none());
                if let Some(target) = target {
                    events.push(Event::Start(Tag::Link {
                        link_type,
                        dest_url: CowStr::from(target),
                        title,
                        id,
                    }));
                }
            }
            Event::End(TagEnd::Link) => {
                if is_cut.pop() == Some(false) {
                    events.push(Event::End(TagEnd::Link));
                }
            }
            Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
                let source = resolve(folder, &dest_url);
                let address = format!("/{source}");
                images.push(source);
                events.push(Event::Start(Tag::Image {
                    link_type,
                    dest_url: CowStr::from(address),
                    title,
                    id,
                }));
            }
            // Comments are for the tests that run a page; a page has no other HTML.
            Event::Html(_)
            | Event::InlineHtml(_)
            | Event::Start(Tag::HtmlBlock)
            | Event::End(TagEnd::HtmlBlock) => {}
            // Alignment would be a style of the cell, which the policy refuses.
            Event::Start(Tag::Table(_)) => events.push(Event::Start(Tag::Table(Vec::new()))),
            other => events.push(other),
        }
    }
    with_anchors(events)
}

/// Where a link leads on the site; `None` for what is not on it.
fn target(link: &str, folder: &str, pages: &[&Page]) -> Option<String> {
    if link.starts_with("http://") || link.starts_with("https://") || link.starts_with('#') {
        return Some(link.to_owned());
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let source = resolve(folder, path);
    let page = pages.iter().find(|page| page.source == source)?;
    let anchor = anchor.map(|anchor| format!("#{anchor}")).unwrap_or_default();
    Some(format!("/docs/{}{anchor}", page.name))
}

/// Gives headings the ids by which links name them.
fn with_anchors(events: Vec<Event<'_>>) -> Vec<Event<'_>> {
    let mut done: Vec<Event<'_>> = Vec::with_capacity(events.len());
    let mut heading: Option<(usize, String)> = None;
    let mut seen: HashMap<String, usize> = HashMap::new();
    for event in events {
        match (&event, &mut heading) {
            (Event::Start(Tag::Heading { .. }), _) => heading = Some((done.len(), String::new())),
            (Event::Text(text) | Event::Code(text), Some((_, title))) => title.push_str(text),
            (Event::End(TagEnd::Heading(_)), Some((at, title))) => {
                let mut anchor = slug(title);
                let before = seen.entry(anchor.clone()).or_default();
                if *before > 0 {
                    let _ = write!(anchor, "-{before}");
                }
                *before += 1;
                if let Some(Event::Start(Tag::Heading { id, .. })) = done.get_mut(*at) {
                    *id = Some(CowStr::from(anchor));
                }
                heading = None;
            }
            _ => {}
        }
        done.push(event);
    }
    done
}

/// As the hosts of repositories make them.
fn slug(title: &str) -> String {
    let kept = title.to_lowercase();
    let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

fn document(page: &Page, entries: &[Entry], body: &str) -> String {
    let mut nav = String::new();
    for entry in entries {
        let _ = match entry {
            Entry::Part(part) => writeln!(nav, "<h2>{}</h2>", escape(part)),
            Entry::Page(other) => {
                let current = if other.name == page.name { " aria-current=\"page\"" } else { "" };
                writeln!(nav, "<a href=\"/docs/{}\"{current}>{}</a>", other.name, escape(&other.title))
            }
        };
    }
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
        <title>{} · Tidegate</title><link rel=\"stylesheet\" href=\"/docs/site.css\">\
        <script type=\"module\" src=\"/docs/search.js\"></script></head>\n<body><div class=\"side\">{SEARCH_FIELD}\n\
        <nav aria-label=\"Pages\"><a href=\"/\">Console</a>\n{nav}</nav></div>\n<main>{body}</main></body></html>\n",
        escape(&page.title)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// The pages that the summary doesn't list, but for the records of how things were made.
pub fn unlisted(root: &Path) -> Result<Vec<String>> {
    let summary = tree::read(root, SUMMARY)?;
    ensure!(summary.contains("]("), "{SUMMARY} lists nothing");
    let entries = entries(&summary);
    let listed: Vec<&str> = entries.iter().filter_map(page).map(|page| page.source.as_str()).collect();
    let all = tree::files(&root.join("docs"), |name| name.ends_with(".md"))?;
    let is_page = |path: &str| {
        let is_record = ["decisions/", "proofs/", "reviews/"].iter().any(|folder| path.starts_with(folder));
        !is_record && !["SUMMARY.md", "plan.md"].contains(&path)
    };
    let all = all.into_iter().filter(|path| is_page(path)).map(|path| format!("docs/{path}"));
    Ok(all.filter(|path| !listed.contains(&path.as_str())).collect())
}

#[cfg(test)]
mod tests {
    use super::{Page, document, entries, events, html, packed, page, render, resolve, slug, unlisted};
    use crate::tree::root;

    /// Fetched by whoever searches, once.
    const INDEX_BYTES_MAX: usize = 150_000;

    fn body(text: &str, page: &Page, pages: &[&Page], images: &mut Vec<String>) -> String {
        let mut body = String::new();
        html::push_html(&mut body, events(text, page, pages, images).into_iter());
        body
    }

    #[test]
    fn links_lead_to_pages_of_the_site_or_nowhere() {
        let entries =
            entries("## Part\n- [One](one.md)\n  - [Two](how-to/two.md)\n- [Words](../GLOSSARY.md)\n");
        let pages: Vec<&Page> = entries.iter().filter_map(page).collect();
        let text = "# A b\n[t](how-to/two.md#x-y) [s](../src/a.rs) [w](../GLOSSARY.md) [h](https://a.b)\n\n![p](console/a.png)\n\n|a|\n|-:|\n|b|\n";
        let mut images = Vec::new();
        let html = body(text, pages[0], &pages, &mut images);
        assert!(html.contains("<h1 id=\"a-b\">") && html.contains("href=\"/docs/how-to/two#x-y\""), "{html}");
        assert!(html.contains("href=\"/docs/GLOSSARY\"") && html.contains("href=\"https://a.b\""), "{html}");
        assert!(!html.contains("a.rs") && images == ["docs/console/a.png"], "{html}");
        let document = document(pages[0], &entries, &html);
        assert!(document.contains("aria-current=\"page\">One<"));
        let scripts =
            ["<script", "<script type=\"module\" src="].map(|start| document.matches(start).count());
        assert_eq!(scripts, [1, 1], "{document}");
        assert!(!document.contains("style="));
    }

    #[test]
    fn comments_are_left_out_and_code_stays() {
        let entries = entries("- [One](one.md)\n");
        let pages: Vec<&Page> = entries.iter().filter_map(page).collect();
        let text = "a\n\n<!-- test:\nsecret line\n-->\n\n```sh\ntidegate <x>\n```\n";
        let html = body(text, pages[0], &pages, &mut Vec::new());
        assert!(!html.contains("secret line") && html.contains("tidegate &lt;x&gt;"), "{html}");
    }

    #[test]
    fn paths_and_anchors() {
        assert_eq!(resolve("docs/how-to", "../cli.md"), "docs/cli.md");
        assert_eq!(slug("Limits, and `tidegate x`"), "limits-and-tidegate-x");
    }

    #[test]
    fn every_page_of_the_summary_is_known() {
        assert!(!unlisted(&root()).unwrap().contains(&"docs/quickstart.md".to_owned()));
    }

    #[test]
    fn what_the_search_finds_is_there_and_soon_fetched() {
        let site = render(&root()).unwrap();
        for (name, anchor) in site.index.places() {
            let (_, document) = site.pages.iter().find(|(page, _)| page == name).unwrap();
            let ids = document.matches(&format!(" id=\"{anchor}\"")).count();
            assert_eq!(ids, usize::from(!anchor.is_empty()), "{name}#{anchor}");
        }
        let packed = packed(&serde_json::to_vec(&site.index).unwrap()).unwrap();
        assert!(packed.len() <= INDEX_BYTES_MAX, "{} bytes", packed.len());
    }
}
