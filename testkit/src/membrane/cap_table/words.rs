//! Messages word by word (<https://capnproto.org/encoding.html>), as nobody builds them.

/// A struct `offset` words behind its pointer.
pub const fn structure(offset: i32, data: u64, pointers: u64) -> u64 {
    (offset << 2) as u32 as u64 | data << 32 | pointers << 48
}

/// A list, of which `count` is that of the elements, or of the words where these are structs.
pub const fn list(offset: i32, size: u64, count: u64) -> u64 {
    1 | (offset << 2) as u32 as u64 | size << 32 | count << 35
}

/// What a list of pointers has for a size.
pub const POINTERS: u64 = 6;
/// What a list of structs has for a size.
pub const STRUCTS: u64 = 7;

/// What stands before a list of structs.
pub const fn tag(count: u64, data: u64, pointers: u64) -> u64 {
    count << 2 | data << 32 | pointers << 48
}

/// A capability.
pub const fn capability(index: u32) -> u64 {
    3 | (index as u64) << 32
}

/// A far pointer to the landing pad that is `at` words into `segment`.
pub const fn far(segment: u64, at: u64) -> u64 {
    2 | at << 3 | segment << 32
}

/// The same, where the landing pad is a far pointer and a tag.
pub const fn double_far(segment: u64, at: u64) -> u64 {
    far(segment, at) | 4
}

/// A capability in so many structs, each in the one before.
pub fn structs(depth: usize) -> Vec<u64> {
    let mut words = vec![structure(0, 0, 1); depth];
    words.push(capability(1));
    words
}

/// A capability in so many lists.
pub fn lists(depth: usize) -> Vec<u64> {
    let mut words = vec![list(0, POINTERS, 1); depth];
    words.push(capability(1));
    words
}
