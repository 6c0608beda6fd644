//! Real callers and callees, and the connections between them.

use std::future::ready;
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
use super::timer::ManualTimer;
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
    route: Route,
    /// Each callee's, the last one's last.
    services: Vec<Weak<()>>,
    callee: Callee<Script>,
    is_drained: bool,
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

/// The callee at the end of a way, and whether its service is alive.
fn callee(
    route: &Route,
    vats: &[Vat],
    stage: &Stage,
    timer: &ManualTimer,
) -> (Callee<Script>, Weak<()>) {
    let to = &vats[usize::from(route.to)];
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
    if let Some(limits) = timer.limits(route.limits) {
        callee = callee.time_limits(limits);
    }
    (callee, service)
}

impl Way {
    pub(super) fn new(
        route: &Route,
        vats: &[Vat],
        stage: &Stage,
        timer: &ManualTimer,
        pool: &LocalPool,
    ) -> Self {
        let from = &vats[usize::from(route.from)];
        let (callee, service) = callee(route, vats, stage, timer);
        let mut way = Self {
            from: route.from.into(),
            pipeline: Pipeline::new(callee.pipeline(), &from.tasks),
            route: *route,
            services: vec![service],
            callee,
            is_drained: false,
            callers_tasks: from.tasks.clone(),
            connection: None,
        };
        if route.is_connected {
            way.connect(pool);
        }
        way
    }

    /// Another callee in place of one that was drained, and another connection, where there was one.
    pub(super) fn renew(
        &mut self,
        vats: &[Vat],
        stage: &Stage,
        timer: &ManualTimer,
        pool: &LocalPool,
    ) {
        if std::mem::take(&mut self.is_drained) {
            let (callee, service) = callee(&self.route, vats, stage, timer);
            self.pipeline = Pipeline::new(callee.pipeline(), &self.callers_tasks);
            self.services.push(service);
            self.callee = callee;
        }
        if self.route.is_connected {
            self.connect(pool);
        }
    }

    /// Its callee takes no more events, and cuts those that it has; gives how many.
    pub(super) fn drain(&mut self) -> usize {
        self.is_drained = true;
        let drained = self.callee.drain(ready(())).now_or_never();
        drained.expect("nothing is waited for").cut
    }

    /// Over a new connection from now on.
    fn connect(&mut self, pool: &LocalPool) {
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

    /// Are the services gone with all that served them?
    pub(super) fn let_go(self) -> Vec<Weak<()>> {
        self.services
    }
}

fn nothing() -> RemoteHandle<()> {
    let (future, handle) = async {}.remote_handle();
    drop(future);
    handle
}
