// Where the nodes of a workspace are drawn: by site, beside the gateway, with the way that requests take to each.

import { many } from './format';
import type { ComputeNode, PeersOfNode } from './wire';

/** How the gateway reaches a node: it dials its address, or uses the tunnel that the node opened. */
export type Way = 'direct' | 'tunnel';

export interface MapNode {
  id: string;
  name: string;
  status: string;
  way: Way;
  /** Answers under way, and those of them that wait. */
  running: number | undefined;
  waiting: number | undefined;
  /** Of the last ping through its tunnel. */
  roundTripUs: number | undefined;
  /** The share of its KV cache that is in use. */
  cache: number | undefined;
  /** The names of the nodes that it is connected to. */
  peers: string[];
}

export interface Placed {
  node: MapNode;
  x: number;
  y: number;
}

export interface Site {
  name: string;
  x: number;
  y: number;
  width: number;
  height: number;
  nodes: Placed[];
  /** Nodes beyond those that are drawn. */
  more: number;
}

export interface FleetMap {
  sites: Site[];
  gateway: { x: number; y: number; width: number; height: number };
  /** From the gateway to each site, by the ways that lead there. */
  lines: { key: string; path: string; way: Way }[];
  /** Between nodes that are connected to each other. */
  meshes: { key: string; path: string }[];
  width: number;
  height: number;
}

export const WIDTH = 164;
export const HEIGHT = 62;
const GATEWAY_WIDTH = 108;
const GAP = 12;
const PAD = 14;
const TITLE = 24;
/** What the lines take between the gateway and the sites. */
const BESIDE = 72;
const BELOW = 26;
/** A narrower map has the gateway above the sites. */
const WIDE = 2 * PAD + 2 * WIDTH + GAP + GATEWAY_WIDTH + BESIDE;
const COLUMNS_MAX = 6;
/** Nodes that are drawn of each site; the table has them all. */
export const DRAWN_MAX = 24;
const SITE = /^site[:=](.+)$/;

export function siteOf(labels: string[]): string {
  for (const label of labels) {
    const name = SITE.exec(label)?.[1];
    if (name) return name;
  }
  return 'No site';
}

export function mapNode(node: ComputeNode, peers: PeersOfNode[] = []): MapNode {
  const load = node.joined?.said?.load;
  const seen = peers.find((one) => one.node_id === node.id)?.peers ?? [];
  return {
    id: node.id,
    name: node.name,
    status: node.status,
    way: node.tunnel || node.base_url.startsWith('tunnel://') ? 'tunnel' : 'direct',
    // What the gateway has there, or all that the node reported.
    running: node.in_flight ?? load?.running,
    waiting: load?.waiting,
    roundTripUs: node.tunnel?.round_trip_us ?? undefined,
    cache: load && load.cache_bytes_max > 0 ? Math.min(1, load.cache_bytes / load.cache_bytes_max) : undefined,
    peers: seen.filter((peer) => peer.connected).map((peer) => peer.name),
  };
}

/** Sites in the order of their names, nodes without one last. */
function bySite(nodes: ComputeNode[], peers: PeersOfNode[]): [string, MapNode[]][] {
  const sites = new Map<string, MapNode[]>();
  for (const node of nodes) {
    const name = siteOf(node.labels);
    const there = sites.get(name);
    if (there) there.push(mapNode(node, peers));
    else sites.set(name, [mapNode(node, peers)]);
  }
  const last = siteOf([]);
  return [...sites].sort(([one], [other]) => Number(one === last) - Number(other === last) || one.localeCompare(other));
}

/** As wide as there is place for, but at least one column of nodes. */
export function fleetMap(nodes: ComputeNode[], peers: PeersOfNode[] = [], place = 900): FleetMap {
  const isWide = place >= WIDE;
  const left = isWide ? GATEWAY_WIDTH + BESIDE : BELOW;
  const columnsMax = Math.max(1, Math.min(COLUMNS_MAX, Math.floor((place - left - 2 * PAD + GAP) / (WIDTH + GAP))));
  const top = isWide ? 0 : HEIGHT / 2 + 2 * GAP;
  let y = top;
  const sites = bySite(nodes, peers).map(([name, all]): Site => {
    const drawn = all.slice(0, DRAWN_MAX);
    const columns = Math.min(columnsMax, drawn.length);
    const rows = Math.ceil(drawn.length / columnsMax);
    const site = {
      name,
      x: left,
      y,
      width: 2 * PAD + columns * WIDTH + (columns - 1) * GAP,
      height: TITLE + 2 * PAD + rows * HEIGHT + (rows - 1) * GAP,
      nodes: drawn.map((node, at) => ({
        node,
        x: left + PAD + (at % columnsMax) * (WIDTH + GAP),
        y: y + TITLE + PAD + Math.floor(at / columnsMax) * (HEIGHT + GAP),
      })),
      more: all.length - drawn.length,
    };
    y += site.height + 2 * GAP;
    return site;
  });
  const height = Math.max(HEIGHT, y - 2 * GAP);
  const gateway = isWide ? { x: 0, y: (height - HEIGHT) / 2, width: GATEWAY_WIDTH, height: HEIGHT } : { x: 0, y: 0, width: GATEWAY_WIDTH, height: HEIGHT / 2 };
  const width = sites.reduce((most, site) => Math.max(most, site.x + site.width), GATEWAY_WIDTH);
  return { sites, gateway, lines: lines(sites, gateway, isWide), meshes: meshes(sites), width, height };
}

function lines(sites: Site[], gateway: FleetMap['gateway'], isWide: boolean): FleetMap['lines'] {
  return sites.flatMap((site) => {
    const ways = new Set(site.nodes.map(({ node }) => node.way));
    return [...ways].map((way) => {
      const aside = ways.size === 1 ? 0 : way === 'tunnel' ? 8 : -8;
      const to = site.y + site.height / 2 + aside;
      const key = `${site.name} ${way}`;
      if (isWide) {
        const [from, start] = [gateway.width, gateway.y + gateway.height / 2];
        const middle = (from + site.x) / 2;
        return { key, way, path: `M${from} ${start} C${middle} ${start} ${middle} ${to} ${site.x} ${to}` };
      }
      // Down a trunk beside the sites: one for each way.
      const trunk = way === 'tunnel' ? 15 : 7;
      return { key, way, path: `M${trunk} ${gateway.y + gateway.height} V${to - 6} Q${trunk} ${to} ${trunk + 6} ${to} H${site.x}` };
    });
  });
}

function meshes(sites: Site[]): FleetMap['meshes'] {
  const places = new Map(sites.flatMap((site) => site.nodes).map((placed) => [placed.node.name, placed]));
  const found = new Map<string, string>();
  for (const one of places.values()) {
    for (const name of one.node.peers) {
      const other = places.get(name);
      if (!other || other === one) continue;
      const [a, b] = one.node.name < name ? [one, other] : [other, one];
      found.set(`${a.node.name} ${b.node.name}`, between(a, b));
    }
  }
  return [...found].map(([key, path]) => ({ key, path }));
}

/** Below both where they are beside each other, at their side where others are between them, else from the foot of the upper to the head of the lower. */
function between(a: Placed, b: Placed): string {
  if (a.y === b.y) {
    const [x1, x2, y] = [a.x + WIDTH / 2, b.x + WIDTH / 2, a.y + HEIGHT];
    return `M${x1} ${y} Q${(x1 + x2) / 2} ${y + 2 * GAP} ${x2} ${y}`;
  }
  const [upper, lower] = a.y < b.y ? [a, b] : [b, a];
  // Beside what is between them, inside of the padding of a site.
  if (a.x === b.x && lower.y - upper.y - HEIGHT >= HEIGHT + 2 * GAP) {
    const [x, y1, y2] = [a.x + WIDTH, upper.y + HEIGHT / 2, lower.y + HEIGHT / 2];
    return `M${x} ${y1} C${x + PAD} ${y1} ${x + PAD} ${y2} ${x} ${y2}`;
  }
  const [x1, x2] = [upper.x + WIDTH * 0.7, lower.x + WIDTH * 0.7];
  const [y1, y2] = [upper.y + HEIGHT, lower.y];
  const middle = (y1 + y2) / 2;
  return `M${x1} ${y1} C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}`;
}

/** What a screen reader reads in place of the map. */
export function inWords(map: FleetMap): string {
  const sites = map.sites.map((site) => {
    const count = site.nodes.length + site.more;
    const of = (is: (node: MapNode) => boolean) => site.nodes.filter(({ node }) => is(node)).length;
    const said: [number, string][] = [
      [of((node) => node.way === 'tunnel'), 'connected by a tunnel'],
      [of((node) => node.status === 'unreachable'), 'unreachable'],
      [of((node) => node.status === 'cordoned' || node.status === 'draining'), 'takes no new requests'],
    ];
    const parts = said.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`);
    return `${site.name}: ${many(count, 'node')}${parts.length > 0 ? `, ${parts.join(', ')}` : ''}`;
  });
  const pairs = map.meshes.length === 0 ? '' : ` Connected peers: ${many(map.meshes.length, 'pair')}.`;
  return `${sites.join('; ')}.${pairs} The table below lists every node.`;
}
