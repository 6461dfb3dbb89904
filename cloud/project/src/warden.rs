//! What the connected warden is to a project.

/// Whether somebody can work for the project.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Custody {
    /// No connected warden was given its secrets.
    #[default]
    Nobody,
    /// The connected warden cannot work for it, and why.
    Unable(String),
    /// The connected warden holds its secrets.
    Warden,
}
