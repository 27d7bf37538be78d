//! ROUTE-REFRESH (RFC 2918 §3): AFI, an octet that was reserved, SAFI.
//!
//! RFC 7313 made that octet a subtype: 0 asks for the routes, 1 and 2 bracket the answer. Whether the brackets were
//! agreed on is the session's to know. A message of another subtype, like one for a family that is not ours, is ignored:
//! it is certainly no request, and must not be answered with a whole table.

use bytes::{BufMut, BytesMut};

use crate::types::Family;

use super::frame::{Frame, HEADER_LEN, MessageKind, encode_header};
use super::read::exactly;
use super::{DecodeError, Notification, RefreshSubtype, RouteRefresh};

/// The length of what follows the header, in octets.
const BODY_LEN: usize = 4;

/// Decodes a ROUTE-REFRESH. A wrong length is answered with ROUTE-REFRESH Message Error, Invalid Message Length and
/// the whole message (RFC 7313 §5).
pub(super) fn decode(frame: &Frame<'_>) -> Result<RouteRefresh, DecodeError> {
    let Some([afi_high, afi_low, subtype, safi]) = exactly::<BODY_LEN>(frame.body) else {
        let mut message = BytesMut::new();
        encode_header(MessageKind::RouteRefresh, frame.len, &mut message);
        message.put_slice(frame.body);
        return Err(DecodeError {
            what: format!("ROUTE-REFRESH: {} octets, not {BODY_LEN}", frame.body.len()),
            notification: Notification {
                code: 7,
                subcode: 1,
                data: message.to_vec(),
            },
        });
    };
    let family = Family::from_wire(u16::from_be_bytes([afi_high, afi_low]), safi);
    let (family, subtype) = match subtype {
        0 => (family, RefreshSubtype::Normal),
        1 => (family, RefreshSubtype::Beginning),
        2 => (family, RefreshSubtype::End),
        _ => (None, RefreshSubtype::Normal),
    };
    Ok(RouteRefresh { family, subtype })
}

/// Appends a ROUTE-REFRESH for `family`. The brackets are for peers that announced enhanced route refresh only (RFC 7313
/// §4).
pub fn encode_route_refresh(family: Family, subtype: RefreshSubtype, out: &mut BytesMut) {
    encode_header(
        MessageKind::RouteRefresh,
        HEADER_LEN.saturating_add(BODY_LEN),
        out,
    );
    out.put_u16(family.afi());
    out.put_u8(match subtype {
        RefreshSubtype::Normal => 0,
        RefreshSubtype::Beginning => 1,
        RefreshSubtype::End => 2,
    });
    out.put_u8(family.safi());
}
