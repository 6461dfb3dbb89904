//! Which wardens are trusted, on the command line.

use std::path::PathBuf;

use blindsmith_client::Failure;
use blindsmith_client::trust::{Attestation, Kem};
use clap::{Args, ValueEnum};

/// How secrets are sealed to wardens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum KemName {
    /// X-Wing: X25519 and ML-KEM-768. What is recorded today stays sealed to quantum computers.
    #[default]
    XWing,
    /// X25519 alone: shorter messages.
    X25519,
}

impl From<KemName> for Kem {
    fn from(name: KemName) -> Self {
        match name {
            KemName::XWing => Kem::XWing,
            KemName::X25519 => Kem::X25519,
        }
    }
}

/// Which wardens are trusted.
#[derive(Debug, Clone, Default, Args)]
pub struct TrustArguments {
    /// Accept simulated wardens: nothing protects what they hold from whoever runs them.
    #[arg(long, conflicts_with = "attestation")]
    pub accept_simulated: bool,
    /// The policy by which wardens are appraised: blindsmith policy init writes one.
    #[arg(long, value_name = "FILE")]
    pub attestation: Option<PathBuf>,
    /// Certificates and lists that verify evidence of hardware; directories are opened. They are copied into the project.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub collateral: Vec<PathBuf>,
    /// How secrets are sealed to wardens.
    #[arg(long, value_enum, default_value_t)]
    pub kem: KemName,
}

impl TrustArguments {
    /// Whether they name a policy.
    pub fn names_wardens(&self) -> bool {
        self.accept_simulated || self.attestation.is_some()
    }

    /// What they name.
    ///
    /// # Errors
    /// If a file cannot be read or used.
    pub fn attestation(&self) -> Result<Attestation, Failure> {
        match &self.attestation {
            Some(path) => Attestation::read(path, &self.collateral),
            None if self.accept_simulated => Attestation::simulated().with_collateral(&self.collateral),
            None => Attestation::default().with_collateral(&self.collateral),
        }
    }
}
