// Finds sections of the documentation, for its own pages and for the palette. The index is what `cargo xtask site` writes.

/**
 * @typedef {object} Index
 * @property {[name: string, title: string][]} pages
 * @property {[page: number, anchor: string, heading: string, line: string][]} sections Without an anchor: the beginning of the page.
 * @property {Record<string, number[]>} words The sections whose text has a word, each as its distance from the one before.
 */

/**
 * @typedef {object} Found
 * @property {string} href
 * @property {string} title
 * @property {string} page The title of the page, where that is another.
 * @property {string} line How the section begins.
 */

export const INDEX = '/docs/search.json';

/** What a word counts where it stands: two in headings always count more than one in a title and one in a text. */
const IN_TITLE = 6;
const IN_HEADING = 5;
const IN_TEXT = 1;
/** What is added for a whole word. */
const WHOLE = 0.5;

/** @param {string} text */
const words = (text) => text.toLowerCase().match(/[\p{Alphabetic}\p{N}]+/gu) ?? [];

/** What one word that was typed counts among some words.
 * @param {string[]} some
 * @param {string} wanted
 * @param {number} place */
function counted(some, wanted, place) {
  if (some.includes(wanted)) return place + WHOLE;
  return some.some((word) => word.startsWith(wanted)) ? place : 0;
}

/** What each section counts whose text has a word with this beginning.
 * @param {Index} index
 * @param {string} wanted */
function inTexts(index, wanted) {
  /** @type {Map<number, number>} */
  const sections = new Map();
  for (const [word, distances] of Object.entries(index.words)) {
    if (!word.startsWith(wanted)) continue;
    let section = 0;
    for (const distance of distances) {
      section += distance;
      if (word === wanted) sections.set(section, IN_TEXT + WHOLE);
      else if (!sections.has(section)) sections.set(section, IN_TEXT);
    }
  }
  return sections;
}

/** The sections in which every word that was typed begins a word; first those with it in a title, then in a heading, then in the text.
 * @param {Index} index
 * @param {string} text
 * @returns {Found[]} */
export function find(index, text) {
  const wanted = words(text);
  if (wanted.length === 0) return [];
  const texts = wanted.map((word) => inTexts(index, word));
  const titles = index.pages.map(([, title]) => words(title));
  /** @type {{ score: number, found: Found }[]} */
  const rows = [];
  for (const [at, [page, anchor, heading, line]] of index.sections.entries()) {
    const [name, title] = index.pages[page] ?? ['', ''];
    const isPage = anchor === '';
    const above = titles[page] ?? [];
    const own = isPage ? [...above, ...words(heading)] : words(heading);
    // A section may leave words to the title of its page, but not all.
    const inOwn = wanted.map((word, number) => Math.max(counted(own, word, isPage ? IN_TITLE : IN_HEADING), texts[number]?.get(at) ?? 0));
    const scores = wanted.map((word, number) => Math.max(inOwn[number] ?? 0, counted(above, word, IN_TEXT)));
    if (scores.includes(0) || inOwn.every((score) => score === 0)) continue;
    // Of two headings with the same words, the shorter one says less else.
    const score = scores.reduce((sum, one) => sum + one, 1 / (2 + own.length));
    rows.push({ score, found: { href: `/docs/${name}${isPage ? '' : `#${anchor}`}`, title: isPage ? title : heading, page: isPage ? '' : title, line } });
  }
  return rows.sort((one, other) => other.score - one.score).map((row) => row.found);
}
