//! What goes on by itself in the model: promises resolve, calls return.

use super::graph::{Id, Node, Promise, Reason, Then, Vat};
use super::reference::{Expected, Gives, Model};

impl Model {
    /// Those who wait at a vat's gate now may go on.
    pub fn open_gate(&mut self, vat: Vat) {
        let alive: Vec<Id> = self.graph.alive().map(|(id, _)| id).collect();
        for id in alive {
            match self.graph.node_mut(id) {
                Node::Promise(Promise::Gated { vat: its, open, .. }) if *its == vat => *open = true,
                Node::Call {
                    vat: its,
                    open: Some(open),
                    ..
                } if *its == vat => *open = true,
                _ => {}
            }
        }
    }

    /// Lets everything go on that somebody waits for. Gives the calls that have ended, by their places,
    /// and how.
    pub fn turn(&mut self) -> Vec<(usize, Expected)> {
        while self.drive_all() {}
        self.graph.tell_resolutions();
        if self.settles {
            for hand in &mut self.hands {
                hand.cap = self.graph.settled(hand.cap);
            }
        }
        let mut ended = Vec::new();
        let mut results = Vec::new();
        for at in 0..self.calls.len() {
            if let Some(expected) = self.end_of(at, &mut results) {
                ended.push((at, expected));
            }
        }
        for &(at, _) in ended.iter().rev() {
            self.calls.remove(at);
        }
        for (vat, cap) in results {
            self.hold(vat, cap);
        }
        ended
    }

    /// Whoever holds a promise waits for it, and so does a connection over which it went.
    fn drive_all(&mut self) -> bool {
        let mut any = false;
        let hands = self.hands.iter().map(|hand| hand.cap);
        // What fails has nobody who waits.
        let is_well = |call: &&super::reference::Call| {
            let mut layers = call.layers.iter();
            layers.all(|layer| self.graph.fault(layer.0).is_none())
        };
        let calls = self.calls.iter().filter(is_well).map(|call| call.end);
        let waiting = hands.chain(calls).chain(self.graph.imported_promises());
        let waiting: Vec<Id> = waiting.collect();
        for id in waiting {
            if let Ok(route) = self.graph.route(id) {
                any |= self.drive(route.end);
            }
        }
        any
    }

    fn drive(&mut self, id: Id) -> bool {
        match self.graph.node(id) {
            Node::Promise(Promise::Pipelined(call)) => self.finish(*call),
            Node::Call { .. } => self.finish(id),
            Node::Promise(Promise::Gated {
                vat,
                open: true,
                then,
            }) => {
                let (vat, then) = (*vat, then.clone());
                let to = match then {
                    Then::Object(label) => self.graph.new_object(vat, label),
                    Then::Given(given) => given,
                    Then::Error(reason) => self.graph.add(Node::Broken(reason)),
                    Then::Promise(label) => self.graph.add(Node::Promise(Promise::Gated {
                        vat,
                        open: false,
                        then: Then::Object(label),
                    })),
                };
                *self.graph.node_mut(id) = Node::Promise(Promise::Resolved(to));
                true
            }
            _ => false,
        }
    }

    /// A call returns if it may.
    fn finish(&mut self, call: Id) -> bool {
        let Node::Call {
            object,
            open: Some(true),
            pipelined,
            ..
        } = *self.graph.node(call)
        else {
            return false;
        };
        let child = self.child(object);
        *self.graph.node_mut(call) = Node::Returned { child };
        if let Some(cap) = pipelined
            && self.graph.is_alive(cap)
        {
            *self.graph.node_mut(cap) = Node::Promise(Promise::Resolved(child));
        }
        true
    }

    fn end_of(&mut self, at: usize, results: &mut Vec<(Vat, Id)>) -> Option<Expected> {
        let call = self.calls[at].clone();
        let mut layers = call.layers.iter();
        if let Some(reason) = layers.find_map(|layer| self.graph.fault(layer.0)) {
            return Some(Err(reason));
        }
        match *self.graph.node(call.end) {
            Node::Call { .. } => return None,
            Node::Returned { child } => {
                let result = self.graph.carry_out(&call.layers, child);
                results.push((call.vat, result));
                return Some(Ok(Gives::Cap));
            }
            _ => {}
        }
        let route = match self.graph.route(call.end) {
            Ok(route) => route,
            Err(reason) => return Some(Err(reason)),
        };
        self.calls[at].layers.extend(route.layers);
        self.calls[at].end = route.end;
        match self.graph.node(route.end) {
            Node::Object(object) if object.broken => Some(Err(Reason::BrokenStream)),
            Node::Object(object) => Some(Ok(Gives::Text(object.label.clone()))),
            _ => None,
        }
    }
}
