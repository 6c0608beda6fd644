//! A struct of which nothing is known but its layout. `capnp` has none: its lists of structs want a type.

use capnp::introspect::{Introspect, Type, TypeVariant};
use capnp::private::layout::{PointerBuilder, StructBuilder, StructReader, StructSize};
use capnp::traits::{HasStructSize, IntoInternalStructReader, OwnedStruct, SetterInput};

/// The type of the elements of any list that has a layout of structs.
pub(super) struct AnyStruct;

#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) StructReader<'a>);

pub(super) struct Builder<'a>(pub(super) StructBuilder<'a>);

impl Introspect for AnyStruct {
    fn introspect() -> Type {
        TypeVariant::AnyPointer.into()
    }
}

impl OwnedStruct for AnyStruct {
    type Reader<'a> = Reader<'a>;
    type Builder<'a> = Builder<'a>;
}

impl<'a> From<StructReader<'a>> for Reader<'a> {
    fn from(reader: StructReader<'a>) -> Self {
        Self(reader)
    }
}

impl<'a> From<StructBuilder<'a>> for Builder<'a> {
    fn from(builder: StructBuilder<'a>) -> Self {
        Self(builder)
    }
}

impl HasStructSize for Builder<'_> {
    /// The smallest: a struct that is there is never grown, so never moved.
    const STRUCT_SIZE: StructSize = StructSize {
        data: 0,
        pointers: 0,
    };
}

impl<'a> IntoInternalStructReader<'a> for Reader<'a> {
    fn into_internal_struct_reader(self) -> StructReader<'a> {
        self.0
    }
}

impl SetterInput<AnyStruct> for Reader<'_> {
    fn set_pointer_builder(
        mut builder: PointerBuilder<'_>,
        input: Self,
        canonicalize: bool,
    ) -> capnp::Result<()> {
        builder.set_struct(&input.0, canonicalize)
    }
}
