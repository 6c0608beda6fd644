//! Calls that go on though their caller has finished them: others are made on what they will bring.

use super::Ledger;
use super::entries::{Answer, On, Serial, Stage};

impl Ledger {
    /// Call `id` is pipelined on, or passed on as what it will bring.
    pub(super) fn pipelined_on(&mut self, id: u32) {
        if let Some(answer) = self.answers.get_mut(id) {
            answer.is_pipelined = true;
        }
    }

    /// Call `id` begins, and waits for what `on` will bring, or takes it along.
    pub(super) fn carry(&mut self, id: u32, on: On) {
        let On::Answer(carried, serial) = on else {
            return;
        };
        if let Some(answer) = self.carried(carried, serial) {
            answer.carriers = answer.carriers.saturating_add(1);
            if let Some(answer) = self.answers.get_mut(id) {
                answer.carries.push((carried, serial));
            }
        }
    }

    fn carried(&mut self, id: u32, serial: Serial) -> Option<&mut Answer> {
        let answer = self.answers.get_mut(id)?;
        (answer.serial == serial).then_some(answer)
    }

    /// The peer finishes call `id` before it has returned. It may want nothing of it but what the next one is made
    /// on, so that this one stands for both, and for all that it was made on itself: they are canceled with it.
    pub(super) fn count_canceled(&mut self, id: u32) {
        let Some(answer) = self.answers.get_mut(id) else {
            return;
        };
        if answer.carriers > 0 {
            self.begun = self.begun.saturating_sub(1);
            return;
        }
        self.canceled += 1;
        let mut carried = std::mem::take(&mut answer.carries);
        while let Some((id, serial)) = carried.pop() {
            let Some(answer) = self.carried(id, serial) else {
                continue;
            };
            answer.carriers = answer.carriers.saturating_sub(1);
            if answer.carriers == 0 && answer.stage == Stage::Finished {
                carried.append(&mut answer.carries);
                self.begun += 1;
                self.canceled += 1;
            }
        }
    }
}
