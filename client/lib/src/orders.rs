//! The owner's orders: signed, given to the refinery one after the other, and remembered.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use blindsmith_api::message::{ProjectStatus, Reply, Request};
use blindsmith_attest::chain::{KnownOrder, check_orders};
use blindsmith_identity::{Action, Approval, Order, Roster, open_order, order_digest, sign_order};
use blindsmith_protocol::{Blob, Id};
use blindsmith_receipts::Receipt;
use serde::{Deserialize, Serialize};

use crate::connection::Connection;
use crate::failure::{Failure, unexpected};
use crate::files::{locked, write_file};
use crate::keys::Keys;
use crate::policy::{change_policy, has_policy, load_policy};
use crate::project::ClientProject;
use crate::workspace::Workspace;

/// The orders that the refinery shows, verified and in their order.
fn shown(connection: &mut Connection, project: &ClientProject) -> Result<Vec<Order>, Failure> {
    let (Reply::Orders(orders), _) = connection.request(&Request::Orders { project: project.id() }, &[])?
    else {
        return Err(unexpected());
    };
    let owner = project.spec.owner.into();
    let open = |signed: &Blob| open_order(&signed.0, &owner);
    let orders = orders.iter().map(open).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    applied(&orders)?;
    Ok(orders)
}

fn wrong(e: impl std::fmt::Display) -> Failure {
    Failure::NotProven(format!("the orders that the refinery holds: {e}"))
}

/// What these orders make, one after the other.
fn applied(orders: &[Order]) -> Result<Roster, Failure> {
    let mut roster = Roster::default();
    orders.iter().try_for_each(|order| roster.apply(order)).map_err(wrong)?;
    Ok(roster)
}

fn digests(orders: &[Order]) -> Vec<Id> {
    orders.iter().map(order_digest).collect()
}

/// The members, as the orders that the refinery shows make them.
pub fn roster(connection: &mut Connection, project: &ClientProject) -> Result<Roster, Failure> {
    applied(&shown(connection, project)?)
}

/// The owner's orders, and those that the warden knew in the newest round, as its signed receipt says.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct KnownOrders {
    /// How many the refinery shows.
    pub given: u64,
    /// How many the warden knew.
    pub known: u64,
    /// In which round.
    pub round: u64,
}

/// Compares the orders that the refinery shows with those that a project's directory remembers, and with the newest receipt;
/// remembers those that were added.
///
/// # Errors
/// If one of them is missing or another, or the warden was told others. Nothing is remembered then.
pub fn remember(
    connection: &mut Connection,
    project: &ClientProject,
    dir: &Path,
) -> Result<KnownOrders, Failure> {
    let mut orders = shown(connection, project)?;
    // The receipt is read after the orders: a round that began after it knows them all.
    let mut receipt = newest_receipt(connection, project, dir)?;
    if receipt.orders > orders.len() as u64 {
        // One was given meanwhile.
        orders = shown(connection, project)?;
        receipt = newest_receipt(connection, project, dir)?;
    }
    if receipt.orders > orders.len() as u64 {
        return Err(Failure::NotProven(format!(
            "the warden was told {} orders of the owner, of which the refinery shows {}: perhaps it gave one on that it said it \
             had refused",
            receipt.orders,
            orders.len()
        )));
    }
    if Keys::load_if_there(dir)?.is_some() {
        OrderLedger::open(dir)?.compare(&orders)?;
    }
    change_policy(dir, |policy| {
        let digests = digests(&orders);
        let known = policy.orders.iter().map(|order| order.digest);
        if policy.orders.len() > digests.len() || !known.eq(digests[..policy.orders.len()].iter().copied()) {
            return Err(Failure::NotProven(format!(
                "the refinery shows {} orders of the owner, and not the {} that policy.toml names, in their order. If its \
                 operator went back to a backup and you accept that, empty the list of orders in policy.toml, remove \
                 orders.json and try again",
                digests.len(),
                policy.orders.len()
            )));
        }
        // A round that runs already may not know them; one that begins after it does.
        let due = receipt.round.saturating_add(2);
        let new = digests[policy.orders.len()..].iter().map(|digest| KnownOrder { digest: *digest, due });
        policy.orders.extend(new.collect::<Vec<_>>());
        let wrong = |what| Failure::NotProven(format!("round {}: {what}", receipt.round));
        check_orders(&receipt, policy).map_err(wrong)
    })?;
    Ok(KnownOrders { given: orders.len() as u64, known: receipt.orders, round: receipt.round })
}

/// The newest receipt, whose signature is verified.
fn newest_receipt(
    connection: &mut Connection,
    project: &ClientProject,
    dir: &Path,
) -> Result<Receipt, Failure> {
    let key = load_policy(dir)?.receipts;
    // Which it is, is the refinery's word: it is a receipt of that round, or none.
    let newest = connection.status(project.id())?.rounds.last().map_or(0, |round| round.round);
    connection.receipt(project.id(), newest, &key)
}

/// An order that was signed, and of which it is not known that it counts.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pending {
    /// In hexadecimal digits.
    order: String,
    /// Why the refinery refused it, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// What the owner's directory remembers of orders: a refinery that shows fewer or others is found out, and what was
/// signed once is given as it is until it counts or is made void, so that no number is ever used twice.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderLedger {
    /// The digests of all orders up to each that the refinery acknowledged.
    orders: Vec<String>,
    /// The one after them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<Pending>,
    #[serde(skip)]
    path: PathBuf,
    /// Locked, so that no other command signs meanwhile.
    #[serde(skip)]
    _alone: Option<File>,
}

impl OrderLedger {
    const FILE: &str = "orders.json";

    fn open(dir: &Path) -> Result<Self, Failure> {
        let (path, lock) = (dir.join(Self::FILE), dir.join("orders.lock"));
        let alone = locked(&lock)?;
        let known: OrderLedger = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Failure::project(&path, e))?,
            Err(e) if e.kind() == ErrorKind::NotFound => OrderLedger::default(),
            Err(e) => return Err(Failure::project(&path, e)),
        };
        Ok(OrderLedger { path, _alone: Some(alone), ..known })
    }

    fn save(&self) -> Result<(), Failure> {
        write_file(&self.path, &serde_json::to_vec(self).map_err(|e| Failure::project(&self.path, e))?)
    }

    /// Makes sure that the refinery shows all orders that it acknowledged; all that it shows, applied.
    fn compare(&self, orders: &[Order]) -> Result<Roster, Failure> {
        let known = orders.iter().map(|order| order_digest(order).to_string());
        match orders.len() >= self.orders.len() && known.zip(&self.orders).all(|(shown, own)| shown == *own) {
            true => applied(orders),
            false => Err(Failure::NotProven(format!(
                "the refinery shows {} orders of yours, and not the {} that it acknowledged, in their order: nothing \
                 was signed. If its operator went back to a backup and you accept that, remove {}, empty the list of orders \
                 in policy.toml and try again",
                orders.len(),
                self.orders.len(),
                self.path.display()
            ))),
        }
    }

    /// The order that was signed last and is not known to count.
    fn order(&self, project: &ClientProject) -> Result<Option<(Vec<u8>, Order)>, Failure> {
        let Some(pending) = &self.pending else { return Ok(None) };
        let damaged = || Failure::project(&self.path, "the order in it is damaged");
        let signed = hex::decode(&pending.order).map_err(|_| damaged())?;
        let order = open_order(&signed, &project.spec.owner.into()).map_err(|_| damaged())?;
        Ok(Some((signed, order)))
    }

    /// Signs an order in the place of what is pending.
    fn sign(&mut self, order: &Order, keys: &Keys) -> Result<(), Failure> {
        let order = hex::encode(sign_order(order, &keys.identity()));
        self.pending = Some(Pending { order, refused: None });
        self.save()
    }

    /// Gives the refinery what is pending; what became of it, once that is clear.
    fn give(
        &mut self,
        connection: &mut Connection,
        project: &ClientProject,
    ) -> Result<Option<Ended>, Failure> {
        let Some((signed, order)) = self.order(project)? else { return Ok(None) };
        let request = Request::Order { project: project.id(), order: Blob(signed) };
        let refused = match connection.command(&request, &[]) {
            Ok(()) => None,
            Err(Failure::Refused(why)) => Some(why),
            Err(e) => return Err(e),
        };
        // Whatever it answered: it counts if it is there.
        let shown = shown(connection, project)?;
        self.compare(&shown)?;
        if let Some(upto) = shown.get(..order.sequence as usize) {
            self.orders = digests(upto).iter().map(Id::to_string).collect();
            self.pending = None;
            self.save()?;
            // If its number is another's, which was signed in another directory, it can count no more.
            let counts = upto.last() == Some(&order);
            return Ok(Some(if counts { Ended::Given(order) } else { Ended::Superseded(order) }));
        }
        let Some(why) = refused else {
            return Err(Failure::NotProven("the refinery acknowledged an order and does not show it".into()));
        };
        if let Some(pending) = &mut self.pending {
            pending.refused = Some(why.clone());
        }
        self.save()?;
        Ok(Some(Ended::Refused(order, why)))
    }
}

/// What became of a pending order.
enum Ended {
    Given(Order),
    Refused(Order, String),
    Superseded(Order),
}

/// Why an order cannot be carried out, as far as that is known before it is signed.
fn impossible(roster: &Roster, next: &Order, status: &ProjectStatus) -> Option<String> {
    let newest = status.rounds.last().map_or(0, |round| round.round);
    match &next.action {
        Action::Rollback { version } if *version > newest => {
            Some(format!("there is no version {version}: the newest is {newest}"))
        }
        Action::Readmit { upload } if !status.uploads.iter().any(|u| u.upload == *upload) => {
            Some(format!("there is no upload {upload} in this project"))
        }
        _ => roster.clone().apply(next).err().map(|e| e.to_string()),
    }
}

/// Whether an action says what an earlier one said. The time of an approval is when its command ran, not what it says.
fn repeats(before: &Action, action: &Action) -> bool {
    match (before, action) {
        (Action::Approve(before), Action::Approve(approval)) => {
            *before == Approval { since: before.since, ..approval.clone() }
        }
        _ => before == action,
    }
}

/// An order that counts.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct GivenOrder {
    /// Its number.
    pub order: u64,
    /// The number of an earlier one that had not been acknowledged, and that was given before it.
    #[serde(skip)]
    pub earlier: Option<u64>,
}

impl Workspace {
    /// Signs and sends the owner's next order.
    ///
    /// # Errors
    /// If the owner's key is not there, the order cannot be carried out, or the refinery refuses it or shows other orders than
    /// before.
    pub fn order(&mut self, action: Action) -> Result<GivenOrder, Failure> {
        let Workspace { dir, project, connection } = self;
        let keys = Keys::load_owner(dir)?;
        let mut ledger = OrderLedger::open(dir)?;
        let mut earlier = None;
        match ledger.give(connection, project)? {
            None => {}
            Some(Ended::Given(before)) if repeats(&before.action, &action) => {
                drop(ledger);
                return remembered(self, GivenOrder { order: before.sequence, earlier });
            }
            Some(Ended::Given(before)) => earlier = Some(before.sequence),
            Some(Ended::Refused(before, why)) => return Err(Failure::Refused(still_refused(&before, &why))),
            Some(Ended::Superseded(before)) => return Err(superseded(&before)),
        }
        let status = connection.status(project.id())?;
        let roster = ledger.compare(&shown(connection, project)?)?;
        let next = roster.next(project.id(), action);
        if let Some(why) = impossible(&roster, &next, &status) {
            return Err(Failure::Refused(format!("the order was not given: {why}")));
        }
        ledger.sign(&next, &keys)?;
        match ledger.give(connection, project)? {
            Some(Ended::Refused(order, why)) => Err(Failure::Refused(still_refused(&order, &why))),
            Some(Ended::Superseded(order)) => Err(superseded(&order)),
            _ => {
                drop(ledger);
                remembered(self, GivenOrder { order: next.sequence, earlier })
            }
        }
    }

    /// Makes an order void that the refinery refused: one that does nothing takes its number. The number of an order that turned
    /// out to count, if one did; then there is nothing to make void.
    ///
    /// # Errors
    /// If the owner's key is not there, no order was refused, or the refinery refuses this one too.
    pub fn void_order(&mut self) -> Result<Option<u64>, Failure> {
        let Workspace { dir, project, connection } = self;
        let keys = Keys::load_owner(dir)?;
        let mut ledger = OrderLedger::open(dir)?;
        let refused = match ledger.give(connection, project)? {
            Some(Ended::Refused(order, _)) => order,
            Some(Ended::Given(order)) => return Ok(Some(order.sequence)),
            Some(Ended::Superseded(order)) => return Err(superseded(&order)),
            None => return Err(Failure::Refused("no order of yours was refused".into())),
        };
        let action = Action::Void { refused: order_digest(&refused) };
        ledger.sign(&Order { action, ..refused }, &keys)?;
        match ledger.give(connection, project)? {
            Some(Ended::Refused(order, why)) => Err(Failure::Refused(still_refused(&order, &why))),
            Some(Ended::Superseded(order)) => Err(superseded(&order)),
            Some(Ended::Given(order)) => {
                drop(ledger);
                remembered(self, GivenOrder { order: order.sequence, earlier: None }).map(|_| None)
            }
            None => Ok(None),
        }
    }

    /// The owner's orders as the refinery shows them, and one that is not known to count. The owner's own copy is compared.
    ///
    /// # Errors
    /// If the refinery shows other orders than it acknowledged.
    pub fn orders(&mut self) -> Result<Vec<ListedOrder>, Failure> {
        let orders = shown(&mut self.connection, &self.project)?;
        let mut listed: Vec<ListedOrder> =
            orders.iter().map(|order| ListedOrder::of(order, true, None)).collect();
        if Keys::load_if_there(&self.dir)?.is_some() {
            let ledger = OrderLedger::open(&self.dir)?;
            ledger.compare(&orders)?;
            let refused = ledger.pending.as_ref().and_then(|pending| pending.refused.clone());
            let pending = ledger.order(&self.project)?.filter(|(_, order)| !orders.contains(order));
            listed.extend(pending.map(|(_, order)| ListedOrder::of(&order, false, refused)));
        }
        Ok(listed)
    }

    /// The members, as the orders that the refinery shows make them.
    ///
    /// # Errors
    /// If the orders do not verify.
    pub fn roster(&mut self) -> Result<Roster, Failure> {
        roster(&mut self.connection, &self.project)
    }

    /// See [`remember`].
    ///
    /// # Errors
    /// As there.
    pub fn compare_orders(&mut self) -> Result<KnownOrders, Failure> {
        remember(&mut self.connection, &self.project, &self.dir)
    }
}

/// Takes note, in the policy, of what was acknowledged.
fn remembered(workspace: &mut Workspace, order: GivenOrder) -> Result<GivenOrder, Failure> {
    if has_policy(&workspace.dir) {
        workspace.compare_orders()?;
    }
    Ok(order)
}

fn superseded(order: &Order) -> Failure {
    Failure::Refused(format!(
        "order {} was signed here, and another one of yours has its number: it does not count. Give it again if you still want it",
        order.sequence
    ))
}

fn still_refused(order: &Order, why: &str) -> String {
    format!(
        "order {} is refused: {why}. It is signed, and a refinery that kept it could still give it to the warden: the next \
         order gives it again, and blindsmith orders --void makes it void",
        order.sequence
    )
}

/// An order as it is listed.
#[derive(Debug, Clone, Serialize)]
pub struct ListedOrder {
    /// Its number.
    pub order: u64,
    /// The digest of all orders up to it.
    pub digest: String,
    /// What it does, in words.
    pub action: String,
    /// Whether the refinery acknowledged it.
    pub given: bool,
    /// Why the refinery refused it.
    pub refused: Option<String>,
}

impl ListedOrder {
    fn of(order: &Order, given: bool, refused: Option<String>) -> Self {
        let digest = order_digest(order).to_string();
        ListedOrder { order: order.sequence, digest, action: words(&order.action), given, refused }
    }
}

fn words(action: &Action) -> String {
    match action {
        Action::Invite { member, name, role, .. } => {
            format!("invite {member} ({name:?}) as {role:?}").to_lowercase()
        }
        Action::Revoke { member } => format!("revoke {member}"),
        Action::Rollback { version } => format!("go back to version {version}"),
        Action::Readmit { upload } => format!("try upload {upload} again"),
        Action::Forgive => "forgive wrong answers and attempts".into(),
        Action::Resume { lost } => format!("go on without warden {lost}"),
        Action::Approve(approval) => format!("approve of {} wardens", approval.wardens.len()),
        Action::Void { .. } => "nothing, in place of an order that was refused".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blindsmith_identity::PublicKey;

    #[test]
    fn an_approval_repeats_itself_later_and_no_other() {
        let of = |policy: &str, since| {
            let receipts = PublicKey([7; 32]);
            Action::Approve(Approval { wardens: Vec::new(), receipts, policy: policy.into(), since })
        };
        assert!(repeats(&of("a", 5), &of("a", 6)));
        assert!(!repeats(&of("a", 5), &of("b", 5)));
        assert!(repeats(&Action::Forgive, &Action::Forgive));
        assert!(!repeats(&of("a", 5), &Action::Forgive));
    }
}
