//! What comes of a call in the model.

use super::graph::{Id, Node, Promise, Reason, Then};
use super::ops::Op;
use super::reference::{Applied, Call, Gives, Hand, Lie, Message, Model, push};

impl Model {
    /// What one calls an object for.
    pub(super) fn call(&mut self, op: Op) -> Applied {
        use Op::*;
        let (to, cap, third) = match op {
            Make { to } | Clear { to } | Take { to } | Hold { to } | Streamed { to } => (to, 0, 0),
            Store { to, cap } | Hang { to, cap } | Wait { to, cap } => (to, cap, 0),
            Pipeline { to, cap, .. } | Stream { to, cap, .. } => (to, cap, 0),
            LoopBack { through, cap } | Call { through, cap } => (through, cap, 0),
            Relay { through, to, cap } => (through, to, cap),
            Promise { of, cap, .. } => (of, cap, 0),
            other => unreachable!("{other:?} is no call"),
        };
        let at = self.pick(to)?;
        let (beside, third) = (self.pick_beside(at, cap)?, self.pick_beside(at, third)?);
        let (to, cap) = (at as u8, beside as u8);
        let op = match op {
            Make { .. } => Make { to },
            Clear { .. } => Clear { to },
            Take { .. } => Take { to },
            Hold { .. } => Hold { to },
            Streamed { .. } => Streamed { to },
            Store { .. } => Store { to, cap },
            Hang { .. } => Hang { to, cap },
            Wait { .. } => Wait { to, cap },
            Pipeline { keep, .. } => Pipeline { to, cap, keep },
            Stream { bytes, .. } => Stream { to, cap, bytes },
            LoopBack { .. } => LoopBack { through: to, cap },
            Call { .. } => Call { through: to, cap },
            Relay { .. } => Relay {
                through: to,
                to: cap,
                cap: third as u8,
            },
            Promise { target, .. } => Promise {
                of: to,
                cap,
                target: target % 4,
            },
            other => other,
        };
        let Hand { vat, cap } = self.hands[at];
        let found = self.object(cap)?;
        let far = self.graph.leads(cap).far;
        if let Stream { bytes, .. } = op
            && (found.is_err() || bytes % 16 == 0)
            && far
        {
            // A stream over a connection tells of an error with a later call.
            return None;
        }
        let (layers, object) = match found {
            Ok(found) => found,
            Err(reason) => return Some((op, Err(reason))),
        };
        let keeps = matches!(op, Hang { .. } | Wait { .. } | Pipeline { keep: true, .. });
        if keeps && !self.has_room() {
            return None;
        }
        if far && matches!(op, Pipeline { keep: false, .. }) {
            // See `may_cancel`.
            return None;
        }
        let param = self.hands[beside].cap;
        let param = self.graph.carry_in(&layers, param);
        let third = self.hands[third].cap;
        let third = self.graph.carry_in(&layers, third);
        let give = |model: &mut Self, cap: Id| {
            let result = model.graph.carry_out(&layers, cap);
            model.hold(vat, result)
        };
        let gives = match op {
            Make { .. } => {
                let its = self.graph.object(object).vat;
                let made = self.graph.new_object(its, "made".into());
                give(self, made)
            }
            Hold { .. } => {
                let its = self.graph.object(object).vat;
                let child = self.graph.new_object(its, "made".into());
                let result = self.graph.carry_out(&layers, child);
                // A promise of this vat's forwards the call: the response is a message of this vat's.
                let (layers, holds) = match self.graph.node(cap) {
                    Node::Promise(_) => (Vec::new(), Vec::new()),
                    _ => {
                        let near = self.graph.near(&layers).to_vec();
                        // In this process the innermost membrane's own: it has crossed there already.
                        let own = usize::from(near.len() == layers.len() && !near.is_empty());
                        let beyond = &layers[near.len() - own..];
                        let held = self.graph.carry_out(beyond, child);
                        (near, vec![held])
                    }
                };
                let message = Message {
                    vat,
                    layers,
                    holds,
                    cap: result,
                };
                push(&mut self.responses, message);
                Gives::Nothing
            }
            Store { .. } => {
                self.graph.object(object).slot = Some(param);
                Gives::Nothing
            }
            Clear { .. } => {
                self.graph.object(object).slot = None;
                Gives::Nothing
            }
            Take { .. } => match self.graph.object(object).slot {
                Some(stored) => give(self, stored),
                None => Gives::Null,
            },
            LoopBack { .. } => give(self, param),
            Call { .. } => match self.object(param)? {
                Ok(_) => Gives::Nothing,
                Err(reason) => return Some((op, Err(reason))),
            },
            Relay { .. } => match self.object(param)? {
                Ok((further, object)) => {
                    self.graph.carry_in(&further, third);
                    let child = self.child(object);
                    let relayed = self.graph.carry_out(&further, child);
                    give(self, relayed)
                }
                Err(reason) => return Some((op, Err(reason))),
            },
            Stream { bytes, .. } => {
                let object = self.graph.object(object);
                if bytes % 16 == 0 {
                    object.broken = true;
                    return Some((op, Err(Reason::BrokenStream)));
                }
                if self.lie != Some(Lie::CountsNoStream) {
                    object.pushed.0 += 1;
                    object.pushed.1 += u64::from(bytes % 16);
                }
                Gives::Nothing
            }
            Streamed { .. } => {
                let (calls, bytes) = self.graph.object(object).pushed;
                Gives::Numbers(calls, bytes)
            }
            Promise { target, .. } => {
                let promise = self.promise(object, target, param);
                give(self, promise)
            }
            Hang { .. } | Wait { .. } | Pipeline { .. } => {
                let its = self.graph.object(object).vat;
                let call = self.graph.add(Node::Call {
                    object,
                    param: Some(param),
                    vat: its,
                    open: (!matches!(op, Hang { .. })).then_some(false),
                    pipelined: None,
                });
                let mut gives = Gives::Nothing;
                if let Pipeline { .. } = op {
                    let cap = self
                        .graph
                        .add(Node::Promise(super::graph::Promise::Pipelined(call)));
                    if let Node::Call { pipelined, .. } = self.graph.node_mut(call) {
                        *pipelined = Some(cap);
                    }
                    gives = give(self, cap);
                }
                if !matches!(op, Pipeline { keep: false, .. }) {
                    let call = self::Call {
                        vat,
                        layers,
                        end: call,
                    };
                    push(&mut self.calls, call);
                }
                gives
            }
            other => unreachable!("{other:?} is no call"),
        };
        Some((op, Ok(gives)))
    }

    fn promise(&mut self, of: Id, target: u8, given: Id) -> Id {
        let object = self.graph.object(of);
        let (vat, label) = (object.vat, format!("{}'s promise", object.label));
        let then = match target {
            0 => Then::Object(label),
            1 => Then::Given(given),
            2 => Then::Error(Reason::BrokenPromise),
            _ => Then::Promise(label),
        };
        self.graph.add(Node::Promise(Promise::Gated {
            vat,
            open: false,
            then,
        }))
    }
}
