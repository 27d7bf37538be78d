use rustix::io::Errno;

use super::refusal::{Switches, advise};

#[test]
fn each_switch_has_its_remedy() {
    let debian = Switches {
        unprivileged_clone: Some(0),
        ..Switches::default()
    };
    let ubuntu = Switches {
        apparmor_restricts: Some(1),
        ..Switches::default()
    };
    let limited = Switches {
        max_user: Some(0),
        ..Switches::default()
    };
    let docker = Switches {
        in_container: true,
        ..Switches::default()
    };
    for (switches, errno, remedy) in [
        (debian, Errno::PERM, "kernel.unprivileged_userns_clone=1"),
        (
            ubuntu,
            Errno::ACCESS,
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (limited, Errno::NOSPC, "user.max_user_namespaces=10000"),
        (docker, Errno::PERM, "docker run --privileged"),
        (Switches::default(), Errno::INVAL, "CONFIG_USER_NS"),
    ] {
        let advice = advise("namespaces", errno, &switches);
        assert!(advice.contains(remedy), "{advice}");
        assert!(advice.ends_with("sudo make demo"), "{advice}");
    }
}

#[test]
fn switches_that_are_open_are_not_blamed() {
    let open = Switches {
        unprivileged_clone: Some(1),
        apparmor_restricts: Some(0),
        max_user: Some(96_365),
        max_net: Some(96_365),
        in_container: false,
    };
    let advice = advise("namespaces", Errno::PERM, &open);
    assert!(!advice.contains("sysctl"), "{advice}");
}
