//! Messages that are written at random, and changed: they are what the readers of `capnp` say.

use super::*;
use capnp::Word;
use capnp::message::{Builder, Reader, ReaderOptions, SegmentArray};
use capnp_rpc::rpc_capnp::{call, message, message_target, return_};

use super::super::calls::own_results;
use super::super::caps::own_caps;

/// The same by the readers of `capnp`.
fn expected(message: message::Reader<'_>) -> capnp::Result<Option<Plain>> {
    Ok(Some(match message.which()? {
        message::Call(call) => {
            let call = call?;
            let call::send_results_to::Caller(()) = call.get_send_results_to().which()? else {
                return Ok(None);
            };
            let on = match call.get_target()?.which()? {
                message_target::ImportedCap(id) => Target::Cap(id),
                message_target::PromisedAnswer(answer) => {
                    let answer = answer?;
                    Target::Answer {
                        id: answer.get_question_id(),
                        steps: answer.get_transform()?.len(),
                    }
                }
            };
            Plain::Call {
                id: call.get_question_id(),
                on,
                caps: own_caps(call.get_params()?.get_cap_table()?),
            }
        }
        message::Return(ret) => {
            let ret = ret?;
            let return_::Results(_) = ret.which()? else {
                return Ok(None);
            };
            Plain::Return {
                id: ret.get_answer_id(),
                releases_params: ret.get_release_param_caps(),
                needs_no_finish: ret.get_no_finish_needed(),
                caps: own_results(ret)?,
            }
        }
        message::Finish(finish) => {
            let finish = finish?;
            Plain::Finish {
                id: finish.get_question_id(),
                releases_results: finish.get_release_result_caps(),
            }
        }
        message::Release(release) => {
            let release = release?;
            Plain::Release {
                id: release.get_id(),
                count: release.get_reference_count(),
            }
        }
        _ => return Ok(None),
    }))
}

/// Numbers that look random, the same each time.
fn numbers(mut state: u64) -> impl FnMut(u32) -> u32 {
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 20) % u64::from(below)) as u32
    }
}

/// Writes a message. Is it a plain one?
fn write(root: message::Builder<'_>, number: &mut impl FnMut(u32) -> u32) -> bool {
    let mut is_plain = true;
    let id = number(u32::MAX);
    let table = match number(8) {
        0 => {
            let mut finish = root.init_finish();
            finish.set_question_id(id);
            finish.set_release_result_caps(number(2) == 0);
            return true;
        }
        1 => {
            let mut release = root.init_release();
            release.set_id(id);
            release.set_reference_count(number(u32::MAX));
            return true;
        }
        2 => {
            root.init_bootstrap().set_question_id(id);
            return false;
        }
        3..5 => {
            let mut ret = root.init_return();
            ret.set_answer_id(id);
            ret.set_release_param_caps(number(2) == 0);
            ret.set_no_finish_needed(number(2) == 0);
            if number(8) == 0 {
                ret.set_take_from_other_question(7);
                return false;
            }
            ret.init_results()
        }
        _ => {
            let mut call = root.init_call();
            call.set_question_id(id);
            call.set_interface_id(u64::from(number(u32::MAX)) << 20);
            call.set_method_id(number(1 << 16) as u16);
            if number(8) == 0 {
                call.reborrow().get_send_results_to().set_yourself(());
                is_plain = false;
            }
            let mut target = call.reborrow().init_target();
            match number(2) {
                0 => target.set_imported_cap(number(u32::MAX)),
                _ => {
                    let mut answer = target.init_promised_answer();
                    answer.set_question_id(number(u32::MAX));
                    let steps = number(4);
                    let mut transform = answer.init_transform(steps);
                    for at in 0..steps {
                        transform.reborrow().get(at).set_get_pointer_field(3);
                    }
                }
            }
            call.init_params()
        }
    };
    let count = number(12);
    is_plain &= count <= MAX_CAPS;
    let mut table = table.init_cap_table(count);
    for at in 0..count {
        let mut cap = table.reborrow().get(at);
        match number(16) {
            0..4 => cap.set_sender_hosted(number(u32::MAX)),
            4..8 => cap.set_sender_promise(number(u32::MAX)),
            8..14 => cap.set_receiver_hosted(number(u32::MAX)),
            14 => cap.set_none(()),
            _ => {
                cap.init_receiver_answer().set_question_id(5);
                is_plain = false;
            }
        }
    }
    is_plain
}

#[test]
fn it_reads_what_capnp_reads() {
    let (mut whole, mut changed) = (0, 0);
    for seed in 1..200_000 {
        let mut number = numbers(seed * 0x9E37_79B9);
        let mut builder = Builder::new_default();
        let is_plain = write(builder.init_root(), &mut number);
        let segment = builder.get_segments_for_output()[0].to_vec();
        let mut words = Word::allocate_zeroed_vec(segment.len() / 8);
        let bytes = Word::words_to_bytes_mut(&mut words);
        bytes.copy_from_slice(&segment);
        let changes = number(4);
        for _ in 0..changes {
            // Mostly small numbers, which pointers are made of.
            let at = number(bytes.len() as u32) as usize;
            let below = [256, 8, 8][number(3) as usize];
            bytes[at] = number(below) as u8;
        }
        let bytes = Word::words_to_bytes(&words);
        let read = Plain::read(bytes);
        if changes == 0 {
            assert_eq!(read.is_some(), is_plain, "seed {seed}");
        }
        let segments = [bytes];
        let reader = Reader::new(SegmentArray::new(&segments), ReaderOptions::new());
        let root: capnp::Result<message::Reader<'_>> = reader.get_root();
        if let Ok(Ok(call)) = root.as_ref().map(|root| root.which()) {
            let is_it = matches!(call, message::Call(_));
            assert_eq!(is_call(bytes).unwrap_or(is_it), is_it, "seed {seed}");
        }
        if read.is_some() {
            *[&mut whole, &mut changed][usize::from(changes > 0)] += 1;
            let expected = root.and_then(expected).expect("it can be read");
            assert_eq!(read, expected, "seed {seed}");
        }
    }
    assert!(whole > 10_000 && changed > 10_000, "{whole}, {changed}");
}
