//! Work that goes on in the background of an event, and holds it open.

use std::future::Future;
use std::rc::Rc;

use super::end::SessionEnd;
use super::life::Life;
use super::limits::{Active, Activity};
use crate::error::{Error, Result};
use crate::trace::Outcome;

/// How much of it an event may have at once, unless its callee says otherwise.
pub(crate) const MAX_BACKGROUND_WORK: usize = 1024;

impl Life {
    /// Lets the event go on until `work` is done, but drops that when the event is over before.
    pub(crate) fn wait_until(
        self: &Rc<Self>,
        work: impl Future<Output = capnp::Result<()>> + 'static,
    ) -> Result<()> {
        if let Some(error) = self.over() {
            return Err(error);
        }
        let mut working = Working::begin(self)?;
        self.tasks.spawn(async move {
            let result = working.life.unless_over(work).await;
            working.is_done = true;
            if let Err(error) = result {
                // Where it is over, nothing.
                working.life.will_fail(&error.into());
            }
        });
        Ok(())
    }
}

/// That some work goes on.
struct Working {
    life: Rc<Life>,
    is_done: bool,
    _active: Option<Active>,
}

impl Working {
    fn begin(life: &Rc<Life>) -> Result<Self> {
        let (works, max) = (&life.works, life.max_works);
        if works.get() >= max {
            return Err(Error::overloaded(format!(
                "{max} pieces of background work are under way in this event; the limit is {max}"
            )));
        }
        works.set(works.get() + 1);
        Ok(Self {
            life: life.clone(),
            is_done: false,
            _active: life.activity().map(Activity::begin),
        })
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if !self.is_done {
            let reason = "the event loop is being shut down";
            self.life
                .will_end(SessionEnd::new(Outcome::Canceled, Some(reason)));
        }
        let Life {
            works, completed, ..
        } = &*self.life;
        works.set(works.get() - 1);
        // It may have been the last that the end waited for.
        if works.get() == 0 && completed.take().is_some() {
            self.life.conclude(None);
        }
    }
}
