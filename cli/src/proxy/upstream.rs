//! The way to the service, also while that is down.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{LocalBoxFuture, Shared};
use tokio::time::{Instant, sleep, timeout_at};

use super::address::Address;
use super::stream::Stream;

/// How long it waits after the first attempt that has failed, and after one of many.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The service, as one event loop sees it.
///
/// While it is down one attempt after the other is made for all that wait, at growing distances.
#[derive(Clone)]
pub(super) struct Upstream {
    address: Rc<Address>,
    inner: Rc<RefCell<State>>,
}

#[derive(Default)]
struct State {
    /// While it is down, and somebody waits.
    probing: Option<Probing>,
    /// A connection that was made by who looked whether it is there again, for the first who wants it.
    spare: Option<Stream>,
    /// What the last attempt failed with.
    last_error: Option<String>,
}

/// Is ready when the service is there again.
type Probing = Shared<LocalBoxFuture<'static, ()>>;

impl Upstream {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address: Rc::new(address),
            inner: Rc::default(),
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Connects, within so long. What it fails with is for the client.
    pub(super) async fn connect(&self, within: Duration) -> Result<Stream, String> {
        let start = Instant::now();
        let deadline = start + within;
        loop {
            if let Some(spare) = self.inner.borrow_mut().spare.take() {
                return Ok(spare);
            }
            let tried = match timeout_at(deadline, Stream::connect(&self.address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".into(),
            };
            self.inner.borrow_mut().last_error = Some(tried);
            let probing = self.probing();
            if timeout_at(deadline, probing).await.is_err() {
                let error = self.inner.borrow().last_error.clone();
                let error = error.unwrap_or_default();
                let address = &self.address;
                return Err(format!(
                    "the service at {address} can't be reached: {error} (tried for {within:?})"
                ));
            }
        }
    }

    fn probing(&self) -> Probing {
        let mut state = self.inner.borrow_mut();
        if let Some(probing) = &state.probing
            && probing.peek().is_none()
        {
            return probing.clone();
        }
        let (address, inner) = (self.address.clone(), Rc::downgrade(&self.inner));
        let probe = async move {
            let mut pause = FIRST_PAUSE;
            loop {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                match Stream::connect(&address).await {
                    Ok(stream) => {
                        if let Some(inner) = inner.upgrade() {
                            inner.borrow_mut().spare = Some(stream);
                        }
                        return;
                    }
                    Err(error) => {
                        if let Some(inner) = inner.upgrade() {
                            inner.borrow_mut().last_error = Some(error.to_string());
                        }
                    }
                }
            }
        };
        let probing = probe.boxed_local().shared();
        state.probing = Some(probing.clone());
        probing
    }
}
