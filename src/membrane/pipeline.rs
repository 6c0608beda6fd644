//! A pipeline that crosses.

use capnp::any_pointer;
use capnp::private::capability::{ClientHook, PipelineHook, PipelineOp};

use super::state::Ref;
use super::{Direction, call};

/// What stands for `pipeline` on the other side.
pub(super) fn cross(
    pipeline: any_pointer::Pipeline,
    membrane: &Ref,
    direction: Direction,
) -> any_pointer::Pipeline {
    let from = Box::new(From(pipeline));
    any_pointer::Pipeline::new(call::pipeline(from, direction, membrane.clone()))
}

/// A pipeline as a hook: of a call's results, or of a field in them.
struct From(any_pointer::Pipeline);

impl PipelineHook for From {
    fn add_ref(&self) -> Box<dyn PipelineHook> {
        Box::new(Self(self.0.noop()))
    }

    fn get_pipelined_cap(&self, ops: &[PipelineOp]) -> Box<dyn ClientHook> {
        let mut pipeline = self.0.noop();
        for op in ops {
            if let PipelineOp::GetPointerField(field) = op {
                pipeline = pipeline.get_pointer_field(*field);
            }
        }
        pipeline.as_cap()
    }
}
