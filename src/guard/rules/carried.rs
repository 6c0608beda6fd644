//! Calls that go on though their caller has finished them: others are made on what they will bring.

use super::Ledger;
use super::entries::{Answer, On};

impl Ledger {
    /// Call `id` is pipelined on, or passed on as what it will bring.
    pub(super) fn pipelined_on(&mut self, id: u32) {
        if let Some(answer) = self.answers.get_mut(id) {
            answer.is_pipelined = true;
        }
    }

    /// A call begins that waits for what `on` will bring.
    pub(super) fn carry(&mut self, on: On) {
        if let Some(answer) = self.carried_by(on) {
            answer.carriers = answer.carriers.saturating_add(1);
        }
    }

    /// It waits no more.
    pub(super) fn carry_no_more(&mut self, on: On) {
        if let Some(answer) = self.carried_by(on) {
            answer.carriers = answer.carriers.saturating_sub(1);
        }
    }

    fn carried_by(&mut self, on: On) -> Option<&mut Answer> {
        let On::Answer(id, serial) = on else {
            return None;
        };
        let answer = self.answers.get_mut(id)?;
        (answer.serial == serial).then_some(answer)
    }

    /// The peer finishes call `id` before it has returned. It may want nothing of it but what the next one is made
    /// on, so that this one stands for both.
    pub(super) fn count_canceled(&mut self, id: u32) {
        match self
            .answers
            .get(id)
            .is_some_and(|answer| answer.carriers > 0)
        {
            true => self.begun = self.begun.saturating_sub(1),
            false => self.canceled += 1,
        }
    }
}
