//! The tables, as versions that follow each other. A version that was released is never changed.

use std::borrow::Cow;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::database::Kind;

/// Each version's name and statements, in SQLite's words.
const VERSIONS: [(&str, &str); 3] = [
    ("initial", include_str!("schema/1-initial.sql")),
    ("hand-over", include_str!("schema/2-hand-over.sql")),
    ("writer", include_str!("schema/3-writer.sql")),
];

/// The last version.
pub(super) const KNOWN: i64 = VERSIONS.len() as i64;

/// What brings a database of any known version to the last one.
pub(super) fn migrator(kind: Kind) -> Migrator {
    let versions = VERSIONS.iter().enumerate().map(|(i, (name, statements))| {
        let statements = match kind {
            Kind::Sqlite => (*statements).to_owned(),
            // The same tables in PostgreSQL's words.
            Kind::Postgres => statements
                .replace(" INTEGER", " BIGINT")
                .replace(" BLOB", " BYTEA")
                .replace(") STRICT;", ");"),
        };
        let statements = sqlx::AssertSqlSafe(statements).into_sql_str();
        Migration::new(i as i64 + 1, Cow::Borrowed(*name), MigrationType::Simple, statements, false)
    });
    Migrator::with_migrations(versions.collect())
}
