//! Settings of object stores that the environment has.

/// Settings of the environment, by the names that builders know.
pub(super) fn settings() -> impl Iterator<Item = (String, String)> {
    let text = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let known = |name: &str| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|prefix| name.starts_with(prefix));
    text.filter(move |(name, _)| known(name)).map(|(name, value)| (name.to_ascii_lowercase(), value))
}
