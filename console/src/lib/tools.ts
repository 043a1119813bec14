// How each tool is told to talk to this server.

export interface Tool {
  id: string;
  name: string;
  note?: string;
  /** A file or a shell, and what goes into it. */
  snippets: (at: Place) => { label: string; text: string }[];
}

export interface Place {
  origin: string;
  key: string;
  model: string;
}

const CURL = ({ origin, key, model }: Place) =>
  `curl ${origin}/v1/chat/completions \\\n  -H "Authorization: Bearer ${key}" \\\n  -H "Content-Type: application/json" \\\n  -d '{"model": "${model}", "messages": [{"role": "user", "content": "Hello, tide."}]}'`;

export const TOOLS: Tool[] = [
  { id: 'curl', name: 'curl', snippets: (at) => [{ label: 'a shell', text: CURL(at) }] },
  {
    id: 'python',
    name: 'OpenAI SDK, Python',
    snippets: ({ origin, key, model }) => [
      {
        label: 'Python',
        text: `from openai import OpenAI\n\nclient = OpenAI(base_url="${origin}/v1", api_key="${key}")\nanswer = client.chat.completions.create(\n    model="${model}",\n    messages=[{"role": "user", "content": "Hello, tide."}],\n)\nprint(answer.choices[0].message.content)`,
      },
    ],
  },
  {
    id: 'node',
    name: 'OpenAI SDK, Node',
    snippets: ({ origin, key, model }) => [
      {
        label: 'JavaScript',
        text: `import OpenAI from 'openai';\n\nconst client = new OpenAI({ baseURL: '${origin}/v1', apiKey: '${key}' });\nconst answer = await client.chat.completions.create({\n  model: '${model}',\n  messages: [{ role: 'user', content: 'Hello, tide.' }],\n});\nconsole.log(answer.choices[0].message.content);`,
      },
    ],
  },
  {
    id: 'env',
    name: 'Environment',
    note: 'Most tools that speak OpenAI read these two.',
    snippets: ({ origin, key }) => [{ label: 'a shell', text: `export OPENAI_BASE_URL=${origin}/v1\nexport OPENAI_API_KEY=${key}` }],
  },
  {
    id: 'vercel',
    name: 'Vercel AI SDK',
    snippets: ({ origin, key, model }) => [
      {
        label: 'TypeScript',
        text: `import { createOpenAICompatible } from '@ai-sdk/openai-compatible';\nimport { generateText } from 'ai';\n\nconst tidegate = createOpenAICompatible({\n  name: 'tidegate',\n  baseURL: '${origin}/v1',\n  apiKey: '${key}',\n  includeUsage: true,\n});\nconst { text } = await generateText({ model: tidegate('${model}'), prompt: 'Hello, tide.' });`,
      },
    ],
  },
  {
    id: 'langchain',
    name: 'LangChain',
    snippets: ({ origin, key, model }) => [
      { label: 'Python', text: `from langchain_openai import ChatOpenAI\n\nchat = ChatOpenAI(model="${model}", base_url="${origin}/v1", api_key="${key}")\nprint(chat.invoke("Hello, tide.").content)` },
    ],
  },
  {
    id: 'opencode',
    name: 'opencode',
    snippets: ({ origin, key, model }) => [
      {
        label: 'opencode.json',
        text: JSON.stringify({ provider: { tidegate: { npm: '@ai-sdk/openai-compatible', options: { baseURL: `${origin}/v1`, apiKey: key }, models: { [model]: {} } } } }, null, 2),
      },
    ],
  },
  {
    id: 'aider',
    name: 'aider',
    snippets: ({ origin, key, model }) => [{ label: 'a shell', text: `export OPENAI_API_BASE=${origin}/v1\nexport OPENAI_API_KEY=${key}\naider --model openai/${model}` }],
  },
  {
    id: 'continue',
    name: 'Continue',
    snippets: ({ origin, key, model }) => [{ label: 'config.yaml', text: `models:\n  - name: Tidegate\n    provider: openai\n    model: ${model}\n    apiBase: ${origin}/v1\n    apiKey: ${key}` }],
  },
  {
    id: 'cursor',
    name: 'Cursor',
    note: 'Cursor calls from its own servers: they can’t reach this machine’s loopback or private address. Give the server a public address first (TIDEGATE_PUBLIC_URL) and the tool a key of its own.',
    snippets: ({ origin, key, model }) => [{ label: 'Settings, Models', text: `OpenAI API key:            ${key}\nOverride OpenAI base URL:  ${origin}/v1\nModel:                     ${model}` }],
  },
  {
    id: 'tidegate',
    name: 'tidegate',
    note: 'The command line of this server.',
    snippets: ({ origin, key, model }) => [{ label: 'a shell', text: `export TIDEGATE_URL=${origin}\nexport TIDEGATE_API_KEY=${key}\ntidegate chat ${model} "Hello, tide."` }],
  },
];
