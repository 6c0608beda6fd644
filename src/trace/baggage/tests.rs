use super::*;

/// A list and what it is read as, written again: `None` where it is refused as a whole.
const LISTS: [(&str, Option<&str>); 29] = [
    ("", Some("")),
    (" , ,\t", Some("")),
    ("a=1", Some("a=1")),
    ("a=1,b=2", Some("a=1,b=2")),
    (" a\t= 1 , b =2\t", Some("a=1,b=2")),
    ("a=", Some("a=")),
    ("a=b=c", Some("a=b=c")),
    ("a=1,a=2", Some("a=1,a=2")),
    ("a=1;p", Some("a=1;p")),
    ("a=1 ; p ; q = 2", Some("a=1;p;q=2")),
    ("a=1;p=%20", Some("a=1;p=%20")),
    ("a=%41", Some("a=A")),
    ("a=%c3%a9", Some("a=%C3%A9")),
    ("a=%20%22%2C%3B%5C%25", Some("a=%20%22%2C%3B%5C%25")),
    ("a=100%", Some("a=100%25")),
    ("a=%4", Some("a=%254")),
    ("a=%zz", Some("a=%25zz")),
    ("a=%FF", Some("a=%EF%BF%BD")),
    ("!#$%&'*+-.^_`|~09azAZ=1", Some("!#$%&'*+-.^_`|~09azAZ=1")),
    ("a", None),
    ("=1", None),
    ("a b=1", None),
    ("ä=1", None),
    ("a=ä", None),
    ("a=1 2", None),
    ("a=\"1\"", None),
    ("a=1;", None),
    ("a=1;p q", None),
    ("a=1\n", None),
];

#[test]
fn lists_are_read_as_w3c_has_it() {
    for (list, wanted) in LISTS {
        let read = list.parse::<Baggage>();
        match wanted {
            Some(wanted) => assert_eq!(read.unwrap().to_string(), wanted, "{list:?}"),
            None => assert!(read.unwrap_err().is_peer_fault(), "{list:?}"),
        }
        let (readable, left_out) = Baggage::readable(list);
        assert_eq!(readable.to_string(), wanted.unwrap_or(""), "{list:?}");
        assert_eq!(left_out, usize::from(wanted.is_none()), "{list:?}");
    }
}

#[test]
fn a_peers_members_that_are_wrong_are_left_out_one_by_one() {
    let (baggage, left_out) = Baggage::readable("a=1,b,c=\x07,d=4;x=y z,e=5");
    assert_eq!((baggage.to_string().as_str(), left_out), ("a=1,e=5", 3));
}

#[test]
fn members_are_looked_up_set_in_place_and_removed() {
    let mut baggage: Baggage = "a=1;p;q=2,b=2,a=3".parse().unwrap();
    assert_eq!((baggage.get("a"), baggage.get("A")), (Some("1"), None));
    assert_eq!(baggage.properties("a"), Some("p;q=2"));
    assert_eq!(baggage.properties("b"), Some(""));
    assert_eq!(
        baggage.iter().collect::<Vec<_>>(),
        [("a", "1"), ("b", "2"), ("a", "3")]
    );
    baggage.set("a", "é").unwrap();
    baggage
        .set_with_properties("c", "", " ttl = 30; x")
        .unwrap();
    assert_eq!(baggage.to_string(), "a=%C3%A9,b=2,c=;ttl=30;x");
    assert!(baggage.remove("b") && !baggage.remove("b"));
    assert_eq!(baggage.to_string(), "a=%C3%A9,c=;ttl=30;x");
    assert_eq!((baggage.len(), baggage.bytes()), (2, 20));
    assert!(baggage.remove("a") && baggage.remove("c"));
    assert_eq!(baggage, Baggage::new());
}

#[test]
fn what_can_not_be_set_is_told_and_changes_nothing() {
    let mut baggage: Baggage = "a=1".parse().unwrap();
    for key in ["", "a b", "ä", "a=", "a,b", "a\n"] {
        assert!(baggage.set(key, "1").unwrap_err().is_invalid(), "{key:?}");
    }
    for properties in [";", "p q", "p=\"", ",", "p\n"] {
        let error = baggage.set_with_properties("b", "1", properties);
        assert!(error.unwrap_err().is_invalid(), "{properties:?}");
    }
    assert_eq!(baggage.to_string(), "a=1");
}

#[test]
fn it_has_at_most_64_members() {
    let list = (0..65).map(|n| format!("k{n}={n}")).collect::<Vec<_>>();
    let mut baggage: Baggage = list[..64].join(",").parse().unwrap();
    let told = "the baggage would have 65 members; the limit is 64";
    let error = list.join(",").parse::<Baggage>().unwrap_err();
    assert_eq!((error.reason(), error.is_limit()), (told, true));
    assert_eq!(baggage.set("k64", "64").unwrap_err().reason(), told);
    baggage.set("k63", "changed").unwrap();
    let (readable, left_out) = Baggage::readable(&list.join(","));
    assert_eq!((readable.len(), left_out), (64, 1));
    assert_eq!(readable.get("k64"), None);
}

#[test]
fn it_has_at_most_8192_bytes_as_they_are_written() {
    let mut baggage = Baggage::new();
    baggage.set("a", &"x".repeat(8190)).unwrap();
    assert_eq!(baggage.bytes(), Baggage::MAX_BYTES);
    let error = baggage.set("b", "").unwrap_err();
    assert!(error.is_limit());
    assert_eq!(
        error.reason(),
        "the baggage would have 8195 bytes; the limit is 8192"
    );
    baggage.remove("a");
    // Each of them takes nine bytes where it is written, and three where it came from.
    let list = format!("a={},b=1", "%FF".repeat(2700));
    assert!(list.parse::<Baggage>().unwrap_err().is_limit());
    let (readable, left_out) = Baggage::readable(&list);
    assert_eq!((readable.to_string().as_str(), left_out), ("b=1", 1));
}

/// Numbers that look like chance, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn text(&mut self, of: &[char], longest: usize) -> String {
        let length = self.below(longest + 1);
        (0..length).map(|_| of[self.below(of.len())]).collect()
    }
}

#[test]
fn what_is_written_is_read_the_same() {
    let values: Vec<char> = " \t\n\",;\\%=~!aZ09é\u{0}\u{7f}€\u{fffd}😀"
        .chars()
        .collect();
    let keys: Vec<char> = "aZ0!#%~".chars().collect();
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for _ in 0..5_000 {
        let mut baggage = Baggage::new();
        let mut model: Vec<(String, String)> = Vec::new();
        for _ in 0..numbers.below(12) {
            let (key, value) = (numbers.text(&keys, 2), numbers.text(&values, 9));
            match numbers.below(4) {
                0 => {
                    let before = model.len();
                    model.retain(|known| known.0 != key);
                    assert_eq!(baggage.remove(&key), model.len() < before);
                }
                _ => {
                    let is_set = baggage.set(&key, &value).is_ok();
                    assert_eq!(is_set, !key.is_empty());
                    match model.iter_mut().find(|known| known.0 == key) {
                        Some(known) => known.1 = value,
                        None if is_set => model.push((key, value)),
                        None => {}
                    }
                }
            }
        }
        let list = baggage.to_string();
        assert_eq!(baggage.bytes(), list.len());
        let read: Baggage = list.parse().unwrap();
        assert_eq!(read, baggage);
        let pairs = model.iter().map(|(key, value)| (&**key, &**value));
        assert!(read.iter().eq(pairs), "{list}");
    }
}

#[test]
fn whatever_comes_in_what_is_read_of_it_is_right() {
    let bytes: Vec<char> = "aB1=;,% \t\"\\é\u{0}%C%A9".chars().collect();
    let mut numbers = Numbers(1);
    for _ in 0..20_000 {
        let list = numbers.text(&bytes, 24);
        let (readable, left_out) = Baggage::readable(&list);
        let written = readable.to_string();
        assert_eq!(written.parse::<Baggage>().unwrap(), readable, "{list:?}");
        let whole = list.parse::<Baggage>();
        assert_eq!(whole.is_ok(), left_out == 0, "{list:?}");
        if let Ok(whole) = whole {
            assert_eq!(whole, readable);
        }
    }
}
