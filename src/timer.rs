//! Waiting is passed in, as time is: what has a limit of time holds a [`Timer`].

use std::rc::Rc;
use std::time::Instant;

use futures::future::LocalBoxFuture;

/// What waits until a moment has come.
///
/// For `tokio` there is `TokioTimer`, by the feature of that name; for others it is two lines:
///
/// ```
/// # use std::time::Instant;
/// # use futures::FutureExt;
/// # use futures::future::LocalBoxFuture;
/// struct Tokio;
///
/// impl capspan::Timer for Tokio {
///     fn now(&self) -> Instant {
///         tokio::time::Instant::now().into_std()
///     }
///
///     fn sleep_until(&self, deadline: Instant) -> LocalBoxFuture<'static, ()> {
///         tokio::time::sleep_until(deadline.into()).boxed_local()
///     }
/// }
/// ```
///
/// # Contract
///
/// It must not run backwards, nor call into spans or capabilities. It is asked to wait within a task of a
/// [`Driver`](crate::Driver)'s, so in whatever polls that. What it gives is ready when the moment has
/// come, which may have been before it was asked; dropped, it waits no more.
pub trait Timer: 'static {
    /// The moment that it is.
    fn now(&self) -> Instant;

    /// Waits until `deadline`.
    fn sleep_until(&self, deadline: Instant) -> LocalBoxFuture<'static, ()>;
}

impl<T: Timer + ?Sized> Timer for Rc<T> {
    fn now(&self) -> Instant {
        (**self).now()
    }

    fn sleep_until(&self, deadline: Instant) -> LocalBoxFuture<'static, ()> {
        (**self).sleep_until(deadline)
    }
}

/// The timer of the `tokio` runtime that polls the [`Driver`](crate::Driver), which needs its time enabled.
#[cfg(feature = "tokio")]
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioTimer;

#[cfg(feature = "tokio")]
impl Timer for TokioTimer {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, deadline: Instant) -> LocalBoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(deadline.into()))
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn tokios_waits_as_long_as_it_is_told() {
        let timer = Rc::new(TokioTimer);
        let start = timer.now();
        timer.sleep_until(start + Duration::from_secs(60)).await;
        assert_eq!(timer.now() - start, Duration::from_secs(60));
        timer.sleep_until(start).await;
        assert_eq!(timer.now() - start, Duration::from_secs(60));
    }
}
