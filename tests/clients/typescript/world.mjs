// A host behind a proxy of its own, tokens for a user of its own, and a seeded source of chance.
import { createHmac, randomUUID } from 'node:crypto';
import { Proxy } from './proxy.mjs';

const { HOST_ADDRESS, HOST_SECRET, SEED = String(Date.now()) } = process.env;

/** A token for `user` that is valid for so many seconds. */
export function mint(user, seconds) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { sub: user, aud: 'agent-host', iat: now, exp: now + seconds, jti: randomUUID() };
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${signed}.${createHmac('sha256', HOST_SECRET).update(signed).digest('base64url')}`;
}

/** One scenario's world. Disposed, it leaves nothing behind. */
export async function world() {
  if (!HOST_ADDRESS || !HOST_SECRET) throw new Error('HOST_ADDRESS and HOST_SECRET name the host to test against');
  const [host, port] = HOST_ADDRESS.split(':');
  const proxy = new Proxy({ host, port: Number(port) });
  const at = await proxy.listen();
  const user = `user-${randomUUID()}`;
  const clients = [];
  let state = Number(SEED) % 2147483648;
  console.log(`seed ${SEED}`);
  return {
    proxy,
    url: `ws://127.0.0.1:${at}/ws`,
    options: {
      url: `ws://127.0.0.1:${at}/ws`,
      credential: () => ({ token: mint(user, 600) }),
      backoff: () => 50,
    },
    token: (seconds) => mint(user, seconds),
    random(below) {
      state = (state * 1103515245 + 12345) % 2147483648;
      return Math.floor((state / 2147483648) * below);
    },
    keep(client) {
      clients.push(client);
      return client;
    },
    dispose() {
      clients.forEach((client) => client.close());
      proxy.close();
    },
  };
}
