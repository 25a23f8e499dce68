//! The world: nodes, the network between them, and the queue of what happens next. One thread, virtual time, one seed.

use crate::{
    invariants::Checks,
    load::Load,
    message::{Message, NodeId},
    metrics::Metrics,
    models::SimModel,
    network::Network,
    node::Node,
    plan::{Action, Plan, Role},
    rng::Rng,
    verify::Verifier,
};
use lattice_chain::ChainError;
use lattice_storage::ArtifactStore;
use lattice_types::Evidence;
use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

/// Peers to which a node passes on what it hears for the first time.
const FANOUT: usize = 2;
/// Time between two looks of a node at what it lacks, ms.
const TICK_MS: u64 = 500;
/// Time between two samples of what is costly to check, ms.
const SAMPLE_MS: u64 = 1_000;
/// Time between two transactions, ms.
const LOAD_MS: u64 = 300;
/// How long a node that lost its disk or process stays down, ms.
const DOWN_MS: (u64, u64) = (1_000, 4_000);

/// What happens.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A message arrives.
    Deliver { from: NodeId, to: NodeId, message: Message },
    /// A slot begins by the clock of a node, in one of its lives.
    Slot { node: NodeId, life: u32 },
    /// A checkpoint's time has come by the clock of a node.
    Checkpoint { node: NodeId, life: u32 },
    /// A node looks at what it lacks and tells a peer its tips.
    Tick { node: NodeId },
    /// An adversary lets go what it holds back.
    Release { node: NodeId },
    /// Somebody sends a transaction.
    Load,
    /// The costly checks.
    Sample,
    /// The scenario does something.
    Act(Action),
}

/// An event in the queue; what was queued first comes first among equal times.
#[derive(Debug)]
struct Entry {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// All there is.
pub struct World {
    pub(crate) plan: Plan,
    /// Virtual time since the genesis, ms.
    pub(crate) now: u64,
    /// Events handled so far.
    pub(crate) step: u64,
    queue: BinaryHeap<Reverse<Entry>>,
    queued: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) verifier: Verifier,
    pub(crate) rng: Rng,
    pub(crate) load: Load,
    pub(crate) model: Option<SimModel>,
    /// Evidence of twins, by who hears both halves: told when the halves hear each other again.
    pub(crate) withheld_evidence: Vec<Evidence>,
    pub(crate) checks: Checks,
    pub(crate) metrics: Metrics,
    _artifacts: tempfile::TempDir,
}

impl World {
    /// The world of a plan, before anything has happened.
    ///
    /// # Errors
    /// When a node's chain cannot be opened.
    pub fn new(plan: Plan) -> Result<Self, ChainError> {
        let fault = |error: &dyn std::fmt::Display| ChainError::Fault(error.to_string());
        let folder = tempfile::tempdir().map_err(|error| fault(&error))?;
        let artifacts = Arc::new(ArtifactStore::open(folder.path(), 1 << 20).map_err(|error| fault(&error))?);
        let model = plan.has_model.then(|| SimModel::new(&artifacts, plan.nodes())).transpose()?;
        let mut nodes: Vec<Node> = (0..plan.nodes()).map(|id| Node::new(id, &plan, &artifacts)).collect();
        for node in nodes.iter_mut().filter(|node| !plan.absent.contains(&node.id)) {
            node.start(&plan.spec, None)?;
        }
        let mut world = Self {
            now: 0,
            step: 0,
            queue: BinaryHeap::new(),
            queued: 0,
            network: Network::new(plan.seed, nodes.len(), plan.delay_ms),
            verifier: Verifier::default(),
            rng: Rng::of_purpose(plan.seed, 3),
            load: Load::new(plan.seed),
            model,
            withheld_evidence: Vec::new(),
            checks: Checks::new(&nodes),
            metrics: Metrics::default(),
            nodes,
            _artifacts: folder,
            plan,
        };
        world.begin();
        Ok(world)
    }

    fn begin(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].is_up() {
                self.wake(node);
            }
            let phase = self.rng.below(TICK_MS);
            self.after(phase, Event::Tick { node });
        }
        for (at, action) in std::mem::take(&mut self.plan.timeline) {
            self.after(at, Event::Act(action));
        }
        self.after(self.plan.disturbed_ms.1, Event::Act(Action::Heal));
        self.after(LOAD_MS, Event::Load);
        self.after(SAMPLE_MS, Event::Sample);
    }

    /// Runs to the end of the plan, or to the first violation.
    pub fn run(&mut self) {
        while let Some(Reverse(entry)) = self.queue.pop() {
            if entry.at > self.plan.duration_ms || self.checks.is_broken() {
                break;
            }
            self.now = entry.at;
            self.step += 1;
            self.happen(entry.event);
        }
        if !self.checks.is_broken() {
            self.now = self.plan.duration_ms;
            self.check_the_end();
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, message } => self.receive(from, to, message),
            Event::Slot { node, life } if self.nodes[node].life == life => {
                self.schedule_slot(node);
                self.produce(node);
            }
            Event::Checkpoint { node, life } if self.nodes[node].life == life => {
                self.schedule_checkpoint(node);
                self.cast_vote(node);
                self.attest(node);
            }
            Event::Slot { .. } | Event::Checkpoint { .. } => {}
            Event::Tick { node } => {
                self.after(TICK_MS, Event::Tick { node });
                self.look_for_missing(node);
            }
            Event::Release { node } => self.release(node),
            Event::Load => {
                self.after(LOAD_MS, Event::Load);
                self.send_transaction();
                self.use_model();
            }
            Event::Sample => {
                self.after(SAMPLE_MS, Event::Sample);
                self.sample();
            }
            Event::Act(action) => self.act(action),
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Cut(groups) => self.network.groups = groups,
            Action::Lose(ppm) => self.network.loss_ppm = ppm,
            Action::Halve(halves) => self.network.halves = Some(halves),
            Action::Deafen(deaf) => self.network.deaf_to_votes = deaf,
            Action::Heal => {
                self.network.heal();
                self.tell_evidence();
            }
            Action::StartTrusting(node, trust) => self.start_trusting(node, trust),
            Action::Contradict(node) => self.contradict(node),
            Action::Stake(step) => self.move_stake(step),
            Action::LoseArtifact(nodes) => {
                if let Some(model) = &mut self.model {
                    model.lost = nodes;
                }
            }
            Action::Crash(node) => self.nodes[node].crash(),
            Action::Start(node) => self.start(node, None),
            Action::BreakDisk(node, kind, writes) if self.nodes[node].is_up() => {
                self.nodes[node].crash();
                self.start(node, Some((kind, writes)));
            }
            Action::BreakDisk(..) => {}
        }
    }

    /// A node that is down starts from its disk.
    pub(crate) fn start(&mut self, node: NodeId, fault: Option<(lattice_storage::FaultKind, u64)>) {
        if self.nodes[node].is_up() {
            return;
        }
        let before = self.nodes[node].finalised;
        match self.nodes[node].start(&self.plan.spec, fault) {
            Ok(()) => {
                self.checks.started(node, self.now);
                if self.nodes[node].finalised.index < before.index {
                    let now = self.nodes[node].finalised;
                    self.violate("finality survives a crash", format!("node {node} had {before}, now has {now}"));
                }
                self.wake(node);
            }
            Err(error) => self.violate("a store opens after any crash", format!("node {node}: {error}")),
        }
    }

    /// A node dies of its disk and starts again later.
    pub(crate) fn die(&mut self, node: NodeId) {
        self.nodes[node].crash();
        let (low, high) = DOWN_MS;
        let down = self.rng.between(low, high);
        self.after(down, Event::Act(Action::Start(node)));
    }

    /// The clocks of a node that has started.
    fn wake(&mut self, node: NodeId) {
        self.schedule_slot(node);
        self.schedule_checkpoint(node);
    }

    fn schedule_slot(&mut self, node: NodeId) {
        let at = self.next_boundary(node, self.plan.spec.slot_ms);
        let life = self.nodes[node].life;
        self.push(at, Event::Slot { node, life });
    }

    fn schedule_checkpoint(&mut self, node: NodeId) {
        let at = self.next_boundary(node, self.plan.spec.slot_ms * self.plan.spec.checkpoint_slots);
        let life = self.nodes[node].life;
        self.push(at, Event::Checkpoint { node, life });
    }

    /// When the next multiple of an interval begins by a node's clock, in virtual time.
    fn next_boundary(&self, node: NodeId, interval: u64) -> u64 {
        let ahead = self.nodes[node].clock_ms;
        let local = self.now.saturating_add_signed(ahead);
        let next = (local / interval + 1) * interval;
        next.saturating_add_signed(-ahead).max(self.now + 1)
    }

    /// Something happens after a while.
    pub(crate) fn after(&mut self, ms: u64, event: Event) {
        self.push(self.now + ms, event);
    }

    fn push(&mut self, at: u64, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse(Entry { at, number: self.queued, event }));
    }

    /// Sends a message to one peer.
    pub(crate) fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        if let Some(delay) = self.network.send(from, to, &message) {
            self.after(delay, Event::Deliver { from, to, message });
        }
    }

    /// Sends what a node made to these peers, who pass it on.
    pub(crate) fn publish(&mut self, from: NodeId, message: &Message, to: impl Fn(NodeId) -> bool) {
        self.nodes[from].seen.extend(message.id());
        for peer in (0..self.nodes.len()).filter(|&peer| peer != from && to(peer)) {
            self.send(from, peer, message.clone());
        }
    }

    /// A node passes on what it hears for the first time.
    pub(crate) fn relay(&mut self, node: NodeId, heard_from: NodeId, message: &Message) {
        let Some(id) = message.id() else { return };
        if !self.nodes[node].seen.insert(id) {
            return;
        }
        for _ in 0..FANOUT {
            let peer = self.rng.below(self.nodes.len() as u64) as usize;
            if peer != node && peer != heard_from {
                self.send(node, peer, message.clone());
            }
        }
    }

    /// Whether adversaries are at work now.
    pub(crate) const fn is_disturbed(&self) -> bool {
        self.now >= self.plan.disturbed_ms.0 && self.now < self.plan.disturbed_ms.1
    }

    /// How a node behaves now.
    pub(crate) fn role(&self, node: NodeId) -> Role {
        let role = self.nodes[node].role;
        match (self.is_disturbed(), role) {
            (true, role) => role,
            (false, Role::Twin) if self.nodes[node].validator as NodeId != node => Role::Silent,
            (false, _) => Role::Honest,
        }
    }

    /// Whether a validator is honest for the whole run.
    pub(crate) fn is_honest(&self, validator: u32) -> bool {
        self.nodes.get(validator as usize).is_some_and(|node| node.role == Role::Honest)
    }

    /// Honest nodes that are up.
    pub(crate) fn honest_up(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|node| node.role == Role::Honest && node.is_up()).map(|node| node.id).collect()
    }

    /// A random honest node that is up.
    pub(crate) fn any_honest(&mut self) -> Option<NodeId> {
        let up = self.honest_up();
        self.rng.pick(&up).copied()
    }

    /// Unix time of a node's clock, ms.
    pub(crate) fn clock(&self, node: NodeId) -> u64 {
        self.nodes[node].clock(&self.plan.spec, self.now)
    }

    /// Slot of a node's sink.
    pub(crate) fn head_slot(&self, node: NodeId) -> Option<u64> {
        let chain = self.nodes[node].chain.as_ref()?;
        chain.dag().slot(&chain.head().dag_hash).ok()?
    }
}
