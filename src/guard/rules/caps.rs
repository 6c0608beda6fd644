//! Capabilities of either side, and how many references the other one has to them.

use capnp::struct_list;
use capnp_rpc::rpc_capnp::{cap_descriptor, message, resolve, return_};

use super::entries::{Export, Exported, Import, Imported, Mention, On, Passed};
use super::pointers::{Cap, Caps};
use super::replies::Reply;
use super::{Counts, Cut, Ledger, Verdict};
use crate::guard::breach::Breach;

/// A capability table as it came.
pub(super) type Descriptors<'a> = struct_list::Reader<'a, cap_descriptor::Owned>;

/// References to one capability. More are a fault: `capnp-rpc` counts in 32 bits.
const MAX_REFERENCES: u32 = 1 << 30;

/// Capabilities that are let go of one by one, of a table that is too long. A longer one ends the connection.
const MAX_TURNED_AWAY: u32 = 16_384;

/// From so many on, those are looked for and forgotten who stood for a call and are gone.
const MANY: usize = 64;

impl Ledger {
    /// Reads the capabilities that came with a message.
    pub(super) fn read_caps(&self, table: Descriptors<'_>) -> Result<Caps, Cut> {
        let mut caps = Caps::with_capacity(table.len() as usize);
        for at in 0..table.len() {
            let cap = Cap::read(table.get(at), self.limits.pipeline_depth)?;
            self.check_cap(&cap)?;
            caps.push(cap);
        }
        Ok(caps)
    }

    /// A table that is longer than any may be can't even be turned away.
    pub(super) fn check_table(&self, table: Descriptors<'_>) -> Result<(), Cut> {
        self.check_count(table.len())
    }

    /// The same of so many.
    pub(super) fn check_count(&self, count: u32) -> Result<(), Cut> {
        let max = self.limits.capabilities;
        if count <= MAX_TURNED_AWAY.max(max) {
            return Ok(());
        }
        Err(Cut::new(
            Breach::CapabilitiesInMessage,
            format!("a message brings {count} capabilities, more than {max}"),
        ))
    }

    /// Why so many capabilities are not taken, if they aren't.
    pub(super) fn too_many(&self, caps: &[Cap]) -> Option<(Breach, String)> {
        let (count, max) = (caps.len(), self.limits.capabilities);
        if count > max as usize {
            let text = format!("{count} capabilities in a message; the limit is {max}");
            return Some((Breach::CapabilitiesInMessage, text));
        }
        let max = self.limits.imports;
        // Counted one by one only near the limit.
        if self.imports.len() + count <= max {
            return None;
        }
        let new = |cap: &&Cap| match cap {
            Cap::Sender { id, .. } | Cap::Vine(id) => self.imports.get(*id).is_none(),
            _ => false,
        };
        let new = caps.iter().filter(new).count();
        (self.imports.len() + new > max).then(|| {
            let text =
                format!("this side holds {max} capabilities of the peer's, which is the limit");
            (Breach::Imports, text)
        })
    }

    pub(super) fn check_cap(&self, cap: &Cap) -> Result<(), Cut> {
        match cap {
            Cap::Receiver(id) if self.exports.get(*id).is_none() => Err(Cut::new(
                Breach::UnknownExport,
                format!("a message names capability {id}, which the peer has not got"),
            )),
            Cap::Sender { id, is_promise } => self.check_import(*id, *is_promise),
            _ => Ok(()),
        }
    }

    fn check_import(&self, id: u32, is_promise: bool) -> Result<(), Cut> {
        let Some(import) = self.imports.get(id) else {
            return Ok(());
        };
        let (breach, text) = match import.is {
            _ if import.references >= MAX_REFERENCES => (Breach::Imports, "is passed too often"),
            Imported::Waiting | Imported::Resolved => {
                (Breach::ResolveTwice, "is passed after it has resolved")
            }
            Imported::Object if is_promise => {
                (Breach::ResolveNotOpen, "is a promise, and was an object")
            }
            Imported::Object | Imported::Promise => return Ok(()),
        };
        Err(Cut::new(breach, format!("capability {id} {text}")))
    }

    /// Takes what came: each is a reference more.
    pub(super) fn take_caps(&mut self, caps: &[Cap]) {
        for cap in caps {
            match cap {
                Cap::Sender { id, is_promise } => self.take_cap(*id, *is_promise),
                Cap::Vine(id) => self.take_cap(*id, false),
                _ => {}
            }
        }
    }

    fn take_cap(&mut self, id: u32, is_promise: bool) {
        if let Some(import) = self.imports.get_mut(id) {
            import.references += 1;
            return;
        }
        let import = Import {
            serial: self.serial(),
            references: 1,
            is: if is_promise {
                Imported::Promise
            } else {
                Imported::Object
            },
            above: 0,
            surplus: 0,
        };
        self.imports.insert(id, import);
    }

    /// Sends back what came and is not taken.
    pub(super) fn turn_away(&mut self, caps: &[Cap]) {
        let mut counts = Counts::new();
        for cap in caps {
            if let Cap::Sender { id, .. } | Cap::Vine(id) = cap {
                *counts.entry(*id).or_default() += 1;
            }
        }
        self.may_resolve(caps);
        for (id, count) in counts {
            self.replies.push_back(Reply::Release(id, count));
        }
    }

    /// What came and is not taken may resolve before the peer knows that it wasn't.
    pub(super) fn may_resolve(&mut self, caps: &[Cap]) {
        for cap in caps {
            if let Cap::Sender {
                id,
                is_promise: true,
            } = cap
                && self.imports.get(*id).is_none()
            {
                self.spare_resolves += 1;
            }
        }
    }

    /// The peer lets go of `count` references to `id`.
    pub(super) fn release(&mut self, id: u32, count: u32) -> Result<Verdict, Cut> {
        let before = self.inbox.len();
        self.drop_export(id, count)?;
        if !self.has_stood_in(before) {
            return Ok(Verdict::Pass);
        }
        self.inject_release(id, count);
        Ok(Verdict::Withhold)
    }

    pub(super) fn drop_export(&mut self, id: u32, count: u32) -> Result<(), Cut> {
        let fault = |text| Err(Cut::new(Breach::ReleaseBelowZero, text));
        let Some(export) = self.exports.get_mut(id) else {
            return fault(format!(
                "the peer releases capability {id}, which it has not got"
            ));
        };
        let Some(left) = export.references.checked_sub(count) else {
            let has = export.references;
            return fault(format!(
                "the peer releases capability {id} {count} times and has it {has} times"
            ));
        };
        export.references = left;
        if left == 0 {
            let serial = export.serial;
            self.promised -= usize::from(matches!(export.leads, Exported::Promise));
            self.exports.remove(id);
            self.export_gone(id, serial);
        }
        Ok(())
    }

    /// This side lets go of `count` references to `id`.
    pub(super) fn let_go(&mut self, id: u32, count: u32) {
        let Some(import) = self.imports.get_mut(id) else {
            return;
        };
        import.references = import.references.saturating_sub(count);
        // `amend` has taken it off.
        self.surplus -= u64::from(std::mem::take(&mut import.surplus) > 0);
        if import.references == 0
            && let Some(import) = self.imports.remove(id)
        {
            self.import_gone(id, &import);
        }
    }

    /// Notes the capabilities that this side sends along: which of its own, and what it promises by naming
    /// its own calls.
    pub(super) fn pass_caps(&mut self, caps: &[Cap], by: Option<Mention>) -> Passed {
        let mut passed = Passed::new();
        for (at, cap) in (0..).zip(caps) {
            self.pass_cap(cap, by.map(|by| by.at(at)));
            if let Cap::Sender { id, .. } = cap {
                passed.push(*id);
            }
        }
        passed
    }

    fn on_of(&self, by: Option<Mention>) -> On {
        match by {
            Some(Mention::Answer(id, ..)) => {
                self.answers.get(id).map_or(On::Nothing, |answer| answer.on)
            }
            Some(Mention::Export(id, _)) => {
                self.exports.get(id).map_or(On::Nothing, |export| export.on)
            }
            None => On::Nothing,
        }
    }

    pub(super) fn pass_cap(&mut self, cap: &Cap, by: Option<Mention>) {
        match cap {
            Cap::Sender { id, is_promise } => match self.exports.get_mut(*id) {
                Some(export) => export.references += 1,
                None => {
                    let export = Export {
                        serial: self.serial(),
                        references: 1,
                        leads: if *is_promise {
                            Exported::Promise
                        } else {
                            Exported::Object
                        },
                        on: self.on_of(by),
                    };
                    self.promised += usize::from(*is_promise);
                    self.exports.insert(*id, export);
                }
            },
            Cap::ReceiverAnswer(question, path) => {
                if let Some(question) = self.questions.get_mut(*question) {
                    question.pipeline(path.clone());
                    if let Some(by) = by {
                        if question.mentions.len() >= MANY
                            && question.mentions.len().is_power_of_two()
                        {
                            let is_there = |by: &Mention| match by {
                                Mention::Export(id, serial) => self
                                    .exports
                                    .get(*id)
                                    .is_some_and(|export| export.serial == *serial),
                                Mention::Answer(id, serial, _) => self
                                    .answers
                                    .get(*id)
                                    .is_some_and(|answer| answer.serial == *serial),
                            };
                            question.mentions.retain(|(by, _)| is_there(by));
                        }
                        question.mentions.push((by, path.clone()));
                    }
                }
            }
            _ => {}
        }
    }
}

/// A table of this side's. What `capnp-rpc` writes it has read before, or made.
pub(super) fn own_caps(table: Descriptors<'_>) -> Caps {
    let caps = table
        .iter()
        .map(|descriptor| Cap::read(descriptor, u8::MAX));
    caps.map(|cap| cap.unwrap_or(Cap::None)).collect()
}

impl Ledger {
    /// Puts right what `capnp-rpc` writes of promises: it says only the first time that it is one. A peer that
    /// has let go of it meanwhile would take the `Resolve` for a fault.
    pub(in crate::guard) fn amend(&self, message: message::Builder<'_>) -> capnp::Result<()> {
        let mut table = match message.which()? {
            message::Call(call) => call?.get_params()?.get_cap_table()?,
            message::Return(ret) => match ret?.which()? {
                return_::Results(results) => results?.get_cap_table()?,
                _ => return Ok(()),
            },
            message::Resolve(resolve) => match resolve?.which()? {
                resolve::Cap(cap) => return self.amend_cap(cap?),
                resolve::Exception(_) => return Ok(()),
            },
            message::Release(release) => {
                let mut release = release?;
                let (id, count) = (
                    release.reborrow().get_id(),
                    release.reborrow().get_reference_count(),
                );
                release.set_reference_count(self.without_surplus(id, count));
                return Ok(());
            }
            _ => return Ok(()),
        };
        for at in 0..table.len() {
            self.amend_cap(table.reborrow().get(at))?;
        }
        Ok(())
    }

    fn amend_cap(&self, mut descriptor: cap_descriptor::Builder<'_>) -> capnp::Result<()> {
        if let cap_descriptor::SenderHosted(id) = descriptor.reborrow().which()?
            && let Some(export) = self.exports.get(id)
            && matches!(export.leads, Exported::Promise)
        {
            descriptor.set_sender_promise(id);
        }
        Ok(())
    }
}
