//! The model: what each vat holds, and what comes of an operation.

use super::graph::{Graph, Id, Layer, Node, Reason, Route, Vat, Way};
use super::ops::{Kind, Layout, Op};

/// How many capabilities are held; the oldest goes for the next.
pub const HANDS: usize = 10;

/// How many requests, responses and calls are held, each.
pub const HELD: usize = 3;

/// How many membranes there may be.
const EDGES: usize = 9;

/// What an operation gives, but for the capabilities, which are compared by who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Gives {
    Nothing,
    Cap,
    Null,
    Text(String),
    Numbers(u64, u64),
    Did(bool),
}

/// What an operation must come to.
pub type Expected = Result<Gives, Reason>;

/// A deliberate mistake of the model's, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// What passes out and back in is wrapped twice.
    NeverUnwraps,
    /// A revocation does not reach what a promise was.
    RevokesNothing,
    /// A request that was not sent keeps neither its parameter alive nor a membrane from being complete.
    ForgetsRequests,
    /// A call whose promise is dropped goes on.
    NeverCancels,
    /// A stream's calls are not counted.
    CountsNoStream,
}

/// A capability that a vat holds.
#[derive(Clone, Copy, Debug)]
pub struct Hand {
    /// Who holds it.
    pub vat: Vat,
    /// What it is.
    pub cap: Id,
}

/// A message that is held, not sent or not looked into.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) vat: Vat,
    pub(super) layers: Vec<Layer>,
    /// What it refers to, from the outermost in.
    pub(super) holds: Vec<Id>,
    /// The parameter, or the result.
    pub(super) cap: Id,
}

/// A call whose promise is held.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) vat: Vat,
    pub(super) layers: Vec<Layer>,
    /// The call that an object works on, or what is asked: perhaps a promise still.
    pub(super) end: Id,
}

impl Message {
    /// As if it were not there.
    fn forget(&mut self) {
        self.layers.clear();
        self.holds.clear();
    }
}

#[derive(Debug)]
struct Edge {
    inside: Vat,
    outside: Vat,
    handle: bool,
}

/// The model.
#[derive(Debug)]
pub struct Model {
    /// Who refers to whom.
    pub graph: Graph,
    /// The capabilities that are held.
    pub hands: Vec<Hand>,
    vats: usize,
    edges: Vec<Edge>,
    requests: Vec<Message>,
    pub(super) responses: Vec<Message>,
    pub(super) calls: Vec<Call>,
    introduced: usize,
    pub(super) lie: Option<Lie>,
    /// Does a vat take what a promise has resolved to in its place? It does where there are connections:
    /// `capnp-rpc` copies a request to a promise of its own that has resolved to what is not over the same
    /// connection, but not the capabilities in it, and panics.
    pub(super) settles: bool,
}

/// An operation with its choices made, and what must come of it. `None`: nothing to choose from.
pub(super) type Applied = Option<(Op, Expected)>;

impl Model {
    /// Nothing but vats and membranes.
    pub fn new(layout: &Layout, lie: Option<Lie>) -> Self {
        let edges = layout.edges.iter().map(|&(inside, outside, _)| Edge {
            inside: inside.into(),
            outside: outside.into(),
            handle: true,
        });
        let mut graph = Graph::default();
        for &(_, _, kind) in &layout.edges {
            graph.add_edge(kind == Kind::Connection);
        }
        graph.never_unwraps = lie == Some(Lie::NeverUnwraps);
        Self {
            graph,
            hands: Vec::new(),
            vats: layout.vats.into(),
            edges: edges.collect(),
            requests: Vec::new(),
            responses: Vec::new(),
            calls: Vec::new(),
            introduced: 0,
            lie,
            settles: layout.has_connections(),
        }
    }

    /// How many objects of a vat are alive, and how many calls they work on.
    pub fn live(&self, vat: Vat) -> (usize, usize) {
        let mut live = (0, 0);
        for (_, node) in self.graph.alive() {
            match node {
                Node::Object(object) if object.vat == vat => live.0 += 1,
                Node::Call { vat: its, .. } if *its == vat => live.1 += 1,
                _ => {}
            }
        }
        live
    }

    /// Is nothing left that refers through a membrane?
    pub fn is_complete(&self, edge: usize) -> bool {
        let through = |layers: &[Layer]| layers.iter().any(|layer| layer.0 == edge);
        let mut messages = self.responses.iter().chain(&self.requests);
        let is_wrapper =
            |node: &Node| matches!(node, Node::Wrapper { layer, .. } if layer.0 == edge);
        !self.edges[edge].handle
            && !self.graph.alive().any(|(_, node)| is_wrapper(node))
            && !messages.any(|message| through(&message.layers))
            && !self.calls.iter().any(|call| through(&call.layers))
    }

    /// How many membranes there are.
    pub fn edges(&self) -> usize {
        self.edges.len()
    }

    /// Forgets what nobody refers to.
    pub fn sweep(&mut self) {
        if self.lie == Some(Lie::ForgetsRequests) {
            self.requests.iter_mut().for_each(Message::forget);
        }
        let messages = self.requests.iter().chain(&self.responses);
        let roots = self.hands.iter().map(|hand| hand.cap);
        let roots = roots.chain(messages.flat_map(|it| it.holds.iter().copied().chain([it.cap])));
        let roots = roots.chain(self.calls.iter().map(|call| call.end));
        self.graph.sweep(roots);
    }

    /// Every object forgets what it keeps, and nobody holds anything.
    pub fn let_all_go(&mut self) {
        self.hands.clear();
        self.requests.clear();
        self.responses.clear();
        self.calls.clear();
        self.edges.iter_mut().for_each(|edge| edge.handle = false);
        let objects: Vec<Id> = self.graph.alive().map(|(id, _)| id).collect();
        for id in objects {
            if let Node::Object(object) = self.graph.node_mut(id) {
                object.slot = None;
            }
        }
    }

    /// Who answers a call on a capability that is held, or why nobody does; `None` where it waits.
    pub fn label(&mut self, hand: usize) -> Option<Result<String, Reason>> {
        let cap = self.hands[hand].cap;
        self.object(cap)
            .map(|found| found.map(|(_, object)| self.graph.object(object).label.clone()))
    }

    /// Where a call goes, and to which object; `None` where it waits for a promise.
    pub(super) fn object(&mut self, cap: Id) -> Option<Result<(Vec<Layer>, Id), Reason>> {
        match self.graph.route(cap) {
            Err(reason) => Some(Err(reason)),
            Ok(Route { layers, end }) => match self.graph.node(end) {
                Node::Object(object) if object.broken => Some(Err(Reason::BrokenStream)),
                Node::Object(_) => Some(Ok((layers, end))),
                _ => None,
            },
        }
    }

    /// May `cap` be passed on? Not what was taken from a pipeline and is over a connection, before it has
    /// resolved. Over the same connection it would come back as another capability; and whoever had it where
    /// the call is given up, as a membrane does when it is revoked, would have a promise that waits for ever.
    fn may_pass(&self, cap: Id) -> bool {
        let leads = self.graph.leads(cap);
        !(leads.far && leads.pipelined)
    }

    /// May a call be given up? Not where it goes over a connection, and what was taken from its pipeline is
    /// still there: with `capnp-rpc` that then waits for ever.
    fn may_cancel(&self, at: usize) -> bool {
        let call = &self.calls[at];
        let Node::Call {
            pipelined: Some(cap),
            ..
        } = *self.graph.node(call.end)
        else {
            return true;
        };
        !(self.graph.is_far(&call.layers) && self.graph.is_alive(cap))
    }

    /// Is there room for one more call?
    pub(super) fn has_room(&self) -> bool {
        self.calls.len() < HELD || self.may_cancel(0)
    }

    pub(super) fn hold(&mut self, vat: Vat, cap: Id) -> Gives {
        if self.hands.len() == HANDS {
            self.hands.remove(0);
        }
        self.hands.push(Hand { vat, cap });
        Gives::Cap
    }

    pub(super) fn pick(&self, choice: u8) -> Option<usize> {
        (choice as usize).checked_rem(self.hands.len())
    }

    /// One that the same vat holds and may pass on.
    pub(super) fn pick_beside(&self, hand: usize, choice: u8) -> Option<usize> {
        let vat = self.hands[hand].vat;
        self.pick_of(&[vat], choice)
    }

    fn pick_of(&self, vats: &[Vat], choice: u8) -> Option<usize> {
        let is_one = |hand: &Hand| vats.contains(&hand.vat) && self.may_pass(hand.cap);
        let those = (0..self.hands.len()).filter(|&at| is_one(&self.hands[at]));
        let those: Vec<usize> = those.collect();
        Some(those[(choice as usize).checked_rem(those.len())?])
    }

    /// Does an operation in the model.
    pub fn apply(&mut self, op: Op) -> Applied {
        match op {
            Op::Introduce { vat } => {
                let vat = vat as usize % self.vats;
                self.introduced += 1;
                let label = format!("{vat}.{}", self.introduced);
                let object = self.graph.new_object(vat, label);
                let gives = self.hold(vat, object);
                Some((Op::Introduce { vat: vat as u8 }, Ok(gives)))
            }
            Op::Pass { edge, cap } => self.pass(edge as usize % self.edges.len(), cap),
            Op::Copy { cap } => {
                let at = self.pick(cap)?;
                let Hand { vat, cap } = self.hands[at];
                let gives = self.hold(vat, cap);
                Some((Op::Copy { cap: at as u8 }, Ok(gives)))
            }
            Op::Drop { cap } => {
                let at = self.pick(cap)?;
                self.hands.remove(at);
                Some((Op::Drop { cap: at as u8 }, Ok(Gives::Nothing)))
            }
            Op::Send { request } => self.send(request),
            Op::Open { response } => {
                let at = (response as usize).checked_rem(self.responses.len())?;
                let Message { vat, cap, .. } = self.responses.remove(at);
                let gives = self.hold(vat, cap);
                Some((Op::Open { response: at as u8 }, Ok(gives)))
            }
            Op::Discard { message } => {
                let count = self.requests.len() + self.responses.len();
                let at = (message as usize).checked_rem(count)?;
                match at.checked_sub(self.requests.len()) {
                    None => self.requests.remove(at),
                    Some(at) => self.responses.remove(at),
                };
                Some((Op::Discard { message: at as u8 }, Ok(Gives::Nothing)))
            }
            Op::Revoke { edge } => {
                let edge = edge as usize % self.edges.len();
                let revoked = self.graph.fault(edge).is_some();
                let is_connection = self.graph.is_connection(edge);
                if is_connection {
                    if revoked {
                        return None;
                    }
                    self.edges[edge].handle = false;
                }
                let revokes = !revoked && (is_connection || !self.is_complete(edge));
                if revokes && self.lie != Some(Lie::RevokesNothing) {
                    self.graph.revoke(edge);
                }
                let op = Op::Revoke { edge: edge as u8 };
                Some((op, Ok(Gives::Did(revokes))))
            }
            Op::Leave { edge } => {
                let edge = edge as usize % self.edges.len();
                if self.graph.is_connection(edge) {
                    return None;
                }
                self.edges[edge].handle = false;
                Some((Op::Leave { edge: edge as u8 }, Ok(Gives::Nothing)))
            }
            Op::Renew { edge } => {
                let edge = edge as usize % self.edges.len();
                let Edge {
                    inside,
                    outside,
                    handle: false,
                } = self.edges[edge]
                else {
                    return None;
                };
                if self.edges.len() == EDGES {
                    return None;
                }
                self.graph.add_edge(self.graph.is_connection(edge));
                self.edges.push(Edge {
                    inside,
                    outside,
                    handle: true,
                });
                Some((Op::Renew { edge: edge as u8 }, Ok(Gives::Nothing)))
            }
            Op::Cancel { call } => {
                let at = (call as usize).checked_rem(self.calls.len())?;
                if !self.may_cancel(at) {
                    return None;
                }
                let call = self.calls.remove(at);
                if self.lie == Some(Lie::NeverCancels) {
                    self.hold(call.vat, call.end);
                }
                Some((Op::Cancel { call: at as u8 }, Ok(Gives::Nothing)))
            }
            Op::Resolve { vat } => {
                let vat = vat as usize % self.vats;
                self.open_gate(vat);
                Some((Op::Resolve { vat: vat as u8 }, Ok(Gives::Nothing)))
            }
            Op::Prepare { to, cap } => self.prepare(to, cap),
            Op::Ask { to } => self.ask(to),
            _ => self.call(op),
        }
    }

    fn pass(&mut self, edge: usize, choice: u8) -> Applied {
        let Edge {
            inside,
            outside,
            handle: true,
        } = self.edges[edge]
        else {
            return None;
        };
        let at = self.pick_of(&[inside, outside], choice)?;
        let Hand { vat, cap } = self.hands[at];
        let (to, way) = match vat == inside {
            true => (outside, Way::In),
            false => (inside, Way::Out),
        };
        let crossed = self.graph.cross((edge, way), cap);
        let gives = self.hold(to, crossed);
        let op = Op::Pass {
            edge: edge as u8,
            cap: at as u8,
        };
        Some((op, Ok(gives)))
    }

    /// A request is made for what the capability is now, whatever becomes of the membranes.
    fn prepare(&mut self, to: u8, cap: u8) -> Applied {
        let to = self.pick(to)?;
        let cap = self.pick_beside(to, cap)?;
        let leads = self.graph.leads(self.hands[to].cap);
        if leads.far && leads.waits {
            // Where such a promise breaks, `capnp-rpc` copies the request without its capabilities, and panics.
            return None;
        }
        let (mut layers, mut holds) = (Vec::new(), Vec::new());
        let Hand { vat, cap: mut at } = self.hands[to];
        while let Node::Wrapper { layer, target, .. } = *self.graph.node(at) {
            if let Some(resolved) = self.graph.resolution(at) {
                at = resolved;
                continue;
            }
            holds.push(at);
            layers.push(layer);
            if self.graph.is_connection(layer.0) {
                break;
            }
            at = target;
        }
        // In this process a request of a membrane's own, which knows whom it is for by the wrapper alone.
        if holds.is_empty() {
            holds.push(at);
        }
        let message = Message {
            vat,
            layers,
            holds,
            cap: self.hands[cap].cap,
        };
        push(&mut self.requests, message);
        let (to, cap) = (to as u8, cap as u8);
        Some((Op::Prepare { to, cap }, Ok(Gives::Nothing)))
    }

    fn send(&mut self, request: u8) -> Applied {
        let at = (request as usize).checked_rem(self.requests.len())?;
        let end = *self.requests[at].holds.last()?;
        let end = match *self.graph.node(end) {
            // What is behind the last wrapper is not held by the request itself.
            Node::Wrapper { target, .. } => target,
            _ => end,
        };
        let layers = self.requests[at].layers.clone();
        let fault = layers.iter().find_map(|layer| self.graph.fault(layer.0));
        let found = match fault {
            Some(reason) => Err(reason),
            None => self.object(end)?,
        };
        let request = self.requests.remove(at);
        let op = Op::Send { request: at as u8 };
        let (more, object) = match found {
            Ok(found) => found,
            Err(reason) => return Some((op, Err(reason))),
        };
        let layers = [layers, more].concat();
        let child = self.child(object);
        let result = self.graph.carry_out(&layers, child);
        Some((op, Ok(self.hold(request.vat, result))))
    }

    /// Asks for a label, which waits where it goes to a promise.
    fn ask(&mut self, to: u8) -> Applied {
        let to = self.pick(to)?;
        let Hand { vat, cap } = self.hands[to];
        if !self.has_room() {
            return None;
        }
        let Ok(Route { layers, end }) = self.graph.route(cap) else {
            return None;
        };
        push(&mut self.calls, Call { vat, layers, end });
        Some((Op::Ask { to: to as u8 }, Ok(Gives::Nothing)))
    }

    pub(super) fn child(&mut self, of: Id) -> Id {
        let object = self.graph.object(of);
        let (vat, label) = (object.vat, format!("{}'s child", object.label));
        self.graph.new_object(vat, label)
    }
}

/// Adds one; the oldest goes where there are too many.
pub fn push<T>(to: &mut Vec<T>, item: T) {
    if to.len() == HELD {
        to.remove(0);
    }
    to.push(item);
}
