//! Values of columns, and times as they are stored.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::Row;
use sqlx::any::AnyRow;

pub(super) fn bytes(row: &AnyRow, column: usize) -> Result<Vec<u8>, sqlx::Error> {
    row.try_get(column)
}

pub(super) fn some_bytes(row: &AnyRow, column: usize) -> Result<Option<Vec<u8>>, sqlx::Error> {
    row.try_get(column)
}

pub(super) fn text(row: &AnyRow, column: usize) -> Result<String, sqlx::Error> {
    row.try_get(column)
}

pub(super) fn some_text(row: &AnyRow, column: usize) -> Result<Option<String>, sqlx::Error> {
    row.try_get(column)
}

/// A count or a time: never negative, as it was never written so.
pub(super) fn number(row: &AnyRow, column: usize) -> Result<u64, sqlx::Error> {
    row.try_get::<i64, _>(column).map(|n| n.max(0) as u64)
}

pub(super) fn some_digest<const N: usize>(
    row: &AnyRow,
    column: usize,
) -> Result<Option<[u8; N]>, sqlx::Error> {
    let wrong = |_| sqlx::Error::Decode(format!("column {column} has not {N} bytes").into());
    some_bytes(row, column)?.map(|b| b.try_into().map_err(wrong)).transpose()
}

pub(super) fn digest<const N: usize>(row: &AnyRow, column: usize) -> Result<[u8; N], sqlx::Error> {
    some_digest(row, column)?.ok_or_else(|| sqlx::Error::Decode(format!("column {column} is empty").into()))
}

/// Milliseconds since 1970: what the tables keep of a time.
pub(super) fn milliseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// The other way.
pub(super) fn time(milliseconds: u64) -> SystemTime {
    // A time that the clock cannot express was never stored; the epoch is then as good as any.
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds)).unwrap_or(UNIX_EPOCH)
}

pub(super) fn now() -> i64 {
    milliseconds(SystemTime::now())
}
