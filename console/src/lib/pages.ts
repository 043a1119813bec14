// Every page: its path, its name, its place in the rail, and the file that shows it.

import type { Component } from 'svelte';
import type { IconName } from '../parts/Icon.svelte';

export interface PageEntry {
  path: string;
  title: string;
  icon: IconName;
  group?: 'Observe' | 'Build' | 'Serve' | 'Pay' | 'Team';
  /** The letter after `g`. */
  letter?: string;
  hasRange?: boolean;
  load: () => Promise<{ default: Component }>;
}

export const PAGES: PageEntry[] = [
  { path: '/', title: 'Home', icon: 'home', group: 'Observe', letter: 'o', hasRange: true, load: () => import('../pages/Home.svelte') },
  { path: '/requests', title: 'Requests', icon: 'requests', group: 'Observe', letter: 'r', hasRange: true, load: () => import('../pages/Requests.svelte') },
  { path: '/requests/:id', title: 'Request', icon: 'requests', load: () => import('../pages/Request.svelte') },
  { path: '/usage', title: 'Usage', icon: 'usage', group: 'Observe', letter: 'u', hasRange: true, load: () => import('../pages/Usage.svelte') },
];

export const GROUPS = ['Observe', 'Build', 'Serve', 'Pay', 'Team'] as const;
