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
    let wrote = || Ok(vec![nft::Operation::AddTable]);
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
        (Occasion::Changed, Ok(Vec::new()), &[], true, 0),
        (Occasion::Wanted, wrote(), &["PodRulesInForce"], true, 0),
        (Occasion::Changed, wrote(), &["PodRulesDrift"], true, 1),
        (
            Occasion::Changed,
            Err(nft::Error::Contended(4)),
            &["PodRulesFailed"],
            false,
            1,
        ),
        (Occasion::Changed, Ok(Vec::new()), &["PodRulesInForce"], true, 1),
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
    assert_eq!(in_words(&done[..2]), "make the table, make the chain pods-in");
    assert!(in_words(&done).ends_with("and 3 more"), "{}", in_words(&done));
}
