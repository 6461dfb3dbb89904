//! The owner's orders: checked before they are stored, and what they change.

use blindsmith_identity::{Action, Order, open_order};

use crate::effect::Effect;
use crate::project::Project;
use crate::refusal::Refusal;
use crate::retry::Now;
use crate::rollback::Rollback;

impl Project {
    /// Opens an order, which must be the owner's and the next one.
    ///
    /// # Errors
    /// [`Refusal`] says why it is not.
    pub fn check_order(&self, signed: &[u8]) -> Result<Order, Refusal> {
        let order = open_order(signed, &self.spec.owner.into()).map_err(Refusal::Order)?;
        if order.project != self.id() {
            return Err(Refusal::OtherProject);
        }
        let newest = self.newest().unwrap_or(0);
        match &order.action {
            Action::Rollback { version } if *version > newest => {
                return Err(Refusal::NoVersion { version: *version, newest });
            }
            Action::Readmit { upload } if self.upload(upload).is_none() => {
                return Err(Refusal::NoUpload(*upload));
            }
            _ => {}
        }
        self.roster.clone().apply(&order).map_err(Refusal::Roster)?;
        Ok(order)
    }

    /// Whether the order is here.
    pub fn has_order(&self, signed: &[u8]) -> bool {
        self.orders.iter().any(|order| order == signed)
    }

    /// One that does not follow changes nothing.
    pub(crate) fn order_stored(&mut self, order: &Order, signed: Vec<u8>, now: Now) -> Vec<Effect> {
        if self.roster.apply(order).is_err() {
            return Vec::new();
        }
        self.orders.push(signed.clone());
        let known = self.rounds.last().map_or(0, |round| round.orders);
        let mut invited = None;
        match &order.action {
            Action::Rollback { version } if order.sequence > known => {
                let rollback = Rollback { order: order.sequence, version: *version, retry: None };
                self.rollback = Some(rollback);
            }
            Action::Readmit { upload } if order.sequence > known => {
                self.change(upload, |u| u.readmit(now));
            }
            Action::Invite { member, .. } => {
                self.contributor_enrolled(&(*member).into(), now);
                invited = Some(*member);
            }
            _ => {}
        }
        vec![Effect::Tell { order: signed, invited }]
    }
}
