import { expect, test } from 'vitest';
import { DRAWN_MAX, HEIGHT, WIDTH, fleetMap, inWords, mapNode, siteOf } from './fleet-map';
import type { ComputeNode, PeersOfNode } from './wire';

function node(name: string, more: Partial<ComputeNode> = {}): ComputeNode {
  return { id: `node_${name}`, name, base_url: 'http://a/v1', status: 'ready', models: [], models_declared: false, labels: [], has_secret: false, last_seen_at: null, last_error: null, server: { facts: [] } as unknown as ComputeNode['server'], created_at: '', ...more };
}

function said(more: object): Partial<ComputeNode> {
  return { joined: { joined_at: '', revoked_at: null, last_heartbeat_at: null, said: { version: '1', runtime: 'engine', device: null, load: { running: 3, waiting: 1, cache_bytes: 50, cache_bytes_max: 200 }, ...more } } };
}

test('a site is a label, and nodes without one come last', () => {
  expect([siteOf(['gpu', 'site:attic']), siteOf(['site=cellar']), siteOf(['site:']), siteOf([])]).toEqual(['attic', 'cellar', 'No site', 'No site']);
  const map = fleetMap([node('a'), node('b', { labels: ['site:b'] }), node('c', { labels: ['site:a'] }), node('d', { labels: ['site:b'] })]);
  expect(map.sites.map((site) => [site.name, site.nodes.length])).toEqual([['a', 1], ['b', 2], ['No site', 1]]);
});

test('boxes do not overlap, and each is inside of its site and of the map', () => {
  for (const width of [280, 560, 900, 3_000]) inside(fleetMap(Array.from({ length: 40 }, (_, place) => node(`n${place}`, { labels: [`site:${place % 3}`] })), [], width), width);
});

function inside(map: ReturnType<typeof fleetMap>, place: number): void {
  expect(map.width).toBeLessThanOrEqual(place);
  const { gateway } = map;
  for (const site of map.sites) expect(site.x >= gateway.x + gateway.width || site.y >= gateway.y + gateway.height).toBe(true);
  const boxes = map.sites.flatMap((site) => site.nodes.map((box) => ({ ...box, site })));
  expect(boxes.length).toBe(40);
  for (const box of boxes) {
    expect(box.x >= box.site.x && box.x + WIDTH <= box.site.x + box.site.width && box.site.x + box.site.width <= map.width).toBe(true);
    expect(box.y >= box.site.y && box.y + HEIGHT <= box.site.y + box.site.height && box.site.y + box.site.height <= map.height).toBe(true);
    for (const other of boxes) {
      if (other !== box) expect(Math.abs(other.x - box.x) >= WIDTH || Math.abs(other.y - box.y) >= HEIGHT).toBe(true);
    }
  }
}

test('what a node reports becomes its load, and a tunnel its way', () => {
  expect(mapNode(node('a', { ...said({}), tunnel: { since: '', round_trip_us: 300 } }))).toMatchObject({ way: 'tunnel', running: 3, waiting: 1, cache: 0.25, roundTripUs: 300 });
  expect(mapNode(node('a'))).toMatchObject({ way: 'direct', running: undefined, cache: undefined, peers: [] });
  // A tunnel that is away is a tunnel all the same, and what the gateway has there counts before what was reported.
  expect(mapNode(node('a', { ...said({}), base_url: 'tunnel://node_a/v1', in_flight: 5 }))).toMatchObject({ way: 'tunnel', running: 5, roundTripUs: undefined });
});

test('connected nodes have one line between them, and others none', () => {
  const peers = (name: string, ...others: string[]) => ({ node_id: `node_${name}`, node: name, peers: others.map((other) => ({ name: other, connected: other !== 'gone' })) }) as PeersOfNode;
  const map = fleetMap([node('a'), node('b', { labels: ['site:x'] }), node('gone')], [peers('a', 'b', 'gone', 'unknown'), peers('b', 'a')]);
  expect(map.meshes.map((mesh) => mesh.key)).toEqual(['a b']);
  expect(inWords(map)).toContain('Connected peers: 1 pair.');
});

test('of a large site some are drawn, and of no nodes the gateway alone', () => {
  const map = fleetMap(Array.from({ length: 100 }, (_, place) => node(`n${place}`)));
  expect([map.sites[0]?.nodes.length, map.sites[0]?.more]).toEqual([DRAWN_MAX, 100 - DRAWN_MAX]);
  expect(fleetMap([])).toMatchObject({ sites: [], lines: [], meshes: [] });
});

test('the map has words', () => {
  const map = fleetMap([node('a', { labels: ['site:attic'], tunnel: { since: '', round_trip_us: 300 } }), node('b', { labels: ['site:attic'], status: 'unreachable' }), node('c')]);
  expect(inWords(map)).toBe('attic: 2 nodes, 1 connected by a tunnel, 1 unreachable; No site: 1 node. The table below lists every node.');
  expect(map.lines.map((line) => line.key)).toEqual(['attic tunnel', 'attic direct', 'No site direct']);
});
