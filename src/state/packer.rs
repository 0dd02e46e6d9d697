//! An `AddressList` made of texts, without an allocation for each.

use std::collections::HashSet;

use super::{
    address::{Address, AddressList, AddressRef},
    plain,
};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct AddressPacker {
    packed: Vec<u8>,
    count: usize,
}

impl AddressPacker {
    /// Adds the address with this text; `None` if it is no text.
    pub(crate) fn push(&mut self, text: &[u8]) -> Option<()> {
        self.count += 1;
        match plain::parse(text) {
            Some(bytes) => AddressRef::of_multiaddr(bytes.as_slice()).pack_into(&mut self.packed),
            None => {
                let address = Address::from_text(std::str::from_utf8(text).ok()?);
                address.as_ref().pack_into(&mut self.packed);
            }
        }
        Some(())
    }

    /// The list of what was added; `None` if an address comes twice. The packer is empty again.
    pub(crate) fn take(&mut self) -> Option<AddressList> {
        /// Up to here comparing each with each is faster than hashing.
        const FEW: usize = 16;
        let list = AddressList::of_packed(&self.packed);
        self.packed.clear();
        let count = std::mem::take(&mut self.count);
        let is_distinct = if count <= FEW {
            list.iter().enumerate().all(|(at, one)| !list.iter().take(at).any(|each| each == one))
        } else {
            let mut known = HashSet::with_capacity(count);
            list.iter().all(|address| known.insert(address))
        };
        is_distinct.then_some(list)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts() -> impl Strategy<Value = Vec<String>> {
        let text = prop_oneof![
            8 => any::<([u8; 4], u16)>().prop_map(|(host, port)| {
                format!("/ip4/{}/tcp/{port}", std::net::Ipv4Addr::from(host))
            }),
            2 => any::<[u16; 8]>().prop_map(|host| {
                format!("/ip6/{}/udp/1/quic-v1", std::net::Ipv6Addr::from(host))
            }),
            2 => "[a-z/]{0,200}",
            1 => Just("/ip4/192.0.2.1/tcp/4001".to_owned()),
        ];
        prop::collection::vec(text, 0..40)
    }

    proptest! {
        #[test]
        fn it_packs_what_a_list_of_the_same_addresses_holds(texts in texts()) {
            let mut packer = AddressPacker::default();
            packer.push(b"left from before").unwrap();
            prop_assert_eq!(packer.take().unwrap().len(), 1);
            texts.iter().for_each(|text| packer.push(text.as_bytes()).unwrap());
            let addresses: Vec<_> = texts.iter().map(|text| Address::from_text(text)).collect();
            let list = AddressList::from(addresses.as_slice());
            let expected = (list.len() == texts.len()).then_some(list);
            prop_assert_eq!(packer.take(), expected);
        }
    }
}
