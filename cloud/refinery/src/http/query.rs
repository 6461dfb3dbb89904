//! Numbers in the query of a URL.

use axum::http::StatusCode;

use super::problem::HttpRefusal;

/// The numbers of a query such as `run=1&rounds=2`; none if it has one twice, one that is not among the names, or something
/// that is no number.
pub(super) fn numbers<const N: usize>(query: Option<&str>, names: [&str; N]) -> Option<[Option<u64>; N]> {
    let mut found = [None; N];
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        let (name, value) = pair.split_once('=')?;
        let at = names.iter().position(|known| *known == name)?;
        let number = value.parse::<u64>().ok().filter(|_| value.bytes().all(|b| b.is_ascii_digit()))?;
        if found[at].replace(number).is_some() {
            return None;
        }
    }
    Some(found)
}

/// The same, zero for those that are not there.
pub(super) fn numbers_or_zero<const N: usize>(
    query: Option<&str>,
    names: [&str; N],
) -> Result<[u64; N], HttpRefusal> {
    let found = numbers(query, names).ok_or_else(|| {
        let named = names.map(|name| format!("{name}=NUMBER")).join("&");
        HttpRefusal::new(StatusCode::BAD_REQUEST, format!("the query can have: ?{named}"))
    })?;
    Ok(found.map(Option::unwrap_or_default))
}
