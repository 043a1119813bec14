// Which literals and attributes are texts that a person reads. Markup always is; in scripts it is decided by where a literal stands and how it looks.

/** Attributes and properties of components that are shown or read aloud. */
export const SHOWN = new Set(
  ('alt aria-label aria-roledescription aria-valuetext detail empty exact hint label leftWord listed none note noun placeholder region shown title unit unset verb what words').split(' '),
);

/** Shown where they hold more than one word: elsewhere they name an icon or a field. */
export const SHOWN_AS_PROSE = new Set(['name']);

/** Elements whose content is code or computed, never prose. */
export const VERBATIM = new Set(['code', 'kbd', 'pre', 'samp', 'script', 'style']);

/** Elements that stand within a sentence: together with the words around them they're one message. */
export const INLINE = new Set(['a', 'abbr', 'b', 'br', 'code', 'em', 'i', 'kbd', 'mark', 'q', 's', 'samp', 'small', 'span', 'strong', 'sub', 'sup', 'time', 'u', 'var']);

/** Properties of objects whose values are for programs. */
export const PROGRAM_KEYS = new Set('key path class type id href method command accept format language code body url scope filter download'.split(' '));

/** Methods that change how a value looks: what they are called on names it better than they do. */
export const METHODS = new Set('toLowerCase toUpperCase toString toFixed replace replaceAll join map flatMap filter slice trim at'.split(' '));

/** Functions whose arguments are for programs. */
export const PROGRAM_CALLS = new Set(
  ('get post put patch remove address link here navigate outdate refresh has set append delete includes startsWith endsWith indexOf split querySelector querySelectorAll closest matchMedia ' +
    'getElementById addEventListener removeEventListener getItem setItem removeItem setAttribute getAttribute createElement createElementNS term RegExp URL Intl NumberFormat DateTimeFormat ' +
    'Collator lastIndexOf replace setRequestHeader Blob File Headers Request fetch import getContext verbatim parameters replaceAll localeCompare test match toLocaleString').split(' '),
);

/** What looks like prose and isn't: headers, media types, commands, addresses, names of CSS classes, fonts, drawn paths. */
const PROGRAM: RegExp[] = [
  /^[/#?&.:]/,
  /^https?:/,
  /^[A-Z][A-Za-z]*(-[A-Z][A-Za-z]*)+$/,
  /^(tidegate|curl|export|npm|pip|docker|data|Bearer) /,
  /^(Arrow(Up|Down|Left|Right)|Enter|Escape|Home|End|Tab|Shift|Backspace|Delete|Page(Up|Down))$/,
  /^[a-z]+(-[a-z]+)*( (end|hide-[sml]|[a-z]+(-[a-z]+)+))+$/,
  /^--/,
  /^\([a-z-]+: [a-z]+\)$/,
  /^import /,
  /^bytes 9/,
  /^(minmax|translate)\(/,
  /^M\d/,
  /^ --\w/,
  /^Agent-/,
  /^(9 )?(outcome|attempts|status|profile):/,
  /^hide-/,
  /[{}]/,
  /\b(var\(--|calc\()/,
  /^[a-z_]+=\S+$/,
];

/** Names of errors, signatures, storage and languages; queries of style sheets; words of other languages' code. */
const NAMES = new Set(['AbortError', 'Ed25519', 'tidegate.', 'None', 'True', 'False', 'Ctrl', 'Esc']);

const PROSE = /^\p{Lu}\p{Ll}|\p{L}[,.:;!?’)]? \(?[\p{L}“]|\p{L}{2,}[.!?]$|^[,;]? \p{L}{2,} $/u;

/** A literal of a script that reads like prose: it begins with a capital letter, has several words, or is a sentence. */
export function isProse(text: string): boolean {
  return PROSE.test(text) && !NAMES.has(text) && !PROGRAM.some((pattern) => pattern.test(text));
}

/** The same of a template: a word beside a value is enough. */
export function isProseAround(pieces: string[]): boolean {
  const filled = pieces.join('9');
  return (PROSE.test(filled) || /9,? \p{L}{2,}|\p{L}{2,},? 9/u.test(filled)) && !PROGRAM.some((pattern) => pattern.test(filled));
}

/** Examples in empty fields: names, addresses and JSON as they are typed. */
export function isExample(text: string): boolean {
  return /^[[{]|^\S*[\d_/@=:.-]\S*$|^\S+[.=]\S+, \S+[.=]\S+$/.test(text.replace(/…$/, ''));
}

export function hasWords(text: string): boolean {
  return !/^[[{]"|^https?:/.test(text) && /\p{L}{2,}|\p{L}.*\s/u.test(text.replace(/&[a-z]+;/g, ''));
}
