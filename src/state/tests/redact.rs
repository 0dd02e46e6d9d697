//! Taking a peer out: of the records or of the state comes to the same, and nothing of it is left.

use proptest::prelude::*;

use super::{random::change, *};
use crate::state::redact::{Redactor, fill};

/// Changes of random tests, some of which name the peer in odd places.
fn naming() -> impl Strategy<Value = Change> {
    (change(), 0..4_u8).prop_map(|(mut change, how)| {
        let id = peer(1).to_string();
        if how > 0 {
            return change;
        }
        match &mut change {
            Change::PeerSeen { addresses, .. }
            | Change::AddressesAdded { addresses, .. }
            | Change::AddressesReplaced { addresses, .. }
            | Change::AddressesRemoved { addresses, .. }
            | Change::PeerSet { addresses, .. } => {
                let circuit = format!("/ip4/192.0.2.1/tcp/1/p2p/{id}/p2p-circuit");
                addresses.push(Address::from_text(&circuit));
                addresses.push(Address::from_text(&format!("no address of {id}")));
            }
            Change::PeerProfiled { agent, protocols, .. } => {
                *agent = Some(format!("agent of {id}").into());
                protocols.push(id.into());
            }
            Change::LocationSet { location: Some(place), .. } => place.region = Some(id.into()),
            Change::ReputationSet { reputation, .. } => {
                let place = GeoLocation { latitude: 1.0, longitude: 2.0, region: Some(id.into()) };
                reputation.location = Some(Box::new(place));
            }
            Change::DhtPut { value, .. } => *value = ed25519(1).to_bytes().into(),
            Change::DhtRemoved { key } => *key = format!("kad/provider/x/{id}").into(),
            Change::PackageCached { data, .. } => *data = id.into_bytes().into(),
            Change::BootstrapAdded { node } => *node = format!("/dns/x/p2p/{id}").into(),
            Change::BootstrapReplaced { nodes } => nodes.push(format!("/dns/x/p2p/{id}").into()),
            Change::Banned { reason, source, .. } => {
                *reason = format!("friend of {id}").into();
                *source = id.into();
            }
            _ => {}
        }
        change
    })
}

fn all() -> Redactor {
    Redactor::new(&peer(1))
}

proptest! {
    #[test]
    fn records_and_state_agree_and_nothing_of_the_peer_is_left(
        changes in prop::collection::vec(naming(), 0..30),
    ) {
        let redactor = all();
        let (mut state, mut redacted) = (State::default(), State::default());
        for change in &changes {
            let mut payload = Vec::new();
            encode(std::slice::from_ref(change), &mut payload).unwrap();
            let new = redactor.payload(&payload).unwrap();
            if let Some(new) = &new {
                prop_assert_eq!(new.len(), payload.len());
                prop_assert!(!redactor.finds(new));
                prop_assert_eq!(&redactor.payload(new).unwrap(), &None, "once is enough");
            }
            // A filler changes nothing, and a change that is there has its old effect on others.
            for change in decode(new.as_deref().unwrap_or(&payload)) {
                redacted.apply(&change.unwrap()).unwrap();
            }
            state.apply(change).unwrap();
        }
        let mut expected = state.clone();
        expected.apply_all(&redactor.changes(&state)).unwrap();
        prop_assert!(redacted.difference(&expected).is_empty());
        prop_assert_eq!(redactor.changes(&redacted), []);
        let text = format!("{:?}", redacted.to_rows(instant(0)));
        prop_assert!(!redactor.finds(text.as_bytes()));
    }
}

#[test]
fn what_is_taken_out_leaves_as_many_bytes_at_any_length() {
    for len in 3..600 {
        let redactor = Redactor::new(&PeerKey::from_text("an odd id"));
        let mut out = Vec::new();
        fill(len, &mut out).unwrap();
        assert_eq!(out.len(), len);
        for change in decode(&out) {
            let change = change.unwrap();
            let kept = State::default().apply(&change);
            assert_eq!(kept.unwrap(), Effect::Unchanged, "{change:?}");
            assert!(change.peer().unwrap().to_peer_id().is_none());
        }
        assert_eq!(redactor.payload(&out).unwrap(), None);
    }
}

#[test]
fn an_id_is_found_in_each_of_its_forms() {
    let id = ed25519(1);
    let found = |bytes: &[u8]| all().finds(bytes);
    assert!(found(&id.to_bytes()) && found(id.to_base58().as_bytes()));
    // As a key of the DHT holds it, and as the CID that other programs show.
    assert!(
        all().finds_key("kad/record/L2lwbnMvACQIARIgAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE")
    );
    assert!(found(b"bafzaajaiaejcaaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaib"));
    assert!(!found(&ed25519(2).to_bytes()) && !found(b""));
    let odd = Redactor::new(&PeerKey::from_text("a"));
    assert!(!odd.finds(b"banana"), "a short text is not looked for");
    assert_eq!(odd.change(&Change::Unbanned { peer: PeerKey::from_text("a") }), None);
}
