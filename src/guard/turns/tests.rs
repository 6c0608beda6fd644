//! The line against plain connections, with counted wakers and no executor: those that were woken have their
//! turns in order.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use super::{BEHIND, Line, MAX_PATIENCE, Place};

/// Who was woken, each once, in order.
type Woken = Arc<Mutex<VecDeque<usize>>>;

struct Bell {
    whose: usize,
    woken: Woken,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let mut woken = self.woken.lock().expect("one thread");
        if !woken.contains(&self.whose) {
            woken.push_back(self.whose);
        }
    }
}

/// A connection with so much to read.
struct Peer {
    place: Place,
    waker: Waker,
    messages: u64,
    /// It is not polled, whoever wakes it.
    is_paused: bool,
}

/// An event loop with a line.
struct World {
    line: Rc<Line>,
    woken: Woken,
    peers: Vec<Option<Peer>>,
    /// Who has read, in order.
    reads: Vec<usize>,
}

impl World {
    fn new(messages: &[u64]) -> Self {
        let mut world = Self {
            line: Rc::default(),
            woken: Woken::default(),
            peers: Vec::new(),
            reads: Vec::new(),
        };
        for count in messages {
            world.join(*count);
        }
        world
    }

    fn join(&mut self, messages: u64) -> usize {
        let whose = self.peers.len();
        let woken = self.woken.clone();
        let waker = Waker::from(Arc::new(Bell { whose, woken }));
        waker.wake_by_ref();
        self.peers.push(Some(Peer {
            place: Place::of(self.line.clone()),
            waker,
            messages,
            is_paused: false,
        }));
        whose
    }

    fn peer(&mut self, whose: usize) -> &mut Peer {
        self.peers[whose].as_mut().expect("it is there")
    }

    fn come(&mut self, whose: usize, messages: u64) {
        let peer = self.peer(whose);
        peer.messages += messages;
        peer.waker.wake_by_ref();
    }

    fn pause(&mut self, whose: usize, is_paused: bool) {
        let peer = self.peer(whose);
        peer.is_paused = is_paused;
        peer.waker.wake_by_ref();
    }

    /// What a connection does when it is polled.
    fn poll(&mut self, whose: usize) {
        let Some(peer) = self.peers[whose].as_mut().filter(|peer| !peer.is_paused) else {
            return;
        };
        if !peer.place.may_read(&peer.waker) {
            return;
        }
        if peer.messages == 0 {
            return peer.place.rest();
        }
        peer.messages -= 1;
        peer.place.read();
        peer.waker.wake_by_ref();
        self.reads.push(whose);
    }

    /// All who were woken before it have their turn. How many messages were read?
    fn turn(&mut self) -> usize {
        let woken = std::mem::take(&mut *self.woken.lock().expect("one thread"));
        let before = self.reads.len();
        for whose in woken {
            self.poll(whose);
            let line = &self.line;
            assert!(line.is_taken.get() || !line.is_waited_in());
        }
        self.reads.len() - before
    }

    /// Until nobody is woken any more.
    fn settle(&mut self) {
        let most = 100_000;
        for _ in 0..most {
            if self.woken.lock().expect("one thread").is_empty() {
                return;
            }
            self.turn();
        }
        panic!("it does not come to rest in {most} turns");
    }

    /// Those that are polled and have not read all.
    fn stuck(&self) -> Vec<usize> {
        let is_stuck = |peer: &Peer| !peer.is_paused && peer.messages > 0;
        let peers = self.peers.iter().zip(0..);
        let stuck = peers.filter(|(peer, _)| peer.as_ref().is_some_and(is_stuck));
        stuck.map(|(_, whose)| whose).collect()
    }

    /// As many turns as it takes until all of them are behind.
    fn warm_up(&mut self) {
        for _ in 0..=u64::from(BEHIND) {
            self.turn();
        }
        self.reads.clear();
    }
}

const MANY: u64 = 1_000_000;

const NOBODY: [usize; 0] = [];

#[test]
fn those_that_are_behind_read_one_message_a_turn_each_in_order() {
    for count in [2, 3, 10, 100] {
        let mut world = World::new(&vec![MANY; count]);
        (0..count).for_each(|_| world.warm_up());
        let turns = 10 * count;
        for _ in 0..turns {
            let read = world.turn();
            // Of two, the one that is called may be on its way.
            assert!(read <= 1 + usize::from(count == 2), "{read} of {count}");
        }
        let read = world.reads.len();
        assert!(read >= turns - 2, "{read} in {turns} turns, of {count}");
        let reads = world.reads.iter();
        let first = reads.clone().filter(|it| **it == 0).count();
        assert!(first.abs_diff(read / count) <= 2, "{first} of {read}");
        for (whose, again) in reads.clone().zip(reads.skip(count)) {
            assert!(whose == again || count == 2, "of {count}");
        }
    }
}

#[test]
fn one_that_is_alone_reads_each_time() {
    let mut world = World::new(&[MANY, 0, 0]);
    for _ in 0..1_000 {
        assert_eq!(world.turn(), 1);
    }
}

#[test]
fn one_that_comes_to_rest_reads_at_once() {
    let mut world = World::new(&[MANY; 50]);
    world.warm_up();
    let calm = world.join(0);
    for _ in 0..1_000 {
        world.come(calm, 2);
        world.turn();
        world.turn();
        assert_eq!(world.peer(calm).messages, 0);
        world.turn();
    }
}

#[test]
fn those_at_rest_go_before_and_keep_nobody_from_reading() {
    let mut world = World::new(&[MANY; 50]);
    world.warm_up();
    let calm = world.join(0);
    let turns = 10_000;
    for _ in 0..turns / 2 {
        world.come(calm, 1);
        world.turn();
        world.turn();
    }
    let of_calm = world.reads.iter().filter(|it| **it == calm).count();
    let others = world.reads.len() - of_calm;
    assert_eq!(of_calm, turns / 2);
    assert!((of_calm / 10..of_calm / 4).contains(&others), "{others}");
}

#[test]
fn one_that_is_paused_or_gone_stops_nobody() {
    for is_gone in [false, true] {
        for whose in 0..3 {
            for after in 0..10 {
                let mut world = World::new(&[500, 500, 500]);
                world.warm_up();
                (0..after).for_each(|_| {
                    world.turn();
                });
                match is_gone {
                    true => world.peers[whose] = None,
                    false => world.pause(whose, true),
                }
                world.settle();
                assert_eq!(world.stuck(), NOBODY, "{whose} after {after}");
                if !is_gone {
                    world.pause(whose, false);
                    world.settle();
                    assert_eq!(world.stuck(), NOBODY);
                }
            }
        }
    }
}

#[test]
fn who_is_called_late_may_still_read() {
    let mut world = World::new(&[MANY; 10]);
    world.warm_up();
    world.pause(3, true);
    for _ in 0..100 {
        world.turn();
    }
    world.reads.clear();
    world.pause(3, false);
    world.turn();
    assert!(world.reads.contains(&3));
}

/// Numbers that look random, the same each time.
fn numbers(mut state: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

/// Random connections, of which as many may be paused at a time.
fn at_random(seed: u64, max_paused: usize) -> World {
    let mut next = numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut world = World::new(&[]);
    for _ in 0..300 {
        let there: Vec<_> = (0..world.peers.len())
            .filter(|it| world.peers[*it].is_some())
            .collect();
        let any = there.get(next(20) as usize).copied();
        let paused = there.iter().filter(|it| world.peer(**it).is_paused).count();
        match (next(12), any) {
            (0, _) | (_, None) if there.len() < 20 => {
                world.join(next(40));
            }
            (1, Some(whose)) => world.peers[whose] = None,
            (2 | 3, Some(whose)) if paused < max_paused => world.pause(whose, true),
            (4 | 5, _) => {
                for whose in there {
                    world.pause(whose, false);
                }
            }
            (6 | 7, Some(whose)) => world.come(whose, 1 + next(60)),
            (8, Some(whose)) => world.peer(whose).waker.wake_by_ref(),
            _ => {
                for _ in 0..next(30) {
                    world.turn();
                }
            }
        }
    }
    world.settle();
    world
}

#[test]
fn random_connections_of_which_one_may_be_paused_all_finish() {
    for seed in 0..300 {
        let world = at_random(seed, 1);
        assert_eq!(world.stuck(), NOBODY, "seed {seed}");
    }
}

#[test]
fn random_connections_of_which_many_are_paused_finish_when_any_other_is_polled() {
    for seed in 0..300 {
        let mut world = at_random(seed, 20);
        let other = world.join(0);
        for _ in 0..20 * MAX_PATIENCE {
            world.peer(other).waker.wake_by_ref();
            world.turn();
        }
        world.settle();
        assert_eq!(world.stuck(), NOBODY, "seed {seed}");
        for whose in 0..world.peers.len() {
            if world.peers[whose].is_some() {
                world.pause(whose, false);
            }
        }
        world.settle();
        assert_eq!(world.stuck(), NOBODY, "seed {seed}");
        world.peers.clear();
        assert!(!world.line.is_taken.get() && world.line.waiting.borrow().is_empty());
    }
}
