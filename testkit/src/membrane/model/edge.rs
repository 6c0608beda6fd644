//! What is between two vats for real: a membrane, or a connection.

use capnp::capability::{Client, FromClientHook};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capspan::Tasks;
use capspan::membrane::{Completion, Membrane, WeakMembrane};
use futures::FutureExt;
use futures::executor::LocalPool;
use futures::task::LocalSpawnExt;

use super::ops::Kind;
use crate::membrane::{Link, World};
use crate::probe_capnp::probe;

pub(super) struct Edge {
    inside: u8,
    outside: u8,
    kind: Kind,
    real: Real,
}

enum Real {
    Membrane {
        handle: Option<Membrane>,
        weak: WeakMembrane,
        completion: Completion,
    },
    /// `door` is an object at the server's end by which capabilities are passed; `far` is what the client
    /// has of it.
    Connection {
        link: Link,
        door: probe::Client,
        far: probe::Client,
    },
}

/// By what a capability is passed.
pub(super) enum Passage<'a> {
    /// By the membrane's handle; is it exported?
    Handle(&'a Membrane, bool),
    /// By an object that keeps it, and what the other side has of that object.
    Door(probe::Client, probe::Client),
}

impl Edge {
    pub(super) fn new(
        (inside, outside): (u8, u8),
        kind: Kind,
        tasks: &Tasks,
        pool: &LocalPool,
    ) -> Self {
        let real = match kind {
            Kind::Plain => Real::membrane(Membrane::new()),
            Kind::Driven => Real::membrane(Membrane::builder().tasks(tasks).build()),
            Kind::Connection => Real::connection(pool),
        };
        Self {
            inside,
            outside,
            kind,
            real,
        }
    }

    /// Another one between the same.
    pub(super) fn renewed(&self, tasks: &Tasks, pool: &LocalPool) -> Self {
        Self::new((self.inside, self.outside), self.kind, tasks, pool)
    }

    pub(super) fn beyond(&self, vat: usize) -> usize {
        match vat == usize::from(self.inside) {
            true => self.outside.into(),
            false => self.inside.into(),
        }
    }

    pub(super) fn passage(&self, from: usize) -> Passage<'_> {
        let from_inside = from == usize::from(self.inside);
        match &self.real {
            Real::Membrane { handle, .. } => {
                let handle = handle.as_ref().expect("the model knows it is there");
                Passage::Handle(handle, from_inside)
            }
            Real::Connection { door, far, .. } => match from_inside {
                true => Passage::Door(door.clone(), far.clone()),
                false => Passage::Door(far.clone(), door.clone()),
            },
        }
    }

    /// Is a membrane complete? `None`: it says so in one way and not in the other.
    pub(super) fn is_complete(&self) -> Option<bool> {
        let Real::Membrane {
            weak, completion, ..
        } = &self.real
        else {
            return None;
        };
        let complete = completion.is_complete();
        (complete == weak.is_unreferenced()).then_some(complete)
    }

    /// Takes everything back. Did it?
    pub(super) fn revoke(&self, reason: &str) -> bool {
        match &self.real {
            Real::Membrane { weak, .. } => weak.revoke(capspan::Error::revoked(reason)),
            Real::Connection { link, .. } => {
                link.cut();
                true
            }
        }
    }

    pub(super) fn leave(&mut self) {
        if let Real::Membrane { handle, .. } = &mut self.real {
            *handle = None;
        }
    }
}

impl Real {
    fn membrane(membrane: Membrane) -> Self {
        Self::Membrane {
            weak: membrane.downgrade(),
            completion: membrane.completion(),
            handle: Some(membrane),
        }
    }

    fn connection(pool: &LocalPool) -> Self {
        let (link, client, server) = Link::new();
        let door = World::new().probe("door");
        let bootstrap = Client::new(door.clone().into_client_hook());
        let server = server.system(Side::Server, Some(bootstrap));
        let mut client = client.system(Side::Client, None);
        let far = client.bootstrap(Side::Server);
        for system in [server, client] {
            let runs = system.map(|_how_it_ends| ());
            let spawned = pool.spawner().spawn_local(runs);
            spawned.expect("the pool is there");
        }
        Self::Connection { link, door, far }
    }
}
