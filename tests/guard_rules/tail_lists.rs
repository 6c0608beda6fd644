//! Results that stay here (`sendResultsTo.yourself`) with capabilities in lists, and who takes them: at once, late,
//! never, or one who has been given up.

use capnp::ErrorKind;
use capnp::any_pointer_list;
use capnp::capability::Client;
use capspan::guard::{Breach, GuardLimits};
use capspan_testkit::membrane::idle;
use capspan_testkit::wire_peer::{
    Call, Cap, Message, Outcome, Return, Service, Target, call, echo, finish, method, release,
    resolve, returns,
};

use crate::harness::{Asked, Connected, connected, connected_within, why};

/// A service of the application's, which the peer has got, and calls.
pub(crate) struct Lists {
    pub(crate) service: Service,
    /// The call in which the peer has got it, and the peer's question.
    gives: Asked,
    given: u32,
    id: u32,
    next: u32,
}

impl Lists {
    pub(crate) async fn new(on: &mut Connected) -> Self {
        let service = Service::new();
        let (gives, heard) = on.asks(Some(service.object())).await;
        let [Cap::Hosted(id)] = heard.params.caps[..] else {
            panic!("no object: {heard:?}");
        };
        Self {
            service,
            gives,
            given: heard.question,
            id,
            next: 100,
        }
    }

    /// The service keeps it.
    pub(crate) async fn keeps(&mut self, on: &mut Connected, cap: Cap) {
        self.next += 1;
        let id = self.next;
        on.peer.say(self.call(id, method::STORE).with([cap])).await;
        assert!(on.peer.returned(id).await.no_finish_needed);
    }

    pub(crate) fn call(&self, question: u32, method: u16) -> Call {
        call(question, Target::Cap(self.id), method)
    }

    /// The same, which is there when [`Self::opens`] is said.
    fn stays_later(&self, question: u32) -> Message {
        let later = self.call(question, method::LIST_LATER);
        later.to_yourself().into()
    }

    fn opens(&self) -> Message {
        self.call(98, method::OPEN).into()
    }

    /// The list of all that the service keeps, which stays here.
    fn stays(&self, question: u32) -> Message {
        self.call(question, method::LIST).to_yourself().into()
    }

    /// All is let go of, and nothing is left of any call: but what the peer was given the service by is open.
    pub(crate) async fn end(self, on: &mut Connected) {
        self.next_is_dropped(on).await;
        let usage = on.guard.usage();
        assert_eq!((usage.calls, usage.call_bytes, usage.unfinished), (0, 0, 0));
        assert_eq!((usage.exports, usage.imports, usage.waiting), (0, 0, 0));
        assert_eq!(self.service.live(), 0);
    }

    async fn next_is_dropped(&self, on: &mut Connected) {
        let drops = self.call(99, method::DROP);
        on.peer.say(drops).await;
        on.peer.returned(99).await;
        let gone: [Message; 2] = [returns(self.given, []).into(), release(self.id, 1)];
        on.peer.say_all(gone).await;
        idle().await;
    }
}

/// The peer answers call `question` by the results of its own call.
fn takes(question: u32, own: u32) -> Message {
    taken(question, own).into()
}

fn taken(question: u32, own: u32) -> Return {
    returns(question, []).outcome(Outcome::TakeFromOtherQuestion(own))
}

/// What an answer has in its list.
async fn listed(asked: Asked) -> Vec<Option<Client>> {
    let response = asked.promise.await.expect("an answer");
    let content = response.get().expect("a content");
    let list: any_pointer_list::Reader<'_> = content.get_as().expect("a list");
    // Where it is not, there is a pointer to nothing.
    let at = |at| list.get(at).get_as_capability().ok();
    (0..list.len()).map(at).collect()
}

/// Who hears a call on it: the peer.
async fn is_the_peers(on: &mut Connected, cap: &Option<Client>, id: u32) {
    let asked = echo(&*cap.as_ref().expect("it is there").hook, None);
    let heard = on.peer.called().await;
    assert_eq!(heard.target, Target::Cap(id));
    on.peer.say(returns(heard.question, [])).await;
    asked.promise.await.expect("an answer");
}

/// How often the peer is told that `id` is let go of, in all.
pub(crate) async fn released(on: &mut Connected, id: u32) -> u32 {
    let rest = on.peer.rest().await;
    let counts = rest.iter().map(|said| match said {
        Some(Message::Release { id: other, count }) if *other == id => *count,
        _ => 0,
    });
    counts.sum()
}

#[test]
fn a_list_of_this_sides_and_of_the_peers() {
    connected(async |on| {
        let mut lists = Lists::new(on).await;
        for cap in [
            Cap::Hosted(5),
            Cap::Yours(lists.id),
            Cap::Hosted(6),
            Cap::Hosted(5),
        ] {
            lists.keeps(on, cap).await;
        }
        let (asked, heard) = on.asks(None).await;
        on.peer
            .say_all([
                lists.stays_later(1),
                takes(heard.question, 1),
                lists.opens(),
            ])
            .await;
        assert_eq!(
            on.peer.returned(1).await.outcome,
            Outcome::ResultsSentElsewhere
        );
        let all = listed(asked).await;
        assert_eq!(all.len(), 4);
        for (at, id) in [(0, 5), (2, 6), (3, 5)] {
            is_the_peers(on, &all[at], id).await;
        }
        let calls = lists.service.calls();
        let own = all[1].as_ref().expect("it is there");
        echo(&*own.hook, None).promise.await.expect("an answer");
        assert_eq!(lists.service.calls(), calls + 1);
        on.peer.say(finish(1)).await;
        drop(all);
        lists.end(on).await;
        assert_eq!(released(on, 5).await, 2);
        on.is_legal().await;
    });
}

/// The peer has done with its own call before the results are there: they are let go of as soon as they are taken.
#[test]
fn a_list_that_comes_when_the_peer_has_done_with_its_call() {
    connected(async |on| {
        let mut lists = Lists::new(on).await;
        for cap in [Cap::Hosted(5), Cap::Yours(lists.id)] {
            lists.keeps(on, cap).await;
        }
        let (asked, heard) = on.asks(None).await;
        let stays = lists.call(1, method::LIST_LATER).to_yourself();
        on.peer
            .say_all([stays.into(), takes(heard.question, 1), finish(1)])
            .await;
        on.peer.say(lists.call(2, method::DROP)).await;
        on.peer
            .say(lists.call(3, method::STORE).with([Cap::Hosted(6)]))
            .await;
        on.peer.say(lists.call(4, method::OPEN)).await;
        let all = listed(asked).await;
        assert_eq!(all.len(), 1);
        is_the_peers(on, &all[0], 6).await;
        drop(all);
        lists.end(on).await;
        assert_eq!(released(on, 6).await, 1);
        on.is_legal().await;
    });
}

/// Nothing names them any more by which they are sure to be found.
#[test]
fn a_list_that_is_taken_late_is_of_nothing() {
    connected(async |on| {
        let mut lists = Lists::new(on).await;
        for cap in [Cap::Hosted(5), Cap::Yours(lists.id)] {
            lists.keeps(on, cap).await;
        }
        let (asked, heard) = on.asks(None).await;
        on.peer.say(lists.stays(1)).await;
        on.peer.returned(1).await;
        on.peer.say(takes(heard.question, 1)).await;
        let all = listed(asked).await;
        assert!(all.len() == 2 && all.iter().all(Option::is_none));
        on.peer.say(finish(1)).await;
        lists.end(on).await;
        assert_eq!(released(on, 5).await, 1);
        on.is_legal().await;
    });
}

#[test]
fn a_promise_of_the_peers_in_a_list() {
    connected(async |on| {
        let mut lists = Lists::new(on).await;
        lists.keeps(on, Cap::Promise(7)).await;
        let (asked, heard) = on.asks(None).await;
        on.peer
            .say_all([
                lists.stays_later(1),
                takes(heard.question, 1),
                finish(1),
                lists.opens(),
            ])
            .await;
        let all = listed(asked).await;
        on.peer.say(resolve(7, Cap::Hosted(8))).await;
        idle().await;
        is_the_peers(on, &all[0], 8).await;
        drop(all);
        lists.end(on).await;
        let rest = on.peer.rest().await;
        let count = |id| {
            rest.iter()
                .filter(|it| **it == Some(release(id, 1)))
                .count()
        };
        assert_eq!((count(7), count(8)), (1, 1), "{rest:?}");
        on.is_legal().await;
    });
}

/// A stand-in takes its place, which becomes what the promise does.
#[test]
fn a_promise_of_this_sides_in_a_list() {
    connected(async |on| {
        let mut lists = Lists::new(on).await;
        on.peer.say(lists.call(1, method::PROMISE)).await;
        let [Cap::Promise(promise)] = on.peer.returned(1).await.caps()[..] else {
            panic!("no promise");
        };
        lists.keeps(on, Cap::Yours(promise)).await;
        let (asked, heard) = on.asks(None).await;
        on.peer
            .say_all([
                lists.stays_later(2),
                takes(heard.question, 2),
                finish(2),
                lists.opens(),
            ])
            .await;
        let all = listed(asked).await;
        let called = echo(&*all[0].as_ref().expect("it is there").hook, None);
        let fulfils = lists.call(3, method::FULFIL).with([Cap::Hosted(5)]);
        on.peer.say(fulfils).await;
        let heard = on.peer.called().await;
        assert_eq!(heard.target, Target::Cap(5));
        on.peer.say(returns(heard.question, [])).await;
        called.promise.await.expect("an answer");
        drop(all);
        on.peer.say(finish(1)).await;
        lists.end(on).await;
        assert_eq!(released(on, 5).await, 1);
        on.is_legal().await;
    });
}

/// Each is taken by another call than the one that was made at the same time, and finished before or after it came.
#[test]
fn many_lists_at_once() {
    connected(async |on| {
        let mut lists = Lists::new(on).await;
        for cap in [Cap::Hosted(5), Cap::Yours(lists.id), Cap::Promise(7)] {
            lists.keeps(on, cap).await;
        }
        let mut asked = Vec::new();
        for _ in 0..20 {
            asked.push(on.asks(None).await);
        }
        let questions: Vec<u32> = asked.iter().map(|(_, heard)| heard.question).collect();
        let mut said: Vec<Message> = (1..=20).map(|id| lists.stays_later(id)).collect();
        for (id, question) in (1..=20).zip(questions.iter().rev()) {
            said.push(takes(*question, id));
            said.extend((id % 2 == 0).then(|| finish(id)));
        }
        said.push(lists.opens());
        on.peer.say_all(said).await;
        idle().await;
        // Half of them nobody wants.
        for (at, (asked, _)) in asked.into_iter().enumerate() {
            if at % 2 == 0 {
                drop(asked);
                continue;
            }
            let all = listed(asked).await;
            assert!(all.len() == 3 && all.iter().all(Option::is_some), "{at}");
        }
        on.peer
            .say_all((1..=20).filter(|id| id % 2 == 1).map(finish))
            .await;
        on.peer.say(resolve(7, Cap::Hosted(5))).await;
        lists.end(on).await;
        assert_eq!(released(on, 5).await, 2);
        on.is_legal().await;
    });
}

/// The one who is to take them is given up before they are there, or before the peer says so.
#[test]
fn lists_that_are_not_wanted_any_more() {
    for order in 0..3 {
        connected(async |on| {
            let mut lists = Lists::new(on).await;
            for cap in [Cap::Hosted(5), Cap::Yours(lists.id)] {
                lists.keeps(on, cap).await;
            }
            let (asked, heard) = on.asks(None).await;
            let later = lists.call(1, method::LIST_LATER).to_yourself().into();
            let said = [later, takes(heard.question, 1), finish(1)];
            match order {
                0 => {
                    drop(asked);
                    idle().await;
                    on.peer.say_all(said).await;
                }
                1 => {
                    on.peer.say_all(said).await;
                    idle().await;
                    drop(asked);
                }
                _ => {
                    let [later, taken, finished] = said;
                    on.peer.say_all([later, taken]).await;
                    idle().await;
                    drop(asked);
                    on.peer.expect(finish(heard.question)).await;
                    on.peer.say(finished).await;
                }
            }
            on.peer.say(lists.opens()).await;
            idle().await;
            lists.next_is_dropped(on).await;
            let usage = on.guard.usage();
            assert_eq!(
                (usage.calls, usage.call_bytes, usage.exports),
                (0, 0, 0),
                "{order}"
            );
            assert_eq!((usage.imports, lists.service.live()), (0, 0), "{order}");
            assert_eq!(released(on, 5).await, 1);
            on.is_legal().await;
        });
    }
}

/// There is no room for them, once they are there. Who takes them is told so, and what is in them is let go of.
#[test]
fn a_list_that_there_is_no_room_for() {
    connected_within(GuardLimits::default().max_call_bytes(1_000), async |on| {
        let mut lists = Lists::new(on).await;
        for _ in 0..40 {
            lists.keeps(on, Cap::Hosted(5)).await;
        }
        lists.keeps(on, Cap::Yours(lists.id)).await;
        let (asked, heard) = on.asks(None).await;
        on.peer.say_all([lists.stays(1), lists.stays(2)]).await;
        for id in [1, 2] {
            assert_eq!(
                on.peer.returned(id).await.outcome,
                Outcome::ResultsSentElsewhere
            );
        }
        idle().await;
        assert_eq!(on.guard.usage().call_bytes, 0);
        let pipelined = call(3, Target::Answer(1, vec![0]), method::ECHO);
        on.peer
            .say_all([pipelined.into(), takes(heard.question, 1)])
            .await;
        let error = why(asked).await;
        assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
        let refused = on.peer.returned(3).await;
        assert_eq!(refused.exception().kind, ErrorKind::Overloaded);
        on.peer.say_all([finish(3), finish(2), finish(1)]).await;
        assert_eq!(on.guard.count(Breach::BytesInFlight), 2);
        assert_eq!(on.guard.count(Breach::OnRefused), 1);
        lists.end(on).await;
        assert_eq!(released(on, 5).await, 40);
        on.goes_on().await;
        assert_eq!(on.guard.refused(), 3);
    });
}

/// A capability of the service's own is in no results but these.
#[test]
fn lists_that_nobody_has_taken_when_the_peer_goes() {
    connected(async |on| {
        let mut lists = Lists::new(on).await;
        for cap in [Cap::Hosted(5), Cap::Yours(lists.id), Cap::Promise(7)] {
            lists.keeps(on, cap).await;
        }
        let (asked, heard) = on.asks(None).await;
        let later = lists.call(9, method::LIST_LATER).to_yourself();
        let mut said: Vec<Message> = (1..=8).map(|id| lists.stays(id)).collect();
        said.extend([later.into(), takes(heard.question, 9)]);
        on.peer.say_all(said).await;
        on.peer.say(lists.call(98, method::DROP)).await;
        on.peer.returned(98).await;
        on.peer.end_of_stream().await;
        idle().await;
        assert_eq!(why(asked).await.kind, ErrorKind::Disconnected);
        drop(lists.gives);
        idle().await;
        assert_eq!(lists.service.live(), 0);
        assert_eq!(on.guard.refused(), 0);
    });
}

#[test]
fn a_list_that_is_taken_twice() {
    connected(async |on| {
        let mut lists = Lists::new(on).await;
        lists.keeps(on, Cap::Hosted(5)).await;
        let (first, heard) = on.asks(None).await;
        let (second, again) = on.asks(None).await;
        on.peer
            .say_all([
                lists.stays(1),
                takes(heard.question, 1),
                takes(again.question, 1),
            ])
            .await;
        on.is_cut(Breach::ReturnKind).await;
        drop((first, second, lists.gives));
        idle().await;
        assert_eq!(lists.service.live(), 0);
    });
}
