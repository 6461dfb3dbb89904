//! The owner's orders: signed, given to the refinery one after the other, and remembered.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use blindsmith_api::message::{Reply, Request};
use blindsmith_identity::{Action, Order, Roster, open_order, sign_order};
use blindsmith_protocol::Blob;
use serde::{Deserialize, Serialize};

use super::{ProjectArguments, report};
use crate::connection::unexpected;
use crate::project::{Keys, write_file};
use crate::{ClientProject, Connection, Failure};

/// The orders that the refinery shows, verified and in their order.
fn shown(connection: &mut Connection, project: &ClientProject) -> Result<Vec<Order>, Failure> {
    let (Reply::Orders(orders), _) = connection.request(&Request::Orders { project: project.id() }, &[])?
    else {
        return Err(unexpected());
    };
    let owner = project.spec.owner.into();
    let open = |signed: &Blob| open_order(&signed.0, &owner);
    let wrong = |e: String| Failure::NotProven(format!("the orders that the refinery holds: {e}"));
    orders.iter().map(open).collect::<Result<_, _>>().map_err(|e| wrong(e.to_string()))
}

/// What these orders make, one after the other.
fn applied(orders: &[Order]) -> Result<Roster, Failure> {
    let wrong = |e| Failure::NotProven(format!("the orders that the refinery holds: {e}"));
    let mut roster = Roster::default();
    orders.iter().try_for_each(|order| roster.apply(order)).map_err(wrong)?;
    Ok(roster)
}

/// The members, as the orders that the refinery shows make them.
pub(super) fn roster(connection: &mut Connection, project: &ClientProject) -> Result<Roster, Failure> {
    applied(&shown(connection, project)?)
}

/// What the owner's directory remembers of orders: a refinery that shows fewer or others is found out, and what was
/// signed once is given as it is until it is clear what became of it, so that no number is ever used twice.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    /// Those that the refinery acknowledged, and their digest.
    orders: u64,
    digest: String,
    /// The one after them, signed, of which it is not known whether it arrived; in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unacknowledged: Option<String>,
    #[serde(skip)]
    path: PathBuf,
    /// Locked, so that no other command signs meanwhile.
    #[serde(skip)]
    _alone: Option<File>,
}

impl Given {
    const FILE: &str = "orders.json";

    fn open(dir: &Path) -> Result<Self, Failure> {
        let (path, lock) = (dir.join(Self::FILE), dir.join("orders.lock"));
        let alone = File::create(&lock).map_err(|e| Failure::project(&lock, e))?;
        alone.lock().map_err(|e| Failure::project(&lock, e))?;
        let known: Given = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Failure::project(&path, e))?,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let (digest, path) = (Roster::default().digest().to_string(), PathBuf::new());
                Given { orders: 0, digest, unacknowledged: None, path, _alone: None }
            }
            Err(e) => return Err(Failure::project(&path, e)),
        };
        Ok(Given { path, _alone: Some(alone), ..known })
    }

    fn save(&self) -> Result<(), Failure> {
        write_file(&self.path, &serde_json::to_vec(self).map_err(|e| Failure::project(&self.path, e))?)
    }

    /// Makes sure that the refinery shows all orders that it acknowledged; all that it shows, applied.
    fn compare(&self, orders: &[Order]) -> Result<Roster, Failure> {
        let roster = applied(orders)?;
        let same = match orders.get(..self.orders as usize) {
            Some(known) => self.orders == 0 || applied(known)?.digest().to_string() == self.digest,
            None => false,
        };
        match same {
            true => Ok(roster),
            false => Err(Failure::NotProven(format!(
                "the refinery shows {} orders of yours, and not the {} that it acknowledged, in their order: nothing \
                 was signed. If its operator went back to a backup and you accept that, remove {} and try again",
                orders.len(),
                self.orders,
                self.path.display()
            ))),
        }
    }

    /// Gives the refinery what was signed; what became of it, once that is clear.
    fn give(&mut self, connection: &mut Connection, project: &ClientProject) -> Result<Ended, Failure> {
        let signed = self.unacknowledged.as_deref().and_then(|digits| hex::decode(digits).ok());
        let signed = signed.ok_or_else(|| Failure::project(&self.path, "the order in it is damaged"))?;
        let owner = project.spec.owner.into();
        let order = open_order(&signed, &owner).map_err(|e| Failure::project(&self.path, e))?;
        let request = Request::Order { project: project.id(), order: Blob(signed) };
        let refused = match connection.command(&request, &[]) {
            Ok(()) => None,
            Err(Failure::Refused(why)) => Some(why),
            Err(e) => return Err(e),
        };
        // Whatever it answered: it counts if it is there, and if it is not, its number is free.
        let shown = shown(connection, project)?;
        self.compare(&shown)?;
        let upto = shown.get(..order.sequence as usize).filter(|upto| upto.last() == Some(&order));
        let there = upto.is_some();
        if let Some(upto) = upto {
            (self.orders, self.digest) = (order.sequence, applied(upto)?.digest().to_string());
        } else if refused.is_none() {
            return Err(Failure::NotProven("the refinery acknowledged an order and does not show it".into()));
        }
        self.unacknowledged = None;
        self.save()?;
        Ok(match refused.filter(|_| !there) {
            None => Ended::Given(order),
            Some(why) => Ended::Refused(order, why),
        })
    }
}

enum Ended {
    Given(Order),
    Refused(Order, String),
}

/// Signs and sends the owner's next order; its number.
pub(crate) fn order(common: &ProjectArguments, action: Action) -> Result<u64, Failure> {
    let (project, mut connection) = common.open()?;
    let keys = Keys::load_owner(&common.project)?;
    let mut given = Given::open(&common.project)?;
    if given.unacknowledged.is_some() {
        match given.give(&mut connection, &project)? {
            Ended::Given(before) if before.action == action => return Ok(before.sequence),
            Ended::Given(before) => {
                eprintln!("order {}, which was not acknowledged before, is given now", before.sequence);
            }
            Ended::Refused(before, why) => {
                eprintln!("order {}, which was not acknowledged before, is refused: {why}", before.sequence);
            }
        }
    }
    let roster = given.compare(&shown(&mut connection, &project)?)?;
    let next = roster.next(project.id(), action);
    given.unacknowledged = Some(hex::encode(sign_order(&next, &keys.identity())));
    given.save()?;
    match given.give(&mut connection, &project)? {
        Ended::Given(order) => Ok(order.sequence),
        Ended::Refused(_, why) => Err(Failure::Refused(why)),
    }
}

#[derive(Serialize)]
struct Ordered {
    order: u64,
}

/// Sends an order, and says what it was.
pub(crate) fn give(common: &ProjectArguments, action: Action, words: &str) -> Result<(), Failure> {
    let order = order(common, action)?;
    report(common.json, &Ordered { order }, |o| println!("order {}: {words}", o.order))
}
