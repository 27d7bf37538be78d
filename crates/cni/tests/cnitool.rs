//! A runtime that is not ours: cnitool, upstream's own program around libcni, takes a pod through its life. Numbers in
//! brackets: the black-box checklist.

mod common;

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{HOST_V4, HOST_V6, Lab, Outcome, PLUGIN, Pod, finish, in_lab, ips, note_skip};
use flatroute_netlink::netns;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

/// Where `testbed/scripts/cni-tools` has put it, or PATH; a loud skip when it is not built.
fn cnitool(test: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testbed/scripts/cni-tools");
    let output = Command::new(script).arg("dir").stderr(Stdio::null()).output();
    let built = output
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map(|text| PathBuf::from(text.trim_end()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = built.into_iter().chain(std::env::split_paths(&path));
    let found = folders
        .map(|folder| folder.join("cnitool"))
        .find(|file| file.is_file());
    if found.is_none() {
        let reason = "cnitool is not built: testbed/scripts/cni-tools build cnitool";
        eprintln!("SKIPPED {test}: {reason}");
        note_skip(test, reason);
    }
    found
}

/// cnitool on the laboratory's host.
struct Tool<'a> {
    lab: &'a Lab,
    program: PathBuf,
}

impl Tool<'_> {
    /// One call. libcni keeps its results in /var/lib/cni, which is not to be the machine's.
    fn call(&self, verb: &str, pod: &str, wishes: &Value) -> Outcome {
        let dir = self.lab.state.path();
        let script = format!(
            "mount --bind '{}' /var/lib && exec '{}' {verb} net '{pod}'",
            dir.join("var").display(),
            self.program.display()
        );
        let start = || {
            Command::new("unshare")
                .args(["--mount", "--", "/bin/sh", "-c", &script])
                .env_clear()
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .env("NETCONFPATH", dir.join("net.d"))
                .env("CNI_PATH", Path::new(PLUGIN).parent().expect("a folder"))
                .env("CAP_ARGS", wishes.to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("start unshare")
        };
        finish(netns::within(self.lab.host.as_fd(), start).expect("host"))
    }

    #[track_caller]
    fn fine(&self, verb: &str, pod: &Pod, wishes: &Value) -> Outcome {
        let outcome = self.call(verb, &pod.path(), wishes);
        assert!(outcome.ok, "cnitool {verb}: {outcome:?}");
        outcome
    }
}

/// A datagram from the host to each address, and back.
#[track_caller]
fn answers(lab: &Lab, pod: &Pod, addresses: &[IpAddr]) {
    for address in addresses {
        let near: IpAddr = if address.is_ipv4() { HOST_V4 } else { HOST_V6 }
            .parse()
            .expect("an address");
        let bind = |at: &std::fs::File, address: IpAddr| {
            let socket = netns::within(at.as_fd(), || UdpSocket::bind(SocketAddr::from((address, 0))));
            let socket = socket.expect("a namespace").expect("a socket");
            socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
            socket
        };
        let (host, inside) = (bind(&lab.host, near), bind(&pod.netns, *address));
        let mut buffer = [0; 8];
        host.send_to(b"there", inside.local_addr().expect("an address"))
            .expect("send");
        let (_, from) = inside.recv_from(&mut buffer).expect("to the pod");
        inside.send_to(b"back", from).expect("send");
        let (_, back) = host.recv_from(&mut buffer).expect("from the pod");
        assert_eq!(back.ip(), *address);
    }
}

fn write_list(lab: &Lab) {
    let dir = lab.state.path();
    for folder in ["net.d", "var"] {
        std::fs::create_dir(dir.join(folder)).expect("a folder");
    }
    let mut plugin = lab.config(&json!({"capabilities": {"ips": true, "bandwidth": true}}));
    let plugin = plugin.as_object_mut().expect("an object");
    for key in ["cniVersion", "name"] {
        plugin.remove(key);
    }
    let list = json!({"cniVersion": "1.1.0", "name": "net", "plugins": [plugin]});
    std::fs::write(dir.join("net.d/10-net.conflist"), list.to_string()).expect("the list");
}

#[test]
fn cnitool_runs_a_pod() {
    // [116]
    let test = "cnitool_runs_a_pod";
    let Some(program) = cnitool(test) else {
        return;
    };
    in_lab(test, |lab| {
        write_list(&lab);
        let tool = Tool { lab: &lab, program };
        let pod = Pod::new();
        tool.fine("status", &pod, &json!({}));
        let result = tool.fine("add", &pod, &json!({})).json();
        assert_eq!(result["cniVersion"], "1.1.0");
        answers(&lab, &pod, &ips(&result));
        tool.fine("check", &pod, &json!({}));
        // What a runtime asks for arrives, and is put in force.
        let other = Pod::new();
        let wishes =
            json!({"ips": ["10.244.1.77", "fd00:244:1::77"], "bandwidth": {"egressRate": 8_000_000}});
        let result = tool.fine("add", &other, &wishes).json();
        let wanted: [IpAddr; 2] =
            ["10.244.1.77", "fd00:244:1::77"].map(|text| text.parse().expect("an address"));
        assert_eq!(ips(&result), wanted);
        assert_eq!(lab.host_links().len(), 3, "two pods, one device for bandwidth");
        answers(&lab, &other, &wanted);
        // An error is shown in its words.
        let third = Pod::new();
        let refused = tool.call("add", &third.path(), &wishes);
        assert!(
            !refused.ok && refused.stderr.contains("10.244.1.77"),
            "{refused:?}"
        );
        tool.fine("del", &other, &wishes);
        assert_eq!(lab.host_links().len(), 1);
        answers(&lab, &pod, &ips(&tool_result(&lab)));
        tool.fine("del", &pod, &json!({}));
        tool.fine("del", &pod, &json!({}));
        lab.assert_clean();
        // libcni ends what it remembers by DEL. To GC itself cnitool 1.3.0 gives no list of what is to stay, although the
        // specification wants one; without it nothing may be taken away, and it is told so.
        tool.fine("add", &pod, &json!({}));
        let collected = tool.call("gc", &pod.path(), &json!({}));
        assert!(
            !collected.ok && collected.stderr.contains("cni.dev/valid-attachments: missing"),
            "{collected:?}"
        );
        lab.assert_clean();
    });
}

/// The one result that libcni still keeps.
fn tool_result(lab: &Lab) -> Value {
    let results = lab.state.path().join("var/cni/results");
    let mut files = std::fs::read_dir(&results).expect("libcni's results");
    let file = files.next().expect("a result").expect("an entry").path();
    assert!(files.next().is_none(), "more than one result");
    let mut text = String::new();
    std::fs::File::open(file)
        .expect("the result")
        .read_to_string(&mut text)
        .expect("UTF-8");
    let kept: Value = serde_json::from_str(&text).expect("JSON");
    kept["result"].clone()
}
