//! How many wrappers lie one in the other behind a hook. Whoever calls the outermost goes down them on the stack.

use std::cell::Cell;

use capnp::private::capability::ClientHook;

/// How many there may be, of several membranes: where these meet in one service, a peer can let one capability go
/// round through them for ever.
pub(crate) const MAX_WRAPPERS: u32 = 64;

#[derive(Clone, Copy, Default)]
enum Question {
    #[default]
    None,
    Asked,
    Told(u32),
}

thread_local! {
    /// A hook of ours that is asked for its address while this is a question leaves the answer.
    static QUESTION: Cell<Question> = const { Cell::new(Question::None) };
}

/// The address of `hook`, and how many wrappers lie one in the other there, if it tells. Hooks of `capnp-rpc` don't:
/// there are none.
///
/// Not to be asked of one of its promises while that resolves.
pub(crate) fn address_and_depth(hook: &dyn ClientHook) -> (usize, Option<u32>) {
    let _thread_ends = QUESTION.try_with(|question| question.set(Question::Asked));
    let address = hook.get_ptr();
    let depth = match QUESTION.try_with(Cell::take) {
        Ok(Question::Told(depth)) => Some(depth),
        _ => None,
    };
    (address, depth)
}

/// How many wrappers lie one in the other there.
pub(crate) fn depth_of(hook: &dyn ClientHook) -> u32 {
    address_and_depth(hook).1.unwrap_or_default()
}

/// To be called by a hook that has another in it, when it is asked for its address.
pub(crate) fn tell(depth: impl FnOnce() -> u32) {
    if let Ok(Question::Asked) = QUESTION.try_with(Cell::take) {
        let told = Question::Told(depth());
        let _thread_ends = QUESTION.try_with(|question| question.set(told));
    }
}
