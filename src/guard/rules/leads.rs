//! Where capabilities lead to: over promises of either side, and over what calls have brought.

use super::Ledger;
use super::entries::{Answer, Asked, Exported, Imported, Leads, Place, Serial, Stage};
use super::pointers::{Cap, result};

/// Where a way ends.
pub(super) enum End {
    /// At an object or an error, or where nothing can change any more.
    Settled,
    /// At a promise of the peer's.
    Promise(u32, Serial),
    /// At something that this side has promised.
    Waits(Place),
    /// At something that this side has promised and the peer has let go of: nobody says when it is kept.
    Lost,
    /// Where it must not.
    Back,
    TooLong,
}

impl Ledger {
    /// Where a capability of the peer's message leads to.
    pub(super) fn leads(&self, cap: &Cap) -> Leads {
        let place = match cap {
            Cap::None => None,
            Cap::Sender { id, .. } | Cap::Vine(id) => {
                let import = self.imports.get(*id);
                import.map(|import| Place::Import(*id, import.serial))
            }
            Cap::Receiver(id) => self.promise_of_ours(*id),
            Cap::ReceiverAnswer(id, path) => {
                let answer = self.answers.get(*id);
                answer.map(|answer| Place::Answer(*id, answer.serial, path.clone()))
            }
        };
        place.map_or(Leads::End, Leads::To)
    }

    /// Where those of results of this side's lead to. It is asked when they are sent: later the ids may be of
    /// others.
    pub(super) fn table_leads(&self, caps: &[Cap]) -> Vec<Leads> {
        caps.iter().map(|cap| self.leads_from_here(cap)).collect()
    }

    /// An object leads nowhere, and may be let go of.
    fn promise_of_ours(&self, id: u32) -> Option<Place> {
        let export = self.exports.get(id)?;
        let is_object = matches!(export.leads, Exported::Object);
        (!is_object).then_some(Place::Export(id, export.serial))
    }

    /// Where a capability of a message of this side's leads to.
    pub(super) fn leads_from_here(&self, cap: &Cap) -> Leads {
        let place = match cap {
            Cap::None | Cap::Vine(_) => None,
            Cap::Sender { id, .. } => self.promise_of_ours(*id),
            Cap::Receiver(id) => {
                let import = self.imports.get(*id);
                import.map(|import| Place::Import(*id, import.serial))
            }
            Cap::ReceiverAnswer(id, path) => {
                let serial = self.question_serial(*id);
                serial.map(|serial| Place::Question(*id, serial, path.clone()))
            }
        };
        place.map_or(Leads::End, Leads::To)
    }

    /// Would `place` lead to itself, if it led there?
    pub(super) fn leads_back(&self, leads: &Leads, place: &Place) -> bool {
        matches!(self.follow(leads, place), End::Back | End::TooLong)
    }

    pub(super) fn follow(&self, leads: &Leads, from: &Place) -> End {
        let mut leads = leads.clone();
        for _ in 0..=self.limits.hops {
            let Leads::To(place) = leads else {
                return End::Settled;
            };
            if place == *from {
                return End::Back;
            }
            leads = match self.next(place) {
                Ok(leads) => leads,
                Err(end) => return end,
            };
        }
        End::TooLong
    }

    /// One step further, or the end of the way.
    fn next(&self, place: Place) -> Result<Leads, End> {
        match &place {
            Place::Import(id, serial) => match self.imports.get(*id) {
                Some(import) if import.serial == *serial => match import.is {
                    Imported::Object => Ok(Leads::End),
                    Imported::Promise => Err(End::Promise(*id, *serial)),
                    Imported::Waiting => Ok(self.held_leads(*id)),
                    Imported::Resolved => Ok(self.end_of(*serial)),
                },
                _ => Ok(self.end_of(*serial)),
            },
            Place::Export(id, serial) => match self.exports.get(*id) {
                Some(export) if export.serial == *serial => match &export.leads {
                    Exported::Object => Ok(Leads::End),
                    Exported::Promise => Err(End::Waits(place)),
                    Exported::Resolved(leads) => Ok((**leads).clone()),
                },
                _ => Err(End::Lost),
            },
            Place::Answer(id, serial, path) => match self.answers.get(*id) {
                Some(answer) if answer.serial == *serial => match answer.stage {
                    Stage::Running => Err(End::Waits(place)),
                    Stage::Returned => Ok(Self::result_leads(answer, path)),
                    Stage::Finished | Stage::Canceled => Err(End::Lost),
                    Stage::Refused => Ok(Leads::End),
                },
                _ => Err(End::Lost),
            },
            Place::Question(id, serial, _) => match self.questions.get(*id) {
                Some(question) if question.serial == *serial => match question.stage {
                    Asked::Waiting | Asked::Taken(_) => Err(End::Waits(place)),
                    // Whoever stood for it stands for what it has brought.
                    Asked::Returned | Asked::Canceled => Ok(Leads::End),
                },
                _ => Ok(Leads::End),
            },
        }
    }

    fn held_leads(&self, id: u32) -> Leads {
        let held = self.promises.held.get(&id);
        held.map_or(Leads::End, |held| self.leads(&held.to))
    }

    fn end_of(&self, serial: Serial) -> Leads {
        match self.promises.ends.get(&serial) {
            Some((id, serial)) => Leads::To(Place::Import(*id, *serial)),
            None => Leads::End,
        }
    }

    pub(super) fn result_leads(answer: &Answer, path: &[u16]) -> Leads {
        let result = answer.results.as_ref().and_then(|sent| result(sent, path));
        let leads = result.and_then(|(index, _)| answer.leads.get(index as usize));
        leads.cloned().unwrap_or(Leads::End)
    }
}
