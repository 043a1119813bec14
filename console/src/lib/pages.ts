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
  load: () => Promise<{ default: Component }>;
}

export const PAGES: PageEntry[] = [
  { path: '/', title: 'Home', icon: 'home', group: 'Observe', letter: 'o', load: () => import('../pages/Home.svelte') },
  { path: '/requests', title: 'Requests', icon: 'requests', group: 'Observe', letter: 'r', load: () => import('../pages/Requests.svelte') },
  { path: '/requests/:id', title: 'Request', icon: 'requests', load: () => import('../pages/Request.svelte') },
  { path: '/usage', title: 'Usage', icon: 'usage', group: 'Observe', letter: 'u', load: () => import('../pages/Usage.svelte') },
  { path: '/caches', title: 'Cache and savings', icon: 'cache', group: 'Observe', letter: 'h', load: () => import('../pages/Caches.svelte') },
  { path: '/diagnostics', title: 'Diagnostics', icon: 'pulse', group: 'Observe', load: () => import('../pages/Diagnostics.svelte') },
  { path: '/upstreams', title: 'Health', icon: 'pulse', group: 'Observe', letter: 'v', load: () => import('../pages/Health.svelte') },
  { path: '/sessions', title: 'Sessions', icon: 'requests', group: 'Observe', load: () => import('../pages/Sessions.svelte') },
  { path: '/sessions/:id', title: 'Session', icon: 'requests', load: () => import('../pages/Session.svelte') },
  { path: '/runs', title: 'Tasks', icon: 'table', group: 'Observe', load: () => import('../pages/Tasks.svelte') },
  { path: '/runs/:id', title: 'Task', icon: 'table', load: () => import('../pages/Task.svelte') },
  { path: '/flows', title: 'Flows', icon: 'table', group: 'Observe', load: () => import('../pages/Flows.svelte') },
  { path: '/batches', title: 'Batches', icon: 'table', group: 'Observe', load: () => import('../pages/Batches.svelte') },
  { path: '/alerts', title: 'Alerts', icon: 'bell', group: 'Observe', load: () => import('../pages/Alerts.svelte') },
  { path: '/webhooks', title: 'Webhooks', icon: 'bell', group: 'Observe', letter: 'w', load: () => import('../pages/Webhooks.svelte') },
  { path: '/webhooks/:id', title: 'Webhook', icon: 'bell', load: () => import('../pages/Webhook.svelte') },
  { path: '/models', title: 'Models', icon: 'models', group: 'Build', letter: 'l', load: () => import('../pages/Models.svelte') },
  { path: '/models/:name', title: 'Model', icon: 'models', load: () => import('../pages/Model.svelte') },
  { path: '/capabilities', title: 'Capabilities', icon: 'table', group: 'Build', letter: 'x', load: () => import('../pages/Capabilities.svelte') },
  { path: '/playground', title: 'Playground', icon: 'play', group: 'Build', letter: 'p', load: () => import('../pages/Playground.svelte') },
  { path: '/gallery', title: 'Apps', icon: 'table', group: 'Build', load: () => import('../pages/Apps.svelte') },
  { path: '/uploads', title: 'Files', icon: 'save', group: 'Build', load: () => import('../pages/Files.svelte') },
  { path: '/connect', title: 'Connect', icon: 'connect', group: 'Build', letter: 'c', load: () => import('../pages/Connect.svelte') },
  { path: '/projects', title: 'Projects', icon: 'projects', group: 'Build', letter: 'q', load: () => import('../pages/Projects.svelte') },
  { path: '/projects/:id', title: 'Project', icon: 'projects', load: () => import('../pages/Project.svelte') },
  { path: '/agents', title: 'Agents', icon: 'play', group: 'Build', load: () => import('../pages/Agents.svelte') },
  { path: '/tools', title: 'Tools', icon: 'connect', group: 'Build', load: () => import('../pages/Tools.svelte') },
  { path: '/keys', title: 'Keys', icon: 'keys', group: 'Build', letter: 'k', load: () => import('../pages/Keys.svelte') },
  { path: '/credentials', title: 'Credentials', icon: 'credentials', group: 'Serve', letter: 'e', load: () => import('../pages/Credentials.svelte') },
  { path: '/credentials/:id', title: 'Credential', icon: 'credentials', load: () => import('../pages/Credential.svelte') },
  { path: '/accounts', title: 'Accounts', icon: 'accounts', group: 'Serve', letter: 's', load: () => import('../pages/Accounts.svelte') },
  { path: '/accounts/:id', title: 'Account', icon: 'accounts', load: () => import('../pages/PooledAccount.svelte') },
  { path: '/nodes', title: 'Nodes', icon: 'nodes', group: 'Serve', letter: 'n', load: () => import('../pages/Nodes.svelte') },
  { path: '/nodes/:id', title: 'Node', icon: 'nodes', load: () => import('../pages/Node.svelte') },
  { path: '/workers', title: 'Workers', icon: 'nodes', group: 'Serve', load: () => import('../pages/Workers.svelte') },
  { path: '/data-planes', title: 'Data planes', icon: 'connect', group: 'Serve', load: () => import('../pages/DataPlanes.svelte') },
  { path: '/training', title: 'Training', icon: 'training', group: 'Serve', letter: 'j', load: () => import('../pages/Training.svelte') },
  { path: '/training/:id', title: 'Training job', icon: 'training', load: () => import('../pages/TrainingJob.svelte') },
  { path: '/routes', title: 'Routes', icon: 'routes', group: 'Serve', letter: 't', load: () => import('../pages/Routes.svelte') },
  { path: '/routes/:id', title: 'Routes', icon: 'routes', load: () => import('../pages/Routes.svelte') },
  { path: '/aliases', title: 'Aliases', icon: 'alias', group: 'Serve', letter: 'f', load: () => import('../pages/Aliases.svelte') },
  { path: '/aliases/:id', title: 'Alias', icon: 'alias', load: () => import('../pages/Alias.svelte') },
  { path: '/replays', title: 'Replays', icon: 'play', group: 'Serve', load: () => import('../pages/Replays.svelte') },
  { path: '/policies', title: 'Policies', icon: 'policies', group: 'Serve', letter: 'y', load: () => import('../pages/Policies.svelte') },
  { path: '/hints', title: 'Hints', icon: 'routes', group: 'Serve', letter: 'z', load: () => import('../pages/Hints.svelte') },
  { path: '/budgets', title: 'Budgets', icon: 'budgets', group: 'Pay', letter: 'b', load: () => import('../pages/Budgets.svelte') },
  { path: '/limits', title: 'Limits', icon: 'budgets', group: 'Pay', load: () => import('../pages/Limits.svelte') },
  { path: '/hardware', title: 'Own hardware', icon: 'nodes', group: 'Pay', load: () => import('../pages/Hardware.svelte') },
  { path: '/commitments', title: 'Commitments', icon: 'budgets', group: 'Pay', letter: 'd', load: () => import('../pages/Commitments.svelte') },
  { path: '/billing', title: 'Billing', icon: 'billing', group: 'Pay', letter: 'i', load: () => import('../pages/Billing.svelte') },
  { path: '/billing/:id', title: 'Invoice', icon: 'billing', load: () => import('../pages/Invoice.svelte') },
  { path: '/reconciliation', title: 'Reconciliation', icon: 'billing', group: 'Pay', load: () => import('../pages/Reconciliation.svelte') },
  { path: '/members', title: 'Members', icon: 'members', group: 'Team', letter: 'm', load: () => import('../pages/Members.svelte') },
  { path: '/data-path', title: 'Data path', icon: 'routes', group: 'Team', load: () => import('../pages/DataPath.svelte') },
  { path: '/audit', title: 'Audit', icon: 'audit', group: 'Team', letter: 'a', load: () => import('../pages/Audit.svelte') },
  { path: '/purges', title: 'Purges', icon: 'audit', group: 'Team', load: () => import('../pages/Purges.svelte') },
  { path: '/erasures', title: 'Erasures', icon: 'erase', group: 'Team', load: () => import('../pages/Erasures.svelte') },
  { path: '/legal-holds', title: 'Legal holds', icon: 'lock', group: 'Team', load: () => import('../pages/LegalHolds.svelte') },
  { path: '/data-exports', title: 'Data exports', icon: 'save', group: 'Team', load: () => import('../pages/DataExports.svelte') },
  { path: '/settings', title: 'Settings', icon: 'table', group: 'Team', load: () => import('../pages/Settings.svelte') },
  { path: '/account', title: 'Your account', icon: 'person', load: () => import('../pages/Account.svelte') },
  { path: '/authorize', title: 'Authorize an application', icon: 'person', load: () => import('../pages/Authorize.svelte') },
  { path: '/mcp-servers/authorized', title: 'MCP server', icon: 'person', load: () => import('../pages/Authorized.svelte') },
  { path: '/device', title: 'Sign in a device', icon: 'person', load: () => import('../pages/Device.svelte') },
];

export const GROUPS = ['Observe', 'Build', 'Serve', 'Pay', 'Team'] as const;
