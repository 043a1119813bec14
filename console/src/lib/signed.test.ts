import { expect, test } from 'vitest';
import { canonical, check } from './signed';

const hex = (bytes: ArrayBuffer): string => [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, '0')).join('');

test('what is signed can be written by others', () => {
  expect(canonical({ b: [1, -2, null, true], a: { z: 'é\n\u0001"', y: '' } })).toBe('{"a":{"y":"","z":"é\\n\\u0001\\""},"b":[1,-2,null,true]}');
});

test('a document holds with its own key, until it is changed', async () => {
  const { publicKey, privateKey } = (await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify'])) as CryptoKeyPair;
  const public_key = hex(await crypto.subtle.exportKey('raw', publicKey));
  const signed = { object: 'purge_receipt', public_key, processors: [{ after: 0, before: 2 }] };
  const signature = hex(await crypto.subtle.sign('Ed25519', privateKey, new TextEncoder().encode(canonical(signed))));
  const document = { ...signed, signature };
  expect(await check(document, public_key)).toBe('holds');
  expect(await check({ ...document, object: 'audit' } as typeof document, public_key)).toBe('forged');
  expect(await check(document, '0'.repeat(64))).toBe('forged');
});
