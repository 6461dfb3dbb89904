//! Answers, as JSON.

use blindsmith_protocol::Decision;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::status::UploadState;

/// A problem (RFC 9457): what was refused or failed, why, and in `detail` what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What is wrong, and what to do.
    pub detail: String,
    /// The request, as the refinery's log names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request: String,
    /// Of an upload: bytes that the refinery has for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Of a request that is too old or too new: the refinery's time, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_time: Option<u64>,
}

/// A project was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// Its identifier, 64 hexadecimal digits.
    pub project: String,
}

/// The projects of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Projects {
    /// In the order of their identifiers.
    pub projects: Vec<ProjectEntry>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectEntry {
    /// Its identifier.
    pub project: String,
    /// Its name.
    pub name: String,
    /// `owner`, `contributor`, `querier` or `viewer`; none over the local socket for who asks without a key.
    pub role: Option<String>,
    /// How it is.
    pub state: ProjectState,
    /// The number of its newest round; none before its secrets were released.
    pub round: Option<u64>,
    /// What is in the way, if something is.
    pub failure: Option<String>,
}

/// What became of a round in one word, as metrics, logs and reports have it.
pub fn decision_word(decision: &Decision) -> &'static str {
    match decision {
        Decision::Promoted => "promoted",
        Decision::RolledBack { .. } => "rolled-back",
        Decision::Failed { .. } => "failed",
        Decision::Restored { .. } => "restored",
        Decision::Sealed(_) => "sealed",
    }
}

/// How a project is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProjectState {
    /// The warden holds its secrets, and nothing is to be done.
    Ready,
    /// A round runs or is due.
    Busy,
    /// No warden that is connected holds its secrets.
    Waiting,
    /// Its newest round failed.
    Failed,
}

/// An upload or query began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its identifier, 32 hexadecimal digits.
    pub session: String,
    /// Most bytes of a chunk.
    pub chunk_bytes: u64,
}

/// How far an upload or query is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offset {
    /// Bytes that the refinery has for good: the next chunk begins here.
    pub offset: u64,
}

/// An upload is stored for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Its identifier, 64 hexadecimal digits.
    pub upload: String,
    /// False if it was there already.
    pub new: bool,
}

/// Uploads, those of the key that asks; all of them for owner and viewers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploads {
    /// In the order of arrival.
    pub uploads: Vec<UploadEntry>,
    /// Sums, for each contributor.
    pub contributors: Vec<ContributorUploads>,
}

/// An upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadEntry {
    /// Its identifier.
    pub upload: String,
    /// Whose it is.
    pub contributor: String,
    /// `training` or `validation`.
    pub role: String,
    /// Its rows.
    pub rows: u32,
    /// Its bytes.
    pub bytes: u64,
    /// What became of it.
    pub state: UploadState,
    /// Why it was refused or set aside.
    pub reason: Option<String>,
}

/// What a contributor has stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContributorUploads {
    /// Its public key.
    pub contributor: String,
    /// Uploads.
    pub uploads: u32,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Asks for a round.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refine {
    /// Epochs, if others than the recipe's.
    pub epochs: Option<u32>,
}

/// The service answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The refinery's version.
    pub version: String,
    /// Its time, in seconds since 1970: clients compare theirs.
    pub time: u64,
}

/// Whether requests are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// False while the service ends, or its store does not answer.
    pub ready: bool,
    /// Which kind of warden is connected.
    pub warden: Option<String>,
    /// Why no requests are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How the parts of its store are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreParts>,
}

/// How the parts of a refinery's store are, each in one word: `good` or `unreachable`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreParts {
    /// The database of the records.
    pub database: String,
    /// The lock that makes it the one refinery that writes: `held`, `lost` while it is taken again, `taken` by another.
    pub lock: String,
    /// The object store of the blobs; none where they are in the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<String>,
}

/// A structure of the protocol as JSON: what it is in CBOR, with bytes as hexadecimal digits. One rule for all of them,
/// so that no second description of a structure can fall behind.
pub fn json_of<T: Serialize>(value: &T) -> Value {
    // Unwrap safety: messages are plain data, which always have a value in CBOR.
    json(ciborium::Value::serialized(value).expect("a message of plain data"))
}

fn json(value: ciborium::Value) -> Value {
    use ciborium::Value as Cbor;
    match value {
        Cbor::Integer(i) => {
            let i = i128::from(i);
            let number = u64::try_from(i).map(Number::from).or_else(|_| i64::try_from(i).map(Number::from));
            number.map_or(Value::Null, Value::Number)
        }
        Cbor::Bytes(bytes) => Value::String(bytes.iter().map(|b| format!("{b:02x}")).collect()),
        Cbor::Float(f) => Number::from_f64(f).map_or(Value::Null, Value::Number),
        Cbor::Text(text) => Value::String(text),
        Cbor::Bool(b) => Value::Bool(b),
        Cbor::Tag(_, inner) => json(*inner),
        Cbor::Array(items) => Value::Array(items.into_iter().map(json).collect()),
        Cbor::Map(entries) => {
            let entry = |(key, value): (Cbor, Cbor)| match json(key) {
                Value::String(key) => (key, json(value)),
                key => (key.to_string(), json(value)),
            };
            Value::Object(entries.into_iter().map(entry).collect::<Map<_, _>>())
        }
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use blindsmith_protocol::{Id, RoundSummary};

    use super::*;

    #[test]
    fn bytes_become_hexadecimal_digits_and_fields_keep_their_names() {
        assert_eq!(json_of(&Id([0xab; 32])), Value::String("ab".repeat(32)));
        let round = json_of(&RoundSummary { round: 3, seconds: 1.5, ..RoundSummary::default() });
        assert_eq!(round["round"], 3);
        assert_eq!(round["seconds"], 1.5);
        assert_eq!(round["metrics"], "");
        assert_eq!(round["failure"], Value::Null);
        assert_eq!(json_of(&-1_i8), -1);
    }
}
