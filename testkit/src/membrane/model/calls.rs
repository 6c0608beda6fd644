//! What one calls a real object for.

use capnp::Error;
use capnp::capability::{FromClientHook, Request};

use super::ops::Op;
use super::reference::{Gives, push};
use super::system::{Answer, Call, Got, System, settled, text};
use crate::probe_capnp::probe;

impl System {
    /// Calls, and gives what comes of it; `None`: it waits for what does not come.
    pub(super) fn call(&mut self, op: Op) -> Option<(usize, Answer)> {
        use Op::*;
        let nothing = || Ok(Got::Other(Gives::Nothing));
        let (to, cap) = match op {
            Make { to }
            | Clear { to }
            | Take { to }
            | Hold { to }
            | Streamed { to }
            | Ask { to } => (to, to),
            Store { to, cap } | Hang { to, cap } | Wait { to, cap } => (to, cap),
            Pipeline { to, cap, .. } | Stream { to, cap, .. } => (to, cap),
            LoopBack { through, cap } | Call { through, cap } => (through, cap),
            Relay { through, to, .. } => (through, to),
            Promise { of, cap, .. } => (of, cap),
            other => unreachable!("{other:?} is no call"),
        };
        let vat = self.hands[to as usize].vat;
        let (to, cap) = (self.cap(to), self.cap(cap));
        let answer: Answer = match op {
            Make { .. } => {
                let sent = made(&to).send().promise;
                self.now(async { Ok(Got::Cap(sent.await?.get()?.get_probe()?)) })?
            }
            Hold { .. } => match self.now(made(&to).send().promise)? {
                Ok(response) => {
                    push(&mut self.responses, (vat, response));
                    nothing()
                }
                Err(error) => Err(error),
            },
            Store { .. } => {
                let mut request = to.store_request();
                request.get().set_cap(cap);
                let sent = request.send().promise;
                self.now(sent)?.and_then(|_| nothing())
            }
            Clear { .. } => {
                let sent = to.store_request().send().promise;
                self.now(sent)?.and_then(|_| nothing())
            }
            Take { .. } => {
                let sent = to.stored_request().send().promise;
                self.now(async {
                    let response = sent.await?;
                    let response = response.get()?;
                    Ok(match response.has_cap() {
                        true => Got::Cap(response.get_cap()?),
                        false => Got::Other(Gives::Null),
                    })
                })?
            }
            LoopBack { .. } => {
                let mut request = to.many_request();
                let mut caps = request.get().init_caps(1);
                caps.set(0, cap.into_client_hook());
                let sent = request.send().promise;
                self.now(async { Ok(Got::Cap(sent.await?.get()?.get_caps()?.get(0)?)) })?
            }
            Call { .. } => {
                let mut request = to.call_request();
                request.get().set_to(cap);
                request.get().set_data(b"to and fro");
                let sent = request.send().promise;
                self.now(async {
                    match sent.await?.get()?.get_data()? {
                        b"to and fro" => nothing(),
                        other => Err(Error::failed(format!("not what was sent: {other:?}"))),
                    }
                })?
            }
            Relay { cap: third, .. } => {
                let mut request = to.relay_request();
                request.get().set_to(cap);
                request.get().set_cap(self.cap(third));
                let sent = request.send().promise;
                self.now(async { Ok(Got::Cap(sent.await?.get()?.get_cap()?)) })?
            }
            Stream { bytes, .. } => {
                let mut request = to.push_request();
                request.get().init_data(u32::from(bytes % 16));
                request.get().set_cap(cap);
                let sent = request.send();
                self.now(sent)?.and_then(|()| nothing())
            }
            Streamed { .. } => {
                let sent = to.pushed_request().send().promise;
                self.now(async {
                    let response = sent.await?;
                    let pushed = response.get()?;
                    let numbers = Gives::Numbers(pushed.get_calls(), pushed.get_bytes());
                    Ok(Got::Other(numbers))
                })?
            }
            Promise { target, .. } => {
                let mut request = to.promise_request();
                request
                    .get()
                    .set_to(probe::Target::try_from(u16::from(target)).ok()?);
                if target == 1 {
                    request.get().set_cap(cap);
                }
                let sent = request.send().promise;
                self.now(async { Ok(Got::Cap(sent.await?.get()?.get_cap()?)) })?
            }
            Ask { .. } => {
                let sent = to.label_request().send().promise;
                let answer = async { Ok(Got::Other(Gives::Text(text(sent.await?)?))) };
                push(&mut self.calls, self::Call::new(vat, answer));
                nothing()
            }
            Hang { .. } => {
                let mut request = to.hang_request();
                request.get().set_cap(cap);
                let sent = request.send().promise;
                self.begin(vat, async { Ok(Got::Cap(sent.await?.get()?.get_cap()?)) })
                    .map(|call| push(&mut self.calls, call))
                    .and_then(|()| nothing())
            }
            Wait { .. } => {
                let mut request = to.wait_request();
                request.get().set_cap(cap);
                let sent = request.send().promise;
                self.begin(vat, async { Ok(Got::Cap(sent.await?.get()?.get_cap()?)) })
                    .map(|call| push(&mut self.calls, call))
                    .and_then(|()| nothing())
            }
            Pipeline { keep, .. } => {
                // A promise that has resolved would take the call itself, and its pipeline would be local.
                let to = settled(&to).map_or(to, probe::Client::new);
                let mut request = to.wait_request();
                request.get().set_cap(cap);
                let sent = request.send();
                let pipelined = sent.pipeline.get_cap();
                // Without its pipeline, what was taken from it over a connection waits for ever.
                let answer = async {
                    let _pipeline = sent.pipeline;
                    Ok(Got::Cap(sent.promise.await?.get()?.get_cap()?))
                };
                self.begin(vat, answer).map(|call| {
                    if keep {
                        push(&mut self.calls, call);
                    }
                    Got::Cap(pipelined)
                })
            }
            other => unreachable!("{other:?} is no call"),
        };
        Some((vat, answer))
    }

    /// Begins a call that is not to return at once, but to fail or to wait.
    fn begin(
        &mut self,
        vat: usize,
        answer: impl Future<Output = Answer> + 'static,
    ) -> Result<Call, Error> {
        let mut call = Call::new(vat, answer);
        match self.now(&mut call.answer) {
            None => Ok(call),
            Some(Ok(_)) => Err(Error::failed("it returned too early".into())),
            Some(Err(error)) => Err(error),
        }
    }
}

impl Call {
    fn new(vat: usize, answer: impl Future<Output = Answer> + 'static) -> Self {
        let answer = Box::pin(answer);
        Self { vat, answer }
    }
}

fn made(by: &probe::Client) -> Request<probe::make_params::Owned, probe::make_results::Owned> {
    let mut request = by.make_request();
    request.get().set_label("made");
    request
}
