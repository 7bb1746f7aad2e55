// A TCP proxy that treats its connections as bad networks do: cuts, resets, stalls, half-closes; by order or by chance.
import net from 'node:net';

export class Proxy {
  #pairs = new Set();
  #stalled = false;
  #server;
  #target;

  /** @param {{ host: string, port: number }} target */
  constructor(target) {
    this.#target = target;
    this.#server = net.createServer({ allowHalfOpen: true }, (client) => this.#join(client));
    this.accepted = 0;
  }

  /** Listens on a free port of this machine. @returns {Promise<number>} */
  listen() {
    return new Promise((resolve) => this.#server.listen(0, '127.0.0.1', () => resolve(this.#server.address().port)));
  }

  get connections() {
    return this.#pairs.size;
  }

  /** Ends every connection in order, as a load balancer does. */
  cut() {
    for (const { client, host } of this.#pairs) {
      client.destroy();
      host.destroy();
    }
  }

  /** Resets every connection. */
  reset() {
    for (const { client, host } of this.#pairs) {
      for (const socket of [client, host]) {
        // Node never ends after the reset of a socket that is being shut down or has not connected yet.
        if (socket.writableEnded || socket.connecting) socket.destroy();
        else socket.resetAndDestroy();
      }
    }
  }

  /** Says nothing more, in neither direction, and keeps the connections. */
  stall() {
    this.#stalled = true;
    for (const { client, host } of this.#pairs) {
      client.pause();
      host.pause();
    }
  }

  /** Lets new connections through; those that stalled are left as they are until they are cut. */
  heal() {
    this.#stalled = false;
  }

  /** Ends the direction from the host to the client only. */
  halfClose() {
    for (const { client, host } of this.#pairs) {
      host.unpipe(client);
      host.resume();
      client.end();
    }
  }

  close() {
    this.#server.close();
    this.cut();
  }

  #join(client) {
    this.accepted += 1;
    const host = net.connect({ ...this.#target, allowHalfOpen: true });
    const pair = { client, host };
    this.#pairs.add(pair);
    const over = () => {
      client.destroy();
      host.destroy();
      this.#pairs.delete(pair);
    };
    for (const socket of [client, host]) {
      socket.setNoDelay(true);
      socket.on('error', over);
      socket.on('close', over);
    }
    client.pipe(host);
    host.pipe(client);
    if (this.#stalled) {
      client.pause();
      host.pause();
    }
  }
}
