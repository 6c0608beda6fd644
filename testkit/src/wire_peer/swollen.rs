//! Messages that are patched word by word: of a few words, and with millions of elements.

use super::message::Message;

/// The message's last list of structs with `count` elements in place of those that it has: structs without
/// any size, so that they take no room. It is the cap table, if there is one, or else a transform.
///
/// # Panics
/// Where the message has no such list.
pub fn swollen(message: impl Into<Message>, count: u32) -> Message {
    let mut words = words(message);
    let list = words.iter().rposition(|word| is_list_of_structs(*word));
    let list = list.expect("a list of structs");
    let tag = list + 1 + (words[list] as i32 >> 2) as usize;
    // No words, and elements without data and pointers.
    words[list] &= 0x7_ffff_ffff;
    words[tag] = u64::from(count) << 2;
    raw(words)
}

/// The message with a kind that nobody knows, whose list of pointers (it must have one) is all alike: each
/// leads where the first one does.
pub fn unknown_and_alike(message: impl Into<Message>) -> Message {
    let mut words = words(message);
    // After the root pointer, the struct's first data word begins with the kind.
    words[1] = words[1] & !0xffff | 99;
    let is_pointers = |word: &u64| word & 3 == 1 && (word >> 32) & 7 == 6;
    let list = words
        .iter()
        .position(is_pointers)
        .expect("a list of pointers");
    let first = list + 1 + (words[list] as i32 >> 2) as usize;
    let (alike, offset) = (words[first], words[first] as u32 >> 2);
    for index in 1..(words[list] >> 35) as u32 {
        let low = (offset - index) << 2 | 1;
        words[first + index as usize] = alike >> 32 << 32 | u64::from(low);
    }
    raw(words)
}

/// The words of a message's one segment.
fn words(message: impl Into<Message>) -> Vec<u64> {
    let bytes = message.into().to_bytes();
    let word = |word: &[u8]| u64::from_le_bytes(word.try_into().expect("eight bytes"));
    bytes[8..].chunks_exact(8).map(word).collect()
}

fn raw(words: Vec<u64>) -> Message {
    let mut bytes = vec![0; 4];
    bytes.extend((words.len() as u32).to_le_bytes());
    bytes.extend(words.into_iter().flat_map(u64::to_le_bytes));
    Message::Raw(bytes)
}

/// A pointer to a list that has elements, of the size "composite", somewhere ahead.
fn is_list_of_structs(word: u64) -> bool {
    word & 3 == 1
        && (word >> 32) & 7 == 7
        && (1..1000).contains(&(word >> 35))
        && (word as i32) >> 2 < 1000
}
