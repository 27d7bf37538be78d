//! ROUTE-REFRESH (RFC 2918 §3): AFI, an octet that was reserved, SAFI.
//!
//! RFC 7313 made that octet a subtype: 0 asks for the routes, 1 and 2 bracket the answer. Enhanced route refresh is
//! not announced by this speaker, so nobody should send 1 or 2; who does is not asking for anything, and
//! must not be answered with a whole table. Such a message, like one for a family that is not ours, is
//! ignored.

use bytes::{BufMut, BytesMut};

use crate::types::Family;

use super::frame::{Frame, HEADER_LEN, MessageKind, encode_header};
use super::read::exactly;
use super::{DecodeError, Notification, RouteRefresh};

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
    Ok(RouteRefresh {
        family: family.filter(|_| subtype == 0),
    })
}

/// Appends a ROUTE-REFRESH that asks for all routes of `family`.
pub fn encode_route_refresh(family: Family, out: &mut BytesMut) {
    encode_header(
        MessageKind::RouteRefresh,
        HEADER_LEN.saturating_add(BODY_LEN),
        out,
    );
    out.put_u16(family.afi());
    out.put_u8(0);
    out.put_u8(family.safi());
}
