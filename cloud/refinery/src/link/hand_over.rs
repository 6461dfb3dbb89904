//! Projects that one warden passes on to another.

use std::io;
use std::path::Path;

use super::*;

/// Most collateral, in bytes: what a warden takes.
const MAX_COLLATERAL: u64 = 1 << 20;

/// The files of a directory, in the order of their names, each after its length in four bytes; nothing if there is no such
/// directory.
fn collateral(dir: &Path) -> io::Result<Vec<u8>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_file() && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    let mut body = Vec::new();
    for path in paths {
        let len = path.metadata()?.len();
        if body.len() as u64 + len > MAX_COLLATERAL {
            return Err(io::Error::other(format!(
                "more than {MAX_COLLATERAL} bytes: keep there what verifies the present platforms alone"
            )));
        }
        let part = std::fs::read(&path)?;
        body.extend((part.len() as u32).to_le_bytes());
        body.extend(part);
    }
    Ok(body)
}

impl Link {
    /// Hands over what this warden has to the other one; whether that has a project now.
    pub(super) fn hand_over(&mut self, shared: &Shared, other: &mut Link) -> Result<bool, FrameError> {
        let known: Vec<(Id, Arc<ProjectSpec>, u64)> = shared
            .lock()
            .projects
            .iter()
            .filter_map(|(id, p)| Some((*id, p.spec.clone(), p.rounds.last()?.round)))
            .collect();
        let mut any = false;
        for (project, spec, round) in known {
            match self.hand_over_one(shared, other, (project, &spec, round))? {
                Ok(()) => {
                    info!(%project, "handed over to another warden");
                    any = true;
                }
                Err(message) => warn!(%project, "not handed over: {message}"),
            }
        }
        Ok(any)
    }

    /// Whether the warden that is served can work for no project, and the other one holds all of them.
    pub(super) fn superseded(shared: &Shared, other: &Link) -> bool {
        let (released, ready) = {
            let state = shared.lock();
            (state.released(), state.projects.values().any(|p| !p.rounds.is_empty() && p.ready))
        };
        !released.is_empty() && !ready && other.holds_all(shared, &released)
    }

    /// Whether this warden can go on with all of these projects.
    pub(super) fn holds_all(&self, shared: &Shared, projects: &[Id]) -> bool {
        let held = |id: &Id| matches!(shared.store.holding(id, &self.holder), Ok(Some(_)));
        projects.iter().all(held)
    }

    /// A refusal by either warden leaves everything as it is.
    fn hand_over_one(
        &mut self,
        shared: &Shared,
        other: &mut Link,
        (project, spec, round): (Id, &ProjectSpec, u64),
    ) -> Result<Result<(), String>, FrameError> {
        let state = match shared.store.round(&project, round) {
            Ok(record) => record.state.0,
            Err(e) => return Ok(Err(e.to_string())),
        };
        self.send(&ToWarden::Challenge { project }, &[])?;
        let (asker, request) = match self.finish()?.0 {
            Outcome::Challenge { asker, request } => (asker, request),
            Outcome::Refused { message } => return Ok(Err(message)),
            _ => return Err(FrameError::Unexpected("not a challenge")),
        };
        let lost = |e: FrameError| format!("the other warden: {e}");
        let asked = other.send(&ToWarden::Attest { asker, request }, &[]).and_then(|()| other.receive());
        let evidence = match asked {
            Ok((FromWarden::Evidence(evidence), 0)) => evidence,
            Ok((FromWarden::Finished(Outcome::Refused { message }), 0)) => return Ok(Err(message)),
            Ok(_) => return Ok(Err("the other warden answered something else than evidence".into())),
            Err(e) => return Ok(Err(lost(e))),
        };
        let collateral = match collateral(&shared.collateral) {
            Ok(collateral) => collateral,
            Err(e) => return Ok(Err(format!("the collateral in {}: {e}", shared.collateral.display()))),
        };
        self.send(&ToWarden::HandOver { project, evidence }, &[&collateral])?;
        let (session, order, sealed) = match self.finish()? {
            (Outcome::Handed { session, order }, sealed) => (session, order, sealed),
            (Outcome::Refused { message }, _) => return Ok(Err(message)),
            _ => return Err(FrameError::Unexpected("not a hand-over")),
        };
        let spec = spec.clone();
        let command = ToWarden::TakeOver { spec, from: asker, session, order };
        let body = [&(sealed.len() as u32).to_le_bytes(), sealed.as_slice(), &state];
        let done = other.send(&command, &body).and_then(|()| other.finish());
        // From here on the first warden is done with the project: what fails is tried again with this other one.
        Ok(match done {
            Ok((Outcome::Ready { holding, .. }, tokens)) => {
                let tokens: Result<Vec<(Id, Blob)>, _> = from_cbor(&tokens);
                let kept = |tokens: Vec<(Id, Blob)>| {
                    shared.store.taken_over(&project, (&other.holder, &holding.0), &tokens)
                };
                tokens.map_err(|e| e.to_string()).and_then(|tokens| kept(tokens).map_err(|e| e.to_string()))
            }
            Ok((Outcome::Refused { message }, _)) => Err(message),
            Ok(_) => Err("the other warden answered something else than to a hand-over".into()),
            Err(e) => Err(lost(e)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collateral_is_what_lies_in_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(collateral(&dir.path().join("none")).unwrap(), b"");
        for (name, content) in [("b.json", "{}"), ("a.pem", "one"), (".hidden", "no")] {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        std::fs::create_dir(dir.path().join("below")).unwrap();
        assert_eq!(collateral(dir.path()).unwrap(), b"\x03\0\0\0one\x02\0\0\0{}");
        std::fs::write(dir.path().join("large"), vec![0; MAX_COLLATERAL as usize]).unwrap();
        assert!(collateral(dir.path()).unwrap_err().to_string().contains("more than"));
    }
}
