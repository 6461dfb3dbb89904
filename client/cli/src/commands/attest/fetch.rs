//! `blindsmith attest fetch`.

use std::path::{Path, PathBuf};

use blindsmith_arguments::KemName;
use blindsmith_attest::appraisal::{Appraisal, Collateral, Evidence, appraise};
use blindsmith_attest::{AppraisedPolicy, Refused, Session};
use blindsmith_identity::Purpose;
use blindsmith_protocol::{Evidence as Answer, Id, to_cbor};
use clap::Args;

use super::{conclude, files, read_appraised, read_collateral};
use blindsmith_client::Keys;
use blindsmith_client::files::write_file;
use blindsmith_client::trust::{Kem, fetch_evidence, now};
use blindsmith_client::{ClientProject, Connection, Failure};

/// Asks the refinery's warden for fresh evidence, with a nonce that is used once, and appraises the answer as init,
/// join and predict do. It releases nothing. It uses a project's policy, or --refinery and --policy if there is no
/// project yet.
#[derive(Args)]
#[command(
    disable_version_flag = true,
    after_help = "Examples:\n  blindsmith attest fetch --project ./sales\n  blindsmith attest fetch --refinery ./refinery/refinery.sock --policy trusted.toml --collateral certificates/ --out warden.evidence"
)]
pub struct Fetch {
    /// The project's directory [default: blindsmith-project, unless there are --refinery and --policy].
    #[arg(long, value_name = "DIR")]
    project: Option<PathBuf>,
    /// The refinery, if not the one recorded: `http(s)://HOST[:PORT]`, or the path of its socket.
    #[arg(long, value_name = "URL")]
    refinery: Option<String>,
    /// Certificates (PEM) of the authority that signed the refinery's certificate, if the system does not trust it.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The owner's key (see init --key) that signs the request if there is no project. Over HTTP a refinery answers
    /// only keys that it knows.
    #[arg(long, value_name = "FILE", conflicts_with = "project", requires_all = ["refinery", "policy"])]
    key: Option<PathBuf>,
    /// The policy, if not the project's attestation.toml.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Collateral, if not the project's: files or directories.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    collateral: Vec<PathBuf>,
    /// The key encapsulation to ask for, if not the project's.
    #[arg(long, value_enum)]
    kem: Option<KemName>,
    /// Write the evidence as it came to this file: attest appraise reads it. It is written if it is refused too.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

/// Who asks which warden, and by what it is appraised.
struct Asking {
    project: Id,
    refinery: String,
    keys: Keys,
    kem: Kem,
    policy: AppraisedPolicy,
    collateral: Collateral,
}

impl Fetch {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let Asking { project, refinery, keys, kem, policy, collateral } = self.asking()?;
        let mut connection = Connection::reach(&refinery, Some(keys.identity()), self.ca.as_deref())?;
        let about = (project, &policy, kem);
        let (session, answer) = fetch_evidence(&mut connection, about, &keys.identity(), Purpose::Query)?;
        if let Some(path) = &self.out {
            write_file(path, &to_cbor(&answer))?;
        }
        conclude(self.json, &appraised(session, &answer, &policy, &collateral, now()?))
    }

    fn asking(&self) -> Result<Asking, Failure> {
        match (&self.project, &self.refinery, &self.policy) {
            (None, Some(refinery), Some(policy)) => self.without_project(refinery, policy),
            (dir, ..) => self.of_project(dir.as_deref().unwrap_or(Path::new("blindsmith-project"))),
        }
    }

    fn without_project(&self, refinery: &str, policy: &Path) -> Result<Asking, Failure> {
        Ok(Asking {
            // The session is about no project.
            project: Id([0; 32]),
            refinery: refinery.to_owned(),
            keys: self.key.as_deref().map_or_else(|| Ok(Keys::generate()), Keys::load_file)?,
            kem: self.kem.unwrap_or_default().into(),
            policy: read_appraised(policy)?,
            collateral: read_collateral(&files(&self.collateral)?)?,
        })
    }

    fn of_project(&self, dir: &Path) -> Result<Asking, Failure> {
        let project = ClientProject::load(dir)?;
        Ok(Asking {
            project: project.id(),
            refinery: self.refinery.clone().unwrap_or_else(|| project.refinery.clone()),
            keys: Keys::load_any(dir)?.unwrap_or_else(Keys::generate),
            kem: self.kem.map_or(project.kem, Kem::from),
            policy: match &self.policy {
                Some(path) => read_appraised(path)?,
                None => project.attestation.policy()?,
            },
            collateral: match self.collateral.is_empty() {
                true => project.attestation.collateral()?,
                false => read_collateral(&files(&self.collateral)?)?,
            },
        })
    }
}

/// What is to be said of a warden's answer: what its report says, and all that the session refuses.
fn appraised(
    session: Session,
    answer: &Answer,
    policy: &AppraisedPolicy,
    collateral: &Collateral,
    at: u64,
) -> Appraisal {
    let unknown = Appraisal {
        accepted: false,
        tee: "unknown",
        tcb_status: None,
        measurement: None,
        report_data: None,
        refusals: Vec::new(),
    };
    let said =
        Evidence::parse(&answer.report.0).map(|report| appraise(&report, collateral, policy.policy(), at));
    let said = said.unwrap_or(unknown);
    match session.appraise(answer, policy, collateral, at) {
        Ok(_) => Appraisal { refusals: Vec::new(), ..said },
        Err(Refused { refusals }) => Appraisal { accepted: false, refusals, ..said },
    }
}
