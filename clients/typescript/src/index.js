/**
 * Everything that a user of the client needs, and nothing else.
 *
 * @module agent-host-client
 */
export { AgentHostClient } from './client.js';
export { Run } from './run.js';
export { backoff } from './backoff.js';
export { restHistory, ticketCredential } from './http.js';
export { AgentHostError } from './errors.js';

/** @typedef {import('./client.js').Options} Options */
/** @typedef {import('./client.js').Credential} Credential */
/** @typedef {import('./client.js').CredentialReason} CredentialReason */
/** @typedef {import('../types/frames.js').ServerFrame} ServerFrame */
/** @typedef {import('../types/frames.js').ClientFrame} ClientFrame */
/** @typedef {import('../types/frames.js').EventFrame} EventFrame */
