//! `blindsmith orders`, and how other commands give one.

use blindsmith_client::{Failure, GivenOrder, Workspace};
use blindsmith_identity::Action;
use clap::Args;

use super::{ProjectArguments, report};

/// Sends an order, and says which earlier one went before it.
pub(super) fn send(workspace: &mut Workspace, action: Action) -> Result<GivenOrder, Failure> {
    let given = workspace.order(action)?;
    if let Some(earlier) = given.earlier {
        eprintln!("order {earlier}, which was not acknowledged before, is given now");
    }
    Ok(given)
}

/// Sends an order, and says what it was.
pub(super) fn give(common: &ProjectArguments, action: Action, words: &str) -> Result<(), Failure> {
    let given = send(&mut common.open()?, action)?;
    report(common.json, &given, |o| println!("order {}: {words}", o.order))
}

/// Lists the orders of a project's owner, as the refinery shows them, and compares them with the owner's own record.
/// --void voids an order that the refinery refused.
#[derive(Args)]
#[command(
    after_help = "Example:\n  blindsmith orders --project ./sales\n  blindsmith orders --project ./sales --void"
)]
pub struct Orders {
    #[command(flatten)]
    common: ProjectArguments,
    /// Void the order that was signed and refused. An order that does nothing takes its number; receipts show it if
    /// the refinery gives the warden the other one. Needs the owner's key.
    #[arg(long)]
    void: bool,
}

impl Orders {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let mut workspace = self.common.open()?;
        if self.void
            && let Some(order) = workspace.void_order()?
        {
            eprintln!("order {order} is given now, and counts: there is nothing to make void");
        }
        report(self.common.json, &workspace.orders()?, |listed| {
            for l in listed {
                println!("{:>4}  {}  {}", l.order, &l.digest[..16], l.action);
                match (&l.refused, l.given) {
                    (Some(why), _) => {
                        println!("      REFUSED: {why} (blindsmith orders --void makes it void)")
                    }
                    (None, false) => println!("      not acknowledged: the next order gives it again"),
                    (None, true) => {}
                }
            }
        })
    }
}
