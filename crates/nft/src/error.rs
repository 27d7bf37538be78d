//! What can go wrong, and what to do about it.

use rustix::io::Errno;

use crate::host_ports::Element;

/// A table that is not as it shall be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel has no nf_tables.
    #[error(
        "the kernel has no nf_tables ({0}); load the module nf_tables, or boot a kernel with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET"
    )]
    NoNfTables(flatroute_netlink::Error),
    /// The right to is missing.
    #[error(
        "{0}; the capability NET_ADMIN is needed, in the user namespace that the network namespace belongs to"
    )]
    NotPermitted(flatroute_netlink::Error),
    /// The kernel does not know an expression or a kind of chain.
    #[error(
        "{0}; the kernel lacks a part of nf_tables: load the modules nft_chain_nat, nft_masq, nft_nat, nft_fib_inet (CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_FIB_INET; Linux 5.2 or newer)"
    )]
    LacksPart(flatroute_netlink::Error),
    /// The table belongs to a program that runs (NFT_TABLE_F_OWNER), or something else is in the way.
    #[error(
        "{0}; see what stands there with `nft list table inet flatroute`, and remove what is not flatroute's"
    )]
    Refused(flatroute_netlink::Error),
    /// The kernel cannot list the flows that it tracks.
    #[error(
        "the kernel does not tell which connections it tracks ({0}); load the module nf_conntrack_netlink (CONFIG_NF_CT_NETLINK)"
    )]
    NoConntrack(flatroute_netlink::Error),
    /// A port of the node leads elsewhere already.
    #[error("{port} is taken by \"{owner}\" ({holder})")]
    Taken {
        /// Which.
        port: String,
        /// Whose it is; empty when it has no name in it.
        owner: String,
        /// What is there.
        holder: Element,
    },
    /// Others changed rules each time between reading and writing.
    #[error("other programs changed rules {0} times in a row between reading and writing; it is tried again")]
    Contended(u32),
    /// The socket failed, or an answer makes no sense.
    #[error("{0}")]
    Netlink(flatroute_netlink::Error),
}

impl Error {
    /// What an error of the first question means.
    pub(crate) fn of_first_question(error: flatroute_netlink::Error) -> Self {
        let unknown = [
            Errno::INVAL,
            Errno::OPNOTSUPP,
            Errno::PROTONOSUPPORT,
            Errno::AFNOSUPPORT,
        ];
        if unknown.iter().any(|errno| is(&error, *errno)) {
            Self::NoNfTables(error)
        } else {
            Self::of_request(error)
        }
    }

    /// What an error of a question about tracked flows means.
    pub(crate) fn of_conntrack(error: flatroute_netlink::Error) -> Self {
        let error = Self::of_first_question(error);
        if let Self::NoNfTables(error) | Self::LacksPart(error) = error {
            Self::NoConntrack(error)
        } else {
            error
        }
    }

    /// What an error of reading or writing means.
    pub(crate) fn of_request(error: flatroute_netlink::Error) -> Self {
        if is(&error, Errno::PERM) || is(&error, Errno::ACCESS) {
            return Self::NotPermitted(error);
        }
        // In an operation that names a thing, ENOENT also says that there is no such kind of expression or chain.
        if is(&error, Errno::NOENT) || is(&error, Errno::OPNOTSUPP) {
            return Self::LacksPart(error);
        }
        if matches!(error, flatroute_netlink::Error::Refused { .. }) {
            Self::Refused(error)
        } else {
            Self::Netlink(error)
        }
    }
}

fn is(error: &flatroute_netlink::Error, errno: Errno) -> bool {
    error.errno() == Some(errno.raw_os_error())
}
