//! What a warden and its appraiser say to each other: a process without keys judges reports of hardware for one that has
//! some. Each message is the head of a frame without a body (`blindsmith-protocol`). The appraiser says
//! [`Finding::Ready`] once it is confined, and then answers question by question. It is told no nonce and no claims: all
//! that it can vouch for is that a report with its report data is genuine and allowed by a policy.

use std::io::{Read, Write};

use blindsmith_protocol::{Blob, FrameError, read_head, write_frame};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::appraisal::Appraisal;

/// What an appraiser is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Question {
    /// Whether a text is a policy.
    Policy(String),
    /// Whether a policy allows a report.
    Report {
        /// The policy's text.
        policy: String,
        /// A raw report or quote.
        report: Blob,
        /// What it is verified with, part by part.
        collateral: Vec<Blob>,
        /// The time as of which it is appraised, in seconds since 1970.
        at: u64,
    },
}

/// What an appraiser answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Finding {
    /// It is confined; the text is a policy.
    Ready,
    /// What the appraisal found.
    Appraisal(Appraisal),
    /// There is none, as what was given cannot be used.
    Unusable {
        /// Which of it.
        what: Given,
        /// Why not.
        why: String,
    },
}

/// What an appraiser is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Given {
    /// The policy.
    Policy,
    /// The collateral.
    Collateral,
    /// The report.
    Report,
}

/// Sends a question or a finding.
///
/// # Errors
/// [`FrameError`] if the connection fails, or the message is too long.
pub fn tell(stream: &mut impl Write, message: &impl Serialize) -> Result<(), FrameError> {
    write_frame(stream, message, &[])
}

/// Receives a question or a finding.
///
/// # Errors
/// [`FrameError`] if the connection fails, or what comes is no such message.
pub fn hear<T: DeserializeOwned>(stream: &mut impl Read) -> Result<T, FrameError> {
    match read_head(stream)? {
        (message, 0) => Ok(message),
        _ => Err(FrameError::Unexpected("a body")),
    }
}
