//! What is noted of a call, for who wants to know.

use std::rc::Rc;
use std::task::{Context, Poll};

use crate::membrane::client::Node;
use crate::membrane::inspect::{Introducing, Origin};
use crate::membrane::policy::{CallWatch, Scope};
use crate::membrane::state::State;

/// Of most calls nothing is noted.
pub(in crate::membrane) struct Noted {
    /// Whom the policy wants to be told of its end.
    pub(in crate::membrane) watch: Option<Box<dyn CallWatch>>,
    /// Where the membrane is inspected: what introduces the capabilities in its messages.
    pub(in crate::membrane) introduces: Option<Origin>,
}

impl Noted {
    /// The call itself, as what introduces capabilities in its results, or its parameters.
    pub(super) fn origin(&self, in_results: bool) -> Option<Origin> {
        let mut origin = self.introduces.clone()?;
        origin.by.in_results = in_results;
        Some(origin)
    }

    pub(super) fn ended(self, result: Result<(), &capnp::Error>) {
        if let Some(watch) = self.watch {
            watch.ended(result);
        }
    }
}

/// While it lives, what crosses is introduced by the parameters of a call.
pub(super) fn introducing_params<'a>(
    noted: Option<&Noted>,
    membrane: &'a State,
) -> Option<Introducing<'a>> {
    let inspection = membrane.inspection()?;
    Some(inspection.introducing(noted?.origin(false)?))
}

/// Begins a call of `method` on `target`: tells of it, and lets the capabilities in its parameters cross.
/// Fails where limits refuse it, or where the membrane is revoked: a policy may do that now.
pub(super) fn begin(
    target: &Node,
    method: (u64, u16),
    cross: impl FnOnce() -> capnp::Result<()>,
) -> capnp::Result<Option<Box<Noted>>> {
    let membrane = target.membrane();
    membrane.check_revoked()?;
    membrane.admit_call()?;
    let noted = target.call_begins(method);
    let begun = membrane.check_revoked().and_then(|()| {
        let _introducing = introducing_params(noted.as_deref(), membrane);
        cross()?;
        membrane.check_revoked()
    });
    match begun {
        Ok(()) => Ok(noted),
        Err(error) => {
            if let Some(noted) = noted {
                noted.ended(Err(&error));
            }
            Err(error)
        }
    }
}

/// What the work of a call on `target` runs in, where it runs on this side.
pub(super) fn scope(noted: Option<&Noted>, target: &Node) -> Option<Rc<dyn Scope>> {
    match noted.and_then(|noted| noted.watch.as_ref()) {
        Some(watch) => watch.scope(),
        None => target.membrane().scope(target.direction()),
    }
}

/// Lets work go on in its scope.
#[inline]
pub(super) fn within<T>(
    scope: Option<&Rc<dyn Scope>>,
    cx: &mut Context<'_>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    let Some(scope) = scope else { return poll(cx) };
    let mut polled = None;
    scope.enter(&mut || {
        if polled.is_none() {
            polled = Some(poll(cx));
        }
    });
    // A scope that does not let it go on holds it up, and is asked again.
    polled.unwrap_or_else(|| {
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}
