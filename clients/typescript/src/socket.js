/**
 * One WebSocket connection, from its credential to its end: which comes exactly once, whatever the network does.
 *
 * @typedef {import('../types/frames.js').ServerFrame} ServerFrame
 * @typedef {import('../types/frames.js').ClientFrame} ClientFrame
 * @typedef {{ code: number, reason: string, welcomed: boolean }} End `code` 1006: cut, or refused before it opened.
 */

/** The host's subprotocol. */
const PROTOCOL = 'agent-host.v1';
export class Socket {
  #ws;
  #handlers;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #patience;
  #probed = false;
  #welcomed = false;
  #over = false;

  /**
   * Begins to connect.
   *
   * @param {object} how
   * @param {string} how.url `ws://` or `wss://`.
   * @param {{ token?: string, ticket?: string }} how.credential
   * @param {typeof WebSocket} how.WebSocket
   * @param {{ welcomeMs: number, silenceMs: number, pongMs: number }} how.patience Until the welcome; with silence,
   *   before the host is asked for a sign of life; for that sign.
   * @param {(frame: ServerFrame) => void} how.onFrame Not called after the end.
   * @param {(end: End) => void} how.onEnd Called once.
   */
  constructor({ url, credential, WebSocket, patience, onFrame, onEnd }) {
    this.#handlers = { onFrame, onEnd };
    this.#patience = patience;
    const address = new URL(url);
    const protocols = [PROTOCOL];
    if (credential.ticket !== undefined) address.searchParams.set('ticket', credential.ticket);
    else if (credential.token !== undefined) protocols.push(`bearer.${credential.token}`);
    this.#ws = new WebSocket(address, protocols);
    this.#ws.onmessage = (message) => this.#hear(message.data);
    this.#ws.onclose = (close) => this.#end(close.code, close.reason);
    // A close follows each error, and says more.
    this.#ws.onerror = () => {};
    this.#timer = setTimeout(() => this.#end(4000, 'no welcome in time'), patience.welcomeMs);
  }

  /** @param {ClientFrame} frame Lost if the connection is over: the client sends again what matters. */
  send(frame) {
    if (!this.#over && this.#ws.readyState === 1) this.#ws.send(JSON.stringify(frame));
  }

  /** Ends it, now: a network that is gone would let the handshake wait for minutes. */
  close(code = 1000, reason = '') {
    this.#end(code, reason);
  }

  /** @param {unknown} data */
  #hear(data) {
    if (this.#over) return;
    /** @type {ServerFrame} */
    let frame;
    try {
      frame = JSON.parse(String(data));
    } catch {
      // Whoever answers there does not speak the protocol.
      this.#end(4000, 'not JSON');
      return;
    }
    this.#welcomed ||= frame.type === 'welcome';
    this.#probed = false;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#silent(), this.#patience.silenceMs);
    this.#handlers.onFrame(frame);
  }

  /** A network that is gone is not told of by the platform for minutes: so the host is asked. */
  #silent() {
    if (this.#probed) {
      this.#end(4000, 'no sign of life');
      return;
    }
    this.#probed = true;
    this.send({ type: 'ping' });
    this.#timer = setTimeout(() => this.#silent(), this.#patience.pongMs);
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #end(code, reason) {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#ws.onmessage = this.#ws.onclose = null;
    // Closing what is closed does nothing. 1000 and 3000 to 4999 are all that a page may say.
    if (code === 1000 || (code >= 3000 && code <= 4999)) this.#ws.close(code, reason);
    else this.#ws.close();
    this.#handlers.onEnd({ code, reason, welcomed: this.#welcomed });
  }
}
