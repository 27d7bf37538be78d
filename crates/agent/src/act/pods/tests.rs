use super::*;

fn kinds(told: &mut mpsc::Receiver<Event>) -> Vec<String> {
    let mut kinds = Vec::new();
    while let Ok(event) = told.try_recv() {
        let Event::Happened(happening) = event else {
            panic!("{event:?}");
        };
        kinds.push(happening.kind);
    }
    kinds
}

/// What is new is told once; what another program did is told from what we wanted.
#[test]
fn what_is_new_is_told_once() {
    let (teller, mut told) = mpsc::channel(16);
    let mut rules = PodRules::default();
    let wrote = || {
        Ok(Done {
            operations: vec![nft::Operation::AddTable],
            ..Done::default()
        })
    };
    let nothing = || Ok(Done::default());
    let restored = || {
        let to = "10.244.1.7:80".parse().unwrap();
        let port = nft::HostPort::new(nft::Protocol::Tcp, None, 8080, to).unwrap();
        let ports = vec![nft::host_ports::Owned {
            element: nft::Element::Port(port),
            owner: "flatroute net c1 eth0".to_owned(),
        }];
        Ok(Done {
            ports,
            ..Done::default()
        })
    };
    for (occasion, outcome, want, in_force, drift) in [
        (
            Occasion::Wanted,
            Err(nft::Error::Contended(3)),
            &["PodRulesFailed"][..],
            false,
            0,
        ),
        (Occasion::Changed, Err(nft::Error::Contended(3)), &[], false, 0),
        (
            Occasion::Changed,
            Err(nft::Error::Contended(4)),
            &["PodRulesFailed"],
            false,
            0,
        ),
        // They were not in force, so nobody drifted from them.
        (Occasion::Changed, wrote(), &["PodRulesInForce"], true, 0),
        (Occasion::Changed, nothing(), &[], true, 0),
        (Occasion::Wanted, wrote(), &["PodRulesInForce"], true, 0),
        (Occasion::Changed, wrote(), &["PodRulesDrift"], true, 1),
        (
            Occasion::Changed,
            Err(nft::Error::Contended(4)),
            &["PodRulesFailed"],
            false,
            1,
        ),
        (Occasion::Changed, nothing(), &["PodRulesInForce"], true, 1),
        (Occasion::Changed, restored(), &["PodRulesDrift"], true, 2),
    ] {
        note(&mut rules, occasion, outcome, &teller);
        assert_eq!(kinds(&mut told), want);
        assert_eq!((rules.in_force, rules.drift), (in_force, drift));
        assert_eq!(rules.reason.is_some(), !in_force);
    }
}

/// A long change is told in a few words.
#[test]
fn a_long_change_is_told_in_a_few_words() {
    let table = nft::PodNetwork::default().table();
    let done = nft::difference(&table, &nft::Observed::default());
    assert_eq!(done.len(), 7);
    let words = |operations: &[nft::Operation]| {
        in_words(&Done {
            operations: operations.to_vec(),
            ..Done::default()
        })
    };
    assert_eq!(words(&done[..2]), "make the table, make the chain pods-in");
    assert!(words(&done).ends_with("and 3 more"), "{}", words(&done));
}
