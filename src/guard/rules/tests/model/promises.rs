//! What becomes of a promise of the peer's that resolves.

use super::{End, Fate, Held, Kind, Model, Node, State};
use crate::guard::breach::Breach;
use crate::guard::rules::tests::say::Cap;

impl Model {
    pub(super) fn set_kind(&mut self, id: u32, kind: Kind) {
        if let Some(import) = self.imports.get_mut(&id) {
            import.kind = kind;
        }
    }

    pub(super) fn decide(&mut self, id: u32, node: Node, cap: Cap, to: Option<Node>) -> Fate {
        let breach = match self.walk(to, node) {
            end @ (End::Settled | End::Theirs(_)) => {
                self.leads(node, to);
                // That is settled for good, whatever becomes of what is on the way.
                self.graph[node] = match end {
                    End::Theirs(promise) => State::To(promise),
                    _ => State::End,
                };
                self.passed.push(node);
                self.set_kind(id, Kind::Resolved);
                return Fate::Pass;
            }
            End::Ours(at) => {
                // Until it is let through nobody else knows.
                self.graph[node] = to.map_or(State::End, State::To);
                self.held.insert(id, Held { cap, to, at });
                self.set_kind(id, Kind::Waiting);
                return Fate::Withhold;
            }
            End::Lost => Breach::ResolveLost,
            End::Back => Breach::ResolveCycle,
        };
        self.broken(id, node, cap, breach);
        Fate::Withhold
    }

    pub(super) fn broken(&mut self, id: u32, node: Node, cap: Cap, breach: Breach) {
        self.set_kind(id, Kind::Resolved);
        self.leads(node, None);
        self.give_back(cap);
        self.refused.push(breach);
    }

    pub(super) fn give_back(&mut self, cap: Cap) {
        if let Cap::Hosted(id) | Cap::Promise(id) = cap {
            self.let_go(id, 1);
        }
    }

    /// This side knows further at `node`.
    pub(super) fn kept(&mut self, node: Node) {
        for (id, held) in self.held.clone() {
            if held.at == node
                && self.held.remove(&id).is_some()
                && let Some(import) = self.imports.get(&id)
            {
                self.decide(id, import.node, held.cap, held.to);
            }
        }
    }

    /// The peer has let go of `node`.
    pub(super) fn gone(&mut self, node: Node) {
        for (id, held) in self.held.clone() {
            if (held.at == node || held.to == Some(node))
                && self.held.remove(&id).is_some()
                && let Some(import) = self.imports.get(&id)
            {
                self.broken(id, import.node, held.cap, Breach::ResolveLost);
            }
        }
    }
}
