//! What interfaces and methods are called, from their schemas.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use capnp::message::ReaderOptions;
use capnp::schema_capnp::{code_generator_request, node};
use capspan::session::CallSpans;

/// The names of the interfaces of one or several schemas. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Names {
    interfaces: Arc<BTreeMap<u64, Interface>>,
}

/// An interface, and its methods in the order of their ordinals.
///
/// What it takes over from others (`extends`) is called by the ids of those, and is theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, with that of its scopes: `Outer.Inner`. Its file is no part of it, as that is where somebody keeps
    /// the schema, and not what the service is.
    pub name: String,
    /// Its methods' names.
    pub methods: Vec<String>,
}

thread_local! {
    static LAST_ASKED_FOR: RefCell<Option<(Names, CallSpans)>> = const { RefCell::new(None) };
}

/// How deep scopes lie in each other, at most: those of a cycle lie in each other for ever.
const MAX_DEPTH: usize = 64;

/// How long a name may be, with those of its scopes: many interfaces may lie in one with a long name.
const MAX_NAME: usize = 512;

impl Names {
    /// Those that are given.
    pub fn new(interfaces: BTreeMap<u64, Interface>) -> Self {
        Self {
            interfaces: Arc::new(interfaces),
        }
    }

    /// Those in a `CodeGeneratorRequest`, which is what `capnp compile -o-` says: of the schemas that it was
    /// given, and of all that these import.
    ///
    /// # Errors
    /// Where it is none. It may come from anywhere: whatever is in it, reading takes no more time and memory than
    /// its size gives reason for.
    pub fn compiled(request: &[u8]) -> Result<Self, String> {
        let damaged = |error: capnp::Error| format!("not a compiled schema, or damaged: {error}");
        let mut words = capnp::Word::allocate_zeroed_vec(request.len() / 8);
        let whole = words.len() * 8;
        capnp::Word::words_to_bytes_mut(&mut words).copy_from_slice(&request[..whole]);
        let mut left = capnp::Word::words_to_bytes(&words);
        // Nothing is read more than a few times.
        let mut options = ReaderOptions::new();
        options.traversal_limit_in_words(Some(4 * words.len() + 1024));
        let message = capnp::serialize::read_message_from_flat_slice(&mut left, options);
        let message = message.map_err(damaged)?;
        let request = message.get_root::<code_generator_request::Reader<'_>>();
        let nodes = request.and_then(|request| request.get_nodes());
        let nodes = nodes.map_err(damaged)?;
        if nodes.is_empty() {
            return Err("a compiled schema with nothing in it".into());
        }
        let mut scopes = BTreeMap::new();
        let mut interfaces = BTreeMap::new();
        for node in nodes {
            let (scope, methods) = read_node(node).map_err(damaged)?;
            if let Some(methods) = methods {
                interfaces.insert(node.get_id(), methods);
            }
            scopes.insert(node.get_id(), scope);
        }
        let named = interfaces.into_iter().map(|(id, methods)| {
            let name = full_name(id, &scopes)
                .ok_or_else(|| format!("interface {id:#x} has no name that can be used"))?;
            Ok((id, Interface { name, methods }))
        });
        Ok(Self::new(named.collect::<Result<_, String>>()?))
    }

    /// Takes those of `more` as well.
    ///
    /// # Errors
    /// Where the two say different things of one interface.
    pub fn add(&mut self, more: Self) -> Result<(), String> {
        let interfaces = Arc::make_mut(&mut self.interfaces);
        for (id, interface) in Arc::unwrap_or_clone(more.interfaces) {
            match interfaces.entry(id) {
                Entry::Vacant(place) => {
                    place.insert(interface);
                }
                Entry::Occupied(known) if *known.get() == interface => {}
                Entry::Occupied(known) => {
                    let known = &known.get().name;
                    return Err(format!(
                        "what it says of {} ({id:#x}) is not what another schema says of {known}",
                        interface.name
                    ));
                }
            }
        }
        Ok(())
    }

    /// All, in the order of their ids.
    pub fn interfaces(&self) -> impl Iterator<Item = (u64, &Interface)> {
        self.interfaces.iter().map(|(id, it)| (*id, it))
    }

    /// What spans of calls are called. Made once for each thread: a session takes no time for names that it does
    /// not use.
    pub fn call_spans(&self) -> CallSpans {
        LAST_ASKED_FOR.with_borrow_mut(|last| match last {
            Some((names, spans)) if Arc::ptr_eq(&names.interfaces, &self.interfaces) => {
                spans.clone()
            }
            _ => {
                let named = self.interfaces.iter();
                let spans = named.fold(CallSpans::new(), |spans, (id, interface)| {
                    spans.interface_by_id(*id, &interface.name, &interface.methods)
                });
                *last = Some((self.clone(), spans.clone()));
                spans
            }
        })
    }

    /// The interface with this id, if a schema has one.
    pub fn interface(&self, id: u64) -> Option<&Interface> {
        self.interfaces.get(&id)
    }

    /// `Interface/method`, or their ids.
    pub fn method(&self, interface_id: u64, method_id: u16) -> String {
        let interface = self.interface(interface_id);
        let method = interface.and_then(|interface| {
            let method = interface.methods.get(usize::from(method_id))?;
            Some(format!("{}/{method}", interface.name))
        });
        method.unwrap_or_else(|| format!("{interface_id:#x}/{method_id}"))
    }
}

/// What others may be in: a file, a struct, an interface.
struct Scope {
    /// Zero in a file.
    outer: u64,
    /// None of a file.
    name: Option<String>,
}

type Methods = Option<Vec<String>>;

fn read_node(node: node::Reader<'_>) -> capnp::Result<(Scope, Methods)> {
    let which = node.which();
    let name = match which {
        Ok(node::File(())) => None,
        _ => {
            let shown = node.get_display_name()?.to_str().unwrap_or_default();
            // "file.capnp:Outer.Inner", of which the last is its own.
            let own = shown.get(node.get_display_name_prefix_length() as usize..);
            Some(own.unwrap_or_default().to_owned())
        }
    };
    let methods = match which {
        Ok(node::Interface(interface)) => {
            let mut names = Vec::new();
            for method in interface.get_methods()? {
                let name = method.get_name()?.to_str().unwrap_or_default();
                // Not later: a list may claim to be far longer than its file, and is then of empty names.
                if !is_name(name) {
                    let error = format!("a method is called '{name}'");
                    return Err(capnp::Error::failed(error));
                }
                names.push(name.to_owned());
            }
            Some(names)
        }
        // Also what only a later compiler knows: that is no interface.
        _ => None,
    };
    let outer = node.get_scope_id();
    Ok((Scope { outer, name }, methods))
}

/// The names of all scopes that lie around it, and its own.
fn full_name(id: u64, scopes: &BTreeMap<u64, Scope>) -> Option<String> {
    let (mut names, mut length) = (Vec::new(), 0);
    let mut next = scopes.get(&id);
    while let Some(scope) = next
        && let Some(name) = &scope.name
    {
        length += name.len() + 1;
        if names.len() == MAX_DEPTH || length > MAX_NAME || !is_name(name) {
            return None;
        }
        names.push(&**name);
        next = scopes.get(&scope.outer);
    }
    names.reverse();
    (!names.is_empty()).then(|| names.join("."))
}

/// As the language has them, so that no name looks like something else wherever it is shown.
fn is_name(name: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty()
        && name.len() <= MAX_NAME
        && !name.starts_with(|it: char| it.is_ascii_digit())
        && name.bytes().all(is_of_name)
}

#[cfg(test)]
mod tests {
    use capnp::message::{Builder, HeapAllocator};

    use super::*;

    const ANALYSIS: &[u8] = include_bytes!("../../schema/analysis.cgr");

    /// A node: its id, that of its scope, what is shown of it, how much of that is not its own, its methods.
    type Node<'a> = (u64, u64, &'a str, u32, Option<&'a [&'a str]>);

    fn request(nodes: &[Node<'_>]) -> Vec<u8> {
        let mut message = Builder::<HeapAllocator>::new_default();
        let request = message.init_root::<code_generator_request::Builder<'_>>();
        let mut list = request.init_nodes(nodes.len() as u32);
        for (place, (id, scope, shown, prefix, methods)) in nodes.iter().enumerate() {
            let mut node = list.reborrow().get(place as u32);
            node.set_id(*id);
            node.set_scope_id(*scope);
            node.set_display_name(*shown);
            node.set_display_name_prefix_length(*prefix);
            if let Some(methods) = methods {
                let interface = node.init_interface();
                let mut list = interface.init_methods(methods.len() as u32);
                for (place, name) in methods.iter().enumerate() {
                    list.reborrow().get(place as u32).set_name(*name);
                }
            } else if *scope == 0 {
                node.set_file(());
            } else {
                node.init_struct();
            }
        }
        capnp::serialize::write_message_to_words(&message)
    }

    const FILE: Node<'_> = (1, 0, "a.capnp", 0, None);

    #[test]
    fn names_have_their_scopes_and_methods_their_order() {
        let names = Names::compiled(&request(&[
            FILE,
            (2, 1, "a.capnp:Outer", 8, None),
            (3, 2, "a.capnp:Outer.Inner", 14, Some(&["one", "two"])),
            (4, 3, "a.capnp:Outer.Inner.In2", 20, Some(&[])),
        ]))
        .unwrap();
        assert_eq!(names.method(3, 1), "Outer.Inner/two");
        assert_eq!(names.method(3, 2), "0x3/2");
        assert_eq!(names.method(5, 0), "0x5/0");
        assert_eq!(names.interface(4).unwrap().name, "Outer.Inner.In2");
        assert_eq!(names.interfaces().count(), 2);
    }

    #[test]
    fn names_are_made_ready_for_spans_once() {
        let nodes = [FILE, (2, 1, "a.capnp:A", 8, Some(&["b"][..]))];
        let (first, second) = (request(&nodes), request(&nodes[..1]));
        let first = Names::compiled(&first).unwrap();
        let second = Names::compiled(&second).unwrap();
        let shown = |names: &Names| format!("{:?}", names.call_spans());
        let (a, b) = (shown(&first), shown(&second));
        assert_ne!(a, b);
        assert_eq!(shown(&first.clone()), a);
        assert_eq!(shown(&second), b);
    }

    #[test]
    fn schemas_may_overlap_where_they_agree() {
        let of = |method| {
            let methods = [method];
            let nodes = [FILE, (2, 1, "a.capnp:A", 8, Some(&methods[..]))];
            Names::compiled(&request(&nodes)).unwrap()
        };
        let mut names = of("a");
        names.add(of("a")).unwrap();
        assert!(names.add(of("b")).unwrap_err().contains("A (0x2)"));
        assert_eq!(names.method(2, 0), "A/a");
    }

    #[test]
    fn scopes_that_lie_in_each_other_and_odd_names_are_refused() {
        let odd: [&[Node<'_>]; 9] = [
            &[(1, 2, "A", 0, Some(&[])), (2, 1, "B", 0, None)],
            &[(1, 1, "A", 0, Some(&[]))],
            &[FILE, (2, 1, "a.capnp:A", 9, Some(&[]))],
            &[FILE, (2, 1, "a.capnp:A", u32::MAX, Some(&[]))],
            &[FILE, (2, 1, "ä", 1, Some(&[]))],
            &[FILE, (2, 1, "A/b", 0, Some(&[]))],
            &[FILE, (2, 1, "0x1", 0, Some(&[]))],
            &[FILE, (2, 1, "A", 0, Some(&["<script>"]))],
            &[],
        ];
        for nodes in odd {
            let error = Names::compiled(&request(nodes));
            assert!(error.is_err(), "{nodes:?}");
        }
        // A scope that is not there is as good as a file.
        let names = Names::compiled(&request(&[(2, 9, "a.capnp:A", 8, Some(&["b"]))])).unwrap();
        assert_eq!(names.method(2, 0), "A/b");
    }

    #[test]
    fn a_schema_cut_anywhere_is_refused_or_read() {
        let whole = Names::compiled(ANALYSIS).unwrap();
        assert!(whole.interfaces().count() >= 2);
        for end in 0..ANALYSIS.len() / 8 * 8 {
            Names::compiled(&ANALYSIS[..end]).unwrap_err();
        }
    }

    #[test]
    fn any_byte_may_be_wrong() {
        for place in 0..ANALYSIS.len() {
            for flip in [0x01, 0xff] {
                let mut bytes = ANALYSIS.to_vec();
                bytes[place] ^= flip;
                // Whether it is still a schema is for it to say.
                let _ = Names::compiled(&bytes);
            }
        }
    }

    #[test]
    fn a_size_that_is_only_claimed_takes_no_memory() {
        let gigabyte = (1_u32 << 27).to_le_bytes();
        let mut claims = vec![0, 0, 0, 0];
        claims.extend(gigabyte);
        claims.extend([0; 64]);
        Names::compiled(&claims).unwrap_err();
        // A billion segments.
        Names::compiled(&[0xff; 64]).unwrap_err();
        // A list of two hundred million nodes without a size.
        let mut list = vec![0, 0, 0, 0, 3, 0, 0, 0];
        list.extend([0, 0, 0, 0, 0, 0, 1, 0]);
        list.extend([0x01, 0, 0, 0, 0x07, 0, 0, 0]);
        list.extend([0xfc, 0xff, 0xff, 0x1f, 0, 0, 0, 0]);
        Names::compiled(&list).unwrap_err();
    }
}
