//! Who decides about what passes through a membrane.

use std::fmt;
use std::rc::Rc;

use capnp::capability::Client;
use capnp::private::capability::ClientHook;

use super::inspect::{IntroducedBy, Mark, Record};
use super::state::Ref;
use super::{Direction, Membrane};
use crate::error::Error;

/// Decides about the calls and the capabilities that pass through a membrane. By default all of them
/// pass: a policy says what it wants otherwise.
///
/// # Contract
///
/// *When.* A call is judged when its request is begun, whether or not it is sent, or when it is delivered.
/// A capability is judged when the message that it is in crosses, or the promise that it was: what gets a
/// wrapper, once for as long as that lives; what goes back to its own side, each time. After a revocation
/// no call is judged any more.
///
/// *Where.* Synchronously, in the middle of a message. No borrow of the membrane's or of `capnp-rpc`'s is
/// held, and no call is judged in a drop; a capability in the results of a call is, when the service lets
/// go of them. A policy may clone, make and drop capabilities, and revoke the membrane. It must not wait;
/// a call that it wants to make is better handed to [`Tasks`](crate::Tasks), as it would overtake the
/// message in whose middle it is.
///
/// *Both ways.* A promise from the other side may resolve to something of the caller's own. What is called
/// before that goes in and comes out again: it is judged twice, inbound and outbound. What is called
/// afterwards does not cross. So a policy should judge calls in both directions alike, or what happens
/// depends on the moment.
///
/// *No circles.* The membrane holds its policy. A policy that holds its membrane, or a wrapper of it, keeps
/// it from ever being complete: [`Call::membrane`] is there in place of that.
///
/// *Fail closed.* What a policy refuses is a capability, or a call, that fails with its error.
///
/// The names are those of C++'s `capnp/membrane.h`.
pub trait Policy: 'static {
    /// A call from outside on something inside.
    fn inbound_call(&self, call: &Call<'_>) -> Verdict {
        let _ = call;
        Verdict::Forward
    }

    /// A call from inside on something outside.
    fn outbound_call(&self, call: &Call<'_>) -> Verdict {
        let _ = call;
        Verdict::Forward
    }

    /// A call that was judged to go on is about to be sent, or delivered: the capabilities in its parameters
    /// have not crossed yet. Whoever is returned is told of its end.
    fn call_begins(&self, call: &Call<'_>) -> Option<Rc<dyn CallWatch>> {
        let _ = call;
        None
    }

    /// Whether a call on a promise waits until that has resolved before it is redirected. It may resolve
    /// to something of the caller's own side, which is not to be redirected. A call that is refused is
    /// refused at once, whatever the promise will be.
    fn should_resolve_before_redirecting(&self) -> bool {
        false
    }

    /// A capability from inside goes out. As usual: it is wrapped.
    fn export_internal(&self, capability: &Crossing<'_>) -> Passage {
        let _ = capability;
        Passage::Usual
    }

    /// A capability from outside comes in. As usual: it is wrapped.
    fn import_external(&self, capability: &Crossing<'_>) -> Passage {
        let _ = capability;
        Passage::Usual
    }

    /// A capability from inside that went out comes back in. As usual: it is the original.
    fn import_internal(&self, capability: &Crossing<'_>) -> Passage {
        let _ = capability;
        Passage::Usual
    }

    /// A capability from outside that came in goes back out. As usual: it is the original.
    fn export_external(&self, capability: &Crossing<'_>) -> Passage {
        let _ = capability;
        Passage::Usual
    }
}

/// Is told of the end of one call, once, by one of the two.
///
/// That may be within a drop, and tables of `capnp-rpc` may be borrowed meanwhile: it must not call, send or
/// drop a capability, block, or panic. Told of an end, it may revoke the membrane.
pub trait CallWatch {
    /// The call has returned, or has failed, also by a revocation.
    fn ended(&self, result: std::result::Result<(), &capnp::Error>);

    /// The call was canceled: nothing refers to it any more, nor does a capability that is pipelined on it. Where
    /// the membrane is not [inspected](super::Builder::inspected), or has no
    /// [`Tasks`](super::Builder::tasks), also that nobody has looked at its answer.
    fn canceled(&self) {}

    /// What calls on a capability that this one introduces find in [`Call::mark`]. Asked for when that
    /// crosses, in the middle of a message, where the membrane is [inspected](super::Builder::inspected).
    fn mark(&self) -> Option<Mark> {
        None
    }

    /// What the call's work runs in, where that is of this process and not itself behind a wrapper; asked
    /// for when it begins.
    fn scope(self: Rc<Self>) -> Option<Rc<dyn Scope>> {
        None
    }
}

/// What work runs in, such as a span that is the current one meanwhile.
pub trait Scope {
    /// Runs `work` once, which does not block: a part of a call's work, from one wait to the next.
    fn enter(&self, work: &mut dyn FnMut());
}

/// What becomes of a call.
#[derive(Clone)]
#[must_use]
pub enum Verdict {
    /// It goes on; what is in its parameters and results crosses.
    Forward,
    /// It goes to this capability, which is taken to be on the caller's side: nothing in its parameters
    /// and results crosses. It may hold the [target](Call::target) and call that; what it passes on
    /// between the two sides is to go through [`copy_into`](super::Membrane::copy_into) and
    /// [`copy_out_of`](super::Membrane::copy_out_of), or it is a hole in the membrane. A revocation does
    /// not reach it, nor what it has of the target.
    Redirect(Client),
    /// It fails with this error.
    Refuse(Error),
}

/// What becomes of a capability that crosses.
#[derive(Clone)]
#[must_use]
pub enum Passage {
    /// It is wrapped; or, where it goes back to the side that it is from, it is the original.
    Usual,
    /// This is handed over in its place, as it is. A revocation does not reach it.
    Instead(Client),
    /// A capability is handed over that answers everything with this error.
    Refuse(Error),
}

/// A call that is about to cross.
pub struct Call<'a> {
    pub(super) interface_id: u64,
    pub(super) method_id: u16,
    pub(super) direction: Direction,
    pub(super) target: &'a dyn Fn() -> Box<dyn ClientHook>,
    pub(super) record: Option<&'a Record>,
    pub(super) membrane: &'a Ref,
}

/// A capability that is about to cross.
pub struct Crossing<'a> {
    pub(super) hook: &'a dyn ClientHook,
    pub(super) membrane: &'a Ref,
}

impl Call<'_> {
    /// The id of the interface, as in its schema.
    pub fn interface_id(&self) -> u64 {
        self.interface_id
    }

    /// The ordinal of the method, as in its schema.
    pub fn method_id(&self) -> u16 {
        self.method_id
    }

    /// Does it come from outside?
    pub fn is_inbound(&self) -> bool {
        self.direction == Direction::Inbound
    }

    /// Whom it is for: the capability itself, on the other side and not wrapped. To hand it to the
    /// caller's side is a hole in the membrane.
    pub fn target(&self) -> Client {
        Client::new((self.target)())
    }

    /// The call in which the target crossed, as [`Wrapped::introduced_by`](super::Wrapped::introduced_by)
    /// has it; `None` also where the membrane is not [inspected](super::Builder::inspected).
    pub fn introduced_by(&self) -> Option<IntroducedBy> {
        self.record?.introduced_by()
    }

    /// What the call in which the target crossed was [marked](CallWatch::mark) with.
    pub fn mark(&self) -> Option<&Mark> {
        self.record?.mark()
    }

    /// The membrane, or its part, that the call crosses: for a redirect target, to copy across, or to
    /// revoke. Who keeps it keeps it from being complete; a policy that does so itself, for ever.
    pub fn membrane(&self) -> Membrane {
        Membrane::of(self.membrane)
    }
}

impl Crossing<'_> {
    /// The capability itself: what would be wrapped, or the original that goes back to its own side.
    pub fn capability(&self) -> Client {
        Client::new(self.hook.add_ref())
    }

    /// The membrane, or its part, that it crosses. See [`Call::membrane`].
    pub fn membrane(&self) -> Membrane {
        Membrane::of(self.membrane)
    }
}

/// Several policies, one after the other. The first that refuses counts, and those after it are not asked;
/// if none does, the first that has anything else to say than that all goes as usual.
pub struct Chain {
    policies: Vec<Box<dyn Policy>>,
}

impl Chain {
    /// No policy yet: all passes.
    #[expect(clippy::new_without_default, reason = "an empty chain is seldom meant")]
    pub fn new() -> Self {
        Self {
            policies: Vec::new(),
        }
    }

    /// Adds one more, to be asked after the others.
    #[must_use]
    pub fn with(mut self, policy: impl Policy) -> Self {
        self.policies.push(Box::new(policy));
        self
    }

    fn judge(&self, ask: impl Fn(&dyn Policy) -> Verdict) -> Verdict {
        let mut first = Verdict::Forward;
        for policy in &self.policies {
            match (ask(&**policy), &first) {
                (refused @ Verdict::Refuse(_), _) => return refused,
                (other @ Verdict::Redirect(_), Verdict::Forward) => first = other,
                _ => {}
            }
        }
        first
    }

    fn pass(&self, ask: impl Fn(&dyn Policy) -> Passage) -> Passage {
        let mut first = Passage::Usual;
        for policy in &self.policies {
            match (ask(&**policy), &first) {
                (refused @ Passage::Refuse(_), _) => return refused,
                (other @ Passage::Instead(_), Passage::Usual) => first = other,
                _ => {}
            }
        }
        first
    }
}

impl Policy for Chain {
    fn inbound_call(&self, call: &Call<'_>) -> Verdict {
        self.judge(|policy| policy.inbound_call(call))
    }

    fn outbound_call(&self, call: &Call<'_>) -> Verdict {
        self.judge(|policy| policy.outbound_call(call))
    }

    fn call_begins(&self, call: &Call<'_>) -> Option<Rc<dyn CallWatch>> {
        let policies = self.policies.iter();
        let watches: Vec<_> = policies.filter_map(|p| p.call_begins(call)).collect();
        match watches.is_empty() {
            true => None,
            false => Some(Rc::new(All(watches))),
        }
    }

    /// If one of them does.
    fn should_resolve_before_redirecting(&self) -> bool {
        let mut policies = self.policies.iter();
        policies.any(|policy| policy.should_resolve_before_redirecting())
    }

    fn export_internal(&self, capability: &Crossing<'_>) -> Passage {
        self.pass(|policy| policy.export_internal(capability))
    }

    fn import_external(&self, capability: &Crossing<'_>) -> Passage {
        self.pass(|policy| policy.import_external(capability))
    }

    fn import_internal(&self, capability: &Crossing<'_>) -> Passage {
        self.pass(|policy| policy.import_internal(capability))
    }

    fn export_external(&self, capability: &Crossing<'_>) -> Passage {
        self.pass(|policy| policy.export_external(capability))
    }
}

struct All(Vec<Rc<dyn CallWatch>>);

impl CallWatch for All {
    fn ended(&self, result: std::result::Result<(), &capnp::Error>) {
        for watch in &self.0 {
            watch.ended(result);
        }
    }

    fn canceled(&self) {
        for watch in &self.0 {
            watch.canceled();
        }
    }

    /// That of the first that has one.
    fn mark(&self) -> Option<Mark> {
        self.0.iter().find_map(|watch| watch.mark())
    }

    /// All of them, one in the other.
    fn scope(self: Rc<Self>) -> Option<Rc<dyn Scope>> {
        let watches = self.0.iter();
        let scopes: Vec<_> = watches.filter_map(|watch| watch.clone().scope()).collect();
        match scopes.is_empty() {
            true => None,
            false => Some(Rc::new(Scopes(scopes))),
        }
    }
}

struct Scopes(Vec<Rc<dyn Scope>>);

impl Scope for Scopes {
    fn enter(&self, work: &mut dyn FnMut()) {
        enter_all(&self.0, work);
    }
}

fn enter_all(scopes: &[Rc<dyn Scope>], work: &mut dyn FnMut()) {
    match scopes.split_first() {
        Some((first, others)) => first.enter(&mut || enter_all(others, work)),
        None => work(),
    }
}

impl<P: Policy + ?Sized> Policy for Rc<P> {
    fn inbound_call(&self, call: &Call<'_>) -> Verdict {
        (**self).inbound_call(call)
    }

    fn outbound_call(&self, call: &Call<'_>) -> Verdict {
        (**self).outbound_call(call)
    }

    fn should_resolve_before_redirecting(&self) -> bool {
        (**self).should_resolve_before_redirecting()
    }

    fn call_begins(&self, call: &Call<'_>) -> Option<Rc<dyn CallWatch>> {
        (**self).call_begins(call)
    }

    fn export_internal(&self, capability: &Crossing<'_>) -> Passage {
        (**self).export_internal(capability)
    }

    fn import_external(&self, capability: &Crossing<'_>) -> Passage {
        (**self).import_external(capability)
    }

    fn import_internal(&self, capability: &Crossing<'_>) -> Passage {
        (**self).import_internal(capability)
    }

    fn export_external(&self, capability: &Crossing<'_>) -> Passage {
        (**self).export_external(capability)
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward => f.write_str("Forward"),
            Self::Redirect(_) => f.debug_tuple("Redirect").finish_non_exhaustive(),
            Self::Refuse(error) => f.debug_tuple("Refuse").field(error).finish(),
        }
    }
}

impl fmt::Debug for Passage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usual => f.write_str("Usual"),
            Self::Instead(_) => f.debug_tuple("Instead").finish_non_exhaustive(),
            Self::Refuse(error) => f.debug_tuple("Refuse").field(error).finish(),
        }
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("interface_id", &format_args!("{:#x}", self.interface_id))
            .field("method_id", &self.method_id)
            .field("is_inbound", &self.is_inbound())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Crossing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crossing").finish_non_exhaustive()
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain")
            .field("policies", &self.policies.len())
            .finish_non_exhaustive()
    }
}
