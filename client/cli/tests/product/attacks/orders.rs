//! The owner's orders, withheld from the warden or replaced: receipts show it.

use blindsmith_client::Keys;
use blindsmith_identity::{
    Action, MemberRole, Order, PublicKey, Quota, Roster, open_order, order_digest, sign_order,
};
use blindsmith_protocol::{Blob, ToWarden};
use serde_json::json;

use super::products::proxied;
use super::proxy::{Frame, Proxy};
use crate::site::{Site, argument};
use crate::tables;

/// A project that was never refined, whose warden is told its orders through a proxy.
fn waiting() -> (Site, Proxy) {
    let (site, proxy) = proxied();
    site.init("first.csv", &["--label", "largest", "--hidden", "4", "--epochs", "1", "--manual"]).ok();
    site.write("rows.csv", tables::largest(60..120));
    site.push("rows.csv", &[]).ok();
    (site, proxy)
}

fn found_out(site: &Site, words: &str) {
    site.on_project("status", &[]).refused(9, &[words]);
    site.on_project("pull", &["--out", "model.safetensors"]).refused(9, &[words]);
    // The file is written all the same: it is the proof.
    site.on_project("receipts", &["--out", "receipts.cbor"]).refused(9, &[words]);
    let [receipts, policy] = ["receipts.cbor", "p/policy.toml"].map(|p| argument(&site.path(p)));
    site.run(&["verify", "--receipts", &receipts, "--policy", &policy]).refused(9, &[words]);
}

/// The refinery says that it refuses an invitation, and keeps it. The owner makes it void; the warden is given the invitation
/// all the same.
#[test]
fn attack_an_order_that_was_refused_is_given_to_the_warden() {
    let (site, proxy) = waiting();
    let (project, owner) = (site.project().id(), Keys::load_owner(&site.path("p")).unwrap().identity());
    let (member, name, quota) = (PublicKey([7; 32]), "member".to_owned(), Quota::default());
    let invite = Action::Invite { member, name, role: MemberRole::Querier, quota };
    let refused = Roster::default().next(project, invite);
    let void = Order { action: Action::Void { refused: order_digest(&refused) }, ..refused.clone() };
    let signed = |order: &Order| sign_order(order, &owner);
    // As orders --void leaves it, before the refinery answers.
    let hex: String = signed(&void).iter().map(|b| format!("{b:02x}")).collect();
    std::fs::write(site.path("p/orders.json"), format!(r#"{{"orders":[],"pending":{{"order":"{hex}"}}}}"#))
        .unwrap();
    let (kept, key) = (signed(&refused), owner.verifying());
    proxy.attack(move |frame| match frame {
        Frame::ToWarden(ToWarden::Order { project, order }, body) => {
            let first = open_order(&order.0, &key).unwrap().sequence == 1;
            let order = if first { Blob(kept.clone()) } else { order };
            vec![Frame::ToWarden(ToWarden::Order { project, order }, body)]
        }
        other => vec![other],
    });
    // Gives the void first, then itself, which the warden refuses: it was signed after another first order.
    assert_eq!(site.on_project("forgive", &[]).ok().json()["order"], 2);
    let listed = site.on_project("orders", &[]).ok().json();
    assert_eq!(listed[0]["action"], "nothing, in place of an order that was refused");
    site.on_project("refine", &[]).ok();
    found_out(&site, "the warden was told other orders, up to number 1");
}

/// The refinery acknowledges an order and never tells the warden of it.
#[test]
fn attack_the_last_order_is_withheld() {
    let (site, proxy) = waiting();
    proxy.attack(|frame| match frame {
        Frame::ToWarden(ToWarden::Order { project, .. }, body) => {
            vec![Frame::ToWarden(ToWarden::Order { project, order: Blob::default() }, body)]
        }
        other => vec![other],
    });
    site.on_project("forgive", &[]).ok();
    // A round that was under way when it was given need not know it.
    site.on_project("refine", &[]).ok();
    assert_eq!(
        site.on_project("status", &[]).ok().json()["orders"],
        json!({"given": 1, "known": 0, "round": 1})
    );
    site.on_project("refine", &[]).ok();
    found_out(&site, "the refinery withheld orders");
}

/// What cannot be carried out is not signed at all.
#[test]
fn an_order_that_cannot_be_carried_out_is_not_signed() {
    let (site, _proxy) = waiting();
    let unknown = "ab".repeat(32);
    site.on_project("rollback", &["--to", "7"])
        .refused(5, &["the order was not given: there is no version 7"]);
    site.on_project("readmit", &["--upload", &unknown])
        .refused(5, &["the order was not given: there is no upload"]);
    site.on_project("revoke", &["--member", &unknown])
        .refused(5, &["the order was not given", "is no member"]);
    assert_eq!(site.on_project("orders", &[]).ok().json(), json!([]));
    site.on_project("orders", &["--void"]).refused(5, &["no order of yours was refused"]);
}
