//! Members, and the owner's orders.

use blindsmith_client::{Failure, Prefix, Workspace};
use blindsmith_identity::{Action, MemberRole, Quota};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde::Serialize;

use crate::errors::json;
use crate::place::Place;
use crate::pulse::Pulse;

/// Hands a member's seed to the warden once it is invited; its standing, as JSON.
#[pyfunction]
fn enrol(py: Python<'_>, place: Place) -> PyResult<String> {
    let pulse = Pulse::new(None, None);
    json(&pulse.run(py, || place.open(pulse.interrupter())?.enrol())?)
}

#[derive(Serialize)]
struct Member {
    member: String,
    name: String,
    role: MemberRole,
    revoked: bool,
    quota: Quota,
}

/// The members, as JSON.
#[pyfunction]
fn members(py: Python<'_>, place: Place) -> PyResult<String> {
    let pulse = Pulse::new(None, None);
    let roster = pulse.run(py, || place.open(pulse.interrupter())?.roster())?;
    let members = roster.members().map(|(key, member)| Member {
        member: key.to_string(),
        name: member.name.clone(),
        role: member.role,
        revoked: member.revoked,
        quota: member.quota,
    });
    json(&members.collect::<Vec<_>>())
}

fn prefix(digits: &str) -> PyResult<Prefix> {
    digits.parse().map_err(|e| PyValueError::new_err(format!("{digits:?}: {e}")))
}

/// Gives an order; its number.
fn give(
    py: Python<'_>,
    place: &Place,
    action: impl FnOnce(&mut Workspace) -> Result<Action, Failure> + Send,
) -> PyResult<u64> {
    let pulse = Pulse::new(None, None);
    pulse.run(py, || {
        let mut workspace = place.open(pulse.interrupter())?;
        let action = action(&mut workspace)?;
        Ok(workspace.order(action)?.order)
    })
}

/// Invites a member.
#[pyfunction]
fn invite(py: Python<'_>, place: Place, member: &str, name: String, role: &str) -> PyResult<u64> {
    let member = prefix(member)?;
    let role = match role {
        "contributor" => MemberRole::Contributor,
        "querier" => MemberRole::Querier,
        "viewer" => MemberRole::Viewer,
        other => return Err(PyValueError::new_err(format!("no role: {other:?}"))),
    };
    give(py, &place, |workspace| {
        let member = member.member(workspace)?;
        Ok(Action::Invite { member, name, role, quota: Quota::default() })
    })
}

/// Revokes a member.
#[pyfunction]
fn revoke(py: Python<'_>, place: Place, member: &str) -> PyResult<u64> {
    let member = prefix(member)?;
    give(py, &place, |workspace| Ok(Action::Revoke { member: member.member(workspace)? }))
}

/// Makes an earlier version the current one.
#[pyfunction]
fn rollback(py: Python<'_>, place: Place, version: u64) -> PyResult<u64> {
    give(py, &place, |_| Ok(Action::Rollback { version }))
}

/// Gives a quarantined upload another try.
#[pyfunction]
fn readmit(py: Python<'_>, place: Place, upload: &str) -> PyResult<u64> {
    let upload = prefix(upload)?;
    give(py, &place, |workspace| Ok(Action::Readmit { upload: upload.upload(workspace)? }))
}

/// Lets the warden work with the refinery again.
#[pyfunction]
fn forgive(py: Python<'_>, place: Place) -> PyResult<u64> {
    give(py, &place, |_| Ok(Action::Forgive))
}

/// Withdraws an upload of this directory's key.
#[pyfunction]
fn withdraw(py: Python<'_>, place: Place, upload: &str) -> PyResult<()> {
    let upload = prefix(upload)?;
    let pulse = Pulse::new(None, None);
    pulse.run(py, || {
        let mut workspace = place.open(pulse.interrupter())?;
        let upload = upload.upload(&mut workspace)?;
        workspace.withdraw(upload)
    })
}

/// Adds these functions to the module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(enrol, module)?)?;
    module.add_function(wrap_pyfunction!(members, module)?)?;
    module.add_function(wrap_pyfunction!(invite, module)?)?;
    module.add_function(wrap_pyfunction!(revoke, module)?)?;
    module.add_function(wrap_pyfunction!(rollback, module)?)?;
    module.add_function(wrap_pyfunction!(readmit, module)?)?;
    module.add_function(wrap_pyfunction!(forgive, module)?)?;
    module.add_function(wrap_pyfunction!(withdraw, module)?)
}
