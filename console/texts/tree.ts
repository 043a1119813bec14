// What the trees of Svelte and of scripts have in common for finding texts: kinds of nodes, their children, names for their values.

import { INLINE, METHODS, VERBATIM } from './rules.ts';

/** A node of Svelte's or of the script's tree: only its place in the source and its type are the same everywhere. */
export type Node = any;

/** Names of the slots of one message: each once, so that a translator can tell them apart. */
export class Names {
  private readonly taken = new Map<string, number>();

  take(name: string): string {
    const times = (this.taken.get(name) ?? 0) + 1;
    this.taken.set(name, times);
    return times === 1 ? name : `${name}${times}`;
  }
}

export function nameOf(node: Node): string {
  switch (node.type) {
    case 'ExpressionTag':
    case 'HtmlTag':
    case 'RenderTag':
    case 'TSNonNullExpression':
    case 'TSAsExpression':
    case 'ChainExpression':
    case 'AwaitExpression':
      return nameOf(node.expression);
    case 'Identifier':
      return node.name;
    case 'MemberExpression':
      return node.computed ? nameOf(node.object) : node.property.name === 'length' ? nameOf(node.object) : node.property.name;
    case 'CallExpression':
      if (METHODS.has(node.callee.property?.name)) return nameOf(node.callee.object);
      return node.arguments[0] && /^(Identifier|MemberExpression|TSNonNullExpression|CallExpression)$/.test(node.arguments[0].type) ? nameOf(node.arguments[0]) : nameOf(node.callee);
    case 'NewExpression':
      return node.arguments[0] ? nameOf(node.arguments[0]) : 'value';
    case 'LogicalExpression':
    case 'BinaryExpression':
      return nameOf(node.left);
    case 'RegularElement':
    case 'Component':
      return node.name.toLowerCase();
    case 'IfBlock':
      return 'if';
    case 'EachBlock':
      return 'each';
    default:
      return 'value';
  }
}

/** What an attribute's value is as far as it's written out. */
export function textOf(value: Node): string {
  return value.type === 'Text' ? value.data : isText(value.expression) ? (value.expression.value ?? value.expression.quasis?.[0]?.value.cooked ?? '') : '';
}

export function isText(node: Node): boolean {
  return (node?.type === 'Literal' && typeof node.value === 'string') || node?.type === 'TemplateLiteral';
}

/** What may stand within a line of text. */
export function isInline(node: Node): boolean {
  if (node.type === 'RegularElement') return INLINE.has(node.name);
  if (node.type === 'IfBlock') return [node.consequent, node.alternate].every((part) => !part || part.nodes.every(isInline));
  if (node.type === 'EachBlock') return node.body.nodes.every(isInline);
  return ['Text', 'ExpressionTag', 'RenderTag', 'HtmlTag'].includes(node.type);
}

/** What a message may begin or end with: words and values, but no icon and no block that stands before or after them. */
export function isSaid(node: Node): boolean {
  if (node.type === 'Text') return node.raw.trim() !== '';
  return node.type === 'ExpressionTag' || (node.type === 'RegularElement' && (hasText(node) || VERBATIM.has(node.name)));
}

export function hasText(node: Node): boolean {
  return node.fragment.nodes.some((one: Node) => (one.type === 'Text' && one.raw.trim() !== '') || one.type === 'ExpressionTag' || (one.type === 'RegularElement' && hasText(one)));
}

export function children(node: Node): Node[] {
  return Object.entries(node).flatMap(([name, value]) => {
    if (['loc', 'leadingComments', 'trailingComments', 'typeAnnotation', 'returnType', 'typeParameters', 'typeArguments', 'superTypeParameters', 'metadata'].includes(name)) return [];
    const list = Array.isArray(value) ? value : [value];
    return list.filter((one) => one && typeof one === 'object' && typeof (one as Node).type === 'string');
  });
}
