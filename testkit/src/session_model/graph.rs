//! Who refers to whom: objects, and what of them has crossed the border of an event.
//!
//! Everything is counted as Rust counts it: what refers to itself in a circle stays.

/// A capability.
pub(super) type Id = usize;

/// Which way calls on a capability that has crossed go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the caller of the event to its callee.
    In,
    /// From the callee to the caller.
    Out,
}

impl Way {
    pub(super) fn back(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }
}

/// A border that is crossed, by the number of its event, and which way.
pub(super) type Layer = (usize, Way);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    To(Id),
    /// The service has not answered yet.
    Pending,
    /// The event is over.
    Severed,
}

#[derive(Clone, Copy, Debug)]
enum Node {
    Object {
        vat: u8,
        number: u32,
        kept: Option<Id>,
    },
    Crossed {
        layer: Layer,
        target: Target,
    },
}

/// What is left of an event.
#[derive(Clone, Copy, Debug, Default)]
struct Border {
    refs: usize,
    /// Capabilities that have crossed, by their way.
    held: [usize; 2],
    is_over: bool,
}

/// The way from whoever holds a capability to the object behind it.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) layers: Vec<Layer>,
    pub(super) object: Id,
}

#[derive(Clone, Default)]
pub(super) struct Graph {
    /// With how many refer to it.
    nodes: Vec<Option<(usize, Node)>>,
    borders: Vec<Border>,
    /// Events to which nothing refers any more, which has not been looked at yet.
    idle: Vec<usize>,
    live: [usize; 3],
}

impl Graph {
    /// How many objects of a vat are alive.
    pub(super) fn live(&self, vat: u8) -> usize {
        self.live[usize::from(vat)]
    }

    /// The numbers of the objects that keep something.
    pub(super) fn keepers(&self) -> Vec<(Id, u32, u8)> {
        let nodes = self.nodes.iter().enumerate();
        let keepers = nodes.filter_map(|(id, node)| match node {
            Some((
                _,
                Node::Object {
                    vat,
                    number,
                    kept: Some(_),
                },
            )) => Some((id, *number, *vat)),
            _ => None,
        });
        keepers.collect()
    }

    /// A new event: its number.
    pub(super) fn border(&mut self) -> usize {
        self.borders.push(Border::default());
        self.borders.len() - 1
    }

    /// Somebody refers to an event.
    pub(super) fn enter(&mut self, event: usize) {
        self.borders[event].refs += 1;
    }

    /// Somebody does no longer.
    pub(super) fn leave(&mut self, event: usize) {
        let border = &mut self.borders[event];
        border.refs -= 1;
        if border.refs == 0 {
            self.idle.push(event);
        }
    }

    pub(super) fn refs(&self, event: usize) -> usize {
        self.borders[event].refs
    }

    /// How many capabilities that have crossed this way are held.
    pub(super) fn held(&self, (event, way): Layer) -> usize {
        self.borders[event].held[way as usize]
    }

    pub(super) fn take_idle(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.idle)
    }

    fn add(&mut self, node: Node) -> Id {
        if let Node::Crossed { layer, .. } = node {
            self.enter(layer.0);
            self.borders[layer.0].held[layer.1 as usize] += 1;
        }
        self.nodes.push(Some((1, node)));
        self.nodes.len() - 1
    }

    fn node(&self, id: Id) -> &Node {
        match &self.nodes[id] {
            Some((_, node)) => node,
            None => unreachable!("{id} is held, and gone"),
        }
    }

    fn node_mut(&mut self, id: Id) -> &mut Node {
        match &mut self.nodes[id] {
            Some((_, node)) => node,
            None => unreachable!("{id} is held, and gone"),
        }
    }

    /// A new object, which is held.
    pub(super) fn object(&mut self, vat: u8, number: u32) -> Id {
        self.live[usize::from(vat)] += 1;
        self.add(Node::Object {
            vat,
            number,
            kept: None,
        })
    }

    /// What an event's service is going to give, which is held.
    pub(super) fn top_level(&mut self, event: usize, target: Target) -> Id {
        self.add(Node::Crossed {
            layer: (event, Way::In),
            target,
        })
    }

    /// The service has given it. Is it still held?
    pub(super) fn settle(&mut self, event: usize, given: Id) -> bool {
        let mut nodes = self.nodes.iter_mut().flatten();
        let pending = nodes.find_map(|(_, node)| match node {
            Node::Crossed { layer, target } if layer.0 == event && *target == Target::Pending => {
                Some(target)
            }
            _ => None,
        });
        if let Some(target) = pending {
            *target = Target::To(given);
            return true;
        }
        false
    }

    pub(super) fn hold(&mut self, id: Id) -> Id {
        match &mut self.nodes[id] {
            Some((refs, _)) => *refs += 1,
            None => unreachable!("{id} is held, and gone"),
        }
        id
    }

    pub(super) fn let_go(&mut self, id: Id) {
        let mut left = vec![id];
        while let Some(id) = left.pop() {
            let Some((refs, node)) = &mut self.nodes[id] else {
                unreachable!("{id} is held, and gone");
            };
            *refs -= 1;
            if *refs > 0 {
                continue;
            }
            let node = *node;
            self.nodes[id] = None;
            match node {
                Node::Object { vat, kept, .. } => {
                    self.live[usize::from(vat)] -= 1;
                    left.extend(kept);
                }
                Node::Crossed { layer, target } => {
                    if let Target::To(target) = target {
                        left.push(target);
                    }
                    self.borders[layer.0].held[layer.1 as usize] -= 1;
                    self.leave(layer.0);
                }
            }
        }
    }

    /// What becomes of a capability as it crosses: held.
    pub(super) fn cross(&mut self, layer: Layer, cap: Id) -> Id {
        if let Node::Crossed {
            layer: back,
            target: Target::To(target),
        } = *self.node(cap)
            && back == (layer.0, layer.1.back())
        {
            return self.hold(target);
        }
        let known = self.nodes.iter().position(|node| {
            matches!(node, Some((_, Node::Crossed { layer: its, target: Target::To(target) }))
                if *its == layer && *target == cap)
        });
        if let Some(known) = known {
            return self.hold(known);
        }
        self.hold(cap);
        self.add(Node::Crossed {
            layer,
            target: Target::To(cap),
        })
    }

    /// The same through several borders, the first one first; what is given is let go.
    pub(super) fn cross_all(&mut self, layers: impl Iterator<Item = Layer>, cap: Id) -> Id {
        layers.fold(cap, |cap, layer| {
            let crossed = self.cross(layer, cap);
            self.let_go(cap);
            crossed
        })
    }

    /// The way to the object; `None`: there is none, or none yet.
    pub(super) fn path(&self, mut id: Id) -> Option<Path> {
        let mut layers = Vec::new();
        loop {
            match *self.node(id) {
                Node::Object { .. } => return Some(Path { layers, object: id }),
                Node::Crossed { layer, target } => {
                    let Target::To(target) = target else {
                        return None;
                    };
                    layers.push(layer);
                    id = target;
                }
            }
        }
    }

    /// The borders on the way to the object, up to the one that leads nowhere.
    pub(super) fn way(&self, mut id: Id) -> Vec<Layer> {
        let mut layers = Vec::new();
        while let Node::Crossed { layer, target } = *self.node(id) {
            layers.push(layer);
            let Target::To(target) = target else { break };
            id = target;
        }
        layers
    }

    /// Which event's service has to answer first.
    pub(super) fn pending(&self, id: Id) -> Option<usize> {
        match *self.node(id) {
            Node::Crossed {
                layer,
                target: Target::Pending,
            } => Some(layer.0),
            _ => None,
        }
    }

    /// Whose border a capability has crossed last, if any.
    pub(super) fn event_of(&self, id: Id) -> Option<usize> {
        match *self.node(id) {
            Node::Crossed { layer, .. } => Some(layer.0),
            Node::Object { .. } => None,
        }
    }

    /// Where an object is, which, and what it keeps.
    pub(super) fn of_object(&self, id: Id) -> (u8, u32, Option<Id>) {
        match *self.node(id) {
            Node::Object { vat, number, kept } => (vat, number, kept),
            Node::Crossed { .. } => unreachable!("a path ends at an object"),
        }
    }

    /// An object keeps a capability, which it takes over, in place of what it kept.
    pub(super) fn keep(&mut self, object: Id, cap: Option<Id>) {
        let Node::Object { kept, .. } = self.node_mut(object) else {
            unreachable!("a path ends at an object");
        };
        let old = std::mem::replace(kept, cap);
        if let Some(old) = old {
            self.let_go(old);
        }
    }

    pub(super) fn is_over(&self, event: usize) -> bool {
        self.borders[event].is_over
    }

    /// An event is over: what crossed its border leads nowhere.
    pub(super) fn sever(&mut self, event: usize) {
        self.borders[event].is_over = true;
        let mut inside = Vec::new();
        for (_, node) in self.nodes.iter_mut().flatten() {
            if let Node::Crossed { layer, target } = node
                && layer.0 == event
                && let Target::To(target) = std::mem::replace(target, Target::Severed)
            {
                inside.push(target);
            }
        }
        for target in inside {
            self.let_go(target);
        }
    }
}
