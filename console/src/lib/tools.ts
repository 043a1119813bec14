// The tools that can be pointed at this server: a part of the table from which docs/clients.md comes too.

import clients from './clients.json';

export interface Tool {
  id: string;
  name: string;
  group: string;
  note?: string;
  snippet: Snippet[];
  /** The tests that drive this very tool. */
  tests: string[];
}

export interface Snippet {
  /** The file or the language. */
  label: string;
  language: string;
  text: string;
}

export interface Place {
  url: string;
  key: string;
  model: string;
}

export const TOOLS: readonly Tool[] = clients;

/** A snippet with its placeholders filled in. */
export function fill(text: string, place: Place): string {
  return text.trimEnd().replace(/\{(url|key|model)\}/g, (_, name: keyof Place) => place[name]);
}

/** The tools that a search finds, in their groups. */
export function grouped(find: string): { group: string; tools: Tool[] }[] {
  const words = find.toLowerCase().split(/\s+/).filter(Boolean);
  const groups: { group: string; tools: Tool[] }[] = [];
  for (const tool of TOOLS) {
    const text = [tool.name, tool.id, tool.group, ...tool.snippet.map((one) => `${one.label} ${one.language}`)].join(' ').toLowerCase();
    if (!words.every((word) => text.includes(word))) continue;
    const group = groups.find((one) => one.group === tool.group);
    if (group) group.tools.push(tool);
    else groups.push({ group: tool.group, tools: [tool] });
  }
  return groups;
}

/** A note's Markdown as pieces of text and code; what it links to is a page of the docs, and stays a name here. */
export function pieces(note: string): { text: string; isCode: boolean }[] {
  const plain = note.trim().replace(/\[([^\]]*)\]\([^)]*\)/g, '$1');
  return plain.split('`').flatMap((text, at) => (text === '' ? [] : [{ text, isCode: at % 2 === 1 }]));
}
