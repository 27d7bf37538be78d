use bytes::BytesMut;

use crate::types::FamilySet;
use crate::wire::{self, Notification, Open, RefreshSubtype};

/// Control messages that wait for room in the socket: at most one of each kind, so a peer that stops reading
/// cannot make it grow. Written in the order OPEN, KEEPALIVE, ROUTE-REFRESH, NOTIFICATION.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    open: Option<Open>,
    keepalive: bool,
    refresh: FamilySet,
    notification: Option<Notification>,
}

impl Outbox {
    /// Only this NOTIFICATION, for a connection that is refused.
    pub(crate) fn refusal(notification: Notification) -> Self {
        Self {
            notification: Some(notification),
            ..Self::default()
        }
    }

    pub(super) fn open(&mut self, open: Open) {
        self.open = Some(open);
    }

    pub(super) fn keepalive(&mut self) {
        self.keepalive = true;
    }

    pub(super) fn refresh(&mut self, family: crate::types::Family) {
        self.refresh.insert(family);
    }

    /// The last word: what else waited is dropped, but for an OPEN, which must come first on a connection.
    pub(super) fn close(&mut self, notification: Option<Notification>) {
        self.keepalive = false;
        self.refresh = FamilySet::NONE;
        if notification.is_none() {
            self.open = None;
        }
        self.notification = notification;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_none() && !self.keepalive && self.refresh.is_empty() && self.notification.is_none()
    }

    /// Writes all that waits; whether that was anything.
    pub(crate) fn drain(&mut self, out: &mut BytesMut) -> bool {
        if self.is_empty() {
            return false;
        }
        let all = std::mem::take(self);
        if let Some(open) = all.open {
            open.encode(out);
        }
        if all.keepalive {
            wire::encode_keepalive(out);
        }
        for family in all.refresh.iter() {
            wire::encode_route_refresh(family, RefreshSubtype::Normal, out);
        }
        if let Some(notification) = all.notification {
            notification.encode(out);
        }
        true
    }
}
