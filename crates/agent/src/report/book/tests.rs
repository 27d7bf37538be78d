use super::*;

fn told(note: &str) -> Told {
    Told {
        reason: Reason::PeerDown,
        about: About::Peer("tor-a".to_owned()),
        everywhere: false,
        note: note.to_owned(),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Writes all that is due, and says what.
fn write(book: &mut Book, now: Instant) -> Vec<Write> {
    let mut done = Vec::new();
    while let Some(write) = book.next(now) {
        book.wrote(&write, now);
        done.push(write);
    }
    done
}

#[test]
fn equal_events_are_one_with_a_count() {
    let now = Instant::now();
    let mut book = Book::new(now);
    assert_eq!((book.next(now), book.due()), (None, None));
    book.add(told("hold timer"), now, at(1));
    assert_eq!(write(&mut book, now), [Write::Create(told("hold timer"), at(1))]);
    for second in 2..10 {
        book.add(told("hold timer"), now + s(second), at(second as i64));
    }
    // Nothing more within a minute.
    assert_eq!(write(&mut book, now + s(30)), []);
    assert_eq!(book.due(), Some(now + COUNT_PAUSE));
    let counted = Write::Count {
        told: told("hold timer"),
        first: at(1),
        count: 9,
        last: at(9),
    };
    assert_eq!(write(&mut book, now + COUNT_PAUSE), [counted]);
    assert_eq!(book.due(), None);
    // Another text is another event; a long time after, the same is a new one.
    book.add(told("cease"), now + s(61), at(61));
    assert_eq!(write(&mut book, now + s(61)).len(), 1);
    let later = now + s(61) + REMEMBERED;
    book.add(told("hold timer"), later, at(9999));
    assert_eq!(
        write(&mut book, later),
        [Write::Create(told("hold timer"), at(9999))]
    );
}

#[test]
fn after_a_burst_writes_are_slow() {
    let now = Instant::now();
    let mut book = Book::new(now);
    for n in 0..60 {
        book.add(told(&n.to_string()), now, at(0));
    }
    assert_eq!(write(&mut book, now).len(), BURST as usize);
    assert_eq!(book.due(), Some(now + TOKEN));
    assert_eq!(write(&mut book, now + TOKEN - s(1)).len(), 0);
    assert_eq!(write(&mut book, now + TOKEN).len(), 1);
    assert_eq!(write(&mut book, now + TOKEN * 4).len(), 3);
    // A long rest fills it to the burst, not beyond.
    assert_eq!(write(&mut book, now + TOKEN * 1000).len(), BURST as usize);
}

#[test]
fn while_the_server_is_away_the_book_is_bounded_and_the_newest_stay() {
    let now = Instant::now();
    let mut book = Book::new(now);
    for n in 0..1000 {
        book.add(told(&n.to_string()), now, at(n));
        if book.next(now).is_some() {
            book.failed(now);
        }
    }
    assert_eq!(book.entries.len(), MAX_ENTRIES);
    assert_eq!(book.lost(), 1000 - MAX_ENTRIES as u64);
    assert_eq!(book.lost(), 0);
    assert_eq!(book.next(now), None);
    assert_eq!(book.due(), Some(now + FAILURE_PAUSE));
    let back = now + FAILURE_PAUSE;
    let first = write(&mut book, back).remove(0);
    assert_eq!(
        first,
        Write::Create(told(&(1000 - MAX_ENTRIES).to_string()), at(1000 - 128))
    );
}

#[test]
fn what_every_node_sees_is_written_once_and_not_counted() {
    let now = Instant::now();
    let mut book = Book::new(now);
    let wrong = Told {
        everywhere: true,
        ..told("spec.peerASN: 0 is reserved")
    };
    book.add(wrong.clone(), now, at(1));
    book.add(wrong.clone(), now, at(2));
    assert_eq!(write(&mut book, now), [Write::Create(wrong, at(1))]);
    assert_eq!((book.next(now + COUNT_PAUSE), book.due()), (None, None));
}

#[test]
fn an_event_that_the_server_forgot_is_written_as_a_new_one() {
    let now = Instant::now();
    let mut book = Book::new(now);
    book.add(told("x"), now, at(1));
    write(&mut book, now);
    book.add(told("x"), now + s(1), at(2));
    let counted = book.next(now + COUNT_PAUSE).unwrap();
    book.forgotten(&counted);
    assert_eq!(
        write(&mut book, now + COUNT_PAUSE),
        [Write::Create(told("x"), at(2))]
    );
}

#[test]
fn a_hostile_text_is_cut() {
    let now = Instant::now();
    let mut book = Book::new(now);
    book.add(told(&"ü".repeat(5000)), now, at(1));
    let Some(Write::Create(told, _)) = book.next(now) else {
        panic!("nothing")
    };
    assert!(told.note.len() <= MAX_NOTE);
}
