CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL, host TEXT NOT NULL);

CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE users (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, user TEXT NOT NULL, UNIQUE (tenant, user));

-- `used` and `bytes` are brought up to date with a message and with a run's end.
CREATE TABLE threads (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  user INTEGER NOT NULL,
  created INTEGER NOT NULL,
  used INTEGER NOT NULL,
  bytes INTEGER NOT NULL
);
CREATE INDEX threads_of_user ON threads (user);

-- One row for what was appended together. `position` is (thread << 28) + seq of its first event.
CREATE TABLE events (position INTEGER PRIMARY KEY, count INTEGER NOT NULL, body BLOB NOT NULL);

-- Runs without their end, at the position of their message.
CREATE TABLE open_runs (position INTEGER PRIMARY KEY, run TEXT NOT NULL);

-- What each message id stands for, for 24 hours. `position` is its message's.
CREATE TABLE keys (
  user INTEGER NOT NULL,
  id TEXT NOT NULL,
  body_hash BLOB NOT NULL,
  position INTEGER NOT NULL,
  accepted INTEGER NOT NULL,
  PRIMARY KEY (user, id)
) WITHOUT ROWID;

-- A rowid table with an index: the values may be large.
CREATE TABLE states (thread INTEGER NOT NULL, plugin TEXT NOT NULL, value BLOB NOT NULL, UNIQUE (thread, plugin));
