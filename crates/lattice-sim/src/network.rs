//! Links: how long a message takes, whether it arrives at all, and who can hear whom.

use crate::{
    message::{Message, NodeId},
    rng::Rng,
};

/// The network between nodes.
#[derive(Debug, Clone)]
pub struct Network {
    rng: Rng,
    /// Shortest and longest delay, ms.
    pub delay_ms: (u64, u64),
    /// Messages lost, millionths.
    pub loss_ppm: u32,
    /// Nodes of different groups cannot hear each other; all are in group 0 when nothing is cut.
    pub groups: Vec<u8>,
    /// Nodes of different halves hear each other only after the longest delay, those of one half after the shortest.
    pub halves: Option<Vec<u8>>,
    /// Nodes that get no votes.
    pub deaf_to_votes: Vec<bool>,
    /// Messages that were sent.
    pub sent: u64,
    /// Of them, those that never arrive.
    pub lost: u64,
}

impl Network {
    /// A network without faults.
    pub fn new(seed: u64, nodes: usize, delay_ms: (u64, u64)) -> Self {
        Self {
            rng: Rng::of_purpose(seed, 1),
            delay_ms,
            loss_ppm: 0,
            groups: vec![0; nodes],
            halves: None,
            deaf_to_votes: vec![false; nodes],
            sent: 0,
            lost: 0,
        }
    }

    /// Sends a message: how long it takes, or `None` when it is lost.
    pub fn send(&mut self, from: NodeId, to: NodeId, message: &Message) -> Option<u64> {
        self.sent += 1;
        let (low, high) = self.delay_ms;
        let delay = match &self.halves {
            Some(halves) if halves[from] == halves[to] => low,
            Some(_) => high,
            None => self.rng.between(low, high),
        };
        let is_lost = self.rng.chance(self.loss_ppm)
            || self.groups[from] != self.groups[to]
            || (self.deaf_to_votes[to] && matches!(message, Message::Vote(_)));
        self.lost += u64::from(is_lost);
        (!is_lost).then_some(delay)
    }

    /// Ends all cuts, losses and deafness.
    pub fn heal(&mut self) {
        self.groups.fill(0);
        self.deaf_to_votes.fill(false);
        self.halves = None;
        self.loss_ppm = 0;
    }
}
