//! Finds the capability pointers of a message.
//!
//! Pointers are looked at as raw words, which costs nothing of the message's traversal limit; only
//! structs with pointers and lists of such are entered, and those are charged once. Text, data and
//! numbers are never touched. The stack is explicit: a message as deep as its reader allows can't
//! overflow ours.

use capnp::private::layout::{ElementSize, PointerReader, PointerType, StructReader};
use capnp::traits::FromPointerReader;
use capnp::{any_pointer, raw, struct_list};

use super::any_struct::{self, AnyStruct};

/// A capability pointer in a message.
pub(super) struct Found<'a> {
    /// Its index in the capability table.
    pub(super) index: u32,
    /// The pointer.
    pub(super) pointer: PointerReader<'a>,
}

/// One step on the way from a message's root to a pointer in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Into the struct, to this pointer field.
    Field(u32),
    /// Into the list of structs, to this element, to this pointer field of it.
    ElementField(u32, u32),
    /// Into the list of pointers, to this element.
    Element(u32),
}

/// Lets `PointerReader` be had from an `any_pointer`.
struct Raw<'a>(PointerReader<'a>);

impl<'a> FromPointerReader<'a> for Raw<'a> {
    fn get_from_pointer(
        reader: &PointerReader<'a>,
        _default: Option<&'a [capnp::Word]>,
    ) -> capnp::Result<Self> {
        Ok(Self(*reader))
    }
}

/// What the root of a message points to.
pub(super) enum Root<'a> {
    /// Nothing, or nothing that holds pointers.
    Empty,
    /// A capability, with no message around it. Its index can't be seen.
    Capability,
    /// Something that may hold capability pointers.
    Tree(Walk<'a>),
}

/// A walk over the capability pointers below the root of a message.
pub(super) struct Walk<'a> {
    stack: Vec<Frame<'a>>,
}

struct Frame<'a> {
    list: Option<List<'a>>,
    element: StructReader<'a>,
    /// The raw pointers of `element`, eight bytes each.
    words: &'a [u8],
    /// How many of them have been looked at.
    next: u32,
}

struct List<'a> {
    elements: struct_list::Reader<'a, AnyStruct>,
    of_pointers: bool,
    /// The element that is being looked at.
    at: u32,
}

/// Begins a walk at `root`.
///
/// Fails only when the message's traversal limit is reached: what is malformed is as good as empty,
/// for its reader gets nothing out of it either.
pub(super) fn walk<'a>(root: any_pointer::Reader<'a>) -> capnp::Result<Root<'a>> {
    if root.is_null() {
        return Ok(Root::Empty);
    }
    let Raw(pointer) = root.get_as()?;
    if matches!(pointer.get_pointer_type(), Ok(PointerType::Capability)) {
        return Ok(Root::Capability);
    }
    Ok(match enter(pointer)? {
        None => Root::Empty,
        Some(frame) => Root::Tree(Walk { stack: vec![frame] }),
    })
}

impl<'a> Walk<'a> {
    /// The next capability pointer, in the order of the fields, depth first.
    pub(super) fn next(&mut self) -> capnp::Result<Option<Found<'a>>> {
        while let Some(frame) = self.stack.last_mut() {
            let Some((word, pointer)) = frame.next_pointer() else {
                if !frame.next_element() {
                    self.stack.pop();
                }
                continue;
            };
            match Kind::of(word) {
                Kind::Capability(index) => return Ok(Some(Found { index, pointer })),
                Kind::Leaf => {}
                Kind::Inner => self.stack.extend(enter(pointer)?),
            }
        }
        Ok(None)
    }

    /// The way to the pointer that `next` gave last.
    pub(super) fn path(&self) -> Vec<Step> {
        self.stack
            .iter()
            .map(|frame| {
                let field = frame.next.saturating_sub(1);
                match &frame.list {
                    None => Step::Field(field),
                    Some(list) if list.of_pointers => Step::Element(list.at),
                    Some(list) => Step::ElementField(list.at, field),
                }
            })
            .collect()
    }
}

impl<'a> Frame<'a> {
    fn next_pointer(&mut self) -> Option<(u64, PointerReader<'a>)> {
        loop {
            let at = self.next as usize;
            let word = self.words.get(at * 8..at * 8 + 8)?;
            self.next += 1;
            // The slice has eight bytes, by the line above.
            let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
            if word != 0 {
                return Some((word, self.element.get_pointer_field(at)));
            }
        }
    }

    fn next_element(&mut self) -> bool {
        let Some(list) = &mut self.list else {
            return false;
        };
        list.at += 1;
        let Some(any_struct::Reader(element)) = list.elements.try_get(list.at) else {
            return false;
        };
        self.element = element;
        self.words = pointer_words(element);
        self.next = 0;
        true
    }
}

/// What can be told of a pointer by its own word (https://capnproto.org/encoding.html).
enum Kind {
    Capability(u32),
    /// Nothing below it can be a capability.
    Leaf,
    /// A struct or a list that holds pointers, or a far pointer, of which nothing is known yet.
    Inner,
}

impl Kind {
    fn of(word: u64) -> Self {
        let high = (word >> 32) as u32;
        match word as u32 & 3 {
            // A struct: the number of its pointers is in the upper sixteen bits.
            0 if high >> 16 == 0 => Self::Leaf,
            // A list: the size of its elements is in three bits; 6 is a pointer, 7 a struct.
            1 if high & 7 < 6 => Self::Leaf,
            3 if word as u32 == 3 => Self::Capability(high),
            3 => Self::Leaf,
            _ => Self::Inner,
        }
    }
}

/// Enters what `pointer` points to, if it holds pointers.
fn enter(pointer: PointerReader<'_>) -> capnp::Result<Option<Frame<'_>>> {
    let entered = match pointer.get_pointer_type() {
        Ok(PointerType::Struct) => pointer.get_struct(None).map(|element| {
            Some(Frame {
                list: None,
                element,
                words: pointer_words(element),
                next: 0,
            })
        }),
        Ok(PointerType::List) => {
            struct_list::Reader::get_from_pointer(&pointer, None).map(enter_list)
        }
        // A capability behind a far pointer can't be read, by anybody.
        Ok(PointerType::Null | PointerType::Capability) => Ok(None),
        Err(error) => Err(error),
    };
    match entered {
        Ok(frame) => Ok(frame.filter(|frame| !frame.words.is_empty())),
        Err(error) if error.kind == capnp::ErrorKind::ReadLimitExceeded => Err(error),
        Err(_malformed) => Ok(None),
    }
}

/// Any list but one of bits can be read as one of structs: one of pointers has one pointer an element.
fn enter_list(elements: struct_list::Reader<'_, AnyStruct>) -> Option<Frame<'_>> {
    let any_struct::Reader(element) = elements.try_get(0)?;
    Some(Frame {
        list: Some(List {
            of_pointers: raw::get_list_element_size(elements) == ElementSize::Pointer,
            elements,
            at: 0,
        }),
        element,
        words: pointer_words(element),
        next: 0,
    })
}

fn pointer_words(element: StructReader<'_>) -> &[u8] {
    raw::get_list_bytes(raw::get_struct_pointer_section(any_struct::Reader(element)))
}
