//! Promises, and what they lead to.
//!
//! `capnp-rpc` follows a promise to its end in a loop, and would go round for ever in a circle. So a
//! `Resolve` is let through when what it names is settled: an object, or another promise of the peer's,
//! of which is remembered who leads to it. Where it leads to something that this side has promised and not
//! kept yet (a promise of its own, a call that has not returned), nobody knows where it will end; then it
//! waits, until that is known. To wait costs a round trip more for calls meanwhile, and nothing else: the
//! peer still takes them. Where the peer has let go of what is on the way, so that nobody will say where it
//! ends, something stands for it that breaks where it leads back (`promised.rs`). A promise that leads back
//! to itself is broken, and so is one that waits for a call which the peer gives up.

use std::collections::{HashMap, HashSet};

use capnp_rpc::rpc_capnp::resolve;

use super::entries::{Exported, Import, Imported, Leads, Mention, Place, Serial};
use super::leads::End;
use super::pointers::{Cap, result};
use super::replies::Reply;
use super::{Cut, Ledger, Verdict};
use crate::guard::breach::Breach;

/// Promises of the peer's that have resolved.
#[derive(Default)]
pub(super) struct Promises {
    /// Those whose `Resolve` waits, by their id.
    pub(super) held: HashMap<u32, Held>,
    /// Those that lead to one that has not, which is named; also those that this side has let go of since.
    pub(super) ends: HashMap<Serial, (u32, Serial)>,
    /// The same the other way round: who leads to one that has not.
    before: HashMap<Serial, Vec<Serial>>,
    /// How many have resolved, or could not, since those were forgotten that nothing leads to.
    since: usize,
}

/// A `Resolve` that waits.
pub(super) struct Held {
    pub(super) to: Cap,
    /// What it waits for.
    at: Place,
}

impl Promises {
    pub(super) fn waiting(&self) -> usize {
        self.held.len()
    }

    /// From now on `serial`, and who leads to it, leads to the promise `end`.
    fn link(&mut self, serial: Serial, end: (u32, Serial)) {
        let mut all = self.before.remove(&serial).unwrap_or_default();
        all.push(serial);
        for serial in &all {
            self.ends.insert(*serial, end);
        }
        self.before.entry(end.1).or_default().append(&mut all);
        self.since += 1;
    }

    /// Forgets all of which `is_named` does not know.
    fn forget(&mut self, is_named: impl Fn(Serial) -> bool) {
        self.since = 0;
        self.ends.retain(|serial, _| is_named(*serial));
        self.before.clear();
        for (serial, end) in &self.ends {
            self.before.entry(end.1).or_default().push(*serial);
        }
    }

    /// `serial` is settled, and who leads to it.
    fn settle(&mut self, serial: Serial) {
        for before in self.before.remove(&serial).unwrap_or_default() {
            self.ends.remove(&before);
        }
    }

    fn held_at(&self, is_it: impl Fn(&Held) -> bool) -> Vec<u32> {
        let mut held: Vec<u32> = self
            .held
            .iter()
            .filter(|(_, held)| is_it(held))
            .map(|(id, _)| *id)
            .collect();
        held.sort_unstable();
        held
    }
}

impl Ledger {
    /// The peer says what a promise of its resolves to.
    pub(super) fn resolve(&mut self, resolve: resolve::Reader<'_>) -> Result<Verdict, Cut> {
        let id = resolve.get_promise_id();
        let to = match resolve.which()? {
            resolve::Cap(descriptor) => {
                let cap = Cap::read(descriptor?, self.limits.pipeline_depth)?;
                self.read_resolution(id, &cap)?;
                Some(cap)
            }
            resolve::Exception(exception) => {
                exception?;
                None
            }
        };
        let Some(import) = self.imports.get_mut(id) else {
            return self.resolve_late(id, to);
        };
        let serial = import.serial;
        match (import.is, to) {
            // One that `capnp-rpc` passed again while its release was on its way: it says only the first
            // time that it is a promise. Calls go on through the peer.
            (Imported::Object, to) => {
                self.turn_away(to.as_slice());
                Ok(Verdict::Withhold)
            }
            (Imported::Waiting | Imported::Resolved, _) => Err(Cut::new(
                Breach::ResolveTwice,
                format!("promise {id} resolves twice"),
            )),
            (Imported::Promise, None) => {
                import.is = Imported::Resolved;
                self.promises.settle(serial);
                Ok(Verdict::Pass)
            }
            (Imported::Promise, Some(to)) => {
                self.take_caps(std::slice::from_ref(&to));
                Ok(self.resolve_to(id, serial, to, true))
            }
        }
    }

    fn read_resolution(&self, id: u32, cap: &Cap) -> Result<(), Cut> {
        match cap {
            Cap::None => Err(Cut::new(
                Breach::Malformed,
                format!("promise {id} resolves to nothing"),
            )),
            // That is for the rules on circles.
            Cap::Sender { id: to, .. } if *to == id => Ok(()),
            _ => self.check_cap(cap),
        }
    }

    /// Of a promise that this side has let go of.
    fn resolve_late(&mut self, id: u32, to: Option<Cap>) -> Result<Verdict, Cut> {
        let Some(left) = self.spare_resolves.checked_sub(1) else {
            return Err(Cut::new(
                Breach::ResolveNotOpen,
                format!("the peer resolves {id}, which is no promise of its own"),
            ));
        };
        self.spare_resolves = left;
        self.turn_away(to.as_slice());
        Ok(Verdict::Withhold)
    }

    /// Decides about a promise. `is_new`: the message is at hand, and may be let through as it is.
    fn resolve_to(&mut self, id: u32, serial: Serial, to: Cap, is_new: bool) -> Verdict {
        let end = self.follow(&self.leads(&to), &Place::Import(id, serial));
        let broken = match end {
            End::Settled => {
                self.promises.settle(serial);
                return self.let_resolve(id, &to, is_new);
            }
            End::Promise(..) if !self.has_room_for_ends() => {
                let max = self.limits.imports;
                let text = format!("{max} promises lead to unresolved ones, which is the limit");
                (Breach::Imports, text)
            }
            End::Promise(end, end_serial) => match self.lengthen(id, end) {
                Ok(()) => {
                    self.promises.link(serial, (end, end_serial));
                    return self.let_resolve(id, &to, is_new);
                }
                Err(broken) => broken,
            },
            End::Waits(_) if self.promises.held.len() >= self.limits.waiting => {
                let max = self.limits.waiting;
                let text =
                    format!("{max} promises wait for what they resolve to, which is the limit");
                (Breach::WaitingPromises, text)
            }
            End::Waits(at) => {
                self.promises.held.insert(id, Held { to, at });
                self.set_import(id, Imported::Waiting);
                return Verdict::Withhold;
            }
            End::Lost => {
                self.resolve_to_lost(id, serial, &to);
                return Verdict::Withhold;
            }
            End::Back => (
                Breach::ResolveCycle,
                "a promise resolves to itself".to_owned(),
            ),
            End::TooLong => self.too_many_hops(),
        };
        self.refuse_resolution(id, serial, &to, broken);
        Verdict::Withhold
    }

    fn let_resolve(&mut self, id: u32, to: &Cap, is_new: bool) -> Verdict {
        self.set_import(id, Imported::Resolved);
        if is_new && !matches!(to, Cap::Vine(_)) {
            return Verdict::Pass;
        }
        self.keep_promise(id, to);
        Verdict::Withhold
    }

    /// Is there room for a promise that leads to one which has not resolved? Those that this side has let go of are
    /// forgotten once in a while, if nothing leads to them.
    fn has_room_for_ends(&mut self) -> bool {
        let max = self.limits.imports;
        if self.promises.ends.len() < max {
            return true;
        }
        // To look at all costs as much as some hundred messages.
        self.promises.since += 1;
        if self.promises.since > max / 64 {
            let exports = self.exports.values().filter_map(|it| match &it.leads {
                Exported::Resolved(leads) => Some(&**leads),
                _ => None,
            });
            let results = self.answers.values().flat_map(|answer| &answer.leads);
            let named = exports.chain(results).filter_map(|leads| match leads {
                Leads::To(Place::Import(_, serial)) => Some(*serial),
                _ => None,
            });
            let alive = self.imports.values().map(|import| import.serial);
            let known: HashSet<Serial> = named.chain(alive).collect();
            self.promises.forget(|serial| known.contains(&serial));
        }
        self.promises.ends.len() < max
    }

    /// The peer has let go of what is on the way from `to`.
    fn resolve_to_lost(&mut self, id: u32, serial: Serial, to: &Cap) {
        match self.of_unknown_end(to) {
            Some(stands) => {
                self.promises.settle(serial);
                self.let_resolve(id, &stands, false);
            }
            None => self.refuse_resolution(id, serial, to, lost()),
        }
    }

    fn refuse_resolution(
        &mut self,
        id: u32,
        serial: Serial,
        to: &Cap,
        (breach, text): (Breach, String),
    ) {
        self.set_import(id, Imported::Resolved);
        self.promises.settle(serial);
        self.break_promise(id, &text);
        self.give_back(to);
        self.refuse(breach, text);
    }

    fn too_many_hops(&self) -> (Breach, String) {
        let max = self.limits.hops;
        let text = format!("a promise resolves over more than {max} others, which is the limit");
        (Breach::ResolutionHops, text)
    }

    /// Notes that `id` leads to `end`, if not too many lead to each other.
    fn lengthen(&mut self, id: u32, end: u32) -> Result<(), (Breach, String)> {
        let above = self.imports.get(id).map_or(0, |import| import.above);
        if above >= self.limits.hops {
            return Err(self.too_many_hops());
        }
        if let Some(end) = self.imports.get_mut(end) {
            end.above = end.above.max(above + 1);
        }
        Ok(())
    }

    fn set_import(&mut self, id: u32, is: Imported) {
        if let Some(import) = self.imports.get_mut(id) {
            import.is = is;
        }
    }

    /// Lets go of what came with a `Resolve` that `capnp-rpc` never sees.
    fn give_back(&mut self, cap: &Cap) {
        if let Cap::Sender { id, .. } | Cap::Vine(id) = cap {
            self.replies.push_back(Reply::Release(*id, 1));
            self.let_go(*id, 1);
        }
    }

    /// This side says what a promise of its own resolves to.
    pub(super) fn resolved(&mut self, resolve: resolve::Reader<'_>) -> capnp::Result<()> {
        let id = resolve.get_promise_id();
        let serial = self.exports.get(id).map(|export| export.serial);
        let mut leads = Leads::End;
        if let resolve::Cap(descriptor) = resolve.which()?
            && let Ok(cap) = Cap::read(descriptor?, u8::MAX)
        {
            self.pass_cap(&cap, serial.map(|serial| Mention::Export(id, serial)));
            leads = self.leads_from_here(&cap);
        }
        if let (Some(export), Some(serial)) = (self.exports.get_mut(id), serial) {
            let was = std::mem::replace(&mut export.leads, Exported::Resolved(Box::new(leads)));
            self.promised -= usize::from(matches!(was, Exported::Promise));
            self.go_on(|held| held.at == Place::Export(id, serial));
        }
        Ok(())
    }

    /// A call of the peer's has returned.
    pub(super) fn answer_came(&mut self, id: u32, serial: Serial) {
        if self.promises.held.is_empty() {
            return;
        }
        let is_it =
            |place: &Place| matches!(place, Place::Answer(a, s, _) if (*a, *s) == (id, serial));
        // What the results name stays when the call is finished.
        if let Some(sent) = self
            .answers
            .get(id)
            .and_then(|answer| answer.results.clone())
        {
            let held = self.promises.held.values_mut();
            for held in held.filter(|held| is_it(&held.at)) {
                // The call that is named may be another one, which leads to this.
                if let Cap::ReceiverAnswer(named, path) = &held.to
                    && *named == id
                    && let Some((_, Cap::Sender { id, .. })) = result(&sent, path)
                {
                    held.to = Cap::Receiver(id);
                }
            }
        }
        self.go_on(|held| is_it(&held.at));
    }

    /// A call of this side's has been answered.
    pub(super) fn question_came(&mut self, id: u32, serial: Serial) {
        self.go_on(|held| matches!(held.at, Place::Question(q, s, _) if (q, s) == (id, serial)));
    }

    /// What waited is looked at again.
    fn go_on(&mut self, is_it: impl Fn(&Held) -> bool) {
        if self.promises.held.is_empty() {
            return;
        }
        for id in self.promises.held_at(is_it) {
            let Some(held) = self.promises.held.remove(&id) else {
                continue;
            };
            if let Some(serial) = self.imports.get(id).map(|import| import.serial) {
                self.resolve_to(id, serial, held.to, false);
            }
        }
    }

    /// A capability of this side's that the peer has let go of.
    pub(super) fn export_gone(&mut self, id: u32, serial: Serial) {
        self.lost(|held| held.at == Place::Export(id, serial) || held.to == Cap::Receiver(id));
    }

    /// A call of the peer's that it has finished.
    pub(super) fn answer_gone(&mut self, id: u32, serial: Serial) {
        self.lost(|held| {
            matches!(held.at, Place::Answer(a, s, _) if (a, s) == (id, serial))
                || matches!(held.to, Cap::ReceiverAnswer(a, _) if a == id)
        });
    }

    /// The ends of promises will never be known.
    fn lost(&mut self, is_it: impl Fn(&Held) -> bool) {
        if self.promises.held.is_empty() {
            return;
        }
        for id in self.promises.held_at(is_it) {
            let Some(held) = self.promises.held.remove(&id) else {
                continue;
            };
            if let Some(serial) = self.imports.get(id).map(|import| import.serial) {
                match self.is_canceled(&held.to) {
                    false => self.resolve_to_lost(id, serial, &held.to),
                    true => self.refuse_resolution(id, serial, &held.to, lost()),
                }
            }
        }
    }

    /// A capability of the peer's that this side has let go of.
    pub(super) fn import_gone(&mut self, id: u32, import: &Import) {
        match import.is {
            Imported::Promise => {
                self.spare_resolves += 1;
                self.promises.settle(import.serial);
            }
            Imported::Waiting => {
                self.promises.settle(import.serial);
                if let Some(held) = self.promises.held.remove(&id) {
                    self.give_back(&held.to);
                }
            }
            Imported::Object | Imported::Resolved => {}
        }
    }
}

/// Why a promise is broken whose end will never be known.
fn lost() -> (Breach, String) {
    let text = "what a promise resolves to was let go of before it was there";
    (Breach::ResolveLost, text.to_owned())
}
