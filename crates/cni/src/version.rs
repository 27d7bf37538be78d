//! Versions of the specification that this plugin speaks.
//!
//! 0.3.0 to 1.1.0 have one result shape with small differences, which are questions to a version here. 0.1.0 and
//! 0.2.0 have another shape, which no runtime of the last years asks for: they are refused with code 1. A
//! configuration without `cniVersion` means 0.1.0 by the specification and is refused likewise.

use crate::error::{CniError, Code, Result};

/// A supported version of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SpecVersion {
    /// 0.3.0
    V0_3_0,
    /// 0.3.1
    V0_3_1,
    /// 0.4.0: CHECK, `prevResult` on DEL.
    V0_4_0,
    /// 1.0.0: no `version` in `ips`.
    V1_0_0,
    /// 1.1.0: GC, STATUS, `mtu` of interfaces.
    V1_1_0,
}

impl SpecVersion {
    /// All, oldest first.
    pub(crate) const ALL: [Self; 5] = [
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];
    /// The newest.
    pub(crate) const NEWEST: Self = Self::V1_1_0;

    /// Its name in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The version of this name.
    ///
    /// # Errors
    /// Code 1 with the supported versions as details.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == name)
            .ok_or_else(|| {
                let supported = Self::ALL.map(Self::as_str).join(", ");
                CniError::new(
                    Code::IncompatibleVersion,
                    format!("cniVersion {name:?} is not supported"),
                )
                .because(format!(
                    "supported: {supported}; set cniVersion or cniVersions accordingly"
                ))
            })
    }

    /// Whether `ips` entries say their family (`version`: "4" or "6").
    pub(crate) fn ips_have_version(self) -> bool {
        self < Self::V1_0_0
    }

    /// Whether interfaces say their MTU, and routes their scope.
    pub(crate) fn has_mtu(self) -> bool {
        self >= Self::V1_1_0
    }
}
