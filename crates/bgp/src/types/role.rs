use std::fmt;

/// The role of a speaker towards an external neighbour (RFC 9234 §4.1): what the one AS is to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// 0: it gives the neighbour transit.
    Provider,
    /// 1: it is a route server, and the neighbour its client.
    RouteServer,
    /// 2: it is a client of the neighbour, a route server.
    RouteServerClient,
    /// 3: it gets transit from the neighbour.
    Customer,
    /// 4: each gives the other its own routes and those of its customers.
    Peer,
}

impl Role {
    /// The role that the neighbour must have (RFC 9234 §4.2).
    #[must_use]
    pub fn counterpart(self) -> Self {
        match self {
            Self::Provider => Self::Customer,
            Self::RouteServer => Self::RouteServerClient,
            Self::RouteServerClient => Self::RouteServer,
            Self::Customer => Self::Provider,
            Self::Peer => Self::Peer,
        }
    }

    /// Whether the neighbour is one that may have routes which go to customers only from here on (RFC 9234 §5): it
    /// gets them with our AS in ONLY_TO_CUSTOMER.
    #[must_use]
    pub fn marks_what_is_told(self) -> bool {
        match self {
            Self::Provider | Self::RouteServer | Self::Peer => true,
            Self::RouteServerClient | Self::Customer => false,
        }
    }

    /// Whether the neighbour is one that must not have routes with ONLY_TO_CUSTOMER (RFC 9234 §5).
    #[must_use]
    pub fn withholds_marked(self) -> bool {
        match self {
            Self::Customer | Self::RouteServerClient | Self::Peer => true,
            Self::Provider | Self::RouteServer => false,
        }
    }

    /// Whether what the neighbour sends goes to customers only from here on (RFC 9234 §5), also where it does not say
    /// so.
    #[must_use]
    pub fn marks_what_is_learned(self) -> bool {
        self.withholds_marked()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provider => "provider",
            Self::RouteServer => "route server",
            Self::RouteServerClient => "route server client",
            Self::Customer => "customer",
            Self::Peer => "peer",
        })
    }
}
