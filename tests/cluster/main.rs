//! Several nodes: the links between them, and real servers that share the rooms of one PostgreSQL.
#![expect(clippy::disallowed_methods, reason = "tests measure time, make files and choose at random")]

mod linking;
