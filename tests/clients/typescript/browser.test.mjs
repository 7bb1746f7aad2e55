// The scenarios in a real Chromium, whose pages speak to the host from an origin of their own.
import { createReadStream } from 'node:fs';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';

import { chromium } from 'playwright-core';

import { scenarios } from './scenarios.mjs';
import { world } from './world.mjs';

const ROOT = new URL('../../../', import.meta.url);
/** What a page may fetch: the client as it is shipped, and the scenarios. */
const SERVED = /^\/(clients\/typescript\/src|tests\/clients\/typescript)\/[a-z-]+\.m?js$/;

let browser;
let pages;

before(async () => {
  pages = createServer((request, response) => {
    if (request.url === '/') {
      response.setHeader('content-type', 'text/html');
      response.end('<!doctype html><title>agent-host-client</title>');
    } else if (SERVED.test(request.url)) {
      response.setHeader('content-type', 'text/javascript');
      createReadStream(new URL(`.${request.url}`, ROOT)).pipe(response);
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => pages.listen(0, '127.0.0.1', resolve));
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    // As root Chromium has no sandbox; the others keep it from asking a network that is not there.
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
});

after(async () => {
  await browser?.close();
  pages?.close();
});

for (const name of Object.keys(scenarios)) {
  test(`in Chromium: ${name}`, { timeout: Number(process.env.SCENARIO_MS ?? 60_000) }, async (t) => {
    const here = await world();
    const page = await browser.newPage();
    t.after(async () => {
      await page.close();
      here.dispose();
    });
    await page.goto(`http://127.0.0.1:${pages.address().port}/`);
    await page.exposeFunction('proxyDoes', (way) => here.proxy[way]());
    await page.exposeFunction('mint', (seconds) => here.token(seconds));
    await page.evaluate(
      async ({ name, url, seed }) => {
        const library = await import('/clients/typescript/src/index.js');
        const { scenarios } = await import('/tests/clients/typescript/scenarios.mjs');
        let state = seed;
        const random = (below) => {
          state = (state * 1103515245 + 12345) % 2147483648;
          return Math.floor((state / 2147483648) * below);
        };
        const proxy = Object.fromEntries(
          ['cut', 'reset', 'stall', 'heal', 'halfClose'].map((way) => [way, () => window.proxyDoes(way)]),
        );
        const options = { url, credential: async () => ({ token: await window.mint(600) }), backoff: () => 50 };
        const makeClient = (more) => new library.AgentHostClient({ ...options, ...more });
        await scenarios[name]({ makeClient, proxy, random, token: window.mint, url, library });
      },
      { name, url: here.url, seed: here.random(2 ** 31) },
    );
  });
}
