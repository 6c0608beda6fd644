//! What only a hostile peer says.

use super::messages::Content;
use super::messages::{message, write_payload, write_target};
use super::peer::{Turn, fail};
use super::script::Kind;
use super::tables::Target;

/// Where the number of the variant stands in a message without far pointers: after the frame and the root.
const VARIANT: usize = 16;

impl Turn<'_> {
    /// Messages of levels 3 and 4, of no level, and what is no message.
    pub(super) fn foreign(&mut self, kind: Kind) -> Vec<u8> {
        match kind {
            Kind::Abort => message(|root| fail(root.init_abort())),
            Kind::Unimplemented => self.unimplemented(),
            Kind::Raw => self.raw(),
            Kind::Frame => self.frame(),
            _ => self.level_three(),
        }
    }

    fn level_three(&mut self) -> Vec<u8> {
        let (id, target) = (self.draw.any_id(), self.target().unwrap_or(Target::Cap(0)));
        let which = self.draw.below(6);
        let mut bytes = message(|root| match which {
            0 => {
                let mut provide = root.init_provide();
                provide.set_question_id(id);
                write_target(provide.reborrow().init_target(), &target);
                provide.init_recipient().clear();
            }
            1 => {
                let mut accept = root.init_accept();
                accept.set_question_id(id);
                accept.set_embargo(true);
            }
            2 => {
                let mut join = root.init_join();
                join.set_question_id(id);
                write_target(join.init_target(), &target);
            }
            3 => root.init_obsolete_save().clear(),
            4 => root.init_obsolete_delete().clear(),
            _ => {
                root.init_call();
            }
        });
        if which == 5 {
            // No such message.
            bytes[VARIANT..][..2].copy_from_slice(&(14 | id as u16).to_le_bytes());
        }
        bytes
    }

    /// That a message of ours was not understood, of whatever kind, however often told.
    fn unimplemented(&mut self) -> Vec<u8> {
        let (id, other) = (self.draw.any_id(), self.draw.any_id());
        let (which, depth) = (self.draw.below(7), self.draw.below(3));
        message(|mut root| {
            for _ in 0..depth {
                root = root.init_unimplemented();
            }
            let root = root.init_unimplemented();
            match which {
                0 => {
                    let mut resolve = root.init_resolve();
                    resolve.set_promise_id(id);
                    resolve.init_cap().set_sender_hosted(other);
                }
                1 => {
                    let mut resolve = root.init_resolve();
                    resolve.set_promise_id(id);
                    resolve.init_cap().set_sender_promise(other);
                }
                2 => root.init_call().set_question_id(id),
                3 => {
                    let mut returned = root.init_return();
                    returned.set_answer_id(id);
                    write_payload(returned.init_results(), Content::Null, &[]);
                }
                4 => root.init_bootstrap().set_question_id(id),
                5 => root
                    .init_disembargo()
                    .init_context()
                    .set_sender_loopback(id),
                _ => root.init_finish().set_question_id(id),
            }
        })
    }

    /// One message, of words that are pointers as often as not.
    fn raw(&mut self) -> Vec<u8> {
        let words = 1 + self.draw.below(6);
        let mut bytes = vec![0, 0, 0, 0, words as u8, 0, 0, 0];
        for _ in 0..words {
            let word: u64 = match self.draw.below(8) {
                0 => 0,
                // Structs of one word and so many pointers, here and there.
                1 => 0x0001_0001_0000_0000,
                2 => 0x0002_0001_0000_0000 | (self.draw.below(4) as u64) << 2,
                3 => 0x0001_0000_ffff_fffc,
                // A list of structs; a far pointer; a capability.
                4 => 0x0000_0017_0000_0001,
                5 => 0x0000_0000_0000_0002 | (self.draw.below(8) as u64) << 3,
                6 => 3 | (self.draw.below(4) as u64) << 32,
                _ => self.draw.0 & 0xffff,
            };
            bytes.extend(word.to_le_bytes());
        }
        bytes
    }

    /// Bytes that are no frame, or half of one.
    fn frame(&mut self) -> Vec<u8> {
        let (segments, words): (u32, u32) = match self.draw.below(6) {
            0 => (0, 0),
            1 => (0, 1000),
            2 => (u32::MAX, 1),
            3 => (0, u32::MAX),
            4 => (511, 0),
            _ => (0, 1 << 24),
        };
        let mut bytes = [segments.to_le_bytes(), words.to_le_bytes()].concat();
        bytes.truncate([8, 8, 4, 3][self.draw.below(4)]);
        bytes
    }

    /// The last message, with bits turned over.
    pub(super) fn garbled(&mut self, last: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = last.to_vec();
        if bytes.len() <= 8 {
            return None;
        }
        for _ in 0..1 + self.draw.below(2) {
            let at = 8 + self.draw.below(bytes.len() - 8);
            bytes[at] ^= 1 << self.draw.below(8);
        }
        self.tables.has_garbled = true;
        Some(bytes)
    }
}
