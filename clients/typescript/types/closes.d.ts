/**
 * What a close code asks of a client. The host's rule: 4400 to 4499, connect again and resume; 4500 and above, not
 * without a change. The transport's own codes are answered by another try, but for the one that we chose ourselves.
 *
 * @param {number} code
 * @returns {'again' | 'renew' | 'stop'} `renew`: again, with a new credential; `stop`: not without a change.
 */
export function verdictOn(code: number): "again" | "renew" | "stop";
