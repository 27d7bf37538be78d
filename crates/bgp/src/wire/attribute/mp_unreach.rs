//! MP_UNREACH_NLRI (RFC 4760 §4): a family and prefixes that are taken back; without prefixes, End-of-RIB (RFC 4724 §2).

use bytes::{BufMut, BytesMut};

use crate::types::{Family, Partial};
use crate::wire::nlri::Nlri;
use crate::wire::{Context, Disposition};

use super::draft::Unreach;
use super::mp_reach::{family, malformed, nlri_field, not_agreed_on};
use super::{Draft, Fault, OPTIONAL, Row, display_nothing, encode_nothing, put_long_header};

pub(in crate::wire) const CODE: u8 = 15;
/// The octets of the attribute besides the prefixes: its header with a length of two octets, AFI and SAFI.
pub(in crate::wire) const OVERHEAD: usize = 7;

pub(super) const ROW: Row = Row {
    code: CODE,
    name: "MP_UNREACH_NLRI",
    flags: OPTIONAL,
    partial: Partial::NONE,
    mandatory: false,
    internal_only: false,
    // RFC 7606 §5.3
    on_error: Disposition::ResetSession,
    decode,
    encode: encode_nothing,
    display: display_nothing,
};

fn decode(value: &[u8], ctx: &Context, draft: &mut Draft) -> Result<(), Fault> {
    let (field, (afi, safi)) = family(value).map_err(|_| malformed("shorter than its family"))?;
    let Some(family) = Family::from_wire(afi, safi).filter(|f| ctx.families.contains(*f)) else {
        draft.unreach = Some(Unreach {
            family: None,
            nlri: Nlri::default(),
        });
        return Err(not_agreed_on(afi, safi));
    };
    draft.unreach = Some(Unreach {
        family: Some(family),
        nlri: nlri_field(field, family, ctx)?,
    });
    Ok(())
}

/// Appends the attribute up to its prefixes, which take `nlri_len` octets.
pub(in crate::wire) fn encode_head(family: Family, nlri_len: usize, out: &mut BytesMut) {
    put_long_header(OPTIONAL, CODE, nlri_len.saturating_add(3), out);
    out.put_u16(family.afi());
    out.put_u8(family.safi());
}
