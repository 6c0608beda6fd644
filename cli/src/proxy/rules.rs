//! Which interfaces and methods may be called.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use super::names::{Interface, Names};

/// What is allowed, and what is denied; by default all is allowed.
///
/// What is denied goes first. As soon as anything is allowed, all else is refused. Both hold for calls in
/// either direction.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// If none, everything.
    allowed: Option<Matches>,
    denied: Matches,
}

/// Interfaces and methods as a user names them: `Interface`, `Interface/method`, `0xid`, `0xid/ordinal`, or `*`
/// for any of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    interface: InterfacePattern,
    method: MethodPattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum InterfacePattern {
    Any,
    Id(u64),
    Name(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum MethodPattern {
    Any,
    Ordinal(u16),
    Name(String),
}

/// What is met by any of several patterns.
#[derive(Clone, Debug, Default)]
struct Matches {
    all: bool,
    interfaces: HashSet<u64>,
    methods: HashSet<(u64, u16)>,
}

impl Rules {
    /// Rules from patterns, and what is wrong with those: the option, and why.
    pub fn new(
        allow: &[Pattern],
        deny: &[Pattern],
        names: &Names,
    ) -> (Self, Vec<(&'static str, String)>) {
        let known = Known::new(names);
        let mut wrong = Vec::new();
        let mut all = |key, patterns: &[Pattern]| {
            let mut matches = Matches::default();
            for pattern in patterns {
                if let Err(error) = matches.add(pattern, &known) {
                    wrong.push((key, format!("{pattern}: {error}")));
                }
            }
            matches
        };
        let allowed = (!allow.is_empty()).then(|| all("allow", allow));
        let denied = all("deny", deny);
        (Self { allowed, denied }, wrong)
    }

    /// Why a call is refused, if it is.
    pub fn refuses(&self, interface_id: u64, method_id: u16) -> Option<String> {
        if self.denied.has(interface_id, method_id) {
            return Some("it is denied".into());
        }
        match &self.allowed {
            Some(allowed) if !allowed.has(interface_id, method_id) => {
                Some("it is not among what is allowed".into())
            }
            _ => None,
        }
    }
}

impl Matches {
    fn add(&mut self, pattern: &Pattern, known: &Known<'_>) -> Result<(), String> {
        let id = match &pattern.interface {
            InterfacePattern::Any => {
                self.all = true;
                return Ok(());
            }
            InterfacePattern::Id(id) => *id,
            InterfacePattern::Name(name) => known.id(name)?,
        };
        match &pattern.method {
            MethodPattern::Any => {
                self.interfaces.insert(id);
            }
            MethodPattern::Ordinal(ordinal) => {
                self.methods.insert((id, *ordinal));
            }
            MethodPattern::Name(name) => {
                self.methods.insert((id, known.ordinal(id, name)?));
            }
        }
        Ok(())
    }

    fn has(&self, interface_id: u64, method_id: u16) -> bool {
        self.all
            || self.interfaces.contains(&interface_id)
            || self.methods.contains(&(interface_id, method_id))
    }
}

/// How many names an error tells of.
const MAX_TOLD: usize = 30;

/// Interfaces by their names.
struct Known<'a> {
    names: &'a Names,
    by_name: HashMap<&'a str, Vec<u64>>,
}

impl<'a> Known<'a> {
    fn new(names: &'a Names) -> Self {
        let mut by_name = HashMap::<_, Vec<_>>::new();
        for (id, interface) in names.interfaces() {
            by_name.entry(&*interface.name).or_default().push(id);
        }
        Self { names, by_name }
    }

    fn id(&self, name: &str) -> Result<u64, String> {
        match self.by_name.get(name).map_or(&[][..], |ids| ids) {
            [id] => Ok(*id),
            [] if self.by_name.is_empty() => Err(
                "a name needs a schema that has it (--schema); without one, an interface is 0xid"
                    .into(),
            ),
            [] => {
                let mut known: Vec<_> = self.by_name.keys().copied().collect();
                known.sort_unstable();
                Err(format!(
                    "no schema has an interface '{name}': there are {}",
                    listed(&known)
                ))
            }
            several => {
                let ids: Vec<_> = several.iter().map(|id| format!("{id:#x}")).collect();
                Err(format!(
                    "there are several interfaces '{name}', which only their ids tell apart: {}",
                    ids.join(", ")
                ))
            }
        }
    }

    fn ordinal(&self, id: u64, name: &str) -> Result<u16, String> {
        let Some(Interface {
            name: interface,
            methods,
        }) = self.names.interface(id)
        else {
            return Err(format!(
                "no schema has the interface {id:#x}: without one, a method is its ordinal"
            ));
        };
        let place = methods.iter().position(|method| method == name);
        place
            .and_then(|place| u16::try_from(place).ok())
            .ok_or_else(|| {
                let methods: Vec<_> = methods.iter().map(|name| &**name).collect();
                format!(
                    "{interface} has no method '{name}' of its own: it has {}",
                    listed(&methods)
                )
            })
    }
}

fn listed(names: &[&str]) -> String {
    match names.len() {
        0 => "none".into(),
        count if count <= MAX_TOLD => names.join(", "),
        count => format!(
            "{} and {} more",
            names[..MAX_TOLD].join(", "),
            count - MAX_TOLD
        ),
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is no pattern: write Interface, Interface/method, 0xid, 0xid/ordinal, or *"
            )
        };
        let (interface, method) = text.split_once('/').unwrap_or((text, "*"));
        let is_name = |name: &str| {
            let is_of_name = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == '.';
            name.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
                && name.chars().all(is_of_name)
        };
        let interface = match interface.strip_prefix("0x") {
            Some(digits) if !digits.starts_with('+') => {
                let id = u64::from_str_radix(digits, 16).map_err(|_| wrong())?;
                InterfacePattern::Id(id)
            }
            None if interface == "*" => InterfacePattern::Any,
            None if is_name(interface) => InterfacePattern::Name(interface.into()),
            _ => return Err(wrong()),
        };
        let method = match method {
            "*" => MethodPattern::Any,
            digits if digits.starts_with(|it: char| it.is_ascii_digit()) => {
                MethodPattern::Ordinal(digits.parse().map_err(|_| wrong())?)
            }
            name if is_name(name) => MethodPattern::Name(name.into()),
            _ => return Err(wrong()),
        };
        if interface == InterfacePattern::Any && method != MethodPattern::Any {
            return Err(wrong());
        }
        Ok(Self {
            text: text.into(),
            interface,
            method,
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn names() -> Names {
        let interface = |name: &str, methods: &[&str]| Interface {
            name: name.into(),
            methods: methods.iter().map(|it| (*it).to_owned()).collect(),
        };
        Names::new(BTreeMap::from([
            (0xa, interface("Outer.Store", &["get", "put"])),
            (0xb, interface("Admin", &["stop"])),
            (0xc, interface("Twin", &[])),
            (0xd, interface("Twin", &[])),
        ]))
    }

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_denied_goes_first_and_what_is_allowed_excludes_the_rest() {
        const GET: (u64, u16) = (0xa, 0);
        const PUT: (u64, u16) = (0xa, 1);
        const STOP: (u64, u16) = (0xb, 0);
        const OTHER: (u64, u16) = (0xffff_ffff_ffff_ffff, 0xffff);
        let all = [GET, PUT, STOP, OTHER];
        for (allow, deny, passes) in [
            (&[][..], &[][..], &all[..]),
            (&["*"], &[], &all),
            (&["*/*"], &[], &all),
            (&[], &["*"], &[]),
            (&["*"], &["*"], &[]),
            (&["Outer.Store"], &[], &[GET, PUT]),
            (&["Outer.Store/*"], &[], &[GET, PUT]),
            (&["Outer.Store/put"], &[], &[PUT]),
            (&["Outer.Store/0"], &[], &[GET]),
            (&["0xa"], &[], &[GET, PUT]),
            (&["0xA/*"], &[], &[GET, PUT]),
            (&["0xa/1"], &[], &[PUT]),
            (&["0xa/put"], &[], &[PUT]),
            (&["0xffffffffffffffff/65535"], &[], &[OTHER]),
            (&["Outer.Store", "Admin"], &[], &[GET, PUT, STOP]),
            (&["Outer.Store/get", "0xb"], &["Admin/stop"], &[GET]),
            (&[], &["Admin"], &[GET, PUT, OTHER]),
            (&[], &["Admin/stop", "Outer.Store/get"], &[PUT, OTHER]),
            (&["*"], &["0xa"], &[STOP, OTHER]),
            (&["0x1"], &[], &[]),
        ] {
            let (rules, wrong) = Rules::new(&patterns(allow), &patterns(deny), &names());
            assert!(wrong.is_empty(), "{wrong:?}");
            for (interface, method) in all {
                let refused = rules.refuses(interface, method);
                let expected = passes.contains(&(interface, method));
                let which = (allow, deny, interface, method);
                assert_eq!(refused.is_none(), expected, "{which:?}: {refused:?}");
            }
        }
    }

    #[test]
    fn by_default_all_passes() {
        assert_eq!(Rules::default().refuses(1, 2), None);
    }

    #[test]
    fn the_reason_says_which_of_the_two() {
        let (rules, _) = Rules::new(&patterns(&["0x1", "0x2"]), &patterns(&["0x2"]), &names());
        assert_eq!(rules.refuses(2, 0).unwrap(), "it is denied");
        assert_eq!(
            rules.refuses(3, 0).unwrap(),
            "it is not among what is allowed"
        );
    }

    #[test]
    fn a_name_that_nobody_has_is_told_with_those_that_there_are() {
        let (rules, wrong) = Rules::new(
            &patterns(&["Store", "Outer.Store/del", "0x1/get"]),
            &patterns(&["Twin", "Admin/Stop"]),
            &names(),
        );
        let expected = [
            (
                "allow",
                "Store: no schema has an interface 'Store': there are Admin, Outer.Store, Twin",
            ),
            (
                "allow",
                "Outer.Store/del: Outer.Store has no method 'del' of its own: it has get, put",
            ),
            (
                "allow",
                "0x1/get: no schema has the interface 0x1: without one, a method is its ordinal",
            ),
            (
                "deny",
                "Twin: there are several interfaces 'Twin', which only their ids tell apart: 0xc, 0xd",
            ),
            (
                "deny",
                "Admin/Stop: Admin has no method 'Stop' of its own: it has stop",
            ),
        ];
        let expected = expected.map(|(key, text)| (key, text.to_owned()));
        assert_eq!(wrong, expected);
        // What can't be understood opens nothing.
        assert!(rules.refuses(0xa, 0).is_some());
        let (_, wrong) = Rules::new(&patterns(&["A"]), &[], &Names::default());
        assert!(wrong[0].1.contains("needs a schema"), "{wrong:?}");
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for wrong in [
            "",
            "/",
            "A/",
            "/a",
            "*/a",
            "*/0",
            "0x",
            "0x+1",
            "0xg",
            "0x10000000000000000",
            "0xa/65536",
            "0xa/0x1",
            "12",
            "A/b/c",
            "A b",
            "A/*x",
            "A*",
            "ä",
        ] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }
}
