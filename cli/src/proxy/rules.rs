//! Which interfaces and methods may be called.

/// What is allowed, and what is denied; by default all is allowed.
#[derive(Clone, Debug, Default)]
pub struct Rules {}

impl Rules {
    /// Why a call is refused, if it is.
    pub fn refuses(&self, interface_id: u64, method_id: u16) -> Option<String> {
        let _ = (interface_id, method_id);
        None
    }
}
