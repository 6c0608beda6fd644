//! Real callers and callees, and the connections between them.

use std::rc::{Rc, Weak};

use capspan::Tasks;
use capspan::guard::Connection;
use capspan::pipeline::{Callee, Pipeline};
use capspan::trace::{ManualClock, SpanBuilder, SpanKind, SpanLimits, Tracer};
use futures::FutureExt;
use futures::executor::LocalPool;
use futures::future::RemoteHandle;
use futures::task::LocalSpawnExt;

use super::ops::{Layout, Route};
use super::orders::How;
use super::seen::{Ids, Seen};
use super::spans::{ATTRIBUTES, EVENTS, NAME_BYTES};
use super::stage::{Script, Stage};
use super::wire::Wire;

/// A vat's part in what is told.
pub(super) struct Vat {
    pub(super) tracer: Tracer,
    pub(super) ids: Ids,
    /// In which its events are started.
    pub(super) request: SpanBuilder,
    tasks: Tasks,
}

/// A way on which one vat starts events on another.
pub(super) struct Way {
    pub(super) from: usize,
    pub(super) pipeline: Pipeline,
    service: Weak<()>,
    callee: Callee<Script>,
    callers_tasks: Tasks,
    connection: Option<Connected>,
}

struct Connected {
    wire: Wire,
    callers_driver: RemoteHandle<()>,
    callees_driver: RemoteHandle<()>,
}

/// The vats of a layout. Those of one process have one driver.
pub(super) fn vats(
    layout: &Layout,
    seen: &Seen,
    clock: &ManualClock,
    pool: &LocalPool,
) -> Vec<Vat> {
    let ids = Ids::default();
    let is_one_process = layout.routes.iter().any(|route| !route.is_connected);
    let tasks = || {
        let (tasks, driver) = Tasks::new();
        spawn(pool, driver);
        tasks
    };
    let shared = tasks();
    let vats = (0..layout.vats).map(|vat| {
        let ids = ids.apart();
        let limits = SpanLimits::default()
            .max_name_bytes(NAME_BYTES)
            .max_attributes(ATTRIBUTES)
            .max_events(EVENTS);
        let tracer = Tracer::new(seen.clone())
            .with_clock(clock.clone())
            .with_ids(ids.clone())
            .with_limits(limits)
            .with_service(&vat.to_string());
        let request = tracer.root().start("request", SpanKind::Internal);
        Vat {
            tracer,
            ids,
            request,
            tasks: match is_one_process {
                true => shared.clone(),
                false => tasks(),
            },
        }
    });
    vats.collect()
}

fn spawn(pool: &LocalPool, future: impl Future<Output = ()> + 'static) {
    let spawned = pool.spawner().spawn_local(future);
    spawned.expect("the pool is there");
}

fn spawn_with_handle(
    pool: &LocalPool,
    future: impl Future<Output = ()> + 'static,
) -> RemoteHandle<()> {
    let spawned = pool.spawner().spawn_local_with_handle(future);
    spawned.expect("the pool is there")
}

impl Way {
    pub(super) fn new(route: &Route, vats: &[Vat], stage: &Stage, pool: &LocalPool) -> Self {
        let (from, to) = (&vats[usize::from(route.from)], &vats[usize::from(route.to)]);
        let alive = Rc::new(());
        let service = Rc::downgrade(&alive);
        let script = Script {
            stage: stage.clone(),
            vat: route.to,
            _alive: alive,
        };
        let mut callee = Callee::new(script, &to.tasks).propagation(route.joins_trace);
        if route.is_observed {
            callee = callee.tracer(to.tracer.clone());
        }
        let mut way = Self {
            from: route.from.into(),
            pipeline: Pipeline::new(callee.pipeline(), &from.tasks),
            service,
            callee,
            callers_tasks: from.tasks.clone(),
            connection: None,
        };
        if route.is_connected {
            way.connect(pool);
        }
        way
    }

    /// Over a new connection from now on.
    pub(super) fn connect(&mut self, pool: &LocalPool) {
        let (wire, client, server) = Wire::new();
        let (_, driver) =
            Connection::serve(server.0, server.1, |ending| self.callee.bootstrap(ending));
        let callees_driver = spawn_with_handle(pool, driver.map(drop));
        let (connection, driver) = Connection::connect(client.0, client.1);
        let callers_driver = spawn_with_handle(pool, driver.map(drop));
        self.pipeline = Pipeline::over(&connection, &self.callers_tasks);
        self.connection = Some(Connected {
            wire,
            callers_driver,
            callees_driver,
        });
    }

    /// Cuts the connection. Where it is cut after some pieces, [`cut_now`](Self::cut_now) is to follow.
    pub(super) fn cut(&mut self, how: How) {
        let Some(connected) = &mut self.connection else {
            return;
        };
        match how {
            How::Wire(pieces) => connected.wire.cut_after(pieces),
            How::CallersDriver => drop(std::mem::replace(&mut connected.callers_driver, nothing())),
            How::CalleesDriver => drop(std::mem::replace(&mut connected.callees_driver, nothing())),
        }
    }

    pub(super) fn cut_now(&mut self) {
        if let Some(connected) = &self.connection {
            connected.wire.cut();
        }
    }

    /// Is the service gone with all that served it?
    pub(super) fn let_go(self) -> Weak<()> {
        self.service.clone()
    }
}

fn nothing() -> RemoteHandle<()> {
    let (future, handle) = async {}.remote_handle();
    drop(future);
    handle
}
