//! What a span says, and what becomes of what is written to it.

use capspan::trace::Outcome;

/// Bytes of a span's name.
pub(super) const NAME_BYTES: usize = 12;
/// Attributes of a span; half of them may be the callee's.
pub(super) const ATTRIBUTES: usize = 6;
/// Events of a span; half of them may be the callee's.
pub(super) const EVENTS: usize = 4;
/// How many updates one writing of many is: more than may be on their way at once.
pub(super) const MANY: i64 = 70;

/// What somebody writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Name,
    LongName,
    Attribute(u8),
    Event,
    NamelessEvent,
    Fails,
    Succeeds,
    /// An attribute under a reserved key.
    Reserved,
    /// An attribute that the caller has set, where there is one.
    Callers,
    NoKey,
    Nothing,
    /// A name, an attribute and an event at once.
    Several,
    /// The same attribute, as often as [`MANY`].
    Many,
    /// An attribute by which one knows that a call has written.
    Shown,
}

/// Something that is written, and a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Writing {
    pub(super) what: What,
    pub(super) number: i64,
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Author {
    Owner,
    Callee,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    Ok,
    Error,
}

/// How often something was cut or refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) attributes: u32,
    pub(super) events: u32,
    pub(super) cut_names: u32,
    pub(super) invalid_keys: u32,
    pub(super) reserved_keys: u32,
    pub(super) protected_keys: u32,
    pub(super) refused: u32,
}

/// What a span says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) name: String,
    pub(super) original_name: Option<String>,
    pub(super) named_by_callee: bool,
    /// Key, value, and whether it is the callee's.
    pub(super) attributes: Vec<(String, String, bool)>,
    pub(super) events: Vec<(String, bool)>,
    pub(super) status: (Said, bool),
    pub(super) refused: Refused,
}

impl What {
    pub(super) fn choose(choice: u8) -> Self {
        match choice % 32 {
            0..4 => Self::Name,
            4 => Self::LongName,
            5..14 => Self::Attribute(choice / 32 % 5),
            14..18 => Self::Event,
            18 => Self::NamelessEvent,
            19..22 => Self::Fails,
            22 => Self::Succeeds,
            23 => Self::Reserved,
            24 => Self::Callers,
            25 => Self::NoKey,
            26 => Self::Nothing,
            27..30 => Self::Several,
            _ => Self::Many,
        }
    }
}

/// What goes together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Update {
    name: Option<String>,
    attributes: Vec<(String, String)>,
    events: Vec<String>,
    status: Option<Said>,
}

impl Update {
    /// What is written; of what is many, one.
    pub(super) fn of(Writing { what, number }: Writing) -> Self {
        let name = |name: String| Self {
            name: Some(name),
            ..Self::default()
        };
        let attribute = |key: &str, value: i64| Self {
            attributes: vec![(key.to_owned(), value.to_string())],
            ..Self::default()
        };
        let event = |event: String| Self {
            events: vec![event],
            ..Self::default()
        };
        let status = |said| Self {
            status: Some(said),
            ..Self::default()
        };
        match what {
            What::Name => name(format!("n{number}")),
            What::LongName => name(long_name(number)),
            What::Attribute(key) => attribute(&format!("k{key}"), number),
            What::Event => event(format!("v{number}")),
            What::NamelessEvent => event(String::new()),
            What::Fails => status(Said::Error),
            What::Succeeds => status(Said::Ok),
            What::Reserved => attribute("capspan.k", number),
            What::Callers => attribute("faas.trigger", number),
            What::NoKey => attribute("", number),
            What::Nothing => Self::default(),
            What::Several => Self {
                attributes: vec![(SHOWN.to_owned(), number.to_string())],
                events: vec![format!("v{number}")],
                ..name(format!("n{number}"))
            },
            What::Many => attribute("many", MANY),
            What::Shown => attribute(SHOWN, number),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what was written later.
    pub(super) fn merge(&mut self, later: Self) {
        self.name = later.name.or(self.name.take());
        for (key, value) in later.attributes {
            match self.attributes.iter_mut().find(|its| its.0 == key) {
                Some(known) => known.1 = value,
                None => self.attributes.push((key, value)),
            }
        }
        self.events.extend(later.events);
        if self.status != Some(Said::Ok) {
            self.status = later.status.or(self.status.take());
        }
    }
}

impl Text {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            original_name: None,
            named_by_callee: false,
            attributes: Vec::new(),
            events: Vec::new(),
            status: (Said::Nothing, false),
            refused: Refused::default(),
        }
    }

    /// Is what was written with this number there?
    pub(super) fn shows(&self, number: u32) -> bool {
        let shown = number.to_string();
        let mut attributes = self.attributes.iter();
        attributes.any(|(key, value, _)| key == SHOWN && *value == shown)
    }

    pub(super) fn write(&mut self, writing: Writing, by: Author) {
        let times = match writing.what {
            What::Many => MANY,
            _ => 1,
        };
        (0..times).for_each(|_| self.apply(&Update::of(writing), by));
    }

    /// Writes what goes together.
    pub(super) fn apply(&mut self, update: &Update, by: Author) {
        if let Some(name) = &update.name {
            self.rename(name, by);
        }
        for (key, value) in &update.attributes {
            self.set(key, value, by);
        }
        for event in &update.events {
            self.happen(event, by);
        }
        if let Some(said) = &update.status {
            self.say(said.clone(), by);
        }
    }

    fn rename(&mut self, name: &str, by: Author) {
        let cut = &name[..name.len().min(NAME_BYTES)];
        self.refused.cut_names += u32::from(cut.len() < name.len());
        if cut == self.name {
            return;
        }
        self.named_by_callee = by == Author::Callee;
        let before = std::mem::replace(&mut self.name, cut.to_owned());
        self.original_name.get_or_insert(before);
    }

    pub(super) fn set(&mut self, key: &str, value: impl ToString, by: Author) {
        if key.is_empty() {
            self.refused.invalid_keys += 1;
            return;
        }
        let is_callee = by == Author::Callee;
        if is_callee && key.starts_with("capspan.") {
            self.refused.reserved_keys += 1;
            return;
        }
        let value = value.to_string();
        let callees = self.attributes.iter().filter(|(.., callees)| *callees);
        let callees = callees.count();
        let is_all_full = self.attributes.len() == ATTRIBUTES;
        let known = self.attributes.iter_mut().find(|(its, ..)| its == key);
        let is_full = match &known {
            Some((.., true)) => false,
            Some(_) if is_callee => {
                self.refused.protected_keys += 1;
                return;
            }
            Some(_) => false,
            None => is_callee && callees == ATTRIBUTES / 2,
        };
        match known {
            _ if is_full => self.refused.attributes += 1,
            Some(known) => (known.1, known.2) = (value, is_callee),
            None if is_all_full => self.refused.attributes += 1,
            None => self.attributes.push((key.to_owned(), value, is_callee)),
        }
    }

    fn happen(&mut self, name: &str, by: Author) {
        let is_callee = by == Author::Callee;
        let callees = self.events.iter().filter(|event| event.1).count();
        let is_full = self.events.len() == EVENTS || is_callee && callees == EVENTS / 2;
        match name.is_empty() || is_full {
            true => self.refused.events += 1,
            false => self.events.push((name.to_owned(), is_callee)),
        }
    }

    fn say(&mut self, said: Said, by: Author) {
        let is_callee = by == Author::Callee;
        let (before, by_callee) = &self.status;
        let is_final = match *before {
            Said::Nothing => false,
            _ if *by_callee != is_callee => is_callee,
            Said::Ok => true,
            Said::Error => false,
        };
        match is_final {
            // Said again, it is no change; each error has a message of its own.
            true if *before == Said::Ok && said == Said::Ok => {}
            true => self.refused.refused += 1,
            false => self.status = (said, is_callee),
        }
    }

    /// The span is over, and its owner says why.
    pub(super) fn close(&mut self, outcome: Outcome) {
        let by = Author::Owner;
        match outcome {
            Outcome::Ok => return,
            Outcome::Canceled => return self.set(REASON, WHY, by),
            Outcome::Exception => {
                self.set("error.type", "failed", by);
                self.happen("exception", by);
            }
            Outcome::Overloaded => {
                self.set("error.type", "overloaded", by);
                self.happen("exception", by);
            }
            _ => self.set("error.type", outcome.as_str(), by),
        }
        self.say(Said::Error, by);
    }
}

/// The key of an attribute that says why what is no error has ended.
pub(super) const REASON: &str = "capspan.reason";

/// What stands for any such reason.
pub(super) const WHY: &str = "why";

/// The key of an attribute by which one knows that something has been written.
pub(super) const SHOWN: &str = "shown";

/// A name that is longer than [`NAME_BYTES`].
pub(super) fn long_name(number: i64) -> String {
    format!("{number} is too long")
}
