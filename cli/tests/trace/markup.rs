//! Reads a page as strictly as XML is read, and knows only the elements and attributes that a page of
//! the tool's may have: none of them leads anywhere, runs anything, or styles.

const ELEMENTS: [&str; 24] = [
    "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "p", "main", "details",
    "summary", "span", "bdi", "code", "svg", "rect", "ul", "li", "footer", "b", "i", "em",
];
const ATTRIBUTES: [&str; 13] = [
    "lang",
    "charset",
    "http-equiv",
    "content",
    "name",
    "class",
    "open",
    "viewBox",
    "preserveAspectRatio",
    "aria-hidden",
    "x",
    "width",
    "height",
];

/// All of the page's text, and how deep its elements lie in each other.
pub(crate) struct Markup {
    pub(crate) text: String,
    pub(crate) depth: usize,
}

/// Reads `page`; panics where it is not as it must be.
pub(crate) fn read(page: &str) -> Markup {
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").expect("a doctype");
    let mut open: Vec<&str> = Vec::new();
    let mut markup = Markup {
        text: String::new(),
        depth: 0,
    };
    while let Some((text, after)) = rest.split_once('<') {
        markup.text += &plain(text);
        let (tag, after) = after.split_once('>').expect("a tag ends");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "after {:?}", tail(&markup.text));
            continue;
        }
        let (tag, is_empty) = match tag.strip_suffix('/') {
            Some(tag) => (tag, true),
            None => (tag, false),
        };
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(ELEMENTS.contains(&name), "<{name}>");
        check_attributes(attributes);
        if !is_empty {
            open.push(name);
            markup.depth = markup.depth.max(open.len());
        }
        if name == "style" {
            let (style, after) = rest.split_once("</style>").expect("the style ends");
            for reference in ["url", "@import", "http", "//", "expression"] {
                assert!(!style.contains(reference), "{reference} in the style");
            }
            open.pop();
            rest = after;
        }
    }
    assert_eq!(open, Vec::<&str>::new());
    assert_eq!(rest.trim(), "");
    markup
}

fn check_attributes(mut rest: &str) {
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").expect("an attribute with a value");
        let (value, after) = after.split_once('"').expect("a value ends");
        assert!(ATTRIBUTES.contains(&name), "{name}=");
        plain(value);
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
}

/// What a text says, which may have no other references than these.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        let (name, after) = after.split_once(';').expect("a reference ends");
        out += before;
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "#39" => '\'',
            other => panic!("&{other};"),
        });
        rest = after;
    }
    assert!(!rest.contains('>'), "{rest:?}");
    out + rest
}

fn tail(text: &str) -> &str {
    let start = text.char_indices().rev().nth(100).map_or(0, |(at, _)| at);
    &text[start..]
}
