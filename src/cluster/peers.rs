//! What this node has heard of the others, and which of them it suspects.
//!
//! A node that was asked and from which nothing has come for [`SUSPICION`] is suspected: no one
//! waits for it until any entry or renewal of it is seen. It may be killed or stopped, and each
//! broadcast would wait for it.
//!
//! Does not know requests. A thread takes its lock alone.
//!
//! Invariant: *a node that answers is not suspected.*

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::waiting::NodeId;
use crate::limits::{ASK_TIMEOUT, LEASE, SUSPICION};

/// The other nodes, as this one sees them.
#[derive(Default)]
pub(super) struct Peers {
    peers: Mutex<HashMap<NodeId, Peer>>,
}

#[derive(Default)]
struct Peer {
    /// The time of the first request since anything was heard. `None` if nothing was asked since.
    asked_at: Option<Instant>,
    /// The end of its lease, as far as it is known.
    lease_end: Option<Instant>,
}

impl Peers {
    /// Notes that these nodes were asked.
    pub(super) fn asked<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeId>, now: Instant) {
        let mut peers = self.peers.lock();
        for node in nodes {
            let peer = peers.entry(node.clone()).or_default();
            peer.asked_at.get_or_insert(now);
        }
    }

    /// Notes that something has come from a node.
    pub(super) fn heard(&self, node: &NodeId) {
        if let Some(peer) = self.peers.lock().get_mut(node) {
            peer.asked_at = None;
        }
    }

    /// Notes the leases of all nodes that are left, each with the time until it ends. A node that
    /// is removed stays suspected for as long as a request waits for it. A later end is a renewal. It is a sign of life if the node has renewed after it was asked: this node
    /// sees a renewal up to one interval later.
    pub(super) fn note_leases(&self, leases: &[(NodeId, Duration)], now: Instant) {
        let mut peers = self.peers.lock();
        let is_left = |node: &NodeId| leases.iter().any(|(left, _)| left == node);
        let is_waited_for = |peer: &Peer| peer.asked_at.is_some_and(|at| at + ASK_TIMEOUT > now);
        peers.retain(|node, peer| is_left(node) || is_waited_for(peer));
        for (node, left) in leases {
            let peer = peers.entry(node.clone()).or_default();
            let end = now + *left;
            // The two clocks do not agree to the millisecond.
            let is_later = |before| end > before + SUSPICION;
            if peer.lease_end.is_none_or(is_later) {
                peer.asked_at = peer.asked_at.filter(|asked_at| end < *asked_at + LEASE);
                peer.lease_end = Some(end);
            }
        }
    }

    /// Forgets everything, because this node was away.
    pub(super) fn clear(&self) {
        self.peers.lock().clear();
    }

    /// Returns the time from which on a node is suspected, if nothing comes from it.
    pub(super) fn suspected_from(&self, node: &NodeId) -> Option<Instant> {
        let peers = self.peers.lock();
        Some(peers.get(node)?.asked_at? + SUSPICION)
    }

    /// Returns the nodes that are suspected now.
    pub(super) fn suspected(&self, now: Instant) -> Vec<NodeId> {
        let peers = self.peers.lock();
        let is_suspected = |peer: &Peer| peer.asked_at.is_some_and(|at| at + SUSPICION <= now);
        let suspected = peers.iter().filter(|(_, peer)| is_suspected(peer));
        suspected.map(|(node, _)| node.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_node_is_suspected_until_it_is_heard() {
        let (peers, start) = (Peers::default(), Instant::now());
        let (bob, carol) = (NodeId::random(), NodeId::random());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(peers.suspected(after(10)).is_empty());
        peers.asked([&bob, &carol], start);
        peers.asked([&bob], after(1));
        peers.heard(&carol);
        assert_eq!(peers.suspected(start), []);
        assert_eq!(peers.suspected(after(1)), std::slice::from_ref(&bob));
        assert_eq!(peers.suspected_from(&bob), Some(after(1)));
        assert_eq!(peers.suspected_from(&carol), None);
        peers.heard(&bob);
        assert_eq!(peers.suspected(after(9)), []);
    }

    #[test]
    fn renewal_is_a_sign_of_life_and_an_old_lease_is_not() {
        let (peers, start) = (Peers::default(), Instant::now());
        let bob = NodeId::random();
        let after = |seconds| start + Duration::from_secs(seconds);
        let lease = |seconds| [(bob.clone(), Duration::from_secs(seconds))];
        peers.note_leases(&lease(15), start);
        peers.asked([&bob], start);
        peers.note_leases(&lease(12), after(3));
        assert_eq!(peers.suspected(after(3)), std::slice::from_ref(&bob));
        peers.note_leases(&lease(15), after(6));
        assert_eq!(peers.suspected(after(6)), []);
        // Renewed at 7, asked at 8, seen at 9.
        peers.asked([&bob], after(8));
        peers.note_leases(&lease(13), after(9));
        assert_eq!(peers.suspected(after(9)), std::slice::from_ref(&bob));
        // Removed while a request waits for it, and forgotten afterwards.
        peers.note_leases(&[], after(10));
        assert_eq!(peers.suspected(after(10)), std::slice::from_ref(&bob));
        peers.note_leases(&[], after(13));
        assert_eq!(peers.suspected(after(13)), []);
    }
}
