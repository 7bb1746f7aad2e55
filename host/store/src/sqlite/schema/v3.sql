-- What was accepted and appended since the tables were last brought up to date, a row for each commit. See `journal.rs`.
CREATE TABLE journal (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
