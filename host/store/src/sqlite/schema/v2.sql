-- Questions that ended a run, for as long as their thread. `answered_by` is the id of the message that did.
CREATE TABLE questions (
  user INTEGER NOT NULL,
  run TEXT NOT NULL,
  thread INTEGER NOT NULL,
  interrupt TEXT NOT NULL,
  agent TEXT NOT NULL,
  answered_by TEXT,
  PRIMARY KEY (user, run)
) WITHOUT ROWID;
CREATE INDEX questions_of_thread ON questions (thread);
