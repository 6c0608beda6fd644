//! What a caller pipelines on, and is then returned.

use capnp::{any_pointer, primitive_list};
use capspan_testkit::membrane::idle;
use capspan_testkit::testkit_capnp::bundle;
use capspan_testkit::wire_peer::{Cap, Content, Return, Target, echo, returns};

use crate::harness::{Shows, Stage, fault};

/// The most words that a reader of a message takes, as `capnp` has it by default.
const READ_LIMIT: u32 = 8 * 1024 * 1024;

/// The application calls what is pipelined on a call, and asks for it again after the return.
async fn call_and_ask_again(stage: &Stage, returned: fn(u32) -> Return) {
    let (mut peer, theirs) = stage.connect().await;
    let promise = echo(&*theirs.hook, None);
    let pipelined = promise.pipeline.get_pointer_field(0).as_cap();
    let call = echo(&*pipelined, None);
    let asked = peer.called().await;
    assert_eq!(
        peer.called().await.target,
        Target::Answer(asked.question, vec![0])
    );
    peer.say(returned(asked.question)).await;
    // Whatever it is, it is answered.
    let _whatever = promise.promise.await;
    let again = promise.pipeline.get_pointer_field(0).as_cap();
    let call_again = echo(&*again, None);
    idle().await;
    drop((call, call_again));
}

/// The application asks for what is pipelined on a call, without a call on it: so the peer, and whoever
/// reads what it is told, can't know of it. It asks again after the return.
async fn ask_again(stage: &Stage, returned: fn(u32) -> Return) {
    let (mut peer, theirs) = stage.connect().await;
    let promise = echo(&*theirs.hook, None);
    let pipelined = promise.pipeline.get_pointer_field(0).as_cap();
    let asked = peer.called().await;
    peer.say(returned(asked.question)).await;
    // Whatever it is, it is answered; and so is the call on what was pipelined.
    let _whatever = promise.promise.await;
    let call = echo(&*pipelined, None);
    drop(pipelined);
    let again = promise.pipeline.get_pointer_field(0).as_cap();
    let call_again = echo(&*again, None);
    idle().await;
    drop((call, call_again));
}

/// The same, without asking again.
async fn ask_once(stage: &Stage, returned: fn(u32) -> Return) {
    let (mut peer, theirs) = stage.connect().await;
    let promise = echo(&*theirs.hook, None);
    let pipelined = promise.pipeline.get_pointer_field(0).as_cap();
    let asked = peer.called().await;
    peer.say(returned(asked.question)).await;
    let _whatever = promise.promise.await;
    let call = echo(&*pipelined, None);
    assert!(
        call.promise.await.is_err(),
        "there is nobody who could answer"
    );
}

fn text(question: u32) -> Return {
    returns(question, []).content(Content::Text("no struct".into()))
}

fn list(question: u32) -> Return {
    returns(question, []).content(Content::List(vec![Content::Null]))
}

fn nothing(question: u32) -> Return {
    returns(question, []).content(Content::Null)
}

fn a_capability(question: u32) -> Return {
    returns(question, [Cap::Hosted(7)]).content(Content::Cap(0))
}

fn a_null_capability(question: u32) -> Return {
    returns(question, []).content(Content::Struct(vec![Content::Null]))
}

fn no_index(question: u32) -> Return {
    returns(question, []).content(Content::Struct(vec![Content::Cap(3)]))
}

fault!(
    a_text_where_a_struct_was_pipelined_on,
    Shows::Nothing,
    async |stage| {
        ask_once(stage, text).await;
    }
);

fault!(
    a_text_where_a_struct_was_called_on,
    Shows::Panic("rpc.rs"),
    async |stage| {
        call_and_ask_again(stage, text).await;
    }
);

fault!(
    a_list_where_a_struct_was_called_on,
    Shows::Panic("rpc.rs"),
    async |stage| {
        call_and_ask_again(stage, list).await;
    }
);

// A legal return, too: what a null pointer leads to has the defaults, so null capabilities.
fault!(
    no_content_where_a_struct_was_called_on,
    Shows::Panic("rpc.rs"), behind membrane,
    async |stage| {
        call_and_ask_again(stage, nothing).await;
    }
);

fault!(
    a_capability_where_a_struct_was_called_on,
    Shows::Panic("rpc.rs"),
    async |stage| {
        call_and_ask_again(stage, a_capability).await;
    }
);

fault!(
    an_index_that_no_capability_has_where_a_struct_was_called_on,
    Shows::Panic("rpc.rs"),
    async |stage| {
        call_and_ask_again(stage, no_index).await;
    }
);

// A legal return: that the pointer is null can't be seen in it as a fault.
fault!(a_null_capability_that_was_called, Shows::Panic("rpc.rs"), behind membrane, async |stage| {
    call_and_ask_again(stage, a_null_capability).await;
});

fault!(a_text_asked_for_again, Shows::Panic("rpc.rs"), behind membrane, async |stage| {
    ask_again(stage, text).await;
});

fault!(a_list_asked_for_again, Shows::Panic("rpc.rs"), behind membrane, async |stage| {
    ask_again(stage, list).await;
});

fault!(no_content_asked_for_again, Shows::Panic("rpc.rs"), behind membrane, async |stage| {
    ask_again(stage, nothing).await;
});

fault!(a_capability_asked_for_again, Shows::Panic("rpc.rs"), behind membrane, async |stage| {
    ask_again(stage, a_capability).await;
});

fault!(an_index_that_no_capability_has_asked_for_again, Shows::Panic("rpc.rs"), behind membrane, async |stage| {
    ask_again(stage, no_index).await;
});

fault!(a_null_capability_asked_for_again, Shows::Panic("rpc.rs"), behind membrane, async |stage| {
    ask_again(stage, a_null_capability).await;
});

type Response = capnp::capability::Response<any_pointer::Owned>;
type Voids<'a> = primitive_list::Reader<'a, ()>;

// What the application has read leaves a few words, and each asking takes some: until it is the envelope that
// is cut. The guard can't see what is read, and has no say in how much that may be.
fault!(
    a_response_that_is_asked_again_when_it_is_read,
    Shows::Panic("unreachable"),
    stays,
    async |stage| {
        for left in 0..200 {
            let (mut peer, theirs) = stage.connect().await;
            let promise = echo(&*theirs.hook, None);
            let asked = peer.called().await;
            let content = Content::Voids(READ_LIMIT - left);
            peer.say(returns(asked.question, []).content(content)).await;
            if let Ok(response) = promise.promise.await {
                let _whatever = response
                    .get()
                    .and_then(|content| content.get_as::<Voids<'_>>());
                for _ in 0..24 {
                    let _whatever = response.get();
                }
            }
        }
    }
);

fault!(
    a_pipeline_that_is_asked_when_its_response_is_read,
    Shows::Panic("rpc.rs"),
    stays,
    async |stage| {
        for left in 0..200 {
            let (mut peer, theirs) = stage.connect().await;
            let promise = echo(&*theirs.hook, None);
            let asked = peer.called().await;
            let content = Content::Struct(vec![Content::Cap(0), Content::Voids(READ_LIMIT - left)]);
            let returned = returns(asked.question, [Cap::Hosted(7)]);
            peer.say(returned.content(content)).await;
            if let Ok(response) = promise.promise.await {
                let _whatever = read(&response);
            }
            drop(promise.pipeline.get_pointer_field(0).as_cap());
        }
    }
);

/// Reads the list of nothing at pointer 1.
fn read(response: &Response) -> capnp::Result<()> {
    let content: bundle::Reader<'_> = response.get()?.get_as()?;
    content.get_any().get_as::<Voids<'_>>().map(drop)
}
