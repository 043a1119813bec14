// Finds the texts of a source: what a Svelte component or a module shows to a person, with the places where values and elements stand in it.

import { parse } from 'svelte/compiler';
import { hasWords, isExample, isProse, isProseAround, PROGRAM_CALLS, PROGRAM_KEYS, SHOWN, SHOWN_AS_PROSE, VERBATIM } from './rules.ts';
import { children, hasText, isInline, isSaid, isText, nameOf, Names, type Node, textOf } from './tree.ts';

/** A part of the source that a message refers to: `{name}` a value, `<name>` and `</name>` the two ends of an element. */
export interface Slot {
  token: string;
  start: number;
  end: number;
}

export type Kind = 'markup' | 'attribute' | 'literal' | 'template' | 'plural';

export interface Found {
  start: number;
  end: number;
  kind: Kind;
  message: string;
  slots: Slot[];
  place: string;
}

const SCRIPT = '<script lang="ts">';

export function find(source: string, path: string): Found[] {
  if (path.endsWith('.svelte')) return new Finder(source).component();
  const wrapped = `${SCRIPT}${source}\n</script>`;
  return new Finder(wrapped).component().map((one) => moved(one, -SCRIPT.length));
}

function moved(found: Found, by: number): Found {
  const move = <T extends { start: number; end: number }>(one: T): T => ({ ...one, start: one.start + by, end: one.end + by });
  return { ...move(found), slots: found.slots.map(move) };
}

class Finder {
  private readonly found: Found[] = [];

  constructor(private readonly source: string) {}

  component(): Found[] {
    const tree: Node = parse(this.source, { modern: true });
    if (tree.module) this.script(tree.module.content, undefined, 'script');
    if (tree.instance) this.script(tree.instance.content, undefined, 'script');
    this.fragment(tree.fragment.nodes, 'page');
    return this.found.sort((a, b) => a.start - b.start || b.end - a.end);
  }

  /** Neighbours that stand on one line of text are one message, so that a translation may change their order. */
  private fragment(nodes: Node[], place: string): void {
    let run: Node[] = [];
    const flush = () => {
      this.run(run, place);
      run = [];
    };
    for (const node of nodes) {
      if (isInline(node)) run.push(node);
      else {
        flush();
        this.node(node, place);
      }
    }
    flush();
  }

  private run(nodes: Node[], place: string): void {
    const first = nodes.findIndex(isSaid);
    const last = nodes.findLastIndex(isSaid);
    const own = nodes.slice(first, last + 1);
    if (first < 0 || !own.some((node) => node.type === 'Text' && hasWords(node.raw))) {
      for (const node of nodes) this.node(node, place);
      return;
    }
    for (const node of [...nodes.slice(0, first), ...nodes.slice(last + 1)]) this.node(node, place);
    const names = new Names();
    const slots: Slot[] = [];
    const raw = own.map((node) => this.piece(node, names, slots, place)).join('');
    const lead = raw.length - raw.trimStart().length;
    const trail = raw.length - raw.trimEnd().length;
    const start = own[0].start + (own[0].type === 'Text' ? lead : 0);
    const end = own.at(-1).end - (own.at(-1).type === 'Text' ? trail : 0);
    this.found.push({ start, end, kind: 'markup', message: raw.trim().replace(/\s+/g, ' '), slots, place });
  }

  /** The message of one node of a sentence; what lies within its tags is looked through as well. */
  private piece(node: Node, names: Names, slots: Slot[], place: string): string {
    if (node.type === 'Text') return node.raw;
    this.insides(node, place);
    if (node.type === 'RegularElement' && !VERBATIM.has(node.name) && hasText(node)) {
      const token = names.take(node.name);
      const [opened, closed] = [node.fragment.nodes[0].start, node.fragment.nodes.at(-1).end];
      slots.push({ token: `<${token}>`, start: node.start, end: opened });
      const inner = node.fragment.nodes.map((child: Node) => this.piece(child, names, slots, node.name)).join('');
      slots.push({ token: `</${token}>`, start: closed, end: node.end });
      return `<${token}>${inner}</${token}>`;
    }
    const token = `{${names.take(nameOf(node))}}`;
    slots.push({ token, start: node.start, end: node.end });
    return token;
  }

  /** What a node of a sentence holds besides the words that belong to the sentence. */
  private insides(node: Node, place: string): void {
    if (node.type === 'RegularElement' && !VERBATIM.has(node.name) && hasText(node)) this.attributes(node);
    else this.node(node, place);
  }

  private node(node: Node, place: string): void {
    if (node.type === 'Text' || node.type === 'Comment') return;
    if (node.type === 'ExpressionTag') return this.value(node.expression, place);
    if (node.attributes) this.attributes(node);
    const within = node.name ?? place;
    if (node.fragment) {
      if (VERBATIM.has(node.name)) for (const child of node.fragment.nodes) this.node(child, within);
      else this.fragment(node.fragment.nodes, within);
    }
    for (const part of ['body', 'consequent', 'alternate', 'pending', 'then', 'catch', 'fallback']) if (node[part]?.nodes) this.fragment(node[part].nodes, place);
    for (const part of ['expression', 'test', 'context', 'declaration', 'key']) if (node[part]?.type) this.script(node[part], node, place);
  }

  private attributes(node: Node): void {
    for (const attribute of node.attributes) {
      if (attribute.type !== 'Attribute') {
        if (attribute.expression?.type) this.script(attribute.expression, attribute, node.name);
        continue;
      }
      if (attribute.value !== true) this.attribute(attribute, node.name);
    }
  }

  private attribute(attribute: Node, element: string): void {
    const values: Node[] = Array.isArray(attribute.value) ? attribute.value : [attribute.value];
    const place = `${element} ${attribute.name}`;
    if (attribute.name === 'placeholder' && values.every((value) => isExample(textOf(value)))) return;
    const isShown = SHOWN.has(attribute.name);
    const words = values.map((value) => (value.type === 'Text' ? value.data : 'value')).join('');
    if (values.some((value) => value.type === 'Text') && (isShown ? values.some((value) => value.type === 'Text' && hasWords(value.data)) : SHOWN_AS_PROSE.has(attribute.name) && / /.test(words))) {
      const names = new Names();
      const slots: Slot[] = [];
      const message = values.map((value) => (value.type === 'Text' ? value.data : this.piece(value, names, slots, place))).join('');
      this.found.push({ start: values[0].start, end: values.at(-1).end, kind: 'attribute', message, slots, place });
      return;
    }
    for (const value of values) {
      if (value.type !== 'ExpressionTag') continue;
      if (isShown) this.value(value.expression, place);
      else if (attribute.name === 'options') this.options(value.expression, place);
      else if (attribute.name !== 'class' && attribute.name !== 'href' && attribute.name !== 'name') this.script(value.expression, attribute, place);
    }
  }

  /** An expression whose outcome is shown: all that it may come to is a text. */
  private value(node: Node, place: string): void {
    if (node.type === 'ConditionalExpression') {
      this.script(node.test, node, place);
      this.value(node.consequent, place);
      this.value(node.alternate, place);
    } else if (node.type === 'LogicalExpression') {
      if (node.operator === '&&') this.script(node.left, node, place);
      else this.value(node.left, place);
      this.value(node.right, place);
    } else if (isText(node)) this.literal(node, place, true);
    else this.script(node, undefined, place);
  }

  /** Of pairs of a value and its words only the words. */
  private options(node: Node, place: string): void {
    if (node.type !== 'ArrayExpression') return this.script(node, undefined, place);
    for (const pair of node.elements) {
      if (pair?.type === 'ArrayExpression' && pair.elements.length === 2) this.value(pair.elements[1], place);
      else if (pair) this.script(pair, node, place);
    }
  }

  private script(node: Node, parent: Node, place: string): void {
    if (!node || (node.type.startsWith('TS') && !node.expression) || /^(Import|ExportAll)/.test(node.type) || node.type === 'TaggedTemplateExpression') return;
    if (isText(node)) return this.literal(node, place, false);
    if (node.type === 'CallExpression' || node.type === 'NewExpression') return this.call(node, place);
    if (node.type === 'Property') {
      if (node.computed) this.script(node.key, node, place);
      const name = String(node.key.name ?? node.key.value);
      if (PROGRAM_KEYS.has(name)) return this.program(node.value, place);
      return SHOWN.has(name) ? this.value(node.value, name) : this.script(node.value, node, place);
    }
    if (node.type === 'BinaryExpression' && node.operator !== '+') {
      for (const side of [node.left, node.right]) if (!isText(side)) this.script(side, node, place);
      return;
    }
    if (node.type === 'MemberExpression' && node.computed && node.property.type === 'Literal') return this.script(node.object, node, place);
    if (node.type === 'SwitchCase') return node.consequent.forEach((one: Node) => this.script(one, node, place));
    for (const child of children(node)) this.script(child, node, place);
  }

  private call(node: Node, place: string): void {
    const name: string = node.callee.property?.name ?? node.callee.name ?? '';
    if (node.callee.type !== 'Identifier') this.script(node.callee, node, place);
    if (name === 'many' && node.arguments[1]?.type === 'Literal') {
      this.script(node.arguments[0], node, place);
      const { start, end, value } = node.arguments[1];
      this.found.push({ start, end, kind: 'plural', message: value, slots: [], place });
      return;
    }
    for (const argument of node.arguments) {
      if (!isText(argument)) this.script(argument, node, place);
      else if (name === 't') this.literal(argument, place, true);
      else if (PROGRAM_CALLS.has(name)) this.holes(argument, place);
      else this.literal(argument, place, false);
    }
  }

  private literal(node: Node, place: string, isShown: boolean): void {
    if (node.type === 'Literal') {
      if (isShown ? hasWords(node.value) : isProse(node.value)) this.found.push({ start: node.start, end: node.end, kind: 'literal', message: node.value, slots: [], place });
      return;
    }
    const cooked: string[] = node.quasis.map((one: Node) => one.value.cooked);
    if (!cooked.some(hasWords) || !(isShown || isProseAround(cooked))) return this.holes(node, place);
    const names = new Names();
    const slots: Slot[] = [];
    const message = cooked.reduce((words, next, at) => {
      const hole = node.expressions[at - 1];
      const token = `{${names.take(nameOf(hole))}}`;
      slots.push({ token, start: hole.start, end: hole.end });
      return words + token + next;
    });
    for (const hole of node.expressions) this.value(hole, place);
    this.found.push({ start: node.start, end: node.end, kind: 'template', message, slots, place });
  }

  /** A value for programs: of its literals only what stands in their holes may be a text. */
  private program(node: Node, place: string): void {
    if (isText(node)) return this.holes(node, place);
    if (!/^(Conditional|Logical)Expression$/.test(node.type)) return this.script(node, undefined, place);
    for (const part of [node.test, node.left, node.right, node.consequent, node.alternate]) if (part) this.program(part, place);
  }

  private holes(node: Node, place: string): void {
    for (const hole of node.expressions ?? []) this.script(hole, node, place);
  }
}
