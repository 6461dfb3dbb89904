//! No TLS: what a build without the feature `https` has in its place.

use std::path::Path;

use ureq::config::ConfigBuilder;

use crate::failure::Failure;

type Settings = ConfigBuilder<ureq::typestate::AgentScope>;

/// Settings of connections that are not encrypted; others are refused.
pub(crate) fn configured(settings: Settings, https: bool, _: Option<&Path>) -> Result<Settings, Failure> {
    match https {
        true => Err(Failure::Settings(
            "this build reaches no https:// address: build with the feature `https`, or give the path of a socket"
                .into(),
        )),
        false => Ok(settings),
    }
}
