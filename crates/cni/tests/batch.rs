//! Changes that go to the kernel together.

mod common;

use common::{HOST_V4, HOST_V6, in_lab};

#[test]
fn a_batch_goes_on_after_what_is_refused() {
    in_lab("a_batch_goes_on_after_what_is_refused", |lab| {
        let mut socket = lab.socket();
        assert!(socket.batch(|_| Ok(())).unwrap().is_empty());
        let (old, new) = (HOST_V4.parse().unwrap(), "10.0.0.2".parse().unwrap());
        let refusals = socket
            .batch(|socket| {
                socket.add_address(1, old, 32)?;
                // A question in between is asked at once.
                assert!(socket.link_by_index(1)?.is_some());
                socket.add_address(1, new, 32)?;
                socket.set_up(4711)?;
                socket.add_address(1, HOST_V6.parse().expect("an address"), 128)
            })
            .unwrap();
        let numbers: Vec<_> = refusals.iter().map(|refusal| refusal.number).collect();
        assert_eq!(numbers, [0, 2, 3], "{refusals:?}");
        assert!(refusals[0].error.is_exists() && refusals[2].error.is_exists());
        assert!(refusals[1].error.is_missing());
        let text = refusals[1].error.to_string();
        assert!(text.contains("change the link with index 4711"), "{text}");
        assert!(
            socket
                .addresses(1)
                .unwrap()
                .iter()
                .any(|found| found.address == new)
        );
        // What comes after it is answered as ever.
        assert!(socket.link_by_name("lo").unwrap().is_some());
        // An error of who collects is the end of it, and nothing is sent.
        let unsent = "10.0.0.3".parse().unwrap();
        let error = refusals.into_iter().next().expect("a refusal").error;
        let result = socket.batch(|socket| {
            socket.add_address(1, unsent, 32)?;
            Err(error)
        });
        assert!(result.is_err_and(|error| error.is_exists()));
        let found = socket.addresses(1).unwrap();
        assert!(found.iter().all(|found| found.address != unsent), "{found:?}");
    });
}
