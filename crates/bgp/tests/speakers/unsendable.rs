//! A route whose attributes do not fit into a message to some neighbour: that neighbour must not keep what it was told
//! of the prefix before (docs/limits.md).

use flatroute_bgp::rib::RouteView;
use flatroute_bgp::speaker::{EventKind, RouteQuery};
use flatroute_bgp::types::{AsPath, Asn, Community, LargeCommunity, NextHop, PathAttributes};
use flatroute_bgp::wire::{self, Message};

use crate::fabric::{address, prefix};
use crate::puppet::{CONTEXT, Puppet, World, encoded, keepalive, open_of};

const NET: &str = "10.1.0.0/24";

/// What node 1 says of the prefix, in an extended message if need be.
fn announce(large: u32) -> Vec<u8> {
    let mut attributes = PathAttributes::local();
    attributes.as_path = AsPath::sequence([Asn(65_001)]);
    attributes.next_hop = Some(NextHop::V4(address(1)));
    attributes.communities = vec![Community(1)];
    attributes.large_communities = (0..large)
        .map(|local2| LargeCommunity {
            global: 65_001,
            local1: 0,
            local2,
        })
        .collect();
    let context = wire::Context {
        extended_message: true,
        ..CONTEXT
    };
    encoded(|out| _ = wire::encode_reach(&[prefix(NET)], &attributes, &context, out).unwrap())
}

/// Nodes 1 and 2, of which the second takes no extended messages.
fn world() -> (World, Puppet, Puppet) {
    let mut world = World::new(&[1, 2], &[]);
    let first = world.connect(1);
    let mut open = open_of(1, true);
    open.capabilities.extended_message = true;
    world.say(&first, &encoded(|out| open.encode(out)));
    world.say(&first, &keepalive());
    world.hear(&first);
    let second = world.established(2, true);
    (world, first, second)
}

/// What the second node hears: prefixes announced, prefixes withdrawn.
fn heard(world: &mut World, puppet: &Puppet) -> (Vec<String>, Vec<String>) {
    let (mut announced, mut withdrawn) = (Vec::new(), Vec::new());
    for message in world.hear(puppet) {
        let Message::Update(update) = message else {
            panic!("{message:?}")
        };
        announced.extend(
            update
                .announced
                .iter()
                .flat_map(|a| &a.prefixes)
                .map(ToString::to_string),
        );
        withdrawn.extend(update.withdrawn.iter().map(ToString::to_string));
    }
    (announced, withdrawn)
}

fn advertised(world: &World) -> usize {
    let query = RouteQuery {
        view: RouteView::Advertised,
        peer: Some("n2".into()),
        within: None,
        limit: 10,
    };
    let counted = world
        .peer(2)
        .prefixes
        .iter()
        .map(|p| p.counts.advertised)
        .sum::<usize>();
    assert_eq!(world.speaker.routes(&query).len(), counted);
    counted
}

#[test]
fn what_does_not_fit_any_more_is_withdrawn_and_told_again_once_it_fits() {
    let (mut world, first, second) = world();
    let nothing = Vec::<String>::new;
    world.say(&first, &announce(1));
    assert_eq!(heard(&mut world, &second), (vec![NET.to_owned()], nothing()));
    assert_eq!(advertised(&world), 1);

    world.say(&first, &announce(400));
    assert_eq!(heard(&mut world, &second), (nothing(), vec![NET.to_owned()]));
    assert_eq!(advertised(&world), 0);
    assert_eq!(world.kernel_has(), [NET], "we use it all the same");
    world.say(&first, &announce(2));
    assert_eq!(heard(&mut world, &second), (vec![NET.to_owned()], nothing()));
    assert_eq!(advertised(&world), 1);
    let unsendable = |kind: &EventKind| matches!(kind, EventKind::Unsendable { prefixes: 1, .. });
    assert_eq!(world.events.iter().filter(|e| unsendable(&e.kind)).count(), 1);
}

#[test]
fn what_never_fitted_is_not_advertised() {
    let (mut world, first, second) = world();
    world.say(&first, &announce(400));
    let (announced, _) = heard(&mut world, &second);
    assert!(announced.is_empty());
    assert_eq!(advertised(&world), 0);
}
