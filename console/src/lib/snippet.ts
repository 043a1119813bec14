// A call of the chat format as a command or a program. The key is read from the environment, and stands in none of them.

export const LANGUAGES = [
  ['curl', 'curl'],
  ['python', 'Python'],
  ['typescript', 'TypeScript'],
] as const;
export type Language = (typeof LANGUAGES)[number][0];

export interface Body {
  model: string;
  messages: readonly unknown[];
  [more: string]: unknown;
}

/** What stands in for messages that are not there to show. */
export const EXAMPLE = [{ role: 'user', content: 'Hello, tide.' }];

export function code(language: Language, origin: string, body: Body): string {
  // The streams of both SDKs are read another way, so what is copied asks for a whole answer.
  const { stream: _, stream_options: __, ...whole } = JSON.parse(JSON.stringify(body)) as Body;
  switch (language) {
    case 'curl':
      return `curl ${origin}/v1/chat/completions \\\n  -H "Authorization: Bearer $TIDEGATE_API_KEY" \\\n  -H "Content-Type: application/json" \\\n  -d '${JSON.stringify(whole, null, 2).replaceAll("'", `'\\''`)}'`;
    case 'python':
      return `import os\n\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${origin}/v1", api_key=os.environ["TIDEGATE_API_KEY"])\nanswer = client.chat.completions.create(\n${Object.entries(whole).map(([name, value]) => `    ${name}=${python(value, 1)},`).join('\n')}\n)\nprint(answer.choices[0].message.content)`;
    case 'typescript':
      return `import OpenAI from 'openai';\n\nconst client = new OpenAI({ baseURL: '${origin}/v1', apiKey: process.env.TIDEGATE_API_KEY });\nconst answer = await client.chat.completions.create(${JSON.stringify(whole, null, 2)});\nconsole.log(answer.choices[0].message.content);`;
  }
}

/** A JSON value as Python writes it. */
function python(value: unknown, depth: number): string {
  const inner = '    '.repeat(depth + 1);
  const outer = '    '.repeat(depth);
  if (value === null || value === undefined) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value !== 'object') return JSON.stringify(value);
  const isList = Array.isArray(value);
  const rows = isList ? value.map((one) => python(one, depth + 1)) : Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${python(one, depth + 1)}`);
  const [begin, end] = isList ? ['[', ']'] : ['{', '}'];
  const short = `${begin}${rows.join(', ')}${end}`;
  if (short.length <= 72 && !short.includes('\n')) return short;
  return `${begin}\n${rows.map((row) => `${inner}${row},`).join('\n')}\n${outer}${end}`;
}
