//! By what a project's wardens are appraised, and the sessions with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use blindsmith_api::message::{Reply, Request};
use blindsmith_attest::appraisal::{Collateral, Enclave, Policy};
use blindsmith_attest::chain::Measured;
use blindsmith_attest::{Appraised, AppraisedPolicy, Session};
use blindsmith_evidence::Tee;
use blindsmith_identity::{Purpose, SigningKey};
use blindsmith_keys::{Suite, random_bytes};
use blindsmith_protocol::{Blob, Evidence, Id};
use serde::{Deserialize, Serialize};

use crate::collateral::{files, is_collateral, read_collateral};
use crate::connection::Connection;
use crate::failure::{Failure, unexpected};
use crate::files::write_file;
use crate::layout::{ATTESTATION_FILE, COLLATERAL};

/// What accepts simulated wardens and no others.
const SIMULATED: &str = "# Written by --accept-simulated: wardens that prove nothing are accepted, for tests.\n\
     # What else can be said here: blindsmith policy init.\naccept_simulated = true\n";

/// How secrets are sealed to wardens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kem {
    /// X-Wing: X25519 and ML-KEM-768. Quantum computers cannot open messages that are recorded today.
    #[default]
    XWing,
    /// X25519 alone: shorter messages.
    X25519,
}

impl From<Kem> for Suite {
    fn from(kem: Kem) -> Self {
        match kem {
            Kem::XWing => Suite::XWing,
            Kem::X25519 => Suite::X25519,
        }
    }
}

/// By what wardens are appraised. The default accepts none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attestation {
    text: String,
    collateral: Vec<PathBuf>,
}

impl Attestation {
    /// From a policy's file, and the files of collateral; directories are opened.
    ///
    /// # Errors
    /// If a file cannot be read or used.
    pub fn read(policy: &Path, collateral: &[PathBuf]) -> Result<Self, Failure> {
        let text = fs::read_to_string(policy).map_err(|e| Failure::unusable(policy, e))?;
        AppraisedPolicy::parse(&text).map_err(|e| Failure::unusable(policy, e))?;
        Attestation { text, collateral: Vec::new() }.with_collateral(collateral)
    }

    /// The same with these files of collateral; directories are opened.
    ///
    /// # Errors
    /// If a file cannot be read or used.
    pub fn with_collateral(self, collateral: &[PathBuf]) -> Result<Self, Failure> {
        let collateral = files(collateral)?;
        read_collateral(&collateral)?;
        Ok(Attestation { collateral, ..self })
    }

    /// Accepts simulated wardens and no others.
    pub fn simulated() -> Self {
        Attestation { text: SIMULATED.to_owned(), collateral: Vec::new() }
    }

    /// That of a project's directory; one without a policy trusts no warden.
    ///
    /// # Errors
    /// If the policy cannot be read or used.
    pub fn load(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(ATTESTATION_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Failure::project(&path, e)),
        };
        AppraisedPolicy::parse(&text).map_err(|e| Failure::unusable(&path, e))?;
        let collateral = dir.join(COLLATERAL);
        let collateral = if collateral.is_dir() { files(&[collateral])? } else { Vec::new() };
        Ok(Attestation { text, collateral })
    }

    /// Writes it into a project's directory.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), Failure> {
        let into = dir.join(COLLATERAL);
        for (i, path) in self.collateral.iter().enumerate() {
            fs::create_dir_all(&into).map_err(|e| Failure::project(&into, e))?;
            // Files of several directories may have one name.
            let mut name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // One that was given by its name counts whatever that is, such as AMD's `crl`; its content says what it is.
            if !is_collateral(path) {
                name.push_str(".der");
            }
            let copy = into.join(format!("{i:02}-{name}"));
            fs::copy(path, &copy).map_err(|e| Failure::project(&copy, e))?;
        }
        write_file(&dir.join(ATTESTATION_FILE), self.text.as_bytes())
    }

    /// Takes back what [`Attestation::save`] wrote.
    pub fn remove(dir: &Path) {
        // Best effort: the reason for it is what the user must hear of.
        _ = fs::remove_file(dir.join(ATTESTATION_FILE));
        _ = fs::remove_dir_all(dir.join(COLLATERAL));
    }

    /// The policy's file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What verifies evidence of hardware.
    ///
    /// # Errors
    /// If a file cannot be read or used.
    pub fn collateral(&self) -> Result<Collateral, Failure> {
        read_collateral(&self.collateral)
    }

    /// The policy.
    ///
    /// # Errors
    /// None but for a policy that was never read.
    pub fn policy(&self) -> Result<AppraisedPolicy, Failure> {
        AppraisedPolicy::parse(&self.text).map_err(|e| Failure::unusable(Path::new(ATTESTATION_FILE), e))
    }
}

/// The wardens of hardware that a policy accepts, by what is measured of them. Zeros measure nothing: they are what nobody
/// filled in. What is accepted by its signer has no measurement of its own.
pub fn measured(policy: &Policy) -> impl Iterator<Item = Measured> {
    let enclaves = policy.sgx.iter().flat_map(|sgx| &sgx.enclaves).filter_map(|enclave| match enclave {
        Enclave::Measured { mrenclave } => Some((Tee::Sgx, mrenclave.0.to_vec())),
        Enclave::Signed { .. } => None,
    });
    let tds = policy.tdx.iter().flat_map(|tdx| &tdx.guests).map(|guest| (Tee::Tdx, guest.mrtd.0.to_vec()));
    let guests = policy.snp.iter().flat_map(|snp| &snp.guests);
    let guests = guests.map(|guest| (Tee::Snp, guest.measurement.0.to_vec()));
    let all = enclaves.chain(tds).chain(guests).filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0));
    all.map(|(tee, bytes)| Measured { tee, measurement: Blob(bytes) })
}

/// The owner's clock, in seconds since 1970.
pub fn now() -> Result<u64, Failure> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(since.map_err(|_| Failure::Other("the clock is before 1970: set it".into()))?.as_secs())
}

/// Whether a warden answers, without looking at what it says.
pub fn answers(connection: &mut Connection) -> Result<(), Failure> {
    let asker = SigningKey::from_seed(&random_bytes::<32>());
    let policy = Attestation::default().policy()?;
    let session = Session::begin(random_bytes::<32>(), Id([0; 32]), &asker, Suite::X25519, &policy, now()?);
    let request = Blob(session.request(Purpose::Query, &asker));
    connection.request(&Request::Attest { asker: asker.verifying().into(), request }, &[]).map(|_| ())
}

/// The warden's evidence, in a session of its own.
pub fn fetch_evidence(
    connection: &mut Connection,
    (project, policy, kem): (Id, &AppraisedPolicy, Kem),
    asker: &SigningKey,
    purpose: Purpose,
) -> Result<(Session, Evidence), Failure> {
    let session = Session::begin(random_bytes::<32>(), project, asker, kem.into(), policy, now()?);
    let request =
        Request::Attest { asker: asker.verifying().into(), request: Blob(session.request(purpose, asker)) };
    let (Reply::Evidence(evidence), _) = connection.request(&request, &[])? else {
        return Err(unexpected());
    };
    Ok((session, evidence))
}

/// Fetches the warden's evidence in a session of its own and appraises it.
pub fn appraise_warden(
    connection: &mut Connection,
    (project, attestation, kem): (Id, &Attestation, Kem),
    asker: &SigningKey,
    purpose: Purpose,
) -> Result<Appraised, Failure> {
    let policy = attestation.policy()?;
    let collateral = attestation.collateral()?;
    let (session, evidence) = fetch_evidence(connection, (project, &policy, kem), asker, purpose)?;
    Ok(session.appraise(&evidence, &policy, &collateral, now()?)?)
}
