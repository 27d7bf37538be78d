//! From an UPDATE's octets to what the speaker acts on, errors dealt with (RFC 7606).
//!
//! The message is first cut at the two lengths that it holds; that the cuts are right is all that
//! treat-as-withdraw rests on, for it needs to know every prefix. Then the attributes are walked once, row by row.
//! Faults are collected, not acted on: several errors mean the strongest answer (RFC 7606 §3 h), and only after
//! the last attribute is it known which prefixes there are to withdraw. An answer of "reset" ends the
//! walk, nothing being stronger.
//!
//! An attribute error that calls for treat-as-withdraw in a message where no reachable prefix was found ends the
//! session all the same: the prefixes may have been lost to the error, and to withdraw nothing would leave a stale route
//! behind (RFC 7606 §5.2).

use crate::types::{Family, PathAttributes, UnknownAttribute};

use super::super::attribute::{
    self, CodeSet, Draft, EXTENDED_LENGTH, Fault, OPTIONAL, PARTIAL, Row, TRANSITIVE, mp_reach, mp_unreach,
    next_hop,
};
use super::super::limits::MAX_ATTRIBUTES;
use super::super::nlri::Nlri;
use super::super::read::{Parsed, long_block, octet, short_block};
use super::super::{
    Announcement, AttributeError, Context, DecodeError, Disposition, Notification, Update, UpdateError, nlri,
};

/// How many errors of one UPDATE are described; those beyond count, but are not told, unless one is the strongest.
const MAX_ERRORS: usize = 16;

/// The three fields of the body.
struct Fields<'a> {
    withdrawn: &'a [u8],
    attributes: &'a [u8],
    nlri: &'a [u8],
}

fn fields(body: &[u8]) -> Parsed<'_, Fields<'_>> {
    let (rest, withdrawn) = long_block(body)?;
    let (nlri, attributes) = long_block(rest)?;
    let fields = Fields {
        withdrawn,
        attributes,
        nlri,
    };
    Ok((&[], fields))
}

/// Decodes the body of an UPDATE.
pub(in crate::wire) fn decode(body: &[u8], ctx: &Context) -> Result<Update, DecodeError> {
    let Ok((_, fields)) = fields(body) else {
        return Err(reset(
            UpdateError::MalformedAttributeList,
            &[],
            "a length goes beyond the message",
        ));
    };
    let mut withdrawn = Nlri::default();
    let mut announced = Nlri::default();
    // What was not agreed on is not even looked at.
    if ctx.families.contains(Family::Ipv4) {
        let with_ids = ctx.path_ids.received.contains(Family::Ipv4);
        decode_field(fields.withdrawn, "withdrawn routes", with_ids, &mut withdrawn)?;
        decode_field(fields.nlri, "NLRI", with_ids, &mut announced)?;
    }
    let mut walk = Walk::new(ctx, !fields.nlri.is_empty());
    let has_ipv4 = !fields.withdrawn.is_empty() || !fields.nlri.is_empty();
    if has_ipv4 && !ctx.families.contains(Family::Ipv4) {
        walk.record(None, Disposition::DiscardAttribute, || {
            "IPv4 prefixes, but IPv4 was not agreed on".to_owned()
        });
    }
    walk.attributes(fields.attributes)?;
    walk.mandatory();
    walk.finish(&fields, withdrawn, announced)
}

fn decode_field(field: &[u8], name: &str, with_ids: bool, to: &mut Nlri) -> Result<(), DecodeError> {
    nlri::decode(field, Family::Ipv4, with_ids, to).map_err(|nlri::InvalidField| {
        let ids = if with_ids {
            " (read with the path identifiers that were agreed on)"
        } else {
            ""
        };
        let what = format!("{name}: a prefix is longer than 32 bits, or cut off{ids}");
        reset(UpdateError::InvalidNetwork, &[], &what)
    })
}

fn reset(error: UpdateError, data: &[u8], what: &str) -> DecodeError {
    DecodeError {
        what: format!("UPDATE: {what}"),
        notification: Notification::update(error, data),
    }
}

/// One attribute of the list.
struct Attribute<'a> {
    flags: u8,
    code: u8,
    value: &'a [u8],
    /// All of it, header included: the data of a NOTIFICATION.
    octets: &'a [u8],
}

fn attribute(input: &[u8]) -> Parsed<'_, Attribute<'_>> {
    let (rest, flags) = octet(input)?;
    let (rest, code) = octet(rest)?;
    let (rest, value) = if flags & EXTENDED_LENGTH == 0 {
        short_block(rest)?
    } else {
        long_block(rest)?
    };
    let len = input.len().saturating_sub(rest.len());
    let octets = input.get(..len).unwrap_or(input);
    let attribute = Attribute {
        flags,
        code,
        value,
        octets,
    };
    Ok((rest, attribute))
}

/// A walk over the attributes of one UPDATE.
struct Walk<'c> {
    ctx: &'c Context,
    draft: Draft,
    seen: CodeSet,
    count: usize,
    errors: Vec<AttributeError>,
    /// The first fault that is more than a dropped attribute, as the NOTIFICATION that it may come to.
    withdraw: Option<DecodeError>,
}

impl<'c> Walk<'c> {
    fn new(ctx: &'c Context, has_nlri: bool) -> Self {
        Self {
            ctx,
            draft: Draft::new(has_nlri),
            seen: CodeSet::default(),
            count: 0,
            errors: Vec::new(),
            withdraw: None,
        }
    }

    fn attributes(&mut self, mut list: &[u8]) -> Result<(), DecodeError> {
        while !list.is_empty() {
            let Ok((rest, attribute)) = attribute(list) else {
                // RFC 7606 §4: the message was cut at its lengths, so its prefixes are known.
                let what = "goes beyond the attributes' length";
                let fault = Fault::new(UpdateError::MalformedAttributeList, what);
                return self.fault(list.get(1).copied(), &[], &fault, Disposition::TreatAsWithdraw);
            };
            self.attribute(&attribute)?;
            list = rest;
        }
        Ok(())
    }

    fn attribute(&mut self, attribute: &Attribute<'_>) -> Result<(), DecodeError> {
        let code = Some(attribute.code);
        self.count = self.count.saturating_add(1);
        if self.count > MAX_ATTRIBUTES && !matches!(attribute.code, mp_reach::CODE | mp_unreach::CODE) {
            return self.too_many();
        }
        if !self.seen.insert(attribute.code) {
            return self.duplicate(attribute.code);
        }
        let Some(row) = attribute::row(attribute.code) else {
            return self.unknown(attribute);
        };
        if row.internal_only && !self.ctx.internal {
            self.record(code, Disposition::DiscardAttribute, || {
                format!("{}: sent by a peer of another AS", row.name)
            });
            return Ok(());
        }
        self.flags(row, attribute)?;
        match (row.decode)(attribute.value, self.ctx, &mut self.draft) {
            Ok(()) => {
                if attribute.flags & PARTIAL != 0 {
                    self.draft.attributes.partial.insert(row.partial);
                }
                Ok(())
            }
            Err(fault) => self.fault(code, attribute.octets, &fault, row.on_error),
        }
    }

    /// Beyond the limit only the prefixes are still looked for, for they have to be known to be withdrawn.
    fn too_many(&mut self) -> Result<(), DecodeError> {
        if self.count > MAX_ATTRIBUTES.saturating_add(1) {
            return Ok(());
        }
        let what = format!("more than {MAX_ATTRIBUTES} attributes");
        let fault = Fault::new(UpdateError::MalformedAttributeList, what);
        self.fault(None, &[], &fault, Disposition::TreatAsWithdraw)
    }

    /// RFC 7606 §3 c.
    fn flags(&mut self, row: &Row, attribute: &Attribute<'_>) -> Result<(), DecodeError> {
        let flags = attribute.flags & (OPTIONAL | TRANSITIVE);
        if flags == row.flags {
            return Ok(());
        }
        let what = format!("flags {flags:02x}, expected {:02x}", row.flags);
        let fault = Fault::new(UpdateError::AttributeFlags, what);
        self.fault(
            Some(row.code),
            attribute.octets,
            &fault,
            Disposition::TreatAsWithdraw,
        )
    }

    /// RFC 7606 §3 g.
    fn duplicate(&mut self, code: u8) -> Result<(), DecodeError> {
        let disposition = match code {
            mp_reach::CODE | mp_unreach::CODE => Disposition::ResetSession,
            _ => Disposition::DiscardAttribute,
        };
        let fault = Fault::new(UpdateError::MalformedAttributeList, "stands twice");
        self.fault(Some(code), &[], &fault, disposition)
    }

    /// RFC 4271 §5, §6.3.
    fn unknown(&mut self, attribute: &Attribute<'_>) -> Result<(), DecodeError> {
        let (code, octets) = (Some(attribute.code), attribute.octets);
        let withdraw = Disposition::TreatAsWithdraw;
        match attribute::foreign(attribute.code).map(|f| f.judge(attribute.flags, attribute.value)) {
            Some(Err(fault)) => return self.fault(code, octets, &fault, withdraw),
            Some(Ok(false)) => return Ok(()),
            Some(Ok(true)) | None => {}
        }
        if attribute.flags & OPTIONAL == 0 {
            let fault = Fault::new(UpdateError::UnrecognizedWellKnown, "well-known, but unknown");
            return self.fault(code, octets, &fault, Disposition::ResetSession);
        }
        if attribute.flags & TRANSITIVE == 0 {
            return Ok(());
        }
        let kept = self.draft.keep(UnknownAttribute {
            flags: attribute.flags,
            code: attribute.code,
            value: attribute.value.into(),
        });
        match kept {
            Ok(()) => Ok(()),
            Err(fault) => self.fault(code, octets, &fault, withdraw),
        }
    }

    /// RFC 7606 §3 d: what reachable prefixes must come with.
    fn mandatory(&mut self) {
        if !self.draft.is_reachable() {
            return;
        }
        let has_nlri = self.draft.has_nlri;
        let missing = attribute::mandatory().find(|row| !self.seen.contains(row.code));
        let missing = match missing {
            Some(row) => Some((row.code, row.name)),
            None if has_nlri && !self.seen.contains(next_hop::CODE) => Some((next_hop::CODE, "NEXT_HOP")),
            None => None,
        };
        if let Some((code, name)) = missing {
            let what = format!("{name}: missing");
            let error = reset(UpdateError::MissingWellKnown, &[code], &what);
            self.withdraw.get_or_insert(error);
            self.record(Some(code), Disposition::TreatAsWithdraw, || what);
        }
    }

    /// Takes note of a fault; an error when it ends the session.
    fn fault(
        &mut self,
        code: Option<u8>,
        octets: &[u8],
        fault: &Fault,
        disposition: Disposition,
    ) -> Result<(), DecodeError> {
        let disposition = fault.disposition.unwrap_or(disposition);
        let what = match (code.and_then(attribute::name), code) {
            (Some(name), _) => format!("{name}: {}", fault.what),
            (None, Some(code)) => format!("attribute {code}: {}", fault.what),
            (None, None) => format!("attribute list: {}", fault.what),
        };
        // RFC 4271 §6.3 gives Malformed AS_PATH no data.
        let data = match fault.error {
            UpdateError::MalformedAsPath => &[],
            UpdateError::MalformedAttributeList
            | UpdateError::UnrecognizedWellKnown
            | UpdateError::MissingWellKnown
            | UpdateError::AttributeFlags
            | UpdateError::AttributeLength
            | UpdateError::InvalidOrigin
            | UpdateError::InvalidNextHop
            | UpdateError::OptionalAttribute
            | UpdateError::InvalidNetwork => octets,
        };
        match disposition {
            Disposition::ResetSession => return Err(reset(fault.error, data, &what)),
            Disposition::TreatAsWithdraw => {
                self.withdraw
                    .get_or_insert_with(|| reset(fault.error, data, &what));
            }
            Disposition::DiscardAttribute => {}
        }
        self.record(code, disposition, || what);
        Ok(())
    }

    fn record(&mut self, code: Option<u8>, disposition: Disposition, what: impl FnOnce() -> String) {
        let full = self.errors.len() >= MAX_ERRORS;
        if full && self.errors.iter().any(|e| e.disposition >= disposition) {
            return;
        }
        if full {
            self.errors.pop();
        }
        self.errors.push(AttributeError {
            code,
            what: what(),
            disposition,
        });
    }

    fn finish(
        mut self,
        fields: &Fields<'_>,
        mut withdrawn: Nlri,
        announced: Nlri,
    ) -> Result<Update, DecodeError> {
        let end_of_rib = self.end_of_rib(fields);
        let is_reachable = self.draft.is_reachable();
        let other_than_unreach = !self.seen.is_only(mp_unreach::CODE);
        let reach = self.draft.reach.take();
        if let Some(unreach) = self.draft.unreach.take() {
            withdrawn.append(unreach.nlri);
        }
        if let Some(error) = self.withdraw {
            if !is_reachable && other_than_unreach {
                return Err(error);
            }
            withdrawn.append(announced);
            withdrawn.append(reach.map(|r| r.nlri).unwrap_or_default());
            return Ok(Update {
                withdrawn: withdrawn.prefixes,
                withdrawn_ids: withdrawn.ids,
                announced: Vec::new(),
                attributes: PathAttributes::local(),
                end_of_rib: None,
                errors: self.errors,
            });
        }
        self.draft.merge_as4();
        let classic = self
            .draft
            .next_hop
            .map(|addr| (crate::types::NextHop::V4(addr), announced));
        let multiprotocol = reach.and_then(|r| Some((r.next_hop?, r.nlri)));
        Ok(Update {
            withdrawn: withdrawn.prefixes,
            withdrawn_ids: withdrawn.ids,
            announced: [classic, multiprotocol]
                .into_iter()
                .flatten()
                .filter(|(_, nlri)| !nlri.prefixes.is_empty())
                .map(|(next_hop, Nlri { prefixes, ids })| Announcement {
                    next_hop,
                    prefixes,
                    path_ids: ids,
                })
                .collect(),
            attributes: self.draft.attributes,
            end_of_rib,
            errors: self.errors,
        })
    }

    /// RFC 4724 §2: an UPDATE of nothing at all, or of MP_UNREACH_NLRI without prefixes and nothing else.
    fn end_of_rib(&self, fields: &Fields<'_>) -> Option<Family> {
        if !fields.withdrawn.is_empty() || !fields.nlri.is_empty() {
            return None;
        }
        if fields.attributes.is_empty() {
            return Some(Family::Ipv4).filter(|family| self.ctx.families.contains(*family));
        }
        let unreach = self.draft.unreach.as_ref()?;
        let empty = unreach.nlri.prefixes.is_empty() && self.seen.is_only(mp_unreach::CODE);
        unreach.family.filter(|_| empty)
    }
}
