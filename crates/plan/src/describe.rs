//! A plan in words: what `/v1/config` answers, and what the snapshots of the tests hold. Two plans that differ
//! in what they do differ in words, except for keys: of them it is only said that there is one.

use std::fmt::{Display, Write as _};

use flatroute_api::control;
use flatroute_api::values::{Community, Duration};
use flatroute_bgp::policy::{Action, Filter, PrefixRange, Rule, Source, Verdict};
use flatroute_bgp::session::{ConnectMode, PeerAsn};
use flatroute_bgp::speaker::{
    AdminState, Auth, GracefulRestart, GracefulRestartMode, NextHopMode, PeerConfig, PrefixLimitAction, Ttl,
};
use flatroute_bgp::types::LargeCommunity;
use flatroute_bgp::wire::AddPathMode;

use crate::{Plan, PodNetwork};

impl Plan {
    /// The plan in words.
    #[must_use]
    pub fn describe(&self) -> control::Config {
        let listen = self
            .listen
            .address
            .map_or_else(|| "*".to_owned(), |a| a.to_string());
        control::Config {
            node: self.node.clone(),
            local_asn: self.local_asn.0,
            router_id: self.router_id.to_string(),
            listen: format!("{listen} port {}", self.listen.port),
            cluster_cidrs: self
                .cluster_cidrs
                .prefixes
                .iter()
                .flatten()
                .map(ToString::to_string)
                .collect(),
            cluster_cidrs_from: self.cluster_cidrs.from.to_owned(),
            originate: self
                .speaker
                .originate
                .iter()
                .map(|o| format!("{} ({})", o.prefix, source(o.source)))
                .collect(),
            peers: self
                .speaker
                .peers
                .iter()
                .map(|(name, p)| (name.to_string(), peer(p)))
                .chain(self.speaker.ranges.iter().map(|(name, r)| {
                    let mut template = peer(&r.template);
                    template.address = format!("{}, at most {} at once", r.prefix, r.limit);
                    (name.to_string(), template)
                }))
                .collect(),
            multipath: format!(
                "{}, at most {} paths",
                if self.speaker.multipath.relaxed {
                    "relaxed"
                } else {
                    "strict"
                },
                self.speaker.multipath.max_paths
            ),
            install: filter(&self.speaker.install),
            fib: self.describe_fib(),
            pod_network: self.pod_network.iter().flat_map(PodNetwork::describe).collect(),
            // Who plans does not know.
            objects: None,
            problems: self.problems.clone(),
        }
    }

    fn describe_fib(&self) -> Vec<String> {
        let fib = &self.fib;
        let groups = if fib.nexthop_objects {
            "nexthop groups where the kernel has them"
        } else {
            "multipath routes"
        };
        let mut lines = vec![
            format!(
                "table {} metric {} protocol {}",
                fib.table, fib.metric, fib.protocol
            ),
            format!("at most {} paths, {groups}", fib.max_paths),
        ];
        lines.extend(fib.preferred_source_ipv4.map(|a| format!("source {a}")));
        lines.extend(fib.preferred_source_ipv6.map(|a| format!("source {a}")));
        lines.extend(fib.unreachable.iter().map(|p| format!("unreachable {p}")));
        lines
    }
}

fn peer(config: &PeerConfig) -> control::PeerConfig {
    let mut address = format!("{} port {}", config.address, config.port);
    if let Some(index) = config.interface {
        let _ = write!(address, " interface {index}");
    }
    if let Some(source) = config.source_address {
        let _ = write!(address, " from {source}");
    }
    let asn = match config.session.peer_asn {
        PeerAsn::Exact(asn) => asn.to_string(),
        PeerAsn::External => "External".to_owned(),
        PeerAsn::Internal => "Internal".to_owned(),
    };
    control::PeerConfig {
        address,
        asns: format!("{} -> {asn}", config.session.local_asn),
        session: session(config),
        policy: policy(config),
        state: match &config.admin_state {
            AdminState::Up if config.drained => "Drained".to_owned(),
            AdminState::Up => "Up".to_owned(),
            AdminState::Down(text) => format!("Down: {text}"),
            AdminState::Held(reason) => format!("Held: {reason}"),
        },
        import: filter(&config.import),
        export: filter(&config.export),
    }
}

fn session(config: &PeerConfig) -> String {
    let s = &config.session;
    let connect = match s.connect_mode {
        ConnectMode::Active => "Active",
        ConnectMode::Passive => "Passive",
        ConnectMode::Both => "Both",
    };
    let keepalive = s
        .keepalive_time
        .map_or_else(|| "hold/3".to_owned(), |d| Duration(d).to_string());
    let send_hold = s
        .send_hold_time
        .map_or_else(String::new, |d| format!(", send hold {}", Duration(d)));
    let add_path = match s.add_path {
        None => "",
        Some(AddPathMode::Receive) => ", add-path Receive",
        Some(AddPathMode::Send) => ", add-path Send",
        Some(AddPathMode::Both) => ", add-path Both",
    };
    let families: Vec<String> = s.families.iter().map(|f| f.to_string()).collect();
    let role = s.role.map_or_else(String::new, |role| format!(", role {role}"));
    let (hold, retry) = (Duration(s.hold_time), Duration(s.connect_retry_time));
    let (id, families) = (s.router_id, families.join(" "));
    let graceful = graceful_restart(&config.graceful_restart);
    format!(
        "id {id}, connect {connect}, hold {hold}, keepalive {keepalive}{send_hold}, retry {retry}, families {families}{add_path}{role}, \
         graceful restart {graceful}"
    )
}

fn graceful_restart(config: &GracefulRestart) -> String {
    let mut text = match config.mode {
        GracefulRestartMode::Auto => format!("Auto {}", Duration(config.restart_time)),
        GracefulRestartMode::HelperOnly => format!("HelperOnly {}", Duration(config.restart_time)),
        GracefulRestartMode::Disabled => return "Disabled".to_owned(),
    };
    if !config.long_lived_stale_time.is_zero() {
        let _ = write!(text, " then {}", Duration(config.long_lived_stale_time));
    }
    if config.notification {
        text.push_str(" also after a NOTIFICATION");
    }
    text
}

fn policy(config: &PeerConfig) -> String {
    let ttl = match config.ttl {
        Ttl::Direct => "ttl 1".to_owned(),
        Ttl::Multihop(hops) => format!("multihop {hops}"),
        Ttl::Security(hops) => format!("ttl security {hops}"),
    };
    let next_hop = match config.next_hop {
        NextHopMode::Auto => "Auto",
        NextHopMode::ItSelf => "Self",
        NextHopMode::Unchanged => "Unchanged",
    };
    let action = match config.max_prefixes.action {
        PrefixLimitAction::Warn => "Warn",
        PrefixLimitAction::Drop => "Drop",
        PrefixLimitAction::Restart => "Restart",
    };
    let within = config.next_hops.as_ref().map_or_else(String::new, |prefixes| {
        let prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
        format!(" (taken only in [{}])", prefixes.join(" "))
    });
    let reflection = match config.reflection {
        None => String::new(),
        Some(r) if r.client => format!(", client of cluster {}", r.cluster_id),
        Some(r) => format!(", no client of cluster {}", r.cluster_id),
    };
    let (own, limit) = (config.allow_own_asn, config.max_prefixes.limit);
    let auth = match &config.auth {
        Auth::None => "",
        Auth::Md5(_) => "TCP MD5, ",
    };
    format!(
        "{auth}{ttl}, next hop {next_hop}{within}, own ASN {own} times, at most {limit} prefixes ({action}){reflection}"
    )
}

fn filter(filter: &Filter) -> Vec<String> {
    let mut lines: Vec<String> = filter.rules.iter().map(rule).collect();
    lines.push(match filter.default {
        Verdict::Accept => "default: accept".to_owned(),
        Verdict::Reject => "default: reject".to_owned(),
    });
    lines
}

fn rule(rule: &Rule) -> String {
    let mut line = format!("{}: ", rule.name);
    line.push_str(match rule.action {
        Action::Accept => "accept",
        Action::Reject => "reject",
        Action::Next => "next",
    });
    let condition = &rule.condition;
    list(&mut line, "prefixes", condition.prefixes.as_deref(), range);
    list(&mut line, "communities", condition.communities.as_deref(), |c| {
        Community(c.0)
    });
    let large = condition.large_communities.as_deref();
    list(&mut line, "large-communities", large, LargeCommunity::to_string);
    list(&mut line, "as-path", condition.as_path.as_deref(), |a| a.0);
    list(&mut line, "sources", condition.sources.as_deref(), |s| source(*s));
    list(&mut line, "peers", condition.peers.as_deref(), |p| {
        p.as_str().to_owned()
    });
    let set = &rule.set;
    if let Some(med) = set.med {
        let _ = write!(line, " set med {med}");
    }
    if let Some(pref) = set.local_pref {
        let _ = write!(line, " set local-pref {pref}");
    }
    if !set.add_communities.is_empty() {
        list(&mut line, "add communities", Some(&set.add_communities), |c| {
            Community(c.0)
        });
    }
    if !set.add_large_communities.is_empty() {
        let large = Some(set.add_large_communities.as_slice());
        list(
            &mut line,
            "add large-communities",
            large,
            LargeCommunity::to_string,
        );
    }
    if set.prepend > 0 {
        let _ = write!(line, " prepend {}", set.prepend);
    }
    line
}

fn list<T, D: Display>(line: &mut String, name: &str, items: Option<&[T]>, show: impl Fn(&T) -> D) {
    if let Some(items) = items {
        let shown: Vec<String> = items.iter().map(|i| show(i).to_string()).collect();
        let _ = write!(line, " {name} [{}]", shown.join(" "));
    }
}

fn range(range: &PrefixRange) -> String {
    let len = range.prefix.prefix_len();
    match (range.ge == len, range.le == len) {
        (true, true) => range.prefix.to_string(),
        (true, false) => format!("{} le {}", range.prefix, range.le),
        (false, _) => format!("{} ge {} le {}", range.prefix, range.ge, range.le),
    }
}

fn source(source: Source) -> &'static str {
    match source {
        Source::PodCidrs => "PodCIDRs",
        Source::NodeAddresses => "NodeAddresses",
        Source::Learned => "LearnedRoutes",
    }
}
