use super::*;

fn router(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number)
}

fn seconds(of: f64) -> Duration {
    Duration::from_secs_f64(of)
}

fn drained(link: &mut Link, now: Duration) -> Vec<Transmit> {
    let sent: Vec<Transmit> = std::iter::from_fn(|| link.poll_transmit(now)).take(20).collect();
    assert!(sent.len() < 20, "it never stops");
    sent
}

/// Lets time pass until `end`, and tells what was sent when.
fn pass(link: &mut Link, from: Duration, end: Duration) -> Vec<(Duration, Transmit)> {
    let mut sent = Vec::new();
    let mut now = from;
    loop {
        sent.extend(drained(link, now).into_iter().map(|transmit| (now, transmit)));
        let next = link.poll_timeout(now);
        assert!(next > now, "it turns at {now:?}");
        if next > end {
            return sent;
        }
        now = next;
    }
}

fn times(sent: &[(Duration, Transmit)], message: Message, to: Ipv6Addr) -> Vec<Duration> {
    let wanted = Transmit { message, to };
    sent.iter()
        .filter(|(_, t)| *t == wanted)
        .map(|(at, _)| *at)
        .collect()
}

fn address(link: &Link, now: Duration) -> Option<(Ipv6Addr, bool)> {
    match link.state(now) {
        State::Router { address, several } => Some((address, several)),
        State::Waiting | State::Silent => None,
    }
}

const SAID: Message = Message::Advertisement { lifetime: 1800 };

#[test]
fn a_link_is_advertised_on_soon_and_then_regularly() {
    let mut link = Link::new(7, None, Duration::ZERO);
    let sent = pass(&mut link, Duration::ZERO, seconds(120.0));
    let advertised = times(&sent, ADVERTISEMENT, ALL_NODES);
    assert_eq!(advertised[..3], [seconds(0.0), seconds(3.0), seconds(6.0)]);
    let pauses: Vec<Duration> = advertised[2..].windows(2).map(|w| w[1] - w[0]).collect();
    let lowest = INTERVAL * 3 / 4;
    assert!(pauses.len() > 10, "{pauses:?}");
    assert!(
        pauses.iter().all(|p| (lowest..=INTERVAL).contains(p)),
        "{pauses:?}"
    );
    assert!(pauses.iter().any(|p| *p != pauses[0]), "no jitter: {pauses:?}");
    // Nobody was heard: the questions become fewer, and do not end.
    let asked = times(&sent, Message::Solicitation, ALL_ROUTERS);
    assert!(asked[0].is_zero() && asked.len() > 10, "{asked:?}");
    assert!(
        asked.iter().filter(|at| **at < seconds(10.0)).count() >= 4,
        "{asked:?}"
    );
    assert!(asked.windows(2).all(|w| w[1] - w[0] <= INTERVAL), "{asked:?}");
}

#[test]
fn the_first_router_is_the_neighbour_and_is_not_asked_for_any_more() {
    let mut link = Link::new(7, None, Duration::ZERO);
    assert_eq!(link.state(seconds(2.9)), State::Waiting);
    assert_eq!(link.state(PATIENCE), State::Silent);
    drained(&mut link, Duration::ZERO);
    link.heard(router(1), SAID, seconds(1.0));
    assert_eq!(address(&link, seconds(1.0)), Some((router(1), false)));
    let sent = pass(&mut link, seconds(1.0), seconds(3600.0));
    assert_eq!(times(&sent, Message::Solicitation, ALL_ROUTERS), []);
    // However long it says nothing: its session has a hold time of its own.
    assert_eq!(address(&link, seconds(3600.0)), Some((router(1), false)));
}

#[test]
fn an_advertisement_from_elsewhere_counts_for_nothing() {
    let mut link = Link::new(7, None, Duration::ZERO);
    for from in ["::", "2001:db8::1", "ff02::1", "::1"] {
        link.heard(from.parse().unwrap(), SAID, seconds(1.0));
    }
    assert_eq!(link.state(seconds(1.0)), State::Waiting);
}

#[test]
fn who_asks_is_answered_and_a_flood_of_questions_is_not() {
    let mut link = Link::new(7, None, Duration::ZERO);
    drained(&mut link, Duration::ZERO);
    let mut answers = 0;
    for millis in 1..=1100 {
        let now = Duration::from_millis(millis);
        link.heard(router(9), Message::Solicitation, now);
        answers += times(
            &drained(&mut link, now)
                .into_iter()
                .map(|t| (now, t))
                .collect::<Vec<_>>(),
            ADVERTISEMENT,
            router(9),
        )
        .len();
    }
    assert_eq!(answers, usize::from(BURST) + 1);
    // Who has no address yet is answered by one to all, not sooner than 3 s after the last.
    let mut link = Link::new(7, None, Duration::ZERO);
    drained(&mut link, Duration::ZERO);
    link.heard(Ipv6Addr::UNSPECIFIED, Message::Solicitation, seconds(0.1));
    let sent = pass(&mut link, seconds(0.1), seconds(3.0));
    assert_eq!(times(&sent, ADVERTISEMENT, ALL_NODES), [seconds(3.0)]);
}

#[test]
fn a_question_makes_no_neighbour() {
    let mut link = Link::new(7, None, Duration::ZERO);
    link.heard(router(9), Message::Solicitation, seconds(1.0));
    assert_eq!(link.state(seconds(1.0)), State::Waiting, "hosts ask too");
}

#[test]
fn of_two_routers_that_both_answer_the_first_stays_and_that_is_told() {
    let mut link = Link::new(7, None, Duration::ZERO);
    for round in 0..100_u32 {
        let now = seconds(f64::from(round) * 10.0);
        link.heard(router(5), SAID, now);
        link.heard(router(1), SAID, now + seconds(5.0));
        assert_eq!(address(&link, now), Some((router(5), true)));
    }
    // The other one goes.
    let end = seconds(995.0) + REMEMBERED;
    link.heard(router(5), SAID, end);
    assert_eq!(address(&link, end), Some((router(5), false)));
}

#[test]
fn a_neighbour_that_was_replaced_is_asked_and_gives_its_place_to_the_other() {
    let mut link = Link::new(7, None, Duration::ZERO);
    link.heard(router(5), SAID, Duration::ZERO);
    pass(&mut link, Duration::ZERO, seconds(100.0));
    link.heard(router(1), SAID, seconds(100.0));
    assert_eq!(address(&link, seconds(100.0)), Some((router(5), true)));
    let sent = pass(&mut link, seconds(100.0), seconds(109.9));
    assert!(
        times(&sent, Message::Solicitation, ALL_ROUTERS).len() >= 3,
        "{sent:?}"
    );
    assert_eq!(address(&link, seconds(109.9)), Some((router(5), true)));
    pass(&mut link, seconds(109.9), seconds(110.0));
    assert_eq!(address(&link, seconds(110.0)), Some((router(1), false)));
    // One that answers in time keeps it.
    link.heard(router(5), SAID, seconds(200.0));
    link.heard(router(1), SAID, seconds(203.0));
    pass(&mut link, seconds(203.0), seconds(300.0));
    assert_eq!(address(&link, seconds(300.0)), Some((router(1), true)));
}

#[test]
fn a_remembered_neighbour_is_one_at_once_and_is_asked_for() {
    let mut link = Link::new(7, Some(router(5)), Duration::ZERO);
    assert_eq!(address(&link, Duration::ZERO), Some((router(5), false)));
    let sent = drained(&mut link, Duration::ZERO);
    assert_eq!(sent.last().unwrap().message, Message::Solicitation);
    // Another one was plugged in meanwhile.
    link.heard(router(1), SAID, seconds(0.1));
    pass(&mut link, seconds(0.1), seconds(10.1));
    assert_eq!(address(&link, seconds(10.1)), Some((router(1), false)));
}

#[test]
fn a_flood_of_routers_is_bounded_and_moves_nobody() {
    let mut link = Link::new(7, None, Duration::ZERO);
    link.heard(router(0xffff), SAID, Duration::ZERO);
    let mut asked = 0;
    for number in 1..=20_000_u16 {
        let now = Duration::from_millis(u64::from(number) * 10);
        link.heard(router(number), SAID, now);
        for transmit in drained(&mut link, now) {
            if transmit.message == Message::Solicitation {
                asked += 1;
                // It is there, and answers.
                link.heard(router(0xffff), SAID, now);
            }
        }
        assert!(link.others.len() < MAX_ROUTERS);
        assert_eq!(address(&link, now).unwrap().0, router(0xffff));
    }
    assert!((1..=20).contains(&asked), "{asked} questions in 200 s");
}

#[test]
fn what_cannot_be_sent_is_tried_again_soon() {
    let mut link = Link::new(7, None, Duration::ZERO);
    let mut now = Duration::ZERO;
    for _ in 0..4 {
        for transmit in drained(&mut link, now) {
            link.failed(transmit, now);
        }
        let next = link.poll_timeout(now);
        assert_eq!(next - now, RETRY);
        now = next;
    }
    assert_eq!(
        drained(&mut link, now).len(),
        2,
        "both, when the address is there"
    );
}
