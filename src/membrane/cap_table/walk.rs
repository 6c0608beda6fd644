//! Finds the capability pointers of a message.
//!
//! Pointers are looked at as raw words, which costs nothing of the message's traversal limit; only
//! structs with pointers and lists of such are entered, and those are charged once. Text, data and
//! numbers are never touched. The stack is explicit: a message as deep as its reader allows can't
//! overflow ours.

use capnp::private::layout::{ElementSize, PointerReader, PointerType, StructReader};
use capnp::traits::{FromPointerReader, IntoInternalListReader};
use capnp::{any_pointer, any_pointer_list, raw, struct_list};

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
    /// What is being looked at. Apart from the stack: most messages have nothing deeper, and then
    /// nothing is allocated.
    top: Frame<'a>,
    /// What it lies in, from the root down.
    stack: Vec<Frame<'a>>,
}

/// The way from a message's root to a pointer in it.
pub(super) struct Path {
    /// Down to what the last step is in. Mostly empty.
    pub(super) outer: Vec<Step>,
    /// To the pointer itself; `None` where it is the root.
    pub(super) last: Option<Step>,
}

struct Frame<'a> {
    of: Of<'a>,
    pointers: any_pointer_list::Reader<'a>,
    /// The same as raw words, eight bytes each.
    words: &'a [u8],
    /// How many of them have been looked at.
    next: u32,
}

/// What the pointers of a frame are.
enum Of<'a> {
    /// The fields of a struct.
    Struct,
    /// The elements of a list.
    Pointers,
    /// The fields of this element of a list of structs.
    Structs(struct_list::Reader<'a, AnyStruct>, u32),
}

/// Begins a walk at `root`.
///
/// Fails only when the message's traversal limit is reached: what is malformed is as good as empty,
/// for its reader gets nothing out of it either.
pub(super) fn walk<'a>(root: any_pointer::Reader<'a>) -> capnp::Result<Root<'a>> {
    let Raw(pointer) = root.get_as()?;
    // Nearly always a struct, so that is tried before asking. Null is one without pointers.
    let entered = match pointer.get_struct(None) {
        Ok(fields) => {
            let pointers = raw::get_struct_pointer_section(any_struct::Reader(fields));
            if pointers.is_empty() {
                return Ok(Root::Empty);
            }
            Some(Frame::new(Of::Struct, pointers))
        }
        Err(error) if error.kind == capnp::ErrorKind::ReadLimitExceeded => return Err(error),
        Err(_no_struct) => match pointer.get_pointer_type() {
            Ok(PointerType::Capability) => return Ok(Root::Capability),
            _ => enter(pointer)?,
        },
    };
    Ok(match entered {
        None => Root::Empty,
        Some(top) => Root::Tree(Walk {
            top,
            stack: Vec::new(),
        }),
    })
}

impl<'a> Walk<'a> {
    /// The next capability pointer, in the order of the fields, depth first.
    pub(super) fn next(&mut self) -> capnp::Result<Option<Found<'a>>> {
        loop {
            let Some((word, pointer)) = self.top.next_pointer() else {
                if !self.top.next_element() {
                    match self.stack.pop() {
                        Some(outer) => self.top = outer,
                        None => return Ok(None),
                    }
                }
                continue;
            };
            match Kind::of(word) {
                Kind::Capability(index) => return Ok(Some(Found { index, pointer })),
                Kind::Leaf => {}
                Kind::Inner => {
                    if let Some(inner) = enter(pointer)? {
                        self.stack.push(std::mem::replace(&mut self.top, inner));
                    }
                }
            }
        }
    }

    /// The way to the pointer that `next` gave last.
    pub(super) fn path(&self) -> Path {
        Path {
            outer: self.stack.iter().map(Frame::step).collect(),
            last: Some(self.top.step()),
        }
    }
}

impl<'a> Frame<'a> {
    fn new(of: Of<'a>, pointers: any_pointer_list::Reader<'a>) -> Self {
        Self {
            of,
            pointers,
            words: raw::get_list_bytes(pointers),
            next: 0,
        }
    }

    fn of_struct(of: Of<'a>, fields: StructReader<'a>) -> Self {
        let pointers = raw::get_struct_pointer_section(any_struct::Reader(fields));
        Self::new(of, pointers)
    }

    fn has_pointers(&self) -> bool {
        !self.words.is_empty()
    }

    /// To the pointer that `next_pointer` gave last.
    fn step(&self) -> Step {
        let at = self.next.saturating_sub(1);
        match self.of {
            Of::Struct => Step::Field(at),
            Of::Pointers => Step::Element(at),
            Of::Structs(_, element) => Step::ElementField(element, at),
        }
    }

    fn next_pointer(&mut self) -> Option<(u64, PointerReader<'a>)> {
        loop {
            let at = self.next as usize;
            let word = self.words.get(at * 8..at * 8 + 8)?;
            self.next += 1;
            // The slice has eight bytes, by the line above.
            let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
            if word != 0 {
                // There are as many pointers as words.
                let Raw(pointer) = self.pointers.try_get(self.next - 1)?.get_as().ok()?;
                return Some((word, pointer));
            }
        }
    }

    /// Goes on to the next element of a list of structs.
    fn next_element(&mut self) -> bool {
        let Of::Structs(elements, at) = self.of else {
            return false;
        };
        let Some(any_struct::Reader(element)) = elements.try_get(at + 1) else {
            return false;
        };
        *self = Self::of_struct(Of::Structs(elements, at + 1), element);
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
        Ok(PointerType::Struct) => pointer
            .get_struct(None)
            .map(|fields| Some(Frame::of_struct(Of::Struct, fields))),
        Ok(PointerType::List) => {
            struct_list::Reader::get_from_pointer(&pointer, None).map(enter_list)
        }
        // A capability behind a far pointer can't be read; a copy that takes it fails.
        Ok(PointerType::Null | PointerType::Capability) => Ok(None),
        Err(error) => Err(error),
    };
    match entered {
        Ok(frame) => Ok(frame.filter(Frame::has_pointers)),
        Err(error) if error.kind == capnp::ErrorKind::ReadLimitExceeded => Err(error),
        Err(_malformed) => Ok(None),
    }
}

/// Any list but one of bits can be read as one of structs. One of pointers is not to be: its elements
/// would be a level deeper than they are, and the nesting limit would be reached too early.
fn enter_list(elements: struct_list::Reader<'_, AnyStruct>) -> Option<Frame<'_>> {
    if raw::get_list_element_size(elements) == ElementSize::Pointer {
        let reader = elements.into_internal_list_reader();
        return Some(Frame::new(
            Of::Pointers,
            any_pointer_list::Reader { reader },
        ));
    }
    let any_struct::Reader(first) = elements.try_get(0)?;
    Some(Frame::of_struct(Of::Structs(elements, 0), first))
}
