//! Bootstrap nodes that have a name. The lookups stay on this machine: `localhost` and `.invalid`
//! are answered by the resolver itself.
#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/nodes.rs"]
mod nodes;

use nodes::{Seat, within};
use peer_journal::{ErrorKind, Multiaddr};
#[cfg(feature = "dns")]
use {
    nodes::{connected, until},
    peer_journal::P2PRegistry,
};

/// The same place, by another host.
#[cfg(feature = "dns")]
fn renamed(address: &Multiaddr, host: &str) -> Multiaddr {
    let rest: Multiaddr = address.iter().skip(1).collect();
    format!("{host}{rest}").parse().unwrap()
}

#[cfg(feature = "dns")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_through_a_name_and_one_that_does_not_exist_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let seats = ["boot", "b"].map(|name| Seat::new(dir.path(), name));
    let (boot, boot_at) = seats[0].start(&[]).await;
    let [by_name, nowhere, no_text] =
        ["/dns4/localhost", "/dns/nobody.invalid", "/dnsaddr/nobody.invalid"]
            .map(|host| renamed(&boot_at, host));
    let list = [nowhere.clone(), no_text.clone(), by_name.clone()];
    let (b, _) = seats[1].start(&list).await;
    let joined = within(b.bootstrap()).await.unwrap();
    assert_eq!(joined.connected, [boot.local_peer_id()], "{joined:?}");
    let mut failed: Vec<_> = joined.failed.iter().map(|(node, _)| node.clone()).collect();
    failed.sort();
    let mut expected = vec![nowhere, no_text];
    expected.sort();
    assert_eq!(failed, expected);
    for (node, why) in &joined.failed {
        assert!(why.contains("nobody.invalid"), "{node}: {why}");
    }
    within(b.shutdown()).await.unwrap();

    // The name was remembered, and is enough to come back.
    let boot_id = boot.local_peer_id();
    let b = within(P2PRegistry::new(seats[1].config(&[]))).await.unwrap();
    until("b is back", || connected(&b, &boot_id)).await;
    let view = b.store().view().unwrap();
    let row = view.peer(&boot_id).unwrap().seen.clone().unwrap();
    assert!(row.verified, "{row:?}");
    within(b.shutdown()).await.unwrap();
    within(boot.shutdown()).await.unwrap();
}

#[cfg(feature = "dns")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_only_bootstrap_name_does_not_resolve_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let seat = Seat::new(dir.path(), "a");
    let nowhere: Multiaddr = "/dns4/nobody.invalid/tcp/1".parse().unwrap();
    let (a, _) = seat.start(std::slice::from_ref(&nowhere)).await;
    let error = within(a.bootstrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.to_string().contains("nobody.invalid"), "{error}");
    within(a.publish_package("still/here", "1", "", b"x")).await.unwrap();
    within(a.shutdown()).await.unwrap();
}

#[cfg(not(feature = "dns"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_without_lookups_skips_names_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let seats = ["boot", "b"].map(|name| Seat::new(dir.path(), name));
    let (boot, boot_at) = seats[0].start(&[]).await;
    let name: Multiaddr = "/dns4/localhost/tcp/1".parse().unwrap();
    let (b, _) = seats[1].start(&[name.clone(), boot_at]).await;
    let joined = within(b.bootstrap()).await.unwrap();
    assert_eq!(joined.connected, [boot.local_peer_id()], "the others work");
    assert_eq!(joined.failed.len(), 1);
    assert_eq!(joined.failed[0].0, name);
    assert!(joined.failed[0].1.contains("feature `dns`"), "{joined:?}");
    within(boot.shutdown()).await.unwrap();
    nodes::until("b is alone", || async { b.connected_peers().await.unwrap().is_empty() }).await;
    let error = within(b.bootstrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.to_string().contains("feature `dns`"), "{error}");
    within(b.shutdown()).await.unwrap();
}
