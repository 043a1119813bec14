// A document of a flow as it is typed: its value, and the line on which each of its places begins.

export interface TypedDocument {
  /** Absent where the text is not JSON. */
  value?: unknown;
  /** Why it is not. */
  problem?: { line: number; message: string };
  /** By JSON pointer. */
  lines: Map<string, number>;
}

class Mistake extends Error {
  constructor(
    readonly at: number,
    message: string,
  ) {
    super(message);
  }
}

const WORD = /true|false|null|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const TEXT = /"(?:[^"\\\n]|\\.)*"/y;
const DEPTH_MAX = 200;

class Reader {
  private at = 0;
  private line = 1;
  private seen = 0;
  readonly lines = new Map<string, number>();

  constructor(private readonly text: string) {}

  document(): unknown {
    const value = this.value('', 0);
    this.blank();
    if (this.at < this.text.length) throw new Mistake(this.at, 'Unexpected text after the end of the document.');
    return value;
  }

  lineAt(place: number): number {
    for (; this.seen < place; this.seen += 1) if (this.text[this.seen] === '\n') this.line += 1;
    return this.line;
  }

  private blank(): void {
    while (/\s/.test(this.text[this.at] ?? '')) this.at += 1;
  }

  /** Takes this sign, if it comes next. */
  private takes(sign: string): boolean {
    this.blank();
    if (this.text[this.at] !== sign) return false;
    this.at += 1;
    return true;
  }

  private literal(form: RegExp, what: string): string {
    this.blank();
    form.lastIndex = this.at;
    const found = form.exec(this.text)?.[0];
    if (found === undefined) throw new Mistake(this.at, what);
    this.at += found.length;
    return found;
  }

  private string(what: string): string {
    const from = this.at;
    try {
      return JSON.parse(this.literal(TEXT, what)) as string;
    } catch (error) {
      throw error instanceof Mistake ? error : new Mistake(from, 'This string has an invalid escape or a control character.');
    }
  }

  private value(pointer: string, depth: number): unknown {
    if (depth > DEPTH_MAX) throw new Mistake(this.at, `Values can be nested at most ${DEPTH_MAX} levels deep.`);
    this.blank();
    if (!this.lines.has(pointer)) this.lines.set(pointer, this.lineAt(this.at));
    if (this.takes('{')) return this.object(pointer, depth);
    if (this.takes('[')) return this.array(pointer, depth);
    if (this.text[this.at] === '"') return this.string('This string isn’t closed on its line.');
    return JSON.parse(this.literal(WORD, 'Expected a value.'));
  }

  private object(pointer: string, depth: number): unknown {
    const fields: [string, unknown][] = [];
    if (this.takes('}')) return {};
    do {
      this.blank();
      const from = this.at;
      const name = this.string('Expected a property name in double quotes.');
      const place = `${pointer}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
      this.lines.set(place, this.lineAt(from));
      if (!this.takes(':')) throw new Mistake(this.at, 'Expected a colon.');
      fields.push([name, this.value(place, depth + 1)]);
    } while (this.takes(','));
    if (!this.takes('}')) throw new Mistake(this.at, 'Expected a comma or a closing brace.');
    return Object.fromEntries(fields);
  }

  private array(pointer: string, depth: number): unknown {
    const items: unknown[] = [];
    if (this.takes(']')) return items;
    do items.push(this.value(`${pointer}/${items.length}`, depth + 1));
    while (this.takes(','));
    if (!this.takes(']')) throw new Mistake(this.at, 'Expected a comma or a closing bracket.');
    return items;
  }
}

export function readDocument(text: string): TypedDocument {
  const reader = new Reader(text);
  try {
    return { value: reader.document(), lines: reader.lines };
  } catch (error) {
    if (!(error instanceof Mistake)) throw error;
    return { problem: { line: reader.lineAt(Math.min(error.at, text.length)), message: error.message }, lines: reader.lines };
  }
}

/** The line of a place, or of what it would be in. */
export function lineOf(lines: Map<string, number>, pointer: string): number {
  for (let place = pointer; place !== ''; place = place.slice(0, place.lastIndexOf('/'))) {
    const line = lines.get(place);
    if (line !== undefined) return line;
  }
  return lines.get('') ?? 1;
}

export interface Difference {
  path: string;
  before?: unknown;
  after?: unknown;
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** What differs between two documents, place by place, as the server compares versions. */
export function differences(before: unknown, after: unknown, path = ''): Difference[] {
  if (isRecord(before) && isRecord(after)) {
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
    return names.flatMap((name) => differences(before[name], after[name], `${path}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`));
  }
  if (Array.isArray(before) && Array.isArray(after)) {
    const places = Array.from({ length: Math.max(before.length, after.length) }, (_, place) => place);
    return places.flatMap((place) => differences(before[place], after[place], `${path}/${place}`));
  }
  return JSON.stringify(before) === JSON.stringify(after) ? [] : [{ path, before, after }];
}
