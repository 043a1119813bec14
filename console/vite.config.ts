import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';
import { compress } from './compress.ts';
import { texts } from './texts/translate.ts';

const target = process.env.TIDEGATE_URL ?? 'http://127.0.0.1:8787';
const proxy = Object.fromEntries(['/v1', '/v2', '/health'].map((path) => [path, { target }]));

export default defineConfig({
  plugins: [...texts(), svelte(), compress()],
  build: {
    outDir: 'dist/app',
    emptyOutDir: true,
    target: 'es2022',
    // The page loads its first scripts itself; an inlined asset would need `data:` in the content policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rolldownOptions: {
      checks: { pluginTimings: false },
      output: {
        // What pages share comes in one piece, not in thirty.
        codeSplitting: { groups: [{ name: 'shared', test: /src\/(lib|parts)\/|node_modules/, minShareCount: 2 }] },
      },
    },
  },
  server: { proxy },
  preview: { proxy },
  test: { include: ['src/**/*.test.ts', 'texts/**/*.test.ts'], environment: 'node' },
});
