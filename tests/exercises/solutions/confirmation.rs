use crate::confirmation::{Broadcast, BroadcastOutcome, Content, Inbox, Node, PATIENCE, SILENCE};
use std::collections::HashMap;
use std::time::Duration;

/// Waits until each node has confirmed the broadcast, is silent, or the deadline has come.
pub(crate) fn wait_for_confirmations(
    inbox: &mut dyn Inbox,
    broadcast: &Broadcast,
) -> BroadcastOutcome {
    let start = inbox.now();
    let deadline = start + PATIENCE;
    // The nodes that have not confirmed, each with the time of its last entry.
    let nodes = broadcast.nodes.iter();
    let mut missing: HashMap<Node, Duration> = nodes.map(|node| (*node, start)).collect();
    let mut delivered = 0;
    loop {
        let now = inbox.now();
        let ends = missing.iter().map(|(node, last)| {
            if *node == broadcast.own {
                deadline
            } else {
                deadline.min(*last + SILENCE)
            }
        });
        // A node whose end has passed is left out, so it does not end the next wait.
        let Some(end) = ends.filter(|end| *end > now).min() else {
            break;
        };
        let Some(entry) = inbox.recv_deadline(end) else {
            continue;
        };
        let Some(last) = missing.get_mut(&entry.from) else {
            continue;
        };
        match entry.content {
            Content::Confirmation {
                broadcast: number,
                sessions,
            } if number == broadcast.number => {
                missing.remove(&entry.from);
                delivered += sessions;
            }
            _ => *last = inbox.now(),
        }
    }
    if missing.contains_key(&broadcast.own) {
        BroadcastOutcome::MayHaveArrived
    } else {
        BroadcastOutcome::Delivered(delivered)
    }
}
