//! How many wrappers lie one in the other behind a hook. Whoever calls the outermost goes down them on the stack.

use std::cell::Cell;

use capnp::private::capability::ClientHook;

/// How many there may be, of several membranes: where these meet in one service, a peer can let one capability go
/// round through them for ever.
pub(crate) const MAX_WRAPPERS: u32 = 64;

thread_local! {
    /// A hook that is asked for its address while there is something here leaves how deep it is.
    static DEPTH: Cell<Option<u32>> = const { Cell::new(None) };
}

/// The address of `hook`, and how many wrappers lie one in the other there: of none it is zero.
pub(crate) fn address_and_depth(hook: &dyn ClientHook) -> (usize, u32) {
    let _thread_ends = DEPTH.try_with(|depth| depth.set(Some(0)));
    let address = hook.get_ptr();
    let depth = DEPTH.try_with(Cell::take).ok().flatten();
    (address, depth.unwrap_or_default())
}

/// To be called by a hook that has another in it, when it is asked for its address.
pub(crate) fn tell(depth: impl FnOnce() -> u32) {
    let is_asked = DEPTH.try_with(Cell::take).ok().flatten().is_some();
    if is_asked {
        let told = depth();
        let _thread_ends = DEPTH.try_with(|depth| depth.set(Some(told)));
    }
}
