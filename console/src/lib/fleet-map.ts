// Where the nodes of a workspace are drawn: by site, beside the gateway, with the way that requests take to each.

import type { ComputeNode } from './wire';

/** How the gateway reaches a node: it dials its address, or uses the tunnel that the node opened. */
export type Way = 'direct' | 'tunnel';

export interface MapNode {
  id: string;
  name: string;
  status: string;
  way: Way;
  running: number | undefined;
  waiting: number | undefined;
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
  gateway: { x: number; y: number };
  /** From the gateway to each site, by the ways that lead there. */
  lines: { key: string; path: string; way: Way }[];
  /** Between nodes that are connected to each other. */
  meshes: { key: string; path: string }[];
  width: number;
  height: number;
}

export const WIDTH = 164;
export const HEIGHT = 62;
export const GATEWAY_WIDTH = 108;
const GAP = 12;
const PAD = 14;
const TITLE = 24;
const LEFT = GATEWAY_WIDTH + 72;
const COLUMNS = 4;
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

export function mapNode(node: ComputeNode): MapNode {
  const load = node.joined?.said?.load;
  return {
    id: node.id,
    name: node.name,
    status: node.status,
    way: node.tunnel ? 'tunnel' : 'direct',
    running: load?.running,
    waiting: load?.waiting,
    cache: load && load.cache_bytes_max > 0 ? Math.min(1, load.cache_bytes / load.cache_bytes_max) : undefined,
    peers: node.joined?.said?.peers?.filter((peer) => peer.connected).map((peer) => peer.name) ?? [],
  };
}

/** Sites in the order of their names, nodes without one last. */
function bySite(nodes: ComputeNode[]): [string, MapNode[]][] {
  const sites = new Map<string, MapNode[]>();
  for (const node of nodes) {
    const name = siteOf(node.labels);
    const there = sites.get(name);
    if (there) there.push(mapNode(node));
    else sites.set(name, [mapNode(node)]);
  }
  const last = siteOf([]);
  return [...sites].sort(([one], [other]) => Number(one === last) - Number(other === last) || one.localeCompare(other));
}

export function fleetMap(nodes: ComputeNode[]): FleetMap {
  let y = 0;
  const sites = bySite(nodes).map(([name, all]): Site => {
    const drawn = all.slice(0, DRAWN_MAX);
    const columns = Math.min(COLUMNS, drawn.length);
    const rows = Math.ceil(drawn.length / COLUMNS);
    const site = {
      name,
      x: LEFT,
      y,
      width: 2 * PAD + columns * WIDTH + (columns - 1) * GAP,
      height: TITLE + 2 * PAD + rows * HEIGHT + (rows - 1) * GAP,
      nodes: drawn.map((node, place) => ({
        node,
        x: LEFT + PAD + (place % COLUMNS) * (WIDTH + GAP),
        y: y + TITLE + PAD + Math.floor(place / COLUMNS) * (HEIGHT + GAP),
      })),
      more: all.length - drawn.length,
    };
    y += site.height + 2 * GAP;
    return site;
  });
  const height = Math.max(HEIGHT, y - 2 * GAP);
  const gateway = { x: 0, y: (height - HEIGHT) / 2 };
  return { sites, gateway, lines: lines(sites, gateway.y + HEIGHT / 2), meshes: meshes(sites), width: sites.reduce((most, site) => Math.max(most, site.x + site.width), GATEWAY_WIDTH), height };
}

function lines(sites: Site[], from: number): FleetMap['lines'] {
  return sites.flatMap((site) => {
    const ways = new Set(site.nodes.map(({ node }) => node.way));
    return [...ways].map((way) => {
      const to = site.y + site.height / 2 + (ways.size === 1 ? 0 : way === 'tunnel' ? 8 : -8);
      const middle = (GATEWAY_WIDTH + site.x) / 2;
      return { key: `${site.name} ${way}`, way, path: `M${GATEWAY_WIDTH} ${from} C${middle} ${from} ${middle} ${to} ${site.x} ${to}` };
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
      const [x1, y1, x2, y2] = [a.x + WIDTH / 2, a.y + HEIGHT, b.x + WIDTH / 2, b.y + HEIGHT];
      found.set(`${a.node.name} ${b.node.name}`, `M${x1} ${y1} Q${(x1 + x2) / 2} ${Math.max(y1, y2) + 2 * GAP} ${x2} ${y2}`);
    }
  }
  return [...found].map(([key, path]) => ({ key, path }));
}

/** What a screen reader reads in place of the map. */
export function inWords(map: FleetMap): string {
  const sites = map.sites.map((site) => {
    const count = site.nodes.length + site.more;
    const tunnels = site.nodes.filter(({ node }) => node.way === 'tunnel').length;
    const away = site.nodes.filter(({ node }) => node.status === 'unreachable').length;
    const parts = [tunnels > 0 && `${tunnels} through a tunnel`, away > 0 && `${away} unreachable`].filter(Boolean);
    return `${site.name}: ${count} ${count === 1 ? 'node' : 'nodes'}${parts.length > 0 ? `, ${parts.join(', ')}` : ''}`;
  });
  return `${sites.join('; ')}. The table below has each node.`;
}
