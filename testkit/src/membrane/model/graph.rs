//! Who refers to whom, and what of it is alive.
//!
//! Everything is counted as Rust counts it: what refers to itself in a circle stays.

/// A node of the graph.
pub type Id = usize;

/// A vat.
pub type Vat = usize;

/// Which way calls on a wrapper go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From outside in.
    In,
    /// From inside out.
    Out,
}

impl Way {
    /// The other way.
    pub fn back(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }
}

/// A membrane that is crossed, and which way.
pub type Layer = (usize, Way);

/// Why a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// This membrane was revoked.
    Revoked(usize),
    /// A connection was cut.
    Cut,
    /// A promise resolved to an error.
    BrokenPromise,
    /// The stream was broken.
    BrokenStream,
}

/// What a capability may refer to, and calls.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Node {
    Object(Object),
    Promise(Promise),
    /// `resolution`: what a promise behind it was seen to have resolved to, on this side. `promised`: was
    /// it a promise when it went over a connection?
    Wrapper {
        layer: Layer,
        target: Id,
        resolution: Option<Id>,
        promised: bool,
    },
    Broken(Reason),
    /// A call that an object works on.
    Call {
        object: Id,
        param: Option<Id>,
        vat: Vat,
        /// Does the gate let it return? `None`: it never returns.
        open: Option<bool>,
        /// What is given for its pipeline.
        pipelined: Option<Id>,
    },
    /// A call that returned, with the object that it gave.
    Returned {
        child: Id,
    },
}

/// An object.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Object {
    pub vat: Vat,
    pub label: String,
    pub slot: Option<Id>,
    /// Calls and bytes of its stream.
    pub pushed: (u64, u64),
    pub broken: bool,
}

/// A promise for a capability.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Promise {
    /// It goes on when its vat's gate has opened and somebody waits for it.
    Gated {
        vat: Vat,
        open: bool,
        then: Then,
    },
    /// Of a call that has not returned.
    Pipelined(Id),
    Resolved(Id),
}

/// What a promise resolves to.
#[derive(Clone, Debug)]
pub enum Then {
    /// A new object with this label.
    Object(String),
    /// What was given.
    Given(Id),
    /// An error.
    Error(Reason),
    /// Another promise, of a new object with this label.
    Promise(String),
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    connection: bool,
    revoked: bool,
}

/// The nodes.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: Vec<Option<Node>>,
    alive: Vec<Id>,
    edges: Vec<Edge>,
    counts: Vec<u32>,
    /// What comes back is wrapped once more: a mistake, to see it found.
    pub never_unwraps: bool,
}

/// Where a call on a capability goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leads {
    /// Over a connection.
    pub far: bool,
    /// To a promise that has not resolved.
    pub waits: bool,
    /// To one of a pipeline.
    pub pipelined: bool,
}

/// Where a capability leads.
#[derive(Clone, Debug)]
pub struct Route {
    /// Through which membranes, the first one first.
    pub layers: Vec<Layer>,
    /// To an object or a promise that has not resolved.
    pub end: Id,
}

impl Graph {
    /// One more membrane or connection.
    pub fn add_edge(&mut self, connection: bool) {
        self.edges.push(Edge {
            connection,
            revoked: false,
        });
    }

    /// Is it a connection?
    pub fn is_connection(&self, edge: usize) -> bool {
        self.edges[edge].connection
    }

    /// Those before the first connection: who is on this side of it knows of no others.
    pub fn near<'a>(&self, layers: &'a [Layer]) -> &'a [Layer] {
        let far = layers
            .iter()
            .position(|layer| self.edges[layer.0].connection);
        &layers[..far.unwrap_or(layers.len())]
    }

    /// Is one of these a connection?
    pub fn is_far(&self, layers: &[Layer]) -> bool {
        self.near(layers).len() < layers.len()
    }

    /// Where a call on `id` goes, without making known what has resolved: does it go over a connection, and
    /// does it wait for a promise?
    pub fn leads(&self, mut id: Id) -> Leads {
        let mut leads = Leads::default();
        loop {
            id = match *self.node(id) {
                Node::Wrapper {
                    resolution: Some(to),
                    ..
                }
                | Node::Promise(Promise::Resolved(to)) => to,
                Node::Wrapper { layer, target, .. } => {
                    leads.far |= self.is_connection(layer.0);
                    target
                }
                Node::Promise(ref promise) => {
                    leads.waits = true;
                    leads.pipelined = matches!(promise, Promise::Pipelined(_));
                    return leads;
                }
                _ => return leads,
            };
        }
    }

    /// Why a call through this edge fails, if it does.
    pub fn fault(&self, edge: usize) -> Option<Reason> {
        let Edge {
            connection,
            revoked,
        } = self.edges[edge];
        match connection {
            true => revoked.then_some(Reason::Cut),
            false => revoked.then_some(Reason::Revoked(edge)),
        }
    }

    /// A new node.
    pub fn add(&mut self, node: Node) -> Id {
        self.nodes.push(Some(node));
        self.alive.push(self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// A node that is alive.
    pub fn node(&self, id: Id) -> &Node {
        self.nodes[id].as_ref().expect("it is alive")
    }

    /// A node that is alive.
    pub fn node_mut(&mut self, id: Id) -> &mut Node {
        self.nodes[id].as_mut().expect("it is alive")
    }

    /// Is it alive still?
    pub fn is_alive(&self, id: Id) -> bool {
        self.nodes[id].is_some()
    }

    /// The object that `id` is.
    pub fn object(&mut self, id: Id) -> &mut Object {
        match self.node_mut(id) {
            Node::Object(object) => object,
            other => panic!("not an object: {other:?}"),
        }
    }

    /// What is alive.
    pub fn alive(&self) -> impl Iterator<Item = (Id, &Node)> {
        self.alive.iter().map(|&id| (id, self.node(id)))
    }

    /// Promises that came over a connection.
    pub fn imported_promises(&self) -> impl Iterator<Item = Id> {
        let is_one = |node: &Node| matches!(node, Node::Wrapper { promised: true, .. });
        self.alive()
            .filter(move |alive| is_one(alive.1))
            .map(|alive| alive.0)
    }

    /// A new object.
    pub fn new_object(&mut self, vat: Vat, label: String) -> Id {
        self.add(Node::Object(Object {
            vat,
            label,
            slot: None,
            pushed: (0, 0),
            broken: false,
        }))
    }

    /// Every wrapper of this membrane breaks, or every import of this connection. What a promise was seen
    /// to be, it stays.
    pub fn revoke(&mut self, edge: usize) {
        self.edges[edge].revoked = true;
        let Some(reason) = self.fault(edge) else {
            return;
        };
        for at in 0..self.alive.len() {
            let id = self.alive[at];
            if let Node::Wrapper { layer, .. } = self.node(id)
                && layer.0 == edge
            {
                let broken = self.add(Node::Broken(reason));
                if let Node::Wrapper { target, .. } = self.node_mut(id) {
                    *target = broken;
                }
            }
        }
    }

    /// What a promise has resolved to, on this side of the membranes. Who asks makes it known.
    pub fn resolution(&mut self, id: Id) -> Option<Id> {
        match *self.node(id) {
            Node::Promise(Promise::Resolved(to)) => Some(to),
            Node::Wrapper {
                resolution: Some(known),
                ..
            } => Some(known),
            Node::Wrapper { layer, target, .. } => {
                let resolved = self.resolution(target)?;
                let crossed = self.cross(layer, resolved);
                if let Node::Wrapper { resolution, .. } = self.node_mut(id) {
                    *resolution = Some(crossed);
                }
                Some(crossed)
            }
            _ => None,
        }
    }

    /// A connection tells what a promise has come to, asked or not, and the promise is let go.
    pub fn tell_resolutions(&mut self) {
        for id in self.imported_promises().collect::<Vec<_>>() {
            let to = match (self.resolution(id), self.route(id)) {
                (Some(to), _) => to,
                (None, Err(reason)) => self.add(Node::Broken(reason)),
                (None, Ok(_)) => continue,
            };
            *self.node_mut(id) = Node::Promise(Promise::Resolved(to));
        }
    }

    /// The end of all resolutions.
    pub fn settled(&mut self, mut id: Id) -> Id {
        while let Some(resolved) = self.resolution(id) {
            id = resolved;
        }
        id
    }

    /// What stands on the other side for `id`, so that calls on it go this way.
    pub fn cross(&mut self, layer: Layer, id: Id) -> Id {
        let id = self.settled(id);
        if let Node::Wrapper {
            layer: (edge, way),
            target,
            ..
        } = *self.node(id)
            && (edge, way.back()) == layer
            && !self.never_unwraps
        {
            return target;
        }
        if let Some(reason) = self.fault(layer.0) {
            return self.add(Node::Broken(reason));
        }
        let wrapper = self.alive().find(|(_, node)| {
            matches!(node, Node::Wrapper { layer: its, target, .. } if *its == layer && *target == id)
        });
        match wrapper {
            Some((known, _)) => known,
            None => self.add(Node::Wrapper {
                layer,
                target: id,
                resolution: None,
                promised: self.is_connection(layer.0) && self.leads(id).waits,
            }),
        }
    }

    /// What an object sees of a parameter that comes through `layers`.
    pub fn carry_in(&mut self, layers: &[Layer], mut id: Id) -> Id {
        for &(edge, way) in layers {
            id = self.cross((edge, way.back()), id);
        }
        id
    }

    /// What a caller sees of a result that comes back through `layers`.
    pub fn carry_out(&mut self, layers: &[Layer], mut id: Id) -> Id {
        for &layer in layers.iter().rev() {
            id = self.cross(layer, id);
        }
        id
    }

    /// Where a call on `id` goes.
    pub fn route(&mut self, id: Id) -> Result<Route, Reason> {
        let mut layers = Vec::new();
        let mut end = id;
        loop {
            end = self.settled(end);
            match *self.node(end) {
                Node::Wrapper { layer, target, .. } => {
                    if let Some(reason) = self.fault(layer.0) {
                        return Err(reason);
                    }
                    layers.push(layer);
                    end = target;
                }
                Node::Broken(reason) => return Err(reason),
                _ => return Ok(Route { layers, end }),
            }
        }
    }

    /// Forgets what nobody refers to, given who is referred to from outside the graph.
    pub fn sweep(&mut self, roots: impl Iterator<Item = Id>) {
        self.counts.clear();
        self.counts.resize(self.nodes.len(), 0);
        let Self {
            nodes,
            alive,
            counts,
            ..
        } = self;
        roots.for_each(|id| counts[id] += 1);
        for &id in alive.iter() {
            let node = nodes[id].as_ref().expect("it is alive");
            references(node, |id| counts[id] += 1);
        }
        let mut dead: Vec<Id> = alive
            .iter()
            .copied()
            .filter(|&id| counts[id] == 0)
            .collect();
        while let Some(id) = dead.pop() {
            if let Some(node) = nodes[id].take() {
                references(&node, |id| {
                    counts[id] -= 1;
                    if counts[id] == 0 {
                        dead.push(id);
                    }
                });
            }
        }
        alive.retain(|&id| nodes[id].is_some());
    }
}

/// Calls `see` with each reference that a node has.
fn references(node: &Node, mut see: impl FnMut(Id)) {
    match node {
        Node::Object(object) => object.slot.into_iter().for_each(see),
        Node::Promise(Promise::Gated {
            then: Then::Given(given),
            ..
        }) => see(*given),
        Node::Promise(Promise::Pipelined(to) | Promise::Resolved(to)) => see(*to),
        Node::Wrapper {
            target, resolution, ..
        } => {
            see(*target);
            resolution.iter().copied().for_each(see);
        }
        // What its pipeline was asked for holds the call, not the other way round.
        Node::Call { object, param, .. } => {
            see(*object);
            param.iter().copied().for_each(see);
        }
        Node::Returned { child } => see(*child),
        Node::Promise(Promise::Gated { .. }) | Node::Broken(_) => {}
    }
}
