// The scenarios in this Node, against the host that the environment names.
import test from 'node:test';

import * as library from '../../../clients/typescript/src/index.js';
import { scenarios } from './scenarios.mjs';
import { world } from './world.mjs';

const WebSocket = globalThis.WebSocket ?? (await import('ws')).WebSocket;

for (const [name, scenario] of Object.entries(scenarios)) {
  test(name, { timeout: Number(process.env.SCENARIO_MS ?? 60_000) }, async (t) => {
    const here = await world();
    // A scenario that runs out of time leaves nothing open either.
    t.after(() => here.dispose());
    const makeClient = (options) => here.keep(new library.AgentHostClient({ ...here.options, WebSocket, ...options }));
    await scenario({ ...here, makeClient, library });
  });
}
