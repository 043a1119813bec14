import { expect, test } from 'vitest';
import { appFields, appInput, blobOf, shown, variants } from './apps';

const schema = {
  properties: {
    size: { type: ['string', 'null'], title: 'Size' },
    text: { type: 'string', description: 'Another name of `prompt`.' },
    prompt: { type: 'string', title: 'Prompt' },
    n: { type: ['integer', 'null'] },
    image: { type: ['string', 'object', 'null'], format: 'file' },
    images: { type: ['array', 'null'], items: { format: 'file' } },
    times: { type: ['string', 'null'], enum: ['segment', 'word', null] },
    tools: { type: ['array', 'null'], items: { type: 'object' } },
    translate: { type: ['boolean', 'null'] },
  },
  anyOf: [{ required: ['prompt'] }, { required: ['text'] }],
};

test('a form has what is needed first, and no field twice', () => {
  const fields = appFields(schema);
  expect(fields.map((field) => [field.name, field.kind, field.isRequired])).toEqual([
    ['prompt', 'long', true],
    ['size', 'text', false],
    ['n', 'number', false],
    ['image', 'file', false],
    ['images', 'files', false],
    ['times', 'choice', false],
    ['tools', 'json', false],
    ['translate', 'flag', false],
  ]);
  expect(fields.find((field) => field.name === 'times')?.options).toEqual(['segment', 'word']);
  expect(variants(schema)).toEqual([schema]);
  expect(variants({ anyOf: [schema, schema] })).toHaveLength(2);
});

test('what is typed is what the app takes', () => {
  const typed = { prompt: ' a ', n: '2', size: '', times: 'word', tools: '[{"a":1}]', translate: 'true', images: 'https://h/a https://h/b' };
  expect(appInput(appFields(schema), typed, { image: ['data:image/png;base64,AA=='] })).toEqual({
    prompt: 'a', n: 2, times: 'word', tools: [{ a: 1 }], translate: true, image: 'data:image/png;base64,AA==', images: ['https://h/a', 'https://h/b'],
  });
  expect(appInput(appFields(schema), { tools: '[', n: 'x' }, {})).toEqual({ tools: '[', n: 'x' });
});

test('what came out is a text, something to look at, and the rest', () => {
  const output = { response: 'hi', images: [{ uri: 'data:image/png;base64,AA==', content_type: 'image/png', width: 4, height: 3 }], usage: {}, results: [{ index: 0 }] };
  expect(shown(output)).toEqual({
    text: 'hi',
    media: [{ kind: 'image', uri: 'data:image/png;base64,AA==', type: 'image/png', note: 'image/png · 4 × 3' }],
    rest: '{\n  "results": [\n    {\n      "index": 0\n    }\n  ]\n}',
  });
  expect(shown(null)).toEqual({ text: '', media: [], rest: '' });
});

test('only pictures, sound and video become something to show', () => {
  expect(blobOf('data:image/png;base64,AAE=')?.size).toBe(2);
  for (const uri of ['data:image/svg+xml;base64,AA==', 'data:text/html;base64,AA==', 'https://h/a.png', 'data:image/png,AA']) expect(blobOf(uri)).toBeUndefined();
});
