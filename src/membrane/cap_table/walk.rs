//! Finds the capability pointers of a message.
//!
//! Pointers are looked at as raw words, which costs nothing of the message's traversal limit; only
//! structs with pointers and lists of such are entered, and those are charged once. Text, data and
//! numbers are never touched. The stack is explicit: a message as deep as its reader allows can't
//! overflow ours. Nor does it grow with that alone: it is never deeper than the message is long, but for
//! the first few levels.

use std::collections::HashSet;
use std::ops::ControlFlow;

use capnp::private::layout::{ElementSize, PointerReader, PointerType, StructReader};
use capnp::traits::{FromPointerReader, IntoInternalListReader};
use capnp::{any_pointer, any_pointer_list, raw, struct_list};

use super::any_struct::{self, AnyStruct};

/// As deep as readers allow by default. Deeper down no pointer is followed within what it leads to: there
/// is nothing that it has not led to already, and a message of one word that leads to itself would be as
/// deep as its reader allows.
const DEEP: usize = 64;

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

/// How a walk ended.
pub(super) enum Walked<B> {
    /// It has seen the whole message.
    Whole,
    /// It has, and it is nothing but a struct, whose pointers lead to what holds no pointers.
    Flat,
    /// It was told to stop.
    Stopped(B),
    /// The root is a capability, with no message around it. Its index can't be seen.
    Capability,
}

/// Where a walk is.
pub(super) struct Way<'w, 'a> {
    /// The field of the root, where that is a struct and the walk is below it.
    field: Option<Step>,
    /// What the pointer lies in, from there down.
    outer: &'w [Frame<'a>],
    last: Step,
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
    /// The pointers as raw words.
    words: &'a [[u8; 8]],
    /// How many of them have been looked at.
    next: usize,
}

/// What the pointers of a frame are.
enum Of<'a> {
    /// The fields of a struct.
    Struct(StructReader<'a>),
    /// The elements of a list.
    Pointers(any_pointer_list::Reader<'a>),
    /// The fields of this element of a list of structs.
    Structs(struct_list::Reader<'a, AnyStruct>, u32, StructReader<'a>),
}

/// Begins a walk at `root`.
///
/// Fails only when the message's traversal limit is reached: what is malformed is as good as empty,
/// for its reader gets nothing out of it either.
///
/// `visit` sees the capability pointers in the order of the fields, depth first.
#[inline]
pub(super) fn walk<'a, B>(
    root: any_pointer::Reader<'a>,
    mut visit: impl FnMut(Found<'a>, Way<'_, 'a>) -> ControlFlow<B>,
) -> capnp::Result<Walked<B>> {
    let Raw(pointer) = root.get_as()?;
    // Nearly always a struct, so that is tried before asking. Null is one without pointers.
    let fields = match pointer.get_struct(None) {
        Ok(fields) => fields,
        Err(error) => return walk_odd(pointer, error, visit),
    };
    let mut is_flat = true;
    // Most messages have nothing deeper than this.
    for (at, word) in words_of(fields).iter().enumerate() {
        let field = || fields.get_pointer_field(at);
        let last = Step::Field(at as u32);
        let flow = match Kind::of(*word) {
            Kind::Leaf => continue,
            Kind::Capability(index) => {
                let pointer = field();
                let way = Way {
                    field: None,
                    outer: &[],
                    last,
                };
                visit(Found { index, pointer }, way)
            }
            Kind::Inner => match enter(field())? {
                Entered::Leaf => continue,
                Entered::Nothing => {
                    is_flat = false;
                    continue;
                }
                Entered::Frame(frame) => {
                    is_flat = false;
                    walk_below(Some(last), frame, &mut visit)?
                }
            },
        };
        if let ControlFlow::Break(found) = flow {
            return Ok(Walked::Stopped(found));
        }
    }
    Ok(match is_flat {
        true => Walked::Flat,
        false => Walked::Whole,
    })
}

/// Walks from a root that `error` says is no struct.
#[cold]
fn walk_odd<'a, B>(
    pointer: PointerReader<'a>,
    error: capnp::Error,
    mut visit: impl FnMut(Found<'a>, Way<'_, 'a>) -> ControlFlow<B>,
) -> capnp::Result<Walked<B>> {
    if error.kind == capnp::ErrorKind::ReadLimitExceeded {
        return Err(error);
    }
    if let Ok(PointerType::Capability) = pointer.get_pointer_type() {
        return Ok(Walked::Capability);
    }
    if let Entered::Frame(frame) = enter(pointer)?
        && let ControlFlow::Break(found) = walk_below(None, frame, &mut visit)?
    {
        return Ok(Walked::Stopped(found));
    }
    Ok(Walked::Whole)
}

/// Walks over what is in `top` and below, which is in `field` of the root, or the root.
fn walk_below<'a, B>(
    field: Option<Step>,
    mut top: Frame<'a>,
    visit: &mut impl FnMut(Found<'a>, Way<'_, 'a>) -> ControlFlow<B>,
) -> capnp::Result<ControlFlow<B>> {
    // What `top` lies in, from the outermost down.
    let mut outer = Vec::new();
    // The pointers that are followed deep down.
    let mut followed = HashSet::new();
    loop {
        let Some(word) = top.next_word() else {
            if !top.next_element() {
                match outer.pop() {
                    Some(frame) => top = frame,
                    None => return Ok(ControlFlow::Continue(())),
                }
                if outer.len() >= DEEP {
                    followed.remove(&top.address());
                }
            }
            continue;
        };
        let pointer = match Kind::of(word) {
            Kind::Leaf => continue,
            _ => top.pointer(),
        };
        match (Kind::of(word), pointer) {
            (Kind::Capability(index), Some(pointer)) => {
                let way = Way {
                    field,
                    outer: &outer,
                    last: top.step(),
                };
                let flow = visit(Found { index, pointer }, way);
                if flow.is_break() {
                    return Ok(flow);
                }
            }
            (Kind::Inner, Some(pointer)) => {
                let is_deep = outer.len() >= DEEP;
                if is_deep && followed.contains(&top.address()) {
                    continue;
                }
                if let Entered::Frame(inner) = enter(pointer)? {
                    if is_deep {
                        followed.insert(top.address());
                    }
                    outer.push(std::mem::replace(&mut top, inner));
                }
            }
            (Kind::Leaf, _) | (_, None) => {}
        }
    }
}

impl Way<'_, '_> {
    pub(super) fn path(&self) -> Path {
        let outer = self.outer.iter().map(Frame::step);
        Path {
            outer: self.field.into_iter().chain(outer).collect(),
            last: Some(self.last),
        }
    }
}

/// The pointer field of a struct that is a capability with this index.
pub(super) fn field_with(fields: StructReader<'_>, index: usize) -> Option<usize> {
    let is_it =
        |word: &[u8; 8]| matches!(Kind::of(*word), Kind::Capability(i) if i as usize == index);
    words_of(fields).iter().rposition(is_it)
}

/// The pointers of a struct as raw words.
#[inline]
fn words_of<'a>(fields: StructReader<'a>) -> &'a [[u8; 8]] {
    let pointers = raw::get_struct_pointer_section(any_struct::Reader(fields));
    raw::get_list_bytes(pointers).as_chunks().0
}

impl<'a> Frame<'a> {
    fn of_struct(fields: StructReader<'a>) -> Self {
        Self {
            of: Of::Struct(fields),
            words: words_of(fields),
            next: 0,
        }
    }

    fn of_element(
        elements: struct_list::Reader<'a, AnyStruct>,
        at: u32,
        fields: StructReader<'a>,
    ) -> Self {
        Self {
            of: Of::Structs(elements, at, fields),
            words: words_of(fields),
            next: 0,
        }
    }

    fn next_word(&mut self) -> Option<[u8; 8]> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(*word)
    }

    /// The pointer that `next_word` gave last. It is there: there are as many pointers as words.
    fn pointer(&self) -> Option<PointerReader<'a>> {
        let at = self.next.wrapping_sub(1);
        match &self.of {
            Of::Struct(fields) | Of::Structs(_, _, fields) => Some(fields.get_pointer_field(at)),
            Of::Pointers(elements) => {
                let Raw(pointer) = elements.try_get(at as u32)?.get_as().ok()?;
                Some(pointer)
            }
        }
    }

    /// Where the word ends that `next_word` gave last: another place for each pointer of the message.
    fn address(&self) -> usize {
        self.words.as_ptr().wrapping_add(self.next).addr()
    }

    /// To the pointer that `next_word` gave last.
    fn step(&self) -> Step {
        // No list has more elements than fit, and no struct more fields.
        let at = self.next.wrapping_sub(1) as u32;
        match self.of {
            Of::Struct(_) => Step::Field(at),
            Of::Pointers(_) => Step::Element(at),
            Of::Structs(_, element, _) => Step::ElementField(element, at),
        }
    }

    /// Goes on to the next element of a list of structs.
    fn next_element(&mut self) -> bool {
        let Of::Structs(elements, at, _) = self.of else {
            return false;
        };
        let Some(any_struct::Reader(element)) = elements.try_get(at + 1) else {
            return false;
        };
        *self = Self::of_element(elements, at + 1, element);
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
    #[inline]
    fn of(word: [u8; 8]) -> Self {
        let word = u64::from_le_bytes(word);
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

/// What a pointer that may lead to pointers leads to.
enum Entered<'a> {
    Frame(Frame<'a>),
    /// What holds no pointers.
    Leaf,
    /// What can't be read.
    Nothing,
}

/// Enters what `pointer` points to.
fn enter(pointer: PointerReader<'_>) -> capnp::Result<Entered<'_>> {
    let entered = match pointer.get_pointer_type() {
        Ok(PointerType::Struct) => pointer
            .get_struct(None)
            .map(|fields| Some(Frame::of_struct(fields))),
        Ok(PointerType::List) => {
            struct_list::Reader::get_from_pointer(&pointer, None).map(enter_list)
        }
        // A capability behind a far pointer can't be read; a copy that takes it fails.
        Ok(PointerType::Null | PointerType::Capability) => return Ok(Entered::Nothing),
        Err(error) => Err(error),
    };
    match entered {
        Ok(Some(frame)) if !frame.words.is_empty() => Ok(Entered::Frame(frame)),
        Ok(_) => Ok(Entered::Leaf),
        Err(error) if error.kind == capnp::ErrorKind::ReadLimitExceeded => Err(error),
        Err(_malformed) => Ok(Entered::Nothing),
    }
}

/// Any list but one of bits can be read as one of structs. One of pointers is not to be: its elements
/// would be a level deeper than they are, and the nesting limit would be reached too early.
fn enter_list(elements: struct_list::Reader<'_, AnyStruct>) -> Option<Frame<'_>> {
    if raw::get_list_element_size(elements) == ElementSize::Pointer {
        let reader = elements.into_internal_list_reader();
        let pointers = any_pointer_list::Reader { reader };
        return Some(Frame {
            of: Of::Pointers(pointers),
            words: raw::get_list_bytes(pointers).as_chunks().0,
            next: 0,
        });
    }
    let any_struct::Reader(first) = elements.try_get(0)?;
    Some(Frame::of_element(elements, 0, first))
}
