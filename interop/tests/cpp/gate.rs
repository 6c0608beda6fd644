//! A number that answers when it is told to.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::Error;
use capspan_testkit::legal::forwarded;
use capspan_testkit::legal_capnp::number;
use tokio::sync::oneshot;

/// What holds it up.
pub(crate) struct Gate {
    asked: oneshot::Receiver<()>,
    open: oneshot::Sender<()>,
}

impl Gate {
    /// A number that is asked to settle once, and then asks `number`.
    pub(crate) fn before(number: number::Client) -> (Self, number::Client) {
        let (asked, is_asked) = oneshot::channel();
        let (open, is_open) = oneshot::channel();
        let gated = Gated {
            number,
            steps: RefCell::new(Some((asked, is_open))),
        };
        let gate = Self {
            asked: is_asked,
            open,
        };
        (gate, capnp_rpc::new_client(gated))
    }

    /// It is asked.
    pub(crate) async fn asked(&mut self) {
        (&mut self.asked).await.expect("it is asked");
    }

    /// It goes on, and has done so when the next round trip is over.
    pub(crate) fn open(self) {
        self.open.send(()).expect("it waits");
    }
}

struct Gated {
    number: number::Client,
    steps: RefCell<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>,
}

impl number::Server for Gated {
    async fn forward(
        self: Rc<Self>,
        params: number::ForwardParams,
        mut results: number::ForwardResults,
    ) -> Result<(), Error> {
        let steps = self.steps.take();
        let (asked, is_open) = steps.ok_or_else(|| Error::failed("it was asked before".into()))?;
        // Who made it may have stopped looking.
        let _ = asked.send(());
        is_open
            .await
            .map_err(|_| Error::failed("the gate is gone".into()))?;
        let params = params.get()?;
        let way = params.get_way()?.iter().collect::<Result<_, _>>()?;
        let other = params.has_other().then(|| params.get_other()).transpose()?;
        let asked = forwarded(&self.number, way, params.get_to()?, other, 0).send();
        let number = asked.promise.await?.get()?.get_number()?;
        results.get().set_number(number);
        Ok(())
    }
}
