// What the palette finds.

/** Whether each word that was typed begins a word of the name, in any order; a part of a name that is one word is found anywhere in it. */
export function has(name: string, wanted: string): boolean {
  const text = name.toLowerCase();
  return text.includes(wanted) || wanted.split(/\s+/).every((word) => text.split(/[\s/._-]+/).some((one) => one.startsWith(word)));
}
