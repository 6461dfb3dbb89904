//! What owners and contributors sign: orders, enrolments, withdrawals; as it comes, and behind a signature that fits.

#![no_main]

use blindsmith_api::{open_withdrawal, sign_withdrawal};
use blindsmith_fuzz::{decoded, owner, signed};
use blindsmith_identity::{
    Kind, Order, Roster, Terms, open_confirmed, open_enrolment, open_order, open_release, open_request,
    sign_confirmed, sign_enrolment, sign_order, sign_release, sign_request,
};
use libfuzzer_sys::fuzz_target;

const ORDER: Kind = Kind { content: "application/vnd.blindsmith.order+cbor", aad: b"blindsmith order v1" };
const ENROLMENT: Kind =
    Kind { content: "application/vnd.blindsmith.enrolment+cbor", aad: b"blindsmith enrolment v1" };
const WITHDRAWAL: Kind =
    Kind { content: "application/vnd.blindsmith.withdrawal+cbor", aad: b"blindsmith withdrawal v1" };
const REQUEST: Kind =
    Kind { content: "application/vnd.blindsmith.attest+cbor", aad: b"blindsmith request for evidence v1" };
const RELEASE: Kind =
    Kind { content: "application/vnd.blindsmith.release+cbor", aad: b"blindsmith release v1" };
const CONFIRMATION: Kind =
    Kind { content: "application/vnd.blindsmith.confirmation+cbor", aad: b"blindsmith confirmation v1" };

/// Whatever opens has one encoding: signing it again gives the same bytes.
fn open(bytes: &[u8]) {
    let (key, public) = (owner(), owner().verifying());
    if let Ok(order) = open_order(bytes, &public) {
        assert_eq!(sign_order(&order, &key), bytes);
        let mut roster = Roster::default();
        _ = roster.apply(&order);
    }
    if let Ok(enrolment) = open_enrolment(bytes, &public) {
        assert_eq!(sign_enrolment(&enrolment, &key), bytes);
        enrolment.terms.digest();
    }
    if let Ok(request) = open_request(bytes, &public) {
        assert_eq!(sign_request(&request, &key), bytes);
    }
    if let Ok(release) = open_release(bytes, &public) {
        assert_eq!(sign_release(&release, &key), bytes);
    }
    if let Ok(confirmed) = open_confirmed(bytes, &public) {
        assert_eq!(sign_confirmed(&confirmed, &key), bytes);
    }
    if let Ok(withdrawal) = open_withdrawal(bytes, &public) {
        assert_eq!(sign_withdrawal(&withdrawal, &key), bytes);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    let wrapped = match kind % 9 {
        0 => return open(bytes),
        1 => signed(bytes, &ORDER),
        2 => signed(bytes, &ENROLMENT),
        3 => signed(bytes, &WITHDRAWAL),
        6 => signed(bytes, &REQUEST),
        7 => signed(bytes, &RELEASE),
        8 => signed(bytes, &CONFIRMATION),
        4 => {
            let mut roster = Roster::default();
            for order in decoded::<Vec<Order>>(bytes).unwrap_or_default() {
                _ = roster.apply(&order);
            }
            assert!(roster.sequence() as usize >= roster.members().count());
            return;
        }
        _ => {
            if let Some(terms) = decoded::<Terms>(bytes)
                && terms.validate().is_ok()
            {
                terms.digest();
            }
            return;
        }
    };
    if let Some(bytes) = wrapped {
        open(&bytes);
    }
});
